"""Opens the database: SQLite in the data folder, or PostgreSQL. Only one server may use it at a time."""

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text

WRITER = {"igrs_writer": True}
# One number for "the server that writes here", one for "somebody migrates".
SERVER_LOCK = 0x1C25104A
MIGRATION_LOCK = 0x1C25104B


class InUseError(Exception):
    """Another server uses this database or this data folder."""


def make_folder(folder: Path) -> None:
    """Make the data folder if it is not there. Raises OSError, also if everybody may write there.

    Who may could put another database or control socket in the place of the server's own.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_mode & stat.S_IWOTH:
        raise PermissionError(errno.EPERM, "everybody may write there (chmod 700)", str(folder))


class FolderLock:
    """Holds the data folder for this process until it ends, also when it is killed."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self._file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise InUseError("another igrs-ras uses this data folder") from error

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._file)


def open_engine(url: str, *, readers: int = 4) -> Engine:
    """Return an engine. SQLite: WAL, synchronous FULL, foreign keys, the writer begins IMMEDIATE."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(
            parsed,
            pool_size=readers + 2,
            max_overflow=0,
            connect_args={"timeout": 5, "check_same_thread": False},
        )
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
        return engine
    return create_engine(
        parsed,
        pool_size=readers + 2,
        max_overflow=0,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        connect_args={
            "connect_timeout": 3,
            "application_name": "igrs-ras",
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 2,
            "tcp_user_timeout": 5000,
            **_authentication(parsed),
            # A statement that hangs must not hold the writer: nothing here takes a second.
            # The server's end of a lost connection must go soon, since it holds this server's lock.
            "options": "-c statement_timeout=10000 -c lock_timeout=5000 -c timezone=UTC"
            " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3",
        },
    )


def _authentication(url: URL) -> dict[str, str]:
    """Return what keeps somebody between server and database from asking for the password in a weaker way.

    Over a network the database has to prove itself by SCRAM, and under TLS bind that to its certificate. Who wants it
    otherwise says so in the address (`?require_auth=…`, `?channel_binding=…`). A Unix socket needs neither.
    """
    hosts = [url.host or "", *_texts(url.query.get("host", ()))]
    if not any(host and not host.startswith("/") for host in hosts):
        return {}
    found = {}
    if "require_auth" not in url.query:
        found["require_auth"] = "scram-sha-256"
    secure = {"require", "verify-ca", "verify-full"}
    if secure & set(_texts(url.query.get("sslmode", ()))) and "channel_binding" not in url.query:
        found["channel_binding"] = "require"
    return found


def _texts(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _sqlite_connect(connection: Any, _record: object) -> None:
    # None: the driver begins nothing by itself; SQLAlchemy's begin event below does.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    writer = connection.get_execution_options().get("igrs_writer")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")


def claim(connection: Connection) -> None:
    """Make this connection the only writer of a PostgreSQL database. It is so until the connection ends.

    Raises InUseError. SQLite is guarded by the data folder's lock instead.
    """
    if connection.dialect.name != "postgresql":
        return
    held = connection.execute(
        text("SELECT pg_try_advisory_lock(:lock)"), {"lock": SERVER_LOCK}
    ).scalar_one()
    if not held:
        connection.rollback()
        raise InUseError("another igrs-ras uses this database")
    connection.commit()


def release(connection: Connection) -> None:
    """Let the database go at once: PostgreSQL may notice only later that the connection has ended."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_unlock_all()"))
        connection.commit()
