"""What a lock's log tells as it happens: at the lock, and at whoever did it.

Only news: what was read late would let automations run for somebody who came home yesterday. It is
in Activity and in the log all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast, override

from homeassistant.components.event import EventEntity, EventEntityDescription
from homeassistant.core import callback
from homeassistant.helpers.dispatcher import async_dispatcher_connect
from homeassistant.util import dt as dt_util

from .activity import plain_name
from .entity import IgrsLockEntity
from .home import is_people
from .ilp import Event
from .log import SIGNAL_LOG
from .people import SIGNAL_PERSON, async_add_person_entities, person_device

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

    from .coordinator import IgrsLockConfigEntry, IgrsLockCoordinator
    from .log_store import LogEntry
    from .people import PeopleConfigEntry
    from .person import Person

PARALLEL_UPDATES = 0

LOG_GAP: Final = "log_gap"
PHONE_EVENTS: Final = ("phone_joined", "phone_left", "link_opened_twice")
ACTIVITY: Final = EventEntityDescription(
    key="activity",
    translation_key="activity",
    event_types=[*(event.name.lower() for event in Event), LOG_GAP],
)
PERSON_ACTIVITY: Final = EventEntityDescription(
    key="activity",
    translation_key="person_activity",
    event_types=["locked", "unlocked", "opened", "access_denied", *PHONE_EVENTS],
)


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: IgrsLockConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the activity of a lock, or that of everybody."""
    if is_people(entry):
        async_add_person_entities(
            cast("PeopleConfigEntry", entry),
            async_add_entities,
            lambda person: [PersonActivity(person)],
        )
        return
    async_add_entities([LockActivity(entry.runtime_data, ACTIVITY)])


class LockActivity(IgrsLockEntity, EventEntity):
    """What happens at a lock."""

    _unrecorded_attributes = frozenset({"person_id"})

    entity_description: EventEntityDescription

    @property
    @override
    def available(self) -> bool:
        """Always: what happened last stays so, and the next event is no return of the lock."""
        return True

    @override
    async def async_added_to_hass(self) -> None:
        """Follow the log."""
        await super().async_added_to_hass()
        self.async_on_remove(self.coordinator.log.async_listen(self._recorded))

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Show nothing of the lock's state."""

    @callback
    def _recorded(self, entry: LogEntry) -> None:
        if entry.fresh:
            self._trigger_event(event_type(entry), _attributes(entry))
            self.async_write_ha_state()


class PersonActivity(EventEntity):
    """What somebody does, at any lock, and what becomes of their phones."""

    _attr_has_entity_name = True
    _attr_should_poll = False
    _unrecorded_attributes = frozenset({"person_id"})

    entity_description = PERSON_ACTIVITY

    def __init__(self, person: Person) -> None:
        self._person_id = person.id
        self._attr_unique_id = f"{person.id}_{PERSON_ACTIVITY.key}"
        self._attr_device_info = person_device(person.id, person.name)

    @override
    async def async_added_to_hass(self) -> None:
        """Follow the logs of all locks, whenever they are set up."""
        await super().async_added_to_hass()
        self.async_on_remove(async_dispatcher_connect(self.hass, SIGNAL_LOG, self._recorded))
        self.async_on_remove(async_dispatcher_connect(self.hass, SIGNAL_PERSON, self._phone))

    @callback
    def _recorded(self, coordinator: IgrsLockCoordinator, entry: LogEntry) -> None:
        if entry.person_id != self._person_id or not entry.fresh:
            return
        if (kind := event_type(entry)) in self.event_types:
            lock = plain_name(coordinator.config_entry.title)
            self._trigger_event(kind, {**_attributes(entry), "lock": lock})
            self.async_write_ha_state()

    @callback
    def _phone(self, person_id: str, kind: str, phone: str) -> None:
        if person_id == self._person_id:
            self._trigger_event(kind, {"phone": phone})
            self.async_write_ha_state()


def event_type(entry: LogEntry) -> str:
    """Return the type of event that an entry is."""
    return LOG_GAP if entry.event is None else entry.event.name.lower()


def _attributes(entry: LogEntry) -> dict[str, Any]:
    at = entry.happened_at
    return {
        "person": entry.name,
        "person_id": entry.person_id,
        "source": entry.source.name.lower(),
        "at": None if at is None else dt_util.as_local(dt_util.utc_from_timestamp(at)).isoformat(),
    }
