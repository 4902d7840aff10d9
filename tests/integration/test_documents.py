"""The examples of the documents, read from there and run."""

from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from documents import ROOT, Runs, examples
from folk import Folk
from homeassistant.components.automation.config import async_validate_config_item
from homeassistant.components.trace.const import DATA_TRACE
from homeassistant.util import dt as dt_util

from blueprints import listen, stop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from homeassistant.core import HomeAssistant
    from world import TestLock, World

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
KEYPAD = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD
PIN = "384729"
run = Runs("docs/automations.md")


@pytest.fixture
async def lock(world: World) -> TestLock:
    """A lock with a keypad."""
    return world.add_lock(KEYPAD)


@pytest.fixture
async def anna(world: World, lock: TestLock, entry: object) -> str:
    """Somebody with a PIN, which the lock knows."""
    person_id = await Folk(world).add("Anna", lock, pin=PIN)
    await world.advance(60, 1)
    return person_id


@pytest.fixture
async def told(hass: HomeAssistant) -> list[dict[str, Any]]:
    """Collect the notifications."""
    return listen(hass, "persistent_notification", "create")


def messages(told: list[dict[str, Any]]) -> list[str]:
    return [one["message"] for one in told]


@pytest.fixture(autouse=True)
async def _stop(hass: HomeAssistant, world: World) -> AsyncGenerator[None]:
    yield
    await stop(hass)


async def until(world: World, hour: int, minute: int) -> None:
    """Let time pass until just before a time of day."""
    now = dt_util.now()
    then = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    await world.advance((then - now).total_seconds() % 86400 - 5, 60)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
async def test_every_automation_of_the_documents_is_one(
    hass: HomeAssistant, world: World, document: Path
) -> None:
    for example in examples(str(document.relative_to(ROOT))):
        for item in example.config().get("automation", ()):
            checked = await async_validate_config_item(hass, "x", item)
            assert checked is not None
            assert checked.validation_status == "ok", checked.validation_error


def test_every_example_of_the_page_is_run() -> None:
    assert run.asked == set(run.examples)


@run("Lock the front door at night")
async def test_the_night_locks_only_beside_a_closed_door(
    hass: HomeAssistant, world: World, lock: TestLock, quiet: None
) -> None:
    await run["Lock the front door at night"].set_up(hass, lock)
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    lock.core.door_sensed(True)
    await until(world, 22, 30)
    await world.advance(10)
    assert not lock.operations
    lock.core.door_sensed(False)
    await until(world, 22, 30)
    await world.advance(10)
    assert lock.operations == [c.OP_LOCK]


@run("The front door was left open")
async def test_a_door_that_stays_open_is_told(
    hass: HomeAssistant, world: World, lock: TestLock, quiet: None, told: list[dict[str, Any]]
) -> None:
    await run["The front door was left open"].set_up(hass, lock)
    lock.core.door_sensed(True)
    await world.advance(290, 1)
    assert messages(told) == []
    await world.advance(20, 1)
    assert messages(told) == ["The door has been open for five minutes."]


@run("The front door is jammed")
async def test_a_jam_is_told_whoever_moved_the_bolt(
    hass: HomeAssistant, world: World, lock: TestLock, quiet: None, told: list[dict[str, Any]]
) -> None:
    await run["The front door is jammed"].set_up(hass, lock)
    lock.jammed = True
    lock.core.button_pressed()
    await world.advance(3)
    assert messages(told) == ["The bolt is stuck. Close the door fully, then try again."]


@run("Lock the front door and tell when it failed")
@pytest.mark.parametrize("why", ["jammed", "unavailable", None])
async def test_a_failure_is_told_and_stops_nothing(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    quiet: None,
    told: list[dict[str, Any]],
    why: str | None,
) -> None:
    await run["Lock the front door and tell when it failed"].set_up(hass, lock)
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.settle()
    lock.jammed = why == "jammed"
    if why == "unavailable":
        lock.silent = True
        await world.advance(100, 10)
    hass.bus.async_fire("bedtime")
    await world.advance(5)
    assert messages(told) == ([f"It could not be locked and is {why}."] if why else [])


@run("Front door moved by")
async def test_who_moved_it_last_is_text(
    hass: HomeAssistant, world: World, lock: TestLock, quiet: None
) -> None:
    await run["Front door moved by"].set_up(hass, lock)
    shown = "sensor.front_door_moved_by"
    await world.call(lock, "unlock")
    await world.advance(3)
    assert (state := hass.states.get(shown)) is not None
    assert state.state == "Home Assistant"
    lock.core.button_pressed()
    await world.advance(4)
    assert (state := hass.states.get(shown)) is not None
    assert state.state == "Button inside"


@run("The front door needs a battery")
async def test_a_low_battery_is_told(
    hass: HomeAssistant, world: World, lock: TestLock, quiet: None, told: list[dict[str, Any]]
) -> None:
    await run["The front door needs a battery"].set_up(hass, lock)
    lock.core.battery_measured(9, True)
    await world.advance(3)
    assert messages(told) == ["The battery is low."]


@run("Who came home")
async def test_who_came_home_is_told(
    hass: HomeAssistant, world: World, lock: TestLock, anna: str, told: list[dict[str, Any]]
) -> None:
    await run["Who came home"].set_up(hass, lock)
    await world.call(lock, "unlock")
    await world.advance(10)
    assert messages(told) == []
    await world.call(lock, "lock")
    lock.core.pin_entered(PIN)
    await world.advance(10)
    assert messages(told) == ["Anna came in (keypad)."]


@run("Anna came home")
async def test_a_person_is_told_wherever_they_come_in(
    hass: HomeAssistant, world: World, lock: TestLock, anna: str, told: list[dict[str, Any]]
) -> None:
    await run["Anna came home"].set_up(hass, lock)
    lock.core.pin_entered(PIN)
    await world.advance(10)
    assert messages(told) == ["Anna is at IGRS-9CFF."]


@run("guest_with_pin")
async def test_a_script_lets_a_guest_in_and_returns_the_pin(
    hass: HomeAssistant, world: World, lock: TestLock, quiet: None
) -> None:
    await run["guest_with_pin"].set_up(hass, lock)
    answer = await world.during(
        hass.services.async_call(
            "script",
            "guest_with_pin",
            {"guest": "Gerda", "hours": 3},
            blocking=True,
            return_response=True,
        )
    )
    assert answer["pending"] is False
    assert lock.core.pin_entered(str(answer["pin"])) == c.ACCEPTED
    (account,) = [one for one in lock.core.accounts.used() if one.not_after]
    assert account.not_after == pytest.approx(world.now() + 3 * 3600, abs=30)
    assert not [trace for bucket in hass.data[DATA_TRACE].values() for trace in bucket.runs]


@run("last_night")
async def test_a_script_tells_what_happened_last_night(
    hass: HomeAssistant, world: World, lock: TestLock, anna: str, told: list[dict[str, Any]]
) -> None:
    await run["last_night"].set_up(hass, lock)
    await until(world, 21, 0)
    lock.core.pin_entered(PIN)  # too early to be of the night
    await until(world, 23, 0)
    lock.core.pin_entered("550123")
    await world.advance(120, 1)
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    lock.core.pin_entered(PIN)
    await until(world, 7, 0)
    await world.during(hass.services.async_call("script", "last_night", {}, blocking=True))
    ((message,),) = [messages(told)]
    assert [line.split() for line in message.split("- ") if line] == [
        ["22:59", "wrong_pin", "keypad"],
        ["23:01", "unlocked", "Anna"],
    ]
