"""One connection: what came in parts, what waits to go out, its nonce, session and time-outs."""

from . import const as c
from .fragments import Reassembler, fragment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable

    from .ports import Radio
    from .session import Session


class Link:
    """A central's connection."""

    def __init__(self, conn: "Hashable", now: int) -> None:
        """A connection begun at `now` (ms of uptime)."""
        self.conn = conn
        self.mtu = c.DEFAULT_MTU
        self.subscribed = False
        self.session: Session | None = None
        self.pairing = False
        self.incoming = Reassembler()
        self.since = now  # it connected, or its session ended
        self.heard = now  # the last authentic message of its session
        self.nonce: bytes | None = None
        self.nonce_ms = 0
        self.waiting = 0  # bytes in the queue
        self._queue: list[bytes] = []
        self._index = 0
        self._cut_for = self.mtu  # the MTU for which the message being sent is cut

    def challenge(self, nonce: bytes, now: int) -> bytes:
        """Offer a nonce: good for one attempt within 10 s, and the one before for none."""
        self.nonce = nonce
        self.nonce_ms = now
        return nonce

    def take_nonce(self, now: int) -> "bytes | None":
        """The offered nonce, once."""
        nonce = self.nonce
        self.nonce = None
        return nonce if now - self.nonce_ms <= c.NONCE_MS else None

    def end_session(self, now: int) -> None:
        """Its session is over; the connection may stay for a while."""
        if self.session is not None:
            self.session = None
            self.since = now
            self.pairing = False

    def deadline(self) -> int:
        """When (ms of uptime) the connection has been silent for too long."""
        if self.session is not None:
            return self.heard + c.IDLE_MS
        return self.since + (c.PAIRING_MS if self.pairing else c.NO_SESSION_MS)

    def listens(self, on: bool) -> None:
        """Notifications were switched; a message broken off is sent again from its beginning."""
        self.subscribed = on
        if not on:
            self._index = 0

    def put(self, message: bytes) -> bool:
        """Queue a message; False if the client has left too much unread."""
        if self.waiting + len(message) > c.QUEUE_BYTES:
            return False
        self._queue.append(message)
        self.waiting += len(message)
        return True

    def flush(self, radio: "Radio") -> bool:
        """Send what waits, if somebody listens; False if the radio wants to be asked again."""
        while self._queue and self.subscribed:
            message = self._queue[0]
            if self._index == 0:
                self._cut_for = self.mtu
            data = fragment(message, self._index, self._cut_for)
            if not radio.notify(self.conn, data):
                return False
            self._index += 1
            if data[0] & 0x80:
                self._queue.pop(0)
                self._index = 0
                self.waiting -= len(message)
        return True
