"""A session with its clock and its open questions, and how long a request took."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .ilp import ClientSession, Exchange, Frame, Request, SessionClock

if TYPE_CHECKING:
    from collections.abc import Sequence


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

    __slots__ = ("_clock", "exchange", "secured", "sent_at")

    def __init__(self, secured: ClientSession) -> None:
        self.secured = secured
        self.exchange = Exchange()
        self._clock = SessionClock(time.time(), time.monotonic())
        self.sent_at = self.now()

    def stamp(self, requests: Sequence[Request]) -> list[Frame]:
        """Return the requests as frames of this session, noted as sent."""
        self.sent_at = now = self.now()
        frames = [request.at(now) for request in requests]
        self.exchange.sent(frames)
        return frames

    def now(self) -> int:
        """Return Unix seconds by the session's clock."""
        return self._clock.timestamp(time.monotonic())
