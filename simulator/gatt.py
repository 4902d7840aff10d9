"""A lock's radio: advertising and GATT server on a Bumble `Device` (ILP1 sections 2 and 3)."""

import asyncio
import contextlib
import logging
import struct
from typing import TYPE_CHECKING, Protocol

from bsld import advert
from bsld import const as c
from bsld.identifiers import format_device_id, local_name
from bumble import att, gatt, hci
from bumble.core import UUID, BaseBumbleError
from bumble.device import AdvertisingType, Device, DeviceConfiguration, LegacyAdvertiser
from bumble.host import Host

from .controller import VirtualController
from .link import End

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from bumble.device import Connection

    from .link import Radio

_LOGGER = logging.getLogger(__name__)

FIRMWARE_REVISION = "0.1.0"
MTU = 247
NOTIFICATIONS_WAITING = 8
"""Packets one connection may have waiting in the controller; more wait in the core."""
_WRITES = (att.Opcode.ATT_WRITE_REQUEST, att.Opcode.ATT_WRITE_COMMAND)
_PREPARED_WRITES = (att.Opcode.ATT_PREPARE_WRITE_REQUEST, att.Opcode.ATT_EXECUTE_WRITE_REQUEST)
_Properties = gatt.Characteristic.Properties
_READABLE = gatt.Characteristic.READABLE
_WRITEABLE = gatt.Characteristic.WRITEABLE


class Core(Protocol):
    """What the radio calls: the lock core, or what stands in front of it."""

    def connected(self, conn: Hashable) -> None:
        """See `bsld.lock.Lock`."""

    def disconnected(self, conn: Hashable) -> None:
        """See `bsld.lock.Lock`."""

    def mtu_changed(self, conn: Hashable, mtu: int) -> None:
        """See `bsld.lock.Lock`."""

    def subscribed(self, conn: Hashable, on: bool) -> None:
        """See `bsld.lock.Lock`."""

    def written(self, conn: Hashable, data: bytes) -> None:
        """See `bsld.lock.Lock`."""

    def info(self) -> bytes:
        """The info characteristic's value."""

    def battery_level(self) -> int:
        """Percent for the Battery service."""

    def trace(self, what: str, **details: object) -> None:
        """Note when something happened."""


class _Advertiser(LegacyAdvertiser):
    """Advertising whose kind, data and interval change while it is on."""

    def __init__(self, device: Device, scan_response: bytes) -> None:
        super().__init__(
            device=device,
            advertising_type=AdvertisingType.UNDIRECTED_CONNECTABLE_SCANNABLE,
            own_address_type=hci.OwnAddressType.RANDOM,
            peer_address=hci.Address.ANY,
            auto_restart=False,
        )
        device.scan_response_data = scan_response

    async def change_data(self, data: bytes) -> None:
        self.device.advertising_data = data
        await self.device.send_sync_command(
            hci.HCI_LE_Set_Advertising_Data_Command(advertising_data=data)
        )

    async def restart(self, data: bytes, interval_ms: int, connectable: bool) -> None:
        await self.stop()
        self.device.advertising_data = data
        self.device.advertising_interval_min = self.device.advertising_interval_max = interval_ms
        self.advertising_type = (
            AdvertisingType.UNDIRECTED_CONNECTABLE_SCANNABLE
            if connectable
            else AdvertisingType.UNDIRECTED_SCANNABLE
        )
        # Bumble takes a new connection's own address from here, and forgets it with each.
        self.device.legacy_advertiser = self
        await self.start()


class LockRadio:
    """The radio of one lock, as `bsld.ports.Radio` describes it.

    A connection is named by Bumble's `Connection` object towards the core.
    """

    def __init__(self, radio: Radio, device_id: bytes, core: Core) -> None:
        """Make the lock's controller and GATT server; `start` puts it on the air.

        Args:
            radio: the air.
            device_id: the lock's static random address, 6 bytes, most significant first.
            core: whom to tell.
        """
        self._core = core
        self._device_id = device_id
        self.controller = VirtualController(radio, format_device_id(device_id))
        name = local_name(device_id)
        config = DeviceConfiguration(
            name=name, address=hci.Address(device_id.hex(":").upper()), gap_service_enabled=True
        )
        host = Host(controller_source=self.controller, controller_sink=self.controller)
        self.device = Device(config=config, host=host)
        self.device.gatt_server.max_mtu = MTU
        self.device.l2cap_channel_manager.register_fixed_channel(att.ATT_CID, self._on_att)
        self.device.on(Device.EVENT_CONNECTION, self._on_connection)
        self._request = gatt.Characteristic[bytes](
            UUID(c.REQUEST_UUID),
            _Properties.WRITE | _Properties.WRITE_WITHOUT_RESPONSE,
            _WRITEABLE,
        )
        self._response = gatt.Characteristic[bytes](
            UUID(c.RESPONSE_UUID), _Properties.NOTIFY, _READABLE
        )
        self._response.on(gatt.Characteristic.EVENT_SUBSCRIPTION, self._on_subscription)
        self.device.add_services(self._services())
        self.connections: set[Connection] = set()
        self._advertiser = _Advertiser(self.device, advert.scan_response(device_id))
        self._wanted: tuple[bytes, int, bool] | None = None
        self._on_air: tuple[bytes, int, bool] | None = None
        self._change = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def _services(self) -> list[gatt.Service]:
        def fixed(uuid: UUID, text: str) -> gatt.Characteristic[bytes]:
            return gatt.Characteristic(uuid, _Properties.READ, _READABLE, text.encode())

        def live(uuid: UUID, read: Callable[[], bytes]) -> gatt.Characteristic[bytes]:
            value = gatt.CharacteristicValue[bytes](read=lambda _connection: read())
            return gatt.Characteristic(uuid, _Properties.READ, _READABLE, value)

        info = live(UUID(c.INFO_UUID), self._core.info)
        battery = live(
            gatt.GATT_BATTERY_LEVEL_CHARACTERISTIC,
            lambda: bytes((min(100, self._core.battery_level()),)),
        )
        device_information = [
            fixed(gatt.GATT_MANUFACTURER_NAME_STRING_CHARACTERISTIC, "IGRS Lock"),
            fixed(gatt.GATT_MODEL_NUMBER_STRING_CHARACTERISTIC, "Simulated lock"),
            fixed(gatt.GATT_FIRMWARE_REVISION_STRING_CHARACTERISTIC, FIRMWARE_REVISION),
            fixed(gatt.GATT_SERIAL_NUMBER_STRING_CHARACTERISTIC, format_device_id(self._device_id)),
        ]
        return [
            gatt.Service(UUID(c.SERVICE_UUID), [info, self._request, self._response]),
            gatt.Service(gatt.GATT_DEVICE_INFORMATION_SERVICE, device_information),
            gatt.Service(gatt.GATT_BATTERY_SERVICE, [battery]),
        ]

    # --- power --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring the controller up; advertising begins as soon as the core asks for it."""
        await self.device.power_on()
        self._spawn(self._keep_advertising())

    def power_off(self) -> None:
        """Vanish from the air without a goodbye."""
        for task in list(self._tasks):
            task.cancel()
        self.connections.clear()
        self.controller.power_off()

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- what the core asks for (bsld.ports.Radio) ---------------------------------------------

    def advertise(self, data: bytes, interval_ms: int, connectable: bool) -> None:
        """Advertise these 10 data bytes from now on."""
        self._wanted = (advert.payload(data), interval_ms, connectable)
        self._change.set()

    def notify(self, conn: Hashable, data: bytes) -> bool:
        """Send one notification; False when its connection has enough to send already."""
        connection = next((known for known in self.connections if known is conn), None)
        if connection is None:
            return True  # it just ended: the core hears of that next
        end = self.controller.find_le_connection_by_handle(connection.handle)
        if isinstance(end, End) and len(end.waiting) >= NOTIFICATIONS_WAITING:
            return False
        packet = att.ATT_Handle_Value_Notification(
            attribute_handle=self._response.handle, attribute_value=data
        )
        self._send(connection, packet)
        return True

    def disconnect(self, conn: Hashable) -> None:
        """End a connection; the core hears of it when it has ended."""
        for connection in self.connections:
            if connection is conn:
                self._spawn(self._disconnect(connection.handle))

    async def _disconnect(self, handle: int) -> None:
        reason = hci.HCI_ErrorCode.REMOTE_USER_TERMINATED_CONNECTION_ERROR
        with contextlib.suppress(hci.HCI_Error):
            await self.device.send_async_command(
                hci.HCI_Disconnect_Command(connection_handle=handle, reason=reason)
            )

    @property
    def interval_ms(self) -> int | None:
        """The advertising interval, None while silent."""
        return self._on_air[1] if self._on_air else None

    async def _keep_advertising(self) -> None:
        """Bring what is on the air in line with what the core wants."""
        while True:
            await self._change.wait()
            self._change.clear()
            wanted = self._wanted
            if wanted is None or wanted == self._on_air:
                continue
            before, self._on_air = self._on_air, wanted  # a connection may undo it meanwhile
            if before is not None and wanted[1:] == before[1:]:
                await self._advertiser.change_data(wanted[0])
            else:
                await self._advertiser.restart(*wanted)

    # --- what happens on the air --------------------------------------------------------------

    def _on_connection(self, connection: Connection) -> None:
        self._core.trace("connected", peer=str(connection.peer_address))
        self.connections.add(connection)
        # A legacy advertiser stops with each connection. The core says how it goes on.
        self._on_air = None
        self._change.set()
        connection.on(connection.EVENT_DISCONNECTION, lambda _reason: self._on_end(connection))
        connection.on(
            connection.EVENT_CONNECTION_ATT_MTU_UPDATE,
            lambda: self._core.mtu_changed(connection, connection.att_mtu),
        )
        self._core.connected(connection)

    def _on_end(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.discard(connection)
            self._core.trace("disconnected", peer=str(connection.peer_address))
            self._core.disconnected(connection)

    def _on_att(self, handle: int, pdu: bytes) -> None:
        """Take one ATT packet from a client."""
        connection = self.device.lookup_connection(handle)
        if connection is None or not pdu:
            return
        self._core.trace("att", opcode=pdu[0], bytes=len(pdu), peer=str(connection.peer_address))
        if pdu[0] in _PREPARED_WRITES:
            # Prepared writes are refused (ILP1 section 3): they have no place in fragments.
            refusal = att.ATT_Error_Response(
                request_opcode_in_error=pdu[0],
                attribute_handle_in_error=0,
                error_code=att.ErrorCode.REQUEST_NOT_SUPPORTED,
            )
            self._send(connection, refusal)
            return
        if pdu[0] in _WRITES and pdu[1:3] == self._request.handle.to_bytes(2, "little"):
            # Not through Bumble, which handles a write only after what follows it: by then the
            # connection may have ended.
            if pdu[0] == att.Opcode.ATT_WRITE_REQUEST:
                self._send(connection, att.ATT_Write_Response())
            if connection in self.connections:
                self._core.written(connection, pdu[3:])
            return
        try:
            self.device.on_gatt_pdu(handle, pdu)
        except (BaseBumbleError, ValueError, IndexError, struct.error) as error:
            _LOGGER.debug("ignoring a malformed ATT packet: %s", error)

    def _send(self, connection: Connection, packet: att.ATT_PDU) -> None:
        self.device.gatt_server.send_gatt_pdu(connection, bytes(packet))

    def _on_subscription(self, bearer: Connection, notify: bool, _indicate: bool) -> None:
        if bearer in self.connections:
            self._core.subscribed(bearer, notify)
