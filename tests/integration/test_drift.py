"""What others change on a lock, and what a restored backup does not know: asked, never mended."""

from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from homeassistant.helpers import issue_registry as ir
from tenants import Backup, Tenants, restart
from world import DOMAIN

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.person import Kind

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from world import World

DAY = 86400
KEYPAD = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD


@pytest.fixture
def lock(world: World) -> TestLock:
    """A lock with a keypad."""
    return world.add_lock(KEYPAD)


@pytest.fixture
async def tenants(world: World, lock: TestLock, entry: ConfigEntry[Any]) -> Tenants:
    """Anna has a PIN; nothing is pending."""
    await world.advance(10)
    tenants = Tenants(world, lock, entry)
    tenants.add("Anna", "482913")
    await world.advance(10)
    assert not tenants.issues()
    return tenants


# --- another manager ------------------------------------------------------------------------------


async def test_a_manager_who_suspends_somebody_is_told_of_and_not_undone(
    world: World, tenants: Tenants
) -> None:
    tenants.add("Maria", rights=ilp.Right.LOCK | ilp.Right.UNLOCK)
    await world.advance(8)
    phone = await tenants.manager()
    await world.advance(10)
    # That a right to manage was given is a difference as well.
    assert tenants.drifts() == ["drift_changed"]
    await tenants.answer("drift_changed", "keep")
    assert not tenants.issues()
    slot = tenants.key("Anna").slot
    assert await phone.ask(ilp.requests.set_rights(slot, ilp.Right.UNLOCK)) == [0, 0]
    await world.advance(10)
    assert tenants.state("Anna") == "question"
    assert tenants.account("Anna").rights == 2
    result = await tenants.ask("drift_changed")
    facts = result["description_placeholders"]
    assert facts["name"] == tenants.entry.title
    assert facts["person"] == "Anna"
    assert "Maria" in facts["told"]
    assert "suspended" in facts["found"]
    assert "Unlock" in facts["found"]
    await tenants.choose(result, "restore")
    assert not tenants.issues()
    assert tenants.account("Anna").rights == 0xAF
    assert tenants.access("Anna").pin.value == "none"  # Maria might know it


async def test_a_manager_who_widens_an_account_is_asked_about_and_can_be_revoked(
    world: World, tenants: Tenants
) -> None:
    tenants.add("Maria")
    gina = tenants.add("Gina", kind=Kind.GUEST)
    await world.advance(8)
    phone = await tenants.manager()
    slot = tenants.key("Gina").slot
    await phone.ask(ilp.requests.set_validity(slot, 0, 0))
    await world.advance(10)
    assert tenants.drifts() == ["drift_changed", "drift_changed"]
    assert tenants.account("Gina").not_after == 0
    names = {
        issue.translation_placeholders["person"]: issue.issue_id
        for issue in ir.async_get(tenants.hass).issues.values()
        if issue.domain == DOMAIN and issue.translation_placeholders
    }
    assert set(names) == {"Maria", "Gina"}
    keeper = tenants.keeper
    question = keeper.ledger.questions[gina]
    from custom_components.igrs_lock.drift import Choice  # noqa: PLC0415

    assert await world.during(keeper.async_decide(gina, Choice.REVOKE, question))
    await world.advance(10)
    assert "Gina" not in [one.name for one in keeper.access()]
    assert tenants.coordinator.home.persons()[gina].locks == frozenset()
    assert len(tenants.accounts()) == 2


async def test_a_manager_who_removes_somebody_is_not_undone(world: World, tenants: Tenants) -> None:
    tenants.add("Maria")
    await world.advance(8)
    phone = await tenants.manager()
    await world.advance(8)
    await tenants.answer("drift_changed", "keep")
    key = tenants.key("Anna")
    assert await phone.ask(ilp.requests.remove_account(key.account_id)) == [0, 0]
    await world.advance(120)
    assert tenants.drifts() == ["drift_missing"]
    assert tenants.state("Anna") == "question"
    assert len(tenants.accounts()) == 1
    assert world.state(tenants.lock) != "unavailable"  # the new epoch is followed
    await tenants.answer("drift_missing", "restore")
    assert tenants.state("Anna") == "active"
    assert tenants.key("Anna").account_id != key.account_id
    assert not tenants.issues()


async def test_who_is_removed_in_home_assistant_goes_whatever_else_is_asked(
    world: World, tenants: Tenants
) -> None:
    maria = tenants.add("Maria")
    await world.advance(8)
    phone = await tenants.manager()
    anna = next(iter(tenants.people.subentries))
    slot = tenants.key("Anna").slot
    await phone.ask(ilp.requests.set_weekly_hours(slot, ilp.Weekday(0x7F), 0, 1439))
    await world.advance(10)
    assert tenants.drifts() == ["drift_changed", "drift_changed"]
    tenants.change(maria, suspended=True)
    await world.advance(10)
    assert not tenants.account("Maria").rights & 0x80  # what is taken away needs no answer
    assert tenants.state("Maria") == "question"
    tenants.remove(anna)
    tenants.remove(maria)
    await world.advance(10)
    assert not tenants.accounts()
    assert not tenants.issues()


async def test_another_pin_is_asked_about_though_the_account_looks_the_same(
    world: World, tenants: Tenants
) -> None:
    other = tenants.controller()
    await other.request(ilp.requests.set_pin(tenants.key("Anna").slot, "770011"))
    await world.advance(10)
    assert tenants.drifts() == ["drift_changed"]
    await tenants.answer("drift_changed", "restore")
    assert not tenants.opens("770011")
    await world.advance(70)
    assert not tenants.opens("482913")
    assert tenants.access("Anna").pin.value == "none"
    assert not tenants.issues()


# --- an unknown account ---------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["keep", "revoke"])
async def test_an_unknown_account_is_asked_about(
    world: World, tenants: Tenants, choice: str
) -> None:
    other = tenants.controller()
    account_id = ilp.new_account_id()
    await other.request(
        ilp.requests.write_account(account_id),
        ilp.requests.set_rights(2, ilp.Right.ENABLED | ilp.Right.UNLOCK),
    )
    await world.advance(10)
    assert tenants.drifts() == ["drift_unknown"]
    (issue_id,) = tenants.issues()
    assert ilp.format_account_id(account_id) not in issue_id
    result = await tenants.ask("drift_unknown")
    assert "Unlock" in result["description_placeholders"]["found"]
    await tenants.choose(result, choice)
    assert not tenants.issues()
    assert len(tenants.accounts()) == (2 if choice == "keep" else 1)
    if choice == "revoke":
        return
    assert [one.state.value for one in tenants.keeper.access()] == ["active", "unknown"]
    tenants.add("Bob")
    await world.advance(8)
    assert tenants.state("Bob") == "active"  # the lock is as this home knows it
    await other.request(ilp.requests.set_rights(2, ilp.Right.ENABLED | ilp.Right.OPEN))
    await world.advance(10)
    assert tenants.drifts() == ["drift_changed_unknown"]
    await tenants.answer("drift_changed_unknown", "revoke")
    assert not tenants.issues()
    assert sorted(one.name for one in tenants.keeper.access()) == ["Anna", "Bob"]


async def test_a_strangers_slot_is_not_told_as_that_of_the_one_before(
    world: World, tenants: Tenants
) -> None:
    anna = next(iter(tenants.people.subentries))
    slot = tenants.key("Anna").slot
    tenants.remove(anna)
    await world.advance(8)
    other = tenants.controller()
    await other.request(ilp.requests.get_log(0), ilp.requests.write_account(ilp.new_account_id()))
    await world.advance(10)
    ledger = tenants.coordinator.home.ledger
    counter = tenants.lock.core.counter
    assert ledger.holder(tenants.lock.unique_id, slot, counter) is None


async def test_this_homes_own_account_is_asked_about_when_it_was_changed(
    world: World, tenants: Tenants
) -> None:
    slot = tenants.entry.data["account_slot"]
    other = tenants.controller()
    everything = ilp.Right(0xFF)
    await other.request(ilp.requests.set_rights(slot, everything))
    await world.advance(10)
    assert tenants.drifts() == ["drift_changed_home"]
    await tenants.answer("drift_changed_home", "restore")
    own = tenants.lock.core.accounts.get(slot)
    assert own is not None
    assert own.rights == 0xAF
    assert not tenants.issues()
    await other.request(ilp.requests.set_rights(slot, everything))
    await world.advance(10)
    await tenants.answer("drift_changed_home", "keep")
    assert not tenants.issues()
    assert not tenants.keeper.pending


# --- stale answers --------------------------------------------------------------------------------


async def test_an_answer_to_what_has_changed_meanwhile_is_not_applied(
    world: World, tenants: Tenants
) -> None:
    other = tenants.controller()
    slot = tenants.key("Anna").slot
    await other.request(ilp.requests.set_rights(slot, ilp.Right.ENABLED | ilp.Right.LOCK))
    await world.advance(10)
    asked = await tenants.ask("drift_changed")
    await other.request(ilp.requests.set_rights(slot, ilp.Right(0x91)))
    result = await tenants.choose(asked, "keep")
    assert result["type"] == "abort"
    assert result["reason"] == "changed_meanwhile"
    assert tenants.drifts() == ["drift_changed"]
    result = await tenants.answer("drift_changed", "keep")
    assert result["type"] == "create_entry"
    assert not tenants.drifts()
    assert tenants.account("Anna").rights == 0x91


async def test_an_answer_out_of_reach_waits_and_is_not_applied_to_something_else(
    world: World, tenants: Tenants
) -> None:
    other = tenants.controller()
    slot = tenants.key("Anna").slot
    await other.request(ilp.requests.set_rights(slot, ilp.Right(0x81)))
    await world.advance(10)
    tenants.lock.silent = True
    await world.advance(120)
    result = await tenants.answer("drift_changed", "restore")
    assert result["type"] == "create_entry"
    assert tenants.state("Anna") == "pending"
    await other.request(ilp.requests.set_rights(slot, ilp.Right(0x82)))
    tenants.lock.silent = False
    await world.advance(15)
    assert tenants.drifts() == ["drift_changed"]
    assert tenants.account("Anna").rights == 0x82


async def test_a_repair_of_a_lock_that_is_not_set_up_does_nothing(
    world: World, tenants: Tenants
) -> None:
    other = tenants.controller()
    await other.request(ilp.requests.set_rights(tenants.key("Anna").slot, ilp.Right(0x81)))
    await world.advance(10)
    asked = await tenants.ask("drift_changed")
    question = tenants.keeper.ledger.questions
    assert question
    question.clear()
    result = await tenants.choose(asked, "revoke")
    assert result["reason"] == "changed_meanwhile"


# --- a restored backup ----------------------------------------------------------------------------


async def test_a_restored_backup_revives_nobody_who_was_removed(
    world: World, tenants: Tenants
) -> None:
    anna = next(iter(tenants.people.subentries))
    key = tenants.key("Anna")
    backup = Backup(tenants)
    await world.advance(DAY, step=600)
    tenants.remove(anna)
    await world.advance(10)
    await backup.restore()
    await world.advance(60)
    assert not tenants.accounts()
    assert tenants.drifts() == ["drift_missing"]
    await tenants.answer("drift_missing", "keep")
    assert not tenants.issues()
    assert not tenants.accounts()
    assert tenants.coordinator.home.persons()[anna].locks == frozenset()
    assert await tenants.phone(key).ask(ilp.requests.get_status()) == [-2]
    await world.advance(60)
    assert world.state(tenants.lock) == "locked"


async def test_a_restored_backup_asks_about_who_was_added_and_who_was_given_another_pin(
    world: World, tenants: Tenants
) -> None:
    anna = next(iter(tenants.people.subentries))
    backup = Backup(tenants)
    tenants.add("Bob")
    await tenants.set_pin(anna, "771209")
    await world.advance(10)
    await backup.restore()
    await world.advance(60)
    assert tenants.drifts() == ["drift_changed", "drift_unknown"]
    await tenants.answer("drift_unknown", "revoke")
    await tenants.answer("drift_changed", "keep")
    assert not tenants.issues()
    assert [one.name for one in tenants.keeper.access()] == ["Anna"]
    assert tenants.opens("771209")


async def test_a_restored_backup_writes_nothing_that_waited_when_it_was_made(
    world: World, tenants: Tenants
) -> None:
    tenants.lock.silent = True
    await world.advance(120)
    bob = tenants.add("Bob")
    await world.advance(10)
    backup = Backup(tenants)
    tenants.lock.silent = False
    await world.advance(15)
    assert tenants.state("Bob") == "active"
    tenants.remove(bob)
    await world.advance(10)
    assert len(tenants.accounts()) == 1
    await backup.restore()
    await world.advance(60)
    assert tenants.drifts() == ["drift_pending"]
    assert len(tenants.accounts()) == 1
    await tenants.answer("drift_pending", "restore")
    assert tenants.state("Bob") == "active"
    assert not tenants.issues()


async def test_a_restored_backup_leaves_somebody_suspended_who_was_since(
    world: World, tenants: Tenants
) -> None:
    anna = next(iter(tenants.people.subentries))
    backup = Backup(tenants)
    tenants.change(anna, suspended=True)
    await world.advance(10)
    await backup.restore()
    await world.advance(60)
    assert tenants.drifts() == ["drift_changed"]
    assert not tenants.account("Anna").rights & 0x80
    tenants.change(anna, uses=5)
    await world.advance(10)
    assert not tenants.account("Anna").rights & 0x80
    await tenants.answer("drift_changed", "restore")
    assert tenants.account("Anna").rights == 0xAF


async def test_a_restored_backup_does_not_ask_about_a_lease_that_was_renewed_since(
    world: World, tenants: Tenants
) -> None:
    tenants.add("Gina", kind=Kind.GUEST)
    await world.advance(10)
    backup = Backup(tenants)
    await world.advance(8 * DAY, step=600)
    end = tenants.account("Gina").not_after
    await backup.restore()
    await world.advance(60)
    assert not tenants.drifts()
    assert tenants.account("Gina").not_after == end


async def test_a_change_that_waited_is_asked_about_when_others_wrote(
    world: World, tenants: Tenants
) -> None:
    anna = next(iter(tenants.people.subentries))
    bob = tenants.add("Bob", uses=5)
    await world.advance(10)
    tenants.lock.silent = True
    await world.advance(120)
    tenants.change(anna, not_after=int(world.now()) + DAY)
    tenants.change(bob, uses=9)
    await world.advance(5)
    other = tenants.controller()
    await other.request(ilp.requests.write_account(ilp.new_account_id()))
    tenants.lock.silent = False
    await world.advance(15)
    assert tenants.drifts() == ["drift_pending_change", "drift_unknown"]
    assert tenants.account("Anna").not_after  # less is written all the same
    assert tenants.account("Bob").uses == 5
    await tenants.answer("drift_pending_change", "keep")
    assert tenants.account("Bob").uses == 5
    assert tenants.drifts() == ["drift_unknown"]
    tenants.change(bob, uses=7)
    await world.advance(10)
    assert tenants.account("Bob").uses == 7


async def test_a_lost_ledger_asks_about_everybody_and_adds_nobody(
    world: World, tenants: Tenants
) -> None:
    backup = Backup(tenants)
    backup.ledger = {"locks": {tenants.lock.unique_id: {"known": "nonsense"}}}
    await backup.restore()
    await world.advance(60)
    assert tenants.drifts() == ["drift_pending", "drift_unknown"]
    assert len(tenants.accounts()) == 1
    await tenants.answer("drift_unknown", "revoke")
    await tenants.answer("drift_pending", "restore")
    assert tenants.state("Anna") == "active"
    assert not tenants.issues()


# --- at the edges ---------------------------------------------------------------------------------


async def test_everybody_is_removed_also_from_a_lock_that_others_changed_since(
    world: World, tenants: Tenants
) -> None:
    """Without the People entry nothing else is judged or written."""
    key = tenants.key("Anna")
    await tenants.hass.config_entries.async_remove(tenants.people.entry_id)
    other = tenants.controller()
    await other.request(ilp.requests.write_account(ilp.new_account_id()))
    await other.request(ilp.requests.set_pin(key.slot, "771209"))
    await world.advance(10)
    assert set(tenants.issues().values()) == {"people_gone"}
    await tenants.answer("people_gone", "revoke")
    assert [one.account_id == key.account_id for one in tenants.accounts()] == [False]
    assert not tenants.issues()
    assert not tenants.keeper.pending


async def test_people_who_come_back_find_what_others_changed_meanwhile_asked(
    world: World, tenants: Tenants
) -> None:
    await tenants.hass.config_entries.async_remove(tenants.people.entry_id)
    other = tenants.controller()
    await other.request(ilp.requests.set_rights(tenants.key("Anna").slot, ilp.Right(0x81)))
    await world.advance(10)
    await tenants.answer("people_gone", "restore")
    await world.advance(10)
    assert tenants.drifts() == ["drift_changed"]
    assert tenants.account("Anna").rights == 0x81


async def test_a_decision_that_cannot_be_stored_is_not_done(
    world: World, tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tenants.controller()
    await other.request(ilp.requests.set_rights(tenants.key("Anna").slot, ilp.Right(0x81)))
    await world.advance(10)
    result = await tenants.ask("drift_changed")

    async def lost(_self: Any) -> dict[str, Any]:
        return {}

    monkeypatch.setattr("custom_components.igrs_lock.ledger.Ledger._async_stored", lost)
    done = await tenants.choose(result, "restore")
    assert (done["type"], done["reason"]) == ("abort", "not_saved")
    assert tenants.account("Anna").rights == 0x81


async def test_a_repair_says_so_when_its_lock_is_disabled(world: World, tenants: Tenants) -> None:
    other = tenants.controller()
    await other.request(ilp.requests.set_rights(tenants.key("Anna").slot, ilp.Right(0x81)))
    await world.advance(10)
    await tenants.hass.config_entries.async_unload(tenants.entry.entry_id)
    result = await tenants.ask("drift_changed")
    assert (result["type"], result["reason"]) == ("abort", "not_loaded")


async def test_an_end_that_was_decided_is_not_undone_by_a_restart(
    world: World, tenants: Tenants
) -> None:
    """Home Assistant dies before the person's list is on its disk."""
    anna = next(iter(tenants.people.subentries))
    before = dict(tenants.people.subentries[anna].data)
    other = tenants.controller()
    await other.request(ilp.requests.set_rights(tenants.key("Anna").slot, ilp.Right(0x81)))
    await world.advance(10)
    ledger = tenants.keeper.ledger
    ledger.ended.append(anna)
    ledger.questions.clear()
    tenants.hass.config_entries.async_update_subentry(
        tenants.people, tenants.people.subentries[anna], data={**before, "suspended": True}
    )
    await world.advance(10)
    assert tenants.coordinator.home.persons()[anna].locks == frozenset()
    assert not tenants.accounts()
    assert ledger.ended
    await restart(tenants)
    await world.advance(10)
    assert not tenants.keeper.ledger.ended
    tenants.change(anna, locks=frozenset((tenants.lock.unique_id,)), suspended=False)
    await world.advance(10)
    assert tenants.state("Anna") == "active"


async def test_who_was_ended_can_be_let_in_again_at_once(world: World, tenants: Tenants) -> None:
    anna = next(iter(tenants.people.subentries))
    other = tenants.controller()
    await other.request(ilp.requests.set_rights(tenants.key("Anna").slot, ilp.Right(0x81)))
    await world.advance(10)
    await tenants.answer("drift_changed", "revoke")
    assert not tenants.accounts()
    tenants.change(anna, locks=frozenset((tenants.lock.unique_id,)))
    await world.advance(10)
    assert tenants.state("Anna") == "active"
    assert not tenants.issues()


async def test_a_lock_that_was_not_paired_anew_after_all_gets_nobody_twice(
    world: World, tenants: Tenants
) -> None:
    key = tenants.key("Anna")
    await tenants.coordinator.home.async_renew_lock(tenants.lock.unique_id)
    assert tenants.state("Anna") == "question"
    # The lock was not: its old accounts are found to be there, and nothing is added.
    tenants.coordinator.home.async_people_changed()
    await world.advance(10)
    assert tenants.drifts() == ["drift_paired", "drift_unknown"]
    assert [one.account_id for one in tenants.accounts()] == [key.account_id]


async def test_a_lock_that_is_removed_takes_its_questions_along(
    world: World, tenants: Tenants
) -> None:
    other = tenants.controller()
    await other.request(ilp.requests.set_rights(tenants.key("Anna").slot, ilp.Right(0x81)))
    await world.advance(10)
    assert tenants.issues()
    await tenants.hass.config_entries.async_remove(tenants.entry.entry_id)
    await world.advance(1)
    assert not tenants.issues()
