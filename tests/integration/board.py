"""A lock for the tests: the real core on a board of dictionaries, and Bleak's side of its links."""

import asyncio
import hashlib
import itertools
import time
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

from bleak.exc import BleakError
from bleak_retry_connector.bluez import Allocations
from bsld import const as c
from bsld.lock import Lock
from bsld.ports import Ports
from homeassistant.components import bluetooth

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from world import World

SETUP_CODE = "8KNZ-44YW-D3XS-6GJ4"
SETUP_BYTES = bytes.fromhex("44ebf213dc68fb934244")
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
        self.core = Lock(ports, self.device_id, SETUP_BYTES, capabilities=self.capabilities)
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
