"""Another lock takes over an entry: its entities with their history, its name, its people."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import voluptuous as vol
from homeassistant.const import CONF_ADDRESS
from homeassistant.helpers.selector import BooleanSelector

from .const import DOMAIN
from .flow_pair import PairSteps
from .flow_release import async_reset_lock
from .takeover import async_take_over

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigFlowResult

_KEEP_PEOPLE: Final = "keep_people"
_RESET_OLD: Final = "reset_old"


class ReplaceSteps(PairSteps):
    """The steps of a replacement: choose, pair, maybe reset the old lock, take over."""

    def __init__(self) -> None:
        super().__init__()
        self._replaces = False
        self._keep_people = False
        self._reset_old = False

    async def async_step_replace(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Choose the new lock among those in reach, and what becomes of people and old lock."""
        if user_input is not None:
            device_id = self._use(user_input[CONF_ADDRESS])
            await self.async_set_unique_id(device_id, raise_on_progress=False)
            self._abort_if_unique_id_configured()
            self._replaces = True
            self._keep_people = user_input[_KEEP_PEOPLE]
            self._reset_old = user_input[_RESET_OLD]
            return await self._async_begin()
        locks = await self._async_locks()
        if not locks:
            return self.async_abort(reason="no_devices_found")
        schema = vol.Schema(
            {
                vol.Required(CONF_ADDRESS): vol.In(locks),
                vol.Required(_KEEP_PEOPLE, default=True): BooleanSelector(),
                vol.Required(_RESET_OLD, default=False): BooleanSelector(),
            }
        )
        self._name = self._get_reconfigure_entry().title
        return self._form("replace", schema)

    async def _async_paired(self) -> ConfigFlowResult:
        """Go on once the new lock is paired; its key is kept as pending until the end."""
        if self._reset_old:
            return await self.async_step_reset_old()
        return await self.async_step_take_over()

    async def async_step_reset_old(
        self, _user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Let the old lock forget everything."""
        self._name = self._get_reconfigure_entry().title
        self._work = partial(self._async_reset_old, self._data)
        self._asked_in = "not_reset"
        return await self.async_step_resetting_old()

    async def async_step_resetting_old(
        self, _user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show progress while the old lock is talked to."""
        return await self._async_progress("resetting_old", "take_over")

    async def async_step_not_reset(
        self, _user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask what to do about an old lock that did not answer."""
        return self.async_show_menu(
            step_id="not_reset",
            menu_options=["reset_old", "take_over"],
            description_placeholders={"name": self._name},
        )

    async def async_step_take_over(
        self, _user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Put the new lock into the old one's place."""
        entry = self._get_reconfigure_entry()
        await async_take_over(self.hass, entry, self._data, keep_people=self._keep_people)
        for flow in self.hass.config_entries.flow.async_progress_by_handler(
            DOMAIN, match_context={"unique_id": self.unique_id}
        ):
            # The new lock was discovered too.
            if flow["flow_id"] != self.flow_id:
                self.hass.config_entries.flow.async_abort(flow["flow_id"])
        return self.async_abort(reason="replaced")

    async def _async_reset_old(self, data: dict[str, Any]) -> dict[str, Any]:
        await async_reset_lock(self.hass, self._get_reconfigure_entry())
        return data
