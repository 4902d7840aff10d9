"""What Home Assistant keeps of one lock's log.

Records and cursor are in one file: whatever is cut off, each record is there once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.storage import Store

from .const import DOMAIN
from .errors import LogNotSavedError
from .ilp import UNKNOWN_SLOT, Bolt, Door, Event, LogRecord, Source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from homeassistant.core import HomeAssistant

_LOGGER = logging.getLogger(__name__)

VERSION: Final = 1
KEPT: Final = 2000
"""Entries kept of each lock."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A record of a lock's log as it was read; `event` None is a gap in front of it.

    `timestamp` in Unix seconds, 0 when the lock's clock was not trusted; of CLOCK_SET it is the
    time before. `person_id` and `name` tell whose slot it was when it was read, None for nobody
    known. `fresh`: it happened so shortly before it was read that it may be told as news; never so
    for what comes from the disk.
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
    def of(
        cls, record: LogRecord, person_id: str | None, name: str | None, *, fresh: bool
    ) -> LogEntry:
        """Take a record and who it was."""
        return cls(
            record.counter,
            record.event,
            record.slot,
            record.source,
            record.bolt,
            record.door,
            record.detail,
            record.timestamp,
            person_id,
            name,
            fresh,
        )

    @classmethod
    def gap(cls, last: int) -> LogEntry:
        """Return what stands for lost records, with the counter of the last one. It is news."""
        nothing = (UNKNOWN_SLOT, Source.UNKNOWN, Bolt.UNKNOWN, Door.NO_SENSOR, 0, 0)
        return cls(last, None, *nothing, fresh=True)

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


async def async_save_book(
    hass: HomeAssistant, device_id: str, store: Store[dict[str, Any]], book: LogBook
) -> None:
    """Write a lock's log; LogNotSavedError unless the disk has it, as the file itself tells.

    Saving alone does not say: it only logs that the disk is full. While Home Assistant stops it is
    put off until nobody is told any more, so then nothing is written.
    """
    if hass.is_stopping:
        raise LogNotSavedError("")
    data = book.as_dict()
    await store.async_save(data)
    try:
        # Another store has nothing in memory.
        stored = await log_store(hass, device_id).async_load()
    except HomeAssistantError as err:
        _LOGGER.debug("The log of a lock cannot be read back: %s", err)
        stored = None
    if stored != data:
        _LOGGER.error("The log of a lock could not be stored on disk")
        raise LogNotSavedError("")
