"""Requests to one lock: connection, session, one retry, and what failed in plain errors.

A session is somebody's: this home's as controller, or a person's, who may do less.
"""

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from homeassistant.core import HomeAssistant, callback

from .carrier import Carrier
from .const import ANSWER_TIMEOUT
from .errors import (
    AccessGoneError,
    GatewayBusyError,
    LockBusyError,
    NeedsPairingError,
    NoAnswerError,
    OperationError,
    OutOfReachError,
    UnsupportedError,
)
from .held import HeldLink
from .ilp import (
    CLOCK_TOLERANCE,
    AuthenticationError,
    ClientSession,
    Command,
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
from .session import Identity, Session, Timing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

__all__ = ["Identity", "LockClient", "always"]

_LOGGER = logging.getLogger(__name__)

_ENDING = frozenset((Result.UNKNOWN_ACCOUNT, Result.DISABLED))
"""A person's session ends with one of these (rule 4)."""


def _no_nonce() -> bytes | None:
    """Have no advertised nonce: ask the lock for one."""
    return None


def always() -> bool:
    """Allow to send again, for requests that do no harm twice."""
    return True


@dataclass(frozen=True, slots=True)
class _Call:
    """What is asked, as whom, and what to do when the first try fails."""

    requests: tuple[Request, ...]
    identity: Identity
    nonce: Callable[[], bytes | None]
    may_repeat: Callable[[], bool]


class LockClient:
    """This home's side of one lock: as controller (slot 255), or in a person's name."""

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
        self._device_id = device_id
        self._controller = Identity.controller(key)
        self.name = name
        self.on_event: Callable[[StateEvent], None] = _ignore
        self.on_session_end: Callable[[], None] = _ignore
        """Told when the lock cannot tell a change by a sealed event any more."""
        self.clock_off = False
        """Whether the last answer's time was missing or more than 2 s off."""
        self.timing: Timing | None = None
        self.writes = 0
        """Number of messages with requests written so far."""
        self._lock = asyncio.Lock()
        self._retried = False
        self._asked = False  # the newest session's nonce is a CHALLENGE's
        # Newest first; an older one stays until an answer tells which of them the lock took.
        self._sessions: list[Session] = []
        self._inbox: asyncio.Queue[Reply | LockError | LinkLostError | bytes] = asyncio.Queue()
        self.held = HeldLink(hass, address, name, self._lock, self._received, self._ended)
        """The connection."""
        self.carrier = Carrier(self.held, self._lock, self)
        """Who else's sessions travel on it: relays."""
        if link is not None:
            self.held.use(link)

    def rename(self, name: str) -> None:
        """Speak of the lock by another name."""
        self.name = self.held.name = name

    @property
    def session_alive(self) -> bool:
        """Whether the lock could tell a change of state right now, by a sealed event."""
        return self.held.link is not None and bool(self._sessions)

    async def async_request(
        self,
        *requests: Request,
        nonce: Callable[[], bytes | None] = _no_nonce,
        may_repeat: Callable[[], bool] = always,
        wanted: Callable[[], bool] = always,
        identity: Identity | None = None,
    ) -> list[Reply]:
        """Send requests in one message and return their answers in order.

        Without a running session of this `identity` (None: the controller) the message itself
        opens one: on `nonce()`, the advertised one, or else on one the lock is asked for. `may_repeat` is asked right before anything is sent
        again: once with the nonce of an ERROR or after an answer that it came too late, once on a
        new connection. `wanted` is asked when it is this request's turn: LockBusyError when it has
        waited too long. Raises kin of OperationError; AccessGoneError when the lock does not accept
        a person's key. What a person may not do the answers say.
        """
        call = _Call(requests, identity or self._controller, nonce, may_repeat)
        async with self._lock:
            if not wanted():
                raise LockBusyError(self.name)
            self.held.cancel_idle()
            self.timing = Timing(held=self.held.link is not None, started=time.monotonic())
            self._retried = False
            try:
                return await self._reconnecting(call)
            except LockError as err:
                await self.held.drop()
                raise self._refusal(err, call.identity) from err
            except OperationError:
                raise
            except BaseException:
                # Cancelled or broken: an answer may still come, to a question nobody asks then.
                await self.held.drop()
                raise
            finally:
                self.held.arm_idle()

    async def async_read(self, *uuids: str) -> list[bytes | None]:
        """Read characteristics, None for missing ones. Not authenticated: only for showing."""
        async with self._lock:
            self.held.cancel_idle()
            try:
                link = self.held.link or await self._connect()
                return [await link.read(uuid) for uuid in uuids]
            except LinkLostError as err:
                await self.held.drop()
                raise NoAnswerError(self.name) from err
            finally:
                self.held.arm_idle()

    @callback
    def confirmed(self) -> None:
        """Note in the timing that what was requested is known to be done."""
        self._timing.confirmed = self._timing.elapsed()

    @asynccontextmanager
    async def suspended(self) -> AsyncGenerator[None]:
        """Let go of the lock and ask it nothing meanwhile; what was under way ends first."""
        self.carrier.give_way()
        async with self._lock:
            self.held.cancel_idle()
            await self.held.drop()
            yield

    async def async_disconnect(self) -> None:
        """End the connection; the next request makes a new one."""
        self.carrier.give_way()
        self.held.cancel_idle()
        self._inbox.put_nowait(LinkLostError("the connection was ended here"))
        await self.held.drop()

    async def async_close(self) -> None:
        """End the connection for good."""
        self.held.close()
        await self.async_disconnect()

    # --- one request ----------------------------------------------------------------------------

    async def _reconnecting(self, call: _Call) -> list[Reply]:
        try:
            return await self._attempt(call)
        except (LinkLostError, TimeoutError) as err:
            _LOGGER.debug("%s: %r, connecting once more", self.name, err)
            await self.held.drop()
            # Nothing was written yet: then even *open* may be tried again.
            if self._timing.written is not None and not call.may_repeat():
                raise NoAnswerError(self.name) from err
        written = self._timing.written is not None
        try:
            return await self._attempt(call)
        except (LinkLostError, TimeoutError) as err:
            _LOGGER.debug("%s: %r", self.name, err)
            await self.held.drop()
            raise NoAnswerError(self.name) from err
        except (GatewayBusyError, OutOfReachError) as err:
            if not written:
                raise
            # What came of the first message is not known, and that is what matters now.
            raise NoAnswerError(self.name) from err

    async def _attempt(self, call: _Call) -> list[Reply]:
        link = self.held.link or await self._connect()
        # Connecting takes seconds, in which what was sent before may have been seen to be done.
        if self._timing.written is not None and not call.may_repeat():
            raise NoAnswerError(self.name)
        self._drain()
        if self._sessions and self._sessions[0].identity == call.identity:
            session = self._sessions[0]
            await link.send(session.secured.seal(session.stamp(call.requests)))
            self._written()
        elif (advertised := call.nonce()) is not None:
            # The fast path: the first thing written after connecting, before notifications.
            await self._open(link, NonceSource.ADVERTISED, advertised, call)
        else:
            await self._open(link, NonceSource.CHALLENGE, await self._challenge(link), call)
            self._asked = True
        await link.listen()
        try:
            replies = await self._replies(call)
        except LockError as err:
            # Not authenticated, so it is worth one retry of this request and nothing more
            # (section 4). Nor may it say that the key is refused, unless the lock was asked for
            # the nonce: of an advertised one the lock never says so.
            worth = err.code in (ErrorCode.TRY_AGAIN, ErrorCode.NO_SESSION) or (
                err.code is ErrorCode.AUTHENTICATION_FAILED and not self._asked
            )
            if self._retried or not worth or not call.may_repeat():
                raise
            self._retried = True
            fresh = err.nonce
        else:
            late = all(reply.result is Result.TOO_OLD for reply in replies)
            if not late or not call.may_repeat():
                return replies
            # Nothing was done (rule 5): once more in a new session.
            fresh = await self._challenge(link)
        await self._open(link, NonceSource.CHALLENGE, fresh, call)
        return await self._replies(call)

    async def _open(self, link: Link, source: NonceSource, nonce: bytes, call: _Call) -> None:
        identity = call.identity
        secured = ClientSession(identity.key, self._device_id, identity.slot, source, nonce)
        session = Session(secured, identity)
        message = secured.open(session.stamp((*identity.opening(), *call.requests)))
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

    async def _replies(self, call: _Call) -> list[Reply]:
        """Return the answers to what was asked, without that to the opening of a session."""
        replies: list[Reply] = []
        async with asyncio.timeout(ANSWER_TIMEOUT):
            while len(replies) < len(call.requests):
                match await self._inbox.get():
                    case Reply(command=Command.AUTHENTICATE):
                        # Refused, it ends the session: the answers that follow say why.
                        pass
                    case Reply() as reply:
                        replies.append(reply)
                    case (LockError() | LinkLostError()) as err:
                        raise err
        self._timing.answered = self._timing.elapsed()
        if call.identity.is_person and any(reply.result in _ENDING for reply in replies):
            self.sessions_over()
        return replies

    def _refusal(self, err: LockError, identity: Identity) -> OperationError:
        match err.code:
            case ErrorCode.AUTHENTICATION_FAILED if identity.is_person:
                # Says nothing of the home's own key.
                return AccessGoneError(self.name, person=identity.name)
            case ErrorCode.AUTHENTICATION_FAILED if self._asked:
                return NeedsPairingError(self.name)
            case ErrorCode.BUSY:
                return LockBusyError(self.name)
            case ErrorCode.VERSION:
                return UnsupportedError(self.name)
            case _:
                return NoAnswerError(self.name)

    # --- the connection -------------------------------------------------------------------------

    async def _connect(self) -> Link:
        link = await self.held.connect()
        self._timing.connections += 1
        self._timing.connected = self._timing.elapsed()
        return link

    @callback
    def _ended(self, lost: bool) -> None:
        self.sessions_over()
        self.carrier.link_ended()
        if lost:
            self._inbox.put_nowait(LinkLostError("the link was lost"))

    @callback
    def sessions_over(self) -> None:
        """Take that the lock knows none of this client's sessions any more."""
        self._sessions.clear()
        self.on_session_end()

    # --- what comes in --------------------------------------------------------------------------

    @callback
    def _received(self, message: bytes) -> None:
        if self.carrier.received(message):
            return
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
def _ignore(_event: StateEvent | None = None) -> None:
    """Do nothing with an event or an end."""
