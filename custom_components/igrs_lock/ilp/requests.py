"""One builder for every request a client sends (ILP1 section 5).

A request has no time yet: `Request.at` stamps it with the session's clock, so a retry in a new
session stamps the same request anew. Builders raise MalformedError on values that ILP1 does not
define, without naming secret ones.
"""

from dataclasses import dataclass, field

from .const import (
    ACCOUNT_ID_SIZE,
    ACCOUNT_SLOT_MAX,
    AGE_MAX,
    COUNTER_MAX,
    LOG_PAGE_MAX,
    PIN_MAX,
    PIN_MIN,
    RESET_WORD,
    USES_KEEP,
    VALUE_SIZE,
    Command,
    FrameType,
    Operation,
    Option,
    Right,
    Weekday,
)
from .errors import MalformedError
from .frames import Frame
from .keys import check_size, unsigned

_MINUTES_OF_A_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class Request:
    """A request without a timestamp; `value` (9 bytes) is kept out of the repr."""

    command: Command
    value: bytes = field(repr=False)

    def at(self, timestamp: int) -> Frame:
        """Return the type-1 frame stamped with Unix seconds."""
        return Frame(self.command, FrameType.REQUEST, self.value, timestamp)


def write_account(account_id: bytes) -> Request:
    """01, Table 3 [P]: make a disabled account for 9 fresh random bytes. Controller only."""
    return Request(Command.WRITE_ACCOUNT, _account_id(account_id))


def authenticate(account_id: bytes) -> Request:
    """02, Table 5 [P]: first command of every session but the controller's."""
    return Request(Command.AUTHENTICATE, _account_id(account_id))


def operate(operation: Operation, max_age: int = 5) -> Request:
    """03, Table 7 [P]: lock, unlock or open; void when older than `max_age` seconds (1 to 30)."""
    if not 1 <= max_age <= AGE_MAX:
        raise MalformedError(f"the age of an operation is 1 to {AGE_MAX} s")
    return _request(Command.OPERATE, bytes((operation, max_age)))


def remove_account(account_id: bytes) -> Request:
    """41: erase an account and its PIN; starts a new epoch."""
    return Request(Command.REMOVE_ACCOUNT, _account_id(account_id))


def set_rights(slot: int, rights: Right, uses: int = USES_KEEP) -> Request:
    """42: rights and uses left (0 to 253, 254 as it is, 255 unlimited)."""
    value = _slot(slot) + unsigned(rights, 1, "rights") + unsigned(uses, 1, "uses")
    return _request(Command.SET_RIGHTS, value)


def set_validity(slot: int, not_before: int, not_after: int) -> Request:
    """43: valid when not_before <= time < not_after, in Unix seconds; 0 leaves a side open."""
    times = unsigned(not_before, 4, "not before") + unsigned(not_after, 4, "not after")
    return Request(Command.SET_VALIDITY, _slot(slot) + times)


def set_weekly_hours(slot: int, weekdays: Weekday, first: int, last: int) -> Request:
    """44: local minutes of the day (0 to 1439), both counted; no weekday means always.

    first > last runs past midnight and belongs to the day it began.
    """
    if not (0 <= first < _MINUTES_OF_A_DAY and 0 <= last < _MINUTES_OF_A_DAY):
        raise MalformedError("a minute of the day is 0 to 1439")
    value = _slot(slot) + unsigned(weekdays, 1, "weekdays") + first.to_bytes(2) + last.to_bytes(2)
    return _request(Command.SET_WEEKLY_HOURS, value)


def set_time(unix_time: int, utc_offset: int, *, force: bool = False) -> Request:
    """45: Unix seconds and the offset in minutes; a trusted clock moves by 600 s unless forced."""
    value = unsigned(unix_time, 4, "time") + _offset(utc_offset) + bytes((force,))
    return _request(Command.SET_TIME, value)


def set_pin(slot: int, digits: str) -> Request:
    """46: a PIN of 4 to 14 decimal digits; an empty text removes it."""
    if digits and not (
        digits.isascii() and digits.isdecimal() and PIN_MIN <= len(digits) <= PIN_MAX
    ):
        raise MalformedError(f"a PIN has {PIN_MIN} to {PIN_MAX} digits")
    bcd = bytes.fromhex(digits.ljust(PIN_MAX, "F"))
    return Request(Command.SET_PIN, _slot(slot) + bytes((len(digits),)) + bcd)


def set_option(option: Option, value: int) -> Request:
    """47: set an option to a 32-bit number."""
    return _request(Command.SET_OPTION, bytes((option,)) + unsigned(value, 4, "option value"))


def get_status() -> Request:
    """48: bolt, door, battery, counter."""
    return _request(Command.GET_STATUS)


def account_digest_request() -> Request:
    """49: the digest of all accounts, first in a session that writes accounts."""
    return _request(Command.ACCOUNT_DIGEST)


def get_log(after: int, count: int = LOG_PAGE_MAX) -> Request:
    """4A: at most `count` (1 to 20) records with a counter above `after`."""
    if not 0 <= after <= COUNTER_MAX:
        raise MalformedError("counter out of range")
    if not 1 <= count <= LOG_PAGE_MAX:
        raise MalformedError(f"a page of the log has 1 to {LOG_PAGE_MAX} records")
    return _request(Command.GET_LOG, after.to_bytes(3) + bytes((count,)))


def factory_reset() -> Request:
    """4B: erase everything but the counter. Controller only."""
    return Request(Command.FACTORY_RESET, RESET_WORD)


def get_option(option: Option) -> Request:
    """4C: read an option."""
    return _request(Command.GET_OPTION, bytes((option,)))


def read_account(slot: int) -> Request:
    """4D: read one account."""
    return _request(Command.READ_ACCOUNT, _slot(slot))


def get_advertisement_key() -> Request:
    """4E: the advertisement key and its epoch."""
    return _request(Command.GET_ADVERTISEMENT_KEY)


def identify() -> Request:
    """4F: sound or light for 5 s."""
    return _request(Command.IDENTIFY)


def set_next_utc_offset(change_at: int, utc_offset: int) -> Request:
    """50: Unix time of the next change (0 for none) and the offset in minutes from then on."""
    value = unsigned(change_at, 4, "time of the change") + _offset(utc_offset)
    return _request(Command.SET_NEXT_UTC_OFFSET, value)


def _request(command: Command, value: bytes = b"") -> Request:
    return Request(command, value.ljust(VALUE_SIZE, b"\x00"))


def _account_id(account_id: bytes) -> bytes:
    return check_size(account_id, ACCOUNT_ID_SIZE, "user account ID")


def _slot(slot: int) -> bytes:
    if not 0 <= slot <= ACCOUNT_SLOT_MAX:
        raise MalformedError(f"an account slot is 0 to {ACCOUNT_SLOT_MAX}")
    return bytes((slot,))


def _offset(minutes: int) -> bytes:
    if not -0x8000 <= minutes < 0x8000:
        raise MalformedError("UTC offset out of range")
    return minutes.to_bytes(2, signed=True)
