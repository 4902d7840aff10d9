"""Setup codes, device identifiers and user account IDs (ILP1 section 1)."""

import base64
import re
import secrets

from .const import (
    ACCOUNT_ID_SIZE,
    DEVICE_ID_SIZE,
    LOCAL_NAME_PREFIX,
    SETUP_CODE_ALPHABET,
    SETUP_CODE_SIZE,
)
from .errors import MalformedError, SetupCodeError

_SETUP_CODE_DIGITS = SETUP_CODE_SIZE * 8 // 5
_SETUP_CODE_VALUES = {
    letter: value
    for value, upper in enumerate(SETUP_CODE_ALPHABET)
    for letter in (upper, upper.lower())
} | {"O": 0, "o": 0, "I": 1, "i": 1, "L": 1, "l": 1}
# Hyphens, dashes and the minus sign: what keyboards and word processors make of "-".
_DASHES = frozenset("-\u2010\u2011\u2012\u2013\u2014\u2212")
_ADDRESS = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}", re.ASCII)
_DEVICE_ID = re.compile(r"[0-9A-Fa-f]{12}", re.ASCII)
_ACCOUNT_ID = re.compile(r"[A-Za-z0-9_-]{12}", re.ASCII)


def parse_setup_code(text: str) -> bytes:
    """Return the 10 bytes of a setup code; case, spaces and dashes do not matter.

    O is read as 0, I and L as 1. SetupCodeError otherwise; its text shows nothing of the code.
    """
    number = digits = 0
    for character in text:
        if character.isspace() or character in _DASHES:
            continue
        value = _SETUP_CODE_VALUES.get(character)
        if value is None:
            raise SetupCodeError("a character is not used in setup codes")
        digits += 1
        if digits > _SETUP_CODE_DIGITS:
            break
        number = number << 5 | value
    if digits != _SETUP_CODE_DIGITS:
        raise SetupCodeError(f"a setup code has {_SETUP_CODE_DIGITS} characters")
    return number.to_bytes(SETUP_CODE_SIZE)


def format_setup_code(code: bytes) -> str:
    """Return 10 bytes as four groups of four characters."""
    if len(code) != SETUP_CODE_SIZE:
        raise SetupCodeError(f"a setup code has {SETUP_CODE_SIZE} bytes")
    number = int.from_bytes(code)
    text = "".join(
        SETUP_CODE_ALPHABET[number >> 5 * place & 0x1F]
        for place in reversed(range(_SETUP_CODE_DIGITS))
    )
    return "-".join(text[start : start + 4] for start in range(0, _SETUP_CODE_DIGITS, 4))


def device_id_from_address(address: str) -> bytes:
    """Return the 6 bytes of a Bluetooth address such as "7E:BF:64:66:98:18"."""
    if not _ADDRESS.fullmatch(address):
        raise MalformedError("not a Bluetooth address")
    return bytes.fromhex(address.replace(":", ""))


def address_from_device_id(device_id: bytes) -> str:
    """Return the Bluetooth address, upper case with colons."""
    return _sized_device_id(device_id).hex(":").upper()


def format_device_id(device_id: bytes) -> str:
    """Return the 12 upper-case hex digits [S]."""
    return _sized_device_id(device_id).hex().upper()


def parse_device_id(text: str) -> bytes:
    """Return the 6 bytes of 12 hex digits."""
    if not _DEVICE_ID.fullmatch(text):
        raise MalformedError("a device identifier has 12 hex digits")
    return bytes.fromhex(text)


def local_name(device_id: bytes) -> str:
    """Return the name in the scan response: "IGRS-" and the identifier's last 4 digits."""
    return LOCAL_NAME_PREFIX + format_device_id(device_id)[-4:]


def new_account_id() -> bytes:
    """Return 9 fresh random bytes: every grant gets its own."""
    return secrets.token_bytes(ACCOUNT_ID_SIZE)


def format_account_id(account_id: bytes) -> str:
    """Return the 12 base64url characters of a user account ID."""
    if len(account_id) != ACCOUNT_ID_SIZE:
        raise MalformedError(f"a user account ID has {ACCOUNT_ID_SIZE} bytes")
    return base64.urlsafe_b64encode(account_id).decode("ascii")


def parse_account_id(text: str) -> bytes:
    """Return the 9 bytes of 12 base64url characters."""
    if not _ACCOUNT_ID.fullmatch(text):
        raise MalformedError("a user account ID has 12 base64url characters")
    return base64.urlsafe_b64decode(text)


def _sized_device_id(device_id: bytes) -> bytes:
    if len(device_id) != DEVICE_ID_SIZE:
        raise MalformedError(f"a device identifier has {DEVICE_ID_SIZE} bytes")
    return device_id
