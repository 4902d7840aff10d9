"""Unloading an entry leaves nothing of it: no listener, no timer, no task, no object."""

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from folk import Folk
from homeassistant.components import bluetooth
from homeassistant.const import EVENT_HOMEASSISTANT_FINAL_WRITE
from homeassistant.core import callback
from homeassistant.helpers.dispatcher import DATA_DISPATCHER
from homeassistant.util.async_ import get_scheduled_timer_handles

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from world import TestLock, World


@pytest.fixture
async def lock(world: World) -> TestLock:
    """A lock that can do everything."""
    return world.add_lock(
        c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD | c.CAP_AUTO_LOCK | c.CAP_RTC | c.CAP_LOG
    )


def listeners(hass: HomeAssistant) -> dict[str, int]:
    """How many listeners there are: of the bus, of the dispatcher, of Bluetooth."""
    found = {f"bus {kind}": number for kind, number in hass.bus.async_listeners().items()}
    for signal, targets in hass.data.get(DATA_DISPATCHER, {}).items():
        found[f"dispatcher {signal}"] = len(targets)
    manager = bluetooth.api._get_manager(hass)
    for address, callbacks in manager._advertisement_callbacks.items():
        found[f"bluetooth {address}"] = len(callbacks)
    # A store that has something to write yet.
    found.pop(f"bus {EVENT_HOMEASSISTANT_FINAL_WRITE}", None)
    return {name: number for name, number in found.items() if number}


def timers() -> list[str]:
    """The timers that would call something of this integration."""
    return [
        repr(handle)
        for handle in get_scheduled_timer_handles(asyncio.get_running_loop())
        if not handle.cancelled() and "igrs_lock" in repr(handle)
    ]


def tasks() -> list[str]:
    """The tasks that run something of this integration."""
    return [repr(task) for task in asyncio.all_tasks() if "igrs_lock" in repr(task.get_coro())]


async def live(hass: HomeAssistant, world: World, lock: TestLock) -> None:
    """Let everything run that may run, up to an open door and a held connection."""
    asyncio.get_running_loop().set_debug(True)  # timers tell where they are from
    await world.advance(10)
    lock.core.options.set(c.OPT_AUTO_LOCK, 30)
    lock.core.record(c.EV_OPTION, c.SLOT_NOBODY, c.SRC_BLUETOOTH, c.OPT_AUTO_LOCK)
    await world.advance(30)
    await world.call(lock, "unlock")
    lock.core.door_sensed(True)
    await world.advance(2)
    assert timers()


async def test_nothing_of_a_lock_is_left(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    await world.settle()
    before = listeners(hass)
    await hass.config_entries.async_setup(entry.entry_id)
    await live(hass, world, lock)
    left = weakref.ref(entry.runtime_data)
    assert await hass.config_entries.async_unload(entry.entry_id)
    await world.settle()
    assert listeners(hass) == before
    assert timers() == []
    assert tasks() == []
    # What Home Assistant itself keeps for a moment.
    await world.advance(30, step=5)
    gc.collect()
    assert left() is None, [type(one) for one in gc.get_referrers(left())]


async def test_nothing_of_people_is_left(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    folk = Folk(world)
    home = await folk.home()
    await hass.config_entries.async_unload(folk.entry.entry_id)
    before, listening = listeners(hass), len(home._listeners)
    await hass.config_entries.async_setup(folk.entry.entry_id)
    await folk.add("Anna", lock)
    await world.advance(10)
    assert await hass.config_entries.async_unload(folk.entry.entry_id)
    await world.settle()
    assert listeners(hass) == before
    assert len(home._listeners) == listening


async def test_reloading_again_and_again_adds_nothing(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await live(hass, world, lock)
    before = listeners(hass)
    for _ in range(3):
        assert await hass.config_entries.async_reload(entry.entry_id)
        await world.advance(8)
    assert listeners(hass) == before


async def test_packets_that_tell_nothing_new_write_no_state(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await world.advance(30)
    written: list[str] = []

    @callback
    def note(data: Any) -> bool:
        written.append(data["entity_id"])
        return False

    for kind in ("state_changed", "state_reported"):
        hass.bus.async_listen(kind, lambda _event: None, event_filter=note)
    for _ in range(4 * 900):
        world.broadcast(lock)
        await world.advance(0.25)
    assert written == []
