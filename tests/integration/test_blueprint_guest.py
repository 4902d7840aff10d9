"""Blueprint: let a guest in, from a calendar or at the press of a button."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, override

import pytest
from bsld import const as c
from folk import Folk
from homeassistant.components.calendar import CalendarEntity, CalendarEvent
from homeassistant.components.calendar.const import DATA_COMPONENT
from homeassistant.components.trace.const import DATA_TRACE
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util

from blueprints import automate, listen, stop, tell

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from homeassistant.core import HomeAssistant
    from world import TestLock, World

KEYPAD = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD
CALENDAR = "calendar.guests"
BUTTON = "input_button.let_in"
TOLD = ("outcome", "guest_name", "message", "pin")
MINUTE, HOUR = 60, 3600


class Calendar(CalendarEntity):
    """A calendar that a test writes into."""

    _attr_name = "Guests"

    def __init__(self) -> None:
        self.events: list[CalendarEvent] = []

    @property
    @override
    def event(self) -> CalendarEvent | None:
        return None

    @override
    async def async_get_events(
        self, hass: HomeAssistant, start_date: datetime, end_date: datetime
    ) -> list[CalendarEvent]:
        return [
            event
            for event in self.events
            if event.start_datetime_local < end_date and event.end_datetime_local > start_date
        ]

    def write(self, summary: str, begin: datetime, end: datetime) -> None:
        self.events.append(CalendarEvent(start=begin, end=end, summary=summary))


@pytest.fixture
async def lock(world: World) -> TestLock:
    """A lock with a keypad."""
    return world.add_lock(KEYPAD)


@pytest.fixture
async def told(hass: HomeAssistant) -> list[dict[str, Any]]:
    return listen(hass)


@pytest.fixture
async def calendar(hass: HomeAssistant, world: World) -> Calendar:
    assert await async_setup_component(hass, "calendar", {})
    entity = Calendar()
    await hass.data[DATA_COMPONENT].async_add_entities([entity])
    await hass.async_block_till_done()
    return entity


@pytest.fixture(autouse=True)
async def _stop(
    hass: HomeAssistant, world: World, entry: object, told: object
) -> AsyncGenerator[None]:
    assert await async_setup_component(hass, "input_button", {"input_button": {"let_in": {}}})
    yield
    await stop(hass)


async def make(hass: HomeAssistant, lock: TestLock, **inputs: Any) -> None:
    await automate(
        hass, "let_a_guest_in", locks=[f"lock.{lock.entity}"], tell=tell(*TOLD), **inputs
    )


async def press(hass: HomeAssistant, world: World) -> None:
    await world.during(
        hass.services.async_call("input_button", "press", {"entity_id": BUTTON}, blocking=True)
    )
    await world.advance(30, 1)


async def users(hass: HomeAssistant, lock: TestLock) -> dict[str, dict[str, Any]]:
    """Who has access to a lock, by name."""
    entity = f"lock.{lock.entity}"
    rows: Any = await hass.services.async_call(
        "igrs_lock", "get_users", {"entity_id": entity}, blocking=True, return_response=True
    )
    return {row["name"]: row for row in rows[entity]["users"]}


def local(hour: int, *, days: int = 1) -> datetime:
    """An hour of tomorrow."""
    day = dt_util.now() + timedelta(days=days)
    return day.replace(hour=hour, minute=0, second=0, microsecond=0)


async def until(world: World, moment: datetime) -> None:
    await world.advance((moment - dt_util.now()).total_seconds(), 60)


async def test_a_press_lets_the_guest_in_for_two_hours_and_no_longer(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock, guest="Gerda", buttons=[BUTTON])
    begin = dt_util.now().replace(microsecond=0)
    await press(hass, world)
    (row,) = [row for name, row in (await users(hass, lock)).items() if name == "Gerda"]
    assert row["kind"] == "guest"
    assert row["state"] == "active"
    assert row["credentials"] == []
    end = datetime.fromisoformat(row["not_after"])
    assert timedelta(hours=2) <= end - begin < timedelta(hours=2, seconds=2)
    (account,) = [one for one in lock.core.accounts.used() if one.not_after]
    assert account.not_after == int(end.timestamp())  # the lock keeps to it by itself
    assert [(one["outcome"], one["guest_name"], one["pin"]) for one in told] == [
        ("ready", "Gerda", "")
    ]
    assert told[0]["message"].startswith("Gerda may come in from ")
    await world.advance(2 * HOUR + MINUTE, 30)
    assert "Gerda" not in await users(hass, lock)
    assert not [one for one in lock.core.accounts.used() if one.not_after]


async def test_the_guest_may_be_kept_at_the_end(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    await make(hass, lock, guest="Gerda", buttons=[BUTTON], remove=False)
    await press(hass, world)
    await world.advance(2 * HOUR + MINUTE, 30)
    assert (await users(hass, lock))["Gerda"]["kind"] == "guest"


async def test_a_guest_who_was_given_more_time_stays(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    await make(hass, lock, guest="Gerda", buttons=[BUTTON])
    await press(hass, world)
    await world.advance(HOUR, 30)
    await press(hass, world)
    await world.advance(1.5 * HOUR, 30)
    assert "Gerda" in await users(hass, lock)
    await world.advance(HOUR, 30)
    assert "Gerda" not in await users(hass, lock)


async def test_a_pin_is_made_told_and_works_at_the_keypad(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock, guest="Gerda", buttons=[BUTTON], make_pin=True)
    await press(hass, world)
    ((outcome, pin),) = [(one["outcome"], str(one["pin"])) for one in told]
    assert outcome == "ready"
    assert len(pin) == 6
    assert told[0]["message"].endswith(f" The PIN is {pin}.")
    assert lock.core.pin_entered(pin) == c.ACCEPTED
    await world.advance(3)
    assert world.state(lock) == "unlocked"


async def test_the_pin_stays_in_no_trace(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock, guest="Gerda", buttons=[BUTTON], make_pin=True, remove=False)
    await press(hass, world)
    assert told[0]["pin"]
    assert not [trace for bucket in hass.data[DATA_TRACE].values() for trace in bucket.runs]


@pytest.mark.parametrize("name", ["Anna", "anna"])
async def test_somebody_who_lives_here_is_left_alone(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]], name: str
) -> None:
    await Folk(world).add("Anna", lock)
    await world.advance(30, 1)
    before = (await users(hass, lock))["Anna"]
    await make(hass, lock, guest=name, buttons=[BUTTON], make_pin=True)
    await press(hass, world)
    assert (await users(hass, lock))["Anna"] == before
    assert [one["outcome"] for one in told] == ["not_a_guest"]
    await world.advance(3 * HOUR, 60)
    assert (await users(hass, lock))["Anna"] == before


async def test_a_lock_out_of_reach_is_said_to_be_told_later(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock, guest="Gerda", buttons=[BUTTON])
    lock.silent = True
    await world.advance(100, 10)
    await press(hass, world)
    await world.advance(MINUTE, 1)
    assert [one["outcome"] for one in told] == ["pending"]
    lock.silent = False
    await world.advance(MINUTE, 1)
    assert (await users(hass, lock))["Gerda"]["state"] == "active"


async def test_a_failure_is_told(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    await make(hass, lock, guest="Gerda", buttons=[BUTTON], stay={"seconds": 0})
    await press(hass, world)
    assert [one["outcome"] for one in told] == ["failed"]


async def test_an_event_lets_somebody_in_from_its_begin_to_its_end(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    calendar: Calendar,
    told: list[dict[str, Any]],
) -> None:
    begin, end = local(15), local(18)
    calendar.write("Gerda", begin, end)
    await make(hass, lock, calendars=[CALENDAR], make_pin=True)
    await until(world, begin - timedelta(hours=2, minutes=1))
    assert "Gerda" not in await users(hass, lock)
    await world.advance(2 * MINUTE, 1)
    row = (await users(hass, lock))["Gerda"]
    assert datetime.fromisoformat(row["not_before"]) == begin
    assert datetime.fromisoformat(row["not_after"]) == end
    ((outcome, pin),) = [(one["outcome"], str(one["pin"])) for one in told]
    assert outcome == "ready"
    assert lock.core.pin_entered(pin) != c.ACCEPTED  # two hours too early
    await until(world, begin + timedelta(minutes=1))
    assert lock.core.pin_entered(pin) == c.ACCEPTED
    assert len(told) == 1  # not again at the begin
    await until(world, end - timedelta(minutes=1))
    assert "Gerda" in await users(hass, lock)
    await world.advance(3 * MINUTE, 1)
    assert "Gerda" not in await users(hass, lock)


async def test_an_event_written_down_late_counts_too(
    hass: HomeAssistant, world: World, lock: TestLock, calendar: Calendar
) -> None:
    begin, end = local(15), local(18)
    await make(hass, lock, calendars=[CALENDAR])
    await until(world, begin - timedelta(hours=1))
    calendar.write("Gerda", begin, end)
    await until(world, begin + timedelta(minutes=1))
    assert datetime.fromisoformat((await users(hass, lock))["Gerda"]["not_after"]) == end


async def test_the_guest_of_a_calendar_can_be_one_for_all_events(
    hass: HomeAssistant, world: World, lock: TestLock, calendar: Calendar
) -> None:
    calendar.write("Cleaning", local(15), local(18))
    await make(hass, lock, calendars=[CALENDAR], guest="Gerda", remove=False)
    await until(world, local(14, days=1) + timedelta(minutes=1))
    names = await users(hass, lock)
    assert "Gerda" in names
    assert "Cleaning" not in names


async def test_an_event_never_removes_somebody_who_lives_here(
    hass: HomeAssistant, world: World, lock: TestLock, calendar: Calendar
) -> None:
    await Folk(world).add("Anna", lock)
    calendar.write("Anna", local(15), local(18))
    await make(hass, lock, calendars=[CALENDAR])
    before = (await users(hass, lock))["Anna"]
    await until(world, local(18) + timedelta(minutes=2))
    assert (await users(hass, lock))["Anna"]["not_after"] == before["not_after"] is None


async def test_an_event_that_was_called_off_before_is_nobody(
    hass: HomeAssistant, world: World, lock: TestLock, calendar: Calendar
) -> None:
    calendar.write("", local(15), local(18))
    await make(hass, lock, calendars=[CALENDAR])
    before = await users(hass, lock)
    await until(world, local(18) + timedelta(minutes=2))
    assert await users(hass, lock) == before
