"""HCI over TCP: every client gets a controller of its own, like an adapter plugged into it."""

import asyncio
import logging
from typing import TYPE_CHECKING, override

from bumble.core import InvalidPacketError
from bumble.transport.common import PacketParser

from .controller import VirtualController

if TYPE_CHECKING:
    from collections.abc import Callable

    from .link import Radio

_LOGGER = logging.getLogger(__name__)


class _Client(asyncio.Protocol):
    """One TCP connection: HCI packets (type byte, header, body) in both directions."""

    def __init__(self, server: HciServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._parser = PacketParser()
        self.controller: VirtualController | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_server makes
        self._transport = transport
        self.controller = self._server.plug_in()
        self.controller.host = self
        self._server.plugged_in(self)
        self._parser.set_packet_sink(self.controller)

    @override
    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except InvalidPacketError:
            _LOGGER.warning("A client sent something that is not HCI; its adapter is unplugged")
            self.close()

    def on_packet(self, packet: bytes) -> None:
        """Send a packet to the host."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(packet)

    @override
    def pause_writing(self) -> None:
        # A host that has stopped reading misses advertisements, it does not fill our memory.
        if self.controller is not None:
            self.controller.deaf = True

    @override
    def resume_writing(self) -> None:
        if self.controller is not None:
            self.controller.deaf = False

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self.controller is not None:
            controller, self.controller = self.controller, None
            controller.unplug()
            self._server.unplugged(self)

    def close(self) -> None:
        """Close the socket; the controller leaves the air."""
        if self._transport is not None:
            self._transport.abort()


class HciServer:
    """Listens on loopback and plugs an adapter into every client."""

    def __init__(self, radio: Radio, on_change: Callable[[], None] = lambda: None) -> None:
        """Make a server for adapters on `radio`; `on_change` hears of comings and goings."""
        self._radio = radio
        self._on_change = on_change
        self._clients: set[_Client] = set()
        self._server: asyncio.Server | None = None
        self._made = 0

    @property
    def adapters(self) -> list[VirtualController]:
        """The controllers of all clients."""
        return [client.controller for client in self._clients if client.controller is not None]

    async def start(self, port: int = 0) -> int:
        """Listen on 127.0.0.1; return the port (0 chooses a free one).

        Raises:
            OSError: the port is taken.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self), "127.0.0.1", port)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Unplug all adapters and stop listening."""
        if self._server is not None:
            self._server.close()
            for client in list(self._clients):
                client.close()
            await self._server.wait_closed()

    def plug_in(self) -> VirtualController:
        """Make the controller of a new client."""
        self._made += 1
        controller = VirtualController(self._radio, f"adapter-{self._made}")
        controller.on_rename = self._on_change
        return controller

    def plugged_in(self, client: _Client) -> None:
        """Know a client that has its controller."""
        self._clients.add(client)
        self._on_change()

    def unplugged(self, client: _Client) -> None:
        """Forget a client."""
        self._clients.discard(client)
        self._on_change()
