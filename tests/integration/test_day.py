"""What a day costs a lock's battery: how often it is connected to, and for how long."""

from typing import TYPE_CHECKING, Any

import pytest
from bleak.exc import BleakError
from bsld import const as c
from folk import Folk

if TYPE_CHECKING:
    from board import Connection
    from homeassistant.core import HomeAssistant
    from world import TestLock, World

HOUR = 3600
OPERATIONS = 10
TURNS = 20


class Meter:
    """Adds up how long a lock is connected, in steps of the world."""

    def __init__(self, world: World, lock: TestLock) -> None:
        self.world = world
        self.lock = lock
        self.before = world.connections
        self.seconds = 0.0
        self._since: dict[Connection, float] = {}

    @property
    def connections(self) -> int:
        """How often the lock was connected to."""
        return self.world.connections - self.before

    async def wait(self, seconds: float) -> None:
        """Let time pass: slowly while there is a connection, or will be soon."""
        until = self.world.monotonic() + seconds
        while (left := until - self.world.monotonic()) > 0.001:
            step = min(left, 30.0)
            if self.lock.connections or left > seconds - 20:
                step = min(left, 0.5)
            connected = bool(self.lock.connections)
            await self.world.advance(step, step=step)
            self.seconds += step if connected else 0.0


@pytest.fixture
async def lock(world: World) -> TestLock:
    """A lock that can do everything."""
    return world.add_lock(
        c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD | c.CAP_AUTO_LOCK | c.CAP_RTC | c.CAP_LOG
    )


@pytest.fixture
async def meter(world: World, lock: TestLock, entry: Any) -> Meter:
    """Begin when the lock is set up and nothing waits."""
    await world.advance(60)
    assert not lock.connections
    return Meter(world, lock)


async def test_a_day_in_which_nothing_happens_costs_one_connection(
    world: World, lock: TestLock, meter: Meter
) -> None:
    await meter.wait(25 * HOUR)
    assert meter.connections == 1
    assert meter.seconds < 8


async def test_each_thing_that_happens_costs_one_short_connection(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any, meter: Meter
) -> None:
    for number in range(TURNS):
        lock.core.bolt_sensed(c.BOLT_LOCKED if number % 2 else c.BOLT_UNLOCKED)
        await meter.wait(HOUR / 2)
    assert meter.connections <= TURNS
    for number in range(OPERATIONS):
        await world.call(lock, "lock" if number % 2 else "unlock")
        await meter.wait(HOUR)
    assert meter.connections <= TURNS + OPERATIONS
    await Folk(world).add("Anna", lock, pin="384729")
    await meter.wait(4 * HOUR)
    assert len(list(lock.core.accounts.used())) == 2
    # And one for the clock, in which the log is read anyway.
    assert meter.connections <= TURNS + OPERATIONS + 1 + 1
    assert meter.seconds < 6 * meter.connections
    turned = [one for one in entry.runtime_data.log.entries if one.event in (1, 2)]
    assert len(turned) == TURNS + OPERATIONS


async def test_going_through_a_door_costs_one_connection(
    world: World, lock: TestLock, meter: Meter
) -> None:
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await meter.wait(2)
    lock.core.door_sensed(True)
    await meter.wait(5)
    lock.core.door_sensed(False)
    await meter.wait(3)
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    await meter.wait(HOUR)
    assert meter.connections == 1


async def test_a_lock_that_takes_no_connection_is_not_tried_all_day(
    world: World, lock: TestLock, meter: Meter
) -> None:
    tries = 0

    def refuse() -> None:
        nonlocal tries
        tries += 1
        lock.refuses_notify = True

    lock.on_connect = refuse
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await meter.wait(25 * HOUR)
    assert tries < 100


async def test_setting_the_time_is_tried_less_and_less_often(
    world: World, lock: TestLock, meter: Meter, entry: Any
) -> None:
    tries: list[float] = []

    def fail() -> None:
        tries.append(world.monotonic())
        raise BleakError("no")

    lock.on_connect = fail
    entry.runtime_data.time_keeper.async_nudge(wrong=True)
    await meter.wait(12 * HOUR)
    # Three attempts each, by the best way and by others.
    assert 3 * 12 <= len(tries) <= 3 * 16
    before = entry.runtime_data.remembered["time_set"]
    lock.on_connect = None
    await meter.wait(HOUR + 60)
    assert entry.runtime_data.remembered["time_set"] > before


async def test_a_lock_at_the_edge_of_reach_is_not_tried_whenever_it_is_heard(
    world: World, lock: TestLock, meter: Meter, entry: Any
) -> None:
    tries: list[float] = []

    def fail() -> None:
        tries.append(world.monotonic())
        raise BleakError("too weak")

    async def heard_for_a_moment(times: int) -> None:
        for _ in range(times):
            lock.mute = False
            await world.advance(3, step=0.5)
            lock.mute = True
            await world.advance(110, step=30)
            assert not entry.runtime_data.available

    lock.on_connect = fail
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await heard_for_a_moment(3)
    # First it may have been chance.
    assert len(tries) >= 3 * 2
    await heard_for_a_moment(250)
    last = [when for when in tries if when > tries[-1] - 4 * HOUR]
    assert len(last) <= 3 * 6
    assert len(tries) < 60
    lock.on_connect = None
    await heard_for_a_moment(35)
    assert not entry.runtime_data.log._behind
    # What works once is tried at once again.
    lock.on_connect = fail
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    tries.clear()
    await heard_for_a_moment(2)
    assert len(tries) >= 2 * 2


@pytest.mark.parametrize("jammed", [False, True])
async def test_who_has_no_key_causes_no_more_than_a_question_in_ten_minutes(
    world: World, lock: TestLock, meter: Meter, entry: Any, jammed: bool
) -> None:
    """Wrong tags and old packets; nothing at all as long as the lock itself is heard."""
    old = bytes(lock.data)
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await meter.wait(60)
    before = meter.connections
    lock.mute = jammed
    for number in range(6 * HOUR // 20):
        wrong = bytearray(old)
        wrong[0] ^= 0x0C
        wrong[3:6] = (lock.core.counter + number + 1).to_bytes(3)
        world.forge(lock, bytes(wrong))
        world.forge(lock, old)
        await world.advance(20, step=10)
    assert meter.connections - before <= (6 * 6 + 1 if jammed else 0)
