"""Pairing and setup mode (ILP1 section 4, stage a), with attack case 50."""

import pytest
from boards.desk import DEVICE_ID, SETUP_CODE, Board
from bsld_home import Client, Home, RefusalError, new_lock, paired_home
from ilp import (
    ErrorCode,
    Event,
    LockError,
    NonceSource,
    PairingClient,
    Result,
    WrongSetupCodeError,
    requests,
)

MINUTES = 60


def half_way(board: Board, code: bytes = SETUP_CODE) -> tuple[Client, PairingClient, bytes]:
    """A client that has sent PAIR_REQUEST and is about to confirm."""
    client = Client(board)
    pairing = PairingClient(code, DEVICE_ID)
    return client, pairing, pairing.on_reply(client.ask(pairing.request()))


def request_error(board: Board, message: bytes | None = None) -> ErrorCode:
    client = Client(board)
    if message is None:
        message = PairingClient(SETUP_CODE, DEVICE_ID).request()
    error = client.error(message)
    client.leave()
    return error


# --- setup mode -------------------------------------------------------------------------------


def test_an_unpaired_lock_is_in_setup_mode_for_ten_minutes_after_power_up() -> None:
    board = new_lock()
    assert board.radio.data[0] & 1
    assert board.indicator.shown == ["setup"]
    board.pass_time(10 * MINUTES - 1)
    assert board.lock.setup_mode
    board.pass_time(1)
    assert not board.radio.data[0] & 1
    assert request_error(board) is ErrorCode.NOT_IN_SETUP_MODE


@pytest.mark.parametrize("seconds", [0.2, 3])
def test_an_unpaired_lock_enters_it_with_the_button_however_long(seconds: float) -> None:
    board = new_lock()
    board.pass_time(11 * MINUTES)
    board.lock.inner_button_held(seconds)
    assert board.lock.setup_mode


def test_an_unpaired_lock_enters_it_with_a_short_press_too() -> None:
    board = new_lock()
    board.pass_time(11 * MINUTES)
    board.lock.button_pressed()
    assert board.lock.setup_mode


def test_50_a_paired_lock_enters_it_only_after_ten_seconds() -> None:
    home = paired_home()
    home.restart()
    assert not home.in_setup_mode()
    home.lock.button_pressed()
    home.lock.inner_button_held(9.9)
    assert request_error(home.board) is ErrorCode.NOT_IN_SETUP_MODE
    home.lock.inner_button_held(10)
    assert home.in_setup_mode()
    assert home.advertised().setup_mode
    home.board.pass_time(10 * MINUTES)
    assert not home.in_setup_mode()


def test_the_owners_sessions_go_on_in_setup_mode_and_do_not_end_it() -> None:
    home = paired_home()
    home.lock.inner_button_held(10)
    assert home.controller(Client(home.board)).status().result is Result.DONE
    assert home.in_setup_mode()


def test_after_a_factory_reset_it_is_unpaired_and_not_in_setup_mode() -> None:
    home = paired_home()
    home.controller().ask(requests.factory_reset())
    assert not home.lock.paired
    assert request_error(home.board) is ErrorCode.NOT_IN_SETUP_MODE
    home.lock.inner_button_held(1)
    home.board.pass_time(2)
    assert Client(home.board).exchange_keys()


# --- pairing ----------------------------------------------------------------------------------


def test_pairing_empties_the_stores_and_keeps_log_and_counter() -> None:
    home = paired_home()
    person = home.grant()
    home.controller().ask(requests.remove_account(home.grant().account_id))
    home.lock.inner_button_held(10)
    home.board.pass_time(2)
    records, counter = home.log(), home.lock.counter
    old = home.controller(Client(home.board))
    old.status()
    home.lock_key = Client(home.board).exchange_keys()
    assert home.log()[: len(records)] == records
    assert home.log()[-1][0] == Event.PAIRED
    assert home.lock.counter > counter
    assert home.advertised(0).setup_mode
    assert home.read(person.slot) is Result.UNKNOWN_ACCOUNT
    # Sessions under the old key are over
    with pytest.raises(RefusalError, match="NO_SESSION"):
        old.status()


def test_it_is_complete_with_the_first_source_1_controller_session() -> None:
    board = new_lock()
    home = Home(board, Client(board).exchange_keys())
    assert home.lock.paired
    assert home.in_setup_mode()
    assert home.controller().status().result is Result.DONE
    assert not home.in_setup_mode()
    assert request_error(board) is ErrorCode.NOT_IN_SETUP_MODE


def test_neither_a_person_nor_source_0_completes_it() -> None:
    board = new_lock()
    home = Home(board, Client(board).exchange_keys())
    # As if it had accounts and a clock already
    board.lock.accounts.add(b"a person!")
    home.lock.clock.set(home.gateway.time(), 0)
    session = home.controller(Client(board), NonceSource.ADVERTISED)
    assert session.status().result is Result.DONE
    assert home.in_setup_mode()


def test_until_then_a_new_request_starts_anew_even_after_a_restart() -> None:
    board = new_lock()
    first = Client(board).exchange_keys()
    board.pass_time(2)
    second = Client(board).exchange_keys()
    board.cut()
    board.boot()
    third = Client(board).exchange_keys()
    assert len({first, second, third}) == 3
    home = Home(board, third)
    assert home.controller().status().result is Result.DONE


def test_keys_are_new_each_time() -> None:
    board = new_lock()
    replies = []
    for _attempt in range(2):
        client = Client(board)
        replies.append(client.ask(PairingClient(SETUP_CODE, DEVICE_ID).request()))
        client.leave()
        board.pass_time(2)
    assert replies[0][1:33] != replies[1][1:33]


# --- attack case 50 ---------------------------------------------------------------------------


def test_50_outside_setup_mode_nothing_is_answered_but_an_error() -> None:
    home = paired_home()
    assert request_error(home.board) is ErrorCode.NOT_IN_SETUP_MODE
    assert request_error(home.board, b"\x03" + bytes(16)) is ErrorCode.NOT_IN_SETUP_MODE


def test_50_with_a_wrong_code_neither_side_goes_on() -> None:
    board = new_lock()
    client = Client(board)
    pairing = PairingClient(bytes(10), DEVICE_ID)
    with pytest.raises(WrongSetupCodeError):
        pairing.on_reply(client.ask(pairing.request()))
    assert client.error(b"\x03" + bytes(16)) is ErrorCode.AUTHENTICATION_FAILED
    assert not board.lock.paired
    # One attempt: the right confirmation would come too late now
    client, _pairing, confirm = half_way_after(board)
    wrong = confirm[:-1] + bytes((confirm[-1] ^ 1,))
    assert client.error(wrong) is ErrorCode.AUTHENTICATION_FAILED
    assert client.error(confirm) is ErrorCode.AUTHENTICATION_FAILED
    assert not board.lock.paired


def half_way_after(board: Board) -> tuple[Client, PairingClient, bytes]:
    board.pass_time(2)
    for conn in list(board.lock._connections._links):
        board.lock.disconnected(conn)
    return half_way(board)


@pytest.mark.parametrize(
    "public",
    [
        bytes(32),
        b"\x01" + bytes(31),
        bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ],
)
def test_50_public_keys_of_small_order_are_refused(public: bytes) -> None:
    board = new_lock()
    assert request_error(board, b"\x01" + public) is ErrorCode.MALFORMED
    assert not board.lock.paired


def test_50_a_refused_key_ends_the_exchange_before_it() -> None:
    board = new_lock()
    client, _pairing, confirm = half_way(board)
    board.pass_time(2)
    assert client.error(b"\x01" + bytes(32)) is ErrorCode.MALFORMED
    assert client.error(confirm) is ErrorCode.AUTHENTICATION_FAILED
    assert not board.lock.paired


@pytest.mark.parametrize("size", [0, 31, 33])
def test_50_a_request_of_the_wrong_size_is_malformed(size: int) -> None:
    assert request_error(new_lock(), b"\x01" + bytes(size)) is ErrorCode.MALFORMED


def test_50_a_flood_gets_one_request_in_two_seconds() -> None:
    board = new_lock()
    client = Client(board)
    answers = []
    for _attempt in range(40):
        answers.append(client.ask(PairingClient(SETUP_CODE, DEVICE_ID).request())[0])
        board.pass_time(0.1)
    assert answers.count(2) == 2
    assert set(answers) == {2, 0x1F}


def test_50_two_clients_at_once_the_second_is_told_busy() -> None:
    board = new_lock()
    first, pairing, confirm = half_way(board)
    board.pass_time(3)
    assert request_error(board) is ErrorCode.BUSY
    assert request_error(board, confirm) is ErrorCode.AUTHENTICATION_FAILED
    pairing.on_done(first.ask(confirm))
    assert board.lock.owner.lock_key == pairing.lock_key


def test_50_a_client_that_leaves_makes_room() -> None:
    board = new_lock()
    first, _pairing, _confirm = half_way(board)
    first.leave()
    board.pass_time(2)
    assert Client(board).exchange_keys()


def test_50_a_pairing_connection_has_30_seconds() -> None:
    board = new_lock()
    client, _pairing, _confirm = half_way(board)
    board.pass_time(29.9)
    assert client.conn not in board.radio.dropped
    board.pass_time(0.2)
    assert client.dropped
    assert Client(board).exchange_keys()


def test_50_a_connection_kept_by_a_session_pairs_for_30_seconds_like_any_other() -> None:
    home = paired_home()
    home.lock.inner_button_held(10)
    home.board.pass_time(100)
    client = Client(home.board)
    home.controller(client).status()
    for wait in (0, 20):
        # Asking again does not give more time
        home.board.pass_time(wait)
        client.send(PairingClient(SETUP_CODE, DEVICE_ID).request())
        assert client.heard()[-1][0] == 2
    home.board.pass_time(9)
    assert request_error(home.board) is ErrorCode.BUSY
    home.board.pass_time(2)
    assert Client(home.board).exchange_keys()


def test_50_a_confirmation_after_setup_mode_is_too_late() -> None:
    home = paired_home()
    home.lock.inner_button_held(10)
    home.board.pass_time(10 * MINUTES - 5)
    client, _pairing, confirm = half_way(home.board)
    home.board.pass_time(5)
    assert client.error(confirm) is ErrorCode.NOT_IN_SETUP_MODE
    # and setup mode begun anew does not revive it
    home.lock.inner_button_held(10)
    assert client.error(confirm) is ErrorCode.AUTHENTICATION_FAILED
    assert home.controller(Client(home.board)).status().result is Result.DONE


def test_50_a_forged_pair_done_completes_nothing() -> None:
    board = new_lock()
    client, pairing, _confirm = half_way(board)
    pairing.on_done(b"\x04\x00")  # somebody between said so
    assert pairing.lock_key is not None
    assert not board.lock.paired
    home = Home(board, pairing.lock_key)
    with pytest.raises(RefusalError, match="AUTHENTICATION"):
        home.controller().status()
    assert home.in_setup_mode()
    client.leave()


def test_50_a_lost_pair_done_loses_nothing() -> None:
    board = new_lock()
    client, pairing, confirm = half_way(board)
    client.send(confirm)
    client.leave()  # before it heard the answer
    assert pairing.lock_key is not None
    home = Home(board, pairing.lock_key)
    assert home.controller().status().result is Result.DONE
    assert not home.in_setup_mode()


def test_50_the_lock_key_is_refused_before_it_is_confirmed() -> None:
    board = new_lock()
    _client, pairing, _confirm = half_way(board)
    assert pairing.lock_key is not None
    with pytest.raises(RefusalError):
        Home(board, pairing.lock_key).controller().status()
    with pytest.raises(LockError):
        Client(board).exchange_keys()
