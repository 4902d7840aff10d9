"""Whether a lock's log has something new, from what it advertises: the pure part of reading it.

An advertisement tells the number of records modulo 4 and a counter that grows with each record, and
with other things too (ILP1 section 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .const import LOG_BITS_PERIOD
from .ilp import Event, LogPage, LogRecord, MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FRESH: Final = 60.0
"""Seconds for which a record is news."""
_CLOCK_NOISE: Final = 5
"""Seconds by which a record may be ahead of the lock's clock: it is set while it runs."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The number of records modulo 4 at a counter of the lock's."""

    counter: int
    bits: int


def is_news(read: Mark | None, heard: Mark) -> bool:
    """Whether there may be a record that was not read.

    Everything up to the counter of `read` was read, or is known not to exist. The bits alone count
    to four: where the counter ran that far unheard, they say nothing.
    """
    if read is None:
        return True
    if 0 < read.counter - heard.counter < LOG_BITS_PERIOD:
        return False  # sent before the log was read, heard after it
    return (
        heard.bits != read.bits
        or abs(heard.counter - read.counter) >= LOG_BITS_PERIOD  # a lower one: it began anew
    )


def read_to_end(heard: Mark | None, until: int, counters: Iterable[int]) -> Mark | None:
    """Return the mark after the log was read to its end, which was at the counter `until`.

    `heard` is what was heard last before it was asked for; None if nothing was: then nothing can be
    said. `counters` are those of all records since, at least; higher ones than `until` are from
    before the lock began to count anew.
    """
    if heard is None:
        return None
    since = sum(heard.counter < counter <= until for counter in counters)
    return Mark(max(until, heard.counter), (heard.bits + since) % LOG_BITS_PERIOD)


def check_page(page: LogPage, after: int, until: int) -> None:
    """MalformedError if a page is none of a log that was asked for what comes `after` a counter.

    `until` is the lock's counter when it answered.
    """
    if page.newest > until or page.oldest > page.newest:
        raise MalformedError("a log cannot be ahead of its lock")
    if not page.records:
        if page.newest > after:
            raise MalformedError("a page of the log is missing")
    elif not max(after + 1, page.oldest) <= page.records[0].counter:
        raise MalformedError("a page of the log that was not asked for")
    elif page.records[-1].counter > page.newest:
        raise MalformedError("a record is newer than the newest one")


def is_last(page: LogPage) -> bool:
    """Whether there is nothing after a page."""
    return not page.records or page.records[-1].counter >= page.newest


def began_anew(page: LogPage, after: int, until: int) -> bool:
    """Whether the lock counts from the beginning again, having been paired anew at the end.

    A log that only lost its newest records still has the counter ahead of them.
    """
    return page.newest < after and until < after


def gap_before(page: LogPage, after: int) -> int | None:
    """Return the counter of the last record that is lost; None if nothing was.

    `after` is the counter of the record read last, 0 when none was.
    """
    return page.oldest - 1 if 0 < after < page.oldest - 1 else None


def freshness(records: Sequence[LogRecord], now: int, unread_for: float) -> list[bool]:
    """Return for each record whether it is at most 60 s old.

    `now` is the lock's own Unix seconds, 0 when it does not know them; `unread_for` how many
    seconds ago there certainly was nothing unread; it counts where the clock does not tell: a
    packet of before that somebody sends again and again looks like a lock at which nothing
    happens. A time from before the clock was set says nothing.
    """
    fresh = []
    right = bool(now)
    for record in reversed(records):
        if record.event is Event.CLOCK_SET:
            right = False
        if right and record.timestamp and now - record.timestamp >= -_CLOCK_NOISE:
            fresh.append(now - record.timestamp <= FRESH)
        else:
            fresh.append(unread_for <= FRESH)
    return fresh[::-1]
