"""What a home says about single people: its invitations and its members (docs/ras.md, "The home is the root").

All of it is said by the site's gateway over its own link, and holds for its own site only.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from igrs_ras import wire
from igrs_ras.members import INVITATIONS, OPEN, end_member, recipient_of_user, set_member, withdraw
from igrs_ras.messages import Messages
from igrs_ras.sites import (
    Devices,
    Kind,
    ListedInvitation,
    ListedMember,
    Role,
    add_invitation,
    check_life,
)
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import invitations, members
from igrs_ras.wire import Body, Id, Millis

if TYPE_CHECKING:
    from igrs_ras.link import Link
    from igrs_ras.storage.store import Transaction

messages = Messages()


class NewInvitation(Body):
    """An invitation; `code`: SHA-256 of an owner code's 10 bytes."""

    id: Id
    kind: Kind
    expires: Millis
    code: str = ""


class OneInvitation(Body):
    """Names an invitation."""

    id: Id


class Done(Body):
    """The home lets in who joined."""

    id: Id
    user: Id
    role: Role
    locks: Devices


class OneUser(Body):
    """Names a member."""

    user: Id


@messages.on("invitation.create", NewInvitation)
async def create_invitation(link: Link, body: NewInvitation) -> Mapping[str, Any]:
    """Open an invitation. The same one again is done already."""
    if (body.kind == "owner") != bool(body.code):
        raise Refused(Status.MALFORMED, "code goes with kind owner")
    code = wire.unb64(body.code, 32, field="code") if body.code else None

    def job(tx: Transaction) -> None:
        row = tx.execute(select(invitations).where(invitations.c.id == body.id)).first()
        if row is not None:
            same = (link.site, body.kind, body.expires) == (row.site, row.kind, row.expires)
            if not same or row.state == "withdrawn" or (code is not None and code != row.code):
                raise Refused(Status.EXISTS)
            return
        check_life(body.kind, body.expires, tx.now)
        if body.kind == "guest":
            link.ras.reach.require()
        if body.expires <= tx.now:
            raise Refused(Status.EXPIRED)
        open_ones = select(func.count()).where(
            invitations.c.site == link.site,
            invitations.c.state.in_(OPEN),
            invitations.c.expires > tx.now,
        )
        if tx.execute(open_ones).scalar_one() >= INVITATIONS:
            raise Refused(Status.TOO_LARGE, "open invitations")
        if (
            code is not None
            and tx.execute(select(invitations.c.id).where(invitations.c.code == code)).first()
        ):
            raise Refused(Status.EXISTS)
        add_invitation(
            tx, link.site, ListedInvitation(id=body.id, kind=body.kind, expires=body.expires), code
        )

    await link.write(job)
    return {}


@messages.on("invitation.withdraw", OneInvitation)
async def withdraw_invitation(link: Link, body: OneInvitation) -> Mapping[str, Any]:
    """Withdraw an invitation; one that is not open is done already."""
    await link.write(lambda tx: withdraw(link.ras, tx, link.site, body.id, tell_home=False))
    return {}


@messages.on("invitation.done", Done)
async def invitation_done(link: Link, body: Done) -> Mapping[str, Any]:
    """Let in who joined by this invitation: only the user to whom it belongs, with the role that the home says."""

    def job(tx: Transaction) -> Mapping[str, Any]:
        row = tx.execute(
            select(invitations.c.state, invitations.c.user).where(
                invitations.c.site == link.site, invitations.c.id == body.id
            )
        ).first()
        if row is None or row.user != body.user or row.state not in ("joined", "done"):
            raise Refused(Status.NOT_FOUND)
        left_out = set_member(link.ras, tx, link.site, body.user, body.role, body.locks)
        if row.state == "joined":
            tx.execute(
                invitations.update()
                .where(invitations.c.id == body.id)
                .values(state="done", code=None)
            )
            tx.audit(link.site, "invitation.done", invitation=body.id, user=body.user)
            done = {"site": link.site, "invitation": body.id, "state": "done"}
            tx.push(recipient_of_user(body.user), "invitation", done)
        return {"locks": left_out}

    return await link.write(job)


# Members.


@messages.on("member.set", ListedMember)
async def member_set(link: Link, body: ListedMember) -> Mapping[str, Any]:
    """Change a member's role and locks. Who is pending becomes a member by invitation.done only."""

    def job(tx: Transaction) -> Mapping[str, Any]:
        state = tx.execute(
            select(members.c.state).where(members.c.site == link.site, members.c.user == body.user)
        ).scalar()
        if state != "active":
            raise Refused(Status.NOT_FOUND)
        return {"locks": set_member(link.ras, tx, link.site, body.user, body.role, body.locks)}

    return await link.write(job)


@messages.on("member.end", OneUser)
async def member_end(link: Link, body: OneUser) -> Mapping[str, Any]:
    """End a membership; none is done already."""
    await link.write(lambda tx: end_member(link.ras, tx, link.site, body.user, tell_home=False))
    return {}
