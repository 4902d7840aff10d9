"""Time and ULIDs. The clock is injected, so that tests move it instead of waiting."""

import secrets
import time
from typing import Protocol

ULID_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in ULID_ALPHABET for second in ULID_ALPHABET]


class Clock(Protocol):
    """What the server asks of time."""

    def now_ms(self) -> int:
        """Return the wall clock in milliseconds since 1970."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""


class SystemClock:
    """The machine's own clocks. `offset_ms` moves the wall clock only, as a wrong clock would."""

    def __init__(self, offset_ms: int = 0) -> None:
        self.offset_ms = offset_ms

    def now_ms(self) -> int:
        """Return the wall clock in milliseconds since 1970."""
        return time.time_ns() // 1_000_000 + self.offset_ms

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


def new_ulid(now_ms: int) -> str:
    """Return a ULID: 48 bits of time in milliseconds, 80 random bits, 26 characters of Crockford base32."""
    value = (now_ms & (2**48 - 1)) << 80 | secrets.randbits(80)
    # Two characters at a time: every message that goes out has one.
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(120, -10, -10)])


def ulid_ms(ulid: str) -> int:
    """Return the time of a ULID that has the right form, in milliseconds."""
    value = 0
    for character in ulid[:10]:
        value = value << 5 | ULID_ALPHABET.index(character)
    return value
