"""Somebody else's session on this home's connection to a lock: a relay (ILP1 section 6).

One at a time. Whoever operates the lock here goes first, and ends it; jobs in the background wait for it,
but relays one after another do not keep them waiting for long.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from homeassistant.core import callback

from .errors import LockBusyError
from .link import LinkLostError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from .held import HeldLink

RADIO_WAIT: Final = 3.0
"""Seconds that a relay waits for its turn."""
KEPT_WAITING: Final = 15.0
"""Seconds that relays together may keep a job waiting before it goes first."""
_SERVED_MAX: Final = 64


class Eviction(Enum):
    """Why a passenger has to leave at once."""

    LOCAL = "local"
    """Somebody here needs the lock."""
    LOST = "lost"
    """The connection ended."""


class Passenger(Protocol):
    """Somebody else's session on the connection."""

    @property
    def person(self) -> str:
        """Whose it is, or is said to be: turns are fair between persons."""

    def received(self, message: bytes) -> bool:
        """Take a message of the lock; return whether it is this session's."""

    def evicted(self, why: Eviction) -> None:
        """Stop. Nothing may be written after this."""

    def awaited(self) -> None:
        """Take that another person waits for the lock."""


@dataclass(slots=True, eq=False)
class _Waiter:
    passenger: Passenger
    turn: asyncio.Future[None] = field(repr=False)


class Carrier:
    """Gives turns on one lock's connection and hands messages over.

    `busy` is held by whoever uses the connection. `wrote` is told before anything is written that may
    move the bolt; `replaced` after a turn in which a session was opened: the lock has one for each
    connection, so this home's own is over.
    """

    def __init__(
        self,
        held: HeldLink,
        busy: asyncio.Lock,
        wrote: Callable[[], None],
        replaced: Callable[[], None],
    ) -> None:
        self.hindered: Callable[[], bool] = _no
        """Whether relays have to wait now; `async_next` is to be called when that ends."""
        self.job_waits: Callable[[], bool] = _no
        """Whether a job in the background has something to do with the lock."""
        self.passenger: Passenger | None = None
        self.kept_waiting = 0.0
        """Seconds for which relays kept the job waiting that has something to do now."""
        self._held = held
        self._busy = busy
        self._wrote = wrote
        self._replaced = replaced
        self._waiting: list[_Waiter] = []
        self._served: dict[str, int] = {}
        self._turns = 0
        self._leaving = False
        self._wrote_now = False  # in this turn
        self.used = False
        """Whether a passenger wrote anything on this connection."""
        self._opened = False

    # --- turns ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def turn(self, passenger: Passenger) -> AsyncGenerator[None]:
        """Have the connection until the end; LockBusyError when it is not free soon."""
        try:
            async with asyncio.timeout(RADIO_WAIT):
                await self._async_turn(passenger)
                try:
                    await self._busy.acquire()
                except BaseException:
                    self._leave()
                    raise
        except TimeoutError as err:
            raise LockBusyError(self._held.name) from err
        loop = asyncio.get_running_loop()
        since = loop.time()
        self._held.cancel_idle()
        try:
            yield
        finally:
            if self._opened:
                self._replaced()
            self.kept_waiting += loop.time() - since
            if not self.job_waits():
                self.kept_waiting = 0.0
            self._busy.release()
            self._held.arm_idle()
            self._leave()

    async def _async_turn(self, passenger: Passenger) -> None:
        waiter = _Waiter(passenger, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            self.async_next()
            if not waiter.turn.done():
                if self.passenger is not None and self.passenger.person != passenger.person:
                    self.passenger.awaited()
                await waiter.turn
        except BaseException:
            if waiter.turn.done() and not waiter.turn.cancelled():
                self._leave()
            raise
        finally:
            self._waiting.remove(waiter)

    @callback
    def _leave(self) -> None:
        self.passenger = None
        self.async_next()

    @callback
    def async_next(self) -> None:
        """Give the turn to the one whose person had it least lately, if it is free."""
        if self.passenger is not None or not self._waiting or self.hindered():
            return
        waiting = [one for one in self._waiting if not one.turn.done()]
        if not waiting:
            return
        waiter = min(waiting, key=lambda one: self._served.get(one.passenger.person, 0))
        self.passenger = waiter.passenger
        self._leaving = self._wrote_now = self._opened = False
        person = waiter.passenger.person
        self._turns += 1
        self._served.pop(person, None)
        self._served[person] = self._turns
        if len(self._served) > _SERVED_MAX:
            del self._served[next(iter(self._served))]
        waiter.turn.set_result(None)

    def others_wait(self, person: str) -> bool:
        """Whether somebody else waits for a turn."""
        return any(one.passenger.person != person for one in self._waiting)

    @callback
    def give_way(self) -> None:
        """End what travels: somebody here needs the lock."""
        self._evict(Eviction.LOCAL)

    @callback
    def link_ended(self) -> None:
        """Take that the connection ended."""
        if self._wrote_now:
            self._evict(Eviction.LOST)
        self.used = False

    @callback
    def _evict(self, why: Eviction) -> None:
        if self.passenger is not None and not self._leaving:
            self._leaving = True
            self.passenger.evicted(why)

    # --- messages -------------------------------------------------------------------------------

    async def async_connect(self) -> None:
        """Connect if need be; kin of OperationError."""
        if self._held.link is None:
            await self._held.connect()

    async def async_send(self, message: bytes, *, opens: bool, moves: bool) -> None:
        """Write a message as it is; LinkLostError, TimeoutError: nobody knows whether it got there.

        `opens` a session; `moves`: it may move the bolt.
        """
        link = self._held.link
        if link is None or self._leaving:
            raise LinkLostError("not connected")
        self.used = self._wrote_now = True
        self._opened |= opens
        if moves:
            self._wrote()
        await link.send(message)

    async def async_listen(self) -> None:
        """Let answers come; the lock keeps them until then. LinkLostError, TimeoutError."""
        if self._held.link is not None:
            await self._held.link.listen()

    @callback
    def received(self, message: bytes) -> bool:
        """Take a message of the lock; return whether it is the passenger's."""
        return self._wrote_now and self.passenger is not None and self.passenger.received(message)


def _no() -> bool:
    return False
