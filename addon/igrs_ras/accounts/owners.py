"""Owner codes (section 3): what the first account of a home is made with. A home issues them, each works once.

The server knows a code's SHA-256 only. A claim makes the user a pending member; the home's answer makes him owner.
"""

import hashlib
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, select

from igrs_ras import codes
from igrs_ras.accounts.throttle import give_back, guess_uses, take
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import invitations, members, sites, users

if TYPE_CHECKING:
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction


def _open(tx: Transaction, *where: Any) -> Row[Any] | None:
    return tx.execute(
        select(invitations)
        .join(sites, sites.c.id == invitations.c.site)
        .where(
            invitations.c.kind == "owner",
            invitations.c.state == "open",
            invitations.c.expires > tx.now,
            sites.c.suspended.is_(False),
            *where,
        )
    ).first()


def open_code(tx: Transaction, code: bytes) -> Row[Any] | None:
    """Return the invitation of a code's 10 bytes if it can be claimed now."""
    return _open(tx, invitations.c.code == hashlib.sha256(code).digest())


async def check(ras: Ras, code: str, address: str) -> bytes:
    """Read a code and see whether it can be claimed; wrong ones are counted (case 8).

    Raises:
        Refused: WRONG_CODE for malformed, unknown, used, expired, withdrawn ones; TOO_MANY_ATTEMPTS.
    """
    uses = guess_uses("owner", address)

    def job(tx: Transaction) -> bytes | None:
        take(tx, uses)
        try:
            raw = codes.read(code)
        except Refused:
            return None
        if open_code(tx, raw) is None:
            return None
        give_back(tx, uses)
        return raw

    raw = await ras.store.write(job)
    if raw is None:
        raise Refused(Status.WRONG_CODE)
    return raw


def reserved(tx: Transaction, user: str) -> Row[Any] | None:
    """Return the open invitation that waits for this user's e-mail address to be confirmed."""
    return _open(tx, invitations.c.user == user)


def reserve(tx: Transaction, invitation: str, user: str) -> None:
    """Let an invitation wait for a user whose address is not confirmed yet. It stays open; a later one replaces him."""
    tx.execute(invitations.update().where(invitations.c.id == invitation).values(user=user))


def claim(tx: Transaction, invitation: Row[Any], user: str) -> None:
    """Use an invitation up for a user: he is a pending member, the home is told. Raises Refused(WRONG_CODE)."""
    used = tx.execute(
        invitations.update()
        .where(
            invitations.c.id == invitation.id,
            invitations.c.state == "open",
            invitations.c.expires > tx.now,
        )
        .values(state="joined", user=user)
    )
    if used.rowcount != 1:
        raise Refused(Status.WRONG_CODE)
    name = tx.execute(select(users.c.name).where(users.c.id == user)).scalar_one()
    there = tx.execute(
        select(members.c.user).where(members.c.site == invitation.site, members.c.user == user)
    ).first()
    if there is None:
        # "member" until the home says otherwise: roles come from it alone.
        tx.execute(
            members.insert(),
            {
                "site": invitation.site,
                "user": user,
                "role": "member",
                "state": "pending",
                "created": tx.now,
            },
        )
    tx.audit(invitation.site, "owner.claimed", user=user, invitation=invitation.id)
    body = {"invitation": invitation.id, "user": user, "name": name}
    tx.push(f"gateway:{invitation.site}", "owner.claimed", body)


async def claim_signed_in(ras: Ras, user: str, code: str, address: str) -> str:
    """Let a user who has an account already claim a home by its code; return the site. Raises as `check`."""
    raw = await check(ras, code, address)

    def job(tx: Transaction) -> str:
        invitation = open_code(tx, raw)
        if invitation is None:
            raise Refused(Status.WRONG_CODE)
        claim(tx, invitation, user)
        site: str = invitation.site
        return site

    return await ras.store.write(job)
