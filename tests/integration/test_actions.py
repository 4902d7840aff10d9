"""Actions: people and PINs from scripts and automations, also for locks that are out of reach."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import voluptuous as vol
from bsld import const as c
from folk import Folk
from homeassistant.auth.const import GROUP_ID_USER
from homeassistant.config_entries import ConfigEntry, ConfigEntryDisabler
from homeassistant.core import Context
from homeassistant.exceptions import ServiceValidationError, Unauthorized
from homeassistant.helpers import area_registry as ar
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.util import dt as dt_util
from world import DOMAIN

from custom_components.igrs_lock.pin import weakness

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.core import HomeAssistant
    from world import World

KEYPAD = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD
PIN = "384729"


@pytest.fixture
async def lock(world: World) -> TestLock:
    """A lock with a keypad."""
    return world.add_lock(KEYPAD)


@pytest.fixture
async def folk(hass: HomeAssistant, world: World, entry: ConfigEntry[Any]) -> Folk:
    """The People entry, made with the lock's."""
    return Folk(world)


@pytest.fixture
async def away(world: World, lock: TestLock, folk: Folk) -> None:
    """The lock is out of reach: its entity is unavailable."""
    lock.silent = True
    await world.advance(200, step=10)
    assert world.state(lock) == "unavailable"


async def act(
    folk: Folk, action: str, *locks: TestLock | str, context: Context | None = None, **data: Any
) -> dict[str, Any]:
    """Call an action and return its response, by entity ID."""
    chosen = [lock if isinstance(lock, str) else f"lock.{lock.entity}" for lock in locks]
    response = await folk.world.during(
        folk.hass.services.async_call(
            DOMAIN,
            action,
            {"entity_id": chosen, **data},
            blocking=True,
            return_response=True,
            context=context,
        )
    )
    await folk.hass.async_block_till_done()
    assert isinstance(response, dict)
    return response


async def refused(folk: Folk, action: str, *locks: TestLock | str, **data: Any) -> str:
    """Call an action that is refused; return the translation key."""
    with pytest.raises(ServiceValidationError) as failure:
        await act(folk, action, *locks, **data)
    assert failure.value.translation_domain == DOMAIN
    assert PIN not in str(failure.value) + str(failure.value.translation_placeholders)
    return str(failure.value.translation_key)


# --- set_user -------------------------------------------------------------------------------------


async def test_somebody_is_added_for_a_lock_by_name(folk: Folk, lock: TestLock) -> None:
    response = await act(folk, "set_user", lock, user=" Gina ")
    (person,) = folk.entry.subentries
    row = response[f"lock.{lock.entity}"]
    assert row == {"user": person, "name": "Gina", "pending": row["pending"]}
    assert folk.entry.subentries[person].title == "Gina"
    # Whoever comes by an action and is nothing else is a guest.
    assert folk.data(person) == {
        "kind": "guest",
        "user_id": None,
        "locks": [lock.unique_id],
        "rights": ["lock", "unlock", "open"],
        "not_before": 0,
        "not_after": 0,
        "weekdays": [],
        "first_minute": 0,
        "last_minute": 24 * 60 - 1,
        "uses": None,
        "suspended": False,
    }


@pytest.mark.usefixtures("away")
async def test_somebody_is_added_for_a_lock_that_is_out_of_reach(
    folk: Folk, lock: TestLock
) -> None:
    before = folk.world.now()
    response = await act(folk, "set_user", lock, user="Gina")
    assert response[f"lock.{lock.entity}"]["pending"]
    # Nobody waits for a lock that is not there.
    assert folk.world.now() - before < 1
    assert len(folk.entry.subentries) == 1


async def test_all_fields_of_the_dialog_are_there(
    hass: HomeAssistant, folk: Folk, lock: TestLock
) -> None:
    user = await hass.auth.async_create_user("Gina")
    end = dt_util.now().replace(microsecond=0) + timedelta(hours=2)
    await act(
        folk,
        "set_user",
        lock,
        user="Gina",
        kind="service",
        user_id=user.id,
        rights=["unlock", "remote"],
        not_before="2026-01-01 00:00:00",
        not_after=end.isoformat(),
        weekdays=["sat", "sun"],
        first_time="08:00",
        last_time="18:30:00",
        uses=2,
        suspended=True,
    )
    (person,) = folk.entry.subentries
    zone = dt_util.get_default_time_zone()
    assert folk.data(person) == {
        "kind": "service",
        "user_id": user.id,
        "locks": [lock.unique_id],
        "rights": ["unlock", "remote"],
        "not_before": datetime(2026, 1, 1, tzinfo=zone).timestamp(),
        "not_after": end.timestamp(),
        "weekdays": ["sat", "sun"],
        "first_minute": 8 * 60,
        "last_minute": 18 * 60 + 30,
        "uses": 2,
        "suspended": True,
    }


async def test_what_is_not_given_stays_and_what_is_empty_goes(
    hass: HomeAssistant, world: World, folk: Folk, lock: TestLock
) -> None:
    second = world.add_lock()
    await world.pair(second)
    user = await hass.auth.async_create_user("Anna")
    person = await folk.add(
        "Anna", lock, user_id=user.id, uses=3, not_after="2030-01-01 00:00:00", weekdays=["mon"]
    )
    before = folk.data(person)
    await act(folk, "set_user", second, user="anna", suspended=True)
    locks = sorted((lock.unique_id, second.unique_id))
    assert folk.data(person) == before | {"locks": locks, "suspended": True}
    await act(
        folk,
        "set_user",
        second,
        user=person,
        name="Anne",
        kind="guest",
        user_id=None,
        not_after=None,
        uses=None,
        weekdays=[],
        suspended=False,
    )
    assert folk.entry.subentries[person].title == "Anne"
    assert folk.data(person) == before | {
        "kind": "guest",
        "locks": locks,
        "user_id": None,
        "not_after": 0,
        "uses": None,
        "weekdays": [],
    }


async def test_one_person_is_added_for_several_locks_at_once(
    world: World, folk: Folk, lock: TestLock
) -> None:
    second = world.add_lock()
    await world.pair(second)
    response = await act(folk, "set_user", lock, second, user="Gina")
    (person,) = folk.entry.subentries
    assert {row["user"] for row in response.values()} == {person}
    assert len(response) == 2
    assert folk.data(person)["locks"] == sorted((lock.unique_id, second.unique_id))


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"user": "01JZZZZZZZZZZZZZZZZZZZZZZZ"}, "user_not_found"),
        ({"user": "Ben", "name": " "}, "name_missing"),
        ({"user": "Ben", "name": "anna"}, "name_taken"),
        ({"user": "Ben", "user_id": "nobody"}, "home_assistant_user_not_found"),
        ({"user": "Ben", "rights": []}, "rights_missing"),
        ({"user": "Ben", "not_after": "2020-01-01 00:00:00"}, "end_is_over"),
        ({"user": "Ben", "first_time": "08:00", "last_time": "08:00"}, "same_time"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(
    folk: Folk, lock: TestLock, data: dict[str, Any], key: str
) -> None:
    await folk.add("Anna", lock)
    await folk.add("Ben", lock)
    before = folk.entry.as_dict()
    assert await refused(folk, "set_user", lock, **data) == key
    assert folk.entry.as_dict() == before


async def test_a_user_is_one_person_and_a_name_is_one(
    hass: HomeAssistant, folk: Folk, lock: TestLock
) -> None:
    user = await hass.auth.async_create_user("Anna")
    anna = await folk.add("Anna", lock, user_id=user.id)
    assert await refused(folk, "set_user", lock, user="Ben", user_id=user.id) == "user_taken"
    ben = await folk.add("Ben", lock)
    # Home Assistant itself lets two have one name.
    hass.config_entries.async_update_subentry(folk.entry, folk.entry.subentries[ben], title="Anna")
    assert await refused(folk, "delete_user", lock, user="Anna") == "user_ambiguous"
    await act(folk, "delete_user", lock, user=anna)
    assert list(folk.entry.subentries) == [ben]


@pytest.mark.parametrize(
    "wrong", [{"kind": "king"}, {"rights": ["manage"]}, {"uses": 254}, {"weekdays": ["today"]}]
)
async def test_values_that_are_none_are_refused_by_home_assistant(
    folk: Folk, lock: TestLock, wrong: dict[str, Any]
) -> None:
    with pytest.raises(vol.Invalid):
        await act(folk, "set_user", lock, user="Gina", **wrong)
    assert not folk.entry.subentries


# --- delete_user ----------------------------------------------------------------------------------


async def test_a_lock_is_taken_away_and_with_the_last_one_the_person_goes(
    world: World, folk: Folk, lock: TestLock
) -> None:
    second = world.add_lock()
    await world.pair(second)
    person = await folk.add("Anna", lock, second)
    await act(folk, "delete_user", lock, user="Anna")
    assert folk.data(person)["locks"] == [second.unique_id]
    await act(folk, "delete_user", lock, second, user=person)
    assert not folk.entry.subentries
    assert await refused(folk, "delete_user", lock, user="Anna") == "user_not_found"


# --- credentials ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("away")
async def test_a_pin_is_made_and_returned_once(
    hass: HomeAssistant, world: World, folk: Folk, lock: TestLock
) -> None:
    second = world.add_lock(KEYPAD)
    await world.pair(second)
    second.silent = True
    await world.advance(200, step=10)
    person = await folk.add("Anna", lock, second)
    response = await act(folk, "set_credential", lock, second, user="Anna", credential_type="pin")
    assert len(response) == 2
    pins = {row["credential_data"] for row in response.values()}
    assert len(pins) == 1  # one PIN for all doors
    (pin,) = pins
    assert weakness(pin) is None
    assert all(row["user"] == person and row["pending"] for row in response.values())
    home = await folk.home()
    for one in (lock, second):
        assert home.ledger.lock(one.unique_id).pins == {person: pin}


@pytest.mark.usefixtures("away")
async def test_a_given_pin_is_not_returned(folk: Folk, lock: TestLock) -> None:
    person = await folk.add("Anna", lock)
    response = await act(folk, "set_credential", lock, user="Anna", credential_data=PIN)
    assert PIN not in str(response)
    home = await folk.home()
    assert home.ledger.lock(lock.unique_id).pins == {person: PIN}
    await act(folk, "delete_credential", lock, user="Anna")
    assert not home.ledger.lock(lock.unique_id).pins.get(person)


async def test_a_made_pin_is_not_made_to_be_lost(hass: HomeAssistant, folk: Folk) -> None:
    lock = next(iter(folk.world.locks.values()))
    await folk.add("Anna", lock)
    with pytest.raises(ServiceValidationError) as failure:
        await hass.services.async_call(
            DOMAIN,
            "set_credential",
            {"entity_id": f"lock.{lock.entity}", "user": "Anna"},
            blocking=True,
        )
    assert failure.value.translation_key == "pin_not_returned"
    home = await folk.home()
    assert not home.ledger.lock(lock.unique_id).pins


@pytest.mark.parametrize(
    ("pin", "key"),
    [
        ("38472", "pin_length"),
        ("38472x", "pin_digits"),
        ("777777", "pin_equal"),
        ("456789", "pin_sequence"),
        ("384384", "pin_repeated"),
    ],
)
async def test_a_weak_pin_is_refused_with_its_reason(
    folk: Folk, lock: TestLock, pin: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    await folk.add("Anna", lock)
    assert await refused(folk, "set_credential", lock, user="Anna", credential_data=pin) == key
    home = await folk.home()
    assert not home.ledger.lock(lock.unique_id).pins


@pytest.mark.usefixtures("away")
async def test_a_pin_for_nobody_or_nothing_is_refused(
    world: World, folk: Folk, lock: TestLock
) -> None:
    without = world.add_lock()
    await world.pair(without)
    await folk.add("Anna", lock, without)
    await folk.add("Ben", without)
    given: dict[str, Any] = {"credential_data": PIN}
    assert await refused(folk, "set_credential", lock, user="Eve", **given) == "user_not_found"
    assert await refused(folk, "set_credential", lock, user="Ben", **given) == "user_without_lock"
    assert await refused(folk, "set_credential", without, user="Anna", **given) == "no_keypad"
    await act(folk, "set_credential", lock, user="Anna", **given)
    await act(folk, "set_user", lock, user="Ben")
    assert await refused(folk, "set_credential", lock, user="Ben", **given) == "pin_taken"


async def test_what_a_lock_takes_is_told(world: World, folk: Folk, lock: TestLock) -> None:
    without = world.add_lock()
    await world.pair(without)
    response = await act(folk, "get_credential_capabilities", lock, without)
    assert response == {
        f"lock.{lock.entity}": {"credential_types": {"pin": {"min_length": 6, "max_length": 14}}},
        f"lock.{without.entity}": {"credential_types": {}},
    }


# --- targets and permissions ----------------------------------------------------------------------


async def test_locks_are_targeted_by_area_and_all_at_once(
    hass: HomeAssistant, world: World, folk: Folk, lock: TestLock
) -> None:
    second = world.add_lock()
    await world.pair(second)
    area = ar.async_get(hass).async_create("Hall")
    entity = er.async_get(hass).async_get(f"lock.{second.entity}")
    assert entity is not None
    assert entity.device_id is not None
    dr.async_get(hass).async_update_device(entity.device_id, area_id=area.id)
    response = await hass.services.async_call(
        DOMAIN, "get_users", {"area_id": area.id}, blocking=True, return_response=True
    )
    assert list(response or ()) == [f"lock.{second.entity}"]
    response = await hass.services.async_call(
        DOMAIN, "get_users", {"entity_id": "all"}, blocking=True, return_response=True
    )
    assert len(response or ()) == 2


async def test_what_is_no_lock_of_this_integration_is_refused(
    hass: HomeAssistant, folk: Folk, lock: TestLock
) -> None:
    hass.states.async_set("lock.other", "locked")
    assert await refused(folk, "get_users", lock, "lock.other") == "not_a_lock"
    assert await refused(folk, "get_users") == "no_lock_chosen"


async def test_only_administrators_write_and_only_who_may_read_reads(
    hass: HomeAssistant, folk: Folk, lock: TestLock
) -> None:
    owner = await hass.auth.async_create_user("Owner", group_ids=["system-admin"])
    someone = await hass.auth.async_create_user("Someone", group_ids=[GROUP_ID_USER])
    nobody = await hass.auth.async_create_user("Nobody", group_ids=[])
    await act(folk, "set_user", lock, user="Gina", context=Context(user_id=owner.id))
    for action in ("set_user", "delete_user", "set_credential", "delete_credential"):
        with pytest.raises(Unauthorized):
            await act(folk, action, lock, user="Gina", context=Context(user_id=someone.id))
    await act(folk, "get_users", lock, context=Context(user_id=someone.id))
    for user in (nobody.id, "gone"):
        with pytest.raises(Unauthorized):
            await act(folk, "get_users", lock, context=Context(user_id=user))
    assert len(folk.entry.subentries) == 1


async def test_without_people_nothing_is_written(
    hass: HomeAssistant, folk: Folk, lock: TestLock
) -> None:
    await folk.add("Anna", lock)
    await hass.config_entries.async_set_disabled_by(folk.entry.entry_id, ConfigEntryDisabler.USER)
    assert await refused(folk, "set_user", lock, user="Gina") == "people_gone"
    assert await refused(folk, "delete_user", lock, user="Anna") == "people_gone"
    assert len(folk.entry.subentries) == 1
