"""Limits in memory, against the plainest model of them: all times ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from igrs_ras import window
from igrs_ras.clock import SystemClock
from igrs_ras.window import Window

STEPS = st.lists(st.tuples(st.floats(0, 40), st.sampled_from("abc")), max_size=60)


class Hand(SystemClock):
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 1000.0

    def monotonic(self) -> float:
        return self.at


@given(STEPS, st.integers(1, 5))
def test_no_more_than_the_limit_ever_fit_into_the_time_and_nothing_less_is_refused(
    steps: list[tuple[float, str]], limit: int
) -> None:
    clock = Hand()
    limited = Window(clock, limit, 60.0)
    taken: dict[str, list[float]] = {"a": [], "b": [], "c": []}
    for pause, key in steps:
        clock.at += pause
        lately = [when for when in taken[key] if when > clock.at - 60]
        assert limited.take(key) == (len(lately) < limit)
        if len(lately) < limit:
            taken[key].append(clock.at)


def test_of_too_many_keys_the_oldest_are_forgotten() -> None:
    limited = Window(Hand(), 1, 60.0)
    for number in range(window.KEYS + 1):
        assert limited.take(str(number))
    assert limited.take("0")
    assert not limited.take(str(window.KEYS))
    assert not limited.take("0")
