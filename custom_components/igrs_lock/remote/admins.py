"""Tells a server on this machine who administers this Home Assistant: who may see its page there.

Only a server that was found as an app takes it. The page creates nothing and opens no door.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from homeassistant.auth import EVENT_USER_ADDED, EVENT_USER_REMOVED, EVENT_USER_UPDATED
from homeassistant.core import CALLBACK_TYPE, Event, callback

from ..const import CONF_LOCAL
from .wire import LinkDown, Refused

if TYPE_CHECKING:
    from .gateway import Gateway

_LOGGER = logging.getLogger(__name__)

_ADMINS_MAX: Final = 100


class Admins:
    """Keeps the server's list of administrators as it is here."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._told: list[str] | None = None

    @callback
    def async_start(self) -> CALLBACK_TYPE:
        """Follow the users; returns what ends it."""
        bus = self._gateway.hass.bus
        stops = [
            bus.async_listen(name, self._async_users_changed)
            for name in (EVENT_USER_ADDED, EVENT_USER_REMOVED, EVENT_USER_UPDATED)
        ]

        @callback
        def stop() -> None:
            for each in stops:
                each()

        return stop

    async def async_linked(self) -> None:
        """Tell it on each link: the server may have forgotten. LinkDown."""
        self._told = None
        await self._async_tell()

    async def _async_users_changed(self, _event: Event[Any]) -> None:
        if self._gateway.link.connected:
            try:
                await self._async_tell()
            except LinkDown:
                self._told = None  # the next link tells

    async def _async_tell(self) -> None:
        if not self._gateway.entry.data[CONF_LOCAL]:
            return
        users = sorted(
            user.id
            for user in await self._gateway.hass.auth.async_get_users()
            if user.is_active and user.is_admin and not user.system_generated
        )[:_ADMINS_MAX]
        if users == self._told:
            return
        self._told = users
        try:
            await self._gateway.link.async_request("home.admins", {"users": users})
        except Refused as err:
            # Enrolled by a code that was typed in: then there is nobody to be named.
            _LOGGER.debug("%s takes no administrators: %s", self._gateway.entry.title, err)
