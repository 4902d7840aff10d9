"""The server's end of a WebSocket (clause 7.7), for clients and gateways alike: strict, bounded, cheap while idle.

One text message is one envelope. There is no task, timer or queue for a socket that is idle: its request's own task
waits for the next message, what is sent within one turn of the loop leaves in one write, and what the peer does not
take stays in the transport, whose size is the bound. One sweep finds all that have gone silent.

Close codes: 4400 malformed, 4401 not signed in, 4403 revoked, 4408 silent or too slow, 4409 copy of a gateway,
4413 message too large, 4429 too many messages, 1012 restart, 1013 not ready, 1011 the server failed.
"""

import asyncio
import builtins
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self, override

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from igrs_ras import wire
from igrs_ras.clock import new_ulid
from igrs_ras.status import Refused, Status

if TYPE_CHECKING:
    from types import TracebackType

    from igrs_ras.clock import Clock
    from igrs_ras.ras import Ras

_LOGGER = logging.getLogger(__name__)

MESSAGE = 64 * 1024  # bytes of a message at most
QUEUE = 256 * 1024  # bytes that may wait for a slow reader
SILENCE = 30.0  # seconds without any message until a peer counts as gone; it pings every 15
PATIENCE = 2.0  # seconds that a peer has to answer a close
STUBBORN = 10  # messages over the rate in a row until the socket is closed

RESTART = 1012
NOT_READY_CODE = 1013
MALFORMED = 4400
SIGN_IN = 4401
REVOKED = 4403
SLOW = 4408
COPY = 4409
TOO_LARGE = 4413
TOO_MANY = 4429

# What aiohttp says of a frame that it cannot read, in this interface's codes.
_CODES: dict[int, int] = {
    WSCloseCode.PROTOCOL_ERROR: MALFORMED,
    WSCloseCode.UNSUPPORTED_DATA: MALFORMED,
    WSCloseCode.INVALID_TEXT: MALFORMED,
    WSCloseCode.MESSAGE_TOO_BIG: TOO_LARGE,
}
_REPLIES = frozenset({"ok", "refused"})
_EMPTY: Mapping[str, Any] = {}


class Message(wire.Body):
    """Clause 7.7's envelope as a peer sends it. Who it is from and when it came is the server's to say."""

    id: wire.Ulid
    type: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z_]*(\.[a-z_]+){0,3}$", max_length=40)]
    body: dict[str, Any] = msgspec.field(default_factory=dict)
    lock: Annotated[str, msgspec.Meta(pattern=r"^([0-9A-F]{12})?$")] = ""
    time: int = 0
    expires: int = 0
    sender: str = msgspec.field(name="from", default="")
    to: str = ""
    seq: int = 0

    def read[B: wire.Body](self, kind: builtins.type[B]) -> B:
        """Return the body as what it must be. Raises Refused(MALFORMED)."""
        return wire.convert(self.body, kind)


class _Envelope(msgspec.Struct):
    """The same as the server sends it: every field is there."""

    id: str
    type: str
    time: int
    expires: int
    sender: str = msgspec.field(name="from")
    to: str
    lock: str
    seq: int
    body: Mapping[str, Any]


class _Response(web.WebSocketResponse):
    """aiohttp's WebSocket, whose closing is left to Socket: with one close frame, and with this interface's codes."""

    closer: Callable[[int], None]

    @override
    async def close(
        self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True
    ) -> bool:
        self.closer(_CODES.get(code, code))
        return True


class Sockets:
    """All open sockets of this process."""

    def __init__(self, clock: Clock, limit: int) -> None:
        self._clock = clock
        self._limit = limit
        self._all: set[Socket] = set()

    def __len__(self) -> int:
        return len(self._all)

    def add(self, socket: Socket) -> None:
        """Take one in. Raises Refused(NOT_READY) when the server holds as many as it may."""
        if len(self._all) >= self._limit:
            raise Refused(Status.NOT_READY)
        self._all.add(socket)

    def discard(self, socket: Socket) -> None:
        """Forget one that ended."""
        self._all.discard(socket)

    def sweep(self) -> None:
        """Close those that were silent for too long. Called every second."""
        latest = self._clock.monotonic() - SILENCE
        for socket in [socket for socket in self._all if socket.heard < latest]:
            socket.close(SLOW)

    def close_all(self, code: int) -> None:
        """Close all: the server stops, or cannot work."""
        for socket in list(self._all):
            socket.close(code)


class Socket:
    """One WebSocket. Use it as `async with Socket(ras, request, "igrs.push.v1") as socket`, then return `response`.

    Entering raises Refused(MALFORMED) if the request is no WebSocket of that subprotocol, Refused(NOT_READY) if there
    are too many. `name` is the peer in clause 7.7's `to`: "user:<id>" or "gateway:<site>". Everything but the reading
    is called from the event loop and never waits.
    """

    __slots__ = (
        "__weakref__", "_clock", "_excess", "_flushing", "_loop", "_out", "_rate", "_refilled", "_request", "_sockets", "_stream",
        "_tokens", "_transport", "closed", "heard", "name", "response",
    )  # fmt: skip

    def __init__(self, ras: Ras, request: web.Request, protocol: str) -> None:
        self.response = _Response(
            protocols=(protocol,),
            autoclose=False,
            autoping=False,
            compress=False,
            max_msg_size=MESSAGE,
        )
        self.response.closer = self.close
        self.closed: int | None = None  # the close code, once it is on its way
        self.name = ""
        self.heard = ras.clock.monotonic()
        self._request = request
        self._sockets = ras.hub.sockets
        self._clock = ras.clock
        self._rate = float(ras.settings.messages_per_second)
        self._tokens = self._rate * 2
        self._refilled = self.heard
        self._excess = 0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._flushing = False

    async def __aenter__(self) -> Self:
        ready = self.response.can_prepare(self._request)
        if not ready.ok or ready.protocol is None:
            raise Refused(
                Status.MALFORMED, "a WebSocket with this interface's subprotocol is expected"
            )
        self._sockets.add(self)
        try:
            self._stream = await self.response.prepare(self._request)
        except BaseException:
            self._sockets.discard(self)
            raise
        self._transport = self._request.transport
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sockets.discard(self)
        if self.closed is None:
            self.close(WSCloseCode.INTERNAL_ERROR if kind else WSCloseCode.OK)
        if kind is None:
            await self._end()
        self.response.closer = _closed_already

    # Sending.

    def send(
        self,
        kind: str,
        body: Mapping[str, Any] = _EMPTY,
        *,
        lock: str = "",
        expires: int = 0,
        sender: str = "server",
    ) -> str:
        """Send a message; return its id. It goes nowhere if the socket is closed."""
        now = self._clock.now_ms()
        ulid = new_ulid(now)
        self.send_raw(
            wire.encode(_Envelope(ulid, kind, now, expires, sender, self.name, lock, 0, body))
        )
        return ulid

    def send_raw(self, envelope: bytes) -> None:
        """Send an envelope that is written already. A peer that takes too little of what it gets is closed."""
        transport = self._transport
        if self.closed is not None or transport is None:
            return
        self._out.append(_frame(WSMsgType.TEXT, envelope))
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def ok(self, message: Message, body: Mapping[str, Any] = _EMPTY) -> None:
        """Answer a message: done."""
        self.send("ok", {"re": message.id, **body})

    def refuse(self, message: Message, status: Status, detail: str = "") -> None:
        """Answer a message with a status of clause 7.6. A reply is never answered."""
        if message.type not in _REPLIES:
            text = f"{status.text}: {detail}" if detail else status.text
            self.send("refused", {"re": message.id, "status": int(status), "message": text})

    def _flush(self) -> None:
        self._flushing = False
        transport, out = self._transport, self._out
        if transport is None or not out:
            return
        self._out = []
        if transport.is_closing():
            return
        transport.write(out[0] if len(out) == 1 else b"".join(out))
        if transport.get_write_buffer_size() > QUEUE and self.closed is None:
            self.close(SLOW)

    @property
    def waiting(self) -> int:
        """Bytes that the peer did not take yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    async def drain(self) -> None:
        """Wait until the peer has taken most of what was sent; for senders of much at once. Closes a slow reader."""
        self._flush()
        try:
            async with asyncio.timeout(SILENCE):
                await self._stream.drain()
        except TimeoutError:
            self.close(SLOW)
        except ConnectionError:
            _LOGGER.debug("the peer was gone while it had to read")

    def close(self, code: int) -> None:
        """Close with a code, at once: nothing is sent or read any more. Closing twice is no fault."""
        if self.closed is not None:
            return
        self.closed = int(code)
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._flush()
        transport.write(_frame(WSMsgType.CLOSE, self.closed.to_bytes(2)))
        # A peer that does not answer the close, or reads too slowly to see it, is cut off.
        self._loop.call_later(PATIENCE, transport.abort)

    # Reading.

    async def receive(self) -> Message | None:
        """Return the next message that keeps the rules; None once the socket is closed from either side."""
        while self.closed is None:
            frame = await self.response.receive()
            if frame.type is WSMsgType.TEXT:
                if self.closed is None and (message := self._read(frame.data)) is not None:
                    return message
            elif frame.type in (WSMsgType.PING, WSMsgType.PONG):
                if self._within_rate():
                    self.heard = self._clock.monotonic()
                    if frame.type is WSMsgType.PING:
                        self._out.append(_frame(WSMsgType.PONG, frame.data))
                        self._flush()
            elif frame.type is WSMsgType.BINARY:
                self.close(MALFORMED)
            else:
                if self.closed is None:
                    self.close(_answer_to_close(frame.data))
                self._over()
        return None

    async def messages(self) -> AsyncIterator[Message]:
        """Yield the messages that keep the rules until the socket is closed."""
        while (message := await self.receive()) is not None:
            yield message

    async def serve(self, handle: Callable[[Message], Awaitable[None]]) -> None:
        """Hand each message to a function until the end. What it refuses is answered; a fault closes with 1011."""
        while (message := await self.receive()) is not None:
            try:
                await handle(message)
            except Refused as refused:
                self.refuse(message, refused.status, refused.detail)
            except Exception:
                _LOGGER.exception("a message of type %s failed", message.type)
                self.close(WSCloseCode.INTERNAL_ERROR)

    def _read(self, text: str) -> Message | None:
        try:
            message = wire.decode(text, Message)
        except Refused:
            self.close(MALFORMED)
            return None
        if not self._within_rate():
            self.refuse(message, Status.SLOW_DOWN)
            return None
        self.heard = self._refilled
        return message

    def _within_rate(self) -> bool:
        """Take one from the bucket: so many a second, twice as many at once. Who does not stop at all is closed."""
        now = self._clock.monotonic()
        self._tokens = min(
            self._rate * 2, self._tokens + max(0.0, now - self._refilled) * self._rate
        )
        self._refilled = now
        if self._tokens >= 1:
            self._tokens -= 1
            self._excess = 0
            return True
        self._excess += 1
        if self._excess >= STUBBORN:
            self.close(TOO_MANY)
        return False

    async def _end(self) -> None:
        """Read on, unread, until the peer answers the close or is cut off."""
        transport = self._transport
        while transport is not None and not transport.is_closing():
            frame = await self.response.receive()
            if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG):
                self._over()

    def _over(self) -> None:
        """The peer closed, or answered: what is written still goes out, then the connection ends."""
        if self._transport is not None:
            self._transport.close()


def _closed_already(_code: int) -> None:
    """Stand in for an ended socket, so that the request does not keep it alive."""


def _answer_to_close(code: object) -> int:
    """Return the code with which a close is answered: the peer's own, if it may stand in a frame."""
    if isinstance(code, int) and (
        1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
    ):
        return code
    return int(WSCloseCode.OK)


def _frame(kind: WSMsgType, payload: bytes) -> bytes:
    """Return an unfragmented, unmasked frame (RFC 6455, section 5.2)."""
    size = len(payload)
    first = 0x80 | kind
    if size < 126:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return bytes((first, 126)) + size.to_bytes(2) + payload
    return bytes((first, 127)) + size.to_bytes(8) + payload
