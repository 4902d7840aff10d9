"""Other accounts in the place of somebody's: what a phone that was lost knows is of no use then."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from homeassistant.core import callback

from .away import async_refresh_away
from .ilp import USES_KEEP, new_account_id
from .ledger_lock import Doomed, Grant, LockLedger, QuestionKind, Replaced

if TYPE_CHECKING:
    from .home import Home


async def async_rotate(home: Home, person_id: str) -> None:
    """Give a person other accounts on all locks: the keys of the ones before end with them.

    Each lock is written to when it is reached. LedgerNotSavedError: then nothing changes.
    """
    locks = {
        device_id: lock for device_id, lock in home.ledger.locks.items() if person_id in lock.grants
    }

    def rotate_all() -> None:
        for lock in locks.values():
            rotate(lock, person_id)

    await home.ledger.async_save_decision(locks, rotate_all)
    home.async_people_changed()
    await async_refresh_away(home.hass, home)


@callback
def rotate(ledger: LockLedger, person_id: str) -> bool:
    """Let somebody's account on a lock be removed and another one be written in its place.

    Whoever has the old account's key, a lost phone for one, is out as soon as the lock is reached.
    A PIN goes with the account: one that is on the lock is known to the lock only. Return whether
    there was an account.
    """
    if (grant := ledger.grants.get(person_id)) is None:
        return False
    ledger.doomed.append(Doomed(grant.account_id, grant.name, person_id))
    ledger.grants[person_id] = Grant(
        new_account_id(), grant.name, replaces=_replaced(ledger, grant)
    )
    if ledger.pins.get(person_id) == "":
        del ledger.pins[person_id]
    question = ledger.questions.get(person_id)
    if question is not None and question.found is not None:
        # It was about the old account. Whether somebody is to have one at all is still open.
        ledger.questions[person_id] = replace(question, kind=QuestionKind.PENDING, found=None)
    return True


def _replaced(ledger: LockLedger, grant: Grant) -> Replaced | None:
    account, settled = ledger.account(grant.account_id), grant.settled
    if settled is None and account is None and ledger.intention is None:
        return grant.replaces  # this one was never written
    if settled is None:
        if grant.replaces is None:
            return Replaced(grant.account_id)
        return replace(grant.replaces, account_id=grant.account_id)
    if account is None or settled.uses == USES_KEEP:
        return Replaced(grant.account_id)
    return Replaced(grant.account_id, settled.uses, account.uses)
