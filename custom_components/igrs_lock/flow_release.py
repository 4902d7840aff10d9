"""Releasing a lock: it forgets everything, and its entry is removed."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, override

from homeassistant.const import CONF_ADDRESS
from homeassistant.core import HomeAssistant, callback

from .client import LockClient
from .const import CONF_LOCK_KEY
from .errors import NeedsPairingError, NoAnswerError, OperationError
from .flow_base import BaseFlow, alone, last_header
from .ilp import (
    IlpError,
    Result,
    Status,
    controller_key,
    device_id_from_address,
    format_device_id,
    requests,
)
from .movement import refusal
from .store import async_get_pairings

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigFlowResult

    from .coordinator import IgrsLockConfigEntry

_LOGGER = logging.getLogger(__name__)

_UNPAIRED_LOOKS: Final = 5  # once a second


async def async_reset_lock(hass: HomeAssistant, entry: IgrsLockConfigEntry) -> None:
    """Tell a lock to forget everything (command 4B). Raises kin of OperationError."""
    address = entry.data[CONF_ADDRESS]
    async with alone(hass, address):
        await _async_reset(hass, address, entry)
    # The lock itself says that none of its keys is of use any more.
    pairings = await async_get_pairings(hass)
    pairings.forget(format_device_id(device_id_from_address(address)))


async def _async_reset(hass: HomeAssistant, address: str, entry: IgrsLockConfigEntry) -> None:
    key = controller_key(bytes.fromhex(entry.data[CONF_LOCK_KEY]))
    client = LockClient(hass, address, entry.title, device_id_from_address(address), key)
    try:
        (reply,) = await client.async_request(requests.factory_reset())
        try:
            result = Status.of(reply).result
        except IlpError as err:
            raise NoAnswerError(entry.title) from err
    except NeedsPairingError, NoAnswerError:
        await client.async_close()
        written = client.timing is not None and client.timing.written is not None
        # The answer may be lost: after it the key is dead, and the lock says so itself.
        if not written or not await _async_unpaired(hass, address):
            raise
        return
    finally:
        await client.async_close()
    if result is not Result.DONE:
        raise refusal(result, entry.title)


async def _async_unpaired(hass: HomeAssistant, address: str) -> bool:
    """Whether a lock soon advertises that it is not paired. Not authenticated."""
    for _ in range(_UNPAIRED_LOOKS):
        header = last_header(hass, address)
        if header is not None and not header.tagged:
            return True
        await asyncio.sleep(1)
    return False


async def _async_finish(hass: HomeAssistant, entry_id: str, release: asyncio.Task[None]) -> None:
    """Remove the entry of a lock whose release nobody looks at any more, once it is released."""
    try:
        await release
    except OperationError as err:
        _LOGGER.warning("The lock was not released: %s", err)
        return
    if hass.config_entries.async_get_entry(entry_id) is not None:
        await hass.config_entries.async_remove(entry_id)


class ReleaseSteps(BaseFlow):
    """The steps of a release."""

    _release: asyncio.Task[None] | None = None

    async def async_step_release(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask whether the lock shall forget everything."""
        if user_input is None:
            return self._form("release")
        self._asked_in = "release"
        self._work = self._async_release
        return await self.async_step_releasing()

    async def async_step_releasing(
        self, _user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show progress while the lock is talked to."""
        return await self._async_progress("releasing", "released")

    async def async_step_released(
        self, _user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Remove the entry: the lock knows nothing of this home any more."""
        self._release = None
        entry_id = self._get_reconfigure_entry().entry_id
        self.hass.async_create_task(self.hass.config_entries.async_remove(entry_id))
        return self.async_abort(reason="released")

    async def _async_release(self) -> dict[str, Any]:
        # A task of its own: closing the dialog ends the one that shows progress, and must not
        # leave the entry of a lock that was reset.
        release = async_reset_lock(self.hass, self._get_reconfigure_entry())
        self._release = self.hass.async_create_task(release, f"{self._name} release")
        await asyncio.wait((self._release,))
        try:
            await self._release
        except OperationError:
            self._release = None
            raise
        return {}

    @callback
    @override
    def async_remove(self) -> None:
        """Go on without the dialog: somebody closed it."""
        if (release := self._release) is not None:
            self.hass.async_create_task(_async_finish(self.hass, self.context["entry_id"], release))
