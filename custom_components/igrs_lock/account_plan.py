"""What an account on a lock should be, and which commands lead there (ILP1 section 5).

Pure. The order of commands is what keeps a door shut: wherever a message is cut, the lock holds
what somebody meant before, what somebody means now, or nothing.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

from .ilp import USES_UNLIMITED, Account, Right, Weekday
from .person import ALWAYS, LAST_MINUTE, LEASE, LEASE_RENEW, Kind

if TYPE_CHECKING:
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

    def narrows(self, other: Self) -> bool:
        """Whether who has these terms may nothing that `other` forbids."""
        same_hours = _hours(self) == _hours(other)
        return (
            not self.rights & ~other.rights
            and self.not_before >= other.not_before
            and (other.not_after == 0 or 0 < self.not_after <= other.not_after)
            and self.leased >= other.leased
            and (same_hours or not other.weekdays)
            and self.uses <= other.uses
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


def _hours(terms: Terms | Account) -> tuple[int, int, int]:
    return (terms.weekdays, terms.first_minute, terms.last_minute)
