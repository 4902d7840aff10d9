"""The relays of a home without a server: a test says what a server would, and reads what it was told.

Home Assistant, the integration's relays and the lock core are real; only the link is a tape. The
whole with the real server is in the tests of attacks.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pytest_homeassistant_custom_component.common import MockConfigEntry
from world import DOMAIN

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.ilp import NonceSource, requests
from custom_components.igrs_lock.person import DEFAULT_RIGHTS, Kind
from custom_components.igrs_lock.remote.relay import Relays
from custom_components.igrs_lock.remote.states import States
from custom_components.igrs_lock.remote.wire import Message, b64, unb64

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenants import Tenants
    from world import TestLock, World

REMOTE = DEFAULT_RIGHTS[Kind.RESIDENT] | ilp.Right.REMOTE_USE


class Tape:
    """A link that notes what is sent."""

    def __init__(self) -> None:
        self.connected = True
        self.clock = SimpleNamespace(now_ms=lambda: round(time.time() * 1000))
        self.sent: list[tuple[str, str, dict[str, Any]]] = []

    def send(self, kind: str, body: dict[str, Any] | None = None, lock: str = "") -> bool:
        if self.connected:
            self.sent.append((kind, lock, body or {}))
        return self.connected


class Desk:
    """One server's relays and states at a home; it stands in for its gateway."""

    def __init__(self, world: World, *tenants: Tenants) -> None:
        self.hass = world.hass
        self.world = world
        self.home = tenants[0].coordinator.home
        self.enabled = True
        self.entry = MockConfigEntry(domain=DOMAIN, data={"type": "server"}, title="server")
        self.store = SimpleNamespace(locks={one.lock.unique_id: 0 for one in tenants}, phones={})
        self.people = SimpleNamespace(may_use=self._may_use)
        self.link = Tape()
        self._listeners: list[Callable[[], None]] = []
        self.states = States(self)  # type: ignore[arg-type]  # what it needs of one
        self.relays = Relays(self)  # type: ignore[arg-type]
        self._stops = [self.relays.async_start(), self.states.async_start()]

    def stop(self) -> None:
        self.relays.async_stop()
        for stop in self._stops:
            stop()

    def async_listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def changed(self) -> None:
        for listener in [*self._listeners]:
            listener()

    def _may_use(self, person_id: str) -> bool:
        return any(phone.person_id == person_id for phone in self.store.phones.values())

    def join(self, person_id: str) -> str:
        """Let a person's phone be a member; return its user."""
        user = secrets.token_hex(16)
        phone = SimpleNamespace(id=user, user=user, person_id=person_id, ended=False)
        self.store.phones[user] = phone
        return user

    # --- what the server says ---

    def say(self, kind: str, **body: Any) -> None:
        message = Message("1", kind, lock=body.get("lock", ""), body=body)
        (self.states if kind == "lock.follow" else self.relays).received(message)

    def open(self, rac: Rac, message: bytes, /, **changed: Any) -> str:
        """Open a relay; return its ID."""
        relay_id = secrets.token_hex(16)
        body = {
            "relay": relay_id,
            "user": rac.user,
            "lock": rac.device,
            "expires": round(time.time() * 1000) + 10_000,
            **part(0, message),
        } | changed
        self.say("relay.open", **body)
        return str(body["relay"])

    def data(self, relay_id: str, n: int, data: bytes) -> None:
        self.say("relay.data", relay=relay_id, **part(n, data))

    # --- what the home said ---

    def told(self, kind: str, relay_id: str = "") -> list[dict[str, Any]]:
        return [
            body
            for one, _, body in self.link.sent
            if one == kind and relay_id in ("", body.get("relay"))
        ]

    def nonce(self, device: str) -> bytes:
        """The nonce of a lock's state as who follows it has it."""
        body = [
            body for kind, lock, body in self.link.sent if (kind, lock) == ("lock.state", device)
        ]
        return b"\x00" + unb64(body[-1]["advertisement"])[3:] if body else bytes(8)

    def answers(self, relay_id: str) -> list[bytes]:
        """The lock's messages that went to a relay, numbered and hashed as they have to be."""
        found = self.told("relay.data", relay_id)
        messages = [unb64(body["data"]) for body in found]
        for n, (body, message) in enumerate(zip(found, messages, strict=True)):
            assert (body["n"], unb64(body["hash"])) == (n, hashlib.sha256(message).digest())
        return messages

    def end(self, relay_id: str) -> tuple[str, int] | None:
        """How a relay ended, as was told once; None while it goes on."""
        ends = self.told("relay.end", relay_id)
        assert len(ends) < 2
        return (ends[0]["outcome"], ends[0]["code"]) if ends else None


def part(n: int, data: bytes) -> dict[str, Any]:
    return {"n": n, "data": b64(data), "hash": b64(hashlib.sha256(data).digest())}


@dataclass
class Rac:
    """Somebody's remote client, with the keys that their phone has."""

    desk: Desk
    user: str
    device: str
    slot: int
    account_id: bytes
    key: bytes = field(repr=False)
    lock: TestLock
    session: ilp.ClientSession | None = None
    exchange: ilp.Exchange = field(default_factory=ilp.Exchange)

    @classmethod
    def of(cls, desk: Desk, tenants: Tenants, name: str, user: str = "") -> Rac:
        """Let somebody with access join."""
        held = tenants.key(name)
        person_id = tenants.access(name).person_id
        assert person_id is not None
        return cls(
            desk,
            user or desk.join(person_id),
            tenants.lock.unique_id,
            held.slot,
            held.account_id,
            ilp.account_key(tenants.lock_key, held.account_id),
            tenants.lock,
        )

    def opening(self, *wanted: ilp.Request, nonce: bytes | None = None) -> bytes:
        """A new session on the state that was passed on last, or on a challenge's nonce."""
        source = NonceSource.CHALLENGE
        if nonce is None:
            source, nonce = NonceSource.ADVERTISED, self.desk.nonce(self.device)
        self.session = ilp.ClientSession(self.key, self.lock.device_id, self.slot, source, nonce)
        self.exchange = ilp.Exchange()
        return self.session.open(self._frames(requests.authenticate(self.account_id), *wanted))

    def more(self, *wanted: ilp.Request) -> bytes:
        assert self.session is not None
        return self.session.seal(self._frames(*wanted))

    def _frames(self, *wanted: ilp.Request) -> list[ilp.Frame]:
        frames = [one.at(int(time.time())) for one in wanted]
        self.exchange.sent(frames)
        return frames

    def read(self, messages: list[bytes]) -> list[Any]:
        """Read sealed messages: results of answers, and events."""
        assert self.session is not None
        return [
            item.event if isinstance(item, ilp.StateEvent) else item.result
            for message in messages
            for item in self.exchange.received(self.session.receive(message))
        ]


UNLOCK = requests.operate(ilp.Operation.UNLOCK)
LOCK = requests.operate(ilp.Operation.LOCK)
STATUS = requests.get_status()
