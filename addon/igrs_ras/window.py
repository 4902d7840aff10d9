"""Counts of what happened lately, in memory and bounded: for limits that may begin anew with the process."""

from bisect import bisect

from igrs_ras.clock import Clock

KEYS = 10_000


class Window:
    """At most `limit` of something in `seconds` for each key. Of more than 10,000 keys the oldest are forgotten."""

    def __init__(self, clock: Clock, limit: int, seconds: float) -> None:
        self._clock = clock
        self._limit = limit
        self._seconds = seconds
        self._times: dict[
            str, list[float]
        ] = {}  # a deque takes 600 bytes, and most keys have one or two

    def full(self, key: str) -> bool:
        """Tell whether another one would be too many."""
        times = self._times.get(key)
        if times is None:
            return False
        del times[: bisect(times, self._clock.monotonic() - self._seconds)]
        if not times:
            del self._times[key]
        return len(times) >= self._limit

    def add(self, key: str) -> None:
        """Count one."""
        times = self._times.pop(key, None)
        if times is None:
            times = []
            if len(self._times) >= KEYS:
                del self._times[next(iter(self._times))]
        times.append(self._clock.monotonic())
        del times[: -self._limit]
        self._times[key] = times

    def take(self, key: str) -> bool:
        """Count one unless it would be too many; tell whether it was counted."""
        if self.full(key):
            return False
        self.add(key)
        return True

    def back(self, key: str) -> None:
        """Take the last one back: it did not count after all."""
        times = self._times.get(key)
        if times:
            times.pop()

    def clear(self, key: str) -> None:
        """Begin anew."""
        self._times.pop(key, None)
