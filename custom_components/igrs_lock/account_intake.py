"""Takes what the owner changed about people into one lock's part of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .account_plan import target
from .ilp import USES_KEEP
from .ledger_lock import Doomed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .drift import Wanted
    from .home import Home
    from .ledger_lock import LockLedger


def refresh(ledger: LockLedger, wanted: Mapping[str, Wanted], now: int, *, keypad: bool) -> bool:
    """Doom the accounts of everybody who is not in `wanted`; return whether anything changed.

    `now` in Unix seconds; without `keypad` no PIN is kept.
    """
    changed = False
    for person_id in [one for one in ledger.grants if one not in wanted]:
        grant = ledger.grants.pop(person_id)
        ledger.doomed.append(Doomed(grant.account_id, grant.name, person_id))
        if person_id not in ledger.ended:
            # Home Assistant may die before its own list is on the disk.
            ledger.ended.append(person_id)
        changed = True
    for person_id in [one for one in ledger.pins if one not in wanted or not keypad]:
        del ledger.pins[person_id]
        changed = True
    for key, question in [*ledger.questions.items()]:
        if question.person_id is not None and question.person_id not in wanted:
            del ledger.questions[key]
            changed = True
    for person_id in ledger.grants:
        changed |= _refresh_grant(ledger, person_id, wanted[person_id], now)
    if ledger.known is not None and ledger.intention is None:
        # What never was on the lock need not be removed from it.
        there = [one for one in ledger.doomed if ledger.account(one.account_id) is not None]
        changed |= len(there) != len(ledger.doomed)
        ledger.doomed = there
    return changed


def refresh_ended(ledger: LockLedger, home: Home, device_id: str, taken: set[str]) -> bool:
    """Take the lock from the lists of those for whom the owner ended it.

    They stay in `ended` until Home Assistant has started with such a list: what it changes now is
    on its disk only a moment later. `taken` are those whose list was seen without the lock since;
    if it is in there again, the owner wants it so.
    """
    changed = False
    persons = home.persons()
    for person_id in [*ledger.ended]:
        person = persons.get(person_id)
        if person is None or device_id not in person.locks:
            taken.add(person_id)
        elif person_id in taken:
            taken.discard(person_id)
            ledger.ended.remove(person_id)
            changed = True
        else:
            taken.add(person_id)
            home.async_take_lock(person_id, device_id)
    return changed


def note_taken(ledger: LockLedger, home: Home, device_id: str, taken: set[str]) -> None:
    """Note whose list was seen without the lock: back in it, the owner wants it so."""
    persons = home.persons()
    for person_id in ledger.ended:
        person = persons.get(person_id)
        if person is None or device_id not in person.locks:
            taken.add(person_id)


def forget_ended(ledger: LockLedger, home: Home, device_id: str) -> bool:
    """Forget at the start whose list lacks the lock; return whether anybody's does."""
    persons = home.persons()
    ended = [one for one in ledger.ended if one in persons and device_id in persons[one].locks]
    changed = len(ended) != len(ledger.ended)
    ledger.ended = ended
    return changed


def _refresh_grant(ledger: LockLedger, person_id: str, one: Wanted, now: int) -> bool:
    changed, grant = False, ledger.grants[person_id]
    if grant.name != one.name:
        grant.name, changed = one.name, True
    account = ledger.account(grant.account_id)
    if account is None or ledger.intention is not None or person_id in ledger.questions:
        return changed
    if ledger.pins.get(person_id) == "" and not account.pin_set:
        del ledger.pins[person_id]
        changed = True
    settled = grant.settled
    if settled in (None, one.terms) or person_id in ledger.pins:
        return changed
    if settled is None or settled.uses == USES_KEEP:
        return changed
    if target(one.terms, settled, account, now) == account:
        grant.settled = one.terms  # nothing to write
        return True
    return changed
