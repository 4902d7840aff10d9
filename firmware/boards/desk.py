"""A board without hardware, for tests on a desk: the ports as plain objects, time moved by hand.

Runs on CPython and MicroPython. Random numbers follow from a seed (never use them in a lock),
flash can lose its power at any byte, and everything the lock does is written down.
"""

import hashlib

from bsld import const as c
from bsld.lock import Lock
from bsld.ports import Ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import Any

DEVICE_ID = bytes.fromhex("7ebf64669818")
SETUP_CODE = bytes.fromhex("44ebf213dc68fb934244")
ALL_CAPABILITIES = (
    c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD | c.CAP_AUTO_LOCK | c.CAP_RTC | c.CAP_LOG
)


class PowerCutError(BaseException):
    """The power is gone: nothing the lock does from here on happens."""


class Clock:
    """Uptime that is moved by hand, and a battery-backed clock that may have no battery."""

    def __init__(self) -> None:
        self.ms = 0
        self.unix: int | None = None
        self.has_rtc = False

    def uptime_ms(self) -> int:
        """Milliseconds since power-up."""
        return self.ms

    def rtc(self) -> "int | None":
        """What the battery-backed clock says, if there is one."""
        return self.unix if self.has_rtc else None

    def set_rtc(self, unix: int) -> None:
        """Set it."""
        self.unix = unix


class Flash:
    """Files in memory.

    After `cut_after` more steps the power goes: a step is a byte, or a whole call. With `full`
    set nothing more fits behind the first bytes of a write.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut_after: int | None = None
        self.full = False
        self.steps = 0
        self.writes = 0

    def _step(self) -> None:
        self.steps += 1
        if self.cut_after is not None:
            if self.cut_after <= 0:
                raise PowerCutError
            self.cut_after -= 1

    def _pour(self, name: str, before: bytes, data: bytes) -> None:
        self.writes += 1
        self._step()
        self.files[name] = before
        if self.full:
            self.files[name] = before + data[:5]
            raise OSError(28, "no space left on device")
        if self.cut_after is None:
            self.steps += len(data)
            self.files[name] = before + data
            return
        for at in range(len(data)):
            self._step()
            self.files[name] = before + data[: at + 1]

    def read(self, name: str) -> "bytes | None":
        """See `bsld.ports.Storage`."""
        return self.files.get(name)

    def append(self, name: str, data: bytes) -> None:
        """See `bsld.ports.Storage`."""
        self._pour(name, self.files.get(name, b""), data)

    def write(self, name: str, data: bytes) -> None:
        """See `bsld.ports.Storage`."""
        self._pour(name, b"", data)

    def rename(self, old: str, new: str) -> None:
        """See `bsld.ports.Storage`."""
        self._step()
        self.files[new] = self.files.pop(old)

    def remove(self, name: str) -> None:
        """See `bsld.ports.Storage`."""
        self._step()
        self.files.pop(name, None)

    def names(self) -> "list[str]":
        """See `bsld.ports.Storage`."""
        return list(self.files)


class Motor:
    """Writes down what it was told; `instant` makes it arrive at once."""

    def __init__(self, board: "Board") -> None:
        self._board = board
        self.started: list[int] = []
        self.stopped = 0
        self.instant = False

    def start(self, operation: int) -> None:
        """See `bsld.ports.Motor`."""
        self.started.append(operation)
        self._board.moves += 1
        if self.instant:
            self._board.arrive()

    def stop(self) -> None:
        """See `bsld.ports.Motor`."""
        self.stopped += 1


class Radio:
    """What is on the air, and what each connection was sent."""

    def __init__(self, board: "Board") -> None:
        self._board = board
        self.data = b""
        self.interval = 0
        self.connectable = False
        self.advertised: list[tuple[bytes, int, bool]] = []
        # Notifications still to be read by a test, and all there were
        self.sent: list[tuple[Hashable, bytes]] = []
        self.sent_ever: list[tuple[Hashable, bytes]] = []
        self.dropped: list[Hashable] = []
        self.room: int | None = None

    def advertise(self, data: bytes, interval_ms: int, connectable: bool) -> None:
        """See `bsld.ports.Radio`."""
        self.data = data
        self.interval = interval_ms
        self.connectable = connectable
        self.advertised.append((data, interval_ms, connectable))
        self._board.on_air.append(data)

    def notify(self, conn: "Hashable", data: bytes) -> bool:
        """See `bsld.ports.Radio`; `room` limits what it takes."""
        if self.room is not None:
            if self.room == 0:
                return False
            self.room -= 1
        self.sent.append((conn, data))
        self.sent_ever.append((conn, data))
        return True

    def disconnect(self, conn: "Hashable") -> None:
        """See `bsld.ports.Radio`."""
        self.dropped.append(conn)


class Indicator:
    """What was shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def show(self, what: str) -> None:
        """See `bsld.ports.Indicator`."""
        self.shown.append(what)


class Board:
    """One lock's hardware. `boot` puts the power on, `cut` takes it away."""

    def __init__(self, **settings: "Any") -> None:
        self.device_id = DEVICE_ID
        self.setup_code = SETUP_CODE
        self.settings: dict[str, Any] = {"capabilities": ALL_CAPABILITIES}
        self.settings.update(settings)
        self.flash = Flash()
        self.clock = Clock()
        self.queued_random: list[bytes] = []
        self._drawn = 0
        self.bolt = c.BOLT_LOCKED
        # Since the board was made, whatever happened to its power
        self.moves = 0
        self.on_air: list[bytes] = []
        self._new_parts()

    def _new_parts(self) -> None:
        self.motor = Motor(self)
        self.radio = Radio(self)
        self.indicator = Indicator()

    def random(self, size: int) -> bytes:
        """The same numbers every time, or what was queued."""
        if self.queued_random:
            return self.queued_random.pop(0)
        out = b""
        while len(out) < size:
            self._drawn += 1
            out += hashlib.sha256(b"board" + self._drawn.to_bytes(4, "big")).digest()
        return out[:size]

    def ports(self) -> Ports:
        """The board as a lock sees it."""
        return Ports(self.clock, self.random, self.flash, self.motor, self.radio, self.indicator)

    def make(self) -> Lock:
        """A lock on this board, not started."""
        return Lock(self.ports(), self.device_id, self.setup_code, **self.settings)

    def boot(self) -> Lock:
        """Power on, with the bolt where it is and the door closed."""
        self._new_parts()
        self.clock.ms = 0
        self.lock = self.make()
        self.lock.start()
        self.lock.bolt_sensed(self.bolt)
        if self.settings["capabilities"] & c.CAP_DOOR_SENSOR:
            self.lock.door_sensed(False)
        self.lock.battery_measured(87, False)
        return self.lock

    def cut(self, seconds: int = 1) -> None:
        """The power was away for some seconds; the battery-backed clock ran on."""
        self.flash.cut_after = None
        if self.clock.unix is not None:
            self.clock.unix += seconds

    def arrive(self) -> None:
        """The bolt reaches where the motor was told to bring it."""
        targets = {c.OP_LOCK: c.BOLT_LOCKED, c.OP_UNLOCK: c.BOLT_UNLOCKED, c.OP_OPEN: c.BOLT_OPEN}
        self.sense(targets[self.motor.started[-1]])

    def sense(self, bolt: int) -> None:
        """The bolt is somewhere else now, for whatever reason."""
        self.bolt = bolt
        self.lock.bolt_sensed(bolt)

    def pass_time(self, seconds: float) -> None:
        """Time goes by, and the lock is polled whenever it asked for it."""
        end = self.clock.ms + int(seconds * 1000)
        while True:
            wait = self.lock.poll()
            if self.clock.ms + wait >= end:
                break
            self._move(max(wait, 1))
        self._move(end - self.clock.ms)
        self.lock.poll()

    def _move(self, ms: int) -> None:
        before = self.clock.ms // 1000
        self.clock.ms += ms
        if self.clock.unix is not None:
            self.clock.unix += self.clock.ms // 1000 - before
