"""Lock, unlock and open: fast, retried once, never shown as done before they are."""

from typing import TYPE_CHECKING

import pytest
from bsld import const as c
from homeassistant.components.lock.const import LockEntityFeature
from homeassistant.core import Context
from homeassistant.exceptions import HomeAssistantError, ServiceNotSupported

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from pytest_homeassistant_custom_component.common import MockUser
    from world import TestLock, World

pytestmark = pytest.mark.usefixtures("quiet")

SEALED, ERROR = 0x13, 0x1F
CHALLENGE_REQUEST, SESSION_OPEN = 0x10, 0x12


async def test_lock_unlock_and_open_end_when_the_lock_says_so(
    world: World, lock: TestLock, states: list[str]
) -> None:
    await world.call(lock, "unlock")
    assert lock.core.bolt == c.BOLT_UNLOCKED
    await world.call(lock, "open")
    assert lock.core.bolt == c.BOLT_OPEN
    await world.advance(4)
    await world.call(lock, "lock")
    assert lock.core.bolt == c.BOLT_LOCKED
    assert states == [
        "unlocking", "unlocked", "opening", "open", "unlocked", "locking", "locked",
    ]  # fmt: skip
    assert world.attribute(lock, "changed_by") == "Home Assistant"


async def test_the_first_write_after_connecting_is_the_operation(
    world: World, lock: TestLock
) -> None:
    await world.call(lock, "unlock")
    first, second = lock.traffic[:2]
    assert first[0] == "write"
    assert first[1][1] == SESSION_OPEN
    assert first[1][3] == 0  # the advertised nonce
    assert second == ("subscribe", b"")
    assert lock.kinds() == [SESSION_OPEN]


async def test_at_the_smallest_mtu_fragments_are_written_back_to_back(
    world: World, lock: TestLock
) -> None:
    lock.mtu = 23
    await world.call(lock, "unlock")
    assert [what for what, _ in lock.traffic[:3]] == ["write", "write", "subscribe"]
    assert lock.core.bolt == c.BOLT_UNLOCKED


async def test_a_held_connection_needs_one_message(world: World, lock: TestLock) -> None:
    await world.call(lock, "unlock")
    connections = world.connections
    lock.traffic.clear()
    await world.call(lock, "lock")
    assert lock.kinds() == [SEALED]
    assert world.connections == connections


async def test_the_connection_is_let_go_after_five_idle_seconds(
    world: World, lock: TestLock
) -> None:
    await world.call(lock, "unlock")
    await world.advance(4.5)
    assert lock.connections
    await world.advance(2.5)  # the log was read meanwhile
    assert not lock.connections
    await world.call(lock, "lock")
    assert lock.core.bolt == c.BOLT_LOCKED


async def test_a_bolt_that_is_there_already_does_not_move(
    world: World, lock: TestLock, states: list[str]
) -> None:
    await world.call(lock, "lock")
    assert lock.operations == []
    assert states == ["locking", "locked"]


async def test_a_second_call_waits_for_the_first(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    first = hass.async_create_task(world.call(lock, "unlock"))
    await world.during(
        hass.services.async_call(
            "lock", "lock", {"entity_id": f"lock.{lock.entity}"}, blocking=True
        )
    )
    await first
    assert lock.operations == [c.OP_UNLOCK, c.OP_LOCK]


# --- failures ------------------------------------------------------------------------------------


async def test_a_jam_is_an_error_and_shown_as_the_lock_tells_it(
    world: World, lock: TestLock, states: list[str]
) -> None:
    lock.jammed = True
    assert await world.failing(lock, "unlock") == "jammed"
    assert states == ["unlocking", "jammed"]


async def test_a_jam_is_told_without_a_connection_too(world: World, lock: TestLock) -> None:
    lock.jammed = True

    def lose(data: bytes) -> bytes:
        world.hass.loop.call_later(0.2, lock.connections[-1].end)
        lock.on_notify = None
        return data

    lock.on_notify = lose
    assert await world.failing(lock, "unlock") == "jammed"


async def test_a_motor_that_never_ends_is_a_jam(world: World, lock: TestLock) -> None:
    lock.stuck = True
    assert await world.failing(lock, "unlock") == "jammed"


async def test_a_movement_whose_end_nobody_hears_is_not_shown_as_done(
    world: World, lock: TestLock, states: list[str]
) -> None:
    def vanish(data: bytes) -> bytes:
        lock.on_notify = lambda data: None
        lock.silent = True
        return data

    lock.on_notify = vanish
    assert await world.failing(lock, "unlock") == "unconfirmed"
    assert states[-1] != "unlocked"


async def test_a_bolt_turned_the_other_way_meanwhile_is_an_error(
    world: World, lock: TestLock
) -> None:
    lock.stuck = True

    def turn_back(data: bytes) -> bytes:
        if data[1] == SEALED:
            lock.on_notify = None
            world.hass.loop.call_later(0.3, lock.core.bolt_sensed, c.BOLT_LOCKED)
        return data

    lock.on_notify = turn_back
    assert await world.failing(lock, "unlock") in ("jammed", "unconfirmed")
    assert world.state(lock) == "locked"


async def test_locking_an_open_door_is_an_error_although_the_bolt_is_out(
    world: World, lock: TestLock
) -> None:
    await world.call(lock, "unlock")
    lock.core.door_sensed(True)
    assert await world.failing(lock, "lock") == "door_open"
    assert world.state(lock) == "unlocked"


async def test_a_flat_battery_is_told(world: World, lock: TestLock) -> None:
    lock.core.battery_measured(1, True)
    assert await world.failing(lock, "unlock") == "battery_low"
    assert world.state(lock) == "locked"


async def test_a_lock_that_moves_already_is_waited_for_or_busy(
    world: World, lock: TestLock
) -> None:
    lock.core.button_pressed()
    await world.call(lock, "unlock")
    assert lock.operations == [c.OP_UNLOCK]
    lock.core.button_pressed()
    assert await world.failing(lock, "unlock") == "lock_busy"


async def test_a_lock_without_a_latch_cannot_be_opened(hass: HomeAssistant, world: World) -> None:
    lock = world.add_lock(capabilities=c.CAP_DOOR_SENSOR)
    await world.pair(lock)
    assert world.attribute(lock, "supported_features") == 0
    with pytest.raises(ServiceNotSupported):
        await world.call(lock, "open")


async def test_a_lock_with_a_latch_can_be_opened(world: World, lock: TestLock) -> None:
    assert world.attribute(lock, "supported_features") == LockEntityFeature.OPEN


async def test_busy_gateways_are_told_at_once(world: World, lock: TestLock) -> None:
    world.near.free = world.far.free = 0
    connections = world.connections
    assert await world.failing(lock, "unlock") == "gateway_busy"
    assert world.connections == connections
    world.far.free = 1
    await world.call(lock, "unlock")


async def test_no_gateway_with_a_path_is_told_with_the_reason(world: World, lock: TestLock) -> None:
    for gateway in (world.near, world.far):
        gateway.forget(lock.address)
    with pytest.raises(HomeAssistantError) as failure:
        await world.call(lock, "unlock")
    assert failure.value.translation_key == "out_of_reach"
    assert "scanner" in (failure.value.translation_placeholders or {})["reason"]
    assert world.state(lock) == "locked"


async def test_a_connection_that_cannot_be_made_is_told_in_time(
    world: World, lock: TestLock
) -> None:
    lock.silent = True
    begun = world.monotonic()
    assert await world.failing(lock, "unlock") == "out_of_reach"
    # Three attempts of five seconds, as there are two gateways; not four of twenty.
    assert 14 < world.monotonic() - begun < 17
    assert world.state(lock) == "locked"


async def test_a_cached_table_without_the_locks_characteristics_is_read_anew(
    world: World, lock: TestLock
) -> None:
    lock.characteristics = []
    await world.call(lock, "unlock")
    assert lock.core.bolt == c.BOLT_UNLOCKED


async def test_notifications_that_cannot_be_had_are_told(world: World, lock: TestLock) -> None:
    lock.refuses_notify = True
    assert await world.failing(lock, "unlock") == "no_answer"


async def test_a_disconnection_that_fails_hurts_nobody(world: World, lock: TestLock) -> None:
    lock.refuses_disconnect = True
    await world.call(lock, "unlock")
    await world.advance(6)
    assert world.state(lock) == "unlocked"


async def test_a_turn_by_hand_after_an_operation_is_not_its_users(
    hass: HomeAssistant, world: World, lock: TestLock, hass_admin_user: MockUser
) -> None:
    context = Context(user_id=hass_admin_user.id)
    entity_id = f"lock.{lock.entity}"
    await world.during(
        hass.services.async_call(
            "lock", "unlock", {"entity_id": entity_id}, blocking=True, context=context
        )
    )
    after = hass.states.get(entity_id)
    assert after is not None
    assert (after.state, after.context.user_id) == ("unlocked", hass_admin_user.id)
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    await world.advance(1)
    after = hass.states.get(entity_id)
    assert after is not None
    assert (after.state, after.context.user_id) == ("locked", None)
