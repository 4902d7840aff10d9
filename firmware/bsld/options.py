"""Options (commands 47 and 4C)."""

from . import const as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .store import Store

_KEY = 16
_RANGE = {
    c.OPT_AUTO_LOCK: (0, c.AUTO_LOCK_MAX_S),
    c.OPT_SOUND: (0, 1),
    c.OPT_KEYPAD: (0, 1),
    c.OPT_ADVERTISING: (c.MAINS_INTERVAL_MS, c.MAX_INTERVAL_MS),
}


class Options:
    """The owner's choices; without one the defaults."""

    def __init__(self, store: "Store", capabilities: int, mains: bool) -> None:
        """Use a store; what can be chosen depends on the hardware."""
        self._store = store
        self._capabilities = capabilities
        interval = c.MAINS_INTERVAL_MS if mains else c.IDLE_INTERVAL_MS
        self._defaults = {c.OPT_SOUND: 1, c.OPT_KEYPAD: 1, c.OPT_ADVERTISING: interval}

    def get(self, option: int) -> int:
        """An option's value."""
        raw = self._store.get(_KEY + option)
        return self._defaults.get(option, 0) if raw is None else int.from_bytes(raw, "big")

    def refused(self, option: int) -> int:
        """The result that refuses an option, 0 if it exists here."""
        if option not in _RANGE:
            return c.BAD_VALUE
        needed = {c.OPT_AUTO_LOCK: c.CAP_AUTO_LOCK, c.OPT_KEYPAD: c.CAP_KEYPAD}.get(option, 0)
        return c.NOT_SUPPORTED if needed & ~self._capabilities else c.DONE

    def allowed(self, option: int, value: int) -> bool:
        """Whether an option that exists may have this value."""
        low, high = _RANGE[option]
        return low <= value <= high

    def set(self, option: int, value: int) -> None:
        """Store an option."""
        self._store.commit((_KEY + option, value.to_bytes(4, "big")))
