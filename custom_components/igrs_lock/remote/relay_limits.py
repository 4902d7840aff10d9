"""How much may be relayed, and nothing twice: the pure counters of relays, all of them bounded."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict, deque
from typing import Final

DATA_MAX: Final = 512
MESSAGES_MAX: Final = 128


class Broken(Exception):  # noqa: N818  a verdict, not a fault
    """A message has another hash than it says, or its number was left out or used for another one."""


class Direction:
    """The messages of one direction: each number once, in order, with one content."""

    __slots__ = ("_hashes",)

    def __init__(self) -> None:
        self._hashes: list[bytes] = []

    @property
    def last(self) -> int:
        """The last number; -1 before the first."""
        return len(self._hashes) - 1

    def take(self, n: int, data: bytes, digest: bytes) -> bool:
        """Take a message; False if it is a repeat of one before. Broken."""
        found = hashlib.sha256(data).digest()
        if not 0 < len(data) <= DATA_MAX or not hmac.compare_digest(found, digest):
            raise Broken
        if 0 <= n < len(self._hashes):
            if self._hashes[n] != found:
                raise Broken
            return False
        if n != len(self._hashes) or n >= MESSAGES_MAX:
            raise Broken
        self._hashes.append(found)
        return True

    def add(self, data: bytes) -> tuple[int, bytes] | None:
        """Number a message of this side; return number and hash, None when it is one too many."""
        if len(self._hashes) >= MESSAGES_MAX:
            return None
        digest = hashlib.sha256(data).digest()
        self._hashes.append(digest)
        return len(self._hashes) - 1, digest


class Rate:
    """So many in so many seconds, for each of a few names."""

    __slots__ = ("_limit", "_seconds", "_times")

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._times: dict[str, deque[float]] = {}

    def take(self, name: str, now: float) -> bool:
        """Count one; False, uncounted, if it is one too many."""
        for one in [one for one, times in self._times.items() if self._over(times, now)]:
            del self._times[one]
        times = self._times.setdefault(name, deque())
        if len(times) >= self._limit:
            return False
        times.append(now)
        return True

    def give_back(self, name: str) -> None:
        """Uncount the last one."""
        if times := self._times.get(name):
            times.pop()

    def _over(self, times: deque[float], now: float) -> bool:
        while times and now - times[0] >= self._seconds:
            times.popleft()
        return not times


class Once:
    """Remembers what was there, for so many seconds, and so many at most."""

    __slots__ = ("_limit", "_seconds", "_seen")

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def first_time(self, what: bytes, now: float) -> bool:
        """Note it; False if it was there before.

        Full, it lets nothing new in rather than forget: who fills it repeats nothing by that.
        """
        while self._seen and now - next(iter(self._seen.values())) >= self._seconds:
            self._seen.popitem(last=False)
        digest = hashlib.sha256(what).digest()
        if digest in self._seen or len(self._seen) >= self._limit:
            return False
        self._seen[digest] = now
        return True
