"""Who belongs to a site: what its rows become when the home, an owner or the member says so.

Jobs of the writer, used by the gateway's messages, by the owner's pages and by the clean-up alike. Each ends what hangs
on the row in the same transaction: grants, relays, open sockets, pending joins.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, select

from igrs_ras.socket import REVOKED
from igrs_ras.status import Refused, Status
from igrs_ras.storage.store import Transaction
from igrs_ras.storage.tables import (
    grants,
    invitations,
    joins,
    locks,
    members,
    users,
)

if TYPE_CHECKING:
    from igrs_ras.ras import Ras

MEMBERS = 1000  # of a site
LOCKS = 500
GRANTS = 10_000  # of all its members together
INVITATIONS = 200  # open ones
INVITATION_ROWS = 2000  # with those that ended, which stay known until they would have expired
OPEN = ("open", "joined")


def recipient_of_user(user: str) -> str:
    """Return the name of a user as recipient of durable events."""
    return f"user:{user}"


def recipient_of_site(site: str) -> str:
    """Return the name of a site's gateway as recipient of durable events. It outlives the gateway."""
    return f"gateway:{site}"


def owners(tx: Transaction, site: str) -> list[str]:
    """Return the user ids of a site's active owners."""
    return list(
        tx.execute(
            select(members.c.user).where(
                members.c.site == site, members.c.role == "owner", members.c.state == "active"
            )
        ).scalars()
    )


def check_room(tx: Transaction, site: str) -> None:
    """Refuse (40) one member more than a site may have."""
    if tx.execute(select(func.count()).where(members.c.site == site)).scalar_one() >= MEMBERS:
        raise Refused(Status.TOO_LARGE, "members")


def add_pending(tx: Transaction, site: str, user: str, role: str) -> None:
    """Make a pending membership unless there is one of any state."""
    found = tx.execute(
        select(members.c.state).where(members.c.site == site, members.c.user == user)
    ).first()
    if found is None:
        check_room(tx, site)
        tx.execute(
            members.insert().values(
                site=site, user=user, role=role, state="pending", created=tx.now
            )
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """A member as the home wants it: role, and the locks that they may relay to."""

    user: str
    role: str
    devices: frozenset[str]


@dataclass(slots=True)
class NotTaken:
    """What of a home's word could not be taken: users who never joined, devices that are no locks of the site."""

    users: list[str] = field(default_factory=list)
    devices: set[str] = field(default_factory=set)


def set_members(ras: Ras, tx: Transaction, site: str, wanted: Sequence[Wanted]) -> NotTaken:
    """Make existing memberships active, with these roles and locks; return what was not taken.

    Nobody becomes a member here who did not join: a list that comes back, from a restored backup for instance, adds
    nobody. Refuses (40) more rights than a site may have. A few statements for any number of members.
    """
    names = [item.user for item in wanted]
    is_meant = members.c.user.in_(names), grants.c.user.in_(names)
    present = {
        row.user: (row.role, row.state)
        for row in tx.execute(
            select(members.c.user, members.c.role, members.c.state).where(
                members.c.site == site, is_meant[0]
            )
        )
    }
    had: dict[str, set[str]] = {}
    for row in tx.execute(
        select(grants.c.user, grants.c.device).where(grants.c.site == site, is_meant[1])
    ):
        had.setdefault(row.user, set()).add(row.device)
    known = set(tx.execute(select(locks.c.device).where(locks.c.site == site)).scalars())
    not_taken = NotTaken()
    changed: list[Wanted] = []
    for item in wanted:
        if item.user not in present:
            not_taken.users.append(item.user)
            continue
        not_taken.devices |= item.devices - known
        new = Wanted(item.user, item.role, item.devices & known)
        if (item.role, "active") != present[item.user] or new.devices != had.get(item.user, set()):
            changed.append(new)
    lost = [
        (item.user, device)
        for item in changed
        for device in sorted(had.get(item.user, set()) - item.devices)
    ]
    gained = [
        (item.user, device)
        for item in changed
        for device in sorted(item.devices - had.get(item.user, set()))
    ]
    _store(tx, site, changed, lost, gained)
    tx.heads.read_users(tx.connection, [item.user for item in changed])
    for item in changed:
        added = present[item.user][1] != "active"
        tx.audit(site, "member.added" if added else "member.changed", user=item.user)
        if ras.sites.may_push(site, item.user):
            # Otherwise whoever looks sees it all the same.
            body = {"what": "member_changed", "site": site}
            tx.push(recipient_of_user(item.user), "account", body)
    for user, device in lost:
        _end_relays(ras, tx, site=site, user=user, device=device)
    return not_taken


def _store(
    tx: Transaction,
    site: str,
    changed: list[Wanted],
    lost: list[tuple[str, str]],
    gained: list[tuple[str, str]],
) -> None:
    if changed:
        tx.execute(
            members.update()
            .where(members.c.site == site, members.c.user == bindparam("b_user"))
            .values(role=bindparam("b_role"), state="active"),
            [{"b_user": item.user, "b_role": item.role} for item in changed],
        )
    if lost:
        tx.execute(
            grants.delete().where(
                grants.c.site == site,
                grants.c.user == bindparam("b_user"),
                grants.c.device == bindparam("b_device"),
            ),
            [{"b_user": user, "b_device": device} for user, device in lost],
        )
    if gained:
        count = tx.execute(
            select(func.count()).select_from(grants).where(grants.c.site == site)
        ).scalar_one()
        if count + len(gained) > GRANTS:
            raise Refused(Status.TOO_LARGE, "locks of members")
        tx.execute(
            grants.insert(),
            [{"site": site, "user": user, "device": device} for user, device in gained],
        )


def set_member(
    ras: Ras, tx: Transaction, site: str, user: str, role: str, devices: Iterable[str]
) -> list[str]:
    """Do the same for one member; return the devices that are no locks. Refuses (21) who never joined."""
    not_taken = set_members(ras, tx, site, [Wanted(user, role, frozenset(devices))])
    if not_taken.users:
        raise Refused(Status.NOT_FOUND)
    return sorted(not_taken.devices)


def end_members(
    ras: Ras, tx: Transaction, site: str, users_: Iterable[str], *, tell_home: bool
) -> int:
    """End memberships of any state and what hangs on them; return how many there were.

    `tell_home`: it was not the home that decided, so its gateway is told durably. A user who joined by a link, has no
    way to sign in and belongs to no other home is signed out for good; `accounts` erases it then.
    """
    asked = list(users_)
    names = sorted(
        tx.execute(
            select(members.c.user).where(members.c.site == site, members.c.user.in_(asked))
        ).scalars()
    )
    if not names:
        return 0
    tx.execute(members.delete().where(members.c.site == site, members.c.user.in_(names)))
    # An invitation that such a user took but did not finish is not open to the next.
    tx.execute(
        invitations.update()
        .where(
            invitations.c.site == site,
            invitations.c.user.in_(names),
            invitations.c.state == "joined",
        )
        .values(state="withdrawn")
    )
    tx.execute(
        joins.delete().where(
            joins.c.user.in_(names),
            joins.c.invitation.in_(select(invitations.c.id).where(invitations.c.site == site)),
        )
    )
    stay = set(tx.execute(select(members.c.user).where(members.c.user.in_(names))).scalars())
    stay.update(
        tx.execute(
            select(users.c.id).where(users.c.id.in_(names), users.c.email.is_not(None))
        ).scalars()
    )
    tx.heads.read_users(tx.connection, stay)
    for user in names:
        tx.audit(site, "member.ended", user=user)
        if tell_home:
            tx.push(recipient_of_site(site), "member.left", {"user": user})
        _end_relays(ras, tx, site=site, user=user)
        if user not in stay:
            ras.sessions.end(tx, user)
            continue
        if ras.sites.may_push(site, user):
            tx.push(recipient_of_user(user), "account", {"what": "member_ended", "site": site})
        tx.after(partial(ras.hub.close_user, user, code=REVOKED))
    return len(names)


def end_member(ras: Ras, tx: Transaction, site: str, user: str, *, tell_home: bool) -> bool:
    """End one membership, as `end_members` does; tell whether there was one."""
    return end_members(ras, tx, site, [user], tell_home=tell_home) == 1


def withdraw(ras: Ras, tx: Transaction, site: str, invitation: str, *, tell_home: bool) -> bool:
    """Withdraw an invitation that is not done; who joined by it and was not let in yet is out. Tell whether it was open."""
    row = tx.execute(
        select(invitations.c.state, invitations.c.user).where(
            invitations.c.site == site,
            invitations.c.id == invitation,
            invitations.c.state.in_(OPEN),
        )
    ).first()
    if row is None:
        return False
    tx.execute(
        invitations.update()
        .where(invitations.c.id == invitation)
        .values(state="withdrawn", code=None)
    )
    tx.execute(joins.delete().where(joins.c.invitation == invitation))
    tx.audit(site, "invitation.withdrawn", invitation=invitation)
    if tell_home:
        tx.push(recipient_of_site(site), "invitation.withdrawn", {"invitation": invitation})
    if row.user is not None:
        pending = tx.execute(
            select(members.c.user).where(
                members.c.site == site, members.c.user == row.user, members.c.state == "pending"
            )
        ).first()
        if pending is not None:
            end_member(ras, tx, site, row.user, tell_home=False)
    return True


def remove_lock(ras: Ras, tx: Transaction, site: str, device: str) -> bool:
    """Remove a lock with its grants and relays (7.5); tell whether it was there."""
    gone = tx.execute(locks.delete().where(locks.c.site == site, locks.c.device == device))
    if gone.rowcount == 0:
        return False
    tx.audit(site, "lock.removed", device=device)
    _end_relays(ras, tx, site=site, device=device)
    return True


def _end_relays(
    ras: Ras, tx: Transaction, *, site: str, user: str | None = None, device: str | None = None
) -> None:
    tx.after(
        lambda: ras.relay.end_for(site=site, user=user, device=device, why=Status.NOT_PERMITTED)
    )
