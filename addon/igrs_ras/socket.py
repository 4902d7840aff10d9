"""The server's end of a WebSocket (clause 7.7), for clients and gateways alike: strict, bounded, cheap while idle.

One text message is one envelope. When a request has become a WebSocket, its connection is taken from HTTP: nothing of
the request stays, and the socket has one task, which waits for the next message. There is no timer or queue for one that
is idle: what is sent within one turn of the loop leaves in one write, and what the peer does not take stays in the
transport, whose size is the bound. One sweep finds all that have gone silent.

Close codes: 4400 malformed, 4401 not signed in, 4403 revoked, 4408 silent or too slow, 4409 copy of a gateway,
4413 message too large, 4429 too many messages, 1012 restart, 1013 not ready, 1011 the server failed.
"""

import asyncio
import builtins
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
from aiohttp import EofStream, WebSocketError, WSCloseCode, WSMessage, WSMsgType, web

from igrs_ras import wire
from igrs_ras.clock import new_ulid
from igrs_ras.frames import Wire, answer_to_close, framed, switching
from igrs_ras.status import Refused, Status

if TYPE_CHECKING:
    from igrs_ras.clock import Clock
    from igrs_ras.ras import Ras

_LOGGER = logging.getLogger(__name__)

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


class Sockets:
    """All open sockets of this process."""

    def __init__(self, clock: Clock, limit: int) -> None:
        self._clock = clock
        self._limit = limit
        self._all: set[Socket] = set()
        self._tasks: set[asyncio.Task[None]] = set()

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

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a socket's task, which ends with the server at the latest."""
        loop = asyncio.get_running_loop()
        task = asyncio.Task(work, loop=loop, eager_start=True)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self, code: int) -> None:
        """Close all and wait until their peers have answered or were cut off."""
        self.close_all(code)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=PATIENCE + 1)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def accept(
    ras: Ras, request: web.Request, protocol: str, work: Callable[[Socket], Awaitable[None]]
) -> web.StreamResponse:
    """Make a request a WebSocket of a subprotocol, which is then `work`'s in a task of its own until that returns.

    Raises Refused(MALFORMED) if the request asks for something else, Refused(NOT_READY) if there are too many.
    """
    ready = web.WebSocketResponse(protocols=(protocol,)).can_prepare(request)
    if not ready.ok or ready.protocol is None:
        raise Refused(Status.MALFORMED, "a WebSocket with this interface's subprotocol is expected")
    socket = Socket(ras)
    ras.hub.sockets.add(socket)
    try:
        response = switching(request, ready.protocol)
        await response.prepare(request)
        socket.wire.take(request)
    except BaseException:
        ras.hub.sockets.discard(socket)
        raise
    ras.hub.sockets.run(socket.live(work))
    return response


class Socket:
    """One WebSocket.

    `name` is the peer in clause 7.7's `to`: "user:<id>" or "gateway:<site>". Everything but the reading is called from
    the event loop and never waits.
    """

    __slots__ = (
        "_clock", "_excess", "_flushing", "_loop", "_out", "_rate", "_refilled", "_sockets", "_tokens", "closed", "heard",
        "name", "wire",
    )  # fmt: skip

    def __init__(self, ras: Ras) -> None:
        self.closed: int | None = None  # the close code, once it is on its way
        self.name = ""
        self.heard = ras.clock.monotonic()
        self._sockets = ras.hub.sockets
        self._clock = ras.clock
        self._rate = float(ras.settings.messages_per_second)
        self._tokens = self._rate * 2
        self._refilled = self.heard
        self._excess = 0
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._flushing = False
        self.wire = Wire(self._loop)

    async def live(self, work: Callable[[Socket], Awaitable[None]]) -> None:
        """Let `work` have the socket until it returns, then see the connection to its end."""
        try:
            await work(self)
        except Exception:
            _LOGGER.exception("a socket failed")
            self.close(WSCloseCode.INTERNAL_ERROR)
        finally:
            self._sockets.discard(self)
            self.close(WSCloseCode.OK)
            try:
                await self._end()
            finally:
                self._over()

    @property
    def _transport(self) -> asyncio.Transport | None:
        return self.wire.transport

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
        self._out.append(framed(WSMsgType.TEXT, envelope))
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
                await self.wire.drained()
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
        transport.write(framed(WSMsgType.CLOSE, self.closed.to_bytes(2)))
        # A peer that does not answer the close, or reads too slowly to see it, is cut off.
        self._loop.call_later(PATIENCE, transport.abort)

    # Reading.

    async def receive(self) -> Message | None:
        """Return the next message that keeps the rules; None once the socket is closed from either side."""
        while self.closed is None:
            frame = await self._frame()
            if frame is None:
                continue
            if frame.type is WSMsgType.TEXT:
                if self.closed is None and (message := self._read(frame.data)) is not None:
                    return message
            elif frame.type is WSMsgType.BINARY:
                self.close(MALFORMED)
            elif self._within_rate():
                self.heard = self._clock.monotonic()
                if frame.type is WSMsgType.PING:
                    self._out.append(framed(WSMsgType.PONG, frame.data))
                    self._flush()
        return None

    async def _frame(self) -> WSMessage | None:
        """Return the next frame that is not the last; None once there is none, then the connection is ending."""
        try:
            frame = cast("WSMessage", await self.wire.frames.read())  # its texts are decoded
        except WebSocketError as error:
            self.close(_CODES.get(error.code, error.code))
        except EofStream:
            self.close(WSCloseCode.OK)
        else:
            if frame.type is not WSMsgType.CLOSE:
                return frame
            self.close(answer_to_close(frame.data))
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
            del message  # an idle socket does not keep the last one

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
        while (transport := self._transport) is not None and not transport.is_closing():
            await self._frame()

    def _over(self) -> None:
        """The peer closed, or answered: what is written still goes out, then the connection ends."""
        if self._transport is not None:
            self._transport.close()
