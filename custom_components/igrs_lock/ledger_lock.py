"""One lock's part of the ledger, and how it is written to disk.

Account IDs and PINs open doors: they are kept out of every repr.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Self

from .account_plan import Terms
from .ilp import Account, Right, Weekday, format_account_id, parse_account_id

_NUMBERS: Final = ("slot", "uses", "not_before", "not_after", "first_minute", "last_minute")


@dataclass(frozen=True, slots=True)
class Holder:
    """Who held a slot; `person_id` is None for somebody who is no person of this home."""

    person_id: str | None
    name: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """The account in whose place a new one is to be written, when the lock does not have it any more.

    `uses` are what the owner gave with it and `left` those that were left; `uses` None: the new
    one gets what the owner gives now.
    """

    account_id: bytes = field(repr=False)
    uses: int | None = None
    left: int = 0

    def rest(self, uses: int) -> int:
        """Return what is left of `uses`, of which the old account had its part; never more."""
        return min(uses, self.left) if uses == self.uses else uses

    def as_dict(self) -> dict[str, Any]:
        """Return what is stored."""
        return {
            "account_id": format_account_id(self.account_id),
            "uses": self.uses,
            "left": self.left,
        }

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """Read what was stored."""
        return cls(parse_account_id(data["account_id"]), data["uses"], data["left"])


@dataclass(slots=True)
class Grant:
    """A person's access to one lock.

    `slot` is None until the lock told it. `settled` are the terms that were written, or that the
    owner let be though the lock differs; None until then. `lease_end` is the end that this home
    wrote last, None if somebody else did: that one is never put off. `replaces`: until this one is
    written, the account whose keys are not to be good any more.
    """

    account_id: bytes = field(repr=False)
    name: str
    slot: int | None = None
    settled: Terms | None = None
    lease_end: int | None = None
    pin_taken: bool = False
    replaces: Replaced | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what is stored."""
        return {
            "account_id": format_account_id(self.account_id),
            "name": self.name,
            "slot": self.slot,
            "settled": None if self.settled is None else terms_as_dict(self.settled),
            "lease_end": self.lease_end,
            "pin_taken": self.pin_taken,
            "replaces": None if self.replaces is None else self.replaces.as_dict(),
        }

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """Read what was stored."""
        return cls(
            account_id=parse_account_id(data["account_id"]),
            name=data["name"],
            slot=data["slot"],
            settled=None if data["settled"] is None else terms_of(data["settled"]),
            lease_end=data["lease_end"],
            pin_taken=data["pin_taken"],
            # Not in files of version 0.1.
            replaces=None if (old := data.get("replaces")) is None else Replaced.of(old),
        )


@dataclass(slots=True)
class Doomed:
    """An account that is to be removed, whatever else is found on the lock."""

    account_id: bytes = field(repr=False)
    name: str
    person_id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what is stored."""
        return {
            "account_id": format_account_id(self.account_id),
            "name": self.name,
            "person_id": self.person_id,
        }

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """Read what was stored."""
        return cls(parse_account_id(data["account_id"]), data["name"], data["person_id"])


class QuestionKind(StrEnum):
    """What the owner is asked about."""

    UNKNOWN = "unknown"
    """An account that this home did not write."""
    MISSING = "missing"
    """An account that this home wrote is gone."""
    CHANGED = "changed"
    """An account is not as this home left it."""
    PENDING = "pending"
    """Something waited to be written when others were found to have written."""
    PAIRED = "paired"
    """The lock was paired anew and forgot somebody who is on the list."""


@dataclass(slots=True)
class Question:
    """A difference that the owner has to judge.

    `found` is the account on the lock (None: there is none), `since` the lock's Unix seconds of
    the change and `by` who made it, as far as its log tells (0, "").
    """

    kind: QuestionKind
    person_id: str | None
    name: str
    found: Account | None = field(repr=False)
    since: int = 0
    by: str = ""

    def same_as(self, other: Question) -> bool:
        """Whether it asks about the same as another, uses aside, which fall by themselves."""
        if (self.kind, self.person_id) != (other.kind, other.person_id):
            return False
        if self.found is None or other.found is None:
            return self.found is other.found
        return replace(self.found, uses=other.found.uses) == other.found

    def as_dict(self) -> dict[str, Any]:
        """Return what is stored."""
        return {
            "kind": self.kind.value,
            "person_id": self.person_id,
            "name": self.name,
            "found": None if self.found is None else account_as_dict(self.found),
            "since": self.since,
            "by": self.by,
        }

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """Read what was stored."""
        return cls(
            kind=QuestionKind(data["kind"]),
            person_id=data["person_id"],
            name=data["name"],
            found=None if data["found"] is None else account_of(data["found"]),
            since=data["since"],
            by=data["by"],
        )


@dataclass(slots=True)
class Intention:
    """A message about to be sent: what its account will be after each command that changes it.

    The first of `states` is what was there before; None is no account. Slot -1 is any: the lock
    chooses. `free` are the numbers of states whose command may have left no record in the log.
    """

    account_id: bytes = field(repr=False)
    states: list[Account | None] = field(repr=False)
    free: list[int] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return what is stored."""
        return {
            "account_id": format_account_id(self.account_id),
            "states": [None if state is None else account_as_dict(state) for state in self.states],
            "free": self.free,
        }

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """Read what was stored."""
        return cls(
            parse_account_id(data["account_id"]),
            [None if state is None else account_of(state) for state in data["states"]],
            list(data["free"]),
        )


@dataclass(slots=True)
class LockLedger:
    """What this home knows of the accounts on one lock, and what it means to do there.

    `known`: the lock's list as last read or written; None before it was ever read. `epoch` goes
    with it (0 without `known`: the lock was just paired). `accounts_counter`: every change of
    accounts recorded up to this counter is accounted for; None: up to where the log is read
    first. `own`: counters above
    it that this home's own commands caused. `holders`: (slot, since counter, person ID, name).
    `pins`: digits that a person's account has not got yet, "" to take the PIN away. `foreign`:
    accounts of nobody known that the owner lets be. `ended`: people from whose list this lock is
    being taken.
    """

    known: list[Account] | None = field(default=None, repr=False)
    epoch: int | None = None
    accounts_counter: int | None = 0
    own: set[int] = field(default_factory=set)
    grants: dict[str, Grant] = field(default_factory=dict)
    doomed: list[Doomed] = field(default_factory=list)
    foreign: list[Account] = field(default_factory=list, repr=False)
    questions: dict[str, Question] = field(default_factory=dict)
    holders: list[tuple[int, int, str | None, str]] = field(default_factory=list)
    pins: dict[str, str] = field(default_factory=dict, repr=False)
    ended: list[str] = field(default_factory=list)
    intention: Intention | None = None

    def account(self, account_id: bytes) -> Account | None:
        """Return the account with this ID, as last known."""
        for account in self.known or ():
            if account.account_id == account_id:
                return account
        return None

    def replaced(self, account_id: bytes) -> Grant | None:
        """Return the grant that is to take the place of an account."""
        for grant in self.grants.values():
            if grant.replaces is not None and grant.replaces.account_id == account_id:
                return grant
        return None

    def holder(self, slot: int, counter: int) -> Holder | None:
        """Return who held a slot when the record with this counter was written."""
        found: Holder | None = None
        for held, since, person_id, name in self.holders:
            if held == slot and since <= counter:
                found = Holder(person_id, name) if name else None
        return found

    def decided(self) -> dict[str, Any]:
        """Return a copy of what decisions of the owner's change."""
        return {
            "grants": {person_id: replace(grant) for person_id, grant in self.grants.items()},
            "doomed": [*self.doomed],
            "foreign": [*self.foreign],
            "questions": {**self.questions},
            "pins": {**self.pins},
            "ended": [*self.ended],
        }

    def take_back(self, decided: dict[str, Any]) -> None:
        """Put back what `decided` returned."""
        for name, value in decided.items():
            setattr(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        """Return what is stored."""
        return {
            "known": None if self.known is None else [account_as_dict(one) for one in self.known],
            "epoch": self.epoch,
            "accounts_counter": self.accounts_counter,
            "own": sorted(self.own),
            "grants": {person_id: grant.as_dict() for person_id, grant in self.grants.items()},
            "doomed": [doomed.as_dict() for doomed in self.doomed],
            "foreign": [account_as_dict(account) for account in self.foreign],
            "questions": {key: question.as_dict() for key, question in self.questions.items()},
            "holders": [list(holder) for holder in self.holders],
            "pins": dict(self.pins),
            "ended": list(self.ended),
            "intention": None if self.intention is None else self.intention.as_dict(),
        }

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """Read what was stored."""
        known, intention = data["known"], data["intention"]
        return cls(
            known=None if known is None else [account_of(one) for one in known],
            epoch=data["epoch"],
            accounts_counter=data["accounts_counter"],
            own=set(data["own"]),
            grants={key: Grant.of(grant) for key, grant in data["grants"].items()},
            doomed=[Doomed.of(doomed) for doomed in data["doomed"]],
            foreign=[account_of(account) for account in data["foreign"]],
            questions={key: Question.of(question) for key, question in data["questions"].items()},
            holders=[
                (int(slot), int(since), person_id, str(name))
                for slot, since, person_id, name in data["holders"]
            ],
            pins={str(key): str(digits) for key, digits in data["pins"].items()},
            ended=[str(person_id) for person_id in data["ended"]],
            intention=None if intention is None else Intention.of(intention),
        )


def account_as_dict(account: Account) -> dict[str, Any]:
    """Return an account as it is stored."""
    return {name: getattr(account, name) for name in _NUMBERS} | {
        "account_id": format_account_id(account.account_id),
        "rights": int(account.rights),
        "weekdays": int(account.weekdays),
        "pin_set": account.pin_set,
    }


def account_of(data: dict[str, Any]) -> Account:
    """Read a stored account."""
    return Account(
        account_id=parse_account_id(data["account_id"]),
        rights=Right(data["rights"]),
        weekdays=Weekday(data["weekdays"]),
        pin_set=bool(data["pin_set"]),
        **{name: int(data[name]) for name in _NUMBERS},
    )


def terms_as_dict(terms: Terms) -> dict[str, Any]:
    """Return terms as they are stored."""
    return {
        "rights": int(terms.rights),
        "not_before": terms.not_before,
        "not_after": terms.not_after,
        "leased": terms.leased,
        "weekdays": int(terms.weekdays),
        "first_minute": terms.first_minute,
        "last_minute": terms.last_minute,
        "uses": terms.uses,
    }


def terms_of(data: dict[str, Any]) -> Terms:
    """Read stored terms."""
    return Terms(**{**data, "rights": Right(data["rights"]), "weekdays": Weekday(data["weekdays"])})
