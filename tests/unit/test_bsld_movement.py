"""The bolt, the door and what hangs on them: movements, jams, turns by hand, auto-lock, buttons."""

import pytest
from bsld_home import GUEST, Client, Home, new_lock, paired_home
from ilp import Bolt, Door, Event, Operation, Option, Result, Source, requests


@pytest.fixture
def home() -> Home:
    return paired_home()


def last(home: Home) -> tuple[int, ...]:
    """Event, slot, source and bolt of the newest record."""
    record = home.log()[-1]
    return record[0], record[1], record[2], record[4]


@pytest.mark.parametrize(
    ("start", "operation", "moving", "event", "end"),
    [
        (Bolt.UNLOCKED, Operation.LOCK, Bolt.LOCKING, Event.LOCKED, Bolt.LOCKED),
        (Bolt.LOCKED, Operation.UNLOCK, Bolt.UNLOCKING, Event.UNLOCKED, Bolt.UNLOCKED),
        (Bolt.LOCKED, Operation.OPEN, Bolt.UNLOCKING, Event.OPENED, Bolt.OPEN),
        (Bolt.UNLOCKED, Operation.OPEN, Bolt.UNLOCKING, Event.OPENED, Bolt.OPEN),
        (Bolt.OPEN, Operation.UNLOCK, Bolt.UNLOCKING, Event.UNLOCKED, Bolt.UNLOCKED),
        (Bolt.JAMMED, Operation.LOCK, Bolt.LOCKING, Event.LOCKED, Bolt.LOCKED),
    ],
)
def test_a_movement_takes_time_and_is_shown(
    home: Home, start: Bolt, operation: Operation, moving: Bolt, event: Event, end: Bolt
) -> None:
    home.board.sense(start)
    assert home.controller().operate(operation) is Result.ACCEPTED
    assert home.advertised().bolt is moving
    assert home.board.motor.stopped == 0
    home.board.pass_time(2)
    home.board.arrive()
    assert home.board.motor.stopped == 1
    assert home.advertised().bolt is end
    assert last(home) == (event, 255, Source.BLUETOOTH, end)


def test_an_opening_bolt_passes_unlocked_on_its_way(home: Home) -> None:
    home.controller().operate(Operation.OPEN)
    home.board.sense(Bolt.UNLOCKED)
    assert home.advertised().bolt is Bolt.UNLOCKING
    home.board.sense(Bolt.OPEN)
    assert last(home)[0] == Event.OPENED
    # The latch springs back: nobody unlocked anything
    records = len(home.log())
    home.board.sense(Bolt.UNLOCKED)
    assert home.advertised().bolt is Bolt.UNLOCKED
    assert len(home.log()) == records


def test_while_the_bolt_moves_the_lock_is_busy_for_everybody(home: Home) -> None:
    session = home.controller()
    session.operate(Operation.UNLOCK)
    for operation in Operation:
        assert session.operate(operation) is Result.BUSY
    assert home.lock.button_pressed() == Result.BUSY
    assert home.board.motor.started == [Operation.UNLOCK]


def test_what_is_so_already_is_done_without_moving(home: Home) -> None:
    session = home.controller()
    assert session.operate(Operation.LOCK) is Result.DONE
    home.board.sense(Bolt.UNLOCKED)
    assert session.client.heard()
    session = home.controller()
    assert session.operate(Operation.UNLOCK) is Result.DONE
    assert home.board.motor.started == []


def test_a_jam_is_told_logged_and_shown(home: Home) -> None:
    session = home.controller()
    session.operate(Operation.UNLOCK)
    home.board.sense(Bolt.JAMMED)
    session.take()
    assert session.events[-1].event is Event.JAMMED
    assert home.advertised().bolt is Bolt.JAMMED
    assert last(home) == (Event.JAMMED, 255, Source.BLUETOOTH, Bolt.JAMMED)
    assert home.board.indicator.shown[-1] == "alert"
    assert home.board.motor.stopped == 1
    # and can be tried again
    assert session.operate(Operation.UNLOCK) is Result.ACCEPTED


def test_a_jammed_bolt_that_is_nowhere_stays_jammed(home: Home) -> None:
    home.controller().operate(Operation.UNLOCK)
    home.board.sense(Bolt.JAMMED)
    home.board.sense(Bolt.UNKNOWN)
    assert home.advertised().bolt is Bolt.JAMMED
    home.board.sense(Bolt.LOCKED)
    assert last(home)[:3] == (Event.LOCKED, 254, Source.BY_HAND)


def test_a_silent_motor_has_jammed() -> None:
    home = paired_home(movement_ms=4000)
    home.controller().operate(Operation.UNLOCK)
    home.board.pass_time(3.9)
    assert home.advertised().bolt is Bolt.UNLOCKING
    home.board.pass_time(0.1)
    assert home.advertised().bolt is Bolt.JAMMED
    assert home.board.motor.stopped == 1


@pytest.mark.parametrize("where", [Bolt.UNLOCKED, Bolt.UNKNOWN])
def test_a_movement_that_ends_elsewhere_has_failed(home: Home, where: Bolt) -> None:
    home.board.sense(Bolt.UNLOCKED)
    session = home.controller()
    session.operate(Operation.LOCK)
    home.board.sense(where)
    assert home.advertised().bolt is where
    assert last(home) == (Event.JAMMED, 255, Source.BLUETOOTH, where)
    assert home.board.indicator.shown[-1] == "alert"


def test_unlocking_may_end_open(home: Home) -> None:
    home.controller().operate(Operation.UNLOCK)
    home.board.sense(Bolt.OPEN)
    assert last(home)[0] == Event.OPENED
    assert "alert" not in home.board.indicator.shown


def test_a_turn_by_hand_is_nobodys(home: Home) -> None:
    session = home.controller()
    session.status()
    for bolt, event in ((2, Event.UNLOCKED), (1, Event.LOCKED), (6, Event.OPENED)):
        home.board.sense(bolt)
        home.board.sense(bolt)
        assert last(home) == (event, 254, Source.BY_HAND, bolt)
    session.take()
    assert [event.event for event in session.events] == [
        Event.UNLOCKED,
        Event.LOCKED,
        Event.OPENED,
    ]
    home.board.sense(Bolt.JAMMED)
    assert last(home) == (Event.JAMMED, 254, Source.BY_HAND, Bolt.JAMMED)
    assert home.board.indicator.shown[-1] == "alert"


def test_a_sensor_that_knows_nothing_is_shown_and_no_event(home: Home) -> None:
    records = len(home.log())
    home.board.sense(Bolt.UNKNOWN)
    assert home.advertised().bolt is Bolt.UNKNOWN
    assert len(home.log()) == records
    home.board.sense(Bolt.LOCKED)
    assert last(home)[0] == Event.LOCKED


def test_the_first_reading_after_power_up_is_no_turn() -> None:
    home = paired_home()
    home.board.bolt = Bolt.UNLOCKED
    home.restart()
    assert home.log()[-1][0] == Event.RESTARTED
    assert home.advertised().bolt is Bolt.UNLOCKED


# --- the door ---------------------------------------------------------------------------------


def test_the_door_is_shown_told_and_logged(home: Home) -> None:
    session = home.controller()
    session.status()
    home.lock.door_sensed(True)
    assert home.advertised().door is Door.OPEN
    home.lock.door_sensed(True)
    home.lock.door_sensed(False)
    assert home.advertised().door is Door.CLOSED
    session.take()
    assert [(event.event, event.door) for event in session.events] == [
        (Event.DOOR_OPENED, Door.OPEN),
        (Event.DOOR_CLOSED, Door.CLOSED),
    ]
    assert [record[0] for record in home.log()[-2:]] == [Event.DOOR_OPENED, Event.DOOR_CLOSED]


def test_without_a_sensor_there_is_no_door() -> None:
    home = paired_home(capabilities=0)
    assert home.advertised().door is Door.NO_SENSOR
    assert home.controller().status().door is Door.NO_SENSOR


# --- auto-lock --------------------------------------------------------------------------------


def with_auto_lock(capabilities: int = 0x3F) -> Home:
    home = paired_home(capabilities=capabilities)
    home.controller().ask(requests.set_option(Option.AUTO_LOCK_SECONDS, 30))
    return home


def unlock(home: Home) -> None:
    home.controller(Client(home.board)).operate(Operation.UNLOCK)
    home.board.arrive()


def test_it_locks_by_itself(home: Home) -> None:
    home = with_auto_lock()
    unlock(home)
    home.board.pass_time(29.9)
    assert home.board.motor.started == [Operation.UNLOCK]
    home.board.pass_time(0.1)
    assert home.board.motor.started == [Operation.UNLOCK, Operation.LOCK]
    home.board.arrive()
    assert last(home) == (Event.LOCKED, 254, Source.AUTO_LOCK, Bolt.LOCKED)


def test_it_does_not_while_it_is_switched_off(home: Home) -> None:
    unlock(home)
    home.board.pass_time(7200)
    assert home.board.motor.started == [Operation.UNLOCK]


def test_switching_it_on_counts_from_then(home: Home) -> None:
    unlock(home)
    home.controller(Client(home.board)).ask(requests.set_option(Option.AUTO_LOCK_SECONDS, 10))
    home.board.pass_time(10)
    assert home.board.motor.started[-1] == Operation.LOCK


def test_with_the_door_open_it_waits_and_counts_anew_when_it_closes() -> None:
    home = with_auto_lock()
    unlock(home)
    home.board.pass_time(20)
    home.lock.door_sensed(True)
    home.board.pass_time(600)
    assert home.board.motor.started == [Operation.UNLOCK]
    home.lock.door_sensed(False)
    home.board.pass_time(29.9)
    assert home.board.motor.started == [Operation.UNLOCK]
    home.board.pass_time(0.1)
    assert home.board.motor.started[-1] == Operation.LOCK


def test_with_a_door_sensor_that_has_not_reported_it_never_locks() -> None:
    home = with_auto_lock()
    home.board.settings["capabilities"] &= ~2
    home.restart()
    home.lock.capabilities |= 2
    home.board.sense(Bolt.UNLOCKED)
    home.board.pass_time(600)
    assert home.board.motor.started == []


def test_without_a_door_sensor_it_locks_all_the_same() -> None:
    home = with_auto_lock(capabilities=8)
    unlock(home)
    home.board.pass_time(30)
    assert home.board.motor.started[-1] == Operation.LOCK


def test_unlocking_again_gives_the_whole_time_again() -> None:
    home = with_auto_lock()
    unlock(home)
    home.board.pass_time(29)
    assert home.controller(Client(home.board)).operate(Operation.UNLOCK) is Result.DONE
    home.board.pass_time(29)
    assert home.board.motor.started == [Operation.UNLOCK]


def test_a_bolt_locked_by_hand_is_left_alone() -> None:
    home = with_auto_lock()
    unlock(home)
    home.board.sense(Bolt.LOCKED)
    home.board.pass_time(600)
    assert home.board.motor.started == [Operation.UNLOCK]


def test_a_bolt_unlocked_by_hand_or_before_power_up_is_locked() -> None:
    home = with_auto_lock()
    home.board.sense(Bolt.UNLOCKED)
    home.board.pass_time(30)
    assert home.board.motor.started == [Operation.LOCK]
    home.board.sense(Bolt.UNLOCKED)
    home.restart()
    home.board.pass_time(30)
    assert home.board.motor.started == [Operation.LOCK]


@pytest.mark.parametrize("failure", [Bolt.JAMMED, Bolt.UNLOCKED, Bolt.UNKNOWN])
def test_a_failure_is_tried_again_once_and_then_raises_the_alert(failure: Bolt) -> None:
    home = with_auto_lock()
    unlock(home)
    home.board.pass_time(30)
    home.board.sense(failure)
    assert "alert" not in home.board.indicator.shown
    home.board.pass_time(5)
    assert home.board.motor.started == [Operation.UNLOCK, Operation.LOCK, Operation.LOCK]
    home.board.sense(failure)
    assert home.board.indicator.shown[-1] == "alert"
    assert last(home) == (Event.JAMMED, 254, Source.AUTO_LOCK, failure)
    home.board.pass_time(7200)
    assert len(home.board.motor.started) == 3


def test_a_second_try_that_succeeds_raises_no_alert() -> None:
    home = with_auto_lock()
    unlock(home)
    home.board.pass_time(30)
    home.board.sense(Bolt.JAMMED)
    home.board.pass_time(5)
    home.board.arrive()
    assert "alert" not in home.board.indicator.shown
    assert home.advertised().bolt is Bolt.LOCKED


def test_after_the_alert_a_closing_door_or_a_hand_makes_it_try_anew() -> None:
    home = with_auto_lock()
    unlock(home)
    for _try in range(2):
        home.board.pass_time(30)
        home.board.sense(Bolt.UNLOCKED)
    tries = len(home.board.motor.started)
    home.lock.door_sensed(True)
    home.lock.door_sensed(False)
    home.board.pass_time(30)
    assert len(home.board.motor.started) == tries + 1


def test_the_second_try_waits_for_the_door_too() -> None:
    home = with_auto_lock()
    unlock(home)
    home.board.pass_time(30)
    home.board.sense(Bolt.JAMMED)
    home.lock.door_sensed(True)
    home.board.pass_time(60)
    assert home.board.motor.started == [Operation.UNLOCK, Operation.LOCK]


def test_a_battery_too_low_to_lock_raises_the_alert() -> None:
    home = with_auto_lock()
    unlock(home)
    home.lock.battery_measured(1, True)
    home.board.pass_time(60)
    assert home.board.motor.started == [Operation.UNLOCK]
    assert home.board.indicator.shown.count("alert") == 1


# --- battery, tamper, buttons -----------------------------------------------------------------


def test_the_battery_is_shown_and_a_low_one_logged_once(home: Home) -> None:
    session = home.controller()
    session.status()
    home.lock.battery_measured(15, True)
    home.lock.battery_measured(14, True)
    session.take()
    assert [event.event for event in session.events] == [Event.LOW_BATTERY]
    assert (home.advertised().battery, home.advertised().low_battery) == (14, True)
    home.lock.battery_measured(100, False)
    home.lock.battery_measured(15, True)
    assert [record[0] for record in home.log()].count(Event.LOW_BATTERY) == 2


@pytest.mark.parametrize("percent", [255, 101, -1])
def test_a_battery_that_cannot_be_is_unknown(home: Home, percent: int) -> None:
    home.lock.battery_measured(percent, False)
    assert home.advertised().battery is None
    assert home.controller().operate(Operation.UNLOCK) is Result.ACCEPTED


def test_an_open_cover_is_told_logged_and_shown(home: Home) -> None:
    home.lock.tamper_sensed(True)
    home.lock.tamper_sensed(True)
    assert home.advertised().tamper
    assert home.board.indicator.shown[-1] == "alert"
    assert last(home)[0] == Event.TAMPER
    assert [record[0] for record in home.log()].count(Event.TAMPER) == 1
    home.lock.tamper_sensed(False)
    assert home.lock.tamper is False
    assert home.board.radio.data == home.lock.advertisement


@pytest.mark.parametrize(
    ("bolt", "operation"),
    [
        (Bolt.LOCKED, Operation.UNLOCK),
        (Bolt.UNLOCKED, Operation.LOCK),
        (Bolt.OPEN, Operation.LOCK),
        (Bolt.JAMMED, Operation.UNLOCK),
        (Bolt.UNKNOWN, Operation.UNLOCK),
    ],
)
def test_the_button_inside_turns_the_bolt_and_in_doubt_lets_people_out(
    home: Home, bolt: Bolt, operation: Operation
) -> None:
    home.board.sense(bolt)
    assert home.lock.button_pressed() == Result.ACCEPTED
    assert home.board.motor.started == [operation]
    home.board.arrive()
    assert last(home)[1:3] == (254, Source.BUTTON)


def test_an_unpaired_lock_can_be_locked_with_its_button() -> None:
    board = new_lock()
    assert board.lock.button_pressed() == Result.ACCEPTED
    assert board.motor.started == [Operation.UNLOCK]


def test_several_sessions_are_all_told(home: Home) -> None:
    person = home.grant(GUEST)
    phone = home.phone(person)
    phone.ask(requests.authenticate(person.account_id))
    gateway = home.controller()
    gateway.status()
    phone.operate(Operation.UNLOCK)
    home.board.arrive()
    phone.take()
    gateway.take()
    assert phone.events == gateway.events != []


def test_who_is_not_valid_any_more_is_not_told(home: Home) -> None:
    person = home.grant(GUEST)
    phone = home.phone(person)
    phone.ask(requests.authenticate(person.account_id))
    home.controller().ask(requests.set_rights(person.slot, GUEST & 0x7F))
    home.board.sense(Bolt.UNLOCKED)
    phone.take()
    assert phone.events == []
