"""One connection of the push socket (docs/ras.md, "The client's socket"): requests with answers, everything else in order."""

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiohttp

from .errors import BadAnswerError, ClosedError, NotConnectedError, closed, server_says
from .wire import MESSAGE_MAX, Fields, MalformedError, Message, envelope, ulid

if TYPE_CHECKING:
    from collections.abc import Callable

    from .http import Http

_LOGGER: Final = logging.getLogger(__name__)

PATH: Final = "/api/v1/push"
PROTOCOL: Final = "igrs.push.v1"
HANDSHAKE: Final = 10.0
HEARTBEAT: Final = 15.0
SILENCE: Final = 30.0
PATIENCE: Final = 10.0


class Transport(Protocol):
    """What carries messages: a WebSocket, or a scripted server in tests."""

    async def receive(self) -> str:
        """Return the next text. Raises kin of ClosedError at the end."""

    async def send(self, text: str) -> None:
        """Send a text. Raises kin of ClosedError."""

    async def close(self) -> None:
        """End it."""


class WebSocket:
    """A transport over the server's own socket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    @classmethod
    async def dial(cls, http: Http) -> WebSocket:
        """Connect. Kin of NotSentError."""
        return cls(await http.connect(PATH, PROTOCOL, MESSAGE_MAX))

    async def receive(self) -> str:
        """See Transport."""
        message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            return str(message.data)
        raise closed(self._socket.close_code)

    async def send(self, text: str) -> None:
        """See Transport."""
        try:
            await self._socket.send_str(text)
        except (ConnectionError, aiohttp.ClientError, RuntimeError) as error:
            raise closed(self._socket.close_code) from error

    async def close(self) -> None:
        """See Transport."""
        await self._socket.close()


class PushSocket:
    """An open connection, past its handshake.

    Args:
        transport: connected.
        handle: gets each message that answers nothing, in order. It must not wait and must not raise but MalformedError.
        refused: gets the id of a message that nobody waited for, with what the server refused.
        now_ms: wall clock.
    """

    def __init__(
        self,
        transport: Transport,
        handle: Callable[[Message], None],
        refused: Callable[[str, int, str], None],
        now_ms: Callable[[], int],
    ) -> None:
        self.dropped = 0  # messages that could not be read
        self._transport = transport
        self._handle = handle
        self._refused = refused
        self._now_ms = now_ms
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self._heard = 0.0
        self._over: ClosedError | None = None

    async def handshake(self, token: str) -> Fields:
        """Say who this is; return hello's body. Kin of NotSentError; BadAnswerError."""
        try:
            async with asyncio.timeout(HANDSHAKE):
                await self._send("auth", {"token": token})
                hello = Message.parse(await self._transport.receive())
        except TimeoutError:
            raise NotConnectedError("no greeting in time") from None
        except MalformedError as error:
            raise BadAnswerError from error
        if hello.type != "hello":
            raise BadAnswerError(hello.type)
        return hello.body

    async def close(self) -> None:
        """End it before `run`."""
        await self._transport.close()

    async def run(self) -> None:
        """Read until the end. Always raises kin of ClosedError."""
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        beating = loop.create_task(self._beat())
        try:
            while True:
                text = await self._transport.receive()
                self._heard = loop.time()
                self._take(text)
        except ClosedError as error:
            self._over = error
            raise
        finally:
            self._over = self._over or ClosedError()
            beating.cancel()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(self._over)
                    waiting.exception()  # whoever waited may be gone
            self._waiting.clear()
            await self._transport.close()

    async def request(self, kind: str, body: dict[str, Any]) -> Fields:
        """Send and return the answer's body. Kin of ServerSaysError, of ClosedError; NotConnectedError; BadAnswerError."""
        id_ = ulid(self._now_ms())
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[id_] = future
        try:
            async with asyncio.timeout(PATIENCE):
                await self.send(kind, body, id_)
                message = await future
        except TimeoutError:
            raise NotConnectedError("no answer in time") from None
        finally:
            self._waiting.pop(id_, None)
        if message.type == "refused":
            raise server_says(*_refusal(message))
        return message.body

    async def send(self, kind: str, body: dict[str, Any], id_: str = "") -> str:
        """Send a message that is not waited for; return its id. Kin of ClosedError."""
        if self._over is not None:
            raise self._over
        return await self._send(kind, body, id_)

    async def _send(self, kind: str, body: dict[str, Any], id_: str = "") -> str:
        id_ = id_ or ulid(self._now_ms())
        await self._transport.send(envelope(id_, kind, body))
        return id_

    def _take(self, text: str) -> None:
        """Take one message. What cannot be read is dropped, whatever it is."""
        try:
            message = Message.parse(text)
            if message.type in ("ok", "refused", "pong"):
                answered = message.body.ulid("re")
                if message.type == "refused":
                    refusal = _refusal(message)
                    if answered not in self._waiting:
                        self._refused(answered, *refusal)
                waiting = self._waiting.get(answered)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)
            else:
                self._handle(message)
        except MalformedError as error:
            self.dropped += 1
            _LOGGER.debug("a message of the server was dropped: %s", error)

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(HEARTBEAT)
            if loop.time() - self._heard >= SILENCE:
                await self._transport.close()
                return
            with contextlib.suppress(ClosedError):
                await self._send("ping", {})


def _refusal(message: Message) -> tuple[int, str]:
    return message.body.integer("status", 1, 1000), message.body.remark("message")
