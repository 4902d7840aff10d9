"""Durable events of the server: each in its order, each dealt with before it is acknowledged."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from .wire import INT_MAX, LinkDown, Malformed, Reader, Refused, RemoteNotSaved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .store import RemoteStore
    from .wire import Message

_LOGGER = logging.getLogger(__name__)

_QUEUE: Final = 200
_PATIENCE: Final = 30.0
"""Seconds until an event is tried again whose effect could not be stored, or told to the server."""
_REFUSALS: Final = 20
"""How often the server may be slow or not ready before an event is given up."""
_TRIES: Final = 3
"""How often an event is tried that fails for no reason that was foreseen."""


class Events:
    """The sequence of one site's events.

    Args:
        request: sends a message and returns its answer; Refused, LinkDown.
        send: sends a message whose answer nobody waits for.
        handle: deals with an event; its effect is stored on return.
    """

    def __init__(
        self,
        store: RemoteStore,
        request: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]],
        send: Callable[[str, dict[str, Any]], bool],
        handle: Callable[[Message], Awaitable[None]],
    ) -> None:
        self._store = store
        self._request = request
        self._send = send
        self._handle = handle
        self._queue: deque[Message] = deque()
        self._wake = asyncio.Event()
        self._more = False  # some did not fit, and are asked for again
        self._asked: int | None = None  # after which the next ones were asked for

    def begin(self) -> None:
        """Take up a new link: what the last one left comes again."""
        self._queue.clear()
        self._more = False
        self._asked = None

    def feed(self, message: Message) -> None:
        """Take an event."""
        if len(self._queue) < _QUEUE:
            self._queue.append(message)
        else:
            self._more = True
        self._wake.set()

    async def run(self) -> None:
        """Have the events sent that came meanwhile, then deal with all, until the link ends. LinkDown."""
        await self._resume()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if await self._work():
                await self._acknowledge()
            if self._more:
                self._more = False
                await self._resume()

    async def _resume(self) -> None:
        """Say where this home is."""
        store = self._store
        self._queue.clear()
        try:
            answer = Reader(
                await self._request(
                    "resume", {"generation": store.seq_generation, "seq": store.seq}
                )
            )
            if answer.flag("reset"):
                generation = answer.integer("generation", 0, INT_MAX)
                store.seq, store.seq_generation = answer.integer("seq", 0, INT_MAX), generation
                await store.async_save()
        except (Malformed, Refused, RemoteNotSaved) as err:
            # The next link asks again.
            _LOGGER.debug("Events are not resumed: %r", err)

    async def _work(self) -> bool:
        """Deal with what has come; whether there was anything new."""
        store, done = self._store, False
        while self._queue:
            message = self._queue[0]
            if message.seq <= store.seq:
                self._queue.popleft()  # it came again
                continue
            if message.seq != store.seq + 1:
                if self._asked == store.seq:
                    # It was asked for already: the next link does so again.
                    _LOGGER.debug("Event %d came after %d", message.seq, store.seq)
                    self._queue.clear()
                    break
                self._asked = store.seq
                await self._resume()
                continue
            await self._deal(message)
            store.seq = message.seq
            self._queue.popleft()
            done = True
        return done

    async def _deal(self, message: Message) -> None:
        """Deal with one event, as often as it takes. LinkDown."""
        failures = refusals = 0
        while True:
            try:
                await self._handle(message)
            except Malformed as err:
                _LOGGER.debug("Dropped an event of type %s: %s", message.type, err)
                return
            except RemoteNotSaved:
                await asyncio.sleep(_PATIENCE)
            except Refused as err:
                # What it was about waits at the server, and is not sent again once acknowledged.
                _LOGGER.debug("An event of type %s waits: %s", message.type, err)
                refusals += 1
                if refusals == _REFUSALS:
                    return
                await asyncio.sleep(_PATIENCE)
            except LinkDown:
                raise
            except Exception:
                failures += 1
                _LOGGER.exception("An event of type %s failed", message.type)
                if failures == _TRIES:
                    return  # it would keep all that come after it
                await asyncio.sleep(failures)
            else:
                return

    async def _acknowledge(self) -> None:
        """Store how far this home is, then let the server forget."""
        while True:
            try:
                await self._store.async_save()
            except RemoteNotSaved:
                await asyncio.sleep(_PATIENCE)
            else:
                self._send("ack", {"seq": self._store.seq})
                return
