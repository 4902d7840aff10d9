"""Requests to one lock: connection, session, one retry, and what failed in plain errors.

Holds at most one connection, made when there is something to ask and kept for a few idle seconds,
since gateways have few of them.
"""

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from homeassistant.core import HomeAssistant, callback

from .const import ANSWER_TIMEOUT, IDLE_HOLD
from .errors import (
    GatewayBusyError,
    LockBusyError,
    NeedsPairingError,
    NoAnswerError,
    OperationError,
    OutOfReachError,
    UnsupportedError,
)
from .ilp import (
    CLOCK_TOLERANCE,
    CONTROLLER_SLOT,
    AuthenticationError,
    ClientSession,
    ErrorCode,
    IlpError,
    Kind,
    LockError,
    NonceSource,
    Reply,
    Request,
    Result,
    StateEvent,
    challenge_request,
    message_kind,
    parse_challenge,
    parse_error,
)
from .link import Link, LinkLostError
from .session import Session, Timing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

_LOGGER = logging.getLogger(__name__)


def _no_nonce() -> bytes | None:
    """Have no advertised nonce: ask the lock for one."""
    return None


def _always() -> bool:
    """Allow to send again, for requests that do no harm twice."""
    return True


class LockClient:
    """The controller's side of one lock (slot 255)."""

    def __init__(
        self,
        hass: HomeAssistant,
        address: str,
        name: str,
        device_id: bytes,
        key: bytes,
        *,
        link: Link | None = None,
    ) -> None:
        """Know the lock; `key` is its controller key, `link` one that is already connected."""
        self._hass = hass
        self._address = address
        self._device_id = device_id
        self._key = key
        self.name = name
        self.on_event: Callable[[StateEvent], None] = _ignore_event
        self.refusals = 0
        """Sessions in a row whose key the lock did not accept (source 1 only)."""
        self.clock_off = False
        """Whether the last answer's time was missing or more than 2 s off."""
        self.timing: Timing | None = None
        self.writes = 0
        """Number of messages with requests written so far."""
        self._lock = asyncio.Lock()
        self._retried = False
        self._asked = False  # the newest session's nonce is a CHALLENGE's
        self._link: Link | None = None
        # Newest first; an older one stays until an answer tells which of them the lock took.
        self._sessions: list[Session] = []
        self._inbox: asyncio.Queue[Reply | LockError | LinkLostError | bytes] = asyncio.Queue()
        self._holders = 0
        self._closed = False
        self._idle_timer: asyncio.TimerHandle | None = None
        if link is not None:
            self._use(link)

    @property
    def session_alive(self) -> bool:
        """Whether the lock could tell a change of state right now, by a sealed event."""
        return self._link is not None and bool(self._sessions)

    async def async_request(
        self,
        *requests: Request,
        nonce: Callable[[], bytes | None] = _no_nonce,
        may_repeat: Callable[[], bool] = _always,
        wanted: Callable[[], bool] = _always,
    ) -> list[Reply]:
        """Send requests in one message and return their answers in order.

        Without a running session the message itself opens one: on `nonce()`, the advertised one,
        or else on one the lock is asked for. `may_repeat` is asked right before anything is sent
        again: once with the nonce of an ERROR or after an answer that it came too late, once on a
        new connection. `wanted` is asked when it is this request's turn: LockBusyError when it has
        waited too long. Raises kin of OperationError.
        """
        async with self._lock:
            if not wanted():
                raise LockBusyError(self.name)
            self._cancel_idle()
            self.timing = Timing(held=self._link is not None, started=time.monotonic())
            self._retried = False
            try:
                return await self._reconnecting(requests, nonce, may_repeat)
            except LockError as err:
                await self._drop()
                raise self._refusal(err) from err
            except OperationError:
                raise
            except BaseException:
                # Cancelled or broken: an answer may still come, to a question nobody asks then.
                await self._drop()
                raise
            finally:
                self._arm_idle()

    async def async_read(self, *uuids: str) -> list[bytes | None]:
        """Read characteristics, None for missing ones. Not authenticated: only for showing."""
        async with self._lock:
            self._cancel_idle()
            try:
                link = self._link or await self._connect()
                return [await link.read(uuid) for uuid in uuids]
            except LinkLostError as err:
                await self._drop()
                raise NoAnswerError(self.name) from err
            finally:
                self._arm_idle()

    @callback
    def confirmed(self) -> None:
        """Note in the timing that what was requested is known to be done."""
        self._timing.confirmed = self._timing.elapsed()

    @asynccontextmanager
    async def hold(self) -> AsyncGenerator[None]:
        """Keep the connection while an event is awaited on it."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            if not self._lock.locked():
                self._arm_idle()

    @asynccontextmanager
    async def suspended(self) -> AsyncGenerator[None]:
        """Let go of the lock and ask it nothing meanwhile; what was under way ends first."""
        async with self._lock:
            self._cancel_idle()
            await self._drop()
            yield

    async def async_disconnect(self) -> None:
        """End the connection; the next request makes a new one."""
        self._cancel_idle()
        self._inbox.put_nowait(LinkLostError("the connection was ended here"))
        await self._drop()

    async def async_close(self) -> None:
        """End the connection for good."""
        self._closed = True
        await self.async_disconnect()

    # --- one request ----------------------------------------------------------------------------

    async def _reconnecting(
        self,
        requests: Sequence[Request],
        nonce: Callable[[], bytes | None],
        may_repeat: Callable[[], bool],
    ) -> list[Reply]:
        try:
            return await self._attempt(requests, nonce, may_repeat)
        except (LinkLostError, TimeoutError) as err:
            _LOGGER.debug("%s: %r, connecting once more", self.name, err)
            await self._drop()
            # Nothing was written yet: then even *open* may be tried again.
            if self._timing.written is not None and not may_repeat():
                raise NoAnswerError(self.name) from err
        written = self._timing.written is not None
        try:
            return await self._attempt(requests, nonce, may_repeat)
        except (LinkLostError, TimeoutError) as err:
            _LOGGER.debug("%s: %r", self.name, err)
            await self._drop()
            raise NoAnswerError(self.name) from err
        except (GatewayBusyError, OutOfReachError) as err:
            if not written:
                raise
            # What came of the first message is not known, and that is what matters now.
            raise NoAnswerError(self.name) from err

    async def _attempt(
        self,
        requests: Sequence[Request],
        nonce: Callable[[], bytes | None],
        may_repeat: Callable[[], bool],
    ) -> list[Reply]:
        link = self._link or await self._connect()
        # Connecting takes seconds, in which what was sent before may have been seen to be done.
        if self._timing.written is not None and not may_repeat():
            raise NoAnswerError(self.name)
        self._drain()
        if self._sessions:
            session = self._sessions[0]
            await link.send(session.secured.seal(session.stamp(requests)))
            self._written()
        elif (advertised := nonce()) is not None:
            # The fast path: the first thing written after connecting, before notifications.
            await self._open(link, NonceSource.ADVERTISED, advertised, requests)
        else:
            await self._open(link, NonceSource.CHALLENGE, await self._challenge(link), requests)
            self._asked = True
        await link.listen()
        try:
            replies = await self._replies(len(requests))
        except LockError as err:
            # Not authenticated, so it is worth one retry of this request and nothing more
            # (section 4). Nor may it say that the key is refused, unless the lock was asked for
            # the nonce: of an advertised one the lock never says so.
            worth = err.code in (ErrorCode.TRY_AGAIN, ErrorCode.NO_SESSION) or (
                err.code is ErrorCode.AUTHENTICATION_FAILED and not self._asked
            )
            if self._retried or not worth or not may_repeat():
                raise
            self._retried = True
            fresh = err.nonce
        else:
            if any(reply.result is not Result.TOO_OLD for reply in replies) or not may_repeat():
                return replies
            # Nothing was done (rule 5): once more in a new session.
            fresh = await self._challenge(link)
        await self._open(link, NonceSource.CHALLENGE, fresh, requests)
        return await self._replies(len(requests))

    async def _open(
        self, link: Link, source: NonceSource, nonce: bytes, requests: Sequence[Request]
    ) -> None:
        session = Session(ClientSession(self._key, self._device_id, CONTROLLER_SLOT, source, nonce))
        message = session.secured.open(session.stamp(requests))
        self._sessions.insert(0, session)
        self._asked = False
        self._timing.sessions += 1
        await link.send(message)
        self._written()

    async def _challenge(self, link: Link) -> bytes:
        await link.listen()
        await link.send(challenge_request())
        async with asyncio.timeout(ANSWER_TIMEOUT):
            while True:
                match await self._inbox.get():
                    case bytes() as nonce:
                        return nonce
                    case LockError() as err if err.code in (ErrorCode.BUSY, ErrorCode.VERSION):
                        raise err
                    case LockError() as err:
                        return err.nonce
                    case LinkLostError() as err:
                        raise err

    async def _replies(self, count: int) -> list[Reply]:
        replies: list[Reply] = []
        async with asyncio.timeout(ANSWER_TIMEOUT):
            while len(replies) < count:
                match await self._inbox.get():
                    case Reply() as reply:
                        replies.append(reply)
                    case (LockError() | LinkLostError()) as err:
                        raise err
        self._timing.answered = self._timing.elapsed()
        self.refusals = 0
        return replies

    def _refusal(self, err: LockError) -> OperationError:
        match err.code:
            case ErrorCode.AUTHENTICATION_FAILED if self._asked:
                self.refusals += 1
                return NeedsPairingError(self.name)
            case ErrorCode.BUSY:
                return LockBusyError(self.name)
            case ErrorCode.VERSION:
                return UnsupportedError(self.name)
            case _:
                return NoAnswerError(self.name)

    # --- the connection -------------------------------------------------------------------------

    async def _connect(self) -> Link:
        self._check_open()
        link = await Link.connect(self._hass, self._address, self.name)
        try:
            self._check_open()
        except NoAnswerError:
            await link.disconnect()
            raise
        self._use(link)
        self._timing.connections += 1
        self._timing.connected = self._timing.elapsed()
        return link

    def _check_open(self) -> None:
        """NoAnswerError once the client was closed, which may happen while it connects."""
        if self._closed:
            raise NoAnswerError(self.name)

    @callback
    def _use(self, link: Link) -> None:
        link.received = self._received
        link.lost = self._lost
        self._link = link

    async def _drop(self) -> None:
        self._sessions.clear()
        link, self._link = self._link, None
        if link is not None:
            await link.disconnect()

    @callback
    def _lost(self) -> None:
        self._link = None
        self._sessions.clear()
        self._inbox.put_nowait(LinkLostError("the link was lost"))

    @callback
    def _arm_idle(self) -> None:
        self._cancel_idle()
        if self._link is not None and not self._holders:
            self._idle_timer = self._hass.loop.call_later(IDLE_HOLD, self._idle)

    @callback
    def _cancel_idle(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    @callback
    def _idle(self) -> None:
        self._idle_timer = None
        self._hass.async_create_background_task(
            self._drop_idle(), f"{self.name} idle", eager_start=True
        )

    async def _drop_idle(self) -> None:
        async with self._lock:
            # Somebody may have used it while this waited.
            if not self._holders and self._idle_timer is None:
                await self._drop()

    # --- what comes in --------------------------------------------------------------------------

    @callback
    def _received(self, message: bytes) -> None:
        try:
            match message_kind(message):
                case Kind.SEALED:
                    self._received_sealed(message)
                case Kind.CHALLENGE:
                    self._inbox.put_nowait(parse_challenge(message))
                case Kind.ERROR:
                    self._inbox.put_nowait(LockError(*parse_error(message)))
                case kind:
                    _LOGGER.debug("%s: ignored %s", self.name, kind.name)
        except IlpError as err:
            _LOGGER.debug("%s: broken message: %s", self.name, err)
            self._inbox.put_nowait(LinkLostError(str(err)))

    @callback
    def _received_sealed(self, message: bytes) -> None:
        for session in self._sessions:
            try:
                frames = session.secured.receive(message)
            except AuthenticationError:
                continue
            for item in session.exchange.received(frames):
                if isinstance(item, StateEvent):
                    self.on_event(item)
                    continue
                self._sessions = [session]
                # The lock may have kept the answer until notifications were on.
                earliest, latest = (
                    session.sent_at - CLOCK_TOLERANCE,
                    session.now() + CLOCK_TOLERANCE,
                )
                self.clock_off = not earliest <= item.timestamp <= latest
                self._inbox.put_nowait(item)
            return
        _LOGGER.debug("%s: ignored a sealed message of another session", self.name)

    @callback
    def _drain(self) -> None:
        while not self._inbox.empty():
            self._inbox.get_nowait()

    @callback
    def _written(self) -> None:
        self.writes += 1
        self._timing.written = self._timing.elapsed()

    @property
    def _timing(self) -> Timing:
        if self.timing is None:
            self.timing = Timing(held=False, started=time.monotonic())
        return self.timing


@callback
def _ignore_event(_event: StateEvent) -> None:
    """Do nothing with an event."""
