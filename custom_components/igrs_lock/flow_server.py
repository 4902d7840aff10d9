"""Steps of the config flow that are about a remote access server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import voluptuous as vol
from homeassistant.config_entries import SOURCE_HASSIO
from homeassistant.core import callback
from homeassistant.helpers.selector import (
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)

from .const import (
    CONF_APP,
    CONF_CA,
    CONF_CODE,
    CONF_LOCKS,
    CONF_SERVER_KEY,
    CONF_SITE,
    CONF_URL,
    DOMAIN,
)
from .flow_base import BaseFlow
from .home import is_server, lock_names
from .remote.enrolment import (
    Offer,
    async_enrol,
    async_enrol_anew,
    async_look,
    async_read_again,
    offer_of,
    read_message,
)
from .remote.errors import (
    CertificateWrong,
    NotAServer,
    NotReady,
    Refused,
    RemoteError,
    Unreachable,
)
from .remote.http import BadAddress, BadAuthority
from .remote.identity import WrongCode, fingerprint
from .remote.wire import Malformed, Status, unb64

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigFlowResult
    from homeassistant.helpers.service_info.hassio import HassioServiceInfo

    from .remote.gateway import ServerConfigEntry

FAULTS: Final = (BadAddress, BadAuthority, WrongCode, RemoteError)

_REFUSALS: Final = {
    Status.WRONG_CODE: "wrong_code",
    Status.TOO_MANY_ATTEMPTS: "too_many_attempts",
    Status.SLOW_DOWN: "too_many_attempts",
    Status.NOT_READY: "server_not_ready",
}
_PLACES: Final = {
    "invalid_address": CONF_URL,
    "invalid_ca": CONF_CA,
    "invalid_code": CONF_CODE,
    "not_https": CONF_URL,
    "wrong_code": CONF_CODE,
}
"""The field that an error is about."""

CODE_FIELD: Final = TextSelector(TextSelectorConfig(autocomplete="off"))
URL_FIELD: Final = TextSelector(TextSelectorConfig(type=TextSelectorType.URL))
CA_FIELD: Final = TextSelector(TextSelectorConfig(multiline=True))

_SERVER: Final = vol.Schema(
    {
        vol.Required(CONF_URL): URL_FIELD,
        vol.Required(CONF_CODE): CODE_FIELD,
        vol.Optional(CONF_CA): CA_FIELD,
    }
)
_CODE_REASONS: Final = ("too_many_attempts", "wrong_code")


def reason_of(err: Exception) -> str:
    """Return the key of the sentence for what went wrong."""
    match err:
        case BadAddress() as bad:
            return "not_https" if bad.reason == "https" else "invalid_address"
        case BadAuthority():
            return "invalid_ca"
        case WrongCode():
            return "invalid_code"
        case Refused(status=status):
            return _REFUSALS.get(status, "server_refused")
        case Unreachable():
            return "server_unreachable"
        case NotReady():
            return "server_not_ready"
        case CertificateWrong():
            return "server_certificate"
        case NotAServer():
            return "not_a_server"
    return "remote_not_saved"


def errors_of(err: Exception, schema: vol.Schema) -> dict[str, str]:
    """Return the error for a form, at the field that it is about if the form has it."""
    reason = reason_of(err)
    place = _PLACES.get(reason, "base")
    return {place if place in schema.schema else "base": reason}


class ServerSteps(BaseFlow):
    """Taking a place at a server, and changing it."""

    _offer: Offer
    """The server that the flow is about; its code is not shown and not logged."""
    _chosen: list[str] | None = None
    """The locks that were ticked, also while another code is typed; None: all, as at first."""

    # --- a new entry ----------------------------------------------------------------------------

    async def async_step_hassio(self, discovery_info: HassioServiceInfo) -> ConfigFlowResult:
        """An app on this machine said where it is."""
        try:
            offer = read_message(
                discovery_info.config,
                discovery_info.name,
                discovery_info.slug,
                discovery_info.uuid,
            )
        except Malformed:
            return self.async_abort(reason="app_message_wrong")
        await self.async_set_unique_id(offer.unique_id)
        known = self.hass.config_entries.async_entry_for_domain_unique_id(DOMAIN, offer.unique_id)
        # One whose address was typed stays there, with its certificate. The update listener goes to
        # the new address: nothing is reloaded.
        moved = known is not None and known.data.get(CONF_APP) is not None
        self._abort_if_unique_id_configured(
            {CONF_URL: offer.url, CONF_APP: offer.app} if moved else None,
            reload_on_update=False,
            error="server_already_configured",
        )
        if not offer.code:
            return self.async_abort(
                reason="app_taken", description_placeholders={"name": offer.name}
            )
        self._offer = offer
        self.context["title_placeholders"] = {"name": offer.name}
        return await (
            self.async_step_hassio_confirm()
            if self._entry_of_app() is None
            else self.async_step_app_changed()
        )

    async def async_step_hassio_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show who it is; then take the place."""
        return await self._async_confirm("hassio_confirm", user_input)

    async def async_step_server(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask where the server is, and for a code of its operator."""
        if user_input is None:
            return self._server_form()
        try:
            offer = await async_look(
                self.hass,
                user_input[CONF_URL],
                user_input.get(CONF_CA, "").strip() or None,
                user_input[CONF_CODE],
            )
        except FAULTS as err:
            return self._server_form(user_input, err)
        await self.async_set_unique_id(offer.unique_id, raise_on_progress=False)
        self._abort_if_unique_id_configured(error="server_already_configured")
        self._offer = offer
        return await self.async_step_server_confirm()

    @callback
    def _server_form(
        self, values: dict[str, Any] | None = None, err: Exception | None = None
    ) -> ConfigFlowResult:
        return self.async_show_form(
            step_id="server",
            data_schema=self.add_suggested_values_to_schema(_SERVER, values),
            errors={} if err is None else errors_of(err, _SERVER),
        )

    async def async_step_server_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show the key's fingerprint; then take the place."""
        return await self._async_confirm("server_confirm", user_input)

    async def _async_confirm(
        self, step: str, user_input: dict[str, Any] | None
    ) -> ConfigFlowResult:
        """Let the owner compare the key and choose the locks, then enrol.

        All in one step: behind the enrolment a dialog that is closed would lose the place.
        """
        offer = self._offer
        if user_input is not None:
            self._chosen = user_input.get(CONF_LOCKS, [])
        names = lock_names(self.hass)
        chosen = [one for one in names if self._chosen is None or one in self._chosen]
        schema = self._locks_schema(chosen)
        errors = {}
        if user_input is not None:
            if self.source == SOURCE_HASSIO:
                if (again := await self._async_app_again()) is None:
                    return self.async_abort(
                        reason="app_taken", description_placeholders={"name": offer.name}
                    )
                offer = again
            try:
                data = await async_enrol(self.hass, offer)
            except FAULTS as err:
                if self.source != SOURCE_HASSIO and reason_of(err) in _CODE_REASONS:
                    # Back to where it was typed.
                    return self._server_form({CONF_URL: offer.url, CONF_CA: offer.ca or ""}, err)
                errors = errors_of(err, schema)
            else:
                return self.async_create_entry(
                    title=offer.name,
                    data=data,
                    options={CONF_LOCKS: sorted(user_input.get(CONF_LOCKS, ()))},
                )
        return self.async_show_form(
            step_id=step,
            data_schema=self.add_suggested_values_to_schema(schema, user_input),
            errors=errors,
            description_placeholders=placeholders_of(offer),
        )

    @callback
    def _locks_schema(self, chosen: list[str]) -> vol.Schema:
        """Return the field for locks that are reachable; none where there is no lock."""
        names = lock_names(self.hass)
        if not names:
            return vol.Schema({})
        options = [SelectOptionDict(value=key, label=name) for key, name in names.items()]
        selector = SelectSelector(
            SelectSelectorConfig(
                options=options, mode=SelectSelectorMode.LIST, multiple=True, sort=True
            )
        )
        # With a default: without one the frontend ticks all.
        return vol.Schema({vol.Required(CONF_LOCKS, default=chosen): selector})

    # --- an app ---------------------------------------------------------------------------------

    @callback
    def _entry_of_app(self) -> ServerConfigEntry | None:
        """Return the entry of the app that was discovered, which had another key then."""
        app = self._offer.app
        for entry in self.hass.config_entries.async_entries(DOMAIN, include_ignore=False):
            known = entry.data.get(CONF_APP) if is_server(entry) else None
            if app is not None and known is not None and known["slug"] == app["slug"]:
                return entry
        return None

    async def _async_app_again(self) -> Offer | None:
        """Return what the app offers now; None if it is no more what was shown."""
        again = await async_read_again(self.hass, self._offer)
        if again is None or not again.code or again.server_key != self._offer.server_key:
            return None
        self._offer = again
        return again

    async def async_step_app_changed(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show both keys of an app that began anew; then take a place in its entry."""
        entry, offer = self._entry_of_app(), self._offer
        if entry is None:
            return self.async_abort(reason="server_gone")
        errors = {}
        schema = vol.Schema({})
        if user_input is not None:
            if (again := await self._async_app_again()) is None:
                return self.async_abort(
                    reason="app_taken", description_placeholders={"name": offer.name}
                )
            if not (errors := await self._async_anew(entry, again, schema)):
                return self.async_abort(reason="server_enrolled_again")
        return self.async_show_form(
            step_id="app_changed",
            data_schema=schema,
            errors=errors,
            description_placeholders=placeholders_of(offer, entry),
        )

    # --- a new code -----------------------------------------------------------------------------

    async def _async_anew(
        self, entry: ServerConfigEntry, offer: Offer, schema: vol.Schema
    ) -> dict[str, str]:
        """Take a new place in an entry; return what kept it from that, for a form."""
        try:
            await async_enrol_anew(self.hass, entry, offer)
        except FAULTS as err:
            return errors_of(err, schema)
        return {}

    async def async_step_server_reauth(
        self, _user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """The place is lost: take a new one, without typing where the app offers it."""
        entry = self._get_reauth_entry()
        self._offer = offer_of(entry)
        if self._offer.app is None:
            return await self.async_step_server_code()
        if await self._async_app_again() is None:
            return await self.async_step_app_waits()
        return await self.async_step_app_again()

    async def async_step_app_waits(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Say how an app is made to offer its place again: nobody can read a code in it."""
        errors = {}
        if user_input is not None:
            if await self._async_app_again() is not None:
                return await self.async_step_app_again()
            errors["base"] = "app_offers_nothing"
        return self.async_show_form(
            step_id="app_waits",
            data_schema=vol.Schema({}),
            errors=errors,
            description_placeholders=placeholders_of(self._offer),
        )

    async def async_step_app_again(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Take the place that the app offers."""
        errors = {}
        schema = vol.Schema({})
        if user_input is not None:
            offer = await self._async_app_again()
            if offer is None:
                return await self.async_step_app_waits()
            if not (errors := await self._async_anew(self._get_reauth_entry(), offer, schema)):
                return self.async_abort(reason="server_enrolled_again")
        return self.async_show_form(
            step_id="app_again",
            data_schema=schema,
            errors=errors,
            description_placeholders=placeholders_of(self._offer),
        )

    async def async_step_server_code(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for a code of the operator, for the server that this home knows."""
        entry = self._get_reauth_entry()
        schema = vol.Schema({vol.Required(CONF_CODE): CODE_FIELD})
        errors = {}
        if user_input is not None:
            offer = offer_of(entry, user_input[CONF_CODE])
            if not (errors := await self._async_anew(entry, offer, schema)):
                return self.async_abort(reason="server_enrolled_again")
        return self.async_show_form(
            step_id="server_code",
            data_schema=schema,
            errors=errors,
            description_placeholders={
                **placeholders_of(offer_of(entry)),
                "site": entry.data[CONF_SITE],
            },
        )


def placeholders_of(offer: Offer, entry: ServerConfigEntry | None = None) -> dict[str, str]:
    """Return what the forms say of a server; with an entry also its key of before."""
    before = "" if entry is None else fingerprint(unb64(entry.data[CONF_SERVER_KEY], 32))
    return {
        "name": offer.name,
        "url": offer.url,
        "fingerprint": offer.fingerprint,
        "before": before,
    }
