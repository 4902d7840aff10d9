"""Messages cut to writes and notifications, and put together again (ILP1 section 3)."""

from .const import (
    FRAGMENT_INDEX_MASK,
    FRAGMENT_LAST,
    FRAGMENT_OVERHEAD,
    FRAGMENT_TIMEOUT,
    MESSAGE_MAX,
    MTU_MIN,
)
from .errors import MalformedError


def split(message: bytes, mtu: int) -> list[bytes]:
    """Return the writes for a message of 1 to 512 bytes at an ATT MTU of at least 23."""
    if not 1 <= len(message) <= MESSAGE_MAX:
        raise MalformedError(f"a message has 1 to {MESSAGE_MAX} bytes")
    if mtu < MTU_MIN:
        raise MalformedError(f"an MTU is at least {MTU_MIN}")
    size = mtu - FRAGMENT_OVERHEAD
    parts = [message[start : start + size] for start in range(0, len(message), size)]
    last = len(parts) - 1
    return [
        bytes((index | FRAGMENT_LAST if index == last else index,)) + part
        for index, part in enumerate(parts)
    ]


class Reassembler:
    """Puts fragments of one direction of one connection together.

    Index 0 begins a new message, whatever was unfinished. An unfinished message lives 5 s.
    """

    __slots__ = ("_message", "_next", "_started_at")

    def __init__(self) -> None:
        """Start with nothing unfinished."""
        self._message = bytearray()
        self._next = 0
        self._started_at = 0.0

    def feed(self, fragment: bytes, now: float) -> bytes | None:
        """Take one write or notification; return a message when it is complete.

        `now` is in monotonic seconds. MalformedError on an empty fragment, a wrong index or too
        long a message; what was unfinished is dropped then.
        """
        if self._next and now - self._started_at > FRAGMENT_TIMEOUT:
            self.reset()
        expected = self._next
        if len(fragment) < 2:
            self.reset()
            raise MalformedError("empty fragment")
        index = fragment[0] & FRAGMENT_INDEX_MASK
        if index == 0:
            self.reset()
            self._started_at = now
        elif index != expected:
            self.reset()
            raise MalformedError(f"fragment {index} where {expected} was due")
        if len(self._message) + len(fragment) - 1 > MESSAGE_MAX:
            self.reset()
            raise MalformedError(f"a message has at most {MESSAGE_MAX} bytes")
        self._message += fragment[1:]
        self._next = index + 1
        if not fragment[0] & FRAGMENT_LAST:
            return None
        message = bytes(self._message)
        self.reset()
        return message

    def reset(self) -> None:
        """Drop what is unfinished, for example after a disconnection."""
        self._message.clear()
        self._next = 0
