"""Whatever anybody sends, the server refuses in its own words, stays up and has nothing to log.

Calls are made from the OpenAPI document, messages of both sockets from valid ones that are changed. The same each time;
IGRS_FUZZ_EXAMPLES=2000 tries more than the few of a usual run.
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import os
import secrets
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from conftest import Api, Database, MovedClock, base_of, make_settings
from document import Answered, Document
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from igrs_ras.api import openapi
from igrs_ras.link import _HANDLERS
from peer import PATIENCE, Closed, b64, ulid
from schemathesis import GenerationMode
from town import PASSWORD, Caller, Furnished, furnish, new_site, rows_of, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hypothesis.strategies import DrawFn
    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings

ORIGIN = "https://locks.example"
EXAMPLES = int(os.environ.get("IGRS_FUZZ_EXAMPLES", "6"))
CONVERSATIONS = EXAMPLES * 20
# They take nothing that could be varied, and end who calls.
LEFT_OUT = ("end_sessions", "delete_me")
# What they take away is missing afterwards, so they come last.
LAST = ("end_session", "remove_lock", "remove_member", "withdraw_invitation")


def repeatable(examples: int) -> hypothesis_settings:
    return hypothesis_settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture
def settings(database: Database) -> Settings:
    return make_settings(
        database, public_url=ORIGIN, messages_per_second=10**6, relays_per_minute=10**6
    )


@pytest.fixture
async def home(ras: Ras, database: Database, clock: MovedClock) -> AsyncIterator[Furnished]:
    with rows_of(database) as rows:
        code = new_site(rows, "Mill Lane 2", clock.now_ms())
    place = await settle(base_of(ras), code, now=clock.now_ms, origin=ORIGIN)
    found = await furnish(place, database, ORIGIN)
    yield found
    await place.close()


@pytest.fixture
def no_faults(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the server logged at error level."""
    caplog.set_level(logging.WARNING)
    return lambda: [
        f"{record.getMessage()} {record.exc_text or ''}"
        for record in caplog.records
        if record.levelno >= logging.ERROR
    ]


class Calls:
    """Makes calls of the document and judges the answers. Lives in a thread beside the server's loop."""

    def __init__(self, base: str, home: Furnished) -> None:
        self.base = base
        self.home = home
        self.document = Document(json.loads(openapi.document()))
        self.session = requests.Session()
        self.faults: list[str] = []
        self.count = 0

    def run(self) -> None:
        schema = schemathesis.openapi.from_dict(self.document.document)
        found: list[Any] = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
        operations = {operation.definition.raw["operationId"]: operation for operation in found}
        for name in [name for name in operations if name not in LAST] + list(LAST):
            if name not in LEFT_OUT and not self.document.operations[name].is_websocket:
                described = self.document.operations[name].described
                self.fuzz(
                    name, operations[name].as_strategy(generation_mode=GenerationMode.POSITIVE)
                )
                if "parameters" in described or "requestBody" in described:
                    self.fuzz(
                        name, operations[name].as_strategy(generation_mode=GenerationMode.NEGATIVE)
                    )

    def fuzz(self, name: str, cases: st.SearchStrategy[Any]) -> None:
        ids = self.home.ids
        callers = st.sampled_from(sorted(self.home.callers))

        @repeatable(EXAMPLES)
        @given(st.data())
        def each(data: st.DataObject) -> None:
            case = data.draw(cases)
            caller = self.home.callers[data.draw(callers)]
            if data.draw(st.booleans()):
                # With ids that are there the call gets further than to "not found".
                for part in (case.path_parameters, case.body):
                    if isinstance(part, dict):
                        for key in part.keys() & ids.keys():
                            part[key] = data.draw(st.sampled_from(ids[key]))
            self.send(name, case, caller)

        each()

    def send(self, name: str, case: Any, caller: Caller) -> None:
        self.count += 1
        given = case.as_transport_kwargs(base_url=self.base)
        sent = {
            key: value
            for key, value in (given.pop("headers", None) or {}).items()
            if key.lower() not in ("authorization", "cookie", "user-agent")
        }
        given.pop("cookies", None)
        response = self.session.request(
            **given, headers={**sent, **caller.headers(ORIGIN)}, timeout=30, allow_redirects=False
        )
        what = f"{name}: {case.method} {given.get('url')} {str(given)[:600]} as {caller}"
        try:
            answered = Answered(response.status_code, response.json())
        except ValueError:
            self.faults.append(f"{what}: {response.status_code} {response.text[:200]}")
            return
        if answered.http >= 500 and answered.http != 503:
            self.faults.append(f"{what}: {answered}")
        elif answered.http != 405:  # another path came of it
            self.faults += [f"{what}: {fault}" for fault in self.document.faults(name, answered)]


async def test_calls_made_from_the_document_are_answered_as_documented_and_never_fail(
    ras: Ras, home: Furnished, api: Api, no_faults: Callable[[], list[str]]
) -> None:
    calls = Calls(base_of(ras), home)
    await asyncio.to_thread(calls.run)
    assert not calls.faults, "\n".join(calls.faults[:20])
    assert calls.count > EXAMPLES * 60
    assert no_faults() == []
    assert (await api("GET", "/readyz")).status == 0


# Messages.

SCALARS = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, -1, 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["", "A" * 88, "é", "\u202e", "9" * 40, "=", "AAAA", "0" * 32, "C4112233445F"]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def messages(draw: DrawFn, valid: dict[str, dict[str, Any]], ids: list[str], device: str) -> Any:
    """A message: a valid one, one with some parts changed, or what is none at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(
            st.binary(max_size=40)
            | st.text(max_size=40)
            | VALUES.map(json.dumps)
            | st.just("[" * 5000)
            | st.just('{"id": "' + "0" * 70_000)
        )
    kind = draw(st.sampled_from(sorted(valid)))
    envelope: dict[str, Any] = {
        "id": ulid(draw(st.sampled_from([0, 1_790_000_000_000]))),
        "type": kind,
        "body": copy.deepcopy(valid[kind]),
        "lock": draw(st.sampled_from([device, device, ""])),
    }
    if draw(st.booleans()):
        change(draw, envelope["body"], ids)
    if draw(st.integers(0, 9)) == 0:
        change(draw, envelope, ids)
    return json.dumps(envelope)


def change(draw: DrawFn, where: Any, ids: list[str]) -> None:
    """Replace, remove or add something, here or further in."""
    while isinstance(where, (dict, list)) and where:
        keys: list[Any] = sorted(where) if isinstance(where, dict) else list(range(len(where)))
        key = draw(st.sampled_from(keys))
        if isinstance(where[key], (dict, list)) and where[key] and draw(st.booleans()):
            where = where[key]
            continue
        how = draw(st.integers(0, 5))
        if how == 0:
            del where[key]
        elif how == 1 and isinstance(where, dict):
            where[draw(st.text(max_size=8))] = draw(VALUES)
        elif how == 2:
            where[key] = draw(st.sampled_from(ids))
        elif how == 3 and isinstance(where[key], str):
            where[key] = where[key][: draw(st.integers(0, len(where[key])))]
        elif how == 4 and isinstance(where[key], list):
            where[key] = where[key] * draw(st.integers(0, 50))
        else:
            where[key] = draw(VALUES)
        return


class Conversations:
    """Talks to a socket from a thread; each conversation ends with a ping that is answered, or with a close."""

    def __init__(self, end: Any, open_: Callable[[], Any]) -> None:
        self.end = end
        self.open = open_
        self.closes: set[int | None] = set()
        self.pongs = 0
        self._loop = asyncio.get_running_loop()

    def run(self, conversation: st.SearchStrategy[list[Any]]) -> None:
        @repeatable(CONVERSATIONS)
        @given(conversation)
        def each(said: list[Any]) -> None:
            asyncio.run_coroutine_threadsafe(self.talk(said), self._loop).result(60)

        each()

    async def talk(self, said: list[Any]) -> None:
        peer = self.end.peer
        if peer.closed.done():
            await self.open()
            peer = self.end.peer
        try:
            for message in said:
                if isinstance(message, bytes):
                    await peer.socket.send_bytes(message)
                else:
                    await peer.socket.send_str(message)
            await peer.request("ping")
            self.pongs += 1
        except Closed, ConnectionError:
            async with asyncio.timeout(PATIENCE):
                self.closes.add(await asyncio.shield(peer.closed))


def valid_of_gateways(home: Furnished) -> dict[str, dict[str, Any]]:
    place, now = home.place, home.place.home.now()
    user, device = place.member.user, place.devices[0]
    data = {"data": "AAAA", "hash": "cGV76PwVQoJR2rdwlwNC4zodd2vHXd5TkDM2LEGmfwg="}
    found: dict[str, dict[str, Any]] = {
        "resume": {"generation": place.home.seq_generation, "seq": 0},
        "ack": {"seq": 3},
        "site.digest": {"digest": b64(place.home.digest())},
        "site.sync": place.home.listing(),
        "invitation.create": {"id": secrets.token_hex(16), "kind": "guest", "expires": now + 10_000},
        "invitation.withdraw": {"id": home.ids["invitation"][0]},
        "invitation.done": {"id": home.ids["invitation"][1], "user": user, "role": "owner", "locks": [device]},
        "join.answer": {"join": home.ids["join"][0], "outcome": "answered", "home_public": b64(b"\4" + bytes(64)), "box": "AAAA"},
        "member.set": {"user": user, "role": "member", "locks": [device]},
        "member.end": {"user": home.callers["newcomer"].user},
        "keys.update": {"user": user, "number": 7, "sealed": b64(bytes(40))},
        "audit.range": {"first": 1, "last": 9},
        "home.admins": {"users": ["a"]},
        "gateway.key": {"public_key": b64(bytes(32)), "old_signature": b64(bytes(64)), "new_signature": b64(bytes(64))},
        "gateway.leave": {"gateway": "0" * 32},
        "token": {},
    }  # fmt: skip
    assert set(found) == set(_HANDLERS)
    relay = "0" * 32
    return found | {
        "lock.state": {"advertisement": b64(bytes(10)), "time": 1, "seen": b64(bytes(8)), "rssi": -60},
        "lock.event": {"counter": 1},
        "relay.state": {"relay": relay, "state": "sent_to_lock", "n": 0},
        "relay.data": {"relay": relay, "n": 0, **data},
        "relay.end": {"relay": relay, "outcome": "answered", "code": 0},
        "ok": {"re": "0" * 26, "authentic": True},
        "refused": {"re": "0" * 26, "status": 31},
        "ping": {},
        "auth": {"gateway": "0" * 32},
    }  # fmt: skip


def valid_of_clients(home: Furnished) -> dict[str, dict[str, Any]]:
    place = home.place
    site, device = place.site, place.devices[0]
    opening = place.member.opening(site, device, b"unlock")
    return {
        "relay.open": opening,
        "relay.data": {key: value for key, value in opening.items() if key != "ttl_ms"} | {"n": 1},
        "relay.end": {key: opening[key] for key in ("site", "lock", "key")},
        "follow": {"locks": [{"site": site, "lock": device}]},
        "lock.prewarm": {"site": site, "lock": device},
        "resume": {"generation": place.member.generation, "seq": 0},
        "ack": {"seq": 1},
        "ping": {},
        "auth": {"token": place.member.token},
        "ok": {"re": "0" * 26},
    }


@pytest.mark.parametrize("side", ["client", "gateway"])
async def test_whatever_is_said_on_a_socket_it_refuses_or_closes_and_the_server_goes_on(
    ras: Ras,
    home: Furnished,
    api: Api,
    clock: MovedClock,
    no_faults: Callable[[], list[str]],
    side: str,
) -> None:
    place = home.place
    place.home.auto_sync = False
    flat = [one for found in home.ids.values() for one in found]
    if side == "client":
        end: Any = place.member
        valid = valid_of_clients(home)
    else:
        end = place.home
        valid = valid_of_gateways(home)
        # Somebody listens to what it says.
        await place.member.follow(place.site, place.devices[0])

    async def connect() -> None:
        try:
            await end.connect()
        except Closed as closed:
            if closed.code != 4429:  # what a gateway hears that connects again and again
                raise
            clock.advance(60)
            await end.connect()

    conversations = Conversations(end, connect)
    some = st.lists(messages(valid, flat, place.devices[0]), min_size=1, max_size=6)
    await asyncio.to_thread(conversations.run, some)
    assert conversations.closes <= {4400, 4413}, "no fault (1011), and nothing else than malformed"
    assert conversations.closes
    assert conversations.pongs > CONVERSATIONS // 4
    assert no_faults() == []
    assert (await api("GET", "/readyz")).status == 0
    # Others are served as before.
    assert (await api("POST", "/api/v1/sessions", {"email": place.email, "password": PASSWORD})).status == 0  # fmt: skip


@pytest.mark.parametrize("path", ["push", "gateway"])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_whatever_is_said_before_the_proof_ends_the_socket(
    ras: Ras, api: Api, no_faults: Callable[[], list[str]], path: str
) -> None:
    """Nothing that a stranger says as a first message is taken for a proof, or fails."""
    loop = asyncio.get_running_loop()
    url = f"{base_of(ras)}/api/v1/{path}"
    first = {
        "auth": {
            "token": "u_x", "gateway": "0" * 32, "nonce": b64(bytes(32)), "n": 1, "generation": 0, "audit_index": 0,
            "audit_hash": b64(bytes(32)), "signature": b64(bytes(64)),
        }
    }  # fmt: skip
    first["auth"] = {
        key: value for key, value in first["auth"].items() if (key == "token") == (path == "push")
    }
    closes = set()

    async def say(message: Any) -> None:
        protocol = f"igrs.{path}.v1"
        async with api.session.ws_connect(url, protocols=[protocol], compress=0) as socket:
            if path == "gateway":
                await socket.receive()
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            else:
                await socket.send_str(message)
            found = await socket.receive(PATIENCE)
            assert found.data is None or isinstance(found.data, int), found
            closes.add(socket.close_code)

    @repeatable(EXAMPLES * 16)
    @given(messages(first, ["0" * 32], "C4112233445F"))
    def each(message: Any) -> None:
        asyncio.run_coroutine_threadsafe(say(message), loop).result(60)

    await asyncio.to_thread(each)
    assert closes <= {4400, 4401, 4413}
    assert no_faults() == []
    assert (await api("GET", "/readyz")).status == 0
