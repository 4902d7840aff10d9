"""What the steps of the config flow have in common: the lock they are about, progress, errors."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import voluptuous as vol
from homeassistant.components import bluetooth
from homeassistant.config_entries import ConfigFlow, ConfigFlowResult
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant, callback

from .const import CONF_SETUP_CODE
from .errors import NeedsPairingError, OperationError, WrongSetupCodeError
from .home import lock_entries
from .ilp import (
    SERVICE_UUID,
    Header,
    MalformedError,
    device_id_from_address,
    format_device_id,
    local_name,
)
from .store import async_get_pairings

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Callable, Coroutine

_LOGGER = logging.getLogger(__name__)


@callback
def last_header(hass: HomeAssistant, address: str) -> Header | None:
    """Return what a lock advertised last, None when that is not known. Not authenticated."""
    info = bluetooth.async_last_service_info(hass, address, connectable=False)
    try:
        return None if info is None else Header.parse(info.service_data.get(SERVICE_UUID, b""))
    except MalformedError:
        return None


@asynccontextmanager
async def alone(hass: HomeAssistant, address: str) -> AsyncGenerator[None]:
    """Let the lock's entry keep away from it meanwhile.

    An adapter has one connection to a lock: a second one would wait for the end of the first.
    """
    async with AsyncExitStack() as stack:
        for entry in lock_entries(hass):
            if entry.data[CONF_ADDRESS] == address:
                await stack.enter_async_context(entry.runtime_data.client.suspended())
        yield


class BaseFlow(ConfigFlow):
    """A flow about one lock."""

    def __init__(self) -> None:
        self._address = ""
        self._name = ""
        self._data: dict[str, Any] = {}
        self._error: OperationError | None = None
        self._task: asyncio.Task[dict[str, Any]] | None = None
        # What the progress step does, and where its failure is shown.
        self._work: Callable[[], Coroutine[Any, Any, dict[str, Any]]] | None = None
        self._asked_in = ""

    @callback
    def _use(self, address: str) -> str:
        """Make this flow one about the lock at an address; return its device identifier."""
        device_id = device_id_from_address(address)
        self._address = address
        self._name = local_name(device_id)
        return format_device_id(device_id)

    async def _async_locks(self) -> dict[str, str]:
        """Return addresses and names of the locks in reach that can be paired."""
        pairings = await async_get_pairings(self.hass)
        configured = self._async_current_ids(include_ignore=False)
        locks = {}
        for info in bluetooth.async_discovered_service_info(self.hass, connectable=True):
            try:
                header = Header.parse(info.service_data.get(SERVICE_UUID, b""))
            except MalformedError:
                continue
            device_id = format_device_id(device_id_from_address(info.address))
            if device_id not in configured and (header.setup_mode or pairings.of(device_id)):
                name = local_name(device_id_from_address(info.address))
                locks[info.address] = f"{name} ({info.address})"
        return locks

    async def _async_progress(self, step: str, done_step: str) -> ConfigFlowResult:
        """Show the work's progress; then go on to `done_step`, or back where it was asked for."""
        task = self._task
        if task is None or not task.done():
            if task is None and self._work is not None:
                self._error = None
                task = self._task = self.hass.async_create_task(self._work(), self._name)
            # Also when it failed at once: going on from a form would submit the form again.
            return self.async_show_progress(
                step_id=step,
                progress_action=step,
                description_placeholders={"name": self._name},
                progress_task=task,
            )
        self._task = None
        try:
            self._data = await task
        except NeedsPairingError as err:
            # After a cut this says that the lock took none of the keys: pair from the beginning.
            self._error = None if self._asked_in == "resume" else err
            back = "setup_code" if self._asked_in == "resume" else self._asked_in
            return self.async_show_progress_done(next_step_id=back)
        except OperationError as err:
            _LOGGER.debug("%s: %s", self._name, err)
            self._error = err
            return self.async_show_progress_done(next_step_id=self._asked_in)
        return self.async_show_progress_done(next_step_id=done_step)

    @callback
    def _form(
        self,
        step: str,
        schema: vol.Schema | None = None,
        errors: dict[str, str] | None = None,
    ) -> ConfigFlowResult:
        """Show a form, with what went wrong since it was shown last."""
        placeholders = {"name": self._name, "address": self._address}
        error, self._error = self._error, None
        if errors is None and error is not None:
            where = CONF_SETUP_CODE if isinstance(error, WrongSetupCodeError) else "base"
            errors = {where: error.key}
            placeholders |= error.translation_placeholders or {}
        return self.async_show_form(
            step_id=step,
            data_schema=schema or vol.Schema({}),
            errors=errors,
            description_placeholders=placeholders,
        )
