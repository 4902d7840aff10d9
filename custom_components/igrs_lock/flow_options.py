"""Options of a lock's entry: what Home Assistant itself does about the lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import voluptuous as vol
from homeassistant.config_entries import OptionsFlowWithReload
from homeassistant.const import UnitOfTime
from homeassistant.helpers.selector import (
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
)

from .const import CONF_DOOR_LEFT_OPEN, DOOR_LEFT_OPEN_DEFAULT

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigFlowResult

_SCHEMA = vol.Schema(
    {
        vol.Required(CONF_DOOR_LEFT_OPEN, default=DOOR_LEFT_OPEN_DEFAULT): vol.All(
            NumberSelector(
                NumberSelectorConfig(
                    min=0,
                    max=24 * 60,
                    mode=NumberSelectorMode.BOX,
                    unit_of_measurement=UnitOfTime.MINUTES,
                )
            ),
            vol.Coerce(int),
        )
    }
)


class IgrsLockOptionsFlow(OptionsFlowWithReload):
    """One form. What the lock itself keeps has entities."""

    async def async_step_init(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Show the form; keep what is set elsewhere."""
        options = self.config_entry.options
        if user_input is not None:
            return self.async_create_entry(data={**options, **user_input})
        return self.async_show_form(
            step_id="init",
            data_schema=self.add_suggested_values_to_schema(_SCHEMA, options),
        )
