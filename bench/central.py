"""The floor: a bare Bumble central that connects and writes once, on the same radio to the same lock."""

from typing import TYPE_CHECKING, Self

from bumble import att, hci
from bumble.device import ConnectionParametersPreferences, Device, DeviceConfiguration
from bumble.host import Host
from bumble.transport.tcp_client import open_tcp_client_transport

if TYPE_CHECKING:
    from types import TracebackType

    from bumble.device import Connection
    from bumble.transport.common import Transport

_ADDRESS = "C0:00:00:00:00:F1"
_MESSAGE = bytes(20)  # fits the smallest MTU: nothing has to be agreed before it
# Those of the virtual adapter, so that both wait for the same.
_INTERVAL_MIN_MS, _INTERVAL_MAX_MS, _SUPERVISION_MS = 7.5, 15.0, 2000


class Central:
    """An adapter of its own, without scanner, session or cache."""

    def __init__(self, port: int, lock: str) -> None:
        self._port = port
        self._lock = hci.Address(lock, hci.AddressType.RANDOM_DEVICE)
        self._transport: Transport
        self._device: Device
        self.connection: Connection | None = None

    async def __aenter__(self) -> Self:
        self._transport = await open_tcp_client_transport(f"127.0.0.1:{self._port}")
        config = DeviceConfiguration(
            name="floor", address=hci.Address(_ADDRESS), gatt_service_enabled=False
        )
        self._device = Device(
            config=config, host=Host(self._transport.source, self._transport.sink)
        )
        await self._device.power_on()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.disconnect()
        await self._transport.close()

    async def connect(self) -> None:
        """Connect with the next advertisement."""
        preferences = ConnectionParametersPreferences(
            connection_interval_min=_INTERVAL_MIN_MS,
            connection_interval_max=_INTERVAL_MAX_MS,
            supervision_timeout=_SUPERVISION_MS,
        )
        self.connection = await self._device.connect_le(self._lock, {hci.Phy.LE_1M: preferences})

    def write(self, handle: int) -> None:
        """Send one write without response."""
        assert self.connection is not None
        self.connection.send_l2cap_pdu(
            att.ATT_CID,
            bytes(att.ATT_Write_Command(attribute_handle=handle, attribute_value=_MESSAGE)),
        )

    async def disconnect(self) -> None:
        """Hang up, if connected."""
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.disconnect()
