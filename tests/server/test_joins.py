"""Joining by a link: the home decides, the server keeps the request and cannot read the answer."""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from conftest import MovedClock, eventually
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from gates import HOUR_MS, Gates, shared_ras
from home import Home, Invitation, join_keys, join_proof, point
from igrs_ras.storage.tables import events, invitations, joins, members, sessions, users
from peer import Denied, b64, unb64
from sqlalchemy import select
from stores import Gate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from igrs_ras.ras import Ras
    from phone import Phone

pytestmark = pytest.mark.asyncio(loop_scope="module")

A = "C4112233445F"
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ilp1.json").read_text())["join"]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "postgresql"])
async def ras(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    prepared: dict[str, Any],
) -> AsyncIterator[Ras]:
    async with shared_ras(request, tmp_path_factory, prepared) as running:
        yield running


@pytest.fixture
def clock(ras: Ras) -> MovedClock:
    return ras.clock  # type: ignore[return-value]  # the one that the fixture gave it


@pytest_asyncio.fixture(loop_scope="module")
async def gates(ras: Ras) -> AsyncIterator[Gates]:
    async with Gates(ras) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def home(gates: Gates) -> Home:
    return await gates.enrolled("Home", A)


async def status_of(call: Awaitable[Any]) -> int:
    """The status with which something is refused; 0 if it is not."""
    try:
        await call
    except Denied as denied:
        return denied.status
    return 0


async def answered(phone: Phone, invitation: Invitation) -> dict[str, Any]:
    """Ask until the home has said something."""

    async def asked() -> dict[str, Any] | None:
        found = await phone.ask(invitation)
        return None if found["state"] == "pending" else found

    found: dict[str, Any] = await eventually(asked)
    return found


async def requests(home: Home, count: int) -> list[dict[str, Any]]:
    """Wait for so many join.requests."""
    return await home.until(  # type: ignore[no-any-return]
        lambda: (
            len(found := [one["body"] for one in home.events if one["type"] == "join.request"])
            >= count
            and found
        )
    )


async def test_scripted_home_and_client_speak_the_join_of_the_vectors() -> None:
    vector = {key: bytes.fromhex(value) for key, value in VECTORS.items() if key != "box"}
    client = ec.derive_private_key(int.from_bytes(vector["client_private"]), ec.SECP256R1())
    home = ec.derive_private_key(int.from_bytes(vector["home_private"]), ec.SECP256R1())
    assert point(client) == vector["client_public"]
    assert point(home) == vector["home_public"]
    assert join_proof(vector["secret"], vector["id"], point(client)) == vector["proof"]
    for private, other in ((client, point(home)), (home, point(client))):
        key, done, update = join_keys(
            private, other, vector["secret"], vector["id"], point(client), point(home)
        )
        assert (key, done, update) == (vector["key"], vector["done_key"], vector["update_key"])
    assert hmac.digest(done, b"done", "sha256") == vector["done"]
    assert AESGCM(key).encrypt(bytes(12), VECTORS["box"].encode(), vector["id"]) == vector["sealed"]
    number, person = vector["update_number"], vector["update_person"]
    assert (
        AESGCM(update).decrypt(number, vector["update_sealed"], person + number)
        == VECTORS["box"].encode()
    )


async def test_a_join_of_the_vectors_passes_the_server_unchanged(home: Home, gates: Gates) -> None:
    vector = {key: bytes.fromhex(value) for key, value in VECTORS.items() if key != "box"}
    home.auto_join = False
    expires = home.now() + HOUR_MS
    await home.request(
        "invitation.create", {"id": VECTORS["id"], "kind": "guest", "expires": expires}
    )
    body = {
        "invitation": VECTORS["id"], "client_public": b64(vector["client_public"]), "proof": b64(vector["proof"]),
        "name": "Alma",
    }  # fmt: skip
    phone = gates.phone()
    assert (await phone.call("POST", "/api/v1/joins", body))["state"] == "pending"
    asked = (await requests(home, 1))[0]
    assert {key: asked[key] for key in body} == body
    answer = {
        "join": asked["join"], "outcome": "answered", "home_public": b64(vector["home_public"]),
        "box": b64(vector["sealed"]),
    }  # fmt: skip
    await home.request("join.answer", answer)
    found = await phone.call("POST", "/api/v1/joins", body)
    assert (unb64(found["home_public"]), unb64(found["box"])) == (
        vector["home_public"],
        vector["sealed"],
    )
    phone.token = found["token"]
    await phone.call("POST", f"/api/v1/joins/{found['join']}/done", {"done": b64(vector["done"])})
    assert unb64((await home.event("join.done"))["done"]) == vector["done"]


async def test_a_person_joins_by_a_link_and_is_a_member_only_after_the_homes_last_word(
    home: Home, gates: Gates
) -> None:
    invitation = await home.invite()
    phone = gates.phone("Alma")
    home_says = home.finish_join

    async def not_yet(body: dict[str, Any]) -> None:
        home.messages.append({"type": "held", "body": body})

    home.finish_join = not_yet  # type: ignore[method-assign]
    await answered(phone, invitation)
    assert phone.box["locks"] == [{"device": A}], "only the client can open it"
    await phone.connect()
    await phone.done()
    held = (await home.until(lambda: [one for one in home.messages if one["type"] == "held"]))[0]
    assert not await phone.member()
    assert (await phone.call("GET", "/api/v1/locks"))["locks"] == []
    assert await status_of(phone.relay(home.site, A, b"unlock")) == 21
    await home_says(held["body"])
    assert (await phone.event("invitation")) == {
        "site": home.site,
        "invitation": invitation.id,
        "state": "done",
    }
    assert await phone.member()
    assert await phone.relay(home.site, A, b"unlock") == ("answered", [b"unlock"])
    whats = [entry["what"] for entry in await gates.audit(home.site)]
    order = ["invitation.created", "invitation.joined", "member.added", "invitation.done"]
    assert [what for what in whats if what in order] == order
    assert "Alma" not in str(await gates.audit(home.site)), "the audit holds ids only"


async def test_the_same_request_gets_the_same_bytes_and_one_session_until_it_is_done(
    home: Home, gates: Gates
) -> None:
    invitation = await home.invite()
    phone = gates.phone()
    first = await answered(phone, invitation)
    tokens = [first["token"]]
    for _ in range(3):
        again = await phone.ask(invitation)
        assert {**again, "token": ""} == {**first, "token": ""}
        tokens.append(again["token"])
    assert len(set(tokens)) == 4
    for token in tokens[:-1]:
        assert (
            await status_of(phone.call("GET", "/api/v1/sites", Authorization=f"Bearer {token}"))
            == 11
        )
    assert (await phone.call("GET", "/api/v1/sites"))["sites"][0]["state"] == "pending"
    assert len(await gates.rows(select(sessions.c.id).where(sessions.c.user == phone.user))) == 1
    # Said twice, it is one answer; said differently it is refused.
    item = home.invitations[invitation.id]
    assert await status_of(home.request("join.answer", {"join": phone.join_id, **item.answer})) == 0
    other = {**item.answer, "box": b64(secrets.token_bytes(40))}
    assert await status_of(home.request("join.answer", {"join": phone.join_id, **other})) == 22
    assert (
        await status_of(home.request("join.answer", {"join": phone.join_id, "outcome": "refused"}))
        == 22
    )

    await phone.done()
    await phone.done()
    wrong = {"done": b64(bytes(32))}
    assert await status_of(phone.call("POST", f"/api/v1/joins/{phone.join_id}/done", wrong)) == 22
    await eventually(phone.member)
    assert await status_of(phone.ask(invitation)) == 21
    assert len([one for one in home.events if one["type"] == "join.done"]) == 1
    row = (await gates.rows(select(joins).where(joins.c.invitation == invitation.id)))[0]
    assert row.box is None, "what is of no more use is not kept"


async def test_an_answer_that_is_fetched_while_the_join_is_done_is_gone(
    home: Home, gates: Gates
) -> None:
    phone, invitation = gates.phone(), await home.invite()
    home.auto_join = True

    async def answered() -> bool:
        return bool((await phone.ask(invitation))["state"] == "answered")

    await eventually(answered)
    gate = Gate()
    held = asyncio.create_task(gates.ras.store.write(gate.job))
    await asyncio.to_thread(gate.entered.wait, 10)
    done = asyncio.create_task(phone.done())
    waits = gates.ras.store._jobs.qsize
    await eventually(lambda: waits() == 1)
    asked = asyncio.create_task(phone.ask(invitation))
    await eventually(lambda: waits() == 2)
    gate.open()
    await asyncio.gather(held, done)
    with pytest.raises(Denied) as denied:
        await asked
    assert denied.value.status == 21


async def test_asking_without_end_makes_no_sessions_without_end(
    home: Home, gates: Gates, clock: MovedClock
) -> None:
    invitation = await home.invite()
    phone = gates.phone()
    await answered(phone, invitation)
    for _ in range(29):
        await phone.ask(invitation)
    assert await status_of(phone.ask(invitation)) == 41
    clock.advance(3601)
    await home.connect()
    assert (await phone.ask(invitation))["state"] == "answered"


async def test_a_wrong_proof_consumes_nothing_and_five_in_an_hour_are_enough(
    home: Home, gates: Gates, clock: MovedClock
) -> None:
    invitation = await home.invite()
    guessed = Invitation(invitation.id, secrets.token_bytes(16), invitation.expires)
    for number in range(5):
        assert (await answered(gates.phone(f"Thief {number}"), guessed))["state"] == "wrong"
    assert await status_of(gates.phone("Thief").ask(guessed)) == 41
    clock.advance(3601)
    await home.connect()
    phone = gates.phone()
    await phone.join(invitation)
    assert home.members[phone.user].role == "member"


async def test_five_requests_wait_for_a_home_that_is_away_and_are_answered_when_it_is_back(
    home: Home, gates: Gates, ras: Ras
) -> None:
    invitation = await home.invite()
    await home.cut()
    await eventually(lambda: ras.gateways.link_of(home.site) is None)
    phones = [gates.phone(f"Guest {number}") for number in range(5)]
    for phone in phones:
        assert (await phone.ask(invitation))["state"] == "pending"
        assert (await phone.ask(invitation))["state"] == "pending", "asking again is no new request"
    assert await status_of(gates.phone().ask(invitation)) == 41
    await home.connect()
    states = [(await answered(phone, invitation))["state"] for phone in phones]
    assert sorted(states) == ["answered"] + ["refused"] * 4


async def test_a_link_that_two_clients_open_lets_one_in_and_the_owner_sees_it(
    home: Home, gates: Gates
) -> None:
    owner = await gates.owner(home)
    invitation = await home.invite()
    first, second = gates.phone("Alma"), gates.phone("Mallory")
    await first.join(invitation)
    home.invitations[invitation.id] = invitation  # a home remembers what it has answered
    invitation.client = point(first.key)
    assert (await answered(second, invitation))["state"] == "refused"
    assert second.token == ""
    assert len(await gates.noted(home.site, "join.opened_twice")) == 1
    listed = (await owner.call("GET", f"/api/v1/sites/{home.site}/invitations"))["invitations"]
    assert {item["invitation"]: item["opened_twice"] for item in listed}[invitation.id]
    assert await first.member()


async def test_invitations_that_are_unknown_over_withdrawn_or_for_owners_are_answered_alike(
    home: Home, gates: Gates, clock: MovedClock
) -> None:
    unknown = Invitation(secrets.token_hex(16), secrets.token_bytes(16), 0)
    withdrawn = await home.invite()
    await home.withdraw(withdrawn.id)
    await home.withdraw(withdrawn.id)
    await home.owner_code()
    for_owners = next(item for item in home.invitations.values() if item.kind == "owner")
    over = await home.invite(life_ms=HOUR_MS)
    clock.advance(3601)
    seen = []
    asked = (unknown, withdrawn, for_owners, over)
    for invitation in asked:
        phone = gates.phone()
        with pytest.raises(Denied) as denied:
            await phone.ask(invitation)
        seen.append((denied.value.http, denied.value.status, denied.value.message))
    assert set(seen) == {(404, 21, "not found")}
    assert [
        row
        for row in await gates.rows(select(joins))
        if row.invitation in {one.id for one in asked}
    ] == []
    assert [event for event in home.events if event["type"] == "join.request"] == []


async def test_a_key_that_is_no_point_of_the_curve_never_reaches_the_home(
    home: Home, gates: Gates
) -> None:
    invitation = await home.invite()
    phone = gates.phone()
    body = phone.join_body(invitation)
    good = unb64(body["client_public"])
    off_curve = good[:-1] + bytes([good[-1] ^ 1])
    compressed = bytes([2 + (good[-1] & 1)]) + good[1:33]
    for wrong in (
        off_curve,
        b"\x04" + bytes(64),
        bytes(65),
        b"\x06" + good[1:],
        compressed,
        compressed + bytes(32),
        good + b"\0",
    ):
        assert (
            await status_of(
                phone.call("POST", "/api/v1/joins", {**body, "client_public": b64(wrong)})
            )
            == 10
        )
    for field, wrong_text in (
        ("proof", b64(bytes(31))), ("name", ""), ("name", "x" * 101), ("name", "a\u202eb"), ("name", "a\x00b"),
        ("invitation", invitation.id.upper()), ("client_public", body["client_public"].rstrip("=")),
    ):  # fmt: skip
        assert (
            await status_of(phone.call("POST", "/api/v1/joins", {**body, field: wrong_text})) == 10
        ), field
    home.auto_join = False
    await phone.ask(invitation)
    join = (await requests(home, 1))[0]["join"]
    box = b64(bytes(40))
    for answer in (
        {"outcome": "answered", "home_public": b64(off_curve), "box": box},
        {"outcome": "answered", "home_public": b64(good)},
        {"outcome": "answered", "box": box},
        {"outcome": "refused", "box": box},
        {"outcome": "answered", "home_public": b64(good), "box": b64(bytes(16 * 1024 + 1))},
        {"outcome": "maybe"},
    ):
        assert await status_of(home.request("join.answer", {"join": join, **answer})) in (10, 40)
    assert (await phone.ask(invitation))["state"] == "pending"


async def test_who_is_signed_in_joins_as_that_user_and_the_link_signs_nobody_in_as_them(
    home: Home, gates: Gates
) -> None:
    owner = await gates.owner(home)
    other = await gates.enrolled("Summer house", A)
    invitation = await other.invite()
    user, token = owner.user, owner.token
    found = await answered(owner, invitation)
    assert (found["user"], found["token"]) == (user, "")
    # Whoever has the link and the client's key, but not the session, gets no session of that account.
    thief = gates.phone()
    thief.key = owner.key
    stolen = await thief.ask(invitation)
    assert (stolen["state"], stolen["token"], thief.token) == ("answered", "", "")
    assert await status_of(thief.done()) == 11
    owner.token = token
    await owner.done()
    await eventually(owner.member)
    assert sorted(
        item["site"] for item in (await owner.call("GET", "/api/v1/sites"))["sites"]
    ) == sorted([home.site, other.site])


async def test_a_link_is_no_way_around_a_password_that_was_set_meanwhile(
    home: Home, gates: Gates
) -> None:
    invitation = await home.invite()
    phone = gates.phone()
    await answered(phone, invitation)
    await gates.change(
        users.update().where(users.c.id == phone.user).values(email=f"{phone.user}@example.org")
    )
    again = gates.phone()
    again.key = phone.key
    assert (await again.ask(invitation))["token"] == ""


async def test_a_browser_of_the_servers_own_origin_gets_a_cookie_and_others_a_token(
    home: Home, gates: Gates
) -> None:
    invitation = await home.invite()
    phone = gates.phone()
    body = phone.join_body(invitation)
    api = gates.api()
    await api("POST", "/api/v1/joins", body)
    await eventually(lambda: home.invitations[invitation.id].answer)

    async def asked() -> Any:
        reply = await api("POST", "/api/v1/joins", body, headers={"Origin": api.base})
        return reply if reply.data["state"] == "answered" else None

    reply = await eventually(asked)
    assert reply.data["token"] == ""
    cookie = reply.headers["Set-Cookie"]
    assert cookie.startswith("__Host-igrs=")
    for attribute in ("Secure", "HttpOnly", "SameSite=Strict", "Path=/"):
        assert attribute in cookie
    value = cookie.partition("=")[2].partition(";")[0]
    assert (await api("GET", "/api/v1/sites", cookie=value)).data["sites"][0]["state"] == "pending"
    foreign = await api("POST", "/api/v1/joins", body, headers={"Origin": "https://evil.example"})
    assert foreign.http == 403
    assert "Set-Cookie" not in foreign.headers


async def test_who_joined_is_out_when_the_invitation_is_withdrawn_before_the_last_word(
    home: Home, gates: Gates
) -> None:
    owner = await gates.owner(home)
    invitation = await home.invite()
    phone = gates.phone()
    await answered(phone, invitation)
    await owner.call("DELETE", f"/api/v1/sites/{home.site}/invitations/{invitation.id}")
    assert (await home.event("invitation.withdrawn"))["invitation"] == invitation.id
    assert await status_of(phone.done()) == 11
    phone.token = ""
    assert await status_of(phone.ask(invitation)) == 21
    rows = await gates.rows(select(members.c.user).where(members.c.site == home.site))
    assert [row.user for row in rows] == [owner.user]
    done = {"id": invitation.id, "user": phone.user, "role": "member", "locks": [A]}
    assert await status_of(home.request("invitation.done", done)) == 21


async def test_a_join_ends_on_day_seven(
    home: Home, gates: Gates, clock: MovedClock, ras: Ras
) -> None:
    home.auto_join = False
    invitation = await home.invite(life_ms=8 * 24 * HOUR_MS)
    phone = gates.phone()
    await phone.ask(invitation)
    join = (await requests(home, 1))[0]
    clock.advance(7 * 24 * 3600 + 1)
    await ras.joins.tick()
    await home.connect()
    assert await status_of(home.answer_join(join)) == 21
    assert await gates.rows(select(joins).where(joins.c.invitation == invitation.id)) == []
    row = (await gates.rows(select(invitations.c.state).where(invitations.c.id == invitation.id)))[
        0
    ]
    assert row.state == "open"


async def test_a_wrong_done_lets_nobody_in(home: Home, gates: Gates) -> None:
    invitation = await home.invite()
    phone = gates.phone()
    await answered(phone, invitation)
    await phone.call("POST", f"/api/v1/joins/{phone.join_id}/done", {"done": b64(bytes(32))})
    await home.event("join.done")
    await eventually(lambda: home.seq and not home._tasks)
    assert not await phone.member()


async def test_the_server_stores_nothing_that_opens_the_answer(home: Home, gates: Gates) -> None:
    invitation = await home.invite()
    phone = gates.phone()
    await answered(phone, invitation)
    rows = [
        row
        for table in (joins, invitations, events, users, sessions)
        for row in await gates.rows(select(table))
    ]
    values = [value for row in rows for value in row]
    stored = b"".join(
        value if isinstance(value, bytes) else str(value).encode() for value in values
    )
    assert phone.user.encode() in stored
    for secret in (invitation.secret, phone.update_key, phone._done_key):
        for form in (secret, secret.hex().encode(), b64(secret).encode()):
            assert form not in stored
    assert phone.token.encode() not in stored


async def test_two_people_ask_at_once_and_each_request_is_kept_once(
    home: Home, gates: Gates
) -> None:
    invitation = await home.invite()
    phone, twin = gates.phone(), gates.phone()
    twin.key = phone.key
    home.auto_join = False
    await asyncio.gather(*(one.ask(invitation) for one in (phone, twin) * 3))
    assert len(await gates.rows(select(joins).where(joins.c.invitation == invitation.id))) == 1
    assert len(await requests(home, 1)) == 1
