"""The database is brought to this version's schema, safely: nothing is lost, and no version touches a newer one's."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from igrs_ras.storage import migrate
from igrs_ras.storage.engine import SERVER_LOCK, InUseError, open_engine
from igrs_ras.storage.migrate import (
    SCHEMA,
    MigrationError,
    NewerSchemaError,
    NoSpaceError,
    prepare,
    schema_of,
)
from igrs_ras.storage.tables import locks, metadata, sites
from sqlalchemy import inspect, select, text
from stores import become_next_version, new_site, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Database, MovedClock
    from igrs_ras.settings import Settings
    from postgres import PostgresCluster
    from sqlalchemy import Connection, Engine


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    made = open_engine(settings.database)
    yield made
    made.dispose()


@pytest.fixture
def empty(database: Database, settings: Settings, engine: Engine) -> Engine:
    """The same database without anything in it."""
    if database.kind == "sqlite":
        (database.folder / "ras.sqlite3").unlink()
    else:
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    return engine


def copies(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.copy"))


def columns(connection: Connection, table: str) -> list[str]:
    return [column["name"] for column in inspect(connection).get_columns(table)]


def test_migrations_make_exactly_the_tables_that_the_code_uses(
    empty: Engine, settings: Settings
) -> None:
    assert prepare(empty, settings) == ""
    with empty.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []
        assert schema_of(connection) == SCHEMA
        # What the comparison does not see: checks of foreign keys, and the index with a condition.
        found = inspect(connection)
        for table in metadata.sorted_tables:
            for key in found.get_foreign_keys(table.name):
                assert key["options"]["ondelete"] in ("CASCADE", "SET NULL")
        index = next(
            index
            for index in found.get_indexes("gateways")
            if index["name"] == "uq_gateways_active"
        )
        assert index["unique"]
        assert "revoked IS NULL" in str(index["dialect_options"][f"{empty.dialect.name}_where"])


def test_a_prepared_database_is_left_alone_without_alembic(settings: Settings) -> None:
    """A start must not take longer than it has to."""
    code = (
        "import sys\n"
        "from igrs_ras.settings import Settings\n"
        "from igrs_ras.storage.engine import open_engine\n"
        "from igrs_ras.storage.migrate import prepare\n"
        f"settings = Settings(data={settings.data!r}, database_url={settings.database_url!r})\n"
        "assert prepare(open_engine(settings.database), settings) is None\n"
        "assert 'alembic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def test_an_older_database_is_migrated_with_all_its_rows(
    database: Database,
    clock: MovedClock,
    settings: Settings,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened(database, clock) as store:
        site = await store.write(new_site)
        await store.write(
            lambda tx: tx.execute(
                locks.insert(), {"site": site, "device": "A" * 12, "capabilities": 1, "created": 1}
            )
        )
    become_next_version(tmp_path, monkeypatch)
    assert prepare(engine, settings) == SCHEMA
    with engine.connect() as connection:
        assert schema_of(connection) == "0002"
        assert "zone" in columns(connection, "sites")
        assert connection.execute(text("SELECT id, zone FROM sites")).one() == (site, "UTC")
        # Replacing the table of sites did not delete what belongs to them.
        assert connection.execute(select(locks.c.site)).scalar() == site
        if database.kind == "sqlite":
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    assert prepare(engine, settings) is None


async def test_a_sqlite_database_is_copied_before_it_is_migrated(
    database: Database,
    clock: MovedClock,
    settings: Settings,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened(database, clock) as store:
        await store.write(new_site)
    become_next_version(tmp_path, monkeypatch)
    prepare(engine, settings)
    found = copies(database.folder)
    if database.kind == "postgresql":
        assert found == []
        return
    assert len(found) == 1
    assert stat.S_IMODE(found[0].stat().st_mode) == 0o600
    with sqlite3.connect(found[0]) as copy:
        assert copy.execute("SELECT version_num FROM alembic_version").fetchone() == (SCHEMA,)
        assert copy.execute("SELECT count(*) FROM sites").fetchone() == (1,)
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_newest_three_copies_are_kept(
    database: Database, settings: Settings, engine: Engine
) -> None:
    (database.folder / "ras.1.0001.part").write_bytes(b"left by a crash")
    for _ in range(5):
        migrate.copy_sqlite(database.folder / "ras.sqlite3", settings.folder, SCHEMA)
    names = [path.name for path in copies(database.folder)]
    last = migrate.copy_sqlite(database.folder / "ras.sqlite3", settings.folder, SCHEMA)
    assert [path.name for path in copies(database.folder)] == [*names[1:], last.name]
    assert len(names) == 3
    assert list(database.folder.glob("*.part")) == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_without_room_for_the_copy_nothing_is_migrated(
    database: Database,
    settings: Settings,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = shutil.disk_usage(database.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=migrate.SPARE))
    become_next_version(tmp_path, monkeypatch)
    with pytest.raises(NoSpaceError, match="make room"):
        prepare(engine, settings)
    assert copies(database.folder) == []
    with engine.connect() as connection:
        assert schema_of(connection) == SCHEMA


def test_a_migration_that_fails_changes_nothing(
    settings: Settings,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    become_next_version(tmp_path, monkeypatch, 'raise RuntimeError("half way")')
    with pytest.raises(RuntimeError, match="half way"):
        prepare(engine, settings)
    with engine.connect() as connection:
        assert schema_of(connection) == SCHEMA
        assert "zone" not in columns(connection, "sites")
    monkeypatch.undo()
    assert prepare(engine, settings) is None


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_migration_that_would_leave_dangling_rows_changes_nothing(
    database: Database,
    settings: Settings,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = "op.execute(\"INSERT INTO locks VALUES ('nowhere', 'A', 0, 0)\")"
    become_next_version(tmp_path, monkeypatch, more)
    with pytest.raises(MigrationError, match="dangling"):
        prepare(engine, settings)
    with engine.connect() as connection:
        assert schema_of(connection) == SCHEMA
        assert connection.execute(select(locks)).first() is None


def test_a_newer_schema_is_refused_and_not_touched(
    settings: Settings,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as later:
        become_next_version(tmp_path, later)
        prepare(engine, settings)
    with pytest.raises(NewerSchemaError, match="update igrs-ras"):
        prepare(engine, settings)
    with engine.connect() as connection:
        assert schema_of(connection) == "0002"


def test_somebody_elses_tables_are_refused(empty: Engine, settings: Settings) -> None:
    with empty.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE users (name TEXT)")
    with pytest.raises(MigrationError, match="database of its own"):
        prepare(empty, settings)
    with empty.connect() as connection:
        assert inspect(connection).get_table_names() == ["users"]


def test_two_revisions_at_once_are_refused(engine: Engine, settings: Settings) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('0000')")
    with pytest.raises(MigrationError, match="restore a backup"):
        prepare(engine, settings)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_database_in_use_is_not_migrated(
    settings: Settings, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    become_next_version(tmp_path, monkeypatch)
    other = open_engine(settings.database)
    with other.connect() as server:
        server.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": SERVER_LOCK})
        with pytest.raises(InUseError):
            prepare(engine, settings)
    other.dispose()
    with engine.connect() as connection:
        assert schema_of(connection) == SCHEMA
    assert prepare(engine, settings) == SCHEMA


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_two_servers_that_start_at_once_make_the_tables_once(
    empty: Engine, settings: Settings, cluster: PostgresCluster
) -> None:
    outcomes: list[Any] = []

    def run() -> None:
        engine = open_engine(settings.database)
        try:
            outcomes.append(prepare(engine, settings))
        finally:
            engine.dispose()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes, key=str) == ["", None, None]
    with empty.connect() as connection:
        assert schema_of(connection) == SCHEMA
        assert connection.execute(select(sites)).first() is None


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_database_file_is_for_its_owner_only(
    database: Database, empty: Engine, settings: Settings
) -> None:
    prepare(empty, settings)
    assert stat.S_IMODE((database.folder / "ras.sqlite3").stat().st_mode) == 0o600
