"""The lock's clock, and when an account may: validity, weekly hours, offsets (section 5)."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .accounts import Account
    from .ports import Clock
    from .store import Store

_KEY_OFFSETS = 6
_MAX_OFFSET = 1439


def signed(raw: bytes) -> int:
    """A signed 16-bit integer."""
    value = int.from_bytes(raw, "big")
    return value - 0x10000 if value & 0x8000 else value


class WallClock:
    """Unix time as far as the lock knows it, and the local time of its site.

    It runs on the uptime from the moment it was set, or from the battery-backed clock at start.
    """

    def __init__(self, clock: "Clock", store: "Store", not_before: int) -> None:
        """Take the battery-backed clock, if it has not gone back.

        That is behind `not_before` (the newest time in the log) or behind the time set last, which
        a restart with a wrong clock does not wash away.
        """
        self._clock = clock
        self._store = store
        self._unix = 0
        self._at = clock.uptime_ms()
        raw = store.get(_KEY_OFFSETS) or bytes(12)
        self._set_to = int.from_bytes(raw[8:], "big")
        not_before = max(not_before, self._set_to)
        rtc = clock.rtc()
        # A clock that went back has lost its time: time-limited accounts stay out until it is set
        self.trusted = rtc is not None and max(1, not_before) <= rtc <= 0xFFFFFFFF
        if rtc is not None and self.trusted:
            self._unix = rtc
        self._offset = signed(raw[:2])
        self._change = int.from_bytes(raw[2:6], "big")
        self._next = signed(raw[6:8])

    def now(self) -> int:
        """Unix seconds, 0 while not trusted."""
        if not self.trusted:
            return 0
        return min(self._unix + (self._clock.uptime_ms() - self._at) // 1000, 0xFFFFFFFF)

    def set(self, unix: int, offset: int) -> bool:
        """Set the time and the present UTC offset (minutes); False for an impossible value."""
        if unix == 0 or abs(offset) > _MAX_OFFSET:
            return False
        if 0 < self._change <= unix:
            # That change has come; what is set now is newer than it
            self._save(offset, 0, 0, unix)
        else:
            self._save(offset, self._change, self._next, unix)
        self._unix = unix
        self._at = self._clock.uptime_ms()
        self.trusted = True
        self._clock.set_rtc(unix)
        return True

    def set_next_offset(self, change: int, offset: int) -> bool:
        """Plan a change of the offset at a Unix time (0: none); False for an impossible value."""
        if abs(offset) > _MAX_OFFSET:
            return False
        present = self.offset(self.now())
        self._save(present, change, offset if change else 0, self._set_to)
        return True

    def _save(self, offset: int, change: int, following: int, set_to: int) -> None:
        new = (offset, change, following, set_to)
        if new != (self._offset, self._change, self._next, self._set_to):
            raw = (offset & 0xFFFF).to_bytes(2, "big") + change.to_bytes(4, "big")
            raw += (following & 0xFFFF).to_bytes(2, "big") + set_to.to_bytes(4, "big")
            self._store.commit((_KEY_OFFSETS, raw))
            self._offset, self._change, self._next, self._set_to = new

    def offset(self, unix: int) -> int:
        """The UTC offset in minutes that holds at a Unix time."""
        return self._next if 0 < self._change <= unix else self._offset

    def forget_offsets(self) -> None:
        """After a factory reset, which erased them from the store."""
        self._offset = self._change = self._next = self._set_to = 0

    def allows(self, account: "Account") -> bool:
        """Whether an account is within its validity now. Without a trusted clock: if it has none."""
        if account.not_before == 0 and account.not_after == 0:
            return True
        if not self.trusted:
            return False
        now = self.now()
        return account.not_before <= now and (account.not_after == 0 or now < account.not_after)

    def allows_hour(self, account: "Account") -> bool:
        """Whether this local minute is in an account's weekly hours; as `allows` without a clock."""
        if account.days == 0:
            return True
        if not self.trusted:
            return False
        now = self.now()
        minutes = now // 60 + self.offset(now)
        day = (minutes // 1440 + 3) % 7  # 1970-01-01 was a Thursday
        minute = minutes % 1440
        if account.first <= account.last:
            return bool(account.days >> day & 1) and account.first <= minute <= account.last
        # Past midnight: the hours belong to the day they began
        if minute >= account.first:
            return bool(account.days >> day & 1)
        return minute <= account.last and bool(account.days >> (day - 1) % 7 & 1)
