"""What is on a lock and was not written by this home, and what the owner decides about it.

Pure. A lock's own list is the truth: what is missing there is never written again by itself, since
a restored backup of Home Assistant knows people who were removed meanwhile (ILP1 section 4, rule 9).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from .ilp import Account, new_account_id
from .ledger_lock import Doomed, Grant, LockLedger, Question, QuestionKind
from .person import LEASE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .account_plan import Terms

HOME: Final = "home"
"""Key of the question about this home's own account."""
HOME_NAME: Final = "Home Assistant"
_RENEWED_WITHIN: Final = 300
"""Seconds between the writing of a lease and its record, by two clocks."""


class Choice(StrEnum):
    """An answer of the owner's."""

    KEEP = "keep"
    RESTORE = "restore"
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True)
class Told:
    """What the lock's log tells of a change: Unix seconds (0 unknown), and who ("" unknown)."""

    counter: int
    since: int = 0
    by: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Somebody who is to have access."""

    name: str
    terms: Terms


def choices(question: Question) -> tuple[Choice, ...]:
    """Return the answers that make sense."""
    match question.kind:
        case QuestionKind.UNKNOWN:
            return (Choice.REVOKE, Choice.KEEP)
        case QuestionKind.MISSING | QuestionKind.PENDING | QuestionKind.PAIRED:
            return (Choice.KEEP, Choice.RESTORE)
        case QuestionKind.CHANGED if question.person_id is not None:
            return (Choice.RESTORE, Choice.KEEP, Choice.REVOKE)
        case QuestionKind.CHANGED if question.name:
            return (Choice.RESTORE, Choice.KEEP)
    return (Choice.REVOKE, Choice.KEEP)


def judge(
    lock: LockLedger,
    actual: Sequence[Account],
    wanted: Mapping[str, Wanted],
    home: Account | None,
    changes: Mapping[int, Told],
    now: int,
    *,
    hidden: bool = False,
) -> None:
    """Compare what a lock holds with the ledger, and note what the owner has to be asked.

    Afterwards `lock.known` is `actual`. `home` is this home's own account as it was written,
    `changes` what the log tells of each slot since; `hidden`: it does not tell all, and somebody
    else could change accounts. Every grant has to be somebody's in `wanted`.
    """
    asked = _Asked(lock.questions, changes)
    doomed = {one.account_id for one in lock.doomed}
    grants = {grant.account_id: person_id for person_id, grant in lock.grants.items()}
    for account in actual:
        if account.account_id in doomed:
            continue
        person_id = grants.get(account.account_id)
        if person_id is None:
            _judge_stranger(lock, account, home, asked)
            continue
        one, grant = wanted[person_id], lock.grants[person_id]
        told = changes.get(account.slot, Told(0) if hidden else None)
        kind = _judge_grant(lock, person_id, account, one.terms, told, now)
        grant.slot = account.slot
        if asked.was(person_id, QuestionKind.CHANGED):
            kind = QuestionKind.CHANGED
        if kind is not None:
            asked.ask(person_id, Question(kind, person_id, one.name, account), account.slot)
    there = {account.account_id for account in actual}
    for person_id, one in wanted.items():
        absent = lock.grants.get(person_id)
        if absent is not None and absent.account_id in there:
            continue
        slot = None if absent is None else absent.slot
        kind = QuestionKind.PENDING if slot is None else QuestionKind.MISSING
        if absent is None and asked.was(person_id, QuestionKind.PAIRED):
            kind = QuestionKind.PAIRED
        asked.ask(person_id, Question(kind, person_id, one.name, None), slot)
    lock.questions = asked.questions
    lock.foreign = [one for one in lock.foreign if one.account_id in there]
    lock.doomed = [one for one in lock.doomed if one.account_id in there]
    lock.known = list(actual)
    lock.intention = None


class _Asked:
    """The questions of now, beside those of before, which tell what the log told then."""

    def __init__(self, before: Mapping[str, Question], changes: Mapping[int, Told]) -> None:
        self._before = before
        self._changes = changes
        self.questions: dict[str, Question] = {}

    def was(self, key: str, kind: QuestionKind) -> bool:
        """Whether a question of this kind waits for an answer."""
        before = self._before.get(key)
        return before is not None and before.kind is kind

    def ask(self, key: str, question: Question, slot: int | None) -> None:
        """Note a question about what is, or was, in a slot."""
        before = self._before.get(key)
        if slot is not None and (told := self._changes.get(slot)) is not None:
            question.since, question.by = told.since, told.by
        elif before is not None:
            question.since, question.by = before.since, before.by
        self.questions[key] = question


def _judge_stranger(
    lock: LockLedger, account: Account, home: Account | None, asked: _Asked
) -> None:
    """Ask about an account that is no person's."""
    kept = next((one for one in lock.foreign if one.account_id == account.account_id), None)
    if kept is not None and _same(account, kept):
        return
    if home is not None and account.account_id == home.account_id:
        if not _same(account, replace(home, slot=account.slot)):
            question = Question(QuestionKind.CHANGED, None, HOME_NAME, account)
            asked.ask(HOME, question, account.slot)
        return
    kind = QuestionKind.UNKNOWN if kept is None else QuestionKind.CHANGED
    asked.ask(f"slot_{account.slot}", Question(kind, None, "", account), account.slot)


def _judge_grant(
    lock: LockLedger, person_id: str, account: Account, terms: Terms, told: Told | None, now: int
) -> QuestionKind | None:
    """Return what to ask about a person's account; `told`: what the log tells of a change."""
    grant = lock.grants[person_id]
    more = bool(lock.pins.get(person_id))
    before = lock.account(grant.account_id)
    if (intention := lock.intention) is not None and intention.account_id == grant.account_id:
        for state in intention.states:
            if state is not None and _same(account, replace(state, slot=account.slot)):
                before = account  # that was this home, before it was cut off
    if (
        before is None
        or account.uses > before.uses
        or account.pin_set != before.pin_set
        # It may be another PIN, which nobody can tell.
        or (told is not None and account.pin_set)
    ):
        return QuestionKind.CHANGED
    settled = grant.settled
    counted = account.uses == terms.uses or (settled is not None and settled.uses == terms.uses)
    if (
        counted
        and terms.met_by(account, now)
        and (account.not_after == before.not_after or not terms.leased or _renewed(account, told))
    ):
        # Perhaps by this home, in a time that a backup knows nothing of.
        grant.settled, grant.lease_end = terms, account.not_after
        return QuestionKind.PENDING if more else None
    if not _same(account, before):
        return QuestionKind.CHANGED
    # What is left of somebody's uses is never made more by itself.
    refills = settled is not None and settled.uses != terms.uses and terms.uses > account.uses
    narrower = settled is not None and (terms == settled or terms.narrows(settled))
    if narrower and not more and not refills:
        return None
    return QuestionKind.PENDING


def _renewed(account: Account, told: Told | None) -> bool:
    """Whether the end of an account was put off as this home does it, at the time of a change.

    Any other end somebody decided on, perhaps in a time that a backup knows nothing of: then it is
    not to be put off again.
    """
    return told is not None and abs(told.since + LEASE - account.not_after) <= _RENEWED_WITHIN


def decide(lock: LockLedger, key: str, choice: Choice, terms: Terms | None) -> str | None:
    """Note what the owner decided; return the person from whose list the lock is to be taken.

    `terms` are what that person is to have. What follows is written by the next run, and only if
    the lock is still as it was found.
    """
    question = lock.questions.pop(key)
    found, person_id = question.found, question.person_id
    if choice is Choice.REVOKE:
        if found is not None:
            lock.doomed.append(Doomed(found.account_id, question.name, person_id))
        if person_id is not None:
            lock.grants.pop(person_id, None)
            lock.pins.pop(person_id, None)
        lock.foreign = [one for one in lock.foreign if one.account_id != _id(found)]
        return person_id
    if person_id is None:
        lock.foreign = [one for one in lock.foreign if one.account_id != _id(found)]
        if choice is Choice.KEEP and found is not None:
            lock.foreign.append(found)
        return None
    if choice is Choice.RESTORE:
        _restore(lock, question, person_id)
        return None
    if lock.pins.get(person_id):
        del lock.pins[person_id]  # that one was taken away needs no answer
    if found is None:
        lock.pins.pop(person_id, None)
        lock.grants.pop(person_id, None)
        return person_id
    grant = lock.grants[person_id]
    grant.settled, grant.lease_end = terms, None
    return None


def _restore(lock: LockLedger, question: Question, person_id: str) -> None:
    found = question.found
    if found is None:
        # An ID that was once removed from a lock is never written to it again.
        before = lock.grants.get(person_id)
        lock.grants[person_id] = Grant(
            new_account_id(), question.name, replaces=None if before is None else before.replaces
        )
    elif question.kind is QuestionKind.CHANGED:
        lock.grants[person_id].settled = None
        if found.pin_set and not lock.pins.get(person_id):
            # Whoever changed the account may know the PIN.
            lock.pins[person_id] = ""


def _id(account: Account | None) -> bytes:
    return b"" if account is None else account.account_id


def _same(one: Account, other: Account) -> bool:
    """Whether two accounts are the same but for their uses."""
    return replace(one, uses=other.uses) == other
