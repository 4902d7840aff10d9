"""Reading advertisements: tag, mask and the fields (ILP1 section 2)."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Self

from .const import (
    ADVERTISEMENT_SIZE,
    ADVERTISEMENT_TAG_SIZE,
    DEVICE_ID_SIZE,
    FLAG_CLOCK_TRUSTED,
    FLAG_SETUP_MODE,
    KEY_SIZE,
    LABEL_MASK,
    LOG_BITS_MASK,
    LOG_BITS_SHIFT,
    PROFILE_VERSION,
    STATE_BOLT_MASK,
    STATE_DOOR_MASK,
    STATE_DOOR_SHIFT,
    STATE_LOW_BATTERY,
    STATE_TAMPER,
    Bolt,
    Door,
)
from .errors import AuthenticationError, MalformedError
from .keys import check_size

_NO_TAG = bytes(ADVERTISEMENT_TAG_SIZE)


@dataclass(frozen=True, slots=True)
class Header:
    """What anybody can read in 10 bytes of service data; nothing here is authenticated.

    `log_bits` is the number of log records modulo 4, `counter` 24 bits. `tagged` is false while
    the lock is unpaired.
    """

    setup_mode: bool
    clock_trusted: bool
    log_bits: int
    counter: int
    tagged: bool

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read 10 bytes; MalformedError on another length or profile version."""
        flags = _checked_flags(data)
        return cls(
            setup_mode=bool(flags & FLAG_SETUP_MODE),
            clock_trusted=bool(flags & FLAG_CLOCK_TRUSTED),
            log_bits=flags >> LOG_BITS_SHIFT & LOG_BITS_MASK,
            counter=int.from_bytes(data[3:6]),
            tagged=data[6:] != _NO_TAG,
        )


@dataclass(frozen=True, slots=True)
class Advertisement:
    """A lock's state as it advertises it.

    `battery` is in percent, None when the lock does not know. `nonce` is the lock nonce (8 bytes)
    for a session with source 0. `authenticated` is false for unpaired locks, whose state anybody
    can forge.
    """

    setup_mode: bool
    clock_trusted: bool
    log_bits: int
    counter: int
    bolt: Bolt
    door: Door
    low_battery: bool
    tamper: bool
    battery: int | None
    nonce: bytes
    authenticated: bool


class AdvertisementReader:
    """Opens one lock's advertisements under one advertisement key (16 bytes).

    Keeps the started MACs: two copies of them are all the key costs per advertisement.
    """

    __slots__ = ("_mask", "_tag")

    def __init__(self, key: bytes, device_id: bytes) -> None:
        """Start the MACs for `device_id` (6 bytes)."""
        check_size(key, KEY_SIZE, "advertisement key")
        check_size(device_id, DEVICE_ID_SIZE, "device identifier")
        self._mask = hmac.new(key, LABEL_MASK + device_id, hashlib.sha256)
        self._tag = hmac.new(key, device_id, hashlib.sha256)

    def open(self, data: bytes) -> Advertisement:
        """Return what 10 bytes of service data say.

        AuthenticationError on a wrong tag; MalformedError on a wrong length, another profile
        version, or an authentic state that ILP1 does not define.
        """
        flags = _checked_flags(data)
        masking = self._mask.copy()
        masking.update(data[3:])
        mask = masking.digest()
        state = data[1] ^ mask[0]
        battery = data[2] ^ mask[1]
        tagging = self._tag.copy()
        tagging.update(bytes((flags, state, battery)) + data[3:6])
        if not hmac.compare_digest(tagging.digest()[:ADVERTISEMENT_TAG_SIZE], data[6:]):
            raise AuthenticationError("wrong advertisement tag")
        return _advertisement(data, state, battery, authenticated=True)


def open_advertisement(key: bytes, device_id: bytes, data: bytes) -> Advertisement:
    """Open one advertisement of a paired lock; see `AdvertisementReader.open` for the errors."""
    return AdvertisementReader(key, device_id).open(data)


def open_unpaired(data: bytes) -> Advertisement:
    """Read the 10 bytes of an unpaired lock: unmasked, its tag all zeros.

    AuthenticationError when there is a tag: that lock is paired and needs its key.
    """
    _checked_flags(data)
    if data[6:] != _NO_TAG:
        raise AuthenticationError("the lock is paired")
    return _advertisement(data, data[1], data[2], authenticated=False)


def battery_percent(byte: int) -> int | None:
    """Return a battery byte as percent; None when unknown (255) or out of range."""
    return byte if byte <= 100 else None


def _checked_flags(data: bytes) -> int:
    if len(data) != ADVERTISEMENT_SIZE:
        raise MalformedError(f"advertisement data must have {ADVERTISEMENT_SIZE} bytes")
    flags = data[0]
    if flags >> 4 != PROFILE_VERSION:
        raise MalformedError(f"profile version {flags >> 4} is not known")
    return flags


def _advertisement(data: bytes, state: int, battery: int, *, authenticated: bool) -> Advertisement:
    flags = data[0]
    return Advertisement(
        setup_mode=bool(flags & FLAG_SETUP_MODE),
        clock_trusted=bool(flags & FLAG_CLOCK_TRUSTED),
        log_bits=flags >> LOG_BITS_SHIFT & LOG_BITS_MASK,
        counter=int.from_bytes(data[3:6]),
        bolt=Bolt.parse(state & STATE_BOLT_MASK),
        door=Door.parse(state >> STATE_DOOR_SHIFT & STATE_DOOR_MASK),
        low_battery=bool(state & STATE_LOW_BATTERY),
        tamper=bool(state & STATE_TAMPER),
        battery=battery_percent(battery),
        nonce=b"\x00" + data[3:],
        authenticated=authenticated,
    )
