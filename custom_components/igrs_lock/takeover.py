"""A lock that goes, and one that takes its place in the same config entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from homeassistant.components import bluetooth
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er

from .account_issues import async_forget_issues
from .const import DOMAIN, SUBENTRY_PERSON
from .home import async_get_home, find_people_entry
from .ilp import device_id_from_address, format_device_id, local_name
from .issues import async_delete_issues
from .log_store import log_store
from .person import Person
from .remote import chosen
from .store import async_get_memory

if TYPE_CHECKING:
    from .coordinator import IgrsLockConfigEntry


async def async_forget_lock(hass: HomeAssistant, device_id: str, address: str) -> None:
    """Forget all that is kept of a lock beside its config entry."""
    home = await async_get_home(hass)
    chosen.async_forget_lock(hass, device_id)
    # Whoever sets it up again chooses anew who may use it.
    home.async_set_users(device_id, ())
    home.ledger.forget_lock(device_id)
    (await async_get_memory(hass)).forget(device_id)
    await log_store(hass, device_id).async_remove()
    async_delete_issues(hass, device_id)
    async_forget_issues(hass, home, device_id)
    # Home Assistant remembers that it offered this lock; held its button, it is to be offered anew.
    bluetooth.async_clear_address_from_match_history(hass, address)


async def async_take_over(
    hass: HomeAssistant, entry: IgrsLockConfigEntry, data: dict[str, Any], *, keep_people: bool
) -> None:
    """Make a config entry one of another lock, which was paired just now.

    `data` is what the entry's data become. Entities keep their identifiers and thereby their
    history; people who may use the old lock may use the new one if `keep_people`.
    """
    old_address, address = entry.data[CONF_ADDRESS], data[CONF_ADDRESS]
    old_id, new_id = device_id_from_address(old_address), device_id_from_address(address)
    old, new = format_device_id(old_id), format_device_id(new_id)
    if entry.state is ConfigEntryState.LOADED:
        await hass.config_entries.async_unload(entry.entry_id)
    users = _users(hass, old) if keep_people else []
    servers = chosen.async_forget_lock(hass, old)
    await _async_move_log(hass, old, new)
    await async_forget_lock(hass, old, old_address)
    _move_registries(hass, entry, old, new, address)
    title = local_name(new_id) if entry.title == local_name(old_id) else entry.title
    hass.config_entries.async_update_entry(entry, unique_id=new, title=title, data=data)
    home = await async_get_home(hass)
    home.async_confirm(new, users)
    home.async_set_users(new, users)
    # Whom it lets in is the people's affair: without them nobody reaches it from afar either.
    chosen.async_take_lock(hass, servers, new)
    hass.config_entries.async_schedule_reload(entry.entry_id)


async def _async_move_log(hass: HomeAssistant, old: str, new: str) -> None:
    """Keep the old lock's records in front of the new one's, whose counters are others."""
    if (kept := await log_store(hass, old).async_load()) is not None:
        entries = [[0, *entry[1:]] for entry in kept["entries"]]
        await log_store(hass, new).async_save({"cursor": None, "bits": None, "entries": entries})


@callback
def _move_registries(
    hass: HomeAssistant, entry: IgrsLockConfigEntry, old: str, new: str, address: str
) -> None:
    """Let device and entities of the old lock be the new one's."""
    entities = er.async_get(hass)
    for entity in er.async_entries_for_config_entry(entities, entry.entry_id):
        entities.async_update_entity(
            entity.entity_id, new_unique_id=entity.unique_id.replace(old, new, 1)
        )
    devices = dr.async_get(hass)
    for device in dr.async_entries_for_config_entry(devices, entry.entry_id):
        devices.async_update_device(
            device.id,
            new_identifiers={(DOMAIN, new)},
            new_connections={(dr.CONNECTION_BLUETOOTH, address)},
            serial_number=new,
        )


@callback
def _users(hass: HomeAssistant, device_id: str) -> list[str]:
    """Return who may use a lock, also while the People entry is disabled."""
    if (entry := find_people_entry(hass)) is None:
        return []
    persons = [Person.of(one) for one in entry.get_subentries_of_type(SUBENTRY_PERSON)]
    return [person.id for person in persons if device_id in person.locks]
