"""Repairs of a phone that may be in other hands: its keys are made useless, or all is as it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeassistant.components.repairs import RepairsFlow
from homeassistant.config_entries import ConfigEntryState

from ..errors import OperationError
from .errors import RemoteError
from .people_issues import PHONE_ISSUES

if TYPE_CHECKING:
    from homeassistant.components.repairs import RepairsFlowResult

    from .people import RemotePeople


class PhoneFlow(RepairsFlow):
    """Replace the keys that a phone has, or leave everything as it is."""

    async def async_step_init(self, _user_input: dict[str, str] | None = None) -> RepairsFlowResult:
        """Tell what happened, and ask."""
        if self._people is None:
            return self.async_abort(reason="not_loaded")
        data = self.data or {}
        return self.async_show_menu(
            step_id="init",
            menu_options=["replace", "dismiss"],
            description_placeholders={key: str(data.get(key)) for key in ("person", "phone")},
        )

    async def async_step_replace(
        self, _user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """End the phone, and give its person other accounts."""
        if (people := self._people) is None:
            return self.async_abort(reason="not_loaded")
        try:
            await people.async_end(self._record)
        except OperationError, RemoteError:
            return self.async_abort(reason="not_saved")
        return self.async_create_entry(data={})

    async def async_step_dismiss(
        self, _user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Leave it."""
        if (people := self._people) is None:
            return self.async_abort(reason="not_loaded")
        try:
            await people.async_forget(self._record)
        except RemoteError:
            return self.async_abort(reason="not_saved")
        return self.async_create_entry(data={})

    @property
    def _record(self) -> str:
        return str((self.data or {}).get("record"))

    @property
    def _people(self) -> RemotePeople | None:
        entry = self.hass.config_entries.async_get_entry(str((self.data or {}).get("entry_id")))
        if entry is None or entry.state is not ConfigEntryState.LOADED:
            return None
        people: RemotePeople = entry.runtime_data.people
        return people


def phone_flow(issue_id: str) -> PhoneFlow | None:
    """Return the flow for an issue about a phone; None if it is another one."""
    return PhoneFlow() if issue_id.startswith(PHONE_ISSUES) else None
