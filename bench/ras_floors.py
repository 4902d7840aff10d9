"""What `bench.ras` compares with: a bare echo server, bare transactions, a bare password hash. Nothing of the server.

`python -m bench.ras_floors [FOLDER]` is the echo server: aiohttp on uvloop, without compression, with the certificate in
a folder or without TLS. It prints its port.
"""

import asyncio
import contextlib
import os
import random
import sqlite3
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psutil
import psycopg
import uvloop
from aiohttp import WSMsgType, web

from bench.ras_world import ROOT, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GROUP = 32
"""Jobs that share a commit in the grouped floors."""
_DRAWN = 20_000


class Floor(Protocol):
    """A database without anything around it."""

    mark: str

    def begin(self) -> None:
        """Begin a transaction."""

    def many(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run a statement for each row."""

    def commit(self) -> None:
        """Commit, and wait for the disk."""


class Sqlite:
    """As the server opens it: WAL, synchronous FULL."""

    mark = "?"

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")

    def begin(self) -> None:
        """Begin a transaction."""
        self._connection.execute("BEGIN IMMEDIATE")

    def many(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run a statement for each row."""
        if len(rows) == 1:
            self._connection.execute(statement, rows[0])
        else:
            self._connection.executemany(statement, rows)

    def commit(self) -> None:
        """Commit, and wait for the disk."""
        self._connection.execute("COMMIT")


class Postgres:
    """Psycopg on the same cluster."""

    mark = "%s"

    def __init__(self, url: str) -> None:
        address = url.replace("postgresql+psycopg", "postgresql")
        self._connection = psycopg.connect(address, autocommit=True)
        self._cursor = self._connection.cursor()

    def begin(self) -> None:
        """Begin a transaction."""
        self._cursor.execute("BEGIN")

    def many(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run a statement for each row."""
        if len(rows) == 1:
            self._cursor.execute(statement, rows[0])
        else:
            self._cursor.executemany(statement, rows)

    def commit(self) -> None:
        """Commit, and wait for the disk."""
        self._cursor.execute("COMMIT")


def _entries(floor: Floor) -> str:
    return f"INSERT INTO entries VALUES ({floor.mark}, {floor.mark}, {floor.mark}, {floor.mark})"  # noqa: S608


def prepare(floor: Floor) -> None:
    """Make the two tables that a relay writes to."""
    blob = "BLOB" if floor.mark == "?" else "BYTEA"
    for statement in (
        f"CREATE TABLE entries (site TEXT, i BIGINT, hash {blob}, entry TEXT, PRIMARY KEY (site, i))",
        f"CREATE TABLE relays (name TEXT PRIMARY KEY, hash {blob}, state TEXT, ended BIGINT)",
    ):
        floor.begin()
        floor.many(statement, [()])
        floor.commit()


def commits(floor: Floor, rounds: int, rows: int, site: str) -> list[float]:
    """Milliseconds of transactions of so many rows of the audit's size."""
    took = []
    statement, entry = _entries(floor), "x" * 180
    for number in range(rounds):
        values = [(site, number * rows + row, os.urandom(32), entry) for row in range(rows)]
        began = time.perf_counter()
        floor.begin()
        floor.many(statement, values)
        floor.commit()
        took.append(1000 * (time.perf_counter() - began))
    return took


def relays(floor: Floor, seconds: float, group: int) -> float:
    """Relays a second if there were only their rows: accepted and ended, each with an entry, in groups."""
    m, entry, done = floor.mark, "x" * 180, 0
    insert = f"INSERT INTO relays VALUES ({m}, {m}, 'accepted', NULL)"  # noqa: S608
    update = f"UPDATE relays SET state = 'answered', ended = {m} WHERE name = {m}"  # noqa: S608
    began = time.perf_counter()
    site = os.urandom(8).hex()
    while time.perf_counter() - began < seconds:
        names = [os.urandom(64).hex() for _ in range(group)]
        for index, statement, rows in (
            (2 * done, insert, [(name, os.urandom(32)) for name in names]),
            (2 * done + group, update, [(0, name) for name in names]),
        ):
            floor.begin()
            floor.many(
                _entries(floor),
                [(site, index + row, os.urandom(32), entry) for row in range(group)],
            )
            floor.many(statement, rows)
            floor.commit()
        done += group
    return done / (time.perf_counter() - began)


def sums(echoes: Sequence[float], commits_: Sequence[float]) -> list[float]:
    """Two echoes and two commits, each drawn at random from those that were measured."""
    return [
        sum(random.choices(echoes, k=2)) + sum(random.choices(commits_, k=2)) for _ in range(_DRAWN)
    ]


@contextlib.contextmanager
def echo_server(tls: Path | None = None) -> Iterator[tuple[int, psutil.Process]]:
    """The echo server in a process of its own; its port and process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.ras_floors", *([tls] if tls else [])],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def echo(rounds: int, seconds: float) -> tuple[list[float], float]:
    """Milliseconds of round trips one after the other, and messages a second at the most."""
    with echo_server() as (port, _), load() as client:
        client("echo", port=port, rounds=rounds // 10)
        took = client("echo", port=port, rounds=rounds)["took"]
        return took, client("echo_peak", port=port, at_once=64, seconds=seconds)["per_second"]


def bare_sockets(number: int, tls: Path | None) -> float:
    """Bytes by which the echo server grows with each idle socket."""
    cafile = str(tls / "cert.pem") if tls else ""
    with echo_server(tls) as (port, process), load() as client:
        client("bare", port=port, number=number // 20, cafile=cafile)
        client("close")
        time.sleep(0.5)
        before = process.memory_info().rss
        client("bare", port=port, number=number, cafile=cafile)
        time.sleep(0.5)
        return float(process.memory_info().rss - before) / number


async def _serve(tls: Path | None) -> None:
    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("echo",), compress=False)
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    context: ssl.SSLContext | None = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls / "cert.pem", tls / "key.pem")
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context, backlog=1024)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
