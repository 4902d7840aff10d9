"""How far what a person may do is written to the locks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
)
from homeassistant.const import EntityCategory
from homeassistant.core import callback

from .people import async_add_person_entities, person_device

if TYPE_CHECKING:
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

    from .home import Home
    from .people import PeopleConfigEntry
    from .person import Person

ACCESS_PENDING: Final = SensorEntityDescription(
    key="access_pending",
    translation_key="access_pending",
    device_class=SensorDeviceClass.ENUM,
    entity_category=EntityCategory.DIAGNOSTIC,
    options=["none", "pending", "problem"],
)


@callback
def async_setup_person_sensors(
    entry: PeopleConfigEntry, async_add_entities: AddConfigEntryEntitiesCallback
) -> None:
    """Add the sensor of everybody."""
    home = entry.runtime_data
    async_add_person_entities(
        entry, async_add_entities, lambda person: [AccessPendingSensor(home, person)]
    )


class AccessPendingSensor(SensorEntity):
    """Whether something about a person still has to be written to a lock, and to which."""

    _attr_has_entity_name = True
    _attr_should_poll = False

    def __init__(self, home: Home, person: Person) -> None:
        self.entity_description = ACCESS_PENDING
        self._home = home
        self._person_id = person.id
        self._attr_unique_id = f"{person.id}_{ACCESS_PENDING.key}"
        self._attr_device_info = person_device(person.id, person.name)
        self._read()

    @override
    async def async_added_to_hass(self) -> None:
        """Follow the access."""
        self.async_on_remove(self._home.async_listen(self._changed))
        self._read()

    @callback
    def _changed(self) -> None:
        self._read()
        self.async_write_ha_state()

    @callback
    def _read(self) -> None:
        pending, problem = self._home.unwritten(self._person_id)
        self._attr_native_value = "problem" if problem else "pending" if pending else "none"
        self._attr_extra_state_attributes: dict[str, Any] = {
            "pending_locks": sorted(pending),
            "problem_locks": sorted(problem),
        }
