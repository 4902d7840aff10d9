"""The far ends of the server's sockets for `bench.ras`: as lean as Python allows, so that the server is what is measured.

They speak the documented protocol and share no code with the server. Messages are read into structs, a lock's answer is
three messages in one write.
"""

import asyncio
import base64
import hashlib
import os
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.ras_socket import PATIENCE, Address, ClosedError, Socket, b64

if TYPE_CHECKING:
    from collections.abc import Sequence

MESSAGE = os.urandom(128)
"""What a client and a lock say: as long as a typical message of ILP1's section 4."""
ENDS = frozenset({"answered", "failed", "expired", "unknown"})
PING_SECONDS = 15.0
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ENCODER = msgspec.json.Encoder()


_DATA, _HASH = b64(MESSAGE), b64(hashlib.sha256(MESSAGE).digest())


class _Ulids:
    """Unique identifiers of now; hex digits are digits of Crockford's too."""

    def __init__(self) -> None:
        self._number = secrets.randbits(62)

    def __call__(self) -> str:
        now = time.time_ns() // 1_000_000
        self._number += 1
        head = "".join(_CROCKFORD[now >> shift & 31] for shift in range(45, -5, -5))
        return f"{head}{self._number:016X}"


ulid = _Ulids()


class _Envelope(msgspec.Struct):
    type: str
    body: msgspec.Raw
    seq: int = 0


class _Relay(msgspec.Struct):
    relay: str = ""
    key: str = ""
    state: str = ""
    re: str = ""
    status: int = 0


_read_envelope = msgspec.json.Decoder(_Envelope).decode
_read_relay = msgspec.json.Decoder(_Relay).decode
_read_any = msgspec.json.Decoder().decode


def message(kind: str, body: dict[str, Any]) -> bytes:
    """Write an envelope."""
    return _ENCODER.encode({"id": ulid(), "type": kind, "body": body})


ECHO = message("relay.data", {"relay": "0" * 32, "n": 0, "data": _DATA, "hash": _HASH})
"""What is sent to a bare echo server: as long as a relay's message."""


async def request(socket: Socket, kind: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send a message and return its answer's body; only while nothing takes messages. Raises ClosedError."""
    id_ = ulid()
    socket.send(_ENCODER.encode({"id": id_, "type": kind, "body": body}))
    while True:
        found = _read_any(await socket.receive())
        if found["body"].get("re") == id_:
            if found["type"] == "refused":
                raise ClosedError(str(found["body"]))
            answer: dict[str, Any] = found["body"]
            return answer


class Place(msgspec.Struct):
    """One home with one lock and one member, as the database has them."""

    site: str
    gateway: str
    key: bytes
    device: str
    user: str
    token: str
    n: int = 0


@dataclass(slots=True)
class Gateway:
    """A home's link. Each relay is answered at once: sent to the lock, the lock's message, ended as answered."""

    place: Place
    answered: int = 0
    restored: bool = False
    _socket: Socket | None = None

    @property
    def connected(self) -> bool:
        """Whether the link is open."""
        return self._socket is not None and not self._socket.closed

    async def connect(self, address: Address) -> None:
        """Open the link and take the welcome. Raises ClosedError, OSError, TimeoutError."""
        socket = await address.open("/api/v1/gateway", "igrs.gateway.v1")
        hello = _read_any(await socket.receive())["body"]
        place, nonce = self.place, os.urandom(32)
        place.n += 1
        signed = (
            b"IGRS gateway 1\0"
            + base64.b64decode(hello["server_key"])
            + base64.b64decode(hello["nonce"])
            + bytes.fromhex(place.gateway)
            + nonce
            + place.n.to_bytes(8)
        )
        auth = {
            "gateway": place.gateway,
            "nonce": b64(nonce),
            "n": place.n,
            "checkpoint": None,
            "signature": b64(Ed25519PrivateKey.from_private_bytes(place.key).sign(signed)),
        }
        socket.send(message("auth", auth))
        welcome = _read_any(await socket.receive())
        if welcome["type"] != "welcome":
            raise ClosedError(str(welcome))
        self.restored |= welcome["body"]["restored"]
        socket.take = self._take
        self._socket = socket

    def _take(self, data: bytes) -> None:
        envelope = _read_envelope(data)
        if envelope.type != "relay.open" or self._socket is None:
            return
        relay = _read_relay(envelope.body).relay
        self.answered += 1
        self._socket.send(
            message("relay.state", {"relay": relay, "state": "sent_to_lock", "n": 0}),
            message("relay.data", {"relay": relay, "n": 0, "data": _DATA, "hash": _HASH}),
            message("relay.end", {"relay": relay, "outcome": "answered", "code": 0}),
        )

    def ping(self) -> None:
        """Show that this end lives."""
        if self._socket is not None:
            self._socket.send(message("ping", {}))

    def close(self) -> None:
        """Cut the link."""
        if self._socket is not None:
            self._socket.close()


@dataclass(slots=True)
class Pending:
    """A relay that is under way: when it began, when the lock's message came, and its end."""

    began: float
    ended: asyncio.Future[str]
    answered: float = 0.0


@dataclass(slots=True)
class Phone:
    """A client's push socket."""

    place: Place
    _socket: Socket | None = None
    _relays: dict[str, Pending] = field(default_factory=dict)
    _openings: dict[str, str] = field(default_factory=dict)

    @property
    def connected(self) -> bool:
        """Whether the socket is open."""
        return self._socket is not None and not self._socket.closed

    async def connect(self, address: Address) -> None:
        """Open the socket, sign in, take the events that waited, follow the lock. Raises as Gateway.connect."""
        socket = await address.open("/api/v1/push", "igrs.push.v1")
        socket.send(message("auth", {"token": self.place.token}))
        hello = _read_any(await socket.receive())
        if hello["type"] != "hello":
            raise ClosedError(str(hello))
        body = hello["body"]
        socket.send(message("resume", {"generation": body["generation"], "seq": body["seq"]}))
        lock = {"site": self.place.site, "lock": self.place.device}
        await request(socket, "follow", {"locks": [lock]})
        socket.take = self._take
        self._socket = socket

    def _take(self, data: bytes) -> None:
        envelope = _read_envelope(data)
        if envelope.type == "relay.data":
            if (relay := self._relays.get(_read_relay(envelope.body).key)) is not None:
                relay.answered = time.perf_counter()
            return
        if envelope.type == "relay.state":
            body = _read_relay(envelope.body)
            if body.state in ENDS:
                self._end(body.key, body.state)
        elif envelope.type == "refused":
            body = _read_relay(envelope.body)
            self._end(self._openings.get(body.re, ""), f"refused {body.status}")

    def _end(self, key: str, how: str) -> None:
        relay = self._relays.get(key)
        if relay is not None and not relay.ended.done():
            relay.ended.set_result(how)

    async def relay(self, began: float = 0.0) -> tuple[str, float, float]:
        """Relay one message; return how it ended, and the seconds until the lock's message and until the end.

        `began`: when it should have begun, if that was earlier than now.
        """
        key, id_ = ulid(), ulid()
        relay = Pending(began or time.perf_counter(), asyncio.get_running_loop().create_future())
        self._relays[key] = relay
        self._openings[id_] = key
        body = {
            "site": self.place.site,
            "lock": self.place.device,
            "key": key,
            "ttl_ms": 15000,
            "n": 0,
            "data": _DATA,
            "hash": _HASH,
        }
        assert self._socket is not None
        self._socket.send(_ENCODER.encode({"id": id_, "type": "relay.open", "body": body}))
        try:
            how = await asyncio.wait_for(relay.ended, PATIENCE)
        except TimeoutError:
            how = "silence"
        finally:
            del self._relays[key], self._openings[id_]
        return how, relay.answered - relay.began, time.perf_counter() - relay.began

    def ping(self) -> None:
        """Show that this end lives."""
        if self._socket is not None:
            self._socket.send(message("ping", {}))

    def close(self) -> None:
        """Cut the socket."""
        if self._socket is not None:
            self._socket.close()


async def keep_alive(ends: Sequence[Gateway | Phone]) -> None:
    """Ping for all, evenly over the interval, as many homes would."""
    while True:
        began = time.monotonic()
        for number, end in enumerate(list(ends)):
            if end.connected:
                end.ping()
            if number % 20 == 19:
                await asyncio.sleep(PING_SECONDS * 20 / len(ends))
        await asyncio.sleep(max(1.0, PING_SECONDS - (time.monotonic() - began)))
