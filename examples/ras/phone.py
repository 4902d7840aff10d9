"""A scripted client (RAC): joins by an invitation's link, keeps a session, follows and relays. No code of the server.

As a library, for tests:

phone = Phone("http://127.0.0.1:8443")
await phone.join(invitation)                 # until the home has let it in
await phone.connect()
ended, answers = await phone.relay(home.site, device, b"message")
await phone.close()

As a program that keeps its state in a file: `python examples/ras/phone.py --help`, see phone_command.py.
"""

import asyncio
import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from joining import done_proof, join_keys, join_proof, point
from peer import PATIENCE, Closed, Denied, Http, Peer, b64, ulid, unb64

if TYPE_CHECKING:
    from collections.abc import Callable

    from home_parts import Invitation

ENDS = ("failed", "expired", "unknown", "answered")


class Phone:
    """A client of the interface.

    Args:
        url: the server's address, http or https.
        now: wall clock in ms; give the server's moved clock in tests that move it.
        ssl: aiohttp's `ssl` argument for https with an own certificate.
    """

    def __init__(
        self, url: str, *, name: str = "Alma", now: Callable[[], int] | None = None, ssl: Any = True
    ) -> None:
        self.url = url.rstrip("/")
        self.name = name
        self.http = Http(url)
        self.ssl = ssl
        self.now = now or (lambda: int(time.time() * 1000))
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.token = ""
        self.user = ""
        self.site = ""
        self.join_id = ""
        self.box: dict[str, Any] = {}
        self.update_key = b""
        self.person = ""
        self.seq = 0
        self.generation = 0
        self.events: list[dict[str, Any]] = []  # durable ones, in order
        self.messages: list[dict[str, Any]] = []  # all others
        self._peer: Peer | None = None
        self._changed = asyncio.Event()

    # HTTP.

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Call with the bearer token, if there is one. Raises Denied."""
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        return await self.http.call(method, path, body, **headers)

    def join_body(self, invitation: Invitation) -> dict[str, Any]:
        """The request to join, the same each time."""
        client = point(self.key)
        return {
            "invitation": invitation.id,
            "client_public": b64(client),
            "proof": b64(join_proof(invitation.secret, bytes.fromhex(invitation.id), client)),
            "name": self.name,
        }

    async def ask(self, invitation: Invitation) -> dict[str, Any]:
        """Send the join once; return its present state. Opens the box and keeps the session when it is answered."""
        answer: dict[str, Any] = await self.call(
            "POST", "/api/v1/joins", self.join_body(invitation)
        )
        self.join_id = answer.get("join") or self.join_id
        if answer["state"] == "answered":
            self.open_box(invitation, answer)
            self.token = answer.get("token") or self.token
            self.user, self.site = answer["user"], answer["site"]
        return answer

    def open_box(self, invitation: Invitation, answer: dict[str, Any]) -> bytes:
        """Decrypt the home's answer; return the done key's proof."""
        id_, home = bytes.fromhex(invitation.id), unb64(answer["home_public"])
        key, self._done_key, self.update_key = join_keys(
            self.key, home, invitation.secret, id_, point(self.key), home
        )
        self.box = json.loads(AESGCM(key).decrypt(bytes(12), unb64(answer["box"]), id_))
        self.person = self.box.get("person", "")
        return done_proof(self._done_key)

    def open_update(self, body: dict[str, Any]) -> bytes:
        """Decrypt a `keys` event; it opens only with this person's update key and the number it says."""
        number = int(body["number"]).to_bytes(12)
        sealed = unb64(body["sealed"])
        return AESGCM(self.update_key).decrypt(number, sealed, bytes.fromhex(self.person) + number)

    async def done(self) -> None:
        """Tell the home that the box was opened."""
        proof = done_proof(self._done_key)
        await self.call("POST", f"/api/v1/joins/{self.join_id}/done", {"done": b64(proof)})

    async def join(self, invitation: Invitation) -> None:
        """Join and wait until the home has let this client in. Raises Denied (20 if the home says no)."""
        async with asyncio.timeout(PATIENCE):
            while (answer := await self.ask(invitation))["state"] == "pending":  # noqa: ASYNC110  as a page asks again
                await asyncio.sleep(0.01)
            if answer["state"] != "answered":
                raise Denied(20, answer["state"])
            await self.done()
            while not await self.member():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def member(self) -> bool:
        """Tell whether the membership is active."""
        sites = await self.call("GET", "/api/v1/sites")
        return any(
            item["site"] == self.site and item["state"] == "active" for item in sites["sites"]
        )

    async def claim(self, owner_code: str, email: str, password: str) -> None:
        """Make the first account with the home's code (7.1) and sign in."""
        body = {"email": email, "password": password, "name": self.name, "owner_code": owner_code}
        await self.call("POST", "/api/v1/users", body)
        await self.sign_in(email, password)

    async def sign_in(self, email: str, password: str) -> None:
        """Sign in for a bearer token (7.2), for accounts without a second step."""
        answer = await self.call(
            "POST", "/api/v1/sessions", {"email": email, "password": password, "kind": "bearer"}
        )
        self.token = answer["token"]
        self.user = answer.get("user", "") or (await self.call("GET", "/api/v1/me"))["id"]

    # The push socket (7.7).

    async def open(self, **headers: str) -> Peer:
        """Open the socket only."""
        socket = await self.http.session.ws_connect(
            self.url + "/api/v1/push",
            protocols=["igrs.push.v1"],
            compress=0,
            ssl=self.ssl,
            headers=headers,
        )
        return Peer(socket, self._handle, self.now)

    async def connect(self, *, resume: bool = True) -> None:
        """Open the push socket with the bearer token. Raises Closed."""
        peer = await self.open()
        await peer.send("auth", {"token": self.token})
        hello = await peer.receive()
        if hello["type"] != "hello":
            raise AssertionError(hello)
        self.hello = hello["body"]
        self._peer = peer
        peer.start()
        if resume:
            generation = self.generation or hello["body"]["generation"]
            await peer.send("resume", {"generation": generation, "seq": self.seq})
        self.generation = hello["body"]["generation"]

    @property
    def peer(self) -> Peer:
        """The open push socket. Raises Closed."""
        if self._peer is None:
            raise Closed(None)
        return self._peer

    async def close(self) -> None:
        """Close socket and connections."""
        if self._peer is not None:
            await self._peer.close()
        await self.http.close()

    async def cut(self) -> None:
        """Lose the socket as by a pulled plug."""
        await self.peer.cut()

    async def _handle(self, message: dict[str, Any]) -> None:
        if message.get("seq") and message["type"] != "push.reset":
            self.seq = message["seq"]
            self.events.append(message)
        elif message["type"] == "push.reset":
            self.generation, self.seq = message["body"]["generation"], message["body"]["seq"]
            self.messages.append(message)
        else:
            self.messages.append(message)
        self._changed.set()

    async def until(self, ready: Callable[[], Any]) -> Any:
        """Wait until something is so, looking after each message; return it."""
        async with asyncio.timeout(PATIENCE):
            while not (found := ready()):
                self._changed.clear()
                await self._changed.wait()
        return found

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of all live messages of a type, in order."""
        return [message["body"] for message in self.messages if message["type"] == kind]

    async def event(self, kind: str) -> dict[str, Any]:
        """Wait for a durable event of a type; return its body."""
        found: dict[str, Any] = await self.until(
            lambda: next((item["body"] for item in self.events if item["type"] == kind), None)
        )
        return found

    async def follow(self, site: str, *devices: str) -> None:
        """Follow these locks of a site, and no others."""
        await self.peer.request(
            "follow", {"locks": [{"site": site, "lock": device} for device in devices]}
        )

    # Relays.

    def opening(
        self, site: str, device: str, data: bytes, key: str = "", ttl_ms: int = 10_000
    ) -> dict[str, Any]:
        """The body of relay.open."""
        return {
            "site": site,
            "lock": device,
            "key": key or ulid(self.now()),
            "ttl_ms": ttl_ms,
            "n": 0,
            "data": b64(data),
            "hash": b64(hashlib.sha256(data).digest()),
        }

    async def send_relay(self, site: str, device: str, key: str, n: int, data: bytes) -> None:
        """Send a further message of a relay."""
        body = {
            "site": site, "lock": device, "key": key, "n": n,
            "data": b64(data), "hash": b64(hashlib.sha256(data).digest()),
        }  # fmt: skip
        await self.peer.send("relay.data", body)

    def states(self, key: str) -> list[str]:
        """The states of a relay so far."""
        return [body["state"] for body in self.of_type("relay.state") if body["key"] == key]

    def answers(self, key: str) -> list[bytes]:
        """The lock's messages of a relay so far."""
        return [unb64(body["data"]) for body in self.of_type("relay.data") if body["key"] == key]

    async def relay(
        self, site: str, device: str, data: bytes, ttl_ms: int = 10_000
    ) -> tuple[str, list[bytes]]:
        """Send one message, take the first answer, end; return the last state and the lock's messages.

        Raises Denied when the server refuses the relay.
        """
        opening = self.opening(site, device, data, ttl_ms=ttl_ms)
        key = opening["key"]
        id_ = await self.peer.send("relay.open", opening)

        def refused() -> dict[str, Any] | None:
            return next(
                (
                    item["body"]
                    for item in self.messages
                    if item["type"] == "refused" and item["body"].get("re") == id_
                ),
                None,
            )

        await self.until(
            lambda: refused() or self.answers(key) or set(self.states(key)) & set(ENDS[:3])
        )
        if (found := refused()) is not None:
            raise Denied(found["status"], found.get("message", ""))
        if self.answers(key):
            await self.peer.send("relay.end", {"site": site, "lock": device, "key": key})
        await self.until(lambda: set(self.states(key)) & set(ENDS))
        return self.states(key)[-1], self.answers(key)


__all__ = ["Closed", "Denied", "Phone", "aiohttp"]

if __name__ == "__main__":
    from phone_command import main

    main()
