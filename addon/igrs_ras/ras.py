"""The server put together: its parts, their start, their tick, their end."""

import asyncio
import contextlib
import logging
import os
import random
import signal
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from igrs_ras import logs
from igrs_ras.accounts.mail import Mailer
from igrs_ras.accounts.passkeys import Passkeys
from igrs_ras.accounts.passwords import Passwords
from igrs_ras.accounts.sessions import Sessions
from igrs_ras.accounts.throttle import Throttle
from igrs_ras.api import openapi
from igrs_ras.api.address import SUPERVISOR, SUPERVISOR_NETWORK
from igrs_ras.api.app import make_app
from igrs_ras.api.certificate import Certificate
from igrs_ras.api.listen import Guard, Listening
from igrs_ras.api.route import Listener
from igrs_ras.audit import Checkpoints
from igrs_ras.clock import Clock, SystemClock
from igrs_ras.control import Control
from igrs_ras.discovery import AppDiscovery
from igrs_ras.gateways import Gateways
from igrs_ras.hub import Hub
from igrs_ras.identity import ServerIdentity, load_identity
from igrs_ras.joins import Joins
from igrs_ras.metrics import Metrics
from igrs_ras.reach import Reach
from igrs_ras.relay import Relays
from igrs_ras.restore import Boot
from igrs_ras.settings import Network, Settings, SettingsError, split_address
from igrs_ras.sites import Sites
from igrs_ras.states import States
from igrs_ras.storage.engine import FolderLock, InUseError, open_engine
from igrs_ras.storage.migrate import prepare
from igrs_ras.storage.store import Store
from igrs_ras.supervisor import TOKEN_VARIABLE

_LOGGER = logging.getLogger(__name__)

DATABASE_PATIENCE = 3.0  # seconds without a database after which all sockets are closed
DRAIN_SECONDS = 8.0
CLOSE_RESTART = 1012
CLOSE_NOT_READY = 1013


class Service(Protocol):
    """A part of the server. `tick` is called once a second."""

    async def start(self) -> None:
        """Begin; the database is open."""

    async def tick(self) -> None:
        """Do what is due."""

    async def stop(self) -> None:
        """End."""


class Ras:
    """One server. `open` makes it ready, `close` ends it; `serve` does both around a signal."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        *,
        local_networks: Sequence[Network] = (SUPERVISOR_NETWORK,),
        ingress_peer: str | None = None,
        tick_seconds: float = 1.0,
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.local_networks = list(local_networks)
        # Without a Supervisor there is no ingress, and nobody could be told from it.
        self._ingress_peer = ingress_peer or (SUPERVISOR if os.environ.get(TOKEN_VARIABLE) else "")
        self.draining = False
        self.told_no_address = False
        self.told_no_proxy = False
        self.ports: dict[Listener, int] = {}
        self.store: Store
        self.identity: ServerIdentity
        self.failed = asyncio.Event()
        self.metrics = Metrics(self)
        self.throttle = Throttle(self)
        self.mailer = Mailer(self)
        self.passwords = Passwords(self)
        self.sessions = Sessions(self)
        self.passkeys = Passkeys(self)
        self.hub = Hub(self)
        self.states = States(self)
        self.relay = Relays(self)
        self.gateways = Gateways(self)
        self.sites = Sites(self)
        self.joins = Joins(self)
        self.boot = Boot(self)
        self.reach = Reach(self)
        self.checkpoints = Checkpoints(self)
        self.control = Control(self)
        self.discovery = AppDiscovery(self)
        self._services: list[Service] = [
            self.boot, self.reach, self.metrics, self.throttle, self.mailer, self.passwords, self.sessions, self.passkeys,
            self.hub, self.states, self.relay, self.gateways, self.sites, self.joins, self.checkpoints, self.control,
            self.discovery,
        ]  # fmt: skip
        self._started: list[Service] = []
        self._listening: dict[Listener, Listening] = {}
        self._guards: list[Guard] = []
        self._certificate: Certificate | None = None
        self._tick_seconds = tick_seconds
        self._ticking: asyncio.Task[None] | None = None
        self._folder_lock: FolderLock | None = None
        self._troubled: set[str] = set()
        self._sockets_closed = False
        self._document: bytes | None = None

    def ready(self) -> bool:
        """Tell whether requests can be done now."""
        return bool(self._started) and not self.draining and self.store.failing_since is None

    def second_steps(self) -> list[str]:
        """Return the second steps that this server can offer."""
        steps = ["totp", "recovery"]
        if self.mailer.configured:
            steps.append("email")
        if self.passkeys.available:
            steps.append("passkey")
        return steps

    def openapi(self) -> bytes:
        """Return the OpenAPI document."""
        if self._document is None:
            self._document = openapi.document()
        return self._document

    async def open(self, *, listen: bool = True) -> None:
        """Open the database, start all parts and listen. Raises InUseError, NewerSchemaError, OSError, SettingsError."""
        self._folder_lock = FolderLock(self.settings.folder)
        try:
            engine = open_engine(self.settings.database)
            await asyncio.to_thread(prepare, engine, self.settings)
            self.store = Store(engine, self.clock)
            self.store.fatal = self._fatal
            self.store.on_doubt = self._in_doubt
            await self.store.start()
            self.identity = await load_identity(self.store)
            for service in self._services:
                await service.start()
                self._started.append(service)
            if listen:
                await self._listen()
                await self.discovery.announce()
        except BaseException:
            await self.close()
            raise
        self._ticking = asyncio.create_task(self._tick())

    async def _listen(self) -> None:
        from igrs_ras import ingress, metrics  # noqa: PLC0415  after the parts that it imports
        from igrs_ras.api.routes import ROUTES  # noqa: PLC0415  likewise

        context: ssl.SSLContext | None = None
        if self.settings.certfile:
            files = Path(self.settings.certfile), Path(self.settings.keyfile)
            try:
                self._certificate = Certificate(*files)
                context = self._certificate.context
            except (OSError, ssl.SSLError) as error:
                raise SettingsError(
                    "certfile and keyfile are no certificate with its key (PEM)"
                ) from error
        for listener, setting in (
            (Listener.PUBLIC, "listen"),
            (Listener.LOCAL, "local_listen"),
            (Listener.INGRESS, "ingress_listen"),
            (Listener.METRICS, "metrics_listen"),
        ):
            address = split_address(getattr(self.settings, setting), setting)
            if address is None:
                continue
            if listener is Listener.INGRESS and not self._ingress_peer:
                _LOGGER.warning("ingress_listen is for the app of Home Assistant; it stays shut")
                continue
            guard = Guard(self.clock, self.settings.sockets, self.settings.proxies)
            self._guards.append(guard)
            if listener is Listener.INGRESS:
                app = ingress.make_app(self, guard)
            elif listener is Listener.METRICS:
                app = metrics.make_app(self, guard)
            else:
                app = make_app(self, listener, ROUTES, guard)
            listening = Listening(
                app,
                guard,
                context if listener is Listener.PUBLIC else None,
                peer=self._ingress_peer if listener is Listener.INGRESS else "",
            )
            self._listening[listener] = listening
            await listening.start(*address)
            self.ports[listener] = listening.port

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._tick_seconds)
            await self.tick()

    async def tick(self) -> None:
        """Do once what is due in every part. A part that fails is logged once and tried again."""
        for guard in self._guards:
            guard.sweep()
        if self._certificate is not None:
            self._certificate.refresh()
        await self._watch_database()
        for service in self._services:
            name = type(service).__name__
            try:
                await service.tick()
            except Exception:
                if name not in self._troubled and self.store.failing_since is None:
                    _LOGGER.exception("%s failed in its regular work", name)
                    self._troubled.add(name)
            else:
                self._troubled.discard(name)

    async def _watch_database(self) -> None:
        if await self.store.probe():
            self._sockets_closed = False
            return
        since = self.store.failing_since
        if (
            since is not None
            and self.clock.monotonic() - since >= DATABASE_PATIENCE
            and not self._sockets_closed
        ):
            _LOGGER.error("no database for %.0f s: closing all sockets", DATABASE_PATIENCE)
            self._sockets_closed = True
            self.hub.close_all(CLOSE_NOT_READY)
            self.gateways.close_all(CLOSE_NOT_READY)

    def _in_doubt(self) -> None:
        """Close all sockets: somebody's right may have ended in the commit that was lost, and nothing else says so."""
        _LOGGER.warning("a commit was lost: closing all sockets")
        self.hub.close_all(CLOSE_NOT_READY)
        self.gateways.close_all(CLOSE_NOT_READY)

    def _fatal(self, why: str) -> None:
        _LOGGER.critical("%s; stopping", why)
        self.failed.set()

    async def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """Stop taking work, let relays end, close sockets with a random delay so that not all come back at once."""
        self.draining = True
        for listener, listening in self._listening.items():
            if listener is not Listener.METRICS:  # its readyz says that the server is stopping
                listening.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        await self.relay.idle(max(seconds - 2, 0.0))
        # While the gateways are there: what they have of it, no older copy can deny.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self.checkpoints.sign_all()
        closing = self.hub.closers(CLOSE_RESTART) + self.gateways.closers(CLOSE_RESTART)
        await asyncio.gather(
            *(self._close_soon(close, max(end - loop.time(), 0.0)) for close in closing)
        )

    async def _close_soon(self, close: Callable[[], None], seconds: float) -> None:
        await asyncio.sleep(random.uniform(0, min(seconds, 2.0)))  # noqa: S311  spreads load, no secret
        close()

    async def close(self) -> None:
        """End everything. What was answered is in the database."""
        self.draining = True
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        for service in reversed(self._started):
            try:
                await service.stop()
            except Exception:
                _LOGGER.exception("%s failed at its end", type(service).__name__)
        self._started.clear()
        for listening in self._listening.values():
            await listening.stop()
        if hasattr(self, "store"):
            await self.store.stop()
        if self._folder_lock is not None:
            self._folder_lock.release()
            self._folder_lock = None


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises what `Ras.open` raises, InUseError if the database was taken over."""
    ras = Ras(settings)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    logs.watch(loop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await ras.open()
    listeners = [f"{listener} {port}" for listener, port in ras.ports.items()]
    # Home Assistant shows the fingerprint in its dialog: people compare the two.
    _LOGGER.info("ready", extra={"fingerprint": ras.identity.fingerprint, "listeners": listeners})
    waits = [asyncio.create_task(stopping.wait()), asyncio.create_task(ras.failed.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    if not ras.failed.is_set():
        _LOGGER.info("stopping")
        await ras.drain()
    await ras.close()
    if ras.failed.is_set():
        raise InUseError("the database was taken over by another igrs-ras")
