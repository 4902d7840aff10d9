"""Identifiers and keys (ILP1 section 1): text forms for labels and pages, and key derivation."""

from . import const as c
from .crypto import mac, sha256

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def format_setup_code(code: bytes) -> str:
    """Write a setup code (10 bytes) as it is printed: four groups of four characters."""
    number = int.from_bytes(code, "big")
    text = "".join(_ALPHABET[(number >> shift) & 31] for shift in range(75, -1, -5))
    return "-".join(text[at : at + 4] for at in range(0, 16, 4))


def parse_setup_code(text: str) -> bytes:
    """Read a setup code in any case, with or without spaces and dashes; O is 0, I and L are 1.

    Raises:
        ValueError: not 16 characters of the alphabet. The text is not repeated: it is a secret.
    """
    number = 0
    count = 0
    for char in text.upper():
        if char in " -":
            continue
        char = {"O": "0", "I": "1", "L": "1"}.get(char, char)  # noqa: PLW2901 - the char as meant
        if char not in _ALPHABET:
            raise ValueError("setup code: unknown character")
        number = number << 5 | _ALPHABET.index(char)
        count += 1
    if count != 16:
        raise ValueError("setup code: not 16 characters")
    return number.to_bytes(10, "big")


def format_device_id(device_id: bytes) -> str:
    """The 12 upper-case hex digits of a device identifier [S]."""
    return device_id.hex().upper()


def format_account_id(account_id: bytes) -> str:
    """A user account ID (9 bytes) as 12 base64url characters."""
    number = int.from_bytes(account_id, "big")
    return "".join(_BASE64URL[(number >> shift) & 63] for shift in range(66, -1, -6))


def local_name(device_id: bytes) -> str:
    """The complete local name: `IGRS-` and the identifier's last four digits."""
    return "IGRS-" + format_device_id(device_id)[-4:]


def controller_key(lock_key: bytes) -> bytes:
    """The gateway's own key (slot 255): 16 bytes."""
    return mac(lock_key, b"controller")[:16]


def account_key(lock_key: bytes, account_id: bytes) -> bytes:
    """A person's key: 16 bytes."""
    return mac(lock_key, b"account", account_id)[:16]


def advertisement_key(lock_key: bytes, epoch: int) -> bytes:
    """The key of the advertisement's tag and mask in an epoch: 16 bytes."""
    return mac(lock_key, b"advert", epoch.to_bytes(2, "big"))[:16]


def account_digest(entries: "list[bytes]") -> bytes:
    """Digest of the account list (section 5): 8 bytes.

    Args:
        entries: for each used slot in rising order: slot 1, account id 9, rights 1, not before 4,
            not after 4, weekday bits 1, first 2, last 2, PIN set 1.
    """
    return sha256(b"".join(entries))[:8]


def info(device_id: bytes, capabilities: int, slots: int, log_size: int) -> bytes:
    """The info characteristic (section 3): 12 bytes."""
    return (
        bytes((c.VERSION,))
        + device_id
        + capabilities.to_bytes(2, "big")
        + bytes((slots,))
        + log_size.to_bytes(2, "big")
    )
