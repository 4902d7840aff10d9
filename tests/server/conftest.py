"""A server of its own for each test, on SQLite and on PostgreSQL, spoken to over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from igrs_ras.api.route import Listener
from igrs_ras.clock import SystemClock
from igrs_ras.ras import Ras
from igrs_ras.settings import Settings
from igrs_ras.storage.engine import open_engine
from igrs_ras.storage.migrate import prepare
from postgres import PostgresCluster
from process import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path


class MovedClock(SystemClock):
    """Runs as the machine's clocks do, and can be moved: `advance` moves both, `wall` only the wall clock."""

    def __init__(self) -> None:
        super().__init__()
        self._ahead = 0.0
        self._held: int | None = None

    def hold(self) -> None:
        """Let the wall clock stand still, but for `advance` and `wall`: no step of a code ends within a test."""
        self._held = super().now_ms() - self.offset_ms

    def advance(self, seconds: float) -> None:
        """Let time pass at once."""
        self._ahead += seconds

    def wall(self, seconds: float) -> None:
        """Set the wall clock forward (or back), as an administrator or NTP would."""
        self.offset_ms += int(seconds * 1000)

    def now_ms(self) -> int:
        running = super().now_ms() if self._held is None else self._held + self.offset_ms
        return running + int(self._ahead * 1000)

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead


@dataclass(frozen=True)
class Database:
    """An empty but prepared database, and the server's data folder beside it."""

    kind: str
    url: str  # empty: SQLite in the folder
    folder: Path
    name: str = ""  # the PostgreSQL database's


@dataclass(frozen=True)
class Reply:
    """An answer: the HTTP status line's number, Table 1's code, the data."""

    http: int
    status: int
    data: Any
    headers: Any


class Api:
    """Calls a server's HTTP interface. Cookies are sent only if given, so each call says who it is."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session = session
        self.base = base

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        cookie: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if cookie is not None:
            sent["Cookie"] = f"__Host-igrs={cookie}"
            sent.setdefault("Origin", self.base)
        given: dict[str, Any] = {"data": body} if isinstance(body, (bytes, str)) else {}
        if body is not None and not given:
            given = {"json": body}
        elif given:
            sent.setdefault("Content-Type", "application/json")
        async with self.session.request(
            method, self.base + path, headers=sent, **given
        ) as response:
            text = await response.read()
            read = (
                await response.json()
                if text and response.content_type == "application/json"
                else {}
            )
            return Reply(
                response.status, read.get("status", -1), read.get("data"), response.headers
            )


@pytest.fixture(scope="session")
def cluster() -> Iterator[PostgresCluster]:
    """One PostgreSQL for all tests of this process."""
    with PostgresCluster(fsync=False) as running:
        yield running


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Databases whose tables are made, to copy from; made when first asked for."""
    return {"folder": tmp_path_factory.mktemp("prepared")}


@pytest.fixture(params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path: Path, prepared: dict[str, Any]
) -> Iterator[Database]:
    """An empty, prepared database of each kind."""
    with empty_database(request, tmp_path / "data", prepared) as found:
        yield found


@contextlib.contextmanager
def empty_database(
    request: pytest.FixtureRequest, folder: Path, prepared: dict[str, Any]
) -> Iterator[Database]:
    """An empty, prepared database of the kind that is the fixture's parameter."""
    folder.mkdir(mode=0o700)
    if request.param == "sqlite":
        source = prepared["folder"] / "ras.sqlite3"
        if "sqlite" not in prepared:
            _prepare(Settings(data=str(prepared["folder"])))
            prepared["sqlite"] = True
        shutil.copy(source, folder / "ras.sqlite3")
        yield Database("sqlite", "", folder)
        return
    cluster: PostgresCluster = request.getfixturevalue("cluster")
    if "postgresql" not in prepared:
        template = cluster.create_database()
        _prepare(Settings(data=str(prepared["folder"]), database_url=cluster.url(template)))
        prepared["postgresql"] = template
    name = cluster.create_database(prepared["postgresql"])
    yield Database("postgresql", cluster.url(name), folder, name)
    cluster.drop_database(name)


def _prepare(settings: Settings) -> None:
    engine = open_engine(settings.database)
    prepare(engine, settings)
    if engine.dialect.name == "sqlite":
        # Everything into the one file that is copied.
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()


@pytest.fixture
def clock() -> MovedClock:
    """The server's clock, to be moved."""
    return MovedClock()


@pytest.fixture
def settings(database: Database) -> Settings:
    """The server's settings; a module that needs others overrides this fixture."""
    return make_settings(database)


def make_settings(database: Database, **other: Any) -> Settings:
    """Settings for a server in this process: a free port on loopback, which is where people reach it too."""
    listen = other.get("listen") or f"127.0.0.1:{free_port()}"
    given: dict[str, Any] = {
        "data": str(database.folder),
        "database_url": database.url,
        "listen": listen,
        "public_url": f"{'https' if 'certfile' in other else 'http'}://{listen}",
        "local_listen": "127.0.0.1:0",
        "metrics_listen": "",
    }
    return Settings(**given | other)


@pytest.fixture
async def start_ras(clock: MovedClock) -> AsyncIterator[Callable[[Settings], Awaitable[Ras]]]:
    """Start servers; they end with the test."""
    running: list[Ras] = []

    async def start(settings: Settings) -> Ras:
        ras = make_ras(settings, clock)
        await ras.open()
        running.append(ras)
        return ras

    yield start
    for ras in reversed(running):
        await ras.close()


def make_ras(settings: Settings, clock: MovedClock) -> Ras:
    """A server that takes loopback for the Supervisor's network."""
    return Ras(
        settings, clock, local_networks=[ipaddress.ip_network("127.0.0.0/8")], tick_seconds=0.2
    )


@pytest.fixture
async def ras(settings: Settings, start_ras: Callable[[Settings], Awaitable[Ras]]) -> Ras:
    """The running server."""
    return await start_ras(settings)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that keeps no cookies."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@pytest.fixture
def api(ras: Ras, http: aiohttp.ClientSession) -> Api:
    """The server's public interface."""
    return Api(http, base_of(ras))


@pytest.fixture
def local_api(ras: Ras, http: aiohttp.ClientSession) -> Api:
    """The interface as gateways of the same machine see it."""
    return Api(http, base_of(ras, Listener.LOCAL))


def base_of(ras: Ras, listener: Listener = Listener.PUBLIC) -> str:
    """The address of a listener."""
    return f"http://127.0.0.1:{ras.ports[listener]}"


async def eventually(
    condition: Callable[[], Any] | Callable[[], Awaitable[Any]], seconds: float = 10
) -> Any:
    """Wait until a condition holds and return its value; fail after real `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("it did not happen in time")
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def closing(*things: Any) -> AsyncIterator[None]:
    """Close things at the end of a block."""
    try:
        yield
    finally:
        for thing in things:
            await thing.close()
