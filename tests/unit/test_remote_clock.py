"""The server's clock, estimated: good for a minute, and not over a jump of any clock."""

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remote_pure import pure

clock = pure("clock")


class Time:
    """This machine's clocks, and the server's; in between is the network."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.monotonic_ = 1000.0
        self.server_ms = 1_800_000_000_000.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.monotonic_

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic_ += seconds
        self.server_ms += seconds * 1000

    def ping(self, server: Any, out: float, back: float) -> None:
        sent = self.monotonic_
        self.pass_(out)
        said = int(self.server_ms)
        self.pass_(back)
        server.add(sent, said)


@given(
    trips=st.lists(
        st.tuples(st.floats(0, 2), st.floats(0, 2), st.floats(0, 15)), min_size=1, max_size=12
    )
)
def test_the_estimate_is_as_good_as_the_best_round_trip(
    trips: list[tuple[float, float, float]],
) -> None:
    with patch.object(clock, "time", now := Time()):
        server = clock.ServerClock()
        heard: list[tuple[float, float]] = []
        for out, back, pause in trips:
            now.ping(server, out, back)
            heard.append((now.monotonic_ - (out + back) / 2, out + back))
            now.pass_(pause)
        recent = [trip for at, trip in heard[-8:] if now.monotonic_ - at < clock.MAX_AGE]
        if not recent:
            assert server.now_ms() is None
            return
        off = server.now_ms() - now.server_ms
        assert abs(off) <= min(recent) * 500 + 2


def test_after_a_minute_nothing_is_known() -> None:
    with patch.object(clock, "time", now := Time()):
        server = clock.ServerClock()
        assert server.now_ms() is None
        assert server.offset_ms is None
        now.ping(server, 0.1, 0.1)
        now.pass_(59.8)
        assert server.now_ms() is not None
        now.pass_(0.2)
        assert server.now_ms() is None


@pytest.mark.parametrize("seconds", [8 * 3600.0, 3.0, -3.0])
def test_case_11_no_estimate_holds_over_a_jump(seconds: float) -> None:
    with patch.object(clock, "time", now := Time()):
        server = clock.ServerClock()
        now.ping(server, 0.1, 0.1)
        assert not server.jumped()
        # The machine slept, of which its monotonic clock knows nothing; or somebody set its clock.
        now.wall += seconds
        assert server.jumped()
        assert server.now_ms() is None
        now.ping(server, 0.1, 0.1)
        assert not server.jumped()
        assert server.now_ms() is not None


def test_case_11_a_server_whose_clock_was_set_is_believed_from_then_on() -> None:
    with patch.object(clock, "time", now := Time()):
        server = clock.ServerClock()
        now.ping(server, 0.01, 0.01)
        now.server_ms += 3600_000
        now.ping(server, 0.3, 0.3)  # slower, but newer
        assert abs(server.now_ms() - now.server_ms) <= 301


def test_case_11_off_is_told_by_several_samples_and_right_by_one() -> None:
    with patch.object(clock, "time", now := Time()):
        server = clock.ServerClock()
        now.server_ms += 40_000
        told = []
        for _ in range(4):
            now.ping(server, 0.1, 0.1)
            told.append(server.off_ms is not None)
            now.pass_(15)
        assert told == [False, False, True, True]
        assert 39_000 < server.off_ms < 41_000
        now.server_ms -= 40_000
        now.ping(server, 0.1, 0.1)
        assert server.off_ms is None
        # What the round trip may explain is no difference.
        now.server_ms += 31_000
        for _ in range(4):
            now.ping(server, 0.0, 4.0)
        assert server.off_ms is None
