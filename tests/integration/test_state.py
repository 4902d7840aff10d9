"""State from advertisements: true, fresh, and from every gateway (attack case 48)."""

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from bsld import advert
from bsld import const as c
from homeassistant.components import bluetooth
from homeassistant.const import STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from world import DOMAIN

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.store import async_get_memory

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from world import TestLock, World

LOCKED, UNLOCKED = 0x09, 0x0A  # with the door closed


def advertised(entry: Any, lock: TestLock, counter: int, state: int, epoch: int = 0) -> bytes:
    """Make an advertisement as somebody with the lock key can."""
    key = ilp.advertisement_key(bytes.fromhex(entry.data["lock_key"]), epoch)
    flags = lock.data[0]
    return bytes(advert.seal(key, lock.device_id, bytes((flags, state, 80)), counter))


async def test_what_happens_at_the_door_is_shown_without_a_connection(
    world: World, lock: TestLock, entry: object
) -> None:
    before = world.connections
    assert world.state(lock) == "locked"
    assert world.state(lock, "sensor", "_battery") == "87"
    assert world.state(lock, "binary_sensor", "_door") == "off"
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    lock.core.door_sensed(True)
    lock.core.battery_measured(42, False)
    await world.settle()
    assert world.state(lock) == "unlocked"
    assert world.state(lock, "sensor", "_battery") == "42"
    assert world.state(lock, "binary_sensor", "_door") == "on"
    assert world.connections == before


@pytest.mark.parametrize(
    ("bolt", "state"),
    [
        (c.BOLT_UNLOCKED, "unlocked"),
        (c.BOLT_JAMMED, "jammed"),
        (c.BOLT_OPEN, "open"),
        (c.BOLT_UNKNOWN, STATE_UNKNOWN),
    ],
)
async def test_every_position_of_the_bolt_has_its_state(
    world: World, lock: TestLock, entry: object, bolt: int, state: str
) -> None:
    lock.core.bolt_sensed(bolt)
    await world.settle()
    assert world.state(lock) == state


async def test_a_movement_somebody_else_began_is_shown(
    world: World, lock: TestLock, entry: object
) -> None:
    lock.core.button_pressed()
    await world.settle()
    assert world.state(lock) == "unlocking"
    await world.advance(1)
    assert world.state(lock) == "unlocked"
    lock.core.button_pressed()
    await world.settle()
    assert world.state(lock) == "locking"


async def test_a_bolt_that_is_out_locks_no_open_door(
    world: World, lock: TestLock, entry: object
) -> None:
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    lock.core.door_sensed(True)
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    await world.settle()
    assert world.state(lock) == "unlocked"
    lock.core.door_sensed(False)
    await world.settle()
    assert world.state(lock) == "locked"


async def test_an_unknown_charge_is_no_number(world: World, lock: TestLock, entry: object) -> None:
    lock.core.battery_measured(255, False)
    await world.settle()
    assert world.state(lock, "sensor", "_battery") == STATE_UNKNOWN


async def test_a_lock_without_a_door_sensor_has_no_door_until_it_tells_of_one(
    hass: HomeAssistant, world: World
) -> None:
    lock = world.add_lock(capabilities=0)
    entry = await world.pair(lock)
    assert hass.states.get(f"binary_sensor.{lock.entity}_door") is None
    lock.silent = True
    # What it said of itself when it was paired was not authenticated; this is.
    world.forge(lock, advertised(entry, lock, lock.core.counter + 1, 0x11))
    await world.settle()
    assert hass.states.get(f"binary_sensor.{lock.entity}_door") is not None
    assert er.async_get(hass).async_get(f"binary_sensor.{lock.entity}_door") is not None


async def test_a_change_that_only_the_weaker_gateway_hears_is_shown_at_once(
    world: World, lock: TestLock, entry: object
) -> None:
    world.near.hears.clear()
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.settle()
    assert world.state(lock) == "unlocked"


async def test_a_forged_tag_shows_nothing(world: World, lock: TestLock, entry: object) -> None:
    data = advertised(entry, lock, lock.core.counter + 1, UNLOCKED)
    world.forge(lock, data[:-1] + bytes((data[-1] ^ 1,)))
    world.forge(lock, data[:9])
    world.forge(lock, b"")
    await world.settle()
    assert world.state(lock) == "locked"


async def test_an_old_packet_shows_nothing(world: World, lock: TestLock, entry: object) -> None:
    old = lock.data
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.settle()
    lock.silent = True
    world.forge(lock, old)
    await world.settle()
    assert world.state(lock) == "unlocked"


async def test_a_counter_far_ahead_blinds_for_thirty_seconds_at_most(
    world: World, lock: TestLock, entry: object
) -> None:
    """Who once held the key can forge; the lock itself is asked soon."""
    world.forge(lock, advertised(entry, lock, 0xFFFF00, UNLOCKED))
    await world.settle()
    assert world.state(lock) == "unlocked"
    before = world.connections
    await world.advance(29)
    assert world.connections == before
    await world.advance(5)
    assert world.connections == before + 1
    assert world.state(lock) == "locked"
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.settle()
    assert world.state(lock) == "unlocked"


async def test_older_packets_cause_one_question_in_ten_minutes(
    world: World, lock: TestLock, entry: object
) -> None:
    old = lock.data
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.advance(10)  # the log is read
    lock.silent = True
    before = world.connections
    attempts = 0

    def count() -> None:
        nonlocal attempts
        attempts += 1

    lock.on_connect = count
    for _ in range(60):
        world.forge(lock, old)
        await world.advance(10, step=5)
    # A question takes three attempts on two gateways.
    assert attempts == 3
    for _ in range(6):
        world.forge(lock, old)
        await world.advance(10, step=5)
    assert attempts == 6
    assert world.connections == before


async def test_the_newest_packet_replayed_for_ever_is_believed_for_25_minutes(
    world: World, lock: TestLock, entry: object
) -> None:
    newest = lock.data
    lock.silent = True
    for _ in range(148):
        await world.advance(10, step=10)
        world.forge(lock, newest)
    await world.settle()
    assert world.state(lock) == "locked"
    for _ in range(3):
        await world.advance(10, step=10)
        world.forge(lock, newest)
    await world.settle()
    assert world.state(lock) == STATE_UNAVAILABLE
    # Nor does it come back with the same packet, and the lock is asked in vain.
    await world.advance(40, step=10)
    world.forge(lock, newest)
    await world.advance(40, step=1)
    assert world.state(lock) == STATE_UNAVAILABLE
    lock.silent = False
    await world.advance(700, step=1)
    assert world.state(lock) == "locked"


async def test_a_silent_lock_is_unavailable_after_90_seconds_and_never_unknown(
    world: World, lock: TestLock, entry: object, states: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    lock.silent = True
    await world.advance(89)
    assert world.state(lock) == "locked"
    await world.advance(3)
    for domain, suffix in (("lock", ""), ("sensor", "_battery"), ("binary_sensor", "_door")):
        assert world.state(lock, domain, suffix) == STATE_UNAVAILABLE
    await world.advance(600, step=10)
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    lock.silent = False
    await world.advance(2)
    assert states == [STATE_UNAVAILABLE, "unlocked"]
    assert caplog.text.count("is unavailable") == 1
    assert caplog.text.count("is back") == 1


async def test_a_lock_that_comes_back_unchanged_is_shown_again(
    world: World, lock: TestLock, entry: object
) -> None:
    lock.silent = True
    await world.advance(100)
    assert world.state(lock) == STATE_UNAVAILABLE
    lock.silent = False
    await world.advance(1.5)
    assert world.state(lock) == "locked"


async def test_a_lock_that_advertises_seldom_is_given_twenty_intervals(
    world: World, lock: TestLock, entry: object
) -> None:
    lock.silent = True
    with patch.object(
        bluetooth, "async_get_learned_advertising_interval", lambda _hass, _address: 10.0
    ):
        await world.advance(190, step=1)
        assert world.state(lock) == "locked"
        await world.advance(12, step=1)
        assert world.state(lock) == STATE_UNAVAILABLE


async def test_a_scan_response_is_no_sign_of_life(
    world: World, lock: TestLock, entry: object
) -> None:
    lock.silent = True
    for _ in range(100):
        await world.advance(1, step=1)
        world.near.hear(lock.address, advert.scan_response(lock.device_id))
    assert world.state(lock) == STATE_UNAVAILABLE


async def test_packets_from_before_a_restart_restore_counters_never_state(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any, states: list[str]
) -> None:
    older = lock.data
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    stored = lock.data
    await world.settle()
    await hass.config_entries.async_unload(entry.entry_id)
    lock.silent = True
    # Home Assistant's memory of the lock is lost, only the stored packet is there.
    await world.forget_memory()
    await world.advance(31)
    states.clear()
    assert await hass.config_entries.async_setup(entry.entry_id)
    await world.settle()
    assert world.state(lock) == STATE_UNAVAILABLE
    assert entry.runtime_data.tracker.counter == lock.core.counter
    # A packet from before is known to be old, although nothing fresh was heard yet.
    world.forge(lock, older)
    await world.settle()
    assert world.state(lock) == STATE_UNAVAILABLE
    # And so is one that a gateway delivers late.
    world.forge(lock, stored, age=6)
    await world.settle()
    assert world.state(lock) == STATE_UNAVAILABLE
    lock.silent = False
    await world.advance(1.5)
    assert set(states) == {STATE_UNAVAILABLE, "unlocked"}


async def test_a_fresh_packet_is_used_at_set_up(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await hass.config_entries.async_reload(entry.entry_id)
    assert world.state(lock) == "locked"


async def test_the_counter_outlives_a_restart(
    hass: HomeAssistant, hass_storage: dict[str, Any], world: World, lock: TestLock, entry: Any
) -> None:
    old = lock.data
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.advance(61)
    assert hass_storage[DOMAIN]["data"]["locks"][lock.unique_id]["counter"] == lock.core.counter
    await hass.config_entries.async_unload(entry.entry_id)
    await world.forget_memory()
    bluetooth.async_clear_advertisement_history(hass, lock.address)
    lock.silent = True
    assert await hass.config_entries.async_setup(entry.entry_id)
    world.forge(lock, old)
    await world.settle()
    assert world.state(lock) == STATE_UNAVAILABLE


async def test_a_restart_of_the_lock_shows_nothing_false(
    world: World, lock: TestLock, entry: object, states: list[str]
) -> None:
    lock.power_cut()
    await world.advance(5)
    assert states == []
    assert world.state(lock) == "locked"


async def test_a_new_epoch_is_followed(world: World, lock: TestLock, entry: Any) -> None:
    world.forge(lock, advertised(entry, lock, lock.core.counter + 5, UNLOCKED, epoch=1))
    await world.settle()
    assert world.state(lock) == "unlocked"
    assert entry.runtime_data.tracker.epoch == 1


async def test_an_epoch_that_was_missed_is_asked_for(
    world: World, lock: TestLock, entry: Any
) -> None:
    """As after restoring an old backup: every tag is wrong then."""
    coordinator = entry.runtime_data
    coordinator.tracker.set_epoch(5)
    await world.advance(26 * 60, step=1)
    assert coordinator.tracker.epoch == 0
    assert world.state(lock) == "locked"


async def test_the_answer_to_a_question_is_a_state(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    """Also when no advertisement could be read since the start."""
    await hass.config_entries.async_unload(entry.entry_id)
    entry_epoch = await async_get_memory(hass)
    entry_epoch.lock(lock.unique_id)["epoch"] = 5
    assert await hass.config_entries.async_setup(entry.entry_id)
    await world.advance(25)
    assert world.state(lock) == STATE_UNAVAILABLE
    lock.mute = True
    world.near.hear(lock.address, advert.payload(lock.data))
    await world.advance(5)
    world.near.hear(lock.address, advert.payload(lock.data))
    await world.advance(3)
    assert world.state(lock) == "locked"
    assert world.state(lock, "sensor", "_battery") == "87"


async def test_at_the_end_of_its_counter_a_lock_is_to_be_paired_anew(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    lock.silent = True
    world.forge(lock, advertised(entry, lock, 0xFFFFFF, LOCKED))
    await world.settle()
    # Who once held the advertisement key can say so too: only the lock's own answer counts.
    assert not hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    lock.core._beacon.counter.value = 0xFFFFFF
    lock.silent = False
    await world.call(lock, "unlock")
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert flow["context"]["source"] == "reauth"


async def test_a_lock_that_was_reset_elsewhere_raises_a_repair(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    issues = ir.async_get(hass)
    lock.core.inner_button_held(10)
    await world.advance(2)
    # Held by its owner: still paired, still ours.
    assert not issues.issues
    assert world.state(lock) == "locked"
    lock.silent = True
    await world.advance(31)
    unpaired = bytes(advert.seal(None, lock.device_id, b"\x11\x09\x50", lock.core.counter + 9))
    world.forge(lock, unpaired)
    await world.settle()
    issue = issues.async_get_issue(DOMAIN, f"reset_elsewhere_{lock.unique_id}")
    assert issue is not None
    assert issue.is_fixable
    # Nothing is believed because of it: the true lock speaks, and it is gone.
    lock.silent = False
    lock.core.battery_measured(86, False)
    await world.settle()
    assert issues.async_get_issue(DOMAIN, f"reset_elsewhere_{lock.unique_id}") is None


async def test_a_forged_setup_bit_beside_the_true_lock_raises_nothing(
    hass: HomeAssistant, world: World, lock: TestLock, entry: object
) -> None:
    unpaired = bytes(advert.seal(None, lock.device_id, b"\x11\x09\x50", lock.core.counter + 9))
    for _ in range(10):
        await world.advance(5)
        world.forge(lock, unpaired)
    assert not ir.async_get(hass).issues
    assert world.state(lock) == "locked"


async def test_junk_from_a_silent_locks_address_raises_nothing(
    hass: HomeAssistant, world: World, lock: TestLock, entry: object
) -> None:
    lock.silent = True
    await world.advance(31)
    world.forge(lock, b"\x21" + lock.data[1:])
    world.forge(lock, b"\x10" + lock.data[1:])
    await world.settle()
    assert not ir.async_get(hass).issues


async def test_who_turned_the_bolt_by_hand_is_nobody(
    world: World, lock: TestLock, entry: object
) -> None:
    await world.call(lock, "unlock")
    assert world.attribute(lock, "changed_by") == "Home Assistant"
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    # The session is still there, so the lock tells how.
    await world.settle()
    assert world.attribute(lock, "changed_by") == "by_hand"
    await world.advance(10)
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.advance(1)
    assert world.attribute(lock, "changed_by") is None


async def test_who_changed_it_outlives_a_restart_unless_something_happened(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await world.call(lock, "unlock")
    await world.advance(10)
    await hass.config_entries.async_reload(entry.entry_id)
    await world.advance(2)
    assert world.attribute(lock, "changed_by") == "Home Assistant"
    await hass.config_entries.async_unload(entry.entry_id)
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await world.advance(2)
    assert world.state(lock) == "unlocked"
    assert world.attribute(lock, "changed_by") == "by_hand"  # as the lock's log tells
