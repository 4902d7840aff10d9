"""A WebSocket's client end for `bench.ras`, as lean as Python allows: the server is what is to be measured.

A frame is masked with four zero bytes, which RFC 6455 allows and which costs nothing.
"""

import asyncio
import base64
import os
import ssl
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast, override

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 20.0


def b64(data: bytes) -> str:
    """Binary data as JSON has it."""
    return base64.b64encode(data).decode()


class ClosedError(Exception):
    """The server closed the socket, or never opened it."""


class Socket(asyncio.Protocol):
    """A WebSocket's client end. Messages go to `take`; until that is set they wait."""

    def __init__(self, path: str, protocol: str) -> None:
        self.take: Callable[[bytes], None] | None = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = False
        self.code = 0  # the server's, when it closes
        self._head = (
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {b64(os.urandom(16))}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
        ).encode()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._waiting: deque[bytes] = deque()
        self._reader: asyncio.Future[None] | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # By its methods; uvloop's are of no class of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._head)

    @override
    def data_received(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else data
        at = 0
        if not self.opened.done():
            at = data.find(b"\r\n\r\n") + 4
            if at < 4:
                self._buffer = data
                return
            if not data.startswith(b"HTTP/1.1 101"):
                self.opened.set_exception(ClosedError(data.split(b"\r\n")[0].decode("latin-1")))
                self.close()
                return
            self.opened.set_result(None)
        while len(data) - at >= 2:
            size, start = data[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4]), at + 4
            elif size == 127:
                size, start = int.from_bytes(data[at + 2 : at + 10]), at + 10
            if len(data) < start + size:
                break
            at, kind = start + size, data[at] & 15
            if kind <= 2:
                self._message(data[start:at])
            elif kind == 8:
                self.code = int.from_bytes(data[start : start + 2])
                self.close()
        self._buffer = data[at:]

    def _message(self, data: bytes) -> None:
        if self.take is not None:
            self.take(data)
            return
        self._waiting.append(data)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    @override
    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if not self.opened.done():
            self.opened.set_exception(ClosedError("no answer"))
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def receive(self) -> bytes:
        """Return the next message; only while `take` is not set. Raises ClosedError."""
        while not self._waiting:
            if self.closed:
                raise ClosedError(f"closed with {self.code}")
            self._reader = asyncio.get_running_loop().create_future()
            await asyncio.wait_for(self._reader, PATIENCE)
        return self._waiting.popleft()

    def send(self, *messages: bytes) -> None:
        """Send text messages in one write."""
        frames: list[bytes] = []
        for message in messages:
            size = len(message)
            length = (
                bytes((0x81, 0x80 | size))
                if size < 126
                else b"\x81\xfe" + size.to_bytes(2)  # nothing here is longer than 64 KiB
            )
            frames += (length, b"\0\0\0\0", message)
        if self._transport is not None:
            self._transport.write(b"".join(frames))

    def close(self) -> None:
        """Cut the connection."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()


@dataclass(frozen=True)
class Address:
    """Where the server is. `cafile`: TLS with this certificate."""

    port: int
    cafile: str = ""

    async def open(self, path: str, protocol: str) -> Socket:
        """Open a socket. Raises ClosedError, OSError, TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            _, socket = await asyncio.get_running_loop().create_connection(
                lambda: Socket(path, protocol),
                "127.0.0.1",
                self.port,
                ssl=_context(self.cafile),
                server_hostname="localhost" if self.cafile else None,
            )
            await socket.opened
        return socket


_contexts: dict[str, ssl.SSLContext] = {}


def _context(cafile: str) -> ssl.SSLContext | None:
    if not cafile:
        return None
    if cafile not in _contexts:
        _contexts[cafile] = ssl.create_default_context(cafile=cafile)
    return _contexts[cafile]
