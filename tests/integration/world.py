"""A small world for the tests: gateways, locks with the real core, and time that is moved."""

import asyncio
import hashlib
import itertools
import time
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

from bleak.exc import BleakError
from bleak_retry_connector.bluez import Allocations
from bsld import advert
from bsld import const as c
from bsld.identifiers import local_name
from bsld.lock import Lock
from bsld.ports import Ports
from homeassistant.components import bluetooth
from homeassistant.config_entries import SOURCE_USER, ConfigEntry
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.loader import async_get_integration
from homeassistant.setup import async_setup_component

from custom_components.igrs_lock import ilp

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from bleak.backends.device import BLEDevice
    from freezegun.api import FrozenDateTimeFactory
    from homeassistant.core import HomeAssistant

DOMAIN = "igrs_lock"
SETUP_CODE = "8KNZ-44YW-D3XS-6GJ4"
_SETUP_BYTES = bytes.fromhex("44ebf213dc68fb934244")
MODEL_UUID = "00002a24-0000-1000-8000-00805f9b34fb"
_MOVEMENT = 0.8
_LATCH = 3.0


class Flash(dict[str, bytes]):
    """Flash that survives a restart of its lock."""

    def append(self, name: str, data: bytes) -> None:
        self[name] = self.get(name, b"") + data

    def read(self, name: str) -> bytes | None:
        return self.get(name)

    def write(self, name: str, data: bytes) -> None:
        self[name] = data

    def rename(self, old: str, new: str) -> None:
        self[new] = self.pop(old)

    def remove(self, name: str) -> None:
        self.pop(name, None)

    def names(self) -> list[str]:
        return list(self)


class Gateway(bluetooth.BaseHaRemoteScanner):
    """A gateway that hears the locks in `hears`."""

    def __init__(self, source: str, name: str) -> None:
        connector = bluetooth.HaBluetoothConnector(MagicMock(), source, lambda: True)
        super().__init__(source, name, connector, connectable=True)
        self.hears: set[TestLock] = set()
        self.rssi = -60
        self.slots = 3
        self.free = 3

    def get_allocations(self) -> Allocations | None:
        return Allocations(self.adapter, self.slots, self.free, [])

    def hear(self, address: str, raw: bytes, age: float = 0.0) -> None:
        self._async_on_raw_advertisement(address, self.rssi, raw, {}, time.monotonic() - age)

    def forget(self, address: str) -> None:
        """Lose a device from the list of those heard lately."""
        self._previous_service_info.pop(address, None)


class Characteristic:
    """What the integration asks of Bleak's."""

    def __init__(self, uuid: str, mtu: int) -> None:
        self.uuid = uuid
        self.max_write_without_response_size = mtu - 3


class Services:
    def __init__(self, uuids: list[str], mtu: int) -> None:
        self._known = {uuid: Characteristic(uuid, mtu) for uuid in uuids}

    def get_characteristic(self, uuid: str) -> Characteristic | None:
        return self._known.get(uuid)


class Connection:
    """Bleak's client on one side, a connection of the lock core on the other."""

    _numbers = itertools.count(1)

    def __init__(self, lock: TestLock, lost: Callable[[Connection], None]) -> None:
        self.lock = lock
        self.services = Services(lock.characteristics, lock.mtu)
        self.alive = True
        self.number = next(self._numbers)
        self._lost = lost
        self._notify: Callable[[Any, bytearray], None] | None = None
        lock.connections.append(self)
        lock.core.connected(self.number)
        lock.core.mtu_changed(self.number, lock.mtu)

    async def write_gatt_char(
        self, characteristic: Characteristic, data: bytes, *, response: bool
    ) -> None:
        if not self.alive:
            raise BleakError("Not connected")
        assert not response
        self.lock.traffic.append(("write", data))
        passed: bytes | None = data
        if self.lock.on_write is not None:
            passed = self.lock.on_write(data)
        if passed is not None and self.alive:
            self.lock.core.written(self.number, passed)

    async def start_notify(
        self, characteristic: Characteristic, notify: Callable[[Any, bytearray], None]
    ) -> None:
        if not self.alive or self.lock.refuses_notify:
            raise BleakError("Not connected")
        self.lock.traffic.append(("subscribe", b""))
        self._notify = notify
        self.lock.core.subscribed(self.number, True)

    async def read_gatt_char(self, characteristic: Characteristic) -> bytearray:
        if not self.alive:
            raise BleakError("Not connected")
        return bytearray(self.lock.readable[characteristic.uuid]())

    async def clear_cache(self) -> bool:
        self.lock.characteristics = list(self.lock.all_characteristics)
        return True

    async def disconnect(self) -> None:
        if self.lock.refuses_disconnect:
            raise BleakError("no")
        self.end(tell=False)

    def notified(self, data: bytes) -> None:
        self.lock.traffic.append(("notify", data))
        passed: bytes | None = data
        if self.lock.on_notify is not None:
            passed = self.lock.on_notify(data)
        if passed is not None and self.alive and self._notify is not None:
            self._notify(None, bytearray(passed))

    def inject(self, message: bytes) -> None:
        """Let a third party send a message in the lock's name."""
        assert self._notify is not None
        self._notify(None, bytearray(b"\x80" + message))

    def end(self, *, tell: bool = True) -> None:
        """End the link; a lost one is told to the client."""
        if not self.alive:
            return
        self.alive = False
        self.lock.connections.remove(self)
        self.lock.core.disconnected(self.number)
        if tell:
            self._lost(self)


class TestLock:
    """The real core on a board of dictionaries. It is its own clock, motor, radio and indicator."""

    __test__ = False

    def __init__(self, world: World, number: int, capabilities: int) -> None:
        self.world = world
        self.device_id = bytes.fromhex("C0") + hashlib.sha256(bytes((number,))).digest()[:5]
        self.address = self.device_id.hex(":").upper()
        self.unique_id = self.device_id.hex().upper()
        self.entity = f"igrs_{self.unique_id[-4:].lower()}"
        self.capabilities = capabilities
        self.flash = Flash()
        self.seed = itertools.count()
        self.rtc_offset: int | None = None
        self.mtu = 247
        self.all_characteristics = [
            c.INFO_UUID, c.REQUEST_UUID, c.RESPONSE_UUID, MODEL_UUID,
        ]  # fmt: skip
        self.characteristics = list(self.all_characteristics)
        self.readable: dict[str, Callable[[], bytes]] = {
            c.INFO_UUID: self._info,
            MODEL_UUID: lambda: b"Test lock\x00",
        }
        self.connections: list[Connection] = []
        self.traffic: list[tuple[str, bytes]] = []
        self.on_write: Callable[[bytes], bytes | None] | None = None
        self.on_notify: Callable[[bytes], bytes | None] | None = None
        self.on_connect: Callable[[], object] | None = None
        self.refuses_notify = False
        self.refuses_disconnect = False
        self.silent = False
        self.mute = False  # takes connections, but nobody hears it advertise
        self.jammed = False
        self.stuck = False
        self.data = b""
        self.interval = 1.0
        self.operations: list[int] = []
        self._motor_end: tuple[float, int] | None = None
        self._latch_end: float | None = None
        self._next_advertisement = 0.0
        self.power_up()

    def _info(self) -> bytes:
        return self.core.info()  # of the core that runs then

    # --- power ---

    def power_up(self) -> None:
        """Put the battery in."""
        self._started = time.monotonic()
        ports = Ports(self, self._random, self.flash, self, self, self)
        self.core = Lock(ports, self.device_id, _SETUP_BYTES, capabilities=self.capabilities)
        self.core.battery_measured(87, False)
        if self.capabilities & c.CAP_DOOR_SENSOR:
            self.core.door_sensed(False)
        self.core.bolt_sensed(c.BOLT_LOCKED)
        self.core.start()

    def power_cut(self) -> None:
        """Take the battery out and put it in again: sessions, connections and time are gone."""
        for connection in list(self.connections):
            connection.end()
        self._motor_end = None
        self.power_up()

    # --- ports ---

    def uptime_ms(self) -> int:
        return round((time.monotonic() - self._started) * 1000)

    def rtc(self) -> int | None:
        return None if self.rtc_offset is None else int(time.time()) + self.rtc_offset

    def set_rtc(self, unix: int) -> None:
        if self.capabilities & c.CAP_RTC:
            self.rtc_offset = unix - int(time.time())

    def _random(self, count: int) -> bytes:
        return hashlib.sha256(self.device_id + next(self.seed).to_bytes(4)).digest()[:count]

    def start(self, operation: int) -> None:
        self.operations.append(operation)
        outcome = {
            c.OP_LOCK: c.BOLT_LOCKED, c.OP_UNLOCK: c.BOLT_UNLOCKED, c.OP_OPEN: c.BOLT_OPEN,
        }[operation]  # fmt: skip
        if not self.stuck:
            self._motor_end = (
                time.monotonic() + _MOVEMENT,
                c.BOLT_JAMMED if self.jammed else outcome,
            )

    def stop(self) -> None:
        self._motor_end = None

    def show(self, what: str) -> None:
        pass

    def advertise(self, data: bytes, interval_ms: int, connectable: bool) -> None:
        self.data = data
        self.interval = interval_ms / 1000
        self._next_advertisement = time.monotonic() + self.interval
        self.world.broadcast(self)

    def notify(self, conn: Hashable, data: bytes) -> bool:
        for connection in self.connections:
            if connection.number == conn:
                # Over the air it comes later than the call that caused it.
                asyncio.get_running_loop().call_soon(connection.notified, data)
        return True

    def disconnect(self, conn: Hashable) -> None:
        for connection in list(self.connections):
            if connection.number == conn:
                connection.end()

    # --- time ---

    def due(self, *, advertising: bool) -> float:
        """Return when something happens by itself (monotonic seconds)."""
        times = [time.monotonic() + self.core.poll() / 1000]
        times += [self._next_advertisement] if advertising else []
        times += [end for end in (self._latch_end,) if end is not None]
        if self._motor_end is not None:
            times.append(self._motor_end[0])
        return min(times)

    def run(self) -> None:
        """Let happen what is due."""
        now = time.monotonic()
        if self._motor_end is not None and now >= self._motor_end[0]:
            _, outcome = self._motor_end
            self._motor_end = None
            self.core.bolt_sensed(outcome)
            if outcome == c.BOLT_OPEN:
                self._latch_end = now + _LATCH
        if self._latch_end is not None and now >= self._latch_end:
            self._latch_end = None
            self.core.bolt_sensed(c.BOLT_UNLOCKED)
        self.core.poll()
        if now >= self._next_advertisement:
            self._next_advertisement = now + self.interval
            self.world.broadcast(self)

    # --- for tests ---

    def kinds(self, way: str = "write") -> list[int]:
        """Kinds of the messages written or notified (whole messages in one packet each)."""
        return [data[1] for what, data in self.traffic if what == way]


class OtherController:
    """A controller on a connection of its own: a neighbour's, a second one, or a test's hand."""

    def __init__(self, world: World, lock: TestLock) -> None:
        self.world = world
        self.lock = lock
        self.key = b""
        self.heard: list[bytes] = []
        self.connection = Connection(lock, lambda _connection: None)

    async def say(self, message: bytes) -> bytes:
        """Send a message and return the last one that came back."""
        if self.connection._notify is None:
            await self.connection.start_notify(
                self.connection.services.get_characteristic(c.RESPONSE_UUID),  # type: ignore[arg-type]  # it is there
                lambda _characteristic, data: self.heard.append(bytes(data[1:])),
            )
        self.lock.core.written(self.connection.number, b"\x80" + message)
        await self.world.settle()
        return self.heard[-1]

    async def pair(self) -> None:
        """Pair, and open the session that completes it."""
        client = ilp.PairingClient(_SETUP_BYTES, self.lock.device_id)
        confirm = client.on_reply(await self.say(client.request()))
        await self.say(confirm)
        assert client.lock_key is not None
        self.key = ilp.controller_key(client.lock_key)
        await self.request(ilp.requests.get_status())

    async def request(self, *wanted: ilp.Request) -> bytes:
        """Send requests in a new session."""
        nonce = ilp.parse_challenge(await self.say(ilp.challenge_request()))
        session = ilp.ClientSession(
            self.key, self.lock.device_id, 255, ilp.NonceSource.CHALLENGE, nonce
        )
        return await self.say(session.open([one.at(int(time.time())) for one in wanted]))


class World:
    """Gateways, locks, and the hand on the clock."""

    def __init__(self, hass: HomeAssistant, freezer: FrozenDateTimeFactory) -> None:
        self.hass = hass
        self.freezer = freezer
        self.kernel_synchronised = True
        self.locks: dict[str, TestLock] = {}
        self.near: Gateway
        self.far: Gateway
        self.connections = 0
        self._stops: list[Callable[[], None]] = []

    # --- life ---

    async def start(self) -> None:
        # Moved time looks like slow code to the loop's debug mode.
        asyncio.get_running_loop().slow_callback_duration = float("inf")
        assert await async_setup_component(self.hass, "bluetooth", {})
        await self.hass.async_block_till_done()
        # Home Assistant imports in threads, which moved time does not wait for.
        integration = await async_get_integration(self.hass, DOMAIN)
        await integration.async_get_platforms(
            ["binary_sensor", "config_flow", "diagnostics", "lock", "repairs", "sensor"]
        )
        for domain in ("binary_sensor", "lock", "repairs", "sensor"):
            assert await async_setup_component(self.hass, domain, {})
        await self.hass.async_block_till_done()
        self.near = Gateway("AA:00:00:00:00:01", "near")
        self.far = Gateway("AA:00:00:00:00:02", "far")
        self.far.rssi = -85
        for gateway in (self.near, self.far):
            self._stops.append(gateway.async_setup())
            self._stops.append(bluetooth.async_register_scanner(self.hass, gateway))

    async def stop(self) -> None:
        for stop in reversed(self._stops):
            stop()

    def add_lock(
        self, capabilities: int = c.CAP_LATCH | c.CAP_DOOR_SENSOR, *, silent: bool = False
    ) -> TestLock:
        """Hang a new lock on a door."""
        lock = TestLock(self, len(self.locks), capabilities)
        lock.silent = silent
        self.locks[lock.address] = lock
        self.near.hears.add(lock)
        self.far.hears.add(lock)
        self.broadcast(lock)
        return lock

    def monotonic(self) -> float:
        return time.monotonic()

    # --- air ---

    def broadcast(self, lock: TestLock) -> None:
        if lock.silent or lock.mute:
            return
        for gateway in (self.near, self.far):
            if lock in gateway.hears:
                gateway.hear(lock.address, advert.payload(lock.data))

    def forge(self, lock: TestLock, data: bytes, age: float = 0.0) -> None:
        """Send 10 bytes in a lock's name."""
        self.near.hear(lock.address, advert.payload(data), age)

    async def connect(
        self,
        client_class: type,
        device: BLEDevice,
        name: str,
        disconnected_callback: Callable[[Connection], None],
        **kwargs: Any,
    ) -> Connection:
        """Stand in for `establish_connection`."""
        assert kwargs["use_services_cache"]
        assert kwargs["ble_device_callback"]().address == device.address
        lock = self.locks[device.address]
        if lock.on_connect is not None:
            lock.on_connect()
        if lock.silent or not any(lock in gate.hears for gate in (self.near, self.far)):
            await asyncio.sleep(20)
            raise BleakError("timed out")
        self.connections += 1
        return Connection(lock, disconnected_callback)

    # --- time ---

    async def settle(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def advance(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass, in steps no longer than `step`; with long ones less is advertised."""
        until = time.monotonic() + seconds
        await self.settle()
        while (left := until - time.monotonic()) > 0.0005:
            due = min(
                (lock.due(advertising=step <= 1) for lock in self.locks.values()), default=until
            )
            self.freezer.tick(min(left, max(0.001, min(step, due - time.monotonic()))))
            for lock in self.locks.values():
                lock.run()
            await self.settle()

    async def during[Result](self, work: Any, seconds: float = 60) -> Any:
        """Let time pass until `work` is done, and return its result."""
        task = self.hass.async_create_task(work)
        until = time.monotonic() + seconds
        await self.settle()
        while not task.done() and time.monotonic() < until:
            await self.advance(0.1)
        assert task.done(), "still not done"
        return await task

    def now(self) -> float:
        """Return Unix seconds."""
        return time.time()

    # --- somebody else ---

    def controller(self, lock: TestLock) -> OtherController:
        """Return another client, connected to a lock."""
        return OtherController(self, lock)

    async def pair_elsewhere(self, lock: TestLock) -> OtherController:
        """Let a controller that is not this Home Assistant pair with a lock."""
        await self.advance(2)  # a lock takes one request in two seconds
        other = OtherController(self, lock)
        await other.pair()
        return other

    # --- Home Assistant ---

    async def forget_memory(self) -> None:
        """Forget what is only in memory, as when the process dies."""
        for key in list(self.hass.data):
            if str(key).startswith(DOMAIN):
                del self.hass.data[key]

    async def flow(self, lock: TestLock) -> dict[str, Any]:
        """Begin to set up a lock by hand; returns the form for its setup code."""
        flows = self.hass.config_entries.flow
        result = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
        assert result["type"] is FlowResultType.FORM, result
        assert result["step_id"] == "user"
        return await self.submit(result, {"address": lock.address})

    async def submit(self, result: Any, user_input: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fill in a form; where progress is shown, wait for what comes after it."""
        flows = self.hass.config_entries.flow
        result = await flows.async_configure(result["flow_id"], user_input or {})
        return await self.progress(result)

    async def progress(self, result: Any) -> dict[str, Any]:
        """Wait for what comes after progress."""
        flows = self.hass.config_entries.flow
        for _ in range(600):
            if result["type"] is not FlowResultType.SHOW_PROGRESS:
                break
            await self.advance(0.1)
            if result["flow_id"] not in {flow["flow_id"] for flow in flows.async_progress()}:
                break
            result = await flows.async_configure(result["flow_id"])
        return dict(result)

    async def pair(self, lock: TestLock) -> ConfigEntry[Any]:
        """Pair with a lock and wait until it is heard; returns its config entry."""
        result = await self.flow(lock)
        result = await self.submit(result, {"setup_code": SETUP_CODE})
        assert result["type"] is FlowResultType.CREATE_ENTRY, result
        await self.advance(1.5)
        entry: ConfigEntry[Any] = result["result"]
        return entry

    def state(self, lock: TestLock, domain: str = "lock", suffix: str = "") -> str:
        """The state of one of a lock's entities."""
        state = self.hass.states.get(f"{domain}.{lock.entity}{suffix}")
        assert state is not None, self.hass.states.async_entity_ids()
        return state.state

    def attribute(self, lock: TestLock, name: str) -> Any:
        """An attribute of the lock entity."""
        state = self.hass.states.get(f"lock.{lock.entity}")
        assert state is not None
        return state.attributes.get(name)

    async def call(self, lock: TestLock, service: str) -> None:
        """Call lock.lock, lock.unlock or lock.open, and let time pass until it is done."""
        await self.during(
            self.hass.services.async_call(
                "lock", service, {"entity_id": f"lock.{lock.entity}"}, blocking=True
            )
        )


def name_of(lock: TestLock) -> str:
    """The name that a lock's config entry gets."""
    return str(local_name(lock.device_id))
