"""The server's clock as this home estimates it: from the time that `hello` and each `pong` carry.

What a server says about time decides only which messages are not worth the radio any more; a lock
judges for itself. So no estimate is kept over a jump of this machine's clocks, as sleep makes one.
"""

from __future__ import annotations

import time
from typing import Final, NamedTuple

MAX_AGE: Final = 60.0
"""Seconds for which a sample is good."""
JUMP: Final = 2.0
"""Seconds by which the wall clock and the monotonic one may part: more is sleep, or a clock that was set."""
_KEPT: Final = 7
OFF_MS: Final = 30_000
OFF_SAMPLES: Final = 3


class _Sample(NamedTuple):
    round_trip: float
    taken: float  # monotonic, in the middle of the round trip
    parted: float  # wall minus monotonic then
    server_ms: int


class ServerClock:
    """Samples of the last minute; the one with the lowest round trip is believed."""

    def __init__(self) -> None:
        self._samples: list[_Sample] = []
        self._off = 0
        self.off_ms: int | None = None
        """By how much the server is ahead of this machine, once several samples said that it is much."""

    def add(self, sent: float, server_ms: int) -> None:
        """Take a time of the server that was asked for at `sent` (monotonic) and came just now."""
        now = time.monotonic()
        round_trip = max(0.0, now - sent)
        taken = now - round_trip / 2
        parted = time.time() - now
        sample = _Sample(round_trip, taken, parted, server_ms)
        # What contradicts it is of before the server's clock was set.
        kept = [one for one in self._samples if _agree(one, sample)]
        self._samples = [*kept[-_KEPT:], sample]
        off = server_ms - round((taken + parted) * 1000)
        # A sample tells no better than its round trip allows.
        if abs(off) > OFF_MS + round_trip * 500:
            self._off += 1
            if self._off >= OFF_SAMPLES:
                self.off_ms = off
        else:
            self._off, self.off_ms = 0, None

    def forget(self) -> None:
        """Drop all samples: the link ended, or this machine slept."""
        self._samples.clear()

    def jumped(self) -> bool:
        """Whether this machine's clocks have parted since the last sample."""
        return bool(self._samples) and not self._holds(
            self._samples[-1], time.time() - time.monotonic()
        )

    def now_ms(self) -> int | None:
        """Return the server's time now; None without a sample in the last 60 seconds."""
        now = time.monotonic()
        parted = time.time() - now
        good = [
            sample
            for sample in self._samples
            if 0 <= now - sample.taken < MAX_AGE and self._holds(sample, parted)
        ]
        if not good:
            return None
        best = min(good, key=lambda sample: (sample.round_trip, -sample.taken))
        return best.server_ms + round((now - best.taken) * 1000)

    @property
    def offset_ms(self) -> int | None:
        """By how much the server is ahead of this machine's wall clock; None when that is not known."""
        now = self.now_ms()
        return None if now is None else now - round(time.time() * 1000)

    @staticmethod
    def _holds(sample: _Sample, parted: float) -> bool:
        return abs(parted - sample.parted) <= JUMP


def _agree(one: _Sample, other: _Sample) -> bool:
    """Whether two samples can be of one clock, as well as their round trips tell."""
    apart = other.server_ms - one.server_ms - (other.taken - one.taken) * 1000
    return abs(apart) <= (one.round_trip + other.round_trip) * 500 + JUMP * 1000
