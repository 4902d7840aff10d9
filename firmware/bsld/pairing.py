"""Pairing, the lock's side (section 4, stage a): one exchange at a time."""

from . import const as c
from .crypto import mac, same, x25519
from .x25519 import BASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable


class Exchange:
    """Keys of one exchange."""

    def __init__(
        self, setup_code: bytes, device_id: bytes, private: bytes, client_public: bytes
    ) -> None:
        """Agree on the keys.

        Raises:
            ValueError: a public key of small order (the result would be all zero).
        """
        self.public = x25519(private, BASE)
        shared = x25519(private, client_public)
        if same(shared, bytes(32)):
            raise ValueError("pairing: refused public key")
        prk = mac(setup_code, b"ILP1 pair", device_id, client_public, self.public, shared)
        self.lock_key = mac(prk, b"lock key")[:16]
        self.lock_confirm = mac(prk, b"lock confirm")[:16]
        self.client_confirm = mac(prk, b"client confirm")[:16]


class Pairing:
    """Which connection is pairing, and how far it got."""

    def __init__(self, setup_code: bytes, device_id: bytes) -> None:
        """No exchange yet."""
        self._setup_code = setup_code
        self._device_id = device_id
        self._owner: Hashable = None
        self._exchange: Exchange | None = None
        self._last = -c.PAIR_GAP_MS
        self._began = 0

    def request(self, conn: "Hashable", body: bytes, now: int, private: bytes) -> "bytes | int":
        """Answer a PAIR_REQUEST's body with a PAIR_REPLY's, or with an ERROR code."""
        if len(body) != 32:
            return c.ERR_MALFORMED
        if self._exchange is not None and now - self._began >= c.PAIRING_MS:
            self.stop()  # a connection that a session keeps open must not keep pairing busy
        if self._exchange is not None and self._owner != conn:
            return c.ERR_BUSY
        if now - self._last < c.PAIR_GAP_MS:
            return c.ERR_BUSY
        self._last = now
        self._exchange = None
        try:
            self._exchange = Exchange(self._setup_code, self._device_id, private, body)
        except ValueError:
            return c.ERR_MALFORMED
        if self._owner != conn:
            self._began = now
        self._owner = conn
        return self._exchange.public + self._exchange.lock_confirm

    def computed(self, now: int) -> None:
        """A request was answered at `now` (ms): the gap to the next counts from here.

        On a slow board the computation alone takes seconds, in which nothing else runs.
        """
        self._last = now

    def confirm(self, conn: "Hashable", body: bytes) -> "bytes | None":
        """The lock key, if a PAIR_CONFIRM's body is right. One attempt: the exchange is over."""
        if self._exchange is None or self._owner != conn:
            return None
        exchange = self._exchange
        self._exchange = None
        return exchange.lock_key if same(exchange.client_confirm, body) else None

    def forget(self, conn: "Hashable") -> None:
        """The connection is gone."""
        if self._owner == conn:
            self.stop()

    def stop(self) -> None:
        """Setup mode is over: no exchange goes on."""
        self._exchange = None
        self._owner = None
