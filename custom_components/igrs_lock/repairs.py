"""Repairs that a click of the owner's mends."""

from __future__ import annotations

from typing import TYPE_CHECKING, override

from homeassistant.components.repairs import ConfirmRepairFlow, FlowType, RepairsFlow
from homeassistant.config_entries import SOURCE_REAUTH

from .const import DOMAIN, ISSUE_CLOCK, ISSUE_LOG_GAP
from .home import lock_entries
from .remote.people_repairs import phone_flow
from .remote.repairs import server_flow
from .repairs_drift import drift_flow
from .store import async_get_memory

if TYPE_CHECKING:
    from homeassistant.components.repairs import RepairsFlowResult
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant


class VouchForClockFlow(ConfirmRepairFlow):
    """The owner says that this machine's clock is right."""

    @override
    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Note it, and set the locks' time."""
        if user_input is not None:
            (await async_get_memory(self.hass)).vouch_for_clock()
            for entry in lock_entries(self.hass):
                entry.runtime_data.time_keeper.async_nudge(vouched=True)
        return await super().async_step_confirm(user_input)


class PairAgainFlow(ConfirmRepairFlow):
    """The owner pairs a lock again that was reset, or connects to a server anew."""

    @override
    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Go on with the flow that asks for the setup code, or for the server's.

        Nothing is mended by that: the issue stays until the lock or the server is back.
        """
        if user_input is not None and self.data is not None:
            entry = self.hass.config_entries.async_get_entry(str(self.data["entry_id"]))
            if entry is not None:
                flow_id = await self._async_reauth(entry)
                return self.async_abort(
                    reason="code_wanted", next_flow=(FlowType.CONFIG_FLOW, flow_id)
                )
        return await super().async_step_confirm(user_input)

    async def _async_reauth(self, entry: ConfigEntry) -> str:
        """Return the ID of the entry's flow for a new code, begun now if there is none."""
        for flow in entry.async_get_active_flows(self.hass, {SOURCE_REAUTH}):
            if flow.get("step_id"):
                return flow["flow_id"]
        begun = await self.hass.config_entries.flow.async_init(
            DOMAIN,
            context={
                "source": SOURCE_REAUTH,
                "entry_id": entry.entry_id,
                "title_placeholders": {"name": entry.title},
                "unique_id": entry.unique_id,
            },
            data=dict(entry.data),
        )
        return begun["flow_id"]


async def async_create_fix_flow(
    _hass: HomeAssistant, issue_id: str, _data: dict[str, str | int | float | None] | None
) -> RepairsFlow:
    """Return the flow for an issue."""
    if issue_id == ISSUE_CLOCK:
        return VouchForClockFlow()
    if issue_id.startswith(ISSUE_LOG_GAP):
        return ConfirmRepairFlow()  # there is nothing to do but to know
    return drift_flow(issue_id) or server_flow(issue_id) or phone_flow(issue_id) or PairAgainFlow()
