"""Keys derived from the lock key, and the proof shown to remote clients (ILP1 sections 1, 6)."""

import hmac

from .const import (
    ACCOUNT_ID_SIZE,
    ADVERTISEMENT_SIZE,
    DEVICE_ID_SIZE,
    EPOCH_MAX,
    KEY_SIZE,
    LABEL_ACCOUNT,
    LABEL_ADVERTISEMENT,
    LABEL_CONTROLLER,
    LABEL_SEEN,
    SEEN_SIZE,
)
from .errors import MalformedError


def mac(key: bytes, *parts: bytes) -> bytes:
    """Return the 32 bytes of HMAC-SHA256 over the concatenated parts."""
    return hmac.digest(key, b"".join(parts), "sha256")


def check_size(value: bytes, size: int, what: str) -> bytes:
    """Return `value` when it has `size` bytes; MalformedError naming `what` otherwise."""
    if len(value) != size:
        raise MalformedError(f"{what} must have {size} bytes, not {len(value)}")
    return value


def unsigned(value: int, size: int, what: str) -> bytes:
    """Return a number as `size` big-endian bytes; MalformedError when it does not fit."""
    if not 0 <= value < 1 << 8 * size:
        raise MalformedError(f"{what} does not fit {size} bytes")
    return value.to_bytes(size)


def controller_key(lock_key: bytes) -> bytes:
    """Return the gateway's own 16-byte key (slot 255)."""
    return mac(check_size(lock_key, KEY_SIZE, "lock key"), LABEL_CONTROLLER)[:KEY_SIZE]


def account_key(lock_key: bytes, account_id: bytes) -> bytes:
    """Return the 16-byte key of one user account ID (9 bytes)."""
    check_size(lock_key, KEY_SIZE, "lock key")
    check_size(account_id, ACCOUNT_ID_SIZE, "user account ID")
    return mac(lock_key, LABEL_ACCOUNT, account_id)[:KEY_SIZE]


def advertisement_key(lock_key: bytes, epoch: int) -> bytes:
    """Return the 16-byte advertisement key of an epoch (0 to 65535)."""
    check_size(lock_key, KEY_SIZE, "lock key")
    if not 0 <= epoch <= EPOCH_MAX:
        raise MalformedError("epoch out of range")
    return mac(lock_key, LABEL_ADVERTISEMENT, epoch.to_bytes(2))[:KEY_SIZE]


def seen_proof(key: bytes, device_id: bytes, data: bytes, gateway_time: int) -> bytes:
    """Return the 8 bytes that prove to a remote client when the gateway saw an advertisement.

    `key` is the advertisement key, `data` the 10 bytes as sent, `gateway_time` Unix seconds.
    """
    check_size(key, KEY_SIZE, "advertisement key")
    check_size(device_id, DEVICE_ID_SIZE, "device identifier")
    check_size(data, ADVERTISEMENT_SIZE, "advertisement data")
    time = unsigned(gateway_time, 4, "gateway time")
    return mac(key, LABEL_SEEN, device_id, data, time)[:SEEN_SIZE]
