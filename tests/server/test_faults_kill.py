"""The server is killed between any two steps: what was told is so afterwards, and nothing is said that is not recorded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from conftest import eventually
from home import Home
from igrs_ras.clock import SystemClock
from igrs_ras.storage.tables import audit, members, relays
from peer import Denied, ulid
from phone import ENDS, Phone
from process import Server
from sqlalchemy import select
from town import Residence, new_site, rows_of, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conftest import Database
    from home import HomeRelay


@pytest.fixture
async def server(database: Database) -> AsyncIterator[Server]:
    async with Server(database) as running:
        yield running


@pytest.fixture
async def place(server: Server, database: Database) -> AsyncIterator[Residence]:
    with rows_of(database) as rows:
        code = new_site(rows, "Mill Lane 2", SystemClock().now_ms())
    found = await settle(server.url, code)
    yield found
    await found.close()


async def lost(*ends: Home | Phone) -> None:
    """Wait until everybody has noticed that the server is gone."""
    for end in ends:
        if isinstance(end, Home) and not transport_of(end).is_reading():
            transport_of(end).abort()
        await asyncio.wait_for(asyncio.shield(end.peer.closed), 10)


def relay_row(database: Database, key: str) -> Any:
    with rows_of(database) as rows:
        return rows.execute(select(relays).where(relays.c.key == key)).first()


async def test_case_43_a_server_killed_between_any_two_steps_confirms_nothing_false_and_lets_nobody_in(
    server: Server, place: Residence, database: Database
) -> None:
    stories = [relays_under_way(place, database), a_join_under_way(place, database)]
    while stories:
        stories = [story for story in stories if await anext(story, None) is not None]
        server.kill()
        await lost(place.home, place.member)
        await server.start()
        await place.home.connect()
        await place.member.connect()
    assert server.errors() == []
    status, _, said = await server.verb("audit", "verify")
    assert status == 0, said
    assert await server.stop() == 0


async def relays_under_way(place: Residence, database: Database) -> AsyncIterator[str]:
    """Relays, each brought to a step. At each `yield` the server is killed and started again."""
    home, phone, device = place.home, place.member, place.devices[0]
    reached: asyncio.Queue[HomeRelay] = asyncio.Queue()
    home.on_relay = reached.put

    async def the_home_has_the_message(key: str) -> HomeRelay:
        await phone.peer.send("relay.open", phone.opening(home.site, device, b"unlock", key))
        return await asyncio.wait_for(reached.get(), 10)

    async def the_lock_has_the_message(key: str) -> HomeRelay:
        relay = await the_home_has_the_message(key)
        await relay.sent_to_lock()
        await phone.until(lambda: "sent_to_lock" in phone.states(key))
        return relay

    async def an_answer_has_come(key: str) -> HomeRelay:
        relay = await the_lock_has_the_message(key)
        await relay.send(b"done")
        await phone.until(lambda: phone.answers(key))
        return relay

    async def the_end_is_on_its_way(key: str) -> HomeRelay:
        relay = await an_answer_has_come(key)
        await phone.peer.send("relay.end", {"site": home.site, "lock": device, "key": key})
        while await asyncio.wait_for(relay.receive(), 10) is not None:
            pass  # the home hears of the end before the client does
        return relay

    async def the_end_was_told(key: str) -> HomeRelay:
        relay = await the_end_is_on_its_way(key)
        await phone.until(lambda: "answered" in phone.states(key))
        return relay

    async def it_is_recorded_but_did_not_arrive(key: str) -> None:
        transport_of(home).pause_reading()
        await phone.peer.send("relay.open", phone.opening(home.site, device, b"unlock", key))
        await eventually(lambda: relay_row(database, key) is not None)

    for bring in (
        the_home_has_the_message,
        the_lock_has_the_message,
        an_answer_has_come,
        the_end_is_on_its_way,
        the_end_was_told,
        it_is_recorded_but_did_not_arrive,
    ):
        key, step = ulid(phone.now()), bring.__name__
        await bring(key)
        yield step
        told = [state for state in phone.states(key) if state in ENDS]
        kept = relay_row(database, key)
        assert kept is not None, step  # the home got the message, so its record was there before
        assert kept.state in ("answered", "unknown"), step
        assert told in ([], ["answered"]), step
        if told:
            assert kept.state == "answered", step
        # The same message under the same key is not sent again: the client learns how it ended.
        await phone.peer.send("relay.open", phone.opening(home.site, device, b"unlock", key))
        await told_more(phone, key, len(phone.states(key)))
        assert phone.states(key)[-1] == kept.state, step
        assert reached.empty(), step
        with rows_of(database) as rows:
            entries = rows.execute(select(audit.c.entry).where(audit.c.site == home.site)).scalars()
            found = [entry for entry in entries if key in entry]
        assert [entry.count("relay.accepted") for entry in found] == [1, 0], step
        assert [entry.count("relay.ended") for entry in found] == [0, 1], step


async def told_more(phone: Phone, key: str, before: int) -> None:
    await phone.until(lambda: len(phone.states(key)) > before)


async def a_join_under_way(place: Residence, database: Database) -> AsyncIterator[str]:
    """A join, step by step. At each `yield` the server is killed and started again."""
    home = place.home
    home.auto_join = False

    def active() -> set[str]:
        with rows_of(database) as rows:
            return set(
                rows.execute(
                    select(members.c.user).where(
                        members.c.site == home.site, members.c.state == "active"
                    )
                ).scalars()
            )

    before = active()
    assert before == {place.owner.user, place.member.user}
    invitation = await home.invite([place.devices[0]])
    phone = Phone(place.url, name="Nils")
    place.others.append(phone)
    client = phone.join_body(invitation)["client_public"]
    assert (await phone.ask(invitation))["state"] == "pending"
    await home.event("join.request")
    home.events.clear()
    home.seq = 0  # the home stored nothing of it
    yield "the home has the request"
    assert (await phone.ask(invitation))["state"] == "pending"
    again = await home.event("join.request")
    assert again["client_public"] == client
    assert active() == before

    answer = home.judge_join(again)
    await home.request("join.answer", answer)
    yield "the home has answered"
    first = await phone.ask(invitation)
    assert (first["home_public"], first["box"]) == (answer["home_public"], answer["box"])
    assert active() == before

    token = phone.token
    yield "the client has the answer, and does not keep it"
    second = await phone.ask(invitation)
    assert (second["home_public"], second["box"]) == (answer["home_public"], answer["box"])
    assert phone.token != token
    assert await status_of(phone, token) == 11  # the session of before is over
    assert active() == before

    await phone.done()
    await home.event("join.done")
    home.events.clear()
    home.seq -= 1
    yield "the client has said done, and did not hear the answer"
    await phone.done()
    done = await home.event("join.done")
    assert active() == before
    assert not await phone.member()

    item = home.invitations[invitation.id]
    item.user = done["user"]
    await home.admit(item)
    yield "the home has let it in"
    assert await phone.member()
    assert active() == before | {phone.user}


def transport_of(home: Home) -> asyncio.Transport:
    """The home's end of the connection; while its reading is paused, what the server sends does not arrive."""
    transport = home.peer.socket.get_extra_info("transport")
    if transport is None:
        response = home.peer.socket._response
        assert response.connection is not None
        transport = response.connection.transport
    assert isinstance(transport, asyncio.Transport)
    return transport


async def status_of(phone: Phone, token: str) -> int:
    """The status with which a token is answered."""
    try:
        await phone.http.call("GET", "/api/v1/sites", Authorization=f"Bearer {token}")
    except Denied as denied:
        return denied.status
    return 0
