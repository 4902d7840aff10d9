"""Numbers that the lock itself keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, override

from homeassistant.components.number import (
    NumberDeviceClass,
    NumberEntity,
    NumberEntityDescription,
    NumberMode,
)
from homeassistant.const import EntityCategory, UnitOfTime

from .entity import IgrsLockOptionEntity
from .ilp import Option
from .options import AUTO_LOCK_MAX

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

    from .coordinator import IgrsLockConfigEntry

PARALLEL_UPDATES = 1

AUTO_LOCK_DELAY: Final = NumberEntityDescription(
    key="auto_lock_delay",
    translation_key="auto_lock_delay",
    device_class=NumberDeviceClass.DURATION,
    entity_category=EntityCategory.CONFIG,
    mode=NumberMode.BOX,
    native_max_value=AUTO_LOCK_MAX,
    native_min_value=0,
    native_step=1,
    native_unit_of_measurement=UnitOfTime.SECONDS,
)


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: IgrsLockConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the delay of auto-lock where there is one."""
    coordinator = entry.runtime_data
    if coordinator.options.supported(Option.AUTO_LOCK_SECONDS):
        async_add_entities([IgrsLockNumber(coordinator, AUTO_LOCK_DELAY, Option.AUTO_LOCK_SECONDS)])


class IgrsLockNumber(IgrsLockOptionEntity, NumberEntity):
    """An option that is a number; for the delay of auto-lock 0 is off."""

    @property
    @override
    def native_value(self) -> int | None:
        """Return what the lock said last; None before it was read."""
        return self.coordinator.options.get(self._option)

    @override
    async def async_set_native_value(self, value: float) -> None:
        """Let the lock have it."""
        await self._async_check_settings()
        await self.coordinator.options.async_set(self._option, round(value))
