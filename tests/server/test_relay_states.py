"""Relays under any order of messages, repeats, gaps and losses, with the real database and a peer that is played."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from conftest import MovedClock
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from igrs_ras import relay
from igrs_ras.clock import ulid_ms
from igrs_ras.hub import Client
from igrs_ras.relay import Relays
from igrs_ras.socket import Message
from igrs_ras.status import Refused, Status
from igrs_ras.storage import tables
from igrs_ras.storage.engine import open_engine
from igrs_ras.storage.store import Store
from igrs_ras.wire import b64, new_id
from peer import ulid
from sqlalchemy import select

if TYPE_CHECKING:
    import pytest
    from conftest import Database

ENDS = {"answered", "failed", "expired", "unknown"}
DEVICE = "C4112233445F"


class FlakyStore:
    """The real store, until it is told to be away."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.away = False

    async def bulk(self, job: Any, item: Any) -> Any:
        if self.away:
            raise Refused(Status.NOT_READY)
        return await self._store.bulk(job, item)

    async def read(self, job: Any) -> Any:
        return await self._store.read(job)

    async def write(self, job: Any) -> Any:
        return await self._store.write(job)


class PlayedSocket:
    """Takes what a socket would send."""

    def __init__(self) -> None:
        self.closed: int | None = None
        self.waiting = 0
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send(self, kind: str, body: dict[str, Any], **_: Any) -> str:
        if self.closed is None:
            self.sent.append((kind, body))
        return ""


class PlayedLink:
    def __init__(self, site: str) -> None:
        self.site = site
        self.socket = PlayedSocket()
        self.send = self.socket.send

    @property
    def open(self) -> bool:
        return self.socket.closed is None


class RelayMachine(RuleBasedStateMachine):
    """Two sockets of one member, one of another, and the gateway's link, which comes and goes."""

    store: FlakyStore
    loop: asyncio.AbstractEventLoop

    @initialize()
    def begin(self) -> None:
        self.site = new_id()
        self.clock = MovedClock()
        self.users = [new_id(), new_id()]
        sessions = [new_id(), new_id()]
        self.run(self.store.write(lambda tx: _home(tx, self.site, self.users, sessions)))
        self.link: PlayedLink | None = PlayedLink(self.site)
        self.links = [self.link]
        played: Any = SimpleNamespace(
            clock=self.clock,
            store=self.store,
            draining=False,
            settings=SimpleNamespace(relays_per_minute=1000),
            gateways=SimpleNamespace(link_of=lambda _site: self.link),
            states=SimpleNamespace(forget=lambda **_: None),
            metrics=SimpleNamespace(relay_answered=lambda _: None, relay_ended=lambda _: None),
        )
        self.relays = Relays(played)
        self.clients = [
            self.client(self.users[0], sessions[0]),
            self.client(self.users[0], sessions[0]),
            self.client(self.users[1], sessions[1]),
        ]
        self.opened: list[dict[str, Any]] = []
        self.really_answered: set[str] = set()  # ids for which the gateway sent a message
        self.asked = Counter[str]()  # keys that were asked about again

    def client(self, user: str, session: str) -> Any:
        return Client(PlayedSocket(), None, user, session)  # type: ignore[arg-type]  # played

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def say(self, work: Any) -> Status:
        """Do something on the loop, then let the ends be recorded if the database is there."""

        async def said() -> Status:
            status = Status.DONE
            try:
                result = work()
                if asyncio.iscoroutine(result):
                    await result
            except Refused as refused:
                status = refused.status
            while self.relays._tasks and not self.store.away:
                await asyncio.wait(self.relays._tasks)
            return status

        return self.run(said())  # type: ignore[no-any-return]

    def opening(self, item: dict[str, Any], data: bytes) -> Message:
        body = {
            **item["body"],
            "n": 0,
            "data": b64(data),
            "hash": b64(hashlib.sha256(data).digest()),
            "ttl_ms": 9000,
        }
        return message("relay.open", body)

    @rule(who=st.sampled_from([0, 1, 2]), data=st.binary(max_size=20))
    def open_relay(self, who: int, data: bytes) -> None:
        key = ulid(self.clock.now_ms())
        self.open(self.clients[who], {"site": self.site, "lock": DEVICE, "key": key}, data)

    def open(self, client: Any, body: dict[str, Any], data: bytes) -> None:
        """Open with a key that this user has not opened anything with."""
        item = {"client": client, "data": data, "body": body}
        before = len(self.link.socket.sent) if self.link else 0
        status = self.say(lambda: self.relays.open(client, self.opening(item, data)))
        if status is Status.DONE:
            assert self.link is not None
            kind, sent = self.link.socket.sent[before]
            assert (kind, sent["user"], sent["n"]) == ("relay.open", client.user, 0)
            self.opened.append(item | {"id": sent["relay"], "link": self.link})
        elif status is not Status.EXPIRED or not self.old(body["key"]):
            refusals = {Status.NOT_READY, Status.SLOW_DOWN}
            if self.link is None:
                # With the database away before, the key may be in doubt.
                refusals = {Status.NOT_READY, Status.GATEWAY_OFFLINE}
            assert status in refusals

    def old(self, key: str) -> bool:
        return self.clock.now_ms() - ulid_ms(key) > 300_000

    @precondition(lambda self: self.opened)
    @rule(data=st.data(), who=st.sampled_from([0, 1, 2]), same=st.booleans())
    def open_again(self, data: st.DataObject, who: int, same: bool) -> None:
        item = data.draw(st.sampled_from(self.opened))
        client = self.clients[who]
        content = item["data"] if same else item["data"] + b"!"
        mine = [
            one
            for one in self.opened
            if one["body"] == item["body"] and one["client"].user == client.user
        ]
        if not mine:
            # Another person's key is another key.
            self.open(client, item["body"], content)
            return
        same = content == mine[0]["data"]
        status = self.say(lambda: self.relays.open(client, self.opening(item, content)))
        if status is Status.EXPIRED:
            assert self.old(item["body"]["key"])
        elif status not in (Status.NOT_READY, Status.SLOW_DOWN):
            assert status is (Status.DONE if same else Status.EXISTS)
        if same:
            self.asked[mine[0]["id"]] += 1

    @precondition(lambda self: self.opened)
    @rule(
        data=st.data(),
        step=st.sampled_from([-1, 0, 1, 1, 1, 2]),
        content=st.sampled_from([b"a", b"b"]),
    )
    def client_speaks(self, data: st.DataObject, step: int, content: bytes) -> None:
        item = data.draw(st.sampled_from(self.opened))
        n = max(0, item.setdefault("n", 0) + step)
        body = {
            **item["body"],
            "n": n,
            "data": b64(content),
            "hash": b64(hashlib.sha256(content).digest()),
        }
        if (
            self.say(lambda: self.relays.data(item["client"], message("relay.data", body)))
            is Status.DONE
            and step == 1
        ):
            item["n"] = n

    @precondition(lambda self: self.opened)
    @rule(data=st.data(), who=st.sampled_from([0, 1, 2]))
    def client_ends(self, data: st.DataObject, who: int) -> None:
        item = data.draw(st.sampled_from(self.opened))
        status = self.say(
            lambda: self.relays.end(self.clients[who], message("relay.end", item["body"]))
        )
        mine = [
            one
            for one in self.opened
            if one["body"] == item["body"] and one["client"] is self.clients[who]
        ]
        assert mine or status is Status.NOT_FOUND

    @precondition(lambda self: self.opened)
    @rule(
        data=st.data(),
        step=st.sampled_from([-1, 0, 0, 0, 1]),
        content=st.sampled_from([b"x", b"y"]),
        own=st.booleans(),
    )
    def lock_answers(self, data: st.DataObject, step: int, content: bytes, own: bool) -> None:
        item = data.draw(st.sampled_from(self.opened))
        n = max(0, item.setdefault("back", 0) + step)
        body = {
            "relay": item["id"],
            "n": n,
            "data": b64(content),
            "hash": b64(hashlib.sha256(content).digest()),
        }
        link: Any = item["link"] if own else PlayedLink(self.site)
        before = len(item["client"].socket.sent)
        assert (
            self.say(lambda: self.relays.from_gateway(link, message("relay.data", body)))
            is Status.DONE
        )
        passed = [kind for kind, _ in item["client"].socket.sent[before:]].count("relay.data")
        assert passed == 0 or (own and n == item["back"])
        if passed:
            item["back"] = n + 1
            self.really_answered.add(item["id"])

    @precondition(lambda self: self.opened)
    @rule(data=st.data(), n=st.integers(0, 2))
    def lock_is_reached(self, data: st.DataObject, n: int) -> None:
        item = data.draw(st.sampled_from(self.opened))
        body = {"relay": item["id"], "state": "sent_to_lock", "n": n}
        self.say(lambda: self.relays.from_gateway(item["link"], message("relay.state", body)))

    @precondition(lambda self: self.opened)
    @rule(
        data=st.data(),
        outcome=st.sampled_from(sorted(ENDS)),
        code=st.sampled_from([0, 31, 36, 99]),
        own=st.booleans(),
    )
    def gateway_ends(self, data: st.DataObject, outcome: str, code: int, own: bool) -> None:
        item = data.draw(st.sampled_from(self.opened))
        link: Any = item["link"] if own else PlayedLink(self.site)
        body = {"relay": item["id"], "outcome": outcome, "code": code}
        self.say(lambda: self.relays.from_gateway(link, message("relay.end", body)))

    @rule(who=st.sampled_from([0, 1, 2]))
    def client_leaves(self, who: int) -> None:
        old = self.clients[who]
        old.socket.closed = 1006
        self.say(lambda: self.relays.client_gone(old))
        self.clients[who] = self.client(old.user, old.session)

    @rule(back=st.booleans())
    def gateway_leaves(self, back: bool) -> None:
        if self.link is not None:
            self.link.socket.closed = 1006
        self.link = PlayedLink(self.site) if back else None
        if self.link is not None:
            self.links.append(self.link)
        self.say(lambda: self.relays.gateway_gone(self.site))

    @rule(seconds=st.sampled_from([1, 16, 61]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.say(self.relays.tick)

    @rule(who=st.sampled_from([0, 1]))
    def right_ends(self, who: int) -> None:
        self.say(lambda: self.relays.end_for(user=self.users[who], site=self.site))

    @rule()
    def database_leaves(self) -> None:
        self.store.away = True

    @rule()
    def database_returns(self) -> None:
        self.store.away = False
        self.say(lambda: None)

    def teardown(self) -> None:
        if not hasattr(self, "relays"):
            return
        self.store.away = False
        self.run(self.relays.stop())
        assert self.relays.live == 0
        entries, rows = self.run(
            self.store.read(lambda connection: _written(connection, self.site))
        )
        for row in rows:
            mine = [
                entry for entry in entries if (entry["key"], entry["user"]) == (row.key, row.user)
            ]
            # Exactly one acceptance and one end in the audit, and the row says the same.
            assert [entry["what"] for entry in mine] == ["relay.accepted", "relay.ended"]
            assert (mine[1]["outcome"], mine[1]["code"]) == (row.state, row.code)
            assert row.state in ENDS
        assert len(entries) == 2 * len(rows)
        for item in self.opened:
            (row,) = [
                row
                for row in rows
                if (row.key, row.user) == (item["body"]["key"], item["client"].user)
            ]
            if row.state == "answered":
                assert item["id"] in self.really_answered
            told = [
                body["state"]
                for kind, body in item["client"].socket.sent
                if kind == "relay.state" and body["key"] == row.key and body["state"] in ENDS
            ]
            # One end is told; more only to who asked again. While it was not recorded it was unknown.
            assert len(told) <= 1 + self.asked[item["id"]]
            assert set(told) <= {row.state, "unknown"}
            to_gateway = [
                (kind, body["n"])
                for link in self.links
                for kind, body in link.socket.sent
                if body.get("relay") == item["id"] and kind != "relay.end"
            ]
            # Each message went to the gateway once, in order.
            assert to_gateway == [
                ("relay.open", 0),
                *(("relay.data", n) for n in range(1, len(to_gateway))),
            ]


def message(kind: str, body: dict[str, Any]) -> Message:
    return Message(id=ulid(0), type=kind, body=body)


def _home(tx: Any, site: str, users: list[str], sessions: list[str]) -> None:
    tx.execute(
        tables.sites.insert(),
        {"id": site, "name": "Home", "generation": 1, "suspended": False, "created": 0},
    )
    tx.execute(
        tables.locks.insert(), {"site": site, "device": DEVICE, "capabilities": 0, "created": 0}
    )
    for user, session in zip(users, sessions, strict=True):
        tx.execute(tables.users.insert(), {"id": user, "name": "A", "created": 0})
        tx.execute(
            tables.sessions.insert(),
            {
                "id": session, "hash": session.encode(), "user": user, "kind": "join", "full": True,
                "created": 0, "used": 0, "expires": 2**52,
            },
        )  # fmt: skip
        tx.execute(
            tables.members.insert(),
            {"site": site, "user": user, "role": "member", "state": "active", "created": 0},
        )
        tx.execute(tables.grants.insert(), {"site": site, "user": user, "device": DEVICE})


def _written(connection: Any, site: str) -> tuple[list[dict[str, Any]], list[Any]]:
    entries = connection.execute(
        select(tables.audit.c.entry).where(tables.audit.c.site == site).order_by(tables.audit.c.i)
    ).scalars()
    rows = connection.execute(select(tables.relays).where(tables.relays.c.site == site)).all()
    return [json.loads(entry) for entry in entries], list(rows)


def test_whatever_happens_a_relay_ends_once_is_recorded_twice_and_is_answered_only_by_an_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "RETRY_FIRST", 0.001)
    monkeypatch.setattr(relay, "RETRY_LAST", 0.001)
    loop = asyncio.new_event_loop()
    url = database.url or f"sqlite:///{database.folder / 'ras.sqlite3'}"

    async def opened() -> Store:
        store = Store(open_engine(url), MovedClock())
        await store.start()
        return store

    store = loop.run_until_complete(opened())

    class Machine(RelayMachine):
        pass

    Machine.store = FlakyStore(store)
    Machine.loop = loop
    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=40,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        loop.run_until_complete(store.stop())
        loop.close()
