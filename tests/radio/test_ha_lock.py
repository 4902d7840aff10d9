"""The integration over a whole Bluetooth stack: real clock, real radio exchange, few cases."""

import asyncio
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from homeassistant.components import bluetooth
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.exceptions import HomeAssistantError
from homeassistant.setup import async_setup_component

from simulator.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from homeassistant.core import HomeAssistant

    from simulator.virtual_lock import VirtualLock

pytestmark = pytest.mark.usefixtures("socket_enabled", "enable_custom_integrations")

DOMAIN = "igrs_lock"
MTU_REQUEST, WRITE_COMMAND = 0x02, 0x52


async def until(check: Callable[[], object]) -> Any:
    """Wait for something to become true; the test's own time-out is the limit."""
    while not (value := check()):  # noqa: ASYNC110 - what is waited for has no event to tell
        await asyncio.sleep(0.02)
    return value


@pytest.fixture(autouse=True)
def right_clock() -> Iterator[None]:
    with patch("custom_components.igrs_lock.clock.kernel_synchronised", lambda: True):
        yield


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path / "locks", 1, seed=1, motor_seconds=0.1) as world:
        yield world


@pytest.fixture
def lock(world: World) -> VirtualLock:
    return next(iter(world.locks.values()))


async def add_adapters(hass: HomeAssistant, world: World, count: int) -> None:
    adapters = [
        {"port": world.hci_port, "name": f"gateway {number + 1}"} for number in range(count)
    ]
    assert await async_setup_component(hass, "virtual_ble", {"virtual_ble": adapters})
    await hass.async_block_till_done()
    await until(lambda: len(world.gateways) == count)


async def at_rest(hass: HomeAssistant, lock: VirtualLock) -> None:
    """Wait until the background worker has done its jobs and let go of the lock."""
    sync = lock_entry(hass).runtime_data.sync
    await until(lambda: sync.calm and lock.state()["connections"] == 0)


def lock_entry(hass: HomeAssistant) -> Any:
    """The lock's config entry."""
    entries = hass.config_entries.async_loaded_entries(DOMAIN)
    (entry,) = [entry for entry in entries if "lock_key" in entry.data]
    return entry


async def discovered(hass: HomeAssistant) -> Any:
    """Wait until Home Assistant offers the lock."""
    flows = hass.config_entries.flow
    found = await until(lambda: flows.async_progress_by_handler(DOMAIN))
    return found[0]


async def submit(hass: HomeAssistant, flow: Any, code: str) -> Any:
    """Type a setup code and wait for the end of the progress."""
    flows = hass.config_entries.flow
    result = await flows.async_configure(flow["flow_id"], {"setup_code": code})
    while result["type"] is FlowResultType.SHOW_PROGRESS:
        await asyncio.sleep(0.05)
        result = await flows.async_configure(flow["flow_id"])
    return result


async def pair(hass: HomeAssistant, world: World, lock: VirtualLock, gateways: int = 1) -> str:
    """Pair by discovery; return the entity ID once the lock is heard."""
    await add_adapters(hass, world, gateways)
    result = await submit(hass, await discovered(hass), lock.identity.setup_code)
    assert result["type"] is FlowResultType.CREATE_ENTRY, result
    entity_id = f"lock.igrs_{lock.identity.id[-4:].lower()}"
    await until(lambda: (state := hass.states.get(entity_id)) and state.state == "locked")
    return entity_id


async def call(hass: HomeAssistant, service: str, entity_id: str) -> None:
    await hass.services.async_call("lock", service, {"entity_id": entity_id}, blocking=True)


def state_of(hass: HomeAssistant, entity_id: str) -> str:
    state = hass.states.get(entity_id)
    assert state is not None
    return state.state


async def test_discover_pair_lock_and_unlock(
    hass: HomeAssistant, world: World, lock: VirtualLock
) -> None:
    await add_adapters(hass, world, 1)
    flow = await discovered(hass)
    assert flow["context"]["title_placeholders"]["name"] == f"IGRS-{lock.identity.id[-4:]}"
    result = await submit(hass, flow, "0000-0000-0000-0000")
    assert result["errors"] == {"setup_code": "wrong_setup_code"}
    result = await submit(hass, flow, lock.identity.setup_code)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"]["model"] == "Simulated lock"
    entity_id = f"lock.igrs_{lock.identity.id[-4:].lower()}"
    await until(lambda: (state := hass.states.get(entity_id)) and state.state == "locked")
    for service, state in (("unlock", "unlocked"), ("open", "open"), ("lock", "locked")):
        await call(hass, service, entity_id)
        assert state_of(hass, entity_id) == state
    lock.door.turn(locked=False)
    await until(lambda: state_of(hass, entity_id) == "unlocked")
    lock.door.block(True)
    with pytest.raises(HomeAssistantError) as failure:
        await call(hass, "lock", entity_id)
    assert failure.value.translation_key == "jammed"
    assert state_of(hass, entity_id) == "jammed"


async def test_on_a_cold_connection_the_first_write_moves_the_bolt(
    hass: HomeAssistant, world: World, lock: VirtualLock
) -> None:
    entity_id = await pair(hass, world, lock)
    await at_rest(hass, lock)
    lock.traced.clear()
    await call(hass, "unlock", entity_id)
    steps = [(entry["what"], entry.get("opcode")) for entry in lock.traced]
    begun = steps.index(("connected", None))
    until_bolt = list(steps[begun + 1 :])
    operate = [what for what, _ in until_bolt].index("operate")
    assert until_bolt[:operate] == [("att", MTU_REQUEST), ("att", WRITE_COMMAND)]


async def test_two_gateways_both_are_heard_and_the_other_is_taken_when_one_fails(
    hass: HomeAssistant, world: World, lock: VirtualLock
) -> None:
    entity_id = await pair(hass, world, lock, gateways=2)
    await at_rest(hass, lock)
    name = lock.identity.id
    found = bluetooth.async_scanner_devices_by_address(hass, lock.identity.address, True)
    assert len(found) == 2
    # Only the second one hears the change.
    world.radio.set_rssi(name, "gateway 1", None)
    world.radio.set_rssi(name, "gateway 2", -80)
    lock.door.turn(locked=False)
    await until(lambda: state_of(hass, entity_id) == "unlocked")
    # Home Assistant still knows the first as the nearer path.
    await call(hass, "lock", entity_id)
    assert state_of(hass, entity_id) == "locked"
    await at_rest(hass, lock)
