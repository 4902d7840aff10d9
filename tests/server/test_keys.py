"""A member's sealed keys come again when they may be lost: after push.reset, and after the server was put back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from conftest import MovedClock, eventually
from gates import PASSWORD, Gates, shared_ras
from home_state import from_state, to_state
from igrs_ras.restore import restored_server
from igrs_ras.storage.tables import events
from sqlalchemy import select

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from home import Home
    from igrs_ras.ras import Ras
    from phone import Phone

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOCK, OTHER_LOCK = "C4112233445F", "C4112233446A"
HOUR = 3600


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


async def lost(phone: Phone) -> None:
    """Come with a cursor that fits nothing, as a browser does that was away for too long."""
    phone.generation, phone.seq = 1, 0
    seen = len(phone.of_type("push.reset"))
    await phone.connect()
    await phone.until(lambda: len(phone.of_type("push.reset")) == seen + 1)
    await phone.peer.close()


def wanted(home: Home) -> list[str]:
    return [event["body"]["user"] for event in home.events if event["type"] == "keys.wanted"]


def keys_of(phone: Phone) -> list[Any]:
    return [
        json.loads(phone.open_update(event["body"]))
        for event in phone.events
        if event["type"] == "keys"
    ]


async def waiting(gates: Gates, home: Home) -> list[str]:
    rows = await gates.rows(
        select(events.c.envelope).where(events.c.recipient == f"gateway:{home.site}")
    )
    read = [json.loads(bytes(row.envelope)) for row in rows]
    return [item["body"]["user"] for item in read if item["type"] == "keys.wanted"]


async def test_who_was_told_to_read_anew_gets_the_sealed_keys_again(
    gates: Gates, clock: MovedClock
) -> None:
    home = await gates.enrolled("Home", LOCK, OTHER_LOCK)
    other = await gates.enrolled("Other", LOCK)
    home.keys = lambda person, device: {"key": f"{person} {device}"}
    phone, somebody = await gates.member(home, LOCK), await gates.member(home)
    await phone.join(await other.invite())
    await lost(phone)
    await home.until(lambda: wanted(home))
    await other.until(lambda: wanted(other))
    phone.site = home.site
    await phone.connect()
    await phone.until(lambda: [e for e in phone.events if e["body"].get("site") == home.site])
    mine = [
        event["body"]
        for event in phone.events
        if event["type"] == "keys" and event["body"]["site"] == home.site
    ]
    assert len(mine) == 1
    assert somebody.user not in wanted(home)
    await phone.peer.close()

    # However often a browser comes: once an hour.
    await lost(phone)
    await lost(phone)
    clock.advance(HOUR - 60)
    await home.connect()
    await lost(phone)
    assert wanted(home) == [phone.user]
    clock.advance(61)
    await home.connect()
    await lost(phone)
    await home.until(lambda: len(wanted(home)) == 2)


async def test_the_keys_that_come_again_are_those_of_the_join_and_open_for_this_person_only(
    gates: Gates,
) -> None:
    home = await gates.enrolled("Home", LOCK, OTHER_LOCK)
    home.keys = lambda person, device: {"key": f"{person} {device}"}
    phone = await gates.member(home, LOCK)
    box = phone.box
    await lost(phone)
    await home.until(lambda: wanted(home))
    await phone.connect()
    await phone.until(lambda: keys_of(phone))
    assert keys_of(phone) == [box]
    assert home.members[phone.user].number == 1
    await eventually(lambda: home.keys_owed == set())


async def test_a_home_that_is_away_is_asked_once(gates: Gates, clock: MovedClock, ras: Ras) -> None:
    home = await gates.enrolled("Home", LOCK)
    phone = await gates.member(home)
    await home.cut()
    await eventually(lambda: ras.gateways.link_of(home.site) is None)
    for _ in range(3):
        await lost(phone)
        clock.advance(HOUR + 1)
    assert await waiting(gates, home) == [phone.user]
    await home.connect()
    await home.until(lambda: wanted(home))

    async def taken() -> bool:
        return await waiting(gates, home) == []

    await eventually(taken)
    await lost(phone)
    await home.until(lambda: len(wanted(home)) == 2)


async def test_who_is_no_member_any_more_asks_for_nothing(gates: Gates) -> None:
    home = await gates.enrolled("Home", LOCK)
    phone = await gates.member(home)
    other = await gates.enrolled("Other", LOCK)
    await phone.join(await other.invite())
    await home.end_member(phone.user)
    await lost(phone)
    await other.until(lambda: wanted(other))
    assert await waiting(gates, home) == []
    assert wanted(home) == []


async def test_after_a_restore_the_home_sends_everybodys_keys_without_being_asked(
    gates: Gates, ras: Ras
) -> None:
    home = await gates.enrolled("Home", LOCK)
    owner = await gates.owner(home)
    phones = [await gates.member(home) for _ in range(2)]
    await home.cut()
    await eventually(lambda: ras.gateways.link_of(home.site) is None)
    await ras.store.write(restored_server)
    await home.connect()
    assert home.restored
    await eventually(lambda: home.keys_owed == set())
    rows = await gates.rows(
        select(events.c.recipient, events.c.envelope).where(
            events.c.recipient.in_([f"user:{one.user}" for one in (owner, *phones)])
        )
    )
    sent = [
        (row.recipient, json.loads(bytes(row.envelope))["body"])
        for row in rows
        if json.loads(bytes(row.envelope))["type"] == "keys"
    ]
    assert sorted(name for name, _ in sent) == sorted(f"user:{one.user}" for one in phones)
    for name, body in sent:
        (phone,) = (one for one in phones if name == f"user:{one.user}")
        assert json.loads(phone.open_update(body)) == phone.box
    assert wanted(home) == []


async def test_a_home_that_was_asked_before_an_older_copy_was_found_out_is_asked_again(
    gates: Gates, ras: Ras
) -> None:
    """Who connects before the home asks in vain: what the copy noted for the home is void."""
    home = await gates.enrolled("Home", LOCK)
    owner, mail = gates.phone("Olga"), "olga@keys.example"
    await owner.claim(await home.owner_code(), mail, PASSWORD)
    await home.until(lambda: owner.user in home.members)
    await lost(owner)
    await home.until(lambda: wanted(home) == [owner.user])
    await ras.store.write(lambda tx: ras.boot.proven(tx, 0))
    await eventually(lambda: not home.connected)
    await home.connect()
    owner.token = ""  # void
    await owner.sign_in(mail, PASSWORD)
    await lost(owner)
    await home.until(lambda: wanted(home) == [owner.user] * 2)


async def test_a_home_that_dies_before_it_has_sent_the_keys_sends_them_at_its_next_start(
    gates: Gates, ras: Ras
) -> None:
    home = await gates.enrolled("Home", LOCK)
    phone = await gates.member(home)
    await home.cut()
    await eventually(lambda: ras.gateways.link_of(home.site) is None)
    await ras.store.write(restored_server)
    states: list[Any] = []
    home.store = lambda: states.append(json.dumps(to_state(home)))
    await home.open_link()
    await home.cut()
    again = from_state(json.loads(states[-1]))
    assert again.keys_owed == {phone.user}
    again.now = gates.clock.now_ms
    await again.connect()
    assert again.restored, "its list has not come yet"
    assert again.keys_owed == set()
    assert again.members[phone.user].number == 1
    await again.close()
