"""Who may move the bolt: by Bluetooth, by PIN, with the button inside (section 5, rule 8)."""

from . import const as c
from .keypad import Keypad

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .accounts import Account
    from .lock import Lock
    from .store import Store

_RIGHT = {c.OP_LOCK: c.RIGHT_LOCK, c.OP_UNLOCK: c.RIGHT_UNLOCK, c.OP_OPEN: c.RIGHT_OPEN}


class Access:
    """Judges every wish to move the bolt."""

    def __init__(self, lock: "Lock", store: "Store") -> None:
        """Judge for a lock."""
        self._lock = lock
        self.keypad = Keypad(lock.ports.clock, store)
        self._denied: dict[int, int] = {}

    def operate(self, operation: int, slot: int, source: int) -> int:
        """Judge and begin an operation for a slot; returns a result value."""
        lock = self._lock
        account = lock.accounts.get(slot)
        if account is not None:
            refused = self._refused(account, operation)
            if refused:
                self.denied(slot, source, refused)
                return refused
        result = lock.movement.judge(operation)
        if result != c.ACCEPTED:
            return result
        if account is not None and operation != c.OP_LOCK and account.uses != c.USES_UNLIMITED:
            account.uses -= 1
            lock.accounts.save(account)  # before the bolt moves
        lock.movement.start(operation, slot, source)
        return result

    def _refused(self, account: "Account", operation: int) -> int:
        clock = self._lock.clock
        if not account.rights & c.RIGHT_ENABLED:
            return c.DISABLED
        if not clock.allows(account):
            return c.OUTSIDE_TIME
        if not account.rights & _RIGHT[operation]:
            return c.NO_RIGHT
        if not clock.allows_hour(account):
            return c.OUTSIDE_TIME
        # Who was let in once may still lock when leaving
        return c.DISABLED if operation != c.OP_LOCK and account.uses == 0 else c.DONE

    def denied(self, slot: int, source: int, result: int) -> None:
        """Log that a slot was refused, once a minute at most."""
        now = self._lock.ports.clock.uptime_ms()
        if now - self._denied.get(slot, -c.DENIED_MS) >= c.DENIED_MS:
            self._denied[slot] = now
            self._lock.record(c.EV_DENIED, slot, source, result)

    def pin(self, digits: str) -> int:
        """See `Lock.pin_entered`."""
        result = self._try_pin(digits)
        self._lock.ports.indicator.show("ok" if result in (c.DONE, c.ACCEPTED) else "refused")
        return result

    def _try_pin(self, digits: str) -> int:
        lock = self._lock
        keypad = self.keypad
        if not lock.capabilities & c.CAP_KEYPAD:
            return c.NOT_SUPPORTED
        keypad.poll(lock.ports.clock.uptime_ms())
        lock_key = lock.owner.lock_key
        if lock_key is None or not lock.options.get(c.OPT_KEYPAD) or keypad.waiting():
            return c.NOT_NOW
        if not 4 <= len(digits) <= 14 or not all("0" <= digit <= "9" for digit in digits):
            return c.BAD_VALUE  # no PIN can be so: not worth a write to flash
        before = keypad.misses
        keypad.attempt()
        account = lock.accounts.holder(lock_key, digits)
        if account is None:
            keypad.missed()
            lock.record(c.EV_WRONG_PIN, c.SLOT_NOBODY, c.SRC_KEYPAD)
            return c.UNKNOWN_ACCOUNT
        keypad.hit(before)
        return self.operate(c.OP_UNLOCK, account.slot, c.SRC_KEYPAD)

    def button(self) -> int:
        """See `Lock.button_pressed`."""
        # In doubt it lets people out
        retracted = self._lock.bolt in (c.BOLT_UNLOCKED, c.BOLT_OPEN)
        operation = c.OP_LOCK if retracted else c.OP_UNLOCK
        return self.operate(operation, c.SLOT_NOBODY, c.SRC_BUTTON)

    def forget(self) -> None:
        """After a factory reset."""
        self.keypad.forget()
