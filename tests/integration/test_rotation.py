"""A lost phone: its person gets other accounts, with no more uses than were left, and its keys are out."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from bsld import const as c
from homeassistant.config_entries import ConfigEntryDisabler
from tenants import Cutter, Tenants, restart

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.account_session import AccountSession, Written
from custom_components.igrs_lock.errors import LedgerNotSavedError
from custom_components.igrs_lock.ledger import Ledger
from custom_components.igrs_lock.rotation import async_rotate

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from tenants import Key
    from world import World

FULL = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD
UNLOCK = ilp.requests.operate(ilp.Operation.UNLOCK)


@pytest.fixture
def lock(world: World) -> TestLock:
    """A lock with a keypad."""
    return world.add_lock(FULL)


@pytest.fixture
async def tenants(world: World, lock: TestLock, entry: ConfigEntry[Any]) -> Tenants:
    await world.advance(10)
    return Tenants(world, lock, entry)


async def rotate(tenants: Tenants, person_id: str) -> None:
    await async_rotate(tenants.coordinator.home, person_id)


def out_of_reach(lock: TestLock) -> None:
    lock.silent = True
    for connection in [*lock.connections]:
        connection.end()


async def settle(world: World, tenants: Tenants) -> None:
    for _ in range(24):
        await world.advance(15)
        if not tenants.keeper.pending:
            return
    raise AssertionError("never done")


async def unlock(tenants: Tenants, key: Key) -> None:
    """Use the account once."""
    tenants.lock.core.bolt_sensed(c.BOLT_LOCKED)
    assert await tenants.phone(key).ask(UNLOCK) == [c.DONE, c.ACCEPTED]
    await tenants.world.advance(3)


async def test_the_old_key_is_out_the_new_one_works_and_the_pin_is_gone(
    world: World, tenants: Tenants
) -> None:
    anna = tenants.add("Anna", "482913")
    ben = tenants.add("Ben", "551379")
    await world.advance(5)
    old, bens = tenants.key("Anna"), tenants.key("Ben")
    epoch = tenants.coordinator.tracker.epoch
    await rotate(tenants, anna)
    await world.advance(5)
    assert tenants.state("Anna") == "active"
    assert tenants.key("Anna").account_id != old.account_id
    assert tenants.account("Anna").rights == 0xAF
    assert await tenants.phone(old).ask(ilp.requests.get_status()) == [-2]
    assert await tenants.phone(tenants.key("Anna")).ask(ilp.requests.get_status()) == [0, 0]
    assert not tenants.opens("482913")
    assert tenants.access("Anna").pin.value == "none"
    assert tenants.key("Ben") == bens
    assert tenants.opens("551379")
    assert not tenants.issues()
    # Nor does the lost phone read what the lock advertises from now on.
    assert tenants.coordinator.tracker.epoch == epoch + 1
    await rotate(tenants, ben)
    await tenants.set_pin(ben, "663412")  # asked for before the lock has the account
    await world.advance(65)
    assert not tenants.opens("551379")
    assert tenants.opens("663412")


async def test_uses_taken_while_the_lock_is_out_of_reach_are_not_given_again(
    world: World, tenants: Tenants, lock: TestLock
) -> None:
    anna = tenants.add("Anna", uses=9)
    await world.advance(5)
    old = tenants.key("Anna")
    await unlock(tenants, old)
    out_of_reach(lock)
    await world.advance(200, step=10)
    await unlock(tenants, old)
    await rotate(tenants, anna)
    await unlock(tenants, old)
    assert tenants.access_states("Anna") == ["pending", "removal_pending"]
    await world.advance(60, step=10)
    assert list(tenants.issues().values()) == ["removal_pending_replaced"]
    lock.silent = False
    await settle(world, tenants)
    assert tenants.account("Anna").uses == 6
    assert tenants.state("Anna") == "active"
    assert len(tenants.accounts()) == 1
    assert not tenants.issues()
    # From now on it is an account like any other: a new number is the owner's, a change is not.
    tenants.change(anna, first_minute=60, last_minute=1200, weekdays=ilp.Weekday(0x7F))
    await settle(world, tenants)
    assert tenants.account("Anna").uses == 6
    tenants.change(anna, uses=12)
    await settle(world, tenants)
    assert tenants.account("Anna").uses == 12


async def test_a_number_of_uses_that_the_owner_sets_meanwhile_holds(
    world: World, tenants: Tenants, lock: TestLock
) -> None:
    anna = tenants.add("Anna", uses=3)
    await world.advance(5)
    await unlock(tenants, tenants.key("Anna"))
    out_of_reach(lock)
    await rotate(tenants, anna)
    await rotate(tenants, anna)  # a second phone is lost before the lock is reached
    tenants.change(anna, uses=8)
    lock.silent = False
    await settle(world, tenants)
    assert tenants.account("Anna").uses == 8
    await tenants.coordinator.home.async_count_anew(tenants.coordinator.home.persons()[anna])
    await rotate(tenants, anna)
    await settle(world, tenants)
    assert tenants.account("Anna").uses == 8


async def test_lost_twice_before_the_lock_is_reached_counts_the_first_accounts_uses(
    world: World, tenants: Tenants, lock: TestLock
) -> None:
    anna = tenants.add("Anna", uses=3)
    await world.advance(5)
    old = tenants.key("Anna")
    out_of_reach(lock)
    await rotate(tenants, anna)
    await unlock(tenants, old)
    await rotate(tenants, anna)
    await unlock(tenants, old)
    lock.silent = False
    await settle(world, tenants)
    assert tenants.account("Anna").uses == 1
    assert len(tenants.accounts()) == 1
    assert len(tenants.keeper.access()) == 1


async def test_the_new_account_waits_until_the_lock_removes_the_old_one(
    world: World, tenants: Tenants
) -> None:
    anna = tenants.add("Anna", uses=5)
    await world.advance(5)
    old = tenants.key("Anna")
    remove = AccountSession.async_remove

    async def refuse(self: AccountSession, account_id: bytes) -> Written:
        return Written((ilp.Result.BAD_VALUE,), (), b"")

    with patch.object(AccountSession, "async_remove", refuse):
        await rotate(tenants, anna)
        await world.advance(90)
        (only,) = tenants.accounts()
        assert only.account_id == old.account_id
        assert not only.rights & 0x80  # it is suspended at least
        assert tenants.access_states("Anna") == ["pending", "removal_pending"]
    assert AccountSession.async_remove is remove
    await world.advance(900, step=5)
    await settle(world, tenants)
    (only,) = tenants.accounts()
    assert only.account_id != old.account_id
    assert (only.uses, only.rights) == (5, 0xAF)


async def test_without_the_people_entry_the_old_account_goes_and_uses_that_nobody_knows_are_none(
    world: World, tenants: Tenants, lock: TestLock
) -> None:
    anna = tenants.add("Anna", uses=5)
    await world.advance(5)
    out_of_reach(lock)
    await rotate(tenants, anna)
    entries = tenants.hass.config_entries
    await entries.async_set_disabled_by(tenants.people.entry_id, ConfigEntryDisabler.USER)
    # Somebody else writes as well, so what the lock holds is not known.
    await tenants.controller().request(ilp.requests.write_account(bytes(9)))
    lock.silent = False
    await world.advance(120, step=1)
    assert [one.account_id for one in tenants.accounts()] == [bytes(9)]
    await entries.async_set_disabled_by(tenants.people.entry_id, None)
    await world.advance(60)
    await tenants.answer("drift_unknown", "revoke")
    await tenants.answer("drift_pending", "restore")
    await settle(world, tenants)
    assert tenants.account("Anna").uses == 0


async def test_what_cannot_be_stored_is_not_begun(world: World, tenants: Tenants) -> None:
    anna = tenants.add("Anna", "482913")
    await world.advance(5)
    before = tenants.key("Anna")

    async def full(self: Ledger) -> None:
        raise LedgerNotSavedError("")

    with patch.object(Ledger, "async_save", full), pytest.raises(LedgerNotSavedError):
        await rotate(tenants, anna)
    await world.advance(60)
    assert tenants.key("Anna") == before
    assert tenants.opens("482913")
    assert not tenants.keeper.ledger.doomed


async def test_case_59_cut_at_every_write_the_new_account_has_no_more_than_was_left(
    world: World, tenants: Tenants
) -> None:
    anna = tenants.add("Anna", uses=40)
    await settle(world, tenants)
    left = 40

    def look() -> None:
        enabled = [one for one in tenants.accounts() if one.rights & 0x80]
        assert len(enabled) <= 1
        assert all(one.uses <= left for one in enabled)

    cutter = Cutter(tenants.lock, look)
    for after in range(30):
        await unlock(tenants, tenants.key("Anna"))
        left -= 1
        cutter.arm(after)
        await rotate(tenants, anna)
        await settle(world, tenants)
        assert tenants.account("Anna").uses == left
        assert not tenants.issues()
        if cutter.left is not None:
            break
    assert 4 < after < 29


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_home_assistant_dies_at_every_save_of_a_rotation(
    world: World, tenants: Tenants, monkeypatch: pytest.MonkeyPatch, *, before: bool
) -> None:
    real = Ledger.async_save
    left: list[int] = []
    died = False

    async def save(self: Ledger) -> None:
        nonlocal died
        if died or left == [0]:
            if not died and not before:
                await real(self)
            died = True
            raise LedgerNotSavedError("dead")
        if left:
            left[0] -= 1
        await real(self)

    monkeypatch.setattr(Ledger, "async_save", save)
    anna = tenants.add("Anna", uses=20)
    await settle(world, tenants)
    uses = 20
    for after in range(24):
        old = tenants.key("Anna")
        await unlock(tenants, old)
        uses -= 1
        left[:] = [after]
        with suppress(LedgerNotSavedError):
            await rotate(tenants, anna)
            await world.advance(5)
        complete, died = not died, False
        left.clear()
        await restart(tenants)
        await settle(world, tenants)
        assert not tenants.drifts()
        if after or not before:
            assert tenants.key("Anna").account_id != old.account_id
            assert await tenants.phone(old).ask(ilp.requests.get_status()) == [-2]
        assert tenants.account("Anna").uses == uses
        if complete:
            break
    assert 6 < after < 23
