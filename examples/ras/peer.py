"""The far end of a RAS's HTTP interface and sockets, written from docs/ras.md and sharing no code with the server."""

import asyncio
import base64
import contextlib
import hashlib
import json
import secrets
import time
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PATIENCE = 10.0  # seconds to wait for what must come; nothing depends on its size
HEARTBEAT = 15.0  # seconds between pings


class Denied(Exception):  # noqa: N818  an answer, not a fault
    """The server answered with a status other than 0. `status` is its number in Table 1."""

    def __init__(self, status: int, message: str = "", http: int = 0) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.http = http


class Closed(Exception):  # noqa: N818  an end, not a fault
    """The server closed the socket. `code` is the WebSocket's close code."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


def b64(data: bytes) -> str:
    """Write binary values as the interface has them."""
    return base64.b64encode(data).decode()


def unb64(text: str) -> bytes:
    """Read binary values as the interface has them."""
    return base64.b64decode(text, validate=True)


def fingerprint(public: bytes) -> str:
    """Return the text by which people compare a server's public key of 32 bytes."""
    digits = hashlib.sha256(public).hexdigest()[:20]
    return " ".join(digits[at : at + 4] for at in range(0, 20, 4))


def ulid(now_ms: int) -> str:
    """Return a new ULID: 48 bits of time, 80 random ones."""
    value = now_ms << 80 | secrets.randbits(80)
    return "".join(CROCKFORD[value >> shift & 31] for shift in range(125, -5, -5))


def read_code(text: str) -> bytes:
    """Read 16 Crockford characters as people write them: 10 bytes."""
    plain = text.upper().replace("-", "").replace(" ", "")
    plain = plain.replace("O", "0").replace("I", "1").replace("L", "1")
    value = 0
    for character in plain:
        value = value << 5 | CROCKFORD.index(character)
    return value.to_bytes(10)


def write_code(code: bytes) -> str:
    """Write 10 bytes as four groups of four Crockford characters."""
    value = int.from_bytes(code)
    text = "".join(CROCKFORD[value >> shift & 31] for shift in range(75, -5, -5))
    return "-".join(text[i : i + 4] for i in range(0, 16, 4))


class Http:
    """Calls of the interface. `base` is the server's address, as http://127.0.0.1:1234."""

    def __init__(self, base: str, **headers: str) -> None:
        self.base = base.rstrip("/")
        self.headers = headers
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The client session, made when first needed. It keeps no cookies."""
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Call; return `data`. Raises Denied."""
        sent = {**self.headers, **headers}
        async with self.session.request(
            method, self.base + path, json=body, headers=sent
        ) as response:
            answer = await response.json()
            if answer["status"] != 0:
                raise Denied(answer["status"], answer["message"], response.status)
            return answer.get("data")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


class Peer:
    """An open socket: requests with answers, and everything else to a handler, in order.

    Args:
        socket: the WebSocket, past its handshake or before it.
        handle: gets each message that answers nothing; runs in the reader, so it must not wait for an answer itself.
        now: the wall clock in ms.
    """

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        handle: Callable[[dict[str, Any]], Awaitable[None]],
        now: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self.socket = socket
        self.now = now
        self.closed: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.ahead: int | None = None  # ms by which the server's clock is ahead, when it was asked
        self._handle = handle
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._reader: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Read from now on in the background."""
        self._reader = asyncio.create_task(self._read())

    async def receive(self) -> dict[str, Any]:
        """Read one message in place: only before `start`. Raises Closed."""
        message = await asyncio.wait_for(self.socket.receive(), PATIENCE)
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise Closed(self.socket.close_code)
        found: dict[str, Any] = json.loads(message.data)
        return found

    async def send(self, kind: str, body: dict[str, Any] | None = None, lock: str = "") -> str:
        """Send a message that is not waited for; return its id."""
        id_ = ulid(self.now())
        envelope = {"id": id_, "type": kind, "body": body or {}}
        if lock:
            envelope["lock"] = lock
        await self.socket.send_str(json.dumps(envelope))
        return id_

    async def request(
        self, kind: str, body: dict[str, Any] | None = None, lock: str = ""
    ) -> dict[str, Any]:
        """Send a message and return the body of its answer. Raises Denied, Closed."""
        if self.closed.done():
            raise Closed(self.closed.result())
        id_ = ulid(self.now())
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[id_] = future
        envelope = {"id": id_, "type": kind, "body": body or {}}
        if lock:
            envelope["lock"] = lock
        try:
            await self.socket.send_str(json.dumps(envelope))
        except ConnectionError:
            self._waiting.pop(id_)
            raise Closed(await asyncio.wait_for(self.closed, PATIENCE)) from None
        message = await asyncio.wait_for(future, PATIENCE)
        if message["type"] == "refused":
            raise Denied(message["body"]["status"], message["body"].get("message", ""))
        body_: dict[str, Any] = message["body"]
        return body_

    async def heartbeat(self) -> None:
        """Ping every 15 seconds until the socket ends, and take the server's time from the pongs. Raises Closed."""
        while True:
            sent = self.now()
            pong = await self.request("ping")
            self.ahead = pong["time"] - (sent + self.now()) // 2
            await asyncio.wait([self.closed], timeout=HEARTBEAT)

    async def close(self) -> None:
        """Close in order."""
        await self.socket.close()
        await self._end()

    async def cut(self) -> None:
        """Cut the connection without a word, as a pulled plug does."""
        transport = self.socket.get_extra_info("socket")
        if transport is not None:
            with contextlib.suppress(OSError):
                transport.shutdown(2)
        await self._end()

    async def _end(self) -> None:
        if self._reader is not None:
            await asyncio.wait_for(asyncio.wait([self._reader]), PATIENCE)

    async def _read(self) -> None:
        try:
            async for message in self.socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                envelope = json.loads(message.data)
                waiting = self._waiting.pop(envelope["body"].get("re", ""), None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(envelope)
                elif waiting is None:
                    await self._handle(envelope)
        finally:
            if not self.closed.done():
                self.closed.set_result(self.socket.close_code)
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(Closed(self.socket.close_code))
            self._waiting.clear()
