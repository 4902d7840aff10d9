"""Listeners: sockets, TLS, and what keeps half-open connections from filling the server (case 37 of its tests)."""

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from igrs_ras.api import address
from igrs_ras.clock import Clock
from igrs_ras.settings import Network

HANDSHAKE_SECONDS = 10.0  # for TLS, and again for the first request's head
SHARE = 8  # one caller has at most this part of the connections
IDLE_SECONDS = 60.0  # between requests on one connection


@dataclass(slots=True)
class _Connection:
    since: float
    busy: int = 0
    served: bool = False
    prefix: str = ""  # from where; empty: not counted


class Guard:
    """Knows the connections of a listener and ends those that do nothing."""

    def __init__(self, clock: Clock, limit: int, proxies: Sequence[Network] = ()) -> None:
        self._clock = clock
        self._limit = limit
        self._of_one = max(limit // SHARE, 1)
        self._proxies = list(proxies)
        self._connections: dict[Any, _Connection] = {}
        self._by_prefix: Counter[str] = Counter()

    def admit(self, protocol: Any) -> bool:
        """Take note of a new connection; False if there are too many."""
        if len(self._connections) >= self._limit:
            return False
        self._connections[protocol] = _Connection(self._clock.monotonic())
        return True

    def made(self, protocol: Any, peer: str) -> bool:
        """Take note from where a connection comes; False if that one caller has too many.

        Proxies, and callers behind an unknown one, are not counted: many people share their address.
        """
        found = address.parse(peer)
        connection = self._connections.get(protocol)
        if found is None or connection is None or address.within(found, self._proxies):
            return True
        prefix = address.caller(peer, (), self._proxies)
        if not prefix:
            return True
        connection.prefix = prefix
        self._by_prefix[prefix] += 1
        return self._by_prefix[prefix] <= self._of_one

    @contextlib.contextmanager
    def serving(self, protocol: Any) -> Iterator[None]:
        """While a request of this connection is answered it is not idle."""
        connection = self._connections.get(protocol)
        if connection is None:
            yield
            return
        connection.busy += 1
        connection.served = True
        try:
            yield
        finally:
            connection.busy -= 1
            connection.since = self._clock.monotonic()

    def hand_over(self, protocol: Any, to: Any) -> None:
        """Take note that a connection is another protocol's, which keeps it as long as it wants."""
        connection = self._connections.pop(protocol, None)
        if connection is not None:
            connection.busy += 1
            self._connections[to] = connection

    def lost(self, protocol: Any) -> None:
        """Take note that a connection is closed."""
        connection = self._connections.pop(protocol, None)
        if connection is not None and connection.prefix:
            self._by_prefix[connection.prefix] -= 1
            if not self._by_prefix[connection.prefix]:
                del self._by_prefix[connection.prefix]

    def sweep(self) -> None:
        """End connections that sent no request in time."""
        now = self._clock.monotonic()
        for protocol, connection in list(self._connections.items()):
            allowed = IDLE_SECONDS if connection.served else HANDSHAKE_SECONDS
            waiting = now - connection.since
            if protocol.transport is None:
                # TLS was not agreed upon; asyncio's own time-out has ended such a connection.
                if waiting > 2 * HANDSHAKE_SECONDS:
                    self.lost(protocol)
            elif not connection.busy and waiting > allowed:
                protocol.transport.abort()


GUARD = web.AppKey("guard", Guard)


class _Refusing(asyncio.Protocol):
    """Closes a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class _PeerOnly(asyncio.Protocol):
    """Lets HTTP have a connection only if it comes from one address, so that nothing that others send is ever read."""

    def __init__(self, peer: str, make: Callable[[], asyncio.Protocol]) -> None:
        self._peer = peer
        self._make = make

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = cast("asyncio.Transport", transport)
        name = connection.get_extra_info("peername")
        # As text: what is written otherwise (IPv4 inside IPv6) is refused too.
        if not name or name[0] != self._peer:
            connection.abort()
            return
        protocol = self._make()
        connection.set_protocol(protocol)
        protocol.connection_made(connection)


class Listening:
    """One application on one address. With a `peer`, for connections from that address only."""

    def __init__(
        self,
        app: web.Application,
        guard: Guard,
        context: ssl.SSLContext | None = None,
        *,
        peer: str = "",
    ) -> None:
        self._runner = web.AppRunner(
            app, access_log=None, auto_decompress=False, keepalive_timeout=30
        )
        self._guard = guard
        self._context = context
        self._peer = peer
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError if the address is taken."""
        await self._runner.setup()
        make: Any = self._runner.server
        forget = make.connection_lost

        def lost(protocol: Any, error: BaseException | None = None) -> None:
            self._guard.lost(protocol)
            forget(protocol, error)

        begin = make.connection_made

        def made(protocol: Any, transport: asyncio.Transport) -> None:
            begin(protocol, transport)
            peer = transport.get_extra_info("peername")
            if not self._guard.made(protocol, str(peer[0]) if peer else ""):
                transport.abort()

        # The server is told by each of its connections.
        make.connection_lost, make.connection_made = lost, made

        def factory() -> asyncio.Protocol:
            protocol: asyncio.Protocol = make()
            return protocol if self._guard.admit(protocol) else _Refusing()

        def from_peer() -> asyncio.Protocol:
            return _PeerOnly(self._peer, factory)

        tls: dict[str, Any] = {}
        if self._context is not None:
            tls = {"ssl": self._context, "ssl_handshake_timeout": HANDSHAKE_SECONDS}
        self._server = await asyncio.get_running_loop().create_server(
            from_peer if self._peer else factory,
            host,
            port,
            backlog=1024,
            reuse_address=True,
            **tls,
        )
        bound: socket.socket = self._server.sockets[0]
        self.port = bound.getsockname()[1]

    def close(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    async def stop(self) -> None:
        """End all connections."""
        self.close()
        await self._runner.cleanup()


def tls_context(certfile: Path, keyfile: Path) -> ssl.SSLContext:
    """Return TLS 1.2 or newer with the operator's certificate. Raises ssl.SSLError or OSError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certfile, keyfile)
    return context
