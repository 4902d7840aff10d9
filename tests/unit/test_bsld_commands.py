"""Every command of ILP1 section 5 against the real lock core: what it does and who may."""

from typing import TYPE_CHECKING

import pytest
from bsld import const as c
from bsld_home import ALL_RIGHTS, GUEST, NOW, Client, Home, RefusalError, paired_home
from ilp import (
    Account,
    AccountRemoved,
    AccountWritten,
    AdvertisementKey,
    Bolt,
    Command,
    Door,
    Event,
    Frame,
    LogPage,
    LogRecord,
    NonceSource,
    Operation,
    Option,
    OptionValue,
    Request,
    Result,
    Right,
    Source,
    Status,
    Weekday,
    advertisement_key,
    requests,
)

if TYPE_CHECKING:
    from bsld_home import Person, Session

MANAGER = Right.ENABLED | Right.MANAGE


@pytest.fixture
def home() -> Home:
    return paired_home()


def raw(command: int, value: bytes) -> Request:
    """A request the client would not build."""
    return Request(command, value + bytes(9 - len(value)))  # type: ignore[arg-type]  # on purpose


def come(home: Home, person: Person) -> Session:
    session = home.phone(person)
    [result] = session.results(requests.authenticate(person.account_id))
    assert result is Result.DONE
    return session


# --- 01: write user account ID ----------------------------------------------------------------


def test_a_written_account_is_disabled_and_without_limits(home: Home) -> None:
    account_id = home.new_id()
    session = home.controller()
    [written] = session.ask(requests.write_account(account_id))
    answer = AccountWritten.of(written)
    assert (answer.slot, answer.bolt, answer.door, answer.battery) == (
        0,
        Bolt.LOCKED,
        Door.CLOSED,
        87,
    )
    [read] = session.ask(requests.read_account(0))
    assert Account.of(read) == Account(
        slot=0,
        account_id=account_id,
        rights=Right(0),
        uses=255,
        not_before=0,
        not_after=0,
        weekdays=Weekday(0),
        first_minute=0,
        last_minute=0,
        pin_set=False,
    )


def test_an_id_already_there_answers_its_slot_unchanged(home: Home) -> None:
    person = home.grant(ALL_RIGHTS, 3)
    session = home.controller()
    digest = session.ask(requests.account_digest_request())
    records = len(home.log())
    [reply] = session.ask(requests.write_account(person.account_id))
    assert AccountWritten.of(reply).slot == person.slot
    assert session.ask(requests.account_digest_request()) == digest
    assert len(home.log()) == records


def test_when_all_slots_are_taken_the_lock_is_full(home: Home) -> None:
    session = home.controller()
    for slot in range(32):
        [reply] = session.ask(requests.write_account(home.new_id()))
        assert AccountWritten.of(reply).slot == slot
    assert session.result(requests.write_account(home.new_id())) is Result.FULL


def test_a_lock_may_have_more_slots() -> None:
    home = paired_home(slots=128)
    session = home.controller()
    for slot in range(128):
        [reply] = session.ask(requests.write_account(home.new_id()))
        assert AccountWritten.of(reply).slot == slot
    home.restart()
    assert home.read(127) is Result.DONE
    assert home.lock.info()[9] == 128


def test_writing_and_removing_an_account_is_logged(home: Home) -> None:
    home.grant()
    session = home.controller()
    session.status()
    before = len(home.log())
    account_id = home.new_id()
    session.ask(requests.write_account(account_id))
    session.ask(requests.remove_account(account_id))
    changes = [(record[0], record[1], record[2], record[6]) for record in home.log()[before:]]
    assert changes == [(Event.ACCOUNT_CHANGED, 255, Source.BLUETOOTH, 1)] * 2


# --- 02, 03: authenticate and operate ---------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "operation"),
    [
        (Right.LOCK, Operation.LOCK),
        (Right.UNLOCK, Operation.UNLOCK),
        (Right.OPEN, Operation.OPEN),
    ],
)
def test_each_operation_has_its_own_right(home: Home, right: Right, operation: Operation) -> None:
    home.board.sense(Bolt.UNLOCKED if operation is Operation.LOCK else Bolt.LOCKED)
    may = home.grant(Right.ENABLED | right)
    may_not = home.grant(~right)
    assert home.try_operation(may_not, operation) is Result.NO_RIGHT
    assert home.board.motor.started == []
    assert home.try_operation(may, operation) is Result.ACCEPTED
    assert home.board.motor.started == [operation]


def test_a_refusal_is_logged_with_its_result_once_a_minute(home: Home) -> None:
    person, other = home.grant(Right.ENABLED), home.grant(Right.ENABLED)
    for _attempt in range(3):
        home.try_operation(person)
    home.try_operation(other)
    denied = [record for record in home.log() if record[0] == Event.ACCESS_DENIED]
    assert [(record[1], record[2], record[6]) for record in denied] == [
        (person.slot, Source.BLUETOOTH, Result.NO_RIGHT),
        (other.slot, Source.BLUETOOTH, Result.NO_RIGHT),
    ]
    home.board.pass_time(60)
    home.try_operation(person)
    assert [record[0] for record in home.log()].count(Event.ACCESS_DENIED) == 3


def test_uses_fall_with_each_accepted_unlock_or_open_and_not_with_locking(home: Home) -> None:
    person = home.grant(GUEST | Right.OPEN, 2)
    assert home.try_operation(person, Operation.UNLOCK) is Result.ACCEPTED
    home.board.arrive()
    # Already unlocked: done, nothing moved, nothing used
    assert home.try_operation(person, Operation.UNLOCK) is Result.DONE
    assert home.try_operation(person, Operation.OPEN) is Result.ACCEPTED
    home.board.arrive()
    assert home.try_operation(person, Operation.LOCK) is Result.ACCEPTED
    home.board.arrive()
    assert home.try_operation(person, Operation.UNLOCK) is Result.DISABLED
    assert home.try_operation(person, Operation.OPEN) is Result.DISABLED
    home.board.sense(Bolt.UNLOCKED)
    assert home.try_operation(person, Operation.LOCK) is Result.ACCEPTED


def test_a_refused_or_busy_operation_uses_nothing(home: Home) -> None:
    person = home.grant(GUEST, 1)
    home.controller().operate(Operation.OPEN)
    assert home.try_operation(person) is Result.BUSY
    home.board.arrive()
    home.relock()
    assert home.try_operation(person) is Result.ACCEPTED


def test_a_full_uses_byte_is_unlimited_and_254_leaves_it_as_it_is(home: Home) -> None:
    person = home.grant(GUEST, 7)
    session = home.controller()
    for uses, left in ((254, 7), (255, 255), (254, 255), (253, 253), (0, 0)):
        session.ask(requests.set_rights(person.slot, GUEST, uses))
        [reply] = session.ask(requests.read_account(person.slot))
        assert Account.of(reply).uses == left


# --- 41: remove -------------------------------------------------------------------------------


def test_removing_starts_an_epoch_and_ends_the_accounts_sessions_first(home: Home) -> None:
    person = home.grant(GUEST)
    phone = come(home, person)
    session = home.controller()
    [reply] = session.ask(requests.remove_account(person.account_id))
    assert AccountRemoved.of(reply).epoch == 1
    assert home.advertised(1).counter == home.lock.counter
    with pytest.raises(RefusalError, match="NO_SESSION"):
        phone.operate(Operation.UNLOCK)
    with pytest.raises(RefusalError, match="AUTHENTICATION"):
        home.try_operation(person)
    assert session.result(requests.remove_account(person.account_id)) is Result.UNKNOWN_ACCOUNT
    assert session.status().result is Result.DONE


def test_a_manager_who_removes_himself_gets_his_answer_and_no_more(home: Home) -> None:
    person = home.grant(MANAGER)
    session = come(home, person)
    results = session.results(
        requests.remove_account(person.account_id), requests.account_digest_request()
    )
    assert results == [Result.DONE, Result.UNKNOWN_ACCOUNT]
    with pytest.raises(RefusalError, match="NO_SESSION"):
        session.status()


def test_a_manager_who_removes_himself_has_no_session_any_more(home: Home) -> None:
    person = home.grant(MANAGER)
    session = come(home, person)
    assert session.result(requests.remove_account(person.account_id)) is Result.DONE
    with pytest.raises(RefusalError, match="NO_SESSION"):
        session.status()


def test_a_freed_slot_is_used_again_only_after_the_controller_read_the_log(home: Home) -> None:
    first = home.grant(GUEST)
    home.try_operation(first)
    home.relock()
    session = home.controller()
    session.ask(requests.remove_account(first.account_id))
    second = home.grant(GUEST)
    assert second.slot == 1
    # Somebody else's reading does not count, nor does a page that ends too early
    come(home, home.grant(Right.ENABLED | Right.READ_LOG)).ask(requests.get_log(0))
    home.controller().ask(requests.get_log(0, 2))
    home.restart()
    assert home.grant(GUEST).slot == 3
    home.controller().ask(requests.get_log(0, 20))
    assert home.grant(GUEST).slot == 0


def test_an_empty_answer_behind_the_newest_record_counts_as_read(home: Home) -> None:
    person = home.grant(GUEST)
    session = home.controller()
    session.ask(requests.remove_account(person.account_id))
    newest = home.log()[-1][3]
    session.ask(requests.get_log(newest))
    assert home.grant(GUEST).slot == person.slot


def test_a_removed_id_is_never_written_again(home: Home) -> None:
    person = home.grant(GUEST)
    session = home.controller()
    session.ask(requests.remove_account(person.account_id))
    session.ask(requests.get_log(0))
    assert session.result(requests.write_account(person.account_id)) is Result.BAD_VALUE
    home.restart()
    again = home.controller().result(requests.write_account(person.account_id))
    assert again is Result.BAD_VALUE


def test_a_movement_of_somebody_removed_ends_as_nobodys(home: Home) -> None:
    person = home.grant(GUEST)
    home.try_operation(person)
    home.controller().ask(requests.remove_account(person.account_id))
    home.board.arrive()
    assert home.log()[-1][:3] == (Event.UNLOCKED, 254, Source.BLUETOOTH)


def test_the_epoch_stays_at_its_end(home: Home) -> None:
    home.lock.store.commit((2, b"\xff\xff"))
    home.restart()
    person = home.grant(GUEST)
    [reply] = home.controller().ask(requests.remove_account(person.account_id))
    assert AccountRemoved.of(reply).epoch == 0xFFFF


# --- 42 to 44: rights, validity, hours --------------------------------------------------------


@pytest.mark.parametrize(
    "request_for",
    [
        lambda slot: requests.set_rights(slot, GUEST, 5),
        lambda slot: requests.set_validity(slot, 1, 2),
        lambda slot: requests.set_weekly_hours(slot, Weekday(1), 0, 1),
        lambda slot: requests.set_pin(slot, "1234"),
        lambda slot: requests.set_pin(slot, ""),
    ],
)
def test_changes_are_for_accounts_that_exist(home: Home, request_for) -> None:  # type: ignore[no-untyped-def]  # a builder of requests
    session = home.controller()
    assert session.result(request_for(3)) is Result.UNKNOWN_ACCOUNT
    assert session.result(request_for(32)) is Result.BAD_VALUE
    assert session.result(requests.read_account(32)) is Result.BAD_VALUE
    assert session.result(requests.read_account(3)) is Result.UNKNOWN_ACCOUNT


def test_a_slot_that_cannot_be_is_answered_with_the_status_and_a_free_one_is_not(
    home: Home,
) -> None:
    session = home.controller()
    [free] = session.ask(requests.read_account(3))
    assert free.response.value == bytes((Result.UNKNOWN_ACCOUNT, 3)) + bytes(7)
    [beyond] = session.ask(requests.read_account(32))
    assert Status.of(beyond).counter == home.lock.counter


def test_a_change_is_logged_once_with_who_made_it_and_whose_account_it_is(home: Home) -> None:
    manager, person = home.grant(MANAGER), home.grant()
    session = come(home, manager)
    before = len(home.log())
    for _again in range(2):
        session.ask(requests.set_validity(person.slot, 5, 0))
    [record] = home.log()[before:]
    assert (record[0], record[1], record[2], record[6]) == (
        Event.ACCOUNT_CHANGED,
        manager.slot,
        Source.BLUETOOTH,
        person.slot,
    )


@pytest.mark.parametrize(
    "request_",
    [
        requests.set_validity(0, 100, 100),
        requests.set_validity(0, 100, 99),
        raw(Command.SET_WEEKLY_HOURS, bytes((0, 0x80))),
        raw(Command.SET_WEEKLY_HOURS, b"\x00\x01\x05\xa0\x00\x00"),
        raw(Command.SET_WEEKLY_HOURS, b"\x00\x01\x00\x00\x05\xa0"),
    ],
)
def test_impossible_limits_are_refused_and_change_nothing(home: Home, request_: Request) -> None:
    home.grant()
    session = home.controller()
    digest = session.ask(requests.account_digest_request())
    assert session.result(request_) is Result.BAD_VALUE
    assert session.ask(requests.account_digest_request()) == digest


@pytest.mark.parametrize(
    ("not_before", "not_after", "result"),
    [
        (0, 0, Result.ACCEPTED),
        (NOW + 60, 0, Result.ACCEPTED),
        (NOW + 61, 0, Result.OUTSIDE_TIME),
        (0, NOW + 61, Result.ACCEPTED),
        (0, NOW + 60, Result.OUTSIDE_TIME),
        (NOW + 60, NOW + 61, Result.ACCEPTED),
    ],
)
def test_validity_counts_its_first_second_and_not_its_last(
    home: Home, not_before: int, not_after: int, result: Result
) -> None:
    person = home.grant(GUEST, 255, requests.set_validity(0, not_before, not_after))
    home.board.pass_time(60 - home.board.clock.ms / 1000)
    assert home.try_operation(person) is result


def test_outside_its_validity_an_account_learns_nothing(home: Home) -> None:
    person = home.grant(Right(0xFF), 255, requests.set_validity(0, 0, NOW - 1))
    session = come(home, person)
    wanted = [
        requests.get_status(),
        requests.operate(Operation.UNLOCK),
        requests.account_digest_request(),
        requests.get_log(0),
        requests.get_advertisement_key(),
        requests.remove_account(bytes(9)),
        requests.write_account(bytes(9)),
    ]
    for reply in session.ask(*wanted):
        assert reply.result is Result.OUTSIDE_TIME
        assert not reply.records
    status = Status.of(session.ask(requests.get_status())[0])
    assert (status.bolt, status.door, status.battery) == (Bolt.UNKNOWN, Door.NO_SENSOR, None)
    home.board.sense(Bolt.UNLOCKED)
    session.take()
    assert session.events == []
    assert [record[6] for record in home.log() if record[0] == Event.ACCESS_DENIED] == [3]


def at(day: int, hour: int, minute: int) -> int:
    """Local seconds into the week of the tests; 0 is Monday."""
    return day * 86400 + hour * 3600 + minute * 60


MONDAY = NOW - NOW % 86400
DAYTIME = requests.set_weekly_hours(0, Weekday(0b0000001), 8 * 60, 17 * 60)
NIGHT = requests.set_weekly_hours(0, Weekday(0b0010000), 22 * 60, 6 * 60)


@pytest.mark.parametrize(
    ("hours", "when", "may"),
    [
        (DAYTIME, at(0, 7, 59), False),
        (DAYTIME, at(0, 8, 0), True),
        (DAYTIME, at(0, 17, 0) + 59, True),
        (DAYTIME, at(0, 17, 1), False),
        (DAYTIME, at(1, 12, 0), False),
        (DAYTIME, at(7, 12, 0), True),
        (NIGHT, at(4, 21, 59), False),
        (NIGHT, at(4, 22, 0), True),
        (NIGHT, at(5, 0, 0), True),
        (NIGHT, at(5, 6, 0), True),
        (NIGHT, at(5, 6, 1), False),
        (NIGHT, at(5, 22, 0), False),
        (NIGHT, at(4, 3, 0), False),
    ],
)
@pytest.mark.parametrize("offset", [0, 120, -210, 840])
def test_weekly_hours_are_local_and_belong_to_the_day_they_began(
    home: Home, hours: Request, when: int, may: bool, offset: int
) -> None:
    home.grant(GUEST, 255, hours)
    unix = MONDAY + when - offset * 60
    session = home.controller()
    assert session.result(requests.set_time(unix, offset, force=True)) is Result.DONE
    account = home.lock.accounts.get(0)
    assert account is not None
    assert home.lock.clock.allows_hour(account) is may


def test_sunday_night_runs_into_monday(home: Home) -> None:
    home.grant(GUEST, 255, requests.set_weekly_hours(0, Weekday(0b1000000), 22 * 60, 6 * 60))
    account = home.lock.accounts.get(0)
    assert account is not None
    home.controller().ask(requests.set_time(MONDAY + at(0, 3, 0), 0, force=True))
    assert home.lock.clock.allows_hour(account)


def test_hours_hold_for_operations_and_pins_and_for_nothing_else(home: Home) -> None:
    person = home.grant(
        Right(0xFF),
        255,
        requests.set_weekly_hours(0, Weekday(0b0000010), 0, 1439),
        requests.set_pin(0, "2580"),
    )
    session = come(home, person)
    assert session.operate(Operation.UNLOCK) is Result.OUTSIDE_TIME
    assert home.lock.pin_entered("2580") == Result.OUTSIDE_TIME
    assert session.status().bolt is Bolt.LOCKED
    assert session.result(requests.account_digest_request()) is Result.DONE
    denied = [record for record in home.log() if record[0] == Event.ACCESS_DENIED]
    assert [record[2] for record in denied] == [Source.BLUETOOTH]


def test_a_refused_pin_is_logged_as_denied_to_its_account(home: Home) -> None:
    person = home.grant(Right.ENABLED | Right.LOCK, 255, requests.set_pin(0, "2580"))
    assert home.lock.pin_entered("2580") == Result.NO_RIGHT
    record = home.log()[-1]
    assert record[:3] == (Event.ACCESS_DENIED, person.slot, Source.KEYPAD)
    assert home.board.indicator.shown[-1] == "refused"


# --- 45, 50: time -----------------------------------------------------------------------------


def test_a_trusted_clock_moves_by_600_seconds_at_most_unless_forced(home: Home) -> None:
    session = home.controller()
    now = session.client.time()
    assert session.result(requests.set_time(now + 600, 0)) is Result.DONE
    assert session.result(requests.set_time(now + 1201, 0)) is Result.BAD_VALUE
    assert session.result(requests.set_time(now - 1, 0)) is Result.BAD_VALUE
    assert home.lock.clock.now() == now + 600
    assert session.result(requests.set_time(now - 86400, 0, force=True)) is Result.DONE
    assert home.lock.clock.now() == now - 86400


@pytest.mark.parametrize(
    "value",
    [
        bytes(9),  # 1970
        (NOW).to_bytes(4) + b"\x05\xa0",  # 24 hours
        (NOW).to_bytes(4) + b"\xfa\x60",
        (NOW).to_bytes(4) + b"\x00\x00\x02",  # force is 0 or 1
    ],
)
def test_impossible_times_are_refused(home: Home, value: bytes) -> None:
    records = len(home.log())
    assert home.controller().result(raw(Command.SET_TIME, value)) is Result.BAD_VALUE
    assert home.lock.clock.now() == home.gateway.time()
    assert len(home.log()) == records


def test_setting_the_clock_is_logged_with_the_old_time() -> None:
    home = paired_home(time_set=False)
    session = home.controller()
    session.ask(requests.set_time(NOW, 60))
    assert home.log()[-1] == (Event.CLOCK_SET, 255, 1, home.lock.counter, 1, 1, 0, 0)
    home.board.pass_time(5)
    session.ask(requests.set_time(NOW, 60))
    assert home.log()[-1][7] == NOW + 5
    records = len(home.log())
    session.ask(requests.set_time(NOW, 60))
    assert len(home.log()) == records, "nothing changed, nothing to log"


def test_answers_carry_the_locks_time_and_0_while_it_is_not_trusted() -> None:
    home = paired_home(time_set=False)
    session = home.controller()
    [reply] = session.ask(requests.get_status())
    assert reply.timestamp == 0
    session.ask(requests.set_time(NOW, 0))
    home.board.pass_time(3)
    [reply] = session.ask(requests.get_status())
    assert reply.timestamp == NOW + 3
    assert home.advertised().clock_trusted


def test_the_battery_backed_clock_is_set_and_believed_after_a_restart(home: Home) -> None:
    home.board.clock.has_rtc = True
    home.controller().ask(requests.set_time(home.gateway.time() + 7, 0))
    home.restart(seconds=100)
    assert home.lock.clock.now() == NOW + 107
    assert home.log()[-1][0] == Event.RESTARTED
    assert home.log()[-1][7] == NOW + 107


def test_a_clock_behind_the_newest_record_has_lost_its_time(home: Home) -> None:
    home.board.clock.has_rtc = True
    home.board.pass_time(100)
    home.board.sense(Bolt.UNLOCKED)
    home.board.clock.unix = NOW + 50
    home.restart(seconds=0)
    assert not home.lock.clock_trusted


def test_a_clock_set_back_on_purpose_is_believed_after_a_restart(home: Home) -> None:
    home.board.clock.has_rtc = True
    home.controller().ask(requests.set_time(NOW - 86400, 0, force=True))
    home.restart()
    assert home.lock.clock_trusted


def test_a_coming_change_of_the_offset_comes(home: Home) -> None:
    session = home.controller()
    now = session.client.time()
    session.ask(requests.set_time(now, 60), requests.set_next_utc_offset(now + 100, 120))
    assert home.lock.clock.offset(now + 99) == 60
    assert home.lock.clock.offset(now + 100) == 120
    home.restart()
    assert home.lock.clock.offset(now + 100) == 120
    # A gateway that sets the time before the change leaves it standing, after it it is over
    session = home.controller()
    session.ask(requests.set_time(now + 50, 60, force=True))
    assert home.lock.clock.offset(now + 100) == 120
    session = home.controller()
    session.ask(requests.set_time(now + 200, 90, force=True))
    assert home.lock.clock.offset(now + 300) == 90


def test_a_coming_change_can_be_taken_back_and_survives_a_late_one(home: Home) -> None:
    session = home.controller()
    now = session.client.time()
    session.ask(requests.set_time(now, 60), requests.set_next_utc_offset(now + 100, 120))
    session.ask(requests.set_next_utc_offset(0, 0))
    assert home.lock.clock.offset(now + 100) == 60
    session.ask(requests.set_next_utc_offset(now + 1, 120))
    home.board.pass_time(5)
    session.ask(requests.set_next_utc_offset(now + 1000, 60))
    assert home.lock.clock.offset(now + 6) == 120
    assert session.result(requests.set_next_utc_offset(now, 1440)) is Result.BAD_VALUE


# --- 46: PINs ---------------------------------------------------------------------------------


def test_a_pin_unlocks_and_is_logged_with_its_slot(home: Home) -> None:
    person = home.grant(GUEST, 255, requests.set_pin(0, "13579"))
    assert home.lock.pin_entered("13579") == Result.ACCEPTED
    home.board.arrive()
    assert home.log()[-1][:3] == (Event.UNLOCKED, person.slot, Source.KEYPAD)
    assert home.board.indicator.shown[-1] == "ok"


def test_a_pin_uses_up_a_use(home: Home) -> None:
    home.grant(GUEST, 1, requests.set_pin(0, "13579"))
    assert home.lock.pin_entered("13579") == Result.ACCEPTED
    home.board.arrive()
    home.relock()
    assert home.lock.pin_entered("13579") == Result.DISABLED


@pytest.mark.parametrize("digits", ["1234", "0000", "12345678901234"])
def test_pins_have_4_to_14_digits_and_are_not_in_flash(home: Home, digits: str) -> None:
    home.grant(GUEST, 255, requests.set_pin(0, digits))
    assert home.lock.pin_entered(digits[:-1] + "7") != Result.ACCEPTED
    assert home.lock.pin_entered(digits) == Result.ACCEPTED
    for data in home.board.flash.files.values():
        assert digits.encode() not in data
        assert digits == "0000" or bytes.fromhex(digits) not in data


@pytest.mark.parametrize(
    "value",
    [
        b"\x00\x03\x12\x3f\xff\xff\xff\xff\xff",  # too short
        b"\x00\x0f\x12\x34\x56\x78\x90\x12\x34",  # too long
        b"\x00\x04\x12\x34\xff\xff\xff\xff\xf0",  # padding
        b"\x00\x04\x12\x34\x5f\xff\xff\xff\xff",
        b"\x00\x05\x12\x34\xff\xff\xff\xff\xff",  # no digit
        b"\x00\x04\x12\x3a\xff\xff\xff\xff\xff",
    ],
)
def test_impossible_pins_are_refused(home: Home, value: bytes) -> None:
    home.grant()
    session = home.controller()
    assert session.result(raw(Command.SET_PIN, value)) is Result.BAD_VALUE
    [reply] = session.ask(requests.read_account(0))
    assert not Account.of(reply).pin_set


def test_a_pin_in_use_elsewhere_is_refused_and_ones_own_is_not(home: Home) -> None:
    first, second = home.grant(), home.grant()
    session = home.controller()
    assert session.result(requests.set_pin(first.slot, "2580")) is Result.DONE
    assert session.result(requests.set_pin(second.slot, "2580")) is Result.BAD_VALUE
    assert session.result(requests.set_pin(second.slot, "25800")) is Result.DONE
    assert session.result(requests.set_pin(first.slot, "2580")) is Result.DONE
    assert session.result(requests.set_pin(first.slot, "")) is Result.DONE
    assert session.result(requests.set_pin(second.slot, "2580")) is Result.DONE
    assert home.lock.pin_entered("25800") == Result.UNKNOWN_ACCOUNT


def test_the_same_pin_is_stored_differently_each_time(home: Home) -> None:
    first, second = home.grant(), home.grant()
    session = home.controller()
    session.ask(requests.set_pin(first.slot, "2580"))
    account = home.lock.accounts.get(first.slot)
    session.ask(requests.set_pin(first.slot, ""), requests.set_pin(second.slot, "2580"))
    other = home.lock.accounts.get(second.slot)
    assert account is not None
    assert other is not None
    assert account.pin != other.pin


@pytest.mark.parametrize(
    "digits", ["", "123", "123456789012345", "12a4", "\u0661\u0662\u0663\u0664"]
)
def test_what_can_be_no_pin_is_not_counted(home: Home, digits: str) -> None:
    home.grant(GUEST, 255, requests.set_pin(0, "2580"))
    assert home.lock.pin_entered(digits) == Result.BAD_VALUE
    assert home.lock.pin_misses == 0


def test_the_keypad_can_be_switched_off_or_be_missing(home: Home) -> None:
    home.grant(GUEST, 255, requests.set_pin(0, "2580"))
    home.controller().ask(requests.set_option(Option.KEYPAD, 0))
    assert home.lock.pin_entered("2580") == Result.NOT_POSSIBLE_NOW
    bare = paired_home(capabilities=0)
    bare.grant()
    session = bare.controller()
    assert bare.lock.pin_entered("2580") == Result.NOT_SUPPORTED
    assert session.result(requests.set_pin(0, "2580")) is Result.NOT_SUPPORTED
    for option in (Option.KEYPAD, Option.AUTO_LOCK_SECONDS):
        assert session.result(requests.set_option(option, 1)) is Result.NOT_SUPPORTED
        assert session.result(requests.get_option(option)) is Result.NOT_SUPPORTED
    assert session.operate(Operation.OPEN) is Result.NOT_SUPPORTED


# --- 47, 4C: options --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "default", "good", "bad"),
    [
        (1, 0, (86400, 1, 0), (86401, 0xFFFFFFFF)),
        (2, 1, (0, 1), (2,)),
        (3, 1, (0, 1), (2,)),
        (4, 1000, (100, 2000), (99, 2001, 0)),
    ],
)
def test_options_are_kept(
    home: Home, option: int, default: int, good: tuple[int, ...], bad: tuple[int, ...]
) -> None:
    session = home.controller()

    def value() -> int:
        [reply] = session.ask(raw(Command.GET_OPTION, bytes((option,))))
        return OptionValue.of(reply).value

    assert value() == default
    for number in good:
        wanted = raw(Command.SET_OPTION, bytes((option,)) + number.to_bytes(4))
        assert session.result(wanted) is Result.DONE
        assert value() == number
    for number in bad:
        wanted = raw(Command.SET_OPTION, bytes((option,)) + number.to_bytes(4))
        assert session.result(wanted) is Result.BAD_VALUE
        assert value() == good[-1]
    home.restart()
    assert home.lock.option(option) == good[-1]


def test_an_option_changed_is_logged_with_its_number(home: Home) -> None:
    session = home.controller()
    before = len(home.log())
    for _again in range(2):
        session.ask(requests.set_option(Option.SOUND, 0))
    [record] = home.log()[before:]
    assert (record[0], record[1], record[6]) == (Event.OPTION_CHANGED, 255, Option.SOUND)


@pytest.mark.parametrize("option", [0, 5, 255])
def test_unknown_options_are_bad_values(home: Home, option: int) -> None:
    session = home.controller()
    assert session.result(raw(Command.GET_OPTION, bytes((option,)))) is Result.BAD_VALUE
    assert session.result(raw(Command.SET_OPTION, bytes((option,)))) is Result.BAD_VALUE


# --- 4A: the log ------------------------------------------------------------------------------


def test_the_log_is_read_in_pages_rising(home: Home) -> None:
    for _turn in range(50):
        home.board.sense(3 - home.board.bolt)
    session = home.controller()
    after = 0
    seen: list[LogRecord] = []
    while True:
        [reply] = session.ask(requests.get_log(after, 20))
        page = LogPage.of(reply)
        if not page.records:
            break
        assert page.oldest == home.log()[0][3]
        assert page.newest == home.log()[-1][3]
        seen += page.records
        after = page.records[-1].counter
    assert [record.counter for record in seen] == [record[3] for record in home.log()]
    turned = [record for record in seen if record.event in (Event.LOCKED, Event.UNLOCKED)]
    assert len(turned) == 50
    assert {(record.slot, record.source) for record in turned} == {(254, Source.BY_HAND)}
    assert all(record.timestamp >= NOW for record in turned)


@pytest.mark.parametrize("count", [0, 21, 255])
def test_a_page_has_1_to_20_records(home: Home, count: int) -> None:
    wanted = raw(Command.GET_LOG, bytes((0, 0, 0, count)))
    assert home.controller().result(wanted) is Result.BAD_VALUE


def test_twenty_pages_in_one_message_bring_what_fits(home: Home) -> None:
    for _turn in range(30):
        home.board.sense(3 - home.board.bolt)
    session = home.controller()
    session.status()
    replies = session.ask(*[requests.get_log(0, 20)] * 21)
    assert all(reply.result in (Result.DONE, Result.BUSY) for reply in replies)
    counts = [len(reply.records) for reply in replies]
    assert counts[0] == 20
    assert sum(counts) + 21 <= 2048 // 24
    assert session.status().result is Result.DONE


def test_a_page_that_has_no_room_at_all_is_busy(home: Home) -> None:
    client = Client(home.board, listening=False)
    session = home.controller(client, NonceSource.ADVERTISED)
    client.send(session.message(*[requests.get_status()] * 20))
    client.send(session.message(*[requests.get_status()] * 21))
    client.send(session.message(*[requests.get_status()] * 21))
    client.send(session.message(requests.get_status()))
    client.send(session.message(*[requests.get_status()] * 20, requests.get_log(0)))
    client.listen()
    *_statuses, page = session.take()
    assert page.result is Result.BUSY


def test_the_ring_keeps_what_was_promised() -> None:
    home = paired_home(log_size=256)
    for _turn in range(700):
        home.board.sense(3 - home.board.bolt)
    records = home.log()
    assert 256 <= len(records) <= 320
    assert records[-1][3] == home.lock.counter
    home.restart()
    assert home.log()[:-1] == records
    assert int.from_bytes(home.lock.info()[10:12]) == 256


def test_others_are_hidden_from_who_has_no_log_right() -> None:
    home = paired_home(connections=6)
    guest, reader = home.grant(GUEST), home.grant(Right.ENABLED | Right.READ_LOG)
    manager = home.grant(MANAGER)
    sessions = {who.slot: come(home, who) for who in (reader, manager)}
    home.try_operation(guest)
    home.board.arrive()
    for slot, session in sessions.items():
        session.take()
        [event] = session.events
        assert event.slot == (guest.slot if slot == reader.slot else 254)
        [reply] = session.ask(requests.get_log(0, 20))
        shown = {record.slot for record in LogPage.of(reply).records}
        assert shown == ({guest.slot, 254, 255} if slot == reader.slot else {254})
    own = come(home, guest)
    home.relock()
    own.operate(Operation.UNLOCK)
    home.board.arrive()
    own.take()
    assert [event.slot for event in own.events] == [254, guest.slot]


def test_without_any_right_to_it_the_log_is_closed(home: Home) -> None:
    guest = home.grant(GUEST)
    assert come(home, guest).result(requests.get_log(0)) is Result.NO_RIGHT


# --- 4B: factory reset ------------------------------------------------------------------------


def test_a_factory_reset_erases_all_but_the_counter(home: Home) -> None:
    home.grant(GUEST, 255, requests.set_pin(0, "2580"))
    session = home.controller()
    session.ask(
        requests.set_option(Option.SOUND, 0),
        requests.set_time(NOW, 60),
        requests.set_next_utc_offset(NOW + 100, 120),
    )
    home.lock.pin_entered("0000")
    other = home.controller(Client(home.board))
    other.status()
    counter = home.lock.counter
    results = session.results(requests.factory_reset(), requests.get_status())
    assert results == [Result.DONE, Result.UNKNOWN_ACCOUNT]
    lock = home.lock
    assert (lock.paired, lock.setup_mode, lock.pin_misses) == (False, False, 0)
    assert (lock.option(Option.SOUND), lock.clock.offset(NOW + 200)) == (1, 0)
    assert lock.counter > counter
    assert home.log() == []
    assert home.board.radio.data[6:] == bytes(4)
    for session in (session, other):  # noqa: B020 - both sessions are over
        with pytest.raises(RefusalError, match="NO_SESSION"):
            session.ask(requests.get_status())
    home.restart()
    assert home.in_setup_mode()
    assert home.lock.counter > counter


def test_a_factory_reset_needs_its_word(home: Home) -> None:
    session = home.controller()
    assert session.result(raw(Command.FACTORY_RESET, b"ILP1RESEt")) is Result.BAD_VALUE
    assert home.lock.paired


# --- 4E, 4F -----------------------------------------------------------------------------------


def test_the_advertisement_key_is_given_to_who_may_follow(home: Home) -> None:
    follower, guest = home.grant(Right.ENABLED | Right.FOLLOW_STATE), home.grant(ALL_RIGHTS ^ 0x20)
    for who, epoch in ((follower, 0), (None, 0)):
        session = come(home, who) if who else home.controller()
        [reply] = session.ask(requests.get_advertisement_key())
        answer = AdvertisementKey.of(reply)
        assert answer.epoch == epoch
        assert answer.key == advertisement_key(home.lock_key, epoch)
    assert come(home, guest).result(requests.get_advertisement_key()) is Result.NO_RIGHT


def test_identify_shows_itself(home: Home) -> None:
    assert home.controller().result(requests.identify()) is Result.DONE
    assert home.board.indicator.shown[-1] == "identify"


# --- who may, and what else is refused --------------------------------------------------------

FOR_MANAGERS = [
    requests.remove_account(bytes(9)),
    requests.set_rights(9, GUEST),
    requests.set_validity(9, 0, 0),
    requests.set_weekly_hours(9, Weekday(0), 0, 0),
    requests.set_time(NOW, 0),
    requests.set_pin(9, ""),
    requests.set_option(Option.SOUND, 1),
    requests.account_digest_request(),
    requests.get_option(Option.SOUND),
    requests.read_account(9),
    requests.identify(),
    requests.set_next_utc_offset(0, 0),
]


@pytest.mark.parametrize("request_", FOR_MANAGERS, ids=lambda request: request.command.name)
def test_managing_needs_the_right_to(home: Home, request_: Request) -> None:
    guest, manager = home.grant(ALL_RIGHTS ^ Right.MANAGE), home.grant(MANAGER)
    assert come(home, guest).result(request_) is Result.NO_RIGHT
    assert come(home, manager).result(request_) in (Result.DONE, Result.UNKNOWN_ACCOUNT)


@pytest.mark.parametrize("request_", [requests.write_account(bytes(9)), requests.factory_reset()])
def test_writing_accounts_and_resetting_are_the_controllers_alone(
    home: Home, request_: Request
) -> None:
    assert come(home, home.grant(ALL_RIGHTS)).result(request_) is Result.NO_RIGHT
    assert home.lock.paired
    assert home.read(1) is Result.UNKNOWN_ACCOUNT


def test_every_enabled_account_may_ask_for_the_status(home: Home) -> None:
    status = come(home, home.grant(Right.ENABLED)).status()
    assert (status.result, status.bolt, status.battery) == (Result.DONE, Bolt.LOCKED, 87)


@pytest.mark.parametrize("command", [0, 4, 0x40, 0x51, 0xFF])
def test_unknown_commands_are_not_supported(home: Home, command: int) -> None:
    assert home.controller().result(raw(command, b"")) is Result.NOT_SUPPORTED


@pytest.mark.parametrize("kind", [0, 2, 3, 4, 255])
def test_only_requests_are_run(home: Home, kind: int) -> None:
    class Odd(Request):
        def at(self, timestamp: int) -> Frame:
            return Frame(self.command, kind, self.value, timestamp)

    session = home.controller()
    session.status()
    assert session.ilp is not None
    odd = Odd(Command.OPERATE, b"\x02\x05" + bytes(7)).at(session.client.time())
    # The client's own session refuses to send these; below it nothing does
    session._exchange.sent([odd])
    session.client.send(b"\x13" + session.ilp._sealer.seal([odd]))
    [reply] = session.take()
    assert reply.result is Result.NOT_SUPPORTED
    assert home.board.motor.started == []


def test_a_wrong_check_byte_is_result_8(home: Home) -> None:
    class Wrong(Frame):
        def encode(self) -> bytes:
            return super().encode()[:11] + b"\xaa" + super().encode()[12:]

    session = home.controller()
    session.status()
    assert session.ilp is not None
    wrong = Wrong(Command.OPERATE, 1, b"\x02\x05" + bytes(7), session.client.time())
    session._exchange.sent([wrong])
    session.client.send(b"\x13" + session.ilp._sealer.seal([wrong]))
    [reply] = session.take()
    assert reply.result is Result.WRONG_CHECK
    assert home.board.motor.started == []


def test_reserved_bytes_are_ignored(home: Home) -> None:
    session = home.controller()
    assert session.result(Request(Command.GET_STATUS, b"\xff" * 9)) is Result.DONE
    assert session.result(Request(Command.OPERATE, b"\x02\x05" + b"\xff" * 7)) is Result.ACCEPTED


def test_a_battery_too_low_moves_nothing(home: Home) -> None:
    home.board.lock.battery_measured(c.BATTERY_CRITICAL, True)
    assert home.controller().operate(Operation.UNLOCK) is Result.BATTERY_TOO_LOW
    home.board.lock.battery_measured(c.BATTERY_CRITICAL + 1, True)
    assert home.controller().operate(Operation.UNLOCK) is Result.ACCEPTED
