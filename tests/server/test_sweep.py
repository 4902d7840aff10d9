"""Nobody reaches what is another's: every route and message with every other person's ids, as everybody.

An id that is somebody else's is answered exactly as one that does not exist, and nothing changes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Database, MovedClock, base_of, make_settings
from document import Document, Operation, call
from igrs_ras.api import openapi
from igrs_ras.link import _HANDLERS
from igrs_ras.storage.tables import joins, sessions
from peer import Denied, b64, ulid
from sqlalchemy import select
from town import PASSWORD, Furnished, device_id, dump, furnish, new_site, rows_of, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import aiohttp
    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings

ORIGIN = "https://locks.example"
# Counts of attempts and of use change with every request.
ALWAYS_NEW = {"throttle", "sessions.used", "sessions.expires", "known_devices.used"}
# What these ask has an answer that depends on nobody else (7.3: another site's device looks free).
LOOKS_FREE = "authenticate_lock"
# An invitation's id is what its link shows: whoever has it may ask, and learns nothing without its secret.
BY_LINK = "join_home"
SMUGGLED: dict[str, Any] = {
    "role": "owner", "owner": True, "admin": True, "state": "active", "full": True, "user": "0" * 32, "site": "0" * 32,
    "remote": True, "remote_allowed": True, "locks": ["C4112233445F"], "created": 0, "created_by": "0" * 32,
    "valid_to": 2**50, "expires": 2**50, "id": "0" * 32, "email_verified": 1, "suspended": False, "local": True,
    "generation": 2**50, "key_number": 0, "from": "server", "kind": "owner", "proven": 2**50,
}  # fmt: skip


@pytest.fixture
def settings(database: Database) -> Settings:
    return make_settings(database, public_url=ORIGIN, messages_per_second=1000)


@pytest.fixture
async def homes(
    ras: Ras, database: Database, clock: MovedClock
) -> AsyncIterator[tuple[Furnished, Furnished]]:
    """Two homes with all that there is, which have nothing to do with each other."""
    found = []
    for name in ("Olga", "Pia"):
        with rows_of(database) as rows:
            code = new_site(rows, f"{name}'s home", clock.now_ms())
        place = await settle(base_of(ras), code, now=clock.now_ms, name=name, origin=ORIGIN)
        found.append(await furnish(place, database, ORIGIN))
    yield found[0], found[1]
    for one in found:
        await one.place.close()


def random_id(kind: str) -> str:
    return device_id() if kind == "device" else secrets.token_hex(16)


def fields_of(operation: Operation, document: Document) -> list[str]:
    """The ids that a call takes: in its path, then in its body."""
    schema = operation.body_schema
    named: list[str] = []
    if schema is not None:
        component = document.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        named = [name for name in component["properties"] if name in KINDS]
    return operation.parameters + named


RELAYS_OF_SITE = 3 * 20  # a minute, by default
KINDS = ("site", "user", "device", "invitation", "join", "session", "gateway", "passkey")


def filled(operation: Operation, ids: dict[str, str]) -> tuple[str, Any]:
    path = operation.path
    for name in operation.parameters:
        path = path.replace(f"{{{name}}}", ids[name])
    body = operation.example
    if isinstance(body, dict):
        body = {key: ids.get(key, value) if key in KINDS else value for key, value in body.items()}
        if "password" in body:
            body["password"] = PASSWORD
    return path, body


def attempts(
    fields: list[str], mine: dict[str, list[str]], others: dict[str, list[str]]
) -> Iterator[tuple[dict[str, str], set[str]]]:
    """Ids to call with, and which of them are another's: the site foreign or the caller's own, each other id foreign."""
    first = {kind: (found or [random_id(kind)])[0] for kind, found in mine.items()}
    rest = [field for field in fields if field != "site"]
    if "site" not in fields:
        for field in rest:
            yield from ((first | {field: one}, {field}) for one in others[field])
        return
    for site in others["site"]:
        yield first | {"site": site}, {"site"}  # with ids of the caller's own
    for field in rest:
        for site, one in itertools.product(mine["site"] + others["site"], others[field]):
            foreign = {field} | ({"site"} if site in others["site"] else set())
            yield first | {"site": site, field: one}, foreign


async def test_case_17_what_is_another_home_s_is_as_if_it_were_not_there(
    ras: Ras, database: Database, http: aiohttp.ClientSession, homes: tuple[Furnished, Furnished]
) -> None:
    document = Document(json.loads(openapi.document()))
    here, there = homes
    await quiet(homes)
    with rows_of(database) as rows:
        before = dump(rows, without=ALWAYS_NEW)
    wrong, count = [], 0
    for name, operation in document.operations.items():
        fields = fields_of(operation, document)
        if not fields or operation.is_websocket or name == BY_LINK:
            continue
        for kind, caller in here.callers.items():
            for ids, foreign in attempts(fields, here.ids, there.ids):
                answers = []
                for one in (ids, ids | {field: random_id(field) for field in foreign}):
                    path, body = filled(operation, one)
                    answers.append(
                        await call(
                            http, base_of(ras), operation.method, path, body, caller.headers(ORIGIN)
                        )
                    )
                    wrong += document.faults(name, answers[-1])
                count += 1
                asked = f"{name} as {kind} with another's {sorted(foreign)}"
                if answers[0] != answers[1]:
                    wrong.append(f"{asked}: {answers[0]}, but for nobody's {answers[1]}")
                if answers[0].status == 0 and (name != LOOKS_FREE or answers[0].data["registered"]):
                    wrong.append(f"{asked}: {answers[0]}")
    assert not wrong, "\n".join(wrong)
    assert count > 150
    await quiet(homes)
    with rows_of(database) as rows:
        assert dump(rows, without=ALWAYS_NEW) == before


async def quiet(homes: tuple[Furnished, ...]) -> None:
    """Wait until all that is on its way has arrived."""
    for one in homes:
        for end in (one.place.home, one.place.owner, one.place.member):
            await end.peer.request("ping")


async def test_case_17_what_is_another_person_s_in_the_same_home_is_out_of_reach_too(
    ras: Ras, database: Database, http: aiohttp.ClientSession, homes: tuple[Furnished, Furnished]
) -> None:
    """A guest does not read other guests, end their sessions, take their passkeys, joins or places (case 19)."""
    document = Document(json.loads(openapi.document()))
    here, _ = homes
    with rows_of(database) as rows:
        before = dump(rows, without=ALWAYS_NEW)
        own: dict[str, set[str]] = {}
        for caller in here.callers.values():
            if caller.user:
                own[caller.user] = {caller.user}
                for column, table in ((sessions.c.id, sessions), (joins.c.id, joins)):
                    found = rows.execute(select(column).where(table.c.user == caller.user))
                    own[caller.user] |= set(found.scalars())
    wrong = []
    for name, operation in document.operations.items():
        fields = fields_of(operation, document)
        if not fields or operation.is_websocket or name in (BY_LINK, LOOKS_FREE):
            continue
        for kind in ("anybody", "newcomer", "member", "joined", "pending"):
            caller = here.callers[kind]
            mine = own.get(caller.user, set())
            others = {
                field: [one for one in found if one not in mine]
                for field, found in here.ids.items()
            }
            for ids, _foreign in attempts(fields, here.ids | {"user": others["user"]}, others):
                if kind == "pending" and ids["session"] in mine:
                    continue
                path, body = filled(operation, ids)
                answered = await call(
                    http, base_of(ras), operation.method, path, body, caller.headers(ORIGIN)
                )
                wrong += document.faults(name, answered)
                if answered.status == 0:
                    wrong.append(f"{name} as {kind}: {path} {answered}")
    assert not wrong, "\n".join(wrong)
    with rows_of(database) as rows:
        assert dump(rows, without=ALWAYS_NEW) == before


async def test_case_18_no_body_takes_a_field_more_than_it_has(
    ras: Ras, database: Database, http: aiohttp.ClientSession, homes: tuple[Furnished, Furnished]
) -> None:
    document = Document(json.loads(openapi.document()))
    here, _ = homes
    by_kind = {"anybody": "anybody", "pending": "pending", "user": "owner", "gateway": "gateway"}
    with rows_of(database) as rows:
        before = dump(rows, without=ALWAYS_NEW)
    wrong = []
    for name, operation in document.operations.items():
        if operation.body_schema is None:
            continue
        component = operation.body_schema["$ref"].rpartition("/")[2]
        properties = document.document["components"]["schemas"][component]["properties"]
        ids = {kind: found[0] for kind, found in here.ids.items()}
        path, body = filled(operation, ids)
        for kind in operation.described["x-principals"]:
            headers = here.callers[by_kind[kind]].headers(ORIGIN)
            for field in SMUGGLED.keys() - properties.keys():
                answered = await call(
                    http,
                    base_of(ras),
                    operation.method,
                    path,
                    body | {field: SMUGGLED[field]},
                    headers,
                )
                if answered.status != 10:
                    wrong.append(f"{name} with {field}: {answered}")
    assert not wrong, "\n".join(wrong)
    with rows_of(database) as rows:
        assert dump(rows, without=ALWAYS_NEW) == before


async def answer(peer: Any, kind: str, body: dict[str, Any], lock: str = "") -> Any:
    """What a message is answered with: a body, or the number of the status."""
    try:
        found = await peer.request(kind, body, lock)
    except Denied as denied:
        return denied.status
    return {key: value for key, value in found.items() if key != "re"}


async def test_case_17_on_the_push_socket_another_s_lock_is_none(
    ras: Ras, database: Database, homes: tuple[Furnished, Furnished]
) -> None:
    here, there = homes
    phone, foreign = here.place.member, there.place
    not_mine = [
        (foreign.site, foreign.devices[0]),
        (here.site, foreign.devices[0]),
        (foreign.site, here.place.devices[0]),
        (here.site, here.place.devices[1]),  # of the same home, but not the member's
    ]
    nobody_s = [(secrets.token_hex(16), device_id()), (here.site, device_id())]
    with rows_of(database) as rows:
        before = dump(rows, without=ALWAYS_NEW)
    seen: dict[str, set[str]] = {"relay.open": set(), "lock.prewarm": set(), "follow": set()}
    for site, device in not_mine + nobody_s:
        opening = phone.opening(site, device, b"unlock")
        seen["relay.open"].add(str(await answer(phone.peer, "relay.open", opening)))
        body = {"site": site, "lock": device}
        seen["lock.prewarm"].add(str(await answer(phone.peer, "lock.prewarm", body)))
        seen["follow"].add(str(await answer(phone.peer, "follow", {"locks": [body]})))
    assert seen == {"relay.open": {"21"}, "lock.prewarm": {"21"}, "follow": {"{'locks': []}"}}
    # How busy another home is, is not told either.
    for _ in range(RELAYS_OF_SITE):
        ras.relay._load._of_site.add(foreign.site)
    for site, device in not_mine + nobody_s:
        opening = phone.opening(site, device, b"unlock")
        assert await answer(phone.peer, "relay.open", opening) == 21
    opening = foreign.member.opening(foreign.site, foreign.devices[0], b"unlock")
    assert await answer(foreign.member.peer, "relay.open", opening) == 41
    ras.relay._load._of_site.clear(foreign.site)
    # Another's relay is none either, also under its own key.
    held: asyncio.Queue[Any] = asyncio.Queue()
    foreign.home.on_relay = held.put
    opening = foreign.member.opening(foreign.site, foreign.devices[0], b"unlock")
    await foreign.member.peer.send("relay.open", opening)
    relay = await asyncio.wait_for(held.get(), 10)
    part = {key: opening[key] for key in ("site", "lock", "key")}
    data = {key: opening[key] for key in ("data", "hash")} | {"n": 1}
    for thief in (phone, here.place.owner, foreign.owner):
        assert await answer(thief.peer, "relay.end", part) == 21
        assert await answer(thief.peer, "relay.data", part | data) == 21
    assert foreign.member.states(opening["key"])[-1] == "sent_to_gateway"
    assert [len(relay.received), relay.why] == [1, None]
    await relay.end("failed", 31)
    await foreign.member.until(lambda: foreign.member.states(opening["key"])[-1] == "failed")
    with rows_of(database) as rows:
        after = dump(rows, without=ALWAYS_NEW)
    for table in set(before) - {"relays", "audit"}:
        assert after[table] == before[table], table
    assert len(after["relays"]) == len(before["relays"]) + 1


async def test_case_17_a_gateway_reaches_nothing_of_another_home(
    database: Database, homes: tuple[Furnished, Furnished]
) -> None:
    here, there = homes
    home, foreign = here.place.home, there.place
    theirs = {one for found in there.ids.values() for one in found}

    def of_there() -> dict[str, list[Any]]:
        with rows_of(database) as rows:
            found = dump(rows, without=ALWAYS_NEW)
        return {
            table: [row for row in kept if any(one in repr(row) for one in theirs)]
            for table, kept in found.items()
        }

    # A relay of theirs is under way, and somebody follows their lock.
    held: asyncio.Queue[Any] = asyncio.Queue()
    foreign.home.on_relay = held.put
    device = foreign.devices[0]
    await foreign.member.follow(foreign.site, device)
    opening = foreign.member.opening(foreign.site, device, b"unlock")
    await foreign.member.peer.send("relay.open", opening)
    relay = await asyncio.wait_for(held.get(), 10)
    before = of_there()

    own_invitation = await home.invite(here.place.devices)
    sealed, number = b64(secrets.token_bytes(40)), 2**40
    bodies: list[
        tuple[str, str, dict[str, Any]]
    ] = []  # kind of message, the field with a foreign id, body
    for user in there.ids["user"]:
        bodies += [
            ("member.set", "user", {"user": user, "role": "owner", "locks": []}),
            ("member.end", "user", {"user": user}),
            ("keys.update", "user", {"user": user, "number": number, "sealed": sealed}),
            ("invitation.done", "user", {"id": own_invitation.id, "user": user, "role": "owner", "locks": []}),
        ]  # fmt: skip
    for invitation in there.ids["invitation"]:
        done = {"id": invitation, "user": there.ids["user"][0], "role": "owner", "locks": []}
        bodies += [
            ("invitation.withdraw", "id", {"id": invitation}),
            ("invitation.done", "id", done),
        ]
    for join in there.ids["join"]:
        bodies += [
            ("join.answer", "join", {"join": join, "outcome": outcome})
            for outcome in ("refused", "wrong")
        ]
    for kind, field, body in bodies:
        answers = [
            await answer(home.peer, kind, one)
            for one in (body, body | {field: secrets.token_hex(16)})
        ]
        assert answers[0] == answers[1], (kind, field)
        # Taking away what is not there is done already; all else is not found.
        assert answers[0] == ({} if kind in ("member.end", "invitation.withdraw") else 21), (kind, field)  # fmt: skip

    # A list that names their people and their invitation takes neither in.
    listing = home.listing()
    listing["members"] += [
        {"user": user, "role": "owner", "locks": []} for user in there.ids["user"]
    ]
    listing["invitations"] += [
        {"id": one, "kind": "guest", "expires": home.now() + 1000}
        for one in there.ids["invitation"]
    ]
    synced = await answer(home.peer, "site.sync", listing)
    assert sorted(synced["users"]) == there.ids["user"]
    assert set(there.ids["invitation"]) <= set(synced["invitations"])
    assert await answer(home.peer, "invitation.create", {"id": there.ids["invitation"][0], "kind": "guest", "expires": home.now() + 1000}) == 22  # fmt: skip

    # Their relay and their followers hear nothing from here.
    data = {key: opening[key] for key in ("data", "hash")}
    for kind, body in (
        ("relay.state", {"relay": relay.id, "state": "sent_to_lock", "n": 0}),
        ("relay.data", {"relay": relay.id, "n": 0, **data}),
        ("relay.end", {"relay": relay.id, "outcome": "answered", "code": 0}),
    ):
        await home.peer.send(kind, body)
    await home.send_state(device, bytes(10), 1, bytes(8))
    await home.send_event(device, 1)
    assert await answer(home.peer, "ack", {"seq": 2**40}) == {}
    assert await answer(home.peer, "audit.range", {"first": 1, "last": 2**40})
    assert of_there() == before
    assert home.audit_problems == []
    assert foreign.member.answers(opening["key"]) == []
    assert foreign.member.of_type("lock.state") == []
    assert foreign.member.of_type("lock.event") == []
    await foreign.home.send_state(device, bytes(10), 2, bytes(8))
    await relay.sent_to_lock()
    await relay.send(b"their own answer")
    await foreign.member.until(lambda: foreign.member.answers(opening["key"]))
    assert foreign.member.answers(opening["key"]) == [b"their own answer"]
    assert [body["time"] for body in foreign.member.of_type("lock.state")] == [2]


async def test_case_18_no_message_takes_a_field_more_than_it_has(
    database: Database, homes: tuple[Furnished, Furnished]
) -> None:
    here, _ = homes
    place = here.place
    home, phone, device = place.home, place.member, place.devices[0]
    user, now = phone.user, home.now()
    fine: dict[str, dict[str, Any]] = {
        "resume": {"generation": 0, "seq": 0},
        "ack": {"seq": 0},
        "site.digest": {"digest": b64(home.digest())},
        "site.sync": home.listing(),
        "invitation.create": {"id": secrets.token_hex(16), "kind": "guest", "expires": now + 10_000},
        "invitation.withdraw": {"id": secrets.token_hex(16)},
        "invitation.done": {"id": secrets.token_hex(16), "user": user, "role": "member", "locks": []},
        "join.answer": {"join": secrets.token_hex(16), "outcome": "refused"},
        "member.set": {"user": user, "role": "member", "locks": [device]},
        "member.end": {"user": secrets.token_hex(16)},
        "keys.update": {"user": user, "number": 1, "sealed": b64(secrets.token_bytes(40))},
        "audit.range": {"first": 1, "last": 1},
        "home.admins": {"users": ["a"]},
        "gateway.key": {"public_key": b64(bytes(32)), "old_signature": b64(bytes(64)), "new_signature": b64(bytes(64))},
        "gateway.leave": {"gateway": "0" * 32},
        "token": {},
    }  # fmt: skip
    assert set(fine) == set(_HANDLERS), "a new message has no test here"
    with rows_of(database) as rows:
        before = dump(rows, without=ALWAYS_NEW)
    live: dict[str, dict[str, Any]] = {
        "lock.state": {
            "advertisement": b64(bytes(10)),
            "time": 1,
            "seen": b64(bytes(8)),
            "rssi": 0,
        },
        "lock.event": {"counter": 1},
        "relay.state": {"relay": secrets.token_hex(16), "state": "sent_to_lock", "n": 0},
        "relay.end": {"relay": secrets.token_hex(16), "outcome": "answered"},
    }
    for kind, body in (fine | live).items():
        for field in SMUGGLED.keys() - body.keys() - {"site"}:
            smuggled = body | {field: SMUGGLED[field]}
            assert await answer(home.peer, kind, smuggled, device) == 10, (kind, field)
    opening = phone.opening(here.site, device, b"unlock", ulid(now))
    part = {key: opening[key] for key in ("site", "lock", "key")}
    said: tuple[tuple[str, dict[str, Any]], ...] = (
        ("relay.open", opening),
        ("relay.data", {key: value for key, value in opening.items() if key != "ttl_ms"}),
        ("relay.end", part),
        ("follow", {"locks": [{"site": here.site, "lock": device}]}),
        ("lock.prewarm", {"site": here.site, "lock": device}),
        ("resume", {"generation": 0, "seq": 0}),
        ("ack", {"seq": 0}),
    )
    for kind, body in said:
        for field in SMUGGLED.keys() - body.keys():
            assert await answer(phone.peer, kind, body | {field: SMUGGLED[field]}) == 10, (
                kind,
                field,
            )
    with rows_of(database) as rows:
        assert dump(rows, without=ALWAYS_NEW) == before
