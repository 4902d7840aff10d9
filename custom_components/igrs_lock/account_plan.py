"""What an account on a lock should be, and which commands lead there (ILP1 section 5).

Pure. The order of commands is what keeps a door shut: wherever a message is cut, the lock holds
what somebody meant before, what somebody means now, or nothing.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Self

from .ilp import (
    UNKNOWN_SLOT,
    USES_KEEP,
    USES_UNLIMITED,
    Account,
    Command,
    Request,
    Right,
    Weekday,
    account_digest,
    requests,
)
from .ilp.const import EPOCH_MAX
from .person import ALWAYS, LAST_MINUTE, LEASE, LEASE_RENEW, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .ledger_lock import Intention
    from .person import Person

EVERY_DAY: Final = Weekday(0x7F)


@dataclass(frozen=True, slots=True)
class Terms:
    """What the owner wants of somebody's access to one lock.

    `rights` with ENABLED unless suspended; `not_after` as the owner set it (0 is open), which a
    lease (`leased`) brings nearer on the lock; `uses` 255 unlimited. Without weekly hours
    `weekdays` and both minutes are 0.
    """

    rights: Right
    not_before: int = 0
    not_after: int = 0
    leased: bool = False
    weekdays: Weekday = ALWAYS
    first_minute: int = 0
    last_minute: int = 0
    uses: int = USES_UNLIMITED

    @classmethod
    def of(cls, person: Person) -> Self:
        """Return what a person is to have on each of their locks."""
        rights = person.rights & ~(Right.ENABLED | Right.MANAGE)
        days, first, last = person.weekdays, person.first_minute, person.last_minute
        if not days and (first, last) not in ((0, 0), (0, LAST_MINUTE)):
            days = EVERY_DAY  # of two readings the one that gives less
        return cls(
            rights=rights if person.suspended else rights | Right.ENABLED,
            not_before=person.not_before,
            not_after=person.not_after,
            leased=person.kind is Kind.GUEST,
            weekdays=days,
            first_minute=first if days else 0,
            last_minute=last if days else 0,
            uses=USES_UNLIMITED if person.uses is None else person.uses,
        )

    def end(self, now: int) -> int:
        """Return the not-after that the lock is to hold, written at `now` (Unix seconds)."""
        if not self.leased:
            return self.not_after
        return min(self.not_after or now + LEASE, now + LEASE)

    def begun(self, now: int) -> bool:
        """Whether the account may be enabled on the lock.

        A lease that ends before the access begins is none that a lock could hold.
        """
        return not self.leased or self.not_before < now + LEASE

    def on_lock(self, now: int, account: Account) -> Account:
        """Return the account as it is to be on the lock; the slot, ID and PIN are `account`'s."""
        ready = self.begun(now)
        return replace(
            account,
            rights=self.rights if ready else self.rights & ~Right.ENABLED,
            uses=self.uses,
            not_before=self.not_before,
            not_after=self.end(now) if ready else self.not_after,
            weekdays=self.weekdays,
            first_minute=self.first_minute,
            last_minute=self.last_minute,
        )

    def met_by(self, account: Account, now: int) -> bool:
        """Whether an account gives what these terms mean, its uses and PIN aside.

        A lease may have been renewed at any time up to `now`.
        """
        wanted = self.on_lock(now, account)
        if self.leased and self.begun(now) and 0 < account.not_after <= wanted.not_after:
            wanted = replace(wanted, not_after=account.not_after)
        return replace(wanted, uses=account.uses) == account

    def narrows(self, other: Self) -> bool:
        """Whether who has these terms may nothing that `other` forbids."""
        same_hours = _hours(self) == _hours(other)
        return (
            not self.rights & ~other.rights
            and self.not_before >= other.not_before
            and (other.not_after == 0 or 0 < self.not_after <= other.not_after)
            and self.leased >= other.leased
            and (same_hours or not other.weekdays)
            and self.uses <= other.uses != USES_KEEP
        )


def lease_due(terms: Terms, account: Account, now: int) -> bool:
    """Whether a guest's end on the lock has to be put off, or the account be enabled at last."""
    if not terms.leased or not terms.rights & Right.ENABLED or not terms.begun(now):
        return False
    if not account.rights & Right.ENABLED:
        return True
    end = terms.end(now)
    return end > account.not_after and account.not_after - now < LEASE - LEASE_RENEW


def lease_renewal_at(terms: Terms, account: Account) -> int | None:
    """Return the Unix time at which `lease_due` becomes true; None for never."""
    if not terms.leased or not terms.rights & Right.ENABLED:
        return None
    if not account.rights & Right.ENABLED:
        return max(0, terms.not_before - LEASE + 1)
    if 0 < terms.not_after <= account.not_after:
        return None
    return max(0, account.not_after - (LEASE - LEASE_RENEW) + 1)


def _hours(terms: Terms | Account) -> tuple[Weekday, int, int]:
    return (terms.weekdays, terms.first_minute, terms.last_minute)


# --- commands -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One command, and the account after it; `free`: it may leave no record, if all is so."""

    request: Request = field(repr=False)
    after: Account = field(repr=False)
    free: bool = False


def new_account(slot: int, account_id: bytes) -> Account:
    """Return what command 01 makes: a disabled account without anything."""
    return Account(
        slot=slot,
        account_id=account_id,
        rights=Right(0),
        uses=USES_UNLIMITED,
        not_before=0,
        not_after=0,
        weekdays=Weekday(0),
        first_minute=0,
        last_minute=0,
        pin_set=False,
    )


def target(terms: Terms, settled: Terms | None, account: Account, now: int) -> Account:
    """Return what an account is to be; its uses, which fall by themselves, only where changed."""
    wanted = terms.on_lock(now, account)
    if settled is not None and settled.uses == terms.uses:
        return replace(wanted, uses=account.uses)
    return wanted


def disabled(account: Account) -> list[Step]:
    """Return the command that suspends an account and changes nothing else."""
    return [_rights(account, account.rights & ~Right.ENABLED, USES_KEEP)]


def steps(before: Account, after: Account, pin: str | None) -> tuple[list[Step], list[Step]]:
    """Return the commands that lead from one account to another, in two messages.

    `pin` are new digits, "" for none any more, None to leave it. What a single command does is
    done at once. Else the account is suspended first, and the second message enables it: only to
    be sent when the lock answered that every command of the first is done, for what is refused
    (a restriction above all) must not be missing from an enabled account.
    """
    wanted = _restrictions(before, after, pin)
    rights_differ = (before.rights, before.uses) != (after.rights, after.uses)
    if not wanted:
        return ([], [_final(before, after)]) if rights_differ else ([], [])
    alone = len(wanted) == 1 and not rights_differ
    first = disabled(before) if before.rights & Right.ENABLED and not alone else []
    account = first[-1].after if first else before
    for request, changes in wanted:
        account = replace(account, **changes)
        # The PIN that is there already is not written again.
        first.append(Step(request, account, request.command is Command.SET_PIN))
    if (account.rights, account.uses) == (after.rights, after.uses):
        return first, []
    return first, [_final(account, after)]


def _restrictions(
    before: Account, after: Account, pin: str | None
) -> list[tuple[Request, dict[str, Any]]]:
    """Return requests with the fields they change."""
    found: list[tuple[Request, dict[str, Any]]] = []
    if (before.not_before, before.not_after) != (after.not_before, after.not_after):
        validity = {"not_before": after.not_before, "not_after": after.not_after}
        found.append((requests.set_validity(before.slot, **validity), validity))
    if _hours(before) != _hours(after):
        hours = dict(zip(("weekdays", "first_minute", "last_minute"), _hours(after), strict=True))
        found.append((requests.set_weekly_hours(before.slot, *_hours(after)), hours))
    if pin is not None and (pin or before.pin_set):
        found.append((requests.set_pin(before.slot, pin), {"pin_set": bool(pin)}))
    return found


def _final(before: Account, after: Account) -> Step:
    uses = USES_KEEP if before.uses == after.uses else after.uses
    return _rights(replace(before, uses=after.uses), after.rights, uses)


def _rights(account: Account, rights: Right, uses: int) -> Step:
    return Step(requests.set_rights(account.slot, rights, uses), replace(account, rights=rights))


# --- after a cut --------------------------------------------------------------------------------


def recover(
    known: Sequence[Account],
    epoch: int,
    intention: Intention,
    told: tuple[bytes, int],
    records: Sequence[int],
    *,
    restarted: bool = False,
) -> list[Account] | None:
    """Return the lock's accounts when all that happened to them is part of an intention.

    `told` are digest and epoch as the lock says; `records` the slots of all changes in its log
    since, none of them by anybody else. A lock that lost its power (`restarted`) may have made one
    change that it had no time to record. None when something else happened.
    """
    others = [one for one in known if one.account_id != intention.account_id]
    free = 0
    for number, state in enumerate(intention.states):
        free += number in intention.free
        if not number - free - restarted <= len(records) <= number:
            continue
        removed = state is None and intention.states[0] is not None
        if told[1] != min(epoch + removed, EPOCH_MAX):
            continue
        for slot in _slots(state or intention.states[0], others, records):
            if set(records) - {slot}:
                continue
            found = others if state is None else [*others, replace(state, slot=slot)]
            if account_digest(found) == told[0]:
                return found
    return None


def _slots(
    state: Account | None, others: Sequence[Account], records: Sequence[int]
) -> Sequence[int]:
    """Return the slots that an account may be in."""
    if state is None:
        return (-1,)
    if state.slot >= 0:
        return (state.slot,)
    if records:
        return (records[0],)
    taken = {one.slot for one in others}
    return [slot for slot in range(UNKNOWN_SLOT) if slot not in taken]
