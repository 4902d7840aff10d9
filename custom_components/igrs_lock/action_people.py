"""People as the actions take and return them.

Fields are called as in the dialogs; moments are ISO texts or what Home Assistant reads as one,
times of the day HH:MM. What is not given stays, or is the default of the kind for somebody new.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import voluptuous as vol
from homeassistant.config_entries import ConfigSubentry
from homeassistant.const import CONF_NAME
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers import config_validation as cv
from homeassistant.util import dt as dt_util

from .access import AccessState, PinState
from .const import DOMAIN, SUBENTRY_PERSON
from .people_forms import (
    CONF_FIRST,
    CONF_KIND,
    CONF_LAST,
    CONF_NOT_AFTER,
    CONF_NOT_BEFORE,
    CONF_RIGHTS,
    CONF_USER,
    CONF_USES,
    CONF_WEEKDAYS,
    read_times,
    time_values,
)
from .person import (
    DEFAULT_RIGHTS,
    RIGHTS,
    USES_LIMIT,
    WEEKDAYS,
    Kind,
    Person,
    right_names,
    right_of,
)

if TYPE_CHECKING:
    from homeassistant.helpers.typing import VolDictType

    from .access import Access
    from .home import Home

CONF_SUSPENDED: Final = "suspended"

_ID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.IGNORECASE)
"""How Home Assistant's identifiers look: nobody is made with such a name by mistake."""


def _several(options: dict[str, Any]) -> Any:
    return vol.All(cv.ensure_list, [vol.In(list(options))])


PERSON_FIELDS: Final[VolDictType] = {
    vol.Optional(CONF_NAME): vol.All(cv.string, vol.Length(1, 100)),
    vol.Optional(CONF_KIND): vol.In([kind.value for kind in Kind]),
    vol.Optional(CONF_USER): vol.Any(None, cv.string),
    vol.Optional(CONF_RIGHTS): _several(RIGHTS),
    vol.Optional(CONF_NOT_BEFORE): vol.Any(None, cv.datetime),
    vol.Optional(CONF_NOT_AFTER): vol.Any(None, cv.datetime),
    vol.Optional(CONF_WEEKDAYS): _several(WEEKDAYS),
    vol.Optional(CONF_FIRST): cv.time,
    vol.Optional(CONF_LAST): cv.time,
    vol.Optional(CONF_USES): vol.Any(None, vol.All(vol.Coerce(int), vol.Range(1, USES_LIMIT))),
    vol.Optional(CONF_SUSPENDED): cv.boolean,
}


def find_person(home: Home, user: str) -> Person:
    """Return the person with an ID or a name; ServiceValidationError."""
    if home.people_entry is None:
        raise refusal("people_gone")
    if (person := _find(home, user)) is None:
        raise refusal("user_not_found", user=user)
    return person


def _find(home: Home, user: str) -> Person | None:
    persons = home.persons()
    if user in persons:
        return persons[user]
    named = [one for one in persons.values() if one.name.casefold() == user.strip().casefold()]
    if len(named) > 1:
        raise refusal("user_ambiguous", user=user)
    return named[0] if named else None


async def async_change_person(
    home: Home, user: str, locks: set[str], fields: dict[str, Any]
) -> Person:
    """Change a person, or add one of this name, and give them these locks too."""
    if (entry := home.people_entry) is None:
        raise refusal("people_gone")
    person = _find(home, user)
    if person is None:
        if _ID.fullmatch(user):
            raise refusal("user_not_found", user=user)
        kind = Kind(fields.get(CONF_KIND, Kind.GUEST))
        before = Person(id="", name=user.strip(), kind=kind, rights=DEFAULT_RIGHTS[kind])
    else:
        before = person
    after = await _changed(home, before, fields)
    after = after.changed(locks=before.locks | locks)
    entries = home.hass.config_entries
    if person is None:
        subentry = ConfigSubentry(
            data=MappingProxyType(after.as_data()),
            subentry_type=SUBENTRY_PERSON,
            title=after.name,
            unique_id=None,
        )
        entries.async_add_subentry(entry, subentry)
        after = after.changed(id=subentry.subentry_id)
    else:
        entries.async_update_subentry(
            entry, entry.subentries[person.id], title=after.name, data=after.as_data()
        )
        for device_id in locks:
            home.async_confirm(device_id, [person.id])
        if fields.get(CONF_USES) is not None:
            await home.async_count_anew(after)
    home.async_people_changed()
    return after


def async_forget_person(home: Home, person: Person, locks: set[str]) -> None:
    """Take locks away from a person; one who then has none is removed."""
    if (entry := home.people_entry) is None:
        return
    left = person.locks - locks
    if left:
        home.hass.config_entries.async_update_subentry(
            entry, entry.subentries[person.id], data=person.changed(locks=left).as_data()
        )
    else:
        home.hass.config_entries.async_remove_subentry(entry, person.id)
    home.async_people_changed()


async def _changed(home: Home, person: Person, fields: dict[str, Any]) -> Person:
    """Return the person with the fields of an action; ServiceValidationError."""
    others = [one for one in home.persons().values() if one.id != person.id]
    changes: dict[str, Any] = {}
    if CONF_NAME in fields:
        changes[CONF_NAME] = name = fields[CONF_NAME].strip()
        if not name:
            raise refusal("name_missing")
        if any(one.name.casefold() == name.casefold() for one in others):
            raise refusal("name_taken")
    if CONF_KIND in fields:
        changes[CONF_KIND] = Kind(fields[CONF_KIND])
    if CONF_USER in fields:
        changes[CONF_USER] = user_id = fields[CONF_USER]
        if user_id is not None:
            if await home.hass.auth.async_get_user(user_id) is None:
                raise refusal("home_assistant_user_not_found")
            if any(one.user_id == user_id for one in others):
                raise refusal("user_taken")
    if CONF_RIGHTS in fields:
        if not fields[CONF_RIGHTS]:
            raise refusal("rights_missing")
        changes[CONF_RIGHTS] = right_of(fields[CONF_RIGHTS])
    if CONF_SUSPENDED in fields:
        changes[CONF_SUSPENDED] = fields[CONF_SUSPENDED]
    times = time_values(person) | {
        key: _as_in_form(fields[key]) for key in time_values(person) if key in fields
    }
    of_times, errors = read_times(times, person)
    for key in errors.values():
        raise refusal(key)
    return person.changed(**changes, **of_times)


def _as_in_form(value: Any) -> Any:
    """Return a moment or a time as the dialogs have it."""
    return value.isoformat() if hasattr(value, "isoformat") else value


def user_rows(home: Home, device_id: str) -> list[dict[str, Any]]:
    """Return everybody who has, or is to have, access to a lock. No account ID is in it."""
    persons = home.persons()
    coordinator = home.coordinators.get(device_id)
    rows = []
    found = set()
    for access in [] if coordinator is None else coordinator.accounts.access():
        person = persons.get(access.person_id or "")
        if access.state is AccessState.REMOVAL_PENDING:
            person = None  # what is still on the lock is an earlier access
        found.add(access.person_id)
        rows.append(
            {
                "user": access.person_id,
                "name": access.name or None,
                "state": access.state.value,
                **_of_person(person),
                "uses_left": access.uses_left,
                "credentials": _credentials(access),
            }
        )
    rows += [
        {
            "user": person.id,
            "name": person.name,
            "state": AccessState.PENDING.value,
            **_of_person(person),
            "uses_left": None,
            "credentials": [],
        }
        for person in persons.values()
        if device_id in person.locks and person.id not in found
    ]
    return rows


def _of_person(person: Person | None) -> dict[str, Any]:
    if person is None:
        return {}
    return {
        CONF_KIND: person.kind.value,
        CONF_USER: person.user_id,
        CONF_RIGHTS: right_names(person.rights),
        CONF_NOT_BEFORE: _moment(person.not_before),
        CONF_NOT_AFTER: _moment(person.not_after),
        CONF_WEEKDAYS: time_values(person)[CONF_WEEKDAYS],
        CONF_FIRST: time_values(person)[CONF_FIRST],
        CONF_LAST: time_values(person)[CONF_LAST],
        CONF_USES: person.uses,
        CONF_SUSPENDED: person.suspended,
    }


def _credentials(access: Access) -> list[dict[str, str]]:
    if access.pin is PinState.NONE:
        return []
    return [{"type": "pin", "state": access.pin.value}]


def _moment(unix: int) -> str | None:
    return None if not unix else dt_util.as_local(dt_util.utc_from_timestamp(unix)).isoformat()


def refusal(key: str, **placeholders: str) -> ServiceValidationError:
    """Return the error with this translation key. Never with a PIN in it."""
    return ServiceValidationError(
        translation_domain=DOMAIN, translation_key=key, translation_placeholders=placeholders
    )
