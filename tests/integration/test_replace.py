"""A new lock takes the place of an old one: entities, history, name and people stay."""

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from homeassistant.config_entries import ConfigEntryState, ConfigSubentry
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from test_reconfigure import menu
from world import DOMAIN, SETUP_CODE, name_of

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.home import find_people_entry
from custom_components.igrs_lock.person import Person
from custom_components.igrs_lock.store import async_get_memory, async_get_pairings

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from world import TestLock, World


@pytest.fixture
async def new(world: World, entry: object) -> TestLock:
    """A second lock, not paired yet."""
    new = world.add_lock()
    await world.advance(2)
    return new


def add_person(hass: HomeAssistant, *locks: str) -> str:
    """Add somebody who may use these locks; return their ID."""
    people = find_people_entry(hass)
    assert people is not None
    person = Person("", "Anna", locks=frozenset(locks))
    subentry = ConfigSubentry(
        data=MappingProxyType(person.as_data()),
        subentry_type="person",
        title="Anna",
        unique_id=None,
    )
    hass.config_entries.async_add_subentry(people, subentry)
    return subentry.subentry_id


def locks_of(hass: HomeAssistant, person_id: str) -> list[str]:
    """Return the locks that somebody may use."""
    people = find_people_entry(hass)
    assert people is not None
    locks: list[str] = people.subentries[person_id].data["locks"]
    return locks


async def replace(
    hass: HomeAssistant, world: World, entry: Any, new: TestLock, **choices: bool
) -> dict[str, Any]:
    """Go through the flow to its end, or to where it stops."""
    result = await menu(hass, entry, "replace")
    assert result["step_id"] == "replace"
    result = await world.submit(result, {"address": new.address, **choices})
    assert result["step_id"] == "setup_code"
    return await world.submit(result, {"setup_code": SETUP_CODE})


async def test_a_new_lock_takes_over_entities_device_and_people(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any, new: TestLock
) -> None:
    entities = er.async_get(hass)
    before = {one.id: one for one in er.async_entries_for_config_entry(entities, entry.entry_id)}
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    anna = add_person(hass, lock.unique_id, "0123456789AB")
    lock.core.battery_measured(9, True)
    await world.advance(1)
    result = await replace(hass, world, entry, new)
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "replaced")
    await world.advance(3)
    assert entry.state is ConfigEntryState.LOADED
    assert (entry.unique_id, entry.title) == (new.unique_id, name_of(new))
    assert entry.data["address"] == new.address
    after = {one.id: one for one in er.async_entries_for_config_entry(entities, entry.entry_id)}
    assert after.keys() == before.keys()
    for id_, one in after.items():
        assert one.entity_id == before[id_].entity_id
        assert one.unique_id == before[id_].unique_id.replace(lock.unique_id, new.unique_id)
    (moved,) = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    assert moved.id == device.id
    assert moved.identifiers == {(DOMAIN, new.unique_id)}
    assert moved.connections == {(dr.CONNECTION_BLUETOOTH, new.address)}
    assert moved.serial_number == new.unique_id
    assert locks_of(hass, anna) == sorted(["0123456789AB", new.unique_id])
    # It works, and the old lock is left alone.
    await world.call(lock, "unlock")
    assert new.core.bolt == c.BOLT_UNLOCKED
    assert world.state(lock) == "unlocked"
    assert lock.core.paired
    assert lock.core.bolt == c.BOLT_LOCKED
    # Nothing is kept of the old one, and no dialog about the new one is open.
    assert not (await async_get_memory(hass)).lock(lock.unique_id)
    assert not (await async_get_pairings(hass)).of(new.unique_id)
    assert not [one for one in ir.async_get(hass).issues.values() if lock.unique_id in one.issue_id]
    assert not hass.config_entries.flow.async_progress_by_handler(DOMAIN)


async def test_a_name_that_the_owner_gave_stays_and_people_may_be_left_out(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any, new: TestLock
) -> None:
    hass.config_entries.async_update_entry(entry, title="Front door")
    anna = add_person(hass, lock.unique_id)
    result = await replace(hass, world, entry, new, keep_people=False)
    assert result["reason"] == "replaced"
    await world.advance(3)
    assert entry.title == "Front door"
    assert locks_of(hass, anna) == []


async def test_a_home_without_people_replaces_a_lock_too(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any, new: TestLock
) -> None:
    people = find_people_entry(hass)
    assert people is not None
    await hass.config_entries.async_remove(people.entry_id)
    result = await replace(hass, world, entry, new)
    assert result["reason"] == "replaced"


async def test_an_entry_that_is_not_loaded_is_taken_over_too(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any, new: TestLock
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    result = await replace(hass, world, entry, new)
    assert result["reason"] == "replaced"
    await world.advance(3)
    assert entry.state is ConfigEntryState.LOADED
    assert entry.unique_id == new.unique_id


async def test_the_old_lock_is_reset_only_when_the_owner_says_so(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any, new: TestLock
) -> None:
    result = await replace(hass, world, entry, new, reset_old=True)
    assert result["reason"] == "replaced"
    await world.advance(3)
    assert not lock.core.paired
    assert entry.unique_id == new.unique_id
    await world.call(lock, "unlock")
    assert new.core.bolt == c.BOLT_UNLOCKED


async def test_an_old_lock_that_cannot_be_reset_is_tried_again_or_left(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any, new: TestLock
) -> None:
    lock.silent = True
    result = await replace(hass, world, entry, new, reset_old=True)
    assert result["type"] is FlowResultType.MENU
    assert result["step_id"] == "not_reset"
    assert result["description_placeholders"] == {"name": entry.title}
    result = await world.submit(result, {"next_step_id": "reset_old"})
    assert result["step_id"] == "not_reset"
    assert entry.unique_id == lock.unique_id
    result = await world.submit(result, {"next_step_id": "take_over"})
    assert result["reason"] == "replaced"
    await world.advance(3)
    assert entry.unique_id == new.unique_id
    assert world.state(lock) == "locked"
    assert lock.core.paired


async def test_a_replacement_that_was_cut_off_begins_with_the_key_that_was_agreed(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any, new: TestLock
) -> None:
    lock.silent = True
    result = await replace(hass, world, entry, new, reset_old=True)
    hass.config_entries.flow.async_abort(result["flow_id"])
    assert entry.unique_id == lock.unique_id
    result = await menu(hass, entry, "replace")
    result = await world.submit(result, {"address": new.address})
    assert result["step_id"] == "resume"
    result = await world.submit(result)
    assert result["reason"] == "replaced"
    await world.advance(3)
    assert world.state(lock) == "locked"


async def test_without_a_new_lock_in_reach_nothing_can_be_replaced(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    result = await menu(hass, entry, "replace")
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "no_devices_found")


async def test_a_lock_that_was_set_up_meanwhile_replaces_nothing(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any, new: TestLock
) -> None:
    result = await menu(hass, entry, "replace")
    await world.pair(new)
    result = await world.submit(result, {"address": new.address})
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "already_configured")
    assert entry.unique_id == lock.unique_id


async def test_the_old_locks_records_stay_readable_before_the_new_ones(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    world: World,
    lock: TestLock,
    entry: Any,
    new: TestLock,
) -> None:
    await world.call(lock, "unlock")
    await world.advance(30)
    before = [one.event for one in entry.runtime_data.log.entries]
    assert ilp.Event.UNLOCKED in before
    result = await replace(hass, world, entry, new)
    assert result["reason"] == "replaced"
    await world.advance(30)
    log = entry.runtime_data.log
    assert [one.event for one in log.entries][: len(before)] == before
    assert log.entries[len(before)].event is ilp.Event.PAIRED
    assert log.cursor == log.entries[-1].counter
    assert not [key for key in hass_storage if lock.unique_id.lower() in key.lower()]
    # What the new lock advertises agrees with what was read: nothing is read over and over.
    connections = world.connections
    await world.advance(700, step=5)
    assert world.connections == connections
    # Who turned the old lock did not turn the new one.
    assert world.attribute(lock, "changed_by") is None
