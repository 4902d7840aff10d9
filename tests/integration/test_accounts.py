"""What the owner changes about people reaches the lock: all of it, and nothing else."""

from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from homeassistant.config_entries import ConfigEntry, ConfigEntryDisabler
from tenants import Tenants
from world import DOMAIN

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.person import Kind

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.core import HomeAssistant
    from world import World

DAY = 86400
FULL = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD


@pytest.fixture
def lock(world: World) -> TestLock:
    """A lock with a keypad."""
    return world.add_lock(FULL)


@pytest.fixture
async def tenants(world: World, lock: TestLock, entry: ConfigEntry[Any]) -> Tenants:
    """Nobody yet; everything that the pairing left to do is done."""
    await world.advance(10)
    return Tenants(world, lock, entry)


def writes(lock: TestLock) -> int:
    return sum(1 for what, _ in lock.traffic if what == "write")


async def test_somebody_who_is_added_gets_an_account_with_pin_and_hours(
    world: World, tenants: Tenants
) -> None:
    tenants.add(
        "Anna",
        "482913",
        weekdays=ilp.Weekday.MONDAY | ilp.Weekday.TUESDAY,
        first_minute=480,
        last_minute=720,
        uses=9,
    )
    assert tenants.state("Anna") == "pending"
    await world.advance(5)
    assert tenants.state("Anna") == "active"
    account = tenants.account("Anna")
    assert account.rights == 0x80 | 0x2F
    assert (account.days, account.first, account.last, account.uses) == (3, 480, 720, 9)
    assert tenants.access("Anna").uses_left == 9
    assert tenants.access("Anna").pin.value == "set"
    assert not tenants.issues()
    ledger = tenants.keeper.ledger
    assert not ledger.pins
    assert ledger.known is not None
    holder = tenants.coordinator.home.ledger.holder(tenants.lock.unique_id, account.slot, 0xFFFFFF)
    assert holder is not None
    assert holder.name == "Anna"


async def test_nothing_is_connected_to_when_nothing_is_pending(
    world: World, tenants: Tenants
) -> None:
    tenants.add("Anna")
    await world.advance(10)
    tenants.lock.traffic.clear()
    connections = world.connections
    tenants.coordinator.home.async_people_changed()
    await tenants.keeper.async_run()
    await tenants.keeper.async_settle()
    await world.advance(300, step=30)
    assert not tenants.keeper.pending
    assert world.connections == connections


async def test_a_change_a_suspension_and_its_end_reach_the_lock(
    world: World, tenants: Tenants
) -> None:
    anna = tenants.add("Anna", "482913")
    await world.advance(5)
    before = tenants.key("Anna")
    tenants.change(anna, not_after=int(world.now()) + DAY, rights=ilp.Right.UNLOCK)
    await world.advance(5)
    assert tenants.account("Anna").not_after == int(world.now()) - 5 + DAY
    assert tenants.account("Anna").rights == 0x82
    tenants.change(anna, suspended=True)
    await world.advance(5)
    assert tenants.state("Anna") == "suspended"
    assert tenants.account("Anna").rights == 0x02
    assert not tenants.opens("482913")
    tenants.change(anna, suspended=False)
    await world.advance(65)
    assert tenants.state("Anna") == "active"
    assert tenants.key("Anna") == before
    assert tenants.opens("482913")


async def test_somebody_who_is_removed_is_removed_from_the_lock_and_its_new_epoch_is_followed(
    world: World, tenants: Tenants
) -> None:
    anna = tenants.add("Anna", "482913")
    await world.advance(5)
    key = tenants.key("Anna")
    phone = tenants.phone(key)
    assert await phone.ask(ilp.requests.get_status()) == [0, 0]
    tenants.remove(anna)
    await world.advance(5)
    assert not tenants.accounts()
    assert not tenants.issues()
    assert await tenants.phone(key).ask(ilp.requests.get_status()) == [-2]
    assert not tenants.opens("482913")
    assert tenants.coordinator.tracker.epoch == 1
    assert tenants.coordinator.remembered["epoch"] == 1
    await world.advance(200)
    assert world.state(tenants.lock) == "locked"
    assert [one.name for one in tenants.keeper.access()] == []


async def test_a_removal_out_of_reach_is_named_until_it_is_done(
    hass: HomeAssistant, world: World, tenants: Tenants
) -> None:
    anna = tenants.add("Anna")
    await world.advance(10)
    tenants.lock.silent = True
    await world.advance(120)
    tenants.remove(anna)
    await world.advance(10)
    assert list(tenants.issues().values()).count("removal_pending") == 1
    assert tenants.state("Anna") == "removal_pending"
    assert len(tenants.accounts()) == 1
    tenants.lock.silent = False
    await world.advance(10)
    assert "removal_pending" not in tenants.issues().values()
    assert not tenants.accounts()


async def test_taking_the_lock_from_somebodys_list_removes_the_account(
    world: World, tenants: Tenants
) -> None:
    anna = tenants.add("Anna")
    await world.advance(5)
    tenants.change(anna, locks=frozenset())
    await world.advance(5)
    assert not tenants.accounts()


async def test_attack_60_who_is_removed_and_invited_again_gets_another_account(
    world: World, tenants: Tenants
) -> None:
    anna = tenants.add("Anna")
    await world.advance(5)
    key = tenants.key("Anna")
    subentry = tenants.people.subentries[anna]
    tenants.remove(anna)
    await world.advance(5)
    tenants.hass.config_entries.async_add_subentry(tenants.people, subentry)
    await world.advance(5)
    assert tenants.state("Anna") == "active"
    assert tenants.key("Anna").account_id != key.account_id
    assert tenants.key("Anna").slot == key.slot
    assert await tenants.phone(key).ask(ilp.requests.operate(ilp.Operation.UNLOCK)) == [-2]
    assert await tenants.phone(tenants.key("Anna")).ask(
        ilp.requests.operate(ilp.Operation.UNLOCK)
    ) == [0, 1]


async def test_a_slot_that_is_used_again_is_told_apart_by_counter(
    world: World, tenants: Tenants
) -> None:
    anna = tenants.add("Anna")
    await world.advance(5)
    slot = tenants.key("Anna").slot
    first = tenants.lock.core.counter
    tenants.remove(anna)
    await world.advance(5)
    last = tenants.lock.core.counter
    tenants.add("Bob")
    await world.advance(5)
    assert tenants.key("Bob").slot == slot
    ledger = tenants.coordinator.home.ledger
    names = []
    for counter in (1, first, last, tenants.lock.core.counter):
        holder = ledger.holder(tenants.lock.unique_id, slot, counter)
        names.append(holder.name if holder else None)
    assert names == [None, "Anna", "Anna", "Bob"]


async def test_a_pin_of_somebody_else_is_refused_and_told(world: World, tenants: Tenants) -> None:
    tenants.add("Anna", "482913")
    bob = tenants.add("Bob", "771209")
    await world.advance(8)
    assert tenants.opens("771209")
    await tenants.set_pin(bob, "482913")
    await world.advance(65)
    assert tenants.access("Bob").pin.value == "taken"
    assert tenants.state("Bob") == "active"
    assert list(tenants.issues().values()) == ["pin_taken"]
    assert not tenants.opens("771209")  # the one that was to be replaced
    await tenants.set_pin(bob, "905518")
    await world.advance(5)
    assert tenants.access("Bob").pin.value == "set"
    assert not tenants.issues()
    assert tenants.opens("905518")
    await tenants.set_pin(bob, "")
    await world.advance(65)
    assert tenants.access("Bob").pin.value == "none"
    assert not tenants.opens("905518")


async def test_a_full_lock_is_told_and_goes_on_when_there_is_room(
    world: World, tenants: Tenants
) -> None:
    slots = tenants.lock.core.accounts.slots
    tenants.lock.core.accounts.slots = 3  # one is this home's
    anna = tenants.add("Anna")
    tenants.add("Bob")
    tenants.add("Carl")
    await world.advance(8)
    assert tenants.lock.core.accounts.slots < slots
    states = sorted(one.state.value for one in tenants.keeper.access())
    assert states == ["active", "active", "full"]
    assert list(tenants.issues().values()) == ["accounts_full"]
    assert not tenants.keeper.pending
    tenants.remove(anna)
    await world.advance(8)
    assert tenants.state("Carl") == "active"
    assert not tenants.issues()


async def test_a_guests_end_is_put_off_every_week_and_not_after_the_owners_own(
    world: World, tenants: Tenants
) -> None:
    begun = int(world.now())
    gina = tenants.add("Gina", kind=Kind.GUEST, not_after=begun + 45 * DAY)
    await world.advance(5)
    assert tenants.account("Gina").not_after - begun in range(30 * DAY, 30 * DAY + 6)
    await world.advance(6 * DAY, step=600)
    assert tenants.account("Gina").not_after - begun in range(30 * DAY, 30 * DAY + 6)
    await world.advance(2 * DAY, step=600)
    assert tenants.account("Gina").not_after - begun in range(37 * DAY, 37 * DAY + 7200)
    await world.advance(14 * DAY, step=600)
    assert tenants.account("Gina").not_after == begun + 45 * DAY
    tenants.change(gina, not_after=0)
    await world.advance(5)
    assert tenants.state("Gina") == "active"
    tenants.lock.silent = True
    await world.advance(35 * DAY, step=3600)
    assert not tenants.lock.core.clock.allows(tenants.account("Gina"))


async def test_uses_fall_with_the_log_and_are_not_refilled_by_another_change(
    world: World, tenants: Tenants
) -> None:
    anna = tenants.add("Anna", "482913", uses=3)
    await world.advance(5)
    assert tenants.opens("482913")
    await world.advance(10)
    assert tenants.account("Anna").uses == 2
    assert tenants.access("Anna").uses_left == 2
    tenants.change(anna, last_minute=600)
    await world.advance(5)
    assert tenants.account("Anna").uses == 2
    assert tenants.account("Anna").days == 0x7F
    person = tenants.coordinator.home.persons()[anna]
    await tenants.coordinator.home.async_count_anew(person)
    await world.advance(5)
    assert tenants.account("Anna").uses == 3


async def test_a_ledger_that_cannot_be_stored_keeps_everything_from_the_lock(
    world: World, tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(_self: Any) -> dict[str, Any]:
        return {}

    monkeypatch.setattr("custom_components.igrs_lock.ledger.Ledger._async_stored", lost)
    tenants.add("Anna")
    await world.advance(10)
    assert not tenants.accounts()
    assert tenants.state("Anna") == "pending"


async def test_a_lock_without_keypad_gets_no_pin_and_none_is_kept(
    world: World, tenants: Tenants
) -> None:
    other = world.add_lock(c.CAP_LATCH)
    entry = await world.pair(other)
    second = Tenants(world, other, entry)
    tenants.add("Anna", "482913", locks=frozenset((tenants.lock.unique_id, other.unique_id)))
    await world.advance(10)
    assert second.access("Anna").pin.value == "none"
    assert second.state("Anna") == "active"
    assert not second.keeper.ledger.pins
    assert tenants.opens("482913")


async def test_people_who_are_gone_are_asked_about_and_come_back(
    hass: HomeAssistant, world: World, tenants: Tenants
) -> None:
    tenants.add("Anna")
    await world.advance(5)
    key = tenants.key("Anna")
    await hass.config_entries.async_remove(tenants.people.entry_id)
    await world.advance(10)
    assert list(tenants.issues().values()) == ["people_gone"]
    assert len(tenants.accounts()) == 1
    await tenants.answer("people_gone", "restore")
    assert not tenants.issues()
    assert tenants.key("Anna") == key
    assert tenants.state("Anna") == "active"
    await hass.config_entries.async_set_disabled_by(
        tenants.people.entry_id, ConfigEntryDisabler.USER
    )
    await world.advance(10)
    assert list(tenants.issues().values()) == ["people_gone"]
    await tenants.answer("people_gone", "restore")
    assert not tenants.issues()
    assert tenants.key("Anna") == key


@pytest.mark.parametrize("choice", ["keep", "revoke"])
async def test_people_who_are_gone_can_be_kept_or_removed_from_the_locks(
    hass: HomeAssistant, world: World, tenants: Tenants, choice: str
) -> None:
    tenants.add("Anna")
    await world.advance(5)
    await hass.config_entries.async_remove(tenants.people.entry_id)
    await world.advance(10)
    await tenants.answer("people_gone", choice)
    assert not tenants.issues()
    assert len(tenants.accounts()) == (1 if choice == "keep" else 0)
    assert not hass.config_entries.async_entry_for_domain_unique_id(DOMAIN, "people")


async def test_a_newcomer_whose_pin_is_taken_has_access_without_one(
    world: World, tenants: Tenants
) -> None:
    tenants.add("Anna", "482913")
    await world.advance(8)
    tenants.add("Bob", "482913", not_after=int(world.now()) + DAY)
    await world.advance(8)
    assert tenants.state("Bob") == "active"
    assert tenants.access("Bob").pin.value == "taken"
    assert not tenants.account("Bob").pin
    assert tenants.account("Bob").not_after
    assert "482913" not in repr(tenants.keeper.ledger)
    assert "482913" not in repr(tenants.keeper.access())
