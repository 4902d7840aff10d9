"""Object rights, all in one place: who may touch what of a site.

Each is called inside the job that acts, with the job's connection, so that the check and the act see the same data.
Somebody else's object and no object are answered alike (21), so that nothing tells which ids exist.
"""

from typing import Any

from sqlalchemy import Connection, Row, select

from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import grants, locks, members, sites


def member(connection: Connection, site: str, user: str) -> Row[Any]:
    """Return the active membership. Refuses (21) strangers, pending members and, after a restore, everybody."""
    row = connection.execute(
        select(members, sites.c.name)
        .join(sites, sites.c.id == members.c.site)
        .where(
            members.c.site == site,
            members.c.user == user,
            members.c.state == "active",
            sites.c.suspended.is_(False),
        )
    ).first()
    if row is None:
        raise Refused(Status.NOT_FOUND)
    return row


def owner(connection: Connection, site: str, user: str) -> Row[Any]:
    """Return the active membership of an owner. Refuses members (20) and everybody else (21)."""
    row = member(connection, site, user)
    if row.role != "owner":
        raise Refused(Status.NOT_PERMITTED)
    return row


def device(connection: Connection, site: str, identifier: str) -> Row[Any]:
    """Return a lock of the site. Refuses (21) what is not there."""
    row = connection.execute(
        select(locks).where(locks.c.site == site, locks.c.device == identifier)
    ).first()
    if row is None:
        raise Refused(Status.NOT_FOUND)
    return row


def granted(connection: Connection, site: str, user: str, identifier: str) -> None:
    """Refuse (21) unless the user is an active member with the remote right for this lock."""
    member(connection, site, user)
    row = connection.execute(
        select(grants.c.device).where(
            grants.c.site == site, grants.c.user == user, grants.c.device == identifier
        )
    ).first()
    if row is None:
        raise Refused(Status.NOT_FOUND)
