"""Options that the lock keeps: shown as the lock said them, never as they were wished."""

from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import device_registry as dr

from custom_components.igrs_lock import ilp

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from world import TestLock, World

FIRMWARE_UUID = "00002a26-0000-1000-8000-00805f9b34fb"
ALL = c.CAP_DOOR_SENSOR | c.CAP_KEYPAD | c.CAP_AUTO_LOCK | c.CAP_LOG


@pytest.fixture
async def lock(world: World) -> TestLock:
    """A lock with all options."""
    return world.add_lock(ALL)


async def set_delay(hass: HomeAssistant, world: World, lock: TestLock, seconds: float) -> None:
    """Set the delay of auto-lock as an owner does."""
    await world.during(
        hass.services.async_call(
            "number",
            "set_value",
            {"entity_id": f"number.{lock.entity}_auto_lock_delay", "value": seconds},
            blocking=True,
        )
    )


async def turn(hass: HomeAssistant, world: World, lock: TestLock, key: str, service: str) -> None:
    """Switch an option as an owner does."""
    await world.during(
        hass.services.async_call(
            "switch", service, {"entity_id": f"switch.{lock.entity}_{key}"}, blocking=True
        )
    )


def shown(world: World, lock: TestLock) -> tuple[str, str, str]:
    """Return the states of all three entities."""
    return (
        world.state(lock, "number", "_auto_lock_delay"),
        world.state(lock, "switch", "_sound"),
        world.state(lock, "switch", "_keypad"),
    )


async def test_options_are_unknown_until_they_were_read(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await world.advance(10)
    for key in ("options", "options_read"):
        entry.runtime_data.remembered.pop(key)
    lock.on_write = lambda data: None
    await hass.config_entries.async_reload(entry.entry_id)
    await world.advance(1)
    assert shown(world, lock) == ("unknown", "unknown", "unknown")
    lock.on_write = None
    await world.advance(90)
    assert shown(world, lock) == ("0", "on", "on")
    assert entry.runtime_data.remembered["options"] == {"1": 0, "2": 1, "3": 1}


async def test_an_option_that_was_set_is_shown_as_the_lock_says_it(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await world.advance(10)
    await set_delay(hass, world, lock, 45)
    assert lock.core.options.get(c.OPT_AUTO_LOCK) == 45
    await turn(hass, world, lock, "sound", "turn_off")
    await turn(hass, world, lock, "keypad", "turn_off")
    assert shown(world, lock) == ("45", "off", "off")
    assert lock.core.options.get(c.OPT_SOUND) == lock.core.options.get(c.OPT_KEYPAD) == 0
    await turn(hass, world, lock, "keypad", "turn_on")
    assert shown(world, lock) == ("45", "off", "on")


async def test_what_was_read_outlives_a_restart_without_asking_again(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await set_delay(hass, world, lock, 45)
    await world.advance(30)
    before = world.connections
    await hass.config_entries.async_reload(entry.entry_id)
    await world.advance(60)
    assert shown(world, lock) == ("45", "on", "on")
    assert world.connections == before


async def test_an_option_that_somebody_else_changed_is_read_again(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await world.advance(30)
    lock.core.options.set(c.OPT_SOUND, 0)
    lock.core.record(c.EV_OPTION, c.SLOT_NOBODY, c.SRC_BLUETOOTH, c.OPT_SOUND)
    await world.advance(60)
    assert shown(world, lock) == ("0", "off", "on")


async def test_own_changes_are_not_read_again(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await world.advance(30)
    await set_delay(hass, world, lock, 45)
    await world.advance(30)
    read = entry.runtime_data.remembered["options_read"]
    await world.advance(120)
    assert entry.runtime_data.remembered["options_read"] == read


async def test_a_lock_out_of_reach_is_told_and_nothing_is_shown_as_done(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await world.advance(30)
    lock.silent = True
    with pytest.raises(HomeAssistantError) as failure:
        await turn(hass, world, lock, "sound", "turn_off")
    assert failure.value.translation_key == "out_of_reach"
    assert world.state(lock, "switch", "_sound") == "on"


async def test_an_answer_that_was_lost_is_told_and_the_option_read_again(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await world.advance(30)
    lock.on_notify = lambda data: None
    with pytest.raises(HomeAssistantError) as failure:
        await turn(hass, world, lock, "sound", "turn_off")
    assert failure.value.translation_key == "no_answer"
    lock.on_notify = None
    await world.advance(90)
    assert lock.core.options.get(c.OPT_SOUND) == 0
    assert world.state(lock, "switch", "_sound") == "off"


async def test_a_value_that_the_lock_refuses_is_told(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await world.advance(30)
    with pytest.raises(ServiceValidationError):
        await set_delay(hass, world, lock, 86_401)
    with pytest.raises(HomeAssistantError) as failure:
        await world.during(entry.runtime_data.options.async_set(ilp.Option.SOUND, 2))
    assert failure.value.translation_key == "refused"
    assert world.state(lock, "switch", "_sound") == "on"


async def test_a_broken_answer_is_told(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await world.advance(30)

    def broken(reply: ilp.Reply) -> ilp.Status:
        raise ilp.MalformedError("broken")

    with monkeypatch.context() as patched:
        patched.setattr("custom_components.igrs_lock.options.Status.of", broken)
        with pytest.raises(HomeAssistantError) as failure:
            await turn(hass, world, lock, "sound", "turn_off")
    assert failure.value.translation_key == "no_answer"


async def test_an_option_that_the_lock_does_not_have_after_all_stays_unknown(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await world.advance(30)
    lock.core.capabilities &= ~c.CAP_KEYPAD
    lock.core.options._capabilities = lock.core.capabilities
    await turn(hass, world, lock, "sound", "turn_off")
    assert shown(world, lock) == ("0", "off", "unknown")


async def test_firmware_is_read_again_after_the_lock_restarted(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    await world.advance(30)
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    assert device.sw_version is None
    lock.characteristics.append(FIRMWARE_UUID)
    lock.readable[FIRMWARE_UUID] = lambda: b"2.0"
    lock.power_cut()
    await world.advance(90)
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    assert device.sw_version == "2.0"
    assert device.model == "Test lock"
    assert entry.data["sw_version"] == "2.0"
