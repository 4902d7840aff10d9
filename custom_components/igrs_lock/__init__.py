"""IGRS Lock: locks that speak the ILP1 profile of ISO/IEC 14543-5-104, over Bluetooth.

Entries are of three kinds: one for each lock, one for the people who may use them, and one for each
remote access server. Dependencies go one way: platforms, remote, home, coordinator, client, link; all
of them use `ilp`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from homeassistant.const import CONF_ADDRESS, EVENT_HOMEASSISTANT_STOP, Platform
from homeassistant.helpers import config_validation as cv

from .actions import async_setup_actions
from .const import CONF_LOCK_KEY, DOMAIN
from .coordinator import IgrsLockConfigEntry, IgrsLockCoordinator
from .home import async_get_home, is_people, is_server
from .naming import async_follow_name
from .people import async_make_people, async_setup_people, async_unload_people
from .remote.entry import async_remove_server, async_setup_server, async_unload_server
from .store import async_get_memory, async_get_pairings
from .takeover import async_forget_lock

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import Event, HomeAssistant
    from homeassistant.helpers.typing import ConfigType

PLATFORMS = (
    Platform.BINARY_SENSOR,
    Platform.BUTTON,
    Platform.EVENT,
    Platform.LOCK,
    Platform.NUMBER,
    Platform.SENSOR,
    Platform.SWITCH,
)
CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)


async def async_setup(hass: HomeAssistant, _config: ConfigType) -> bool:
    """Set up what does not belong to an entry: the actions."""
    async_setup_actions(hass)
    return True


async def async_setup_entry(hass: HomeAssistant, entry: ConfigEntry[Any]) -> bool:
    """Set up an entry of any kind."""
    if is_people(entry):
        return await async_setup_people(hass, entry)
    if is_server(entry):
        return await async_setup_server(hass, entry)
    return await _async_setup_lock(hass, entry)


async def _async_setup_lock(hass: HomeAssistant, entry: IgrsLockConfigEntry) -> bool:
    """Set up a lock. It need not be in reach: its entities are unavailable until it is heard."""
    home = await async_get_home(hass)
    coordinator = IgrsLockCoordinator(hass, entry, await async_get_memory(hass), home)
    await coordinator.log.async_load()
    entry.runtime_data = coordinator
    await _settle_pairings(hass, entry)

    async def stop(_event: Event) -> None:
        await coordinator.client.async_close()

    entry.async_on_unload(hass.bus.async_listen_once(EVENT_HOMEASSISTANT_STOP, stop))
    entry.async_on_unload(coordinator.async_start())
    entry.async_on_unload(async_follow_name(hass, entry))
    home.async_add(coordinator)
    entry.async_on_unload(lambda: home.async_remove(coordinator))
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    await async_make_people(hass)
    return True


async def async_unload_entry(hass: HomeAssistant, entry: ConfigEntry[Any]) -> bool:
    """Unload an entry; of a lock let go of the connection."""
    if is_people(entry):
        return await async_unload_people(hass, entry)
    if is_server(entry):
        return await async_unload_server(hass, entry)
    unloaded = await hass.config_entries.async_unload_platforms(entry, PLATFORMS)
    if unloaded:
        await cast("IgrsLockConfigEntry", entry).runtime_data.client.async_close()
    return unloaded


async def async_remove_entry(hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
    """Forget a lock or a server. A lock itself stays paired unless it was released before."""
    if is_server(entry):
        await async_remove_server(hass, entry)
        return
    if entry.unique_id is None or is_people(entry):
        return
    await async_forget_lock(hass, entry.unique_id, entry.data[CONF_ADDRESS])


async def _settle_pairings(hass: HomeAssistant, entry: IgrsLockConfigEntry) -> None:
    """Drop the pending keys once the right one is in the entry; else let the owner go on."""
    pairings = await async_get_pairings(hass)
    pending = pairings.of(entry.runtime_data.device_id)
    if any(pairing["lock_key"] == entry.data[CONF_LOCK_KEY] for pairing in pending):
        pairings.forget(entry.runtime_data.device_id)
    elif pending:
        # Pairing again was cut off, and the lock may have taken the new key. If it still accepts
        # the entry's, the coordinator takes this back.
        entry.async_start_reauth(hass)
