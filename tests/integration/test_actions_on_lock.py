"""What actions do arrives at the lock; and a PIN is nowhere but there."""

import json
import logging
import re
from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from folk import Folk
from homeassistant.const import MATCH_ALL
from homeassistant.core import callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.json import ExtendedJSONEncoder
from test_actions import act, refused
from world import DOMAIN

from custom_components.igrs_lock.diagnostics import async_get_config_entry_diagnostics

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import Event, HomeAssistant
    from world import World

KEYPAD = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD
PIN = "384729"


@pytest.fixture
async def lock(world: World) -> TestLock:
    """A lock with a keypad."""
    return world.add_lock(KEYPAD)


@pytest.fixture
async def folk(hass: HomeAssistant, world: World, entry: ConfigEntry[Any]) -> Folk:
    """The People entry; what the pairing left to do is done."""
    await world.advance(10)
    return Folk(world)


def opens(lock: TestLock, pin: str) -> bool:
    """Whether the keypad takes a PIN."""
    return bool(lock.core.pin_entered(pin) in (c.DONE, c.ACCEPTED))


async def test_a_made_pin_opens_when_the_action_is_done(folk: Folk, lock: TestLock) -> None:
    await act(folk, "set_user", lock, user="Gina")
    row = (await act(folk, "set_credential", lock, user="Gina"))[f"lock.{lock.entity}"]
    assert not row["pending"]
    assert opens(lock, row["credential_data"])


async def test_users_are_told_with_how_far_they_are_written(folk: Folk, lock: TestLock) -> None:
    key = f"lock.{lock.entity}"
    assert await act(folk, "get_users", lock) == {key: {"users": []}}
    await act(folk, "set_user", lock, user="Gina", not_after="2030-01-01 00:00:00", uses=2)
    await act(folk, "set_credential", lock, user="Gina", credential_data=PIN)
    (row,) = (await act(folk, "get_users", lock))[key]["users"]
    (person,) = folk.entry.subentries
    assert row == {
        "user": person,
        "name": "Gina",
        "state": "active",
        "kind": "guest",
        "user_id": None,
        "rights": ["lock", "unlock", "open"],
        "not_before": None,
        "not_after": row["not_after"],
        "weekdays": [],
        "first_time": "00:00:00",
        "last_time": "23:59:00",
        "uses": 2,
        "suspended": False,
        "uses_left": 2,
        "credentials": [{"type": "pin", "state": "set"}],
    }
    assert row["not_after"].startswith("2030-01-01T00:00:00")


async def test_somebody_who_is_deleted_is_gone_from_the_lock(folk: Folk, lock: TestLock) -> None:
    await act(folk, "set_user", lock, user="Gina")
    await act(folk, "set_credential", lock, user="Gina", credential_data=PIN)
    response = await act(folk, "delete_user", lock, user="Gina")
    assert response == {f"lock.{lock.entity}": {"pending": False}}
    assert not opens(lock, PIN)
    assert not folk.entry.subentries


async def test_a_deletion_that_the_lock_has_not_heard_of_is_told(
    folk: Folk, lock: TestLock
) -> None:
    await act(folk, "set_user", lock, user="Gina")
    lock.silent = True
    await folk.world.advance(200, step=10)
    response = await act(folk, "delete_user", lock, user="Gina")
    key = f"lock.{lock.entity}"
    assert response == {key: {"pending": True}}
    (row,) = (await act(folk, "get_users", lock))[key]["users"]
    assert (row["name"], row["state"]) == ("Gina", "removal_pending")
    assert "kind" not in row


async def test_a_pin_that_is_taken_away_opens_no_more(folk: Folk, lock: TestLock) -> None:
    await act(folk, "set_user", lock, user="Gina")
    await act(folk, "set_credential", lock, user="Gina", credential_data=PIN)
    response = await act(folk, "delete_credential", lock, user="Gina")
    assert response == {f"lock.{lock.entity}": {"pending": False}}
    assert not opens(lock, PIN)


async def test_a_lock_that_is_slow_does_not_hold_an_action_for_long(
    folk: Folk, lock: TestLock
) -> None:
    lock.silent = True  # since a moment ago only: it still counts as there
    before = folk.world.now()
    row = (await act(folk, "set_user", lock, user="Gina"))[f"lock.{lock.entity}"]
    assert row["pending"]
    assert folk.world.now() - before < 20


async def test_the_log_is_returned_newest_last(
    hass: HomeAssistant, folk: Folk, lock: TestLock, entry: ConfigEntry[Any]
) -> None:
    await folk.world.call(lock, "unlock")
    await folk.world.advance(10)
    key = f"lock.{lock.entity}"
    entries = (await act(folk, "get_log", lock))[key]["entries"]
    (unlocked,) = [one for one in entries if one["event"] == "unlocked"]
    assert unlocked["source"] == "bluetooth"
    assert unlocked["at"].startswith("20")
    assert unlocked["user"] is None
    counters = [one["counter"] for one in entries]
    assert counters == sorted(counters)
    assert (await act(folk, "get_log", lock, count=1))[key]["entries"] == entries[-1:]
    await hass.config_entries.async_unload(entry.entry_id)
    assert await refused(folk, "get_log", lock) == "lock_not_loaded"


async def test_a_pin_is_in_no_log_state_registry_diagnostics_event_or_store(
    hass: HomeAssistant,
    world: World,
    folk: Folk,
    lock: TestLock,
    entry: ConfigEntry[Any],
    hass_storage: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    events: list[str] = []

    @callback
    def note(event: Event[Any]) -> None:
        events.append(str(event.as_dict()))

    hass.bus.async_listen(MATCH_ALL, note)
    pins = set()
    # One typed in the dialog, one made there, one made by an action; written, pending, replaced.
    lock.silent = True
    await world.advance(200, step=10)
    anna = await folk.add("Anna", lock, pin=PIN)
    pins.add(PIN)
    ben = await folk.add("Ben", lock)
    result = await folk.choose(await folk.reconfigure(ben, "pin"), "pin_make")
    pins.add(result["description_placeholders"]["pin"])
    await folk.submit(result, {})
    await act(folk, "set_user", lock, user="Gina")
    row = (await act(folk, "set_credential", lock, user="Gina"))[f"lock.{lock.entity}"]
    pins.add(row["credential_data"])
    taken = await folk.choose(await folk.reconfigure(anna, "pin"), "pin_type")
    taken = await folk.submit(taken, {"pin": row["credential_data"]})
    assert taken["errors"] == {"pin": "pin_taken"}
    assert not pins & {*re.findall(r"\d{6,}", str(taken))}

    async def shown() -> str:
        # The stand-in for the disk logs what is written to it.
        texts = [
            record.getMessage() + str(record.exc_info)
            for record in caplog.records
            if not record.name.startswith("pytest_homeassistant")
        ]
        texts += events
        texts += [str(state.as_dict()) for state in hass.states.async_all()]
        texts += [str(one) for one in er.async_get(hass).entities.values()]
        texts += [str(one) for one in dr.async_get(hass).devices]
        texts += [str(one) for one in ir.async_get(hass).issues.values()]
        for one in hass.config_entries.async_entries(DOMAIN):
            texts.append(str(one.as_dict()))
            told = await async_get_config_entry_diagnostics(hass, one)
            texts.append(json.dumps(told, cls=ExtendedJSONEncoder))
        texts.append(str(hass.config_entries.subentries.async_progress()))
        home = await folk.home()
        texts += [repr(home.ledger.lock(lock.unique_id)), repr(home.persons())]
        return "\n".join(texts)

    def stored(*but: str) -> str:
        return str({key: value for key, value in hass_storage.items() if key not in but})

    found = await shown()
    assert not [found[found.index(pin) - 200 :][:400] for pin in pins if pin in found]
    # Until the lock has them they are in one private file.
    assert not [pin for pin in pins if pin in stored(f"{DOMAIN}.people")]
    assert all(pin in str(hass_storage[f"{DOMAIN}.people"]) for pin in pins)
    lock.silent = False
    await world.advance(60)
    assert opens(lock, PIN)
    found = await shown()
    assert not [pin for pin in pins if pin in found]
    await hass.async_stop(force=True)
    assert not [pin for pin in pins if pin in stored()]
    assert len(pins) == 3
