"""PINs: which are too easy to guess, and making one that is not.

A keypad is tried by hand, so what people try first is refused: 111111, 123456, 121212.
"""

from __future__ import annotations

import itertools
import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

PIN_MIN: Final = 6
"""More than ILP1 asks for: four digits are guessed in weeks at one try in a minute."""
PIN_MAX: Final = 14

WEAKNESSES: Final = ("pin_digits", "pin_length", "pin_equal", "pin_sequence", "pin_repeated")
"""Translation keys of what can be wrong."""


def weakness(digits: str) -> str | None:
    """Return the translation key of what is wrong with a PIN, None when it is good."""
    if not (digits.isascii() and digits.isdecimal()):
        return "pin_digits"
    if not PIN_MIN <= len(digits) <= PIN_MAX:
        return "pin_length"
    if len(set(digits)) == 1:
        return "pin_equal"
    steps = {(int(b) - int(a)) % 10 for a, b in itertools.pairwise(digits)}
    if steps in ({1}, {9}):
        return "pin_sequence"
    # Also when the last part is cut short: 1212121.
    if any(digits[part:] == digits[:-part] for part in range(1, len(digits) // 2 + 1)):
        return "pin_repeated"
    return None


def make_pin(taken: Collection[str] = (), length: int = PIN_MIN) -> str:
    """Return a random PIN that is none of `taken`."""
    while True:
        digits = "".join(secrets.choice("0123456789") for _ in range(length))
        if weakness(digits) is None and digits not in taken:
            return digits
