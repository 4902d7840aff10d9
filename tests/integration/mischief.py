"""A hostile server that does whatever comes to its mind, by a seed."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import TYPE_CHECKING, Any

from hostile_ras import Parcel

from custom_components.igrs_lock.remote.wire import b64, unb64

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from hostile_ras import HostileRas, Scene

_PART = ("n", "data", "hash")


class Mischief:
    """Meddles with some of all messages, and acts by itself."""

    def __init__(self, scene: Scene, rng: random.Random, rate: float = 0.3) -> None:
        self.scene = scene
        self.rng = rng
        self.rate = rate
        """How much of all messages it meddles with."""
        self.done: dict[str, int] = {}
        """What it did, and how often."""
        self._held: list[tuple[str, Parcel]] = []
        """Messages that it keeps for later: to whom (home: "")."""
        self._home_ways: list[Callable[[Parcel], list[Parcel]]] = [
            self._drop, self._double, self._hold, self._flip, self._swap_user, self._swap_lock,
            self._swap_data, self._redate, self._swap_relay,
        ]  # fmt: skip
        self._acts = [
            self._replay_home, self._replay_home, self._replay_people, self._answer_falsely,
            self._release, self._release, self._cut, self._clock, self._crowd, self._invent_people,
            self._invent_record, self._noise, self._end_falsely, self._states,
        ]  # fmt: skip
        self.ras.meddle_home = self._home
        self.ras.meddle_people = self._people
        self.ras.answer = self._answer

    @property
    def ras(self) -> HostileRas:
        """The server."""
        return self.scene.ras

    def rest(self) -> None:
        """Do honest work from now on."""
        self.rate = 0.0

    def _note(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1

    # --- on the way -----------------------------------------------------------------------------

    def _home(self, parcel: Parcel) -> list[Parcel]:
        if self.rng.random() >= self.rate:
            return [parcel]
        way = self.rng.choice(self._home_ways)
        self._note(way.__name__)
        return way(parcel)

    def _people(self, user: str, parcel: Parcel) -> list[tuple[str, Parcel]]:
        if self.rng.random() >= self.rate:
            return [(user, parcel)]
        way = self.rng.choice(("drop", "double", "hold", "flip", "other", "state", "lock"))
        self._note(f"people {way}")
        other = self._other(user)
        match way:
            case "drop":
                return []
            case "double":
                return [(user, parcel), (user, parcel)]
            case "hold":
                self._held.append((user, parcel))
                return []
            case "flip":
                return [(user, each) for each in self._flip(parcel)]
            case "other":
                return [(other, self._under(other, parcel))]
            case "lock":
                lock = self._lock()
                changed = parcel.but(lock=lock) if "lock" in parcel.body else parcel
                return [(user, Parcel(changed.kind, changed.body, lock, changed.seq))]
        if parcel.kind != "relay.state":
            return [(user, parcel)]
        states = ("accepted", "sent_to_lock", "answered", "failed", "expired", "unknown")
        state = self.rng.choice(states)
        code = self.rng.choice((1, 30, 31, 32, 33, 34, 35, 36)) if state in states[3:] else 0
        return [(user, parcel.but(state=state, code=code))]

    def _drop(self, _parcel: Parcel) -> list[Parcel]:
        return []

    def _double(self, parcel: Parcel) -> list[Parcel]:
        return [parcel, parcel]

    def _hold(self, parcel: Parcel) -> list[Parcel]:
        self._held.append(("", parcel))
        return []

    def _flip(self, parcel: Parcel) -> list[Parcel]:
        """Change one bit of what is sealed; most often so that nothing but its tag tells."""
        for name in ("data", "advertisement", "seen", "sealed", "box"):
            if parcel.body.get(name):
                raw = bytearray(unb64(parcel.body[name]))
                raw[self.rng.randrange(len(raw))] ^= 1 << self.rng.randrange(8)
                changed = {name: b64(bytes(raw))}
                if name == "data" and self.rng.random() < 0.8:
                    changed["hash"] = b64(hashlib.sha256(raw).digest())
                return [parcel.but(**changed)]
        return [parcel]

    def _swap_user(self, parcel: Parcel) -> list[Parcel]:
        if "user" not in parcel.body:
            return [parcel]
        return [parcel.but(user=self._other(parcel.body["user"]))]

    def _swap_lock(self, parcel: Parcel) -> list[Parcel]:
        return [parcel.but(lock=self._lock())] if "data" in parcel.body else [parcel]

    def _swap_data(self, parcel: Parcel) -> list[Parcel]:
        """Put what was said before in place of it."""
        said = [one for one in self.ras.for_home if "data" in one.body]
        if "data" not in parcel.body or not said:
            return [parcel]
        other = self.rng.choice(said).body
        return [parcel.but(data=other["data"], hash=other["hash"])]

    def _redate(self, parcel: Parcel) -> list[Parcel]:
        if "expires" not in parcel.body:
            return [parcel]
        by = self.rng.choice((-20_000, -5_000, 5_000, 9_000, 3_600_000))
        return [parcel.but(expires=parcel.body["expires"] + by)]

    def _swap_relay(self, parcel: Parcel) -> list[Parcel]:
        relays = [*self.ras.relays, secrets.token_hex(16)]
        if "relay" not in parcel.body:
            return [parcel]
        return [parcel.but(relay=self.rng.choice(relays))]

    def _answer(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """Answer the home with nonsense now and then."""
        if self.rng.random() >= self.rate / 2:
            return None
        self._note("answer")
        return self.rng.choice(
            (
                {"status": self.rng.choice((1, 20, 21, 22, 35, 41, 50)), "message": "no"},
                {"match": False},
                {"users": [7], "invitations": "x", "locks": [self._lock()]},
                {"generation": -1, "seq": "x", "reset": True},
                {},
            )
        )

    # --- by itself ------------------------------------------------------------------------------

    async def act(self) -> None:
        """Do something."""
        act = self.rng.choice(self._acts)
        self._note(act.__name__)
        if self.ras.connected:
            await act()

    async def _replay_home(self) -> None:
        """Begin a relay with what was once said, now valid, for anybody and any door."""
        said = [one for one in self.ras.for_home if "data" in one.body]
        if said:
            part = {name: self.rng.choice(said).body[name] for name in _PART} | {"n": 0}
            user, relay = self._other(""), secrets.token_hex(16)
            await self.ras.to_home(self.ras.opening(relay, user, self._lock(), part))
            if self.rng.random() < 0.5:
                more = {name: self.rng.choice(said).body[name] for name in _PART} | {"n": 1}
                await self.ras.to_home(Parcel("relay.data", {"relay": relay, **more}))

    async def _replay_people(self) -> None:
        said = [one for one in self.ras.for_people if one[1].kind != "keys"]
        if said:
            _, parcel = self.rng.choice(said)
            user = self._other("")
            await self.ras.to_people(user, self._under(user, parcel))

    async def _answer_falsely(self) -> None:
        """Answer what somebody asks now with what a lock said before."""
        said = [one for _, one in self.ras.for_people if one.kind == "relay.data"]
        if said and self.ras.relays:
            user, lock, key = self.rng.choice([*self.ras.relays.values()])
            for n in range(3):
                named = {"site": self.ras.site, "lock": lock, "key": key, "n": n}
                await self.ras.to_people(user, self.rng.choice(said).but(**named))

    async def _end_falsely(self) -> None:
        if self.ras.relays:
            relay, (user, lock, key) = self.rng.choice([*self.ras.relays.items()])
            named = {"site": self.ras.site, "lock": lock, "key": key, "n": 0}
            state = {"state": self.rng.choice(("answered", "failed", "unknown")), "code": 34}
            await self.ras.to_people(user, Parcel("relay.state", named | state, lock))
            if self.rng.random() < 0.5:
                await self.ras.to_home(Parcel("relay.end", {"relay": relay}))

    async def _release(self) -> None:
        """Send what was kept, in another order and under a new date."""
        self.rng.shuffle(self._held)
        for user, parcel in self._held[:4]:
            if user:
                await self.ras.to_people(user, parcel)
            elif "expires" in parcel.body:
                await self.ras.to_home(parcel.but(expires=self.ras._now() + 9_000))
            else:
                await self.ras.to_home(parcel)
        del self._held[:4]

    async def _cut(self) -> None:
        if self.rng.random() < 0.3:
            self.ras.cut()
        elif self.rng.random() < 0.3:
            await self.ras.close(self.rng.choice((1011, 1012, 1013, 4400, 4408, 4429)))

    async def _clock(self) -> None:
        self.ras.ahead_ms = self.rng.choice((0, 0, 400, -900, 600_000, -600_000, 10**12))

    async def _crowd(self) -> None:
        """Wish much at once."""
        for _ in range(8):
            lock, user = self._lock(), self._other("")
            await self.ras.to_home(Parcel("lock.prewarm", {"lock": lock, "user": user}, lock))
            part = {"n": 0, "data": b64(b"\x10"), "hash": b64(hashlib.sha256(b"\x10").digest())}
            if self.rng.random() < 0.1:
                relay = secrets.token_hex(16)
                await self.ras.to_home(self.ras.opening(relay, user, lock, part))
            await self.ras.to_home(Parcel("lock.follow", {"locks": []}))
            await self.ras.follow()

    async def _invent_people(self) -> None:
        used = [*self.scene.afar.gateway.store.invitations, secrets.token_hex(16)]
        invitation, join = self.rng.choice(used), secrets.token_hex(16)
        named = {"invitation": invitation, "join": join, "user": self._other("")}
        kind = self.rng.choice(("join.request", "join.done", "owner.claimed", "keys.wanted"))
        proof = {"proof": b64(bytes(32)), "done": b64(bytes(32)), "name": "Mallory"}
        point = {"client_public": b64(b"\x04" + bytes(64))}
        await self.ras.event(kind, named | proof | point)

    async def _invent_record(self) -> None:
        body = {
            "first": 1, "last": 1, "before": b64(bytes(32)), "head": b64(bytes(32)), "time": 1,
            "generation": self.ras.generation, "entries": [b64(bytes(32))],
            "signature": b64(bytes(64)),
        }  # fmt: skip
        await self.ras.to_home(Parcel("audit.checkpoint", body))

    async def _noise(self) -> None:
        """Say what nobody understands."""
        text = self.rng.choice(
            (
                "", "{", "[]", '{"type":"relay.open"}', '{"id":"x","type":"ok","body":{"re":7}}',
                '{"id":"x","type":"relay.open","body":{"relay":null}}', '{"a":' * 50,
                '{"id":"x","type":"lock.follow","seq":-1,"body":{}}', "\x00" * 100,
            )
        )  # fmt: skip
        await self.ras.write(text)
        kinds = ("relay.open", "relay.data", "lock.follow", "lock.prewarm", "lock.authenticate")
        field = self.rng.choice(("relay", "lock", "user", "data", "n", "locks"))
        await self.ras.to_home(
            Parcel(self.rng.choice(kinds), {field: self.rng.choice((0, "", []))})
        )

    async def _states(self) -> None:
        """Send an old state as if it was new, or another door's."""
        said = [one for _, one in self.ras.for_people if one.kind == "lock.state"]
        if said:
            parcel, lock = self.rng.choice(said), self._lock()
            now = int(time.time()) + self.rng.choice((-5, 0, 1, 60))
            for user in self._users():
                await self.ras.to_people(
                    user, Parcel("lock.state", parcel.but(time=now).body, lock)
                )
                await self.ras.to_people(user, parcel)

    # --- whom and what --------------------------------------------------------------------------

    def _users(self) -> list[str]:
        return [self.scene.user(self.scene.anna), self.scene.user(self.scene.ben)]

    def _other(self, user: str) -> str:
        return self.rng.choice([one for one in (*self._users(), "0" * 32) if one != user])

    def _lock(self) -> str:
        return self.rng.choice((self.scene.front.unique_id, self.scene.back.unique_id))

    def _under(self, user: str, parcel: Parcel) -> Parcel:
        """A message about a relay, as if it was about one of somebody's."""
        relays = [key for key in self.ras.relays.values() if key[0] == user]
        if not relays or "key" not in parcel.body:
            return parcel
        _, lock, key = self.rng.choice(relays)
        changed = parcel.but(lock=lock, key=key)
        return Parcel(changed.kind, changed.body, lock, changed.seq)
