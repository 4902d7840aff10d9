"""Connects to a lock a moment before somebody uses it from afar, seldom enough for its battery."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from homeassistant.core import callback

from ..errors import OperationError
from ..link import LinkLostError, can_spare
from .relay_limits import Rate
from .tenants import users_person
from .wire import Reader

if TYPE_CHECKING:
    from ..coordinator import IgrsLockCoordinator
    from .gateway import Gateway
    from .wire import Message

_LOGGER = logging.getLogger(__name__)

_WARM: Final = 9.0
"""Seconds. A lock ends a connection without a session after 10 (section 4, rule 7)."""
_UNUSED: Final = 6
_HOUR: Final = 3600.0


class Prewarm:
    """One connection at a time for the whole home, in nobody's way."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._unused = Rate(_UNUSED, _HOUR)
        self._counted: str | None = None
        self._task: asyncio.Task[None] | None = None

    @callback
    def async_stop(self) -> None:
        """Let go."""
        if self._task is not None:
            self._task.cancel()

    @callback
    def received(self, message: Message) -> None:
        """Take a wish. Malformed."""
        read = Reader(message.body)
        user, device = read.hex_id("user"), read.device("lock")
        gateway = self._gateway
        coordinator = gateway.home.coordinators.get(device)
        if (
            coordinator is None
            or not gateway.enabled
            or device not in gateway.store.locks
            or users_person(gateway, coordinator, user) is None
            or not self._worth(coordinator)
            or self._running()
            or not self._unused.take(device, gateway.hass.loop.time())
        ):
            return
        self._counted = device
        self._task = gateway.entry.async_create_background_task(
            gateway.hass, self._async_warm(coordinator), f"{coordinator.client.name} prewarm"
        )

    @callback
    def used(self, device: str) -> None:
        """Take that a relay came: it was not in vain."""
        if self._counted == device:
            self._counted = None
            self._unused.give_back(device)

    def _running(self) -> bool:
        """Whether there is one already, over whatever server."""
        return any(one.relays.prewarm.warming for one in self._gateway.home.gateways.values())

    @property
    def warming(self) -> bool:
        """Whether a connection is held for somebody who may come."""
        return self._task is not None and not self._task.done()

    @staticmethod
    def _worth(coordinator: IgrsLockCoordinator) -> bool:
        """Whether there is anything to win, and the battery can bear it."""
        state = coordinator.data
        return (
            coordinator.available
            and state is not None
            and not state.low_battery
            and coordinator.client.held.link is None
            and can_spare(coordinator.hass, coordinator.address)
        )

    async def _async_warm(self, coordinator: IgrsLockCoordinator) -> None:
        client = coordinator.client
        try:
            async with asyncio.timeout(_WARM):
                await client.carrier.async_warm()
        except (OperationError, LinkLostError) as err:
            _LOGGER.debug("%s: not connected beforehand: %s", client.name, err)
        except TimeoutError:
            pass
