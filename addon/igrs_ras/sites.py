"""The site as its home sees it: digest and list, invitations, members, sealed keys (docs/ras.md, "The home is the root").

Roles and rights come from here only, that is from the site's gateway over its own link. A list may take away and restate
what is there; it never lets anybody in who did not join.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from sqlalchemy import Connection, func, select

from igrs_ras import wire
from igrs_ras.members import (
    GRANTS,
    INVITATION_ROWS,
    INVITATIONS,
    LOCKS,
    MEMBERS,
    OPEN,
    Wanted,
    end_member,
    end_members,
    remove_lock,
    set_members,
    withdraw,
)
from igrs_ras.messages import Messages
from igrs_ras.status import Refused, Status
from igrs_ras.storage.store import Transaction
from igrs_ras.storage.tables import grants, invitations, locks, members, sites
from igrs_ras.window import Window
from igrs_ras.wire import Body, Device, Id, Millis

if TYPE_CHECKING:
    from igrs_ras.link import Link
    from igrs_ras.ras import Ras

DAY_MS = 24 * 3600 * 1000
GUEST_LIFE_MS = 90 * DAY_MS  # of an invitation at most
OWNER_LIFE_MS = DAY_MS
KEPT_MS = 7 * DAY_MS  # ended invitations and members who never finished joining
CLEAN_SECONDS = 600.0
PUSHES = (
    200,
    86400.0,
)  # of a site to one user: 1,000 events are kept, and other homes' are among them
WANTED = 1, 3600.0  # times that a home is asked for a member's keys again
SYNCS = 10, 600.0  # of a site: each may write thousands of rows

Role = Literal["owner", "member"]
Kind = Literal["owner", "guest"]
Devices = Annotated[list[Device], msgspec.Meta(max_length=LOCKS)]
Capabilities = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]

messages = Messages()


class Digest(Body):
    """SHA-256 of the canonical list."""

    digest: str


class ListedMember(Body):
    """A member in the home's list: role, and the locks that they may relay to."""

    user: Id
    role: Role
    locks: Devices


class ListedInvitation(Body):
    """An open invitation in the home's list."""

    id: Id
    kind: Kind
    expires: Millis


class ListedLock(Body):
    """A lock in the home's list. `capabilities`: ILP1 section 3."""

    device: Device
    capabilities: Capabilities


class List(Body):
    """The home's list, or a part of it: it counts when the part without `more` has come."""

    members: Annotated[list[ListedMember], msgspec.Meta(max_length=MEMBERS)] = msgspec.field(
        default_factory=list
    )
    invitations: Annotated[list[ListedInvitation], msgspec.Meta(max_length=INVITATIONS)] = (
        msgspec.field(default_factory=list)
    )
    locks: Annotated[list[ListedLock], msgspec.Meta(max_length=LOCKS)] = msgspec.field(
        default_factory=list
    )
    part: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    more: bool = False


@dataclass
class SyncParts:
    """A list that comes in parts, numbered from 0. Bounded: more than a site may have ends it.

    The first part begins anew, and one that is not the next ends it: what is left of a list that was cut short, or
    whose part was refused, never mixes with another.
    """

    members: dict[str, ListedMember] = field(default_factory=dict)
    invitations: dict[str, ListedInvitation] = field(default_factory=dict)
    locks: dict[str, ListedLock] = field(default_factory=dict)
    next: int = 0

    def add(self, part: List) -> None:
        """Take a part. Refuses (10) what is not the next part or stands twice, and (40) too much."""
        if part.part == 0:
            self.clear()
        elif part.part != self.next:
            self.clear()
            raise Refused(Status.MALFORMED, "part")
        self.next = part.part + 1
        size = self._size() + len(part.members) + len(part.invitations) + len(part.locks)
        self.members.update({item.user: item for item in part.members})
        self.invitations.update({item.id: item for item in part.invitations})
        self.locks.update({item.device: item for item in part.locks})
        if self._size() != size:
            self.clear()
            raise Refused(Status.MALFORMED, "the list names something twice")
        if (
            len(self.members) > MEMBERS
            or len(self.invitations) > INVITATIONS
            or len(self.locks) > LOCKS
            or sum(len(item.locks) for item in self.members.values()) > GRANTS
        ):
            self.clear()
            raise Refused(Status.TOO_LARGE, "the list")

    def _size(self) -> int:
        return len(self.members) + len(self.invitations) + len(self.locks)

    def clear(self) -> None:
        """Forget the parts."""
        self.next = 0
        self.members.clear()
        self.invitations.clear()
        self.locks.clear()


class Sites:
    """Removes what ended long ago."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        self._next = 0.0
        self.syncs = Window(ras.clock, *SYNCS)
        self._pushes = Window(ras.clock, *PUSHES)
        self._wanted = Window(ras.clock, *WANTED)

    def may_push(self, site: str, user: str) -> bool:
        """Count an event of a site for a user; False if it is one too many. For jobs of the writer."""
        return self._pushes.take(f"{site} {user}")

    def may_want_keys(self, site: str, user: str, *, count: bool = True) -> bool:
        """Tell whether a home may be asked for a member's keys again; count it if so, in a job of the writer."""
        key = f"{site} {user}"
        return self._wanted.take(key) if count else not self._wanted.full(key)

    def restored(self) -> None:
        """Let homes be asked again: what came of it so far was in the database that went."""
        self._wanted = Window(self._ras.clock, *WANTED)

    async def start(self) -> None:
        """Nothing to begin."""

    async def stop(self) -> None:
        """Nothing to end."""

    async def tick(self) -> None:
        """Clean up every ten minutes."""
        now = self._ras.clock.monotonic()
        if now >= self._next:
            self._next = now + CLEAN_SECONDS
            await self._ras.store.write(self._clean)

    def _clean(self, tx: Transaction) -> None:
        old = tx.now - KEPT_MS
        waiting = tx.execute(
            select(members.c.site, members.c.user)
            .where(members.c.state == "pending", members.c.created < old)
            .limit(100)
        ).all()
        for row in waiting:
            end_member(self._ras, tx, row.site, row.user, tell_home=True)
        tx.execute(
            invitations.delete().where(invitations.c.expires < old, invitations.c.created < old)
        )


# The list and its digest.


def _active_members(connection: Connection, site: str) -> list[dict[str, Any]]:
    granted: dict[str, list[str]] = {}
    for row in connection.execute(
        select(grants.c.user, grants.c.device).where(grants.c.site == site)
    ):
        granted.setdefault(row.user, []).append(row.device)
    rows = connection.execute(
        select(members.c.user, members.c.role).where(
            members.c.site == site, members.c.state == "active"
        )
    )
    # Sorted here: the databases sort texts by their own rules.
    return sorted(
        (
            {"user": row.user, "role": row.role, "locks": sorted(granted.get(row.user, []))}
            for row in rows
        ),
        key=lambda item: str(item["user"]),
    )


def listing(connection: Connection, site: str, now: int) -> dict[str, Any]:
    """Return the site's list as the home would send it: active members, open invitations, locks, each sorted."""
    invited = connection.execute(
        select(invitations.c.id, invitations.c.kind, invitations.c.expires).where(
            invitations.c.site == site,
            invitations.c.state.in_(OPEN),
            invitations.c.expires > now,
        )
    )
    devices = connection.execute(
        select(locks.c.device, locks.c.capabilities).where(locks.c.site == site)
    )
    return {
        "members": _active_members(connection, site),
        "invitations": sorted(
            ({"id": row.id, "kind": row.kind, "expires": row.expires} for row in invited),
            key=lambda item: str(item["id"]),
        ),
        "locks": sorted(
            ({"device": row.device, "capabilities": row.capabilities} for row in devices),
            key=lambda item: str(item["device"]),
        ),
    }


def digest(connection: Connection, site: str, now: int) -> bytes:
    """Return SHA-256 of the canonical JSON of the site's list."""
    return hashlib.sha256(wire.canonical(listing(connection, site, now))).digest()


@messages.on("site.digest", Digest)
async def site_digest(link: Link, body: Digest) -> Mapping[str, Any]:
    """Say whether the home's list and the server's are equal. A site after a restore is never: it needs the list."""
    given = wire.unb64(body.digest, 32, field="digest")

    def job(connection: Connection) -> bool:
        suspended = connection.execute(
            select(sites.c.suspended).where(sites.c.id == link.site)
        ).scalar_one()
        return not suspended and digest(connection, link.site, link.ras.clock.now_ms()) == given

    return {"match": await link.ras.store.read(job)}


@messages.on("site.sync", List)
async def site_sync(link: Link, body: List) -> Mapping[str, Any]:
    """Take the home's list: what it does not name is ended.

    The answer names what it could not take: users who never joined, invitations that ended meanwhile or whose owner
    code the server does not have, devices that a member was given and that are no locks.
    """
    link.sync.add(body)
    if body.more:
        return {"more": True}
    parts, link.sync = link.sync, SyncParts()
    if not link.ras.sites.syncs.take(link.site):
        raise Refused(Status.SLOW_DOWN)
    unknown = await link.write(lambda tx: sync(link.ras, tx, link.site, parts))
    return {"more": False, **unknown}


def sync(ras: Ras, tx: Transaction, site: str, parts: SyncParts) -> dict[str, list[str]]:
    """Make the site's rows equal to the home's list, in one transaction; return what was not taken."""
    _sync_locks(ras, tx, site, parts)
    refused = _sync_members(ras, tx, site, parts)
    refused["invitations"] = _sync_invitations(ras, tx, site, parts)
    tx.execute(sites.update().where(sites.c.id == site).values(suspended=False))
    tx.audit(site, "site.synced")
    return refused


def _sync_locks(ras: Ras, tx: Transaction, site: str, parts: SyncParts) -> None:
    present = {
        row.device: row.capabilities
        for row in tx.execute(
            select(locks.c.device, locks.c.capabilities).where(locks.c.site == site)
        )
    }
    for device in sorted(present.keys() - parts.locks.keys()):
        remove_lock(ras, tx, site, device)
    new = {
        device: item.capabilities
        for device, item in sorted(parts.locks.items())
        if device not in present
    }
    add_locks(tx, site, new)
    for device in sorted(present.keys() & parts.locks.keys()):
        capabilities = parts.locks[device].capabilities
        if present[device] != capabilities:
            tx.execute(
                locks.update()
                .where(locks.c.site == site, locks.c.device == device)
                .values(capabilities=capabilities)
            )


def add_locks(tx: Transaction, site: str, new: Mapping[str, int]) -> None:
    """Register locks (7.4): capabilities by device. Refuses (40) more than a site may have."""
    if not new:
        return
    count = tx.execute(
        select(func.count()).select_from(locks).where(locks.c.site == site)
    ).scalar_one()
    if count + len(new) > LOCKS:
        raise Refused(Status.TOO_LARGE, "locks")
    tx.execute(
        locks.insert(),
        [
            {"site": site, "device": device, "capabilities": capabilities, "created": tx.now}
            for device, capabilities in new.items()
        ],
    )
    for device in new:
        tx.audit(site, "lock.registered", device=device)


def _sync_members(ras: Ras, tx: Transaction, site: str, parts: SyncParts) -> dict[str, list[str]]:
    wanted = [
        Wanted(user, item.role, frozenset(item.locks))
        for user, item in sorted(parts.members.items())
    ]
    not_taken = set_members(ras, tx, site, wanted)
    # Who joined and waits for the home's word is not in its list yet, and stays until joining takes too long.
    active = tx.execute(
        select(members.c.user).where(members.c.site == site, members.c.state == "active")
    ).scalars()
    end_members(ras, tx, site, set(active) - parts.members.keys(), tell_home=False)
    return {"users": not_taken.users, "locks": sorted(not_taken.devices)}


def _sync_invitations(ras: Ras, tx: Transaction, site: str, parts: SyncParts) -> list[str]:
    present = {
        row.id: row
        for row in tx.execute(
            select(invitations.c.id, invitations.c.state, invitations.c.expires).where(
                invitations.c.site == site
            )
        )
    }
    for id_ in sorted(present.keys() - parts.invitations.keys()):
        # One that has expired is on nobody's list; who joined by it in time still waits for the home's word.
        if present[id_].state in OPEN and present[id_].expires > tx.now:
            withdraw(ras, tx, site, id_, tell_home=False)
    refused: list[str] = []
    for id_, item in sorted(parts.invitations.items()):
        row = present.get(id_)
        if row is not None and row.state in OPEN:
            if row.expires != item.expires:
                check_life(item.kind, item.expires, tx.now)
                tx.execute(
                    invitations.update().where(invitations.c.id == id_).values(expires=item.expires)
                )
        elif (
            row is None
            and item.kind == "guest"
            and item.expires > tx.now
            and ras.reach.reached
            and _is_free(tx, id_)
        ):
            check_life(item.kind, item.expires, tx.now)
            add_invitation(tx, site, item)
        else:
            refused.append(id_)
    return refused


def check_life(kind: Kind, expires: int, now: int) -> None:
    """Refuse (10) an invitation that would stay open for too long."""
    if expires > now + (GUEST_LIFE_MS if kind == "guest" else OWNER_LIFE_MS):
        raise Refused(Status.MALFORMED, "expires is too late")


def _is_free(tx: Transaction, id_: str) -> bool:
    return tx.execute(select(invitations.c.id).where(invitations.c.id == id_)).first() is None


def add_invitation(
    tx: Transaction, site: str, item: ListedInvitation, code: bytes | None = None
) -> None:
    """Open an invitation. `code`: SHA-256 of an owner code. Refuses (40) more than a site may have, ended ones too."""
    if (
        tx.execute(select(func.count()).where(invitations.c.site == site)).scalar_one()
        >= INVITATION_ROWS
    ):
        raise Refused(Status.TOO_LARGE, "invitations of the last weeks")
    tx.execute(
        invitations.insert().values(
            id=item.id, site=site, kind=item.kind, code=code, state="open", created=tx.now, expires=item.expires
        )
    )  # fmt: skip
    tx.audit(site, "invitation.created", invitation=item.id)
