"""Who may call what: a table written by hand, compared with the table of routes and proven by calling each as each.

And the OpenAPI document: it says what the server does, and each answer here is one that it promises.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from conftest import Database, MovedClock, base_of, make_settings
from document import METHODS, Document, call
from igrs_ras import codes
from igrs_ras.api import openapi
from igrs_ras.api.app import make_app
from igrs_ras.api.listen import Guard
from igrs_ras.api.route import Listener, Who
from igrs_ras.api.routes import ROUTES
from igrs_ras.storage.tables import invitations, joins, sessions
from openapi_spec_validator import validate
from sqlalchemy import select
from town import (
    PASSWORD,
    Caller,
    Furnished,
    device_id,
    furnish,
    join_in_browser,
    new_site,
    rows_of,
    settle,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp
    from document import Answered
    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings

ORIGIN = "https://locks.example"
WRITTEN = Path(__file__).parents[2] / "docs" / "openapi.json"

EVERYBODY = {Who.ANYBODY}
PEOPLE = {Who.USER}
HALF = {Who.PENDING}
HOMES = {Who.GATEWAY}

CALLERS = ("anybody", "pending", "stranger", "member", "joined", "gateway", "owner")
# Kinds that may call, then the status that each caller gets for a request about a home of which he is … The stranger
# owns another home; member and joined are let in, by bearer token and by cookie; the gateway is the home's own.
# 11 sign in first, 13 second step needed, 20 not permitted, 21 not found (somebody else's and none look alike).
TABLE: dict[str, tuple[set[Who], str]] = {
    "get_server": (EVERYBODY, "0 0 0 0 0 0 0"),
    "get_health": (EVERYBODY, "0 0 0 0 0 0 0"),
    "get_ready": (EVERYBODY, "0 0 0 0 0 0 0"),
    "get_openapi": (EVERYBODY, "0 0 0 0 0 0 0"),
    # Wrong codes and passwords: 14 and 12. Who is signed in claims a home elsewhere (10).
    "register_user": (EVERYBODY, "14 20 10 10 10 20 10"),
    "confirm_email": (EVERYBODY, "14 14 14 14 14 14 14"),
    "request_reset": (EVERYBODY, "50 50 50 50 50 50 50"),  # this server sends no mail
    "finish_reset": (EVERYBODY, "14 14 14 14 14 14 14"),
    "sign_in": (EVERYBODY, "12 12 12 12 12 12 12"),
    "mail_code": (HALF, "11 20 20 20 20 20 20"),  # as above
    "passkey_options": (HALF | PEOPLE, "11 0 0 21 21 20 0"),  # 21: has none
    "second_step": (HALF, "11 14 20 20 20 20 20"),
    "prove": (PEOPLE, "11 13 12 12 12 20 12"),
    "list_sessions": (PEOPLE, "11 13 0 0 0 20 0"),
    "end_session": (HALF | PEOPLE, "11 21 21 21 21 20 0"),
    "end_sessions": (PEOPLE, "11 13 0 0 0 20 0"),
    "get_me": (PEOPLE, "11 13 0 0 0 20 0"),
    "change_me": (PEOPLE, "11 13 0 0 0 20 0"),
    "delete_me": (PEOPLE, "11 13 0 0 0 20 0"),
    "change_password": (PEOPLE, "11 13 12 12 12 20 12"),
    "claim_home": (PEOPLE, "11 13 14 14 14 20 14"),
    # Without a password of one's own there is nothing that a second factor could guard (20).
    "begin_totp": (PEOPLE, "11 13 22 20 20 20 22"),
    "confirm_totp": (PEOPLE, "11 13 14 14 14 20 14"),
    "remove_totp": (PEOPLE, "11 13 12 12 12 20 12"),
    "new_recovery": (PEOPLE, "11 13 0 20 20 20 0"),
    "begin_passkey": (PEOPLE, "11 13 0 20 20 20 0"),
    "add_passkey": (PEOPLE, "11 13 14 20 20 20 14"),
    "remove_passkey": (PEOPLE, "11 13 12 12 12 20 12"),
    "list_sites": (PEOPLE, "11 13 0 0 0 20 0"),
    "get_site": (PEOPLE, "11 13 21 20 20 20 0"),
    "list_members": (PEOPLE, "11 13 21 20 20 20 0"),
    "remove_member": (PEOPLE, "11 13 21 20 20 20 0"),
    "list_invitations": (PEOPLE, "11 13 21 20 20 20 0"),
    "withdraw_invitation": (PEOPLE, "11 13 21 20 20 20 0"),
    "list_site_locks": (PEOPLE, "11 13 21 20 20 20 0"),
    "list_audit": (PEOPLE, "11 13 21 20 20 20 0"),
    "authenticate_lock": (PEOPLE | HOMES, "11 13 21 20 20 0 0"),
    "register_lock": (HOMES, "11 13 20 20 20 0 20"),
    "remove_lock": (HOMES, "11 13 20 20 20 0 20"),
    "list_locks": (PEOPLE, "11 13 0 0 0 20 0"),
    "join_home": (EVERYBODY, "21 21 21 21 21 21 21"),  # an invitation that is not there
    "finish_join": (PEOPLE, "11 13 21 21 21 20 21"),  # somebody else's
    "push": (EVERYBODY, "10 10 10 10 10 10 10"),  # no WebSocket
    "enrol_gateway": (EVERYBODY, "14 14 14 14 14 14 14"),
    "open_gateway_link": (EVERYBODY, "10 10 10 10 10 10 10"),
}
# What these do cannot be done twice by the same person.
ENDING = ("end_sessions", "delete_me")


@pytest.fixture
def settings(database: Database) -> Settings:
    return make_settings(database, public_url=ORIGIN, messages_per_second=1000)


@dataclass
class Street:
    """Two homes, and a way to call the server as anybody in them. Each answer is held against the document."""

    ras: Ras
    database: Database
    http: aiohttp.ClientSession
    clock: MovedClock
    here: Furnished
    there: Furnished
    document: Document
    faults: list[str] = field(default_factory=list)
    new_device: str = field(default_factory=device_id)  # one that is registered and removed

    async def call(
        self, name: str, path: str, body: Any, caller: Caller, headers: dict[str, str] | None = None
    ) -> Answered:
        operation = self.document.operations[name]
        sent = caller.headers(ORIGIN) | (headers or {})
        answered = await call(self.http, base_of(self.ras), operation.method, path, body, sent)
        self.faults += self.document.faults(name, answered)
        return answered

    async def fresh(self, kind: str) -> Caller:
        """Somebody new of a kind, for what ends him."""
        here = self.here.place
        if kind in ("member", "joined"):
            found = await join_in_browser(here, ORIGIN)
            if kind == "joined":
                return found
            # The same person by a bearer token, as a page of another origin would have it.
            token = await self.ras.store.write(
                lambda tx: self.ras.sessions.create(tx, found.user, "join", bearer=True)
            )
            return Caller(token, user=found.user)
        place = self.there.place if kind == "stranger" else here
        code = await place.home.owner_code()
        email = f"{secrets.token_hex(6)}@example.org"
        data = {"email": email, "password": PASSWORD, "name": "Fresh", "owner_code": code}
        await self.call("register_user", "/api/v1/users", data, Caller())
        body = {"email": email, "password": PASSWORD, "kind": "bearer"}
        answered = await self.call("sign_in", "/api/v1/sessions", body, Caller())
        user = answered.data["user"]
        await place.home.until(lambda: user in place.home.members)
        return Caller(answered.data["token"], user=user)


@pytest.fixture
async def street(
    ras: Ras, database: Database, http: aiohttp.ClientSession, clock: MovedClock
) -> AsyncIterator[Street]:
    found = []
    for name in ("Olga", "Pia"):
        with rows_of(database) as rows:
            code = new_site(rows, f"{name}'s home", clock.now_ms())
        place = await settle(base_of(ras), code, now=clock.now_ms, name=name, origin=ORIGIN)
        found.append(await furnish(place, database, ORIGIN))
    document = Document(json.loads(openapi.document()))
    yield Street(ras, database, http, clock, found[0], found[1], document)
    for one in found:
        await one.place.close()


def test_the_table_of_who_may_call_is_the_one_that_is_written_here() -> None:
    assert {route.name: set(route.who) for route in ROUTES} == {
        name: kinds for name, (kinds, _) in TABLE.items()
    }
    assert len({route.name for route in ROUTES}) == len(ROUTES)


def ids_to_end(street: Street) -> dict[str, str]:
    """Something that is there now: the owner's newest session, an open invitation, a join that nobody answered."""
    here = street.here
    of_owner = select(sessions.c.id).where(
        sessions.c.user == here.callers["owner"].user, sessions.c.full.is_(True)
    )
    is_open = select(invitations.c.id).where(
        invitations.c.site == here.site, invitations.c.state == "open"
    )
    waits = select(joins.c.id).where(joins.c.id.in_(here.ids["join"]), joins.c.state == "pending")
    with rows_of(street.database) as rows:
        return {
            "session": rows.execute(of_owner.order_by(sessions.c.created.desc())).scalars().first(),
            "invitation": rows.execute(is_open).scalars().first(),
            "join": rows.execute(waits).scalar_one(),
        }


def request_of(street: Street, name: str) -> tuple[str, Any]:
    """A request that is complete and right, about the first home: only who calls makes the difference."""
    here, operation = street.here, street.document.operations[name]
    ids = {kind: found[0] for kind, found in here.ids.items()}
    ids["user"] = here.callers["newcomer"].user
    if operation.parameters:
        ids |= ids_to_end(street)
    path = operation.path
    for parameter in operation.parameters:
        path = path.replace(f"{{{parameter}}}", ids[parameter])
    body = dict(operation.example) if isinstance(operation.example, dict) else operation.example
    if name in ("confirm_email", "sign_in", "finish_reset"):
        body["email"] = f"{secrets.token_hex(4)}@example.org"  # each account has its own limits
    if name == "finish_reset":
        body |= {"method": "", "second": ""}
    if name == "authenticate_lock":
        body |= {"site": here.site, "device": here.place.devices[0]}
    if name in ("register_lock", "remove_lock"):
        device = street.new_device
        path, body = path.replace(ids["device"], device), body and body | {"device": device}
        here.place.home.locks[device] = 45
    return path, body


async def test_each_route_is_open_to_whom_the_table_says_and_to_nobody_else(street: Street) -> None:
    callers = street.here.callers | {"stranger": street.there.callers["owner"]}
    wrong = []
    last = [name for name in TABLE if name in ENDING]
    for name in [name for name in TABLE if name not in ENDING] + last:
        expected = dict(zip(CALLERS, map(int, TABLE[name][1].split()), strict=True))
        for kind in CALLERS:
            caller = callers[kind]
            if name in ENDING and expected[kind] == 0:
                caller = await street.fresh(kind)
            path, body = request_of(street, name)
            answered = await street.call(name, path, body, caller)
            if answered.status != expected[kind]:
                wrong.append(f"{name} as {kind}: {answered.whole}, expected {expected[kind]}")
    assert not wrong, "\n".join(wrong)
    assert street.faults == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_what_ingress_writes_into_its_headers_means_nothing_to_the_public_interface(
    street: Street,
) -> None:
    admin = {
        "X-Remote-User-Id": street.here.callers["owner"].user,
        "X-Remote-User-Name": "admin",
        "X-IGRS-Ingress": "1",
        "X-Ingress-Path": "/api/hassio_ingress/x",
        "X-Forwarded-For": "172.30.32.2",
    }
    for name, (kinds, _) in TABLE.items():
        if Who.ANYBODY not in kinds:
            path, body = request_of(street, name) if "lock" not in name else ("", None)
            if path:
                answered = await street.call(name, path, body, Caller(), admin)
                assert answered.status == 11, name
    assert street.faults == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_token_of_another_kind_or_form_is_nobody_s(street: Street) -> None:
    owner, home = street.here.callers["owner"], street.here.callers["gateway"]
    cookie = street.here.callers["joined"].cookie
    tokens = {
        f"Bearer {owner.token}x", f"Bearer {owner.token[:-1]}", f"Bearer {owner.token[2:]}", f"Basic {owner.token}",
        f"Bearer g_{owner.token[2:]}", f"Bearer u_{home.token[2:]}", f"Bearer {cookie}", "Bearer ", "Bearer", "", "Bearer u_",
        f"Bearer {owner.token} {owner.token}", f"bearer  {owner.token}",
    }  # fmt: skip
    for text in tokens:
        answered = await street.call(
            "get_me", "/api/v1/me", None, Caller(), {"Authorization": text}
        )
        assert answered.status == 11, text
    for text in (owner.token, owner.token[2:], home.token, f"{cookie}x", ""):
        answered = await street.call(
            "get_me",
            "/api/v1/me",
            None,
            Caller(),
            {"Cookie": f"__Host-igrs={text}", "Origin": ORIGIN},
        )
        assert answered.status == 11
    # The scheme's case is the sender's choice; a token that is not valid is never passed over, not even where none is needed.
    assert (await street.call("get_me", "/api/v1/me", None, Caller(), {"Authorization": f"bearer {owner.token}"})).status == 0  # fmt: skip
    assert (await street.call("get_server", "/api/v1/server", None, Caller("u_x"))).status == 11
    assert street.faults == []


async def test_the_example_bodies_fit_their_schemas_and_are_answered_as_documented(
    street: Street,
) -> None:
    """Among them clause 7.1's registration and its answer, as in the standard's examples A.1 and A.2."""
    callers = street.here.callers
    by_kind = {
        Who.ANYBODY: "anybody", Who.PENDING: "pending", Who.USER: "owner", Who.GATEWAY: "gateway",
    }  # fmt: skip
    for route in ROUTES:
        operation = street.document.operations[route.name]
        if route.body is not None:
            assert operation.example is not None, f"{route.name} has no example"
            assert operation.body_schema is not None
            street.document.validator(operation.body_schema).validate(operation.example)
            path = operation.path
            for parameter in operation.parameters:
                path = path.replace(f"{{{parameter}}}", street.there.ids[parameter][0])
            caller = callers[by_kind[min(route.who)]]
            await street.call(route.name, path, operation.example, caller)
        if operation.described["responses"].get("200", {}).get("content") and route.answer_example:
            content = operation.described["responses"]["200"]["content"]["application/json"]
            street.document.validator(content["schema"]).validate(content["example"])
    assert street.faults == []


async def test_registration_as_in_the_examples_a1_and_a2_makes_an_account_that_can_sign_in(
    street: Street,
) -> None:
    example = dict(street.document.operations["register_user"].example)
    assert set(example) == {"email", "password", "name", "owner_code"}
    example["owner_code"] = await street.here.place.home.owner_code()
    registered = await street.call("register_user", "/api/v1/users", example, Caller())
    assert registered.whole == {"status": 0, "message": "done", "data": {"confirm": "none"}}
    body = {name: example[name] for name in ("email", "password")} | {"kind": "bearer"}
    signed = await street.call("sign_in", "/api/v1/sessions", body, Caller())
    assert (signed.status, signed.data["second_step"]) == (0, "none")
    me = await street.call("get_me", "/api/v1/me", None, Caller(signed.data["token"]))
    assert (me.data["email"], me.data["name"]) == (example["email"], example["name"])
    # The code worked once.
    again = await street.call(
        "register_user", "/api/v1/users", example | {"email": "berta@example.org"}, Caller()
    )
    assert again.status == 14
    assert street.faults == []


def test_the_document_is_valid_openapi() -> None:
    validate(json.loads(openapi.document()))


def test_the_written_document_is_the_served_one() -> None:
    assert WRITTEN.exists(), "run scripts/openapi"
    assert WRITTEN.read_bytes() == openapi.document(), (
        "the interface has changed: run scripts/openapi"
    )


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_the_served_document_is_the_document(ras: Ras, http: aiohttp.ClientSession) -> None:
    async with http.get(base_of(ras) + "/api/v1/openapi.json") as response:
        assert await response.read() == openapi.document()


@pytest.mark.parametrize("listener", [Listener.PUBLIC, Listener.LOCAL])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_the_document_and_the_router_have_the_same_calls(
    ras: Ras, listener: Listener
) -> None:
    app = make_app(ras, listener, ROUTES, Guard(ras.clock, 10))
    routed = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
    }
    document = json.loads(openapi.document())
    described = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in METHODS and listener in operation["x-listeners"]
    }
    assert routed == described


def test_each_operation_says_what_it_is() -> None:
    document = Document(json.loads(openapi.document()))
    for operation in document.operations.values():
        summary = operation.described["summary"]
        assert 3 <= len(summary) <= 120, operation.name
        assert summary[0].isupper(), operation.name
        assert operation.described["description"].endswith("."), operation.name
        for parameter in operation.described.get("parameters", []):
            assert parameter["description"], operation.name
        described = {item["name"] for item in operation.described.get("parameters", [])}
        assert set(operation.parameters) <= described, operation.name
    for schema in document.document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_no_schema_of_a_body_takes_a_field_that_it_does_not_name() -> None:
    document = Document(json.loads(openapi.document()))
    components = document.document["components"]["schemas"]
    for operation in document.operations.values():
        if operation.body_schema is not None:
            name = operation.body_schema["$ref"].rpartition("/")[2]
            assert components[name]["additionalProperties"] is False, name


def test_the_example_codes_are_codes() -> None:
    for name in ("register_user", "claim_home"):
        document = Document(json.loads(openapi.document()))
        assert len(codes.read(document.operations[name].example["owner_code"])) == 10
