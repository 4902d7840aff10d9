"""Every constant of ILP1 on the lock's side, in one place.

A holder of ISO/IEC 14543-5-104:2024 can correct the profile here. Marks: [P] the standard's public
preview, [S] a public summary of it, [D] decided by this project.

Plain integers and bytes, no enumerations: the module also runs on MicroPython.
"""

# --- GATT (section 3) [D] ---------------------------------------------------------------------
SERVICE_UUID = "dbb0f1bf-e964-45da-b215-dd4c9fb1c7b5"
INFO_UUID = "dbb0f1c0-e964-45da-b215-dd4c9fb1c7b5"
REQUEST_UUID = "dbb0f1c1-e964-45da-b215-dd4c9fb1c7b5"
RESPONSE_UUID = "dbb0f1c2-e964-45da-b215-dd4c9fb1c7b5"
VERSION = 1
DEFAULT_MTU = 23
MAX_MESSAGE = 512

# Capabilities in the info characteristic [D]
CAP_LATCH = 0x01
CAP_DOOR_SENSOR = 0x02
CAP_KEYPAD = 0x04
CAP_AUTO_LOCK = 0x08
CAP_RTC = 0x10
CAP_LOG = 0x20

# --- Message kinds (section 4) [D] ------------------------------------------------------------
PAIR_REQUEST = 0x01
PAIR_REPLY = 0x02
PAIR_CONFIRM = 0x03
PAIR_DONE = 0x04
CHALLENGE_REQUEST = 0x10
CHALLENGE = 0x11
SESSION_OPEN = 0x12
SEALED = 0x13
ERROR = 0x1F

# ERROR codes [D]
ERR_MALFORMED = 1
ERR_AUTHENTICATION = 2
ERR_RETRY = 3
ERR_NOT_SETUP = 4
ERR_BUSY = 5
ERR_NO_SESSION = 6
ERR_VERSION = 7

# --- Frames (section 5) -----------------------------------------------------------------------
# Frame types: 1 [S], 2 to 4 [D]
REQUEST = 1
RESPONSE = 2
EVENT = 3
RECORD = 4

# Commands: 01 to 03 are Tables 3 to 8 [P] (03's number and value [S]), the rest [D]
WRITE_ID = 0x01
AUTHENTICATE = 0x02
OPERATE = 0x03
REMOVE_ID = 0x41
SET_RIGHTS = 0x42
SET_VALIDITY = 0x43
SET_HOURS = 0x44
SET_TIME = 0x45
SET_PIN = 0x46
SET_OPTION = 0x47
GET_STATUS = 0x48
GET_DIGEST = 0x49
GET_LOG = 0x4A
FACTORY_RESET = 0x4B
GET_OPTION = 0x4C
READ_ACCOUNT = 0x4D
GET_ADVERT_KEY = 0x4E
IDENTIFY = 0x4F
SET_NEXT_OFFSET = 0x50
RESET_WORD = b"ILP1RESET"

# Operations: 1 [S], the others [D]
OP_LOCK = 1
OP_UNLOCK = 2
OP_OPEN = 3

# Results: 0 and 1 [S], the others [D]
DONE = 0
ACCEPTED = 1
NO_RIGHT = 2
OUTSIDE_TIME = 3
UNKNOWN_ACCOUNT = 4
DISABLED = 5
BUSY = 6
JAMMED = 7
BAD_CHECK = 8
TOO_OLD = 9
FULL = 10
NOT_NOW = 11
BAD_VALUE = 12
NOT_SUPPORTED = 13
BATTERY_TOO_LOW = 14

# What an account may: bits of its rights [D]
RIGHT_LOCK = 0x01
RIGHT_UNLOCK = 0x02
RIGHT_OPEN = 0x04
RIGHT_LOG = 0x08
RIGHT_MANAGE = 0x10
RIGHT_FOLLOW = 0x20
RIGHT_REMOTE = 0x40
RIGHT_ENABLED = 0x80

USES_KEEP = 254
USES_UNLIMITED = 255

# Special slots [D]
SLOT_NOBODY = 254
SLOT_CONTROLLER = 255

# Bolt states (advertisement and frames) [D]
BOLT_UNKNOWN = 0
BOLT_LOCKED = 1
BOLT_UNLOCKED = 2
BOLT_LOCKING = 3
BOLT_UNLOCKING = 4
BOLT_JAMMED = 5
BOLT_OPEN = 6

# Door states [D]
DOOR_NO_SENSOR = 0
DOOR_CLOSED = 1
DOOR_OPEN = 2

BATTERY_UNKNOWN = 255
# At or below this charge the motor is not started: a bolt that stops half-way is worse [D]
BATTERY_CRITICAL = 2

# Events in the log, some also sent as state events [D]
EV_LOCKED = 1
EV_UNLOCKED = 2
EV_OPENED = 3
EV_JAMMED = 4
EV_DENIED = 5
EV_WRONG_PIN = 6
EV_TAMPER = 7
EV_DOOR_OPENED = 8
EV_DOOR_CLOSED = 9
EV_LOW_BATTERY = 10
EV_ACCOUNT = 11
EV_RESTARTED = 12
EV_OPTION = 13
EV_CLOCK_SET = 14
EV_PAIRED = 15

# Sources of an event [D]
SRC_UNKNOWN = 0
SRC_BLUETOOTH = 1
SRC_KEYPAD = 2
SRC_HAND = 3
SRC_AUTO_LOCK = 4
SRC_BUTTON = 5
SRC_NETWORK = 6

# Numbers of the options [D]
OPT_AUTO_LOCK = 1
OPT_SOUND = 2
OPT_KEYPAD = 3
OPT_ADVERTISING = 4

# Session nonce sources [D]
NONCE_ADVERTISED = 0
NONCE_CHALLENGE = 1

# --- Times and sizes [D] ----------------------------------------------------------------------
COUNTER_END = 0xFFFFFF
COUNTER_BLOCK = 256
HEARTBEAT_MS = 600_000
FAST_ADVERTISING_MS = 30_000
FAST_INTERVAL_MS = 250
IDLE_INTERVAL_MS = 1000
MAINS_INTERVAL_MS = 100
MAX_INTERVAL_MS = 2000

SETUP_MODE_MS = 600_000
SETUP_HOLD_S = 10
PAIR_GAP_MS = 2000

FRAGMENT_MS = 5000
NO_SESSION_MS = 10_000
PAIRING_MS = 30_000
IDLE_MS = 60_000
NONCE_MS = 10_000
NOTIFY_RETRY_MS = 20
# Sealed messages waiting for a connection's notifications. The profile asks for 1024; one full
# request message makes 21 x 3 sealed frames = 1515 bytes at most, apart from log records.
QUEUE_BYTES = 2048

MIN_AGE_S = -5
MAX_AGE_S = 30
CLOCK_STEP_S = 600

PIN_FREE_MISSES = 5
PIN_WAIT_MS = 60_000
PIN_WAIT_MAX_MS = 3_600_000
PIN_FORGET_MS = 3_600_000

DENIED_MS = 60_000
MOVEMENT_MS = 10_000
AUTO_LOCK_RETRY_MS = 5000
AUTO_LOCK_MAX_S = 86_400

SEALED_SIZE = 24
FRAMES_PER_MESSAGE = (MAX_MESSAGE - 1) // SEALED_SIZE
LOG_RECORDS_PER_ANSWER = 20
