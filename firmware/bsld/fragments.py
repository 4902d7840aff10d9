"""Messages in writes and notifications (section 3): one header byte, then the fragment."""

from . import const as c

_LAST = 0x80


class MalformedError(ValueError):
    """A write that belongs to no message: ERROR 1."""


def fragment(message: bytes, index: int, mtu: int) -> bytes:
    """Fragment number `index` of a message for an ATT MTU; bit 7 of its header marks the last."""
    room = mtu - 4
    part = message[index * room : (index + 1) * room]
    last = _LAST if (index + 1) * room >= len(message) else 0
    return bytes((index | last,)) + part


class Reassembler:
    """Puts one connection's writes together."""

    def __init__(self) -> None:
        """Expect a first fragment."""
        self._parts: bytes | None = None
        self._next = 0
        self._since = 0

    def feed(self, data: bytes, now: int) -> "bytes | None":
        """Take one write at `now` (ms); returns a whole message or None for "more to come".

        Raises:
            MalformedError: wrong index, empty write or too long a message. What was collected is
                dropped.
        """
        parts = self._parts
        self._parts = None
        if len(data) < 2:
            raise MalformedError("empty write")
        index = data[0] & ~_LAST
        if index == 0:
            parts = b""
            self._next = 0
            self._since = now
        elif parts is None or index != self._next or now - self._since > c.FRAGMENT_MS:
            raise MalformedError("wrong index")
        parts += data[1:]
        if len(parts) > c.MAX_MESSAGE:
            raise MalformedError("message too long")
        if data[0] & _LAST:
            return parts
        self._parts = parts
        self._next = index + 1
        return None

    def drop_old(self, now: int) -> None:
        """Forget a message left unfinished for 5 s."""
        if self._parts is not None and now - self._since > c.FRAGMENT_MS:
            self._parts = None
