"""Finding, pairing, pairing anew and releasing a lock."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final, override

import voluptuous as vol
from homeassistant.components import bluetooth
from homeassistant.config_entries import (
    SOURCE_REAUTH,
    SOURCE_RECONFIGURE,
    ConfigFlow,
    ConfigFlowResult,
)
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import CALLBACK_TYPE, HassJob, HomeAssistant, callback
from homeassistant.helpers.event import async_call_later
from homeassistant.helpers.selector import TextSelector, TextSelectorConfig
from homeassistant.util.hass_dict import HassKey

from .client import LockClient
from .const import CONF_LOCK_KEY, CONF_SETUP_CODE, DOMAIN
from .errors import NeedsPairingError, NoAnswerError, OperationError, WrongSetupCodeError
from .ilp import (
    SERVICE_UUID,
    Header,
    MalformedError,
    Result,
    SetupCodeError,
    Status,
    controller_key,
    device_id_from_address,
    format_device_id,
    local_name,
    parse_setup_code,
    requests,
)
from .movement import refusal
from .pairing import async_pair, async_resume
from .store import async_get_pairings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from datetime import datetime

    from homeassistant.components.bluetooth import BluetoothServiceInfoBleak

    from .coordinator import IgrsLockConfigEntry

_LOGGER = logging.getLogger(__name__)

_OFFER_PAUSE: Final = 10
"""Seconds until a lock that cannot be paired is looked at again: each look is a flow."""
_UNPAIRED_LOOKS: Final = 5  # once a second

_OFFERS: Final[HassKey[dict[str, CALLBACK_TYPE]]] = HassKey(f"{DOMAIN}_offers")

_SETUP_CODE_SCHEMA = vol.Schema(
    {vol.Required(CONF_SETUP_CODE): TextSelector(TextSelectorConfig(autocomplete="off"))}
)


@callback
def _last_header(hass: HomeAssistant, address: str) -> Header | None:
    """Return what a lock advertised last, None when that is not known. Not authenticated."""
    info = bluetooth.async_last_service_info(hass, address, connectable=False)
    try:
        return None if info is None else Header.parse(info.service_data.get(SERVICE_UUID, b""))
    except MalformedError:
        return None


@callback
def _offer_later(hass: HomeAssistant, address: str) -> None:
    """Let Home Assistant tell again of a lock that cannot be paired, in case its button is held.

    Not at once: a neighbour's lock would begin a flow with every packet.
    """
    waiting = hass.data.setdefault(_OFFERS, {})
    if address in waiting:
        return

    @callback
    def clear(_now: datetime) -> None:
        del waiting[address]
        if (header := _last_header(hass, address)) is not None and header.setup_mode:
            # The same packet heard again would not tell.
            bluetooth.async_rediscover_address(hass, address)
        else:
            bluetooth.async_clear_address_from_match_history(hass, address)

    waiting[address] = async_call_later(hass, _OFFER_PAUSE, HassJob(clear, cancel_on_shutdown=True))


class IgrsLockConfigFlow(ConfigFlow, domain=DOMAIN):
    """One lock, one flow; discovery, a person, reauthentication and reconfiguration begin it."""

    VERSION = 1

    def __init__(self) -> None:
        self._address = ""
        self._name = ""
        self._data: dict[str, Any] = {}
        self._error: OperationError | None = None
        self._task: asyncio.Task[dict[str, Any]] | None = None
        # What the progress step does, and where its failure is shown.
        self._work: Callable[[], Coroutine[Any, Any, dict[str, Any]]] | None = None
        self._asked_in = ""

    # --- ways in --------------------------------------------------------------------------------

    @override
    async def async_step_bluetooth(
        self, discovery_info: BluetoothServiceInfoBleak
    ) -> ConfigFlowResult:
        """A lock was heard for the first time. Neighbours' locks are heard too."""
        try:
            header = Header.parse(discovery_info.service_data[SERVICE_UUID])
        except MalformedError:
            return self.async_abort(reason="not_supported")
        device_id = self._use(discovery_info.address)
        await self.async_set_unique_id(device_id)
        self._abort_if_unique_id_configured()
        if not header.setup_mode and not (await async_get_pairings(self.hass)).of(device_id):
            _offer_later(self.hass, self._address)
            return self.async_abort(reason="not_in_setup_mode")
        self.context["title_placeholders"] = {"name": self._name}
        return await self._async_begin()

    @override
    async def async_step_user(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Choose among the locks in reach that can be paired."""
        if user_input is not None:
            device_id = self._use(user_input[CONF_ADDRESS])
            await self.async_set_unique_id(device_id, raise_on_progress=False)
            self._abort_if_unique_id_configured()
            return await self._async_begin()
        locks = await self._async_locks()
        if not locks:
            return self.async_abort(reason="no_devices_found")
        return self.async_show_form(
            step_id="user",
            data_schema=vol.Schema({vol.Required(CONF_ADDRESS): vol.In(locks)}),
        )

    async def async_step_reauth(self, entry_data: Mapping[str, Any]) -> ConfigFlowResult:
        """The lock does not accept its key any more."""
        self._use(entry_data[CONF_ADDRESS])
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Say why the lock has to be paired again."""
        if user_input is not None:
            return await self._async_begin()
        return self._form("reauth_confirm")

    async def async_step_reconfigure(
        self, _user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Offer what can be done with a lock."""
        entry = self._get_reconfigure_entry()
        self._use(entry.data[CONF_ADDRESS])
        return self.async_show_menu(
            step_id="reconfigure",
            menu_options=["pair_again", "release"],
            description_placeholders={"name": entry.title, "address": self._address},
        )

    # --- pairing --------------------------------------------------------------------------------

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

    async def async_step_finish(
        self, _user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Keep what was agreed."""
        if self.source == SOURCE_REAUTH:
            return self.async_update_reload_and_abort(self._get_reauth_entry(), data=self._data)
        if self.source == SOURCE_RECONFIGURE:
            entry = self._get_reconfigure_entry()
            for flow in entry.async_get_active_flows(self.hass, {SOURCE_REAUTH}):
                self.hass.config_entries.flow.async_abort(flow["flow_id"])
            return self.async_update_reload_and_abort(entry, data=self._data, reason="paired_again")
        return self.async_create_entry(title=self._name, data=self._data)

    # --- releasing ------------------------------------------------------------------------------

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
        entry_id = self._get_reconfigure_entry().entry_id
        self.hass.async_create_task(self.hass.config_entries.async_remove(entry_id))
        return self.async_abort(reason="released")

    async def _async_release(self) -> dict[str, Any]:
        entry = self._get_reconfigure_entry()
        key = controller_key(bytes.fromhex(entry.data[CONF_LOCK_KEY]))
        device_id = device_id_from_address(self._address)
        client = LockClient(self.hass, self._address, entry.title, device_id, key)
        try:
            (reply,) = await client.async_request(requests.factory_reset())
            result = Status.of(reply).result
        except NeedsPairingError, NoAnswerError:
            await client.async_close()
            written = client.timing is not None and client.timing.written is not None
            # The answer may be lost: after it the key is dead, and the lock says so itself.
            if not written or not await self._async_unpaired():
                raise
            return {}
        finally:
            await client.async_close()
        if result is not Result.DONE:
            raise refusal(result, entry.title)
        # The lock itself says that none of its keys is of use any more.
        (await async_get_pairings(self.hass)).forget(format_device_id(device_id))
        return {}

    async def _async_unpaired(self) -> bool:
        """Whether the lock soon advertises that it is not paired. Not authenticated."""
        for _ in range(_UNPAIRED_LOOKS):
            header = _last_header(self.hass, self._address)
            if header is not None and not header.tagged:
                return True
            await asyncio.sleep(1)
        return False

    # --- common parts ---------------------------------------------------------------------------

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
        self._work = partial(work, self.async_update_progress)
        self._asked_in = asked_in
        return await self.async_step_pair()

    async def _async_alone(
        self, work: Callable[[], Coroutine[Any, Any, dict[str, Any]]]
    ) -> dict[str, Any]:
        """Do the work while the lock's entry keeps away from it.

        An adapter has one connection to a lock: a second one would wait for the end of the first.
        """
        entry: IgrsLockConfigEntry
        async with AsyncExitStack() as stack:
            for entry in self.hass.config_entries.async_loaded_entries(DOMAIN):
                if entry.data[CONF_ADDRESS] == self._address:
                    await stack.enter_async_context(entry.runtime_data.client.suspended())
            return await work()

    async def _async_progress(self, step: str, done_step: str) -> ConfigFlowResult:
        """Show the work's progress; then go on to `done_step`, or back where it was asked for."""
        task = self._task
        if task is None or not task.done():
            if task is None and self._work is not None:
                self._error = None
                work = self._async_alone(self._work)
                task = self._task = self.hass.async_create_task(work, self._name)
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
