"""Durable events and states on the client's socket: all of them, in order, once, and only to whom they are for."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from conftest import MovedClock, eventually
from gates import shared_ras
from igrs_ras.hub import KEPT, Event, LocalBus
from igrs_ras.status import Status
from igrs_ras.storage import tables
from peer import Closed, Denied, b64
from sqlalchemy import func, select
from street import House, house

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from igrs_ras.ras import Ras
    from phone import Phone

pytestmark = pytest.mark.asyncio(loop_scope="module")

STATE = {"time": 1_700_000_000, "seen": b64(bytes(8)), "rssi": -60}


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
async def place(ras: Ras, clock: MovedClock) -> AsyncIterator[House]:
    async with house(ras, clock, people=2, locks=2) as found:
        yield found


async def push(ras: Ras, user: str, first: int, last: int) -> None:
    """Commit events that carry numbers, in one transaction."""

    def job(tx: Any) -> None:
        for number in range(first, last + 1):
            tx.push(f"user:{user}", "account", {"what": "test", "number": number})

    await ras.store.write(job)


def numbers(phone: Phone) -> list[int]:
    return [event["body"]["number"] for event in phone.events]


async def kept(ras: Ras, user: str) -> int:
    query = select(func.count()).where(tables.events.c.recipient == f"user:{user}")
    return int(await ras.store.read(lambda connection: connection.execute(query).scalar_one()))


async def test_a_client_that_comes_and_goes_gets_every_event_once_and_in_order(
    ras: Ras, place: House
) -> None:
    phone = place.phone
    chance = random.Random(4)
    total = 400

    async def write() -> None:
        number = 1
        while number <= total:
            last = min(total, number + chance.randrange(12))
            await push(ras, phone.user, number, last)
            number = last + 1
            await asyncio.sleep(0)

    writing = asyncio.create_task(write())
    reconnected = 0
    while not writing.done() or phone.seq < total:
        await phone.cut()
        await phone.connect()
        reconnected += 1
        before = phone.seq
        await phone.until(lambda: phone.seq > before or (writing.done() and phone.seq == total))  # noqa: B023
    await writing
    assert numbers(phone) == list(range(1, total + 1))
    assert [event["seq"] for event in phone.events] == list(range(1, total + 1))
    assert reconnected > 1
    event = phone.events[0]
    assert event["to"] == f"user:{phone.user}"
    assert event["expires"] - event["time"] == 7 * 24 * 3600 * 1000


async def test_a_bus_that_loses_doubles_and_swaps_still_brings_every_event_once(
    ras: Ras, place: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(7)
    late: list[Event] = []
    local = LocalBus(ras.hub.deliver)

    class Careless:
        def publish(self, event: Event) -> None:
            what = chance.randrange(4)
            if what == 0:
                late.append(event)
            elif what != 1:
                for _ in range(what):
                    local.publish(event)

    monkeypatch.setattr(ras.hub, "bus", Careless())
    for number in range(1, 201):
        await push(ras, place.phone.user, number, number)
        if len(late) > 5:
            chance.shuffle(late)
            while late:
                local.publish(late.pop())
    monkeypatch.undo()
    # Whatever was lost comes with the next one that is not.
    await push(ras, place.phone.user, 201, 201)
    await place.phone.until(lambda: place.phone.seq == 201)
    assert numbers(place.phone) == list(range(1, 202))


async def test_each_browser_gets_all_events_and_one_does_not_forget_for_the_other(
    ras: Ras, place: House
) -> None:
    phone = place.phone
    other = await place.another_phone(phone)
    await push(ras, phone.user, 1, 3)
    for one in (phone, other):
        await one.until(lambda: one.seq == 3)  # noqa: B023
        await one.peer.send("ack", {"seq": 3})
    later = await place.another_phone(phone)
    await later.until(lambda: later.seq == 3)
    assert numbers(phone) == numbers(other) == numbers(later) == [1, 2, 3]
    # Nobody else gets them, and without a cursor nothing comes.
    assert place.phones[1].events == []
    quiet = await place.another_phone(phone, connect=False)
    await quiet.connect(resume=False)
    await push(ras, phone.user, 4, 4)
    await later.until(lambda: later.seq == 4)
    assert (quiet.hello["seq"], quiet.hello["user"], quiet.events) == (3, phone.user, [])


@pytest.mark.parametrize("cursor", ["ahead", "other generation", "too old"])
async def test_a_cursor_that_fits_nothing_starts_anew(ras: Ras, place: House, cursor: str) -> None:
    phone = place.phone
    await push(ras, phone.user, 1, 5)
    if cursor == "too old":
        await push(ras, phone.user, 6, KEPT + 50)
        await eventually(lambda: _at_most(ras, phone.user, KEPT))
    fresh = await place.another_phone(phone, connect=False)
    await fresh.connect(resume=False)
    generation, last = fresh.hello["generation"], fresh.hello["seq"]
    given = {
        "ahead": {"generation": generation, "seq": last + 1},
        "other generation": {"generation": generation - 1, "seq": 2},
        "too old": {"generation": generation, "seq": 49},
    }[cursor]
    await fresh.peer.send("resume", given)
    await fresh.until(lambda: fresh.of_type("push.reset"))
    assert fresh.of_type("push.reset") == [{"generation": generation, "seq": last}]
    await push(ras, phone.user, last + 1, last + 1)
    await fresh.until(lambda: fresh.seq == last + 1)
    assert numbers(fresh) == [last + 1]
    if cursor == "too old":
        # One that has just the oldest before the kept ones gets all of these.
        older = await place.another_phone(phone, connect=False)
        older.seq = last + 1 - KEPT
        await eventually(lambda: _at_most(ras, phone.user, KEPT))
        await older.connect()
        await older.until(lambda: older.seq == last + 1)
        assert (len(older.events), older.of_type("push.reset")) == (KEPT, [])


async def _at_most(ras: Ras, user: str, number: int) -> bool:
    return await kept(ras, user) <= number


async def test_events_are_forgotten_after_seven_days(
    ras: Ras, place: House, clock: MovedClock
) -> None:
    await push(ras, place.phone.user, 1, 3)
    clock.advance(7 * 24 * 3600 - 60)
    await ras.tick()
    assert await kept(ras, place.phone.user) == 3
    clock.advance(3700)
    await ras.tick()
    assert await kept(ras, place.phone.user) == 0


async def test_who_follows_a_lock_gets_what_is_known_and_then_each_new_state(
    ras: Ras, place: House, clock: MovedClock
) -> None:
    home, phone = place.home, place.phone
    one, two = place.devices
    await phone.follow(place.site, one)
    await home.until(lambda: follows(home)[-1:] == [[one]])
    await home.send_state(one, b"0123456789", 1000, b"seenseen", -70)
    await home.send_state(one, b"9876543210", 1001, b"seenseen", -71)
    await home.send_state(two, b"9876543210", 1001, b"seenseen", -71)  # nobody follows it
    await phone.until(lambda: len(phone.of_type("lock.state")) == 2)
    message = [item for item in phone.messages if item["type"] == "lock.state"][-1]
    assert message["lock"] == one
    assert message["from"] == f"gateway:{place.site}"
    assert message["body"] == {
        "site": place.site, "advertisement": b64(b"9876543210"), "time": 1001, "seen": b64(b"seenseen"), "rssi": -71,
    }  # fmt: skip
    # The next one who follows gets the latest at once, with its own time in it, even when the gateway has gone.
    await home.cut()
    await eventually(lambda: ras.gateways.link_of(place.site) is None)
    late = place.phones[1]
    await late.follow(place.site, one, two)
    await late.until(lambda: late.of_type("lock.state"))
    assert late.of_type("lock.state") == [message["body"]]
    # A gateway that comes back is told what is followed.
    clock.advance(1)
    home.messages.clear()
    await home.connect()
    await home.until(lambda: follows(home)[-1:] == [sorted([one, two])])
    # Who leaves follows no more.
    clock.advance(1)
    await late.cut()
    await home.until(lambda: follows(home)[-1:] == [[one]])


def follows(home: Any) -> list[list[str]]:
    return [item["body"]["locks"] for item in home.messages if item["type"] == "lock.follow"]


async def test_gateways_hear_of_changes_to_what_is_followed_at_most_once_a_second(
    ras: Ras, place: House, clock: MovedClock
) -> None:
    home, phone = place.home, place.phone
    before = len(follows(home))
    for number in range(20):
        await phone.follow(place.site, place.devices[number % 2])
    await home.peer.request("ping")
    assert len(follows(home)) - before <= 2
    clock.advance(1)
    await home.until(lambda: follows(home)[-1:] == [[place.devices[1]]])


async def test_states_are_only_for_those_with_the_right_and_end_with_it(
    ras: Ras, place: House, clock: MovedClock
) -> None:
    home, device = place.home, place.device
    async with house(ras, clock) as elsewhere:
        stranger = elsewhere.phone
        asked = {
            "locks": [
                {"site": place.site, "lock": device},
                {"site": elsewhere.site, "lock": elsewhere.device},
            ]
        }
        answer = await stranger.peer.request("follow", asked)
        assert answer["locks"] == [{"site": elsewhere.site, "lock": elsewhere.device}]
        await place.phone.follow(place.site, device)
        await place.phones[1].follow(place.site, device)
        # A gateway speaks for its own site only, whatever it writes.
        forged = {"advertisement": b64(bytes(10)), **STATE, "site": place.site}
        await elsewhere.home.peer.send("lock.state", forged, device)
        await home.set_member(place.phone.user, "owner", [place.devices[1]])
        assert ras.hub.users_of(place.site) == {place.phones[1].user}
        await home.send_state(device, b"0123456789", 1000, b"seenseen")
        await place.phones[1].until(lambda: place.phones[1].of_type("lock.state"))
        (state,) = place.phones[1].of_type("lock.state")
        assert state["time"] == 1000
        assert stranger.of_type("lock.state") == place.phone.of_type("lock.state") == []
        # What a gateway sends has its form.
        for changed in (
            {"advertisement": b64(bytes(9))},
            {"seen": "?"},
            {"rssi": 900},
            {"time": -1},
            {"more": 1},
        ):
            with pytest.raises(Denied) as denied:
                await home.peer.request("lock.state", forged | changed, device)
            assert denied.value.status == Status.MALFORMED
        with pytest.raises(Denied):
            await home.peer.request("lock.state", forged)


async def test_case_25_a_right_that_ends_while_it_is_looked_up_is_not_followed(
    ras: Ras, place: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, phone = ras.store.read, place.phone
    once: list[Any] = []

    async def slowly(job: Any) -> Any:
        result = await read(job)
        if result == {(place.site, place.device)} and not once:
            once.append(result)
            await place.home.set_member(phone.user, "owner", [place.devices[1]])
        return result

    monkeypatch.setattr(ras.store, "read", slowly)
    asked = {"locks": [{"site": place.site, "lock": place.device}]}
    assert (await phone.peer.request("follow", asked))["locks"] == []
    assert once
    assert ras.hub.users_of(place.site) == set()


async def test_a_new_event_of_a_lock_is_told_to_its_members_without_what_it_was(
    ras: Ras, place: House, clock: MovedClock
) -> None:
    home, (one, two) = place.home, place.phones
    await home.set_member(two.user, "member", [place.devices[1]])
    async with house(ras, clock) as elsewhere:
        for number in range(1, 4):
            await home.send_event(place.device, number)
            await elsewhere.home.send_event(place.device, 90 + number)
        await home.send_event(place.devices[1], 7)
        await two.until(lambda: two.of_type("lock.event"))
        await one.until(lambda: {body["counter"] for body in one.of_type("lock.event")} >= {3, 7})
        assert two.of_type("lock.event") == [{"site": place.site, "counter": 7}]
        assert {body["counter"] for body in one.of_type("lock.event")} <= {1, 2, 3, 7}
        assert elsewhere.phone.of_type("lock.event") == []


async def test_case_25_an_event_is_not_told_to_whom_lost_the_right_while_it_was_looked_up(
    ras: Ras, place: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, (one, two) = place.home, place.phones
    read, once = ras.store.read, list[Any]()

    async def slowly(job: Any) -> Any:
        result = await read(job)
        if isinstance(result, list) and two.user in result and not once:
            once.append(result)
            await home.set_member(two.user, "member", [])
        return result

    monkeypatch.setattr(ras.store, "read", slowly)
    await home.send_event(place.device, 5)
    await one.until(lambda: one.of_type("lock.event"))
    await two.peer.request("ping")
    assert once
    assert two.of_type("lock.event") == []


async def test_a_client_that_says_nonsense_is_told_so_and_stays(place: House) -> None:
    phone = place.phone
    for kind, body in (
        ("nonsense", {}),
        ("follow", {"locks": [{"site": "x", "lock": place.device}]}),
        ("follow", {"locks": [{"site": place.site, "lock": place.device}] * 101}),
        ("resume", {"generation": -1, "seq": 0}),
        ("relay.open", {"site": place.site}),
        ("relay.open", phone.opening(place.site, place.device, b"x") | {"ttl_ms": 15_001}),
        ("relay.open", phone.opening(place.site, place.device, b"x") | {"n": 1}),
        ("relay.open", phone.opening(place.site, place.device, b"x") | {"hash": b64(bytes(32))}),
        ("relay.open", phone.opening(place.site, place.device, b"x" * 513)),
        ("relay.open", phone.opening(place.site, place.device, b"x") | {"user": phone.user}),
        ("lock.state", {"advertisement": b64(bytes(10)), **STATE}),
        ("auth", {"token": phone.token}),
    ):
        with pytest.raises(Denied) as denied:
            await phone.peer.request(kind, body)
        assert denied.value.status == Status.MALFORMED
    assert (await phone.peer.request("ping"))["time"] > 0
    with pytest.raises(Denied):
        await phone.peer.request(
            "relay.end", {"site": place.site, "lock": place.device, "key": "0" * 26}
        )
    assert (await phone.relay(place.site, place.device, b"works"))[0] == "answered"


async def test_case_26_sockets_close_with_the_session_the_member_and_the_user(
    ras: Ras, place: House, clock: MovedClock
) -> None:
    one, two = place.phones
    other = await place.another_phone(one)
    await two.call("DELETE", "/api/v1/sessions")
    assert await closed(two) == 4401
    assert not one.peer.closed.done()
    with pytest.raises(Closed) as found:
        await two.connect()
    assert found.value.code == 4401
    await place.home.end_member(one.user)
    assert [await closed(phone) for phone in (one, other)] == [4403, 4403]
    assert ras.hub.clients == 0


async def test_case_26_a_socket_does_not_outlive_its_session(
    ras: Ras, place: House, clock: MovedClock
) -> None:
    other = await place.another_phone(place.phone)
    await ras.store.write(
        lambda tx: tx.execute(
            tables.sessions.update()
            .where(tables.sessions.c.user == place.phone.user)
            .values(expires=tx.now + 20_000)
        )
    )
    await place.wait(clock, 14)
    await other.peer.request("ping")
    assert (await place.phone.peer.request("ping"))["re"]
    clock.advance(14)
    await eventually(lambda: ras.hub.clients == 1)
    assert await closed(place.phone) == await closed(other) == 4401
    assert not place.phones[1].peer.closed.done()


async def closed(phone: Phone) -> int | None:
    return await asyncio.wait_for(asyncio.shield(phone.peer.closed), 10)
