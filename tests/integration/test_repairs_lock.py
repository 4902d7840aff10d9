"""An open door, a failed auto-lock, a low battery and a lock out of reach are told, and untold."""

from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from homeassistant.config_entries import ConfigEntryDisabler
from homeassistant.helpers import issue_registry as ir
from world import DOMAIN

from custom_components.igrs_lock import ilp

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from world import TestLock, World


@pytest.fixture
async def lock(world: World) -> TestLock:
    """A lock with a door sensor that can lock by itself."""
    return world.add_lock(c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_AUTO_LOCK)


def issue(hass: HomeAssistant, lock: TestLock, key: str) -> ir.IssueEntry | None:
    """Return an issue of a lock, if it is raised."""
    found = ir.async_get(hass).async_get_issue(DOMAIN, f"{key}_{lock.unique_id}")
    return found if found is not None and found.active else None


def told(hass: HomeAssistant, world: World, lock: TestLock, key: str) -> bool:
    """Whether both the binary sensor and a repair tell of something."""
    shown = world.state(lock, "binary_sensor", f"_{key}") == "on"
    assert shown is (issue(hass, lock, key) is not None)
    return shown


async def restart(hass: HomeAssistant, world: World, entry: Any, seconds: float = 2) -> None:
    """Stop following the lock and begin anew, with what is on disk."""
    await hass.config_entries.async_unload(entry.entry_id)
    await world.advance(seconds)
    await hass.config_entries.async_setup(entry.entry_id)
    await world.advance(2)


async def auto_lock(world: World, lock: TestLock, entry: Any, seconds: int) -> None:
    """Switch auto-lock on."""
    options = entry.runtime_data.options
    await world.during(options.async_set(ilp.Option.AUTO_LOCK_SECONDS, seconds))
    await world.advance(6)


# --- the door ---------------------------------------------------------------------------------


async def test_a_door_left_open_is_told_until_it_is_closed(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    lock.core.door_sensed(True)
    await world.advance(9.9 * 60, step=5)
    assert not told(hass, world, lock, "door_left_open")
    await world.advance(10)
    assert told(hass, world, lock, "door_left_open")
    raised = issue(hass, lock, "door_left_open")
    assert raised is not None
    assert raised.translation_placeholders == {"name": entry.title, "minutes": "10"}
    assert not raised.is_fixable
    lock.core.door_sensed(False)
    await world.advance(1)
    assert not told(hass, world, lock, "door_left_open")


async def test_closing_the_door_for_a_moment_begins_the_time_anew(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    lock.core.door_sensed(True)
    await world.advance(9 * 60, step=5)
    lock.core.door_sensed(False)
    await world.advance(2)
    lock.core.door_sensed(True)
    await world.advance(9 * 60, step=5)
    assert not told(hass, world, lock, "door_left_open")
    await world.advance(70, step=5)
    assert told(hass, world, lock, "door_left_open")


async def test_the_owner_chooses_the_minutes_or_none(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    hass.config_entries.async_update_entry(entry, options={"door_left_open": 1})
    lock.core.door_sensed(True)
    await restart(hass, world, entry)
    await world.advance(61)
    assert told(hass, world, lock, "door_left_open")
    hass.config_entries.async_update_entry(entry, options={"door_left_open": 0})
    await restart(hass, world, entry)
    await world.advance(61)
    assert world.state(lock, "binary_sensor", "_door_left_open") == "unknown"
    assert issue(hass, lock, "door_left_open") is None


async def test_an_open_door_is_counted_on_over_a_restart_in_which_nothing_happened(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    lock.core.door_sensed(True)
    await world.advance(8 * 60, step=5)
    await restart(hass, world, entry, 60)
    assert not told(hass, world, lock, "door_left_open")
    await world.advance(65, step=5)
    assert told(hass, world, lock, "door_left_open")
    await restart(hass, world, entry, 60)
    assert told(hass, world, lock, "door_left_open")


async def test_a_door_that_may_have_been_closed_meanwhile_is_counted_anew(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    lock.core.door_sensed(True)
    await world.advance(11 * 60, step=5)
    assert told(hass, world, lock, "door_left_open")
    await hass.config_entries.async_unload(entry.entry_id)
    lock.core.door_sensed(False)
    await world.advance(30)
    lock.core.door_sensed(True)
    await hass.config_entries.async_setup(entry.entry_id)
    await world.advance(2)
    assert not told(hass, world, lock, "door_left_open")
    await world.advance(11 * 60, step=5)
    assert told(hass, world, lock, "door_left_open")


async def test_a_clock_that_is_set_raises_no_alarm(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lock.core.door_sensed(True)
    await world.advance(2)
    with monkeypatch.context() as patched:
        # A machine without a clock of its own begins in the past.
        patched.setattr("custom_components.igrs_lock.watch.time.time", lambda: 1_000.0)
        await restart(hass, world, entry)
        lock.core.door_sensed(False)
        await world.advance(1)
        lock.core.door_sensed(True)
        await world.advance(1)
    await restart(hass, world, entry)
    assert not told(hass, world, lock, "door_left_open")


async def test_while_the_lock_is_not_heard_nothing_is_taken_back(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    lock.core.door_sensed(True)
    await world.advance(11 * 60, step=5)
    lock.silent = True
    await world.advance(200, step=5)
    assert world.state(lock, "binary_sensor", "_door_left_open") == "unavailable"
    assert issue(hass, lock, "door_left_open") is not None
    lock.silent = False
    await world.advance(3)
    assert told(hass, world, lock, "door_left_open")


# --- auto-lock --------------------------------------------------------------------------------


async def test_auto_lock_that_works_is_no_problem(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await auto_lock(world, lock, entry, 30)
    await world.call(lock, "unlock")
    for _ in range(12):
        await world.advance(10)
        assert not told(hass, world, lock, "auto_lock_failed")
    assert world.state(lock) == "locked"


async def test_a_bolt_that_auto_lock_did_not_move_is_told(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await auto_lock(world, lock, entry, 30)
    await world.call(lock, "unlock")
    lock.core.battery_measured(1, True)  # too low to move the bolt
    await world.advance(85, step=1)
    assert not told(hass, world, lock, "auto_lock_failed")
    await world.advance(10)
    assert told(hass, world, lock, "auto_lock_failed")
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    await world.advance(1)
    assert not told(hass, world, lock, "auto_lock_failed")


async def test_unlocking_again_gives_the_bolt_time(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await auto_lock(world, lock, entry, 30)
    await world.call(lock, "unlock")
    await world.advance(25)
    await world.call(lock, "unlock")
    lock.core.battery_measured(1, True)
    await world.advance(70)
    assert not told(hass, world, lock, "auto_lock_failed")
    await world.advance(30)
    assert told(hass, world, lock, "auto_lock_failed")


async def test_an_open_door_is_no_failure_of_auto_lock(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await auto_lock(world, lock, entry, 30)
    await world.call(lock, "unlock")
    lock.core.door_sensed(True)
    await world.advance(150, step=1)
    assert not told(hass, world, lock, "auto_lock_failed")


async def test_a_jam_of_auto_lock_is_told_when_it_stays(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await auto_lock(world, lock, entry, 30)
    await world.call(lock, "unlock")
    lock.jammed = True
    async with entry.runtime_data.async_hold():
        await world.advance(45)
    assert world.state(lock) == "jammed"
    assert not told(hass, world, lock, "auto_lock_failed")
    await world.advance(30)
    assert told(hass, world, lock, "auto_lock_failed")
    lock.jammed = False
    await world.call(lock, "lock")
    assert not told(hass, world, lock, "auto_lock_failed")


async def test_whether_auto_lock_failed_is_not_known_before_its_delay(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    entry.runtime_data.remembered.pop("options", None)
    entry.runtime_data.watch._async_update()
    assert entry.runtime_data.watch.auto_lock_failed is None


# --- battery and reach ------------------------------------------------------------------------


async def test_a_low_battery_is_told_by_the_locks_own_word(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    lock.core.battery_measured(9, False)
    await world.advance(1)
    assert not told(hass, world, lock, "low_battery")
    lock.core.battery_measured(12, True)
    await world.advance(1)
    assert told(hass, world, lock, "low_battery")
    lock.core.battery_measured(90, False)
    await world.advance(1)
    assert not told(hass, world, lock, "low_battery")


async def test_a_lock_out_of_reach_for_an_hour_is_told_with_the_reason(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    lock.silent = True
    await world.advance(3600, step=10)
    assert issue(hass, lock, "out_of_reach") is None
    await world.advance(200, step=10)
    raised = issue(hass, lock, "out_of_reach")
    assert raised is not None
    assert raised.translation_placeholders is not None
    assert raised.translation_placeholders["name"] == entry.title
    assert len(raised.translation_placeholders["reason"]) > 10
    lock.silent = False
    await world.advance(2)
    assert issue(hass, lock, "out_of_reach") is None


async def test_after_a_start_the_lock_has_its_hour(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    lock.silent = True
    await world.advance(3400, step=10)
    await restart(hass, world, entry)
    await world.advance(3500, step=10)
    assert issue(hass, lock, "out_of_reach") is None
    await world.advance(200, step=10)
    assert issue(hass, lock, "out_of_reach") is not None


async def test_nothing_is_told_of_a_lock_that_was_disabled_or_removed(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    lock.core.battery_measured(9, True)
    await world.advance(1)
    assert issue(hass, lock, "low_battery") is not None
    await hass.config_entries.async_set_disabled_by(entry.entry_id, ConfigEntryDisabler.USER)
    await world.advance(4000, step=10)
    assert not [one for one in ir.async_get(hass).issues.values() if lock.unique_id in one.issue_id]
    await hass.config_entries.async_set_disabled_by(entry.entry_id, None)
    await world.advance(2)
    assert issue(hass, lock, "low_battery") is not None
    await hass.config_entries.async_remove(entry.entry_id)
    assert issue(hass, lock, "low_battery") is None
