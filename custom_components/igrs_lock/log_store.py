"""What Home Assistant keeps of one lock's log, and how a page of it is taken in.

Records and cursor are in one file: whatever is cut off, each record is there once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from homeassistant.helpers.storage import Store

from .const import DOMAIN
from .ilp import UNKNOWN_SLOT, Bolt, Door, Event, LogPage, LogRecord, MalformedError, Source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from homeassistant.core import HomeAssistant

VERSION: Final = 1
KEPT: Final = 1000
"""Entries kept of each lock."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A record of a lock's log as it was read; `event` None is a gap in front of it.

    `timestamp` in Unix seconds, 0 when the lock's clock was not trusted; of CLOCK_SET it is the
    time before. `person_id` and `name` tell whose slot it was when it was read, None for nobody
    known. `fresh`: it happened so shortly before it was read that it may be told as news.
    """

    counter: int
    event: Event | None
    slot: int
    source: Source
    bolt: Bolt
    door: Door
    detail: int
    timestamp: int
    person_id: str | None = None
    name: str | None = None
    fresh: bool = field(default=False, compare=False)

    @classmethod
    def of(cls, record: LogRecord) -> LogEntry:
        """Take a record; who it was is not known yet."""
        return cls(
            record.counter,
            record.event,
            record.slot,
            record.source,
            record.bolt,
            record.door,
            record.detail,
            record.timestamp,
        )

    @classmethod
    def gap(cls, before: int) -> LogEntry:
        """Return what stands for the records that are missing before a counter."""
        return cls(before, None, UNKNOWN_SLOT, Source.UNKNOWN, Bolt.UNKNOWN, Door.NO_SENSOR, 0, 0)

    @property
    def happened_at(self) -> int | None:
        """Unix seconds at which it happened; None when the lock could not tell."""
        return None if self.event is Event.CLOCK_SET else self.timestamp or None

    def as_list(self) -> list[Any]:
        """Return what is stored."""
        return [
            self.counter,
            None if self.event is None else int(self.event),
            self.slot,
            int(self.source),
            int(self.bolt),
            int(self.door),
            self.detail,
            self.timestamp,
            self.person_id,
            self.name,
        ]

    @classmethod
    def from_list(cls, data: list[Any]) -> LogEntry:
        """Read what was stored; kin of ValueError, TypeError and IlpError when it is damaged."""
        counter, event, slot, source, bolt, door, detail, timestamp, person_id, name = data
        return cls(
            int(counter),
            None if event is None else Event.parse(event),
            int(slot),
            Source.parse(source),
            Bolt.parse(bolt),
            Door.parse(door),
            int(detail),
            int(timestamp),
            person_id,
            name,
        )


@dataclass(frozen=True, slots=True)
class Step:
    """What a page brought: new entries, the cursor after it, and whether it was the last one."""

    entries: tuple[LogEntry, ...]
    cursor: int
    done: bool


def take(cursor: int | None, page: LogPage) -> Step:
    """Take a page that was asked for after `cursor` (None: the first one ever read).

    MalformedError on records that were not asked for: taken in, they would be there twice.
    """
    after = cursor or 0
    if any(record.counter <= after for record in page.records):
        raise MalformedError("log records that were not asked for")
    entries = [LogEntry.of(record) for record in page.records]
    if after and page.newest and page.newest < after:
        # The counter began anew with a pairing. What was written since is all unread.
        return Step((LogEntry.gap(0),), 0, done=False)
    if after and page.oldest > after:
        entries.insert(0, LogEntry.gap(page.oldest - 1))
    last = page.records[-1].counter if page.records else after
    return Step(tuple(entries), last, done=not page.records or last >= page.newest)


def since_pairing(entries: Iterable[LogEntry]) -> list[LogEntry]:
    """Return what belongs to this home of a log read for the first time."""
    found = list(entries)
    paired = [number for number, one in enumerate(found) if one.event is Event.PAIRED]
    return found[paired[-1] :] if paired else found


def read_bits(advertised: int, counter: int, entries: Iterable[LogEntry]) -> int:
    """Return the log bits that a lock advertises once all is read up to the newest of `entries`.

    An advertisement with `counter` counts (modulo 4) every record up to that counter.
    """
    return (advertised + sum(1 for one in entries if one.event and one.counter > counter)) & 3


@dataclass(slots=True)
class LogBook:
    """A lock's log in Home Assistant: `cursor` is the counter of the last record read.

    `bits` are the log bits that belong to it; None when that is not known.
    """

    cursor: int | None = None
    bits: int | None = None
    entries: list[LogEntry] = field(default_factory=list)

    def add(self, new: Iterable[LogEntry]) -> None:
        """Add entries, dropping the oldest."""
        self.entries.extend(new)
        del self.entries[:-KEPT]

    def as_dict(self) -> dict[str, Any]:
        """Return what is stored."""
        return {
            "cursor": self.cursor,
            "bits": self.bits,
            "entries": [entry.as_list() for entry in self.entries],
        }

    @classmethod
    def of(cls, data: dict[str, Any]) -> LogBook:
        """Read what was stored; kin of ValueError, TypeError, KeyError and IlpError."""
        cursor, bits = data["cursor"], data["bits"]
        return cls(
            None if cursor is None else int(cursor),
            None if bits is None else int(bits),
            [LogEntry.from_list(entry) for entry in data["entries"]],
        )


def log_store(hass: HomeAssistant, device_id: str) -> Store[dict[str, Any]]:
    """Return the file of a lock's log."""
    key = f"{DOMAIN}.log.{device_id.lower()}"
    return Store(hass, VERSION, key, private=True, atomic_writes=True)
