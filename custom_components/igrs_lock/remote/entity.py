"""What the entities of a remote access server have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, override

from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.entity import Entity

from ..const import CONF_APP, DOMAIN, MANUFACTURER

if TYPE_CHECKING:
    from homeassistant.helpers.entity import EntityDescription

    from .gateway import Gateway, ServerConfigEntry

MODEL = "Remote access server"


def server_device(entry: ServerConfigEntry) -> dr.DeviceInfo:
    """Return a server's device, which belongs to its entry also after a new key."""
    app = entry.data[CONF_APP]
    return dr.DeviceInfo(
        identifiers={(DOMAIN, entry.entry_id)},
        name=entry.title,
        manufacturer=MANUFACTURER,
        model=MODEL,
        entry_type=dr.DeviceEntryType.SERVICE,
        # Only the app has a page; at another server's address there is nothing to see.
        configuration_url=f"homeassistant://app/{app['slug']}" if app else None,
    )


class ServerEntity(Entity):
    """Shows something of a gateway. It is this home's own, so it is always available."""

    _attr_has_entity_name = True
    _attr_should_poll = False

    def __init__(self, gateway: Gateway, description: EntityDescription) -> None:
        self._gateway = gateway
        self.entity_description = description
        self._attr_unique_id = f"{gateway.entry.entry_id}_{description.key}"
        self._attr_device_info = server_device(gateway.entry)

    @override
    async def async_added_to_hass(self) -> None:
        """Follow the gateway."""
        await super().async_added_to_hass()
        self.async_on_remove(self._gateway.async_listen(self.async_write_ha_state))
