"""Adding and changing a person: the subentry flow of the People entry.

Adding only collects; closing the dialog leaves nothing behind. What was decided is written to the
locks afterwards, to each as soon as it is in reach. A PIN goes to the ledger and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import voluptuous as vol
from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    ConfigEntryState,
    SubentryFlowResult,
    UnknownSubEntry,
)
from homeassistant.const import CONF_NAME
from homeassistant.helpers.selector import (
    BooleanSelector,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)
from homeassistant.util.ulid import ulid_now

from .errors import OperationError
from .home import async_get_home, keypad_locks
from .ilp import Right
from .people_forms import (
    CONF_KIND,
    CONF_LOCKS,
    CONF_RIGHTS,
    CONF_USER,
    access_values,
    identity_fields,
    identity_values,
    lock_fields,
    read_times,
    right_fields,
    time_fields,
    time_values,
)
from .people_remote import PhoneSteps
from .person import DEFAULT_RIGHTS, Kind, Person, right_of
from .pin import make_pin, weakness

if TYPE_CHECKING:
    from .home import Home

CONF_COUNT_ANEW: Final = "count_anew"
CONF_PIN: Final = "pin"

_PIN_SCHEMA: Final = vol.Schema(
    {
        vol.Required(CONF_PIN): TextSelector(
            TextSelectorConfig(type=TextSelectorType.PASSWORD, autocomplete="off")
        )
    }
)


class PersonFlow(PhoneSteps):
    """Add somebody in three steps, or change one thing about somebody."""

    def __init__(self) -> None:
        self._person = Person(id="", name="")
        self._made_pin = ""

    # --- adding ---------------------------------------------------------------------------------

    async def async_step_user(self, user_input: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Who it is, and for which locks."""
        if not self._loaded:
            return self.async_abort(reason="people_not_loaded")
        home = await async_get_home(self.hass)
        errors: dict[str, str] = {}
        if user_input is not None:
            errors = self._identity_errors(home, user_input)
            if not errors:
                kind = Kind(user_input[CONF_KIND])
                self._person = self._person.changed(
                    name=user_input[CONF_NAME].strip(),
                    kind=kind,
                    user_id=user_input.get(CONF_USER),
                    locks=frozenset(user_input.get(CONF_LOCKS, ())),
                    rights=DEFAULT_RIGHTS[kind],
                )
                return await self.async_step_details()
        fields = {**await identity_fields(self.hass, home, None), **lock_fields(self.hass)}
        values = user_input or {CONF_KIND: Kind.RESIDENT.value}
        return self._show("user", fields, values, errors)

    async def async_step_details(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """What they may do, and when."""
        errors: dict[str, str] = {}
        if user_input is not None:
            changes, errors = read_times(user_input, self._person)
            errors |= _rights_errors(user_input)
            if not errors:
                rights = right_of(user_input[CONF_RIGHTS])
                self._person = self._person.changed(rights=rights, **changes)
                return await self.async_step_pin() if self._takes_pin else self._create(None)
        fields = {**right_fields(), **time_fields()}
        values = access_values(self.hass, self._person) | time_values(self._person)
        return self._show("details", fields, user_input or values, errors)

    async def async_step_no_pin(
        self, _user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Add somebody without a PIN."""
        return self._create(None)

    def _create(self, token: str | None) -> SubentryFlowResult:
        return self.async_create_entry(
            title=self._person.name, data=self._person.as_data(), unique_id=token
        )

    # --- changing -------------------------------------------------------------------------------

    async def async_step_reconfigure(
        self, _user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Offer what can be changed."""
        if not self._loaded:
            return self.async_abort(reason="people_not_loaded")
        self._person = person = Person.of(self._get_reconfigure_subentry())
        options = ["identity", "access", "times"]
        if self._takes_pin:
            options.append("pin")
        options += self._phone_options(await async_get_home(self.hass))
        options.append("resume" if person.suspended else "suspend")
        return self.async_show_menu(
            step_id="reconfigure",
            menu_options=options,
            description_placeholders={"name": person.name},
        )

    async def async_step_identity(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Change name, kind and Home Assistant user."""
        home = await async_get_home(self.hass)
        errors: dict[str, str] = {}
        if user_input is not None:
            errors = self._identity_errors(home, user_input)
            if not errors:
                return self._change(
                    name=user_input[CONF_NAME].strip(),
                    kind=Kind(user_input[CONF_KIND]),
                    user_id=user_input.get(CONF_USER),
                )
        fields = await identity_fields(self.hass, home, self._person)
        values = user_input or await identity_values(self.hass, self._person)
        return self._show("identity", fields, values, errors)

    async def async_step_access(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Change locks and rights."""
        errors: dict[str, str] = {}
        if user_input is not None:
            errors = _rights_errors(user_input)
            if not errors:
                return self._change(
                    locks=frozenset(user_input.get(CONF_LOCKS, ())),
                    rights=right_of(user_input[CONF_RIGHTS]),
                )
        fields = {**lock_fields(self.hass), **right_fields()}
        return self._show(
            "access", fields, user_input or access_values(self.hass, self._person), errors
        )

    async def async_step_times(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Change validity, weekly hours and uses."""
        errors: dict[str, str] = {}
        if user_input is not None:
            changes, errors = read_times(user_input, self._person)
            if not errors and user_input.get(CONF_COUNT_ANEW):
                home = await async_get_home(self.hass)
                try:
                    await home.async_count_anew(self._person)
                except OperationError as err:
                    errors = {"base": err.key}
            if not errors:
                return self._change(**changes)
        fields = time_fields()
        if self._person.uses is not None:
            fields[vol.Required(CONF_COUNT_ANEW, default=False)] = BooleanSelector()
        return self._show("times", fields, user_input or time_values(self._person), errors)

    async def async_step_suspend(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Keep somebody out for a while."""
        if user_input is not None:
            return self._change("suspended", suspended=True)
        return self._show("suspend", {}, {}, {})

    async def async_step_resume(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Let somebody in again."""
        if user_input is not None:
            return self._change("resumed", suspended=False)
        return self._show("resume", {}, {}, {})

    def _change(self, reason: str = "person_saved", **changes: Any) -> SubentryFlowResult:
        try:
            subentry = self._get_reconfigure_subentry()
        except UnknownSubEntry:
            return self.async_abort(reason="person_gone")
        # As they are now: another dialog may have changed something else meanwhile. What this one
        # showed must not come back though: a lock that was taken away, an end that was set.
        person = Person.of(subentry)
        if any(getattr(person, key) != getattr(self._person, key) for key in changes):
            return self.async_abort(reason="person_changed")
        person = person.changed(**changes)
        return self.async_update_and_abort(
            self._get_entry(), subentry, title=person.name, data=person.as_data(), reason=reason
        )

    # --- PIN ------------------------------------------------------------------------------------

    async def async_step_pin(self, _user_input: dict[str, Any] | None = None) -> SubentryFlowResult:
        """Offer to make a PIN, to choose one, or to have none."""
        return self.async_show_menu(
            step_id="pin",
            menu_options=["pin_make", "pin_type", "pin_remove" if self._changes else "no_pin"],
            description_placeholders={"name": self._person.name},
        )

    async def async_step_pin_make(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Show a PIN that was made just now; it is shown nowhere else."""
        if user_input is not None and self._made_pin:
            return await self._async_finish_pin(self._made_pin, "pin_make")
        home = await async_get_home(self.hass)
        self._made_pin = self._made_pin or make_pin(home.pending_pins())
        return self._show_made_pin({})

    async def async_step_pin_type(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Take a PIN that the owner chose."""
        errors: dict[str, str] = {}
        if user_input is not None:
            home = await async_get_home(self.hass)
            digits = user_input[CONF_PIN].strip()
            if (reason := weakness(digits)) is not None:
                errors = {CONF_PIN: reason}
            elif digits in home.pending_pins(self._person.id):
                errors = {CONF_PIN: "pin_taken"}
            else:
                return await self._async_finish_pin(digits, "pin_type")
        return self._show("pin_type", _PIN_SCHEMA.schema, {}, errors)

    async def async_step_pin_remove(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Take the PIN away."""
        if user_input is not None:
            return await self._async_finish_pin("", "pin_remove")
        return self._show("pin_remove", {}, {}, {})

    async def _async_finish_pin(self, digits: str, step: str) -> SubentryFlowResult:
        home = await async_get_home(self.hass)
        if not self._changes:
            # Only Home Assistant knows the subentry's ID, and only after this.
            token = ulid_now()
            home.async_keep_new_pin(token, digits)
            return self._create(token)
        try:
            person = Person.of(self._get_reconfigure_subentry())
        except UnknownSubEntry:
            return self.async_abort(reason="person_gone")
        try:
            await home.async_set_pin(person, digits)
        except OperationError as err:
            errors = {"base": err.key}
            if step == "pin_make":
                return self._show_made_pin(errors)
            return self._show(step, _PIN_SCHEMA.schema if step == "pin_type" else {}, {}, errors)
        return self.async_abort(reason="pin_saved" if digits else "pin_removed")

    def _show_made_pin(self, errors: dict[str, str]) -> SubentryFlowResult:
        # In the text: a field that nobody may write to is shown in pale grey.
        return self._show("pin_make", {}, {}, errors, pin=self._made_pin)

    # --- common ---------------------------------------------------------------------------------

    @property
    def _changes(self) -> bool:
        return self.source == SOURCE_RECONFIGURE

    @property
    def _loaded(self) -> bool:
        """Whether the People entry is: otherwise nothing would be written to any lock."""
        return self._get_entry().state is ConfigEntryState.LOADED

    @property
    def _takes_pin(self) -> bool:
        """Whether a PIN would open something: a keypad unlocks, and nothing else."""
        person = self._person
        return Right.UNLOCK in person.rights and bool(person.locks & keypad_locks(self.hass))

    def _identity_errors(self, home: Home, user_input: dict[str, Any]) -> dict[str, str]:
        errors = {}
        name = user_input[CONF_NAME].strip()
        others = [one for one in home.persons().values() if one.id != self._person.id]
        if not name:
            errors[CONF_NAME] = "name_missing"
        elif any(one.name.casefold() == name.casefold() for one in others):
            errors[CONF_NAME] = "name_taken"
        user_id = user_input.get(CONF_USER)
        if user_id is not None and any(one.user_id == user_id for one in others):
            errors[CONF_USER] = "user_taken"
        return errors

    def _show(
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


def _rights_errors(user_input: dict[str, Any]) -> dict[str, str]:
    return {} if user_input[CONF_RIGHTS] else {CONF_RIGHTS: "rights_missing"}
