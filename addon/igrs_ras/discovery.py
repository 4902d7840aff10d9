"""Lets the Home Assistant of the same machine find this server without typing (docs/ras.md, "App discovery").

The message that the Supervisor keeps holds an enrolment code until a home used it. The code works over the local
listener only. It follows from the server's own key, so nothing but its hash is stored, and it stays the same over
starts: a dialog that is open in Home Assistant meanwhile keeps a code that works. A restore ends it.
"""

import asyncio
import hashlib
import logging
import os
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from igrs_ras import codes, wire
from igrs_ras.api.route import Listener
from igrs_ras.storage.store import Transaction
from igrs_ras.storage.tables import enrolments, gateways, server, sites
from igrs_ras.supervisor import ADDRESS, TOKEN_VARIABLE, Discovery, Supervisor

if TYPE_CHECKING:
    from igrs_ras.identity import ServerIdentity
    from igrs_ras.ras import Ras

_LOGGER = logging.getLogger(__name__)

SITE_NAME = "Home"
CODE_LIFE_MS = 400 * 24 * 3600 * 1000  # until it is used or the server starts anew
AGAIN_MS = (
    3600 * 1000
)  # of a place that a home has: it is offered once more after a start, if the settings say so


class AppDiscovery:
    """Announces the server while it runs as an app of Home Assistant; elsewhere does nothing."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        self.address = ADDRESS  # the Supervisor's
        self._code: str | None = None
        self._discovery: Discovery | None = None
        self._left = False  # the home of this machine gave its place back
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin once the server listens: see `announce`."""

    def offer_again(self) -> None:
        """Give a code again with the next tick: the home of this machine gave its place back."""
        self._left = self._discovery is not None

    async def tick(self) -> None:
        """Take back the code when it was used; give another one if it ended without a home (a restore voids codes)."""
        ended = self._code is not None and not await self._ras.store.read(self._is_open)
        if ended or self._left:
            self._left = False
            self._code = await self._ras.store.write(partial(_open_code, self._ras.identity))
            if self._discovery is not None:
                self._discovery.used()

    async def announce(self) -> None:
        """Tell the Supervisor where this server is, if there is one and gateways may come from its network."""
        token = os.environ.get(TOKEN_VARIABLE, "")
        port = self._ras.ports.get(Listener.LOCAL)
        if not token or port is None:
            return
        again = self._ras.settings.offer_place
        if again:
            _LOGGER.warning(
                "offer_place is on: for an hour, the Home Assistant of this machine can take the place of the home that "
                "has it. Switch it off once it is connected"
            )
        self._code = await self._ras.store.write(
            partial(_open_code, self._ras.identity, again=again)
        )
        self._running = asyncio.create_task(self._run(token, port))

    async def _run(self, token: str, port: int) -> None:
        async with Supervisor(token, self.address) as supervisor:
            self._discovery = Discovery(
                supervisor,
                port=port,
                server_key=wire.b64(self._ras.identity.public),
                code=self._current,
            )
            await self._discovery.run()

    async def _current(self) -> str | None:
        return self._code

    def _is_open(self, connection: Connection) -> bool:
        if self._code is None:
            return False
        hashed = hashlib.sha256(codes.read(self._code)).digest()
        row = connection.execute(
            select(enrolments.c.hash).where(
                enrolments.c.hash == hashed,
                enrolments.c.used.is_(None),
                enrolments.c.expires > self._ras.clock.now_ms(),
            )
        ).first()
        return row is not None

    async def stop(self) -> None:
        """Stop announcing."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)


def _open_code(
    identity: ServerIdentity, transaction: Transaction, *, again: bool = False
) -> str | None:
    """Open a code for the home of this machine; None if one is enrolled.

    With `again` also then, for the same site and an hour: who uses it takes that home's place.
    """
    local = select(gateways.c.site).where(gateways.c.local, gateways.c.revoked.is_(None))
    transaction.execute(enrolments.delete().where(enrolments.c.local, enrolments.c.used.is_(None)))
    taken: str | None = transaction.execute(local.limit(1)).scalar()
    if taken is not None and not again:
        return None
    # A site that an earlier start made and nobody took is taken again; or the one whose home gave its place back.
    generation = transaction.execute(select(server.c.generation)).scalar_one()
    site = (
        taken
        or transaction.execute(
            select(sites.c.id)
            .outerjoin(gateways, gateways.c.site == sites.c.id)
            .where(sites.c.name == SITE_NAME, gateways.c.id.is_(None))
        ).scalar()
        or transaction.execute(
            # No gateway of this machine is active, so each of these was revoked; another one may have the site by now.
            select(gateways.c.site)
            .where(
                gateways.c.local,
                gateways.c.site.not_in(select(gateways.c.site).where(gateways.c.revoked.is_(None))),
            )
            .order_by(gateways.c.revoked.desc())
            .limit(1)
        ).scalar()
    )
    if site is None:
        site = wire.new_id()
        transaction.execute(
            sites.insert().values(
                id=site, name=SITE_NAME, generation=generation, created=transaction.now
            )
        )
    raw = code_of(identity, site, generation)
    hashed = hashlib.sha256(raw).digest()
    if transaction.execute(select(enrolments.c.hash).where(enrolments.c.hash == hashed)).first():
        # Used once already, by a gateway that is gone without a trace.
        raw, _ = codes.new()
        hashed = hashlib.sha256(raw).digest()
    transaction.execute(
        enrolments.insert().values(
            hash=hashed,
            site=site,
            local=True,
            created=transaction.now,
            expires=transaction.now + (CODE_LIFE_MS if taken is None else AGAIN_MS),
        )
    )
    return codes.write(raw)


def code_of(identity: ServerIdentity, site: str, generation: int) -> bytes:
    """Return the 10 bytes of the code for a site. Ed25519's signature is the same each time, and nobody else's."""
    signed = b"IGRS discovery 1\0" + bytes.fromhex(site) + generation.to_bytes(8)
    return hashlib.sha256(identity.sign(signed)).digest()[: codes.BYTES]
