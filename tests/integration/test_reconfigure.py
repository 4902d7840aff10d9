"""Pairing again, releasing, and what a lock that forgot this home needs."""

from typing import TYPE_CHECKING, Any

import pytest
from homeassistant.config_entries import SOURCE_RECONFIGURE
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr
from world import DOMAIN, SETUP_CODE

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.home import is_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from homeassistant.core import HomeAssistant
    from world import TestLock, World


def entries(hass: HomeAssistant) -> list[Any]:
    """Return the entries that are locks."""
    return [entry for entry in hass.config_entries.async_entries(DOMAIN) if is_lock(entry)]


async def menu(hass: HomeAssistant, entry: Any, choice: str) -> dict[str, Any]:
    """Open the reconfigure menu and choose."""
    flows = hass.config_entries.flow
    result = await flows.async_init(
        DOMAIN, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
    )
    assert result["type"] is FlowResultType.MENU
    assert choice in result["menu_options"]
    assert (result["description_placeholders"] or {})["name"] == entry.title
    return dict(
        await hass.config_entries.flow.async_configure(result["flow_id"], {"next_step_id": choice})
    )


async def test_releasing_resets_the_lock_and_removes_the_entry(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    result = await menu(hass, entry, "release")
    assert result["type"] is FlowResultType.FORM
    result = await world.submit(result)
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "released"
    await world.advance(1)
    assert not lock.core.paired
    assert not lock.core.setup_mode
    assert not entries(hass)
    assert not dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    # It can be set up anew by whoever has its code.
    lock.core.inner_button_held(1)
    await world.advance(1)
    again = await world.pair(lock)
    assert again.data["lock_key"] != entry.data["lock_key"]


async def test_releasing_out_of_reach_says_so_and_changes_nothing(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    lock.silent = True
    result = await world.submit(await menu(hass, entry, "release"))
    assert result["step_id"] == "release"
    assert result["errors"] == {"base": "out_of_reach"}
    assert entries(hass) == [entry]
    assert lock.core.paired
    lock.silent = False
    await world.advance(1)
    result = await world.submit(result)
    assert result["reason"] == "released"


async def test_releasing_a_lock_that_forgot_this_home_says_so(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    lock.core.inner_button_held(10)
    await world.pair_elsewhere(lock)
    result = await world.submit(await menu(hass, entry, "release"))
    assert result["errors"] == {"base": "needs_pairing"}


async def test_a_release_that_the_lock_refuses_is_told(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong_word = ilp.Request(ilp.Command.FACTORY_RESET, b"ILP1RESE?")
    monkeypatch.setattr(ilp.requests, "factory_reset", lambda: wrong_word)
    result = await world.submit(await menu(hass, entry, "release"))
    assert result["errors"] == {"base": "refused"}
    assert result["description_placeholders"]["result"] == "12"
    assert lock.core.paired


async def test_a_broken_answer_to_a_release_is_as_good_as_none(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_reply: ilp.Reply) -> ilp.Status:
        raise ilp.MalformedError("broken")

    wrong_word = ilp.Request(ilp.Command.FACTORY_RESET, b"ILP1RESE?")
    with monkeypatch.context() as patched:
        patched.setattr(ilp.requests, "factory_reset", lambda: wrong_word)
        patched.setattr("custom_components.igrs_lock.flow_release.Status.of", broken)
        result = await world.submit(await menu(hass, entry, "release"))
    assert result["errors"] == {"base": "no_answer"}
    assert lock.core.paired
    with monkeypatch.context() as patched:
        patched.setattr("custom_components.igrs_lock.flow_release.Status.of", broken)
        result = await world.submit(result)
    # The lock itself says that it is not paired any more.
    assert result["reason"] == "released"


async def test_pairing_again_keeps_the_entry_and_changes_the_key(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    key, account = entry.data["lock_key"], entry.data["account_id"]
    result = await menu(hass, entry, "pair_again")
    assert result["step_id"] == "setup_code"
    result = await world.submit(result, {"setup_code": SETUP_CODE})
    assert result["errors"] == {"base": "not_in_setup_mode"}
    lock.core.inner_button_held(10)
    await world.advance(1)
    result = await world.submit(result, {"setup_code": SETUP_CODE})
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "paired_again"
    await world.advance(2)
    assert entries(hass) == [entry]
    assert entry.data["lock_key"] != key
    assert entry.data["account_id"] != account
    await world.call(lock, "unlock")
    assert world.state(lock) == "unlocked"


async def test_reauthentication_pairs_again_without_losing_the_entry(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    lock.core.inner_button_held(10)
    await world.pair_elsewhere(lock)
    entry.async_start_reauth(hass)
    await world.settle()
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert flow["step_id"] == "reauth_confirm"
    result = await world.submit(flow)
    assert result["step_id"] == "setup_code"
    lock.core.inner_button_held(10)
    await world.advance(1)
    result = await world.submit(result, {"setup_code": SETUP_CODE})
    assert result["reason"] == "reauth_successful"
    await world.advance(2)
    await world.call(lock, "unlock")
    assert world.state(lock) == "unlocked"


async def test_reauthentication_that_was_cut_off_is_resumed(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    key = entry.data["lock_key"]
    lock.core.inner_button_held(10)
    await world.advance(1)
    result = await menu(hass, entry, "pair_again")

    def vanish(data: bytes) -> bytes | None:
        if data[1] != 0x04:
            return data
        lock.silent = True
        for connection in list(lock.connections):
            connection.end()
        return None

    lock.on_notify = vanish
    result = await world.submit(result, {"setup_code": SETUP_CODE})
    assert result["errors"] == {"base": "out_of_reach"}
    hass.config_entries.flow.async_abort(result["flow_id"])
    # A restart in between does not drop the pending key: the entry has another one.
    await hass.config_entries.async_reload(entry.entry_id)
    lock.on_notify = None
    lock.silent = False
    await world.advance(1)
    result = await menu(hass, entry, "pair_again")
    assert result["step_id"] == "resume"
    result = await world.submit(result)
    assert result["reason"] == "paired_again"
    assert entry.data["lock_key"] != key
    await world.advance(2)
    assert world.state(lock) == "locked"


async def test_a_lock_is_renamed_with_its_device_but_not_its_entities(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    devices = dr.async_get(hass)
    (device,) = dr.async_entries_for_config_entry(devices, entry.entry_id)
    devices.async_update_device(device.id, name_by_user="Old name")
    result = await menu(hass, entry, "rename")
    result = await world.submit(result, {"name": "  "})
    assert result["errors"] == {"name": "name_missing"}
    result = await world.submit(result, {"name": " Front door "})
    assert result["reason"] == "renamed"
    await world.advance(2)
    assert entry.title == "Front door"
    (device,) = dr.async_entries_for_config_entry(devices, entry.entry_id)
    assert (device.name_by_user, device.name) == (None, "Front door")
    assert world.state(lock) == "locked"
    state = hass.states.get(f"lock.{lock.entity}")
    assert state is not None
    assert state.name == "Front door"


async def test_the_name_that_the_owner_gives_the_device_is_the_name_everywhere(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    devices = dr.async_get(hass)
    (device,) = dr.async_entries_for_config_entry(devices, entry.entry_id)
    title = entry.title
    devices.async_update_device(device.id, area_id=None, sw_version="9")
    other = devices.async_get_or_create(config_entry_id=entry.entry_id, identifiers={("x", "y")})
    devices.async_update_device(other.id, name_by_user="Not the lock")
    await hass.async_block_till_done()
    assert entry.title == title
    devices.async_update_device(device.id, name_by_user="Front door")
    await hass.async_block_till_done()
    assert entry.title == "Front door"
    await world.advance(10)
    lock.silent = True
    with pytest.raises(HomeAssistantError, match="Front door"):
        await world.call(lock, "unlock")
    devices.async_update_device(device.id, name_by_user=None)
    await hass.async_block_till_done()
    assert entry.title == "Front door"


def closing(hass: HomeAssistant, lock: TestLock, flow_id: str) -> Callable[[bytes], bytes]:
    """Close the dialog as soon as something is written to the lock."""

    def close(data: bytes) -> bytes:
        lock.on_write = None
        hass.loop.call_soon(hass.config_entries.flow.async_abort, flow_id)
        return data

    return close


async def test_a_release_goes_on_when_its_dialog_is_closed(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    result = await menu(hass, entry, "release")
    lock.on_write = closing(hass, lock, result["flow_id"])
    result = dict(await hass.config_entries.flow.async_configure(result["flow_id"], {}))
    assert result["type"] is FlowResultType.SHOW_PROGRESS
    await world.advance(3)
    assert not hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert not lock.core.paired
    assert not entries(hass)


async def test_a_release_that_fails_without_its_dialog_leaves_the_entry_and_is_logged(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lock.silent = True
    result = await menu(hass, entry, "release")
    result = dict(await hass.config_entries.flow.async_configure(result["flow_id"], {}))
    await world.settle()
    hass.config_entries.flow.async_abort(result["flow_id"])
    await world.advance(60)
    assert entries(hass) == [entry]
    assert "was not released" in caplog.text
    lock.silent = False
    await world.advance(2)
    assert world.state(lock) == "locked"


async def test_an_entry_that_was_deleted_during_its_release_stays_deleted(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    result = await menu(hass, entry, "release")
    lock.on_write = closing(hass, lock, result["flow_id"])
    result = dict(await hass.config_entries.flow.async_configure(result["flow_id"], {}))
    await hass.config_entries.async_remove(entry.entry_id)
    await world.advance(3)
    assert not lock.core.paired
    assert not entries(hass)


async def test_the_list_of_people_has_no_menu(
    hass: HomeAssistant, world: World, entry: Any
) -> None:
    people = hass.config_entries.async_entry_for_domain_unique_id(DOMAIN, "people")
    assert people is not None
    result = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_RECONFIGURE, "entry_id": people.entry_id}
    )
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "only_people")
