"""One adapter: Bumble as the host of a controller on the simulator's radio."""

import asyncio
import contextlib
import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bleak.exc import BleakError
from bumble import core, hci
from bumble.device import ConnectionParametersPreferences, Device, DeviceConfiguration
from bumble.host import Host
from bumble.transport.common import TransportLostError
from bumble.transport.tcp_client import open_tcp_client_transport
from habluetooth import get_manager

from .const import (
    INTERVAL_MAX_MS,
    INTERVAL_MIN_MS,
    RETRY_SECONDS,
    SCAN_INTERVAL_MS,
    SUPERVISION_MS,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from bumble.device import Connection
    from bumble.transport.common import Transport

    from .cache import GattCache
    from .scanner import VirtualScanner

_LOGGER = logging.getLogger(__name__)
RADIO_ERRORS = (OSError, core.BaseBumbleError, hci.HCI_Error, TransportLostError, TimeoutError)


@dataclass(frozen=True)
class Settings:
    """An adapter's YAML."""

    name: str
    host: str
    port: int
    slots: int
    wait_for_mtu: bool


class Adapter:
    """Keeps a host on the simulator's radio, over the simulator's restarts too."""

    def __init__(self, settings: Settings, cache: GattCache) -> None:
        """Make an adapter; `run` brings it up."""
        self.settings = settings
        self.cache = cache
        digest = bytearray(hashlib.sha256(settings.name.encode()).digest()[:6])
        digest[0] |= 0xC0  # a static random address
        self.source = digest.hex(":").upper()
        self.scanner: VirtualScanner | None = None
        self._device: Device | None = None
        self._active = False
        self._used: list[str] = []
        self._initiating = asyncio.Lock()
        self._background: set[asyncio.Task[Any]] = set()

    # --- up and down --------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether the controller can be used."""
        return self._device is not None

    async def run(self) -> None:
        """Stay connected to the simulator until cancelled."""
        attempt = 0
        while True:
            with contextlib.suppress(OSError):
                address = f"{self.settings.host}:{self.settings.port}"
                transport = await open_tcp_client_transport(address)
                attempt = 0
                await self._use(transport)
            wait = RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]
            attempt += 1
            await asyncio.sleep(wait)

    async def _use(self, transport: Transport) -> None:
        """Use a transport until it is lost."""
        try:
            device = await self._bring_up(transport)
            self._device = device
            await self._scan(device)
            _LOGGER.info("%s: on the radio", self.settings.name)
            self._report_slots()
            await transport.source.terminated
            _LOGGER.info("%s: the simulator is gone", self.settings.name)
        except RADIO_ERRORS as error:
            _LOGGER.info("%s: %s", self.settings.name, error)
        finally:
            self._device = None
            await transport.close()

    async def _bring_up(self, transport: Transport) -> Device:
        config = DeviceConfiguration(
            name=self.settings.name, address=hci.Address(self.source), gatt_service_enabled=False
        )
        host = Host(transport.source, transport.sink)
        device = Device(config=config, host=host)
        await device.power_on()
        # The simulator calls its adapters by this name.
        name = self.settings.name.encode()[:248].ljust(248, b"\0")
        await device.send_sync_command(hci.HCI_Write_Local_Name_Command(local_name=name))
        # Reports as they come: Bumble's device would merge each with its scan response.
        host.on("advertising_report", self._on_report)
        return device

    def _on_report(self, report: hci.HCI_LE_Advertising_Report_Event.Report) -> None:
        if self.scanner is not None:
            self.scanner.on_report(
                report.address.to_string(with_type_qualifier=False).upper(),
                int(report.address_type),
                report.rssi,
                report.data,
            )

    # --- scanning -----------------------------------------------------------------------------

    def prefer_active(self, active: bool) -> None:
        """Say how to scan once the adapter is up."""
        self._active = active

    async def set_active(self, active: bool) -> bool:
        """Ask for scan responses, or stop; False when that was not possible now."""
        self._active = active
        device = self._device
        if device is None:
            return False
        try:
            await device.stop_scanning(legacy=True)
            await self._scan(device)
        except RADIO_ERRORS:
            return False
        return True

    async def _scan(self, device: Device) -> None:
        await device.start_scanning(
            legacy=True,
            active=self._active,
            scan_interval=SCAN_INTERVAL_MS,
            scan_window=SCAN_INTERVAL_MS,
            filter_duplicates=False,
        )

    # --- connecting ---------------------------------------------------------------------------

    def can_connect(self) -> bool:
        """Whether a connection could be tried now."""
        return self.is_up and len(self._used) < self.settings.slots

    @property
    def used(self) -> list[str]:
        """Addresses that take a connection slot."""
        return list(self._used)

    def release(self, address: str) -> None:
        """Give a slot back."""
        if address in self._used:
            self._used.remove(address)
            self._report_slots()

    def _report_slots(self) -> None:
        if self.scanner is not None:
            get_manager().async_on_allocation_changed(self.scanner.get_allocations())

    async def connect(self, address: str, address_type: int, timeout: float) -> Connection:  # noqa: ASYNC109 - bleak's own argument
        """Connect and take a slot, which `release` gives back.

        Raises:
            BleakError: no slot, or not possible.
            TimeoutError: not in reach.
        """
        if not self.can_connect() or address in self._used:
            raise BleakError(f"{self.settings.name}: no free connection slot")
        self._used.append(address)
        self._report_slots()
        try:
            async with asyncio.timeout(timeout):
                return await self._initiate(hci.Address(address, hci.AddressType(address_type)))
        except RADIO_ERRORS as error:
            self.release(address)
            if isinstance(error, TimeoutError):
                raise
            raise BleakError(f"{self.settings.name}: connecting failed: {error}") from error
        except asyncio.CancelledError:
            self.release(address)
            raise

    async def _initiate(self, address: hci.Address) -> Connection:
        """Connect; a controller initiates one connection at a time."""
        await self._initiating.acquire()
        device = self._device
        if device is None:
            self._initiating.release()
            raise BleakError(f"{self.settings.name}: the simulator is gone")
        preferences = ConnectionParametersPreferences(
            connection_interval_min=INTERVAL_MIN_MS,
            connection_interval_max=INTERVAL_MAX_MS,
            supervision_timeout=SUPERVISION_MS,
        )
        attempt = asyncio.ensure_future(device.connect_le(address, {hci.Phy.LE_1M: preferences}))
        try:
            await asyncio.wait({attempt})
        except asyncio.CancelledError:
            self.spawn(self._give_up(device, attempt))
            raise
        self._initiating.release()
        if attempt.cancelled():  # by Bumble: the transport was lost
            raise BleakError(f"{self.settings.name}: the simulator is gone")
        return attempt.result()

    async def _give_up(self, device: Device, attempt: asyncio.Future[Connection]) -> None:
        """Stop initiating; hang up if it just succeeded."""
        try:
            if not attempt.done():
                with contextlib.suppress(*RADIO_ERRORS):
                    await device.send_sync_command(hci.HCI_LE_Create_Connection_Cancel_Command())
            await asyncio.wait([attempt], timeout=5)
            if attempt.done() and not attempt.cancelled() and attempt.exception() is None:
                with contextlib.suppress(*RADIO_ERRORS):
                    await attempt.result().disconnect()
            attempt.cancel()
        finally:
            self._initiating.release()

    def spawn[T](self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin something at once that must not be forgotten before it is done."""
        task = asyncio.Task(coroutine, loop=asyncio.get_running_loop(), eager_start=True)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task
