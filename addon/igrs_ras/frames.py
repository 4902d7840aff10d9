"""Below a socket's messages: how a connection stops being HTTP, and the frames of RFC 6455."""

import asyncio
import base64
import hashlib
from typing import override

from aiohttp import WSCloseCode, WSMsgType, hdrs, web
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp.base_protocol import BaseProtocol

from igrs_ras.api.listen import GUARD, Guard

MESSAGE = 64 * 1024  # bytes of a message at most


def switching(request: web.Request, protocol: str) -> web.StreamResponse:
    """Return the answer that ends HTTP on a connection (RFC 6455, section 4.2.2)."""
    key = request.headers[hdrs.SEC_WEBSOCKET_KEY].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    digest = hashlib.sha1(key, usedforsecurity=False).digest()
    headers = {
        hdrs.UPGRADE: "websocket",
        hdrs.CONNECTION: "upgrade",
        hdrs.SEC_WEBSOCKET_ACCEPT: base64.b64encode(digest).decode(),
        hdrs.SEC_WEBSOCKET_PROTOCOL: protocol,
    }
    return web.StreamResponse(status=101, headers=headers)


class Wire(BaseProtocol):
    """A connection's end once it is a WebSocket: aiohttp's reader takes the bytes."""

    __slots__ = ("_guard", "frames", "reader")

    _guard: Guard

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._upgraded = True  # there is no parser of HTTP that would have to pause
        self.frames = WebSocketDataQueue(self, MESSAGE, loop=loop)
        self.reader = WebSocketReader(self.frames, MESSAGE, compress=False, decode_text=True)

    def take(self, request: web.Request) -> None:
        """Take the connection from the request's protocol, with what came right behind the request's head."""
        before, transport = request.protocol, request.transport
        if transport is None:
            raise ConnectionResetError
        self._guard = request.app[GUARD]
        self._guard.hand_over(before, self)
        before.set_parser(_Early(self.reader))  # type: ignore[arg-type]  # that much of a reader it needs
        transport.set_protocol(self)
        self.transport = transport
        # For HTTP the connection is over: its task and all it holds can go.
        before.transport = None
        before.connection_lost(None)

    async def drained(self) -> None:
        """Wait until the peer has taken most of what was written. Raises ConnectionError."""
        await self._drain_helper()

    def data_received(self, data: bytes) -> None:
        """Read frames."""
        self.reader.feed_data(data)

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.reader.feed_eof()
        self._guard.lost(self)


class _Early:
    """Hands on what a client sent before its request was answered; the end of HTTP is no end to the reader behind."""

    def __init__(self, reader: WebSocketReader) -> None:
        self.feed_data = reader.feed_data

    def feed_eof(self) -> None:
        """Do nothing."""


def answer_to_close(code: object) -> int:
    """Return the code with which a close is answered: the peer's own, if it may stand in a frame."""
    if isinstance(code, int) and (
        1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
    ):
        return code
    return int(WSCloseCode.OK)


def framed(kind: WSMsgType, payload: bytes) -> bytes:
    """Return an unfragmented, unmasked frame (RFC 6455, section 5.2)."""
    size = len(payload)
    first = 0x80 | kind
    if size < 126:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return bytes((first, 126)) + size.to_bytes(2) + payload
    return bytes((first, 127)) + size.to_bytes(8) + payload
