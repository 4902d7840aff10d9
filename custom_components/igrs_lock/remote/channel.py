"""An open connection whose ends are proved: messages out, answers and messages in, and its heartbeat.

Nothing here waits for the network in the way of anybody else: what goes out is written at once or,
above a rate that the server takes, a moment later; what comes in is worked off at a bounded rate,
and what is above it stays with the sender.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from .pace import Bucket
from .wire import LinkDown, Malformed, Message, Reader, Refused, Status, ulid

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .clock import ServerClock

_LOGGER = logging.getLogger(__name__)

HEARTBEAT: Final = 15.0
SILENCE: Final = 30.0
TICK: Final = 5.0
ANSWER_TIMEOUT: Final = 15.0
"""An answer that takes longer ends the link: then everything is compared anew."""
AFTER_SLEEP: Final = 10.0
"""Seconds that a server has to answer after this machine slept."""

_OUT: Final = 40.0, 80.0
"""Messages a second, and at once: the server takes 50, and twice that."""
_OUT_RESERVE: Final = 30.0
"""Of those, what requests leave for relays."""
_WAITING: Final = 128
_UNTAKEN: Final = 4
"""Writes that may wait for a server that does not read, of 64 KiB each."""
_IN: Final = 200.0, 1000.0
_IN_UNIT: Final = 4096
_TURN: Final = 16.0
"""Units of work in one turn of the event loop: a message, and each 4 KiB of it, is one."""


class Channel:
    """One connection, until `ended` has its close code (None: it has none).

    Args:
        received: takes every message that answers nothing, in order.
        sampled: hears that the clock has a new sample.
    """

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        clock: ServerClock,
        received: Callable[[Message], None],
        sampled: Callable[[], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int | None] = loop.create_future()
        self._loop = loop
        self._socket = socket
        self._clock = clock
        self._received = received
        self._sampled = sampled
        self._heard = loop.time()
        self._asked: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._pings: dict[str, float] = {}
        self._in = Bucket(*_IN)
        self._out = Bucket(*_OUT)
        self._waiting: deque[str] = deque()
        self._flushing: asyncio.TimerHandle | None = None
        self._writing: set[asyncio.Task[None]] = set()

    # --- out ------------------------------------------------------------------------------------

    async def request(self, kind: str, body: dict[str, Any], lock: str = "") -> dict[str, Any]:
        """Send a message and return its answer's body. Refused, LinkDown."""
        while wait := self._out.take(self._loop.time(), reserve=_OUT_RESERVE):
            await asyncio.wait([self.ended], timeout=wait)
            if self.ended.done():
                raise LinkDown
        message = self._message(kind, body, lock)
        future: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._asked[message.id] = future
        try:
            if not self._write(message.as_text()):
                raise LinkDown
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await future
        except TimeoutError as err:
            _LOGGER.debug("No answer to %s", kind)
            self.end(None)
            raise LinkDown from err
        finally:
            self._asked.pop(message.id, None)

    def send(self, kind: str, body: dict[str, Any], lock: str = "") -> bool:
        """Send a message whose answer nobody waits for; False when it cannot go out."""
        text = self._message(kind, body, lock).as_text()
        if not self._waiting and not self._out.take(self._loop.time()):
            return self._write(text)
        if self.ended.done() or len(self._waiting) >= _WAITING:
            return False
        self._waiting.append(text)
        self._flush_later()
        return True

    def _flush_later(self) -> None:
        if self._flushing is None:
            self._flushing = self._loop.call_later(1 / _OUT[0], self._flush)

    def _flush(self) -> None:
        self._flushing = None
        while self._waiting and not self._out.take(self._loop.time()):
            self._write(self._waiting.popleft())
        if self._waiting and not self.ended.done():
            self._flush_later()

    def _message(self, kind: str, body: dict[str, Any], lock: str) -> Message:
        return Message(ulid(time.time_ns() // 1_000_000), kind, lock=lock, body=body)

    def _write(self, text: str) -> bool:
        """Write a message; it is with the system on return, unless the server reads too slowly."""
        return not self.ended.done() and self._out_of(self._socket.send_str(text))

    def _out_of(self, writing: Coroutine[Any, Any, None]) -> bool:
        task = asyncio.create_task(writing, eager_start=True)
        if not task.done():
            self._writing.add(task)
            task.add_done_callback(self._written)
            if len(self._writing) > _UNTAKEN:
                self.end(None)
        elif task.exception() is not None:
            self.end(None)
        return not self.ended.done()

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.end(None)

    # --- in -------------------------------------------------------------------------------------

    async def read(self) -> None:
        """Hand on what comes until the connection ends."""
        units = 0.0
        while not self.ended.done():
            frame = await self._socket.receive()
            now = self._loop.time()
            cost = 1.0
            if frame.type is aiohttp.WSMsgType.TEXT:
                self._heard = now
                cost += len(frame.data) / _IN_UNIT
            elif frame.type not in (aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG):
                self.end(self._socket.close_code)
                return
            units += cost
            if wait := self._in.take(now, cost):
                units = 0.0
                await asyncio.sleep(wait)
                self._in.take(self._loop.time(), cost)
            elif units > _TURN:
                units = 0.0
                await asyncio.sleep(0)
            if frame.type is aiohttp.WSMsgType.PING:
                self._out_of(self._socket.pong(frame.data))
            elif frame.type is aiohttp.WSMsgType.TEXT:
                self._hand_on(frame.data)

    def _hand_on(self, text: str) -> None:
        """Work a message off. What one does wrong does not end the link."""
        try:
            self._take(Message.of(text))
        except Malformed as err:
            _LOGGER.debug("Dropped a message of the server: %s", err)
        except Exception:
            _LOGGER.exception("A message of the server could not be worked off")

    def _take(self, message: Message) -> None:
        if message.type == "pong":
            read = Reader(message.body)
            sent = self._pings.pop(read.text("re", 40), None)
            if sent is not None:
                self._clock.add(sent, read.integer("time"))
                self._sampled()
        elif message.type in ("ok", "refused"):
            future = self._asked.get(Reader(message.body).text("re", 40))
            if future is None or future.done():
                return
            if message.type == "ok":
                future.set_result(message.body)
                return
            status = Status.of(message.body.get("status"))
            try:
                said = Reader(message.body).text("message", 500, default="")
            except Malformed:
                said = ""
            future.set_exception(Refused(status, said))
        else:
            self._received(message)

    # --- heartbeat ------------------------------------------------------------------------------

    async def beat(self) -> None:
        """Ask for the server's time every 15 seconds, and end the connection after 30 of silence."""
        next_ping = 0.0
        until: float | None = None
        while not self.ended.done():
            now = self._loop.time()
            if self._clock.jumped():
                # This machine slept, or its clock was set: the connection may be dead since long.
                self._clock.forget()
                until, next_ping = now + AFTER_SLEEP, now
            if until is not None and self._clock.now_ms() is not None:
                until = None
            if now - self._heard >= SILENCE or (until is not None and now >= until):
                _LOGGER.debug("The server is silent")
                self.end(None)
                return
            if now >= next_ping:
                next_ping = now + HEARTBEAT
                self._ping()
            await asyncio.sleep(TICK)

    def _ping(self) -> None:
        message = self._message("ping", {}, "")
        while len(self._pings) >= 4:
            del self._pings[next(iter(self._pings))]
        self._pings[message.id] = time.monotonic()
        self._out.take(self._loop.time())
        self._write(message.as_text())

    # --- the end --------------------------------------------------------------------------------

    def end(self, code: int | None) -> None:
        """End it: whoever waits for an answer hears LinkDown, nothing more goes out."""
        if self.ended.done():
            return
        self.ended.set_result(code)
        if self._flushing is not None:
            self._flushing.cancel()
        self._waiting.clear()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(LinkDown())
        for task in self._writing:
            task.cancel()
