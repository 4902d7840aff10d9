"""What may pass between a remote client and a lock: the pure part of a relay (ILP1 section 6).

This home holds the lock's key, so it checks what the lock would check, and what only the home knows:
that somebody may do it from afar, and what the owner wants now, though the lock may not know it yet.
Whose session it is says the slot whose key made the tags, and nothing that a server writes.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from ..ilp import (
    CONTROLLER_SLOT,
    AuthenticationError,
    Command,
    FrameType,
    IlpError,
    Kind,
    NonceSource,
    Operation,
    Right,
    SessionVerifier,
    parse_challenge,
    parse_error,
)
from ..ilp.const import ACCOUNT_SLOT_MAX, AGE_MAX, MESSAGE_MAX, NONCE_SIZE, SEALED_FRAME_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..account_plan import Terms
    from ..ilp import Account, Frame

_OPEN_HEAD: Final = 3 + NONCE_SIZE
_PRESENT: Final = Right.ENABLED | Right.REMOTE_USE
_OPERATIONS: Final = {
    Operation.LOCK: Right.LOCK,
    Operation.UNLOCK: Right.UNLOCK,
    Operation.OPEN: Right.OPEN,
}
_COMMANDS: Final = {
    Command.AUTHENTICATE: Right(0),
    Command.OPERATE: Right(0),
    Command.GET_STATUS: Right(0),
    Command.GET_LOG: Right.READ_LOG,
    Command.GET_ADVERTISEMENT_KEY: Right.FOLLOW_STATE,
}
"""What each command needs. No other goes to a lock from afar: who manages a lock is at home."""
_SESSIONS: Final = 2
"""The newest session, and the one before while nobody knows whether the lock took the newest."""


class Why(Enum):
    """Why a relay may not go on."""

    MALFORMED = "malformed"
    FORBIDDEN = "forbidden"


class RelayRefused(Exception):  # noqa: N818  a verdict, not a fault
    """Nothing of the message goes to the lock. The text says what is wrong and holds no bytes of it."""

    def __init__(self, why: Why, text: str) -> None:
        super().__init__(text)
        self.why = why


@dataclass(frozen=True, slots=True)
class Moment:
    """A time as this home has it: Unix seconds, and the minutes by which local time is ahead of UTC."""

    time: int
    utc_offset: int


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who holds a slot: a person of this home.

    `account` as the lock holds it by its own word, `terms` as the owner wants it now; `uses_agreed`:
    the number of uses is what was written to the lock and fell since then.
    """

    person_id: str
    account: Account = field(repr=False)
    key: bytes = field(repr=False)
    terms: Terms
    uses_agreed: bool

    def present(self, moment: Moment) -> None:
        """RelayRefused unless this person may use the lock from afar at all."""
        for rights in (self.account.rights, self.terms.rights):
            if _PRESENT not in rights:
                raise _forbidden("no access from afar")
        for begin, end in (
            (self.account.not_before, self.account.not_after),
            (self.terms.not_before, self.terms.not_after),
        ):
            if moment.time < begin or 0 < end <= moment.time:
                raise _forbidden("outside the access's time")

    def may(self, right: Right) -> bool:
        """Whether the lock and the owner both give a right."""
        return right in self.account.rights & self.terms.rights

    def operate(self, operation: Operation, moment: Moment) -> None:
        """RelayRefused unless this person may do that now."""
        if not self.may(_OPERATIONS[operation]):
            raise _forbidden("no right to operate so")
        for one in (self.account, self.terms):
            if not in_hours(one, moment):
                raise _forbidden("outside the hours")
        if operation is not Operation.LOCK and (
            self.account.uses == 0 or (not self.uses_agreed and self.terms.uses < self.account.uses)
        ):
            raise _forbidden("no uses left")


def in_hours(one: Account | Terms, moment: Moment) -> bool:
    """Whether a local minute is in weekly hours; both minutes count, as at the lock (section 5.5)."""
    if not one.weekdays:
        return True
    minutes = moment.time // 60 + moment.utc_offset
    day, minute = (minutes // 1440 + 3) % 7, minutes % 1440  # 1970-01-01 was a Thursday
    today, before = (bool(one.weekdays >> each % 7 & 1) for each in (day, day - 1))
    if one.first_minute <= one.last_minute:
        return today and one.first_minute <= minute <= one.last_minute
    # Past midnight: the hours belong to the day they began.
    return (today and minute >= one.first_minute) or (before and minute <= one.last_minute)


@dataclass(frozen=True, slots=True)
class Passed:
    """A message that may go to the lock; whether it opens a session and may move the bolt."""

    opens: bool = False
    moves: bool = False


class Passage:
    """The messages of one relay.

    `tenant_of` returns who holds a slot, None for nobody who may relay; `advertised` the nonces that
    were passed on lately, newest first; `first_time` takes what makes an opening unlike all others,
    beginning with device and slot, and tells whether it is new.
    """

    def __init__(
        self,
        device_id: bytes,
        tenant_of: Callable[[int], Tenant | None],
        advertised: Callable[[], Sequence[bytes]],
        first_time: Callable[[bytes], bool],
    ) -> None:
        self.slot: int | None = None
        """Whose relay it is, once a session was opened in it."""
        self._device_id = device_id
        self._tenant_of = tenant_of
        self._advertised = advertised
        self._first_time = first_time
        self._nonce: bytes | None = None
        self._asked = 0
        self._said = False
        self._sessions: list[SessionVerifier] = []
        self.told: list[Frame] = []
        """What the lock said last in a session, if the last message was sealed."""

    # --- to the lock ----------------------------------------------------------------------------

    def to_lock(self, message: bytes, moment: Moment) -> Passed:
        """Judge a message of the client; RelayRefused. Call it once for each that is to be sent."""
        if not 0 < len(message) <= MESSAGE_MAX:
            raise _malformed("a message has 1 to 512 bytes")
        try:
            match message[0]:
                case Kind.CHALLENGE_REQUEST:
                    passed = self._challenge(message)
                case Kind.SESSION_OPEN:
                    passed = self._open(message, moment)
                case Kind.SEALED:
                    passed = self._sealed(message, moment)
                case _:
                    raise _forbidden("a kind that is not relayed")
        except AuthenticationError as err:
            raise _forbidden("wrong tag") from err
        except IlpError as err:
            raise _malformed(str(err)) from err
        self._said = True
        return passed

    def _challenge(self, message: bytes) -> Passed:
        if len(message) != 1:
            raise _malformed("a challenge is asked for without more")
        self._asked += 1
        return Passed()

    def _open(self, message: bytes, moment: Moment) -> Passed:
        if len(message) < _OPEN_HEAD + SEALED_FRAME_SIZE:
            raise _malformed("no frame")
        slot = message[1]
        source = NonceSource.parse(message[2])
        if slot == CONTROLLER_SLOT or slot > ACCOUNT_SLOT_MAX:
            raise _forbidden("nobody's slot")
        if self.slot not in (None, slot):
            raise _forbidden("another slot than before")
        tenant = self._tenant(slot)
        if source is NonceSource.ADVERTISED:
            nonces = self._advertised()
        else:
            nonces = () if self._nonce is None else (self._nonce,)
            self._nonce = None  # good for one attempt
        session, nonce, frames = self._verified(message, tenant, source, nonces)
        # What is new is whether these very bytes could open a session: nonces of both sides.
        if not self._first_time(self._device_id + bytes((slot, source)) + nonce + message[3:11]):
            raise _forbidden("opened before")
        first = frames[0]
        if (first.command, first.type) != (Command.AUTHENTICATE, FrameType.REQUEST):
            raise _forbidden("a person's session begins with 02")
        moves = self._judge(tenant, frames, moment)
        self.slot = slot
        self._sessions = [session, *self._sessions][:_SESSIONS]
        return Passed(opens=True, moves=moves)

    def _verified(
        self, message: bytes, tenant: Tenant, source: NonceSource, nonces: Sequence[bytes]
    ) -> tuple[SessionVerifier, bytes, list[Frame]]:
        for nonce in nonces:
            session = SessionVerifier(
                tenant.key, self._device_id, tenant.account.slot, source, nonce
            )
            try:
                return session, nonce, session.open(message)
            except AuthenticationError:
                continue
        raise _forbidden("no session with a nonce that was given")

    def _sealed(self, message: bytes, moment: Moment) -> Passed:
        if self.slot is None:
            raise _forbidden("no session")
        tenant = self._tenant(self.slot)
        for session in self._sessions:
            try:
                frames = session.receive(message)
            except AuthenticationError:
                continue
            return Passed(moves=self._judge(tenant, frames, moment))
        raise _forbidden("wrong tag")

    def _tenant(self, slot: int) -> Tenant:
        tenant = self._tenant_of(slot)
        if tenant is None or tenant.account.slot != slot:
            raise _forbidden("nobody who may relay")
        return tenant

    def _judge(self, tenant: Tenant, frames: Sequence[Frame], moment: Moment) -> bool:
        """Judge what is asked; return whether it may move the bolt."""
        tenant.present(moment)
        moves = False
        for frame in frames:
            if frame.type != FrameType.REQUEST or frame.command not in _COMMANDS:
                raise _forbidden("a command that is not relayed")
            command = Command(frame.command)
            if not tenant.may(_COMMANDS[command]):
                raise _forbidden("no right to ask that")
            if command is Command.AUTHENTICATE:
                if not hmac.compare_digest(frame.value, tenant.account.account_id):
                    raise _forbidden("another account")
            elif command is Command.OPERATE:
                if not 1 <= frame.value[1] <= AGE_MAX:
                    raise _malformed("an age out of range")
                tenant.operate(Operation.parse(frame.value[0]), moment)
                moves = True
        return moves

    # --- from the lock --------------------------------------------------------------------------

    def from_lock(self, message: bytes) -> bool:
        """Whether a message of the lock is this relay's; what is another session's stays here."""
        self.told = []
        if not self._said or not message or len(message) > MESSAGE_MAX:
            return False
        try:
            match message[0]:
                case Kind.CHALLENGE if self._asked:
                    self._nonce = parse_challenge(message)
                    self._asked -= 1
                    return True
                case Kind.ERROR:
                    # Of nobody in particular; it gives a nonce and starts no trust.
                    _, self._nonce = parse_error(message)
                    return True
                case Kind.SEALED:
                    return self._answered(message)
        except IlpError:
            pass
        return False

    def _answered(self, message: bytes) -> bool:
        for session in self._sessions:
            try:
                self.told = session.answered(message)
            except AuthenticationError:
                continue
            self._sessions = [session]
            return True
        return False


def _forbidden(text: str) -> RelayRefused:
    return RelayRefused(Why.FORBIDDEN, text)


def _malformed(text: str) -> RelayRefused:
    return RelayRefused(Why.MALFORMED, text)
