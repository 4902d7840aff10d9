"""The digest of a lock's accounts (ILP1 section 5, command 49)."""

import hashlib
from typing import TYPE_CHECKING

from .const import ACCOUNT_ID_SIZE, DIGEST_SIZE
from .errors import MalformedError
from .keys import check_size, unsigned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .responses import Account


def account_digest(accounts: Iterable[Account]) -> bytes:
    """Return the 8 bytes that the lock answers when it holds exactly these accounts.

    Any order; MalformedError when a slot is there twice or a field does not fit. `uses` is no
    part of it, since it falls by itself.
    """
    by_slot: dict[int, Account] = {}
    for account in accounts:
        if account.slot in by_slot:
            raise MalformedError("two accounts in one slot")
        by_slot[account.slot] = account
    digest = hashlib.sha256()
    for slot in sorted(by_slot):
        account = by_slot[slot]
        digest.update(
            unsigned(slot, 1, "slot")
            + check_size(account.account_id, ACCOUNT_ID_SIZE, "user account ID")
            + unsigned(account.rights, 1, "rights")
            + unsigned(account.not_before, 4, "not before")
            + unsigned(account.not_after, 4, "not after")
            + unsigned(account.weekdays, 1, "weekdays")
            + unsigned(account.first_minute, 2, "first minute")
            + unsigned(account.last_minute, 2, "last minute")
            + bytes((account.pin_set,))
        )
    return digest.digest()[:DIGEST_SIZE]
