"""The fields of a person's forms, what they show, and what is read from them.

Dates and times are local here and Unix seconds or minutes of the day in a `Person`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import voluptuous as vol
from homeassistant.const import CONF_NAME
from homeassistant.helpers.selector import (
    DateTimeSelector,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
    TimeSelector,
)
from homeassistant.util import dt as dt_util

from .home import lock_names
from .person import (
    LAST_MINUTE,
    RIGHTS,
    USES_LIMIT,
    WEEKDAYS,
    Kind,
    right_names,
    weekday_names,
    weekday_of,
)

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant

    from .home import Home
    from .person import Person

CONF_KIND: Final = "kind"
CONF_USER: Final = "user_id"
CONF_LOCKS: Final = "locks"
CONF_RIGHTS: Final = "rights"
CONF_NOT_BEFORE: Final = "not_before"
CONF_NOT_AFTER: Final = "not_after"
CONF_WEEKDAYS: Final = "weekdays"
CONF_FIRST: Final = "first_time"
CONF_LAST: Final = "last_time"
CONF_USES: Final = "uses"

_TIME_MAX: Final = 0xFFFFFFFF
_ALL_DAYS: Final = weekday_of(list(WEEKDAYS))


async def identity_fields(
    hass: HomeAssistant, home: Home, person: Person | None
) -> dict[vol.Marker, Any]:
    """Return name, kind and the Home Assistant users that are nobody else's.

    The person's own user is among them also while it is deactivated.
    """
    own = None if person is None else person.user_id
    taken = {
        one.user_id for one in home.persons().values() if person is None or one.id != person.id
    }
    users = [
        SelectOptionDict(value=user.id, label=user.name or user.id)
        for user in await hass.auth.async_get_users()
        if (user.is_active or user.id == own) and not user.system_generated and user.id not in taken
    ]
    return {
        vol.Required(CONF_NAME): TextSelector(),
        vol.Required(CONF_KIND): SelectSelector(
            SelectSelectorConfig(
                options=[kind.value for kind in Kind],
                mode=SelectSelectorMode.LIST,
                translation_key="kind",
            )
        ),
        vol.Optional(CONF_USER): SelectSelector(
            SelectSelectorConfig(options=users, mode=SelectSelectorMode.DROPDOWN, sort=True)
        ),
    }


async def identity_values(hass: HomeAssistant, person: Person) -> dict[str, Any]:
    """Return what the fields of `identity_fields` show; no user that was deleted."""
    values = {CONF_NAME: person.name, CONF_KIND: person.kind.value}
    if person.user_id is not None and await hass.auth.async_get_user(person.user_id) is not None:
        values[CONF_USER] = person.user_id
    return values


def lock_fields(hass: HomeAssistant) -> dict[vol.Marker, Any]:
    """Return the choice of locks, where there are any."""
    if not (names := lock_names(hass)):
        return {}
    options = [SelectOptionDict(value=key, label=name) for key, name in names.items()]
    # Without a default the frontend ticks all of them.
    return {
        vol.Required(CONF_LOCKS, default=[]): SelectSelector(
            SelectSelectorConfig(
                options=options, mode=SelectSelectorMode.LIST, multiple=True, sort=True
            )
        )
    }


def right_fields() -> dict[vol.Marker, Any]:
    """Return the choice of rights."""
    return {vol.Required(CONF_RIGHTS, default=[]): _several(RIGHTS, "rights")}


def access_values(hass: HomeAssistant, person: Person) -> dict[str, Any]:
    """Return what the fields for locks and rights show."""
    return {
        CONF_LOCKS: sorted(person.locks & lock_names(hass).keys()),
        CONF_RIGHTS: right_names(person.rights),
    }


def time_fields() -> dict[vol.Marker, Any]:
    """Return validity, weekly hours and number of uses."""
    return {
        vol.Optional(CONF_NOT_BEFORE): DateTimeSelector(),
        vol.Optional(CONF_NOT_AFTER): DateTimeSelector(),
        vol.Required(CONF_WEEKDAYS, default=[]): _several(WEEKDAYS, "weekdays"),
        vol.Required(CONF_FIRST, default="00:00:00"): TimeSelector(),
        vol.Required(CONF_LAST, default="23:59:00"): TimeSelector(),
        vol.Optional(CONF_USES): vol.All(
            NumberSelector(
                NumberSelectorConfig(min=1, max=USES_LIMIT, step=1, mode=NumberSelectorMode.BOX)
            ),
            vol.Coerce(int),
        ),
    }


def time_values(person: Person) -> dict[str, Any]:
    """Return what the fields of `time_fields` show."""
    return {
        CONF_NOT_BEFORE: _shown_date(person.not_before),
        CONF_NOT_AFTER: _shown_date(person.not_after),
        CONF_WEEKDAYS: weekday_names(person.weekdays),
        CONF_FIRST: _shown_time(person.first_minute),
        CONF_LAST: _shown_time(person.last_minute),
        CONF_USES: person.uses,
    }


def read_times(user_input: dict[str, Any], person: Person) -> tuple[dict[str, Any], dict[str, str]]:
    """Return changes of a person from the fields of `time_fields`, and errors by field.

    An end that is over is refused unless it was so before.
    """
    errors: dict[str, str] = {}
    bounds = {}
    for field in (CONF_NOT_BEFORE, CONF_NOT_AFTER):
        bounds[field] = _read_date(user_input.get(field))
        if not 0 <= bounds[field] <= _TIME_MAX:
            errors[field] = "date_out_of_range"
    end = bounds[CONF_NOT_AFTER]
    if end and CONF_NOT_AFTER not in errors:
        if end <= bounds[CONF_NOT_BEFORE]:
            errors[CONF_NOT_AFTER] = "end_before_begin"
        elif end <= dt_util.utcnow().timestamp() and end != person.not_after:
            errors[CONF_NOT_AFTER] = "end_is_over"
    days = weekday_of(user_input[CONF_WEEKDAYS])
    first, last = _read_time(user_input[CONF_FIRST]), _read_time(user_input[CONF_LAST])
    if first == last:
        errors[CONF_LAST] = "same_time"
    if not days and (first, last) != (0, LAST_MINUTE):
        days = _ALL_DAYS  # a lock would take no day as always
    changes = {
        **bounds,
        CONF_WEEKDAYS: days,
        "first_minute": first,
        "last_minute": last,
        CONF_USES: user_input.get(CONF_USES),
    }
    return changes, errors


def _several(options: dict[str, Any], translation_key: str) -> SelectSelector:
    return SelectSelector(
        SelectSelectorConfig(
            options=list(options),
            mode=SelectSelectorMode.LIST,
            multiple=True,
            translation_key=translation_key,
        )
    )


def _shown_date(unix: int) -> str | None:
    if not unix:
        return None
    return dt_util.as_local(dt_util.utc_from_timestamp(unix)).strftime("%Y-%m-%d %H:%M:%S")


def _read_date(text: str | None) -> int:
    moment = dt_util.parse_datetime(text) if text else None
    # Without a zone it is local.
    return 0 if moment is None else int(dt_util.as_utc(moment).timestamp())


def _shown_time(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}:00"


def _read_time(text: str) -> int:
    hours, minutes = text.split(":")[:2]
    return int(hours) * 60 + int(minutes)
