"""Who did what, and who moved the bolt last: as the lock's log tells, and nothing guessed."""

from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from tenants import Tenants
from world import DOMAIN

from custom_components.igrs_lock.activity import plain_name
from custom_components.igrs_lock.ilp import Event

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant
    from world import World

    from custom_components.igrs_lock.log_store import LogEntry

ANNA, BEN = "482913", "719304"


@pytest.fixture
def lock(world: World) -> TestLock:
    return world.add_lock(
        c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD | c.CAP_LOG | c.CAP_AUTO_LOCK
    )


@pytest.fixture
async def tenants(world: World, lock: TestLock, entry: ConfigEntry[Any]) -> Tenants:
    """Anna and Ben, with PINs."""
    await world.advance(10)
    tenants = Tenants(world, lock, entry)
    tenants.add("Anna", ANNA)
    tenants.add("Ben", BEN)
    await world.advance(20)
    assert tenants.state("Anna") == tenants.state("Ben") == "active"
    return tenants


def turns(tenants: Tenants) -> list[LogEntry]:
    return [
        entry
        for entry in tenants.coordinator.log.entries
        if entry.event in (Event.LOCKED, Event.UNLOCKED, Event.OPENED, Event.JAMMED)
    ]


def changed_by(tenants: Tenants) -> Any:
    return tenants.world.attribute(tenants.lock, "changed_by")


async def enters(tenants: Tenants, pin: str) -> None:
    """Somebody unlocks with a PIN and locks by hand."""
    tenants.lock.core.pin_entered(pin)
    await tenants.world.advance(1.2)
    tenants.lock.core.bolt_sensed(c.BOLT_LOCKED)
    await tenants.world.advance(0.3)


# --- who ------------------------------------------------------------------------------------------


async def test_two_people_between_two_readings_are_told_apart(
    world: World, lock: TestLock, tenants: Tenants
) -> None:
    lock.silent = True
    await enters(tenants, ANNA)
    await enters(tenants, BEN)
    await enters(tenants, ANNA)
    lock.silent = False
    await world.advance(10)
    assert [entry.name for entry in turns(tenants)] == ["Anna", None, "Ben", None, "Anna", None]
    persons = {one.name: key for key, one in tenants.coordinator.home.persons().items()}
    assert turns(tenants)[2].person_id == persons["Ben"]
    assert changed_by(tenants) == "by_hand"


async def test_a_slot_that_was_used_again_belongs_to_whoever_had_it_then(
    world: World, lock: TestLock, tenants: Tenants
) -> None:
    slot = tenants.key("Ben").slot
    lock.silent = True
    await enters(tenants, BEN)
    ben = next(key for key, one in tenants.coordinator.home.persons().items() if one.name == "Ben")
    tenants.remove(ben)
    tenants.add("Carla", "305817")
    lock.silent = False
    await world.advance(60)
    assert tenants.key("Carla").slot == slot
    await enters(tenants, "305817")
    await world.advance(10)
    assert [entry.name for entry in turns(tenants)] == ["Ben", None, "Carla", None]


async def test_home_assistant_is_named_and_a_hand_is_not(
    world: World, lock: TestLock, tenants: Tenants
) -> None:
    await world.call(lock, "unlock")
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    lock.core.button_pressed()
    await world.advance(10)
    assert [(entry.name, entry.source.name) for entry in turns(tenants)] == [
        ("Home Assistant", "BLUETOOTH"),
        (None, "BY_HAND"),
        (None, "BUTTON"),
    ]
    assert changed_by(tenants) == "button"


async def test_a_name_stays_as_it_was_when_it_happened(
    hass: HomeAssistant, world: World, tenants: Tenants
) -> None:
    await enters(tenants, ANNA)
    await world.advance(5)
    anna = turns(tenants)[0].person_id
    subentry = tenants.people.subentries[str(anna)]
    hass.config_entries.async_update_subentry(tenants.people, subentry, title="Anna Maria")
    await world.advance(5)
    assert [entry.name for entry in turns(tenants)] == ["Anna", None]
    await enters(tenants, ANNA)
    await world.advance(5)
    assert turns(tenants)[2].name == "Anna Maria"
    assert turns(tenants)[2].person_id == anna


async def test_somebody_of_another_controller_is_nobody_known(
    world: World, lock: TestLock, tenants: Tenants
) -> None:
    tenants.coordinator.home.ledger.lock(lock.unique_id).holders.clear()
    await enters(tenants, ANNA)
    await world.advance(5)
    assert turns(tenants)[0].name is None
    assert turns(tenants)[0].source.name == "KEYPAD"


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Anna\r\nlocked by Ben", "Anna locked by Ben"),
        ("  Anna \t M. ", "Anna M."),
        ("Anna\x00\x1b[31m", "Anna [31m"),
        ("\u202eannA\u2028x\u2029", "annA x"),
        ("{person}", "{person}"),
        ("Å" * 300, "Å" * 100),
    ],
)
def test_a_name_stays_one_name(name: str, plain: str) -> None:
    assert plain_name(name) == plain


# --- who moved the bolt last ----------------------------------------------------------------------


async def test_none_from_the_change_until_the_record_was_read(
    world: World, lock: TestLock, tenants: Tenants
) -> None:
    await world.call(lock, "unlock")
    await world.advance(10)
    assert changed_by(tenants) == "Home Assistant"
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    await world.advance(0.3)
    assert world.state(lock) == "locked"
    assert changed_by(tenants) is None
    await world.advance(2)
    assert changed_by(tenants) == "by_hand"


async def test_a_pin_is_somebodys(world: World, lock: TestLock, tenants: Tenants) -> None:
    lock.core.pin_entered(BEN)
    await world.advance(5)
    assert world.state(lock) == "unlocked"
    assert changed_by(tenants) == "Ben"


async def test_the_latch_falling_back_is_still_whoever_opened(
    world: World, lock: TestLock, tenants: Tenants
) -> None:
    await world.call(lock, "open")
    await world.advance(20)
    assert world.state(lock) == "unlocked"
    assert changed_by(tenants) == "Home Assistant"


async def test_it_outlives_a_restart_with_its_bolt(
    hass: HomeAssistant, world: World, lock: TestLock, tenants: Tenants
) -> None:
    lock.core.pin_entered(ANNA)
    await world.advance(10)
    assert await hass.config_entries.async_unload(tenants.entry.entry_id)
    await world.forget_memory()
    assert await hass.config_entries.async_setup(tenants.entry.entry_id)
    await world.advance(5)
    assert changed_by(tenants) == "Anna"


async def test_after_a_restart_it_is_read_who_moved_it_meanwhile(
    hass: HomeAssistant, world: World, lock: TestLock, tenants: Tenants
) -> None:
    await enters(tenants, ANNA)
    await world.advance(10)
    assert await hass.config_entries.async_unload(tenants.entry.entry_id)
    lock.core.pin_entered(BEN)
    await world.advance(2)
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    lock.core.pin_entered(BEN)
    await world.advance(2)
    seen = []
    hass.bus.async_listen(
        "state_changed",
        lambda event: (
            seen.append(event.data["new_state"].attributes.get("changed_by"))
            if event.data["entity_id"] == f"lock.{lock.entity}" and event.data["new_state"]
            else None
        ),
    )
    assert await hass.config_entries.async_setup(tenants.entry.entry_id)
    await world.advance(5)
    assert changed_by(tenants) == "Ben"
    assert set(seen) <= {None, "Ben"}


async def test_an_older_record_does_not_explain_a_newer_bolt(
    world: World, lock: TestLock, tenants: Tenants
) -> None:
    """The log cannot be read; what was read before is not the answer."""
    lock.core.pin_entered(ANNA)
    await world.advance(15)
    assert changed_by(tenants) == "Anna"
    lock.on_connect = lambda: setattr(lock, "silent", True)
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.advance(0.5)
    assert world.state(lock) == "unlocked"
    assert changed_by(tenants) is None
    await world.advance(60)
    assert changed_by(tenants) is None


async def test_a_gap_explains_nothing(world: World, lock: TestLock, tenants: Tenants) -> None:
    log = tenants.coordinator.log
    await enters(tenants, ANNA)
    await world.advance(5)
    tenants.coordinator.changed_by = None
    log._book.entries.append(type(log.entries[0]).gap(log.entries[-1].counter))
    log._tell_who()
    assert tenants.coordinator.changed_by is None
    assert DOMAIN
