"""What is passed on of a lock: as it was heard, with its time and its proof, and to nobody else."""

import time
from typing import TYPE_CHECKING, Any

import pytest
from bsld import advert
from relay_desk import REMOTE, STATUS, Desk, Rac
from tenants import Tenants

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.remote.wire import unb64

if TYPE_CHECKING:
    from collections.abc import Generator

    from homeassistant.config_entries import ConfigEntry
    from world import TestLock, World


@pytest.fixture
def desk(world: World, lock: TestLock, entry: ConfigEntry[Any]) -> Generator[Desk]:
    desk = Desk(world, Tenants(world, lock, entry))
    yield desk
    desk.stop()


def follow(desk: Desk, *locks: TestLock) -> None:
    desk.say("lock.follow", locks=sorted(one.unique_id for one in locks))


def states(desk: Desk) -> list[dict[str, Any]]:
    return desk.told("lock.state")


def opened(lock: TestLock, key: bytes, body: dict[str, Any]) -> ilp.Advertisement:
    """What a client with the advertisement key reads; its proof has to be right."""
    data = unb64(body["advertisement"])
    assert unb64(body["seen"]) == ilp.seen_proof(key, lock.device_id, data, body["time"])
    return ilp.open_advertisement(key, lock.device_id, data)


async def test_who_follows_hears_each_change_with_its_time_and_proof(
    world: World, lock: TestLock, entry: ConfigEntry[Any], desk: Desk
) -> None:
    await world.advance(8)
    key = ilp.advertisement_key(bytes.fromhex(entry.data["lock_key"]), 0)
    lock.core.door_sensed(True)
    await world.advance(1)
    assert not states(desk)  # nobody follows
    follow(desk, lock)
    (body,) = states(desk)
    assert opened(lock, key, body).door is ilp.Door.OPEN
    assert body["time"] == int(time.time())
    assert body["rssi"] == -60
    await world.advance(3)
    lock.core.door_sensed(False)
    await world.settle()
    assert opened(lock, key, states(desk)[-1]).door is ilp.Door.CLOSED
    assert states(desk)[-1]["time"] == int(time.time())
    # Nothing changes: it is sent again while the lock is heard, with the time of that.
    before = len(states(desk))
    await world.advance(65)
    assert len(states(desk)) >= before + 2
    times = [body["time"] for body in states(desk)]
    assert times == sorted(times)
    assert time.time() - times[-1] <= 35
    # Not heard, it gets no new time, and another who asks hears the old one.
    lock.silent = True
    heard = time.time()
    await world.advance(40)
    before = len(states(desk))
    await world.advance(20)
    follow(desk, lock)
    assert [body["time"] <= int(heard) for body in states(desk)[before:]] == [True]
    await world.advance(60)
    before = len(states(desk))
    follow(desk, lock)  # unavailable by now: nothing is said of it
    assert len(states(desk)) == before
    lock.silent = False
    await world.advance(2)
    assert len(states(desk)) > before


async def test_only_registered_locks_and_only_over_a_link(
    world: World, lock: TestLock, entry: ConfigEntry[Any], desk: Desk
) -> None:
    desk.store.locks = {}
    desk.changed()
    follow(desk, lock)
    lock.core.door_sensed(True)
    await world.advance(1)
    assert not desk.link.sent
    desk.store.locks = {lock.unique_id: 0}
    desk.changed()  # registered while it is followed
    assert len(states(desk)) == 1
    desk.link.connected = False
    desk.changed()
    lock.core.door_sensed(False)
    await world.advance(1)
    assert len(states(desk)) == 1
    desk.link.connected = True
    desk.changed()
    await world.advance(1)
    assert len(states(desk)) == 1  # the server says anew what is followed
    lock.silent = True
    follow(desk, lock)
    assert len(states(desk)) == 2
    # A new server has nothing of it, though the lock was not heard since.
    desk.link.connected = False
    desk.changed()
    desk.link.connected = True
    follow(desk, lock)
    assert len(states(desk)) == 3
    follow(desk, lock)
    assert len(states(desk)) == 3
    lock.silent = False
    await world.hass.config_entries.async_unload(entry.entry_id)
    lock.core.door_sensed(True)
    await world.advance(1)
    assert len(states(desk)) == 3
    await world.hass.config_entries.async_setup(entry.entry_id)
    await world.advance(2)
    assert len(states(desk)) > 3


async def test_news_of_the_log_are_told_to_the_server_whoever_follows(
    world: World, lock: TestLock, desk: Desk
) -> None:
    await world.advance(8)
    desk.link.sent.clear()
    lock.core.door_sensed(True)
    await world.advance(1)
    (event,) = desk.told("lock.event")
    assert event["counter"] == lock.core.log_records(0, 1000)[-1][3]
    await world.advance(700, step=30)  # heartbeats are no news
    assert len(desk.told("lock.event")) == 1


async def test_case_63_follow_without_end_and_advertisements_without_end_are_few_messages(
    world: World, lock: TestLock, entry: ConfigEntry[Any], desk: Desk
) -> None:
    await world.advance(8)
    for _ in range(200):
        follow(desk, lock)
        follow(desk)
    assert len(states(desk)) <= 2
    follow(desk, lock)
    desk.link.sent.clear()
    # Who has the advertisement key can make as many as they like.
    lock_key = bytes.fromhex(entry.data["lock_key"])
    counter = lock.core.counter
    for number in range(100):
        world.forge(lock, forged(lock, lock_key, counter + 1 + number))
        await world.advance(0.02)
    assert len(desk.link.sent) <= 30


async def test_case_48_a_packet_that_is_sent_for_ever_is_passed_on_no_longer_than_it_counts_here(
    world: World, lock: TestLock, desk: Desk
) -> None:
    follow(desk, lock)
    await world.advance(5)
    data = lock.data
    lock.silent = True
    for _ in range(40):
        world.forge(lock, data)
        await world.advance(60, step=30)
    before = len(states(desk))
    follow(desk)
    follow(desk, lock)
    world.forge(lock, data)
    await world.advance(61, step=30)
    assert len(states(desk)) == before


async def test_what_was_passed_on_is_a_nonce_for_a_minute(
    world: World, lock: TestLock, desk: Desk
) -> None:
    await world.advance(8)
    device = lock.unique_id
    assert desk.states.passed_on(device) == []
    assert desk.states.passed_on("000000000000") == []
    follow(desk, lock)
    nonce = b"\x00" + lock.data[3:]
    assert desk.states.passed_on(device) == [nonce]
    await world.advance(2)
    lock.core.door_sensed(True)
    await world.advance(1)
    newer = b"\x00" + lock.data[3:]
    assert desk.states.passed_on(device) == [newer, nonce]
    follow(desk)
    lock.silent = True
    await world.advance(58)
    assert desk.states.passed_on(device) == [newer]
    await world.advance(2)
    assert desk.states.passed_on(device) == []


async def test_after_an_epoch_the_proof_is_made_with_the_key_of_the_packet(
    world: World, lock: TestLock, entry: ConfigEntry[Any]
) -> None:
    """Somebody is removed: what is on the air until then was sealed with the key of before."""
    await world.advance(10)
    tenants = Tenants(world, lock, entry)
    desk = Desk(world, tenants)
    anna, ben = tenants.add("Anna", rights=REMOTE), tenants.add("Ben", rights=REMOTE)
    await world.advance(15)
    follow(desk, lock)
    lock.mute = True  # the lock's answer tells of the epoch before anybody hears it
    tenants.remove(ben)
    await world.advance(12)
    assert tenants.coordinator.tracker.epoch == 1
    before = len(states(desk))
    follow(desk, lock)
    assert len(states(desk)) == before + 1
    lock.mute = False
    await world.advance(5)
    lock_key = tenants.lock_key
    epochs = []
    for body in states(desk):
        for epoch in (0, 1):
            try:
                opened(lock, ilp.advertisement_key(lock_key, epoch), body)
            except AssertionError, ilp.AuthenticationError:
                continue
            epochs.append(epoch)
    assert len(epochs) == len(states(desk))
    assert epochs == sorted(epochs)
    assert epochs[-1] == 1
    # And a relay opens on what was passed on since.
    rac = Rac.of(desk, tenants, "Anna")
    relay = desk.open(rac, rac.opening(STATUS))
    await world.settle()
    assert rac.read(desk.answers(relay)) == [ilp.Result.DONE, ilp.Result.DONE]
    assert tenants.access("Anna").person_id == anna
    desk.stop()


def forged(lock: TestLock, lock_key: bytes, counter: int) -> bytes:
    """An advertisement of somebody who has the key."""
    key = ilp.advertisement_key(lock_key, 0)
    return advert.seal(key, lock.device_id, bytes((lock.data[0], 0x0A, 87)), counter)
