"""The steps of a person's menu about phones: invite one, take an invitation back, end a lost one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import voluptuous as vol
from homeassistant.config_entries import ConfigSubentryFlow, SubentryFlowResult, UnknownSubEntry
from homeassistant.core import callback
from homeassistant.helpers.selector import (
    QrCodeSelector,
    QrCodeSelectorConfig,
    QrErrorCorrectionLevel,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)
from homeassistant.util import dt as dt_util

from .errors import OperationError
from .home import async_get_home, lock_names
from .ilp import Right
from .person import Person
from .remote.errors import RemoteError
from .remote.invitations import GUEST_LIFE_DEFAULT, GUEST_LIVES

if TYPE_CHECKING:
    from .home import Home
    from .remote.gateway import Gateway
    from .remote.records import Phone

CONF_SERVER: Final = "server"
CONF_LIFE: Final = "life"
CONF_INVITATIONS: Final = "invitations"
CONF_PHONE: Final = "phone"
CONF_QR_CODE: Final = "qr_code"

INVITED_RIGHTS: Final = Right.REMOTE_USE | Right.FOLLOW_STATE
"""What a phone is of no use without."""


class PhoneSteps(ConfigSubentryFlow):
    """Steps for phones. What a flow shows once, a link, is kept in the flow only."""

    _person: Person
    _link: str = ""
    _phone_id: str = ""

    @callback
    def _phone_options(self, home: Home) -> list[str]:
        """Return what the person's menu offers about phones: nothing without a server."""
        if not home.gateways:
            return []
        options = ["invite"]
        if any(one.people.invitations.of_person(self._person.id) for one in _gateways(home)):
            options.append("invitations")
        if any(one.people.phones.of_person(self._person.id) for one in _gateways(home)):
            options.append("phones")
        return options

    # --- inviting -------------------------------------------------------------------------------

    async def async_step_invite(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Ask for how long a link is to be good; then make it."""
        home = await async_get_home(self.hass)
        gateways = {
            one.entry.entry_id: one
            for one in _gateways(home)
            if self._person.locks & one.site.wanted().keys()
        }
        if not gateways:
            reason = "no_remote_locks" if home.gateways else "no_server"
            return self._abort(reason)
        errors: dict[str, str] = {}
        if user_input is not None:
            gateway = gateways.get(user_input.get(CONF_SERVER) or next(iter(gateways)))
            if gateway is None:
                return self._abort("no_server")
            try:
                return await self._async_invite(gateway, GUEST_LIVES[user_input[CONF_LIFE]])
            except RemoteError as err:
                errors = {"base": err.key}
        fields: dict[Any, Any] = {}
        if len(gateways) > 1:
            fields[vol.Required(CONF_SERVER)] = _select(
                {key: one.entry.title for key, one in gateways.items()}
            )
        fields[vol.Required(CONF_LIFE, default=GUEST_LIFE_DEFAULT)] = SelectSelector(
            SelectSelectorConfig(
                options=[*GUEST_LIVES],
                mode=SelectSelectorMode.LIST,
                translation_key="invitation_life",
            )
        )
        names = lock_names(self.hass)
        reachable = {
            names[device]
            for one in gateways.values()
            for device in self._person.locks & one.site.wanted().keys()
        }
        return self._phone_form(
            "invite", fields, user_input or {}, errors, locks=", ".join(sorted(reachable))
        )

    async def _async_invite(self, gateway: Gateway, days: int) -> SubentryFlowResult:
        try:
            person = Person.of(self._get_reconfigure_subentry())
        except UnknownSubEntry:
            return self._abort("person_gone")
        self._link = await gateway.people.async_invite(person, days)
        try:
            # As the person is now: another dialog may have changed something meanwhile.
            subentry = self._get_reconfigure_subentry()
        except UnknownSubEntry:
            return self._abort("person_gone")  # and the invitation with it
        person = Person.of(subentry)
        self.hass.config_entries.async_update_subentry(
            self._get_entry(),
            subentry,
            data=person.changed(rights=person.rights | INVITED_RIGHTS).as_data(),
        )
        return await self.async_step_invite_link()

    async def async_step_invite_link(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Show the link; it is shown nowhere else."""
        if user_input is not None or not self._link:
            return self._abort("invited")
        selector = QrCodeSelector(
            QrCodeSelectorConfig(
                data=self._link, scale=5, error_correction_level=QrErrorCorrectionLevel.MEDIUM
            )
        )
        return self._phone_form(
            "invite_link", {vol.Optional(CONF_QR_CODE): selector}, {}, {}, link=self._link
        )

    # --- open invitations -----------------------------------------------------------------------

    async def async_step_invitations(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Show what is open, and take back what is chosen."""
        home = await async_get_home(self.hass)
        found = {
            item.id: (gateway, item)
            for gateway in _gateways(home)
            for item in gateway.people.invitations.of_person(self._person.id)
        }
        errors: dict[str, str] = {}
        if user_input is not None:
            replaced = False
            try:
                for id_ in user_input.get(CONF_INVITATIONS, ()):
                    if id_ in found:
                        replaced |= await found[id_][0].people.async_withdraw(id_)
            except (OperationError, RemoteError) as err:
                errors = {"base": err.key}
            else:
                if not user_input.get(CONF_INVITATIONS):
                    return self._abort("nothing_changed")
                return self._abort("withdrawn_replaced" if replaced else "withdrawn")
        if not found:
            return self._abort("nothing_changed")
        several = len({gateway.entry.entry_id for gateway, _ in found.values()}) > 1
        options = {
            id_: _label(
                _moment(item.expires), item.phone_name, gateway.entry.title if several else ""
            )
            for id_, (gateway, item) in found.items()
        }
        fields: dict[Any, Any] = {
            vol.Required(CONF_INVITATIONS, default=list): _select(options, multiple=True)
        }
        return self._phone_form("invitations", fields, {}, errors)

    # --- phones ---------------------------------------------------------------------------------

    async def async_step_phones(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Show the phones; one may be chosen that is lost."""
        found = await self._async_phones()
        if user_input is not None and user_input.get(CONF_PHONE) in found:
            self._phone_id = user_input[CONF_PHONE]
            return await self.async_step_phone_lost()
        if not found:
            return self._abort("nothing_changed")
        several = len({gateway.entry.entry_id for gateway, _ in found.values()}) > 1
        options = {
            id_: _label(phone.name, _moment(phone.joined), gateway.entry.title if several else "")
            for id_, (gateway, phone) in found.items()
        }
        return self._phone_form("phones", {vol.Required(CONF_PHONE): _select(options)}, {}, {})

    async def async_step_phone_lost(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Say what becomes of it, and do it."""
        found = await self._async_phones()
        if self._phone_id not in found:
            return self._abort("phone_gone")
        gateway, phone = found[self._phone_id]
        errors: dict[str, str] = {}
        if user_input is not None:
            try:
                await gateway.people.async_lose_phone(phone.id)
            except (OperationError, RemoteError) as err:
                errors = {"base": err.key}
            else:
                return self._abort("phone_ended", phone=phone.name)
        return self._phone_form("phone_lost", {}, {}, errors, phone=phone.name)

    async def _async_phones(self) -> dict[str, tuple[Gateway, Phone]]:
        home = await async_get_home(self.hass)
        return {
            phone.id: (gateway, phone)
            for gateway in _gateways(home)
            for phone in gateway.people.phones.of_person(self._person.id)
        }

    # --- common ---------------------------------------------------------------------------------

    def _abort(self, reason: str, **placeholders: str) -> SubentryFlowResult:
        return self.async_abort(
            reason=reason,
            description_placeholders={"name": self._person.name, **placeholders},
        )

    def _phone_form(
        self,
        step: str,
        fields: dict[Any, Any],
        values: dict[str, Any],
        errors: dict[str, str],
        **placeholders: str,
    ) -> SubentryFlowResult:
        return self.async_show_form(
            step_id=step,
            data_schema=self.add_suggested_values_to_schema(vol.Schema(fields), values),
            errors=errors,
            description_placeholders={
                "name": self._person.name,
                "home": self.hass.config.location_name,
                **placeholders,
            },
        )


def _gateways(home: Home) -> list[Gateway]:
    return sorted(home.gateways.values(), key=lambda one: one.entry.title)


def _select(options: dict[str, str], *, multiple: bool = False) -> SelectSelector:
    return SelectSelector(
        SelectSelectorConfig(
            options=[SelectOptionDict(value=key, label=label) for key, label in options.items()],
            mode=SelectSelectorMode.LIST,
            multiple=multiple,
        )
    )


def _label(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def _moment(unix_ms: int) -> str:
    return dt_util.as_local(dt_util.utc_from_timestamp(unix_ms / 1000)).strftime("%Y-%m-%d %H:%M")
