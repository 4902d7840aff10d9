"""How much is done in a second."""

from __future__ import annotations


class Bucket:
    """So much a second, and so much at once. Times are given in.

    Args:
        rate: units a second.
        burst: units at once.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at: float | None = None

    def take(self, now: float, units: float = 1.0, reserve: float = 0.0) -> float:
        """Take units and return 0; or leave them, and return the seconds until there are enough.

        `reserve` is left for others. More than the burst is taken as soon as it is full.
        """
        if self._at is not None:
            self._level = min(self._burst, self._level + max(0.0, now - self._at) * self._rate)
        self._at = now
        missing = min(units + reserve, self._burst) - self._level
        if missing > 0:
            return missing / self._rate
        self._level -= units
        return 0.0
