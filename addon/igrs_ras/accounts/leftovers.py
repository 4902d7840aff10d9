"""What is left of accounts and has to go: codes and devices past their time, people who can never come back."""

from typing import TYPE_CHECKING

from sqlalchemy import delete, or_, select

from igrs_ras.accounts.throttle import DAY
from igrs_ras.storage.tables import (
    events,
    invitations,
    joins,
    known_devices,
    mail_codes,
    members,
    sessions,
    users,
)

if TYPE_CHECKING:
    from igrs_ras.storage.store import Transaction

DEVICE_LIFE = 400 * DAY  # as long as a browser keeps a cookie
LEFTOVER = DAY


def forget(tx: Transaction, user: str) -> None:
    """Delete a person: names, address, methods, sessions, memberships, waiting events. The audit has the id only.

    The number of the last event stays (by the id): an event of the same commit must not fail on it.
    """
    tx.execute(delete(users).where(users.c.id == user))
    tx.execute(delete(events).where(events.c.recipient == f"user:{user}"))


def purge(tx: Transaction) -> None:
    """Delete codes and devices past their time, and people without address, home and session.

    Such a person is a registration whose code was never entered, or somebody invited whose membership ended.
    """
    tx.execute(delete(mail_codes).where(mail_codes.c.expires <= tx.now))
    tx.execute(delete(known_devices).where(known_devices.c.used <= tx.now - DEVICE_LIFE))
    kept = or_(
        users.c.id.in_(select(sessions.c.user)),
        users.c.id.in_(select(members.c.user)),
        users.c.id.in_(select(joins.c.user).where(joins.c.user.is_not(None))),
        users.c.id.in_(
            select(invitations.c.user).where(
                invitations.c.user.is_not(None), invitations.c.expires > tx.now
            )
        ),
    )
    gone = select(users.c.id).where(
        users.c.email.is_(None), users.c.created <= tx.now - LEFTOVER, ~kept
    )
    for user in tx.execute(gone.limit(1000)).scalars().all():
        forget(tx, user)
