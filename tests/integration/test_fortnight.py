"""A fortnight of a household, over the real lock core."""

from typing import TYPE_CHECKING

import pytest
from bsld import const as c
from household import Disk, House
from pytest_homeassistant_custom_component.common import mock_storage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from freezegun.api import FrozenDateTimeFactory

FRONT = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD | c.CAP_AUTO_LOCK


@pytest.fixture
def hass_storage() -> Generator[Disk]:
    """A disk that outlives each Home Assistant."""
    with mock_storage(disk := Disk()):
        yield disk


@pytest.fixture
async def house(
    freezer: FrozenDateTimeFactory, hass_config_dir: str, hass_storage: Disk
) -> AsyncGenerator[House]:
    """A house in Berlin without locks yet, on Wednesday, 14 October 2026, at six."""
    freezer.move_to("2026-10-14T04:00:00+00:00")
    async with House(freezer, hass_config_dir, hass_storage) as house:
        await house.start_home_assistant()
        yield house


async def test_quiet_hours_show_what_slow_ones_do(house: House) -> None:
    lock = house.hang("front", FRONT)
    await house.pair(lock)
    await house.advance(30)
    seen: set[str] = set()
    house.hass.bus.async_listen(
        "state_changed", lambda event: seen.add(event.data["new_state"].state)
    )
    await house.until("10-16", "12:00")
    assert not seen & {"unavailable", "unknown"}
    lock.silent = True
    await house.quietly(600)
    assert house.state(lock) == "unavailable"
    lock.by_hand(c.BOLT_UNLOCKED)
    await house.quietly(600)
    assert house.state(lock) == "unavailable"
    lock.silent = False
    await house.quietly(5)
    assert house.state(lock) == "unlocked"


async def test_a_stopped_home_assistant_is_gone_and_a_restored_one_is_older(house: House) -> None:
    lock = house.hang("front", FRONT)
    entry = await house.pair(lock)
    await house.until("10-14", "12:00")
    backup = house.backup()
    await house.stop_home_assistant()
    lock.by_hand(c.BOLT_UNLOCKED)
    connections = house.connections
    await house.quietly(2 * 24 * 3600)
    assert house.connections == connections
    await house.start_home_assistant()
    await house.advance(2)
    assert house.state(lock) == "unlocked"
    await house.until("10-21", "12:00")
    entries = house.hass.config_entries
    await entries.async_remove(entry.entry_id)
    await house.restore(backup)
    await house.advance(2)
    assert house.hass.config_entries is not entries
    assert house.hass.config_entries.async_get_entry(entry.entry_id) is not None
    assert house.state(lock) == "unlocked"
