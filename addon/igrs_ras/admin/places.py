"""Verbs about sites and their gateways."""

import hashlib
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from igrs_ras import codes, wire
from igrs_ras.accounts import names
from igrs_ras.admin.common import MOST, Arguments, confirmed, count, site_row, verb
from igrs_ras.control import REFUSED, VerbError
from igrs_ras.status import Refused, Status
from igrs_ras.storage.store import Transaction
from igrs_ras.storage.tables import (
    audit,
    checkpoints,
    enrolments,
    gateways,
    locks,
    members,
    server,
    sites,
    users,
)

if TYPE_CHECKING:
    from igrs_ras.ras import Ras


CODE_LIFE_MS = 3600 * 1000


def _site_data(ras: Ras, connection: Connection, row: Any) -> dict[str, Any]:
    gateway = connection.execute(
        select(gateways.c.id, gateways.c.seen).where(
            gateways.c.site == row.id, gateways.c.revoked.is_(None)
        )
    ).first()
    return {
        "id": row.id,
        "name": row.name,
        "state": "waits for its home after a restore" if row.suspended else "active",
        "members": count(connection, members, members.c.site == row.id),
        "locks": count(connection, locks, locks.c.site == row.id),
        "gateway": gateway.id if gateway else None,
        "online": ras.gateways.link_of(row.id) is not None,
        "seen": gateway.seen if gateway else None,
        "created": row.created,
    }


@verb("site list")
async def site_list(ras: Ras, _arguments: Arguments) -> dict[str, Any]:
    """List the sites."""

    def job(connection: Connection) -> list[dict[str, Any]]:
        rows = connection.execute(select(sites).order_by(sites.c.created, sites.c.id).limit(MOST))
        return [_site_data(ras, connection, row) for row in rows.all()]

    return {"sites": await ras.store.read(job)}


@verb("site show")
async def site_show(ras: Ras, arguments: Arguments) -> dict[str, Any]:
    """Show a site with its members and locks, as far as the server knows them."""

    def job(connection: Connection) -> dict[str, Any]:
        row = site_row(connection, arguments["site"])
        people_of = connection.execute(
            select(members.c.user, users.c.name, members.c.role, members.c.state)
            .join(users, users.c.id == members.c.user)
            .where(members.c.site == row.id)
            .order_by(members.c.created, members.c.user)
        )
        devices = connection.execute(
            select(locks.c.device).where(locks.c.site == row.id).order_by(locks.c.device)
        )
        end = select(func.max(audit.c.i)).where(audit.c.site == row.id)
        signed = select(func.max(checkpoints.c.last)).where(checkpoints.c.site == row.id)
        return _site_data(ras, connection, row) | {
            "generation": row.generation,
            "audit_entries": connection.execute(end).scalar() or 0,
            "audit_signed": connection.execute(signed).scalar() or 0,
            "members": [dict(found._mapping) for found in people_of],  # noqa: SLF001  its public name
            "locks": list(devices.scalars()),
        }

    return await ras.store.read(job)


@verb("site rename")
async def site_rename(ras: Ras, arguments: Arguments) -> dict[str, Any]:
    """Change what a site is called here."""
    name = names.display_name(arguments["name"])

    def job(tx: Transaction) -> dict[str, Any]:
        row = site_row(tx.connection, arguments["site"])
        tx.execute(sites.update().where(sites.c.id == row.id).values(name=name))
        return {"id": row.id, "name": name}

    return await ras.store.write(job)


@verb("site remove")
async def site_remove(ras: Ras, arguments: Arguments) -> dict[str, Any]:
    """Delete a site with its gateway, members, locks and audit. Accounts stay."""

    def job(tx: Transaction) -> dict[str, Any]:
        row = site_row(tx.connection, arguments["site"])
        confirmed(arguments, f"this deletes the site {row.id} with its audit for good")
        ras.gateways.revoke_site(tx, row.id)
        tx.execute(sites.delete().where(sites.c.id == row.id))
        tx.forget_site(row.id)

        def end() -> None:
            ras.hub.close_site(row.id)
            ras.relay.end_for(site=row.id)

        tx.after(end)
        return {"id": row.id, "removed": True}

    return await ras.store.write(job)


# Gateways.


@verb("gateway code")
async def gateway_code(ras: Ras, arguments: Arguments) -> dict[str, Any]:
    """Make an enrolment code for a home: for a new site, or another gateway of a site, which replaces the present one."""
    new_name = arguments.get("new_site")
    name = names.display_name(new_name) if new_name is not None else ""
    local = bool(arguments.get("local"))
    raw, text = codes.new()

    def job(tx: Transaction) -> tuple[str, str]:
        if new_name is None:
            row = site_row(tx.connection, arguments["site"])
            site, called = row.id, row.name
            # One code at a time: an earlier one that lies around somewhere ends.
            tx.execute(
                enrolments.delete().where(enrolments.c.site == site, enrolments.c.used.is_(None))
            )
        else:
            site, called = wire.new_id(), name
            generation = tx.execute(select(server.c.generation)).scalar_one()
            tx.execute(
                sites.insert(),
                {"id": site, "name": name, "generation": generation, "created": tx.now},
            )
        tx.execute(
            enrolments.insert(),
            {
                "hash": hashlib.sha256(raw).digest(),
                "site": site,
                "local": local,
                "created": tx.now,
                "expires": tx.now + CODE_LIFE_MS,
            },
        )
        return site, called

    site, called = await ras.store.write(job)
    where = (
        "the address of the app" if local else ras.settings.public_url or "this server's address"
    )
    return {
        "code": text,
        "site": site,
        "name": called,
        "local": local,
        "expires": ras.clock.now_ms() + CODE_LIFE_MS,
        "server_key": wire.b64(ras.identity.public),
        "fingerprint": ras.identity.fingerprint,
        "next": f"Enter {where} and the code at the home's gateway within an hour. It works once."
        f" Go on only if the gateway shows the fingerprint {ras.identity.fingerprint}.",
    }


@verb("gateway list")
async def gateway_list(ras: Ras, _arguments: Arguments) -> dict[str, Any]:
    """List the gateways, revoked ones too."""

    def job(connection: Connection) -> list[dict[str, Any]]:
        rows = connection.execute(
            select(gateways, sites.c.name)
            .join(sites, sites.c.id == gateways.c.site)
            .order_by(gateways.c.created, gateways.c.id)
            .limit(MOST)
        )
        return [
            {
                "id": row.id,
                "site": row.site,
                "name": row.name,
                "local": row.local,
                "online": row.revoked is None and ras.gateways.link_of(row.site) is not None,
                "created": row.created,
                "seen": row.seen,
                "revoked": row.revoked,
            }
            for row in rows
        ]

    return {"gateways": await ras.store.read(job)}


@verb("gateway revoke")
async def gateway_revoke(ras: Ras, arguments: Arguments) -> dict[str, Any]:
    """Revoke a gateway for good; its link closes at once."""
    try:
        await ras.gateways.revoke(arguments["gateway"])
    except Refused as error:
        if error.status is not Status.NOT_FOUND:
            raise
        raise VerbError(
            REFUSED, "there is no such gateway, or it is revoked: see igrs-ras gateway list"
        ) from error
    return {
        "gateway": arguments["gateway"],
        "revoked": True,
        "next": "A new gateway of the same site is let in with igrs-ras gateway code --site ID.",
    }
