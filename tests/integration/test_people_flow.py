"""Adding and changing people in the browser: every step, every refusal, nothing lost."""

from datetime import datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from bsld import const as c
from folk import ALWAYS, Folk, options, suggested
from homeassistant.config_entries import ConfigEntry, UnknownSubEntry
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.util import dt as dt_util

from custom_components.igrs_lock.errors import LedgerNotSavedError

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


async def gone(folk: Folk, lock: TestLock) -> None:
    """Let a lock be out of reach: what is meant for it waits."""
    lock.silent = True
    await folk.world.advance(200, step=10)


def pins(folk: Folk, home: Any, lock: TestLock) -> dict[str, str]:
    """PINs that wait to be written to a lock."""
    return dict(home.ledger.lock(lock.unique_id).pins)


# --- adding ---------------------------------------------------------------------------------------


async def test_somebody_is_added_in_three_steps(folk: Folk, lock: TestLock) -> None:
    result = await folk.begin()
    assert result["step_id"] == "user"
    assert options(result, "locks") == [lock.unique_id]
    assert options(result, "kind") == ["resident", "guest", "service"]
    # Nobody is let in anywhere by leaving things as they are.
    assert suggested(result) == {"kind": "resident"}
    result = await folk.submit(
        result, {"name": " Anna ", "kind": "guest", "locks": [lock.unique_id]}
    )
    assert result["step_id"] == "details"
    assert result["description_placeholders"]["name"] == "Anna"
    assert suggested(result) == {"rights": ["lock", "unlock", "open"], **ALWAYS}
    result = await folk.submit(
        result,
        {
            "rights": ["unlock"],
            "not_before": "2098-12-01 08:00:00",
            "not_after": "2099-12-24 18:30:00",
            "weekdays": ["mon", "fri"],
            "first_time": "20:00:00",
            "last_time": "02:00:00",
            "uses": 5,
        },
    )
    assert result["step_id"] == "pin"
    result = await folk.choose(result, "no_pin")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = folk.entry.subentries.values()
    assert subentry.title == "Anna"
    assert subentry.unique_id is None
    zone = dt_util.get_default_time_zone()
    assert dict(subentry.data) == {
        "kind": "guest",
        "user_id": None,
        "locks": [lock.unique_id],
        "rights": ["unlock"],
        "not_before": datetime(2098, 12, 1, 8, tzinfo=zone).timestamp(),
        "not_after": datetime(2099, 12, 24, 18, 30, tzinfo=zone).timestamp(),
        "weekdays": ["mon", "fri"],
        "first_minute": 20 * 60,
        "last_minute": 2 * 60,
        "uses": 5,
        "suspended": False,
    }


@pytest.mark.parametrize(
    ("kind", "rights"),
    [
        ("resident", ["lock", "unlock", "open", "read_log", "follow_state"]),
        ("guest", ["lock", "unlock", "open"]),
        ("service", ["lock", "unlock"]),
    ],
)
async def test_rights_are_proposed_to_suit_the_kind(
    folk: Folk, lock: TestLock, kind: str, rights: list[str]
) -> None:
    person = await folk.add("Anna", lock, kind=kind)
    assert folk.data(person)["rights"] == rights


async def test_somebody_may_have_no_lock_yet_and_then_gets_no_pin(folk: Folk) -> None:
    result = await folk.submit(
        await folk.begin(), {"name": "Anna", "kind": "resident", "locks": []}
    )
    result = await folk.submit(result, suggested(result))
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (subentry,) = folk.entry.subentries.values()
    assert subentry.data["locks"] == []


async def test_a_pin_is_not_offered_where_no_keypad_or_no_right_would_use_it(
    world: World, folk: Folk, lock: TestLock
) -> None:
    without = world.add_lock()
    await world.pair(without)
    await folk.add("Anna", without)
    assert not any("pin" in step for step in (await _menu(folk, "Anna")))
    await folk.add("Ben", lock, rights=["lock"])
    assert "pin" not in await _menu(folk, "Ben")
    await folk.add("Clara", lock, without, rights=["unlock"])
    assert "pin" in await _menu(folk, "Clara")


async def _menu(folk: Folk, name: str) -> list[str]:
    (person,) = [key for key, one in folk.entry.subentries.items() if one.title == name]
    menu: list[str] = (await folk.reconfigure(person))["menu_options"]
    return menu


async def test_a_made_pin_is_shown_once_and_goes_to_the_ledger_only(
    hass: HomeAssistant, folk: Folk, lock: TestLock
) -> None:
    await gone(folk, lock)
    result = await folk.submit(
        await folk.begin(), {"name": "Anna", "kind": "resident", "locks": [lock.unique_id]}
    )
    result = await folk.submit(result, suggested(result))
    result = await folk.choose(result, "pin_make")
    made = result["description_placeholders"]["pin"]
    # Looked at again, as when the page is loaded anew, it is the same.
    again = await folk.flows.async_configure(result["flow_id"])
    assert (again["description_placeholders"] or {})["pin"] == made
    result = await folk.submit(result, {})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await hass.async_block_till_done()
    (person,) = folk.entry.subentries
    assert pins(folk, await folk.home(), lock) == {person: made}
    assert made not in str(folk.entry.as_dict())
    assert made not in str(result)


async def test_a_typed_pin_is_checked_and_never_shown_again(
    hass: HomeAssistant, folk: Folk, lock: TestLock
) -> None:
    await gone(folk, lock)
    result = await folk.submit(
        await folk.begin(), {"name": "Anna", "kind": "resident", "locks": [lock.unique_id]}
    )
    result = await folk.submit(result, suggested(result))
    result = await folk.choose(result, "pin_type")
    for weak, reason in (
        ("38472", "pin_length"),
        ("38472a", "pin_digits"),
        ("777777", "pin_equal"),
        ("456789", "pin_sequence"),
        ("384384", "pin_repeated"),
    ):
        result = await folk.submit(result, {"pin": weak})
        assert result["errors"] == {"pin": reason}
        assert suggested(result) == {}
        assert weak not in str(result)
    result = await folk.submit(result, {"pin": f" {PIN} "})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await hass.async_block_till_done()
    (person,) = folk.entry.subentries
    assert pins(folk, await folk.home(), lock) == {person: PIN}


async def test_a_pin_that_waits_for_somebody_else_is_refused(
    hass: HomeAssistant, folk: Folk, lock: TestLock
) -> None:
    await gone(folk, lock)
    await folk.add("Anna", lock, pin=PIN)
    ben = await folk.add("Ben", lock)
    result = await folk.reconfigure(ben, "pin")
    result = await folk.choose(result, "pin_type")
    result = await folk.submit(result, {"pin": PIN})
    assert result["errors"] == {"pin": "pin_taken"}


async def test_closing_the_dialog_leaves_nothing_behind(folk: Folk, lock: TestLock) -> None:
    result = await folk.submit(
        await folk.begin(), {"name": "Anna", "kind": "resident", "locks": [lock.unique_id]}
    )
    result = await folk.submit(result, suggested(result))
    result = await folk.choose(result, "pin_make")
    folk.flows.async_abort(result["flow_id"])
    await folk.world.settle()
    assert not folk.entry.subentries
    home = await folk.home()
    assert not home.pending_pins()
    assert not lock.operations


async def test_a_pin_that_cannot_be_stored_leaves_a_person_without_one(
    hass: HomeAssistant, folk: Folk, lock: TestLock, caplog: pytest.LogCaptureFixture
) -> None:
    with patch(
        "custom_components.igrs_lock.ledger.Ledger.async_set_pin",
        side_effect=LedgerNotSavedError("home"),
    ):
        await folk.add("Anna", lock, pin=PIN)
    assert "A new PIN could not be stored" in caplog.text
    assert PIN not in caplog.text


# --- refusals -------------------------------------------------------------------------------------


async def test_somebody_whose_user_was_deactivated_or_deleted_can_be_renamed(
    hass: HomeAssistant, folk: Folk, lock: TestLock
) -> None:
    other = await hass.auth.async_create_user("Other")  # the first is the owner
    anna = await hass.auth.async_create_user("Anna")
    person = await folk.add("Anna", lock, user_id=anna.id)
    await hass.auth.async_deactivate_user(anna)
    result = await folk.reconfigure(person, "identity")
    shown = suggested(result)
    assert shown["user_id"] in options(result, "user_id")
    result = await folk.submit(result, shown | {"name": "Anne"})
    assert result["reason"] == "person_saved"
    assert folk.data(person)["user_id"] == anna.id
    # To nobody else it is offered.
    assert anna.id not in options(await folk.begin(), "user_id")
    await hass.auth.async_remove_user(anna)
    result = await folk.reconfigure(person, "identity")
    shown = suggested(result)
    assert shown == {"name": "Anne", "kind": "resident"}
    assert options(result, "user_id") == [other.id]
    result = await folk.submit(result, shown | {"name": "Ann"})
    assert result["reason"] == "person_saved"
    assert folk.data(person)["user_id"] is None


async def test_a_name_is_needed_and_nobody_elses(folk: Folk, lock: TestLock) -> None:
    await folk.add("Anna", lock)
    result = await folk.begin()
    given = {"name": "  ", "kind": "guest", "locks": [lock.unique_id]}
    result = await folk.submit(result, given)
    assert result["errors"] == {"name": "name_missing"}
    assert suggested(result) == given
    given["name"] = "ANNA"
    result = await folk.submit(result, given)
    assert result["errors"] == {"name": "name_taken"}
    assert suggested(result) == given


async def test_a_home_assistant_user_is_one_person(
    hass: HomeAssistant, folk: Folk, lock: TestLock
) -> None:
    anna = await hass.auth.async_create_user("Anna")
    ben = await hass.auth.async_create_user("Ben")
    machine = await hass.auth.async_create_system_user("Machine")
    gone = await hass.auth.async_create_user("Gone")
    await hass.auth.async_deactivate_user(gone)
    first = await folk.begin()
    assert {anna.id, ben.id} <= {*options(first, "user_id")}
    assert not {machine.id, gone.id} & {*options(first, "user_id")}
    person = await folk.add("Anna", lock, user_id=anna.id)
    assert folk.data(person)["user_id"] == anna.id
    # The first dialog was open all the while.
    given = {"name": "Ben", "kind": "resident", "locks": [], "user_id": anna.id}
    result = await folk.submit(first, given)
    assert result["errors"] == {"user_id": "user_taken"}
    assert anna.id not in options(result, "user_id")
    # Anna's own dialog offers her.
    result = await folk.reconfigure(person, "identity")
    assert anna.id in options(result, "user_id")
    assert suggested(result) == {"name": "Anna", "kind": "resident", "user_id": anna.id}


@pytest.mark.parametrize(
    ("wrong", "errors"),
    [
        ({"rights": []}, {"rights": "rights_missing"}),
        (
            {"not_before": "2099-01-02 00:00:00", "not_after": "2099-01-01 00:00:00"},
            {"not_after": "end_before_begin"},
        ),
        ({"not_after": "2020-01-01 00:00:00"}, {"not_after": "end_is_over"}),
        ({"not_before": "2120-01-01 00:00:00"}, {"not_before": "date_out_of_range"}),
        ({"not_after": "1950-01-01 00:00:00"}, {"not_after": "date_out_of_range"}),
        ({"first_time": "08:00:00", "last_time": "08:00:00"}, {"last_time": "same_time"}),
    ],
)
async def test_what_makes_no_sense_is_refused_at_its_field_and_nothing_is_lost(
    folk: Folk, lock: TestLock, wrong: dict[str, Any], errors: dict[str, str]
) -> None:
    result = await folk.submit(
        await folk.begin(), {"name": "Anna", "kind": "service", "locks": [lock.unique_id]}
    )
    given = {"rights": ["unlock"], **ALWAYS, "weekdays": ["tue"], "uses": 7, **wrong}
    result = await folk.submit(result, given)
    assert result["step_id"] == "details"
    assert result["errors"] == errors
    assert suggested(result) == given


# --- changing -------------------------------------------------------------------------------------


async def test_name_kind_and_user_are_changed(
    hass: HomeAssistant, folk: Folk, lock: TestLock
) -> None:
    user = await hass.auth.async_create_user("Anna")
    person = await folk.add("Anna", lock)
    before = folk.data(person)
    result = await folk.reconfigure(person, "identity")
    result = await folk.submit(result, {"name": "", "kind": "resident"})
    assert result["errors"] == {"name": "name_missing"}
    result = await folk.submit(result, {"name": "Anne", "kind": "guest", "user_id": user.id})
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "person_saved")
    assert folk.entry.subentries[person].title == "Anne"
    assert folk.data(person) == before | {"kind": "guest", "user_id": user.id}
    result = await folk.reconfigure(person, "identity")
    await folk.submit(result, {"name": "Anne", "kind": "guest"})
    assert folk.data(person)["user_id"] is None


async def test_locks_and_rights_are_changed(world: World, folk: Folk, lock: TestLock) -> None:
    other = world.add_lock()
    await world.pair(other)
    person = await folk.add("Anna", lock)
    before = folk.data(person)
    result = await folk.reconfigure(person, "access")
    assert suggested(result) == {"locks": before["locks"], "rights": before["rights"]}
    result = await folk.submit(result, {"locks": [other.unique_id], "rights": []})
    assert result["errors"] == {"rights": "rights_missing"}
    assert suggested(result)["locks"] == [other.unique_id]
    result = await folk.submit(result, {"locks": [other.unique_id], "rights": ["lock", "remote"]})
    assert result["reason"] == "person_saved"
    assert folk.data(person) == before | {
        "locks": [other.unique_id],
        "rights": ["lock", "remote"],
    }


async def test_times_and_uses_are_changed_and_taken_away(folk: Folk, lock: TestLock) -> None:
    person = await folk.add("Anna", lock, uses=3, not_after="2099-11-26 00:00:00")
    before = folk.data(person)
    result = await folk.reconfigure(person, "times")
    shown = suggested(result)
    assert shown == {"not_after": "2099-11-26 00:00:00", "uses": 3, **ALWAYS}
    result = await folk.submit(result, shown | {"not_after": "2000-01-01 00:00:00"})
    assert result["errors"] == {"not_after": "end_is_over"}
    result = await folk.submit(result, ALWAYS)
    assert result["reason"] == "person_saved"
    assert folk.data(person) == before | {"not_after": 0, "uses": None}


async def test_uses_are_counted_anew_only_if_that_is_stored(folk: Folk, lock: TestLock) -> None:
    person = await folk.add("Anna", lock, uses=3)
    await folk.world.advance(10)
    assert lock.core.accounts.used()
    grant = (await folk.home()).ledger.lock(lock.unique_id).grants[person]
    before = folk.data(person)
    result = await folk.reconfigure(person, "times")
    given = suggested(result) | {"uses": 5, "count_anew": True}
    settled = grant.settled
    with patch(
        "custom_components.igrs_lock.ledger.Ledger.async_save",
        side_effect=LedgerNotSavedError("home"),
    ):
        result = await folk.submit(result, given)
    assert result["errors"] == {"base": "ledger_not_saved"}
    assert folk.data(person) == before
    assert grant.settled == settled
    result = await folk.submit(result, given)
    assert result["reason"] == "person_saved"
    assert folk.data(person) == before | {"uses": 5}
    await folk.world.advance(10)
    assert [account.uses for account in lock.core.accounts.used() if account.uses < 254] == [5]


async def test_an_end_that_has_passed_meanwhile_can_stay(
    world: World, folk: Folk, lock: TestLock
) -> None:
    soon = dt_util.now().timestamp() + 60
    text = dt_util.as_local(dt_util.utc_from_timestamp(int(soon))).strftime("%Y-%m-%d %H:%M:%S")
    person = await folk.add("Anna", lock, not_after=text)
    await world.advance(120)
    result = await folk.reconfigure(person, "times")
    result = await folk.submit(result, suggested(result) | {"uses": 2})
    assert result["reason"] == "person_saved"


async def test_hours_without_a_day_are_meant_for_every_day(folk: Folk, lock: TestLock) -> None:
    person = await folk.add("Anna", lock, first_time="08:00:00", last_time="18:00:00")
    assert folk.data(person)["weekdays"] == ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


async def test_somebody_is_suspended_and_let_in_again(folk: Folk, lock: TestLock) -> None:
    person = await folk.add("Anna", lock)
    before = folk.data(person)
    result = await folk.reconfigure(person, "suspend")
    assert result["step_id"] == "suspend"
    assert folk.data(person) == before
    result = await folk.submit(result, {})
    assert result["reason"] == "suspended"
    assert folk.data(person) == before | {"suspended": True}
    assert "suspend" not in await _menu(folk, "Anna")
    result = await folk.reconfigure(person, "resume")
    assert result["step_id"] == "resume"
    result = await folk.submit(result, {})
    assert result["reason"] == "resumed"
    assert folk.data(person) == before


async def test_two_dialogs_about_one_person_undo_nothing(folk: Folk, lock: TestLock) -> None:
    person = await folk.add("Anna", lock)
    times = await folk.reconfigure(person, "times")
    suspend = await folk.reconfigure(person, "suspend")
    await folk.submit(suspend, {})
    await folk.submit(times, ALWAYS | {"uses": 1})
    assert folk.data(person)["suspended"]
    assert folk.data(person)["uses"] == 1


async def test_a_pin_is_made_chosen_and_taken_away_later(
    hass: HomeAssistant, folk: Folk, lock: TestLock
) -> None:
    person = await folk.add("Anna", lock)
    await gone(folk, lock)
    home = await folk.home()
    result = await folk.choose(await folk.reconfigure(person, "pin"), "pin_make")
    made = result["description_placeholders"]["pin"]
    result = await folk.submit(result, {})
    assert result["reason"] == "pin_saved"
    assert pins(folk, home, lock) == {person: made}
    result = await folk.choose(await folk.reconfigure(person, "pin"), "pin_type")
    result = await folk.submit(result, {"pin": PIN})
    assert result["reason"] == "pin_saved"
    assert pins(folk, home, lock) == {person: PIN}
    result = await folk.choose(await folk.reconfigure(person, "pin"), "pin_remove")
    assert result["step_id"] == "pin_remove"
    result = await folk.submit(result, {})
    assert result["reason"] == "pin_removed"
    assert not pins(folk, home, lock).get(person)
    assert PIN not in str(folk.entry.as_dict())


@pytest.mark.parametrize(
    ("step", "given"), [("pin_make", {}), ("pin_type", {"pin": PIN}), ("pin_remove", {})]
)
async def test_a_disk_that_does_not_store_a_pin_is_told(
    folk: Folk, lock: TestLock, step: str, given: dict[str, str]
) -> None:
    person = await folk.add("Anna", lock)
    result = await folk.choose(await folk.reconfigure(person, "pin"), step)
    shown = result["description_placeholders"]
    with patch(
        "custom_components.igrs_lock.ledger.Ledger.async_set_pin",
        side_effect=LedgerNotSavedError("home"),
    ):
        result = await folk.submit(result, given)
    assert result["errors"] == {"base": "ledger_not_saved"}
    assert result["description_placeholders"] == shown
    assert (await folk.submit(result, given))["type"] is FlowResultType.ABORT


@pytest.mark.parametrize("step", ["suspend", "pin"])
async def test_a_person_who_was_removed_meanwhile_is_not_changed(
    hass: HomeAssistant, folk: Folk, lock: TestLock, step: str
) -> None:
    person = await folk.add("Anna", lock)
    result = await folk.reconfigure(person, step)
    if step == "pin":
        result = await folk.choose(result, "pin_remove")
    hass.config_entries.async_remove_subentry(folk.entry, person)
    result = await folk.submit(result, {})
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "person_gone")


async def test_without_a_loaded_people_entry_nothing_is_offered(
    hass: HomeAssistant, folk: Folk, lock: TestLock
) -> None:
    person = await folk.add("Anna", lock)
    await hass.config_entries.async_unload(folk.entry.entry_id)
    assert (await folk.begin())["reason"] == "people_not_loaded"
    assert (await folk.reconfigure(person))["reason"] == "people_not_loaded"


async def test_an_unknown_person_cannot_be_changed(folk: Folk) -> None:
    with pytest.raises(UnknownSubEntry):
        await folk.reconfigure("nobody")


async def test_without_any_lock_no_locks_are_offered(
    hass: HomeAssistant, folk: Folk, entry: ConfigEntry[Any]
) -> None:
    await hass.config_entries.async_remove(entry.entry_id)
    result = await folk.begin()
    assert "locks" not in result["data_schema"].schema
    result = await folk.submit(result, {"name": "Anna", "kind": "resident"})
    result = await folk.submit(result, suggested(result))
    assert result["type"] is FlowResultType.CREATE_ENTRY
    (person,) = folk.entry.subentries
    result = await folk.reconfigure(person, "access")
    await folk.submit(result, {"rights": ["lock"]})
    assert folk.data(person)["locks"] == []
