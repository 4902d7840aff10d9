"""The door, bolt, latch, motor and battery of one lock: what its core can only sense and drive.

Positions are parts of the bolt's way: 0 drawn back, 1 thrown. Sensors sit at both ends and on
the latch; between them the lock does not know where its bolt is.
"""

import asyncio
import json
from typing import TYPE_CHECKING, Protocol

from bsld import const as c

from .identity import write_private

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOTOR_SECONDS = 0.8
"""From one end of the bolt's way to the other."""
LATCH_SECONDS = 0.4
"""To pull the latch once the bolt is drawn back."""
LATCH_HOLD_SECONDS = 3.0
"""The latch stays pulled for so long, then a spring lets it out."""
STALL_SECONDS = 0.3
"""A blocked drive notices after so long."""
BATTERY_PER_MOVEMENT = 0.02
LOW_BATTERY = 15
_FILE = "door.json"


class ImpossibleError(Exception):
    """What was tried cannot be done to this door; the text says why, for a person."""


class Sensors(Protocol):
    """Whom the door tells what changed."""

    def bolt_sensed(self, bolt: int) -> None:
        """The bolt's sensors: `BOLT_` values."""

    def door_sensed(self, is_open: bool) -> None:
        """The door's contact."""

    def battery_measured(self, percent: int, low: bool) -> None:
        """The battery's charge."""

    def tamper_sensed(self, on: bool) -> None:
        """The cover's contact."""

    def changed(self) -> None:
        """Something to draw changed."""


class Door:
    """One door. It stays as it is while the lock has no power and over restarts."""

    def __init__(
        self, folder: Path, sensors: Sensors, motor_seconds: float = MOTOR_SECONDS
    ) -> None:
        """Restore the door from its folder, or make a closed and locked one."""
        self._path = folder / _FILE
        self._sensors = sensors
        self._timer: asyncio.TimerHandle | None = None
        self._latch_timer: asyncio.TimerHandle | None = None
        self._moving_from = 0.0
        self._moving_since = 0.0
        self.motor_seconds = motor_seconds
        self.operation: int | None = None
        """What the motor is doing: an `OP_` value, None while it stands still."""
        self.target = 0.0
        self.latch_pulled = False
        self.stalled = False
        kept = json.loads(self._path.read_text("utf-8")) if self._path.exists() else {}
        self._position: float = kept.get("position", 1.0)
        self.is_open: bool = kept.get("open", False)
        self.jam: bool = kept.get("jam", False)
        self.battery: float = kept.get("battery", 96.0)
        self.cover_off: bool = kept.get("cover_off", False)

    # --- what the sensors show ----------------------------------------------------------------

    @property
    def position(self) -> float:
        """Where the bolt is now: 0 drawn back to 1 thrown."""
        if self.operation is None or self.stalled:
            return self._position
        passed = asyncio.get_running_loop().time() - self._moving_since
        way = min(1.0, passed / self.motor_seconds) if self.motor_seconds else 1.0
        if self.target > self._moving_from:
            return min(self.target, self._moving_from + way)
        return max(self.target, self._moving_from - way)

    @property
    def bolt(self) -> int:
        """What the bolt's sensors show: a `BOLT_` value."""
        if self.stalled:
            return c.BOLT_JAMMED
        if self._position == 1:
            return c.BOLT_LOCKED
        if self._position == 0:
            return c.BOLT_OPEN if self.latch_pulled else c.BOLT_UNLOCKED
        return c.BOLT_UNKNOWN

    @property
    def percent(self) -> int:
        """The battery's charge in whole percent."""
        return round(self.battery)

    @property
    def low_battery(self) -> bool:
        """Whether the battery should be replaced."""
        return self.percent <= LOW_BATTERY

    def report(self) -> None:
        """Tell the sensors' readings, as after power-up."""
        self._sensors.battery_measured(self.percent, self.low_battery)
        self._sensors.door_sensed(self.is_open)
        self._sensors.tamper_sensed(self.cover_off)
        self._sensors.bolt_sensed(self.bolt)

    # --- the motor (bsld.ports.Motor) ---------------------------------------------------------

    def start(self, operation: int) -> None:
        """Begin a movement: 1 lock, 2 unlock, 3 open."""
        self._halt()
        self.battery = max(0.0, self.battery - BATTERY_PER_MOVEMENT)
        self.operation = operation
        self.target = 1.0 if operation == c.OP_LOCK else 0.0
        self._moving_from = self._position
        self._moving_since = asyncio.get_running_loop().time()
        way = abs(self.target - self._position)
        if self.jam:
            self._later(way / 2 * self.motor_seconds, self._stall)
        else:
            self._later(way * self.motor_seconds, self._arrive)
        self._sensors.changed()

    def stop(self) -> None:
        """Cut the drive's current; where the bolt is it stays."""
        if self.operation is not None:
            self._halt()
            self._keep()

    def _arrive(self) -> None:
        self._position = self.target
        if self.operation == c.OP_OPEN and not self.latch_pulled:
            self._later(LATCH_SECONDS if self.motor_seconds else 0, self._pull)
            return
        self._finish()

    def _pull(self) -> None:
        self.latch_pulled = True
        loop = asyncio.get_running_loop()
        self._latch_timer = loop.call_later(LATCH_HOLD_SECONDS, self._let_go)
        self._finish()

    def _let_go(self) -> None:
        self._latch_timer = None
        self.latch_pulled = False
        if self.operation is None:
            self._sensors.bolt_sensed(self.bolt)
        self._sensors.changed()

    def _finish(self) -> None:
        self.operation = None
        self._keep()
        self._sensors.bolt_sensed(self.bolt)
        self._sensors.battery_measured(self.percent, self.low_battery)
        self._sensors.changed()

    def _stall(self) -> None:
        self._position = self.position
        self.stalled = True
        self._later(STALL_SECONDS, self._finish)
        self._sensors.changed()

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, call)

    def _halt(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._position = self.position
        self.operation = None
        self.stalled = False
        if self._latch_timer is not None:
            self._latch_timer.cancel()
            self._latch_timer = None
        self.latch_pulled = False

    # --- what a person does -------------------------------------------------------------------

    def turn(self, locked: bool) -> None:
        """Turn the bolt by hand, from inside or with the key.

        Raises:
            ImpossibleError: something blocks it.
        """
        if self.jam:
            raise ImpossibleError("Something blocks the bolt: it does not turn.")
        self._halt()
        self._position = 1.0 if locked else 0.0
        self._keep()
        self._sensors.bolt_sensed(self.bolt)
        self._sensors.changed()

    def move(self, is_open: bool) -> None:
        """Open or close the door (by its handle, from inside).

        Raises:
            ImpossibleError: the bolt is thrown.
        """
        if is_open == self.is_open:
            return
        if self.position > 0:
            raise ImpossibleError(
                "The bolt holds the door: unlock it first."
                if is_open
                else "The bolt is thrown and hits the frame: unlock it first."
            )
        self.is_open = is_open
        self._keep()
        self._sensors.door_sensed(is_open)
        self._sensors.changed()

    def block(self, on: bool) -> None:
        """Put something in the bolt's way, or take it out."""
        self.jam = on
        if self.operation is not None and on and not self.stalled:
            if self._timer is not None:
                self._timer.cancel()
            self._stall()
        self._keep()
        self._sensors.changed()

    def charge(self, percent: float) -> None:
        """Set the battery's charge in percent."""
        self.battery = float(percent)
        self._keep()
        self._sensors.battery_measured(self.percent, self.low_battery)
        self._sensors.changed()

    def cover(self, off: bool) -> None:
        """Take the cover off, or put it on."""
        self.cover_off = off
        self._keep()
        self._sensors.tamper_sensed(off)
        self._sensors.changed()

    def power_gone(self) -> None:
        """The motor stops where it is."""
        self._halt()
        self._keep()

    def _keep(self) -> None:
        kept = {
            "position": self._position,
            "open": self.is_open,
            "jam": self.jam,
            "battery": self.battery,
            "cover_off": self.cover_off,
        }
        write_private(self._path, json.dumps(kept), durable=False)
