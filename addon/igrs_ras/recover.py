"""Puts a backup in the place of the database, while no server runs. What was there is kept beside it.

The restored database gets a boot nonce that no file has, so that the server's next start treats it as restored: it
revives no session, no code and no member whom the home has removed (see `restore`).
"""

import contextlib
import os
import secrets
import sqlite3
import time
from pathlib import Path

from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from igrs_ras import backup
from igrs_ras.restore import NONCE
from igrs_ras.settings import Settings
from igrs_ras.storage import migrate
from igrs_ras.storage.engine import WRITER, open_engine
from igrs_ras.storage.migrate import (
    MigrationError,
    NewerSchemaError,
    alone,
    known,
    prepare,
    schema_of,
    sync,
    upgrade,
)
from igrs_ras.storage.tables import metadata, server, sites, users


class ReplaceError(Exception):
    """The database holds something, and replacing it was not asked for."""


def restore(
    settings: Settings, file: Path, passphrase: str | None = None, *, force: bool = False
) -> tuple[backup.Summary, str]:
    """Restore a backup; return what it held and where the replaced database is kept ("" if there was none).

    The caller holds the data folder. Blocks. Raises BackupError, ReplaceError, MigrationError, InUseError, OSError and
    what the database says; then nothing is changed.
    """
    summary = backup.check(file, passphrase)
    if not known(summary.header.schema):
        raise NewerSchemaError(
            f"a newer igrs-ras made this backup (revision {summary.header.schema}, this one knows {migrate.SCHEMA}):"
            " update igrs-ras first"
        )
    engine = open_engine(settings.database)
    try:
        if engine.dialect.name == "sqlite":
            kept = _into_sqlite(
                Path(str(engine.url.database)), settings, file, passphrase, force=force
            )
        else:
            kept = _into_postgresql(engine, file, passphrase, force=force)
    finally:
        engine.dispose()
    return summary, kept


def _fill(connection: Connection, file: Path, passphrase: str | None) -> None:
    with backup.opened(file, passphrase) as opened:
        backup.load(connection, opened)
    connection.execute(server.update().values(boot=secrets.token_bytes(NONCE)))


def _is_used(connection: Connection) -> bool:
    """Tell whether a database holds anything that somebody would miss."""
    if schema_of(connection) is None:
        return False
    return any(
        connection.execute(select(func.count()).select_from(table)).scalar_one()
        for table in (sites, users)
    )


# SQLite: a new file is made beside the old one and takes its place at once.


def _into_sqlite(
    database: Path, settings: Settings, file: Path, passphrase: str | None, *, force: bool
) -> str:
    there = database.exists() and database.stat().st_size > 0
    if there and not force and _is_used_file(database):
        raise ReplaceError(
            "the database holds sites or users: --force replaces it and keeps it beside"
        )
    fresh = database.with_name(f"{database.name}.new")
    _remove(fresh)
    os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        _make(fresh, settings, file, passphrase)
    except BaseException:
        _remove(fresh)
        raise
    kept = ""
    if there:
        _settle(database)
        keep = database.with_name(f"{database.name}.replaced-{time.time_ns() // 1_000_000}")
        os.link(database, keep)
        keep.chmod(0o600)
        for end in ("-wal", "-shm"):
            # Never beside another database: SQLite would take it for that one's.
            with contextlib.suppress(FileNotFoundError):
                database.with_name(database.name + end).rename(keep.with_name(keep.name + end))
        kept = keep.name
    fresh.rename(database)
    sync(database.parent)
    return kept


def _is_used_file(database: Path) -> bool:
    engine = open_engine(f"sqlite:///{database}")
    try:
        with engine.connect() as connection:
            return _is_used(connection)
    except SQLAlchemyError, MigrationError:
        return True  # damaged, or somebody else's: not ours to throw away unasked
    finally:
        engine.dispose()


def _make(fresh: Path, settings: Settings, file: Path, passphrase: str | None) -> None:
    engine = open_engine(f"sqlite:///{fresh}")
    try:
        with backup.opened(file, passphrase) as opened:
            prepare(engine, settings, target=opened.header.schema)
        with engine.connect().execution_options(**WRITER) as connection, connection.begin():
            _fill(connection, file, passphrase)
        prepare(engine, settings, copy=False)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        engine.dispose()
    sync(fresh)


def _settle(database: Path) -> None:
    """Bring what stands in the write-ahead log into the file. A damaged one is left as it is."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _remove(file: Path) -> None:
    for end in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            file.with_name(file.name + end).unlink()


# PostgreSQL: the old tables go to a schema of their own, in the same transaction.


def _into_postgresql(engine: Engine, file: Path, passphrase: str | None, *, force: bool) -> str:
    kept = ""
    with alone(engine) as connection:
        if schema_of(connection) is not None:
            if not force and _is_used(connection):
                raise ReplaceError(
                    "the database holds sites or users: --force replaces it and keeps it in a schema of its own"
                )
            kept = f"replaced_{time.time_ns() // 1_000_000}"
            try:
                connection.exec_driver_sql(f"CREATE SCHEMA {kept}")
            except ProgrammingError as error:
                raise ReplaceError(
                    "the database user may not create a schema for the replaced tables:"
                    " grant it CREATE on the database"
                ) from error
            present = connection.dialect.get_table_names(connection)
            for name in present:
                if name in metadata.tables or name == backup.VERSION_TABLE:
                    connection.execute(text(f'ALTER TABLE "{name}" SET SCHEMA {kept}'))
        with backup.opened(file, passphrase) as opened:
            upgrade(connection, opened.header.schema)
        _fill(connection, file, passphrase)
        upgrade(connection, migrate.SCHEMA)
    return kept
