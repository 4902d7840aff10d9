"""The door, and what is wrong with lock or door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast, override

from homeassistant.components.binary_sensor import (
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.components.binary_sensor.const import BinarySensorDeviceClass
from homeassistant.const import EntityCategory
from homeassistant.core import callback

from .entity import IgrsLockEntity
from .home import is_server
from .ilp import Capability, Door
from .remote.binary_sensor import async_add_binary_sensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from homeassistant.core import HomeAssistant
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

    from .coordinator import IgrsLockConfigEntry
    from .remote.gateway import ServerConfigEntry
    from .state import LockState
    from .watch import Watch

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

STATES: Final = (
    IgrsLockBinarySensorDescription(
        key="low_battery",
        translation_key="low_battery",
        device_class=BinarySensorDeviceClass.BATTERY,
        entity_category=EntityCategory.DIAGNOSTIC,
        value=lambda state: state.low_battery,
    ),
    IgrsLockBinarySensorDescription(
        key="tamper",
        translation_key="tamper",
        device_class=BinarySensorDeviceClass.TAMPER,
        entity_category=EntityCategory.DIAGNOSTIC,
        value=lambda state: state.tamper,
    ),
)


@dataclass(frozen=True, kw_only=True)
class IgrsLockWatchDescription(BinarySensorEntityDescription):
    """Something that lasts too long, and how to read it from the watch."""

    value: Callable[[Watch], bool | None]


DOOR_LEFT_OPEN: Final = IgrsLockWatchDescription(
    key="door_left_open",
    translation_key="door_left_open",
    device_class=BinarySensorDeviceClass.PROBLEM,
    value=lambda watch: watch.door_left_open,
)
AUTO_LOCK_FAILED: Final = IgrsLockWatchDescription(
    key="auto_lock_failed",
    translation_key="auto_lock_failed",
    device_class=BinarySensorDeviceClass.PROBLEM,
    value=lambda watch: watch.auto_lock_failed,
)


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: IgrsLockConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the binary sensors of a lock, the door's where there is a sensor, or that of a server.

    The capabilities were read without authentication, so an advertised door counts too.
    """
    if is_server(entry):
        async_add_binary_sensors(cast("ServerConfigEntry", entry), async_add_entities)
        return
    coordinator = entry.runtime_data
    async_add_entities(IgrsLockBinarySensor(coordinator, state) for state in STATES)
    if Capability.AUTO_LOCK in coordinator.capabilities:
        async_add_entities([IgrsLockWatchSensor(coordinator, AUTO_LOCK_FAILED)])
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
            async_add_entities(
                [
                    IgrsLockBinarySensor(coordinator, DOOR),
                    IgrsLockWatchSensor(coordinator, DOOR_LEFT_OPEN),
                ]
            )

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

    @override
    def _shows(self) -> object:
        return self.is_on


class IgrsLockWatchSensor(IgrsLockEntity, BinarySensorEntity):
    """Something that lasts too long."""

    entity_description: IgrsLockWatchDescription

    @override
    async def async_added_to_hass(self) -> None:
        """Follow the watch, too: it tells when time has passed."""
        await super().async_added_to_hass()
        self.async_on_remove(self.coordinator.watch.async_listen(self.async_write_ha_state))

    @property
    @override
    def is_on(self) -> bool | None:
        """Return yes or no; None when nobody can tell, or wants to know."""
        return self.entity_description.value(self.coordinator.watch)
