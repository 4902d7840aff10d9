"""Whether this machine's clock may set a lock's, and the offsets of its time zone.

A lock's clock decides when a guest's key ends, so it is never set from a clock that may be wrong:
a small computer without a clock battery starts in the past. Home Assistant itself does not know.
The kernel does: time services (systemd-timesyncd, chrony, ntpd) tell it when they have the time,
and it forgets that at every start. Where no such service runs on a machine that has the right
time all the same (some virtual machines), the owner vouches for it in a repair.
"""

import ctypes
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import ClassVar, Final, NamedTuple

_STA_UNSYNC: Final = 0x0040
_TIME_ERROR: Final = 5
_RELEASED: Final = 1_790_000_000  # 2026-09: an earlier time is wrong whatever anybody says
_SEARCH_DAYS: Final = 366


class _Timex(ctypes.Structure):
    """`struct timex` of Linux (adjtimex(2)) up to `status`, then room for the rest."""

    _fields_: ClassVar = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    ]


def kernel_synchronised() -> bool:
    """Whether the kernel says that a time service keeps its clock right.

    False also where the kernel cannot be asked. Reading needs no privilege.
    """
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except AttributeError, OSError:
        return False
    timex = _Timex()  # modes 0: read only
    state = adjtimex(ctypes.byref(timex))
    return 0 <= state < _TIME_ERROR and not timex.status & _STA_UNSYNC


def plausible(now: float) -> bool:
    """Whether Unix seconds are later than this integration's release."""
    return now > _RELEASED


class Offsets(NamedTuple):
    """UTC offset in minutes now, and from `change_at` on (Unix seconds; 0 when none is known)."""

    now: int
    change_at: int
    then: int


def offsets(zone: tzinfo, now: float | None = None) -> Offsets:
    """Return a time zone's offset and its next change within a year, to the second."""
    start = int(time.time() if now is None else now)
    current = _offset_minutes(zone, start)
    day = int(timedelta(days=1).total_seconds())
    for number in range(_SEARCH_DAYS):
        before, after = start + number * day, start + (number + 1) * day
        if _offset_minutes(zone, after) == current:
            continue
        while after - before > 1:
            middle = (before + after) // 2
            if _offset_minutes(zone, middle) == current:
                before = middle
            else:
                after = middle
        return Offsets(current, after, _offset_minutes(zone, after))
    return Offsets(current, 0, current)


def _offset_minutes(zone: tzinfo, unix: int) -> int:
    offset = datetime.fromtimestamp(unix, UTC).astimezone(zone).utcoffset()
    return int((offset or timedelta()).total_seconds()) // 60
