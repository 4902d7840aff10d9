"""The last words to a server whose entry is removed: an empty list, and that the place is given back.

Best effort. Without this home nobody gets in anyway, and its operator can revoke the place, too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from ..const import CONF_GATEWAY
from .errors import LinkDown
from .link import GatewayLink

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant

    from .handshake import Down, Welcome
    from .store import RemoteStore
    from .wire import Message

_PATIENCE: Final = 5.0
"""Seconds for which the removal waits for the server."""


async def async_say_goodbye(
    hass: HomeAssistant, entry: ConfigEntry[Any], store: RemoteStore
) -> None:
    """Tell the server that nobody belongs to this home there, if it can be told now."""
    if not store.enabled or store.copied:
        return
    delegate = _Farewell(entry.data[CONF_GATEWAY])
    delegate.link = GatewayLink(hass, entry, store, delegate)
    delegate.link.async_start()
    try:
        async with asyncio.timeout(_PATIENCE):
            await delegate.over.wait()
    except TimeoutError:
        pass
    finally:
        await delegate.link.async_stop()


class _Farewell:
    """The delegate of a link that has one thing to say."""

    link: GatewayLink

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway
        self.over = asyncio.Event()

    async def async_linked(self, _welcome: Welcome) -> None:
        """Say it. LinkDown, Refused."""
        try:
            await self.link.async_request("site.sync", {"part": 0, "more": False})
            # Its answer may be the end of the link.
            await self.link.async_request("gateway.leave", {"gateway": self.gateway})
        finally:
            self.over.set()

    async def async_durable(self, _message: Message) -> None:
        """Nobody is asked any more."""
        raise LinkDown

    def received(self, _message: Message) -> None:
        """Carry nothing."""

    def unlinked(self, _down: Down) -> None:
        """Try no second time: somebody waits for the removal."""
        self.over.set()

    def clock_off(self, _seconds: int | None) -> None:
        """It does not matter any more."""

    def audit_changed(self) -> None:
        """It does not matter any more."""

    async def async_key_changed(self, _private_key: bytes) -> None:
        """It is not needed any more."""
