"""The lock's clock: set when that is right to do, and only then."""

import zoneinfo
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from bsld import const as c
from homeassistant.components.repairs import DOMAIN as REPAIRS
from homeassistant.helpers import issue_registry as ir
from homeassistant.util import dt as dt_util
from world import DOMAIN

from custom_components.igrs_lock import clock
from custom_components.igrs_lock.clock import Offsets, offsets
from custom_components.igrs_lock.store import async_get_memory

if TYPE_CHECKING:
    from collections.abc import Generator

    from homeassistant.core import HomeAssistant
    from world import TestLock, World

DAY = 24 * 3600
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


@pytest.fixture
def sets(world: World, lock: TestLock) -> Generator[list[tuple[int, int]]]:
    """Collect the times and offsets that the lock was set to."""
    seen: list[tuple[int, int]] = []
    before = type(lock.core.clock).set

    def note(self: Any, unix: int, offset: int) -> bool:
        seen.append((unix, offset))
        return before(self, unix, offset)

    with patch.object(type(lock.core.clock), "set", note):
        yield seen


async def test_the_time_is_set_once_a_day(
    world: World, lock: TestLock, sets: list[Any], entry: object
) -> None:
    assert len(sets) == 1
    await world.advance(DAY - 60, step=60)
    assert len(sets) == 1
    await world.advance(120, step=1)
    assert len(sets) == 2
    unix, offset = sets[-1]
    assert abs(unix - world.now()) < 120
    assert offset == offsets(dt_util.get_default_time_zone(), world.now()).now
    assert not lock.connections


async def test_a_lock_out_of_reach_is_set_when_it_is_back(
    world: World, lock: TestLock, sets: list[Any], entry: object
) -> None:
    lock.silent = True
    await world.advance(2 * DAY, step=600)
    assert len(sets) == 1
    lock.silent = False
    await world.advance(3)
    assert len(sets) == 2


async def test_a_lock_that_forgot_the_time_is_set_at_once(
    world: World, lock: TestLock, sets: list[Any], entry: object
) -> None:
    lock.power_cut()
    await world.advance(3)
    assert len(sets) == 2
    assert lock.core.clock_trusted
    # One that keeps forgetting does not keep the radio busy.
    lock.power_cut()
    await world.advance(60)
    assert len(sets) == 2
    await world.advance(600, step=1)
    assert len(sets) == 3


async def test_an_answer_that_is_off_sets_the_time(
    world: World, lock: TestLock, sets: list[Any], entry: object
) -> None:
    lock.core.clock.set(int(world.now()) - 3, 0)
    sets.clear()
    await world.call(lock, "unlock")
    await world.advance(2)
    assert len(sets) == 1
    assert abs(lock.core.clock.now() - world.now()) <= 2


async def test_two_seconds_off_are_good_enough(
    world: World, lock: TestLock, sets: list[Any], entry: object
) -> None:
    lock.core.clock.set(int(world.now()) - 1, 0)
    sets.clear()
    await world.call(lock, "unlock")
    await world.advance(2)
    assert sets == []


async def test_a_new_time_zone_reaches_the_lock_at_once(
    hass: HomeAssistant, world: World, lock: TestLock, sets: list[Any], entry: object
) -> None:
    await world.advance(601, step=1)
    await hass.config.async_set_time_zone("Asia/Kolkata")
    hass.bus.async_fire("core_config_updated")
    await world.advance(3)
    assert sets[-1][1] == 330


async def test_the_coming_change_of_the_offset_is_told_too(
    hass: HomeAssistant, world: World
) -> None:
    await hass.config.async_set_time_zone("Europe/Berlin")
    lock = world.add_lock()
    await world.pair(lock)
    expected = offsets(BERLIN, world.now())
    assert expected.change_at
    clock_core = lock.core.clock
    assert clock_core.offset(expected.change_at - 1) == expected.now
    assert clock_core.offset(expected.change_at + 1) == expected.then


async def test_after_the_change_the_next_one_is_sent(
    hass: HomeAssistant, world: World, freezer: Any
) -> None:
    freezer.move_to(datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
    await hass.config.async_set_time_zone("Europe/Berlin")
    lock = world.add_lock()
    await world.pair(lock)
    assert lock.core.clock.offset(int(world.now())) == 120
    await world.advance(DAY + 3600, step=60)
    assert lock.core.clock.offset(int(world.now())) == 60
    spring = int(datetime(2027, 3, 28, 1, tzinfo=UTC).timestamp())
    assert lock.core.clock.offset(spring + 1) == 120


async def test_a_clock_that_nobody_keeps_right_sets_nothing_and_raises_a_repair(
    hass: HomeAssistant, world: World, lock: TestLock, sets: list[Any]
) -> None:
    world.kernel_synchronised = False
    await world.pair(lock)
    issues = ir.async_get(hass)
    # A time service needs some minutes after a start.
    await world.advance(500, step=1)
    assert issues.async_get_issue(DOMAIN, "clock_not_synchronised") is None
    await world.advance(900, step=1)
    assert issues.async_get_issue(DOMAIN, "clock_not_synchronised") is not None
    assert sets == []
    world.kernel_synchronised = True
    await world.advance(700, step=1)
    assert issues.async_get_issue(DOMAIN, "clock_not_synchronised") is None
    assert len(sets) == 1


async def test_the_owner_can_vouch_for_the_clock(
    hass: HomeAssistant, hass_client: Any, world: World, lock: TestLock, sets: list[Any]
) -> None:
    world.kernel_synchronised = False
    entry = await world.pair(lock)
    await world.advance(1400, step=1)
    await repair(hass, "clock_not_synchronised")
    await world.advance(700, step=1)
    assert len(sets) == 1
    assert lock.core.clock_trusted
    # But not for one that goes back behind what it was: that is a start in the past.
    entry.runtime_data.remembered["time_set"] = int(world.now()) + 3600
    lock.power_cut()
    await world.advance(1300, step=1)
    assert len(sets) == 1


async def repair(hass: HomeAssistant, issue_id: str) -> None:
    """Confirm a repair as the owner would."""
    flows = hass.data[REPAIRS]["flow_manager"]
    result = await flows.async_init(DOMAIN, data={"issue_id": issue_id})
    assert result["type"] == "form"
    result = await flows.async_configure(result["flow_id"], {})
    assert result["type"] == "create_entry"
    assert ir.async_get(hass).async_get_issue(DOMAIN, issue_id) is None


async def test_a_lock_that_does_not_take_the_time_is_logged(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On the owner's word alone the clock moves by ten minutes at most, as the lock sees to."""
    entry.runtime_data.memory.vouch_for_clock()
    world.kernel_synchronised = False
    lock.core.clock.set(int(world.now()) + 5000, 0)
    await world.call(lock, "unlock")
    await world.advance(3)
    assert "did not take the time" in caplog.text
    assert lock.core.clock.now() > world.now() + 4000


async def test_a_synchronised_clock_sets_a_wrong_lock_by_force(
    world: World, lock: TestLock, entry: Any
) -> None:
    lock.core.clock.set(int(world.now()) + 5000, 0)
    await world.call(lock, "unlock")
    await world.advance(3)
    assert abs(lock.core.clock.now() - world.now()) <= 2


async def test_a_time_that_could_not_be_set_is_tried_again_later(
    world: World, lock: TestLock, sets: list[Any], entry: Any
) -> None:
    lock.power_cut()
    lock.on_write = lambda data: None
    await world.advance(30)
    lock.on_write = None
    await world.advance(500, step=1)
    assert len(sets) == 1
    await world.advance(150, step=1)
    assert len(sets) == 2


async def test_a_time_refused_while_pairing_does_not_stop_it(
    hass: HomeAssistant, world: World
) -> None:
    """The lock's own clock runs on a battery and differs; who is right is not certain."""
    (await async_get_memory(hass)).vouch_for_clock()
    world.kernel_synchronised = False
    lock = world.add_lock(capabilities=c.CAP_RTC, silent=True)
    lock.rtc_offset = 5000
    lock.power_cut()
    lock.silent = False
    world.broadcast(lock)
    assert lock.core.clock_trusted
    entry = await world.pair(lock)
    assert "time_set" not in entry.runtime_data.remembered


async def test_an_impossible_date_sets_nothing(
    world: World, lock: TestLock, sets: list[Any], freezer: Any
) -> None:
    with patch("custom_components.igrs_lock.clock._RELEASED", world.now() + 1000):
        await world.pair(lock)
        assert sets == []


# --- pure ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "moment", "expected"),
    [
        (UTC, datetime(2026, 7, 1, tzinfo=UTC), Offsets(0, 0, 0)),
        (
            BERLIN,
            datetime(2026, 7, 1, tzinfo=UTC),
            Offsets(120, int(datetime(2026, 10, 25, 1, tzinfo=UTC).timestamp()), 60),
        ),
        (
            zoneinfo.ZoneInfo("Australia/Lord_Howe"),
            datetime(2026, 11, 1, tzinfo=UTC),
            Offsets(660, int(datetime(2027, 4, 3, 15, tzinfo=UTC).timestamp()), 630),
        ),
        (
            zoneinfo.ZoneInfo("America/St_Johns"),
            datetime(2026, 12, 1, tzinfo=UTC),
            Offsets(-210, int(datetime(2027, 3, 14, 5, 30, tzinfo=UTC).timestamp()), -150),
        ),
        (
            timezone(timedelta(hours=5, minutes=45)),
            datetime(2026, 7, 1, tzinfo=UTC),
            Offsets(345, 0, 345),
        ),
    ],
)
def test_offsets_of_a_zone(zone: Any, moment: datetime, expected: Offsets) -> None:
    assert offsets(zone, moment.timestamp()) == expected


def test_offsets_are_of_now_unless_told_otherwise() -> None:
    assert offsets(UTC).now == 0


@pytest.mark.parametrize(
    ("state", "status", "right"),
    [(0, 0x2001, True), (5, 0x40, False), (0, 0x40, False), (-1, 0, False), (5, 0, False)],
)
def test_the_kernel_is_believed(state: int, status: int, right: bool) -> None:
    class Library:
        @staticmethod
        def adjtimex(reference: Any) -> int:
            assert reference._obj.modes == 0
            reference._obj.status = status
            return state

    with patch("ctypes.CDLL", lambda _name: Library):
        assert clock.kernel_synchronised() is right


def test_where_the_kernel_cannot_be_asked_the_answer_is_no() -> None:
    with patch("ctypes.CDLL", side_effect=OSError):
        assert clock.kernel_synchronised() is False


def test_the_real_kernel_can_be_asked() -> None:
    assert clock.kernel_synchronised() in (True, False)
