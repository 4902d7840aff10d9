"""What the routes of `api.sites` answer."""

from typing import Any

from igrs_ras.wire import Answer


class Membership(Answer):
    """One of the caller's homes. `state`: active, pending (the home has not answered yet) or suspended (after a restore,
    until the home has sent its list)."""  # noqa: D205, D209  one sentence

    site: str
    name: str
    role: str
    state: str
    online: bool


class Memberships(Answer):
    """All of the caller's homes."""

    sites: list[Membership]


class GatewayShown(Answer):
    """A home's link: since when it is enrolled and when it last connected."""

    gateway: str
    local: bool
    online: bool
    created: int
    seen: int | None


class SiteShown(Answer):
    """A home, with counts for an overview. `audit` is the last entry's index, `checkpoint` the last signed one's."""

    site: str
    name: str
    gateway: GatewayShown | None
    members: int
    invitations: int
    locks: int
    audit: int
    checkpoint: int


class MemberShown(Answer):
    """A member. `locks`: to which they may relay."""

    user: str
    name: str
    role: str
    state: str
    created: int
    locks: list[str]


class MembersShown(Answer):
    """A page of members, by id. `next` goes into `after`; empty at the end."""

    members: list[MemberShown]
    next: str


class InvitationShown(Answer):
    """An invitation. `opened_twice`: another client used its link too; `user`: who joined by it."""

    invitation: str
    kind: str
    state: str
    user: str
    created: int
    expires: int
    opened_twice: bool


class InvitationsShown(Answer):
    """Invitations of the last days, the newest first."""

    invitations: list[InvitationShown]


class LockShown(Answer):
    """A lock. `members`: how many may relay to it."""

    device: str
    capabilities: int
    created: int
    members: int


class LocksShown(Answer):
    """All locks of a home."""

    locks: list[LockShown]


class EntryShown(Answer):
    """An audit entry. `hash` chains it to those before; `entry` has `time` (ms), `what`, ids and codes."""

    index: int
    hash: str
    entry: dict[str, Any]


class AuditShown(Answer):
    """A page of the audit, the newest first. `next` goes into `before`; 0 at the end."""

    entries: list[EntryShown]
    next: int
