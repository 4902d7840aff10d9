"""Names and numbers of the integration. ILP1's own are in `ilp.const`."""

from typing import Final

DOMAIN: Final = "igrs_lock"
MANUFACTURER: Final = "IGRS Lock"

# Config entry data.
CONF_LOCK_KEY: Final = "lock_key"
CONF_ACCOUNT_ID: Final = "account_id"
CONF_ACCOUNT_SLOT: Final = "account_slot"
CONF_CAPABILITIES: Final = "capabilities"
CONF_MANUFACTURER: Final = "manufacturer"
CONF_MODEL: Final = "model"
CONF_SW_VERSION: Final = "sw_version"
CONF_SETUP_CODE: Final = "setup_code"

# Kinds of config entries: a lock's has no type.
CONF_TYPE: Final = "type"
TYPE_PEOPLE: Final = "people"
TYPE_SERVER: Final = "server"
SUBENTRY_PERSON: Final = "person"

# Config entry data of a remote access server, and its option.
CONF_APP: Final = "app"
"""Name, slug and UUID of the app's discovery; None for a server that was typed in."""
CONF_CA: Final = "ca"
"""PEM of the own certificate authority; None for the usual ones."""
CONF_CODE: Final = "code"
"""Of forms only: it is spent at once, and kept nowhere."""
CONF_GATEWAY: Final = "gateway"
CONF_LOCAL: Final = "local"
"""Whether it is an app on this machine: without TLS, over the Supervisor's own network."""
CONF_PRIVATE_KEY: Final = "private_key"
CONF_SERVER_KEY: Final = "server_key"
CONF_SITE: Final = "site"
CONF_URL: Final = "url"
CONF_LOCKS: Final = "locks"
"""Device identifiers of the locks that are reachable over the server."""

# Config entry options of a lock.
CONF_ALWAYS_CONNECTED: Final = "always_connected"
CONF_DOOR_LEFT_OPEN: Final = "door_left_open"
"""Minutes after which an open door is told; 0 tells never."""
DOOR_LEFT_OPEN_DEFAULT: Final = 10

# Bluetooth. Seconds. Home Assistant's own time-outs are 20 s an attempt, which is no unlock.
CONNECT_TIMEOUT: Final = 5.0
ANSWER_TIMEOUT: Final = 5.0
DISCONNECT_TIMEOUT: Final = 5.0
IDLE_HOLD: Final = 5.0
MOVEMENT_TIMEOUT: Final = 20.0
QUEUE_MAX_AGE: Final = 10.0
"""An *unlock* or *open* that waited longer behind another operation is not done any more."""
REPEAT_MAX_AGE: Final = 20.0
"""Nor is it sent again later than this: whoever wanted in may have gone."""

# State.
ADVERTISEMENT_MAX_AGE: Final = 5.0
"""An older packet was stored: it may restore a counter, never a state."""
SILENCE_MIN: Final = 90.0
SILENCE_INTERVALS: Final = 20
LOG_BITS_PERIOD: Final = 4
RESET_SILENCE: Final = 30.0
"""Seconds without an authentic packet before a setup bit means that the lock was reset."""
AUTHENTICATION_FAILURES: Final = 3
"""Refusals of the lock key in a row, each in an action of its own, before asking to pair anew."""

# The lock's clock. Seconds.
TIME_INTERVAL: Final = 24 * 3600
TIME_RETRY: Final = 600
TIME_RETRY_MAX: Final = 3600
"""When it fails again and again."""

OUT_OF_REACH_AFTER: Final = 3600
"""Seconds without a lock before a repair tells of it."""
AUTO_LOCK_GRACE: Final = 60
"""Seconds after which auto-lock is late."""

ISSUE_AUTO_LOCK_FAILED: Final = "auto_lock_failed"
ISSUE_DOOR_LEFT_OPEN: Final = "door_left_open"
ISSUE_LOG_GAP: Final = "log_gap"
ISSUE_LOW_BATTERY: Final = "low_battery"
ISSUE_OUT_OF_REACH: Final = "out_of_reach"
ISSUE_RESET_ELSEWHERE: Final = "reset_elsewhere"
ISSUE_CLOCK: Final = "clock_not_synchronised"
