"""The bolt: movements that take time and can jam, turns by hand, auto-lock."""

from . import const as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .lock import Lock

_TARGET = {c.OP_LOCK: c.BOLT_LOCKED, c.OP_UNLOCK: c.BOLT_UNLOCKED, c.OP_OPEN: c.BOLT_OPEN}
_EVENT = {
    c.BOLT_LOCKED: c.EV_LOCKED,
    c.BOLT_UNLOCKED: c.EV_UNLOCKED,
    c.BOLT_OPEN: c.EV_OPENED,
    c.BOLT_JAMMED: c.EV_JAMMED,
}
_RETRACTED = (c.BOLT_UNLOCKED, c.BOLT_OPEN)


class Bolt:
    """Where the bolt is, who moves it, and when it locks by itself."""

    def __init__(self, lock: "Lock", movement_ms: int) -> None:
        """A bolt nothing is known of yet."""
        self._lock = lock
        self._motor = lock.ports.motor
        self._movement_ms = movement_ms
        self.state = c.BOLT_UNKNOWN
        self._seen = False
        self._operation = 0
        self._deadline = 0
        self._slot = c.SLOT_NOBODY
        self._source = c.SRC_UNKNOWN
        self._auto_at: int | None = None
        self._failures = 0
        self._passed = c.BOLT_JAMMED

    @property
    def moving(self) -> bool:
        """Whether the motor runs."""
        return self._operation != 0

    def judge(self, operation: int) -> int:
        """What would come of an operation: ACCEPTED if it moves the bolt, else another result."""
        lock = self._lock
        if operation == c.OP_OPEN and not lock.capabilities & c.CAP_LATCH:
            return c.NOT_SUPPORTED
        if self.moving:
            return c.BUSY
        if lock.battery <= c.BATTERY_CRITICAL:
            return c.BATTERY_TOO_LOW
        if operation != c.OP_OPEN and self.state == _TARGET[operation]:
            self.arm(anew=True)  # who unlocks an unlocked door wants it to stay so
            return c.DONE
        return c.ACCEPTED

    def start(self, operation: int, slot: int, source: int) -> None:
        """Start the motor for somebody; only after `judge` said ACCEPTED."""
        self._operation = operation
        self._passed = c.BOLT_JAMMED
        self._slot = slot
        self._source = source
        self._auto_at = None
        if source != c.SRC_AUTO_LOCK:
            self._failures = 0
        self._deadline = self._lock.ports.clock.uptime_ms() + self._movement_ms
        self.state = c.BOLT_LOCKING if operation == c.OP_LOCK else c.BOLT_UNLOCKING
        self._motor.start(operation)

    def forget(self, slot: "int | None") -> None:
        """A slot was erased, or all (None): a movement under way is nobody's."""
        if slot in (None, self._slot):
            self._slot = c.SLOT_NOBODY
        if slot is None:
            self.arm(anew=True)  # the option for auto-lock is gone too

    def sensed(self, bolt: int) -> None:
        """See `Lock.bolt_sensed`."""
        if self.moving:
            # An opening bolt is unlocked before the latch is pulled
            if self._operation != c.OP_OPEN or bolt != c.BOLT_UNLOCKED:
                self._finish(bolt)
            else:
                self._passed = bolt
            return
        before = self.state
        first = not self._seen
        self._seen = True
        # A jammed bolt that is nowhere stays jammed
        if bolt == before or (before, bolt) == (c.BOLT_JAMMED, c.BOLT_UNKNOWN):
            return
        self.state = bolt
        self._failures = 0
        # The latch springs back by itself, and the first reading after power-up is no turn
        if not first and bolt in _EVENT and (before, bolt) != (c.BOLT_OPEN, c.BOLT_UNLOCKED):
            if bolt == c.BOLT_JAMMED:
                self._lock.ports.indicator.show("alert")
            self._lock.record(_EVENT[bolt], c.SLOT_NOBODY, c.SRC_HAND)
        self.arm()

    def _finish(self, bolt: int) -> None:
        reached = bolt == _TARGET[self._operation] or (
            self._operation == c.OP_UNLOCK and bolt == c.BOLT_OPEN
        )
        automatic = self._source == c.SRC_AUTO_LOCK
        self._operation = 0
        self._seen = True
        self._motor.stop()
        self.state = bolt
        if reached:
            self._failures = 0
        elif automatic:
            self._failures += 1
        # A movement that ended elsewhere has failed, wherever the bolt is now
        event = _EVENT[bolt] if reached else c.EV_JAMMED
        self._lock.record(event, self._slot, self._source)
        if not reached and (not automatic or self._failures > 1):
            self._lock.ports.indicator.show("alert")
        self.arm()

    def door_changed(self, is_open: bool) -> None:
        """The door moved: auto-lock waits for it, and tries anew when it closes."""
        if not is_open:
            self._failures = 0
        self.arm(anew=True)

    def arm(self, anew: bool = False) -> None:
        """Plan or give up the next automatic locking after a change of bolt, door or option.

        Args:
            anew: count the time from now even if it runs already.
        """
        lock = self._lock
        seconds = lock.options.get(c.OPT_AUTO_LOCK)
        door_closed = lock.door == c.DOOR_CLOSED or not lock.capabilities & c.CAP_DOOR_SENSOR
        failed = self._failures == 1 and self.state in (c.BOLT_JAMMED, c.BOLT_UNKNOWN)
        wanted = self.state in _RETRACTED or failed
        if not (seconds and door_closed and wanted and self._failures < 2) or self.moving:
            self._auto_at = None
        elif self._auto_at is None or anew:
            delay = c.AUTO_LOCK_RETRY_MS if self._failures else seconds * 1000
            self._auto_at = lock.ports.clock.uptime_ms() + delay

    def poll(self, now: int) -> None:
        """Do what is due."""
        if self.moving and now >= self._deadline:
            # A latch that did not come leaves the bolt where it was seen last
            self._finish(self._passed)
        if self._auto_at is not None and now >= self._auto_at:
            self._auto_at = None
            if self.judge(c.OP_LOCK) == c.ACCEPTED:
                self.start(c.OP_LOCK, c.SLOT_NOBODY, c.SRC_AUTO_LOCK)
                return
            self._failures += 1  # the battery is too low
            if self._failures > 1:
                self._lock.ports.indicator.show("alert")
            self.arm()

    def due(self) -> "int | None":
        """When `poll` has something to do (ms of uptime), None for never."""
        return self._deadline if self.moving else self._auto_at
