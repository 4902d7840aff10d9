"""Relays between a client and a lock's gateway, over real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from conftest import MovedClock, eventually
from gates import shared_ras
from home import HomeRelay
from igrs_ras.relay_rows import accept, finish
from igrs_ras.status import Refused, Status
from igrs_ras.storage import tables
from peer import Denied, b64, ulid
from phone import ENDS, Phone
from sqlalchemy import select, update
from street import House, house

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from igrs_ras.ras import Ras


pytestmark = pytest.mark.asyncio(loop_scope="module")


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


def held(place: House) -> asyncio.Queue[HomeRelay]:
    """Relays as they reach the home, which does nothing by itself any more."""
    reached: asyncio.Queue[HomeRelay] = asyncio.Queue()

    async def take(relay: HomeRelay) -> None:
        await reached.put(relay)

    place.home.on_relay = take
    return reached


async def opened(
    place: House, phone: Phone, reached: asyncio.Queue[HomeRelay], data: bytes = b"open"
) -> tuple[str, HomeRelay]:
    """Open a relay and let it reach the home; return its key and the home's end of it."""
    body = phone.opening(place.site, place.device, data)
    await phone.peer.send("relay.open", body)
    relay = await asyncio.wait_for(reached.get(), 10)
    return body["key"], relay


async def ended(phone: Phone, key: str) -> tuple[str, int]:
    """Wait for a relay's end; return its state and code."""

    def end() -> Any:
        return [
            one
            for one in phone.of_type("relay.state")
            if one["key"] == key and one["state"] in ENDS
        ]

    found = await phone.until(end)
    return found[-1]["state"], found[-1]["code"]


async def refused(phone: Phone, kind: str, body: dict[str, Any]) -> int:
    """Send what is refused; return the status."""
    with pytest.raises(Denied) as denied:
        await phone.peer.request(kind, body)
    status: int = denied.value.status
    return status


async def trail(ras: Ras, site: str, key: str) -> list[tuple[Any, ...]]:
    """What the audit has of a relay."""
    texts = await ras.store.read(
        lambda c: (
            c.execute(select(tables.audit.c.entry).where(tables.audit.c.site == site))
            .scalars()
            .all()
        )
    )
    entries = [entry for entry in map(json.loads, texts) if entry.get("key") == key]
    return [(entry["what"], entry.get("outcome"), entry.get("code")) for entry in entries]


async def row(ras: Ras, key: str) -> Any:
    return await ras.store.read(
        lambda c: c.execute(select(tables.relays).where(tables.relays.c.key == key)).first()
    )


async def test_messages_go_to_the_lock_and_back_and_the_end_is_recorded_before_it_is_told(
    ras: Ras, place: House, clock: MovedClock
) -> None:
    phone, reached = place.phone, held(place)
    key, relay = await opened(place, phone, reached, b"first")
    assert relay.user == phone.user
    assert relay.device == place.device
    assert 0 < relay.expires - clock.now_ms() <= 10_000
    await relay.sent_to_lock()
    await relay.send(b"hello back")
    await phone.until(lambda: phone.answers(key))
    assert phone.states(key) == ["accepted", "sent_to_gateway", "sent_to_lock"]
    await phone.send_relay(place.site, place.device, key, 1, b"second")
    assert [await relay.receive() for _ in range(2)] == [b"first", b"second"]
    await relay.sent_to_lock(1)
    await relay.send(b"done")
    await phone.until(lambda: len(phone.answers(key)) == 2)
    assert phone.answers(key) == [b"hello back", b"done"]
    assert (await row(ras, key)).state == "accepted"
    await phone.peer.send("relay.end", {"site": place.site, "lock": place.device, "key": key})
    assert await ended(phone, key) == ("answered", 0)
    assert phone.states(key)[3:] == ["sent_to_gateway", "sent_to_lock", "answered"]
    assert (await row(ras, key)).state == "answered"
    assert await trail(ras, place.site, key) == [
        ("relay.accepted", None, None),
        ("relay.ended", "answered", 0),
    ]
    assert await relay.receive() is None
    assert relay.why == Status.DONE


async def test_case_09_an_opening_sent_again_is_sent_on_once_and_tells_where_it_stands(
    ras: Ras, place: House
) -> None:
    phone, reached = place.phone, held(place)
    other = await place.another_phone(phone)
    body = phone.opening(place.site, place.device, b"open")
    key = body["key"]
    await asyncio.gather(
        *(phone.peer.send("relay.open", body) for _ in range(3)),
        other.peer.send("relay.open", body),
    )
    relay = await asyncio.wait_for(reached.get(), 10)
    await phone.peer.send("relay.open", body)
    await phone.until(lambda: len(phone.states(key)) >= 5)
    await other.until(lambda: other.states(key))
    # The second browser is told where it stands, but it is not its relay.
    assert await refused(other, "relay.data", part(body, 1, b"x")) == Status.NOT_FOUND
    assert (
        await refused(other, "relay.end", {key: body[key] for key in ("site", "lock", "key")})
        == Status.NOT_FOUND
    )
    await relay.send(b"yes")
    await relay.end()
    await phone.until(lambda: "answered" in phone.states(key))
    # After its end, and with the gateway gone too.
    for _ in range(2):
        before = len(other.states(key))
        await other.peer.send("relay.open", body)
        await other.until(lambda: len(other.states(key)) > before)  # noqa: B023
        assert other.states(key)[-1] == "answered"
        if place.home.connected:
            await place.home.cut()
            await eventually(lambda: ras.gateways.link_of(place.site) is None)
    assert len(place.home.relays) == 1
    assert other.answers(key) == []
    assert len(await trail(ras, place.site, key)) == 2


async def test_case_35_a_key_used_for_another_message_is_refused_and_another_persons_key_is_another(
    ras: Ras, place: House
) -> None:
    phone, stranger, reached = place.phone, place.phones[1], held(place)
    key, relay = await opened(place, phone, reached, b"open")
    other = phone.opening(place.site, place.device, b"other", key)
    assert await refused(phone, "relay.open", other) == Status.EXISTS
    await relay.send(b"yes")
    await relay.end()
    assert await ended(phone, key) == ("answered", 0)
    assert await refused(phone, "relay.open", other) == Status.EXISTS
    # Another user's relay of the same key says nothing of the first one and disturbs it in nothing.
    await stranger.peer.send("relay.open", stranger.opening(place.site, place.device, b"mine", key))
    second = await asyncio.wait_for(reached.get(), 10)
    assert second.user == stranger.user
    await second.end("failed", Status.LOCK_BUSY)
    assert await ended(stranger, key) == ("failed", Status.LOCK_BUSY)
    assert (len(phone.states(key)), len(place.home.relays)) == (3, 2)


def part(
    opening: dict[str, Any], n: int, data: bytes, digest: bytes | None = None
) -> dict[str, Any]:
    digest = hashlib.sha256(data).digest() if digest is None else digest
    return {
        **{key: opening[key] for key in ("site", "lock", "key")},
        "n": n, "data": b64(data), "hash": b64(digest),
    }  # fmt: skip


async def test_case_10_what_is_older_than_its_time_is_never_sent(
    ras: Ras, place: House, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone, site, device = place.phone, place.site, place.device
    now = clock.now_ms()
    assert (
        await refused(phone, "relay.open", phone.opening(site, device, b"a", ulid(now - 301_000)))
        == Status.EXPIRED
    )
    assert (
        await refused(phone, "relay.open", phone.opening(site, device, b"a", ulid(now + 70_000)))
        == Status.MALFORMED
    )
    assert (await phone.relay(site, device, b"b"))[0] == "answered"
    # The database takes longer than the message may live.
    write = ras.store.bulk

    async def slowly(job: Any, item: Any) -> Any:
        result = await write(job, item)
        clock.advance(2)
        return result

    monkeypatch.setattr(ras.store, "bulk", slowly)
    body = phone.opening(site, device, b"late", ttl_ms=1999)
    await phone.peer.send("relay.open", body)
    assert await ended(phone, body["key"]) == ("expired", Status.EXPIRED)
    assert phone.states(body["key"]) == ["accepted", "expired"]
    assert [relay.received for relay in place.home.relays.values()] == [[b"b"]]
    # A clock that was set back makes the same key too early, never late.
    monkeypatch.undo()
    clock.wall(-3600)
    try:
        early = phone.opening(site, device, b"c", ulid(now))
        assert await refused(phone, "relay.open", early) == Status.MALFORMED
    finally:
        clock.wall(3600)


async def test_case_14_an_answer_from_elsewhere_or_after_the_end_is_nobodys(
    ras: Ras, place: House, clock: MovedClock
) -> None:
    phone, reached = place.phone, held(place)
    key, relay = await opened(place, phone, reached)
    async with house(ras, clock) as foreign:
        thief = HomeRelay(foreign.home, relay.id, "", "", 0)
        await thief.sent_to_lock(0)
        await thief.send(b"forged")
        await thief.end("failed", Status.REFUSED_BY_LOCK)
        await foreign.home.peer.request(
            "site.digest", {"digest": b64(bytes(32))}
        )  # all of it was handled
    assert phone.states(key) == ["accepted", "sent_to_gateway"]
    # Of two relays each answer goes to its own.
    second, other = await opened(place, phone, reached, b"two")
    await other.send(b"for two")
    await phone.until(lambda: phone.answers(second))
    assert phone.answers(key) == []
    await relay.end("failed", Status.OUT_OF_REACH)
    assert await ended(phone, key) == ("failed", Status.OUT_OF_REACH)
    await relay.send(b"late")
    await relay.end("answered")
    await other.end("answered")
    assert await ended(phone, second) == ("answered", 0)
    assert phone.answers(key) == []
    assert len(await trail(ras, place.site, key)) == 2


@pytest.mark.parametrize(
    ("n", "data", "digest"),
    [
        (2, b"gap", None),
        (0, b"another first", None),
        (1, b"changed", bytes(32)),
        (1, b"x" * 513, None),
    ],
)
async def test_case_47_a_gap_or_a_changed_message_ends_the_relay_for_both_sides(
    ras: Ras, place: House, n: int, data: bytes, digest: bytes | None
) -> None:
    phone, reached = place.phone, held(place)
    opening = phone.opening(place.site, place.device, b"open")
    await phone.peer.send("relay.open", opening)
    relay = await asyncio.wait_for(reached.get(), 10)
    await phone.peer.send("relay.data", part(opening, 0, b"open"))  # a repeat, dropped
    await phone.peer.send("relay.data", part(opening, n, data, digest))
    assert await ended(phone, opening["key"]) == ("unknown", Status.MALFORMED)
    assert [await relay.receive(), await relay.receive()] == [b"open", None]
    assert relay.why == Status.MALFORMED
    # The same from the gateway's side.
    second, other = await opened(place, phone, reached)
    await other.send(b"zero")
    body = {
        "relay": other.id,
        "n": n,
        "data": b64(data),
        "hash": part(opening, n, data, digest)["hash"],
    }
    await place.home.peer.send("relay.data", body)
    assert await ended(phone, second) == ("unknown", Status.MALFORMED)
    await phone.until(lambda: phone.answers(second) == [b"zero"])


async def test_a_relay_without_messages_ends_after_15_seconds_and_any_after_60(
    ras: Ras, place: House, clock: MovedClock
) -> None:
    phone, reached = place.phone, held(place)
    key, relay = await opened(place, phone, reached)
    await place.wait(clock, 14)
    await relay.sent_to_lock()
    await phone.until(lambda: "sent_to_lock" in phone.states(key))
    await place.wait(clock, 14)
    await relay.send(b"still here")
    await phone.until(lambda: phone.answers(key))
    await ras.tick()
    assert ras.relay.live == 1
    await place.wait(clock, 15)
    assert await ended(phone, key) == ("unknown", Status.UNKNOWN)
    second, other = await opened(place, phone, reached)
    for n in range(6):
        await place.wait(clock, 10)
        await other.send(b"%d" % n)
    assert await ended(phone, second) == ("unknown", Status.UNKNOWN)
    await eventually(lambda: other.why == Status.UNKNOWN)


async def test_case_25_relays_under_way_end_with_the_right_to_them(ras: Ras, place: House) -> None:
    home, phone, other, reached = place.home, place.phone, place.phones[1], held(place)
    key, relay = await opened(place, phone, reached)
    await home.set_member(phone.user, "owner", [place.devices[1]])
    await eventually(lambda: relay.why is not None)
    assert relay.why == Status.NOT_PERMITTED
    await eventually(lambda: ras.relay.live == 0)
    assert (await row(ras, key)).state == "unknown"
    await relay.send(b"too late")
    # It does not come back, on a new socket either.
    await phone.connect()
    again = phone.opening(place.site, place.device, b"again")
    assert await refused(phone, "relay.open", again) == Status.NOT_FOUND
    # The lock is removed.
    key, relay = await opened(place, other, reached)
    await home.remove_lock(place.device)
    assert await ended(other, key) == ("unknown", Status.NOT_PERMITTED)
    # The member is.
    place.devices.reverse()
    await other.connect()
    key, relay = await opened(place, other, reached)
    await home.end_member(other.user)
    await eventually(lambda: relay.why is not None)
    await eventually(lambda: ras.relay.live == 0)
    assert (await row(ras, key)).state == "unknown"


async def test_case_25_relays_under_way_end_with_the_session_and_with_the_gateways_credential(
    ras: Ras, place: House
) -> None:
    phone, other, reached = place.phone, place.phones[1], held(place)
    key, relay = await opened(place, phone, reached)
    second, kept = await opened(place, other, reached)
    await phone.call("DELETE", "/api/v1/sessions")
    await eventually(lambda: relay.why is not None)
    assert await asyncio.wait_for(asyncio.shield(phone.peer.closed), 10) == 4401
    assert kept.why is None
    await ras.gateways.revoke(place.home.gateway)
    assert await ended(other, second) == ("unknown", Status.GATEWAY_OFFLINE)
    assert {(await row(ras, one)).state for one in (key, second)} == {"unknown"}
    opening = other.opening(place.site, place.device, b"again")
    assert await refused(other, "relay.open", opening) == Status.GATEWAY_OFFLINE


async def test_a_client_that_vanishes_ends_its_relays_and_nothing_of_them_reaches_its_next_socket(
    ras: Ras, place: House
) -> None:
    phone, reached = place.phone, held(place)
    key, relay = await opened(place, phone, reached)
    await phone.cut()
    await eventually(lambda: relay.why is not None)
    await eventually(lambda: ras.relay.live == 0)
    await phone.connect()
    await relay.send(b"late")
    await phone.peer.send("relay.open", phone.opening(place.site, place.device, b"open", key))
    await phone.until(lambda: "unknown" in phone.states(key))
    assert phone.answers(key) == []
    assert await trail(ras, place.site, key) == [
        ("relay.accepted", None, None),
        ("relay.ended", "unknown", Status.UNKNOWN),
    ]


@pytest.mark.parametrize("what", ["the client leaves", "the right ends", "the gateway leaves"])
async def test_case_25_what_ends_while_a_relay_is_being_recorded_is_not_sent(
    ras: Ras, place: House, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    phone, write = place.phone, ras.store.bulk
    written, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(job: Any, item: Any) -> Any:
        result = await write(job, item)
        if job is accept:
            written.set()
            await go_on.wait()
        return result

    monkeypatch.setattr(ras.store, "bulk", slowly)
    opening = phone.opening(place.site, place.device, b"open")
    await phone.peer.send("relay.open", opening)
    await written.wait()
    if what == "the client leaves":
        (client,) = ras.hub.clients_of(phone.user)
        await phone.cut()
        # Its handler waits for the record, so the sweep is what notices.
        client.socket.close(4408)
        await ras.tick()
    elif what == "the right ends":
        await place.home.set_member(phone.user, "owner", [place.devices[1]])
    else:
        await place.home.cut()
        await eventually(lambda: ras.gateways.link_of(place.site) is None)
        await place.home.connect()
    go_on.set()
    await eventually(lambda: ras.relay.live == 0)
    assert (await row(ras, opening["key"])).state == "expired"
    assert len(await trail(ras, place.site, opening["key"])) == 2
    assert place.home.relays == {}


async def test_an_end_that_the_database_does_not_take_is_told_as_unknown_until_it_is_recorded(
    ras: Ras, place: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone, reached, write = place.phone, held(place), ras.store.bulk
    failed = 0

    async def away(job: Any, item: Any) -> Any:
        nonlocal failed
        if job is finish:
            failed += 1
            raise Refused(Status.NOT_READY)
        return await write(job, item)

    key, relay = await opened(place, phone, reached)
    monkeypatch.setattr(ras.store, "bulk", away)
    await relay.send(b"yes")
    await relay.end()
    assert await ended(phone, key) == ("unknown", Status.UNKNOWN)
    again = phone.opening(place.site, place.device, b"open", key)
    await phone.peer.send("relay.open", again)
    await phone.until(lambda: phone.states(key).count("unknown") == 2)
    monkeypatch.undo()
    await eventually(lambda: ras.relay.live == 0)
    assert failed > 0
    assert phone.states(key)[-1] == "unknown"
    await phone.peer.send("relay.open", again)
    await phone.until(lambda: phone.states(key)[-1] == "answered")
    assert await trail(ras, place.site, key) == [
        ("relay.accepted", None, None),
        ("relay.ended", "answered", 0),
    ]


async def test_a_record_that_the_database_may_have_taken_is_closed_and_nothing_is_sent(
    ras: Ras, place: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone, write = place.phone, ras.store.bulk

    async def silent(job: Any, item: Any) -> Any:
        result = await write(job, item)
        if job is accept:
            raise Refused(Status.NOT_READY)  # it was written, but nobody heard
        return result

    monkeypatch.setattr(ras.store, "bulk", silent)
    opening = phone.opening(place.site, place.device, b"open")
    assert await refused(phone, "relay.open", opening) == Status.NOT_READY
    await eventually(lambda: ras.relay.live == 0)
    monkeypatch.undo()
    await phone.peer.send("relay.open", opening)
    assert await ended(phone, opening["key"]) == ("expired", Status.NOT_READY)
    assert place.home.relays == {}
    assert len(await trail(ras, place.site, opening["key"])) == 2


async def test_who_has_no_right_learns_nothing_of_the_gateway_and_uses_up_nothing(
    ras: Ras, place: House, clock: MovedClock
) -> None:
    phone = place.phone
    async with house(ras, clock) as elsewhere:
        stranger = elsewhere.phone
        for target in (place.device, "0" * 12):
            opening = stranger.opening(place.site, target, b"open")
            assert await refused(stranger, "relay.open", opening) == Status.NOT_FOUND
            prewarm = {"site": place.site, "lock": target}
            assert await refused(stranger, "lock.prewarm", prewarm) == Status.NOT_FOUND
        await place.home.cut()
        await eventually(lambda: ras.gateways.link_of(place.site) is None)
        opening = stranger.opening(place.site, place.device, b"open")
        assert await refused(stranger, "relay.open", opening) == Status.NOT_FOUND
        opening = phone.opening(place.site, place.device, b"open")
        assert await refused(phone, "relay.open", opening) == Status.GATEWAY_OFFLINE
        assert (
            await refused(phone, "lock.prewarm", {"site": place.site, "lock": place.device})
            == Status.GATEWAY_OFFLINE
        )
        assert place.home.relays == {}


async def test_after_a_restore_nobody_relays_before_the_home_has_spoken(
    ras: Ras, place: House
) -> None:
    await ras.store.write(
        lambda tx: tx.execute(
            update(tables.sites).where(tables.sites.c.id == place.site).values(suspended=True)
        )
    )
    opening = place.phone.opening(place.site, place.device, b"open")
    assert await refused(place.phone, "relay.open", opening) == Status.NOT_FOUND
    assert place.home.relays == {}


async def test_the_gateways_word_for_the_end_is_believed_as_far_as_it_can_be_so(
    ras: Ras, place: House
) -> None:
    phone, reached = place.phone, held(place)

    async def end(
        outcome: str, code: int, *, radio: bool = False, answer: bool = False
    ) -> tuple[str, int]:
        key, relay = await opened(place, phone, reached)
        if radio:
            await relay.sent_to_lock()
        if answer:
            await relay.send(b"an answer")
        await relay.end(outcome, code)
        return await ended(phone, key)

    assert await end("answered", 0, radio=True, answer=True) == ("answered", 0)
    assert await end("answered", 0, radio=True) == ("unknown", Status.UNKNOWN)
    assert await end("expired", 0) == ("expired", Status.EXPIRED)
    assert await end("expired", 0, radio=True) == ("unknown", Status.UNKNOWN)
    assert await end("failed", Status.OUT_OF_REACH) == ("failed", Status.OUT_OF_REACH)
    assert await end("failed", Status.REFUSED_BY_LOCK, answer=True) == (
        "failed",
        Status.REFUSED_BY_LOCK,
    )
    assert await end("failed", 99) == ("failed", Status.FAILED)
    assert await end("unknown", 0, answer=True) == ("unknown", Status.UNKNOWN)
    # A client that ends before anything came back does not know either.
    key, _ = await opened(place, phone, reached)
    await phone.peer.send("relay.end", {"site": place.site, "lock": place.device, "key": key})
    assert await ended(phone, key) == ("unknown", Status.UNKNOWN)


async def test_relays_are_limited_for_each_person_and_each_home(
    ras: Ras, clock: MovedClock
) -> None:
    async with house(ras, clock, people=4) as place, house(ras, clock) as elsewhere:
        one = place.phone
        for _ in range(20):
            assert (await one.relay(place.site, place.device, b"x"))[0] == "answered"
        with pytest.raises(Denied) as denied:
            await one.relay(place.site, place.device, b"x")
        assert denied.value.status == Status.SLOW_DOWN
        # A stranger's attempts are not counted against the home.
        for _ in range(15):
            with pytest.raises(Denied):
                await elsewhere.phone.relay(place.site, place.device, b"x")
        for other in place.phones[1:3]:
            clock.advance(2)  # else the home's own messages come too fast
            for _ in range(20):
                assert (await other.relay(place.site, place.device, b"x"))[0] == "answered"
        with pytest.raises(Denied) as denied:
            await place.phones[3].relay(place.site, place.device, b"x")
        assert denied.value.status == Status.SLOW_DOWN
        assert (await elsewhere.phone.relay(elsewhere.site, elsewhere.device, b"x"))[
            0
        ] == "answered"
        await place.wait(clock, 61)
        assert (await one.relay(place.site, place.device, b"x"))[0] == "answered"


async def test_one_person_has_eight_relays_at_once(ras: Ras, place: House) -> None:
    phone, reached = place.phone, held(place)
    found = [await opened(place, phone, reached) for _ in range(8)]
    opening = phone.opening(place.site, place.device, b"ninth")
    assert await refused(phone, "relay.open", opening) == Status.SLOW_DOWN
    await found[0][1].end("failed", Status.LOCK_BUSY)
    await ended(phone, found[0][0])
    await opened(place, phone, reached)


async def test_prewarming_is_passed_on_seldom_and_only_where_no_one_else_does(
    ras: Ras, place: House, clock: MovedClock
) -> None:
    phone, other = place.phone, place.phones[1]
    lock = {"site": place.site, "lock": place.device}

    def warmed() -> int:
        return len([one for one in place.home.messages if one["type"] == "lock.prewarm"])

    await phone.peer.request("lock.prewarm", lock)
    await place.home.until(lambda: warmed() == 1)
    (found,) = [one for one in place.home.messages if one["type"] == "lock.prewarm"]
    assert found["body"] == {"lock": place.device, "user": phone.user}
    assert await refused(other, "lock.prewarm", lock) == Status.LOCK_BUSY
    await other.peer.request("lock.prewarm", lock | {"lock": place.devices[1]})
    for _ in range(5):
        await place.wait(clock, 10)
        await phone.peer.request("lock.prewarm", lock)
    await place.wait(clock, 10)
    assert await refused(phone, "lock.prewarm", lock) == Status.SLOW_DOWN
    assert (await phone.relay(place.site, place.device, b"x"))[0] == "answered"
    await phone.peer.request("lock.prewarm", lock)
    await place.home.until(lambda: warmed() == 8)


async def test_relays_are_forgotten_after_a_day(ras: Ras, place: House, clock: MovedClock) -> None:
    phone = place.phone
    body = phone.opening(place.site, place.device, b"x")
    await phone.peer.send("relay.open", body)
    await phone.until(lambda: phone.answers(body["key"]))
    await phone.peer.send("relay.end", {key: body[key] for key in ("site", "lock", "key")})
    await ended(phone, body["key"])
    clock.advance(23 * 3600)
    await ras.tick()
    assert await row(ras, body["key"]) is not None
    clock.advance(3700)
    await ras.tick()
    assert await row(ras, body["key"]) is None


async def test_case_39_a_noisy_gateway_is_cut_off_and_slows_nobody(
    ras: Ras, place: House, clock: MovedClock
) -> None:
    async with house(ras, clock) as noisy:

        async def shout() -> None:
            state = {"advertisement": b64(bytes(10)), "time": 1, "seen": b64(bytes(8)), "rssi": -60}
            while noisy.home.connected:
                await noisy.home.peer.send("lock.state", state, noisy.device)

        shouting = asyncio.create_task(shout())
        for _ in range(3):
            assert (await place.phone.relay(place.site, place.device, b"x"))[0] == "answered"
        assert await asyncio.wait_for(asyncio.shield(noisy.home.peer.closed), 10) == 4429
        shouting.cancel()
        await asyncio.gather(shouting, return_exceptions=True)
