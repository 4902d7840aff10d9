"""HomeKit, by Home Assistant's own accessory over the real entity and lock."""

import itertools
import sys
from typing import TYPE_CHECKING
from unittest.mock import MagicMock

import pytest
from bsld import const as c
from voice import STATES, brought_to

# Draws the QR code of a bridge, which no test looks at; it has no wheel.
sys.modules.setdefault("pyqrcode", MagicMock())

from homeassistant.components.homekit.accessories import get_accessory  # noqa: E402
from homeassistant.components.homekit.type_locks import Lock  # noqa: E402
from pyhap.loader import get_loader  # type: ignore[import-untyped]  # noqa: E402

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from world import TestLock, World

pytestmark = pytest.mark.usefixtures("quiet")

UNSECURED, SECURED, JAMMED, UNKNOWN = range(4)  # HomeKit's LockCurrentState
CURRENT = {
    "locked": SECURED,
    "unlocked": UNSECURED,
    "locking": UNSECURED,
    "unlocking": SECURED,
    "opening": UNKNOWN,
    "jammed": JAMMED,
    "open": UNKNOWN,
    "bolt out beside an open door": UNSECURED,
    "unknown": UNKNOWN,
}
TARGET = {"locked": SECURED, "unlocked": UNSECURED, "locking": SECURED, "unlocking": UNSECURED}


def shown(hass: HomeAssistant, lock: TestLock) -> Lock:
    """Put the lock on a HomeKit bridge that no phone listens to."""
    state = hass.states.get(f"lock.{lock.entity}")
    assert state is not None
    driver = MagicMock(loop=hass.loop, loader=get_loader())
    driver.iid_storage.get_or_allocate_iid.side_effect = itertools.count(2)
    accessory = get_accessory(hass, driver, state, 2, {})
    assert isinstance(accessory, Lock)
    accessory.run()
    return accessory


@pytest.mark.parametrize("what", [what for what in STATES if what != "unavailable"])
async def test_homekit_shows_what_holds_the_door(
    hass: HomeAssistant, world: World, lock: TestLock, what: str
) -> None:
    async with brought_to(world, lock, what):
        accessory = shown(hass, lock)
        assert accessory.char_current_state.value == CURRENT[what]
        if what in TARGET:
            assert accessory.char_target_state.value == TARGET[what]


async def test_homekit_does_not_answer_for_a_lock_out_of_reach(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    accessory = shown(hass, lock)
    assert accessory.available
    async with brought_to(world, lock, "unavailable"):
        assert not accessory.available


async def test_homekit_has_no_way_to_pull_the_latch(hass: HomeAssistant, lock: TestLock) -> None:
    accessory = shown(hass, lock)
    (service,) = [one for one in accessory.services if one.display_name == "LockMechanism"]
    assert {one.display_name for one in service.characteristics} == {
        "LockCurrentState", "LockTargetState",
    }  # fmt: skip


async def test_homekit_unlocks_and_locks_without_a_pin_of_its_own(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    accessory = shown(hass, lock)
    accessory.char_target_state.client_update_value(UNSECURED)
    await world.advance(3)
    assert lock.core.bolt == c.BOLT_UNLOCKED
    assert accessory.char_current_state.value == UNSECURED
    accessory.char_target_state.client_update_value(SECURED)
    await world.advance(3)
    assert lock.operations == [c.OP_UNLOCK, c.OP_LOCK]
    assert accessory.char_current_state.value == SECURED
    assert world.attribute(lock, "changed_by") == "Home Assistant"


async def test_homekit_shows_a_jam_not_the_wish(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.settle()
    accessory = shown(hass, lock)
    lock.jammed = True
    accessory.char_target_state.client_update_value(SECURED)
    await world.advance(3)
    assert accessory.char_current_state.value == JAMMED
