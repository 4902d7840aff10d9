"""Actions: who may use a lock, PINs, and the log, for scripts and automations.

They target locks, also ones that are out of reach: what is to be written then waits. Writing ones
are for administrators. What an action is given, Home Assistant may record: a PIN is better made
here and returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import voluptuous as vol
from homeassistant.auth.permissions.const import POLICY_READ
from homeassistant.const import CONF_NAME, ENTITY_MATCH_ALL
from homeassistant.core import HomeAssistant, ServiceCall, SupportsResponse, callback
from homeassistant.exceptions import Unauthorized
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.target import TargetSelection, async_extract_referenced_entity_ids
from homeassistant.util import dt as dt_util

from .action_people import (
    PERSON_FIELDS,
    async_change_person,
    async_forget_person,
    find_person,
    refusal,
    user_rows,
)
from .const import DOMAIN
from .home import async_get_home, is_lock, keypad_locks
from .ilp import Right
from .pin import PIN_MAX, PIN_MIN, make_pin, weakness
from .standing import async_is_nobody, async_viewer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from homeassistant.helpers.typing import VolDictType

    from .home import Home
    from .log_store import LogEntry

CONF_USER: Final = "user"
CONF_CREDENTIAL_TYPE: Final = "credential_type"
CONF_CREDENTIAL_DATA: Final = "credential_data"
CONF_COUNT: Final = "count"
CREDENTIAL_PIN: Final = "pin"

LOG_COUNT_MAX: Final = 2000
_LOG_COUNT: Final = 50

type _Rows = dict[str, dict[str, Any]]
"""What an action answers, by entity ID of the lock."""

_USER: Final[VolDictType] = {vol.Required(CONF_USER): vol.All(cv.string, vol.Length(1, 100))}
_CREDENTIAL: Final[VolDictType] = {
    **_USER,
    vol.Optional(CONF_CREDENTIAL_TYPE, default=CREDENTIAL_PIN): vol.In([CREDENTIAL_PIN]),
}


@callback
def async_setup_actions(hass: HomeAssistant) -> None:
    """Register the actions; they are there before any lock is."""
    reads, writes = SupportsResponse.ONLY, SupportsResponse.OPTIONAL
    count = vol.All(vol.Coerce(int), vol.Range(1, LOG_COUNT_MAX))
    _register(hass, "get_users", _async_get_users, {}, reads)
    _register(hass, "set_user", _async_set_user, {**_USER, **PERSON_FIELDS}, writes)
    _register(hass, "delete_user", _async_delete_user, _USER, writes)
    digits: VolDictType = {vol.Optional(CONF_CREDENTIAL_DATA): cv.string}
    _register(hass, "set_credential", _async_set_credential, {**_CREDENTIAL, **digits}, writes)
    _register(hass, "delete_credential", _async_delete_credential, _CREDENTIAL, writes)
    _register(hass, "get_credential_capabilities", _async_get_capabilities, {}, reads)
    _register(
        hass,
        "get_log",
        _async_get_log,
        {vol.Optional(CONF_COUNT, default=_LOG_COUNT): count},
        reads,
    )


@callback
def _register(
    hass: HomeAssistant,
    name: str,
    work: Callable[[Home, dict[str, str], ServiceCall], Awaitable[_Rows]],
    fields: VolDictType,
    response: SupportsResponse,
) -> None:
    """Register an action; `work` gets the targeted locks: device identifiers by entity ID."""
    writes = response is SupportsResponse.OPTIONAL

    async def handle(call: ServiceCall) -> _Rows | None:
        locks = await _async_targets(hass, call, writes=writes)
        rows = await work(await async_get_home(hass), locks, call)
        return rows if call.return_response else None

    schema = cv.make_entity_service_schema(fields)
    # A dictionary of JSON values, which the type checker takes for a narrower one.
    hass.services.async_register(DOMAIN, name, handle, schema, response)  # type: ignore[arg-type]


async def _async_targets(hass: HomeAssistant, call: ServiceCall, *, writes: bool) -> dict[str, str]:
    """Return the locks that a call is about, also those that are not in reach now.

    Home Assistant's own helper leaves out entities that are unavailable, silently.
    """
    registry = er.async_get(hass)
    ours = {}
    for entry in hass.config_entries.async_entries(DOMAIN, include_ignore=False):
        if is_lock(entry) and entry.unique_id:
            for entity in er.async_entries_for_config_entry(registry, entry.entry_id):
                if entity.domain == "lock":
                    ours[entity.entity_id] = entry.unique_id
    if call.data.get("entity_id") != ENTITY_MATCH_ALL:
        selected = async_extract_referenced_entity_ids(hass, TargetSelection(call.data))
        for entity_id in sorted(selected.referenced - ours.keys()):
            raise refusal("not_a_lock", entity_id=entity_id)
        wanted = selected.referenced | selected.indirectly_referenced
        ours = {key: device_id for key, device_id in ours.items() if key in wanted}
    if call.context.user_id is not None:
        user = await hass.auth.async_get_user(call.context.user_id)
        if user is None or (writes and not user.is_admin):
            raise Unauthorized(context=call.context)
        if await async_is_nobody(await async_get_home(hass), user.id):
            raise Unauthorized(context=call.context)
        for entity_id in ours:
            if not user.permissions.check_entity(entity_id, POLICY_READ):
                raise Unauthorized(context=call.context, entity_id=entity_id)
    if not ours:
        raise refusal("no_lock_chosen")
    return ours


# --- users ----------------------------------------------------------------------------------------


async def _async_get_users(home: Home, locks: dict[str, str], call: ServiceCall) -> _Rows:
    viewer = await async_viewer(home, call.context)
    return {
        key: {
            "users": [
                row
                for row in user_rows(home, device_id)
                if viewer is None or row[CONF_USER] == viewer.id
            ]
        }
        for key, device_id in locks.items()
    }


async def _async_set_user(home: Home, locks: dict[str, str], call: ServiceCall) -> _Rows:
    fields = {
        str(key): value for key, value in call.data.items() if vol.Optional(key) in PERSON_FIELDS
    }
    person = await async_change_person(home, call.data[CONF_USER], {*locks.values()}, fields)
    await home.async_settle(locks.values())
    return {
        key: {CONF_USER: person.id, CONF_NAME: person.name, "pending": home.pending(device_id)}
        for key, device_id in locks.items()
    }


async def _async_delete_user(home: Home, locks: dict[str, str], call: ServiceCall) -> _Rows:
    person = find_person(home, call.data[CONF_USER])
    async_forget_person(home, person, {*locks.values()})
    await home.async_settle(locks.values())
    return {key: {"pending": home.pending(device_id)} for key, device_id in locks.items()}


# --- credentials ----------------------------------------------------------------------------------


async def _async_set_credential(home: Home, locks: dict[str, str], call: ServiceCall) -> _Rows:
    person = find_person(home, call.data[CONF_USER])
    for entity_id, device_id in locks.items():
        if device_id not in keypad_locks(home.hass):
            raise refusal("no_keypad", entity_id=entity_id)
        if device_id not in person.locks:
            raise refusal("user_without_lock", user=person.name, entity_id=entity_id)
    made = CONF_CREDENTIAL_DATA not in call.data
    if made and not call.return_response:
        raise refusal("pin_not_returned")
    taken = home.pending_pins(person.id)
    digits = make_pin(taken) if made else call.data[CONF_CREDENTIAL_DATA]
    if (reason := weakness(digits)) is not None:
        raise refusal(reason)
    if digits in taken:
        raise refusal("pin_taken")
    await home.async_set_pin(person, digits, locks.values())
    await home.async_settle(locks.values())
    return {
        key: {
            CONF_USER: person.id,
            CONF_CREDENTIAL_TYPE: CREDENTIAL_PIN,
            **({CONF_CREDENTIAL_DATA: digits} if made else {}),
            "pending": home.pending(device_id),
        }
        for key, device_id in locks.items()
    }


async def _async_delete_credential(home: Home, locks: dict[str, str], call: ServiceCall) -> _Rows:
    person = find_person(home, call.data[CONF_USER])
    await home.async_set_pin(person, "", person.locks & {*locks.values()})
    await home.async_settle(locks.values())
    return {key: {"pending": home.pending(device_id)} for key, device_id in locks.items()}


async def _async_get_capabilities(home: Home, locks: dict[str, str], _call: ServiceCall) -> _Rows:
    keypads = keypad_locks(home.hass)
    return {
        key: {
            "credential_types": {CREDENTIAL_PIN: {"min_length": PIN_MIN, "max_length": PIN_MAX}}
            if device_id in keypads
            else {}
        }
        for key, device_id in locks.items()
    }


# --- log ------------------------------------------------------------------------------------------


async def _async_get_log(home: Home, locks: dict[str, str], call: ServiceCall) -> _Rows:
    rows = {}
    viewer = await async_viewer(home, call.context)
    for entity_id, device_id in locks.items():
        if viewer is not None and (
            device_id not in viewer.locks or viewer.suspended or Right.READ_LOG not in viewer.rights
        ):
            raise Unauthorized(context=call.context, entity_id=entity_id)
        if (coordinator := home.coordinators.get(device_id)) is None:
            raise refusal("lock_not_loaded", entity_id=entity_id)
        entries = list(coordinator.log.entries)[-call.data[CONF_COUNT] :]
        rows[entity_id] = {"entries": [log_row(entry) for entry in entries]}
    return rows


def log_row(entry: LogEntry) -> dict[str, Any]:
    """Return a record of the log; a gap has no more than its counter."""
    return {
        "counter": entry.counter,
        "event": "log_gap" if entry.event is None else entry.event.name.lower(),
        "source": entry.source.name.lower(),
        "user": entry.person_id,
        "name": entry.name,
        "at": None
        if entry.happened_at is None
        else dt_util.as_local(dt_util.utc_from_timestamp(entry.happened_at)).isoformat(),
    }
