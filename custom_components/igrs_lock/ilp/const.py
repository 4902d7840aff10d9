"""Every constant of ILP1, in one place so that a holder of the standard can correct it.

Marks: [P] public preview of ISO/IEC 14543-5-104 (titles), [S] public summary of the standard,
[D] decided by this project. What has no mark of its own is [D].
"""

from enum import IntEnum, IntFlag
from typing import Final, Self

from .errors import MalformedError

PROFILE_VERSION: Final = 1

# Section 1: identifiers and keys.
DEVICE_ID_SIZE: Final = 6  # [S] 12-character device identifier
ACCOUNT_ID_SIZE: Final = 9  # [P] user account ID; [S] fills the 9-byte Value
SETUP_CODE_SIZE: Final = 10
SETUP_CODE_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford base32
KEY_SIZE: Final = 16  # [S] AES-128
EPOCH_MAX: Final = 0xFFFF
LABEL_CONTROLLER: Final = b"controller"
LABEL_ACCOUNT: Final = b"account"
LABEL_ADVERTISEMENT: Final = b"advert"
LABEL_MASK: Final = b"mask"
LABEL_SEEN: Final = b"seen"
SEEN_SIZE: Final = 8

# Section 2: advertisement. Times in seconds.
SERVICE_UUID: Final = "dbb0f1bf-e964-45da-b215-dd4c9fb1c7b5"
LOCAL_NAME_PREFIX: Final = "IGRS-"
ADVERTISEMENT_SIZE: Final = 10
ADVERTISEMENT_TAG_SIZE: Final = 4
FLAG_SETUP_MODE: Final = 0x01
FLAG_CLOCK_TRUSTED: Final = 0x02
LOG_BITS_SHIFT: Final = 2
LOG_BITS_MASK: Final = 0x03
STATE_BOLT_MASK: Final = 0x07
STATE_DOOR_SHIFT: Final = 3
STATE_DOOR_MASK: Final = 0x03
STATE_LOW_BATTERY: Final = 0x20
STATE_TAMPER: Final = 0x40
BATTERY_UNKNOWN: Final = 255
COUNTER_MAX: Final = 0xFFFFFF
BEHIND_ONLY_BEFORE_ASKING: Final = 30.0
ASK_INTERVAL: Final = 600.0
COUNTER_EXPIRY: Final = 25 * 60.0

# Section 3: GATT and fragments.
INFO_UUID: Final = "dbb0f1c0-e964-45da-b215-dd4c9fb1c7b5"
REQUEST_UUID: Final = "dbb0f1c1-e964-45da-b215-dd4c9fb1c7b5"
RESPONSE_UUID: Final = "dbb0f1c2-e964-45da-b215-dd4c9fb1c7b5"
INFO_SIZE: Final = 12
MTU_MIN: Final = 23
FRAGMENT_OVERHEAD: Final = 4  # ATT header 3, fragment header 1
FRAGMENT_LAST: Final = 0x80
FRAGMENT_INDEX_MASK: Final = 0x7F
FRAGMENT_TIMEOUT: Final = 5.0
MESSAGE_MAX: Final = 512

# Section 4: messages, pairing, sessions.
PUBLIC_KEY_SIZE: Final = 32
CONFIRM_SIZE: Final = 16
NONCE_SIZE: Final = 8
IV_SIZE: Final = 16  # [S] AES block
SEALED_TAG_SIZE: Final = 8
DIRECTION_TO_LOCK: Final = b"\x00"
DIRECTION_FROM_LOCK: Final = b"\x01"
LABEL_PAIR: Final = b"ILP1 pair"
LABEL_LOCK_KEY: Final = b"lock key"
LABEL_LOCK_CONFIRM: Final = b"lock confirm"
LABEL_CLIENT_CONFIRM: Final = b"client confirm"
LABEL_SESSION: Final = b"ILP1 session"
CONTROLLER_SLOT: Final = 255
UNKNOWN_SLOT: Final = 254
ACCOUNT_SLOT_MAX: Final = 253
AGE_MAX: Final = 30
CLOCK_TOLERANCE: Final = 2
"""Seconds an answer's timestamp may be off before the gateway sets the time (rule 5)."""

# Section 5: frames.
FRAME_SIZE: Final = 16  # [S] Command ID 1, Type 1, Value 9, Check 1, Timestamp 4
VALUE_SIZE: Final = 9  # [S]
SEALED_FRAME_SIZE: Final = FRAME_SIZE + SEALED_TAG_SIZE
USES_MAX: Final = 253
USES_KEEP: Final = 254
USES_UNLIMITED: Final = 255
LOG_PAGE_MAX: Final = 20
PIN_MIN: Final = 4
PIN_MAX: Final = 14
RESET_WORD: Final = b"ILP1RESET"
DIGEST_SIZE: Final = 8


class Code(IntEnum):
    """A number with defined values; others are malformed."""

    @classmethod
    def parse(cls, value: int) -> Self:
        """Return the member for `value`; MalformedError when it is not defined."""
        try:
            return cls(value)
        except ValueError:
            raise MalformedError(f"{cls.__name__} {value} is not defined") from None


class Kind(Code):
    """First byte of a message (section 4)."""

    PAIR_REQUEST = 0x01
    PAIR_REPLY = 0x02
    PAIR_CONFIRM = 0x03
    PAIR_DONE = 0x04
    CHALLENGE_REQUEST = 0x10
    CHALLENGE = 0x11
    SESSION_OPEN = 0x12
    SEALED = 0x13
    ERROR = 0x1F


class NonceSource(Code):
    """Where a session's lock nonce comes from (section 4)."""

    ADVERTISED = 0
    CHALLENGE = 1


class ErrorCode(Code):
    """Code of an ERROR message (section 4)."""

    MALFORMED = 1
    AUTHENTICATION_FAILED = 2
    TRY_AGAIN = 3
    NOT_IN_SETUP_MODE = 4
    BUSY = 5
    NO_SESSION = 6
    VERSION = 7


class FrameType(Code):
    """Type byte of a frame (section 5); request is [S], the others [D]."""

    REQUEST = 1  # [S] operation = 0x03/0x01
    RESPONSE = 2
    EVENT = 3
    RECORD = 4


class Command(Code):
    """Command ID of a frame (clause 8 [P]; section 5)."""

    WRITE_ACCOUNT = 0x01  # [P] Tables 3, 4
    AUTHENTICATE = 0x02  # [P] Tables 5, 6
    OPERATE = 0x03  # [P] Tables 7, 8; [S] 0x03
    REMOVE_ACCOUNT = 0x41
    SET_RIGHTS = 0x42
    SET_VALIDITY = 0x43
    SET_WEEKLY_HOURS = 0x44
    SET_TIME = 0x45
    SET_PIN = 0x46
    SET_OPTION = 0x47
    GET_STATUS = 0x48
    ACCOUNT_DIGEST = 0x49
    GET_LOG = 0x4A
    FACTORY_RESET = 0x4B
    GET_OPTION = 0x4C
    READ_ACCOUNT = 0x4D
    GET_ADVERTISEMENT_KEY = 0x4E
    IDENTIFY = 0x4F
    SET_NEXT_UTC_OFFSET = 0x50


class Operation(Code):
    """What command 03 does; [P,S] the command, [D] the numbers."""

    LOCK = 1
    UNLOCK = 2
    OPEN = 3


class Result(Code):
    """First byte of every response (section 5)."""

    DONE = 0
    ACCEPTED = 1
    NO_RIGHT = 2
    OUTSIDE_TIME = 3
    UNKNOWN_ACCOUNT = 4
    DISABLED = 5
    BUSY = 6
    JAMMED = 7
    WRONG_CHECK = 8
    TOO_OLD = 9
    FULL = 10
    NOT_POSSIBLE_NOW = 11
    BAD_VALUE = 12
    NOT_SUPPORTED = 13
    BATTERY_TOO_LOW = 14


class Bolt(Code):
    """State of the bolt (section 2)."""

    UNKNOWN = 0
    LOCKED = 1
    UNLOCKED = 2
    LOCKING = 3
    UNLOCKING = 4
    JAMMED = 5
    OPEN = 6


class Door(Code):
    """State of the door (section 2)."""

    NO_SENSOR = 0
    CLOSED = 1
    OPEN = 2


class Event(Code):
    """What a state event or a log record tells (section 5)."""

    LOCKED = 1
    UNLOCKED = 2
    OPENED = 3
    JAMMED = 4
    ACCESS_DENIED = 5
    WRONG_PIN = 6
    TAMPER = 7
    DOOR_OPENED = 8
    DOOR_CLOSED = 9
    LOW_BATTERY = 10
    ACCOUNT_CHANGED = 11
    RESTARTED = 12
    OPTION_CHANGED = 13
    CLOCK_SET = 14
    PAIRED = 15


class Source(Code):
    """What caused an event (section 5)."""

    UNKNOWN = 0
    BLUETOOTH = 1
    KEYPAD = 2
    BY_HAND = 3
    AUTO_LOCK = 4
    BUTTON = 5
    NETWORK = 6


class Option(Code):
    """Options of the lock (command 47); values are 32-bit numbers."""

    AUTO_LOCK_SECONDS = 1
    SOUND = 2
    KEYPAD = 3
    ADVERTISING_MS = 4


class Right(IntFlag):
    """Rights of an account (section 5)."""

    LOCK = 0x01
    UNLOCK = 0x02
    OPEN = 0x04
    READ_LOG = 0x08
    MANAGE = 0x10
    FOLLOW_STATE = 0x20
    REMOTE_USE = 0x40
    ENABLED = 0x80


class Weekday(IntFlag):
    """Days of weekly hours (command 44); none set means always."""

    MONDAY = 0x01
    TUESDAY = 0x02
    WEDNESDAY = 0x04
    THURSDAY = 0x08
    FRIDAY = 0x10
    SATURDAY = 0x20
    SUNDAY = 0x40


class Capability(IntFlag):
    """What a lock has, from the info characteristic (section 3)."""

    LATCH = 0x0001
    DOOR_SENSOR = 0x0002
    KEYPAD = 0x0004
    AUTO_LOCK = 0x0008
    BATTERY_BACKED_CLOCK = 0x0010
    EVENT_LOG = 0x0020
