"""Who belongs to a site: what its rows become when the home, an owner or the member says so.

Jobs of the writer, used by the gateway's messages, by the owner's pages and by the clean-up alike. Each ends what hangs
on the row in the same transaction: grants, relays, open sockets, pending joins.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlalchemy import func, select

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
GRANTS = 20_000  # of all its members together
INVITATIONS = 200  # open ones
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


def set_member(
    ras: Ras, tx: Transaction, site: str, user: str, role: str, devices: Iterable[str]
) -> list[str] | None:
    """Make an existing membership active with this role and these locks.

    Returns the devices that are no locks of the site and were left out; None if there is no such membership. Nobody
    becomes a member here who did not join: a list that comes back, from a restored backup for instance, adds nobody.
    """
    row = tx.execute(
        select(members.c.role, members.c.state).where(
            members.c.site == site, members.c.user == user
        )
    ).first()
    if row is None:
        return None
    wanted = set(devices)
    known = set(tx.execute(select(locks.c.device).where(locks.c.site == site)).scalars())
    had = set(
        tx.execute(
            select(grants.c.device).where(grants.c.site == site, grants.c.user == user)
        ).scalars()
    )
    new = wanted & known
    if row.state != "active":
        tx.audit(site, "member.added", user=user)
    elif (role, new) != (row.role, had):
        tx.audit(site, "member.changed", user=user)
    else:
        return sorted(wanted - known)
    tx.execute(
        members.update()
        .where(members.c.site == site, members.c.user == user)
        .values(role=role, state="active")
    )
    for device in sorted(had - new):
        tx.execute(
            grants.delete().where(
                grants.c.site == site, grants.c.user == user, grants.c.device == device
            )
        )
        _end_relays(ras, tx, site=site, user=user, device=device)
    if new - had:
        count = tx.execute(
            select(func.count()).select_from(grants).where(grants.c.site == site)
        ).scalar_one()
        if count + len(new - had) > GRANTS:
            raise Refused(Status.TOO_LARGE, "locks of members")
        tx.execute(
            grants.insert(),
            [{"site": site, "user": user, "device": device} for device in sorted(new - had)],
        )
    if ras.sites.may_push(site, user):
        # Otherwise whoever looks sees it all the same.
        tx.push(recipient_of_user(user), "account", {"what": "member_changed", "site": site})
    return sorted(wanted - known)


def end_member(ras: Ras, tx: Transaction, site: str, user: str, *, tell_home: bool) -> bool:
    """End a membership of any state and what hangs on it; tell whether there was one.

    `tell_home`: it was not the home that decided, so its gateway is told durably. A user who joined by a link, has no
    way to sign in and belongs to no other home is signed out for good; `accounts` erases it then.
    """
    gone = tx.execute(members.delete().where(members.c.site == site, members.c.user == user))
    if gone.rowcount == 0:
        return False
    tx.audit(site, "member.ended", user=user)
    # An invitation that this user took but did not finish is not open to the next.
    tx.execute(
        invitations.update()
        .where(
            invitations.c.site == site, invitations.c.user == user, invitations.c.state == "joined"
        )
        .values(state="withdrawn")
    )
    tx.execute(
        joins.delete().where(
            joins.c.user == user,
            joins.c.invitation.in_(select(invitations.c.id).where(invitations.c.site == site)),
        )
    )
    if tell_home:
        tx.push(recipient_of_site(site), "member.left", {"user": user})
    _end_relays(ras, tx, site=site, user=user)
    elsewhere = select(members.c.site).where(members.c.user == user)
    account = select(users.c.id).where(users.c.id == user, users.c.email.is_not(None))
    if tx.execute(elsewhere).first() is None and tx.execute(account).first() is None:
        ras.sessions.end(tx, user)
    else:
        tx.push(recipient_of_user(user), "account", {"what": "member_ended", "site": site})
        tx.after(lambda: ras.hub.close_user(user, code=REVOKED))
    return True


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
