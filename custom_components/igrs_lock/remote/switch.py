"""Switches remote access off at once, and on again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, override

from homeassistant.components.switch import SwitchEntity, SwitchEntityDescription
from homeassistant.core import callback

from ..standing import async_check_owner
from .entity import ServerEntity

if TYPE_CHECKING:
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

    from .gateway import ServerConfigEntry

REMOTE_ACCESS: Final = SwitchEntityDescription(key="remote_access", translation_key="remote_access")


@callback
def async_add_switches(
    entry: ServerConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the switch of a server."""
    async_add_entities([RemoteAccess(entry.runtime_data, REMOTE_ACCESS)])


class RemoteAccess(ServerEntity, SwitchEntity):
    """Whether people are let in over the server."""

    @property
    @override
    def is_on(self) -> bool:
        """Return what was chosen, connected or not."""
        return self._gateway.enabled

    @override
    async def async_turn_on(self, **kwargs: Any) -> None:
        """Connect, and stay connected. That is no person's right: it lets others in."""
        gateway = self._gateway
        await async_check_owner(gateway.home, gateway.entry.title, self._context)
        await gateway.async_set_enabled(True)

    @override
    async def async_turn_off(self, **kwargs: Any) -> None:
        """Close the link; what is under way ends. Anybody may who may use this switch."""
        await self._gateway.async_set_enabled(False)
