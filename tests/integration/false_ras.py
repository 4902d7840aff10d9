"""A remote access server that is not to be trusted: a test decides each of its messages.

It speaks the gateway's socket with a key that the test gives, which may be the right one: whoever
took a server over has it. By itself it greets a home and answers what is asked with `ok`; `answer`
and `swallow` change that, `say` invents a message, `tape` holds all that the home said.

    false = FalseRas(key)                       # or FalseRas.of(ras), with the real server's key
    await false.start()
    entry = false.entry(hass)                   # or move the real entry there: {**data, "url": false.url}
    …
    await false.say("relay.open", {…})

Nothing here checks a signature or a right: it is the far end of attacks.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import secrets
import time
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.igrs_lock.remote import identity
from custom_components.igrs_lock.remote.chain import Checkpoint, genesis
from custom_components.igrs_lock.remote.wire import b64, ulid

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from homeassistant.core import HomeAssistant
    from ras_house import RasHouse

type Envelope = dict[str, Any]


class FalseRas:
    """One false server. Its fields may be changed at any time; they hold for the next message."""

    def __init__(self, key: Ed25519PrivateKey | None = None) -> None:
        self.key = key or Ed25519PrivateKey.generate()
        self.site = secrets.token_hex(16)
        self.gateway = secrets.token_hex(16)
        self.generation = 1_790_000_000_000
        self.restored = False
        self.public_url = ""
        self.reached = False
        self.ahead_ms = 0
        """By how much its clock is wrong."""
        self.tape: list[Envelope] = []
        """All messages of the home, in order."""
        self.connections = 0
        self.pongs = 0
        self.hello: dict[str, Any] = {}
        """Fields of `hello` that are others than the right ones."""
        self.welcome: dict[str, Any] = {}
        """Likewise of `welcome`."""
        self.close_after_auth = 0
        """Close with this code in place of a welcome."""
        self.answer: Callable[[Envelope], Envelope | None] = lambda message: None
        """Another answer's body to a message of the home; with `status` in it, a refusal."""
        self.heard: Callable[[Envelope], None] = self.tape.append
        """Hears each message of the home when it comes, `auth` too."""
        self.swallow: set[str] = set()
        """Types of messages that are not answered."""
        self._socket: web.WebSocketResponse | None = None
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._scheme = "http"

    @classmethod
    def of(cls, ras: RasHouse, site: str = "", gateway: str = "") -> FalseRas:
        """A server that was taken over: it has the real one's key."""
        false = cls(ras.server.identity._key)
        false.site, false.gateway = site or false.site, gateway or false.gateway
        false.generation = ras.server.identity.generation
        return false

    @property
    def public(self) -> bytes:
        """Its public key."""
        return self.key.public_key().public_bytes_raw()

    @property
    def url(self) -> str:
        """Its address."""
        return f"{self._scheme}://127.0.0.1:{self._port}"

    @property
    def connected(self) -> bool:
        """Whether a home is connected and past the handshake."""
        return self._socket is not None and not self._socket.closed

    def data(self) -> dict[str, Any]:
        """An entry's data for a home that is enrolled here."""
        return {
            "type": "server",
            "url": self.url,
            "server_key": b64(self.public),
            "gateway": self.gateway,
            "site": self.site,
            "private_key": b64(identity.new_private_key()),
            "local": False,
            "ca": None,
            "app": None,
        }

    def entry(self, hass: HomeAssistant, *locks: str) -> MockConfigEntry:
        """An entry of a home that is enrolled here, added but not set up."""
        entry = MockConfigEntry(
            domain="igrs_lock",
            title="127.0.0.1",
            unique_id=self.public.hex(),
            data=self.data(),
            options={"locks": sorted(locks)},
        )
        entry.add_to_hass(hass)
        return entry

    # --- life ---

    async def start(self, certificate: ssl.SSLContext | None = None) -> None:
        """Listen on loopback, on the port of before."""
        app = web.Application()
        app.router.add_get("/api/v1/gateway", self._serve)
        app.router.add_route("*", "/{path:.*}", self._http)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        self._scheme = "http" if certificate is None else "https"
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=certificate)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening; drop who is connected."""
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()

    def cut(self) -> None:
        """Lose the connection without a word."""
        socket, self._socket = self._socket, None
        if socket is not None and socket._req is not None and socket._req.transport is not None:
            socket._req.transport.abort()

    async def close(self, code: int) -> None:
        """Close the connection with a code, without waiting for the home's answer."""
        assert self._socket is not None
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(2):
                await self._socket.close(code=code)

    # --- what it says ---

    async def say(
        self, kind: str, body: dict[str, Any], *, lock: str = "", seq: int = 0, expires: int = 0
    ) -> str:
        """Say something of its own; return the message's id."""
        id_ = ulid(self._now())
        envelope = {
            "id": id_, "type": kind, "time": self._now(), "expires": expires, "from": "server",
            "to": f"gateway:{self.site}", "lock": lock, "seq": seq, "body": body,
        }  # fmt: skip
        await self.write(json.dumps(envelope))
        return id_

    async def write(self, text: str) -> None:
        """Send any text."""
        assert self._socket is not None
        await self._socket.send_str(text)

    def said(self, kind: str) -> list[dict[str, Any]]:
        """Bodies of the home's messages of a type."""
        return [message["body"] for message in self.tape if message["type"] == kind]

    # --- the handshake, and what is answered by itself ---

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(
            protocols=("igrs.gateway.v1",), compress=False, autoping=False
        )
        await socket.prepare(request)
        self.connections += 1
        self._socket = None
        nonce = secrets.token_bytes(32)
        hello = {"server_key": b64(self.public), "nonce": b64(nonce), "time": self._now()}
        await socket.send_str(self._envelope("hello", hello | self.hello))
        auth = await socket.receive()
        if auth.type is not WSMsgType.TEXT:
            return socket
        message = json.loads(auth.data)
        self.heard(message)
        if self.close_after_auth:
            await socket.close(code=self.close_after_auth)
            return socket
        body = message["body"]
        signed = b"".join(
            (
                b"IGRS server 1\0IGRS gateway 1\0",
                self.public,
                nonce,
                bytes.fromhex(body["gateway"]),
                _bytes(body["nonce"]),
                body["n"].to_bytes(8),
            )
        )
        welcome = {
            "signature": b64(self.key.sign(signed)),
            "token": "g_false",
            "token_expires": self._now() + 600_000,
            "site": self.site,
            "generation": self.generation,
            "events": {"generation": self.generation, "seq": 0},
            "restored": self.restored,
            "public_url": self.public_url,
            "reached": self.reached,
            "time": self._now(),
        }
        await socket.send_str(self._envelope("welcome", welcome | self.welcome))
        self._socket = socket
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                await self._heard(socket, json.loads(frame.data))
            self.pongs += frame.type is WSMsgType.PONG
        return socket

    async def _heard(self, socket: web.WebSocketResponse, message: Envelope) -> None:
        self.heard(message)
        kind = message["type"]
        if kind in self.swallow or kind in ("ok", "refused"):
            return
        if kind == "ping":
            await socket.send_str(
                self._envelope("pong", {"re": message["id"], "time": self._now()})
            )
            return
        body = self.answer(message)
        if body is None:
            body = self._usual(message)
        named = "refused" if "status" in body else "ok"
        with contextlib.suppress(ConnectionError):
            await socket.send_str(self._envelope(named, {"re": message["id"], **body}))

    def _usual(self, message: Envelope) -> dict[str, Any]:
        match message["type"]:
            case "site.digest":
                return {"match": True}
            case "site.sync":
                return {"users": [], "invitations": [], "locks": []}
            case "resume":
                body = message["body"]
                known = body["generation"] == self.generation
                seq = body["seq"] if known else 0
                return {"generation": self.generation, "seq": seq, "reset": not known}
            case "token":
                return {"token": "g_false", "token_expires": self._now() + 600_000}
            case "audit.range":
                return {"count": 0}
        return {}

    async def _http(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": 0, "message": "done", "data": None})

    def _envelope(self, kind: str, body: dict[str, Any]) -> str:
        return json.dumps(
            {
                "id": ulid(self._now()), "type": kind, "time": self._now(), "expires": 0,
                "from": "server", "to": "", "lock": "", "seq": 0, "body": body,
            }
        )  # fmt: skip

    def _now(self) -> int:
        return round(time.time() * 1000) + self.ahead_ms


class Record:
    """A server's signed record, as it is or as a test wants it."""

    def __init__(self, false: FalseRas) -> None:
        self.false = false
        self.index = 0
        self.head = genesis(bytes.fromhex(false.site))

    def checkpoint(self, entries: int = 3, **changed: Any) -> dict[str, Any]:
        """The next checkpoint over so many new entries. `changed` fields are signed as they are."""
        hashes = tuple(
            hashlib.sha256(f"entry {self.index + number}".encode()).digest()
            for number in range(1, entries + 1)
        )
        return self.sign(self.index + 1, hashes, self.head, **changed)

    def sign(
        self, first: int, hashes: tuple[bytes, ...], before: bytes, **changed: Any
    ) -> dict[str, Any]:
        """Sign a checkpoint over any entries, and lead the record on to it."""
        site = bytes.fromhex(self.false.site)
        fields: dict[str, Any] = {
            "first": first,
            "last": first + len(hashes) - 1,
            "before": before,
            "head": b"",
            "time": round(time.time() * 1000),
            "generation": self.false.generation,
            "entries": hashes,
            "signature": b"",
        }
        fields["head"] = Checkpoint(**fields).leads_on(site)
        fields |= changed
        signature = self.false.key.sign(Checkpoint(**fields).signed_bytes(site))
        made = Checkpoint(**fields | {"signature": signature})
        self.index, self.head = made.last, made.head
        return made.as_proof() | {"entries": [b64(one) for one in made.entries]}


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
