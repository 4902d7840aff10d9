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
from .link import LinkLostError, has_room

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from .client import LockClient
    from .coordinator import IgrsLockCoordinator
    from .held import HeldLink

RADIO_WAIT: Final = 3.0
"""Seconds that a relay waits for its turn."""
KEPT_WAITING: Final = 15.0
"""Seconds that relays together may keep a job waiting before it goes first."""
_SERVED_MAX: Final = 64
_ROOM_TRIES: Final = 5
_ROOM_PAUSE: Final = 0.1


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

    `busy` is held by whoever uses the connection, `client` is this home's own side of it.
    """

    def __init__(self, held: HeldLink, busy: asyncio.Lock, client: LockClient) -> None:
        self.hindered: Callable[[], bool] = _no
        """Whether relays have to wait now; `async_next` is to be called when that ends."""
        self.job_waits: Callable[[], bool] = _no
        """Whether a job in the background has something to do with the lock."""
        self.passenger: Passenger | None = None
        self.kept_waiting = 0.0
        """Seconds for which relays kept the job waiting that has something to do now."""
        self._held = held
        self._busy = busy
        self._client = client
        self._waiting: list[_Waiter] = []
        self._served: dict[str, int] = {}
        self._turns = 0
        self._leaving = False
        self._wrote_now = False  # in this turn
        self.used = False
        """Whether a passenger wrote anything on this connection."""
        self._opened = False
        self._warming = 0

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
                # The lock has one session for each connection, so this home's own is over.
                self._client.sessions_over()
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

    # --- the connection -------------------------------------------------------------------------

    async def async_warm(self) -> None:
        """Keep a connection for whoever comes soon, until this is cancelled.

        Whatever is asked meanwhile uses it, also while it is being made; if nothing was, it ends with
        this. Kin of OperationError, LinkLostError.
        """
        self._warming += 1
        try:
            with self._held.hold():
                link = self._held.link or await self._held.connect()
                async with self._busy:
                    if self._held.link is link:
                        await link.listen()
                await asyncio.Event().wait()
        finally:
            self._warming -= 1
            if not self.used and not self._client.session_alive:
                self._held.let_go()

    async def async_make_room(self) -> bool:
        """End the connection if it serves only people far away; return whether it did.

        A gateway has few of them, and somebody here needs one, for another lock.
        """
        here = self.hindered() or (self._busy.locked() and self.passenger is None)
        far = self.passenger is not None or self.used or self._warming
        if self._held.link is None or here or not far:
            return False
        self.give_way()
        await self._held.drop()
        return True

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
            self._client.writes += 1
        await link.send(message)

    async def async_listen(self) -> None:
        """Let answers come; the lock keeps them until then. LinkLostError, TimeoutError."""
        if self._held.link is not None:
            await self._held.link.listen()

    @callback
    def received(self, message: bytes) -> bool:
        """Take a message of the lock; return whether it is the passenger's."""
        return self._wrote_now and self.passenger is not None and self.passenger.received(message)


async def async_make_room(coordinator: IgrsLockCoordinator) -> bool:
    """End what is connected for people far away, until this lock can be; return whether it can."""
    for other in (*coordinator.home.coordinators.values(),):
        if other is not coordinator and await other.client.carrier.async_make_room():
            for _ in range(_ROOM_TRIES):
                if has_room(coordinator.hass, coordinator.address):
                    return True
                await asyncio.sleep(_ROOM_PAUSE)  # a gateway tells it a moment later
    return False


def _no() -> bool:
    return False
