"""As whom a Home Assistant user acts on a lock: as a person, as this home, or not at all.

A user who is tied to a person acts as that person and may no more. Who was ever tied to one and is
not any more is nobody: otherwise a guest who is removed could do everything from then on. Only an
administrator is this home again then, who could change all of it anyway.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .access import AccessState
from .const import CONF_LOCK_KEY
from .errors import AccessPendingError, NotAllowedError, OperationError
from .ilp import IlpError, account_key
from .session import Identity

if TYPE_CHECKING:
    from homeassistant.core import Context

    from .access import Access
    from .coordinator import IgrsLockCoordinator
    from .home import Home
    from .person import Person

_LOGGER = logging.getLogger(__name__)


async def async_identity(
    home: Home, coordinator: IgrsLockCoordinator, context: Context | None
) -> Identity | None:
    """Return as whom a lock is to be operated; None is this home itself.

    What waits to be written for a person is written first. NotAllowedError, AccessPendingError, or
    what kept it from being written.
    """
    user_id = None if context is None else context.user_id
    if user_id is None:
        return None
    name = coordinator.config_entry.title
    if (person := home.person_of_user(user_id)) is None:
        if await async_is_nobody(home, user_id):
            raise NotAllowedError(name, person=await _async_name(home, user_id))
        return None
    if coordinator.device_id not in person.locks or person.suspended:
        raise NotAllowedError(name, person=person.name)
    access = _access(coordinator, person)
    if access is None or access.state is not AccessState.ACTIVE:
        failure: OperationError | None = None
        coordinator.client.carrier.give_way()  # whoever waits for this is here
        try:
            await coordinator.accounts.async_settle()
        except OperationError as err:
            failure = err
        except IlpError as err:
            _LOGGER.debug("%s: the access of a person is not settled: %s", name, err)
        access = _access(coordinator, person)
        if access is None or access.state is not AccessState.ACTIVE:
            raise failure or AccessPendingError(name, person=person.name)
    if access.slot is None or access.account is None:
        raise AccessPendingError(name, person=person.name)
    account_id = access.account.account_id
    lock_key = bytes.fromhex(coordinator.config_entry.data[CONF_LOCK_KEY])
    return Identity(access.slot, account_key(lock_key, account_id), account_id, person.name)


def check_still(home: Home, coordinator: IgrsLockCoordinator, identity: Identity | None) -> None:
    """NotAllowedError when a person lost the access while they waited for their turn.

    The removal itself waits behind them: many requests made before it must not put it off.
    """
    if identity is None or not identity.is_person:
        return
    persons = home.known_persons()
    for person_id, grant in home.ledger.lock(coordinator.device_id).grants.items():
        if grant.account_id == identity.account_id:
            person = persons.get(person_id)
            if person is None or (coordinator.device_id in person.locks and not person.suspended):
                return
    raise NotAllowedError(coordinator.config_entry.title, person=identity.name)


async def async_check_settings(
    home: Home, coordinator: IgrsLockCoordinator, context: Context | None
) -> None:
    """NotAllowedError when a user may not change how a lock works: that is no person's right."""
    await async_check_owner(home, coordinator.config_entry.title, context)


async def async_check_owner(home: Home, name: str, context: Context | None) -> None:
    """NotAllowedError when a user is a person, or was one, and no administrator."""
    user_id = None if context is None else context.user_id
    if user_id is None:
        return
    person = home.person_of_user(user_id)
    if (person is None and user_id not in home.ledger.users) or await _async_is_admin(
        home, user_id
    ):
        return
    who = await _async_name(home, user_id) if person is None else person.name
    raise NotAllowedError(name, person=who)


async def async_is_nobody(home: Home, user_id: str) -> bool:
    """Whether a user was somebody once and is not any more."""
    return (
        user_id in home.ledger.users
        and home.person_of_user(user_id) is None
        and not await _async_is_admin(home, user_id)
    )


async def async_viewer(home: Home, context: Context) -> Person | None:
    """Return the person as whom a user looks at a lock; None for who may see all of it."""
    user_id = context.user_id
    if user_id is None or await _async_is_admin(home, user_id):
        return None
    return home.person_of_user(user_id)


async def _async_is_admin(home: Home, user_id: str) -> bool:
    user = await home.hass.auth.async_get_user(user_id)
    return user is not None and user.is_active and user.is_admin


async def _async_name(home: Home, user_id: str) -> str:
    user = await home.hass.auth.async_get_user(user_id)
    return user_id if user is None or not user.name else user.name


def _access(coordinator: IgrsLockCoordinator, person: Person) -> Access | None:
    for access in coordinator.accounts.access():
        if access.person_id == person.id:
            return access
    return None
