"""The home is the root of its site: what it lists is so, what it does not list has ended, and nobody else adds anything."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from conftest import MovedClock, eventually
from gates import HOUR_MS, PASSWORD, Gates, shared_ras
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from igrs_ras.members import INVITATION_ROWS
from igrs_ras.sites import List, SyncParts, listing, sync
from igrs_ras.status import Refused
from igrs_ras.storage.tables import (
    events,
    grants,
    invitations,
    locks,
    members,
    sites,
    users,
)
from igrs_ras.wire import convert
from peer import Denied, b64
from sqlalchemy import select

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from home import HomeRelay
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction
    from phone import Phone

pytestmark = pytest.mark.asyncio(loop_scope="module")

A, B = "C4112233445F", "C4112233446A"


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


async def status_of(call: Awaitable[Any]) -> int:
    """The status with which something is refused; 0 if it is not."""
    try:
        await call
    except Denied as denied:
        return denied.status
    return 0


async def gone(phone: Phone) -> int | None:
    """How a phone's socket was closed by the server."""
    return await asyncio.wait_for(asyncio.shield(phone.peer.closed), 10)


async def test_what_the_home_does_not_list_any_more_has_ended_with_all_that_hangs_on_it(
    gates: Gates, ras: Ras
) -> None:
    home = await gates.enrolled("Home", A, B)
    stays, leaves = await gates.member(home, name="Kim"), await gates.member(home, name="Rex")
    await stays.connect()
    await leaves.connect()
    await leaves.follow(home.site, A)
    open_one, closed_one = await home.invite(), await home.invite()
    began: asyncio.Queue[HomeRelay] = asyncio.Queue()
    home.on_relay = began.put
    await leaves.peer.send("relay.open", leaves.opening(home.site, A, b"unlock"))
    relay = await began.get()
    assert await home.sync(), "the lists are equal so far"

    del home.members[leaves.user], home.invitations[closed_one.id], home.locks[B]
    home.members[stays.user].locks = [A]
    assert not await home.sync()
    assert home.sync_answer == {
        "re": home.sync_answer["re"],
        "more": False,
        "users": [],
        "locks": [],
        "invitations": [],
    }
    assert await home.sync()

    assert await gone(leaves) == 4401
    await home.until(lambda: relay.why)
    assert await status_of(leaves.call("GET", "/api/v1/locks")) == 11, (
        "nothing is left of who joined by a link"
    )
    assert [lock["device"] for lock in (await stays.call("GET", "/api/v1/locks"))["locks"]] == [A]
    assert not stays.peer.closed.done()
    assert await status_of(gates.phone().ask(closed_one)) == 21
    assert (await gates.phone().ask(open_one))["state"] == "pending"
    whats = [entry["what"] for entry in await gates.audit(home.site)]
    assert {
        "member.ended",
        "invitation.withdrawn",
        "lock.removed",
        "site.synced",
    } <= set(whats)
    assert "relay.ended" in whats


async def test_a_list_lets_nobody_in_who_did_not_join(gates: Gates) -> None:
    home, other = await gates.enrolled("Home", A), await gates.enrolled("Other", A)
    neighbour = await gates.member(other)
    strangers = [neighbour.user, secrets.token_hex(16)]
    body = {
        "members": [{"user": user, "role": "owner", "locks": [A]} for user in strangers],
        "locks": [{"device": A, "capabilities": 1}],
        "invitations": [],
    }
    answer = await home.request("site.sync", body)
    assert answer["users"] == sorted(strangers)
    assert await gates.rows(select(members).where(members.c.site == home.site)) == []
    for user in strangers:
        assert (
            await status_of(
                home.request("member.set", {"user": user, "role": "owner", "locks": [A]})
            )
            == 21
        )
    assert [item["site"] for item in (await neighbour.call("GET", "/api/v1/sites"))["sites"]] == [
        other.site
    ]


async def test_what_an_owner_ended_while_the_home_was_away_is_not_revived_by_its_list(
    gates: Gates, ras: Ras
) -> None:
    home = await gates.enrolled("Home", A)
    owner, guest = await gates.owner(home), await gates.member(home)
    invitation = await home.invite()
    await home.cut()
    await eventually(lambda: ras.gateways.link_of(home.site) is None)
    await owner.call("DELETE", f"/api/v1/sites/{home.site}/members/{guest.user}")
    await owner.call("DELETE", f"/api/v1/sites/{home.site}/invitations/{invitation.id}")
    await home.connect()
    assert home.sync_answer["users"] == [guest.user]
    assert home.sync_answer["invitations"] == [invitation.id]
    assert (await home.event("member.left"))["user"] == guest.user
    assert (await home.event("invitation.withdrawn"))["invitation"] == invitation.id
    assert guest.user not in home.members
    assert invitation.id not in home.invitations
    assert await home.sync()


async def test_who_has_joined_and_waits_for_the_homes_word_is_untouched_by_lists_until_day_seven(
    gates: Gates, clock: MovedClock, ras: Ras
) -> None:
    home = await gates.enrolled("Home", A)
    home.auto_join = False
    invitation = await home.invite(life_ms=2 * HOUR_MS)
    phone = gates.phone()
    await phone.ask(invitation)
    await home.answer_join(await home.event("join.request"))
    assert (await phone.ask(invitation))["state"] == "answered"
    await home.cut()
    clock.advance(3 * 3600)
    await home.connect()
    await home.send_list()
    await phone.done()
    body = await home.event("join.done")
    home.invitations[invitation.id] = invitation
    await home.finish_join(body)
    assert await phone.member(), "it joined in time; only the home's word came late"

    late = await home.invite(life_ms=2 * HOUR_MS)
    never = gates.phone("Nia")
    await never.ask(late)
    await home.answer_join(
        (await home.until(lambda: [e for e in home.events if e["type"] == "join.request"][1:]))[0][
            "body"
        ]
    )
    assert (await never.ask(late))["state"] == "answered"
    await home.cut()
    await eventually(lambda: ras.gateways.link_of(home.site) is None)
    clock.advance(7 * 24 * 3600 + 1)
    await ras.sites.tick()
    rows = await gates.rows(select(members.c.user).where(members.c.site == home.site))
    assert [row.user for row in rows] == [phone.user]


async def test_case_18_nobody_but_the_home_says_who_may_do_what(gates: Gates) -> None:
    home, other = await gates.enrolled("Home", A), await gates.enrolled("Other", A)
    owner, guest = await gates.owner(home), await gates.member(home)
    invitation = await home.invite()
    for field, value in (
        ("role", "owner"),
        ("site", other.site),
        ("state", "answered"),
        ("user", owner.user),
        ("locks", [A]),
    ):
        body = {**gates.phone().join_body(invitation), field: value}
        assert await status_of(guest.call("POST", "/api/v1/joins", body)) == 10, field
    for field in ("role", "created_by", "valid_to", "remote_allowed", "owner"):
        body = {"device": A, "advertisement": b64(bytes(10)), "site": home.site, field: "owner"}
        assert await status_of(owner.call("POST", "/api/v1/locks/authenticate", body)) == 10, field
    for method in ("POST", "PUT", "PATCH"):
        for path in ("", "/members", f"/members/{guest.user}", "/invitations", "/locks"):
            answer = await status_of(
                owner.call(method, f"/api/v1/sites/{home.site}{path}", {"role": "owner"})
            )
            assert answer in (20, 21), (method, path)
    # A join's role is the home's, whatever was asked; an invitation's user is who joined by it.
    joined = {
        row.user: row.role
        for row in await gates.rows(select(members).where(members.c.site == home.site))
    }
    assert joined == {owner.user: "owner", guest.user: "member"}
    home.auto_join = False
    phone = gates.phone("Mo")
    await phone.ask(invitation)
    await home.until(lambda: [e for e in home.events if e["body"].get("name") == "Mo"])
    await home.answer_join(home.events[-1]["body"])
    for user in (guest.user, owner.user, secrets.token_hex(16)):
        done = {"id": invitation.id, "user": user, "role": "owner", "locks": []}
        assert await status_of(home.request("invitation.done", done)) == 21


async def test_case_17_a_gateway_and_an_owner_reach_nothing_of_another_home(gates: Gates) -> None:
    home, other = await gates.enrolled("Home", A), await gates.enrolled("Other", A, B)
    owner, guest = await gates.owner(home), await gates.member(home)
    their_owner = await gates.owner(other)
    their_guest = await gates.member(other, name="Sue")
    theirs = await other.invite()
    other.auto_join = False
    waiting = gates.phone("Wes")
    await waiting.ask(theirs)
    join = (await other.until(lambda: [e for e in other.events if e["body"].get("name") == "Wes"]))[
        0
    ]["body"]
    before = await everything(gates, other.site)

    # The gateway, over its link and over HTTP.
    tries: list[tuple[str, dict[str, Any], int]] = [
        ("member.set", {"user": their_guest.user, "role": "owner", "locks": [A]}, 21),
        ("member.end", {"user": their_guest.user}, 0),  # nobody here: done already
        ("invitation.withdraw", {"id": theirs.id}, 0),
        ("invitation.create", {"id": theirs.id, "kind": "guest", "expires": theirs.expires}, 22),
        (
            "invitation.done",
            {"id": theirs.id, "user": their_guest.user, "role": "owner", "locks": []},
            21,
        ),
        ("join.answer", {"join": join["join"], "outcome": "refused"}, 21),
        ("keys.update", {"user": their_guest.user, "number": 9, "sealed": b64(bytes(40))}, 21),
    ]
    for kind, body, status in tries:
        assert await status_of(home.request(kind, body)) == status, kind
    token = {"Authorization": f"Bearer {home.token}"}
    assert await status_of(home.http.call("DELETE", f"/api/v1/locks/{B}", **token)) == 21
    seen = {"device": B, "advertisement": b64(bytes(10))}
    found = await home.http.call("POST", "/api/v1/locks/authenticate", seen, **token)
    assert found == {"registered": False, "authentic": False}, "another site's device looks free"
    assert (
        await status_of(
            home.http.call(
                "POST", "/api/v1/locks/authenticate", {**seen, "site": other.site}, **token
            )
        )
        == 21
    )

    # People: their own objects behind each id are answered differently, so the refusals mean what they say.
    nobody = secrets.token_hex(16)
    for site in (other.site, nobody):
        for method, path in (
            ("GET", ""), ("GET", "/members"), ("GET", "/invitations"), ("GET", "/locks"), ("GET", "/audit"),
            ("DELETE", f"/members/{their_guest.user}"), ("DELETE", f"/members/{owner.user}"),
            ("DELETE", f"/invitations/{theirs.id}"),
        ):  # fmt: skip
            for who in (owner, guest):
                assert await status_of(who.call(method, f"/api/v1/sites/{site}{path}")) == 21, (
                    method,
                    path,
                )
        for who in (owner, guest):
            assert (
                await status_of(
                    who.call("POST", "/api/v1/locks/authenticate", {**seen, "site": site})
                )
                == 21
            )
    for path in ("", "/members", "/invitations", "/locks", "/audit"):
        assert await status_of(guest.call("GET", f"/api/v1/sites/{home.site}{path}")) == 20, (
            "a member is no owner"
        )
        assert await status_of(owner.call("GET", f"/api/v1/sites/{home.site}{path}")) == 0
    assert (
        await status_of(guest.call("DELETE", f"/api/v1/sites/{home.site}/members/{owner.user}"))
        == 20
    )
    assert (
        await status_of(owner.call("DELETE", f"/api/v1/sites/{home.site}/invitations/{theirs.id}"))
        == 21
    )
    done = {"done": b64(bytes(32))}
    for who in (owner, guest):
        assert await status_of(who.call("POST", f"/api/v1/joins/{join['join']}/done", done)) == 21
    assert await everything(gates, other.site) == before
    assert (
        await status_of(
            their_owner.call("DELETE", f"/api/v1/sites/{other.site}/invitations/{theirs.id}")
        )
        == 0
    )


async def everything(gates: Gates, site: str) -> list[Any]:
    """All rows of a site but what its own connections write."""
    found = []
    for table in (sites, members, grants, locks, invitations):
        column = table.c.id if table is sites else table.c.site
        found.append(sorted(map(repr, await gates.rows(select(table).where(column == site)))))
    return found


async def test_case_25_a_right_that_ends_in_the_middle_of_a_relay_ends_the_relay(
    gates: Gates,
) -> None:
    home = await gates.enrolled("Home", A, B)
    phone = await gates.member(home)
    other = await gates.member(home, name="Kim")
    for one in (phone, other):
        await one.connect()
    began: asyncio.Queue[HomeRelay] = asyncio.Queue()
    home.on_relay = began.put

    async def relaying(who: Phone, device: str) -> tuple[str, HomeRelay]:
        opening = who.opening(home.site, device, b"unlock")
        await who.peer.send("relay.open", opening)
        return opening["key"], await began.get()

    key, relay = await relaying(phone, B)
    kept, _ = await relaying(phone, A)
    await home.set_member(phone.user, "member", [A])
    await phone.until(lambda: "unknown" in phone.states(key))
    await home.until(lambda: relay.why)
    assert "unknown" not in phone.states(kept), "the lock that is still granted goes on"
    theirs, relay = await relaying(other, B)
    await home.remove_lock(B)
    await other.until(lambda: "unknown" in other.states(theirs))
    await home.end_member(phone.user)
    await gone(phone)
    assert await status_of(other.relay(home.site, B, b"unlock")) == 21


async def test_a_member_sees_and_leaves_and_the_home_is_told(gates: Gates, ras: Ras) -> None:
    home = await gates.enrolled("Mill Lane", A)
    owner = await gates.owner(home)
    guest = await gates.member(home)
    mine = (await guest.call("GET", "/api/v1/sites"))["sites"]
    assert mine == [
        {
            "site": home.site,
            "name": "Mill Lane",
            "role": "member",
            "state": "active",
            "online": True,
        }
    ]
    await guest.call("DELETE", f"/api/v1/sites/{home.site}/members/{guest.user}")
    assert (await home.event("member.left"))["user"] == guest.user
    assert await status_of(guest.call("GET", "/api/v1/sites")) == 11
    # An account stays; it has left one home only.
    await owner.connect()
    await owner.call("DELETE", f"/api/v1/sites/{home.site}/members/{owner.user}")
    assert await gone(owner) == 4403
    assert (await owner.call("GET", "/api/v1/sites"))["sites"] == []
    assert await home.sync()


async def test_an_owner_pages_through_members_invitations_locks_and_the_audit(
    gates: Gates, ras: Ras
) -> None:
    home = await gates.enrolled("Home", A, B)
    owner = await gates.owner(home)
    people = [owner.user] + [
        (await gates.member(home, A, name=f"Guest {number}")).user for number in range(4)
    ]
    invitation = await home.invite()
    url = f"/api/v1/sites/{home.site}"
    seen: list[str] = []
    after = ""
    while True:
        page = await owner.call(
            "GET", f"{url}/members?limit=2" + (f"&after={after}" if after else "")
        )
        seen += [item["user"] for item in page["members"]]
        after = page["next"]
        if not after:
            break
    assert seen == sorted(people)
    indices: list[int] = []
    before = ""
    while True:
        page = await owner.call("GET", f"{url}/audit?limit=3{before}")
        indices += [item["index"] for item in page["entries"]]
        if not page["next"]:
            break
        before = f"&before={page['next']}"
    assert indices == list(range(len(await gates.audit(home.site)), 0, -1))
    states = {
        item["invitation"]: item["state"]
        for item in (await owner.call("GET", f"{url}/invitations"))["invitations"]
    }
    assert sorted(states.values()) == ["done"] * 5 + ["open"]
    assert states[invitation.id] == "open"
    listed = {
        item["device"]: item["members"]
        for item in (await owner.call("GET", f"{url}/locks"))["locks"]
    }
    assert listed == {A: 5, B: 1}
    site = await owner.call("GET", url)
    assert (site["members"], site["invitations"], site["locks"], site["audit"]) == (
        5,
        1,
        2,
        indices[0],
    )
    assert site["gateway"]["gateway"] == home.gateway
    assert site["gateway"]["online"]
    for query in (
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=-1",
        "limit=1&limit=2",
        "after=x",
        "offset=1",
        "limit=²",
    ):
        assert await status_of(owner.call("GET", f"{url}/members?{query}")) == 10, query


async def test_sealed_keys_reach_the_person_in_order_and_a_number_never_comes_twice(
    gates: Gates,
) -> None:
    home = await gates.enrolled("Home", A)
    phone, other = await gates.member(home), await gates.member(home, name="Kim")
    await phone.connect()
    await other.connect()
    await home.update_keys(phone.user, "epoch 1")
    await home.update_keys(phone.user, "epoch 2")
    await phone.until(lambda: [e for e in phone.events if e["type"] == "keys"][1:])
    found = [event["body"] for event in phone.events if event["type"] == "keys"]
    assert [body["number"] for body in found] == [1, 2]
    assert [phone.open_update(body) for body in found] == [b"epoch 1", b"epoch 2"]
    for number in (2, 1):
        body = {"user": phone.user, "number": number, "sealed": b64(bytes(40))}
        assert await status_of(home.request("keys.update", body)) == 22
    too_long = {"user": phone.user, "number": 3, "sealed": b64(bytes(8193))}
    assert await status_of(home.request("keys.update", too_long)) in (10, 40)
    assert [event for event in other.events if event["type"] == "keys"] == []


async def test_what_is_left_of_a_list_that_was_cut_short_never_mixes_with_the_next(
    gates: Gates,
) -> None:
    home = await gates.enrolled("Home", A)
    kept, removed = await gates.member(home), await gates.member(home)
    whole = home.listing()
    # The home began to send a list that still had a member whom it removed meanwhile.
    gone = [item for item in whole["members"] if item["user"] == removed.user]
    stays = [item for item in whole["members"] if item["user"] == kept.user]
    await home.request("site.sync", {"members": gone, "more": True})
    await home.request("site.sync", {"members": stays, "locks": whole["locks"]})
    rows = await gates.rows(select(members.c.user).where(members.c.site == home.site))
    assert [row.user for row in rows] == [kept.user]
    # A part that was refused or lost leaves a list that is not taken, rather than one with a gap.
    await home.request("site.sync", {"locks": whole["locks"], "more": True})
    assert await status_of(home.request("site.sync", {"part": 2})) == 10
    assert await status_of(home.request("site.sync", {"members": stays, "part": 1})) == 10
    rows = await gates.rows(select(members.c.user).where(members.c.site == home.site))
    assert [row.user for row in rows] == [kept.user]


async def test_a_list_that_never_ends_takes_no_more_than_a_home_may_have() -> None:
    parts = SyncParts()
    devices = [f"C4{number:010X}" for number in range(500)]
    for number in range(20):
        member = {"user": f"{number:032x}", "role": "member", "locks": devices}
        parts.add(convert({"members": [member], "part": number, "more": True}, List))
    member = {"user": "f" * 32, "role": "member", "locks": devices[:1]}
    with pytest.raises(Refused) as refused:
        parts.add(convert({"members": [member], "part": 20, "more": True}, List))
    assert refused.value.status == 40
    assert parts == SyncParts()


async def test_invitations_that_ended_are_bounded_too(gates: Gates) -> None:
    home = await gates.enrolled("Home", A)
    now = gates.clock.now_ms()
    await gates.ras.store.write(
        lambda tx: (
            tx.execute(
                invitations.insert(),
                [
                    {
                        "id": secrets.token_hex(16), "site": home.site, "kind": "guest", "state": "withdrawn",
                        "created": now, "expires": now + HOUR_MS,
                    }
                    for _ in range(INVITATION_ROWS)
                ],
            )
            and None
        )
    )  # fmt: skip
    assert await status_of(home.invite()) == 40


async def test_what_a_hostile_home_could_fill_is_bounded(gates: Gates, clock: MovedClock) -> None:
    home = await gates.enrolled("Home")
    now = clock.now_ms()
    devices = [f"C4{number:010X}" for number in range(500)]
    home.locks = dict.fromkeys(devices, 1)
    await home.send_list(size=250)
    assert await home.sync()
    assert await status_of(home.register_lock("C4FFFFFFFFFF")) == 40
    home.locks = dict.fromkeys(devices, 1)
    many = [
        {"id": secrets.token_hex(16), "kind": "guest", "expires": now + HOUR_MS} for _ in range(200)
    ]
    listed = [{"device": device, "capabilities": 1} for device in devices]
    await home.request("site.sync", {"locks": listed, "more": True})
    await home.request("site.sync", {"invitations": many, "part": 1})
    new = {"id": secrets.token_hex(16), "kind": "guest", "expires": now + HOUR_MS}
    assert await status_of(home.request("invitation.create", new)) == 40
    assert await status_of(home.request("invitation.create", many[0])) == 0, (
        "what is there is done already"
    )
    # Parts that never end, or that say a thing twice, are dropped.
    await home.request("site.sync", {"locks": listed, "more": True})
    assert (
        await status_of(
            home.request(
                "site.sync",
                {
                    "locks": [{"device": "C4FFFFFFFFFF", "capabilities": 1}],
                    "part": 1,
                    "more": True,
                },
            )
        )
        == 40
    )
    await home.request("site.sync", {"locks": listed[:2], "more": True})
    twice = {"locks": listed[:2], "part": 1, "more": True}
    assert await status_of(home.request("site.sync", twice)) == 10
    for expires in (now - 1, now, now + 91 * 24 * HOUR_MS, -1, 2**60):
        late = {"id": secrets.token_hex(16), "kind": "guest", "expires": expires}
        assert await status_of(home.request("invitation.create", late)) in (10, 33), expires
    for body in (
        {**new, "kind": "owner"},
        {**new, "code": b64(bytes(32))},
        {**new, "kind": "owner", "code": b64(bytes(31))},
        {**new, "kind": "owner", "code": b64(bytes(32)), "expires": now + 25 * HOUR_MS},
        {**new, "kind": "admin"},
    ):
        assert await status_of(home.request("invitation.create", body)) == 10, body


USERS = [f"{number:032x}" for number in range(6)]
LISTS = st.fixed_dictionaries(
    {
        "members": st.lists(
            st.fixed_dictionaries(
                {
                    "user": st.sampled_from(USERS),
                    "role": st.sampled_from(["owner", "member"]),
                    "locks": st.lists(st.sampled_from([A, B]), unique=True),
                }
            ),
            unique_by=lambda item: str(item["user"]),
        ),
        "locks": st.lists(
            st.fixed_dictionaries(
                {"device": st.sampled_from([A, B]), "capabilities": st.integers(0, 0xFFFF)}
            ),
            unique_by=lambda item: str(item["device"]),
        ),
        "invitations": st.lists(
            st.fixed_dictionaries(
                {
                    "id": st.sampled_from([f"{number:032x}" for number in range(100, 104)]),
                    "kind": st.just("guest"),
                    "expires": st.integers(1, 24).map(lambda hours: hours * HOUR_MS),
                }
            ),
            unique_by=lambda item: str(item["id"]),
        ),
    }
)


async def test_after_any_list_the_rows_are_the_list_but_for_those_who_never_joined_or_were_put_out(
    gates: Gates, ras: Ras
) -> None:
    """Lists one after the other, in any order: who is on none of them is gone and never comes back by a list."""
    home = await gates.enrolled("Home")
    now = gates.clock.now_ms()
    loop = asyncio.get_running_loop()

    def prepare(tx: Transaction) -> None:
        tx.execute(members.delete().where(members.c.site == home.site))
        tx.execute(invitations.delete().where(invitations.c.site == home.site))
        for user in USERS[:4]:
            if tx.execute(select(users.c.id).where(users.c.id == user)).first() is None:
                tx.execute(users.insert().values(id=user, name=user, created=tx.now))
            tx.execute(
                members.insert().values(
                    site=home.site, user=user, role="member", state="active", created=tx.now
                )
            )

    async def play(lists: list[dict[str, Any]]) -> None:
        await ras.store.write(prepare)
        inside, opened, ended = set(USERS[:4]), set[str](), set[str]()
        for one in lists:
            given = [{**item, "expires": now + item["expires"]} for item in one["invitations"]]
            parts = SyncParts()
            parts.add(convert({**one, "invitations": given}, List))
            refused = await ras.store.write(lambda tx, parts=parts: sync(ras, tx, home.site, parts))  # type: ignore[misc]
            found = await ras.store.read(lambda connection: listing(connection, home.site, now))

            named = {item["user"]: item for item in one["members"]}
            assert set(refused["users"]) == named.keys() - inside
            inside &= named.keys()
            known = {item["device"] for item in one["locks"]}
            assert found["members"] == [
                {**named[user], "locks": sorted(set(named[user]["locks"]) & known)}
                for user in sorted(inside)
            ]
            assert found["locks"] == sorted(one["locks"], key=lambda item: str(item["device"]))

            invited = {item["id"]: item for item in given}
            ended |= opened - invited.keys()
            opened = invited.keys() - ended
            assert found["invitations"] == [invited[id_] for id_ in sorted(opened)]
            assert set(refused["invitations"]) == invited.keys() & ended

    @hypothesis(
        max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(st.lists(LISTS, min_size=1, max_size=4))
    def run(lists: list[dict[str, Any]]) -> None:
        asyncio.run_coroutine_threadsafe(play(lists), loop).result(60)

    await asyncio.to_thread(run)


async def test_case_27_who_is_owner_no_more_keeps_nothing_of_it(gates: Gates) -> None:
    home = await gates.enrolled("Home", A)
    old, new = await gates.owner(home), await gates.owner(home)
    url = f"/api/v1/sites/{home.site}"
    code = await home.owner_code()
    await home.set_member(old.user, "member", [A])
    for method, path in (
        ("GET", ""),
        ("GET", "/members"),
        ("GET", "/audit"),
        ("DELETE", f"/members/{new.user}"),
    ):
        assert await status_of(old.call(method, url + path)) == 20, path
    assert await status_of(new.call("GET", url)) == 0
    await old.connect()
    await home.end_member(old.user)
    assert await gone(old) == 4403
    assert await status_of(old.call("GET", url)) == 21
    assert (await old.call("GET", "/api/v1/locks"))["locks"] == []
    # A code that the home made for somebody else is worth nothing once the home has withdrawn it.
    for id_ in [item.id for item in home.invitations.values() if item.kind == "owner"]:
        await home.withdraw(id_)
    claim = gates.phone("Otto")
    assert (
        await status_of(claim.claim(code, f"otto.{secrets.token_hex(4)}@example.org", PASSWORD))
        == 14
    )


async def test_case_39_a_home_does_not_push_another_homes_events_out_of_a_persons_queue(
    gates: Gates, clock: MovedClock
) -> None:
    home, noisy = await gates.enrolled("Home", A), await gates.enrolled("Noisy", A)
    person = await gates.owner(home)
    invitation = await noisy.invite()

    async def answered() -> bool:
        return bool((await person.ask(invitation))["state"] == "answered")

    await eventually(answered)
    await person.done()
    await eventually(person.member)
    done = 0
    for number in range(1, 300):
        body = {"user": person.user, "number": number, "sealed": b64(bytes(40))}
        if (status := await status_of(noisy.request("keys.update", body))) != 0:
            assert status == 41
            break
        done += 1
        clock.advance(0.1)
    assert 100 < done < 300
    for role in ("owner", "member"):
        await noisy.set_member(person.user, role, [A])
    queue = select(events.c.seq).where(events.c.recipient == f"user:{person.user}")
    assert len(await gates.rows(queue)) < 300
    keys = {"user": person.user, "number": 1, "sealed": b64(bytes(40))}
    assert await status_of(home.request("keys.update", keys)) == 0


async def test_an_invitation_that_an_owner_withdrew_is_not_opened_again_under_its_id(
    gates: Gates,
) -> None:
    home = await gates.enrolled("Home", A)
    owner = await gates.owner(home)
    invitation = await home.invite()
    await owner.call("DELETE", f"/api/v1/sites/{home.site}/invitations/{invitation.id}")
    again = {"id": invitation.id, "kind": "guest", "expires": invitation.expires}
    assert await status_of(home.request("invitation.create", again)) == 22
    assert await status_of(gates.phone().ask(invitation)) == 21


async def test_a_full_home_takes_nobody_more(gates: Gates) -> None:
    home = await gates.enrolled("Home", A)

    def fill(tx: Transaction) -> None:
        ids = [secrets.token_hex(16) for _ in range(1000)]
        tx.execute(users.insert(), [{"id": id_, "name": "x", "created": tx.now} for id_ in ids])
        rows = [
            {"site": home.site, "user": id_, "role": "member", "state": "active", "created": tx.now}
            for id_ in ids
        ]
        tx.execute(members.insert(), rows)

    await gates.ras.store.write(fill)
    home.auto_join = False
    invitation = await home.invite()
    phone = gates.phone()
    await phone.ask(invitation)
    assert await status_of(home.answer_join(await home.event("join.request"))) == 40
    assert (await phone.ask(invitation))["state"] == "pending"
    # 500 locks for each of 20 members is all that the grants of a home may be.
    devices = [f"C4{number:010X}" for number in range(500)]
    listed = {"locks": [{"device": device, "capabilities": 1} for device in devices], "more": True}
    await home.request("site.sync", listed)
    people = await gates.rows(select(members.c.user).where(members.c.site == home.site).limit(21))
    for number, person in enumerate(people):
        item = {"user": person.user, "role": "member", "locks": devices if number < 20 else []}
        await home.request("site.sync", {"members": [item], "part": number + 1, "more": True})
    await home.request("site.sync", {"part": len(people) + 1})
    held = select(grants.c.user).where(grants.c.site == home.site)
    assert len(await gates.rows(held)) == 10_000
    one_more = {"user": people[20].user, "role": "member", "locks": devices[:1]}
    assert await status_of(home.request("member.set", one_more)) == 40
    assert await status_of(home.register_lock("C4FFFFFFFFFF")) == 40
    assert len(await gates.rows(held)) == 10_000
