"""Lets the Home Assistant of the same machine find this server without typing (docs/ras.md, "App discovery").

The message that the Supervisor keeps holds an enrolment code until a home used it. The code works over the local
listener only; each start makes a new one and ends the one before, and nothing but its hash is stored.
"""

import asyncio
import hashlib
import os
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from igrs_ras import codes, wire
from igrs_ras.api.route import Listener
from igrs_ras.storage.store import Transaction
from igrs_ras.storage.tables import enrolments, gateways, server, sites
from igrs_ras.supervisor import TOKEN_VARIABLE, Discovery, Supervisor

if TYPE_CHECKING:
    from igrs_ras.ras import Ras

SITE_NAME = "Home"
CODE_LIFE_MS = 400 * 24 * 3600 * 1000  # until it is used or the server starts anew


class AppDiscovery:
    """Announces the server while it runs as an app of Home Assistant; elsewhere does nothing."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        self._code: str | None = None
        self._discovery: Discovery | None = None
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin once the server listens: see `announce`."""

    async def tick(self) -> None:
        """Take back the code when it was used."""
        if self._code is not None and not await self._ras.store.read(self._is_open):
            self._code = None
            if self._discovery is not None:
                self._discovery.used()

    async def announce(self) -> None:
        """Tell the Supervisor where this server is, if there is one and gateways may come from its network."""
        token = os.environ.get(TOKEN_VARIABLE, "")
        port = self._ras.ports.get(Listener.LOCAL)
        if not token or port is None:
            return
        self._code = await self._ras.store.write(_new_code)
        self._running = asyncio.create_task(self._run(token, port))

    async def _run(self, token: str, port: int) -> None:
        async with Supervisor(token) as supervisor:
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
                enrolments.c.hash == hashed, enrolments.c.used.is_(None)
            )
        ).first()
        return row is not None

    async def stop(self) -> None:
        """Stop announcing."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)


def _new_code(transaction: Transaction) -> str | None:
    """Make a code for the home of this machine; None if one is enrolled."""
    local = select(gateways.c.id).where(gateways.c.local, gateways.c.revoked.is_(None))
    transaction.execute(enrolments.delete().where(enrolments.c.local, enrolments.c.used.is_(None)))
    if transaction.execute(local).first() is not None:
        return None
    # A site that an earlier start made and nobody took is taken again.
    site = transaction.execute(
        select(sites.c.id)
        .outerjoin(gateways, gateways.c.site == sites.c.id)
        .where(sites.c.name == SITE_NAME, gateways.c.id.is_(None))
    ).scalar()
    if site is None:
        site = wire.new_id()
        generation = transaction.execute(select(server.c.generation)).scalar_one()
        transaction.execute(
            sites.insert().values(
                id=site, name=SITE_NAME, generation=generation, created=transaction.now
            )
        )
    raw, text = codes.new()
    transaction.execute(
        enrolments.insert().values(
            hash=hashlib.sha256(raw).digest(),
            site=site,
            local=True,
            created=transaction.now,
            expires=transaction.now + CODE_LIFE_MS,
        )
    )
    return text
