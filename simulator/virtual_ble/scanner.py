"""The scanner that Home Assistant's Bluetooth manager sees."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, cast, override

from bleak_retry_connector import Allocations  # type: ignore[attr-defined]  # habluetooth takes it from here too
from bluetooth_data_tools import monotonic_time_coarse
from habluetooth import BaseHaRemoteScanner, BluetoothScanningMode, HaBluetoothConnector

from .client import VirtualClient

if TYPE_CHECKING:
    from bleak.backends.client import BaseBleakClient

    from .adapter import Adapter


class VirtualScanner(BaseHaRemoteScanner):
    """Hears what an adapter's controller hears."""

    def __init__(self, adapter: Adapter, mode: str) -> None:
        """Make a scanner.

        Args:
            adapter: the adapter.
            mode: `active`, `passive`, or `auto`: passive with active windows on demand.
        """
        # A partial, as with other remote adapters: what it makes is the client.
        client = cast("type[BaseBleakClient]", partial(VirtualClient, adapter=adapter))
        requested = BluetoothScanningMode(mode)
        active = requested is BluetoothScanningMode.ACTIVE
        super().__init__(
            adapter.source,
            adapter.settings.name,
            HaBluetoothConnector(client, adapter.source, adapter.can_connect),
            connectable=True,
            requested_mode=requested,
            current_mode=BluetoothScanningMode.ACTIVE if active else BluetoothScanningMode.PASSIVE,
        )
        self._virtual = adapter
        self._windows = 0
        adapter.scanner = self
        adapter.prefer_active(active)

    def on_report(self, address: str, address_type: int, rssi: int, data: bytes) -> None:
        """Hand on one advertising report: upper-case address, dBm, raw AD structures."""
        self._async_on_raw_advertisement(
            address, rssi, data, {"address_type": address_type}, monotonic_time_coarse()
        )

    @override
    def get_allocations(self) -> Allocations:
        """Connection slots, as a proxy reports them."""
        slots, used = self._virtual.settings.slots, self._virtual.used
        return Allocations(
            adapter=self.source, slots=slots, free=max(0, slots - len(used)), allocated=used
        )

    @override
    async def async_request_active_window(self, duration: float) -> bool:
        """Scan actively for `duration` seconds."""
        if self.requested_mode is not BluetoothScanningMode.AUTO:
            return False
        self._windows += 1
        try:
            if not await self._virtual.set_active(True):
                return False
            self.set_current_mode(BluetoothScanningMode.ACTIVE)
            await asyncio.sleep(duration)
        finally:
            self._windows -= 1
            if not self._windows:
                await self._virtual.set_active(False)
                self.set_current_mode(BluetoothScanningMode.PASSIVE)
        return True

    @override
    async def async_diagnostics(self) -> dict[str, Any]:
        """Say also what the adapter knows."""
        return await super().async_diagnostics() | {"on_radio": self._virtual.is_up}
