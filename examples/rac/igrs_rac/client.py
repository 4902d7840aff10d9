"""What a person can do with the locks of a home: operate, ask, read the log. Each is a relay of its own."""

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, Self

from ilp import LogPage, LogRecord, Operation, Reply, Request, StateEvent, Status, requests

from .connected import Connected, Relay, RemoteLock
from .conversation import MAX_AGE, Conversation, Done
from .errors import (
    BadAnswerError,
    BrokenLockError,
    ClosedError,
    ConnectionLostError,
    LockInUseError,
    NotConnectedError,
    RacError,
    ServerSaysError,
    SilentError,
    TooLongError,
)
from .relay import LONGEST, SILENCE, TTL_MS, Part, RelayPort
from .wire import MalformedError, ulid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from .state import View

REPEAT_MAX_AGE: Final = 10.0
"""Seconds after which nothing is sent a second time: whoever wanted in may have gone."""
LOG_RECORDS_MAX: Final = 2000


class RemoteClient(Connected):
    """A person's remote access to the locks of one home. Used as an asynchronous context manager; arguments as Connected's."""

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # --- what one can do with a lock

    async def operate(self, device: str, operation: Operation) -> Done:
        """Lock, unlock or open, and return when the lock has said that it is done.

        Raises LockRefusedError and JammedError, which the lock said; ServerSaysError, which somebody on the way said; kin
        of UnconfirmedError when nobody can tell; kin of NotSentError when nothing was sent.
        """
        lock = self.lock(device)
        asked, changes = time.monotonic(), lock.state.changes

        def may_repeat() -> bool:
            if operation is Operation.LOCK:
                return True
            # After a change a second one might open a door that somebody has closed meanwhile.
            return lock.state.changes == changes and time.monotonic() - asked <= REPEAT_MAX_AGE

        talk = self._conversation(
            lock, (requests.operate(operation, MAX_AGE),), may_repeat, operation=operation
        )
        await self._converse(lock, talk)
        if talk.done is None:
            raise BrokenLockError
        return talk.done

    async def lock_it(self, device: str) -> Done:
        """Lock; see `operate`."""
        return await self.operate(device, Operation.LOCK)

    async def unlock(self, device: str) -> Done:
        """Unlock; see `operate`."""
        return await self.operate(device, Operation.UNLOCK)

    async def open(self, device: str) -> Done:
        """Unlock and pull the latch; see `operate`."""
        return await self.operate(device, Operation.OPEN)

    async def status(self, device: str) -> View:
        """Ask the lock itself how it is. Errors as `operate`."""
        lock = self.lock(device)
        await self._converse(lock, self._conversation(lock, (requests.get_status(),), _always))
        return lock.view

    async def log(self, device: str, after: int = 0) -> list[LogRecord]:
        """Read the lock's log behind a counter, the oldest first. Errors as `operate`; needs the right to read it."""
        lock = self.lock(device)
        records: list[LogRecord] = []

        def more(replies: list[Reply]) -> Sequence[Request]:
            page = LogPage.of(replies[-1])
            new = [
                record
                for record in page.records
                if record.counter > (records[-1].counter if records else after)
            ]
            records.extend(new)
            if not new or new[-1].counter >= page.newest or len(records) >= LOG_RECORDS_MAX:
                return ()
            return (requests.get_log(new[-1].counter),)

        wanted = (requests.get_log(after),)
        await self._converse(lock, self._conversation(lock, wanted, _always, more=more))
        return records

    async def prewarm(self, device: str) -> bool:
        """Let the home connect to the lock already, since somebody will operate it within 9 seconds. A wish: False if refused."""
        self.lock(device)
        try:
            await self._open_socket().request(
                "lock.prewarm", {"site": self.memory.site, "lock": device}
            )
        except ServerSaysError, NotConnectedError, ClosedError:
            return False
        return True

    async def online(self) -> dict[str, bool]:
        """Ask the server to which locks it lets this person relay, and whether their home is connected. Its word only."""
        answer = await self.http.call("GET", "/api/v1/locks", token=self.memory.token)
        try:
            return {
                item.device("device"): item.flag("online")
                for item in answer.items("locks", 1000)
                if item.hex_id("site") == self.memory.site
            }
        except MalformedError as error:
            raise BadAnswerError(f"field {error}") from error

    # --- conversations

    def _conversation(
        self,
        lock: RemoteLock,
        wanted: Sequence[Request],
        may_repeat: Callable[[], bool],
        **more: Any,
    ) -> Conversation:
        started, at = time.time(), time.monotonic()
        return Conversation(
            lock.keys, wanted, nonce=lock.nonce(), may_repeat=may_repeat,
            timestamp=lambda: int(started + time.monotonic() - at), **more,
        )  # fmt: skip

    async def _converse(self, lock: RemoteLock, talk: Conversation) -> None:
        """Lead a conversation through a relay of its own to its end. Raises its error."""
        socket = self._open_socket()
        if lock.busy.locked():
            raise LockInUseError
        async with lock.busy:
            part = Part(self.memory.site, lock.keys.device, ulid(int(time.time() * 1000)))
            relay = self._relays[part] = Relay(RelayPort(part))
            asked, asked_monotonic = time.time(), time.monotonic()
            told = 0
            try:
                async with asyncio.timeout(LONGEST):
                    relay.opened = ulid(int(time.time() * 1000))
                    self.exchanges += 1
                    await socket.send(
                        "relay.open", relay.port.opening(talk.start(), TTL_MS), relay.opened
                    )
                    while not talk.over:
                        async with asyncio.timeout(SILENCE):
                            came = await relay.inbox.get()
                        if isinstance(came, RacError):
                            talk.broken_off(came)
                            break
                        out = talk.feed(came)
                        for state in talk.states[told:]:
                            self._sealed(lock, state, asked, asked_monotonic)
                        told = len(talk.states)
                        for message in out:
                            self.exchanges += 1
                            await socket.send("relay.data", relay.port.further(message))
            except ClosedError as error:
                talk.broken_off(ConnectionLostError(error.sentence))
            except TimeoutError:
                late = time.monotonic() - asked_monotonic >= LONGEST
                talk.broken_off(TooLongError() if late else SilentError())
            finally:
                del self._relays[part]
                if relay.port.ended is None:
                    with contextlib.suppress(ClosedError):
                        await socket.send("relay.end", relay.port.end())
            lock.clock_off = talk.clock_off
        if talk.error is not None:
            raise talk.error

    def _sealed(
        self, lock: RemoteLock, state: Status | StateEvent, asked: float, asked_monotonic: float
    ) -> None:
        lock.state.sealed(state, asked, asked_monotonic, time.time(), time.monotonic())
        self._dirty = True
        self._tell(lock.keys.device)


def _always() -> bool:
    return True
