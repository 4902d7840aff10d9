"""The remote access client of `examples/rac`, as a person far away has it; and its keys at the door, as a thief might."""

import asyncio
import importlib
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Self

from bumble import hci
from bumble.core import UUID
from bumble.device import Device, DeviceConfiguration, Peer
from bumble.host import Host
from bumble.transport.tcp_client import open_tcp_client_transport

from .errors import DemoError
from .ha_config import ROOT

if TYPE_CHECKING:
    from types import TracebackType

# From its own folder, as its users have it: it is no part of this package.
sys.path.append(str(ROOT / "examples" / "rac"))
igrs_rac: Any = importlib.import_module("igrs_rac")
errors: Any = importlib.import_module("igrs_rac.errors")
sign_in: Any = importlib.import_module("igrs_rac.joining").sign_in
_ilp: Any = importlib.import_module("ilp")

_ADDRESS: Final = "C0:00:00:00:00:D0"
_SECONDS: Final = 10.0


class Door:
    """A phone that speaks to a lock by Bluetooth, past Home Assistant, with whatever keys it has."""

    def __init__(self, port: int, address: str) -> None:
        self._port = port
        self._lock = hci.Address(address, hci.AddressType.RANDOM_DEVICE)
        self._stack = AsyncExitStack()
        self._messages: asyncio.Queue[bytes] = asyncio.Queue()
        self._request: Any = None
        self._mtu = 23

    async def __aenter__(self) -> Self:
        try:
            await self._connect()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _connect(self) -> None:
        transport = await open_tcp_client_transport(f"127.0.0.1:{self._port}")
        self._stack.push_async_callback(transport.close)
        config = DeviceConfiguration(name="phone", address=hci.Address(_ADDRESS))
        device = Device(config=config, host=Host(transport.source, transport.sink))
        await device.power_on()
        connection = await device.connect_le(self._lock, timeout=_SECONDS)
        self._stack.push_async_callback(connection.disconnect)
        peer: Any = Peer(connection)
        await peer.request_mtu(247)
        self._mtu = connection.att_mtu
        await peer.discover_all()
        (self._request,) = peer.get_characteristics_by_uuid(UUID(_ilp.REQUEST_UUID))
        (response,) = peer.get_characteristics_by_uuid(UUID(_ilp.RESPONSE_UUID))
        parts = _ilp.Reassembler()

        def heard(fragment: bytes) -> None:
            message = parts.feed(fragment, time.monotonic())
            if message is not None:
                self._messages.put_nowait(message)

        await response.subscribe(heard)

    async def unlock(self, keys: Any) -> Any:
        """Try to unlock with somebody's keys: what the lock itself says, done or an error of the client.

        Raises DemoError when it does not answer.
        """
        talk = igrs_rac.Conversation(
            keys,
            (_ilp.requests.operate(_ilp.Operation.UNLOCK, int(_SECONDS)),),
            nonce=None,
            may_repeat=lambda: True,
            timestamp=lambda: int(time.time()),
            operation=_ilp.Operation.UNLOCK,
        )
        await self._send(talk.start())
        try:
            async with asyncio.timeout(_SECONDS):
                while not talk.over:
                    for message in talk.feed(await self._messages.get()):
                        await self._send(message)
        except TimeoutError:
            raise DemoError("the lock does not answer at the door") from None
        return talk.done or talk.error

    async def _send(self, message: bytes) -> None:
        for fragment in _ilp.split(message, self._mtu):
            await self._request.write_value(fragment)
