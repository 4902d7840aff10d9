"""What is said between this client and a lock within one relay, without input and output of its own.

```text
            nonce from a state                         without one: the lock is asked
START ──────── 12 SESSION_OPEN ───────▶ ASKED ◀── 12 ── CHALLENGED ◀── 10 CHALLENGE_REQUEST ── START
ASKED ── 1F ERROR, once ── 12 with its nonce ──▶ ASKED        ASKED ── result 9, once ── 10 ──▶ CHALLENGED
ASKED ── all answers, nothing moves ──▶ OVER                  ASKED ── accepted ──▶ MOVING ── state event ──▶ OVER
```

Only sealed messages of this client's own sessions say what the lock did. A message whose tag is wrong is another's and is
ignored; a CHALLENGE or ERROR is anybody's and causes one retry, nothing more. *Accepted* is not *done*: done is what the
lock's event says, or its answer when the bolt was there already.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from ilp import (
    COUNTER_MAX,
    AuthenticationError,
    Bolt,
    ClientSession,
    Command,
    Door,
    ErrorCode,
    Event,
    Exchange,
    IlpError,
    Kind,
    MalformedError,
    NonceSource,
    Operation,
    Reply,
    Request,
    Result,
    StateEvent,
    Status,
    challenge_request,
    message_kind,
    parse_challenge,
    parse_error,
    requests,
)

from .errors import (
    AcceptedOnlyError,
    BrokenLockError,
    ElsewhereError,
    JammedError,
    RacError,
    RefusedSecondError,
    lock_error_said,
    lock_refused,
)

if TYPE_CHECKING:
    from .keys import LockKeys

MAX_AGE: Final = 10
"""Seconds after which the lock no longer does an operation."""
CLOCK_TOLERANCE: Final = 5
"""Seconds by which the lock's clock may differ before its next session is one that it was asked for."""

_OUTCOMES: Final = {
    Event.LOCKED: Bolt.LOCKED,
    Event.UNLOCKED: Bolt.UNLOCKED,
    Event.OPENED: Bolt.OPEN,
    Event.JAMMED: Bolt.JAMMED,
}
_WANTED: Final = {
    Operation.LOCK: (Bolt.LOCKED,),
    Operation.UNLOCK: (Bolt.UNLOCKED, Bolt.OPEN),
    Operation.OPEN: (Bolt.OPEN,),
}
_ALWAYS: Final = frozenset((Result.NO_RIGHT, Result.NOT_SUPPORTED, Result.BAD_VALUE))
"""What the lock would have answered to the first try as well."""
_MOVING: Final = {Operation.LOCK: Bolt.LOCKING, Operation.UNLOCK: Bolt.UNLOCKING}

type More = Callable[[list[Reply]], Sequence[Request]]


class Step(Enum):
    """Where a conversation is."""

    START = auto()
    CHALLENGED = auto()
    ASKED = auto()
    MOVING = auto()
    OVER = auto()


@dataclass(frozen=True, slots=True)
class Done:
    """The lock has said that an operation is done. `already`: the bolt was there before."""

    operation: Operation
    bolt: Bolt
    door: Door
    already: bool

    @property
    def door_open(self) -> bool:
        """Whether it is locked while the door stands open, which keeps nobody out."""
        return self.operation is Operation.LOCK and self.door is Door.OPEN


@dataclass(slots=True)
class _Session:
    sealed: ClientSession
    exchange: Exchange


def _nothing_more(_replies: list[Reply]) -> Sequence[Request]:
    return ()


class Conversation:
    """One exchange with a lock.

    Args:
        keys: this person's account there.
        wanted: requests of the first message, after the one that authenticates.
        nonce: of the lock's newest state, or None to ask the lock for one.
        timestamp: Unix seconds by one monotonic clock.
        may_repeat: asked right before the requests are sent again.
        operation: what `wanted` moves, if it does.
        more: gets the answers, returns what to ask next; nothing ends the conversation.

    Public attributes, to be read only: `step`, `over`, `done`, `error` (one of the two last is set at the end of an
    operation), `replies`, `states` (all that the lock said of its state, in order), `clock_off`.
    """

    def __init__(
        self,
        keys: LockKeys,
        wanted: Sequence[Request],
        *,
        nonce: bytes | None,
        timestamp: Callable[[], int],
        may_repeat: Callable[[], bool],
        operation: Operation | None = None,
        more: More = _nothing_more,
    ) -> None:
        self.step = Step.START
        self.done: Done | None = None
        self.error: RacError | None = None
        self.replies: list[Reply] = []
        self.states: list[Status | StateEvent] = []
        self.clock_off = False
        self._keys = keys
        self._wanted = tuple(wanted)
        self._nonce = nonce
        self._timestamp = timestamp
        self._may_repeat = may_repeat
        self._operation = operation
        self._more = more
        self._retried = False
        self._doubtful = False  # an ERROR, which anybody can write, was believed once
        self._asked = False  # whether the lock gave the nonce for the newest session
        self._sessions: list[_Session] = []  # newest first
        self._due = 0
        self._collected: list[Reply] = []
        self._early: list[StateEvent] = []
        self._accepted_at: int | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more is waited for."""
        return self.step is Step.OVER

    def start(self) -> bytes:
        """Return the relay's first message."""
        if self._nonce is None:
            self.step = Step.CHALLENGED
            return challenge_request()
        return self._open(NonceSource.ADVERTISED, self._nonce)

    def feed(self, message: bytes) -> list[bytes]:
        """Take a message that came in the lock's name; return what to send next. Never raises."""
        if self.over:
            return []
        try:
            kind = message_kind(message)
            if kind is Kind.SEALED:
                return self._sealed(message)
            if kind is Kind.CHALLENGE and self.step is Step.CHALLENGED:
                return self._challenged(parse_challenge(message))
            if kind is Kind.ERROR:
                return self._error(*parse_error(message))
        except AuthenticationError, MalformedError:
            pass  # another session's, or junk
        return []

    def broken_off(self, error: RacError) -> None:
        """End it: the relay is over, or took too long. What is known by then stays known."""
        if self.over:
            return
        if self.step is Step.MOVING:
            self._fail(AcceptedOnlyError(error.sentence))
        else:
            self._fail(error)

    # --- what comes in

    def _sealed(self, message: bytes) -> list[bytes]:
        for session in self._sessions:
            try:
                frames = session.sealed.receive(message)
            except AuthenticationError:
                continue
            try:
                items = session.exchange.received(frames)
                return self._take(session, items)
            except IlpError:
                # Its tags are right, so the lock itself wrote nonsense.
                self._fail(BrokenLockError())
                return []
        return []

    def _take(self, session: _Session, items: list[Reply | StateEvent]) -> list[bytes]:
        out: list[bytes] = []
        for item in items:
            if self.over:
                break
            if isinstance(item, StateEvent):
                self.states.append(item)
                self._event(item)
            else:
                out += self._reply(session, item)
        return out

    def _reply(self, session: _Session, reply: Reply) -> list[bytes]:
        if reply.timestamp:
            self.clock_off = abs(reply.timestamp - self._timestamp()) > CLOCK_TOLERANCE
        if self.step is not Step.ASKED:
            return []  # of the session before a retry that was not needed
        if reply.command == Command.AUTHENTICATE:
            if reply.result not in (Result.DONE, Result.TOO_OLD):
                self._refused(reply.result)
            return []
        if len(self._sessions) > 1:
            # An answer tells which of two sessions the lock took: the other one counts no more.
            self._sessions = [session]
        self._collected.append(reply)
        if len(self._collected) < self._due:
            return []
        replies, self._collected = self._collected, []
        if all(reply.result is Result.TOO_OLD for reply in replies):
            return self._too_old()
        self.replies += replies
        if self._operation is not None:
            self._operated(Status.of(replies[-1]), self._operation)
            return []
        return self._answered(session, replies)

    def _answered(self, session: _Session, replies: list[Reply]) -> list[bytes]:
        for reply in replies:
            if reply.command == Command.GET_STATUS:
                status = Status.of(reply)
                if status.result is Result.DONE:
                    self.states.append(status)
            if reply.result is not Result.DONE:
                self._refused(reply.result)
                return []
        further = self._more(replies)
        if not further:
            self.step = Step.OVER
            return []
        self._due = len(further)
        frames = [request.at(self._timestamp()) for request in further]
        session.exchange.sent(frames)
        return [session.sealed.seal(frames)]

    def _operated(self, status: Status, operation: Operation) -> None:
        told = status.result not in (
            Result.UNKNOWN_ACCOUNT,
            Result.DISABLED,
            Result.OUTSIDE_TIME,
        )  # fmt: skip  with these the lock tells nothing of the door
        if told:
            self.states.append(status)
        moving = status.result is Result.ACCEPTED or (
            # Somebody else's movement to the same place: its end is as good.
            status.result is Result.BUSY and status.bolt is _MOVING.get(operation)
        )
        if status.result is Result.DONE or (moving and status.bolt in _WANTED[operation]):
            if status.bolt in _WANTED[operation]:
                self._succeed(status.bolt, status.door, already=status.result is Result.DONE)
            else:
                self._fail(BrokenLockError())
        elif moving:
            self.step = Step.MOVING
            self._accepted_at = status.counter
            for event in self._early:
                self._event(event)
        else:
            self._refused(status.result)

    def _event(self, event: StateEvent) -> None:
        if self._operation is None or (bolt := _OUTCOMES.get(event.event)) is None:
            return
        if self._accepted_at is None:
            self._early.append(event)
            return
        # The record of an end moves the counter on; at the end of its range it stays.
        if self.over or not (event.counter > self._accepted_at or event.counter == COUNTER_MAX):
            return
        if bolt in _WANTED[self._operation]:
            self._succeed(bolt, event.door, already=False)
        elif bolt is Bolt.JAMMED:
            self._fail(JammedError())
        elif not (self._operation is Operation.OPEN and bolt is Bolt.UNLOCKED):
            self._fail(ElsewhereError())  # else on its way: the latch comes after the bolt

    def _error(self, code: ErrorCode, nonce: bytes) -> list[bytes]:
        if self.step is Step.CHALLENGED:
            if code in (ErrorCode.BUSY, ErrorCode.VERSION):
                self._fail(lock_error_said(code))
                return []
            return self._challenged(nonce)
        if self.step is not Step.ASKED:
            return []
        # Of an advertised nonce the lock never says that the key is wrong (section 4.2).
        worth = code in (ErrorCode.TRY_AGAIN, ErrorCode.NO_SESSION) or (
            code is ErrorCode.AUTHENTICATION_FAILED and not self._asked
        )
        if not worth or self._retried or self._collected or self.replies or not self._may_repeat():
            self._fail(lock_error_said(code))
            return []
        self._retried = self._doubtful = True
        return [self._open(NonceSource.CHALLENGE, nonce)]

    def _too_old(self) -> list[bytes]:
        """Nothing was done (rule 5): once more, in a session that the lock gives the nonce for."""
        if self._retried or not self._may_repeat():
            self._refused(Result.TOO_OLD)
            return []
        self._retried = True
        self._sessions.clear()
        self.step = Step.CHALLENGED
        return [challenge_request()]

    # --- what goes out

    def _challenged(self, nonce: bytes) -> list[bytes]:
        if self._retried and not self._may_repeat():
            self._refused(Result.TOO_OLD)
            return []
        return [self._open(NonceSource.CHALLENGE, nonce)]

    def _open(self, source: NonceSource, nonce: bytes) -> bytes:
        keys = self._keys
        session = _Session(
            ClientSession(keys.key, keys.device_id, keys.slot, source, nonce), Exchange()
        )
        stamp = self._timestamp()
        opening = (requests.authenticate(keys.account_id), *self._wanted)
        frames = [request.at(stamp) for request in opening]
        session.exchange.sent(frames)
        message = session.sealed.open(frames)
        self._sessions.insert(0, session)
        self._asked = source is NonceSource.CHALLENGE
        self._due = len(self._wanted)
        self.step = Step.ASKED
        return message

    # --- ends

    def _succeed(self, bolt: Bolt, door: Door, *, already: bool) -> None:
        if self._operation is not None:
            self.done = Done(self._operation, bolt, door, already)
        self.step = Step.OVER

    def _refused(self, result: Result) -> None:
        """The lock refused, sealed. Whether it also took a message before, to which an unsealed ERROR came, is another question."""
        error = lock_refused(result)
        if self._doubtful and self._operation is not None and result not in _ALWAYS:
            self._fail(RefusedSecondError(error.sentence))
        else:
            self._fail(error)

    def _fail(self, error: RacError) -> None:
        self.error = error
        self.step = Step.OVER


__all__ = ["Conversation", "Done", "More", "Step"]
