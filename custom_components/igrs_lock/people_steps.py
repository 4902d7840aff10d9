"""Steps of the config flow that are about people: their entry, and who may use a new lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .const import CONF_TYPE, TYPE_PEOPLE
from .flow_base import BaseFlow

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigFlowResult

PEOPLE_TITLE: Final = "People"


class PeopleSteps(BaseFlow):
    """The People entry."""

    async def async_step_system(
        self, _user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Make the People entry: the first lock begins this."""
        return await self.async_step_people()

    async def async_step_people(
        self, _user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Make the People entry."""
        await self.async_set_unique_id(TYPE_PEOPLE, raise_on_progress=False)
        self._abort_if_unique_id_configured()
        return self.async_create_entry(title=PEOPLE_TITLE, data={CONF_TYPE: TYPE_PEOPLE})
