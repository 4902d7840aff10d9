"""Relays of a server that lies, of people who may not, and of people who may and want more."""

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from bsld import advert
from bsld import const as c
from relay_desk import LOCK, REMOTE, STATUS, UNLOCK, Desk, Rac, part
from tenants import Tenants

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.ilp import Result
from custom_components.igrs_lock.remote.wire import Malformed, Status

if TYPE_CHECKING:
    from collections.abc import Generator

    from homeassistant.config_entries import ConfigEntry
    from world import TestLock, World

REFUSED = ("failed", Status.REFUSED_BY_HOME)
MALFORMED = ("failed", Status.MALFORMED)


@pytest.fixture
async def tenants(world: World, lock: TestLock, entry: ConfigEntry[Any]) -> Tenants:
    """Anna and Ben have access from afar, Carl only at the door."""
    await world.advance(10)
    tenants = Tenants(world, lock, entry)
    for name in ("Anna", "Ben"):
        tenants.add(name, rights=REMOTE)
    tenants.add("Carl")
    await world.advance(15)
    assert not lock.connections
    lock.traffic.clear()
    world.connections = 0
    return tenants


@pytest.fixture
def desk(world: World, tenants: Tenants) -> Generator[Desk]:
    desk = Desk(world, tenants)
    desk.say("lock.follow", locks=[tenants.lock.unique_id])
    yield desk
    desk.stop()


@pytest.fixture
def anna(desk: Desk, tenants: Tenants) -> Rac:
    return Rac.of(desk, tenants, "Anna")


@pytest.fixture
def ben(desk: Desk, tenants: Tenants) -> Rac:
    return Rac.of(desk, tenants, "Ben")


def writes(lock: TestLock) -> int:
    return len(lock.kinds())


async def test_case_9_nothing_reaches_the_radio_twice(
    world: World, lock: TestLock, desk: Desk, anna: Rac
) -> None:
    opening = anna.opening(UNLOCK)
    relay = desk.open(anna, opening)
    await world.settle()
    assert writes(lock) == 1
    # The same relay, a repeat of its message, and the same message in another relay.
    desk.open(anna, opening, relay=relay)
    desk.data(relay, 0, opening)
    other = desk.open(anna, opening)
    await world.settle()
    assert desk.end(other) == REFUSED
    assert desk.end(relay) is None
    desk.say("relay.end", relay=relay, why=0)
    desk.open(anna, opening, relay=relay)  # it has ended once
    desk.data(relay, 1, opening)
    await world.settle()
    assert writes(lock) == 1
    assert desk.end(relay) is None
    await world.advance(2)
    assert lock.operations == [c.OP_UNLOCK]
    assert desk.relays.live == 0


async def test_case_10_a_message_that_the_server_kept_back_opens_no_door(
    world: World, lock: TestLock, desk: Desk, anna: Rac
) -> None:
    kept = anna.opening(UNLOCK)
    world.broadcast(lock)
    await world.advance(35)
    assert desk.nonce(lock.unique_id) == b"\x00" + lock.data[3:]  # still the lock's own nonce
    # The server may say any time to be its own: then the lock finds out.
    relay = desk.open(anna, kept)
    await world.advance(2)
    assert [answer[0] for answer in desk.answers(relay)] == [ilp.Kind.ERROR]
    # And this home, once the nonce was passed on too long ago.
    desk.say("relay.end", relay=relay, why=0)
    kept = anna.opening(UNLOCK)
    desk.say("lock.follow", locks=[])
    await world.advance(61)
    count = writes(lock)
    assert desk.end(desk.open(anna, kept)) == REFUSED
    assert writes(lock) == count
    assert lock.operations == []


async def test_case_11_by_the_servers_clock_as_this_home_knows_it(
    world: World, lock: TestLock, desk: Desk, anna: Rac
) -> None:
    for ahead in (-600_000, 600_000):
        desk.link.clock.now_ms = lambda ahead=ahead: round(time.time() * 1000) + ahead
        at = round(time.time() * 1000) + ahead
        late = desk.open(anna, anna.opening(STATUS), expires=at - 1)
        assert desk.end(late) == ("expired", Status.EXPIRED)
        right = desk.open(anna, anna.opening(STATUS), expires=at + 5000)
        await world.settle()
        assert anna.read(desk.answers(right)) == [Result.DONE, Result.DONE]
        desk.say("relay.end", relay=right, why=0)
        await world.advance(1)


async def test_case_12_numbers_and_hashes_that_do_not_fit_end_it(
    world: World, lock: TestLock, desk: Desk, anna: Rac
) -> None:
    opening = anna.opening(STATUS)
    wrong = part(0, opening) | {"data": part(0, anna.opening(UNLOCK))["data"]}
    for changed in (
        part(1, opening),
        wrong,
        {"hash": "AA=="},
        {"data": 5},
        {"n": -1},
        {"user": ""},
    ):
        assert desk.end(desk.open(anna, opening, **changed)) == MALFORMED
    for broken in ({}, {"relay": 5}, {"relay": "x" * 32}):
        with pytest.raises(Malformed):
            desk.say("relay.open", **broken)
    assert world.connections == 0
    more = anna.opening(STATUS)
    for n, data in ((2, b"\x10"), (0, b"\x10"), (1, b"")):
        relay = desk.open(anna, more)
        await world.settle()
        desk.data(relay, n, data)
        assert desk.end(relay) == MALFORMED
        more = anna.opening(STATUS)
        await world.settle()
    desk.say("relay.data", relay="0" * 32)  # nobody's
    desk.say("relay.end", relay="0" * 32)


async def test_case_23_at_the_door_and_not_from_afar(
    world: World, lock: TestLock, tenants: Tenants, desk: Desk
) -> None:
    carl = Rac.of(desk, tenants, "Carl")
    assert desk.end(desk.open(carl, carl.opening(STATUS))) == REFUSED
    assert desk.end(desk.open(carl, ilp.challenge_request())) == REFUSED
    assert world.connections == 0
    phone = tenants.phone(tenants.key("Carl"))
    assert await phone.ask(UNLOCK) == [Result.DONE, Result.ACCEPTED]


async def test_case_25_what_the_owner_took_away_is_away_though_the_lock_knows_nothing_of_it(
    world: World, lock: TestLock, tenants: Tenants, desk: Desk, anna: Rac
) -> None:
    anna_id = tenants.access("Anna").person_id
    assert anna_id is not None
    less = REMOTE & ~ilp.Right.REMOTE_USE
    for takes, gives in (({"suspended": True}, {"suspended": False}), ({"rights": less}, {"rights": REMOTE})):  # fmt: skip
        relay = desk.open(anna, anna.opening(STATUS))
        await world.settle()
        assert anna.read(desk.answers(relay)) == [Result.DONE, Result.DONE]
        lock.on_write = lambda _data: None  # what is written from now on is lost
        tenants.change(anna_id, **takes)
        await world.settle()
        assert desk.end(relay) == ("unknown", Status.UNKNOWN)
        assert desk.end(desk.open(anna, anna.opening(STATUS))) == REFUSED
        on_lock = ilp.Right(tenants.account("Anna").rights)
        assert ilp.Right.REMOTE_USE | ilp.Right.ENABLED in on_lock
        lock.on_write = None
        tenants.change(anna_id, **gives)
        await world.advance(12)
    # The same when the phone is no member any more.
    relay = desk.open(anna, anna.opening(STATUS))
    await world.settle()
    desk.store.phones = {}
    desk.changed()
    assert desk.end(relay) == ("unknown", Status.UNKNOWN)
    assert desk.end(desk.open(anna, anna.opening(STATUS))) == REFUSED


async def test_case_25_somebody_who_is_removed_is_off_the_lock_before_others_relay(
    world: World, lock: TestLock, tenants: Tenants, desk: Desk, anna: Rac, ben: Rac
) -> None:
    anna_id = tenants.access("Anna").person_id
    assert anna_id is not None
    relay = desk.open(anna, anna.opening(STATUS))
    await world.settle()
    there: list[bool] = []

    def look(data: bytes) -> bytes:
        if (data[1], data[2]) == (ilp.Kind.SESSION_OPEN, ben.slot):
            there.append(lock.core.accounts.find(anna.account_id) is not None)
        return data

    desk.say("relay.end", relay=relay, why=0)
    await world.settle()
    running = desk.open(ben, ben.opening(STATUS))
    relay = desk.open(anna, anna.opening(STATUS))  # waits
    await world.settle()
    lock.on_write = look
    tenants.remove(anna_id)
    await world.settle()
    assert desk.end(relay) == REFUSED
    assert desk.end(desk.open(anna, anna.opening(STATUS))) == REFUSED
    waiting = desk.open(ben, ben.opening(STATUS))
    await world.advance(1)
    assert lock.core.accounts.find(anna.account_id) is not None
    desk.say("relay.end", relay=running, why=0)
    await world.advance(1.5)
    assert desk.answers(waiting)
    assert there == [False]


async def test_case_48_who_may_follow_the_state_cannot_forge_that_it_was_done(
    world: World, lock: TestLock, tenants: Tenants, desk: Desk
) -> None:
    lock.stuck = True
    failing = asyncio.ensure_future(world.failing(lock, "unlock"))
    await world.advance(0.5)
    key = ilp.advertisement_key(tenants.lock_key, tenants.coordinator.tracker.epoch)
    plain = bytes((lock.data[0], c.BOLT_UNLOCKED | c.DOOR_CLOSED << 3, 87))
    world.forge(lock, advert.seal(key, lock.device_id, plain, lock.core.counter + 1))
    await world.advance(0.5)
    assert not failing.done()
    assert await failing in ("jammed", "unconfirmed")


async def test_case_56_nobody_pairs_over_a_server(
    world: World, lock: TestLock, tenants: Tenants, desk: Desk, anna: Rac
) -> None:
    lock.core.inner_button_held(10)
    pairing = ilp.PairingClient(bytes(10), lock.device_id)
    for message in (pairing.request(), bytes((3, *range(16))), bytes((2, *range(48))), b"\x04\x00"):
        assert desk.end(desk.open(anna, message)) == REFUSED
    assert world.connections == 0
    # Nor does what the lock says to somebody who pairs go out.
    relay = desk.open(anna, anna.opening(STATUS))
    await world.settle()
    before = len(desk.answers(relay))
    for message in (bytes((2, *range(48))), b"\x04\x00", b"\x01" + bytes(32), b"\x77", bytes(600)):
        lock.connections[-1].inject(message)
    await world.settle()
    assert len(desk.answers(relay)) == before


async def test_case_60_somebody_removed_and_added_again_has_no_use_for_the_old_phone(
    world: World, tenants: Tenants, desk: Desk, ben: Rac
) -> None:
    ben_id = tenants.access("Ben").person_id
    assert ben_id is not None
    tenants.remove(ben_id)
    await world.advance(15)
    tenants.add("Ben", rights=REMOTE)
    await world.advance(15)
    again = Rac.of(desk, tenants, "Ben")
    assert again.slot == ben.slot
    assert desk.end(desk.open(ben, ben.opening(UNLOCK))) == REFUSED
    relay = desk.open(again, again.opening(STATUS))
    await world.settle()
    assert again.read(desk.answers(relay)) == [Result.DONE, Result.DONE]


async def test_case_63_under_another_name_with_junk_and_without_end(
    world: World, lock: TestLock, tenants: Tenants, desk: Desk, anna: Rac, ben: Rac
) -> None:
    # Under Ben's name it is Anna's all the same.
    relay = desk.open(anna, anna.opening(UNLOCK), user=ben.user)
    await world.advance(2)
    desk.say("relay.end", relay=relay, why=0)
    await world.advance(3)
    assert world.attribute(lock, "changed_by") == "Anna"
    # Junk in the middle ends the own relay and nobody's session.
    await world.call(lock, "lock")
    home = tenants.coordinator.client
    assert home.session_alive
    for junk in (b"\x13" + bytes(24), b"\x13" + bytes(23), b"\x12" + bytes(58), b"\x10\x00"):
        relay = desk.open(ben, ben.opening(STATUS) if junk[0] == 0x13 else junk)
        if junk[0] == 0x13:
            await world.settle()
            count = writes(lock)
            desk.data(relay, 1, junk)
            await world.settle()
            assert writes(lock) == count
        assert desk.end(relay) in (REFUSED, MALFORMED)
        await world.settle()
    # A nonce is given to nobody but a phone of this home, and ties the lock up for no longer than it is good.
    assert desk.end(desk.open(anna, ilp.challenge_request(), user="0" * 32)) == REFUSED
    relay = desk.open(anna, ilp.challenge_request())
    await world.advance(9.5)
    assert desk.end(relay) is None
    await world.advance(1)
    assert desk.end(relay) == ("answered", Status.DONE)
    # Twenty a minute of a person, sixty of a server.
    await world.advance(61)
    ends: list[Any] = []
    for number in range(70):
        rac = anna if number % 2 else ben
        relay = desk.open(rac, rac.opening(STATUS))
        await world.settle()
        ends.append(desk.end(relay))
        desk.say("relay.end", relay=relay, why=0)
    assert ends[:40] == [None] * 40
    assert ends[40:] == [("failed", Status.SLOW_DOWN)] * 30
    assert desk.relays.live == 0
    await world.advance(61)
    stranger = [
        desk.end(desk.open(anna, ilp.challenge_request(), user="0" * 32)) for _ in range(60)
    ]
    assert stranger == [REFUSED] * 60
    relay = desk.open(anna, anna.opening(LOCK))
    assert desk.end(relay) == ("failed", Status.SLOW_DOWN)
    await world.advance(61)
    relay = desk.open(anna, anna.opening(LOCK))
    await world.settle()
    assert anna.read(desk.answers(relay))[0] == Result.DONE


async def test_case_57_a_server_that_swaps_locks_opens_neither(
    world: World, lock: TestLock, tenants: Tenants, desk: Desk, anna: Rac
) -> None:
    second = world.add_lock()
    entry = await world.pair(second)
    await world.advance(10)
    others = Tenants(world, second, entry)
    others.add("Dora", rights=REMOTE)
    await world.advance(15)
    both = Desk(world, tenants, others)
    both.say("lock.follow", locks=sorted((lock.unique_id, second.unique_id)))
    dora = Rac.of(both, others, "Dora")
    rac = Rac.of(both, tenants, "Anna")
    connections = world.connections
    for theirs, swapped in ((rac, dora), (dora, rac)):
        opening = theirs.opening(UNLOCK)
        assert both.end(both.open(theirs, opening, lock=swapped.device)) == REFUSED
    assert world.connections == connections
    # Two locks at once are in nobody's way, and answers go where they belong.
    one, two = both.open(rac, rac.opening(STATUS)), both.open(dora, dora.opening(STATUS))
    await world.settle()
    assert rac.read(both.answers(one)) == [Result.DONE, Result.DONE]
    assert dora.read(both.answers(two)) == [Result.DONE, Result.DONE]
    both.data(one, 1, dora.more(UNLOCK))
    assert both.end(one) == REFUSED
    assert second.operations == lock.operations == []
    both.stop()
