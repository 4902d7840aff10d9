"""What an advertisement tells of the log: nothing is overlooked, and nothing asked for ever."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ilp import Bolt, Door, Event, LogPage, LogRecord, MalformedError, Source

# The integration's package without its __init__, which needs Home Assistant.
_FOLDER = Path(__file__).resolve().parents[2] / "custom_components" / "igrs_lock"
_package = sys.modules.setdefault("igrs_lock_pure", ModuleType("igrs_lock_pure"))
_package.__path__ = [str(_FOLDER)]
sys.modules["igrs_lock_pure.ilp"] = sys.modules["ilp"]
for _name in list(sys.modules):
    if _name.startswith("ilp."):
        sys.modules[f"igrs_lock_pure.{_name}"] = sys.modules[_name]
mark: Any = importlib.import_module("igrs_lock_pure.log_mark")
Mark: Any = mark.Mark


class Lock:
    """A lock's counter and records, and who reads them."""

    def __init__(self) -> None:
        self.counter = 0
        self.records: list[int] = []
        self.told: list[int] = []
        self.heard: Any = None
        self.read: Any = None

    def advertised(self) -> Any:
        return Mark(self.counter, len(self.records) % 4)

    def record(self) -> None:
        self.counter += 1
        self.records.append(self.counter)

    def hear(self) -> bool:
        """Hear what is advertised; return whether that is news."""
        self.heard = self.advertised()
        if mark.is_news(self.read, self.heard):
            return True
        if self.heard.counter > self.read.counter:
            self.read = self.heard
        return False

    def ask(self, meanwhile: int) -> None:
        """Read to the end; meanwhile the session and others move the counter."""
        heard = self.heard
        self.counter += 1
        for _ in range(meanwhile):
            self.record()
        until = self.counter
        cursor = self.told[-1] if self.told else 0
        self.told += [one for one in self.records if one > cursor]
        self.read = mark.read_to_end(heard, until, self.told)


@given(
    st.lists(
        st.one_of(
            st.sampled_from(["record", "grow", "hear"]),
            st.tuples(st.just("ask"), st.integers(0, 9)),
        ),
        max_size=60,
    )
)
def test_no_news_means_that_everything_was_read(steps: list[Any]) -> None:
    lock = Lock()
    for step in steps:
        match step:
            case "record":
                lock.record()
            case "grow":
                lock.counter += 1
            case "hear":
                if not lock.hear():
                    assert lock.told == lock.records
            case (_, meanwhile):
                lock.ask(meanwhile)
                assert lock.told == lock.records
    # Asked once more after all is quiet, it stays quiet.
    lock.hear()
    lock.ask(0)
    assert not lock.hear()
    assert lock.told == lock.records


@given(st.integers(0, 2**24 - 1), st.integers(0, 3), st.integers(0, 3))
def test_whatever_a_lock_advertises_reading_once_settles_it(
    counter: int, bits: int, moved: int
) -> None:
    heard = Mark(counter, bits)
    read = mark.read_to_end(heard, counter + moved, [])
    assert not mark.is_news(read, Mark(counter + moved, bits))


def test_nothing_heard_is_nothing_known() -> None:
    assert mark.read_to_end(None, 9, [8]) is None
    assert mark.is_news(None, Mark(9, 1))


def test_records_from_before_counting_anew_do_not_count() -> None:
    assert mark.read_to_end(Mark(5, 1), 8, [0xFFFFFF, 6, 8]) == Mark(8, 3)


def test_an_advertisement_from_before_reading_is_no_news_and_a_new_beginning_is() -> None:
    assert not mark.is_news(Mark(100, 2), Mark(98, 1))
    assert mark.is_news(Mark(100, 2), Mark(5, 2))
    assert mark.is_news(Mark(0xFFFFFF, 2), Mark(0xFFFFFF, 3))


def record(counter: int, event: Event = Event.LOCKED, timestamp: int = 0) -> LogRecord:
    return LogRecord(event, 254, Source.BY_HAND, counter, Bolt.LOCKED, Door.CLOSED, 0, timestamp)


@given(
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 30),
    st.sets(st.integers(0, 30), max_size=5),
)
def test_a_page_that_is_taken_goes_on_and_comes_to_an_end(
    oldest: int, newest: int, after: int, until: int, counters: set[int]
) -> None:
    page = LogPage(oldest, newest, tuple(record(one) for one in sorted(counters)))
    try:
        mark.check_page(page, after, until)
    except MalformedError:
        return
    assert all(max(after + 1, oldest) <= one <= newest <= until for one in counters)
    assert mark.is_last(page) == (not counters or max(counters) >= newest)
    if not counters:
        assert newest <= after
    if (lost := mark.gap_before(page, after)) is not None:
        assert after < lost < oldest


def test_a_gap_is_one_only_where_a_record_has_room() -> None:
    assert mark.gap_before(LogPage(12, 20, ()), 10) == 11
    assert mark.gap_before(LogPage(11, 20, ()), 10) is None
    assert mark.gap_before(LogPage(10, 20, ()), 10) is None
    assert mark.gap_before(LogPage(500, 600, ()), 0) is None


def test_counting_anew_is_told_from_lost_records() -> None:
    assert mark.began_anew(LogPage(1, 3, ()), 900, 5)
    assert not mark.began_anew(LogPage(1, 899, ()), 900, 910)


NOW = 1_795_000_000


@pytest.mark.parametrize(
    ("records", "now", "unread_for", "fresh"),
    [
        ([record(1, timestamp=NOW - 60)], NOW, 9999.0, [True]),
        ([record(1, timestamp=NOW - 61)], NOW, 9999.0, [False]),
        ([record(1, timestamp=NOW + 5)], NOW, 9999.0, [True]),
        ([record(1, timestamp=NOW + 6)], NOW, 9999.0, [False]),
        ([record(1)], NOW, 9999.0, [False]),
        ([record(1)], NOW, 60.0, [True]),
        # Somebody sent an old packet again and again, and jammed the new ones.
        ([record(1, timestamp=NOW - 61)], NOW, 1.0, [False]),
        ([record(1, timestamp=NOW - 61)], 0, 1.0, [True]),
        ([record(1)], 0, 9999.0, [False]),
        # What the clock said before it was set is not compared with what it says now.
        (
            [record(1, timestamp=NOW), record(2, Event.CLOCK_SET, NOW), record(3, timestamp=NOW)],
            NOW,
            9999.0,
            [False, False, True],
        ),
    ],
)
def test_news_is_what_is_new_by_the_locks_clock_or_was_certainly_not_there_before(
    records: list[LogRecord], now: int, unread_for: float, fresh: list[bool]
) -> None:
    assert mark.freshness(records, now, unread_for) == fresh
