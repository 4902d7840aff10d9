"""Keeps the connection to a lock whose owner chose that: faster, at the cost of its battery."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from homeassistant.config_entries import SIGNAL_CONFIG_ENTRY_CHANGED, ConfigEntry, ConfigEntryChange
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers.dispatcher import async_dispatcher_connect

from .const import CONF_ALWAYS_CONNECTED
from .errors import OperationError
from .ilp import IlpError, Status, requests

if TYPE_CHECKING:
    from .coordinator import IgrsLockCoordinator

_LOGGER = logging.getLogger(__name__)

_STATUS_INTERVAL: Final = 50.0
"""Seconds. A lock ends a connection that was idle for 60 s (ILP1 section 4, rule 7)."""
_RETRY_MIN: Final = 5.0
_RETRY_MAX: Final = 600.0


class Standby:
    """Holds one lock's connection while the entry's option says so.

    It is in nobody's way: a dialog that suspends the client takes the lock from it, and a connection
    that was lost is made anew while the lock is heard.
    """

    def __init__(self, hass: HomeAssistant, coordinator: IgrsLockCoordinator) -> None:
        self._hass = hass
        self._coordinator = coordinator
        self._heard = asyncio.Event()
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @callback
    def async_start(self) -> CALLBACK_TYPE:
        """Begin; returns what ends it."""
        stops = (
            async_dispatcher_connect(
                self._hass, SIGNAL_CONFIG_ENTRY_CHANGED, self._async_entry_changed
            ),
            self._coordinator.async_add_listener(self._heard.set),
            self._async_end,
        )
        self._coordinator.client.held.on_end = self._ended.set
        self._async_follow_option()

        @callback
        def stop() -> None:
            for each in stops:
                each()

        return stop

    @callback
    def _async_entry_changed(self, _change: ConfigEntryChange, entry: ConfigEntry[Any]) -> None:
        if entry is self._coordinator.config_entry:
            self._async_follow_option()

    @callback
    def _async_follow_option(self) -> None:
        entry = self._coordinator.config_entry
        if not entry.options.get(CONF_ALWAYS_CONNECTED):
            self._async_end()
        elif self._task is None:
            self._task = entry.async_create_background_task(
                self._hass, self._async_keep(), f"{entry.title} standby"
            )

    @callback
    def _async_end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _async_keep(self) -> None:
        held = self._coordinator.client.held
        wait = _RETRY_MIN
        with held.hold():
            while True:
                if await self._async_in_reach():
                    wait = _RETRY_MIN
                self._ended.clear()
                if await self._async_ask() and await self._async_held():
                    wait = _RETRY_MIN
                else:
                    # Whoever ended it may want it for a moment.
                    await self._async_pause(wait)
                    wait = min(wait * 2, _RETRY_MAX)

    async def _async_ask(self) -> bool:
        """Ask for the status, on a connection that is made if need be; return whether it came."""
        coordinator = self._coordinator
        try:
            (reply,) = await coordinator.async_request(requests.get_status())
            coordinator.async_answered(Status.of(reply))
        except (OperationError, IlpError) as err:
            _LOGGER.debug("%s: not held: %s", coordinator.client.name, err)
            return False
        if (link := coordinator.client.held.link) is not None:
            await link.relax()
        return True

    async def _async_held(self) -> bool:
        """Return when the next question is due, or False as soon as the connection ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_STATUS_INTERVAL):
                await self._ended.wait()
                return False
        return True

    async def _async_pause(self, seconds: float) -> None:
        """Wait, but not while the lock is out of reach."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._coordinator.available:
                    self._heard.clear()
                    await self._heard.wait()

    async def _async_in_reach(self) -> bool:
        """Wait until the lock is heard; return whether it was not."""
        waited = False
        while not self._coordinator.available:
            waited = True
            self._heard.clear()
            await self._heard.wait()
        return waited
