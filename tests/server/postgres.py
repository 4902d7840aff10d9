"""A private PostgreSQL for tests and measurements: a cluster in a folder of its own, reached by a Unix socket only.

Beside each cluster a second process of this module waits until the first one is gone, however it ended, then ends the
server and removes the folder. Works as an ordinary user; for root the server runs as an unprivileged one, since
PostgreSQL refuses to be root.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import psutil
import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

USER: Final = "igrs"
PORT: Final = 5432
"""Part of the socket's file name only: nothing listens on the network."""
PROGRAMS: Final = Path(sys.prefix) / "postgresql"
"""What `scripts/setup` links."""
_PATIENCE: Final = 60.0
"""Seconds after which a server that neither answers nor ends is given up."""


class PostgresError(Exception):
    """PostgreSQL is missing or does not start; the text says what it wrote last."""


class PostgresCluster:
    """A PostgreSQL server with nothing in it, as a context manager.

    Args:
        fsync: whether a commit waits for the disk, as it does by default. Without, a commit costs a test nothing, and
            a cluster that was killed has to be thrown away only if the whole machine stopped.
        settings: other settings of the server, such as `{"max_connections": 20}`.
        folder: in which folder to put the cluster's own, if the system's folder for temporary files is not on the disk
            that is to be measured.

    Raises:
        PostgresError: it is not installed or does not start.
    """

    def __init__(
        self,
        *,
        fsync: bool = True,
        settings: dict[str, str | int] | None = None,
        folder: Path | None = None,
    ) -> None:
        self._settings: dict[str, str | int] = {
            "listen_addresses": "",
            "port": PORT,
            "fsync": "on" if fsync else "off",
            "synchronous_commit": "on" if fsync else "off",
            "full_page_writes": "on" if fsync else "off",
            "dynamic_shared_memory_type": "mmap",  # in the folder, so that nothing else has to be tidied
            "jit": "off",
            "shared_buffers": "64MB",
            **(settings or {}),
        }
        self._as = _unprivileged()
        self._names = 0
        self._server: subprocess.Popen[bytes] | None = None
        self._frozen: list[psutil.Process] = []
        self._connection: psycopg.Connection[Any] | None = None
        if not (PROGRAMS / "initdb").exists():
            raise PostgresError("PostgreSQL is missing: run scripts/setup")
        self.folder = _private_folder(folder, self._as)
        # Its standard input ends when this process does.
        self._keeper = subprocess.Popen(
            [sys.executable, __file__, self.folder],
            stdin=subprocess.PIPE,
            env={"PATH": os.defpath},
            start_new_session=True,  # an interrupt from the keyboard is not for it
        )
        try:
            self._programs = _reachable(PROGRAMS.resolve(), self.folder, self._as)
            self._initialise()
            self.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Nothing: it runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it and remove its folder."""
        self.close()

    @property
    def running(self) -> bool:
        """Whether the server is started, frozen or not."""
        return self._server is not None and self._server.poll() is None

    @property
    def version(self) -> int:
        """The server's number, such as 150018."""
        return self._control().info.server_version

    def start(self) -> None:
        """Start the server and wait until it takes connections; recovers first after `kill`.

        Raises:
            PostgresError: it did not start.
        """
        if self.running:
            return
        options = [f"--{key}={value}" for key, value in self._settings.items()]
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                [
                    self._programs / "postgres",
                    "-D",
                    self._data,
                    "-k",
                    self.folder,
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._ordinary(),
            )
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                self._control()
            except psycopg.OperationalError:
                if self._server.poll() is not None or time.monotonic() > until:
                    raise PostgresError(f"PostgreSQL does not start: {self._said()}") from None
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Stop the server in order: it ends connections, waits for the disk and forgets nothing."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server as a crash would: connections break without a word, the next start recovers."""
        self._end(signal.SIGQUIT)

    def restart(self) -> None:
        """Stop it, then start it again."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop time for the server: connections stay open and nothing answers, until `thaw`."""
        if self._server is None or self._frozen:
            return
        server = psutil.Process(self._server.pid)
        _suspend([server])  # first, so that it starts no more processes
        self._frozen = [server, *server.children(recursive=True)]
        _suspend(self._frozen[1:])

    def thaw(self) -> None:
        """Let time go on after `freeze`."""
        while self._frozen:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._frozen.pop().resume()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze for the time of a `with` block."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def url(self, database: str) -> str:
        """Return a database's address for SQLAlchemy."""
        return f"postgresql+psycopg://{USER}@/{database}?host={self.folder}&port={PORT}"

    def create_database(self, template: str | None = None) -> str:
        """Make a database and return its name: an empty one, or a copy of one that nobody is connected to."""
        self._names += 1
        name = f"database_{self._names}"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template or "template0")
        )
        self._control().execute(statement)
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database; connections to it are ended."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        self._control().execute(statement)

    def disconnect(self, name: str) -> int:
        """End all connections to a database, as an administrator can, and return how many there were."""
        done = self._control().execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        return done.rowcount

    def close(self) -> None:
        """End the server, remove its folder; does nothing the second time."""
        self.thaw()
        if self.running:
            self.kill()
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()
        self._keeper.wait()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _said(self) -> str:
        return self._log.read_text("utf-8", "replace")[-2000:].strip()

    def _control(self) -> psycopg.Connection[Any]:
        """The connection that statements about databases go over, made when there is none."""
        if self._connection is None or self._connection.broken or self._connection.closed:
            self._connection = psycopg.connect(
                host=str(self.folder), port=PORT, user=USER, dbname="postgres", autocommit=True
            )
        return self._connection

    def _end(self, how: signal.Signals) -> None:
        self.thaw()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._server is None:
            return
        self._server.send_signal(how)
        self._server.wait(_PATIENCE)
        self._server = None

    def _initialise(self) -> None:
        # Anybody who can enter the folder is let in: that is this user, and root.
        options = [
            f"--username={USER}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]
        with self._log.open("wb") as log:
            done = subprocess.run(
                [self._programs / "initdb", "-D", self._data, *options],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._ordinary(),
            )
        if done.returncode:
            raise PostgresError(f"PostgreSQL makes no cluster: {self._said()}")

    def _ordinary(self) -> dict[str, Any]:
        """How its programs are started: without rights, without this process's environment, in a session of their own."""
        # A package that was only unpacked has its libraries beside it.
        libraries = ":".join(map(str, self._programs.parents[2].glob("*-linux-gnu*")))
        ordinary: dict[str, Any] = {
            "cwd": self.folder,
            "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "LD_LIBRARY_PATH": libraries},
            "start_new_session": True,
        }
        if self._as is not None:
            ordinary |= {"user": self._as.pw_uid, "group": self._as.pw_gid, "extra_groups": []}
        return ordinary


def _unprivileged() -> pwd.struct_passwd | None:
    """Who the server runs as: nobody else than the caller, unless that is root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise PostgresError("PostgreSQL refuses to be root, and there is no user 'nobody'")


def _open_to_all(path: Path) -> bool:
    """Whether anybody can get to what is in a folder."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))


def _private_folder(within: Path | None, owner: pwd.struct_passwd | None) -> Path:
    """Make a new folder for the server's user alone, with a name that is short enough for a socket's."""
    base = (within or Path(tempfile.gettempdir())).resolve()
    if within is None and ((owner and not _open_to_all(base)) or len(str(base)) > 60):
        base = Path("/tmp").resolve()  # noqa: S108 - the folder in it has a random name and is private
    folder = Path(tempfile.mkdtemp(prefix="igrs-postgres-", dir=base))
    if owner is not None:
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    return folder


def _reachable(programs: Path, folder: Path, user: pwd.struct_passwd | None) -> Path:
    """Return the programs' folder, or that of a copy if they lie in a folder that only root may enter."""
    if user is None or _open_to_all(programs):
        return programs
    if programs.parts[-5:-2] != ("usr", "lib", "postgresql") or len(programs.parts) < 7:
        raise PostgresError(f"{user.pw_name} may not enter {programs}")
    tree = programs.parents[4]  # of a package that was unpacked: TREE/usr/lib/postgresql/15/bin
    copy = folder / "programs"
    shutil.copytree(tree, copy, symlinks=True, ignore_dangling_symlinks=True)
    return copy / programs.relative_to(tree)


def _suspend(processes: list[psutil.Process]) -> None:
    """Stop processes; returns when they do nothing any more, which is a little after they were told."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            while process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
                time.sleep(0.001)


def ended(process: psutil.Process) -> bool:
    """Whether a process does nothing any more, although nobody may have asked yet how it ended."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _keep(folder: Path) -> None:
    """Wait until whoever started this is gone, then end the server in a folder and remove it."""
    with contextlib.suppress(OSError):
        sys.stdin.buffer.read()
    with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
        server = psutil.Process(int((folder / "data" / "postmaster.pid").read_text().split()[0]))
        if Path(server.cwd()).resolve() == (folder / "data").resolve():  # and no later process
            processes = [server, *server.children(recursive=True)]
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()
            server.send_signal(signal.SIGQUIT)  # unlike SIGKILL this also returns its shared memory
            until = time.monotonic() + 10
            while not all(map(ended, processes)) and time.monotonic() < until:
                time.sleep(0.02)
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
