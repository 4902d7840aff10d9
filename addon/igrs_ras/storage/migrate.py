"""Brings a database to this version's schema before the server uses it. Alembic is imported only if there is work."""

import contextlib
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, inspect, text

from igrs_ras.settings import Settings
from igrs_ras.storage.engine import MIGRATION_LOCK, SERVER_LOCK, WRITER, InUseError
from igrs_ras.storage.tables import metadata

if TYPE_CHECKING:
    from alembic.config import Config

_LOGGER = logging.getLogger(__name__)

SCHEMA = "0001"
COPIES = 3  # copies made before migrating that are kept
SPARE = 16 * 2**20  # bytes that must stay free besides
SCRIPTS = Path(__file__).parent / "migrations"


class MigrationError(Exception):
    """The database cannot be brought to this version's schema. The text says what to do; nothing was changed."""


class NewerSchemaError(MigrationError):
    """A newer igrs-ras made this database."""


class NoSpaceError(MigrationError):
    """There is no room for the copy that is made before migrating."""


def schema_of(connection: Connection) -> str | None:
    """Return the database's revision, None if it is empty. Raises MigrationError if its tables are somebody else's."""
    if connection.dialect.has_table(connection, "alembic_version"):
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
        if len(found) == 1:
            return str(found[0])
        if found:
            raise MigrationError("the database is in more than one revision: restore a backup")
    ours = set(metadata.tables) & set(inspect(connection).get_table_names())
    if ours:
        raise MigrationError(
            "the database has tables that igrs-ras did not make: give it a database of its own"
        )
    return None


def prepare(
    engine: Engine, settings: Settings, *, target: str | None = None, copy: bool = True
) -> str | None:
    """Make the tables of an empty database, or migrate an older one. Blocks; call it before the server starts.

    The caller holds the data folder. A SQLite database is copied first; a PostgreSQL database is only touched if no
    server uses it. Returns the revision it was in if something was done, "" for an empty one, else None.

    Raises NewerSchemaError, NoSpaceError, MigrationError, InUseError and what the database says.
    """
    target = target or SCHEMA
    with engine.connect() as connection:
        found = schema_of(connection)
    if found == target:
        return None
    if found is not None and not known(found):
        raise NewerSchemaError(
            f"a newer igrs-ras made this database (revision {found}, this one knows {target}):"
            " update igrs-ras, or restore a backup made before"
        )
    sqlite = engine.dialect.name == "sqlite"
    if found is not None and sqlite and copy:
        copied = copy_sqlite(Path(str(engine.url.database)), settings.folder, found)
        _LOGGER.info("the database was copied to %s before migrating", copied.name)
    with alone(engine) as connection:
        if schema_of(connection) == target:
            return None  # somebody was faster
        upgrade(connection, target)
        if sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
            raise MigrationError(
                "the migrated database would have dangling rows: nothing was changed"
            )
    if sqlite:
        Path(str(engine.url.database)).chmod(0o600)
    if found is not None:
        _LOGGER.info("the database was migrated from revision %s to %s", found, target)
    return found or ""


def upgrade(connection: Connection, target: str) -> None:
    """Run the revisions up to the target inside the connection's transaction."""
    from alembic import command  # noqa: PLC0415  takes a quarter of a second, so only when it is needed

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, target)


def known(revision: str) -> bool:
    """Tell whether this version knows a revision."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415  as above

    script = ScriptDirectory.from_config(_config())
    return any(found.revision == revision for found in script.walk_revisions())


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415  as above

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@contextlib.contextmanager
def alone(engine: Engine) -> Iterator[Connection]:
    """One transaction in which nobody else migrates or serves; all of it happens or nothing."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # Off, because changing a table means replacing it, and dropping the old one would delete what refers to it.
            # It can only be switched outside a transaction.
            driver: Any = connection.connection.driver_connection
            driver.execute("PRAGMA foreign_keys=OFF")
            try:
                with connection.execution_options(**WRITER).begin():
                    yield connection
            finally:
                driver.execute("PRAGMA foreign_keys=ON")
            return
        with connection.begin():
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
            connection.execute(
                text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK}
            )
            if schema_of(connection) is not None:
                free = connection.execute(
                    text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": SERVER_LOCK}
                ).scalar_one()
                if not free:
                    raise InUseError("another igrs-ras uses this database: stop it first")
            yield connection


def copy_sqlite(database: Path, folder: Path, revision: str) -> Path:
    """Copy a SQLite database into the data folder, with mode 0600; keep the newest three copies.

    Raises NoSpaceError unless there is room for the copy and for what the migration writes.
    """
    size = sum(
        file.stat().st_size
        for file in (database, database.with_name(database.name + "-wal"))
        if file.exists()
    )
    needed = 3 * size + SPARE  # the copy, the write-ahead log and the grown database
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NoSpaceError(
            f"{free // 2**20} MiB are free and migrating needs {needed // 2**20 + 1} MiB:"
            " make room in the data folder, then start again"
        )
    copy = folder / f"{database.stem}.{time.time_ns() // 1_000_000}.{revision}.copy"
    part = copy.with_suffix(".part")
    for left in folder.glob(f"{database.stem}.*.part"):
        left.unlink()
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as source:
        source.execute("VACUUM INTO ?", (str(part),))
    sync(part)
    part.rename(copy)
    sync(folder)
    copies = sorted(folder.glob(f"{database.stem}.*.copy"))
    for old in copies[:-COPIES]:
        old.unlink()
    return copy


def sync(path: Path) -> None:
    """Force a file's content, or a folder's names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
