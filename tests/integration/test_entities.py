"""A lock's device and entities, all of them."""

from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from world import DOMAIN, name_of

from custom_components.igrs_lock import ilp

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from world import TestLock, World

ALL = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD | c.CAP_AUTO_LOCK | c.CAP_RTC | c.CAP_LOG


@pytest.fixture
async def lock(world: World) -> TestLock:
    """A lock that can do everything."""
    return world.add_lock(ALL)


def described(hass: HomeAssistant, entry: Any, lock: TestLock) -> dict[str, tuple[Any, ...]]:
    """Return the entities of a lock: category, class, name, whether enabled, state."""
    found = {}
    for entity in er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id):
        state = hass.states.get(entity.entity_id)
        domain, name = entity.entity_id.split(".")
        found[domain + name.removeprefix(lock.entity)] = (
            None if entity.entity_category is None else entity.entity_category.value,
            entity.original_device_class,
            entity.original_name,
            None if state is None else state.state,
        )
        assert entity.unique_id.startswith(f"{lock.unique_id}_")
        assert entity.disabled_by is None or state is None
    return found


async def test_all_entities_of_a_lock(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await world.advance(10)
    found = described(hass, entry, lock)
    found.pop("event_activity", None)
    assert found == {
        "binary_sensor_auto_lock_failed": (None, "problem", "Auto-lock failed", "off"),
        "binary_sensor_door": (None, "door", "Door", "off"),
        "binary_sensor_door_left_open": (None, "problem", "Door left open", "off"),
        "binary_sensor_low_battery": ("diagnostic", "battery", "Low battery", "off"),
        "binary_sensor_tamper": ("diagnostic", "tamper", "Tamper", "off"),
        "button_identify": ("config", "identify", "Identify", "unknown"),
        "lock": (None, None, None, "locked"),
        "number_auto_lock_delay": ("config", "duration", "Auto-lock delay", "0"),
        "sensor_battery": ("diagnostic", "battery", "Battery", "87"),
        "sensor_signal_strength": ("diagnostic", "signal_strength", "Signal strength", None),
        "switch_always_connected": ("config", None, "Always connected", None),
        "switch_keypad": ("config", None, "Keypad", "on"),
        "switch_sound": ("config", None, "Sound", "on"),
    }


async def test_a_lock_that_can_little_has_few_entities(hass: HomeAssistant, world: World) -> None:
    lock = world.add_lock(0)
    entry = await world.pair(lock)
    found = set(described(hass, entry, lock))
    assert not found & {
        "binary_sensor_auto_lock_failed", "binary_sensor_door", "binary_sensor_door_left_open",
        "number_auto_lock_delay", "switch_keypad",
    }  # fmt: skip
    assert "switch_sound" in found


async def test_the_device_of_a_lock(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    assert device.identifiers == {(DOMAIN, lock.unique_id)}
    assert device.connections == {(dr.CONNECTION_BLUETOOTH, lock.address)}
    assert device.name == name_of(lock)
    assert device.manufacturer == "IGRS Lock"
    assert device.model == "Test lock"
    assert device.serial_number == lock.unique_id
    assert device.hw_version is None


async def test_battery_and_tamper_are_what_the_lock_says(
    world: World, lock: TestLock, entry: Any
) -> None:
    lock.core.battery_measured(8, True)
    lock.core.tamper_sensed(True)
    await world.advance(1)
    assert world.state(lock, "binary_sensor", "_low_battery") == "on"
    assert world.state(lock, "binary_sensor", "_tamper") == "on"
    lock.core.battery_measured(90, False)
    lock.core.tamper_sensed(False)
    await world.advance(1)
    assert world.state(lock, "binary_sensor", "_low_battery") == "off"
    assert world.state(lock, "binary_sensor", "_tamper") == "off"


async def enable(hass: HomeAssistant, world: World, entry: Any, entity_id: str) -> None:
    """Enable an entity as an owner does."""
    er.async_get(hass).async_update_entity(entity_id, disabled_by=None)
    await world.advance(32)  # Home Assistant waits for more to be enabled


async def test_the_signal_is_the_best_gateways_and_told_once_a_minute(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    entity_id = f"sensor.{lock.entity}_signal_strength"
    await enable(hass, world, entry, entity_id)
    state = hass.states.get(entity_id)
    assert state is not None
    assert (state.state, state.attributes["gateway"]) == ("-60", world.near.name)
    world.near.rssi, world.far.rssi = -95, -70
    await world.advance(30)
    assert hass.states.get(entity_id) is state
    await world.advance(31)
    state = hass.states.get(entity_id)
    assert state is not None
    assert (state.state, state.attributes["gateway"]) == ("-70", world.far.name)


async def test_the_button_lets_the_lock_be_found(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    shown: list[str] = []
    lock.show = shown.append  # type: ignore[method-assign, assignment]  # see what it shows
    target = {"entity_id": f"button.{lock.entity}_identify"}
    press = hass.services.async_call("button", "press", target, blocking=True)
    await world.during(press)
    assert shown == ["identify"]
    lock.silent = True
    await world.advance(6)
    press = hass.services.async_call("button", "press", target, blocking=True)
    with pytest.raises(HomeAssistantError) as failure:
        await world.during(press)
    assert failure.value.translation_key == "out_of_reach"


async def test_a_lock_that_refuses_to_be_found_is_told(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_option = ilp.Request(ilp.Command.SET_OPTION, bytes((99,)).ljust(9, b"\x00"))
    monkeypatch.setattr(ilp.requests, "identify", lambda: no_option)
    target = {"entity_id": f"button.{lock.entity}_identify"}
    press = hass.services.async_call("button", "press", target, blocking=True)
    with pytest.raises(HomeAssistantError) as failure:
        await world.during(press)
    assert failure.value.translation_key == "refused"


async def test_a_broken_answer_to_the_button_is_told(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_reply: ilp.Reply) -> ilp.Status:
        raise ilp.MalformedError("broken")

    await world.advance(30)
    with monkeypatch.context() as patched:
        patched.setattr("custom_components.igrs_lock.button.Status.of", broken)
        target = {"entity_id": f"button.{lock.entity}_identify"}
        press = hass.services.async_call("button", "press", target, blocking=True)
        with pytest.raises(HomeAssistantError) as failure:
            await world.during(press)
    assert failure.value.translation_key == "no_answer"


async def test_what_an_answer_does_not_tell_is_not_shown_as_good(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    """An answer tells of bolt, door and battery, not of tampering nor of a low battery."""
    lock.core.battery_measured(8, True)
    lock.core.tamper_sensed(True)
    await world.advance(1)
    issues = ir.async_get(hass)
    assert issues.async_get_issue(DOMAIN, f"low_battery_{lock.unique_id}")
    coordinator = entry.runtime_data
    coordinator.data = None  # as after a start, when the lock's counter is doubted
    lock.silent = True
    status = await world.during(coordinator.async_request(ilp.requests.get_status()))
    coordinator.async_answered(ilp.Status.of(status[0]))
    assert world.state(lock) == "locked"
    assert world.state(lock, "binary_sensor", "_low_battery") == "unknown"
    assert world.state(lock, "binary_sensor", "_tamper") == "unknown"
    assert issues.async_get_issue(DOMAIN, f"low_battery_{lock.unique_id}")


async def test_the_signal_is_shown_as_soon_as_the_lock_is_heard(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    entity_id = f"sensor.{lock.entity}_signal_strength"
    await enable(hass, world, entry, entity_id)
    lock.silent = True
    await hass.config_entries.async_unload(entry.entry_id)
    for gateway in (world.near, world.far):
        gateway.forget(lock.address)
    await world.advance(6)  # what was heard last is too old now
    await hass.config_entries.async_setup(entry.entry_id)
    await world.advance(1)
    assert world.state(lock, "sensor", "_signal_strength") == "unavailable"
    lock.silent = False
    await world.advance(2)
    assert world.state(lock, "sensor", "_signal_strength") == "-60"


async def test_always_connected_is_this_homes_choice(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    entity_id = f"switch.{lock.entity}_always_connected"
    await enable(hass, world, entry, entity_id)
    for service, kept in (("turn_on", True), ("turn_off", False)):
        call = hass.services.async_call("switch", service, {"entity_id": entity_id}, blocking=True)
        await world.during(call)
        assert entry.options["always_connected"] is kept
        assert world.state(lock, "switch", "_always_connected") == ("on" if kept else "off")
