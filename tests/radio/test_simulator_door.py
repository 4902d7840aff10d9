"""The door as a physical thing, in virtual time: what moves, how long it takes, what is impossible."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from bsld import const as c
from virtual_time import in_virtual_time

from simulator.door import LATCH_HOLD_SECONDS, LATCH_SECONDS, STALL_SECONDS, Door, ImpossibleError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Sensed:
    """Notes what the sensors tell, and when."""

    bolts: list[tuple[float, int]] = field(default_factory=list)
    doors: list[bool] = field(default_factory=list)
    batteries: list[tuple[int, bool]] = field(default_factory=list)
    covers: list[bool] = field(default_factory=list)

    def bolt_sensed(self, bolt: int) -> None:
        self.bolts.append((round(asyncio.get_running_loop().time(), 3), bolt))

    def door_sensed(self, is_open: bool) -> None:
        self.doors.append(is_open)

    def battery_measured(self, percent: int, low: bool) -> None:
        self.batteries.append((percent, low))

    def tamper_sensed(self, on: bool) -> None:
        self.covers.append(on)

    def changed(self) -> None:
        """Nobody looks here."""


@pytest.fixture
def sensed() -> Sensed:
    return Sensed()


@pytest.fixture
def door(tmp_path: Path, sensed: Sensed) -> Door:
    return Door(tmp_path, sensed, 0.8)


@in_virtual_time
async def test_a_new_door_is_closed_and_locked(door: Door, sensed: Sensed) -> None:
    door.report()
    assert sensed.bolts == [(0, c.BOLT_LOCKED)]
    assert sensed.doors == [False]


@in_virtual_time
async def test_unlocking_takes_the_motors_time(door: Door, sensed: Sensed) -> None:
    door.start(c.OP_UNLOCK)
    await asyncio.sleep(0.4)
    assert door.position == pytest.approx(0.5)
    assert sensed.bolts == []
    await asyncio.sleep(1)
    assert sensed.bolts == [(0.8, c.BOLT_UNLOCKED)]


@in_virtual_time
async def test_opening_pulls_the_latch_which_springs_back(door: Door, sensed: Sensed) -> None:
    door.start(c.OP_OPEN)
    await asyncio.sleep(10)
    (opened, first), (closed, then) = sensed.bolts
    assert (first, then) == (c.BOLT_OPEN, c.BOLT_UNLOCKED)
    assert opened == pytest.approx(0.8 + LATCH_SECONDS)
    assert closed == pytest.approx(opened + LATCH_HOLD_SECONDS)


@in_virtual_time
async def test_a_blocked_bolt_stalls_half_way_and_is_jammed(door: Door, sensed: Sensed) -> None:
    door.block(True)
    door.start(c.OP_UNLOCK)
    await asyncio.sleep(5)
    assert sensed.bolts == [(0.4 + STALL_SECONDS, c.BOLT_JAMMED)]
    assert door.position == pytest.approx(0.5)
    door.block(False)
    door.start(c.OP_LOCK)
    await asyncio.sleep(5)
    assert sensed.bolts[-1][1] == c.BOLT_LOCKED


@in_virtual_time
async def test_a_bolt_blocked_on_its_way_stalls_there(door: Door, sensed: Sensed) -> None:
    door.start(c.OP_UNLOCK)
    await asyncio.sleep(0.2)
    door.block(True)
    await asyncio.sleep(5)
    assert door.position == pytest.approx(0.75)
    assert sensed.bolts[-1][1] == c.BOLT_JAMMED


@in_virtual_time
async def test_a_hand_is_quicker_than_the_motor(door: Door, sensed: Sensed) -> None:
    door.start(c.OP_LOCK)
    door.turn(locked=False)
    await asyncio.sleep(5)
    assert [bolt for _, bolt in sensed.bolts] == [c.BOLT_UNLOCKED]


@in_virtual_time
async def test_a_hand_cannot_turn_a_blocked_bolt(door: Door) -> None:
    door.block(True)
    with pytest.raises(ImpossibleError, match="blocks"):
        door.turn(locked=False)


@in_virtual_time
async def test_a_thrown_bolt_holds_the_door_and_keeps_an_open_one_from_closing(door: Door) -> None:
    with pytest.raises(ImpossibleError, match="holds the door"):
        door.move(is_open=True)
    door.turn(locked=False)
    door.move(is_open=True)
    door.turn(locked=True)
    with pytest.raises(ImpossibleError, match="frame"):
        door.move(is_open=False)


@in_virtual_time
async def test_without_power_the_motor_stops_where_it_is(
    door: Door, sensed: Sensed, tmp_path: Path
) -> None:
    door.start(c.OP_UNLOCK)
    await asyncio.sleep(0.2)
    door.power_gone()
    await asyncio.sleep(5)
    assert sensed.bolts == []
    assert door.bolt == c.BOLT_UNKNOWN
    assert Door(tmp_path, sensed).position == pytest.approx(0.75)


@in_virtual_time
async def test_movements_drain_the_battery_and_a_low_one_is_told(
    door: Door, sensed: Sensed
) -> None:
    for _ in range(100):
        door.start(c.OP_LOCK)
        await asyncio.sleep(2)
    assert sensed.batteries[-1] == (94, False)
    door.charge(15)
    assert sensed.batteries[-1] == (15, True)


@in_virtual_time
async def test_a_door_is_as_it_was_after_a_restart(
    door: Door, sensed: Sensed, tmp_path: Path
) -> None:
    door.turn(locked=False)
    door.move(is_open=True)
    door.charge(33)
    door.cover(off=True)
    door.block(True)
    again = Door(tmp_path, sensed)
    kept = (again.position, again.is_open, again.percent, again.cover_off, again.jam)
    assert kept == (0, True, 33, True, True)
