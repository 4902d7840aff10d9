"""A person who may use locks, as kept in a subentry of the People entry.

Subentry data: `kind`, `user_id` (Home Assistant user, or None), `locks` (device identifiers),
`rights` (names of RIGHTS), `not_before` and `not_after` (Unix seconds, 0 is open), `weekdays`
(names of WEEKDAYS, none is always), `first_minute` and `last_minute` (local minutes of the day,
both counted; first > last runs past midnight), `uses` (0 to 253, None is unlimited), `suspended`.
The name is the subentry's title. A PIN is never in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self

from .ilp import Right, Weekday

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigSubentry

LEASE: Final = 30 * 24 * 3600
"""Seconds that a guest's access holds on a lock without being renewed.

It ends by itself on a lock that cannot be reached any more.
"""
LEASE_RENEW: Final = 7 * 24 * 3600
"""Seconds after which a lease is renewed."""

USES_LIMIT: Final = 253
"""The largest number of uses that a lock counts."""

RIGHTS: Final = {
    "lock": Right.LOCK,
    "unlock": Right.UNLOCK,
    "open": Right.OPEN,
    "read_log": Right.READ_LOG,
    "follow_state": Right.FOLLOW_STATE,
    "remote": Right.REMOTE_USE,
}
WEEKDAYS: Final = {
    "mon": Weekday.MONDAY,
    "tue": Weekday.TUESDAY,
    "wed": Weekday.WEDNESDAY,
    "thu": Weekday.THURSDAY,
    "fri": Weekday.FRIDAY,
    "sat": Weekday.SATURDAY,
    "sun": Weekday.SUNDAY,
}
ALWAYS: Final = Weekday(0)
LAST_MINUTE: Final = 24 * 60 - 1


class Kind(StrEnum):
    """What somebody is to the home; a guest's access has to be renewed."""

    RESIDENT = "resident"
    GUEST = "guest"
    SERVICE = "service"


DEFAULT_RIGHTS: Final = {
    Kind.RESIDENT: Right.LOCK | Right.UNLOCK | Right.OPEN | Right.READ_LOG | Right.FOLLOW_STATE,
    Kind.GUEST: Right.LOCK | Right.UNLOCK | Right.OPEN,
    Kind.SERVICE: Right.LOCK | Right.UNLOCK,
}


@dataclass(frozen=True, slots=True)
class Person:
    """A person; `rights` are without ENABLED, which the one who writes to a lock adds."""

    id: str
    name: str
    kind: Kind = Kind.RESIDENT
    user_id: str | None = None
    locks: frozenset[str] = frozenset()
    rights: Right = DEFAULT_RIGHTS[Kind.RESIDENT]
    not_before: int = 0
    not_after: int = 0
    weekdays: Weekday = ALWAYS
    first_minute: int = 0
    last_minute: int = LAST_MINUTE
    uses: int | None = None
    suspended: bool = False

    @classmethod
    def of(cls, subentry: ConfigSubentry) -> Self:
        """Read a subentry."""
        return cls.from_data(subentry.subentry_id, subentry.title, dict(subentry.data))

    @classmethod
    def from_data(cls, person_id: str, name: str, data: dict[str, Any]) -> Self:
        """Read the data of a subentry."""
        return cls(
            id=person_id,
            name=name,
            kind=Kind(data["kind"]),
            user_id=data["user_id"],
            locks=frozenset(data["locks"]),
            rights=right_of(data["rights"]),
            not_before=data["not_before"],
            not_after=data["not_after"],
            weekdays=weekday_of(data["weekdays"]),
            first_minute=data["first_minute"],
            last_minute=data["last_minute"],
            uses=data["uses"],
            suspended=data["suspended"],
        )

    def as_data(self) -> dict[str, Any]:
        """Return the data of a subentry."""
        return {
            "kind": self.kind.value,
            "user_id": self.user_id,
            "locks": sorted(self.locks),
            "rights": right_names(self.rights),
            "not_before": self.not_before,
            "not_after": self.not_after,
            "weekdays": weekday_names(self.weekdays),
            "first_minute": self.first_minute,
            "last_minute": self.last_minute,
            "uses": self.uses,
            "suspended": self.suspended,
        }

    def changed(self, **changes: Any) -> Self:
        """Return a copy with other fields."""
        return replace(self, **changes)


def right_of(names: list[str]) -> Right:
    """Return the rights with these names."""
    rights = Right(0)
    for name in names:
        rights |= RIGHTS[name]
    return rights


def right_names(rights: Right) -> list[str]:
    """Return the names of rights, in the order of RIGHTS."""
    return [name for name, right in RIGHTS.items() if right in rights]


def weekday_of(names: list[str]) -> Weekday:
    """Return the days with these names."""
    days = Weekday(0)
    for name in names:
        days |= WEEKDAYS[name]
    return days


def weekday_names(days: Weekday) -> list[str]:
    """Return the names of days, Monday first."""
    return [name for name, day in WEEKDAYS.items() if day in days]
