"""User accounts in their slots (sections 1 and 5): storage, slot re-use, digest, PINs.

A slot's value in the store: an account (34 bytes, 58 with a PIN), or the counter (3 bytes) up to
which the log has to be read before the slot may be used again, or nothing.
"""

from . import const as c
from .crypto import mac, same
from .identifiers import account_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .store import Store

_KEY_REMOVED = 8
_KEY_SLOT = 64
MAX_SLOTS = 128
_SALT = 8
_PIN = 16


class Account:
    """One account, as stored."""

    def __init__(self, slot: int, raw: bytes) -> None:
        """Unpack a stored account."""
        self.slot = slot
        self.account_id = raw[:9]
        self.rights = raw[9]
        self.uses = raw[10]
        self.not_before = int.from_bytes(raw[11:15], "big")
        self.not_after = int.from_bytes(raw[15:19], "big")
        self.days = raw[19]
        self.first = int.from_bytes(raw[20:22], "big")
        self.last = int.from_bytes(raw[22:24], "big")
        self.pin = raw[24:]  # salt 8, MAC 16; empty without a PIN

    def pack(self) -> bytes:
        """The stored form."""
        return (
            self.account_id
            + bytes((self.rights, self.uses))
            + self.not_before.to_bytes(4, "big")
            + self.not_after.to_bytes(4, "big")
            + bytes((self.days,))
            + self.first.to_bytes(2, "big")
            + self.last.to_bytes(2, "big")
            + self.pin
        )

    def digest_entry(self) -> bytes:
        """What the account digest covers: everything but the uses."""
        raw = self.pack()
        return bytes((self.slot,)) + raw[:10] + raw[11:24] + bytes((bool(self.pin),))


def _pin_mac(lock_key: bytes, salt: bytes, digits: str) -> bytes:
    return mac(lock_key + salt, b"ILP1 PIN", digits.encode())[:_PIN]


class Accounts:
    """All slots."""

    def __init__(self, store: "Store", slots: int) -> None:
        """Use a store; slots are numbered from 0."""
        self._store = store
        self.slots = slots

    def get(self, slot: int) -> "Account | None":
        """The account in a slot, None if it has none."""
        raw = self._store.get(_KEY_SLOT + slot) if slot < self.slots else None
        return Account(slot, raw) if raw is not None and len(raw) > 3 else None

    def used(self) -> "Iterator[Account]":
        """All accounts in rising order of their slots."""
        for slot in range(self.slots):
            account = self.get(slot)
            if account is not None:
                yield account

    def find(self, account_id: bytes) -> "Account | None":
        """The account with an ID."""
        for account in self.used():
            if same(account.account_id, account_id):
                return account
        return None

    def was_removed(self, account_id: bytes) -> bool:
        """Whether this ID was lately removed: it is never written again."""
        removed = self._store.get(_KEY_REMOVED) or b""
        return any(removed[at : at + 9] == account_id for at in range(0, len(removed), 9))

    def add(self, account_id: bytes) -> "int | None":
        """Write a disabled account into the lowest free slot; None when all are taken."""
        for slot in range(self.slots):
            if self._store.get(_KEY_SLOT + slot) is None:
                self._store.commit((_KEY_SLOT + slot, account_id + b"\x00\xff" + bytes(13)))
                return slot
        return None

    def save(self, account: Account) -> bool:
        """Store a changed account; False if nothing differs from what is stored."""
        raw = account.pack()
        if raw == self._store.get(_KEY_SLOT + account.slot):
            return False
        self._store.commit((_KEY_SLOT + account.slot, raw))
        return True

    def remove(self, account: Account, counter: int, *more: "tuple[int, bytes]") -> None:
        """Erase an account with its PIN, in one step with other changes of the store.

        Args:
            account: what to erase.
            counter: the log has to be read up to here before the slot is used again.
            more: further changes, as `Store.commit` takes them.
        """
        removed = (self._store.get(_KEY_REMOVED) or b"") + account.account_id
        self._store.commit(
            (_KEY_SLOT + account.slot, counter.to_bytes(3, "big")),
            (_KEY_REMOVED, removed[-9 * self.slots :]),
            *more,
        )

    def log_was_read(self, counter: int) -> None:
        """The controller has the log up to this counter: slots freed before are free again."""
        freed: list[tuple[int, None]] = []
        for slot in range(self.slots):
            raw = self._store.get(_KEY_SLOT + slot)
            if raw is not None and len(raw) == 3 and int.from_bytes(raw, "big") <= counter:
                freed.append((_KEY_SLOT + slot, None))
        if freed:
            self._store.commit(*freed)

    def shown_slot(self, slot: int, viewer: int) -> int:
        """A slot as the holder of another may see it: others' slots need the log right."""
        if viewer in (slot, c.SLOT_CONTROLLER):
            return slot
        account = self.get(viewer)
        return slot if account and account.rights & c.RIGHT_LOG else c.SLOT_NOBODY

    def digest(self) -> bytes:
        """Digest of the account list: 8 bytes."""
        return account_digest([account.digest_entry() for account in self.used()])

    def holder(self, lock_key: bytes, digits: str) -> "Account | None":
        """Whose PIN this is. All slots are compared, whoever it is: the time tells nothing."""
        found = None
        for account in self.used():
            salt = account.pin[:_SALT]
            if account.pin and same(_pin_mac(lock_key, salt, digits), account.pin[_SALT:]):
                found = account
        return found

    def pin(self, lock_key: bytes, digits: str, salt: bytes) -> bytes:
        """A PIN as it is kept: salt (8 bytes) and MAC."""
        return salt + _pin_mac(lock_key, salt, digits)
