"""A scripted home: a gateway (BGW) as the RAS sees one, with real keys. It shares no code with the server.

As a library, for tests:

home = Home("http://127.0.0.1:8443")
await home.enrol(code)
await home.connect()
await home.register_lock("C4112233445F")
invitation = await home.invite()          # → phone.Phone(url).join(invitation)
home.answer = lambda device, user, data: data[::-1]
await home.close()

As a program that keeps its state in a file: `python examples/ras/home.py --help`, see home_command.py.
What a real gateway does besides: it has a radio, asks people, and says what is wrong where they see it.
"""

import hashlib
import hmac
import json
import secrets
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from gateway_link import GatewayLink, public_bytes
from home_parts import HomeRelay, Invitation, Member
from joining import done_proof, join_keys, join_proof, point
from peer import Closed, Denied, b64, ulid, unb64, write_code

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HOUR_MS = 3600 * 1000
SLOW_DOWN = 41


class Home(GatewayLink):
    """A gateway and what its home knows.

    Args:
        url: the server's address, http or https.
        now: wall clock in ms; give the server's moved clock in tests that move it.
        ssl: aiohttp's `ssl` argument for https with an own certificate.
    """

    def __init__(self, url: str, *, now: Callable[[], int] | None = None, ssl: Any = True) -> None:
        super().__init__(url, now=now, ssl=ssl)
        self.seq = 0  # last durable event taken
        self.acked = 0  # last durable event that was worked off
        self.seq_generation = 0
        self.members: dict[str, Member] = {}
        self.invitations: dict[str, Invitation] = {}
        self.locks: dict[str, int] = {}
        self.admins: list[str] = []
        self.auto_join = True  # answer join.request and join.done by itself
        self.auto_sync = True
        self.events: list[dict[str, Any]] = []  # durable ones, in order
        self.messages: list[dict[str, Any]] = []  # the other ones but relays
        self.relays: dict[str, HomeRelay] = {}
        # One line of behaviour: message of a client → the lock's answer, or None for silence.
        self.answer: Callable[[str, str, bytes], bytes | None] = lambda _device, _user, data: data
        # Or all of it.
        self.on_relay: Callable[[HomeRelay], Awaitable[None]] = self.run_relay
        # The tag check of an advertisement: True, False, or None for "out of reach".
        self.authentic: Callable[[str, bytes], bool | None] = lambda device, _advertisement: (
            device in self.locks
        )
        # What a lock in the box of a join says besides its device: its keys, which only the client reads.
        self.keys: Callable[[str, str], dict[str, Any]] = lambda _person, _device: {}
        # Somebody follows these locks now.
        self.on_follow: Callable[[list[str]], Awaitable[None]] | None = None
        self.sync_answer: dict[str, Any] = {}
        self.keys_owed: set[str] = set()  # members whose sealed keys may be lost

    async def connect(self) -> None:
        """Open the link, take the durable events that waited, and bring the lists in line. Raises Closed."""
        peer = await self.open_link()
        if self.auto_sync:
            await self.sync()
        answer = await peer.request("resume", {"generation": self.seq_generation, "seq": self.seq})
        self.seq_generation = answer["generation"]
        if answer["reset"]:
            self.seq = self.acked = answer["seq"]
        self.store()
        if self.admins:
            await peer.request("home.admins", {"users": self.admins})
        await self.send_owed()

    # The site's lists.

    def listing(self) -> dict[str, Any]:
        """The body of site.sync: what is, as the home has it."""
        now = self.now()
        invitations = [
            {"id": item.id, "kind": item.kind, "expires": item.expires}
            for item in self.invitations.values()
            if item.expires > now
        ]
        members = [
            {"user": user, "role": member.role, "locks": sorted(member.locks)}
            for user, member in self.members.items()
        ]
        locks = [{"device": device, "capabilities": value} for device, value in self.locks.items()]
        return {
            "members": sorted(members, key=lambda item: str(item["user"])),
            "invitations": sorted(invitations, key=lambda item: str(item["id"])),
            "locks": sorted(locks, key=lambda item: str(item["device"])),
        }

    def digest(self) -> bytes:
        """SHA-256 of the list, as the server computes it of its own."""
        text = json.dumps(self.listing(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).digest()

    async def sync(self) -> bool:
        """Compare; send the list if it differs. Return whether it was equal."""
        answer = await self.request("site.digest", {"digest": b64(self.digest())})
        if not answer["match"]:
            await self.send_list()
        return bool(answer["match"])

    async def send_list(self, size: int = 100) -> dict[str, Any]:
        """Send the whole list, in parts of `size` items; forget what the server says was ended there meanwhile."""
        listing = self.listing()
        items = [
            (kind, item) for kind in ("locks", "members", "invitations") for item in listing[kind]
        ]
        parts = [items[at : at + size] for at in range(0, len(items), size)] or [[]]
        for number, part in enumerate(parts):
            body: dict[str, Any] = {"part": number, "more": number < len(parts) - 1}
            for kind, item in part:
                body.setdefault(kind, []).append(item)
            self.sync_answer = await self.request("site.sync", body)
        for user in self.sync_answer["users"]:
            self.members.pop(user, None)
        for id_ in self.sync_answer["invitations"]:
            self.invitations.pop(id_, None)
        self.store()
        return self.sync_answer

    async def register_lock(self, device: str, capabilities: int = 0x2D) -> None:
        """Register over HTTP (7.4), with an advertisement that this gateway then vouches for."""
        self.locks[device] = capabilities
        self.store()
        body = {
            "device": device,
            "capabilities": capabilities,
            "advertisement": b64(secrets.token_bytes(10)),
        }
        await self.http.call("POST", "/api/v1/locks", body, Authorization=f"Bearer {self.token}")

    async def remove_lock(self, device: str) -> None:
        """Remove it over HTTP (7.5): here first, so that it is gone even if the server does not hear of it now."""
        self.locks.pop(device, None)
        for member in self.members.values():
            if device in member.locks:
                member.locks.remove(device)
        self.store()
        await self.http.call(
            "DELETE", f"/api/v1/locks/{device}", Authorization=f"Bearer {self.token}"
        )

    async def invite(
        self, locks: list[str] | None = None, *, role: str = "member", life_ms: int = 24 * HOUR_MS
    ) -> Invitation:
        """Make an invitation for all locks, or some."""
        chosen = sorted(self.locks) if locks is None else sorted(locks)
        item = Invitation(
            secrets.token_hex(16),
            secrets.token_bytes(16),
            self.now() + life_ms,
            role=role,
            locks=chosen,
        )
        self.invitations[item.id] = item
        self.store()
        try:
            await self.request(
                "invitation.create", {"id": item.id, "kind": "guest", "expires": item.expires}
            )
        except Denied:
            self.invitations.pop(
                item.id, None
            )  # e.g. nobody has reached the server's public_url yet
            self.store()
            raise
        return item

    async def owner_code(self, life_ms: int = HOUR_MS) -> str:
        """Make a code for the first account."""
        code = secrets.token_bytes(10)
        item = Invitation(
            secrets.token_hex(16),
            b"",
            self.now() + life_ms,
            role="owner",
            kind="owner",
            locks=sorted(self.locks),
        )
        self.invitations[item.id] = item
        self.store()
        await self.request(
            "invitation.create",
            {
                "id": item.id,
                "kind": "owner",
                "expires": item.expires,
                "code": b64(hashlib.sha256(code).digest()),
            },
        )
        return write_code(code)

    async def withdraw(self, id_: str) -> None:
        """Withdraw an invitation."""
        self.invitations.pop(id_, None)
        self.store()
        await self.request("invitation.withdraw", {"id": id_})

    async def set_member(self, user: str, role: str, locks: list[str]) -> None:
        """Change a member's role and locks."""
        await self.request("member.set", {"user": user, "role": role, "locks": sorted(locks)})
        member = self.members.setdefault(user, Member(role, locks))
        member.role, member.locks = role, sorted(locks)
        self.store()

    async def end_member(self, user: str) -> None:
        """End a membership."""
        self.members.pop(user, None)
        self.store()
        await self.request("member.end", {"user": user})

    async def update_keys(self, user: str, text: str) -> dict[str, Any]:
        """Send a person's changed keys, sealed; the number is stored before sending."""
        member = self.members[user]
        member.number += 1
        self.store()
        number = member.number.to_bytes(12)
        sealed = AESGCM(member.update_key).encrypt(
            number, text.encode(), bytes.fromhex(member.person) + number
        )
        return await self.request(
            "keys.update", {"user": user, "number": member.number, "sealed": b64(sealed)}
        )

    def box(self, person: str, devices: list[str]) -> str:
        """A person's keys, as a join's box and a keys.update have them."""
        locks = [{"device": device, **self.keys(person, device)} for device in devices]
        return json.dumps({"person": person, "locks": locks})

    def put_back(self) -> None:
        """The server may have lost sealed keys that nobody has read: every member gets theirs again."""
        self.keys_owed |= {user for user, member in self.members.items() if member.update_key}

    async def send_owed(self) -> None:
        """Send their sealed keys to those who may lack them. What the server does not take now is sent later."""
        for user in sorted(self.keys_owed):
            member = self.members.get(user)
            try:
                if member is not None:
                    await self.update_keys(user, self.box(member.person, member.locks))
            except Denied as denied:
                if denied.status == SLOW_DOWN:
                    continue
            self.keys_owed.discard(user)
        self.store()

    async def send_state(
        self, device: str, advertisement: bytes, seconds: int, seen: bytes, rssi: int = -60
    ) -> None:
        """Send what a lock advertised (10 bytes), when (s), and the proof for clients with its key (8 bytes)."""
        body = {
            "advertisement": b64(advertisement),
            "time": seconds,
            "seen": b64(seen),
            "rssi": rssi,
        }
        await self.peer.send("lock.state", body, device)

    async def send_event(self, device: str, counter: int) -> None:
        """Say that a lock's log has something new."""
        await self.peer.send("lock.event", {"counter": counter}, device)

    async def event(self, kind: str) -> dict[str, Any]:
        """Wait for a durable event of a type; return its body."""
        found: dict[str, Any] = await self.until(
            lambda: next((item["body"] for item in self.events if item["type"] == kind), None)
        )
        return found

    # What comes in.

    async def _handle(self, message: dict[str, Any]) -> None:
        kind, body = message["type"], message["body"]
        if message.get("seq"):
            if message["seq"] <= self.seq:
                return  # seen before a lost connection
            if self.seq and message["seq"] != self.seq + 1:
                self.audit_problems.append(f"event {message['seq']} came after {self.seq}")
            self.seq = message["seq"]
            self.events.append(message)
            self._later(self._durable(kind, body, message["seq"]))
        elif kind.startswith("relay."):
            self._relay(kind, body)
        else:
            self.messages.append(message)
            if kind == "audit.checkpoint":
                self.check_audit(body)
            elif kind == "lock.authenticate":
                await self._authenticate(message["id"], body)
            elif kind == "sync.wanted":
                self._later(self._sync())
            elif kind == "lock.follow" and self.on_follow is not None:
                self._later(self.on_follow(body["locks"]))
        self._changed.set()

    async def _sync(self) -> None:
        await self.sync()

    async def _durable(self, kind: str, body: dict[str, Any], seq: int) -> None:
        if kind == "join.request" and self.auto_join:
            await self.answer_join(body)
        elif kind == "join.done" and self.auto_join:
            await self.finish_join(body)
        elif kind == "owner.claimed" and self.auto_join:
            await self.admit_owner(body)
        elif kind == "keys.wanted":
            member = self.members.get(body["user"])
            if member is not None and member.update_key:
                self.keys_owed.add(body["user"])
                await self.send_owed()
        elif kind == "member.left":
            self.members.pop(body["user"], None)
        elif kind == "invitation.withdrawn":
            self.invitations.pop(body["invitation"], None)
        self.acked = max(self.acked, seq)
        self.store()
        await self.peer.send("ack", {"seq": seq})

    async def _authenticate(self, id_: str, body: dict[str, Any]) -> None:
        found = self.authentic(body["device"], unb64(body["advertisement"]))
        if found is None:
            await self.peer.send(
                "refused", {"re": id_, "status": 31, "message": "lock out of reach"}
            )
        else:
            await self.peer.send("ok", {"re": id_, "authentic": found})

    # Joins (ILP1's part "join" of the vectors).

    def judge_join(self, body: dict[str, Any]) -> dict[str, Any]:
        """Decide about a join.request; return the join.answer."""
        item = self.invitations.get(body["invitation"])
        client = unb64(body["client_public"])
        if item is None or item.expires <= self.now() or not item.secret:
            return {"join": body["join"], "outcome": "refused"}
        id_ = bytes.fromhex(item.id)
        if not hmac.compare_digest(unb64(body["proof"]), join_proof(item.secret, id_, client)):
            item.wrong += 1
            return {"join": body["join"], "outcome": "wrong"}
        if item.client and item.client != client:
            item.opened_twice += 1
            return {"join": body["join"], "outcome": "refused"}
        if not item.answer:
            private = ec.generate_private_key(ec.SECP256R1())
            key, item.done_key, item.update_key = join_keys(
                private, client, item.secret, id_, client, point(private)
            )
            box = self.box(item.person, item.locks)
            item.client = client
            item.answer = {
                "outcome": "answered",
                "home_public": b64(point(private)),
                "box": b64(AESGCM(key).encrypt(bytes(12), box.encode(), id_)),
            }
            self.store()  # used up before the answer
        return {"join": body["join"], **item.answer}

    async def answer_join(self, body: dict[str, Any]) -> None:
        """Say what was decided about a join."""
        await self.request("join.answer", self.judge_join(body))

    async def finish_join(self, body: dict[str, Any]) -> None:
        """Check the client's done, then let its user in."""
        item = self.invitations.get(body["invitation"])
        if item is None or not hmac.compare_digest(unb64(body["done"]), done_proof(item.done_key)):
            return
        item.user = body["user"]
        await self.admit(item)

    async def admit_owner(self, body: dict[str, Any]) -> None:
        """Let in who registered with the owner code, for all locks."""
        item = self.invitations.get(body["invitation"])
        if item is not None:
            item.user = body["user"]
            item.locks = sorted(self.locks)
            await self.admit(item)

    async def admit(self, item: Invitation) -> None:
        """Say invitation.done: from now on the user is a member."""
        self.invitations.pop(item.id, None)
        self.members[item.user] = Member(
            item.role, sorted(item.locks), item.update_key, item.person
        )
        body = {"id": item.id, "user": item.user, "role": item.role, "locks": sorted(item.locks)}
        try:
            await self.request("invitation.done", body)
        except Denied:
            self.members.pop(item.user, None)  # withdrawn meanwhile, or the person has left
            raise
        finally:
            self.store()
        self._changed.set()

    # Relays.

    def _relay(self, kind: str, body: dict[str, Any]) -> None:
        if kind == "relay.open":
            relay = HomeRelay(self, body["relay"], body["user"], body["lock"], body["expires"])
            self.relays[relay.id] = relay
            relay.feed(unb64(body["data"]))
            self._later(self.on_relay(relay))
            return
        found = self.relays.get(body["relay"])
        if found is None:
            return
        if kind == "relay.data":
            found.feed(unb64(body["data"]))
        elif kind == "relay.end":
            found.why = body["why"]
            found.feed(None)

    async def run_relay(self, relay: HomeRelay) -> None:
        """Answer each message as `answer` says, until the client has enough or there is silence."""
        while (data := await relay.receive()) is not None:
            await relay.sent_to_lock()
            reply = self.answer(relay.device, relay.user, data)
            if reply is None:
                return
            await relay.send(reply)


__all__ = [
    "Closed",
    "Denied",
    "Home",
    "HomeRelay",
    "InvalidTag",
    "Invitation",
    "Member",
    "join_keys",
    "join_proof",
    "point",
    "public_bytes",
    "ulid",
]  # fmt: skip

if __name__ == "__main__":
    from home_command import main

    main()
