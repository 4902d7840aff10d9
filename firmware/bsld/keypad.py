"""The keypad's miss count (session rule 8): guessing must not pay, not even by pulling the power."""

from . import const as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ports import Clock
    from .store import Store

_KEY_MISSES = 5


class Keypad:
    """Counts misses in flash and makes the next attempt wait.

    The count falls by one an hour of uptime. A right PIN does not lower it: it only takes back
    the miss that was counted for itself before it was compared.
    """

    def __init__(self, clock: "Clock", store: "Store") -> None:
        """Go on with the stored count; a wait begins anew."""
        self._clock = clock
        self._store = store
        self.misses = (store.get(_KEY_MISSES) or b"\x00")[0]
        now = clock.uptime_ms()
        self._falls_at = now + c.PIN_FORGET_MS
        self._free_at = now + self._wait()

    def _wait(self) -> int:
        over = self.misses - c.PIN_FREE_MISSES
        if over < 0:
            return 0
        return min(c.PIN_WAIT_MS << min(over, 6), c.PIN_WAIT_MAX_MS)

    def _save(self, misses: int) -> None:
        self._store.commit((_KEY_MISSES, bytes((misses,)) if misses else None))
        self.misses = misses

    def waiting(self) -> int:
        """Milliseconds until a PIN is compared again."""
        return max(0, self._free_at - self._clock.uptime_ms())

    def attempt(self) -> None:
        """Count a miss in flash, before anything is compared."""
        if self.misses == 0:
            self._falls_at = self._clock.uptime_ms() + c.PIN_FORGET_MS
        self._save(min(self.misses + 1, 255))

    def hit(self, before: int) -> None:
        """The attempt was right: it was no miss, the count is what it was before it."""
        self._save(before)

    def missed(self) -> None:
        """The attempt was wrong: from here on the wait runs."""
        self._free_at = self._clock.uptime_ms() + self._wait()

    def poll(self, now: int) -> None:
        """Let the count fall."""
        misses = self.misses
        while misses and now >= self._falls_at:
            misses -= 1
            self._falls_at += c.PIN_FORGET_MS
        if misses != self.misses:
            self._save(misses)

    def due(self) -> "int | None":
        """When the count falls next (ms of uptime), None at zero."""
        return self._falls_at if self.misses else None

    def forget(self) -> None:
        """After a factory reset, which erased count and PINs together."""
        self.misses = 0
        self._free_at = 0
