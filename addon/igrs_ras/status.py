"""Status codes of clause 7.6, Table 1 ([S]: 0 success, 1 failure; all else decided here), and their HTTP status."""

from enum import IntEnum
from http import HTTPStatus
from typing import override


class Status(IntEnum):
    """What an answer says about the request. The number is part of the interface, the name is not."""

    DONE = 0
    FAILED = 1
    MALFORMED = 10
    SIGN_IN = 11
    WRONG_CREDENTIALS = 12
    SECOND_STEP = 13
    WRONG_CODE = 14
    TOO_MANY_ATTEMPTS = 15
    NOT_PERMITTED = 20
    NOT_FOUND = 21
    EXISTS = 22
    GATEWAY_OFFLINE = 30
    OUT_OF_REACH = 31
    LOCK_BUSY = 32
    EXPIRED = 33
    UNKNOWN = 34
    REFUSED_BY_HOME = 35
    REFUSED_BY_LOCK = 36
    TOO_LARGE = 40
    SLOW_DOWN = 41
    NOT_READY = 50

    @property
    def http(self) -> HTTPStatus:
        """The HTTP status line that goes with it."""
        return _HTTP[self]

    @property
    def text(self) -> str:
        """A sentence for people, the same for every cause, so that it tells nothing more than the code."""
        return _TEXT[self]


_HTTP = {
    Status.DONE: HTTPStatus.OK,
    Status.FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,
    Status.MALFORMED: HTTPStatus.BAD_REQUEST,
    Status.SIGN_IN: HTTPStatus.UNAUTHORIZED,
    Status.WRONG_CREDENTIALS: HTTPStatus.UNAUTHORIZED,
    Status.SECOND_STEP: HTTPStatus.UNAUTHORIZED,
    Status.WRONG_CODE: HTTPStatus.FORBIDDEN,
    Status.TOO_MANY_ATTEMPTS: HTTPStatus.TOO_MANY_REQUESTS,
    Status.NOT_PERMITTED: HTTPStatus.FORBIDDEN,
    Status.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Status.EXISTS: HTTPStatus.CONFLICT,
    Status.GATEWAY_OFFLINE: HTTPStatus.SERVICE_UNAVAILABLE,
    Status.OUT_OF_REACH: HTTPStatus.SERVICE_UNAVAILABLE,
    Status.LOCK_BUSY: HTTPStatus.CONFLICT,
    Status.EXPIRED: HTTPStatus.GONE,
    Status.UNKNOWN: HTTPStatus.GATEWAY_TIMEOUT,
    Status.REFUSED_BY_HOME: HTTPStatus.FORBIDDEN,
    Status.REFUSED_BY_LOCK: HTTPStatus.FORBIDDEN,
    Status.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Status.SLOW_DOWN: HTTPStatus.TOO_MANY_REQUESTS,
    Status.NOT_READY: HTTPStatus.SERVICE_UNAVAILABLE,
}

_TEXT = {
    Status.DONE: "done",
    Status.FAILED: "the server failed; it is in its log",
    Status.MALFORMED: "malformed request",
    Status.SIGN_IN: "sign in first",
    Status.WRONG_CREDENTIALS: "wrong credentials",
    Status.SECOND_STEP: "second step needed",
    Status.WRONG_CODE: "code wrong or expired",
    Status.TOO_MANY_ATTEMPTS: "too many attempts",
    Status.NOT_PERMITTED: "not permitted",
    Status.NOT_FOUND: "not found",
    Status.EXISTS: "exists already",
    Status.GATEWAY_OFFLINE: "gateway offline",
    Status.OUT_OF_REACH: "lock out of reach",
    Status.LOCK_BUSY: "lock busy",
    Status.EXPIRED: "expired",
    Status.UNKNOWN: "outcome unknown",
    Status.REFUSED_BY_HOME: "refused by the home",
    Status.REFUSED_BY_LOCK: "refused by the lock",
    Status.TOO_LARGE: "too large",
    Status.SLOW_DOWN: "slow down",
    Status.NOT_READY: "not ready",
}


class Refused(Exception):  # noqa: N818  a refusal is an answer, not a fault
    """A request is answered with a status other than done.

    `detail` may say what is wrong with the request's own form (a field's name); it must never carry a value of the
    request, a secret, or anything that differs between *not there* and *not yours*. `retry_after` is in seconds.
    """

    def __init__(self, status: Status, detail: str = "", *, retry_after: int | None = None) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after

    @override
    def __str__(self) -> str:
        return f"{self.status.text}: {self.detail}" if self.detail else self.status.text
