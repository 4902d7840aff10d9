"""A store without a server around it, and what must always hold in its database."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import threading
from typing import TYPE_CHECKING, Any

from conftest import base_of, make_settings
from igrs_ras import wire
from igrs_ras.admin import run
from igrs_ras.identity import read_or_make
from igrs_ras.storage import migrate
from igrs_ras.storage.engine import open_engine
from igrs_ras.storage.heads import chain, genesis
from igrs_ras.storage.store import Store
from igrs_ras.storage.tables import audit, events, recipients, sites, users
from sqlalchemy import select
from town import settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest
    from conftest import Database
    from igrs_ras.clock import Clock
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction
    from sqlalchemy import Connection
    from town import Residence


@contextlib.asynccontextmanager
async def opened(database: Database, clock: Clock) -> AsyncIterator[Store]:
    """A started store whose database has a server's row."""
    store = Store(open_engine(make_settings(database).database), clock)
    try:
        await store.start()
        await store.write(read_or_make)
        yield store
    finally:
        await store.stop()


def new_site(tx: Transaction, name: str = "Home") -> str:
    """Make a site in a job."""
    site = wire.new_id()
    tx.execute(sites.insert(), {"id": site, "name": name, "generation": tx.now, "created": tx.now})
    return site


def new_user(tx: Transaction, name: str = "Ada", email: str | None = None) -> str:
    """Make a user in a job."""
    user = wire.new_id()
    tx.execute(users.insert(), {"id": user, "name": name, "email": email, "created": tx.now})
    return user


def entries(connection: Connection, site: str) -> list[dict[str, Any]]:
    """Return a site's audit after checking that it is dense and that each hash follows from the one before."""
    rows = connection.execute(select(audit).where(audit.c.site == site).order_by(audit.c.i)).all()
    assert [row.i for row in rows] == list(range(1, len(rows) + 1))
    before = genesis(site)
    for row in rows:
        before = chain(site, row.i, before, hashlib.sha256(row.entry.encode()).digest())
        assert bytes(row.hash) == before
    return [json.loads(row.entry) for row in rows]


def sequence(connection: Connection, recipient: str) -> tuple[int, list[dict[str, Any]]]:
    """Return a recipient's last number and its events, after checking that their numbers are dense up to it."""
    last = connection.execute(
        select(recipients.c.seq).where(recipients.c.name == recipient)
    ).scalar()
    rows = connection.execute(
        select(events).where(events.c.recipient == recipient).order_by(events.c.seq)
    ).all()
    last = last or 0
    assert [row.seq for row in rows] == list(range(last - len(rows) + 1, last + 1))
    read = [json.loads(bytes(row.envelope)) for row in rows]
    assert [envelope["seq"] for envelope in read] == [row.seq for row in rows]
    return last, read


@contextlib.asynccontextmanager
async def residence(ras: Ras, name: str = "Olga") -> AsyncIterator[Residence]:
    """A home with an owner and a member, connected to a running server."""
    made = await run(ras, "gateway code", {"new_site": "Home"})
    place = await settle(base_of(ras), made["code"], now=ras.clock.now_ms, name=name)
    try:
        yield place
    finally:
        await place.close()


# A revision as the next version might have it: a column with a rule of its own, which SQLite can only get with a copy of the table.
NEXT = '''
"""A second revision, for the test."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("sites") as batch:
        batch.add_column(sa.Column("zone", sa.String(40), nullable=False, server_default="UTC"))
        batch.create_check_constraint("zone_given", "zone <> ''")
    {more}
'''


def become_next_version(folder: Path, monkeypatch: pytest.MonkeyPatch, more: str = "pass") -> None:
    """Make this program the next version; `more` is done in its migration too."""
    copy = folder / f"migrations-{len(list(folder.glob('migrations-*')))}"
    shutil.copytree(migrate.SCRIPTS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    revision = NEXT.format(before=migrate.SCHEMA, more=more)
    (copy / "versions" / "0002_next.py").write_text(revision)
    monkeypatch.setattr(migrate, "SCRIPTS", copy)
    monkeypatch.setattr(migrate, "SCHEMA", "0002")


class Gate:
    """Holds the writer's thread, so that all that is submitted meanwhile becomes one group."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()

    def job(self, _tx: Transaction) -> None:
        self.entered.set()
        self.wait()

    def wait(self) -> None:
        """Wait until it is opened."""
        assert self._open.wait(30)

    def open(self) -> None:
        """Let the writer go on."""
        self._open.set()
