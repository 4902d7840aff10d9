"""Who has access to a door, and everybody who wants more of it: none of them may get it."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from folk import Folk
from homeassistant.auth.const import GROUP_ID_ADMIN, GROUP_ID_USER
from homeassistant.config_entries import SOURCE_RECONFIGURE, ConfigEntryDisabler
from homeassistant.core import Context
from homeassistant.exceptions import Unauthorized
from tenants import Backup, Tenants, restart
from world import DOMAIN, SETUP_CODE

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.account_session import AccountSession
from custom_components.igrs_lock.errors import LedgerNotSavedError, NotAllowedError, RefusedError
from custom_components.igrs_lock.ledger import Ledger
from custom_components.igrs_lock.person import Kind

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant
    from world import World

DAY = 86400
KEYPAD = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD | c.CAP_AUTO_LOCK


@pytest.fixture
def lock(world: World) -> TestLock:
    """A lock with a keypad."""
    return world.add_lock(KEYPAD)


@pytest.fixture
async def tenants(world: World, lock: TestLock, entry: ConfigEntry[Any]) -> Tenants:
    """Nobody yet; what the pairing left to do is done."""
    await world.advance(10)
    return Tenants(world, lock, entry)


@pytest.fixture
async def guest(hass: HomeAssistant) -> str:
    """The Home Assistant user of a guest, no administrator."""
    await hass.auth.async_create_user("Owner", group_ids=[GROUP_ID_ADMIN])  # the first one is
    return (await hass.auth.async_create_user("Ben", group_ids=[GROUP_ID_USER])).id


async def turn(world: World, lock: TestLock, user_id: str, service: str = "unlock") -> None:
    """Let a user operate the lock."""
    await world.during(
        world.hass.services.async_call(
            "lock",
            service,
            {"entity_id": f"lock.{lock.entity}"},
            blocking=True,
            context=Context(user_id=user_id),
        )
    )


# --- users of Home Assistant ----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["removed", "tied no more", "removed, and restarted since"])
async def test_a_guest_who_is_removed_does_not_become_the_home(
    world: World, lock: TestLock, tenants: Tenants, guest: str, how: str
) -> None:
    ben = tenants.add("Ben", kind=Kind.GUEST, user_id=guest)
    await world.advance(10)
    await turn(world, lock, guest)
    assert len(lock.operations) == 1
    if how == "tied no more":
        tenants.change(ben, user_id=None)
    else:
        tenants.remove(ben)
    await world.advance(10)
    if "restarted" in how:
        await restart(tenants)
        await world.advance(10)
    with pytest.raises(NotAllowedError) as failure:
        await turn(world, lock, guest)
    assert failure.value.translation_placeholders == {"name": tenants.entry.title, "person": "Ben"}
    assert len(lock.operations) == 1
    with pytest.raises(Unauthorized):
        await read(tenants, "get_log", guest)
    # The owner lets them in again as somebody.
    tenants.add("Benjamin", user_id=guest)
    await world.advance(10)
    await turn(world, lock, guest, "lock")
    assert len(lock.operations) == 2


async def test_an_owner_who_takes_himself_off_the_list_is_not_locked_out(
    hass: HomeAssistant, world: World, lock: TestLock, tenants: Tenants
) -> None:
    owner = await hass.auth.async_create_user("Owner", group_ids=[GROUP_ID_ADMIN])
    person = tenants.add("Owner", user_id=owner.id)
    await world.advance(10)
    tenants.remove(person)
    await world.advance(10)
    await turn(world, lock, owner.id)
    assert len(lock.operations) == 1


async def test_a_guest_changes_nothing_of_how_the_lock_works(
    hass: HomeAssistant, world: World, lock: TestLock, tenants: Tenants, guest: str
) -> None:
    tenants.add("Ben", user_id=guest)
    await world.advance(10)
    before = world.state(lock, "switch", "_keypad"), world.state(lock, "number", "_auto_lock_delay")
    calls = [
        ("switch", "turn_off", f"switch.{lock.entity}_keypad", {}),
        ("switch", "turn_on", f"switch.{lock.entity}_keypad", {}),
        ("number", "set_value", f"number.{lock.entity}_auto_lock_delay", {"value": 0}),
        ("button", "press", f"button.{lock.entity}_identify", {}),
    ]
    for domain, service, entity_id, data in calls:
        assert hass.states.get(entity_id) is not None, hass.states.async_entity_ids()
        with pytest.raises(NotAllowedError):
            await world.during(
                hass.services.async_call(
                    domain,
                    service,
                    {"entity_id": entity_id, **data},
                    blocking=True,
                    context=Context(user_id=guest),
                )
            )
    await world.advance(10)
    after = world.state(lock, "switch", "_keypad"), world.state(lock, "number", "_auto_lock_delay")
    assert after == before


async def read(tenants: Tenants, action: str, user_id: str) -> Any:
    """Let a user call a reading action."""
    entity_id = f"lock.{tenants.lock.entity}"
    answer: Any = await tenants.world.during(
        tenants.hass.services.async_call(
            DOMAIN,
            action,
            {"entity_id": entity_id},
            blocking=True,
            return_response=True,
            context=Context(user_id=user_id),
        )
    )
    return answer[entity_id]


async def test_a_guest_reads_no_log_and_nothing_of_others(
    world: World, tenants: Tenants, guest: str
) -> None:
    tenants.add("Anna")
    ben = tenants.add("Ben", kind=Kind.GUEST, user_id=guest)
    await world.advance(10)
    assert [row["name"] for row in (await read(tenants, "get_users", guest))["users"]] == ["Ben"]
    with pytest.raises(Unauthorized):
        await read(tenants, "get_log", guest)
    rights = tenants.coordinator.home.persons()[ben].rights | ilp.Right.READ_LOG
    tenants.change(ben, rights=rights)
    await world.advance(10)
    assert (await read(tenants, "get_log", guest))["entries"]
    tenants.change(ben, suspended=True)
    await world.advance(10)
    with pytest.raises(Unauthorized):
        await read(tenants, "get_log", guest)


async def test_many_requests_made_before_a_removal_do_not_put_it_off(
    world: World, lock: TestLock, tenants: Tenants, guest: str
) -> None:
    ben = tenants.add("Ben", user_id=guest)
    await world.advance(10)
    tasks = [tenants.hass.async_create_task(turn(world, lock, guest, "lock")) for _ in range(30)]
    await world.settle()
    tenants.remove(ben)
    await world.advance(20)
    assert not tenants.accounts()
    assert len(lock.operations) <= 2
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(one, NotAllowedError) for one in done) >= 20


# --- the list goes and comes back -----------------------------------------------------------------


@pytest.mark.parametrize("how", ["removed", "disabled"])
async def test_who_was_removed_from_every_lock_does_not_come_back_with_the_list(
    hass: HomeAssistant, world: World, tenants: Tenants, how: str
) -> None:
    tenants.add("Anna", "482913")
    await world.advance(10)
    people = tenants.people.entry_id
    if how == "removed":
        await hass.config_entries.async_remove(people)
    else:
        await hass.config_entries.async_set_disabled_by(people, ConfigEntryDisabler.USER)
    await world.advance(10)
    await tenants.answer("people_gone", "revoke")
    assert not tenants.accounts()
    if how == "removed":
        await hass.config_entries.flow.async_init(DOMAIN, context={"source": "system"})
    else:
        await hass.config_entries.async_set_disabled_by(people, None)
    await world.advance(60)
    assert not tenants.accounts()
    assert [one.name for one in tenants.coordinator.home.persons().values()] == ["Anna"]
    assert not tenants.issues()


async def test_who_was_let_be_can_be_removed_when_the_list_is_back(
    hass: HomeAssistant, world: World, tenants: Tenants
) -> None:
    anna = tenants.add("Anna", "482913")
    await world.advance(10)
    key = tenants.key("Anna")
    await hass.config_entries.async_remove(tenants.people.entry_id)
    await world.advance(10)
    await tenants.answer("people_gone", "keep")
    await restart(tenants)
    await world.advance(10)
    assert not tenants.issues()
    await hass.config_entries.flow.async_init(DOMAIN, context={"source": "system"})
    await world.advance(30)
    assert [one.account_id for one in tenants.accounts()] == [key.account_id]
    assert tenants.state("Anna") == "active"
    tenants.remove(anna)
    await world.advance(20)
    assert not tenants.accounts()
    # It is asked about anew if it happens again.
    tenants.add("Ben")
    await world.advance(10)
    await hass.config_entries.async_remove(tenants.people.entry_id)
    await world.advance(5)
    assert list(tenants.issues().values()) == ["people_gone"]


async def test_what_was_kept_without_the_list_is_kept_when_it_is_back(
    hass: HomeAssistant, world: World, tenants: Tenants
) -> None:
    tenants.add("Anna")
    await world.advance(10)
    other = tenants.controller()
    await other.request(ilp.requests.set_rights(tenants.key("Anna").slot, ilp.Right(0x02)))
    await world.advance(10)
    people = tenants.people.entry_id
    await hass.config_entries.async_set_disabled_by(people, ConfigEntryDisabler.USER)
    await world.advance(5)
    await tenants.answer("drift_changed", "keep")
    await hass.config_entries.async_set_disabled_by(people, None)
    await world.advance(30)
    assert tenants.account("Anna").rights == 0x02


async def test_who_is_removed_while_the_lock_is_disabled_is_named(
    hass: HomeAssistant, world: World, tenants: Tenants
) -> None:
    anna = tenants.add("Anna")
    await world.advance(10)
    entry_id = tenants.entry.entry_id
    await hass.config_entries.async_set_disabled_by(entry_id, ConfigEntryDisabler.USER)
    await world.advance(5)
    tenants.remove(anna)
    await world.advance(5)
    assert list(tenants.issues().values()) == ["removal_pending_not_loaded"]
    await hass.config_entries.async_set_disabled_by(entry_id, None)
    await world.advance(20)
    assert not tenants.accounts()
    assert not tenants.issues()


async def test_a_lock_given_back_while_it_is_disabled_is_not_taken_again(
    hass: HomeAssistant, world: World, tenants: Tenants
) -> None:
    anna = tenants.add("Anna")
    await world.advance(10)
    key = tenants.key("Anna")
    entry_id = tenants.entry.entry_id
    await hass.config_entries.async_set_disabled_by(entry_id, ConfigEntryDisabler.USER)
    await world.advance(5)
    tenants.change(anna, locks=frozenset())
    await world.advance(5)
    tenants.change(anna, locks=frozenset((tenants.lock.unique_id,)))
    await world.advance(5)
    await hass.config_entries.async_set_disabled_by(entry_id, None)
    await world.advance(20)
    assert tenants.state("Anna") == "active"
    assert tenants.key("Anna").account_id != key.account_id
    assert len(tenants.accounts()) == 1


async def test_a_removal_outlives_a_crash_before_the_list_is_on_the_disk(
    hass: HomeAssistant, world: World, tenants: Tenants
) -> None:
    anna = tenants.add("Anna")
    await world.advance(10)
    before = Backup(tenants)
    tenants.remove(anna)
    await world.advance(10)
    assert not tenants.accounts()
    before.ledger = tenants.coordinator.home.ledger._data()
    before.log = tenants.coordinator.log._book.as_dict()
    await before.restore()  # the list alone is as it was
    await world.advance(60)
    assert not tenants.accounts()
    assert not tenants.coordinator.home.persons()[anna].locks
    # Whom the owner adds again is let in.
    tenants.change(anna, locks=frozenset((tenants.lock.unique_id,)))
    await world.advance(10)
    assert tenants.state("Anna") == "active"


# --- pairing anew ---------------------------------------------------------------------------------


async def pair_again(world: World, entry: ConfigEntry[Any], lock: TestLock) -> dict[str, Any]:
    """Pair with a lock that has an entry; returns the question who may use it."""
    await world.advance(6)
    lock.core.inner_button_held(10)
    await world.advance(2)
    flows = world.hass.config_entries.flow
    result: dict[str, Any] = dict(
        await flows.async_init(
            DOMAIN, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
        )
    )
    result = await world.submit(result, {"next_step_id": "pair_again"})
    result = await world.submit(result, {"setup_code": SETUP_CODE})
    assert result["reason"] == "paired_again", result
    _, flow_id = result["next_flow"]
    return dict(await flows.async_configure(flow_id))


@pytest.mark.parametrize("answer", ["restore", "keep"])
async def test_paired_anew_nobody_is_let_in_before_the_owner_says_so(
    world: World, lock: TestLock, tenants: Tenants, answer: str
) -> None:
    tenants.add("Anna", "482913")
    await world.advance(10)
    old = tenants.key("Anna")
    await tenants.set_pin(next(iter(tenants.people.subentries)), "739154")
    await pair_again(world, tenants.entry, lock)  # and closes the dialog
    await world.advance(60)
    assert not tenants.accounts()
    assert tenants.state("Anna") == "question"
    assert tenants.drifts() == ["drift_paired"]
    await restart(tenants)
    await world.advance(30)
    assert tenants.drifts() == ["drift_paired"]
    assert not tenants.accounts()
    await tenants.answer("drift_paired", answer)
    await world.advance(20)
    assert not tenants.issues()
    if answer == "keep":
        assert not tenants.accounts()
        return
    assert tenants.key("Anna").account_id != old.account_id
    assert tenants.access("Anna").pin.value == "none"
    assert not tenants.opens("739154")


async def test_paired_anew_those_are_let_in_whom_the_owner_chooses(
    world: World, lock: TestLock, tenants: Tenants
) -> None:
    anna = tenants.add("Anna")
    tenants.add("Ben")
    await world.advance(10)
    form = await pair_again(world, tenants.entry, lock)
    await world.hass.config_entries.flow.async_configure(form["flow_id"], {"people": [anna]})
    await world.advance(20)
    assert [one.name for one in tenants.keeper.access()] == ["Anna"]
    assert tenants.state("Anna") == "active"
    assert len(tenants.accounts()) == 1
    assert not tenants.issues()


async def test_paired_anew_without_the_list_nobody_comes_back_with_it(
    hass: HomeAssistant, world: World, lock: TestLock, tenants: Tenants
) -> None:
    tenants.add("Anna")
    await world.advance(10)
    await hass.config_entries.async_remove(tenants.people.entry_id)
    await world.advance(5)
    # Deleted and set up anew: as if it were a lock that nobody ever had.
    await hass.config_entries.async_remove(tenants.entry.entry_id)
    lock.core.inner_button_held(10)
    await world.advance(12)
    flows = hass.config_entries.flow
    # The menu also offers to make the list again.
    result: dict[str, Any] = dict(await flows.async_init(DOMAIN, context={"source": "user"}))
    result = await world.submit(result, {"next_step_id": "add_lock"})
    result = await world.submit(result, {"address": lock.address})
    result = await world.submit(result, {"setup_code": SETUP_CODE})
    tenants.entry = result["result"]
    await world.advance(10)
    await flows.async_init(DOMAIN, context={"source": "system"})
    await world.advance(30)
    assert not tenants.accounts()
    assert [one.locks for one in tenants.coordinator.home.persons().values()] == [frozenset()]


# --- restored backups -----------------------------------------------------------------------------


async def test_a_restored_backup_gives_no_uses_back(world: World, tenants: Tenants) -> None:
    gina = tenants.add("Gina", "482913", uses=10)
    await world.advance(10)
    tenants.lock.silent = True
    await world.advance(200, step=10)
    tenants.change(gina, uses=5)
    await world.advance(5)
    backup = Backup(tenants)
    tenants.lock.silent = False
    await world.advance(60)
    assert tenants.account("Gina").uses == 5
    assert tenants.opens("482913")
    await world.advance(5)
    assert tenants.account("Gina").uses == 4
    await backup.restore()
    await world.advance(60)
    assert tenants.account("Gina").uses == 4
    assert tenants.drifts()


async def test_a_restored_backup_does_not_put_off_an_end_that_was_decided_since(
    world: World, tenants: Tenants
) -> None:
    gina = tenants.add("Gina", kind=Kind.GUEST)
    await world.advance(10)
    backup = Backup(tenants)
    await world.advance(3 * DAY, step=3600)
    end = tenants.account("Gina").not_after + 3600
    tenants.change(gina, not_after=end)
    await world.advance(9 * DAY, step=3600)
    assert tenants.account("Gina").not_after == end
    await backup.restore()
    await world.advance(60)
    assert tenants.drifts() == ["drift_changed"]
    await world.advance(20 * DAY, step=3600)
    assert tenants.account("Gina").not_after == end


async def test_a_pin_that_a_manager_set_behind_a_gap_of_the_log_is_asked_about(
    world: World, tenants: Tenants
) -> None:
    tenants.add("Anna", "482913")
    tenants.add("Maria")
    await world.advance(10)
    phone = await tenants.manager()
    await world.advance(10)
    await tenants.answer("drift_changed", "keep")
    tenants.lock.silent = True
    await world.advance(200, step=10)
    slot = tenants.key("Anna").slot
    await phone.ask(ilp.requests.set_pin(slot, "5150"))
    for number in range(400):
        await phone.ask(ilp.requests.set_option(ilp.Option.SOUND, number % 2))
    tenants.lock.silent = False
    await world.advance(60)
    assert any(entry.event is None for entry in tenants.coordinator.log.entries)
    assert tenants.drifts() == ["drift_changed"]
    assert tenants.state("Anna") == "question"


# --- the disk and the lock say no -----------------------------------------------------------------


async def test_a_decision_that_was_not_stored_is_not_done_later_either(
    world: World, tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = tenants.add("Anna")
    await world.advance(10)
    other = tenants.controller()
    await other.request(ilp.requests.set_rights(tenants.key("Anna").slot, ilp.Right(0x02)))
    await world.advance(10)
    result = await tenants.ask("drift_changed")

    async def lost(_self: Any) -> dict[str, Any]:
        return {}

    with monkeypatch.context() as full:
        full.setattr(Ledger, "_async_stored", lost)
        done = await tenants.choose(result, "restore")
        assert done["reason"] == "not_saved"
        with pytest.raises(LedgerNotSavedError):
            await tenants.set_pin(anna, "739154")
    await world.advance(3700, step=5)
    assert tenants.account("Anna").rights == 0x02
    assert tenants.drifts() == ["drift_changed"]
    await tenants.answer("drift_changed", "keep")
    tenants.change(anna, suspended=True)
    await world.advance(20)
    assert not tenants.keeper.ledger.pins
    assert not tenants.opens("739154")


async def test_what_a_lock_refuses_for_one_keeps_nothing_from_the_others(
    world: World, tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = tenants.add("Anna")
    ben = tenants.add("Ben")
    await world.advance(10)
    slot = tenants.key("Anna").slot
    real = AccountSession.async_change

    async def refusing(self: AccountSession, account: Any, commands: Any) -> Any:
        if account.slot == slot:
            raise RefusedError("Front", result="12")
        return await real(self, account, commands)

    monkeypatch.setattr(AccountSession, "async_change", refusing)
    tenants.change(anna, uses=3)
    tenants.change(ben, suspended=True)
    await world.advance(20)
    assert tenants.state("Ben") == "suspended"
    assert not tenants.account("Ben").rights & 0x80
    assert tenants.state("Anna") == "failed"
    assert list(tenants.issues().values()) == ["access_refused"]
    monkeypatch.undo()
    await world.advance(120)
    assert tenants.account("Anna").uses == 3
    assert not tenants.issues()


# --- an owner who changes his mind ----------------------------------------------------------------


async def test_who_is_suspended_between_two_messages_is_not_enabled_by_the_second(
    world: World, tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = tenants.add("Anna", weekdays=ilp.Weekday(3))
    await world.advance(10)
    real = AccountSession.async_change
    seen: list[bool] = []

    async def slow(self: AccountSession, account: Any, commands: Any) -> Any:
        written = await real(self, account, commands)
        if not seen:
            tenants.change(anna, suspended=True)
        seen.append(bool(tenants.account("Anna").rights & 0x80))
        return written

    monkeypatch.setattr(AccountSession, "async_change", slow)
    tenants.change(anna, weekdays=ilp.Weekday(7), uses=5)
    await world.advance(20)
    assert seen
    assert not any(seen)
    monkeypatch.undo()
    tenants.change(anna, suspended=False, weekdays=ilp.Weekday(3), uses=None)
    await world.advance(20)
    account = tenants.account("Anna")
    assert (account.rights, account.days, account.uses) == (0xAF, 3, 255)


async def test_a_pin_that_is_taken_away_needs_no_answer_to_another_question(
    world: World, tenants: Tenants
) -> None:
    anna = tenants.add("Anna", "482913")
    await world.advance(10)
    other = tenants.controller()
    await other.request(ilp.requests.set_rights(tenants.key("Anna").slot, ilp.Right(0x82)))
    await world.advance(10)
    assert tenants.drifts() == ["drift_changed"]
    await tenants.set_pin(anna, "")
    await world.advance(20)
    assert not tenants.opens("482913")
    assert tenants.drifts() == ["drift_changed"]
    await tenants.answer("drift_changed", "keep")
    assert tenants.account("Anna").rights == 0x82


# --- two tabs -------------------------------------------------------------------------------------


async def test_an_old_form_gives_no_lock_back_that_was_taken_in_another_tab(
    world: World, lock: TestLock, tenants: Tenants
) -> None:
    folk = Folk(world)
    anna = await folk.add("Anna", lock)
    form = await folk.reconfigure(anna, "access")
    other = await folk.reconfigure(anna, "access")
    rights = folk.data(anna)["rights"]
    await folk.submit(other, {"locks": [], "rights": rights})
    done = await folk.submit(form, {"locks": [lock.unique_id], "rights": ["unlock"]})
    assert done["reason"] == "person_changed"
    assert folk.data(anna)["locks"] == []
    assert folk.data(anna)["rights"] == rights


async def test_an_old_question_who_may_use_a_lock_gives_nothing_back(
    world: World, lock: TestLock, tenants: Tenants
) -> None:
    folk = Folk(world)
    anna = await folk.add("Anna", lock)
    ben = await folk.add("Ben")
    flows = world.hass.config_entries.flow
    form: dict[str, Any] = dict(
        await flows.async_init(
            DOMAIN,
            context={"source": SOURCE_RECONFIGURE, "entry_id": tenants.entry.entry_id},
        )
    )
    form = dict(await flows.async_configure(form["flow_id"], {"next_step_id": "who"}))
    tenants.change(anna, locks=frozenset())
    form = dict(await flows.async_configure(form["flow_id"], {"people": [anna, ben]}))
    assert form["errors"] == {"base": "people_changed"}
    assert form["data_schema"]({}) == {"people": []}
    assert folk.data(ben)["locks"] == []
    await flows.async_configure(form["flow_id"], {"people": [ben]})
    assert folk.data(anna)["locks"] == []
    assert folk.data(ben)["locks"] == [lock.unique_id]
