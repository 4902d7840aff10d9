"""Sets a remote access server up, and takes it down: the config entry's life."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from homeassistant.const import EVENT_HOMEASSISTANT_STOP, Platform
from homeassistant.helpers import device_registry as dr

from ..const import (
    CONF_CA,
    CONF_GATEWAY,
    CONF_LOCAL,
    CONF_SERVER_KEY,
    CONF_SITE,
    CONF_URL,
)
from ..home import async_get_home
from .entity import server_device
from .errors import RemoteNotSaved
from .farewell import async_say_goodbye
from .gateway import Gateway
from .issues import async_delete_issues
from .people_issues import async_replace_phone_issues
from .store import RemoteStore

if TYPE_CHECKING:
    from homeassistant.core import Event, HomeAssistant

    from .gateway import ServerConfigEntry

_LOGGER = logging.getLogger(__name__)

_IDENTITY: Final = frozenset((CONF_GATEWAY, CONF_SERVER_KEY, CONF_SITE))
_ADDRESS: Final = frozenset((CONF_CA, CONF_LOCAL, CONF_URL))

PLATFORMS: Final = (Platform.BINARY_SENSOR, Platform.SWITCH)


async def async_setup_server(hass: HomeAssistant, entry: ServerConfigEntry) -> bool:
    """Set up a server. It need not answer: people at home are not concerned."""
    home = await async_get_home(hass)
    store = RemoteStore(hass, entry.entry_id)
    await store.async_load()
    entry.runtime_data = gateway = Gateway(hass, entry, home, store)

    async def stop(_event: Event) -> None:
        await gateway.async_stop()

    entry.async_on_unload(hass.bus.async_listen_once(EVENT_HOMEASSISTANT_STOP, stop))
    entry.async_on_unload(entry.add_update_listener(_Follower(entry).async_updated))
    home.gateways[entry.entry_id] = gateway
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    gateway.async_start()
    return True


async def async_unload_server(hass: HomeAssistant, entry: ServerConfigEntry) -> bool:
    """Unload a server: what is under way over it ends first."""
    gateway = entry.runtime_data
    await gateway.async_stop()
    if not await hass.config_entries.async_unload_platforms(entry, PLATFORMS):
        return False
    await gateway.store.async_retire()
    if gateway.home.gateways.get(entry.entry_id) is gateway:
        del gateway.home.gateways[entry.entry_id]
    if entry.disabled_by is not None:
        async_delete_issues(hass, entry)
        async_replace_phone_issues(hass, entry, {})
    return True


async def async_remove_server(hass: HomeAssistant, entry: ServerConfigEntry) -> None:
    """Forget a server, and give this home's place there back if it can be told now.

    Otherwise its operator revokes it; without this home nobody gets in.
    """
    store = RemoteStore(hass, entry.entry_id)
    await store.async_load()
    try:
        await async_say_goodbye(hass, entry, store)
    except Exception:
        _LOGGER.exception("%s was not told that it is not used any more", entry.title)
    await store.async_remove()
    async_delete_issues(hass, entry)
    async_replace_phone_issues(hass, entry, {})


class _Follower:
    """Acts on what was changed in an entry: by a dialog, by discovery, or by hand."""

    def __init__(self, entry: ServerConfigEntry) -> None:
        self._data = dict(entry.data)

    async def async_updated(self, hass: HomeAssistant, entry: ServerConfigEntry) -> None:
        """Begin anew at another address or with another key; else follow what was chosen."""
        gateway = entry.runtime_data
        before, self._data = self._data, dict(entry.data)
        changed = {key for key, value in self._data.items() if value != before.get(key)}
        if changed & _IDENTITY:
            hass.config_entries.async_schedule_reload(entry.entry_id)
            return
        if changed & _ADDRESS:
            gateway.async_move()
        dr.async_get(hass).async_get_or_create(
            config_entry_id=entry.entry_id, **server_device(entry)
        )
        try:
            await gateway.site.async_locks_changed()
        except RemoteNotSaved as err:
            _LOGGER.debug("%s: %s", entry.title, err)  # the store has logged it
