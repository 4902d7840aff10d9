"""IGRS Lock: locks that speak the ILP1 profile of ISO/IEC 14543-5-104, over Bluetooth.

Dependencies go one way: platforms, coordinator, client, link; all of them use `ilp`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeassistant.components import bluetooth
from homeassistant.const import CONF_ADDRESS, EVENT_HOMEASSISTANT_STOP, Platform
from homeassistant.helpers import issue_registry as ir

from .const import CONF_LOCK_KEY, DOMAIN, ISSUE_RESET_ELSEWHERE
from .coordinator import IgrsLockConfigEntry, IgrsLockCoordinator
from .store import async_get_memory, async_get_pairings

if TYPE_CHECKING:
    from homeassistant.core import Event, HomeAssistant

PLATFORMS = (Platform.BINARY_SENSOR, Platform.LOCK, Platform.SENSOR)


async def async_setup_entry(hass: HomeAssistant, entry: IgrsLockConfigEntry) -> bool:
    """Set up a lock. It need not be in reach: its entities are unavailable until it is heard."""
    coordinator = IgrsLockCoordinator(hass, entry, await async_get_memory(hass))
    entry.runtime_data = coordinator
    await _settle_pairings(hass, entry)

    async def stop(_event: Event) -> None:
        await coordinator.client.async_close()

    entry.async_on_unload(hass.bus.async_listen_once(EVENT_HOMEASSISTANT_STOP, stop))
    entry.async_on_unload(coordinator.async_start())
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    return True


async def async_unload_entry(hass: HomeAssistant, entry: IgrsLockConfigEntry) -> bool:
    """Unload a lock and let go of its connection."""
    unloaded = await hass.config_entries.async_unload_platforms(entry, PLATFORMS)
    if unloaded:
        await entry.runtime_data.client.async_close()
    return unloaded


async def async_remove_entry(hass: HomeAssistant, entry: IgrsLockConfigEntry) -> None:
    """Forget a lock. The lock itself stays paired unless it was released before."""
    if entry.unique_id is None:
        return
    (await async_get_memory(hass)).forget(entry.unique_id)
    ir.async_delete_issue(hass, DOMAIN, f"{ISSUE_RESET_ELSEWHERE}_{entry.unique_id}")
    # Home Assistant remembers that it offered this lock; held its button, it is to be offered anew.
    bluetooth.async_clear_address_from_match_history(hass, entry.data[CONF_ADDRESS])


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
