"""What Home Assistant itself does about a lock is chosen in the entry's options."""

from typing import TYPE_CHECKING, Any

import pytest
from homeassistant.config_entries import ConfigEntryState
from homeassistant.data_entry_flow import FlowResultType, InvalidData

from custom_components.igrs_lock.config_flow import IgrsLockConfigFlow

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from world import TestLock, World


async def test_the_minutes_of_an_open_door_are_chosen_and_other_options_kept(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    hass.config_entries.async_update_entry(entry, options={"always_connected": True})
    before = entry.runtime_data
    flows = hass.config_entries.options
    result = await flows.async_init(entry.entry_id)
    assert result["type"] is FlowResultType.FORM
    with pytest.raises(InvalidData):
        await flows.async_configure(result["flow_id"], {"door_left_open": -1})
    result = await flows.async_configure(result["flow_id"], {"door_left_open": 3.0})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert entry.options == {"always_connected": True, "door_left_open": 3}
    await world.advance(2)
    assert entry.state is ConfigEntryState.LOADED
    assert entry.runtime_data is not before
    assert entry.runtime_data.watch.minutes == 3


async def test_only_locks_have_options(hass: HomeAssistant, world: World, entry: Any) -> None:
    assert IgrsLockConfigFlow.async_supports_options_flow(entry)
    people = hass.config_entries.async_entry_for_domain_unique_id("igrs_lock", "people")
    assert people is not None
    assert not IgrsLockConfigFlow.async_supports_options_flow(people)
