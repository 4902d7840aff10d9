"""Codes that people type: 80 random bits as 16 characters of Crockford base32 in four groups (as ILP1's setup code)."""

import secrets

from igrs_ras.clock import ULID_ALPHABET
from igrs_ras.status import Refused, Status

BYTES = 10
_READ = str.maketrans("OIL", "011", " -")


def new() -> tuple[bytes, str]:
    """Return a new code as bytes and as text, e.g. `8KNZ-44YW-D3XS-6GJ4`."""
    raw = secrets.token_bytes(BYTES)
    return raw, write(raw)


def write(raw: bytes) -> str:
    """Return the text of a code."""
    value = int.from_bytes(raw)
    digits = "".join(ULID_ALPHABET[value >> shift & 31] for shift in range(75, -5, -5))
    return "-".join(digits[start : start + 4] for start in range(0, 16, 4))


def read(text: str) -> bytes:
    """Read a code: case, spaces and dashes do not count, O is 0, I and L are 1. Raises Refused(WRONG_CODE)."""
    digits = text.upper().translate(_READ)
    if len(digits) != 16 or not set(digits) <= set(ULID_ALPHABET):
        raise Refused(Status.WRONG_CODE)
    value = 0
    for digit in digits:
        value = value << 5 | ULID_ALPHABET.index(digit)
    return value.to_bytes(BYTES)
