"""What stays connected: joins or goes on joining, keeps the socket, follows the locks, takes events and changed keys."""

import asyncio
import contextlib
import logging
import random
import time
from typing import TYPE_CHECKING, Final

from ilp import IlpError
from ilp.joining import open_keys

from .errors import (
    BadAnswerError,
    BoxError,
    ClosedError,
    ConnectionLostError,
    JoinGoneError,
    JoinRefusedError,
    JoinWrongError,
    NotConnectedError,
    NotJoinedError,
    RacError,
    RelayBrokenError,
    SignInError,
    StateFileError,
    server_says,
)
from .http import Http
from .joining import go_on_joining
from .keys import KeyRing, LockKeys
from .memory import ASKING
from .relay import Part, RelayPort
from .socket import PushSocket, Transport, WebSocket
from .state import StateTracker, Verdict, View
from .wire import Fields, MalformedError, Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from .memory import Memory

_LOGGER: Final = logging.getLogger(__name__)

FIRST_PAUSE: Final = 3.0
LONGEST_PAUSE: Final = 60.0
SAVE_INTERVAL: Final = 15.0
SEALED_MAX: Final = 8 * 1024
FOLLOWED_MAX: Final = 100

_FINAL: Final = (
    JoinGoneError,
    JoinRefusedError,
    JoinWrongError,
    BoxError,
    SignInError,
    StateFileError,
)
"""After these, trying again by itself would change nothing."""


class RemoteLock:
    """One lock as this client knows it. `keys` and `state` are to be read only."""

    def __init__(self, keys: LockKeys, floor: tuple[int, int]) -> None:
        self.keys = keys
        self.state = StateTracker(keys, floor)
        self.news = 0  # how often the server said that the log has something new
        self.clock_off = False
        self.busy = asyncio.Lock()  # one conversation at a time

    @property
    def view(self) -> View:
        """What may be shown now."""
        return self.state.view(time.time(), time.monotonic())

    def nonce(self) -> bytes | None:
        """Return the nonce for the fast path, or None to ask the lock for one."""
        if self.clock_off:
            return None
        return self.state.nonce(time.time(), time.monotonic())


class Relay:
    """A relay under way: what came in waits here for the task that leads the conversation."""

    def __init__(self, port: RelayPort) -> None:
        self.port = port
        self.opened = ""  # the id of relay.open
        self.inbox: asyncio.Queue[bytes | RacError] = asyncio.Queue()


class Connected:
    """A client that is connected to its home's server, without what it can do with locks.

    Args:
        memory: what is known from before, or a link's beginning.
        ca: a file with certificates (PEM) to trust instead of the system's.
        dial: connects to something else than the server's push socket, in tests.
        pause: seconds before the n-th attempt to connect, in tests.
    """

    def __init__(
        self,
        memory: Memory,
        *,
        ca: Path | None = None,
        dial: Callable[[], Awaitable[Transport]] | None = None,
        pause: Callable[[int], float] | None = None,
    ) -> None:
        self.memory = memory
        self.http = Http(memory.url, ca)
        self.locks: dict[str, RemoteLock] = {}
        self.down: RacError | None = NotConnectedError()
        """Why there is no connection; None while there is one."""
        self.followed: frozenset[str] = frozenset()
        """Locks whose states the server sends. Just after a join there are none: the home has not said yet who came in."""
        self.said_ended = False
        """The server says that this membership has ended. Only the home could prove it, so keys stay."""
        self.refused_keys = 0  # sealed keys that were not this home's, or not newer
        self.resets = 0  # how often events were lost
        self.exchanges = 0  # messages of relays, both ways
        self.answers = 0  # those from locks
        self._dial = dial or (lambda: WebSocket.dial(self.http))
        self._pause = pause or _pause
        self._socket: PushSocket | None = None
        self._relays: dict[Part, Relay] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self._follow_wanted = False
        self._dirty = False
        self._take_locks()

    def start(self) -> None:
        """Join or go on joining, connect, and stay connected from now on, in the background."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """End everything; what is under way ends as unconfirmed."""
        task, self._task = self._task, None
        if task is not None:
            await _ended(task)
        self._save_floors()
        await self.http.close()

    @property
    def over(self) -> bool:
        """Whether nothing tries to connect any more: `down` says why."""
        return self._task is None or self._task.done()

    async def joined(self, seconds: float = 60.0) -> None:
        """Wait until the home has let this client in. Raises what keeps it out, JoinPendingError among it."""
        await self._until(lambda: self.memory.joined, seconds)

    async def connected(self, seconds: float = 60.0) -> None:
        """Wait until there is a connection and the locks are followed. Raises why there is none."""
        await self._until(lambda: self.down is None, seconds)

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call a function at every change, with the device that it is about (empty: connection, locks or keys)."""
        self._listeners.append(listener)

    def lock(self, device: str) -> RemoteLock:
        """Return a lock. NotJoinedError; NoSuchLockError when there are no keys for it."""
        self.memory.require_keys(device)
        return self.locks[device]

    def _open_socket(self) -> PushSocket:
        if self.memory.stage == ASKING:
            raise NotJoinedError
        if self._socket is None or self.down is not None:
            raise (
                self.down
                if isinstance(self.down, (ClosedError, NotConnectedError))
                else NotConnectedError(self.down.sentence if self.down else "")
            )
        return self._socket

    # --- the connection

    async def _run(self) -> None:
        attempt = 0
        saving = asyncio.get_running_loop().create_task(self._keep_saving())
        try:
            while True:
                try:
                    await self._joined_and_connected()
                except RacError as error:
                    if self.down is None:
                        attempt = 0
                    self._went_down(error)
                    if isinstance(error, _FINAL) or (
                        isinstance(error, ClosedError) and error.lasting
                    ):
                        return
                await asyncio.sleep(self._pause(attempt))
                attempt += 1
        finally:
            saving.cancel()
            self._went_down(self.down or NotConnectedError())

    async def _joined_and_connected(self) -> None:
        """Join if that is not done, then connect and read. Always raises kin of RacError."""
        if not self.memory.joined:
            await go_on_joining(self.memory, self.http)
            self._take_locks()
            self._tell("")
        socket = PushSocket(
            await self._dial(), self._handle, self._refused, lambda: int(time.time() * 1000)
        )
        reading: asyncio.Task[None] | None = None
        try:
            hello = await socket.handshake(self.memory.token)
            try:
                generation, seq = hello.integer("generation"), hello.integer("seq")
            except MalformedError as error:
                raise BadAnswerError from error
            if not self.memory.generation:
                self.memory.generation, self.memory.seq = generation, seq
                self.memory.save()
            reading = asyncio.get_running_loop().create_task(socket.run())
            self._socket = socket
            await socket.send(
                "resume", {"generation": self.memory.generation, "seq": self.memory.seq}
            )
            await self._follow(socket)
            self.down = None
            self._tell("")
            await reading
        finally:
            self._socket = None
            if reading is None:
                await socket.close()  # else it does so itself
            else:
                await _ended(reading)

    async def _follow(self, socket: PushSocket) -> None:
        """Follow all locks for which there are keys."""
        site = self.memory.site
        locks = [{"site": site, "lock": device} for device in sorted(self.locks)][:FOLLOWED_MAX]
        answer = await socket.request("follow", {"locks": locks})
        try:
            self.followed = frozenset(
                item.device("lock")
                for item in answer.items("locks", FOLLOWED_MAX)
                if item.hex_id("site") == site
            )
        except MalformedError as error:
            raise BadAnswerError(f"field {error}") from error
        self._tell("")

    def _went_down(self, error: RacError) -> None:
        self.down = error
        self.followed = frozenset()
        for relay in self._relays.values():
            relay.inbox.put_nowait(ConnectionLostError(error.sentence))
        self._tell("")

    # --- what comes in

    def _handle(self, message: Message) -> None:
        if message.type == "push.reset":
            self._reset(message.body)
        elif message.seq:
            self._event(message)
        elif message.type == "lock.state":
            self._state(message)
        elif message.type == "lock.event":
            if message.body.hex_id("site") == self.memory.site and message.lock in self.locks:
                self.locks[message.lock].news += 1
                self._tell(message.lock)
        elif message.type in ("relay.data", "relay.state"):
            self._relayed(message)
        # Types that this client does not know are ignored.

    def _state(self, message: Message) -> None:
        body = message.body
        if (
            body.hex_id("site") != self.memory.site
            or (lock := self.locks.get(message.lock)) is None
        ):
            return
        verdict = lock.state.feed(
            body.binary("advertisement", size=10), body.integer("time", 0, 2**32 - 1), body.binary("seen", size=8),
            time.time(), time.monotonic(),
        )  # fmt: skip
        if verdict is not Verdict.REPEATED:
            self._dirty = self._dirty or verdict is Verdict.ACCEPTED
            self._tell(message.lock)

    def _relayed(self, message: Message) -> None:
        relay = self._relays.get(Part.read(message.body))
        if relay is None:
            return
        if message.type == "relay.data":
            self.exchanges += 1
            self.answers += 1
            data = relay.port.take_data(message.body)
            if data is not None:
                relay.inbox.put_nowait(data)
            elif relay.port.broken:
                relay.inbox.put_nowait(RelayBrokenError())
        else:
            relay.port.take_state(message.body)
            if relay.port.ended is not None:
                relay.inbox.put_nowait(relay.port.ended)

    def _refused(self, id_: str, status: int, text: str) -> None:
        for relay in self._relays.values():
            if relay.opened == id_ and relay.port.ended is None:
                relay.port.ended = server_says(status, text)
                relay.inbox.put_nowait(relay.port.ended)

    def _event(self, message: Message) -> None:
        """Take a durable event, once and in order; what it brought is stored together with its number."""
        memory = self.memory
        if message.seq <= memory.seq:
            return  # seen before a lost connection
        if message.type == "keys":
            self._new_keys(message.body)
        elif message.type == "account":
            body = message.body
            if "site" in body and body.text("site") == memory.site:
                what = body.text("what", 60)
                self.said_ended = what == "member_ended" or (
                    self.said_ended and what != "member_changed"
                )
        memory.seq = message.seq
        memory.save()
        if message.type in ("keys", "account", "invitation"):
            self._follow_soon()  # what this person may follow has changed, or may have
        self._tell("")

    def _reset(self, body: Fields) -> None:
        """Events were lost. Keys come again by themselves: the server asks the home for them."""
        generation, seq = body.integer("generation"), body.integer("seq")
        self.memory.generation, self.memory.seq = generation, seq
        self.memory.save()
        self.resets += 1
        self._tell("")

    def _new_keys(self, body: Fields) -> None:
        """Take changed keys if the home sealed them for this client and they are newer than those here."""
        memory = self.memory
        try:
            number = body.integer("number", 1)
            sealed = body.binary("sealed", most=SEALED_MAX)
            ring = None
            if body.hex_id("site") == memory.site and number > memory.number:
                ring = KeyRing.read(open_keys(memory.update_key, memory.person, number, sealed))
        except (MalformedError, IlpError, BoxError) as error:
            _LOGGER.debug("sealed keys cannot be opened: %s", type(error).__name__)
            ring = None
        if ring is None or ring.person != memory.person:
            self.refused_keys += 1
            return
        memory.number = number
        memory.locks = {lock.device: lock for lock in ring.locks}
        memory.person_name = ring.name or memory.person_name
        memory.save()
        self._take_locks()

    def _follow_soon(self) -> None:
        """Follow again: once more after the one that is under way, however often it is wanted."""
        self._follow_wanted = True
        if self._socket is not None and (self._following is None or self._following.done()):
            work = self._follow_again(self._socket)
            self._following = asyncio.get_running_loop().create_task(work)

    async def _follow_again(self, socket: PushSocket) -> None:
        with contextlib.suppress(RacError):
            while self._follow_wanted:
                self._follow_wanted = False
                await self._follow(socket)

    def _take_locks(self) -> None:
        """Make the locks those of the keys; a lock whose keys changed keeps what was seen of it."""
        memory = self.memory
        for device in [device for device in self.locks if device not in memory.locks]:
            del self.locks[device]
        for device, keys in memory.locks.items():
            known = self.locks.get(device)
            if known is None:
                self.locks[device] = RemoteLock(keys, memory.floors.get(device, (0, 0)))
            elif known.keys != keys:
                known.keys = keys
                known.state.set_keys(keys, time.time(), time.monotonic())

    # --- small things

    def _tell(self, device: str) -> None:
        self._changed.set()
        for listener in self._listeners:
            listener(device)

    async def _until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until something is so. Raises why the connection is down, at the latest after so many `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not ready():
                    if self.over:
                        break
                    self._changed.clear()
                    await self._changed.wait()
                else:
                    return
        if not ready():
            raise self.down or NotConnectedError("no answer in time")

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(SAVE_INTERVAL)
            self._save_floors()

    def _save_floors(self) -> None:
        """Remember below which time and counter no state counts."""
        if not self._dirty:
            return
        self._dirty = False
        self.memory.floors = {device: lock.state.floor for device, lock in self.locks.items()}
        with contextlib.suppress(StateFileError):
            self.memory.save()


def _pause(attempt: int) -> float:
    """Seconds before connecting again: short at first, then doubling, at random, so that not all come back at once."""
    return random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempt, 10)))  # noqa: S311


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task and see it end, without taking a cancellation of the caller for the task's."""
    task.cancel()
    await asyncio.wait([task])
    _quietly(task)


def _quietly(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
