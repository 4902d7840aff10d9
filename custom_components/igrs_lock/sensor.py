"""The battery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast, override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import PERCENTAGE, EntityCategory

from .entity import IgrsLockEntity
from .home import is_people
from .person_sensor import async_setup_person_sensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from homeassistant.core import HomeAssistant
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

    from .coordinator import IgrsLockConfigEntry
    from .people import PeopleConfigEntry
    from .state import LockState

PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class IgrsLockSensorDescription(SensorEntityDescription):
    """A sensor, and where its value is in the lock's state."""

    value: Callable[[LockState], int | None]


SENSORS: Final = (
    IgrsLockSensorDescription(
        key="battery",
        device_class=SensorDeviceClass.BATTERY,
        entity_category=EntityCategory.DIAGNOSTIC,
        native_unit_of_measurement=PERCENTAGE,
        state_class=SensorStateClass.MEASUREMENT,
        value=lambda state: state.battery,
    ),
)


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: IgrsLockConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the sensors."""
    if is_people(entry):
        async_setup_person_sensors(cast("PeopleConfigEntry", entry), async_add_entities)
        return
    async_add_entities(IgrsLockSensor(entry.runtime_data, sensor) for sensor in SENSORS)


class IgrsLockSensor(IgrsLockEntity, SensorEntity):
    """A number that the lock advertises."""

    entity_description: IgrsLockSensorDescription

    @property
    @override
    def native_value(self) -> int | None:
        """Return the number; None when the lock does not know it."""
        return None if self._state is None else self.entity_description.value(self._state)
