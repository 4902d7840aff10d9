"""Homes, as their members and owners see them. An owner lists and takes away; only the home itself adds."""

import json
from typing import Any

from sqlalchemy import Connection, func, select

from igrs_ras import wire
from igrs_ras.api import access
from igrs_ras.api.route import Call, Table, Who
from igrs_ras.api.site_answers import (
    AuditShown,
    EntryShown,
    GatewayShown,
    InvitationShown,
    InvitationsShown,
    LockShown,
    LocksShown,
    Membership,
    Memberships,
    MemberShown,
    MembersShown,
    SiteShown,
)
from igrs_ras.joins import opened_twice
from igrs_ras.members import end_member, withdraw
from igrs_ras.status import Refused, Status
from igrs_ras.storage.store import Transaction
from igrs_ras.storage.tables import (
    audit,
    checkpoints,
    gateways,
    grants,
    invitations,
    locks,
    members,
    sites,
    users,
)

table = Table()

PAGE = 100
LONGEST = 200

_SITE = "fedcba9876543210fedcba9876543210"
_USER = "0123456789abcdef0123456789abcdef"
_LIMIT = f"how many at most: 1 to {LONGEST}, {PAGE} by default"


def _number(call: Call[None], name: str, default: int, highest: int) -> int:
    text = call.query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 19 or not 1 <= int(text) <= highest:
        raise Refused(Status.MALFORMED, name)
    return int(text)


@table.add(
    "GET",
    "/api/v1/sites",
    Who.USER,
    summary="The caller's homes",
    answer=Memberships,
    answer_example={
        "sites": [
            {"site": _SITE, "name": "Home", "role": "owner", "state": "active", "online": True}
        ]
    },
)
async def list_sites(call: Call[None]) -> Memberships:
    """List the caller's own memberships."""
    user = call.user
    rows = await call.ras.store.read(
        lambda connection: connection.execute(
            select(members.c.site, members.c.role, members.c.state, sites.c.name, sites.c.suspended)
            .join(sites, sites.c.id == members.c.site)
            .where(members.c.user == user)
            .order_by(members.c.site)
            .limit(LONGEST)
        ).all()
    )
    return Memberships(
        sites=[
            Membership(
                site=row.site,
                name=row.name,
                role=row.role,
                state="suspended" if row.suspended and row.state == "active" else row.state,
                online=call.ras.gateways.link_of(row.site) is not None,
            )
            for row in rows
        ]
    )


@table.add(
    "GET",
    "/api/v1/sites/{site}",
    Who.USER,
    summary="A home and its link, for its owners",
    answer=SiteShown,
    statuses=(Status.NOT_PERMITTED, Status.NOT_FOUND),
)
async def get_site(call: Call[None]) -> SiteShown:
    """Show a home."""
    site, user = call.path["site"], call.user

    def job(connection: Connection) -> SiteShown:
        name = access.owner(connection, site, user).name
        gateway = connection.execute(
            select(gateways).where(gateways.c.site == site, gateways.c.revoked.is_(None))
        ).first()
        return SiteShown(
            site=site,
            name=name,
            gateway=None
            if gateway is None
            else GatewayShown(
                gateway=gateway.id,
                local=gateway.local,
                online=call.ras.gateways.link_of(site) is not None,
                created=gateway.created,
                seen=gateway.seen,
            ),
            members=_count(connection, members.c.site == site),
            invitations=_count(
                connection,
                (invitations.c.site == site)
                & (invitations.c.state == "open")
                & (invitations.c.expires > call.ras.clock.now_ms()),
            ),
            locks=_count(connection, locks.c.site == site),
            audit=connection.execute(
                select(func.max(audit.c.i)).where(audit.c.site == site)
            ).scalar()
            or 0,
            checkpoint=connection.execute(
                select(func.max(checkpoints.c.last)).where(checkpoints.c.site == site)
            ).scalar()
            or 0,
        )

    return await call.ras.store.read(job)


def _count(connection: Connection, condition: Any) -> int:
    return connection.execute(select(func.count()).where(condition)).scalar_one()


@table.add(
    "GET",
    "/api/v1/sites/{site}/members",
    Who.USER,
    summary="A home's members, for its owners",
    answer=MembersShown,
    query={"after": "the id behind which the page begins", "limit": _LIMIT},
    statuses=(Status.MALFORMED, Status.NOT_PERMITTED, Status.NOT_FOUND),
)
async def list_members(call: Call[None]) -> MembersShown:
    """List members by id."""
    site, user = call.path["site"], call.user
    after = call.query.get("after", "")
    if after and not wire.is_id(after):
        raise Refused(Status.MALFORMED, "after")
    limit = _number(call, "limit", PAGE, LONGEST)

    def job(connection: Connection) -> MembersShown:
        access.owner(connection, site, user)
        rows = connection.execute(
            select(members, users.c.name)
            .join(users, users.c.id == members.c.user)
            .where(members.c.site == site, members.c.user > after)
            .order_by(members.c.user)
            .limit(limit)
        ).all()
        granted: dict[str, list[str]] = {row.user: [] for row in rows}
        for grant in connection.execute(
            select(grants.c.user, grants.c.device)
            .where(grants.c.site == site, grants.c.user.in_(list(granted)))
            .order_by(grants.c.device)
        ):
            granted[grant.user].append(grant.device)
        return MembersShown(
            members=[
                MemberShown(
                    user=row.user,
                    name=row.name,
                    role=row.role,
                    state=row.state,
                    created=row.created,
                    locks=granted[row.user],
                )
                for row in rows
            ],
            next=rows[-1].user if len(rows) == limit else "",
        )

    return await call.ras.store.read(job)


@table.add(
    "DELETE",
    "/api/v1/sites/{site}/members/{user}",
    Who.USER,
    summary="Remove a member, as an owner; or leave, oneself",
    statuses=(Status.NOT_PERMITTED, Status.NOT_FOUND),
)
async def remove_member(call: Call[None]) -> None:
    """End a membership at once; the home is told and takes the member off its locks."""
    site, user, who = call.path["site"], call.path["user"], call.user

    def job(tx: Transaction) -> None:
        if user != who:
            access.owner(tx.connection, site, who)
        if not end_member(call.ras, tx, site, user, tell_home=True):
            raise Refused(Status.NOT_FOUND)

    await call.ras.store.write(job)


@table.add(
    "GET",
    "/api/v1/sites/{site}/invitations",
    Who.USER,
    summary="A home's invitations, for its owners",
    answer=InvitationsShown,
    statuses=(Status.NOT_PERMITTED, Status.NOT_FOUND),
)
async def list_invitations(call: Call[None]) -> InvitationsShown:
    """List invitations, ended ones for some days too."""
    site, user = call.path["site"], call.user

    def job(connection: Connection) -> InvitationsShown:
        access.owner(connection, site, user)
        twice = opened_twice(connection, site)
        rows = connection.execute(
            select(invitations)
            .where(invitations.c.site == site)
            .order_by(invitations.c.created.desc(), invitations.c.id)
            .limit(LONGEST)
        ).all()
        now = call.ras.clock.now_ms()
        return InvitationsShown(
            invitations=[
                InvitationShown(
                    invitation=row.id,
                    kind=row.kind,
                    state="expired" if row.state == "open" and row.expires <= now else row.state,
                    user=row.user or "",
                    created=row.created,
                    expires=row.expires,
                    opened_twice=row.id in twice,
                )
                for row in rows
            ]
        )

    return await call.ras.store.read(job)


@table.add(
    "DELETE",
    "/api/v1/sites/{site}/invitations/{invitation}",
    Who.USER,
    summary="Withdraw an open invitation, as an owner",
    statuses=(Status.NOT_PERMITTED, Status.NOT_FOUND),
)
async def withdraw_invitation(call: Call[None]) -> None:
    """Withdraw it; who joined by it and was not let in yet is out. The home is told."""
    site, invitation, user = call.path["site"], call.path["invitation"], call.user

    def job(tx: Transaction) -> None:
        access.owner(tx.connection, site, user)
        if not withdraw(call.ras, tx, site, invitation, tell_home=True):
            raise Refused(Status.NOT_FOUND)

    await call.ras.store.write(job)


@table.add(
    "GET",
    "/api/v1/sites/{site}/locks",
    Who.USER,
    summary="A home's locks, for its owners",
    answer=LocksShown,
    statuses=(Status.NOT_PERMITTED, Status.NOT_FOUND),
)
async def list_site_locks(call: Call[None]) -> LocksShown:
    """List all locks of a home. The server does not know their names."""
    site, user = call.path["site"], call.user

    def job(connection: Connection) -> LocksShown:
        access.owner(connection, site, user)
        counts: dict[str, int] = {
            row.device: row.members
            for row in connection.execute(
                select(grants.c.device, func.count().label("members"))
                .where(grants.c.site == site)
                .group_by(grants.c.device)
            )
        }
        return LocksShown(
            locks=[
                LockShown(
                    device=row.device,
                    capabilities=row.capabilities,
                    created=row.created,
                    members=counts.get(row.device, 0),
                )
                for row in connection.execute(
                    select(locks).where(locks.c.site == site).order_by(locks.c.device)
                )
            ]
        )

    return await call.ras.store.read(job)


@table.add(
    "GET",
    "/api/v1/sites/{site}/audit",
    Who.USER,
    summary="A home's audit, for its owners: the newest first",
    answer=AuditShown,
    query={"before": "the index before which the page begins", "limit": _LIMIT},
    statuses=(Status.MALFORMED, Status.NOT_PERMITTED, Status.NOT_FOUND),
)
async def list_audit(call: Call[None]) -> AuditShown:
    """List audit entries."""
    site, user = call.path["site"], call.user
    before = _number(call, "before", 2**63 - 1, 2**63 - 1)
    limit = _number(call, "limit", PAGE, LONGEST)

    def job(connection: Connection) -> AuditShown:
        access.owner(connection, site, user)
        rows = connection.execute(
            select(audit)
            .where(audit.c.site == site, audit.c.i < before)
            .order_by(audit.c.i.desc())
            .limit(limit)
        ).all()
        return AuditShown(
            entries=[
                EntryShown(index=row.i, hash=wire.b64(bytes(row.hash)), entry=json.loads(row.entry))
                for row in rows
            ],
            next=rows[-1].i if len(rows) == limit and rows[-1].i > 1 else 0,
        )

    return await call.ras.store.read(job)
