"""Whether this home is connected to its remote access server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, override

from homeassistant.components.binary_sensor import (
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.components.binary_sensor.const import BinarySensorDeviceClass
from homeassistant.const import EntityCategory
from homeassistant.core import callback

from .entity import ServerEntity

if TYPE_CHECKING:
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

    from .gateway import ServerConfigEntry

CONNECTED: Final = BinarySensorEntityDescription(
    key="connected",
    device_class=BinarySensorDeviceClass.CONNECTIVITY,
    entity_category=EntityCategory.DIAGNOSTIC,
)


@callback
def async_add_binary_sensors(
    entry: ServerConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the binary sensor of a server."""
    async_add_entities([Connected(entry.runtime_data, CONNECTED)])


class Connected(ServerEntity, BinarySensorEntity):
    """On while both sides have proved who they are and something was heard within 30 seconds."""

    @property
    @override
    def is_on(self) -> bool:
        """Return whether the link is up; off too while remote access is switched off."""
        return self._gateway.connected
