"""Events at locks and people: what happens now, and nothing that is read late."""

from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from folk import Folk
from homeassistant.core import callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.util import dt as dt_util
from world import DOMAIN

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.event import ACTIVITY
from custom_components.igrs_lock.ilp import Event

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import Event as HassEvent
    from homeassistant.core import EventStateChangedData, HomeAssistant
    from world import World

FULL = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD | c.CAP_LOG
ANNA = "482913"
PERSON = "event.anna_activity"


class Fired:
    """What event entities fired."""

    def __init__(self, hass: HomeAssistant) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []
        hass.bus.async_listen("state_changed", self._note)

    @callback
    def _note(self, event: HassEvent[EventStateChangedData]) -> None:
        new, old = event.data["new_state"], event.data["old_state"]
        if new is None or not new.entity_id.startswith("event."):
            return
        if new.state not in ("unknown", "unavailable") and (old is None or old.state != new.state):
            self.seen.append((new.entity_id, dict(new.attributes)))

    def types(self, entity_id: str) -> list[str]:
        return [found["event_type"] for one, found in self.seen if one == entity_id]

    def last(self, entity_id: str) -> dict[str, Any]:
        found = [found for one, found in self.seen if one == entity_id][-1]
        keys = ("event_type", "person", "person_id", "source", "at", "lock")
        return {key: found[key] for key in keys if key in found}


@pytest.fixture
def lock(world: World) -> TestLock:
    return world.add_lock(FULL)


@pytest.fixture
async def anna(world: World, lock: TestLock, entry: ConfigEntry[Any]) -> str:
    """Anna's person ID; she has a PIN."""
    await world.advance(10)
    person_id = await Folk(world).add("Anna", lock, pin=ANNA)
    await world.advance(20)
    return person_id


@pytest.fixture
async def fired(hass: HomeAssistant, anna: str) -> Fired:
    return Fired(hass)


def activity(lock: TestLock) -> str:
    return f"event.{lock.entity}_activity"


async def test_whoever_comes_home_is_told_at_once(
    world: World, lock: TestLock, anna: str, fired: Fired
) -> None:
    lock.core.pin_entered(ANNA)
    await world.advance(0.9)
    at = dt_util.now().replace(microsecond=0)
    await world.advance(2.1)
    told = fired.last(activity(lock))
    assert told.pop("at") in {
        dt_util.as_local(dt_util.utc_from_timestamp(at.timestamp() + shift)).isoformat()
        for shift in (-1, 0)
    }
    expected = {
        "event_type": "unlocked", "person": "Anna", "person_id": anna, "source": "keypad",
    }  # fmt: skip
    assert told == expected
    told = fired.last(PERSON)
    assert told.pop("at")
    assert told == {**expected, "lock": "IGRS-9CFF"}
    assert fired.types(activity(lock)) == fired.types(PERSON) == ["unlocked"]


async def test_the_bolt_tells_who_already_when_the_event_comes(
    hass: HomeAssistant, world: World, lock: TestLock, anna: str
) -> None:
    seen = []
    hass.bus.async_listen(
        "state_changed",
        callback(
            lambda event: (
                seen.append(world.attribute(lock, "changed_by"))
                if event.data["entity_id"] == activity(lock)
                else None
            )
        ),
    )
    lock.core.pin_entered(ANNA)
    await world.advance(5)
    assert seen == ["Anna"]


async def test_a_hand_is_nobody(world: World, lock: TestLock, fired: Fired) -> None:
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.advance(5)
    told = fired.last(activity(lock))
    assert (told["event_type"], told["person"], told["person_id"], told["source"]) == (
        "unlocked", None, None, "by_hand",
    )  # fmt: skip
    assert not fired.types(PERSON)


async def test_home_assistant_is_no_person(world: World, lock: TestLock, fired: Fired) -> None:
    await world.call(lock, "unlock")
    await world.advance(5)
    told = fired.last(activity(lock))
    assert (told["person"], told["person_id"]) == ("Home Assistant", None)
    assert not fired.types(PERSON)


async def test_what_comes_together_is_told_one_by_one(
    world: World, lock: TestLock, fired: Fired
) -> None:
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    lock.core.door_sensed(True)
    lock.core.door_sensed(False)
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    lock.core.tamper_sensed(True)
    lock.core.battery_measured(5, True)
    lock.core.pin_entered("999111")
    await world.advance(5)
    assert fired.types(activity(lock)) == [
        "unlocked", "door_opened", "door_closed", "locked", "tamper", "low_battery", "wrong_pin",
    ]  # fmt: skip


async def test_what_is_older_than_a_minute_is_no_event(
    world: World, lock: TestLock, fired: Fired
) -> None:
    lock.silent = True
    lock.core.pin_entered(ANNA)
    await world.advance(65)
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    await world.advance(40)
    lock.silent = False
    await world.advance(5)
    assert fired.types(activity(lock)) == ["locked"]
    assert not fired.types(PERSON)


async def test_a_lock_that_does_not_know_the_time_tells_what_is_new_all_the_same(
    world: World, lock: TestLock, fired: Fired
) -> None:
    world.kernel_synchronised = False  # so nobody sets its time
    lock.power_cut()
    await world.advance(10)
    fired.seen.clear()
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.advance(5)
    assert fired.types(activity(lock)) == ["unlocked"]
    assert fired.last(activity(lock))["at"] is None
    await world.advance(8)
    lock.silent = True
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    await world.advance(65)
    lock.silent = False
    await world.advance(5)
    assert fired.types(activity(lock)) == ["unlocked"]


async def test_a_record_of_the_future_is_news_when_it_is_new(
    world: World, lock: TestLock, fired: Fired, entry: ConfigEntry[Any]
) -> None:
    other = world.controller(lock)
    other.key = ilp.controller_key(bytes.fromhex(entry.data["lock_key"]))
    await other.request(ilp.requests.set_time(int(world.now()) + 864000, 0, force=True))
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.advance(5)
    assert "unlocked" in fired.types(activity(lock))


async def test_events_come_while_the_lock_is_unavailable_to_others(
    hass: HomeAssistant, world: World, lock: TestLock, fired: Fired
) -> None:
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.advance(5)
    before = world.state(lock, "event", "_activity")
    lock.silent = True
    await world.advance(400, 10)
    assert world.state(lock) == "unavailable"
    assert world.state(lock, "event", "_activity") == before
    lock.silent = False
    await world.advance(5)
    assert world.state(lock, "event", "_activity") == before


async def test_a_restart_fires_nothing(
    hass: HomeAssistant, world: World, lock: TestLock, fired: Fired, entry: ConfigEntry[Any]
) -> None:
    lock.core.pin_entered(ANNA)
    await world.advance(5)
    before = len(fired.seen)
    await hass.config_entries.async_reload(entry.entry_id)
    await hass.config_entries.async_reload(Folk(world).entry.entry_id)
    await world.advance(10)
    restored = world.state(lock, "event", "_activity")
    assert restored not in ("unknown", "unavailable")
    # Home Assistant shows again what it had: the same moment.
    times = {found for one, found in fired.seen[before:] if one == activity(lock) for found in ()}
    assert not times
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    await world.advance(5)
    assert fired.types(activity(lock))[-1] == "locked"


async def test_a_lock_set_up_later_tells_people_too(
    hass: HomeAssistant, world: World, lock: TestLock, fired: Fired, entry: ConfigEntry[Any]
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    await world.advance(5)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await world.advance(5)
    lock.core.pin_entered(ANNA)
    await world.advance(5)
    assert fired.types(PERSON)[-1] == "unlocked"


async def test_a_person_who_is_refused_is_told(
    hass: HomeAssistant, world: World, lock: TestLock, anna: str, fired: Fired
) -> None:
    subentry = Folk(world).entry.subentries[anna]
    data = {**subentry.data, "uses": 0}
    hass.config_entries.async_update_subentry(Folk(world).entry, subentry, data=data)
    await world.advance(20)
    lock.core.pin_entered(ANNA)
    await world.advance(5)
    assert fired.types(PERSON) == ["access_denied"]
    assert fired.last(PERSON)["source"] == "keypad"


async def test_a_persons_entity_comes_and_goes_with_the_person(
    hass: HomeAssistant, world: World, lock: TestLock, anna: str
) -> None:
    registry = er.async_get(hass)
    found = registry.async_get(PERSON)
    assert found is not None
    assert found.unique_id == f"{anna}_activity"
    assert found.config_subentry_id == anna
    assert found.device_id is not None
    device = dr.async_get(hass).async_get(found.device_id)
    assert device is not None
    assert (DOMAIN, anna) in device.identifiers
    hass.config_entries.async_remove_subentry(Folk(world).entry, anna)
    await world.advance(1)
    assert registry.async_get(PERSON) is None
    assert hass.states.get(PERSON) is None


async def test_the_lock_entity_is_named_by_its_device(
    hass: HomeAssistant, lock: TestLock, entry: ConfigEntry[Any]
) -> None:
    found = er.async_get(hass).async_get(activity(lock))
    assert found is not None
    assert found.unique_id == f"{lock.unique_id}_activity"
    assert found.translation_key == "activity"
    state = hass.states.get(activity(lock))
    assert state is not None
    assert state.attributes["event_types"] == ACTIVITY.event_types
    assert len(ACTIVITY.event_types or ()) == len(Event) + 1
