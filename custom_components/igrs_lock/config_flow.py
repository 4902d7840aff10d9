"""Finding and setting up a lock, pairing it anew, renaming, replacing and releasing it; servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, override

import voluptuous as vol
from homeassistant.components import bluetooth
from homeassistant.config_entries import (
    SOURCE_REAUTH,
    SOURCE_RECONFIGURE,
    ConfigEntry,
    ConfigFlowResult,
)
from homeassistant.const import CONF_ADDRESS, CONF_NAME
from homeassistant.core import CALLBACK_TYPE, HassJob, HomeAssistant, callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.event import async_call_later
from homeassistant.helpers.selector import TextSelector
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN
from .flow_base import last_header
from .flow_options import IgrsLockOptionsFlow
from .flow_release import ReleaseSteps
from .flow_replace import ReplaceSteps
from .flow_server_change import ServerChangeSteps
from .home import is_lock, is_people, is_server
from .ilp import SERVICE_UUID, Header, MalformedError
from .people_steps import PeopleSteps
from .store import async_get_pairings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from homeassistant.components.bluetooth import BluetoothServiceInfoBleak

_OFFER_PAUSE: Final = 10
"""Seconds until a lock that cannot be paired is looked at again: each look is a flow."""

_OFFERS: Final[HassKey[dict[str, CALLBACK_TYPE]]] = HassKey(f"{DOMAIN}_offers")


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
        if (header := last_header(hass, address)) is not None and header.setup_mode:
            # The same packet heard again would not tell.
            bluetooth.async_rediscover_address(hass, address)
        else:
            bluetooth.async_clear_address_from_match_history(hass, address)

    waiting[address] = async_call_later(hass, _OFFER_PAUSE, HassJob(clear, cancel_on_shutdown=True))


class IgrsLockConfigFlow(ReplaceSteps, ReleaseSteps, PeopleSteps, ServerChangeSteps, domain=DOMAIN):
    """One lock, one flow; discovery, a person, reauthentication and reconfiguration begin it."""

    VERSION = 1

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: ConfigEntry) -> IgrsLockOptionsFlow:
        """Return the flow for a lock's options."""
        return IgrsLockOptionsFlow()

    @classmethod
    @callback
    @override
    def async_supports_options_flow(cls, config_entry: ConfigEntry) -> bool:
        """Whether an entry has options: a lock's has."""
        return is_lock(config_entry)

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
        """Choose what to add; a lock among those in reach that can be paired."""
        if user_input is not None:
            device_id = self._use(user_input[CONF_ADDRESS])
            await self.async_set_unique_id(device_id, raise_on_progress=False)
            self._abort_if_unique_id_configured()
            return await self._async_begin()
        return await self.async_step_add()

    async def async_step_add_lock(
        self, _user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show the locks that can be paired."""
        locks = await self._async_locks()
        if not locks:
            return self.async_abort(reason="no_devices_found")
        return self.async_show_form(
            step_id="user",
            data_schema=vol.Schema({vol.Required(CONF_ADDRESS): vol.In(locks)}),
        )

    async def async_step_reauth(self, entry_data: Mapping[str, Any]) -> ConfigFlowResult:
        """The lock does not accept its key any more, or the server does not know this home."""
        if is_server(self._get_reauth_entry()):
            return await self.async_step_server_reauth()
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
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Offer what can be done with a lock; after a pairing go straight to its people."""
        entry = self._get_reconfigure_entry()
        if is_people(entry):
            return self.async_abort(reason="only_people")
        if is_server(entry):
            return await self.async_step_server_menu()
        self._use(entry.data[CONF_ADDRESS])
        if user_input is not None:
            self._just_paired = True
            return await self.async_step_who()
        return self.async_show_menu(
            step_id="reconfigure",
            menu_options=["who", "rename", "pair_again", "replace", "release"],
            description_placeholders={"name": entry.title, "address": self._address},
        )

    async def async_step_rename(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Name the lock: its entry and its device; entity identifiers stay."""
        entry = self._get_reconfigure_entry()
        errors = {}
        if user_input is not None:
            if name := user_input[CONF_NAME].strip():
                devices = dr.async_get(self.hass)
                for device in dr.async_entries_for_config_entry(devices, entry.entry_id):
                    devices.async_update_device(device.id, name_by_user=None)
                return self.async_update_reload_and_abort(entry, title=name, reason="renamed")
            errors[CONF_NAME] = "name_missing"
        self._name = entry.title
        schema = vol.Schema({vol.Required(CONF_NAME, default=entry.title): TextSelector()})
        return self._form("rename", schema, errors)

    async def async_step_finish(
        self, _user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Keep what was agreed."""
        if self._replaces:
            return await self._async_paired()
        if self.source == SOURCE_REAUTH:
            entry = self._get_reauth_entry()
            result = self.async_update_reload_and_abort(entry, data=self._data)
            return await self._async_then_ask(result, entry)
        if self.source == SOURCE_RECONFIGURE:
            entry = self._get_reconfigure_entry()
            for flow in entry.async_get_active_flows(self.hass, {SOURCE_REAUTH}):
                self.hass.config_entries.flow.async_abort(flow["flow_id"])
            result = self.async_update_reload_and_abort(
                entry, data=self._data, reason="paired_again"
            )
            return await self._async_then_ask(result, entry)
        return self.async_create_entry(title=self._name, data=self._data)
