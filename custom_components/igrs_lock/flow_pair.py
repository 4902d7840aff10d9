"""Pairing: the setup code, progress, and going on where it was cut off."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import voluptuous as vol
from homeassistant.helpers.selector import TextSelector, TextSelectorConfig

from .const import CONF_SETUP_CODE
from .flow_base import BaseFlow, alone
from .ilp import SetupCodeError, device_id_from_address, format_device_id, parse_setup_code
from .pairing import async_pair, async_resume
from .store import async_get_pairings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from homeassistant.config_entries import ConfigFlowResult

_SETUP_CODE_SCHEMA: Final = vol.Schema(
    {vol.Required(CONF_SETUP_CODE): TextSelector(TextSelectorConfig(autocomplete="off"))}
)


class PairSteps(BaseFlow):
    """The steps of pairing with the lock that the flow is about; `finish` comes after them."""

    async def async_step_pair_again(
        self, _user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Pair with a lock that has an entry: new keys, the same entry."""
        return await self._async_begin()

    async def async_step_resume(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Go on where an earlier attempt was cut off."""
        if user_input is None:
            return self._form("resume")
        return await self._async_do(partial(async_resume, self.hass, self._address), "resume")

    async def async_step_setup_code(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the setup code."""
        if user_input is None:
            return self._form("setup_code", _SETUP_CODE_SCHEMA)
        try:
            code = parse_setup_code(user_input[CONF_SETUP_CODE])
        except SetupCodeError:
            return self._form(
                "setup_code", _SETUP_CODE_SCHEMA, {CONF_SETUP_CODE: "invalid_setup_code"}
            )
        return await self._async_do(
            partial(async_pair, self.hass, self._address, code), "setup_code"
        )

    async def async_step_pair(self, _user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Show progress while the lock is talked to."""
        return await self._async_progress("pair", "finish")

    async def _async_begin(self) -> ConfigFlowResult:
        """Ask for the setup code, or go on with a pairing that was cut off."""
        device_id = format_device_id(device_id_from_address(self._address))
        if (await async_get_pairings(self.hass)).of(device_id):
            return await self.async_step_resume()
        return await self.async_step_setup_code()

    async def _async_do(
        self,
        work: Callable[[Callable[[float], None]], Coroutine[Any, Any, dict[str, Any]]],
        asked_in: str,
    ) -> ConfigFlowResult:
        self._work = partial(self._async_alone, partial(work, self.async_update_progress))
        self._asked_in = asked_in
        return await self.async_step_pair()

    async def _async_alone(
        self, work: Callable[[], Coroutine[Any, Any, dict[str, Any]]]
    ) -> dict[str, Any]:
        async with alone(self.hass, self._address):
            return await work()
