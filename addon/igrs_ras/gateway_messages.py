"""Messages of a gateway about itself: where it is in its events and the audit, its token, its key, its home's admins."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from sqlalchemy import Connection, func, select

from igrs_ras import wire
from igrs_ras.identity import verified
from igrs_ras.messages import Messages
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import events, gateways
from igrs_ras.wire import Body, Id

if TYPE_CHECKING:
    from igrs_ras.link import Link
    from igrs_ras.storage.store import Transaction

_LOGGER = logging.getLogger(__name__)

ADMINS = 100

Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

messages = Messages()


class Resume(Body):
    """The last durable event that the gateway has."""

    generation: Number
    seq: Number


class Ack(Body):
    """Durable events up to `seq` may be forgotten."""

    seq: Number


class Nothing(Body):
    """An empty body."""


class NewKey(Body):
    """A new Ed25519 key, proved with the old and with the new one."""

    public_key: str
    old_signature: str
    new_signature: str


class Leave(Body):
    """The gateway itself, so that nothing said by mistake ends its place."""

    gateway: Id


class Range(Body):
    """Audit entries that checkpoints are wanted for."""

    first: Number
    last: Number


class Admins(Body):
    """User ids of Home Assistant's administrators."""

    users: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=64)]],
        msgspec.Meta(max_length=ADMINS),
    ]


@messages.on("resume", Resume)
async def resume(link: Link, body: Resume) -> Mapping[str, Any]:
    """Send the durable events after the gateway's cursor, from now on as they come.

    Events are kept until they are acknowledged; so a gateway whose cursor fits nothing (a new one, or after a restore)
    gets all that are still there, and is told where they begin (`reset`).
    """
    feed = link.feed
    found = await feed.locate(body.generation, body.seq)
    if not found:
        first = await link.ras.store.read(lambda connection: _oldest(connection, feed.recipient))
        if first is not None:
            await feed.locate(feed.generation, first - 1)
    link.ras.hub.spawn(feed.catch_up())
    return {"generation": feed.generation, "seq": feed.sent, "reset": not found}


def _oldest(connection: Connection, recipient: str) -> int | None:
    return connection.execute(
        select(func.min(events.c.seq)).where(events.c.recipient == recipient)
    ).scalar()


@messages.on("ack", Ack)
async def ack(link: Link, body: Ack) -> Mapping[str, Any]:
    """Forget events that the gateway has dealt with."""
    await link.feed.ack(body.seq)
    return {}


@messages.on("token", Nothing)
async def token(link: Link, _body: Nothing) -> Mapping[str, Any]:
    """Give a new bearer token; the one before stays good until its own end."""
    text, expires = link.ras.gateways.new_token(link)
    return {"token": text, "token_expires": expires}


@messages.on("gateway.key", NewKey)
async def change_key(link: Link, body: NewKey) -> Mapping[str, Any]:
    """Change the gateway's key. Sent again after a lost answer it is done already."""
    public = wire.unb64(body.public_key, 32, field="public_key")
    old_signature = wire.unb64(body.old_signature, 64, field="old_signature")
    new_signature = wire.unb64(body.new_signature, 64, field="new_signature")
    server_public = link.ras.identity.public

    def job(tx: Transaction) -> None:
        row = tx.execute(
            select(gateways.c.public_key).where(
                gateways.c.id == link.gateway, gateways.c.revoked.is_(None)
            )
        ).first()
        if row is None:
            raise Refused(Status.NOT_PERMITTED)
        old = bytes(row.public_key)
        if old == public:
            return
        signed = b"IGRS key 1\0" + server_public + bytes.fromhex(link.gateway) + old + public
        if not verified(old, signed, old_signature) or not verified(public, signed, new_signature):
            raise Refused(Status.WRONG_CREDENTIALS)
        tx.execute(gateways.update().where(gateways.c.id == link.gateway).values(public_key=public))
        tx.audit(link.site, "gateway.key_changed", gateway=link.gateway)

    await link.write(job)
    return {}


@messages.on("gateway.leave", Leave)
async def leave(link: Link, body: Leave) -> Mapping[str, Any]:
    """Revoke the gateway that says it: its home is removed there. The link closes. An app offers its home a place anew."""
    if body.gateway != link.gateway:
        raise Refused(Status.NOT_PERMITTED)
    await link.ras.gateways.revoke(link.gateway)
    if link.local:
        link.ras.discovery.offer_again()
    return {}


@messages.on("audit.range", Range)
async def audit_range(link: Link, body: Range) -> Mapping[str, Any]:
    """Send up to 20 checkpoints that cover the entries, oldest first; `count` says how many."""
    found = await link.ras.checkpoints.range(link.site, body.first, body.last)
    for checkpoint in found:
        link.send("audit.checkpoint", checkpoint)
        await link.socket.drain()
    return {"count": len(found)}


@messages.on("home.admins", Admins)
async def home_admins(link: Link, body: Admins) -> Mapping[str, Any]:
    """Take note who may see the owner's page inside Home Assistant; from a gateway of the same machine only."""
    if not link.local:
        raise Refused(Status.NOT_PERMITTED)
    link.admins = list(body.users)
    return {}
