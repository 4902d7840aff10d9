"""Homes and phones of one test at a server in this process; all are closed at its end."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from typing import TYPE_CHECKING, Any, Self

from conftest import Api, MovedClock, base_of, empty_database, make_ras, make_settings
from home import Home
from igrs_ras import codes, wire
from igrs_ras.api.route import Listener
from igrs_ras.storage.tables import audit, enrolments, server, sites
from peer import Closed
from phone import Phone
from sqlalchemy import select

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction
    from sqlalchemy import Executable

HOUR_MS = 3600 * 1000
PASSWORD = "eleven wet umbrellas in a row"


@contextlib.asynccontextmanager
async def shared_ras(
    request: pytest.FixtureRequest,
    folders: pytest.TempPathFactory,
    prepared: dict[str, Any],
    **settings: Any,
) -> AsyncIterator[Ras]:
    """A server for all tests of a module: they have homes of their own, and its clock only goes on."""
    with empty_database(request, folders.mktemp("shared") / "data", prepared) as database:
        ras = make_ras(make_settings(database, **settings), MovedClock())
        await ras.open()
        try:
            yield ras
        finally:
            await ras.close()


class Gates:
    """Makes codes, homes and phones."""

    def __init__(self, ras: Ras) -> None:
        self.ras = ras
        self.clock: MovedClock = ras.clock  # type: ignore[assignment]  # as the tests' servers have it
        self._open: list[Any] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for one in self._open:
            with contextlib.suppress(Closed, ConnectionError):
                await one.close()

    async def code(
        self, name: str = "Home", *, site: str = "", local: bool = False, life_ms: int = HOUR_MS
    ) -> str:
        """An enrolment code for a new site, or for one that is there, as the command line makes it."""
        raw, text = codes.new()

        def job(tx: Transaction) -> None:
            where = site or wire.new_id()
            if not site:
                generation = tx.execute(select(server.c.generation)).scalar_one()
                tx.execute(
                    sites.insert().values(
                        id=where, name=name, generation=generation, created=tx.now
                    )
                )
            tx.execute(
                enrolments.insert().values(
                    hash=hashlib.sha256(raw).digest(), site=where, local=local, created=tx.now,
                    expires=tx.now + life_ms,
                )
            )  # fmt: skip

        await self.ras.store.write(job)
        return text

    def home(self, listener: Listener = Listener.PUBLIC) -> Home:
        """A home that is not enrolled yet."""
        found = Home(base_of(self.ras, listener), now=self.clock.now_ms)
        self._open.append(found)
        return found

    async def enrolled(self, name: str = "Home", *locks: str) -> Home:
        """A connected home with locks."""
        found = self.home()
        await found.enrol(await self.code(name))
        await found.connect()
        for device in locks:
            await found.register_lock(device)
        return found

    def copy(self, home: Home) -> Home:
        """All that a thief of a home's disk has."""
        found = self.home()
        for name in (
            "key",
            "server_key",
            "gateway",
            "site",
            "n",
            "generation",
            "audit",
            "checkpoint",
        ):
            setattr(found, name, getattr(home, name))
        for name in ("members", "invitations", "locks"):
            setattr(found, name, dict(getattr(home, name)))
        return found

    def phone(self, name: str = "Alma") -> Phone:
        """A client that nobody knows yet."""
        found = Phone(base_of(self.ras), name=name, now=self.clock.now_ms)
        self._open.append(found)
        return found

    async def member(self, home: Home, *locks: str, name: str = "Alma") -> Phone:
        """A client that has joined a home for some locks, or all."""
        found = self.phone(name)
        await found.join(await home.invite(list(locks) if locks else None))
        return found

    async def owner(self, home: Home) -> Phone:
        """A client whose user owns the home."""
        found = self.phone("Olga")
        email = f"olga.{secrets.token_hex(6)}@example.org"
        await found.claim(await home.owner_code(), email, PASSWORD)
        await home.until(lambda: found.user in home.members)
        found.site = home.site
        return found

    def api(self) -> Api:
        """The public interface, request by request."""
        return Api(self.phone().http.session, base_of(self.ras))

    async def audit(self, site: str) -> list[dict[str, Any]]:
        """A site's audit entries, the oldest first."""
        rows = await self.rows(
            select(audit.c.entry).where(audit.c.site == site).order_by(audit.c.i)
        )
        return [wire.loads(row.entry) for row in rows]

    async def noted(self, site: str, what: str) -> list[dict[str, Any]]:
        """A site's audit entries of one kind."""
        return [entry for entry in await self.audit(site) if entry["what"] == what]

    async def rows(self, statement: Executable) -> list[Any]:
        """Read from the server's database."""
        return await self.ras.store.read(lambda connection: list(connection.execute(statement)))

    async def change(self, statement: Executable) -> None:
        """Change something in the server's database, as time or an older copy would."""
        await self.ras.store.write(lambda tx: tx.execute(statement) and None)
