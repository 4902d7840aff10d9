"""Pairing: mistakes told apart, cuts survived, attacks refused (attack case 50, client's side)."""

from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from homeassistant.data_entry_flow import FlowResultType
from world import DOMAIN, SETUP_CODE

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.store import async_get_pairings

if TYPE_CHECKING:
    from collections.abc import Callable

    from homeassistant.core import HomeAssistant
    from world import TestLock, World

OTHER_CODE = "0000-0000-0000-0000"
PAIR_REQUEST, PAIR_CONFIRM, CHALLENGE_REQUEST, SESSION_OPEN, SEALED = 1, 3, 0x10, 0x12, 0x13


def replace_message(kind: int, instead: bytes) -> Callable[[bytes], bytes]:
    """Return an interceptor that swaps messages of a kind."""
    return lambda data: b"\x80" + instead if data[1] == kind else data


async def test_pairing_ends_with_a_controller_session_and_an_account(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    result = await world.flow(lock)
    assert result["step_id"] == "setup_code"
    assert result["errors"] is None
    result = await world.submit(result, {"setup_code": SETUP_CODE})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    data = result["data"]
    assert data["address"] == lock.address
    assert data["capabilities"] == lock.core.capabilities
    assert data["model"] == "Test lock"
    assert data["manufacturer"] is None
    assert lock.core.paired
    assert not lock.core.setup_mode
    account = lock.core.accounts.get(data["account_slot"])
    assert account is not None
    assert ilp.format_account_id(account.account_id) == data["account_id"]
    rights = ilp.Right(account.rights)
    assert ilp.Right.ENABLED in rights
    assert ilp.Right.MANAGE not in rights
    assert ilp.Right.REMOTE_USE not in rights
    assert lock.core.clock_trusted
    assert lock.core.clock.now() == pytest.approx(int(world.now()), abs=1)


async def test_the_account_id_is_new_with_every_pairing(world: World) -> None:
    entries = [await world.pair(world.add_lock()) for _ in range(2)]
    assert len({entry.data["account_id"] for entry in entries}) == 2


@pytest.mark.parametrize(
    "text", ["8knz 44yw d3xs 6gj4", " 8KNZ44YWD3XS6GJ4 ", "8KNZ\u201344YW\u2013D3XS\u20136GJ4"]
)
async def test_a_setup_code_may_be_typed_in_any_way(
    world: World, lock: TestLock, text: str
) -> None:
    result = await world.submit(await world.flow(lock), {"setup_code": text})
    assert result["type"] is FlowResultType.CREATE_ENTRY


@pytest.mark.parametrize(
    "text", ["", "8KNZ-44YW-D3XS", "8KNZ-44YW-D3XS-6GJ4-1", "8KNZ-44YW-D3XS-6GU!"]
)
async def test_a_malformed_code_is_told_before_the_lock_is_asked(
    world: World, lock: TestLock, text: str
) -> None:
    result = await world.submit(await world.flow(lock), {"setup_code": text})
    assert result["type"] is FlowResultType.FORM
    assert result["errors"] == {"setup_code": "invalid_setup_code"}
    assert world.connections == 0


async def test_a_wrong_code_is_told_and_the_right_one_pairs_at_once(
    world: World, lock: TestLock
) -> None:
    result = await world.submit(await world.flow(lock), {"setup_code": OTHER_CODE})
    assert result["step_id"] == "setup_code"
    assert result["errors"] == {"setup_code": "wrong_setup_code"}
    assert PAIR_CONFIRM not in lock.kinds()
    assert not lock.core.paired
    # The lock takes one request in two seconds; the person is not bothered with that.
    result = await world.submit(result, {"setup_code": SETUP_CODE})
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_a_lock_out_of_setup_mode_says_so(world: World, lock: TestLock) -> None:
    result = await world.flow(lock)
    await world.advance(601, step=5)
    result = await world.submit(result, {"setup_code": SETUP_CODE})
    assert result["errors"] == {"base": "not_in_setup_mode"}
    lock.core.inner_button_held(1)
    await world.advance(1)
    result = await world.submit(result, {"setup_code": SETUP_CODE})
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_a_lock_out_of_reach_is_told_with_the_reason(world: World, lock: TestLock) -> None:
    result = await world.flow(lock)
    lock.silent = True
    world.near.hears.clear()
    world.far.hears.clear()
    world.near.connectable = world.far.connectable = False
    await world.advance(400, step=10)
    result = await world.submit(result, {"setup_code": SETUP_CODE})
    assert result["errors"] in ({"base": "out_of_reach"}, {"base": "no_answer"})
    assert result["description_placeholders"]["name"]


async def test_a_lock_that_does_not_take_the_connection_is_told(
    world: World, lock: TestLock
) -> None:
    result = await world.flow(lock)
    lock.silent = True
    result = await world.submit(result, {"setup_code": SETUP_CODE})
    assert result["errors"] == {"base": "out_of_reach"}


async def test_busy_gateways_are_told_at_once(world: World, lock: TestLock) -> None:
    result = await world.flow(lock)
    world.near.free = world.far.free = 0
    result = await world.submit(result, {"setup_code": SETUP_CODE})
    assert result["errors"] == {"base": "gateway_busy"}
    assert world.connections == 0


async def test_a_second_client_is_told_that_somebody_else_pairs(
    world: World, lock: TestLock
) -> None:
    other = world.controller(lock)
    await other.say(ilp.PairingClient(bytes(10), lock.device_id).request())
    result = await world.submit(await world.flow(lock), {"setup_code": SETUP_CODE})
    assert result["errors"] == {"base": "lock_busy"}


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(bytes((0x02,)) + bytes(48), "pairing_failed", id="all-zero public key"),
        pytest.param(bytes((0x02,)) + bytes(47), "pairing_failed", id="short reply"),
        pytest.param(bytes((0x04, 0)), "pairing_failed", id="PAIR_DONE too early"),
        pytest.param(bytes((0x1F, 7)) + bytes(8), "unsupported_version", id="ERROR version"),
        pytest.param(bytes((0x1F, 1)) + bytes(8), "pairing_failed", id="ERROR malformed"),
        pytest.param(bytes((0x1F, 4)) + bytes(8), "not_in_setup_mode", id="ERROR setup mode"),
    ],
)
async def test_a_bad_reply_ends_the_attempt_before_anything_is_confirmed(
    hass: HomeAssistant, world: World, lock: TestLock, reply: bytes, error: str
) -> None:
    lock.on_notify = replace_message(0x02, reply)
    result = await world.submit(await world.flow(lock), {"setup_code": SETUP_CODE})
    assert result["errors"] == {"base": error}
    assert PAIR_CONFIRM not in lock.kinds()
    assert (await async_get_pairings(hass)).of(lock.unique_id) == []


async def test_a_forged_pair_done_completes_nothing(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    """Somebody swallows the confirmation and answers in the lock's name."""

    def swallow(data: bytes) -> bytes | None:
        if data[1] != PAIR_CONFIRM:
            return data
        lock.connections[-1].inject(bytes((0x04, 0)))
        return None

    lock.on_write = swallow
    result = await world.submit(await world.flow(lock), {"setup_code": SETUP_CODE})
    assert result["type"] is FlowResultType.FORM
    assert result["errors"] == {"base": "needs_pairing"}
    assert not lock.core.paired
    assert hass.config_entries.async_entries(DOMAIN) == []


async def test_a_lost_pair_done_does_no_harm(world: World, lock: TestLock) -> None:
    lock.on_notify = lambda data: None if data[1] == 0x04 else data
    result = await world.submit(await world.flow(lock), {"setup_code": SETUP_CODE})
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_a_refused_pair_done_does_not_count_either(world: World, lock: TestLock) -> None:
    lock.on_notify = replace_message(0x04, bytes((0x04, 6)))
    result = await world.submit(await world.flow(lock), {"setup_code": SETUP_CODE})
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_the_key_is_stored_before_the_confirmation_is_sent(
    hass: HomeAssistant, hass_storage: dict[str, Any], world: World, lock: TestLock
) -> None:
    stored: list[bool] = []

    def look(data: bytes) -> bytes:
        if data[1] == PAIR_CONFIRM:
            pending = hass_storage["igrs_lock.pairing"]["data"][lock.unique_id]
            stored.append(len(pending) == 1)
        return data

    lock.on_write = look
    result = await world.submit(await world.flow(lock), {"setup_code": SETUP_CODE})
    assert stored == [True]
    # It is dropped when the entry with the same key has been stored.
    await world.advance(31)
    assert hass_storage["igrs_lock.pairing"]["data"] == {}
    assert result["result"].data["lock_key"]


# Every message of a pairing, counted among its kind.
MESSAGES = [
    (PAIR_REQUEST, 1),
    (PAIR_CONFIRM, 1),
    (CHALLENGE_REQUEST, 1),
    (SESSION_OPEN, 1),
    (SEALED, 1),
    (SEALED, 2),
    (SEALED, 3),
]


@pytest.mark.parametrize("arrived", [False, True], ids=["lost", "arrived"])
@pytest.mark.parametrize(("kind", "number"), MESSAGES)
async def test_a_pairing_cut_at_any_message_is_completed_by_the_next_attempt(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    world: World,
    lock: TestLock,
    kind: int,
    number: int,
    arrived: bool,
) -> None:
    """Link and Home Assistant die with one message; afterwards the lock is paired as usual."""
    seen = 0

    def cut(data: bytes) -> bytes | None:
        nonlocal seen
        seen += data[1] == kind
        if data[1] != kind or seen != number:
            return data
        if arrived:
            lock.core.written(lock.connections[-1].number, data)
        lock.silent = True
        lock.connections[-1].end()
        return None

    lock.on_write = cut
    result = await world.submit(await world.flow(lock), {"setup_code": SETUP_CODE})
    assert result["type"] is FlowResultType.FORM
    assert hass.config_entries.async_entries(DOMAIN) == []

    await world.forget_memory()
    for flow in hass.config_entries.flow.async_progress():
        hass.config_entries.flow.async_abort(flow["flow_id"])
    lock.on_write = None
    lock.silent = False
    await world.advance(3)

    result = await world.flow(lock)
    if result["step_id"] == "resume":
        result = await world.submit(result)
    if result.get("step_id") == "setup_code":
        assert not result["errors"]
        result = await world.submit(result, {"setup_code": SETUP_CODE})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"]["account_slot"] is not None
    assert sum(lock.core.accounts.get(slot) is not None for slot in range(32)) == 1
    await world.advance(2)
    await world.call(lock, "unlock")
    assert world.state(lock) == "unlocked"
    await world.advance(31)
    assert hass_storage["igrs_lock.pairing"]["data"] == {}


async def test_after_the_lock_took_the_key_no_code_is_asked_for(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    """Also when setup mode is long over: the lock is offered again by itself."""
    lock.on_notify = lambda data: _vanish(lock) if data[1] == 0x04 else data
    result = await world.submit(await world.flow(lock), {"setup_code": SETUP_CODE})
    assert result["type"] is FlowResultType.FORM
    for flow in hass.config_entries.flow.async_progress():
        hass.config_entries.flow.async_abort(flow["flow_id"])
    lock.on_notify = None
    await world.advance(601, step=5)
    assert lock.core.paired
    assert not lock.core.setup_mode
    lock.silent = False
    await world.advance(2)
    result = await world.flow(lock)
    assert result["step_id"] == "resume"
    result = await world.submit(result)
    assert result["type"] is FlowResultType.CREATE_ENTRY


def _vanish(lock: TestLock) -> None:
    lock.silent = True
    lock.connections[-1].end()


async def test_resuming_out_of_reach_says_so_and_can_be_tried_again(
    world: World, lock: TestLock
) -> None:
    lock.on_notify = lambda data: _vanish(lock) if data[1] == 0x04 else data
    result = await world.submit(await world.flow(lock), {"setup_code": SETUP_CODE})
    lock.on_notify = None
    result = await world.flow(lock)
    assert result["step_id"] == "resume"
    result = await world.submit(result)
    assert result["step_id"] == "resume"
    assert result["errors"] == {"base": "out_of_reach"}
    lock.silent = False
    await world.advance(2)
    result = await world.submit(result)
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_a_key_that_an_error_denied_is_kept_until_another_is_proved(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    """ERROR is not authenticated: somebody else may have sent it."""
    lock.on_notify = lambda data: _vanish(lock) if data[1] == 0x04 else data
    await world.submit(await world.flow(lock), {"setup_code": SETUP_CODE})
    lock.silent = False
    lock.on_notify = replace_message(SEALED, bytes((0x1F, 2)) + bytes(8))
    await world.advance(3)
    result = await world.submit(await world.flow(lock))
    assert result["step_id"] == "setup_code"
    assert len((await async_get_pairings(hass)).of(lock.unique_id)) == 1
    lock.on_notify = None
    result = await world.submit(await world.flow(lock))
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_closing_the_dialog_in_the_middle_lets_go_of_the_lock(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    lock.on_write = lambda data: None
    flows = hass.config_entries.flow
    result = await world.flow(lock)
    progress = await flows.async_configure(result["flow_id"], {"setup_code": SETUP_CODE})
    assert progress["type"] is FlowResultType.SHOW_PROGRESS
    await world.advance(1)
    assert lock.connections
    flows.async_abort(progress["flow_id"])
    await world.advance(1)
    assert not lock.connections


async def test_without_a_synchronised_clock_the_locks_time_is_left_alone(
    world: World, lock: TestLock
) -> None:
    world.kernel_synchronised = False
    result = await world.submit(await world.flow(lock), {"setup_code": SETUP_CODE})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert not lock.core.clock_trusted


async def test_accounts_that_this_home_did_not_write_are_left_alone(
    hass: HomeAssistant, world: World, lock: TestLock, caplog: pytest.LogCaptureFixture
) -> None:
    """Only possible after a cut, when somebody else had the key; nothing is written then."""
    lock.on_notify = lambda data: _vanish(lock) if data[1] == 0x04 else data
    await world.submit(await world.flow(lock), {"setup_code": SETUP_CODE})
    lock.on_notify = None
    lock.silent = False
    (pending,) = (await async_get_pairings(hass)).of(lock.unique_id)
    other = world.controller(lock)
    other.key = ilp.controller_key(bytes.fromhex(pending["lock_key"]))
    await other.request(ilp.requests.write_account(bytes(9)))
    await world.advance(1)
    result = await world.submit(await world.flow(lock))
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"]["account_slot"] is None
    assert "holds accounts that this home did not write" in caplog.text


async def test_info_of_another_version_is_told(world: World, lock: TestLock) -> None:
    lock.readable[c.INFO_UUID] = lambda: b"\x02" + lock.core.info()[1:]
    result = await world.submit(await world.flow(lock), {"setup_code": SETUP_CODE})
    assert result["errors"] == {"base": "unsupported_version"}


async def test_a_link_lost_while_reading_is_told(world: World, lock: TestLock) -> None:
    def gone() -> bytes:
        lock.connections[-1].end()
        return b""

    lock.readable[c.INFO_UUID] = gone
    lock.all_characteristics.append("00002a29-0000-1000-8000-00805f9b34fb")
    lock.characteristics.append("00002a29-0000-1000-8000-00805f9b34fb")
    result = await world.submit(await world.flow(lock), {"setup_code": SETUP_CODE})
    assert result["errors"] == {"base": "no_answer"}


async def test_what_a_lock_says_of_itself_is_shown_without_tricks(
    world: World, lock: TestLock
) -> None:
    lock.readable["00002a24-0000-1000-8000-00805f9b34fb"] = lambda: (
        b"A\x1b[31m\r\n\xff" + b"x" * 100
    )
    result = await world.submit(await world.flow(lock), {"setup_code": SETUP_CODE})
    model = result["data"]["model"]
    assert model.isprintable()
    assert len(model) == 64
