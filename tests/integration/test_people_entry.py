"""The People entry: made once, with a device for everybody; and who may use a lock after pairing."""

from typing import TYPE_CHECKING, Any

import pytest
from folk import Folk, options
from homeassistant.config_entries import (
    SOURCE_REAUTH,
    SOURCE_RECONFIGURE,
    SOURCE_USER,
    ConfigEntry,
    ConfigEntryDisabler,
    ConfigEntryState,
    ConfigFlowContext,
    FlowType,
)
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from world import DOMAIN, SETUP_CODE

from custom_components.igrs_lock.home import find_people_entry, lock_entries

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.core import HomeAssistant
    from world import World


@pytest.fixture
async def folk(hass: HomeAssistant, world: World, entry: ConfigEntry[Any]) -> Folk:
    """The People entry, made with the lock's."""
    return Folk(world)


def entries(hass: HomeAssistant) -> list[str]:
    """Titles of all entries."""
    return [entry.title for entry in hass.config_entries.async_entries(DOMAIN)]


async def restart(hass: HomeAssistant, world: World) -> None:
    """Unload everything and set it up again in the other order."""
    found = hass.config_entries.async_entries(DOMAIN)
    for entry in found:
        if entry.disabled_by is None:
            await hass.config_entries.async_unload(entry.entry_id)
    await hass.async_block_till_done()
    for entry in reversed(found):
        if entry.disabled_by is None:
            await hass.config_entries.async_setup(entry.entry_id)
    await world.settle()
    await hass.async_block_till_done()


# --- the entry ------------------------------------------------------------------------------------


async def test_the_first_lock_makes_the_people_entry_and_the_second_does_not(
    hass: HomeAssistant, world: World, entry: ConfigEntry[Any]
) -> None:
    people = find_people_entry(hass)
    assert people is not None
    assert people.state is ConfigEntryState.LOADED
    assert (people.title, dict(people.data), people.unique_id) == (
        "People",
        {"type": "people"},
        "people",
    )
    await world.pair(world.add_lock())
    assert entries(hass).count("People") == 1
    assert len(lock_entries(hass)) == 2
    assert not people.supports_options
    assert not entry.supported_subentry_types
    assert list(people.supported_subentry_types) == ["person"]


async def test_everybody_is_a_service_device_with_what_is_pending(
    hass: HomeAssistant, world: World, folk: Folk, lock: TestLock
) -> None:
    person = await folk.add("Anna", lock)
    devices = dr.async_get(hass)
    (device,) = dr.async_entries_for_config_entry(devices, folk.entry.entry_id)
    assert device.entry_type is dr.DeviceEntryType.SERVICE
    assert device.identifiers == {(DOMAIN, person)}
    assert device.name == "Anna"
    assert (device.config_entry_id, device.config_subentry_id) == (folk.entry.entry_id, person)
    state = hass.states.get("sensor.anna_access")
    assert state is not None
    sensor = er.async_get(hass).async_get("sensor.anna_access")
    assert sensor is not None
    assert sensor.unique_id == f"{person}_access_pending"
    assert sensor.config_subentry_id == person
    assert sensor.device_id == device.id
    # The lock's own device is the lock's alone.
    (of_lock,) = dr.async_entries_for_config_entry(devices, lock_entries(hass)[0].entry_id)
    assert of_lock.id != device.id


async def test_a_person_without_locks_has_nothing_pending(hass: HomeAssistant, folk: Folk) -> None:
    await folk.add("Anna")
    state = hass.states.get("sensor.anna_access")
    assert state is not None
    assert state.state == "none"
    assert state.attributes["pending_locks"] == state.attributes["problem_locks"] == []


async def test_what_is_pending_on_a_lock_that_is_not_loaded_is_shown(
    hass: HomeAssistant, world: World, folk: Folk, lock: TestLock, entry: ConfigEntry[Any]
) -> None:
    await hass.config_entries.async_unload(entry.entry_id)
    await folk.add("Anna", lock)
    state = hass.states.get("sensor.anna_access")
    assert state is not None
    assert state.state == "pending"
    assert state.attributes["pending_locks"] == [entry.title]


async def test_a_new_name_is_the_devices_too(
    hass: HomeAssistant, folk: Folk, lock: TestLock
) -> None:
    person = await folk.add("Anna", lock)
    result = await folk.reconfigure(person, "identity")
    await folk.submit(result, {"name": "Anne", "kind": "resident"})
    await hass.async_block_till_done()
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), folk.entry.entry_id)
    assert device.name == "Anne"


async def test_a_removed_person_takes_device_and_sensor_along(
    hass: HomeAssistant, folk: Folk, lock: TestLock
) -> None:
    anna = await folk.add("Anna", lock)
    await folk.add("Ben", lock)
    hass.config_entries.async_remove_subentry(folk.entry, anna)
    await hass.async_block_till_done()
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), folk.entry.entry_id)
    assert device.name == "Ben"
    assert hass.states.get("sensor.anna_access") is None
    assert hass.states.get("sensor.ben_access") is not None
    # Somebody of the same name is somebody else.
    assert await folk.add("Anna", lock) != anna
    assert hass.states.get("sensor.anna_access") is not None


async def test_people_and_locks_find_each_other_in_any_order(
    hass: HomeAssistant, world: World, folk: Folk, lock: TestLock
) -> None:
    person = await folk.add("Anna", lock)
    await restart(hass, world)
    home = await folk.home()
    assert list(home.persons()) == [person]
    assert list(home.coordinators) == [lock.unique_id]
    assert hass.states.get("sensor.anna_access") is not None
    # People are known also while their entry is not loaded.
    await hass.config_entries.async_unload(folk.entry.entry_id)
    assert list(home.persons()) == [person]


async def test_a_disabled_people_entry_is_none(
    hass: HomeAssistant, world: World, folk: Folk, lock: TestLock
) -> None:
    await folk.add("Anna", lock)
    await hass.config_entries.async_set_disabled_by(folk.entry.entry_id, ConfigEntryDisabler.USER)
    home = await folk.home()
    assert home.people_entry is None
    assert home.persons() == {}
    await restart(hass, world)
    assert entries(hass).count("People") == 1


async def test_a_removed_people_entry_is_made_again_only_when_somebody_wants_it(
    hass: HomeAssistant, world: World, folk: Folk, lock: TestLock
) -> None:
    person = await folk.add("Anna", lock, kind="guest", uses=3)
    before = folk.data(person)
    await hass.config_entries.async_remove(folk.entry.entry_id)
    await restart(hass, world)
    assert find_people_entry(hass) is None
    world.add_lock()
    flows = hass.config_entries.flow
    result = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
    assert result["type"] is FlowResultType.MENU
    assert result["menu_options"] == ["add_lock", "people", "server"]
    add = await world.submit(result, {"next_step_id": "add_lock"})
    assert add["step_id"] == "user"
    result = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
    result = await flows.async_configure(result["flow_id"], {"next_step_id": "people"})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    await hass.async_block_till_done()
    assert folk.data(person) == before
    assert folk.entry.subentries[person].title == "Anna"
    result = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
    assert result["menu_options"] == ["add_lock", "server"]


async def test_two_people_entries_cannot_be_made(hass: HomeAssistant, folk: Folk) -> None:
    result = await hass.config_entries.flow.async_init(DOMAIN, context={"source": "system"})
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "people_already_there")


# --- who may use a lock ---------------------------------------------------------------------------


async def paired(world: World, lock: TestLock) -> dict[str, Any]:
    """Pair with a lock; return the result of the flow."""
    return await world.submit(await world.flow(lock), {"setup_code": SETUP_CODE})


async def test_without_people_nobody_is_asked_about(hass: HomeAssistant, world: World) -> None:
    assert "next_flow" not in await paired(world, world.add_lock())


async def test_a_new_lock_asks_who_may_use_it_and_proposes_nobody(
    hass: HomeAssistant, world: World, folk: Folk, lock: TestLock
) -> None:
    anna = await folk.add("Anna", lock)
    ben = await folk.add("Ben")
    second = world.add_lock()
    result = await paired(world, second)
    # The lock is set up already: whoever closes the dialog now loses nothing.
    assert result["type"] is FlowResultType.CREATE_ENTRY
    kind, flow_id = result["next_flow"]
    assert kind is FlowType.CONFIG_FLOW
    flows = hass.config_entries.flow
    form: dict[str, Any] = dict(await flows.async_configure(flow_id))
    assert form["step_id"] == "who"
    assert options(form, "people") == [anna, ben]
    # Home Assistant asks for no name when a question follows.
    assert form["data_schema"]({}) == {"name": result["title"], "people": []}
    assert form["description_placeholders"]["name"] == result["title"]
    paired_entry = result["result"]
    result = dict(await flows.async_configure(flow_id, {"name": " Cellar ", "people": [ben]}))
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "people_saved")
    assert folk.data(anna)["locks"] == [lock.unique_id]
    assert folk.data(ben)["locks"] == [second.unique_id]
    await hass.async_block_till_done()
    assert paired_entry.title == "Cellar"
    assert paired_entry.runtime_data.client.name == "Cellar"
    state = hass.states.get("lock.cellar")
    assert state is not None
    assert state.name == "Cellar"


@pytest.mark.parametrize("source", [SOURCE_REAUTH, SOURCE_RECONFIGURE])
async def test_a_lock_that_is_paired_again_proposes_those_who_had_it(
    hass: HomeAssistant,
    world: World,
    folk: Folk,
    lock: TestLock,
    entry: ConfigEntry[Any],
    source: str,
) -> None:
    anna = await folk.add("Anna", lock)
    ben = await folk.add("Ben")
    await world.advance(6)
    lock.core.inner_button_held(10)
    await world.advance(2)
    flows = hass.config_entries.flow
    if source == SOURCE_REAUTH:
        entry.async_start_reauth(hass)
        await world.settle()
        (flow,) = entry.async_get_active_flows(hass, {SOURCE_REAUTH})
        result = await world.submit(flow)
    else:
        result = dict(
            await flows.async_init(
                DOMAIN, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
            )
        )
        result = await world.submit(result, {"next_step_id": "pair_again"})
    result = await world.submit(result, {"setup_code": SETUP_CODE})
    assert result["type"] is FlowResultType.ABORT
    _, flow_id = result["next_flow"]
    form: dict[str, Any] = dict(await flows.async_configure(flow_id))
    assert options(form, "people") == [anna, ben]
    # It has no name yet; who leaves the dialog as it is changes nothing.
    assert form["data_schema"]({}) == {"name": entry.title, "people": [anna]}
    await flows.async_configure(flow_id, {"people": [ben]})
    assert folk.data(anna)["locks"] == []
    assert folk.data(ben)["locks"] == [lock.unique_id]


async def test_who_may_use_a_lock_is_also_in_its_menu(
    hass: HomeAssistant, world: World, folk: Folk, lock: TestLock, entry: ConfigEntry[Any]
) -> None:
    flows = hass.config_entries.flow
    context = ConfigFlowContext(source=SOURCE_RECONFIGURE, entry_id=entry.entry_id)
    result = await flows.async_init(DOMAIN, context=context)
    assert "who" in result["menu_options"]
    result = await flows.async_configure(result["flow_id"], {"next_step_id": "who"})
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "no_people")
    anna = await folk.add("Anna", lock)
    result = await flows.async_init(DOMAIN, context=context)
    form: dict[str, Any] = dict(
        await flows.async_configure(result["flow_id"], {"next_step_id": "who"})
    )
    assert form["data_schema"]({}) == {"people": [anna]}
    await flows.async_configure(result["flow_id"], {"people": []})
    assert folk.data(anna)["locks"] == []


async def test_a_lock_that_is_deleted_leaves_everybodys_list(
    hass: HomeAssistant, world: World, folk: Folk, lock: TestLock, entry: ConfigEntry[Any]
) -> None:
    anna = await folk.add("Anna", lock)
    await hass.config_entries.async_remove(entry.entry_id)
    assert folk.data(anna)["locks"] == []
