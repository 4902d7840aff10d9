"""A gateway's enrolment, its link to the server, and its own check of the audit (docs/ras.md, "Gateways" and "Audit")."""

import asyncio
import hashlib
import secrets
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from peer import PATIENCE, Closed, Denied, Http, Peer, b64, read_code, unb64

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SIGNED = ("first", "last", "before", "head", "time", "generation")  # of a checkpoint


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """Return the public key's 32 bytes."""
    return key.public_key().public_bytes_raw()


class GatewayLink(ABC):
    """A gateway that proves itself and follows the audit. What its messages mean is its subclass's.

    Args:
        url: the server's address, http or https.
        now: wall clock in ms; give the server's moved clock in tests that move it.
        ssl: aiohttp's `ssl` argument for https with an own certificate.
    """

    def __init__(self, url: str, *, now: Callable[[], int] | None = None, ssl: Any = True) -> None:
        self.url = url.rstrip("/")
        self.http = Http(url)
        self.ssl = ssl
        self.now = now or (lambda: int(time.time() * 1000))
        self.key = Ed25519PrivateKey.generate()
        self.server_key = b""
        self.gateway = ""
        self.site = ""
        self.n = 0  # stored before it is used
        self.generation = (
            0  # the site's; another one means that the server was put back from a copy
        )
        self.token = ""
        self.restored = False
        # The audit as this home knows it: None means that the next checkpoint is believed as a start.
        self.audit: tuple[int, bytes] | None = None
        # The last checkpoint that was checked, without its entries: what it proves, auth shows the server.
        self.checkpoint: dict[str, Any] | None = None
        self.audit_problems: list[str] = []
        self.old_audits: list[tuple[int, bytes]] = []  # heads from before the server was put back
        # Writes down what must not be forgotten, before the server hears of it.
        self.store: Callable[[], None] = lambda: None
        self._peer: Peer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    # Enrolment and link (clause 6.2; the server's section "Gateways").

    def enrolment(self, code: str) -> dict[str, Any]:
        """The request that binds a code, this home's key and the server's key together."""
        nonce = secrets.token_bytes(32)
        hashed = hashlib.sha256(read_code(code)).digest()
        signed = b"IGRS enrol 1\0" + self.server_key + hashed + public_bytes(self.key) + nonce
        return {
            "code": code,
            "public_key": b64(public_bytes(self.key)),
            "nonce": b64(nonce),
            "signature": b64(self.key.sign(signed)),
        }

    async def enrol(self, code: str, server_key: bytes | None = None) -> None:
        """Redeem an enrolment code; `server_key` is what the operator compared. Raises Denied."""
        self.server_key = server_key or unb64(
            (await self.http.call("GET", "/api/v1/server"))["key"]
        )
        answer = await self.http.call("POST", "/api/v1/gateways", self.enrolment(code))
        if unb64(answer["server_key"]) != self.server_key:
            raise AssertionError("the server answers under another key")
        self.gateway, self.site, self.generation = (
            answer["gateway"],
            answer["site"],
            answer["generation"],
        )
        self.store()

    @property
    def peer(self) -> Peer:
        """The open link. Raises Closed."""
        if self._peer is None:
            raise Closed(None)
        return self._peer

    @property
    def connected(self) -> bool:
        """Whether there is a link."""
        return self._peer is not None and not self._peer.closed.done()

    async def open(self) -> Peer:
        """Open the socket only."""
        socket = await self.http.session.ws_connect(
            self.url + "/api/v1/gateway",
            protocols=["igrs.gateway.v1"],
            compress=0,
            ssl=self.ssl,
            autoping=True,
        )
        return Peer(socket, self._handle, self.now)

    def signed_bytes(self, server_nonce: bytes, nonce: bytes, n: int) -> bytes:
        """What both sign: the server key that was stored at enrolment, both nonces, the number."""
        return (
            b"IGRS gateway 1\0"
            + self.server_key
            + server_nonce
            + bytes.fromhex(self.gateway)
            + nonce
            + n.to_bytes(8)
        )

    async def handshake(self, peer: Peer, **changed: Any) -> dict[str, Any]:
        """Prove each other's keys; return the welcome. `changed` replaces fields of `auth`. Raises Closed."""
        hello = await peer.receive()
        if hello["type"] != "hello":
            raise AssertionError(hello)
        self.n += 1
        self.store()
        nonce = secrets.token_bytes(32)
        n = changed.get("n", self.n)
        signed = self.signed_bytes(unb64(hello["body"]["nonce"]), nonce, n)
        body = {
            "gateway": self.gateway,
            "nonce": b64(nonce),
            "n": n,
            "checkpoint": self.checkpoint,
            "signature": b64(self.key.sign(signed)),
            **changed,
        }
        await peer.send("auth", body)
        welcome = await peer.receive()
        if welcome["type"] != "welcome":
            raise AssertionError(welcome)
        Ed25519PublicKey.from_public_bytes(self.server_key).verify(
            unb64(welcome["body"]["signature"]), b"IGRS server 1\0" + signed
        )
        found: dict[str, Any] = welcome["body"]
        return found

    async def open_link(self) -> Peer:
        """Connect, prove, and read from now on. Raises Closed."""
        peer = await self.open()
        try:
            welcome = await self.handshake(peer)
        except BaseException:
            await peer.socket.close()
            raise
        self.token = welcome["token"]
        self.restored = welcome["restored"] or welcome["generation"] != self.generation
        self.generation = welcome["generation"]
        if self.restored:
            self.old_audits += [self.audit] if self.audit else []
            self.audit = self.checkpoint = None
            self.put_back()
        self.store()
        self._peer = peer
        peer.start()
        return peer

    async def close(self) -> None:
        """Close the link, and end what is under way."""
        if self._peer is not None:
            await self._peer.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.http.close()

    async def cut(self) -> None:
        """Lose the link as by a pulled plug."""
        await self.peer.cut()

    async def request(
        self, kind: str, body: dict[str, Any] | None = None, lock: str = ""
    ) -> dict[str, Any]:
        """Send a message; return the body of its answer. Raises Denied, Closed."""
        return await self.peer.request(kind, body, lock)

    async def new_key(self) -> None:
        """Change the gateway's key, proved with both."""
        new = Ed25519PrivateKey.generate()
        signed = (
            b"IGRS key 1\0"
            + self.server_key
            + bytes.fromhex(self.gateway)
            + public_bytes(self.key)
            + public_bytes(new)
        )
        await self.request(
            "gateway.key",
            {
                "public_key": b64(public_bytes(new)),
                "old_signature": b64(self.key.sign(signed)),
                "new_signature": b64(new.sign(signed)),
            },
        )
        self.key = new
        self.store()

    async def until(self, ready: Callable[[], Any]) -> Any:
        """Wait until something is so, looking after each message; return it."""
        async with asyncio.timeout(PATIENCE):
            while not (found := ready()):
                self._changed.clear()
                await self._changed.wait()
        return found

    # What comes in.

    @abstractmethod
    def put_back(self) -> None:
        """Note that the server was put back from a copy: what it was sent since then is lost there."""

    @abstractmethod
    async def _handle(self, message: dict[str, Any]) -> None:
        """Do what a message of the server asks for."""

    def _later(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(self._quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _quietly(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Closed, ConnectionError:
            return
        except Denied as denied:
            # What the server no longer has: the join was withdrawn, or the person has left.
            if denied.status not in (21, 22):
                raise

    # Audit (checkpoints signed by the server).

    def check_audit(self, body: dict[str, Any]) -> bool:
        """Follow the chain from the own head over a checkpoint; note what is wrong."""
        site = bytes.fromhex(self.site)
        before, head = unb64(body["before"]), unb64(body["head"])
        first, last = body["first"], body["last"]
        signed = (
            b"IGRS checkpoint 1\0"
            + site
            + first.to_bytes(8)
            + last.to_bytes(8)
            + before
            + head
            + body["time"].to_bytes(8)
            + body["generation"].to_bytes(8)
        )
        try:
            Ed25519PublicKey.from_public_bytes(self.server_key).verify(
                unb64(body["signature"]), signed
            )
        except InvalidSignature:
            self.audit_problems.append(f"checkpoint {first}-{last}: wrong signature")
            return False
        start = hashlib.sha256(b"IGRS audit 1" + site).digest()
        if self.audit is None and first == 1 and before != start:
            self.audit_problems.append(f"checkpoint 1-{last}: it does not begin at the beginning")
            return False
        if self.audit is not None:
            index, mine = self.audit
            if last <= index:
                return True
            if first != index + 1:
                return False  # one is missing: ask for the range
            if mine != before:
                self.audit_problems.append(f"checkpoint {first}-{last}: does not continue {index}")
                return False
        rolling = before
        for offset, entry in enumerate(body["entries"]):
            rolling = hashlib.sha256(
                b"IGRS audit 1" + site + (first + offset).to_bytes(8) + rolling + unb64(entry)
            ).digest()
        if rolling != head or first + len(body["entries"]) - 1 != last:
            self.audit_problems.append(
                f"checkpoint {first}-{last}: its entries do not lead to its head"
            )
            return False
        self.audit = (last, head)
        self.checkpoint = {name: body[name] for name in SIGNED} | {"signature": body["signature"]}
        self.store()
        return True

    async def fetch_audit(self) -> None:
        """Have the checkpoints sent that are missing here; `check_audit` looks at each as it comes. Raises Denied."""
        while True:
            index = self.audit[0] if self.audit else 0
            await self.request("audit.range", {"first": index + 1, "last": 2**53})
            if (self.audit[0] if self.audit else 0) == index:
                return  # no more, or none that follows
