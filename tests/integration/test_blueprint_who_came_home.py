"""Blueprint: tell me who came home."""

from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from folk import Folk
from homeassistant.util import dt as dt_util

from blueprints import automate, listen, stop, tell

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from homeassistant.core import HomeAssistant
    from world import TestLock, World

KEYPAD = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD
PINS = {"Anna": "384729", "Bora": "902716"}
TOLD = ("who", "lock_name", "source", "message")


@pytest.fixture
async def lock(world: World) -> TestLock:
    """A lock with a keypad."""
    return world.add_lock(KEYPAD)


@pytest.fixture
async def told(hass: HomeAssistant) -> list[dict[str, Any]]:
    return listen(hass)


@pytest.fixture(autouse=True)
async def _people(
    hass: HomeAssistant, world: World, lock: TestLock, entry: object, told: object
) -> AsyncGenerator[None]:
    """Anna and Bora live here, each with a PIN."""
    for name, pin in PINS.items():
        await Folk(world).add(name, lock, pin=pin)
    await world.advance(60, 1)
    yield
    await stop(hass)


async def make(hass: HomeAssistant, lock: TestLock, activity: str = "", **inputs: Any) -> None:
    activity = activity or f"event.{lock.entity}_activity"
    await automate(hass, "who_came_home", activity=[activity], tell=tell(*TOLD), **inputs)


async def types(world: World, lock: TestLock, pin: str) -> None:
    """Somebody types a PIN and comes in, and locks behind them."""
    lock.core.pin_entered(pin)
    await world.advance(20, 0.25)
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    await world.advance(20, 0.25)


def names(told: list[dict[str, Any]]) -> list[str]:
    return [one["who"] for one in told]


async def test_it_tells_who_came_in_how_where_and_when(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock)
    time = f"{dt_util.now():%H:%M}"
    await types(world, lock, PINS["Anna"])
    assert told == [
        {
            "who": "Anna",
            "lock_name": "IGRS-9CFF",
            "source": "keypad",
            "message": f"Anna unlocked IGRS-9CFF at {time}",
        }
    ]


async def test_a_persons_activity_says_at_which_lock(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock, "event.anna_activity")
    await types(world, lock, PINS["Bora"])
    await types(world, lock, PINS["Anna"])
    assert [(one["who"], one["lock_name"]) for one in told] == [("Anna", "IGRS-9CFF")]


async def test_people_can_be_chosen(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock, people=["Bora"])
    await types(world, lock, PINS["Anna"])
    await types(world, lock, PINS["Bora"])
    assert names(told) == ["Bora"]


async def test_ways_can_be_chosen(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock, sources=["bluetooth"])
    await types(world, lock, PINS["Anna"])
    assert not told


@pytest.mark.parametrize("nobody_known", [False, True])
async def test_what_is_done_inside_or_by_home_assistant_is_no_arrival(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    told: list[dict[str, Any]],
    nobody_known: bool,
) -> None:
    await make(hass, lock, nobody_known=nobody_known)
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.advance(10)
    lock.core.button_pressed()
    await world.advance(10)
    lock.core.button_pressed()
    await world.advance(10)
    await world.call(lock, "lock")
    await world.call(lock, "open")
    await world.advance(20)
    assert not told


async def test_what_was_not_heard_in_time_is_not_told_late(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock)
    lock.silent = True
    await types(world, lock, PINS["Anna"])
    await world.advance(600, 10)
    lock.silent = False
    await world.advance(60, 1)
    assert not told
    await types(world, lock, PINS["Bora"])
    assert names(told) == ["Bora"]


async def test_two_who_come_one_after_the_other_are_both_told(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock)
    lock.core.pin_entered(PINS["Anna"])
    await world.advance(1.5)
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    lock.core.pin_entered(PINS["Bora"])
    await world.advance(20)
    assert names(told) == ["Anna", "Bora"]


async def test_nothing_is_told_when_the_integration_starts_again(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]], entry: Any
) -> None:
    await make(hass, lock)
    await types(world, lock, PINS["Anna"])
    told.clear()
    await world.during(hass.config_entries.async_reload(entry.entry_id))
    await world.advance(10)
    assert world.state(lock) == "locked"
    assert not told
