"""Homes with people, doors and everything else that the server knows of them, made over its real interfaces."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from home import Home, Invitation
from igrs_ras.clock import SystemClock
from igrs_ras.storage.engine import open_engine
from igrs_ras.storage.tables import enrolments, metadata, server, sites
from peer import Closed, write_code
from phone import Phone
from sqlalchemy import insert, select

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Database
    from sqlalchemy import Connection

PASSWORD = "correct horse battery staple"
HOUR_MS = 3600 * 1000


@contextlib.contextmanager
def rows_of(database: Database) -> Any:
    """The database itself, beside the server: for what an operator or a thief does, and to look at what is stored."""
    url = database.url or f"sqlite:///{database.folder / 'ras.sqlite3'}"
    engine = open_engine(url, readers=1)
    try:
        with engine.connect() as connection, connection.begin():
            yield connection
    finally:
        engine.dispose()


def dump(connection: Connection, *, without: set[str] = frozenset()) -> dict[str, list[Any]]:  # type: ignore[assignment]
    """Every row of every table, sorted; columns or tables in `without` are left out ("table" or "table.column")."""
    found = {}
    for table in metadata.sorted_tables:
        if table.name in without:
            continue
        columns = [item for item in table.c if f"{table.name}.{item.name}" not in without]
        rows = [tuple(row) for row in connection.execute(select(*columns))]
        found[table.name] = sorted(rows, key=repr)
    return found


def new_site(connection: Connection, name: str, now: int, *, site: str = "") -> str:
    """Make a site, or take one, and return an enrolment code for it, as `gateway code` does."""
    code = secrets.token_bytes(10)
    if not site:
        site = secrets.token_hex(16)
        generation = connection.execute(select(server.c.generation)).scalar_one_or_none() or now
        connection.execute(
            insert(sites).values(id=site, name=name, generation=generation, created=now)
        )
    connection.execute(
        insert(enrolments).values(
            hash=hashlib.sha256(code).digest(), site=site, created=now, expires=now + HOUR_MS
        )
    )
    return write_code(code)


@dataclass
class Residence:
    """A home, its owner with an account and a member who joined by a link."""

    home: Home
    owner: Phone
    member: Phone
    email: str
    devices: list[str]
    owner_code: str
    invitation: Invitation
    others: list[Any] = field(default_factory=list)  # whoever else has to be closed at the end

    @property
    def site(self) -> str:
        return self.home.site

    @property
    def url(self) -> str:
        return self.home.url

    async def close(self) -> None:
        for one in (self.home, self.owner, self.member, *self.others):
            with contextlib.suppress(Closed, ConnectionError):
                await one.close()
            await one.http.close()


def device_id() -> str:
    return "C4" + secrets.token_hex(5).upper()


async def settle(
    url: str, code: str, *, now: Callable[[], int] | None = None, name: str = "Olga"
) -> Residence:
    """Enrol a home with two locks, let its owner claim it, and a member join for the first lock. All are connected."""
    clock = now or SystemClock().now_ms
    home = Home(url, now=clock)
    await home.enrol(code)
    await home.connect()
    devices = sorted((device_id(), device_id()))
    for device in devices:
        await home.register_lock(device)
    owner = Phone(url, name=name, now=clock)
    email = f"{name.lower()}.{secrets.token_hex(4)}@example.org"
    owner_code = await home.owner_code()
    await owner.claim(owner_code, email, PASSWORD)
    owner.site = home.site
    await home.until(lambda: owner.user in home.members)
    invitation = await home.invite([devices[0]])
    member = Phone(url, name=f"{name}'s guest", now=clock)
    await member.join(invitation)
    await owner.connect()
    await member.connect()
    return Residence(home, owner, member, email, devices, owner_code, invitation)
