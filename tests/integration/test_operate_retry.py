"""Operations over bad links and against hostile answers: one retry, nothing false, no harm."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from world import DOMAIN, swap_once

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.client import LockClient
from custom_components.igrs_lock.errors import LockBusyError
from custom_components.igrs_lock.ilp import Operation
from custom_components.igrs_lock.link import Link

if TYPE_CHECKING:
    from collections.abc import Callable

    from homeassistant.core import HomeAssistant
    from world import TestLock, World

pytestmark = pytest.mark.usefixtures("quiet")

SEALED, ERROR = 0x13, 0x1F
CHALLENGE_REQUEST, SESSION_OPEN = 0x10, 0x12


async def test_a_stale_nonce_costs_one_challenge(world: World, lock: TestLock) -> None:
    lock.mute = True
    lock.core.battery_measured(86, False)
    await world.call(lock, "unlock")
    assert lock.kinds() == [SESSION_OPEN, SESSION_OPEN]
    assert [data[3] for what, data in lock.traffic if what == "write"] == [0, 1]
    assert lock.operations == [c.OP_UNLOCK]


async def test_an_untrusted_clock_is_not_tried_with_the_advertised_nonce(
    world: World, lock: TestLock
) -> None:
    world.kernel_synchronised = False
    lock.power_cut()
    await world.advance(15)  # its log is read
    assert not lock.core.clock_trusted
    assert not lock.connections
    lock.traffic.clear()
    await world.call(lock, "unlock")
    assert lock.kinds() == [CHALLENGE_REQUEST, SESSION_OPEN]


async def test_a_forged_error_causes_one_retry_and_no_harm(
    world: World, lock: TestLock, entry: Any
) -> None:
    """Attack case 51."""
    lock.on_notify = swap_once(SEALED, bytes((ERROR, 3)) + bytes(8))
    # The lock took the first session; its answer was swallowed, and the retry has a false nonce.
    assert await world.failing(lock, "unlock") == "no_answer"
    assert lock.kinds() == [SESSION_OPEN, SESSION_OPEN]
    await world.advance(2)
    assert world.state(lock) == "unlocked"
    # What was refused was the forged nonce, not the key.
    assert entry.runtime_data.operator.refusals == 0
    lock.on_notify = None
    await world.call(lock, "lock")


async def test_a_forged_error_and_a_lost_link_cause_one_retry_for_each_and_no_more(
    world: World, lock: TestLock
) -> None:
    """Attack case 51: the lost link does not buy the forger another one."""

    def forge_then_lose(data: bytes) -> bytes:
        if lock.kinds().count(SESSION_OPEN) % 2 == 0:
            lock.connections[-1].end()
        return bytes((0x80, ERROR, 3)) + bytes(8)

    lock.on_notify = forge_then_lose
    await world.failing(lock, "unlock")
    assert lock.kinds().count(SESSION_OPEN) <= 3


@pytest.mark.parametrize("code", range(9))
async def test_errors_without_end_cause_one_retry(
    world: World, lock: TestLock, entry: Any, code: int
) -> None:
    """Attack case 51, every code there is and one there is not."""
    lock.on_notify = lambda data: bytes((0x80, ERROR, code)) + bytes(8)
    key = await world.failing(lock, "unlock")
    assert lock.kinds().count(SESSION_OPEN) <= 2
    assert key in ("no_answer", "needs_pairing", "lock_busy", "unsupported_version")
    lock.on_notify = None
    await world.advance(3)
    assert (
        world.state(lock) == {c.BOLT_LOCKED: "locked", c.BOLT_UNLOCKED: "unlocked"}[lock.core.bolt]
    )


async def test_open_is_not_tried_again_when_the_bolt_was_seen_to_move(
    world: World, lock: TestLock
) -> None:
    def forge_late(data: bytes) -> bytes | None:
        if data[1] == SEALED:
            world.hass.loop.call_later(0.5, forged)
            return None
        return data

    def forged() -> None:
        lock.connections[-1].inject(bytes((ERROR, 3)) + bytes(8))

    lock.on_notify = forge_late
    assert await world.failing(lock, "open") == "no_answer"
    assert lock.operations == [c.OP_OPEN]


async def test_open_is_tried_again_when_nothing_moved(world: World, lock: TestLock) -> None:
    lock.mute = True
    lock.core.battery_measured(86, False)
    await world.call(lock, "open")
    assert lock.operations == [c.OP_OPEN]


async def test_a_request_that_came_too_late_is_sent_once_more(world: World, lock: TestLock) -> None:
    """The lock's clock runs ahead: it takes the session and refuses the age of the operation."""
    lock.core.clock.set(int(world.now()) + 8, 0)
    await world.call(lock, "unlock")
    assert lock.kinds()[:3] == [SESSION_OPEN, CHALLENGE_REQUEST, SESSION_OPEN]
    assert lock.operations == [c.OP_UNLOCK]


async def test_a_link_lost_before_the_answer_is_made_anew_once(
    world: World, lock: TestLock
) -> None:
    lost = 0

    def lose(data: bytes) -> bytes | None:
        nonlocal lost
        lost += 1
        if lost == 1:
            lock.connections[-1].end()
            return None
        return data

    lock.on_write = lose
    await world.call(lock, "unlock")
    assert lost > 1
    assert lock.operations == [c.OP_UNLOCK]


async def test_a_link_lost_after_the_lock_took_it_ends_well_too(
    world: World, lock: TestLock
) -> None:
    def lose(data: bytes) -> bytes | None:
        lock.on_write = None
        lock.core.written(lock.connections[-1].number, data)
        lock.connections[-1].end()
        return None

    lock.on_write = lose
    await world.call(lock, "unlock")
    assert lock.operations == [c.OP_UNLOCK]
    assert world.state(lock) == "unlocked"


async def test_open_with_a_lost_link_is_not_sent_again_after_it_moved(
    world: World, lock: TestLock
) -> None:
    def lose(data: bytes) -> bytes | None:
        lock.core.written(lock.connections[-1].number, data)
        lock.connections[-1].end()
        return None

    lock.on_write = lose
    assert await world.failing(lock, "open") == "no_answer"
    assert lock.operations == [c.OP_OPEN]
    await world.advance(2)
    assert world.state(lock) == "open"


async def test_what_came_of_a_message_before_the_lock_vanished_is_not_known(
    world: World, lock: TestLock
) -> None:
    def vanish(data: bytes) -> None:
        lock.silent = True
        lock.connections[-1].end()

    lock.on_write = vanish
    assert await world.failing(lock, "unlock") == "no_answer"


async def test_a_connection_that_nothing_was_written_on_is_made_anew_even_for_open(
    world: World, lock: TestLock
) -> None:
    def vanish() -> None:
        lock.on_connect = None
        asyncio.get_running_loop().call_soon(lock.connections[-1].end)

    lock.power_cut()
    world.kernel_synchronised = False
    await world.advance(2)
    lock.on_connect = lambda: asyncio.get_running_loop().call_soon(vanish)
    await world.call(lock, "open")
    assert lock.operations == [c.OP_OPEN]


async def test_a_link_that_stays_lost_is_told(world: World, lock: TestLock) -> None:
    def lose(data: bytes) -> None:
        lock.connections[-1].end()
        lock.silent = True

    lock.on_write = lose
    assert await world.failing(lock, "unlock") == "no_answer"
    # Whether the lock got the command nobody knows: neither the old state nor the wish is shown.
    assert world.state(lock) == "unknown"
    assert not lock.connections
    lock.silent = False
    lock.on_write = None
    await world.advance(2)
    assert (
        world.state(lock) == {c.BOLT_LOCKED: "locked", c.BOLT_UNLOCKED: "unlocked"}[lock.core.bolt]
    )


async def test_a_link_lost_while_the_bolt_moves_leaves_the_end_to_the_advertisements(
    world: World, lock: TestLock, states: list[str]
) -> None:
    def lose(data: bytes) -> bytes:
        if data[1] == SEALED:
            world.hass.loop.call_later(0.2, lock.connections[-1].end)
            lock.on_notify = None
        return data

    lock.on_notify = lose
    await world.call(lock, "unlock")
    assert states == ["unlocking", "unlocked"]
    # The latch is told by advertisements as well.
    await world.advance(3)
    lock.on_notify = lose
    await world.call(lock, "open")
    assert world.state(lock) == "open"


# --- hostile answers -----------------------------------------------------------------------------


async def test_what_was_advertised_while_the_link_was_there_counts_when_it_is_lost(
    world: World, lock: TestLock
) -> None:
    answered: list[bytes] = []

    def swallow(data: bytes) -> bytes | None:
        answered.append(data)
        return data if len(answered) == 1 else None

    lock.on_notify = swallow  # the end is not told by the session
    unlocking = world.hass.async_create_task(world.call(lock, "unlock"))
    await world.advance(3)
    assert world.state(lock) == "unlocking"
    assert lock.core.bolt == c.BOLT_UNLOCKED
    lock.silent = True  # nothing new is heard after it either
    lock.connections[-1].end()
    await world.settle()
    await unlocking
    assert world.state(lock) == "unlocked"


async def test_messages_of_nobody_are_ignored(world: World, lock: TestLock) -> None:
    """Attack case 49, client's side: other sessions' messages, junk and bad fragments."""

    def also(data: bytes) -> bytes:
        connection = lock.connections[-1]
        if data[1] == SEALED:
            lock.on_notify = None
            connection.inject(bytes((SEALED,)) + bytes(24))
            connection.inject(bytes((0x02,)) + bytes(48))
            connection.inject(bytes((0x11,)) + bytes(8))
            assert connection._notify is not None
            connection._notify(None, bytearray(b"\x05junk"))
        return data

    lock.on_notify = also
    await world.call(lock, "unlock")
    assert lock.operations == [c.OP_UNLOCK]


@pytest.mark.parametrize(
    "junk", [b"\x99", bytes((SEALED,)) + bytes(23), bytes((ERROR, 3)), bytes((0x11, 1))]
)
async def test_a_broken_message_ends_the_connection_and_is_survived(
    world: World, lock: TestLock, junk: bytes
) -> None:
    lock.on_notify = swap_once(SEALED, junk)
    await world.call(lock, "unlock")
    assert world.state(lock) == "unlocked"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: data[:-1] + bytes((data[-1] ^ 1,)), id="tag"),
        pytest.param(lambda data: data[:5] + bytes((data[5] ^ 1,)) + data[6:], id="ciphertext"),
        pytest.param(lambda data: data[:2], id="empty"),
    ],
)
async def test_a_changed_answer_confirms_nothing(
    world: World, lock: TestLock, change: Callable[[bytes], bytes]
) -> None:
    lock.on_notify = lambda data: change(data) if data[1] == SEALED else data
    assert await world.failing(lock, "unlock") == "no_answer"


async def test_the_lock_key_refused_three_times_asks_to_pair_again(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    """One refusal may be anybody's: ERROR is not authenticated."""
    world.kernel_synchronised = False
    lock.power_cut()
    await world.advance(2)
    lock.on_notify = lambda data: bytes((0x80, ERROR, 2)) + bytes(8) if data[1] == SEALED else data
    for count in range(3):
        assert not hass.config_entries.flow.async_progress_by_handler(DOMAIN), count
        assert await world.failing(lock, "unlock") == "needs_pairing"
        await world.advance(1)
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert flow["context"]["source"] == "reauth"
    # The key is accepted after all: somebody had disturbed.
    lock.on_notify = None
    await world.call(lock, "unlock")
    assert not hass.config_entries.flow.async_progress_by_handler(DOMAIN)


async def test_a_challenge_that_is_refused_is_told(world: World, lock: TestLock) -> None:
    world.kernel_synchronised = False
    lock.power_cut()
    await world.advance(2)
    lock.on_notify = lambda data: bytes((0x80, ERROR, 5)) + bytes(8)
    assert await world.failing(lock, "unlock") == "lock_busy"
    # An ERROR with another code carries a nonce, which counts as a challenge.
    lock.on_notify = swap_once(0x11, bytes((ERROR, 1)) + bytes(8))
    assert await world.failing(lock, "unlock") == "needs_pairing"


async def test_a_challenge_that_does_not_come_is_told(world: World, lock: TestLock) -> None:
    world.kernel_synchronised = False
    lock.power_cut()
    await world.advance(2)
    lock.on_notify = lambda data: None
    assert await world.failing(lock, "unlock") == "no_answer"
    lock.on_notify = lambda data: lock.connections[-1].end()
    assert await world.failing(lock, "unlock") == "no_answer"


async def test_an_answer_that_makes_no_sense_is_not_taken_for_done(
    world: World, lock: TestLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(lock.core), "bolt", property(lambda _self: 7))
    assert await world.failing(lock, "unlock") in ("unconfirmed", "no_answer")


async def test_a_call_that_is_cancelled_lets_go_of_the_lock(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    lock.on_write = lambda data: None
    task = hass.async_create_task(
        hass.services.async_call(
            "lock", "unlock", {"entity_id": f"lock.{lock.entity}"}, blocking=True
        )
    )
    await world.advance(1)
    assert lock.connections
    assert world.state(lock) == "unlocking"
    task.cancel()
    await world.advance(1)
    assert not lock.connections
    assert world.state(lock) == "locked"


async def test_a_client_without_a_listener_ignores_events(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    key = ilp.controller_key(bytes.fromhex(entry.data["lock_key"]))
    client = LockClient(hass, lock.address, "test", lock.device_id, key)
    await world.during(client.async_request(ilp.requests.get_status()))
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.settle()
    assert client.session_alive
    await client.async_close()
    assert not client.session_alive


async def test_a_change_told_by_event_before_the_advertisement_is_not_undone_by_it(
    world: World, lock: TestLock
) -> None:
    await world.call(lock, "unlock")
    lock.silent = True
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    await world.settle()
    assert world.state(lock) == "locked"
    lock.silent = False
    await world.advance(1)
    assert world.state(lock) == "locked"
    assert world.attribute(lock, "changed_by") == "by_hand"


async def test_an_event_that_an_advertisement_overtook_changes_nothing(
    world: World, lock: TestLock
) -> None:
    await world.call(lock, "unlock")
    held: list[bytes] = []

    def hold(data: bytes) -> None:
        held.append(data)

    lock.on_notify = hold
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    await world.settle()
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.settle()
    assert world.state(lock) == "unlocked"
    lock.on_notify = None
    for data in held[:1]:
        lock.connections[-1].notified(data)
    assert world.state(lock) == "unlocked"
    assert world.attribute(lock, "changed_by") is None


async def test_an_answer_that_an_advertisement_overtook_changes_nothing(
    world: World, lock: TestLock
) -> None:
    def overtake(data: bytes) -> bytes:
        if data[1] == SEALED:
            lock.on_notify = None
            lock.core.door_sensed(True)
        return data

    lock.on_notify = overtake
    await world.call(lock, "unlock")
    assert world.state(lock, "binary_sensor", "_door") == "on"


async def test_a_write_that_fails_is_a_lost_link(world: World, lock: TestLock) -> None:
    await world.call(lock, "unlock")
    lock.connections[-1].end(tell=False)
    await world.call(lock, "lock")
    assert lock.core.bolt == c.BOLT_LOCKED


async def test_an_unlock_that_waited_behind_another_operation_too_long_is_not_done(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    """Whoever wanted in has gone: a door does not unlock by itself later."""
    coordinator = entry.runtime_data
    async with coordinator.operator._operating:
        waiting = hass.async_create_task(coordinator.async_operate(Operation.UNLOCK))
        await world.advance(11)
    with pytest.raises(LockBusyError):
        await waiting
    assert lock.core.bolt == c.BOLT_LOCKED
    # The same behind somebody who pairs with the lock.
    async with coordinator.client.suspended():
        waiting = hass.async_create_task(coordinator.async_operate(Operation.OPEN))
        await world.advance(11)
    with pytest.raises(LockBusyError):
        await waiting
    assert lock.core.bolt == c.BOLT_LOCKED


async def test_closed_while_it_connects_it_writes_nothing(
    world: World, lock: TestLock, entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = entry.runtime_data.client
    connect = Link.connect

    async def slowly(*given: Any) -> Link:
        link = await connect(*given)
        await client.async_close()
        return link

    monkeypatch.setattr(Link, "connect", slowly)
    assert await world.failing(lock, "unlock") == "no_answer"
    assert SESSION_OPEN not in lock.kinds()
    assert not lock.connections


async def test_open_is_not_sent_again_when_its_effect_is_seen_during_the_reconnection(
    world: World, lock: TestLock, entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = entry.runtime_data
    connect = Link.connect

    async def seeing(*given: Any) -> Link:
        link = await connect(*given)
        if coordinator.client.timing.written is not None:
            coordinator.changes += 1  # what an authentic advertisement of a moved bolt does
        return link

    monkeypatch.setattr(Link, "connect", seeing)

    def lose(data: bytes) -> bytes | None:
        lock.connections[-1].end()
        return None

    lock.on_notify = lose
    assert await world.failing(lock, "open") == "no_answer"
    assert lock.kinds().count(SESSION_OPEN) == 1


async def test_unlock_is_not_sent_again_to_a_door_that_was_locked_meanwhile(
    world: World, lock: TestLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = Link.connect

    async def later(*given: Any) -> Link:
        if lock.operations:
            await asyncio.sleep(4)
            lock.core.bolt_sensed(c.BOLT_LOCKED)
            await asyncio.sleep(0.5)
        return await connect(*given)

    monkeypatch.setattr(Link, "connect", later)

    def lose(data: bytes) -> bytes | None:
        lock.connections[-1].end()
        return None

    lock.on_notify = lose
    assert await world.failing(lock, "unlock") == "no_answer"
    assert lock.operations == [c.OP_UNLOCK]
    assert lock.core.bolt == c.BOLT_LOCKED


@pytest.mark.parametrize(("service", "sent"), [("unlock", 1), ("lock", 2)])
async def test_unlock_is_not_sent_again_when_whoever_wanted_it_may_have_gone(
    world: World, lock: TestLock, monkeypatch: pytest.MonkeyPatch, service: str, sent: int
) -> None:
    if service == "lock":
        await world.call(lock, "unlock")
        await world.advance(10)
        lock.traffic.clear()
    connect = Link.connect

    async def slowly(*given: Any) -> Link:
        await asyncio.sleep(11)
        return await connect(*given)

    monkeypatch.setattr(Link, "connect", slowly)

    def lose(data: bytes) -> bytes | None:
        lock.connections[-1].end()
        return None

    lock.on_notify = lose
    lock.mute = True
    assert await world.failing(lock, service) == "no_answer"
    assert lock.kinds().count(SESSION_OPEN) == sent


async def test_what_bluetooth_raises_is_told_in_the_projects_own_words(
    world: World, lock: TestLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D-Bus that died raises EOFError, a proxy's client AttributeError."""
    for error in (EOFError(), BrokenPipeError(), AttributeError("gone")):

        async def broken(*_given: Any, error: Exception = error, **_more: Any) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr("bleak_retry_connector.establish_connection", broken)
            assert await world.failing(lock, "unlock") == "out_of_reach"
