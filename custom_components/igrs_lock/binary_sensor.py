"""The door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, override

from homeassistant.components.binary_sensor import (
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.components.binary_sensor.const import BinarySensorDeviceClass
from homeassistant.core import callback

from .entity import IgrsLockEntity
from .ilp import Capability, Door

if TYPE_CHECKING:
    from collections.abc import Callable

    from homeassistant.core import HomeAssistant
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

    from .coordinator import IgrsLockConfigEntry
    from .state import LockState

PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class IgrsLockBinarySensorDescription(BinarySensorEntityDescription):
    """A binary sensor, and how to read it from the lock's state."""

    value: Callable[[LockState], bool | None]


DOOR: Final = IgrsLockBinarySensorDescription(
    key="door",
    device_class=BinarySensorDeviceClass.DOOR,
    value=lambda state: None if state.door is Door.NO_SENSOR else state.door is Door.OPEN,
)


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: IgrsLockConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the door where there is a sensor.

    The capabilities were read without authentication, so an advertised door counts too.
    """
    coordinator = entry.runtime_data
    added = False

    @callback
    def add_door() -> None:
        nonlocal added
        state = coordinator.data
        if not added and (
            Capability.DOOR_SENSOR in coordinator.capabilities
            or (state is not None and state.door is not Door.NO_SENSOR)
        ):
            added = True
            async_add_entities([IgrsLockBinarySensor(coordinator, DOOR)])

    entry.async_on_unload(coordinator.async_add_listener(add_door))
    add_door()


class IgrsLockBinarySensor(IgrsLockEntity, BinarySensorEntity):
    """Something that the lock advertises as yes or no."""

    entity_description: IgrsLockBinarySensorDescription

    @property
    @override
    def is_on(self) -> bool | None:
        """Return yes or no; None when the lock does not know it."""
        return None if self._state is None else self.entity_description.value(self._state)
