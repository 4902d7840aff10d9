"""A server that was taken over, at its daily work: people join, follow and relay through it, and it
meddles wherever a test says so.

By itself it does what the real one does, as far as a home and a client see it, without a check of
its own. Every message passes through `meddle_home` or `meddle_people`, which return what is sent in
its place: nothing, others, several. What passed is kept in `for_home` and `for_people`, to be sent
again later by `to_home` and `to_people`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from afar import Afar, Client
from aiohttp import WSMsgType, web
from false_ras import Envelope, FalseRas
from ras_house import breathe
from tenants import Tenants

from custom_components.igrs_lock.ilp import Right
from custom_components.igrs_lock.person import DEFAULT_RIGHTS, Kind
from custom_components.igrs_lock.remote.wire import b64, ulid

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from board import TestLock
    from freezegun.api import FrozenDateTimeFactory
    from homeassistant.core import HomeAssistant
    from world import World

REMOTE = DEFAULT_RIGHTS[Kind.RESIDENT] | Right.REMOTE_USE

type Key = tuple[str, str, str]
"""A relay as its client names it: user, device, key."""


@dataclass(frozen=True)
class Parcel:
    """A message on its way, without the envelope's own fields."""

    kind: str
    body: dict[str, Any]
    lock: str = ""
    seq: int = 0

    def but(self, **fields: Any) -> Parcel:
        """Return it with other fields in its body."""
        return replace(self, body=self.body | fields)


@dataclass
class Join:
    """One request to join."""

    id: str
    user: str
    token: str
    invitation: str
    state: str = "pending"
    home_public: str = ""
    box: str = ""


class HostileRas(FalseRas):
    """See above. Its `meddle…` may be changed at any time."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.meddle_home: Callable[[Parcel], list[Parcel]] = lambda parcel: [parcel]
        """What the home gets in place of a message."""
        self.meddle_people: Callable[[str, Parcel], list[tuple[str, Parcel]]] = (
            lambda user, parcel: [(user, parcel)]
        )
        """Who gets what in place of a message to somebody."""
        self.meddle_join: Callable[[dict[str, Any]], dict[str, Any]] = lambda answer: answer
        """What a client is answered about its join."""
        self.for_home: list[Parcel] = []
        self.for_people: list[tuple[str, Parcel]] = []
        self.joins: dict[tuple[str, str], Join] = {}
        self.members: dict[str, list[str]] = {}
        """Users whom the home let in, and for which locks."""
        self.events_home: list[Parcel] = []
        self.relays: dict[str, Key] = {}
        """Relays by the home's name for them."""
        self._events: dict[str, list[Parcel]] = {}
        self._followed: dict[str, set[str]] = {}
        self._latest: dict[str, Parcel] = {}
        self._sockets: dict[str, set[web.WebSocketResponse]] = {}
        self._tokens: dict[str, str] = {}

    async def start(self, certificate: ssl.SSLContext | None = None) -> None:
        await super().start(certificate)
        self.public_url, self.reached = self.url, True

    # --- what it says to the home ---------------------------------------------------------------

    async def to_home(self, parcel: Parcel) -> None:
        """Say something to the home, without meddling; of a lost link nothing is kept."""
        if self.connected:
            with contextlib.suppress(ConnectionError):
                await self.say(parcel.kind, parcel.body, lock=parcel.lock, seq=parcel.seq)

    async def _for_home(self, parcel: Parcel) -> None:
        self.for_home.append(parcel)
        for each in self.meddle_home(parcel):
            await self.to_home(each)

    async def event(self, kind: str, body: dict[str, Any]) -> None:
        """Tell the home of a durable event."""
        parcel = Parcel(kind, body, seq=len(self.events_home) + 1)
        self.events_home.append(parcel)
        await self._for_home(parcel)

    # --- what it says to people -----------------------------------------------------------------

    async def to_people(self, user: str, parcel: Parcel) -> None:
        """Say something to somebody who is connected, without meddling."""
        text = self._envelope_of(parcel)
        for socket in [*self._sockets.get(user, ())]:
            with contextlib.suppress(ConnectionError):
                await socket.send_str(text)

    async def _for_people(self, user: str, parcel: Parcel) -> None:
        self.for_people.append((user, parcel))
        for whom, each in self.meddle_people(user, parcel):
            await self.to_people(whom, each)

    async def event_people(self, user: str, kind: str, body: dict[str, Any]) -> None:
        """Tell somebody of a durable event."""
        events = self._events.setdefault(user, [])
        parcel = Parcel(kind, body, seq=len(events) + 1)
        events.append(parcel)
        await self._for_people(user, parcel)

    def _envelope_of(self, parcel: Parcel) -> str:
        return json.dumps(
            {
                "id": ulid(self._now()), "type": parcel.kind, "time": self._now(), "expires": 0,
                "from": "server", "to": "", "lock": parcel.lock, "seq": parcel.seq,
                "body": parcel.body,
            }
        )  # fmt: skip

    # --- what the home says ---------------------------------------------------------------------

    async def _heard(self, socket: web.WebSocketResponse, message: Envelope) -> None:
        await super()._heard(socket, message)
        body, lock = message["body"], message.get("lock", "")
        match message["type"]:
            case "resume":
                after = body["seq"] if body["generation"] == self.generation else 0
                for parcel in self.events_home[after:]:
                    await self.to_home(parcel)
                await self.follow()
            case "join.answer":
                for join in self.joins.values():
                    if join.id == body["join"]:
                        join.state = body["outcome"]
                        join.home_public = body.get("home_public", "")
                        join.box = body.get("box", "")
            case "invitation.done" | "member.set":
                self.members[body["user"]] = body["locks"]
            case "member.end":
                self.members.pop(body["user"], None)
            case "keys.update":
                told = {"site": self.site, "number": body["number"], "sealed": body["sealed"]}
                await self.event_people(body["user"], "keys", told)
            case "lock.state":
                parcel = self._latest[lock] = Parcel(
                    "lock.state", {"site": self.site, **body}, lock
                )
                for user, followed in self._followed.items():
                    if lock in followed:
                        await self._for_people(user, parcel)
            case "relay.state" | "relay.data" | "relay.end":
                await self._relayed(message["type"], body)

    async def _relayed(self, kind: str, body: dict[str, Any]) -> None:
        if (key := self.relays.get(body["relay"])) is None:
            return
        named = {"site": self.site, "lock": key[1], "key": key[2]}
        if kind == "relay.data":
            told = named | {name: body[name] for name in ("n", "data", "hash")}
        elif kind == "relay.state":
            told = named | {"state": body["state"], "code": 0, "n": body["n"]}
        else:
            told = named | {"state": body["outcome"], "code": body["code"], "n": 0}
            kind = "relay.state"
        await self._for_people(key[0], Parcel(kind, told, key[1]))

    # --- what people say ------------------------------------------------------------------------

    async def _http(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path == "/api/v1/push":
            return await self._push(request)
        data: dict[str, Any] | None = None
        body = await request.json() if request.can_read_body else {}
        if path == "/api/v1/server":
            data = {
                "name": "IGRS RAS", "version": "1", "key": b64(self.public), "time": self._now(),
                "public_url": self.public_url, "reached": self.reached,
            }  # fmt: skip
        elif path == "/api/v1/joins":
            data = self.meddle_join(await self._join(body))
        elif path.endswith("/done"):
            join = next(one for one in self.joins.values() if one.id == path.split("/")[-2])
            told = {"invitation": join.invitation, "join": join.id, "user": join.user}
            await self.event("join.done", told | {"done": body["done"]})
        return web.json_response({"status": 0, "message": "done", "data": data})

    async def _join(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body["invitation"], body["client_public"]
        join = self.joins.get(name)
        if join is None:
            join = self.joins[name] = Join(
                secrets.token_hex(16), secrets.token_hex(16), f"u_{secrets.token_hex(16)}", name[0]
            )
            self._tokens[join.token] = join.user
            await self.event("join.request", {"join": join.id, **body})
        return {
            "join": join.id, "state": join.state, "site": self.site, "user": join.user,
            "home_public": join.home_public, "box": join.box, "token": join.token,
        }  # fmt: skip

    async def _push(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("igrs.push.v1",), compress=False)
        await socket.prepare(request)
        auth = await socket.receive()
        if auth.type is not WSMsgType.TEXT:
            return socket
        user = self._tokens[json.loads(auth.data)["body"]["token"]]
        hello = {
            "time": self._now(), "generation": self.generation,
            "seq": len(self._events.get(user, ())), "user": user,
        }  # fmt: skip
        await socket.send_str(self._envelope_of(Parcel("hello", hello)))
        self._sockets.setdefault(user, set()).add(socket)
        try:
            async for frame in socket:
                if frame.type is WSMsgType.TEXT:
                    await self._said_by(user, json.loads(frame.data))
        finally:
            self._sockets[user].discard(socket)
            for relay in [one for one, key in self.relays.items() if key[0] == user]:
                del self.relays[relay]
                await self._for_home(Parcel("relay.end", {"relay": relay}))
        return socket

    async def _said_by(self, user: str, message: Envelope) -> None:
        kind, body = message["type"], message["body"]
        answer: dict[str, Any] = {}
        match kind:
            case "ping":
                pong = {"re": message["id"], "time": self._now()}
                await self.to_people(user, Parcel("pong", pong))
                return
            case "resume":
                for parcel in self._events.get(user, [])[body["seq"] :]:
                    await self.to_people(user, parcel)
            case "follow":
                self._followed[user] = {each["lock"] for each in body["locks"]}
                answer = {"locks": body["locks"]}
            case "lock.prewarm":
                await self._for_home(
                    Parcel("lock.prewarm", {"lock": body["lock"], "user": user}, body["lock"])
                )
        await self.to_people(user, Parcel("ok", {"re": message["id"], **answer}))
        if kind == "follow":
            for device in self._followed[user] & self._latest.keys():
                await self._for_people(user, self._latest[device])
            await self.follow()
        elif kind.startswith("relay."):
            await self._relay(user, kind, body)

    async def follow(self) -> None:
        """Tell the home what is followed."""
        locks = sorted(set[str]().union(*self._followed.values()))
        await self._for_home(Parcel("lock.follow", {"locks": locks}))

    async def _relay(self, user: str, kind: str, body: dict[str, Any]) -> None:
        key = user, body["lock"], body["key"]
        relay = next((one for one, named in self.relays.items() if named == key), "")
        if kind == "relay.open":
            relay = secrets.token_hex(16)
            self.relays[relay] = key
            await self._for_home(self.opening(relay, user, body["lock"], body))
            told = {"site": self.site, "lock": key[1], "key": key[2], "n": 0, "code": 0}
            state = Parcel("relay.state", {**told, "state": "sent_to_gateway"}, key[1])
            await self._for_people(user, state)
        elif kind == "relay.data" and relay:
            told = {"relay": relay} | {name: body[name] for name in ("n", "data", "hash")}
            await self._for_home(Parcel("relay.data", told, key[1]))
        elif kind == "relay.end" and relay:
            await self._for_home(Parcel("relay.end", {"relay": relay}, key[1]))
            told = {"site": self.site, "lock": key[1], "key": key[2], "n": 0, "code": 0}
            await self._for_people(
                user, Parcel("relay.state", {**told, "state": "answered"}, key[1])
            )

    def opening(self, relay: str, user: str, device: str, part: dict[str, Any]) -> Parcel:
        """Return what begins a relay at the home."""
        told = {name: part[name] for name in ("n", "data", "hash")}
        body = {"relay": relay, "user": user, "lock": device, "expires": self._now() + 10_000}
        return Parcel("relay.open", body | told, device)

    async def stop(self) -> None:
        for sockets in self._sockets.values():
            for socket in [*sockets]:
                if socket._req is not None and socket._req.transport is not None:
                    socket._req.transport.abort()
        await asyncio.sleep(0)
        await super().stop()


@dataclass
class Scene:
    """A house with two doors. Anna has both of them on her phone, Ben has the back door."""

    world: World
    ras: HostileRas
    afar: Afar
    tenants: Tenants
    front: TestLock
    back: TestLock
    anna: Client
    ben: Client

    def user(self, client: Client) -> str:
        """Whom the server takes a client for."""
        return str(client.memory.user)

    def moved(self) -> list[tuple[str, int]]:
        """What moved so far: doors and operations."""
        names = {self.front.unique_id: "front", self.back.unique_id: "back"}
        return [(names[one.device], one.operation) for one in self.afar.moved()]

    def writes(self) -> int:
        """How many packets were written to both locks so far."""
        return sum(watch.writes for watch in self.afar.watches.values())

    async def relay(self, parcel: Parcel) -> dict[str, Any]:
        """Say something that begins a relay; return how it ended at home."""
        await self.ras.to_home(parcel)

        def end() -> dict[str, Any] | None:
            ends = self.ras.said("relay.end")
            return next((one for one in ends if one["relay"] == parcel.body["relay"]), None)

        ended: dict[str, Any] = await self.afar.until(end, 70)
        return ended

    def again(self, parcel: Parcel, **fields: Any) -> Parcel:
        """Return the beginning of a relay as one of its own, which has not expired."""
        expires = round(time.time() * 1000) + self.ras.ahead_ms + 10_000
        return parcel.but(relay=secrets.token_hex(16), expires=expires, **fields)

    def openings(self) -> list[Parcel]:
        """What clients began relays with."""
        return [one for one in self.ras.for_home if one.kind == "relay.open"]


@pytest.fixture
async def hostile(
    hass: HomeAssistant, freezer: FrozenDateTimeFactory, socket_enabled: None
) -> AsyncGenerator[HostileRas]:
    """A server that was taken over; it does its work until a test says otherwise."""
    ras = HostileRas()
    await ras.start()
    yield ras
    await ras.stop()
    # Sockets that were closed in order would be cut off seconds later.
    freezer.tick(60)
    await breathe(hass)


@pytest.fixture
async def calendar(world: World) -> None:
    """The day on which it plays: any. A test may have another one."""


@pytest.fixture
async def scene(
    hass: HomeAssistant,
    calendar: None,
    world: World,
    lock: TestLock,
    entry: Any,
    hostile: HostileRas,
    tmp_path: Path,
) -> AsyncGenerator[Scene]:
    """Anna and Ben, far away, each with a state of their doors on the screen."""
    back = world.add_lock()
    await world.pair(back)
    await world.advance(8)
    tenants = Tenants(world, lock, entry)
    both = frozenset((lock.unique_id, back.unique_id))
    anna = tenants.add("Anna", rights=REMOTE, locks=both)
    ben = tenants.add("Ben", rights=REMOTE & ~Right.OPEN, locks=frozenset((back.unique_id,)))
    await world.advance(12)
    server = hostile.entry(hass, *both)
    assert await hass.config_entries.async_setup(server.entry_id)
    afar = Afar(world, server, tmp_path)
    await afar.until(lambda: len(afar.gateway.store.locks) == 2)
    clients = [await afar.join(anna, "Anna's phone"), await afar.join(ben, "Ben's phone")]
    await afar.heard(*clients)
    await afar.play(6)  # connections that nobody uses end
    yield Scene(world, hostile, afar, tenants, lock, back, *clients)
    await afar.close()
    await afar.wait(hass.config_entries.async_unload(server.entry_id))
