"""Which locks are reachable over which server: the option of the servers' entries, loaded or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from homeassistant.core import HomeAssistant, callback

from ..const import CONF_LOCKS, DOMAIN
from ..home import is_server

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry


@callback
def async_forget_lock(hass: HomeAssistant, device_id: str) -> list[str]:
    """Take a lock that is gone from what is reachable; return the IDs of the entries that had it.

    Otherwise it would be reachable again at once when somebody sets it up anew.
    """
    had = []
    for entry in hass.config_entries.async_entries(DOMAIN, include_ignore=False):
        if is_server(entry) and device_id in entry.options.get(CONF_LOCKS, ()):
            had.append(entry.entry_id)
            _choose(hass, entry, {*entry.options[CONF_LOCKS]} - {device_id})
    return had


@callback
def async_take_lock(hass: HomeAssistant, entry_ids: list[str], device_id: str) -> None:
    """Make a lock reachable over these servers: it takes the place of one that was."""
    for entry_id in entry_ids:
        if (entry := hass.config_entries.async_get_entry(entry_id)) is not None:
            _choose(hass, entry, {*entry.options.get(CONF_LOCKS, ()), device_id})


@callback
def _choose(hass: HomeAssistant, entry: ConfigEntry[Any], locks: set[str]) -> None:
    hass.config_entries.async_update_entry(
        entry, options={**entry.options, CONF_LOCKS: sorted(locks)}
    )
