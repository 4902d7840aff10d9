"""What a home remembers of people who join or are members, and one relay at the home's end."""

import asyncio
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from peer import b64

if TYPE_CHECKING:
    from gateway_link import GatewayLink


@dataclass
class Invitation:
    """What stands in an invitation's link, and what the home remembers of it."""

    id: str
    secret: bytes
    expires: int
    role: str = "member"
    locks: list[str] = field(default_factory=list)
    kind: str = "guest"
    client: bytes = b""  # the one client key that is let in
    answer: dict[str, Any] = field(default_factory=dict)
    done_key: bytes = b""
    update_key: bytes = b""
    person: str = field(default_factory=lambda: secrets.token_hex(16))
    user: str = ""
    opened_twice: int = 0
    wrong: int = 0


@dataclass
class Member:
    """A member as the home knows one."""

    role: str
    locks: list[str]
    update_key: bytes = b""
    person: str = ""
    number: int = 0


class HomeRelay:
    """One relay at the home's end."""

    def __init__(self, home: GatewayLink, id_: str, user: str, device: str, expires: int) -> None:
        self.id = id_
        self.user = user
        self.device = device
        self.expires = expires
        self.why: int | None = None  # the status with which the server ended it
        self.received: list[bytes] = []
        self._home = home
        self._in: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._n = 0

    def feed(self, data: bytes | None) -> None:
        """Take what came in: a message of the client, or None at the end."""
        if data is not None:
            self.received.append(data)
        self._in.put_nowait(data)

    async def receive(self) -> bytes | None:
        """Return the client's next message; None when the relay has ended."""
        return await self._in.get()

    async def sent_to_lock(self, n: int | None = None) -> None:
        """Say that the radio has the client's message `n`, by default the last one."""
        n = len(self.received) - 1 if n is None else n
        await self._home.peer.send(
            "relay.state", {"relay": self.id, "state": "sent_to_lock", "n": n}
        )

    async def send(self, data: bytes, n: int | None = None) -> None:
        """Send a lock's message to the client."""
        if n is None:
            n, self._n = self._n, self._n + 1
        body = {
            "relay": self.id,
            "n": n,
            "data": b64(data),
            "hash": b64(hashlib.sha256(data).digest()),
        }
        await self._home.peer.send("relay.data", body)

    async def end(self, outcome: str = "answered", code: int = 0) -> None:
        """End it: answered, failed (with a code of Table 1), expired or unknown."""
        await self._home.peer.send(
            "relay.end", {"relay": self.id, "outcome": outcome, "code": code}
        )
