"""Steps of the config flow that are about people: their entry, and who may use a lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, override

import voluptuous as vol
from homeassistant.config_entries import (
    SOURCE_RECONFIGURE,
    ConfigEntry,
    ConfigEntryState,
    ConfigSubentryDataWithId,
    ConfigSubentryFlow,
    FlowType,
)
from homeassistant.const import CONF_NAME
from homeassistant.core import callback
from homeassistant.helpers.selector import (
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
)

from .const import CONF_TYPE, DOMAIN, SUBENTRY_PERSON, TYPE_PEOPLE
from .flow_base import BaseFlow
from .home import async_get_home, find_people_entry, is_lock, is_people
from .ilp import local_name, parse_device_id
from .naming import async_name_lock
from .people_flow import PersonFlow
from .store import async_get_memory

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigFlowResult

CONF_PEOPLE: Final = "people"
PEOPLE_TITLE: Final = "People"


class PeopleSteps(BaseFlow):
    """The People entry, and the last step of a pairing.

    That step is a flow of its own, begun when the pairing is stored: whoever closes the dialog
    loses nothing. Home Assistant then leaves out its own question for the name of a new device.
    """

    _just_paired = False

    @classmethod
    @callback
    @override
    def async_get_supported_subentry_types(
        cls, config_entry: ConfigEntry[Any]
    ) -> dict[str, type[ConfigSubentryFlow]]:
        """Return what the People entry is made of."""
        return {SUBENTRY_PERSON: PersonFlow} if is_people(config_entry) else {}

    _had: set[str] | None = None
    """Who could use the lock when that was shown last."""

    # --- the entry ------------------------------------------------------------------------------

    async def async_step_system(
        self, _user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Make the People entry: the first lock begins this."""
        return await self.async_step_people()

    async def async_step_people(
        self, _user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Make the People entry, with everybody who was in the one that was removed."""
        await self.async_set_unique_id(TYPE_PEOPLE, raise_on_progress=False)
        if find_people_entry(self.hass) is not None:
            return self.async_abort(reason="people_already_there")
        home = await async_get_home(self.hass)
        return self.async_create_entry(
            title=PEOPLE_TITLE,
            data={CONF_TYPE: TYPE_PEOPLE},
            subentries=[
                ConfigSubentryDataWithId(
                    data=person["data"],
                    subentry_id=person_id,
                    subentry_type=SUBENTRY_PERSON,
                    title=person["title"],
                    unique_id=None,
                )
                for person_id, person in home.ledger.people.items()
            ],
        )

    async def async_step_add(self, _user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Offer what can be added; the People entry if it was removed."""
        people = ["people"] if await self._async_people_gone() else []
        return self.async_show_menu(step_id="add", menu_options=["add_lock", *people, "server"])

    async def _async_people_gone(self) -> bool:
        """Whether somebody removed the People entry, which is not made again by itself."""
        return (
            find_people_entry(self.hass) is None and (await async_get_memory(self.hass)).people_made
        )

    # --- who may use a lock ---------------------------------------------------------------------

    @override
    async def async_on_create_entry(self, result: ConfigFlowResult) -> ConfigFlowResult:
        """Ask who may use a new lock."""
        entry = result["result"]
        return await self._async_then_ask(result, entry) if is_lock(entry) else result

    async def _async_then_ask(
        self, result: ConfigFlowResult, entry: ConfigEntry[Any]
    ) -> ConfigFlowResult:
        """Let the question come after a flow's end, where there is anybody to ask about."""
        home = await async_get_home(self.hass)
        people = home.people_entry
        if home.persons() and people is not None and people.state is ConfigEntryState.LOADED:
            asking = await self.hass.config_entries.flow.async_init(
                DOMAIN,
                # With data, though empty, it asks at once.
                context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id},
                data={},
            )
            result["next_flow"] = (FlowType.CONFIG_FLOW, asking["flow_id"])
        return result

    async def async_step_who(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Choose who may use the lock that the flow is about; name it if it has no name yet."""
        lock = self._get_reconfigure_entry()
        home = await async_get_home(self.hass)
        persons = home.persons()
        if not persons:
            return self.async_abort(reason="no_people")
        errors = {}
        had = [one.id for one in persons.values() if lock.unique_id in one.locks]
        if user_input is not None and self._had is not None and {*had} != self._had:
            # Another dialog changed it meanwhile: what this one showed must not come back.
            errors["base"] = "people_changed"
        elif user_input is not None:
            if name := user_input.get(CONF_NAME, "").strip():
                async_name_lock(self.hass, lock, name)
            home.async_confirm(str(lock.unique_id), user_input[CONF_PEOPLE])
            home.async_set_users(str(lock.unique_id), user_input[CONF_PEOPLE])
            home.async_people_changed()
            return self.async_abort(reason="people_saved")
        self._name, self._had = lock.title, {*had}
        options = [SelectOptionDict(value=one.id, label=one.name) for one in persons.values()]
        # Without a default the frontend ticks everybody.
        field = vol.Required(CONF_PEOPLE, default=had)
        selector = SelectSelector(
            SelectSelectorConfig(
                options=options, mode=SelectSelectorMode.LIST, multiple=True, sort=True
            )
        )
        fields: dict[vol.Marker, Any] = {}
        if self._just_paired and lock.title == local_name(parse_device_id(str(lock.unique_id))):
            fields[vol.Required(CONF_NAME, default=lock.title)] = TextSelector()
        return self._form("who", vol.Schema({**fields, field: selector}), errors)
