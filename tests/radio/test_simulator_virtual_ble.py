"""Home Assistant on the simulator's radio, through the virtual adapter."""

import asyncio
from typing import TYPE_CHECKING, Any

import bleak
import bleak_retry_connector
import pytest
from bleak.exc import BleakError
from homeassistant.components import bluetooth
from homeassistant.setup import async_setup_component

from simulator.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from bleak.backends.characteristic import BleakGATTCharacteristic
    from homeassistant.core import HomeAssistant

    from simulator.virtual_lock import VirtualLock

pytestmark = pytest.mark.usefixtures("socket_enabled", "enable_custom_integrations")

SERVICE = "dbb0f1bf-e964-45da-b215-dd4c9fb1c7b5"
INFO = "dbb0f1c0-e964-45da-b215-dd4c9fb1c7b5"
REQUEST = "dbb0f1c1-e964-45da-b215-dd4c9fb1c7b5"
RESPONSE = "dbb0f1c2-e964-45da-b215-dd4c9fb1c7b5"
CHALLENGE_REQUEST = b"\x80\x10"
CHALLENGE = b"\x80\x11"


async def until(check: Callable[[], object]) -> Any:
    """Wait for something to become true; the test's own time-out is the limit."""
    while not (value := check()):  # noqa: ASYNC110 - what is waited for has no event to tell
        await asyncio.sleep(0.02)
    return value


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path / "locks", 1, seed=1, motor_seconds=0.1) as world:
        yield world


@pytest.fixture
def lock(world: World) -> VirtualLock:
    return next(iter(world.locks.values()))


async def add_adapters(hass: HomeAssistant, *ports: int, **options: object) -> None:
    adapters = [
        {"port": port, "name": f"gateway {number}", **options}
        for number, port in enumerate(ports, 1)
    ]
    assert await async_setup_component(hass, "virtual_ble", {"virtual_ble": adapters})
    await hass.async_block_till_done()


async def discovered(hass: HomeAssistant, lock: VirtualLock) -> Any:
    """Wait until Home Assistant knows a connectable device."""
    address = lock.identity.address
    return await until(lambda: bluetooth.async_ble_device_from_address(hass, address, True))


async def connect(
    hass: HomeAssistant, lock: VirtualLock, lost: Callable[[Any], None] | None = None
) -> bleak_retry_connector.BleakClientWithServiceCache:
    device = await discovered(hass, lock)
    # By its module: Home Assistant puts its own class there when Bluetooth is set up.
    client_class = bleak_retry_connector.BleakClientWithServiceCache
    return await bleak_retry_connector.establish_connection(
        client_class, device, "lock", disconnected_callback=lost, max_attempts=1
    )


def trace_of(lock: VirtualLock, what: str) -> list[dict[str, Any]]:
    return [entry for entry in lock.traced if entry["what"] == what]


async def test_home_assistant_hears_the_lock_with_its_service_data(
    hass: HomeAssistant, world: World, lock: VirtualLock
) -> None:
    await add_adapters(hass, world.hci_port)
    await discovered(hass, lock)
    info = bluetooth.async_last_service_info(hass, lock.identity.address, connectable=True)
    assert info is not None
    assert len(info.service_data[SERVICE]) == 10
    assert info.rssi == -60
    assert info.address == lock.identity.address
    assert info.source == bluetooth.async_current_scanners(hass)[0].source


async def test_an_active_adapter_learns_the_name(
    hass: HomeAssistant, world: World, lock: VirtualLock
) -> None:
    await add_adapters(hass, world.hci_port, mode="active")
    name = f"IGRS-{lock.identity.id[-4:]}"
    device = await discovered(hass, lock)
    await until(lambda: device.name == name)


async def test_an_automatic_adapter_scans_actively_when_asked(
    hass: HomeAssistant, world: World, lock: VirtualLock
) -> None:
    await add_adapters(hass, world.hci_port, mode="auto")
    device = await discovered(hass, lock)
    [scanner] = bluetooth.async_current_scanners(hass)
    modes = [scanner.current_mode]
    window = asyncio.ensure_future(scanner.async_request_active_window(1.5))
    await until(lambda: device.name and device.name.startswith("IGRS-"))
    modes.append(scanner.current_mode)
    assert await window
    modes.append(scanner.current_mode)
    mode = bluetooth.BluetoothScanningMode
    assert modes == [mode.PASSIVE, mode.ACTIVE, mode.PASSIVE]


async def test_a_challenge_is_asked_for_and_comes_by_notification(
    hass: HomeAssistant, world: World, lock: VirtualLock
) -> None:
    await add_adapters(hass, world.hci_port)
    client = await connect(hass, lock)
    assert client.mtu_size == 247
    answers: asyncio.Queue[bytes] = asyncio.Queue()

    def heard(_characteristic: BleakGATTCharacteristic, data: bytearray) -> None:
        answers.put_nowait(bytes(data))

    await client.start_notify(RESPONSE, heard)
    for response in (False, True):
        await client.write_gatt_char(REQUEST, CHALLENGE_REQUEST, response=response)
        assert (await answers.get()).startswith(CHALLENGE)
    assert bytes(await client.read_gatt_char(INFO))[1:7] == lock.identity.device_id
    await client.stop_notify(RESPONSE)
    await client.disconnect()
    assert not client.is_connected


async def test_the_gatt_table_is_kept_over_connections_until_the_cache_is_cleared(
    hass: HomeAssistant, world: World, lock: VirtualLock
) -> None:
    await add_adapters(hass, world.hci_port)
    packets = []
    for clear in (False, True, False):
        lock.traced.clear()
        client = await connect(hass, lock)
        packets.append(len(trace_of(lock, "att")))
        assert client.services.get_characteristic(REQUEST) is not None
        if clear:
            await client.clear_cache()
        await client.disconnect()
        await until(lambda: not trace_of(lock, "att") or lock.state()["connections"] == 0)
    assert packets[0] > 10
    assert packets[1] == 1  # the MTU exchange
    assert packets[2] > 10


async def test_without_waiting_for_the_mtu_the_first_writes_go_at_once(
    hass: HomeAssistant, world: World, lock: VirtualLock
) -> None:
    world.radio.interval_ms = 30
    await add_adapters(hass, world.hci_port, wait_for_mtu=False)
    client = await connect(hass, lock)
    await client.disconnect()
    await until(lambda: lock.state()["connections"] == 0)
    lock.traced.clear()
    client = await connect(hass, lock)
    assert client.mtu_size == 23
    await client.write_gatt_char(REQUEST, CHALLENGE_REQUEST, response=False)
    await until(lambda: len(trace_of(lock, "att")) >= 2)
    mtu, write = trace_of(lock, "att")[:2]
    assert (mtu["opcode"], write["opcode"]) == (0x02, 0x52)
    await until(lambda: client.mtu_size == 247)
    await client.disconnect()


async def test_a_lock_without_power_is_a_lost_connection(
    hass: HomeAssistant, world: World, lock: VirtualLock
) -> None:
    await add_adapters(hass, world.hci_port)
    lost = asyncio.Event()
    client = await connect(hass, lock, lambda _client: lost.set())
    lock.power_off()
    await lost.wait()
    assert not client.is_connected
    with pytest.raises(BleakError):
        await client.write_gatt_char(REQUEST, CHALLENGE_REQUEST, response=False)
    await lock.power_on()
    await (await connect(hass, lock)).disconnect()


async def test_a_request_without_an_answer_ends_with_the_connection(
    hass: HomeAssistant, world: World, lock: VirtualLock
) -> None:
    await add_adapters(hass, world.hci_port)
    client = await connect(hass, lock)
    world.radio.set_rssi(lock.identity.id, None, None)
    with pytest.raises(BleakError, match="disconnected"):
        await client.read_gatt_char(INFO)


async def test_giving_up_on_a_connection_leaves_the_adapter_usable(
    hass: HomeAssistant, world: World, lock: VirtualLock
) -> None:
    await add_adapters(hass, world.hci_port, slots=1)
    await discovered(hass, lock)
    world.radio.set_rssi(lock.identity.id, None, None)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await connect(hass, lock)
    world.radio.set_rssi(lock.identity.id, None, -60)
    await (await connect(hass, lock)).disconnect()


async def test_connection_slots_are_reported_and_respected(
    hass: HomeAssistant, world: World, lock: VirtualLock
) -> None:
    await add_adapters(hass, world.hci_port, slots=1)
    client = await connect(hass, lock)
    [scanner] = bluetooth.async_current_scanners(hass)
    allocations = scanner.get_allocations()
    assert allocations is not None
    assert (allocations.slots, allocations.free) == (1, 0)
    assert allocations.allocated == [lock.identity.address]
    device = await discovered(hass, lock)
    with pytest.raises(BleakError, match="slot"):
        await bleak.BleakClient(device).connect()
    await client.disconnect()
    allocations = scanner.get_allocations()
    assert allocations is not None
    assert allocations.free == 1


async def test_two_adapters_hear_the_lock_each_with_its_strength_and_the_nearer_connects(
    hass: HomeAssistant, world: World, lock: VirtualLock
) -> None:
    await add_adapters(hass, world.hci_port, world.hci_port)
    await until(lambda: world.gateways == ["gateway 1", "gateway 2"])
    world.radio.set_rssi(lock.identity.id, "gateway 1", -80)
    world.radio.set_rssi(lock.identity.id, "gateway 2", -50)
    address = lock.identity.address

    def strengths() -> dict[str, int]:
        found = bluetooth.async_scanner_devices_by_address(hass, address, connectable=True)
        return {device.scanner.adapter: device.advertisement.rssi for device in found}

    await until(lambda: strengths() == {"gateway 1": -80, "gateway 2": -50})
    client = await connect(hass, lock)
    [connection] = lock.air.connections if lock.air else []
    nearer = next(one for one in world.hci.adapters if one.name == "gateway 2")
    assert connection.peer_address == nearer.random_address
    await client.disconnect()


async def test_the_adapter_comes_back_when_the_simulator_does(
    hass: HomeAssistant, tmp_path: Path
) -> None:
    async with World(tmp_path / "locks", 1) as first:
        port = first.hci_port
        lock = next(iter(first.locks.values()))
        await add_adapters(hass, port)
        lost = asyncio.Event()
        await connect(hass, lock, lambda _client: lost.set())
    await lost.wait()
    [scanner] = bluetooth.async_current_scanners(hass)
    assert (await scanner.async_diagnostics())["on_radio"] is False
    async with World(tmp_path / "locks", 1, hci_port=port) as second:
        again = next(iter(second.locks.values()))
        assert again.identity == lock.identity
        await until(lambda: second.gateways)
        await (await connect(hass, again)).disconnect()
