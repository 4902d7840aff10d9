"""Whose a session is, its clock and its open questions, and how long a request took."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from .ilp import (
    CONTROLLER_SLOT,
    ClientSession,
    Exchange,
    Frame,
    Request,
    SessionClock,
    requests,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom a lock is asked: slot and 16-byte key, and a person's 9-byte account ID.

    `account_id` is None for the controller, which sends no 02.
    """

    slot: int
    key: bytes = field(repr=False)
    account_id: bytes | None = field(repr=False)
    name: str

    @classmethod
    def controller(cls, key: bytes) -> Self:
        """Return this home itself, by its controller key."""
        return cls(CONTROLLER_SLOT, key, None, "Home Assistant")

    @property
    def is_person(self) -> bool:
        """Whether this is somebody's account."""
        return self.account_id is not None

    def opening(self) -> tuple[Request, ...]:
        """Return what has to come first in a session (section 4, rule 4)."""
        return () if self.account_id is None else (requests.authenticate(self.account_id),)


@dataclass(slots=True)
class Timing:
    """Milliseconds from the call on, of the last request; for diagnostics."""

    held: bool
    started: float = field(repr=False)
    connected: float | None = None
    written: float | None = None
    answered: float | None = None
    confirmed: float | None = None
    connections: int = 0
    sessions: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return all but the time of the call, which means nothing outside this process."""
        return {name: value for name, value in asdict(self).items() if name != "started"}

    def elapsed(self) -> float:
        """Return the milliseconds since the call."""
        return round((time.monotonic() - self.started) * 1000, 1)


class Session:
    """A session opened on the link, with its clock and what it still has to answer."""

    __slots__ = ("_clock", "exchange", "identity", "secured", "sent_at")

    def __init__(self, secured: ClientSession, identity: Identity) -> None:
        self.secured = secured
        self.identity = identity
        self.exchange = Exchange()
        self._clock = SessionClock(time.time(), time.monotonic())
        self.sent_at = self.now()

    def stamp(self, wanted: Sequence[Request]) -> list[Frame]:
        """Return requests as frames of this session, noted as sent."""
        self.sent_at = now = self.now()
        frames = [request.at(now) for request in wanted]
        self.exchange.sent(frames)
        return frames

    def now(self) -> int:
        """Return Unix seconds by the session's clock."""
        return self._clock.timestamp(time.monotonic())
