"""Who the lock belongs to: the lock key, its epoch, and the keys made from them."""

from . import const as c
from . import identifiers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .accounts import Accounts
    from .store import Store

    Changes = dict[int, bytes]

# Keys of the store; what outlives an owner is named here, because a new one replaces all else
_LOCK_KEY = 1
_EPOCH = 2
_COMPLETE = 3
_COUNTER = 4
_MISSES = 5
_OFFSETS = 6
_GENERATION = 7
_LAST_EPOCH = 0xFFFF


class Owner:
    """The pairing in force.

    Attributes:
        lock_key: 16 bytes, None while unpaired.
        epoch: of the advertisement key.
        complete: the controller has opened a session under the lock key.
        advertisement_key: 16 bytes, None while unpaired.
    """

    def __init__(self, store: "Store") -> None:
        """Read what is stored."""
        self._store = store
        self._load()

    def _load(self) -> None:
        self.lock_key = self._store.get(_LOCK_KEY)
        self.epoch = int.from_bytes(self._store.get(_EPOCH) or b"", "big")
        self.complete = self._store.get(_COMPLETE) is not None
        self.advertisement_key = (
            identifiers.advertisement_key(self.lock_key, self.epoch) if self.lock_key else None
        )

    def session_key(self, accounts: "Accounts", slot: int) -> "bytes | None":
        """The key for sessions of a slot, None if it has none."""
        if self.lock_key is None:
            return None
        if slot == c.SLOT_CONTROLLER:
            return identifiers.controller_key(self.lock_key)
        account = accounts.get(slot)
        return identifiers.account_key(self.lock_key, account.account_id) if account else None

    def next_epoch(self) -> "tuple[int, bytes]":
        """The change of the store that begins the next epoch; then call `reload`.

        At the end of the range the epoch stays; 65,535 removals are more than a flash lasts.
        """
        return _EPOCH, min(self.epoch + 1, _LAST_EPOCH).to_bytes(2, "big")

    def reload(self) -> None:
        """The epoch was stored together with something else."""
        self._load()

    def set_complete(self) -> None:
        """The controller has proved that it has the lock key."""
        self._store.commit((_COMPLETE, b"\x01"))
        self.complete = True

    def begin(self, lock_key: bytes, fresh_range: "int | None") -> None:
        """Pair: a lock key and empty stores in one atomic step.

        Counter, log, PIN misses and offsets go on.

        Args:
            lock_key: 16 bytes.
            fresh_range: a log generation if the counter's range is used up, so that counter and
                log begin anew; else None.
        """
        if fresh_range is None:
            values = self._store.keep((_COUNTER, _MISSES, _OFFSETS, _GENERATION))
        else:
            values = self._store.keep((_MISSES, _OFFSETS))
            values[_GENERATION] = bytes((fresh_range,))
        values[_LOCK_KEY] = lock_key
        values[_EPOCH] = bytes(2)
        self._store.replace(values)
        self._load()

    def end(self, generation: int) -> None:
        """Factory reset: nothing stays but the counter; the log gets its next generation."""
        values = self._store.keep((_COUNTER,))
        values[_GENERATION] = bytes((generation,))
        self._store.replace(values)
        self._load()
