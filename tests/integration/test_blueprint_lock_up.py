"""Blueprint: lock when everybody left, and at night, never beside an open door."""

from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from homeassistant.util import dt as dt_util

from blueprints import automate, listen, stop, tell

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from homeassistant.core import HomeAssistant
    from world import TestLock, World

ANNA, BORA = "person.anna", "person.bora"
MINUTE = 60


@pytest.fixture
async def told(hass: HomeAssistant) -> list[dict[str, Any]]:
    return listen(hass)


@pytest.fixture
async def door(lock: TestLock) -> str:
    return f"binary_sensor.{lock.entity}_door"


@pytest.fixture(autouse=True)
async def evening(
    hass: HomeAssistant, world: World, lock: TestLock, quiet: None
) -> AsyncGenerator[None]:
    """At seven two people are at home, and the door is not locked."""
    seven = dt_util.now().replace(hour=19, minute=0, second=0, microsecond=0)
    await world.advance((seven - dt_util.now()).total_seconds() % 86400, 300)
    hass.states.async_set(ANNA, "home")
    hass.states.async_set(BORA, "home")
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.advance(2)
    assert world.state(lock) == "unlocked"
    yield
    await stop(hass)


async def make(hass: HomeAssistant, lock: TestLock, **inputs: Any) -> None:
    await automate(
        hass, "lock_up", lock=f"lock.{lock.entity}", tell=tell("reason", "message"), **inputs
    )


async def until_night(world: World) -> None:
    await world.advance(3.5 * 3600 - 10, 60)


async def test_it_locks_a_while_after_the_last_one_left(
    hass: HomeAssistant, world: World, lock: TestLock, door: str, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock, people=[ANNA, BORA], door=[door])
    hass.states.async_set(ANNA, "not_home")
    await world.advance(10 * MINUTE, 10)
    assert not lock.operations
    hass.states.async_set(BORA, "Work")
    await world.advance(2.5 * MINUTE, 1)
    assert not lock.operations
    await world.advance(MINUTE, 1)
    assert lock.operations == [c.OP_LOCK]
    assert world.state(lock) == "locked"
    assert not told


@pytest.mark.parametrize("where", ["home", "unknown", "unavailable"])
async def test_it_does_not_lock_out_somebody_of_whom_it_is_not_known_where_they_are(
    hass: HomeAssistant, world: World, lock: TestLock, where: str, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock, people=[ANNA, BORA])
    hass.states.async_set(ANNA, where)
    hass.states.async_set(BORA, "not_home")
    await world.advance(10 * MINUTE, 10)
    assert not lock.operations
    assert not told


async def test_somebody_who_only_takes_the_rubbish_out_is_not_locked_out(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    await make(hass, lock, people=[ANNA])
    hass.states.async_set(ANNA, "not_home")
    await world.advance(2 * MINUTE, 10)
    hass.states.async_set(ANNA, "home")
    await world.advance(10 * MINUTE, 10)
    assert not lock.operations


async def test_it_locks_at_night(
    hass: HomeAssistant, world: World, lock: TestLock, door: str, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock, door=[door])
    await until_night(world)
    assert not lock.operations
    await world.advance(30, 1)
    assert world.state(lock) == "locked"
    assert not told


async def test_at_night_it_leaves_alone_what_is_locked(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock)
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    await until_night(world)
    await world.advance(30, 1)
    assert not lock.operations
    assert not told


async def test_the_night_can_be_left_out(hass: HomeAssistant, world: World, lock: TestLock) -> None:
    await make(hass, lock, at_night=False)
    await until_night(world)
    await world.advance(30, 1)
    assert not lock.operations


async def test_it_waits_for_the_door(
    hass: HomeAssistant, world: World, lock: TestLock, door: str, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock, door=[door])
    lock.core.door_sensed(True)
    await until_night(world)
    await world.advance(5 * MINUTE, 1)
    assert not lock.operations
    lock.core.door_sensed(False)
    await world.advance(10, 1)
    assert world.state(lock) == "locked"
    assert not told


async def test_it_tells_of_a_door_that_stays_open_and_moves_no_bolt(
    hass: HomeAssistant, world: World, lock: TestLock, door: str, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock, door=[door])
    lock.core.door_sensed(True)
    await until_night(world)
    await world.advance(11 * MINUTE, 10)
    assert not lock.operations
    assert told == [{"reason": "open", "message": "IGRS-9CFF is not locked: the door is open."}]
    lock.core.door_sensed(False)
    await world.advance(MINUTE, 1)
    assert not lock.operations  # it said that it is not locked


async def test_without_a_sensor_of_ones_choice_the_locks_own_is_asked(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock)
    lock.core.door_sensed(True)
    await until_night(world)
    await world.advance(11 * MINUTE, 10)
    assert not lock.operations
    assert [one["reason"] for one in told] == ["open"]


async def test_it_tells_of_a_door_sensor_that_is_silent(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    hass.states.async_set("binary_sensor.other_door", "unavailable")
    await make(hass, lock, door=["binary_sensor.other_door"])
    await until_night(world)
    await world.advance(11 * MINUTE, 10)
    assert not lock.operations
    assert [one["reason"] for one in told] == ["unknown"]


async def test_it_does_not_lock_when_somebody_came_back_while_it_waited_for_the_door(
    hass: HomeAssistant, world: World, lock: TestLock, door: str, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock, people=[ANNA], door=[door])
    lock.core.door_sensed(True)
    hass.states.async_set(ANNA, "not_home")
    await world.advance(5 * MINUTE, 1)
    hass.states.async_set(ANNA, "home")
    await world.advance(5, 1)
    lock.core.door_sensed(False)
    await world.advance(MINUTE, 1)
    assert not lock.operations
    assert not told


async def test_the_night_counts_although_somebody_came_back_just_before(
    hass: HomeAssistant, world: World, lock: TestLock, door: str
) -> None:
    await make(hass, lock, people=[ANNA], door=[door])
    await world.advance(3.4 * 3600, 30)
    lock.core.door_sensed(True)
    hass.states.async_set(ANNA, "not_home")  # six minutes before the night's time
    await world.advance(8 * MINUTE, 1)
    hass.states.async_set(ANNA, "home")
    await world.advance(5, 1)
    lock.core.door_sensed(False)
    await world.advance(MINUTE, 1)
    assert world.state(lock) == "locked"


async def test_it_tells_of_a_jam(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock)
    lock.jammed = True
    await until_night(world)
    await world.advance(30, 1)
    assert [one["reason"] for one in told] == ["jammed"]
    assert "the bolt is stuck" in told[0]["message"]


@pytest.mark.parametrize("other_sensor", [False, True])
async def test_it_tells_of_a_lock_that_does_not_answer(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    told: list[dict[str, Any]],
    other_sensor: bool,
) -> None:
    hass.states.async_set("binary_sensor.other_door", "off")
    await make(hass, lock, **({"door": ["binary_sensor.other_door"]} if other_sensor else {}))
    await world.advance(3 * 3600, 60)
    lock.silent = True
    await world.advance(0.5 * 3600 + 11 * MINUTE, 30)
    assert [one["reason"] for one in told] == ["no_answer"]


async def test_it_locks_when_the_lock_comes_back_into_reach(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock)
    await world.advance(3.4 * 3600, 60)
    lock.silent = True
    await world.advance(8 * MINUTE, 30)
    assert world.state(lock) == "unavailable"
    lock.silent = False
    await world.advance(20, 1)
    assert world.state(lock) == "locked"
    assert not told


async def test_it_tells_when_nobody_knows_why(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock)
    lock.core.battery_measured(1, True)
    lock.stuck = True
    await until_night(world)
    await world.advance(2 * MINUTE, 1)
    assert [one["reason"] for one in told] == ["failed"]


async def test_without_an_action_of_ones_own_it_shows_a_notification(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    shown = listen(hass, "persistent_notification", "create")
    await automate(hass, "lock_up", lock=f"lock.{lock.entity}")
    lock.jammed = True
    await until_night(world)
    await world.advance(30, 1)
    assert shown == [
        {
            "title": "IGRS-9CFF",
            "message": "IGRS-9CFF is not locked: the bolt is stuck. "
            "Close the door fully, then try again.",
        }
    ]
