"""What all entities of a lock have in common."""

from typing import TYPE_CHECKING, override

from homeassistant.components.bluetooth.passive_update_coordinator import (
    PassiveBluetoothCoordinatorEntity,
)
from homeassistant.core import callback
from homeassistant.helpers.device_registry import CONNECTION_BLUETOOTH, DeviceInfo

from .const import CONF_MANUFACTURER, CONF_MODEL, CONF_SW_VERSION, DOMAIN, MANUFACTURER
from .coordinator import IgrsLockCoordinator
from .standing import async_check_settings

if TYPE_CHECKING:
    from homeassistant.helpers.entity import EntityDescription

    from .ilp import Option
    from .state import LockState


class IgrsLockEntity(PassiveBluetoothCoordinatorEntity[IgrsLockCoordinator]):
    """An entity that shows what one lock said last."""

    _attr_has_entity_name = True
    _written: tuple[bool, object] | None = None

    def __init__(self, coordinator: IgrsLockCoordinator, description: EntityDescription) -> None:
        super().__init__(coordinator)
        self.entity_description = description
        entry = coordinator.config_entry
        self._attr_unique_id = f"{coordinator.device_id}_{description.key}"
        self._attr_device_info = DeviceInfo(
            identifiers={(DOMAIN, coordinator.device_id)},
            connections={(CONNECTION_BLUETOOTH, coordinator.address)},
            name=entry.title,
            manufacturer=entry.data.get(CONF_MANUFACTURER) or MANUFACTURER,
            model=entry.data.get(CONF_MODEL),
            sw_version=entry.data.get(CONF_SW_VERSION),
            serial_number=coordinator.device_id,
        )

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Write a state when there is another one: most news of a lock are of another entity."""
        written = (self.available, self._shows())
        if written != self._written:
            self._written = written
            super()._handle_coordinator_update()

    def _shows(self) -> object:
        """Return what is shown of what the coordinator knows; by itself only the availability."""
        return None

    @property
    def _state(self) -> LockState | None:
        """What the lock said last; None before it said anything, while unavailable."""
        return self.coordinator.data

    async def _async_check_settings(self) -> None:
        """NotAllowedError when the user who asks is somebody who may not change how it works."""
        coordinator = self.coordinator
        await async_check_settings(coordinator.home, coordinator, self._context)


class IgrsLockOptionEntity(IgrsLockEntity):
    """An entity that shows and sets an option which the lock itself keeps."""

    def __init__(
        self, coordinator: IgrsLockCoordinator, description: EntityDescription, option: Option
    ) -> None:
        super().__init__(coordinator, description)
        self._option = option

    @override
    async def async_added_to_hass(self) -> None:
        """Follow the options."""
        await super().async_added_to_hass()
        self.async_on_remove(self.coordinator.options.async_listen(self.async_write_ha_state))
