"""Relays at home: the lock of somebody far away, without getting into the way of anybody here."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from bleak_retry_connector.bluez import Allocations
from board import Gateway
from bsld import const as c
from relay_desk import LOCK, REMOTE, STATUS, UNLOCK, Desk, Rac
from tenants import Tenants

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.ilp import Event, Result
from custom_components.igrs_lock.remote.wire import Status
from custom_components.igrs_lock.sync import Job

if TYPE_CHECKING:
    from collections.abc import Generator

    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant
    from world import TestLock, World

SEALED, ERROR, CHALLENGE_REQUEST, SESSION_OPEN = 0x13, 0x1F, 0x10, 0x12


@pytest.fixture
async def tenants(world: World, lock: TestLock, entry: ConfigEntry[Any]) -> Tenants:
    """Anna and Ben have access from afar."""
    await world.advance(10)
    tenants = Tenants(world, lock, entry)
    for name in ("Anna", "Ben"):
        tenants.add(name, rights=REMOTE)
    await world.advance(15)
    assert not lock.connections
    lock.traffic.clear()
    world.connections = 0
    return tenants


@pytest.fixture
def desk(world: World, tenants: Tenants) -> Generator[Desk]:
    """The relays of a server, whose states Anna follows."""
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


# --- the way there and back ---------------------------------------------------------------------


async def test_the_opening_is_the_first_thing_written_and_the_end_is_told_by_the_lock(
    world: World, lock: TestLock, tenants: Tenants, desk: Desk, anna: Rac
) -> None:
    relay = desk.open(anna, anna.opening(UNLOCK))
    await world.settle()
    assert lock.traffic[0][0] == "write"
    assert lock.traffic[1] == ("subscribe", b"")
    assert desk.told("relay.state", relay) == [{"relay": relay, "state": "sent_to_lock", "n": 0}]
    await world.advance(1.5)
    assert lock.operations == [c.OP_UNLOCK]
    assert anna.read(desk.answers(relay)) == [Result.DONE, Result.ACCEPTED, Event.UNLOCKED]
    assert desk.end(relay) is None
    desk.data(relay, 1, anna.more(STATUS))
    await world.settle()
    assert anna.read(desk.answers(relay)[2:]) == [Result.DONE]
    desk.say("relay.end", relay=relay, why=0)
    assert desk.end(relay) is None  # the server said so itself
    assert desk.relays.live == 0
    # The entity shows the lock's own state, and its log says who it was.
    await world.advance(3)
    assert world.state(lock) == "unlocked"
    assert world.attribute(lock, "changed_by") == "Anna"
    # The home's own session is made anew on the same connection, with one message.
    connections = world.connections
    lock.traffic.clear()
    await world.call(lock, "lock")
    assert ERROR not in lock.kinds("notify")
    assert lock.kinds()[0] in (SESSION_OPEN, SEALED)
    assert world.connections == connections


async def test_on_a_held_connection_it_is_one_message_and_the_homes_session_stays_its_own(
    world: World, lock: TestLock, desk: Desk, anna: Rac
) -> None:
    await world.call(lock, "unlock")
    lock.core.door_sensed(True)  # told to the home's session
    await world.advance(0.3)
    lock.traffic.clear()
    connections = world.connections
    relay = desk.open(anna, anna.opening(STATUS))
    lock.core.door_sensed(False)  # in the air while the relay begins
    await world.settle()
    assert [what for what, _ in lock.traffic if what != "notify"] == ["write"]
    assert world.connections == connections
    assert anna.read(desk.answers(relay)) == [Result.DONE, Result.DONE, Event.DOOR_CLOSED]
    desk.say("relay.end", relay=relay, why=0)
    await world.settle()
    # The lock has one session for a connection: ours is over, and the next one is opened with one message.
    lock.traffic.clear()
    await world.call(lock, "lock")
    assert lock.kinds()[0] == SESSION_OPEN
    assert ERROR not in lock.kinds("notify")
    assert lock.core.bolt == c.BOLT_LOCKED
    assert len(desk.answers(relay)) <= 2


async def test_the_entity_shows_what_the_lock_says_in_the_relay_though_nothing_is_advertised(
    world: World, lock: TestLock, tenants: Tenants, desk: Desk, anna: Rac
) -> None:
    opening = anna.opening(UNLOCK)
    lock.mute = True
    relay = desk.open(anna, opening)
    await world.advance(0.3)
    assert world.state(lock) == "unlocking"
    await world.advance(1)
    assert anna.read(desk.answers(relay))[-1] == Event.UNLOCKED
    assert world.state(lock) == "unlocked"
    assert tenants.coordinator.changed_by == "Anna"
    desk.say("relay.end", relay=relay, why=0)
    # The log is read at once, whether the lock is heard or not.
    await world.advance(2)
    entry = tenants.coordinator.log.entries[-1]
    assert (entry.event, entry.name) == (Event.UNLOCKED, "Anna")
    lock.mute = False
    # Locked once more, it does not move: no doubt comes of that.
    await world.call(lock, "lock")
    await world.advance(1)
    lock.mute = True
    relay = desk.open(anna, anna.opening(LOCK))
    await world.settle()
    desk.say("relay.end", relay=relay, why=0)
    await world.settle()
    assert world.state(lock) == "locked"


async def test_of_an_event_that_is_not_this_slots_the_relay_tells_nothing(
    world: World, lock: TestLock, tenants: Tenants, desk: Desk, anna: Rac
) -> None:
    await world.advance(1)
    desk.open(anna, anna.opening(STATUS))
    await world.settle()
    before = tenants.coordinator.changed_by
    lock.mute = True
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.advance(0.5)
    assert tenants.coordinator.changed_by == before
    assert world.state(lock) == "locked"  # until it is advertised
    lock.mute = False
    await world.advance(2)
    assert world.state(lock) == "unlocked"


async def test_unheard_and_unanswered_the_entity_shows_nothing_until_the_lock_itself_tells(
    world: World, lock: TestLock, tenants: Tenants, desk: Desk, anna: Rac
) -> None:
    opening = anna.opening(UNLOCK)
    lock.mute = True
    lock.on_notify = lambda _data: None
    desk.open(anna, opening)
    await world.advance(1.2)
    assert world.state(lock) == "locked"
    await world.advance(2)
    assert world.state(lock) == "unknown"
    lock.mute = False
    await world.advance(2)
    assert world.state(lock) == "unlocked"
    lock.on_notify = None
    # What is on its way by its own word is not doubted.
    await world.call(lock, "lock")
    await world.advance(1)
    relay = desk.open(anna, anna.opening(UNLOCK))
    await world.advance(0.3)
    desk.say("relay.end", relay=relay, why=0)
    await world.settle()
    assert world.state(lock) == "unlocking"
    await world.advance(3)
    assert world.state(lock) == "unlocked"


async def test_a_challenge_and_the_nonce_of_an_error_lead_there_too(
    world: World, lock: TestLock, tenants: Tenants, desk: Desk, anna: Rac
) -> None:
    relay = desk.open(anna, ilp.challenge_request())
    await world.settle()
    (challenge,) = desk.answers(relay)
    opening = anna.opening(STATUS, nonce=ilp.parse_challenge(challenge))
    desk.data(relay, 1, opening)
    desk.data(relay, 1, opening)  # a repeat is dropped
    await world.settle()
    assert anna.read(desk.answers(relay)[1:]) == [Result.DONE, Result.DONE]
    desk.say("relay.end", relay=relay, why=0)
    # An advertisement that was overtaken: the lock's ERROR brings a nonce.
    await world.settle()
    stale = anna.opening(UNLOCK)
    other = tenants.controller()
    await other.request(STATUS)
    relay = desk.open(anna, stale)
    await world.settle()
    (error,) = desk.answers(relay)
    assert error[0] == ERROR
    desk.data(relay, 1, anna.opening(UNLOCK, nonce=error[2:]))
    await world.advance(1.5)
    assert anna.read(desk.answers(relay)[1:])[-1] == Event.UNLOCKED
    assert lock.operations == [c.OP_UNLOCK]


async def test_the_log_can_be_read_in_messages_of_full_length(
    world: World, lock: TestLock, desk: Desk, anna: Rac
) -> None:
    for _ in range(24):
        lock.core.door_sensed(True)
        lock.core.door_sensed(False)
    await world.advance(1)
    relay = desk.open(anna, anna.opening(ilp.requests.get_log(0)))
    await world.settle()
    assert anna.read(desk.answers(relay)) == [Result.DONE, Result.DONE]
    assert max(map(len, desk.answers(relay))) > 480


# --- people here go first -----------------------------------------------------------------------


async def test_somebody_here_ends_a_relay_and_finds_made_what_it_began_to_connect(
    world: World, lock: TestLock, desk: Desk, anna: Rac
) -> None:
    relay = desk.open(anna, anna.opening(STATUS))
    await world.settle()
    begun = world.monotonic()
    await world.call(lock, "unlock")
    assert world.monotonic() - begun < 1.5
    assert desk.end(relay) == ("unknown", Status.UNKNOWN)
    assert world.connections == 1
    # Still waiting for the bolt, a relay is not let in, and says so in three seconds.
    await world.advance(12)
    lock.stuck = True
    local = asyncio.ensure_future(world.failing(lock, "lock"))
    await world.settle()
    relay = desk.open(anna, anna.opening(STATUS))
    await world.advance(2.5)
    assert desk.end(relay) is None
    await world.advance(0.7)
    assert desk.end(relay) == ("failed", Status.LOCK_BUSY)
    assert await local == "jammed"


async def test_while_it_connects_somebody_here_gets_that_very_connection(
    world: World, lock: TestLock, desk: Desk, anna: Rac, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = asyncio.Event()
    connect = world.connect

    async def slow(*args: Any, **kwargs: Any) -> Any:
        await made.wait()
        return await connect(*args, **kwargs)

    monkeypatch.setattr("bleak_retry_connector.establish_connection", slow)
    relay = desk.open(anna, anna.opening(UNLOCK))
    await world.settle()
    local = asyncio.ensure_future(world.call(lock, "unlock"))
    await world.settle()
    assert desk.end(relay) == ("failed", Status.LOCK_BUSY)  # nothing was written
    made.set()
    await local
    assert world.connections == 1
    assert lock.operations == [c.OP_UNLOCK]
    # One that nobody wants any more is not made.
    await world.advance(8)
    made.clear()
    relay = desk.open(anna, anna.opening(UNLOCK))
    await world.settle()
    desk.say("relay.end", relay=relay, why=34)
    made.set()
    await world.advance(1)
    assert world.connections == 1


async def test_somebody_here_gets_the_last_connection_of_a_gateway(
    world: World,
    lock: TestLock,
    desk: Desk,
    anna: Rac,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    second = world.add_lock()
    await world.pair(second)
    await world.advance(10)

    def allocations(gateway: Gateway) -> Allocations:
        taken = sum(len(one.connections) for one in world.locks.values())
        return Allocations(gateway.adapter, 1, 1 - taken, [])

    monkeypatch.setattr(Gateway, "get_allocations", allocations)
    relay = desk.open(anna, anna.opening(STATUS))
    await world.settle()
    assert lock.connections
    await world.call(second, "unlock")
    assert second.operations == [c.OP_UNLOCK]
    assert desk.end(relay) == ("unknown", Status.UNKNOWN)
    # Not the other way round: nobody far away takes one that is in use here.
    relay = desk.open(anna, anna.opening(STATUS))
    await world.settle()
    assert desk.end(relay) == ("failed", Status.LOCK_BUSY)
    assert second.connections
    await world.advance(7)
    relay = desk.open(anna, anna.opening(STATUS))
    await world.settle()
    assert desk.answers(relay)
    # What a relay leaves behind for a moment is let go for somebody here, too.
    desk.say("relay.end", relay=relay, why=0)
    await world.settle()
    assert lock.connections
    await world.call(second, "lock")
    assert second.core.bolt == c.BOLT_LOCKED


async def test_jobs_wait_for_a_relay_and_not_for_relays_without_end(
    world: World, lock: TestLock, tenants: Tenants, desk: Desk, anna: Rac
) -> None:
    coordinator = tenants.coordinator
    asked = 0

    async def job() -> None:
        nonlocal asked
        for _ in range(8):
            await coordinator.async_request(STATUS)
            asked += 1

    relay = desk.open(anna, anna.opening(STATUS))
    await world.settle()
    coordinator.sync.register(Job.OPTIONS, job)
    coordinator.sync.nudge(Job.OPTIONS)
    served = 0
    for _ in range(20):
        await world.advance(2)
        following = desk.open(anna, anna.opening(STATUS))  # waits before the other ends
        await world.advance(2)
        desk.say("relay.end", relay=relay, why=0)
        await world.settle()
        relay = following
        if asked == 8:
            break
        served += 1
    # One message between two relays, and all of them once fifteen seconds were lost.
    assert 3 <= served <= 6
    assert asked == 8
    await world.advance(1)
    assert desk.answers(desk.open(anna, anna.opening(STATUS))) == []
    await world.settle()
    assert desk.relays.live


async def test_the_time_that_a_relay_made_old_is_not_set(
    world: World, lock: TestLock, tenants: Tenants, desk: Desk, anna: Rac
) -> None:
    relay = desk.open(anna, anna.opening(STATUS))
    await world.settle()
    tenants.coordinator.time_keeper.async_nudge(wrong=True)
    await world.settle()
    following = desk.open(anna, anna.opening(STATUS))
    await world.settle()
    desk.say("relay.end", relay=relay, why=0)
    await world.advance(12)
    assert desk.answers(following)  # it came between the question and the time
    desk.say("relay.end", relay=following, why=0)
    await world.advance(3)
    assert abs(lock.core.clock.now() - world.now()) <= 1
    await world.advance(610, step=5)
    assert tenants.coordinator.remembered["time_set"] >= world.now() - 15


async def test_persons_take_turns_and_a_silent_one_gives_way(
    world: World, lock: TestLock, desk: Desk, anna: Rac, ben: Rac
) -> None:
    first = desk.open(anna, anna.opening(STATUS))
    await world.settle()
    waiting = desk.open(anna, anna.opening(STATUS))  # Anna again
    await world.advance(3.5)
    assert desk.end(waiting) == ("failed", Status.LOCK_BUSY)
    again = desk.open(anna, anna.opening(STATUS))
    theirs = desk.open(ben, ben.opening(STATUS))
    await world.advance(2)
    # Anna had five seconds without a word while somebody else waited.
    assert desk.end(first) == ("answered", Status.DONE)
    assert ben.read(desk.answers(theirs)) == [Result.DONE, Result.DONE]
    assert not desk.answers(again)


# --- its ends -----------------------------------------------------------------------------------


async def test_every_relay_ends_once_with_what_is_known(
    hass: HomeAssistant, world: World, lock: TestLock, desk: Desk, anna: Rac
) -> None:
    # Too late, too far ahead, and nobody knows how late.
    now = round(world.now() * 1000)
    for expires, end in (
        (now, ("expired", Status.EXPIRED)),
        (now + 60_000, ("failed", Status.MALFORMED)),
    ):
        assert desk.end(desk.open(anna, anna.opening(STATUS), expires=expires)) == end
    clock, desk.link.clock.now_ms = desk.link.clock.now_ms, lambda: None
    assert desk.end(desk.open(anna, anna.opening(STATUS))) == ("failed", Status.EXPIRED)
    desk.link.clock.now_ms = clock
    assert world.connections == 0
    # Silence: answered, since something came back; a minute is the end in any case.
    relay = desk.open(anna, anna.opening(STATUS))
    await world.advance(15.5)
    assert desk.end(relay) == ("answered", Status.DONE)
    relay = desk.open(anna, anna.opening(STATUS))
    for n in range(1, 7):
        await world.advance(9)
        desk.data(relay, n, anna.more(STATUS))
    assert desk.end(relay) is None
    await world.advance(7)
    assert desk.end(relay) == ("answered", Status.DONE)
    # Lost with an answer due, and lost after all answers: nobody knows what the lock did then.
    await world.advance(6)
    lock.on_write = lambda _data: None
    relay = desk.open(anna, anna.opening(UNLOCK))
    await world.advance(1)
    assert desk.end(relay) is None
    lock.connections[-1].end()
    assert desk.end(relay) == ("unknown", Status.UNKNOWN)
    assert world.state(lock) in ("locked", "unknown")
    lock.on_write = None
    # Out of reach, and every gateway's connections in use.
    world.near.free = world.far.free = 0
    await world.advance(1)
    relay = desk.open(anna, anna.opening(UNLOCK))
    await world.settle()
    assert desk.end(relay) == ("failed", Status.LOCK_BUSY)
    world.near.free = world.far.free = 3
    for gateway in (world.near, world.far):
        gateway.hears.clear()
        gateway.forget(lock.address)
    relay = desk.open(anna, anna.opening(UNLOCK))
    await world.settle()
    assert desk.end(relay) == ("failed", Status.OUT_OF_REACH)
    assert lock.operations == []


async def test_what_takes_too_long_on_the_way_is_not_written_any_more(
    world: World, lock: TestLock, desk: Desk, anna: Rac
) -> None:
    lock.silent = True
    relay = desk.open(anna, anna.opening(UNLOCK), expires=round(world.now() * 1000) + 4000)
    await world.advance(3.5)
    assert desk.end(relay) is None
    await world.advance(1)
    assert desk.end(relay) == ("failed", Status.OUT_OF_REACH)
    lock.silent = False
    await world.advance(2)
    # Waiting for its turn, too.
    first = desk.open(anna, anna.opening(STATUS))
    second = desk.open(anna, anna.opening(UNLOCK), expires=round(world.now() * 1000) + 2000)
    await world.advance(2.1)
    assert desk.end(second) == ("expired", Status.EXPIRED)
    desk.say("relay.end", relay=first, why=0)
    await world.advance(6)
    assert lock.operations == []
    assert not lock.connections


async def test_nothing_is_relayed_with_remote_access_off_or_for_a_lock_that_is_not_registered(
    world: World, lock: TestLock, desk: Desk, anna: Rac, entry: ConfigEntry[Any]
) -> None:
    refused = ("failed", Status.REFUSED_BY_HOME)
    relay = desk.open(anna, anna.opening(STATUS))
    await world.settle()
    desk.enabled = False
    desk.changed()
    assert desk.end(relay) == ("unknown", Status.UNKNOWN)
    assert desk.end(desk.open(anna, anna.opening(STATUS))) == refused
    desk.enabled = True
    locks, desk.store.locks = desk.store.locks, {}
    assert desk.end(desk.open(anna, anna.opening(STATUS))) == refused
    desk.store.locks = locks
    relay = desk.open(anna, anna.opening(STATUS))
    await world.settle()
    await world.hass.config_entries.async_unload(entry.entry_id)
    assert desk.end(relay) == ("unknown", Status.UNKNOWN)
    assert desk.end(desk.open(anna, anna.opening(STATUS))) == ("failed", Status.OUT_OF_REACH)
    await world.hass.config_entries.async_setup(entry.entry_id)
    desk.say("lock.follow", locks=[lock.unique_id])
    await world.advance(2)
    relay = desk.open(anna, anna.opening(LOCK))
    await world.settle()
    assert desk.end(relay) is None
    desk.relays.async_stop()
    assert desk.end(relay) == ("unknown", Status.UNKNOWN)


# --- beforehand ---------------------------------------------------------------------------------


async def test_a_connection_made_beforehand_is_used_and_otherwise_let_go(
    world: World, lock: TestLock, desk: Desk, anna: Rac
) -> None:
    desk.home.gateways["server"] = desk  # type: ignore[assignment]  # what is asked of it
    device = lock.unique_id
    desk.say("lock.prewarm", lock=device, user="0" * 32)
    await world.settle()
    assert not lock.connections  # nobody's phone
    desk.say("lock.prewarm", lock=device, user=anna.user)
    await world.settle()
    assert len(lock.connections) == 1
    assert lock.kinds() == []
    lock.traffic.clear()
    relay = desk.open(anna, anna.opening(UNLOCK))
    await world.settle()
    assert [what for what, _ in lock.traffic if what != "notify"] == ["write"]
    assert desk.answers(relay)
    desk.say("relay.end", relay=relay, why=0)
    await world.advance(20)
    # In vain: it ends before the lock would end it, and at most six times an hour.
    for used in range(6):
        connections = world.connections
        desk.say("lock.prewarm", lock=device, user=anna.user)
        desk.open(anna, b"\x10", user="0" * 32)  # what is refused is no use of it
        await world.advance(8.8)
        assert len(lock.connections) == 1, used
        await world.advance(0.4)
        assert not lock.connections
        assert world.connections == connections + 1
    desk.say("lock.prewarm", lock=device, user=anna.user)
    await world.settle()
    assert not lock.connections
    # Not with a weak battery, nor with the last connection that somebody here may need.
    await world.advance(3600, step=30)
    world.near.free = world.far.free = 1
    desk.say("lock.prewarm", lock=device, user=anna.user)
    world.near.free = world.far.free = 3
    lock.core.battery_measured(9, True)
    await world.advance(8)
    desk.say("lock.prewarm", lock=device, user=anna.user)
    await world.settle()
    assert not lock.connections
    lock.core.battery_measured(90, False)
    await world.advance(1)
    desk.say("lock.prewarm", lock=device, user=anna.user)
    await world.settle()
    # Somebody here has it at once.
    connections = world.connections
    await world.call(lock, "lock")
    assert world.connections == connections
    del desk.home.gateways["server"]
