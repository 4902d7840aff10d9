"""Bad luck and bad will around pairing, releasing and the time: what must not happen then."""

import asyncio
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from homeassistant.config_entries import SOURCE_RECONFIGURE
from homeassistant.core import CoreState
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.storage import Store
from homeassistant.util.file import WriteError
from test_reconfigure import entries
from world import DOMAIN, SETUP_CODE

from custom_components.igrs_lock.config_flow import IgrsLockConfigFlow
from custom_components.igrs_lock.store import PendingPairing, async_get_memory, async_get_pairings

if TYPE_CHECKING:
    from collections.abc import Callable

    from homeassistant.config_entries import ConfigFlowResult
    from homeassistant.core import HomeAssistant
    from world import TestLock, World

PAIR_CONFIRM, SEALED = 0x03, 0x13
UNUSED = PendingPairing(lock_key="00" * 16, account_id="AAAA-AAAA-AAAA-AAAA")


async def menu(hass: HomeAssistant, entry: Any, choice: str) -> dict[str, Any]:
    """Open the reconfigure menu and choose."""
    flows = hass.config_entries.flow
    result = await flows.async_init(
        DOMAIN, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
    )
    return dict(await flows.async_configure(result["flow_id"], {"next_step_id": choice}))


# --- the owner's word on the clock ----------------------------------------------------------------


async def test_pairing_anew_does_not_let_the_clock_go_back(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    """A guest's key that ended must not come to life again."""
    world.kernel_synchronised = False
    memory = await async_get_memory(hass)
    memory.vouch_for_clock()
    entry = await world.pair(lock)
    later = int(world.now()) + 1_000_000  # since then this machine's clock went back
    memory.lock(lock.unique_id)["time_set"] = later
    lock.core.inner_button_held(10)
    await world.advance(1)
    result = await world.submit(await menu(hass, entry, "pair_again"), {"setup_code": SETUP_CODE})
    assert result["reason"] == "paired_again"
    assert "time_set" not in memory.lock(lock.unique_id)
    memory.forget(lock.unique_id)
    assert memory.time_set == later
    await world.advance(61)
    await world.forget_memory()
    assert (await async_get_memory(hass)).time_set == later


async def test_what_one_lock_was_set_to_holds_for_all(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    world.kernel_synchronised = False
    memory = await async_get_memory(hass)
    memory.vouch_for_clock()
    memory.lock("a neighbour in the same home")["time_set"] = int(world.now()) + 1_000_000
    await world.pair(lock)
    assert not lock.core.clock_trusted


def lose_once(kind: int, number: int = 1) -> Callable[[bytes], bytes | None]:
    """Return an interceptor that loses one message of a kind."""
    seen: list[bytes] = []

    def lose(data: bytes) -> bytes | None:
        if data[1] != kind:
            return data
        seen.append(data)
        return None if len(seen) == number else data

    return lose


async def test_a_time_that_was_lost_is_not_sent_again_late(
    world: World, lock: TestLock, entry: Any, quiet: None
) -> None:
    """The lock would be set to the past, and trust it."""
    keeper = entry.runtime_data.time_keeper
    await world.advance(601, step=1)
    set_before = entry.runtime_data.remembered["time_set"]
    lock.on_write = lose_once(SEALED)  # the status opened the session
    keeper.async_nudge(wrong=True)
    await world.advance(30)
    assert abs(lock.core.clock.now() - world.now()) <= 2
    assert lock.kinds().count(SEALED) == 1
    assert entry.runtime_data.remembered["time_set"] == set_before
    await world.advance(601, step=1)
    assert entry.runtime_data.remembered["time_set"] > set_before + 600


async def test_a_time_that_waited_is_set_again(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any, quiet: None
) -> None:
    keeper, client = entry.runtime_data.time_keeper, entry.runtime_data.client
    await world.advance(601, step=1)
    set_before = entry.runtime_data.remembered["time_set"]
    ask = client.async_request

    async def wait(*wanted: Any, **options: Any) -> Any:
        if "may_repeat" in options:
            await asyncio.sleep(5)  # behind another request
        return await ask(*wanted, **options)

    with patch.object(client, "async_request", wait):
        keeper.async_nudge(wrong=True)
        await world.advance(20)
    assert entry.runtime_data.remembered["time_set"] == set_before
    await world.advance(601, step=1)
    assert entry.runtime_data.remembered["time_set"] > set_before
    assert abs(lock.core.clock.now() - world.now()) <= 2


async def test_a_time_lost_while_pairing_does_not_stop_it(world: World, lock: TestLock) -> None:
    lock.on_write = lose_once(SEALED)
    entry = await world.pair(lock)
    assert entry.data["account_slot"] is not None
    await world.advance(10)
    assert lock.core.clock_trusted
    assert abs(lock.core.clock.now() - world.now()) <= 2


async def test_a_lock_that_refuses_the_time_is_asked_once_a_day(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: Any,
    quiet: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    world.kernel_synchronised = False
    (await async_get_memory(hass)).vouch_for_clock()
    lock.core.clock.set(int(world.now()) + 3600, 0)
    issues = ir.async_get(hass)
    await world.call(lock, "unlock")
    await world.advance(700, step=5)
    assert issues.async_get_issue(DOMAIN, "clock_not_synchronised") is not None
    before = world.connections
    await world.advance(23 * 3600, step=30)
    assert world.connections == before
    await world.advance(2 * 3600, step=30)
    assert world.connections == before + 1
    assert caplog.text.count("did not take the time") == 1
    assert issues.async_get_issue(DOMAIN, "clock_not_synchronised") is not None
    # The owner's word makes it try at once; a time service makes it succeed.
    entry.runtime_data.time_keeper.async_nudge(vouched=True)
    await world.advance(10)
    assert world.connections == before + 2
    world.kernel_synchronised = True
    await world.advance(610, step=5)
    assert abs(lock.core.clock.now() - world.now()) <= 2
    assert issues.async_get_issue(DOMAIN, "clock_not_synchronised") is None


# --- pairing --------------------------------------------------------------------------------------


async def test_a_key_that_the_disk_did_not_take_is_not_confirmed(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Home Assistant only logs that it could not write."""
    result = await world.flow(lock)
    with patch.object(Store, "_async_write_data", side_effect=WriteError("disk full")):
        result = await world.submit(result, {"setup_code": SETUP_CODE})
    assert result["errors"] == {"base": "pairing_failed"}
    assert PAIR_CONFIRM not in lock.kinds()
    assert (await async_get_pairings(hass)).of(lock.unique_id) == []
    assert "could not be stored" in caplog.text
    assert not lock.core.paired


async def test_a_file_of_keys_that_cannot_be_read_back_confirms_nothing(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    result = await world.flow(lock)
    with patch.object(Store, "async_load", side_effect=HomeAssistantError("no")):
        result = await world.submit(result, {"setup_code": SETUP_CODE})
    assert result["errors"] == {"base": "pairing_failed"}
    assert PAIR_CONFIRM not in lock.kinds()
    await world.advance(3)
    result = await world.submit(result, {"setup_code": SETUP_CODE})
    assert result["type"] is FlowResultType.CREATE_ENTRY


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_nothing_is_paired_while_home_assistant_stops(
    hass: HomeAssistant, world: World, lock: TestLock, when: str
) -> None:
    result = await world.flow(lock)

    def stop() -> None:
        hass.set_state(CoreState.stopping)

    if when == "before":
        stop()
    else:
        lock.on_connect = stop
    result = await world.submit(result, {"setup_code": SETUP_CODE})
    hass.set_state(CoreState.running)
    assert result["errors"] == {"base": "pairing_failed"}
    assert (world.connections > 0) is (when == "meanwhile")
    assert PAIR_CONFIRM not in lock.kinds()


# --- the neighbour's lock -------------------------------------------------------------------------


async def test_a_neighbours_lock_begins_no_flow_with_every_packet(
    hass: HomeAssistant, world: World
) -> None:
    lock = world.add_lock(silent=True)
    seen: list[str] = []
    begin = IgrsLockConfigFlow.async_step_bluetooth

    async def count(self: IgrsLockConfigFlow, info: Any) -> ConfigFlowResult:
        seen.append(info.address)
        return await begin(self, info)

    with patch.object(IgrsLockConfigFlow, "async_step_bluetooth", count):
        for number in range(100):
            world.forge(lock, b"\x12\x00\x00" + number.to_bytes(3) + b"abcd")
            await world.advance(0.35)
    assert 1 < len(seen) <= 4


# --- releasing ------------------------------------------------------------------------------------


def lose_the_answer_of_the_reset(lock: TestLock, *, link_too: bool) -> None:
    """Lose what the lock says after it was reset, once."""

    def lose(data: bytes) -> bytes | None:
        if data[1] != SEALED or lock.core.paired:
            return data
        lock.on_notify = None
        if link_too:
            asyncio.get_running_loop().call_soon(lock.connections[-1].end)
        return None

    lock.on_notify = lose


@pytest.mark.parametrize("link_too", [True, False], ids=["link lost", "answer lost"])
async def test_a_release_whose_answer_is_lost_is_one(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any, quiet: None, link_too: bool
) -> None:
    lose_the_answer_of_the_reset(lock, link_too=link_too)
    result = await world.submit(await menu(hass, entry, "release"))
    assert not lock.core.paired
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "released"
    await world.advance(1)
    assert not entries(hass)


async def test_a_lock_gone_after_its_reset_was_lost_is_not_released(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any, quiet: None
) -> None:
    """Then nobody can tell; asked again, the lock can."""

    def swallow(data: bytes) -> bytes | None:
        if data[1] == SEALED or data[1] == 0x12:
            lock.silent = True
            lock.connections[-1].end()
            return None
        return data

    lock.on_write = swallow
    result = await world.submit(await menu(hass, entry, "release"))
    assert result["errors"] == {"base": "no_answer"}
    assert lock.core.paired
    assert entries(hass) == [entry]
    lock.on_write = None
    lock.silent = False
    await world.advance(1)
    result = await world.submit(result)
    assert result["reason"] == "released"


async def test_releasing_forgets_the_keys_of_pairings_that_were_cut_off(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    pairings = await async_get_pairings(hass)
    assert await pairings.async_add(lock.unique_id, UNUSED)
    result = await world.submit(await menu(hass, entry, "release"))
    assert result["reason"] == "released"
    assert pairings.of(lock.unique_id) == []
    await world.advance(12)
    assert not lock.core.setup_mode
    assert hass.config_entries.flow.async_progress_by_handler(DOMAIN) == []


async def test_a_lock_that_is_only_deleted_keeps_the_keys_it_may_have_taken(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any
) -> None:
    pairings = await async_get_pairings(hass)
    assert await pairings.async_add(lock.unique_id, UNUSED)
    await hass.config_entries.async_remove(entry.entry_id)
    assert pairings.of(lock.unique_id) == [UNUSED]


async def test_nothing_else_talks_to_a_lock_that_is_paired_again(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any, quiet: None
) -> None:
    lock.core.inner_button_held(10)
    await world.advance(1)
    most = 0
    tasks: list[asyncio.Task[Any]] = []

    def look(data: bytes) -> bytes:
        nonlocal most
        most = max(most, len(lock.connections))
        if data[1] == PAIR_CONFIRM:
            # Somebody presses a button in the middle of it.
            call: Any = hass.services.async_call(
                "lock", "lock", {"entity_id": f"lock.{lock.entity}"}, blocking=True
            )
            tasks.append(hass.async_create_task(call))
        return data

    lock.on_write = look
    result = await world.submit(await menu(hass, entry, "pair_again"), {"setup_code": SETUP_CODE})
    assert result["reason"] == "paired_again"
    assert most == 1
    await world.advance(30)
    (task,) = tasks
    assert task.done()
    assert isinstance(task.exception(), HomeAssistantError | None)


# --- what is left of a cut ------------------------------------------------------------------------


async def cut_pairing_again(hass: HomeAssistant, world: World, lock: TestLock, entry: Any) -> None:
    """Pair again; the lock takes the new key, and Home Assistant stops before it knows."""
    lock.core.inner_button_held(10)
    await world.advance(1)

    def vanish(data: bytes) -> bytes | None:
        if data[1] != 0x04:
            return data
        lock.silent = True
        lock.connections[-1].end()
        return None

    lock.on_notify = vanish
    result = await world.submit(await menu(hass, entry, "pair_again"), {"setup_code": SETUP_CODE})
    hass.config_entries.flow.async_abort(result["flow_id"])
    lock.on_notify = None
    await hass.config_entries.async_unload(entry.entry_id)
    await world.forget_memory()
    await hass.config_entries.async_setup(entry.entry_id)
    await world.settle()


async def test_after_a_cut_the_owner_is_asked_to_complete_the_pairing(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any, quiet: None
) -> None:
    await cut_pairing_again(hass, world, lock, entry)
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert flow["step_id"] == "reauth_confirm"
    lock.silent = False
    await world.advance(1)
    result = await world.submit(flow)
    assert result["step_id"] == "resume"
    result = await world.submit(result)
    assert result["reason"] == "reauth_successful"
    await world.advance(2)
    await world.call(lock, "unlock")
    assert world.state(lock) == "unlocked"


async def test_completed_in_the_menu_nothing_is_left_to_ask(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any, quiet: None
) -> None:
    await cut_pairing_again(hass, world, lock, entry)
    lock.silent = False
    await world.advance(1)
    result = await world.submit(await menu(hass, entry, "pair_again"))
    assert result["reason"] == "paired_again"
    await world.advance(2)
    assert hass.config_entries.flow.async_progress_by_handler(DOMAIN) == []
    assert (await async_get_pairings(hass)).of(lock.unique_id) == []


async def test_a_lock_that_never_took_the_new_key_needs_nobody(
    hass: HomeAssistant, world: World, lock: TestLock, entry: Any, quiet: None
) -> None:
    assert await (await async_get_pairings(hass)).async_add(lock.unique_id, UNUSED)
    await hass.config_entries.async_reload(entry.entry_id)
    await world.settle()
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    assert flow["step_id"] == "reauth_confirm"
    await world.advance(2)
    await world.call(lock, "unlock")
    assert hass.config_entries.flow.async_progress_by_handler(DOMAIN) == []
    assert (await async_get_pairings(hass)).of(lock.unique_id) == []
