"""A gateway's open link: its handshake, and what its messages do (docs/ras.md, "The gateway's socket")."""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from sqlalchemy import select

from igrs_ras import gateway_messages, home_messages, joins, keys, sites, wire
from igrs_ras.hub import Feed
from igrs_ras.members import recipient_of_site
from igrs_ras.messages import merged
from igrs_ras.proof import KnownCheckpoint
from igrs_ras.socket import Message, Socket
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import gateways
from igrs_ras.storage.tables import sites as site_rows
from igrs_ras.wire import Body, Id

if TYPE_CHECKING:
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction, WriteJob

_LOGGER = logging.getLogger(__name__)

PROTOCOL = "igrs.gateway.v1"
TOKEN_SECONDS = 600.0
UNCOUNTED = frozenset({"ack", "resume", "token"})
ASKED = 64  # questions that may wait for a gateway's answer

_HANDLERS = merged(
    [
        sites.messages,
        home_messages.messages,
        keys.messages,
        joins.messages,
        gateway_messages.messages,
    ]
)


class Auth(Body):
    """The gateway's proof, and the last checkpoint that it has checked."""

    gateway: Id
    nonce: str
    n: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    checkpoint: KnownCheckpoint | None
    signature: str


def signed_bytes(
    server_public: bytes, server_nonce: bytes, gateway: str, nonce: bytes, n: int
) -> bytes:
    """Return what both sides sign: the pinned server key, both nonces of this connection, and its number."""
    return (
        b"IGRS gateway 1\0"
        + server_public
        + server_nonce
        + bytes.fromhex(gateway)
        + nonce
        + n.to_bytes(8)
    )


class Link:
    """One gateway's socket, past its handshake. What is kept here ends with it."""

    def __init__(
        self, ras: Ras, socket: Socket, gateway: str, site: str, n: int, *, local: bool
    ) -> None:
        self.ras = ras
        self.socket = socket
        socket.name = recipient_of_site(site)
        self.feed = Feed(ras, socket, socket.name)
        self.gateway = gateway
        self.site = site
        self.n = n
        self.local = local
        self.generation = 0  # the site's, as the gateway was told
        self.welcomed = False  # the handshake is over: others may send
        self.admins: list[str] = []  # Home Assistant's administrators, of a local gateway only
        self.sync = sites.SyncParts()
        self._tokens: dict[bytes, float] = {}  # SHA-256 → until when, by the monotonic clock
        self._asked: dict[str, asyncio.Future[Message]] = {}

    @property
    def open(self) -> bool:
        """Tell whether messages still go out."""
        return self.socket.closed is None

    def send(self, kind: str, body: Mapping[str, Any], *, lock: str = "", expires: int = 0) -> str:
        """Send a message; return its id."""
        return self.socket.send(kind, body, lock=lock, expires=expires)

    def close(self, code: int) -> None:
        """Close the socket; its tokens are void at once."""
        self.socket.close(code)

    async def write[T](self, job: WriteJob[T]) -> T:
        """Run a job of the writer on the gateway's word.

        Raises Refused(NOT_PERMITTED) if it was revoked, or its site restored, while its word waited to be written.
        """

        def checked(tx: Transaction) -> T:
            row = tx.execute(
                select(gateways.c.revoked, site_rows.c.generation)
                .join(site_rows, site_rows.c.id == gateways.c.site)
                .where(gateways.c.id == self.gateway)
            ).first()
            if row is None or row.revoked is not None or row.generation != self.generation:
                raise Refused(Status.NOT_PERMITTED)
            return job(tx)

        return await self.ras.store.write(checked)

    # HTTP tokens.

    def new_token(self) -> tuple[str, int]:
        """Return a bearer token for HTTP and when it ends (ms). The one before stays good until its own end."""
        now = self.ras.clock.monotonic()
        self._tokens = dict(
            [(key, until) for key, until in self._tokens.items() if until > now][-1:]
        )
        token = f"g_{secrets.token_urlsafe(32)}"
        self._tokens[hashlib.sha256(token.encode()).digest()] = now + TOKEN_SECONDS
        return token, self.ras.clock.now_ms() + int(TOKEN_SECONDS * 1000)

    def has_token(self, digest: bytes) -> bool:
        """Tell whether a token with this SHA-256 is good now."""
        return self.open and self._tokens.get(digest, 0.0) > self.ras.clock.monotonic()

    def token_digests(self) -> list[bytes]:
        """Return the SHA-256 of its tokens."""
        return list(self._tokens)

    # Questions to the gateway.

    async def ask(self, kind: str, body: Mapping[str, Any], seconds: float) -> Message:
        """Send a question and return the answer `ok`.

        Raises Refused: with the gateway's own status, OUT_OF_REACH if it says nothing in time, GATEWAY_OFFLINE if the
        link ends, SLOW_DOWN if too many wait.
        """
        if len(self._asked) >= ASKED:
            raise Refused(Status.SLOW_DOWN)
        if not self.open:
            raise Refused(Status.GATEWAY_OFFLINE)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        id_ = self.send(kind, body)
        self._asked[id_] = future
        try:
            async with asyncio.timeout(seconds):
                answer = await future
        except TimeoutError as error:
            raise Refused(Status.OUT_OF_REACH) from error
        finally:
            self._asked.pop(id_, None)
        if answer.type == "refused":
            raise Refused(_refusal(answer.body))
        return answer

    # What comes in.

    async def run(self) -> None:
        """Handle messages in their order until the link ends."""
        await self.socket.serve(self._handle)

    def ended(self) -> None:
        """Answer what still waits: the gateway is gone."""
        self._tokens.clear()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(Refused(Status.GATEWAY_OFFLINE))
        self._asked.clear()

    async def _handle(self, message: Message) -> None:
        if message.type == "ping":
            self.send("pong", {"re": message.id, "time": self.ras.clock.now_ms()})
        elif message.type.startswith("relay."):
            await self.ras.relay.from_gateway(self, message)
        elif message.type in ("lock.state", "lock.event"):
            await self.ras.states.from_gateway(self, message)
        elif message.type in ("ok", "refused"):
            future = self._asked.get(str(message.body.get("re", "")))
            if future is not None and not future.done():
                future.set_result(message)
        elif (handling := _HANDLERS.get(message.type)) is not None:
            if message.type not in UNCOUNTED and not self.ras.gateways.changes.take(
                f"{self.site} {message.type}"
            ):
                raise Refused(Status.SLOW_DOWN)
            answer = await handling.run(self, wire.convert(message.body, handling.body))
            self.socket.ok(message, answer)
        else:
            raise Refused(Status.MALFORMED, "unknown type of message")


def _refusal(body: Mapping[str, Any]) -> Status:
    """Return the status with which a gateway may answer a question: about the radio, or a plain no."""
    status = body.get("status")
    allowed = (Status.OUT_OF_REACH, Status.LOCK_BUSY, Status.NOT_FOUND, Status.REFUSED_BY_HOME)
    return next((one for one in allowed if one == status), Status.FAILED)
