"""Who has access to a lock, for those who show it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from .account_plan import target
from .ilp import USES_UNLIMITED, Account, Right

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from .drift import Wanted
    from .ledger_lock import Grant, LockLedger


class AccessState(StrEnum):
    """How it stands with somebody's access to a lock."""

    ACTIVE = "active"
    """As the owner wants it; within its times and uses, that is."""
    PENDING = "pending"
    """To be written when the lock is reached."""
    SUSPENDED = "suspended"
    REMOVAL_PENDING = "removal_pending"
    """Still there until the lock is reached."""
    QUESTION = "question"
    """A repair asks the owner."""
    FULL = "full"
    """The lock has no slot left."""
    FAILED = "failed"
    """The lock refuses it."""
    UNKNOWN = "unknown"
    """An account of nobody known, which the owner lets be."""


class PinState(StrEnum):
    """How it stands with somebody's PIN on a lock."""

    NONE = "none"
    SET = "set"
    PENDING = "pending"
    TAKEN = "taken"
    """Refused: somebody else has this PIN."""


@dataclass(frozen=True, slots=True)
class Access:
    """Somebody's access to one lock; `uses_left` None is unlimited or not known."""

    person_id: str | None
    name: str
    state: AccessState
    slot: int | None
    account: Account | None = field(repr=False)
    uses_left: int | None
    pin: PinState


def access_list(
    lock: LockLedger,
    wanted: Mapping[str, Wanted] | None,
    full: Container[str],
    failed: Container[str],
    now: int,
) -> list[Access]:
    """Return everybody's access, persons first; `wanted` None: there is no People entry."""
    return [
        *_persons(lock, wanted, full, failed, now),
        *(
            _access(
                one.person_id, one.name, AccessState.REMOVAL_PENDING, lock.account(one.account_id)
            )
            for one in lock.doomed
        ),
        *_strangers(lock),
    ]


def _persons(
    lock: LockLedger,
    wanted: Mapping[str, Wanted] | None,
    full: Container[str],
    failed: Container[str],
    now: int,
) -> Iterator[Access]:
    names = {person_id: grant.name for person_id, grant in lock.grants.items()}
    if wanted is not None:
        names |= {person_id: one.name for person_id, one in wanted.items()}
    for person_id, name in names.items():
        grant = lock.grants.get(person_id)
        account = None if grant is None else lock.account(grant.account_id)
        one = None if wanted is None else wanted.get(person_id)
        if person_id in lock.questions:
            state = AccessState.QUESTION
        elif one is None:
            state = _as_it_is(account)
        elif person_id in full:
            state = AccessState.FULL
        elif person_id in failed:
            state = AccessState.FAILED
        elif grant is None or account is None or not _settled(grant, account, one, now):
            state = AccessState.PENDING
        else:
            state = _as_it_is(account) if one.terms.begun(now) else AccessState.ACTIVE
        yield _access(person_id, name, state, account, _pin_state(lock, person_id, grant, account))


def _settled(grant: Grant, account: Account, one: Wanted, now: int) -> bool:
    """Whether an account is what it is to be, but for a lease that is to be renewed."""
    return grant.settled == one.terms and (
        grant.lease_end is None
        or target(one.terms, grant.settled, account, now).rights == account.rights
    )


def _as_it_is(account: Account | None) -> AccessState:
    if account is None:
        return AccessState.PENDING
    return AccessState.ACTIVE if account.rights & Right.ENABLED else AccessState.SUSPENDED


def _strangers(lock: LockLedger) -> Iterator[Access]:
    questions = {
        question.found.account_id
        for question in lock.questions.values()
        if question.found is not None and question.person_id is None
    }
    strangers = {one.account_id for one in lock.foreign} | questions
    for account in lock.known or ():
        if account.account_id in strangers:
            asked = account.account_id in questions
            state = AccessState.QUESTION if asked else AccessState.UNKNOWN
            yield _access(None, "", state, account)


def _access(
    person_id: str | None,
    name: str,
    state: AccessState,
    account: Account | None,
    pin: PinState | None = None,
) -> Access:
    if pin is None:
        pin = PinState.SET if account is not None and account.pin_set else PinState.NONE
    unlimited = account is None or account.uses == USES_UNLIMITED
    return Access(
        person_id=person_id,
        name=name,
        state=state,
        slot=None if account is None else account.slot,
        account=account,
        uses_left=None if unlimited or account is None else account.uses,
        pin=pin,
    )


def _pin_state(
    lock: LockLedger, person_id: str, grant: Grant | None, account: Account | None
) -> PinState:
    pin_set = account is not None and account.pin_set
    waiting = lock.pins.get(person_id)
    if waiting or (waiting == "" and pin_set):
        return PinState.PENDING
    if grant is not None and grant.pin_taken:
        return PinState.TAKEN
    return PinState.SET if pin_set else PinState.NONE
