"""Steps of the config flow that change a remote access server: a menu in its entry."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import voluptuous as vol
from homeassistant.config_entries import ConfigEntryState

from .const import CONF_APP, CONF_CA, CONF_CODE, CONF_LOCKS, CONF_SERVER_KEY, CONF_URL
from .flow_server import (
    CA_FIELD,
    CODE_FIELD,
    FAULTS,
    URL_FIELD,
    ServerSteps,
    errors_of,
    placeholders_of,
)
from .home import lock_names
from .remote.enrolment import async_look
from .remote.errors import LinkDown
from .remote.wire import unb64

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigFlowResult

    from .remote.gateway import Gateway


class ServerChangeSteps(ServerSteps):
    """Which locks are reachable, an owner's code, another address, another key."""

    async def async_step_server_menu(
        self, _user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Offer what can be done with a server."""
        entry = self._get_reconfigure_entry()
        # Where an app is, the Supervisor says.
        address = [] if entry.data[CONF_APP] else ["server_address"]
        return self.async_show_menu(
            step_id="server_menu",
            menu_options=["server_locks", "owner_code", *address, "new_key"],
            description_placeholders={"name": entry.title, "url": entry.data[CONF_URL]},
        )

    async def async_step_server_locks(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Choose the locks that are reachable from afar."""
        entry = self._get_reconfigure_entry()
        names = lock_names(self.hass)
        if not names:
            return self.async_abort(reason="no_locks")
        if user_input is not None:
            # The update listener takes it up: what is not wanted any more is out at once.
            return self.async_update_and_abort(
                entry,
                options={**entry.options, CONF_LOCKS: sorted(user_input[CONF_LOCKS])},
                reason="server_locks_saved",
            )
        chosen = [one for one in entry.options.get(CONF_LOCKS, ()) if one in names]
        return self.async_show_form(
            step_id="server_locks",
            data_schema=self._locks_schema(chosen),
            description_placeholders={"name": entry.title},
        )

    async def async_step_owner_code(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Say what an owner's code is; then make one."""
        entry = self._get_reconfigure_entry()
        errors = {}
        schema = vol.Schema({})
        if user_input is not None:
            if (gateway := self._gateway()) is None:
                return self.async_abort(reason="server_not_connected")
            try:
                self._owner_code = await gateway.people.async_make_owner_code()
            except LinkDown:
                return self.async_abort(reason="server_not_connected")
            except FAULTS as err:
                errors = errors_of(err, schema)
            else:
                return await self.async_step_owner_code_made()
        return self.async_show_form(
            step_id="owner_code",
            data_schema=schema,
            errors=errors,
            description_placeholders={"name": entry.title},
        )

    _owner_code = ""

    async def async_step_owner_code_made(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show the code, once."""
        if user_input is not None:
            self._owner_code = ""
            return self.async_abort(reason="owner_code_made")
        return self.async_show_form(
            step_id="owner_code_made",
            data_schema=vol.Schema({}),
            description_placeholders={
                "code": self._owner_code,
                "name": self._get_reconfigure_entry().title,
            },
        )

    async def async_step_server_address(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Change where the server is; the key says whether it is the same."""
        entry = self._get_reconfigure_entry()
        schema = vol.Schema({vol.Required(CONF_URL): URL_FIELD, vol.Optional(CONF_CA): CA_FIELD})
        errors = {}
        if user_input is not None:
            ca = user_input.get(CONF_CA, "").strip() or None
            try:
                offer = await async_look(self.hass, user_input[CONF_URL], ca)
            except FAULTS as err:
                errors = errors_of(err, schema)
            else:
                if offer.server_key == unb64(entry.data[CONF_SERVER_KEY], 32):
                    return self.async_update_and_abort(
                        entry,
                        data_updates={CONF_URL: offer.url, CONF_CA: ca},
                        reason="server_moved",
                    )
                other = self.hass.config_entries.async_entry_for_domain_unique_id(
                    self.handler, offer.unique_id
                )
                if other is not None:
                    return self.async_abort(reason="server_already_configured")
                self._offer = offer
                return await self.async_step_server_changed()
        known = {CONF_URL: entry.data[CONF_URL], CONF_CA: entry.data[CONF_CA] or ""}
        return self.async_show_form(
            step_id="server_address",
            data_schema=self.add_suggested_values_to_schema(schema, user_input or known),
            errors=errors,
            description_placeholders={"name": entry.title},
        )

    async def async_step_server_changed(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show both keys of a server that began anew, and ask for a code: it is another one."""
        entry, offer = self._get_reconfigure_entry(), self._offer
        schema = vol.Schema({vol.Required(CONF_CODE): CODE_FIELD})
        errors = {}
        if user_input is not None:
            offer = replace(offer, code=user_input[CONF_CODE])
            if not (errors := await self._async_anew(entry, offer, schema)):
                return self.async_abort(reason="server_enrolled_again")
        return self.async_show_form(
            step_id="server_changed",
            data_schema=schema,
            errors=errors,
            description_placeholders=placeholders_of(offer, entry),
        )

    async def async_step_new_key(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Change this home's own key."""
        entry = self._get_reconfigure_entry()
        errors = {}
        schema = vol.Schema({})
        if user_input is not None:
            if (gateway := self._gateway()) is None:
                return self.async_abort(reason="server_not_connected")
            try:
                await gateway.link.async_change_key()
            except LinkDown:
                return self.async_abort(reason="server_not_connected")
            except FAULTS as err:
                errors = errors_of(err, schema)
            else:
                return self.async_abort(reason="key_renewed")
        return self.async_show_form(
            step_id="new_key",
            data_schema=schema,
            errors=errors,
            description_placeholders={"name": entry.title},
        )

    def _gateway(self) -> Gateway | None:
        """Return the entry's gateway if it is connected."""
        entry = self._get_reconfigure_entry()
        if entry.state is not ConfigEntryState.LOADED:
            return None
        gateway: Gateway = entry.runtime_data
        return gateway if gateway.connected else None
