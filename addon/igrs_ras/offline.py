"""Verbs that this process does itself, while it holds the data folder: serve, migrate, restore, and all without a server."""

import asyncio
import contextlib
import errno
import logging
import socket
import sqlite3
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, select
from sqlalchemy.exc import SQLAlchemyError

from igrs_ras.control import NOT_READY, REFUSED, USAGE, VerbError
from igrs_ras.settings import Settings, SettingsError
from igrs_ras.storage.engine import FolderLock, InUseError, make_folder, open_engine
from igrs_ras.storage.migrate import SCHEMA, MigrationError, NoSpaceError, prepare, schema_of

_LOGGER = logging.getLogger(__name__)

# Where the app's backup lies when Home Assistant put it back (see addon/config.yaml); restored if there is no database.
PUT_BACK = "backup.igrs"
SQLITE = b"SQLite format 3\0"


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Turn what can go wrong at a start into one line and an exit status."""
    try:
        yield
    except SettingsError as error:
        raise VerbError(USAGE, f"settings: {error}") from error
    except InUseError as error:
        raise VerbError(NOT_READY, f"{error}: stop it first, or wait until it has ended") from error
    except NoSpaceError as error:
        raise VerbError(NOT_READY, str(error)) from error
    except MigrationError as error:
        raise VerbError(REFUSED, str(error)) from error
    except SQLAlchemyError as error:
        # The driver's own text may hold the database's address with its password.
        cause = getattr(error, "orig", None) or error
        what = (
            "check the disk, and restore a backup if it is damaged"
            if isinstance(cause, sqlite3.Error)
            else "check database_url, and whether it runs"
        )
        raise VerbError(
            NOT_READY, f"the database cannot be used ({type(cause).__name__}): {what}"
        ) from error
    except OSError as error:
        what = error.strerror or type(error).__name__
        raise VerbError(
            NOT_READY,
            f"{error.filename}: {what}: check the setting that names it, and who may use it"
            if error.filename
            else f"the server could not start: {what}{_about_listening(error)}",
        ) from error


def _about_listening(error: OSError) -> str:
    """Return what to do if an address cannot be listened on."""
    if error.errno == errno.EADDRINUSE:
        return ": stop what listens there, or change listen or metrics_listen"
    if isinstance(error, socket.gaierror) or error.errno in (errno.EADDRNOTAVAIL, errno.EACCES):
        return ": listen and metrics_listen must be addresses of this machine that it may use"
    return ""


@contextlib.contextmanager
def held(settings: Settings) -> Iterator[None]:
    """Hold the data folder."""
    lock = FolderLock(settings.folder)
    try:
        yield
    finally:
        lock.release()


def serve(settings: Settings) -> None:
    """Run the server until SIGTERM. Raises VerbError."""
    from igrs_ras import logs, ras  # noqa: PLC0415  the whole server
    from igrs_ras.cli import event_loop  # noqa: PLC0415  which imports this module

    logs.configure(settings)
    with plainly():
        _put_back(settings)
        event_loop(ras.serve(settings))


def _put_back(settings: Settings) -> None:
    """Restore the backup that Home Assistant put back with the data folder, if nothing else is there."""
    file = settings.folder / PUT_BACK
    if settings.database_url or not file.exists() or (settings.folder / "ras.sqlite3").exists():
        return
    from igrs_ras import backup, recover  # noqa: PLC0415  hardly ever needed

    with held(settings):
        try:
            summary, _ = recover.restore(settings, file)
        except backup.BackupError as error:
            raise VerbError(
                REFUSED, f"{PUT_BACK} in the data folder: {error}; remove it to start empty"
            ) from error
    _LOGGER.warning("restored from %s: %d rows", PUT_BACK, sum(summary.rows.values()))


def alone(settings: Settings, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Do a verb while no server runs. Raises VerbError."""
    if verb == "audit verify":
        return _verify_stopped(settings, arguments)
    from igrs_ras.admin import run  # noqa: PLC0415
    from igrs_ras.ras import Ras  # noqa: PLC0415

    async def work() -> dict[str, Any]:
        ras = Ras(settings)
        await ras.open(listen=False)
        try:
            return await run(ras, verb, arguments)
        finally:
            await ras.close()

    logger = logging.getLogger("igrs_ras")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)  # the verb says it, in one line
    try:
        with plainly():
            _require_database(settings)
            return asyncio.run(work())
    finally:
        logger.setLevel(level)


def _require_database(settings: Settings) -> None:
    """Refuse to make a database by accident, e.g. with the settings of another folder."""
    if not settings.database_url and not (settings.folder / "ras.sqlite3").exists():
        raise VerbError(
            NOT_READY,
            f"there is no server's data in {settings.folder}: check the setting data, or start igrs-ras serve once",
        )


def migrate(settings: Settings, _arguments: dict[str, Any]) -> dict[str, Any]:
    """Bring the database to this version's schema."""
    with plainly(), held(settings):
        engine = open_engine(settings.database)
        try:
            before = prepare(engine, settings)
        finally:
            engine.dispose()
    return {"schema": SCHEMA, "before": SCHEMA if before is None else before or None}


def restore(settings: Settings, arguments: dict[str, Any]) -> dict[str, Any]:
    """Put a backup in the database's place."""
    from igrs_ras import backup, recover  # noqa: PLC0415

    file = Path(arguments["file"])
    _require_file(file)
    try:
        with plainly(), held(settings):
            summary, kept = recover.restore(
                settings, file, arguments["passphrase"], force=arguments["force"]
            )
    except (backup.BackupError, recover.ReplaceError) as error:
        raise VerbError(REFUSED, str(error)) from error
    return {
        "restored": str(file),
        "made": summary.header.made,
        "rows": sum(summary.rows.values()),
        "replaced": kept or None,
        "next": "Start igrs-ras serve. Everybody signs in again, and homes let their people in when they connect."
        " If a home got another gateway after the backup was made, revoke the old one:"
        " igrs-ras gateway list, igrs-ras gateway revoke ID.",
    }


def _require_file(file: Path) -> None:
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        raise VerbError(REFUSED, f"{file}: {error.strerror}") from error


def _verify(engine: Engine, arguments: dict[str, Any]) -> dict[str, Any]:
    from igrs_ras import chain  # noqa: PLC0415
    from igrs_ras.admin.common import site_row  # noqa: PLC0415
    from igrs_ras.admin.server import known_heads, verdict_data  # noqa: PLC0415

    only = arguments.get("site")
    known = known_heads(arguments)
    with engine.connect() as connection, connection.begin():
        if only is not None:
            site_row(connection, only)
        return verdict_data(chain.verify(connection, known, only))


def _verify_stopped(settings: Settings, arguments: dict[str, Any]) -> dict[str, Any]:
    """Check the audit of a stopped server, changing nothing."""
    with plainly():
        _require_database(settings)
        with held(settings):
            engine = open_engine(settings.database)
            try:
                with engine.connect() as connection:
                    if schema_of(connection) is None:
                        raise VerbError(
                            NOT_READY, "the database is empty: start igrs-ras serve once"
                        )
                return _verify(engine, arguments)
            finally:
                engine.dispose()


def verify_file(settings: Settings, arguments: dict[str, Any]) -> dict[str, Any]:
    """Check the audit in a backup, or in a SQLite file that no server uses."""
    from igrs_ras import backup  # noqa: PLC0415
    from igrs_ras.storage.tables import audit, checkpoints, metadata, server, sites  # noqa: PLC0415

    del settings
    file = Path(arguments["file"])
    _require_file(file)
    with file.open("rb") as opened:
        sqlite = opened.read(len(SQLITE)) == SQLITE
    if sqlite:
        # Without a log beside it the file is all there is, and nothing is written beside it either.
        whole = "&immutable=1" if not file.with_name(f"{file.name}-wal").exists() else ""
        engine = create_engine(f"sqlite:///file:{quote(str(file))}?mode=ro{whole}&uri=true")
        with plainly():
            return _verify(engine, arguments)
    tables = [server, sites, audit, checkpoints]
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection, backup.opened(file, arguments["passphrase"]) as rows:
            metadata.create_all(connection, tables=tables)
            backup.load(connection, rows, [table.name for table in tables])
        return _verify(engine, arguments)
    except backup.BackupError as error:
        raise VerbError(REFUSED, str(error)) from error
    finally:
        engine.dispose()


def _certificate_end(certfile: Path) -> datetime:
    """Return when a certificate that can be read ends. Raises VerbError if it has."""
    from cryptography import x509  # noqa: PLC0415  takes long

    end = x509.load_pem_x509_certificates(certfile.read_bytes())[0].not_valid_after_utc
    if end < datetime.now(UTC):
        raise VerbError(USAGE, f"certfile: the certificate ended on {end:%F}: renew it")
    return end


def check(settings: Settings, _arguments: dict[str, Any]) -> dict[str, Any]:
    """Check what the settings name: folder, certificate, database."""
    found: dict[str, Any] = {"settings": "right"}
    if settings.certfile:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                settings.certfile, settings.keyfile
            )
        except (OSError, ssl.SSLError) as error:
            raise VerbError(
                USAGE, "certfile and keyfile are no certificate with its key (PEM)"
            ) from error
        found["certificate"] = f"right until {_certificate_end(Path(settings.certfile)):%F %T} UTC"
    with plainly():
        make_folder(settings.folder)
        if not settings.database_url and not (settings.folder / "ras.sqlite3").exists():
            return found | {"database": "not made yet"}
        engine = open_engine(settings.database)
        try:
            with engine.connect() as connection:
                connection.execute(select(1))
                schema = schema_of(connection)
        finally:
            engine.dispose()
    if schema is None:
        state = "empty"
    elif schema == SCHEMA:
        state = "right"
    else:
        state = f"in revision {schema}, this version has {SCHEMA}: igrs-ras migrate"
    return found | {"database": state}


VERBS: dict[str, Callable[[Settings, dict[str, Any]], dict[str, Any]]] = {
    "migrate": migrate,
    "restore": restore,
    "audit verify": verify_file,
    "config check": check,
}
