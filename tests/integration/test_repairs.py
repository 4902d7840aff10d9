"""Repairs lead where they say."""

from typing import TYPE_CHECKING, Any

from bsld import advert
from homeassistant.components.repairs import DOMAIN as REPAIRS
from homeassistant.helpers import issue_registry as ir
from world import DOMAIN

from custom_components.igrs_lock.const import ISSUE_LOG_GAP
from custom_components.igrs_lock.issues import async_raise_issue
from custom_components.igrs_lock.repairs import PairAgainFlow, async_create_fix_flow

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from world import TestLock, World


async def test_the_repair_of_a_reset_lock_starts_pairing_again(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    lock.silent = True
    await world.advance(31)
    world.forge(lock, bytes(advert.seal(None, lock.device_id, b"\x11\x09\x50", 0xFFFF)))
    await world.settle()
    flows = hass.data[REPAIRS]["flow_manager"]
    issue = f"reset_elsewhere_{lock.unique_id}"
    result = await flows.async_init(DOMAIN, data={"issue_id": issue})
    assert result["description_placeholders"] == {"name": entry.title}
    assert not hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    result = await flows.async_configure(result["flow_id"], {})
    await world.settle()
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert flow["context"]["source"] == "reauth"
    # The dialog goes on with it; nothing is mended yet, and once begun it is begun no second time.
    assert result["next_flow"] == ("config_flow", flow["flow_id"])
    assert ir.async_get(hass).async_get_issue(DOMAIN, issue) is not None
    again = await flows.async_init(DOMAIN, data={"issue_id": issue})
    again = await flows.async_configure(again["flow_id"], {})
    assert again["next_flow"] == result["next_flow"]


async def test_the_repair_of_a_lock_that_was_removed_meanwhile_does_nothing(
    hass: HomeAssistant, world: World
) -> None:
    flow = await async_create_fix_flow(hass, "reset_elsewhere_X", {"entry_id": "gone"})
    assert isinstance(flow, PairAgainFlow)
    flow.hass = hass
    flow.handler = DOMAIN
    flow.data = {"entry_id": "gone"}
    result = await flow.async_step_confirm({})
    assert result["type"] == "create_entry"


async def test_a_gap_in_the_log_is_told_until_the_owner_has_read_it(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    async_raise_issue(hass, entry.runtime_data, ISSUE_LOG_GAP, fixable=True)
    flows = hass.data[REPAIRS]["flow_manager"]
    issue = f"log_gap_{lock.unique_id}"
    result = await flows.async_init(DOMAIN, data={"issue_id": issue})
    assert result["description_placeholders"] == {"name": entry.title}
    # It is found once: a restart must not take it back.
    raised = ir.async_get(hass).async_get_issue(DOMAIN, issue)
    assert raised is not None
    assert raised.is_persistent
    await flows.async_configure(result["flow_id"], {})
    assert ir.async_get(hass).async_get_issue(DOMAIN, issue) is None
    assert not hass.config_entries.flow.async_progress_by_handler(DOMAIN)
