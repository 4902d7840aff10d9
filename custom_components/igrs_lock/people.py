"""The People entry: one for the home, with a subentry per person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from homeassistant.config_entries import SOURCE_SYSTEM
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr

from .away import async_refresh_away
from .const import DOMAIN, SUBENTRY_PERSON
from .home import Home, async_get_home, find_people_entry
from .store import async_get_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from homeassistant.config_entries import ConfigEntry
    from homeassistant.helpers.device_registry import DeviceInfo
    from homeassistant.helpers.entity import Entity
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

    from .person import Person

type PeopleConfigEntry = ConfigEntry[Home]

PLATFORMS = (Platform.EVENT, Platform.SENSOR)

SIGNAL_PERSON: Final = f"{DOMAIN}_person"
"""Sent with a person's ID, the type of an event about one of their phones, and its name."""


async def async_make_people(hass: HomeAssistant) -> None:
    """Make the People entry with the first lock, and never again by itself.

    An empty one made in place of one that was removed would look like a home without people.
    """
    memory = await async_get_memory(hass)
    if memory.people_made or find_people_entry(hass) is not None:
        return
    memory.note_people_made()
    hass.async_create_task(
        hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_SYSTEM}),
        "IGRS Lock people",
    )


async def async_setup_people(hass: HomeAssistant, entry: PeopleConfigEntry) -> bool:
    """Set up the People entry: a device per person, and what is told about them."""
    entry.runtime_data = home = await async_get_home(hass)
    (await async_get_memory(hass)).note_people_made()
    _refresh_devices(hass, entry)
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    entry.async_on_unload(entry.add_update_listener(_async_updated))
    await home.async_store_people()
    home.async_people_changed()
    await async_refresh_away(hass, home)
    return True


async def async_unload_people(hass: HomeAssistant, entry: PeopleConfigEntry) -> bool:
    """Unload the People entry; nothing changes on any lock."""
    unloaded = await hass.config_entries.async_unload_platforms(entry, PLATFORMS)
    if unloaded:
        # Disabled or removed: the locks' jobs tell the owner.
        entry.runtime_data.async_people_changed()
    return unloaded


async def _async_updated(hass: HomeAssistant, entry: PeopleConfigEntry) -> None:
    """Somebody was added, changed or removed. Home Assistant has no other hook for it."""
    _refresh_devices(hass, entry)
    await entry.runtime_data.async_store_people()
    await entry.runtime_data.async_take_new_pins(entry)
    entry.runtime_data.async_people_changed()
    await async_refresh_away(hass, entry.runtime_data)


@callback
def _refresh_devices(hass: HomeAssistant, entry: PeopleConfigEntry) -> None:
    """Make and name the devices; those of people who are gone Home Assistant removes itself."""
    registry = dr.async_get(hass)
    for subentry in entry.get_subentries_of_type(SUBENTRY_PERSON):
        registry.async_get_or_create(
            config_entry_id=entry.entry_id,
            config_subentry_id=subentry.subentry_id,
            **person_device(subentry.subentry_id, subentry.title),
        )


def person_device(person_id: str, name: str) -> DeviceInfo:
    """Return a person's device, for entities and the registry."""
    return dr.DeviceInfo(
        identifiers={(DOMAIN, person_id)}, name=name, entry_type=dr.DeviceEntryType.SERVICE
    )


@callback
def async_add_person_entities(
    entry: PeopleConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
    make: Callable[[Person], Iterable[Entity]],
) -> None:
    """Add the entities that `make` returns for each person, now and whenever one is added."""
    home = entry.runtime_data
    known: set[str] = set()

    @callback
    def add() -> None:
        persons = home.persons()
        for person_id in persons.keys() - known:
            async_add_entities(make(persons[person_id]), config_subentry_id=person_id)
        known.clear()
        known.update(persons)

    entry.async_on_unload(home.async_listen(add))
    add()
