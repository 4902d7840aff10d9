"""What a phone gets to know: the keys of its person's accounts, sealed so that only it can read them.

A lock is in it as long as the phone may operate it over the server: registered there, and with an
account that the lock holds as the owner wants it. Everything else follows when it is so.
"""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING, Any

from ..const import CONF_CAPABILITIES, CONF_LOCK_KEY, DOMAIN
from ..home import is_lock
from ..ilp import (
    Right,
    account_key,
    advertisement_key,
    format_account_id,
)
from .wire import b64, canonical

if TYPE_CHECKING:
    from collections.abc import Iterator

    from homeassistant.config_entries import ConfigEntry

    from ..ilp import Account
    from ..ledger_lock import LockLedger
    from ..person import Person
    from .gateway import Gateway

_LOGGER = logging.getLogger(__name__)


def may_be_remote(person: Person) -> bool:
    """Whether the owner lets a person operate locks from elsewhere."""
    return Right.REMOTE_USE in person.rights and not person.suspended


def remote_locks(gateway: Gateway, person: Person | None) -> frozenset[str]:
    """Return device identifiers of the locks that a person may operate over this server."""
    return frozenset(device for device, *_ in _accounts(gateway, person))


def content(gateway: Gateway, person: Person, phone: bytes, most: int) -> bytes:
    """Return what is sealed for a phone, of `most` bytes at most; `phone` are its own 16 bytes.

    With more locks than fit the last ones are left out: that is about thirty.
    """
    locks = [_lock(*one) for one in _accounts(gateway, person)]
    while True:
        plain = canonical({"person": phone.hex(), "name": person.name, "locks": locks})
        if len(plain) <= most or not locks:
            return plain
        left_out = locks.pop()["device"]
        if left_out not in gateway.left_out:
            gateway.left_out.add(left_out)
            _LOGGER.warning("Too many locks for a phone: %s is left out", left_out)


def digest(update_key: bytes, plain: bytes) -> str:
    """Return what tells whether a phone's keys have changed, and nothing of them."""
    return hmac.digest(update_key, b"sent" + plain, "sha256").hex()


def _accounts(
    gateway: Gateway, person: Person | None
) -> Iterator[tuple[str, ConfigEntry[Any], LockLedger, Account]]:
    if person is None or gateway.home.people_entry is None or not may_be_remote(person):
        return
    entries = {
        entry.unique_id: entry
        for entry in gateway.hass.config_entries.async_entries(DOMAIN, include_ignore=False)
        if is_lock(entry)
    }
    ledgers = gateway.home.ledger.locks
    for device in sorted(gateway.store.locks.keys() & person.locks & entries.keys()):
        if (ledger := ledgers.get(device)) is None or ledger.epoch is None:
            continue
        grant = ledger.grants.get(person.id)
        if grant is None or grant.settled is None:
            continue
        if person.id in ledger.questions or person.id in ledger.ended:
            continue
        account = ledger.account(grant.account_id)
        if account is not None and Right.REMOTE_USE in account.rights:
            yield device, entries[device], ledger, account


def _lock(
    device: str, entry: ConfigEntry[Any], ledger: LockLedger, account: Account
) -> dict[str, Any]:
    lock_key = bytes.fromhex(entry.data[CONF_LOCK_KEY])
    epoch = ledger.epoch or 0
    return {
        "device": device,
        "name": entry.title,
        "slot": account.slot,
        "account": format_account_id(account.account_id),
        "key": b64(account_key(lock_key, account.account_id)),
        "advertisement_key": b64(advertisement_key(lock_key, epoch)),
        "epoch": epoch,
        "rights": int(account.rights),
        "capabilities": int(entry.data[CONF_CAPABILITIES]),
    }
