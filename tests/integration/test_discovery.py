"""Which locks Home Assistant offers to set up."""

from typing import TYPE_CHECKING

from homeassistant.components import bluetooth
from homeassistant.config_entries import SOURCE_IGNORE, SOURCE_USER
from homeassistant.data_entry_flow import FlowResultType
from world import DOMAIN, SETUP_CODE, name_of

from custom_components.igrs_lock.flow_base import last_header

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from world import TestLock, World


def offered(hass: HomeAssistant) -> list[str]:
    """Return the names of the locks that Home Assistant offers."""
    return [
        flow["context"]["title_placeholders"]["name"]
        for flow in hass.config_entries.flow.async_progress_by_handler(DOMAIN)
        if flow["context"]["source"] == "bluetooth"
    ]


def dismiss(hass: HomeAssistant) -> None:
    """Close all flows."""
    for flow in hass.config_entries.flow.async_progress():
        hass.config_entries.flow.async_abort(flow["flow_id"])


async def test_a_new_lock_is_offered_by_its_name(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    await world.advance(1)
    assert offered(hass) == [name_of(lock)]
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert flow["step_id"] == "setup_code"


async def test_an_offered_lock_is_set_up_with_its_code(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    await world.advance(1)
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    result = await world.submit(flow, {"setup_code": SETUP_CODE})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["title"] == name_of(lock)
    assert result["result"].unique_id == lock.unique_id


async def test_a_lock_out_of_setup_mode_is_not_offered_until_its_button_is_held(
    hass: HomeAssistant, world: World
) -> None:
    lock = world.add_lock(silent=True)
    await world.advance(601, step=10)
    assert not lock.core.setup_mode
    lock.silent = False
    await world.advance(2)
    assert offered(hass) == []
    lock.core.inner_button_held(10)
    await world.advance(10)
    assert offered(hass) == [name_of(lock)]


async def test_a_neighbours_lock_is_never_offered(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    await world.pair_elsewhere(lock)
    dismiss(hass)
    for open_door in (True, False, True):
        lock.core.door_sensed(open_door)
        await world.advance(2)
    assert not lock.core.setup_mode
    assert offered(hass) == []


async def test_a_lock_that_is_set_up_is_not_offered_again(
    hass: HomeAssistant, world: World, lock: TestLock, entry: object
) -> None:
    lock.core.inner_button_held(10)
    await world.advance(2)
    assert lock.core.setup_mode
    assert offered(hass) == []


async def test_an_ignored_lock_is_not_offered_again(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    await world.advance(1)
    (_flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    await hass.config_entries.flow.async_init(
        DOMAIN,
        context={"source": SOURCE_IGNORE},
        data={"unique_id": lock.unique_id, "title": "not mine"},
    )
    assert offered(hass) == []
    lock.core.door_sensed(True)
    await world.advance(2)
    assert offered(hass) == []
    # By hand it can be set up all the same.
    result = await world.flow(lock)
    assert result["step_id"] == "setup_code"


async def test_a_lock_of_another_profile_version_is_not_offered(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    lock.silent = True
    dismiss(hass)
    bluetooth.async_clear_address_from_match_history(hass, lock.address)
    world.forge(lock, b"\x21" + lock.data[1:])
    await world.advance(1)
    assert offered(hass) == []


async def test_the_list_has_the_locks_in_reach_that_can_be_paired(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    paired = world.add_lock()
    await world.pair(paired)
    paired.core.inner_button_held(10)
    other_version = world.add_lock()
    await world.pair_elsewhere(world.add_lock())
    await world.advance(1)
    other_version.silent = True
    world.forge(other_version, b"\x20" + other_version.data[1:])
    flows = hass.config_entries.flow
    result = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
    result = await flows.async_configure(result["flow_id"], {"next_step_id": "add_lock"})
    assert result["data_schema"] is not None
    choices = result["data_schema"].schema["address"].container
    assert choices == {lock.address: f"{name_of(lock)} ({lock.address})"}


async def test_without_a_lock_to_pair_the_list_says_what_to_do(
    hass: HomeAssistant, world: World
) -> None:
    flows = hass.config_entries.flow
    result = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
    result = await flows.async_configure(result["flow_id"], {"next_step_id": "add_lock"})
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "no_devices_found"


async def test_the_same_lock_is_not_set_up_twice(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    first = await world.flow(lock)
    flows = hass.config_entries.flow
    second = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
    second = await flows.async_configure(second["flow_id"], {"next_step_id": "add_lock"})
    done = await world.submit(first, {"setup_code": SETUP_CODE})
    assert done["type"] is FlowResultType.CREATE_ENTRY
    result = await world.submit(second, {"address": lock.address})
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "already_configured"


async def test_a_lock_that_cannot_be_paired_is_looked_at_again_once(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    await world.pair_elsewhere(lock)
    dismiss(hass)
    for _ in range(3):
        bluetooth.async_clear_address_from_match_history(hass, lock.address)
        lock.core.door_sensed(True)
        await world.advance(1)
        lock.core.door_sensed(False)
        await world.advance(1)
    assert offered(hass) == []
    lock.core.inner_button_held(10)
    await world.advance(11)
    assert offered(hass) == [name_of(lock)]


async def test_what_a_lock_of_another_version_says_last_is_not_known(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    header = last_header(hass, lock.address)
    assert header is not None
    assert header.setup_mode
    world.forge(lock, b"\x21" + lock.data[1:])
    assert last_header(hass, lock.address) is None
    assert last_header(hass, "AA:BB:CC:DD:EE:FF") is None
