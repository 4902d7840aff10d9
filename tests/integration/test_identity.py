"""Who operates: a tied user is that person to the lock, and may no more than that person."""

import random
from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from homeassistant.config_entries import SOURCE_REAUTH
from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.util import dt as dt_util
from tenants import Tenants

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.const import AUTHENTICATION_FAILURES
from custom_components.igrs_lock.errors import OperationError
from custom_components.igrs_lock.session import Identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from homeassistant.auth.models import User
    from homeassistant.config_entries import ConfigEntry
    from world import TestLock, World

SEALED, SESSION_OPEN, CHALLENGE_REQUEST, ERROR = 0x13, 0x12, 0x10, 0x1F
EVENT, SLOT, SOURCE = 0, 1, 2


class Household:
    """Anna, who is a user here, and the lock's own opinion of who did what."""

    def __init__(self, world: World, lock: TestLock, tenants: Tenants, user: User) -> None:
        self.world = world
        self.hass = world.hass
        self.lock = lock
        self.tenants = tenants
        self.user = user
        self.anna = ""

    async def add_anna(self, **fields: Any) -> None:
        self.anna = self.tenants.add("Anna", user_id=self.user.id, **fields)
        await self.settle()

    async def settle(self) -> None:
        """Let all be written and the connection be let go."""
        await self.world.advance(12)
        self.lock.traffic.clear()
        assert not self.lock.connections

    async def call(self, service: str, user: User | None = None) -> None:
        await self.world.during(
            self.hass.services.async_call(
                "lock",
                service,
                {"entity_id": f"lock.{self.lock.entity}"},
                blocking=True,
                context=Context(user_id=user.id if user else None),
            )
        )

    async def refused(self, service: str) -> str:
        """Call a service as Anna, who may not; returns the error's translation key."""
        with pytest.raises(HomeAssistantError) as failure:
            await self.call(service, self.user)
        assert failure.value.translation_placeholders == {
            "name": self.tenants.entry.title,
            "person": "Anna",
        }
        assert failure.value.translation_key is not None
        assert str(failure.value)
        return failure.value.translation_key

    @property
    def slot(self) -> int:
        return self.slot_of("Anna")

    def slot_of(self, name: str) -> int:
        return self.tenants.key(name).slot

    def log(self, *events: int) -> Sequence[tuple[int, int]]:
        """The lock's own log: (event, slot) of some events."""
        records = self.lock.core.log_records(0, 1000)
        return [(one[EVENT], one[SLOT]) for one in records if one[EVENT] in events]

    def identity(self, name: str = "Anna") -> Identity:
        key = self.tenants.key(name)
        secret = ilp.account_key(self.tenants.lock_key, key.account_id)
        return Identity(key.slot, secret, key.account_id, name)

    def reauth(self) -> bool:
        return any(self.tenants.entry.async_get_active_flows(self.hass, {SOURCE_REAUTH}))


@pytest.fixture
async def home(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    hass_admin_user: User,
) -> Household:
    found = Household(world, lock, Tenants(world, lock, entry), hass_admin_user)
    await found.settle()
    return found


# --- what a person does -----------------------------------------------------------------------


async def test_a_tied_user_is_that_person_in_the_locks_own_log(
    world: World, lock: TestLock, home: Household, states: list[str]
) -> None:
    await home.add_anna()
    await home.call("unlock", home.user)
    assert world.attribute(lock, "changed_by") == "Anna"
    await home.call("lock")
    assert world.attribute(lock, "changed_by") == "Home Assistant"
    assert home.log(c.EV_UNLOCKED, c.EV_LOCKED)[-2:] == [
        (c.EV_UNLOCKED, home.slot),
        (c.EV_LOCKED, c.SLOT_CONTROLLER),
    ]
    assert states == ["unlocking", "unlocked", "locking", "locked"]


async def test_another_user_and_an_automation_act_as_this_home(
    world: World, lock: TestLock, home: Household, hass_owner_user: User
) -> None:
    await home.add_anna()
    await home.call("unlock", hass_owner_user)
    await home.call("lock")
    slots = {slot for _, slot in home.log(c.EV_UNLOCKED, c.EV_LOCKED)}
    assert slots == {c.SLOT_CONTROLLER}


@pytest.mark.parametrize(("mtu", "writes"), [(247, 1), (63, 1), (23, 4)])
async def test_up_to_the_bolt_a_person_needs_one_message_of_59_bytes(
    lock: TestLock, home: Household, mtu: int, writes: int
) -> None:
    await home.add_anna()
    lock.mtu = mtu
    moving_after: list[int] = []

    def note(data: bytes) -> bytes:
        if not lock.operations:
            moving_after.append(len(data) - 1)
        return data

    lock.on_write = note
    await home.call("unlock", home.user)
    assert sum(moving_after) == 59
    assert len(moving_after) == writes
    assert [what for what, _ in lock.traffic[: writes + 1]] == ["write"] * writes + ["subscribe"]


async def test_another_identity_opens_a_session_on_the_same_connection(
    world: World, lock: TestLock, home: Household
) -> None:
    await home.add_anna()
    before = world.connections
    await home.call("unlock")
    await home.call("lock", home.user)
    await home.call("open", home.user)
    await home.call("lock")
    assert world.connections == before + 1
    assert lock.core.bolt == c.BOLT_LOCKED
    assert home.log(c.EV_UNLOCKED, c.EV_LOCKED, c.EV_OPENED)[-4:] == [
        (c.EV_UNLOCKED, 255),
        (c.EV_LOCKED, home.slot),
        (c.EV_OPENED, home.slot),
        (c.EV_LOCKED, 255),
    ]


async def test_in_a_persons_running_session_the_account_is_not_named_again(
    lock: TestLock, home: Household
) -> None:
    await home.add_anna()
    coordinator = home.tenants.coordinator
    async with coordinator.async_hold():
        await home.world.during(coordinator.async_operate(ilp.Operation.UNLOCK, home.identity()))
        lock.traffic.clear()
        await home.world.during(coordinator.async_operate(ilp.Operation.LOCK, home.identity()))
    first = next(data for what, data in lock.traffic if what == "write")
    assert first[1] == SEALED
    assert len(first) == 1 + 1 + 24


async def test_what_others_do_still_arrives_while_a_person_is_connected(
    world: World, lock: TestLock, home: Household
) -> None:
    await home.add_anna()
    await home.call("unlock", home.user)
    lock.silent = True  # by the connection alone
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    await world.settle()
    assert world.state(lock) == "locked"
    assert world.attribute(lock, "changed_by") == "by_hand"


@pytest.mark.parametrize("held", [False, True])
async def test_a_lost_answer_to_a_person_is_repeated_as_that_person(
    lock: TestLock, home: Household, held: bool
) -> None:
    await home.add_anna()
    if held:
        await home.call("unlock")
        lock.operations.clear()
    lost: list[bytes] = []

    def lose(data: bytes) -> bytes | None:
        if data[1] == SESSION_OPEN and not lost:
            lost.append(data)
            for connection in list(lock.connections):
                connection.end()
            return None
        return data

    lock.on_write = lose
    await home.call("lock" if held else "unlock", home.user)
    assert lost
    assert home.log(c.EV_UNLOCKED, c.EV_LOCKED)[-1][1] == home.slot


@pytest.mark.parametrize("seed", range(6))
async def test_on_bad_links_and_in_any_order_nobody_acts_in_anothers_name(
    world: World, lock: TestLock, home: Household, seed: int
) -> None:
    choice = random.Random(seed)
    home.tenants.add("Ben")
    await home.add_anna()
    coordinator = home.tenants.coordinator
    who = {
        c.SLOT_CONTROLLER: None,
        home.slot_of("Anna"): home.identity("Anna"),
        home.slot_of("Ben"): home.identity("Ben"),
    }

    def disturb(data: bytes) -> bytes | None:
        match choice.randrange(12):
            case 0:
                return None
            case 1:
                for connection in list(lock.connections):
                    connection.end()
                return None
        return data

    done = 0
    for _ in range(25):
        slot, identity = choice.choice(list(who.items()))
        operation = choice.choice([ilp.Operation.LOCK, ilp.Operation.UNLOCK])
        before = len(home.log(c.EV_LOCKED, c.EV_UNLOCKED))
        lock.on_write = lock.on_notify = disturb
        try:
            await world.during(coordinator.async_operate(operation, identity))
        except OperationError:
            await world.advance(2)
        else:
            done += 1
            wanted = c.BOLT_LOCKED if operation is ilp.Operation.LOCK else c.BOLT_UNLOCKED
            assert lock.core.bolt == wanted
        lock.on_write = lock.on_notify = None
        assert {by for _, by in home.log(c.EV_LOCKED, c.EV_UNLOCKED)[before:]} <= {slot}
        await world.advance(choice.choice([0, 0.5, 3, 8]))
    assert done > 5


# --- what a person may not --------------------------------------------------------------------


async def test_without_the_right_the_door_stays_and_its_state_too(
    world: World, lock: TestLock, home: Household, states: list[str]
) -> None:
    await home.add_anna(rights=ilp.Right.LOCK)
    assert await home.refused("unlock") == "no_right"
    await world.advance(5)
    assert not lock.operations
    assert states in ([], ["unlocking", "locked"])
    await home.call("lock", home.user)
    assert world.state(lock) == "locked"


async def test_outside_the_hours_the_door_stays_and_its_state_too(
    world: World, lock: TestLock, home: Household, states: list[str]
) -> None:
    other_day = ilp.Weekday(1 << (dt_util.now().weekday() + 3) % 7)
    await home.add_anna(weekdays=other_day)
    assert await home.refused("unlock") == "outside_hours"
    await world.advance(5)
    assert not lock.operations
    assert states in ([], ["unlocking", "locked"])
    assert not home.reauth()


async def test_suspended_here_the_lock_is_not_even_asked(lock: TestLock, home: Household) -> None:
    await home.add_anna()
    home.tenants.change(home.anna, suspended=True)
    await home.settle()
    assert await home.refused("unlock") == "not_allowed"
    assert not lock.traffic


async def test_suspended_behind_this_homes_back_the_lock_says_so_and_the_owner_is_asked(
    world: World, lock: TestLock, home: Household, states: list[str]
) -> None:
    await home.add_anna()
    other = home.tenants.controller()
    await other.request(ilp.requests.set_rights(home.slot, ilp.Right.UNLOCK))
    assert await home.refused("unlock") == "access_suspended"
    assert not lock.operations
    assert states in ([], ["unlocking", "locked"])
    await world.advance(20)
    assert home.tenants.drifts() == ["drift_changed"]
    assert not home.reauth()


async def test_used_up_while_a_session_runs_it_is_refused_and_the_next_opens_anew(
    world: World, lock: TestLock, home: Household
) -> None:
    await home.add_anna()
    coordinator, anna = home.tenants.coordinator, home.identity()
    async with coordinator.async_hold():
        await world.during(coordinator.async_operate(ilp.Operation.UNLOCK, anna))
        account = home.tenants.account("Anna")
        account.rights &= ~c.RIGHT_ENABLED
        lock.core.accounts.save(account)
        assert await home.refused("lock") == "access_suspended"
        account.rights |= c.RIGHT_ENABLED
        lock.core.accounts.save(account)
        await world.during(coordinator.async_operate(ilp.Operation.LOCK, anna))
    assert lock.core.bolt == c.BOLT_LOCKED


async def test_gone_from_the_lock_a_persons_key_is_refused_and_only_that(
    hass: HomeAssistant, world: World, lock: TestLock, home: Household
) -> None:
    """However often: this home's own key is right."""
    await home.add_anna()
    coordinator, anna = home.tenants.coordinator, home.identity()
    other = home.tenants.controller()
    await other.request(ilp.requests.remove_account(home.tenants.key("Anna").account_id))
    other.connection.end()
    await world.advance(2)
    for _ in range(AUTHENTICATION_FAILURES + 2):
        with pytest.raises(HomeAssistantError) as failure:
            await world.during(coordinator.async_operate(ilp.Operation.UNLOCK, anna))
        assert failure.value.translation_key == "access_gone"
        await world.advance(1)
    assert not home.reauth()
    assert not lock.operations
    await home.call("unlock")
    assert lock.core.bolt == c.BOLT_UNLOCKED


async def test_a_refusal_lets_the_list_of_accounts_be_looked_at(
    world: World, lock: TestLock, home: Household
) -> None:
    await home.add_anna()
    other = home.tenants.controller()
    await other.request(ilp.requests.remove_account(home.tenants.key("Anna").account_id))
    other.connection.end()
    key = await home.refused("unlock")
    assert key in ("access_gone", "access_pending")
    await world.advance(20)
    assert home.tenants.drifts() == ["drift_missing"]


async def test_an_error_in_the_locks_name_takes_nothing_from_anybody(
    world: World, lock: TestLock, home: Household
) -> None:
    """It is not authenticated."""
    await home.add_anna()
    forged = bytes((ERROR, ilp.ErrorCode.AUTHENTICATION_FAILED)) + bytes(8)
    for _ in range(AUTHENTICATION_FAILURES + 1):
        lock.on_notify = lambda _data: b"\x80" + forged
        assert await home.refused("unlock") == "access_gone"
        lock.on_notify = None
        await world.advance(10)
    assert not home.reauth()
    assert not home.tenants.issues()
    if lock.core.bolt != c.BOLT_UNLOCKED:
        await home.call("unlock", home.user)
    assert home.log(c.EV_UNLOCKED)[-1] == (c.EV_UNLOCKED, home.slot)


async def test_the_secrets_of_an_identity_are_not_shown(home: Household) -> None:
    await home.add_anna()
    anna = home.identity()
    assert anna.account_id is not None
    for secret in (anna.key, anna.account_id):
        assert repr(secret) not in repr(anna)
        assert secret.hex() not in repr(anna)
