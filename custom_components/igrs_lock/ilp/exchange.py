"""Matches answers to requests in order, and keeps state events apart (ILP1 section 4, rule 6)."""

from collections import deque
from typing import TYPE_CHECKING

from .const import Command, FrameType, Result
from .errors import SessionError
from .responses import Reply, StateEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .frames import Frame


class Exchange:
    """The requests of one session that still wait for an answer."""

    __slots__ = ("_expected", "_missing", "_records", "_response")

    def __init__(self) -> None:
        """Start with nothing sent."""
        self._expected: deque[int] = deque()
        self._response: Frame | None = None
        self._records: list[Frame] = []
        self._missing = 0

    @property
    def waiting(self) -> int:
        """Number of requests whose answer is not complete."""
        return len(self._expected) + (self._response is not None)

    def sent(self, frames: Iterable[Frame]) -> None:
        """Note requests, in the order in which they were sealed."""
        self._expected.extend(frame.command for frame in frames)

    def received(self, frames: Iterable[Frame]) -> list[Reply | StateEvent]:
        """Take the frames of one message; return complete answers and events in their order.

        SessionError on a frame that answers nothing asked, MalformedError on a bad event. Either
        means a broken lock: end the connection.
        """
        items: list[Reply | StateEvent] = []
        for frame in frames:
            if frame.type == FrameType.EVENT:
                items.append(StateEvent.of(frame))
                continue
            reply = self._take(frame)
            if reply is not None:
                items.append(reply)
        return items

    def _take(self, frame: Frame) -> Reply | None:
        if frame.type == FrameType.RESPONSE and self._response is None:
            if not self._expected or self._expected[0] != frame.command:
                raise SessionError(f"answer to {frame.command:02X} was not due")
            self._expected.popleft()
            self._response = frame
            self._records = []
            self._missing = _records_following(frame)
        elif (
            frame.type == FrameType.RECORD
            and self._response is not None
            and frame.command == self._response.command
        ):
            self._records.append(frame)
            self._missing -= 1
        else:
            raise SessionError(f"frame {frame.command:02X}/{frame.type:02X} was not due")
        if self._missing:
            return None
        reply = Reply(self._response, tuple(self._records))
        self._response = None
        return reply


def _records_following(response: Frame) -> int:
    if response.value[0] != Result.DONE:
        return 0
    if response.command == Command.GET_LOG:
        return response.value[1]
    if response.command in (Command.READ_ACCOUNT, Command.GET_ADVERTISEMENT_KEY):
        return 2
    return 0
