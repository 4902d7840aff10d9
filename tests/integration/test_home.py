"""Home Assistant users who are persons act as them; and everybody's access is shown."""

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from bsld import const as c
from folk import Folk
from homeassistant.config_entries import ConfigEntryDisabler
from homeassistant.core import Context
from homeassistant.exceptions import HomeAssistantError
from world import DOMAIN

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.errors import (
    AccessPendingError,
    NotAllowedError,
    OperationError,
)

if TYPE_CHECKING:
    from board import TestLock
    from bsld.accounts import Account
    from homeassistant.auth.models import User
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant
    from world import World

    from custom_components.igrs_lock.session import Identity

KEYPAD = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD
PIN = "384729"


@pytest.fixture
async def lock(world: World) -> TestLock:
    """A lock with a keypad."""
    return world.add_lock(KEYPAD)


@pytest.fixture
async def folk(hass: HomeAssistant, world: World, entry: ConfigEntry[Any]) -> Folk:
    """The People entry; what the pairing left to do is done."""
    await world.advance(10)
    return Folk(world)


@pytest.fixture
async def user(hass: HomeAssistant) -> User:
    """Anna's user."""
    return await hass.auth.async_create_user("Anna", group_ids=["system-admin"])


async def identity(folk: Folk, entry: ConfigEntry[Any], context: Context | None) -> Identity | None:
    """Ask as whom the lock is operated."""
    home = await folk.home()
    found: Identity | None = await folk.world.during(
        home.async_identity(entry.runtime_data, context)
    )
    return found


def account_of(lock: TestLock) -> Account:
    """The account on the lock beside this home's own."""
    (_home, account) = lock.core.accounts.used()
    found: Account = account
    return found


def access(hass: HomeAssistant, name: str = "anna") -> tuple[str, list[str], list[str]]:
    """What the sensor shows."""
    state = hass.states.get(f"sensor.{name}_access")
    assert state is not None
    return (state.state, state.attributes["pending_locks"], state.attributes["problem_locks"])


async def test_automations_and_users_who_are_nobody_act_as_this_home(
    hass: HomeAssistant, folk: Folk, lock: TestLock, entry: ConfigEntry[Any], user: User
) -> None:
    await folk.add("Anna", lock)
    await folk.world.advance(5)
    for context in (None, Context(), Context(user_id=user.id)):
        assert await identity(folk, entry, context) is None


async def test_a_user_who_is_a_person_acts_as_this_person(
    hass: HomeAssistant, folk: Folk, lock: TestLock, entry: ConfigEntry[Any], user: User
) -> None:
    await folk.add("Anna", lock, user_id=user.id)
    await folk.world.advance(5)
    account = account_of(lock)
    found = await identity(folk, entry, Context(user_id=user.id))
    assert found is not None
    assert (found.slot, found.account_id, found.name) == (account.slot, account.account_id, "Anna")
    lock_key = bytes.fromhex(entry.data["lock_key"])
    assert found.key == ilp.account_key(lock_key, account.account_id)


async def test_what_waits_for_a_person_is_written_before_they_act(
    hass: HomeAssistant, folk: Folk, lock: TestLock, entry: ConfigEntry[Any], user: User
) -> None:
    lock.silent = True
    await folk.world.advance(200, step=10)
    await folk.add("Anna", lock, user_id=user.id)
    assert access(hass)[0] == "pending"
    # It can be connected to, but nobody has heard it yet.
    lock.silent, lock.mute = False, True
    assert await identity(folk, entry, Context(user_id=user.id)) is not None
    assert access(hass)[0] == "none"


@pytest.mark.parametrize("why", ["not this lock", "suspended"])
async def test_a_person_who_may_not_use_a_lock_does_not_act_as_the_home_instead(
    hass: HomeAssistant,
    folk: Folk,
    lock: TestLock,
    entry: ConfigEntry[Any],
    user: User,
    why: str,
) -> None:
    locks = [lock] if why == "suspended" else []
    person = await folk.add("Anna", *locks, user_id=user.id)
    if why == "suspended":
        await folk.submit(await folk.reconfigure(person, "suspend"), {})
    await folk.world.advance(5)
    with pytest.raises(NotAllowedError) as failure:
        await identity(folk, entry, Context(user_id=user.id))
    assert failure.value.translation_placeholders == {"name": entry.title, "person": "Anna"}
    with pytest.raises(HomeAssistantError):
        await folk.world.during(
            hass.services.async_call(
                "lock",
                "unlock",
                {"entity_id": f"lock.{lock.entity}"},
                blocking=True,
                context=Context(user_id=user.id),
            )
        )
    assert not lock.operations


async def test_a_person_whose_access_cannot_be_written_is_told_why(
    hass: HomeAssistant, folk: Folk, lock: TestLock, entry: ConfigEntry[Any], user: User
) -> None:
    lock.silent = True
    await folk.add("Anna", lock, user_id=user.id)
    with pytest.raises(OperationError) as failure:
        await identity(folk, entry, Context(user_id=user.id))
    assert not isinstance(failure.value, NotAllowedError)
    assert access(hass) == ("pending", [entry.title], [])


@pytest.mark.parametrize("how", ["disabled", "removed"])
async def test_without_the_people_entry_a_person_does_not_become_the_home(
    hass: HomeAssistant,
    folk: Folk,
    lock: TestLock,
    entry: ConfigEntry[Any],
    user: User,
    how: str,
) -> None:
    await folk.add("Anna", lock, user_id=user.id)
    other = await hass.auth.async_create_user("Ben", group_ids=["system-admin"])
    await folk.add("Ben", user_id=other.id)
    await folk.world.advance(5)
    if how == "disabled":
        await hass.config_entries.async_set_disabled_by(
            folk.entry.entry_id, ConfigEntryDisabler.USER
        )
    else:
        await hass.config_entries.async_remove(folk.entry.entry_id)
    found = await identity(folk, entry, Context(user_id=user.id))
    assert found is not None
    assert found.name == "Anna"
    with pytest.raises(NotAllowedError):
        await identity(folk, entry, Context(user_id=other.id))


async def test_a_full_lock_needs_attention_and_lets_nobody_act_as_the_home(
    hass: HomeAssistant, folk: Folk, lock: TestLock, entry: ConfigEntry[Any], user: User
) -> None:
    with patch.object(lock.core.accounts, "add", return_value=None):
        await folk.add("Anna", lock, user_id=user.id)
        await folk.world.advance(10)
    assert access(hass) == ("problem", [], [entry.title])
    with pytest.raises(AccessPendingError):
        await identity(folk, entry, Context(user_id=user.id))


async def test_the_sensor_follows_what_is_written(
    hass: HomeAssistant, folk: Folk, lock: TestLock, entry: ConfigEntry[Any]
) -> None:
    person = await folk.add("Anna", lock, pin=PIN)
    await folk.world.advance(5)
    assert access(hass) == ("none", [], [])
    lock.silent = True
    await folk.world.advance(6)
    result = await folk.reconfigure(person, "times")
    await folk.submit(result, {"weekdays": ["mon"], "first_time": "08:00", "last_time": "09:00"})
    assert access(hass) == ("pending", [entry.title], [])
    lock.silent = False
    await folk.world.advance(10)
    assert access(hass) == ("none", [], [])


async def test_spent_uses_are_given_again(
    hass: HomeAssistant, folk: Folk, lock: TestLock, entry: ConfigEntry[Any]
) -> None:
    person = await folk.add("Anna", lock, uses=3)
    await folk.world.advance(5)
    account = account_of(lock)
    account.uses = 1
    lock.core.accounts.save(account)
    result = await folk.reconfigure(person, "times")
    await folk.submit(
        result,
        {
            "weekdays": [],
            "first_time": "00:00",
            "last_time": "23:59",
            "uses": 3,
            "count_anew": True,
        },
    )
    await folk.world.advance(5)
    account = account_of(lock)
    assert account.uses == 3
    # And by the action, though the number is the same.
    account.uses = 0
    lock.core.accounts.save(account)
    await folk.world.during(
        hass.services.async_call(
            DOMAIN,
            "set_user",
            {"entity_id": f"lock.{lock.entity}", "user": "Anna", "uses": 3},
            blocking=True,
        )
    )
    await folk.world.advance(5)
    account = account_of(lock)
    assert account.uses == 3
