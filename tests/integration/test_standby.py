"""Always connected: held while the owner wants it, and never in anybody's way."""

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from bleak.exc import BleakError
from board import Connection
from bsld import const as c

from custom_components.igrs_lock.const import CONF_ALWAYS_CONNECTED

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant
    from world import TestLock, World

SEALED, SESSION_OPEN = 0x13, 0x12


def choose(hass: HomeAssistant, entry: ConfigEntry[Any], *, on: bool) -> None:
    hass.config_entries.async_update_entry(
        entry, options={**entry.options, CONF_ALWAYS_CONNECTED: on}
    )


@pytest.fixture
async def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Connection parameters that were asked for; a backend that can set them."""
    found: list[tuple[int, ...]] = []

    async def set_connection_params(_self: Connection, *parameters: int) -> None:
        found.append(parameters)

    monkeypatch.setattr(Connection, "set_connection_params", set_connection_params, raising=False)
    return found


@pytest.fixture
async def held(hass: HomeAssistant, world: World, lock: TestLock, entry: ConfigEntry[Any]) -> None:
    """Begin connected, with what pairing left to do done."""
    await world.advance(15)
    assert not lock.connections
    choose(hass, entry, on=True)
    await world.advance(10)
    lock.traffic.clear()
    assert len(lock.connections) == 1


async def test_it_is_held_as_long_as_that_is_chosen(
    hass: HomeAssistant, world: World, lock: TestLock, entry: ConfigEntry[Any], held: None
) -> None:
    connection = lock.connections[0]
    await world.advance(1000)
    assert lock.connections == [connection]
    # A holder asks every 50 s (ILP1 section 4, rule 7); the lock gives up after 60 s.
    assert 19 <= lock.kinds().count(SEALED) <= 21
    choose(hass, entry, on=False)
    await world.advance(6)
    assert not lock.connections
    lock.traffic.clear()
    await world.advance(120)
    assert not lock.traffic


async def test_other_options_change_nothing(
    hass: HomeAssistant, world: World, lock: TestLock, entry: ConfigEntry[Any], held: None
) -> None:
    connection = lock.connections[0]
    hass.config_entries.async_update_entry(entry, options={**entry.options, "other": 1})
    await world.advance(20)
    assert lock.connections == [connection]


async def test_it_is_held_again_after_a_restart(
    hass: HomeAssistant, world: World, lock: TestLock, entry: ConfigEntry[Any], held: None
) -> None:
    assert await world.during(hass.config_entries.async_unload(entry.entry_id))
    assert not lock.connections
    assert await hass.config_entries.async_setup(entry.entry_id)
    await world.advance(3)
    assert len(lock.connections) == 1


async def test_an_operation_is_one_message_on_it(world: World, lock: TestLock, held: None) -> None:
    before = world.connections
    await world.call(lock, "unlock")
    assert lock.kinds() == [SEALED]
    assert lock.core.bolt == c.BOLT_UNLOCKED
    await world.advance(20)
    assert world.connections == before
    assert lock.connections


async def test_the_lock_may_sleep_between_messages_from_the_handshake_on(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    asked: list[tuple[int, ...]],
) -> None:
    # Not where the connection is let go at once.
    await world.advance(15)
    await world.call(lock, "unlock")
    await world.advance(15)
    assert not asked
    choose(hass, entry, on=True)
    await world.advance(200)
    assert asked == [(24, 24, 16, 600)]
    lock.connections[0].end()
    await world.advance(10)
    assert asked == [(24, 24, 16, 600)] * 2


async def test_a_backend_that_refuses_the_parameters_holds_all_the_same(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(_self: Connection, *_parameters: int) -> None:
        raise BleakError("no")

    monkeypatch.setattr(Connection, "set_connection_params", refuse, raising=False)
    await world.advance(15)
    choose(hass, entry, on=True)
    await world.advance(10)
    (connection,) = lock.connections
    await world.advance(200)
    assert lock.connections == [connection]


async def test_lost_it_is_made_again_less_and_less_often(
    world: World, lock: TestLock, held: None
) -> None:
    lost = 0
    tries: list[float] = []

    def lose() -> None:
        nonlocal lost
        lost += 1
        tries.append(world.monotonic())

    lock.on_connect = lose
    lock.connections[0].end()
    await world.advance(3)
    assert not tries
    await world.advance(4)
    assert len(tries) == 1
    assert world.state(lock) == "locked"
    for _ in range(200):
        for connection in list(lock.connections):
            connection.end()
        await world.advance(10, step=1)
    gaps = [later - sooner for sooner, later in itertools.pairwise(tries)]
    assert max(gaps) > 300
    assert len(tries) < 30
    # And soon again, once it lasted.
    await world.advance(700)
    (connection,) = lock.connections
    await world.advance(60)
    connection.end()
    await world.advance(7)
    assert lock.connections


async def test_a_dialog_that_needs_the_lock_gets_it(
    world: World, lock: TestLock, entry: ConfigEntry[Any], held: None
) -> None:
    async with entry.runtime_data.client.suspended():
        assert not lock.connections
        await world.advance(300)
        assert not lock.connections
    await world.advance(15)
    assert len(lock.connections) == 1


async def test_what_happens_is_told_by_the_connection_alone(
    world: World, lock: TestLock, held: None
) -> None:
    lock.silent = True
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.settle()
    assert world.state(lock) == "unlocked"
    await world.advance(300)
    assert world.state(lock) == "unlocked"
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    await world.settle()
    assert world.state(lock) == "locked"


async def test_a_connection_that_is_dead_without_saying_so_keeps_no_old_state(
    world: World, lock: TestLock, held: None
) -> None:
    lock.silent = True
    lock.on_write = lambda _data: None
    lock.on_notify = lambda _data: None
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.advance(240)
    assert world.state(lock) == "unavailable"
    lock.silent = False
    lock.on_write = lock.on_notify = None
    await world.advance(5)
    assert world.state(lock) == "unlocked"
    await world.advance(600)
    assert lock.connections


async def test_out_of_reach_nothing_is_tried(world: World, lock: TestLock, held: None) -> None:
    lock.silent = True
    for connection in list(lock.connections):
        connection.end()
    await world.advance(300)
    tries: list[float] = []
    lock.on_connect = lambda: tries.append(world.monotonic())
    await world.advance(3600, step=10)
    assert not tries
    lock.silent = False
    await world.advance(10)
    assert tries
    assert lock.connections


async def test_it_ends_with_its_entry(
    hass: HomeAssistant, world: World, lock: TestLock, entry: ConfigEntry[Any], held: None
) -> None:
    assert await world.during(hass.config_entries.async_unload(entry.entry_id))
    lock.traffic.clear()
    await world.advance(300)
    choose(hass, entry, on=False)
    choose(hass, entry, on=True)
    await world.advance(30)
    assert not lock.traffic
    assert not lock.connections
