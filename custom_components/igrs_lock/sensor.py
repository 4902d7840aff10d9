"""The battery and the signal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast, override

from homeassistant.components import bluetooth
from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import (
    PERCENTAGE,
    SIGNAL_STRENGTH_DECIBELS_MILLIWATT,
    EntityCategory,
)
from homeassistant.core import callback
from homeassistant.helpers.event import async_track_time_interval

from .entity import IgrsLockEntity
from .home import is_people
from .person_sensor import async_setup_person_sensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

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

SIGNAL: Final = SensorEntityDescription(
    key="signal",
    translation_key="signal",
    device_class=SensorDeviceClass.SIGNAL_STRENGTH,
    entity_category=EntityCategory.DIAGNOSTIC,
    entity_registry_enabled_default=False,
    native_unit_of_measurement=SIGNAL_STRENGTH_DECIBELS_MILLIWATT,
    state_class=SensorStateClass.MEASUREMENT,
)
SIGNAL_INTERVAL: Final = timedelta(minutes=1)
"""A lock is heard up to ten times a second by each gateway; nobody needs as many states."""


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: IgrsLockConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the sensors."""
    if is_people(entry):
        async_setup_person_sensors(cast("PeopleConfigEntry", entry), async_add_entities)
        return
    coordinator = entry.runtime_data
    async_add_entities(IgrsLockSensor(coordinator, sensor) for sensor in SENSORS)
    async_add_entities([IgrsLockSignal(coordinator, SIGNAL)])


class IgrsLockSensor(IgrsLockEntity, SensorEntity):
    """A number that the lock advertises."""

    entity_description: IgrsLockSensorDescription

    @property
    @override
    def native_value(self) -> int | None:
        """Return the number; None when the lock does not know it."""
        return None if self._state is None else self.entity_description.value(self._state)

    @override
    def _shows(self) -> object:
        return self.native_value


class IgrsLockSignal(IgrsLockEntity, SensorEntity):
    """How well the best gateway hears the lock, in dBm; looked at once a minute."""

    _unrecorded_attributes = frozenset({"gateway"})

    @override
    async def async_added_to_hass(self) -> None:
        """Look now, and then once a minute."""
        await super().async_added_to_hass()
        self._look()
        self.async_on_remove(
            async_track_time_interval(self.hass, self._look_again, SIGNAL_INTERVAL)
        )

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Show whether the lock is available, with the signal of the last look."""
        if self.native_value is None:
            self._look()
        super()._handle_coordinator_update()

    @callback
    def _look_again(self, _now: datetime) -> None:
        self._look()
        self.async_write_ha_state()

    @callback
    def _look(self) -> None:
        paths = bluetooth.async_scanner_devices_by_address(
            self.hass, self.coordinator.address, connectable=False
        )
        best = max(paths, key=lambda path: path.advertisement.rssi, default=None)
        self._attr_native_value = None if best is None else best.advertisement.rssi
        attributes: dict[str, Any] = {} if best is None else {"gateway": best.scanner.name}
        self._attr_extra_state_attributes = attributes
