"""Everything that can go wrong, each with a class and a sentence of its own: the first line of the class's docstring.

What they say about an operation that was wanted is told by four bases, and by nothing finer:

- NotSentError: nothing left this client.
- LockRefusedError: the lock itself says, sealed, that it did nothing. The only *certain* no.
- ServerSaysError: the server or the home says why not. True as long as the server is honest, so it is no proof.
- UnconfirmedError: something was sent and no sealed answer says what became of it. Look at the lock's state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ilp import ErrorCode, Result

from .wire import CloseCode, Status

if TYPE_CHECKING:
    from collections.abc import Mapping


class RacError(Exception):
    """Something did not work."""

    def __init__(self, detail: str = "") -> None:
        """`detail` is for people; it must carry no key, token or secret."""
        super().__init__(detail)
        self.detail = detail

    @property
    def sentence(self) -> str:
        """One sentence for people."""
        return (type(self).__doc__ or type(self).__name__).partition("\n")[0]

    def __str__(self) -> str:
        return f"{self.sentence} ({self.detail})" if self.detail else self.sentence


class NotSentError(RacError):
    """Nothing was sent."""


class UnconfirmedError(RacError):
    """Nobody can tell what became of it: look at the lock's state."""


# --- before there is a session


class LinkTextError(RacError):
    """This is no link of an invitation."""


class AddressError(NotSentError):
    """This is no address to trust: https is needed, plain http only on this very machine."""


class StateFileError(NotSentError):
    """The file with this client's keys cannot be used."""


class NoSuchLockError(NotSentError):
    """There is no such lock here."""


class NotJoinedError(NotSentError):
    """This client has not joined a home yet."""


class JoinPendingError(RacError):
    """The home has not answered yet: the request waits for it for 7 days, so try again later."""


class JoinGoneError(RacError):
    """The server knows no such invitation: it has expired, was withdrawn, was used, or never was."""


class JoinRefusedError(RacError):
    """The home refused: another device used this link before, or it is no longer good."""


class JoinWrongError(RacError):
    """The home says that the secret in the link is wrong: it was not copied whole."""


class BoxError(RacError):
    """What came as keys was not sealed by the home that made the link: it is not used."""


# --- the way to the server


class UnreachableError(NotSentError):
    """The server cannot be reached."""


class CertificateError(NotSentError):
    """The server's certificate is not one to trust."""


class BadAnswerError(RacError):
    """The server's answer cannot be read."""


class NotConnectedError(NotSentError):
    """There is no connection to the server now."""


class LockInUseError(NotSentError):
    """This client is speaking with this lock already."""


class ClosedError(NotSentError):
    """The server closed the connection."""

    code: ClassVar[int] = 0
    lasting: ClassVar[bool] = False
    """Whether connecting again by itself would change nothing."""
    of: ClassVar[dict[int, type[ClosedError]]] = {}

    def __init_subclass__(cls) -> None:
        cls.of[cls.code] = cls


class ServerFailedClosedError(ClosedError):
    """The server closed the connection because it failed."""

    code = CloseCode.SERVER_FAILED


class RestartsClosedError(ClosedError):
    """The server stops or starts again."""

    code = CloseCode.RESTARTS


class NotReadyClosedError(ClosedError):
    """The server is not ready."""

    code = CloseCode.NOT_READY


class MalformedClosedError(ClosedError):
    """The server could not read what this client sent: it may be too old for the server."""

    code = CloseCode.MALFORMED


class SignInClosedError(ClosedError):
    """The session has ended: sign in again, or ask the home for a new invitation."""

    code = CloseCode.SIGN_IN
    lasting = True


class RevokedClosedError(ClosedError):
    """The server no longer lets this client in."""

    code = CloseCode.REVOKED
    lasting = True


class SilentClosedError(ClosedError):
    """The server closed the connection: this client was silent for too long or read too slowly."""

    code = CloseCode.SILENT


class ReplacedClosedError(ClosedError):
    """The server closed the connection in favour of a newer one."""

    code = CloseCode.REPLACED


class TooLargeClosedError(ClosedError):
    """The server closed the connection: a message was too large."""

    code = CloseCode.TOO_LARGE


class TooManyClosedError(ClosedError):
    """The server closed the connection: too many messages, or more than 8 connections of this person."""

    code = CloseCode.TOO_MANY


def closed(code: int | None) -> ClosedError:
    """Return the error of a close code."""
    return ClosedError.of.get(code or 0, ClosedError)(f"{code}" if code else "")


# --- what the server or the home says (Table 1)


class ServerSaysError(RacError):
    """The server refused for a reason that this client does not know."""

    status: ClassVar[int] = -1
    of: ClassVar[dict[int, type[ServerSaysError]]] = {}

    def __init_subclass__(cls) -> None:
        cls.of[cls.status] = cls


class ServerFailedError(ServerSaysError):
    """The server says that it failed."""

    status = Status.FAILED


class MalformedRequestError(ServerSaysError):
    """The server says that the request has the wrong form."""

    status = Status.MALFORMED


class SignInError(ServerSaysError):
    """The server says that one has to sign in first."""

    status = Status.SIGN_IN


class WrongCredentialsError(ServerSaysError):
    """The server says that e-mail address and password do not fit."""

    status = Status.WRONG_CREDENTIALS


class SecondStepError(ServerSaysError):
    """The server asks for the second step of signing in."""

    status = Status.SECOND_STEP


class WrongCodeError(ServerSaysError):
    """The server says that the code is wrong or too old."""

    status = Status.WRONG_CODE


class TooManyAttemptsError(ServerSaysError):
    """The server says that there were too many attempts: wait."""

    status = Status.TOO_MANY_ATTEMPTS


class NotPermittedError(ServerSaysError):
    """The server says that this is not permitted."""

    status = Status.NOT_PERMITTED


class NotFoundError(ServerSaysError):
    """The server says that this is not there, or not yours."""

    status = Status.NOT_FOUND


class ExistsError(ServerSaysError):
    """The server says that there is something else by this name already."""

    status = Status.EXISTS


class GatewayOfflineError(ServerSaysError):
    """The server says that the home is not connected."""

    status = Status.GATEWAY_OFFLINE


class OutOfReachError(ServerSaysError):
    """The home says that the lock is out of its reach."""

    status = Status.OUT_OF_REACH


class LockBusyError(ServerSaysError):
    """The home says that the lock is in use."""

    status = Status.LOCK_BUSY


class ExpiredError(ServerSaysError):
    """The server says that it came too late."""

    status = Status.EXPIRED


class OutcomeUnknownError(ServerSaysError):
    """The server says that nobody knows what became of it."""

    status = Status.UNKNOWN


class RefusedByHomeError(ServerSaysError):
    """The home refuses: you have no right to this, remote use is not allowed now, or the keys here are old."""

    status = Status.REFUSED_BY_HOME


class RefusedByLockError(ServerSaysError):
    """The home says that the lock refused."""

    status = Status.REFUSED_BY_LOCK


class TooLargeError(ServerSaysError):
    """The server says that the request is too large."""

    status = Status.TOO_LARGE


class SlowDownError(ServerSaysError):
    """The server says that this was too often: wait a minute."""

    status = Status.SLOW_DOWN


class NotReadyError(ServerSaysError):
    """The server says that it is not ready."""

    status = Status.NOT_READY


def server_says(status: int, detail: str = "") -> ServerSaysError:
    """Return the error of a status that is not 0. `detail` is the server's text: cut, without control characters."""
    known = ServerSaysError.of.get(status)
    if known is None:
        return ServerSaysError(str(status))
    return known(printable(detail))


def printable(text: str, longest: int = 120) -> str:
    """Return a text as a terminal may show it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:longest])


# --- how a relay ended without a sealed answer


class ConnectionLostError(UnconfirmedError):
    """The connection to the server was lost before the lock's answer: look at the lock's state."""


class RelayExpiredError(UnconfirmedError):
    """The server says that it was too late and that nothing reached the home: look at the lock's state."""


class RelayUnknownError(UnconfirmedError):
    """The server says that something went on and nobody knows what became of it: look at the lock's state."""


class RelayOverError(UnconfirmedError):
    """The relay was ended before the lock's sealed answer came: look at the lock's state."""


class RelayBrokenError(UnconfirmedError):
    """Messages were left out or changed on the way: look at the lock's state."""


class SilentError(UnconfirmedError):
    """Nothing came for 15 seconds: look at the lock's state."""


class TooLongError(UnconfirmedError):
    """It took more than a minute: look at the lock's state."""


class AcceptedOnlyError(UnconfirmedError):
    """The lock accepted it, and no word came that it is done: look at the lock's state."""


class ElsewhereError(UnconfirmedError):
    """The lock accepted it, and then the bolt went elsewhere: look at the lock's state."""


class RefusedSecondError(UnconfirmedError):
    """The lock refused the second try, and nobody knows whether it took the first: look at the lock's state."""


class BrokenLockError(UnconfirmedError):
    """The lock's sealed answer makes no sense: look at the lock's state."""


# --- ERROR messages of the lock (ILP1 section 4.2). Nobody signs them.


class LockErrorSaidError(UnconfirmedError):
    """An error came in the lock's name, which anybody on the way can write: look at the lock's state."""

    code: ClassVar[int] = 0
    of: ClassVar[dict[int, type[LockErrorSaidError]]] = {}

    def __init_subclass__(cls) -> None:
        cls.of[cls.code] = cls


class MalformedSaidError(LockErrorSaidError):
    """The lock seems to have received something malformed. Unsealed, so look at its state."""

    code = ErrorCode.MALFORMED


class AuthenticationSaidError(LockErrorSaidError):
    """The lock seems not to know this key, so the home may have changed it. Unsealed, so look at its state."""

    code = ErrorCode.AUTHENTICATION_FAILED


class TryAgainSaidError(LockErrorSaidError):
    """The lock seems to have wanted another nonce, once more. Unsealed, so look at its state."""

    code = ErrorCode.TRY_AGAIN


class NotInSetupModeSaidError(LockErrorSaidError):
    """The lock seems to refuse pairing, for which nobody asked. Unsealed, so look at its state."""

    code = ErrorCode.NOT_IN_SETUP_MODE


class BusySaidError(LockErrorSaidError):
    """The lock seems to be busy. Unsealed, so look at its state."""

    code = ErrorCode.BUSY


class NoSessionSaidError(LockErrorSaidError):
    """The lock seems to have ended the session. Unsealed, so look at its state."""

    code = ErrorCode.NO_SESSION


class VersionSaidError(LockErrorSaidError):
    """The lock seems to speak another version. Unsealed, so look at its state."""

    code = ErrorCode.VERSION


def lock_error_said(code: int) -> LockErrorSaidError:
    """Return the error of a code of section 4.2."""
    return LockErrorSaidError.of.get(code, LockErrorSaidError)()


# --- sealed refusals of the lock (ILP1 section 5.3): certain


class LockRefusedError(RacError):
    """The lock refused, and did nothing."""

    result: ClassVar[int] = -1
    of: ClassVar[dict[int, type[LockRefusedError]]] = {}

    def __init_subclass__(cls) -> None:
        cls.of[cls.result] = cls


class NoRightRefusedError(LockRefusedError):
    """The lock refused: this account may not do that."""

    result = Result.NO_RIGHT


class OutsideTimeRefusedError(LockRefusedError):
    """The lock refused: this account may not do that at this time."""

    result = Result.OUTSIDE_TIME


class UnknownAccountRefusedError(LockRefusedError):
    """The lock refused: it no longer knows this account."""

    result = Result.UNKNOWN_ACCOUNT


class DisabledRefusedError(LockRefusedError):
    """The lock refused: this account is suspended, or its uses are used up."""

    result = Result.DISABLED


class BusyRefusedError(LockRefusedError):
    """The lock refused: it is busy with something else."""

    result = Result.BUSY


class JammedRefusedError(LockRefusedError):
    """The bolt is jammed: somebody has to look at the door."""

    result = Result.JAMMED


class WrongCheckRefusedError(LockRefusedError):
    """The lock refused: the request was damaged."""

    result = Result.WRONG_CHECK


class TooOldRefusedError(LockRefusedError):
    """The lock refused: the request came too late, even the second time."""

    result = Result.TOO_OLD


class FullRefusedError(LockRefusedError):
    """The lock refused: it has no room."""

    result = Result.FULL


class NotPossibleRefusedError(LockRefusedError):
    """The lock refused: not possible now."""

    result = Result.NOT_POSSIBLE_NOW


class BadValueRefusedError(LockRefusedError):
    """The lock refused: a value is not one that it takes."""

    result = Result.BAD_VALUE


class NotSupportedRefusedError(LockRefusedError):
    """The lock refused: it cannot do that."""

    result = Result.NOT_SUPPORTED


class BatteryRefusedError(LockRefusedError):
    """The lock refused: its battery is too low."""

    result = Result.BATTERY_TOO_LOW


class JammedError(RacError):
    """The bolt moved and is jammed now, says the lock: somebody has to look at the door."""


def lock_refused(result: int) -> LockRefusedError:
    """Return the error of a result that is neither done nor accepted."""
    return LockRefusedError.of.get(result, LockRefusedError)()


def tables() -> Mapping[str, Mapping[int, type[RacError]]]:
    """Return all numbers that have an error of their own, for programs and for the test of the page."""
    return {
        "status": ServerSaysError.of,
        "close": ClosedError.of,
        "error": LockErrorSaidError.of,
        "result": LockRefusedError.of,
    }
