"""Repairs of a remote access server that the owner's word mends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, override

from homeassistant.components.repairs import ConfirmRepairFlow
from homeassistant.config_entries import ConfigEntryState

from .errors import RemoteNotSaved
from .issues import (
    ISSUE_AUDIT_CUT,
    ISSUE_AUDIT_FORKED,
    ISSUE_AUDIT_SIGNATURE,
    ISSUE_RESTORED,
)

if TYPE_CHECKING:
    from homeassistant.components.repairs import RepairsFlowResult

    from .gateway import Gateway

_ACCEPTED: Final = (ISSUE_AUDIT_CUT, ISSUE_AUDIT_FORKED, ISSUE_AUDIT_SIGNATURE, ISSUE_RESTORED)


class AcceptRecordFlow(ConfirmRepairFlow):
    """The owner has seen what is wrong with a server's record, or that it was put back."""

    @override
    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Begin anew with the record as it is."""
        if user_input is not None and self.data is not None:
            entry = self.hass.config_entries.async_get_entry(str(self.data["entry_id"]))
            if entry is None or entry.state is not ConfigEntryState.LOADED:
                return self.async_abort(reason="not_loaded")
            gateway: Gateway = entry.runtime_data
            try:
                await gateway.link.audit.async_accept()
            except RemoteNotSaved:
                return self.async_abort(reason="not_saved")
        return await super().async_step_confirm(user_input)


def server_flow(issue_id: str) -> AcceptRecordFlow | None:
    """Return the flow for an issue of a server; None if it is another one."""
    return AcceptRecordFlow() if issue_id.startswith(_ACCEPTED) else None
