"""What happened, for people: sentences from a lock's own log, and who listens to them."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bsld import const as c

if TYPE_CHECKING:
    from collections.abc import Iterator

type Record = tuple[int, ...]
"""A log record: event, slot, source, counter, bolt, door, detail, Unix time or 0."""

BOLTS = {
    c.BOLT_UNKNOWN: "unknown",
    c.BOLT_LOCKED: "locked",
    c.BOLT_UNLOCKED: "unlocked",
    c.BOLT_LOCKING: "locking",
    c.BOLT_UNLOCKING: "unlocking",
    c.BOLT_JAMMED: "jammed",
    c.BOLT_OPEN: "open",
}
DOORS = {c.DOOR_NO_SENSOR: "unknown", c.DOOR_CLOSED: "closed", c.DOOR_OPEN: "open"}
RESULTS = {
    c.DONE: "done",
    c.ACCEPTED: "accepted",
    c.NO_RIGHT: "no right to do that",
    c.OUTSIDE_TIME: "outside the permitted time",
    c.UNKNOWN_ACCOUNT: "unknown",
    c.DISABLED: "disabled or used up",
    c.BUSY: "busy",
    c.JAMMED: "jammed",
    c.BAD_CHECK: "wrong check byte",
    c.TOO_OLD: "too old",
    c.FULL: "full",
    c.NOT_NOW: "not possible now",
    c.BAD_VALUE: "not a possible value",
    c.NOT_SUPPORTED: "not supported",
    c.BATTERY_TOO_LOW: "battery too low",
}
_EVENTS = {
    c.EV_LOCKED: "Locked",
    c.EV_UNLOCKED: "Unlocked",
    c.EV_OPENED: "Opened",
    c.EV_JAMMED: "Jammed",
    c.EV_DENIED: "Access denied",
    c.EV_WRONG_PIN: "Wrong PIN",
    c.EV_TAMPER: "Cover opened",
    c.EV_DOOR_OPENED: "Door opened",
    c.EV_DOOR_CLOSED: "Door closed",
    c.EV_LOW_BATTERY: "Battery low",
    c.EV_RESTARTED: "Restarted",
    c.EV_OPTION: "Option changed",
    c.EV_CLOCK_SET: "Clock set",
    c.EV_PAIRED: "Paired with a gateway",
}
_SOURCES = {
    c.SRC_BLUETOOTH: "over Bluetooth",
    c.SRC_KEYPAD: "at the keypad",
    c.SRC_HAND: "by hand",
    c.SRC_AUTO_LOCK: "by auto-lock",
    c.SRC_BUTTON: "with the button inside",
    c.SRC_NETWORK: "over the network",
}
_CAUSED = {c.EV_LOCKED, c.EV_UNLOCKED, c.EV_OPENED}
_TRIED = {c.EV_JAMMED, c.EV_DENIED}
_ALARMING = {c.EV_JAMMED, c.EV_DENIED, c.EV_WRONG_PIN, c.EV_TAMPER, c.EV_LOW_BATTERY}


@dataclass(frozen=True)
class Happening:
    """One line of the page's list of events."""

    time: float
    """Unix seconds."""
    text: str
    kind: str
    """`log` (the lock wrote it down), `alarm` (likewise, and it matters) or `world` (it did not)."""
    number: int = 0
    """Counts a lock's lines from 1 while the simulator runs: two may say the same at the same time."""
    counter: int | None = None
    """The log record's counter, None for what the lock did not write down."""


def sentence(record: Record) -> Happening:
    """Put a log record into words; `time` is 0 where the lock did not know it."""
    event, slot, source, counter, _bolt, _door, detail, unix = record
    text = _EVENTS.get(event, f"Event {event}")
    if event in _CAUSED and source in _SOURCES:
        text += f" {_SOURCES[source]}"
    if event in _TRIED and source in _SOURCES:
        text += f" (tried {_SOURCES[source]})"
    if event == c.EV_DENIED:
        text += f": {RESULTS.get(detail, f'result {detail}')}"
    if event == c.EV_OPTION:
        text += f" (number {detail})"
    if event == c.EV_ACCOUNT:
        text = f"Account {detail} changed"
    if slot == c.SLOT_CONTROLLER:
        if event != c.EV_PAIRED:  # that says it already
            text += ", by the gateway"
    elif slot != c.SLOT_NOBODY:
        text += f", by slot {slot}"
    kind = "alarm" if event in _ALARMING else "log"
    return Happening(unix, text, kind, counter=counter)


class Hub:
    """Hands on what changed to everybody who listens."""

    QUEUE = 256

    def __init__(self) -> None:
        """Start without listeners."""
        self._queues: set[asyncio.Queue[tuple[str, object] | None]] = set()

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._queues)

    def publish(self, kind: str, payload: object) -> None:
        """Tell all listeners. One that does not listen fast enough is cut off, not waited for."""
        for queue in list(self._queues):
            try:
                queue.put_nowait((kind, payload))
            except asyncio.QueueFull:
                self._queues.discard(queue)
                queue.get_nowait()
                queue.put_nowait(None)

    @contextlib.contextmanager
    def listen(self) -> Iterator[asyncio.Queue[tuple[str, object] | None]]:
        """Give a queue of (kind, payload); None says that there is no more."""
        queue: asyncio.Queue[tuple[str, object] | None] = asyncio.Queue(self.QUEUE)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    def close(self) -> None:
        """Send everybody away."""
        for queue in list(self._queues):
            self._queues.discard(queue)
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)
