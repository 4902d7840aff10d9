"""Diagnostics help, and open no door (attack case 46)."""

import json
import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from homeassistant.components import bluetooth
from homeassistant.config_entries import ConfigSubentry
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.json import ExtendedJSONEncoder
from world import SETUP_CODE

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.diagnostics import async_get_config_entry_diagnostics
from custom_components.igrs_lock.home import find_people_entry
from custom_components.igrs_lock.person import Person

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from world import TestLock, World


def secrets(entry: Any) -> list[str]:
    """Every way in which a secret of the lock may show in a text."""
    lock_key = bytes.fromhex(entry.data["lock_key"])
    account_id = ilp.parse_account_id(entry.data["account_id"])
    keys = [
        lock_key,
        ilp.controller_key(lock_key),
        ilp.account_key(lock_key, account_id),
        ilp.advertisement_key(lock_key, 0),
        ilp.parse_setup_code(SETUP_CODE),
    ]
    found = [entry.data["account_id"], SETUP_CODE, SETUP_CODE.replace("-", "")]
    for key in keys:
        found += [key.hex(), key.hex().upper(), key.hex(" "), repr(key)[2:-1], str(list(key))]
    return found


async def test_diagnostics_tell_path_counter_gateways_and_timing(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await world.advance(10)
    await world.call(lock, "unlock")
    told = await async_get_config_entry_diagnostics(hass, entry)
    assert told["version"] == "0.1.0"
    assert told["available"] is True
    assert told["state"]["bolt"] == ilp.Bolt.UNLOCKED
    assert told["advertisements"]["counter"] == lock.core.counter
    assert told["path"] == {"name": world.near.name, "source": world.near.source, "rssi": -60}
    assert {gateway["name"]: gateway["rssi"] for gateway in told["gateways"]} == {
        world.near.name: -60,
        world.far.name: -85,
    }
    assert told["gateways"][0]["slots"] == "3 of 3 free"
    timing = told["connection"]["last_request_ms"]
    assert timing["held"] is False
    assert timing["connections"] == timing["sessions"] == 1
    assert timing["confirmed"] >= timing["answered"] >= timing["written"] >= 0
    assert told["clock"]["this_machine_synchronised"] in (True, False)
    assert told["entry"]["data"]["lock_key"] == "**REDACTED**"
    assert told["options"]["sound"] == 1
    assert told["watch"] == {"door_left_open": False, "auto_lock_failed": None}
    assert set(told["sync"]) == {"log", "accounts", "options"}
    assert told["log"]["cursor"] > 0


async def test_diagnostics_of_a_lock_never_heard(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    lock.silent = True
    for gateway in (world.near, world.far):
        gateway.forget(lock.address)
        gateway.get_allocations = lambda: None  # type: ignore[method-assign]  # an adapter
    bluetooth.async_clear_advertisement_history(hass, lock.address)
    assert await hass.config_entries.async_setup(entry.entry_id)
    told = await async_get_config_entry_diagnostics(hass, entry)
    assert told["state"] is None
    assert told["path"] is None
    assert told["gateways"] == []
    assert told["advertisements"]["heard_seconds_ago"] is None
    assert told["connection"]["last_request_ms"] is None


async def test_diagnostics_count_people_and_do_not_name_them(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    people = find_people_entry(hass)
    assert people is not None
    data = Person("", "Anna", locks=frozenset((lock.unique_id,))).as_data()
    subentry = ConfigSubentry(
        data=MappingProxyType(data), subentry_type="person", title="Anna", unique_id=None
    )
    hass.config_entries.async_add_subentry(people, subentry)
    entry.runtime_data.changed_by = "Anna"
    told = await async_get_config_entry_diagnostics(hass, entry)
    assert told["changed_by"] == "a person"
    assert "Anna" not in json.dumps(told, cls=ExtendedJSONEncoder)
    told = await async_get_config_entry_diagnostics(hass, people)
    assert told["people"] == {"resident": 1}
    assert "Anna" not in json.dumps(told, cls=ExtendedJSONEncoder)


async def test_no_secret_is_in_diagnostics_states_or_logs(
    hass: HomeAssistant, world: World, lock: TestLock, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("custom_components.igrs_lock").setLevel(logging.DEBUG)
    result = await world.submit(await world.flow(lock), {"setup_code": SETUP_CODE})
    entry = result["result"]
    await world.advance(2)
    lock.on_notify = lambda data: None
    with pytest.raises(HomeAssistantError):
        await world.call(lock, "unlock")
    lock.on_notify = None
    await world.call(lock, "lock")
    told = json.dumps(
        await async_get_config_entry_diagnostics(hass, entry), cls=ExtendedJSONEncoder
    )
    shown = json.dumps([state.as_dict() for state in hass.states.async_all()], default=str)
    logged = "\n".join(
        record.getMessage() for record in caplog.records if "igrs_lock" in record.name
    )
    assert logged
    coordinator = entry.runtime_data
    reprs = "".join(
        repr(thing)
        for thing in (coordinator, coordinator.client, coordinator.tracker, coordinator.data)
    )
    for secret in secrets(entry):
        for text in (told, shown, logged, reprs):
            assert secret not in text
