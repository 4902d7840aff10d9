"""The two kinds of stations on a radio under test: hosts that listen, and a lock's radio."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bsld.advert import payload
from bumble import hci
from bumble.device import (
    Connection,
    ConnectionParametersPreferences,
    Device,
    DeviceConfiguration,
    Peer,
)
from bumble.host import Host

from simulator.controller import VirtualController
from simulator.gatt import LockRadio

if TYPE_CHECKING:
    from collections.abc import Hashable

    from simulator.link import Radio

LOCK = bytes.fromhex("C40000000001")
LOCK_ADDRESS = hci.Address("C4:00:00:00:00:01")
DATA = bytes(range(10))


@dataclass
class Heard:
    """One advertising report."""

    at: float
    kind: int
    rssi: int
    data: bytes


class Listener:
    """A gateway: a Bumble host on a controller of its own."""

    def __init__(self, radio: Radio, name: str = "gateway", number: int = 1) -> None:
        self.controller = VirtualController(radio, name)
        self.host = Host(controller_source=self.controller, controller_sink=self.controller)
        address = hci.Address(f"C8:00:00:00:00:{number:02X}")
        self.device = Device(config=DeviceConfiguration(address=address), host=self.host)
        self.heard: list[Heard] = []
        self.host.on("advertising_report", self._on_report)

    def _on_report(self, report: hci.HCI_LE_Advertising_Report_Event.Report) -> None:
        now = asyncio.get_running_loop().time()
        self.heard.append(Heard(now, report.event_type, report.rssi, report.data))

    async def start(self) -> Listener:
        await self.device.power_on()
        return self

    async def scan(self, seconds: float, *, active: bool = False) -> list[Heard]:
        """Listen for a while."""
        self.heard.clear()
        await self.device.start_scanning(legacy=True, active=active)
        await asyncio.sleep(seconds)
        await self.device.stop_scanning(legacy=True)
        return list(self.heard)

    async def connect(self, timeout_ms: int = 2000, give_up_s: float | None = None) -> Connection:
        """Connect to the lock, asking for an interval of 15 to 30 ms."""
        preferences = ConnectionParametersPreferences(supervision_timeout=timeout_ms)
        return await self.device.connect_le(
            LOCK_ADDRESS, {hci.Phy.LE_1M: preferences}, timeout=give_up_s
        )


@dataclass
class Recorder:
    """Stands where the lock core is: notes what reaches it."""

    events: list[tuple[float, str, object]] = field(default_factory=list)
    connections: list[Hashable] = field(default_factory=list)

    def _note(self, what: str, value: object = None) -> None:
        self.events.append((asyncio.get_running_loop().time(), what, value))

    def connected(self, conn: Hashable) -> None:
        self.connections.append(conn)
        self._note("connected")

    def disconnected(self, conn: Hashable) -> None:
        self.connections.remove(conn)
        self._note("disconnected")

    def mtu_changed(self, conn: Hashable, mtu: int) -> None:
        self._note("mtu", mtu)

    def subscribed(self, conn: Hashable, on: bool) -> None:
        self._note("subscribed", on)

    def written(self, conn: Hashable, data: bytes) -> None:
        self._note("written", data)

    def info(self) -> bytes:
        return b"info"

    def battery_level(self) -> int:
        return 70

    def trace(self, what: str, **details: object) -> None:
        """Not looked at here."""

    def of(self, what: str) -> list[tuple[float, object]]:
        """Times and values of one kind of event."""
        return [(at, value) for at, kind, value in self.events if kind == what]


@dataclass
class Station:
    """A lock's radio with a recorder behind it."""

    core: Recorder
    air: LockRadio

    @classmethod
    async def start(cls, radio: Radio, interval_ms: int = 100) -> Station:
        core = Recorder()
        air = LockRadio(radio, LOCK, core)
        await air.start()
        air.advertise(DATA, interval_ms, True)
        return cls(core, air)


ADVERTISED = payload(DATA)


async def discovered(connection: Connection) -> Peer:
    """Look up all services and characteristics."""
    peer = Peer(connection)
    await peer.discover_all()  # type: ignore[no-untyped-call]  # Bumble's has no annotations
    return peer
