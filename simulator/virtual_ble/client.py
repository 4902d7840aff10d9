"""A bleak client on Bumble: what `HaBleakClientWrapper` makes for connections over an adapter.

Written for the constructors of bleak 3.0.2 and 3.1: everything by keyword, unknown ones ignored.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Any, override

from bleak.backends.client import BaseBleakClient
from bleak.exc import BleakCharacteristicNotFoundError, BleakError
from bleak.uuids import normalize_uuid_str
from bumble import att, core, hci
from bumble.device import Connection, Peer

from .cache import CachedCharacteristic, CachedDescriptor, CachedService, Table, as_bleak
from .const import MTU

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bleak.args import SizedBuffer
    from bleak.backends.characteristic import BleakGATTCharacteristic
    from bleak.backends.client import NotifyCallback
    from bleak.backends.descriptor import BleakGATTDescriptor
    from bleak.backends.device import BLEDevice

    from .adapter import Adapter

_LOGGER = logging.getLogger(__name__)

CCCD = "00002902-0000-1000-8000-00805f9b34fb"
_ATT_HEADER = 3


def _uuid(uuid: core.UUID) -> str:
    """A UUID as bleak writes it: 36 lower-case characters."""
    return normalize_uuid_str(uuid.to_hex_str("-"))


class VirtualClient(BaseBleakClient):
    """One connection to a peripheral on the simulator's radio."""

    def __init__(
        self,
        address_or_ble_device: BLEDevice | str,
        *,
        adapter: Adapter,
        disconnected_callback: Callable[[], None] | None = None,
        timeout: float = 10.0,
        **kwargs: Any,  # noqa: ARG002 - taken, as every backend must
    ) -> None:
        """Make a client.

        Args:
            address_or_ble_device: the peripheral, as this adapter's scanner described it.
            adapter: the adapter.
            disconnected_callback: called without arguments when a connection ended.
            timeout: for connecting, in seconds.
            **kwargs: `services`, `bluez` and whatever comes: nothing an adapter could use.
        """
        super().__init__(
            address_or_ble_device, disconnected_callback=disconnected_callback, timeout=timeout
        )
        details = getattr(address_or_ble_device, "details", None) or {}
        self._address_type: int = details.get("address_type", hci.Address.RANDOM_DEVICE_ADDRESS)
        self._device_name: str | None = getattr(address_or_ble_device, "name", None)
        self._adapter = adapter
        self._connection: Connection | None = None
        self._lost: asyncio.Future[None] | None = None

    @property
    @override
    def name(self) -> str:
        return self._device_name or self.address

    @property
    @override
    def mtu_size(self) -> int:
        connection = self._connection
        return att.ATT_DEFAULT_MTU if connection is None else int(connection.att_mtu)

    @property
    @override
    def is_connected(self) -> bool:
        return self._connection is not None

    # --- connecting ---------------------------------------------------------------------------

    @override
    async def connect(
        self, pair: bool = False, dangerous_use_bleak_cache: bool = False, **kwargs: Any
    ) -> None:
        """Connect, agree on an MTU, learn the GATT table (from the cache where allowed).

        Raises:
            BleakError: not possible.
            TimeoutError: not in reach.
        """
        if self.is_connected:
            raise BleakError(f"{self.address}: already connected")
        if pair:
            _LOGGER.debug("%s: these peripherals do not pair on the link", self.address)
        timeout = kwargs.get("timeout", self._timeout)
        connection = await self._adapter.connect(self.address, self._address_type, timeout)
        self._connection = connection
        self._lost = asyncio.get_running_loop().create_future()
        connection.on(Connection.EVENT_DISCONNECTION, lambda _reason: self._on_end(connection))
        try:
            mtu = self._adapter.spawn(self._gatt(connection.gatt_client.request_mtu(MTU)))
            mtu.add_done_callback(lambda done: done.cancelled() or done.exception())
            if self._adapter.settings.wait_for_mtu:
                await mtu
            table = self._adapter.cache.get(self.address) if dangerous_use_bleak_cache else None
            if table is None:
                table = await self._discover(connection)
                self._adapter.cache.put(self.address, table)
        except BaseException:
            self._adapter.spawn(self._hang_up(connection))
            self._forget()
            raise
        self.services = as_bleak(table, lambda: self.mtu_size - _ATT_HEADER)

    async def _discover(self, connection: Connection) -> Table:
        peer = Peer(connection)
        await self._gatt(peer.discover_all())  # type: ignore[no-untyped-call]  # Bumble's has no annotations
        return tuple(
            CachedService(
                service.handle,
                _uuid(service.uuid),
                tuple(
                    CachedCharacteristic(
                        characteristic.handle,
                        _uuid(characteristic.uuid),
                        int(characteristic.properties),
                        tuple(
                            CachedDescriptor(descriptor.handle, _uuid(descriptor.type))
                            for descriptor in characteristic.descriptors
                        ),
                    )
                    for characteristic in service.characteristics
                ),
            )
            for service in peer.services
        )

    @override
    async def disconnect(self) -> None:
        connection, lost = self._connection, self._lost
        if connection is not None and lost is not None:
            self._adapter.spawn(self._hang_up(connection))
            await asyncio.wait({lost})

    async def _hang_up(self, connection: Connection) -> None:
        try:
            await connection.disconnect()
        except (core.BaseBumbleError, hci.HCI_Error, TimeoutError) as error:
            _LOGGER.debug("%s: hanging up: %s", self.address, error)

    def _on_end(self, connection: Connection) -> None:
        if connection is self._connection:
            self._forget()
            if self._disconnected_callback is not None:
                self._disconnected_callback()

    def _forget(self) -> None:
        self._connection = None
        self._adapter.release(self.address)
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)

    async def clear_cache(self) -> bool:
        """Forget the kept GATT table (what `BleakClientWithServiceCache` asks for)."""
        self._adapter.cache.forget(self.address)
        return True

    async def set_connection_params(
        self,
        min_interval: int,
        max_interval: int,
        latency: int,
        timeout: int,  # noqa: ASYNC109 - the wrapper's name for the supervision time-out
    ) -> None:
        """Change the connection (units of 1.25 ms, events, 10 ms), as the wrapper asks for it."""
        connection = self._require()
        await self._gatt(
            connection.update_parameters(
                min_interval * 1.25, max_interval * 1.25, latency, timeout * 10
            )
        )

    @override
    async def pair(self, *args: Any, **kwargs: Any) -> None:
        raise BleakError("these peripherals do not pair on the link")

    @override
    async def unpair(self) -> None:
        raise BleakError("these peripherals do not pair on the link")

    # --- GATT ---------------------------------------------------------------------------------

    def _require(self) -> Connection:
        if self._connection is None:
            raise BleakError("Not connected")
        return self._connection

    async def _gatt[T](self, operation: Coroutine[Any, Any, T]) -> T:
        """Run a GATT operation; the connection's end, and every error of it, is a `BleakError`.

        An operation is never cancelled midway: its answer would be taken for the next one's.
        """
        lost = self._lost
        task = self._adapter.spawn(operation)
        waiting: set[asyncio.Future[Any]] = {task} if lost is None else {task, lost}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not task.done() or task.cancelled():
            task.cancel()
            raise BleakError(f"{self.address}: disconnected")
        try:
            return task.result()
        except att.ATT_Error as error:
            raise BleakError(f"{self.address}: refused: {error}") from error
        except (core.BaseBumbleError, hci.HCI_Error, TimeoutError) as error:
            raise BleakError(f"{self.address}: {error}") from error

    @override
    async def read_gatt_char(
        self, characteristic: BleakGATTCharacteristic, **kwargs: Any
    ) -> bytearray:
        client = self._require().gatt_client
        return bytearray(await self._gatt(client.read_value(characteristic.handle)))

    @override
    async def read_gatt_descriptor(
        self, descriptor: BleakGATTDescriptor, **kwargs: Any
    ) -> bytearray:
        client = self._require().gatt_client
        return bytearray(await self._gatt(client.read_value(descriptor.handle)))

    @override
    async def write_gatt_char(
        self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool
    ) -> None:
        connection = self._require()
        value = bytes(data)
        if not response and len(value) > self.mtu_size - _ATT_HEADER:
            raise BleakError(f"{len(value)} bytes do not fit in one write without response")
        await self._gatt(connection.gatt_client.write_value(characteristic.handle, value, response))

    @override
    async def write_gatt_descriptor(
        self, descriptor: BleakGATTDescriptor, data: SizedBuffer
    ) -> None:
        client = self._require().gatt_client
        await self._gatt(client.write_value(descriptor.handle, bytes(data), True))

    @override
    async def start_notify(
        self, characteristic: BleakGATTCharacteristic, callback: NotifyCallback, **kwargs: Any
    ) -> None:
        client = self._require().gatt_client
        descriptor = characteristic.get_descriptor(CCCD)
        if descriptor is None:
            raise BleakCharacteristicNotFoundError(characteristic.uuid)
        subscribers = client.notification_subscribers.setdefault(characteristic.handle, set())
        if subscribers:
            raise BleakError(f"{characteristic.uuid}: notifications are on already")
        subscribers.add(lambda value: callback(bytearray(value)))
        try:
            await self._gatt(client.write_value(descriptor.handle, b"\x01\x00", True))
        except BaseException:
            subscribers.clear()
            raise

    @override
    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        client = self._require().gatt_client
        descriptor = characteristic.get_descriptor(CCCD)
        if descriptor is None:
            raise BleakCharacteristicNotFoundError(characteristic.uuid)
        await self._gatt(client.write_value(descriptor.handle, b"\x00\x00", True))
        client.notification_subscribers.pop(characteristic.handle, None)
