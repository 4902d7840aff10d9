"""Set-up, unloading, reloading and removal leave nothing behind."""

from typing import TYPE_CHECKING, Any

import pytest
from homeassistant.components import bluetooth
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import EVENT_HOMEASSISTANT_STOP, STATE_UNAVAILABLE
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
)
from world import DOMAIN

from custom_components.igrs_lock.store import async_get_memory, async_get_pairings

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from world import TestLock, World


async def test_a_lock_out_of_reach_is_set_up_all_the_same(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    lock.silent = True
    bluetooth.async_clear_advertisement_history(hass, lock.address)
    await world.forget_memory()
    assert await hass.config_entries.async_setup(entry.entry_id)
    await world.settle()
    assert entry.state is ConfigEntryState.LOADED
    assert world.state(lock) == STATE_UNAVAILABLE
    lock.silent = False
    await world.advance(1.5)
    assert world.state(lock) == "locked"


async def test_unloading_ends_connections_callbacks_and_timers(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await world.call(lock, "unlock")
    assert lock.connections
    manager = bluetooth.api._get_manager(hass)
    assert lock.address in manager._advertisement_callbacks
    assert await hass.config_entries.async_unload(entry.entry_id)
    await world.settle()
    assert not lock.connections
    assert lock.address not in manager._advertisement_callbacks
    assert world.state(lock) == STATE_UNAVAILABLE
    # Whatever is left would show itself now, or fail the test at its end.
    await world.advance(2 * 24 * 3600, step=600)
    assert not lock.connections


async def test_unloading_in_the_middle_of_a_question_ends_it(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    lock.on_write = lambda data: None
    entry.runtime_data.time_keeper.async_nudge(wrong=True)
    await world.advance(700, step=1)
    entry.runtime_data.time_keeper.async_nudge(wrong=True)
    await world.advance(1)
    assert await hass.config_entries.async_unload(entry.entry_id)
    await world.advance(3)
    assert not lock.connections


async def test_unloading_in_the_middle_of_an_operation_ends_it(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    lock.on_write = lambda data: None
    unlock = hass.async_create_task(world.call(lock, "unlock"))
    await world.advance(1)
    connections = world.connections
    assert await hass.config_entries.async_unload(entry.entry_id)
    with pytest.raises(HomeAssistantError):
        await unlock
    await world.advance(10)
    assert world.connections == connections
    assert not lock.connections


async def test_reloading_goes_on_where_it_was(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    for _ in range(3):
        assert await hass.config_entries.async_reload(entry.entry_id)
    await world.advance(1.5)
    assert world.state(lock) == "locked"
    manager = bluetooth.api._get_manager(hass)
    assert len(manager._advertisement_callbacks[lock.address]) == 1
    await world.call(lock, "unlock")
    assert world.state(lock) == "unlocked"


async def test_a_restart_does_not_connect_to_every_lock(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    before = world.connections
    await hass.config_entries.async_reload(entry.entry_id)
    await world.advance(60)
    assert world.connections == before


async def test_stopping_home_assistant_lets_go_of_the_lock(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await world.call(lock, "unlock")
    hass.bus.async_fire(EVENT_HOMEASSISTANT_STOP)
    await world.settle()
    assert not lock.connections


async def test_removing_an_entry_forgets_the_lock_but_the_lock_stays_paired(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    assert (await async_get_memory(hass)).lock(lock.unique_id)
    await hass.config_entries.async_remove(entry.entry_id)
    await world.settle()
    assert not (await async_get_memory(hass)).lock(lock.unique_id)
    assert lock.core.paired
    assert not er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)
    assert not dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    # Its button makes it be offered again.
    await world.advance(1)
    assert not hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    lock.core.inner_button_held(10)
    await world.advance(1)
    assert hass.config_entries.flow.async_progress_by_handler(DOMAIN)


async def test_what_was_never_known_can_be_forgotten(hass: HomeAssistant) -> None:
    (await async_get_memory(hass)).forget("000000000000")
    (await async_get_pairings(hass)).forget("000000000000")


async def test_an_entry_that_never_was_set_up_can_be_removed(hass: HomeAssistant) -> None:
    entry = MockConfigEntry(domain=DOMAIN, unique_id=None, data={})
    entry.add_to_hass(hass)
    await hass.config_entries.async_remove(entry.entry_id)
    assert not hass.config_entries.async_entries(DOMAIN)


async def test_a_platform_that_does_not_unload_keeps_the_lock(
    hass: HomeAssistant, world: World, entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> bool:
        return False

    with monkeypatch.context() as patched:
        patched.setattr(hass.config_entries, "async_unload_platforms", refuse)
        assert not await hass.config_entries.async_unload(entry.entry_id)
    assert entry.state is ConfigEntryState.FAILED_UNLOAD
    await entry.runtime_data.client.async_close()
    await entry._async_process_on_unload(hass)


async def test_the_device_page_tells_what_is_known(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    assert device.identifiers == {(DOMAIN, lock.unique_id)}
    assert device.connections == {("bluetooth", lock.address)}
    assert device.model == "Test lock"
    assert device.serial_number == lock.unique_id
