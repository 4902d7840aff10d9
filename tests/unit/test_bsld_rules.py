"""Session rules 1 to 9 of ILP1 section 4, stage b: one block each, against the real lock core."""

import pytest
from bsld_home import ALL_RIGHTS, NOW, Client, Home, RefusalError, Session, paired_home
from ilp import (
    Bolt,
    Command,
    ErrorCode,
    Event,
    NonceSource,
    Operation,
    Request,
    Result,
    Right,
    Source,
    StateEvent,
    Status,
    Weekday,
    account_digest,
    requests,
)
from ilp.responses import Account, AccountDigest, Authenticated


@pytest.fixture
def home() -> Home:
    return paired_home()


# --- rule 1: the advertised nonce -------------------------------------------------------------


def test_rule_1_an_advertised_nonce_opens_a_session_and_is_spent_before_its_commands_run(
    home: Home,
) -> None:
    before = home.lock.counter
    session = home.controller(Client(home.board), NonceSource.ADVERTISED)
    [reply] = session.ask(requests.get_status())
    assert Status.of(reply).counter == before + 1


def test_rule_1_the_same_opening_is_refused_a_second_time(home: Home) -> None:
    session = home.controller(Client(home.board), NonceSource.ADVERTISED)
    message = session.message(requests.operate(Operation.UNLOCK))
    session.client.send(message)
    assert session.take()[0].result is Result.ACCEPTED
    home.relock()
    assert Client(home.board).error(message) is ErrorCode.TRY_AGAIN
    assert home.board.motor.started == [Operation.UNLOCK]


def test_rule_1_the_nonce_is_of_the_current_bytes_even_if_older_ones_are_still_heard(
    home: Home,
) -> None:
    old = b"\x00" + home.board.radio.data[3:]
    home.board.sense(Bolt.UNLOCKED)
    session = home.controller(Client(home.board), NonceSource.ADVERTISED)
    session.lock_nonce = old
    assert session.client.error(session.message(requests.get_status())) is ErrorCode.TRY_AGAIN


def test_rule_1_without_a_trusted_clock_only_challenges_work() -> None:
    home = paired_home(time_set=False)
    session = home.controller(Client(home.board), NonceSource.ADVERTISED)
    assert session.client.error(session.message(requests.get_status())) is ErrorCode.TRY_AGAIN
    assert home.controller(Client(home.board)).status().result is Result.DONE


@pytest.mark.parametrize(("age", "accepted"), [(-6, False), (-5, True), (30, True), (31, False)])
def test_rule_1_the_first_frame_is_5_seconds_early_to_30_late(
    home: Home, age: int, accepted: bool
) -> None:
    session = home.controller(Client(home.board), NonceSource.ADVERTISED)
    counter = home.lock.counter
    session.client.send(session.message(requests.get_status(), at=session.client.time() - age))
    if accepted:
        assert session.take()[0].result is Result.DONE
    else:
        with pytest.raises(RefusalError, match="TRY_AGAIN"):
            session.take()
        assert home.lock.counter == counter


def test_rule_1_an_error_of_source_0_brings_a_nonce_that_works(home: Home) -> None:
    session = home.controller(Client(home.board), NonceSource.ADVERTISED)
    session.lock_nonce = bytes(8)
    session.client.send(session.message(requests.get_status()))
    with pytest.raises(RefusalError) as refusal:
        session.take()
    again = home.controller(session.client)
    again.lock_nonce = refusal.value.nonce
    assert again.status().result is Result.DONE


# --- rule 2: the challenge's nonce ------------------------------------------------------------


def test_rule_2_a_challenge_is_good_for_one_attempt(home: Home) -> None:
    client = Client(home.board)
    nonce = client.nonce()
    first = home.controller(client)
    first.lock_nonce = nonce
    wrong = bytearray(first.message(requests.get_status()))
    wrong[-1] ^= 1
    assert client.error(bytes(wrong)) is ErrorCode.AUTHENTICATION_FAILED
    second = home.controller(client)
    second.lock_nonce = nonce
    assert client.error(second.message(requests.get_status())) is ErrorCode.AUTHENTICATION_FAILED


def test_rule_2_a_challenge_is_good_on_its_connection_only(home: Home) -> None:
    nonce = Client(home.board).nonce()
    session = home.controller(Client(home.board))
    session.lock_nonce = nonce
    error = session.client.error(session.message(requests.get_status()))
    assert error is ErrorCode.AUTHENTICATION_FAILED


@pytest.mark.parametrize(("seconds", "accepted"), [(9.9, True), (10.1, False)])
def test_rule_2_a_challenge_is_good_for_ten_seconds(
    home: Home, seconds: float, accepted: bool
) -> None:
    # A running session keeps the connection
    session = home.controller(Client(home.board))
    session.status()
    nonce = session.client.nonce()
    home.board.pass_time(seconds)
    again = home.controller(session.client)
    again.lock_nonce = nonce
    message = again.message(requests.get_status())
    if accepted:
        again.client.send(message)
        assert again.take()[0].result is Result.DONE
    else:
        assert again.client.error(message) is ErrorCode.AUTHENTICATION_FAILED


def test_rule_2_only_the_last_nonce_sent_counts_whether_challenge_or_error(home: Home) -> None:
    client = Client(home.board)
    first = client.nonce()
    client.nonce()
    session = home.controller(client)
    session.lock_nonce = first
    assert client.error(session.message(requests.get_status())) is ErrorCode.AUTHENTICATION_FAILED
    nonce = client.nonce()
    assert client.error(b"\x77") is ErrorCode.VERSION
    session = home.controller(client)
    session.lock_nonce = nonce
    assert client.error(session.message(requests.get_status())) is ErrorCode.AUTHENTICATION_FAILED


# --- rule 3: all tags before the first frame --------------------------------------------------


def test_rule_3_one_wrong_tag_and_nothing_runs(home: Home) -> None:
    session = home.controller()
    session.status()
    message = bytearray(session.message(requests.operate(Operation.UNLOCK), requests.get_status()))
    message[-1] ^= 1
    assert session.client.error(bytes(message)) is ErrorCode.NO_SESSION
    assert home.board.motor.started == []
    # and the session is over
    right = session.message(requests.get_status())
    assert session.client.error(right) is ErrorCode.NO_SESSION


def test_rule_3_a_refused_opening_leaves_the_running_session_as_it_was(home: Home) -> None:
    session = home.controller()
    session.status()
    intruder = Session(session.client, bytes(16), 255)
    message = intruder.message(requests.get_status())
    assert session.client.error(message) is ErrorCode.AUTHENTICATION_FAILED
    assert session.status().result is Result.DONE


def test_rule_3_an_accepted_opening_replaces_the_running_session(home: Home) -> None:
    first = home.controller()
    first.status()
    second = home.controller()
    second.status()
    assert first.client.error(first.message(requests.get_status())) is ErrorCode.NO_SESSION


# --- rule 4: who speaks -----------------------------------------------------------------------


def test_rule_4_a_persons_session_starts_with_authenticate(home: Home) -> None:
    person = home.grant()
    session = home.phone(person)
    [first, second] = session.ask(
        requests.authenticate(person.account_id), requests.operate(Operation.UNLOCK)
    )
    answer = Authenticated.of(first)
    assert (answer.slot, answer.rights, answer.uses) == (
        person.slot,
        Right.ENABLED | Right.LOCK | Right.UNLOCK,
        255,
    )
    assert answer.clock_trusted
    assert second.result is Result.ACCEPTED


def test_rule_4_without_it_result_4_and_the_session_ends(home: Home) -> None:
    person = home.grant()
    session = home.phone(person)
    results = session.results(
        requests.operate(Operation.UNLOCK), requests.authenticate(person.account_id)
    )
    assert results == [Result.UNKNOWN_ACCOUNT, Result.UNKNOWN_ACCOUNT]
    assert home.board.motor.started == []
    message = session.message(requests.authenticate(person.account_id))
    assert session.client.error(message) is ErrorCode.NO_SESSION


def test_rule_4_another_account_id_is_result_4_and_the_session_ends(home: Home) -> None:
    person, other = home.grant(), home.grant()
    session = home.phone(person)
    results = session.results(
        requests.authenticate(other.account_id), requests.operate(Operation.UNLOCK)
    )
    assert results == [Result.UNKNOWN_ACCOUNT, Result.UNKNOWN_ACCOUNT]
    assert home.board.motor.started == []
    assert session.client.error(session.message(requests.get_status())) is ErrorCode.NO_SESSION


def test_rule_4_a_disabled_account_is_result_5_and_learns_nothing_of_the_door(home: Home) -> None:
    person = home.grant(Right.LOCK | Right.UNLOCK)
    session = home.phone(person)
    first, second = session.ask(
        requests.authenticate(person.account_id), requests.operate(Operation.UNLOCK)
    )
    assert (first.result, second.result) == (Result.DISABLED, Result.DISABLED)
    status = Status.of(second)
    assert (status.bolt, status.battery) == (Bolt.UNKNOWN, None)
    assert status.counter >= home.lock.counter - 1
    assert session.client.error(session.message(requests.get_status())) is ErrorCode.NO_SESSION


def test_rule_4_disabling_an_account_reaches_its_running_session(home: Home) -> None:
    person = home.grant()
    session = home.phone(person)
    session.ask(requests.authenticate(person.account_id))
    home.controller().ask(requests.set_rights(person.slot, Right.UNLOCK))
    assert session.operate(Operation.UNLOCK) is Result.DISABLED
    assert session.client.error(session.message(requests.get_status())) is ErrorCode.NO_SESSION


def test_rule_4_the_controller_sends_no_authenticate_and_its_session_survives_one(
    home: Home,
) -> None:
    session = home.controller()
    assert session.result(requests.authenticate(bytes(9))) is Result.NO_RIGHT
    assert session.status().result is Result.DONE


# --- rule 5: the age of a request -------------------------------------------------------------


def test_rule_5_source_0_is_judged_by_the_locks_clock(home: Home) -> None:
    session = home.controller(Client(home.board), NonceSource.ADVERTISED)
    session.status()
    now = session.client.time()
    unlock = requests.operate(Operation.UNLOCK, 5)
    assert session.result(unlock, at=now - 6) is Result.TOO_OLD
    assert session.result(unlock, at=now + 6) is Result.TOO_OLD
    assert home.board.motor.started == []
    assert session.result(unlock, at=now - 5) is Result.ACCEPTED


def test_rule_5_source_1_is_judged_by_uptime_since_the_nonce(home: Home) -> None:
    client = Client(home.board)
    nonce = client.nonce()
    home.board.pass_time(6)
    session = home.controller(client)
    session.lock_nonce = nonce
    # Whatever the client's clock says: the request may be as old as the nonce
    assert session.result(requests.operate(Operation.UNLOCK, 5), at=1000) is Result.TOO_OLD
    assert session.result(requests.operate(Operation.UNLOCK, 5), at=1006) is Result.ACCEPTED


def test_rule_5_a_delayed_unlock_opens_no_door(home: Home) -> None:
    session = home.controller()
    session.status()
    message = session.message(requests.operate(Operation.UNLOCK, 5))
    home.board.pass_time(7)
    session.client.send(message)
    assert session.take()[0].result is Result.TOO_OLD
    assert home.board.motor.started == []
    assert home.log()[-1][0] != Event.ACCESS_DENIED


def test_rule_5_everything_else_is_good_for_30_seconds(home: Home) -> None:
    session = home.controller()
    session.status()
    now = session.client.time()
    assert session.result(requests.get_status(), at=now - 30) is Result.DONE
    assert session.result(requests.get_status(), at=now - 31) is Result.TOO_OLD
    assert session.result(requests.set_time(NOW + 50, 0), at=now - 31) is Result.TOO_OLD


def test_rule_5_an_operations_own_age_is_1_to_30(home: Home) -> None:
    session = home.controller()
    session.status()
    for age in (0, 31, 255):
        wanted = Request(Command.OPERATE, bytes((2, age)) + bytes(7))
        assert session.result(wanted) is Result.BAD_VALUE
    assert home.board.motor.started == []


def test_rule_5_a_held_session_stays_good(home: Home) -> None:
    session = home.controller()
    for _minute in range(60):
        assert session.status().result is Result.DONE
        home.board.pass_time(50)
    assert session.operate(Operation.UNLOCK) is Result.ACCEPTED


# --- rule 6: an answer for every request ------------------------------------------------------


def test_rule_6_every_request_gets_one_answer_with_its_command_in_order(home: Home) -> None:
    session = home.controller()
    wanted = [
        requests.get_status(),
        requests.operate(Operation.UNLOCK),
        Request(0x7E, bytes(9)),  # type: ignore[arg-type]  # no command of ILP1
        requests.account_digest_request(),
        requests.identify(),
    ]
    # `ask` compares the commands
    assert session.results(*wanted) == [
        Result.DONE,
        Result.ACCEPTED,
        Result.NOT_SUPPORTED,
        Result.DONE,
        Result.DONE,
    ]


def test_rule_6_accepted_is_not_done_the_end_of_a_movement_is_an_event(home: Home) -> None:
    session = home.controller()
    assert session.operate(Operation.UNLOCK) is Result.ACCEPTED
    assert home.advertised().bolt is Bolt.UNLOCKING
    assert session.events == []
    home.board.arrive()
    session.take()
    [event] = session.events
    assert (event.event, event.bolt, event.slot, event.source) == (
        Event.UNLOCKED,
        Bolt.UNLOCKED,
        255,
        Source.BLUETOOTH,
    )
    assert event.counter == home.lock.counter == home.advertised().counter
    assert home.advertised().bolt is Bolt.UNLOCKED


def test_rule_6_an_event_comes_after_the_answer_even_if_the_bolt_is_there_at_once(
    home: Home,
) -> None:
    home.board.motor.instant = True
    session = home.controller()
    session.client.send(session.message(requests.operate(Operation.UNLOCK)))
    first, second = session.client.heard()
    assert session.ilp is not None
    [answer] = session.ilp.receive(first)
    [event] = session.ilp.receive(second)
    assert (answer.type, answer.value[0]) == (2, Result.ACCEPTED)
    assert StateEvent.of(event).event is Event.UNLOCKED


# --- rule 7: connections ----------------------------------------------------------------------


def test_rule_7_a_connection_without_a_session_ends_after_10_seconds(home: Home) -> None:
    client = Client(home.board)
    home.board.pass_time(9.9)
    client.nonce()  # asking for nonces does not help
    assert not client.dropped
    home.board.pass_time(0.2)
    assert client.dropped


def test_rule_7_an_idle_session_ends_after_60_seconds(home: Home) -> None:
    session = home.controller(Client(home.board))
    session.status()
    home.board.pass_time(59)
    assert session.status().result is Result.DONE
    home.board.pass_time(59)
    assert not session.client.dropped
    home.board.pass_time(2)
    assert session.client.dropped


def test_rule_7_after_a_session_the_connection_has_10_seconds(home: Home) -> None:
    session = home.controller(Client(home.board))
    session.status()
    home.board.pass_time(30)
    session.client.send(b"\x13" + bytes(24))
    home.board.pass_time(9)
    assert not session.client.dropped
    home.board.pass_time(2)
    assert session.client.dropped


def test_rule_7_advertising_goes_on_connectable_while_a_connection_is_free() -> None:
    home = paired_home(connections=2)
    home.controller().status()
    assert home.board.radio.connectable
    person = home.grant()
    phone = home.phone(person)
    phone.ask(requests.authenticate(person.account_id))
    assert home.board.radio.advertised[-1][2] is False
    advertised = len(home.board.radio.advertised)
    home.board.sense(Bolt.UNLOCKED)
    assert len(home.board.radio.advertised) == advertised + 1
    phone.client.leave()
    assert home.board.radio.connectable


def test_rule_7_when_all_are_taken_the_oldest_without_a_session_is_dropped() -> None:
    home = paired_home(connections=3)
    home.controller().status()
    silent = [Client(home.board), Client(home.board)]
    assert [client.dropped for client in silent] == [True, False]
    assert home.board.radio.connectable
    Client(home.board)
    assert [client.dropped for client in silent] == [True, True]
    assert not home.gateway.dropped


def test_rule_7_with_all_in_session_a_further_connection_is_turned_away() -> None:
    home = paired_home(connections=2)
    first = home.controller()
    first.status()
    second = home.controller(Client(home.board))
    second.status()
    late = Client(home.board)
    assert late.dropped
    assert first.status().result is second.status().result is Result.DONE


def test_rule_7_wrong_keys_cause_no_lock_out(home: Home) -> None:
    for _attempt in range(50):
        client = Client(home.board)
        session = Session(client, bytes(16), 255)
        assert (
            client.error(session.message(requests.get_status())) is ErrorCode.AUTHENTICATION_FAILED
        )
        client.leave()
    assert home.controller(Client(home.board)).status().result is Result.DONE


# --- rule 8: the keypad -----------------------------------------------------------------------


def with_pin(home: Home, digits: str = "2580") -> None:
    person = home.grant()
    home.controller().ask(requests.set_pin(person.slot, digits))


def test_rule_8_a_miss_is_in_flash_before_anything_is_compared(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_pin(home)
    in_flash = []

    def nobody(_lock_key: bytes, _digits: str) -> None:
        in_flash.append(home.board.make().pin_misses)

    monkeypatch.setattr(home.lock.accounts, "holder", nobody)
    home.lock.pin_entered("0000")
    assert in_flash == [1]
    assert home.lock.pin_misses == 1


def test_rule_8_from_the_fifth_miss_on_it_waits_twice_as_long_each_time(home: Home) -> None:
    with_pin(home)
    for _miss in range(5):
        assert home.lock.pin_entered("0000") == Result.UNKNOWN_ACCOUNT
    for wait in (60, 120, 240, 480):
        home.board.pass_time(wait - 1)
        assert home.lock.pin_entered("2580") == Result.NOT_POSSIBLE_NOW
        home.board.pass_time(1)
        misses = home.lock.pin_misses
        assert home.lock.pin_entered("0000") == Result.UNKNOWN_ACCOUNT
        assert home.lock.pin_misses == misses + 1


def test_rule_8_the_wait_is_one_hour_at_most(home: Home) -> None:
    with_pin(home)
    keypad = home.lock.access.keypad
    keypad.misses = 40
    home.lock.pin_entered("0000")
    assert keypad.waiting() == 3_600_000


def test_rule_8_the_wait_begins_anew_after_a_restart(home: Home) -> None:
    with_pin(home)
    for _miss in range(5):
        home.lock.pin_entered("0000")
    home.board.pass_time(59)
    home.restart()
    home.board.pass_time(59)
    assert home.lock.pin_entered("2580") == Result.NOT_POSSIBLE_NOW
    home.board.pass_time(1)
    assert home.lock.pin_entered("2580") == Result.ACCEPTED


def test_rule_8_the_count_falls_by_one_an_hour_and_by_nothing_else(home: Home) -> None:
    with_pin(home)
    for _miss in range(3):
        home.lock.pin_entered("0000")
    assert home.lock.pin_entered("2580") == Result.ACCEPTED
    assert home.lock.pin_misses == 3
    home.restart()
    assert home.lock.pin_misses == 3
    home.board.pass_time(3599)
    assert home.lock.pin_misses == 3
    home.board.pass_time(1)
    assert home.lock.pin_misses == 2
    home.board.pass_time(7200)
    assert home.lock.pin_misses == 0
    assert home.board.make().pin_misses == 0


def test_rule_8_the_hour_of_a_first_miss_is_a_whole_one(home: Home) -> None:
    with_pin(home)
    home.board.pass_time(3000)
    home.lock.pin_entered("0000")
    home.board.pass_time(3599)
    assert home.lock.pin_misses == 1
    home.board.pass_time(1)
    assert home.lock.pin_misses == 0


def test_rule_8_pairing_anew_does_not_lower_the_count(home: Home) -> None:
    with_pin(home)
    home.lock.pin_entered("0000")
    home.lock.inner_button_held(10)
    home.board.pass_time(2)
    home.lock_key = Client(home.board).exchange_keys()
    assert home.lock.pin_misses == 1


# --- rule 9: the digest -----------------------------------------------------------------------


def test_rule_9_the_digest_is_of_the_locks_own_list(home: Home) -> None:
    session = home.controller()
    guest = home.grant(GUEST_AT_WORK, 3, requests.set_validity(0, NOW, NOW + 86400))
    home.grant(ALL_RIGHTS)
    session = home.controller()
    session.ask(
        requests.set_weekly_hours(guest.slot, Weekday(31), 480, 1019),
        requests.set_pin(guest.slot, "1234567"),
    )
    accounts = []
    for slot in range(32):
        [reply] = session.ask(requests.read_account(slot))
        if reply.result is Result.DONE:
            accounts.append(Account.of(reply))
        else:
            assert reply.result is Result.UNKNOWN_ACCOUNT
    assert len(accounts) == 2
    assert accounts[0].uses == 3
    assert accounts[0].pin_set
    assert accounts[0].not_after == NOW + 86400
    [reply] = session.ask(requests.account_digest_request())
    assert AccountDigest.of(reply).digest == account_digest(accounts)


GUEST_AT_WORK = Right.ENABLED | Right.UNLOCK
