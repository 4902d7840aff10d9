"""One Bluetooth connection to a lock: whole messages out, whole messages in."""

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, Self

import bleak_retry_connector
from bleak_retry_connector import BLEAK_RETRY_EXCEPTIONS
from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import BluetoothReachabilityIntent
from homeassistant.core import HomeAssistant, callback

from .const import ANSWER_TIMEOUT, CONNECT_TIMEOUT, DISCONNECT_TIMEOUT
from .errors import GatewayBusyError, OutOfReachError
from .ilp import REQUEST_UUID, RESPONSE_UUID, MalformedError, Reassembler, split

if TYPE_CHECKING:
    from collections.abc import Callable

    from bleak.backends.characteristic import BleakGATTCharacteristic
    from bleak.backends.device import BLEDevice

_LOGGER = logging.getLogger(__name__)

_RELAXED: Final = (24, 24, 16, 600)
"""Shortest and longest interval (1.25 ms), events that may be left out, time-out (10 ms).

30 ms and 16, as Yale's and August's locks get it from `yalexs_ble`.
"""


class LinkLostError(Exception):
    """The connection could not be made or used, or it ended."""


class Link:
    """A connection, from `connect` to `disconnect` or to the loss of it.

    `received` and `lost` may be changed at any time: pairing hands its link on to the client.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.received: Callable[[bytes], None] = _ignore
        self.lost: Callable[[], None] = _ignore
        self.listening = False
        self._relaxed = False
        self._reassembler = Reassembler()
        self._client: bleak_retry_connector.BleakClientWithServiceCache | None = None
        self._request: BleakGATTCharacteristic | None = None
        self._response: BleakGATTCharacteristic | None = None

    @classmethod
    async def connect(cls, hass: HomeAssistant, address: str, name: str) -> Self:
        """Connect by the best path that Home Assistant knows, else by another one.

        OutOfReachError when that fails, GatewayBusyError before anything is tried.
        """
        attempt = 0
        while True:
            attempt += 1
            device, paths = _connectable(hass, address, name)
            link = cls(name)
            try:
                await link._connect(hass, device)
            except LinkLostError as err:
                _LOGGER.debug("%s: attempt %d: %s", name, attempt, err)
                # Home Assistant takes another path after two failures of one.
                if attempt > min(paths, 2):
                    raise _out_of_reach(hass, address, name) from err
            else:
                return link

    async def _connect(self, hass: HomeAssistant, device: BLEDevice) -> None:
        @callback
        def freshest_device() -> BLEDevice:
            return bluetooth.async_ble_device_from_address(hass, device.address, True) or device

        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                # By its module: Home Assistant puts its own class there when Bluetooth is set up,
                # which may be after this module was imported.
                client = await bleak_retry_connector.establish_connection(
                    bleak_retry_connector.BleakClientWithServiceCache,
                    device,
                    self.name,
                    self._disconnected,
                    max_attempts=1,
                    use_services_cache=True,
                    ble_device_callback=freshest_device,
                )
        except BLEAK_RETRY_EXCEPTIONS as err:
            raise LinkLostError(f"not connected: {err!r}") from err
        self._client = client
        try:
            self._request = client.services.get_characteristic(REQUEST_UUID)
            self._response = client.services.get_characteristic(RESPONSE_UUID)
            if self._request is None or self._response is None:
                # What was cached is not this lock's: forget it, so that the next attempt looks anew.
                await client.clear_cache()
        except BLEAK_RETRY_EXCEPTIONS as err:
            _LOGGER.debug("%s: no characteristics: %r", self.name, err)
        if self._request is None or self._response is None:
            await self.disconnect()
            raise LinkLostError("the lock's characteristics are missing")

    @property
    def connected(self) -> bool:
        """Whether the connection is there, as far as is known."""
        return self._client is not None

    async def send(self, message: bytes) -> None:
        """Write a message without waiting for an answer to each fragment."""
        client, request = self._client, self._request
        if client is None or request is None:
            raise LinkLostError("not connected")
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                for fragment in split(message, request.max_write_without_response_size + 3):
                    await client.write_gatt_char(request, fragment, response=False)
        except BLEAK_RETRY_EXCEPTIONS as err:
            raise LinkLostError(f"not written: {err!r}") from err

    async def listen(self) -> None:
        """Switch notifications on, once. The lock keeps its messages until then."""
        if self.listening:
            return
        client, response = self._client, self._response
        if client is None or response is None:
            raise LinkLostError("not connected")
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await client.start_notify(response, self._notified)
        except BLEAK_RETRY_EXCEPTIONS as err:
            raise LinkLostError(f"not listening: {err!r}") from err
        self.listening = True

    async def read(self, uuid: str) -> bytes | None:
        """Read a characteristic; None when the lock has no such one."""
        client = self._client
        if client is None:
            raise LinkLostError("not connected")
        try:
            if (characteristic := client.services.get_characteristic(uuid)) is None:
                return None
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return bytes(await client.read_gatt_char(characteristic))
        except BLEAK_RETRY_EXCEPTIONS as err:
            raise LinkLostError(f"not read: {err!r}") from err

    async def relax(self) -> None:
        """Let the lock sleep between messages, once: it then answers up to half a second later.

        Not every backend can ask for that; then the connection stays as it is.
        """
        client = self._client
        if self._relaxed or client is None or not hasattr(client, "set_connection_params"):
            return
        self._relaxed = True
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await client.set_connection_params(*_RELAXED)
        except BLEAK_RETRY_EXCEPTIONS as err:
            _LOGGER.debug("%s: connection parameters not set: %r", self.name, err)

    async def disconnect(self) -> None:
        """End the connection; what was waiting for a message is not told."""
        self.received = self.lost = _ignore
        client, self._client = self._client, None
        if client is None:
            return
        try:
            async with asyncio.timeout(DISCONNECT_TIMEOUT):
                await client.disconnect()
        except BLEAK_RETRY_EXCEPTIONS as err:
            _LOGGER.debug("%s: disconnecting failed: %r", self.name, err)

    @callback
    def _notified(self, _characteristic: BleakGATTCharacteristic, data: bytearray) -> None:
        try:
            message = self._reassembler.feed(bytes(data), time.monotonic())
        except MalformedError as err:
            _LOGGER.debug("%s: dropped a notification: %s", self.name, err)
            return
        if message is not None:
            self.received(message)

    @callback
    def _disconnected(self, _client: bleak_retry_connector.BleakClientWithServiceCache) -> None:
        self._client = None
        self.lost()


@callback
def _connectable(hass: HomeAssistant, address: str, name: str) -> tuple[BLEDevice, int]:
    """Return the device and its number of paths; OutOfReachError, GatewayBusyError."""
    device = bluetooth.async_ble_device_from_address(hass, address, connectable=True)
    paths = bluetooth.async_scanner_devices_by_address(hass, address, connectable=True)
    if device is None or not paths:
        raise _out_of_reach(hass, address, name)
    # Home Assistant would wait for a free connection; a person at the door wants to know now.
    if all(_is_full(path.scanner) for path in paths):
        raise GatewayBusyError(name)
    return device, len(paths)


@callback
def has_room(hass: HomeAssistant, address: str) -> bool:
    """Whether a gateway that hears the lock has a connection left."""
    paths = bluetooth.async_scanner_devices_by_address(hass, address, connectable=True)
    return any(not _is_full(path.scanner) for path in paths)


@callback
def can_spare(hass: HomeAssistant, address: str) -> bool:
    """Whether a gateway that hears the lock has a connection to spare, and still one for others."""
    for path in bluetooth.async_scanner_devices_by_address(hass, address, connectable=True):
        allocations = path.scanner.get_allocations()
        if allocations is None or allocations.slots <= 0 or allocations.free > 1:
            return True
    return False


@callback
def _out_of_reach(hass: HomeAssistant, address: str, name: str) -> OutOfReachError:
    """Return the error with Home Assistant's own words on why nothing can connect."""
    return OutOfReachError(
        name,
        reason=bluetooth.async_address_reachability_diagnostics(
            hass, address, BluetoothReachabilityIntent.CONNECTION
        ),
    )


def _is_full(scanner: bluetooth.BaseHaScanner) -> bool:
    allocations = scanner.get_allocations()
    return allocations is not None and allocations.slots > 0 and allocations.free == 0


def _ignore(_message: bytes = b"") -> None:
    """Do nothing with a message that nobody waits for."""
