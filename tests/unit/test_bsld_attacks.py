"""Attack and fault cases on the lock's side, named after their numbers.

50 is in test_bsld_pairing, 55 in test_bsld_advertising, power cuts in test_bsld_power.
"""

import itertools

import pytest
from boards.desk import DEVICE_ID
from bsld_home import GUEST, NOW, Client, Home, RefusalError, Session, new_lock, paired_home
from ilp import (
    AdvertisementTracker,
    Bolt,
    ClientSession,
    ErrorCode,
    Event,
    Kind,
    NonceSource,
    Operation,
    Option,
    Result,
    Right,
    Weekday,
    account_key,
    controller_key,
    parse_error,
    requests,
    split,
)

UNLOCK = requests.operate(Operation.UNLOCK)


@pytest.fixture
def home() -> Home:
    return paired_home()


# --- 48: advertisements -----------------------------------------------------------------------


def test_48_a_replayed_advertisement_shows_nothing_false_and_the_lock_soon_overtakes_it(
    home: Home,
) -> None:
    tracker = AdvertisementTracker(DEVICE_ID, home.lock_key)
    unlocked = []
    for _turn in range(20):
        home.board.sense(3 - home.board.bolt)
        if home.board.bolt == Bolt.UNLOCKED:
            unlocked.append(home.board.radio.data)
    home.board.sense(Bolt.LOCKED)
    tracker.feed(home.board.radio.data, 0)
    for old in unlocked:
        assert tracker.feed(old, 1) is None
    # One from before a restart, and the newest one for ever: the heartbeat is newer
    newest = home.board.radio.data
    home.restart()
    home.board.pass_time(600)
    assert tracker.feed(home.board.radio.data, 700) is not None
    assert tracker.feed(newest, 701) is None
    assert tracker.advertisement is not None
    assert tracker.advertisement.bolt is Bolt.LOCKED


def test_48_a_counter_far_ahead_from_a_former_follower_is_healed_by_one_session(
    home: Home,
) -> None:
    tracker = AdvertisementTracker(DEVICE_ID, home.lock_key)
    tracker.adopt(0xFFFF00, 0)
    for second in range(1, 40):
        assert tracker.feed(home.board.radio.data, second) is None
        home.board.sense(3 - home.board.bolt)
    assert tracker.ask_due(40)
    tracker.adopt(home.controller().status().counter, 41)
    home.board.sense(3 - home.board.bolt)
    assert tracker.feed(home.board.radio.data, 42) is not None


# --- 49: sessions -----------------------------------------------------------------------------


def refused(client: Client, message: bytes, code: ErrorCode) -> None:
    assert client.error(message) is code
    assert client.board.moves == 0


def test_49_an_old_advertised_nonce_opens_nothing(home: Home) -> None:
    old = [b"\x00" + home.board.radio.data[3:]]
    for _turn in range(4):
        home.board.sense(3 - home.board.bolt)
        old.append(b"\x00" + home.board.radio.data[3:])
    client = Client(home.board)
    for nonce in old[:-1]:
        session = home.controller(client, NonceSource.ADVERTISED)
        session.lock_nonce = nonce
        refused(client, session.message(UNLOCK), ErrorCode.TRY_AGAIN)


def test_49_nor_do_advertised_bytes_that_came_before_a_restart(home: Home) -> None:
    message = home.controller(Client(home.board), NonceSource.ADVERTISED).message(UNLOCK)
    home.board.clock.has_rtc = True
    home.restart()
    refused(Client(home.board), message, ErrorCode.TRY_AGAIN)


def test_49_another_locks_nonce_or_session_opens_nothing(home: Home) -> None:
    other = paired_home()
    session = other.controller(Client(other.board), NonceSource.ADVERTISED)
    refused(Client(home.board), session.message(UNLOCK), ErrorCode.TRY_AGAIN)
    client = Client(home.board)
    mine = home.controller(client, NonceSource.ADVERTISED)
    mine.lock_nonce = b"\x00" + other.board.radio.data[3:]
    refused(client, mine.message(UNLOCK), ErrorCode.TRY_AGAIN)


@pytest.mark.parametrize("slot", [0, 2, 31, 32, 127, 253, 254])
def test_49_a_swapped_slot_opens_nothing(home: Home, slot: int) -> None:
    person, _other = home.grant(), home.grant()
    client = Client(home.board)
    session = home.phone(person, client=client)
    message = bytearray(session.message(requests.authenticate(person.account_id), UNLOCK))
    message[1] = slot if slot != person.slot else 1
    refused(client, bytes(message), ErrorCode.AUTHENTICATION_FAILED)


def test_49_a_persons_key_under_the_controllers_slot_opens_nothing(home: Home) -> None:
    person = home.grant(Right(0xFF))
    client = Client(home.board)
    session = Session(client, person.key, 255)
    refused(client, session.message(UNLOCK), ErrorCode.AUTHENTICATION_FAILED)


def test_49_a_changed_source_opens_nothing(home: Home) -> None:
    client = Client(home.board)
    message = bytearray(home.controller(client).message(UNLOCK))
    message[2] = 0
    refused(client, bytes(message), ErrorCode.TRY_AGAIN)
    message[2] = 2
    refused(client, bytes(message), ErrorCode.MALFORMED)


def test_49_a_truncated_or_extended_message_opens_nothing(home: Home) -> None:
    client = Client(home.board)
    for change in (-24 - 1, -25 + 24, 0, 1, 24):
        session = home.controller(client)
        message = session.message(requests.get_status(), UNLOCK)
        changed = message[: len(message) + change] if change < 0 else message + bytes(change)
        if change == 0:
            changed = message[:11]
        code = client.error(changed)
        assert code in (ErrorCode.MALFORMED, ErrorCode.AUTHENTICATION_FAILED)
    assert home.board.moves == 0


def test_49_every_bit_of_an_opening_counts(home: Home) -> None:
    client = Client(home.board)
    for bit in range(8, 8 * (11 + 24)):
        message = bytearray(home.controller(client).message(UNLOCK))
        message[bit // 8] ^= 1 << bit % 8
        assert client.ask(bytes(message))[0] == Kind.ERROR
    assert home.board.moves == 0


def test_49_frames_reordered_or_doubled_run_nothing(home: Home) -> None:
    client = Client(home.board)
    session = home.controller(client)
    session.status()
    whole = session.message(requests.set_option(Option.SOUND, 0), UNLOCK)
    first, second = whole[1:25], whole[25:]
    refused(client, b"\x13" + second + first, ErrorCode.NO_SESSION)
    session = home.controller(client)
    session.status()
    whole = session.message(UNLOCK)
    refused(client, whole + whole[1:], ErrorCode.NO_SESSION)
    assert home.lock.option(Option.SOUND) == 1


def test_49_a_message_of_a_session_cannot_be_sent_twice(home: Home) -> None:
    client = Client(home.board)
    session = home.controller(client)
    session.status()
    message = session.message(UNLOCK)
    client.send(message)
    assert session.take()[0].result is Result.ACCEPTED
    home.board.arrive()
    session.take()
    home.board.sense(Bolt.LOCKED)
    session.take()
    assert client.error(message) is ErrorCode.NO_SESSION
    assert home.board.moves == 1


def test_49_the_locks_own_frames_sent_back_run_nothing(home: Home) -> None:
    client = Client(home.board)
    session = home.controller(client)
    client.send(session.message(requests.get_status()))
    [answer] = client.heard()
    refused(client, answer, ErrorCode.NO_SESSION)


def test_49_frames_of_another_connections_session_run_nothing(home: Home) -> None:
    mine, theirs = home.controller(Client(home.board)), home.controller()
    mine.status()
    theirs.status()
    stolen = theirs.message(UNLOCK)
    refused(mine.client, stolen, ErrorCode.NO_SESSION)
    # and the session they came from goes on
    theirs.client.send(stolen)
    assert theirs.take()[0].result is Result.ACCEPTED


# --- 51: errors -------------------------------------------------------------------------------


def test_51_the_lock_ignores_errors_sent_to_it(home: Home) -> None:
    client = Client(home.board)
    session = home.controller(client)
    session.status()
    for code in range(10):
        assert client.error(bytes((0x1F, code)) + bytes(8)) is ErrorCode.MALFORMED
    assert session.status().result is Result.DONE


def test_51_an_error_changes_nothing_but_the_nonce(home: Home) -> None:
    client = Client(home.board)
    data = home.board.radio.data
    code, nonce = parse_error(client.ask(b"\x77"))
    assert code is ErrorCode.VERSION
    assert home.board.radio.data == data
    session = home.controller(client)
    session.lock_nonce = nonce
    assert session.status().result is Result.DONE


# --- 52: fragments ----------------------------------------------------------------------------


def write(client: Client, data: bytes) -> list[bytes]:
    client.board.lock.written(client.conn, data)
    return client.heard()


def is_malformed(messages: list[bytes]) -> bool:
    [message] = messages
    return parse_error(message)[0] is ErrorCode.MALFORMED


def test_52_fragments_out_of_order_are_dropped(home: Home) -> None:
    client = Client(home.board, mtu=23)
    opening = home.controller(client, NonceSource.ADVERTISED).message(UNLOCK)
    parts = split(opening, 23)
    assert len(parts) == 2
    assert is_malformed(write(client, parts[1]))
    for order in itertools.permutations(range(3)):
        if order == (0, 1, 2):
            continue
        client = Client(home.board, mtu=23)
        pieces = [b"\x00" + opening[:12], b"\x01" + opening[12:24], b"\x82" + opening[24:]]
        answers = [message for number in order for message in write(client, pieces[number])]
        assert answers
        assert all(is_malformed([answer]) for answer in answers)
    assert home.board.moves == 0


def test_52_an_empty_write_drops_what_was_begun(home: Home) -> None:
    client = Client(home.board, mtu=23)
    for empty in (b"", b"\x01", b"\x81", b"\x80", b"\x00"):
        assert write(client, b"\x00\x10") == []
        assert is_malformed(write(client, empty))
        assert is_malformed(write(client, b"\x81\x10"))


def test_52_endless_fragments_are_cut_at_512_bytes(home: Home) -> None:
    client = Client(home.board)
    answers = []
    for index in range(600):
        answers += write(client, bytes((index & 0x7F,)) + bytes(19))
    assert answers
    assert all(is_malformed([answer]) for answer in answers)
    assert client.nonce()


def test_52_one_byte_fragments_end_with_the_index(home: Home) -> None:
    client = Client(home.board)
    answers = [answer for n in range(128) for answer in write(client, bytes((n, 0x10)))]
    assert answers == []
    assert is_malformed(write(client, b"\x01\x10"))


@pytest.mark.parametrize(("size", "taken"), [(512, True), (513, False)])
def test_52_messages_have_512_bytes_at_most(home: Home, size: int, taken: bool) -> None:
    client = Client(home.board)
    message = b"\x77" + bytes(size - 1)
    answers = []
    for start in range(0, size, 200):
        index = start // 200 | (0x80 if start + 200 >= size else 0)
        answers += write(client, bytes((index,)) + message[start : start + 200])
    [answer] = answers
    code = parse_error(answer)[0]
    assert code is (ErrorCode.VERSION if taken else ErrorCode.MALFORMED)


def test_52_index_0_always_begins_anew(home: Home) -> None:
    client = Client(home.board)
    assert write(client, b"\x00" + bytes(300)) == []
    assert write(client, b"\x80\x10")[0][0] == Kind.CHALLENGE


def test_52_an_unfinished_message_is_dropped_after_5_seconds(home: Home) -> None:
    client = Client(home.board)
    opening = home.controller(client, NonceSource.ADVERTISED).message(UNLOCK)
    assert write(client, b"\x00" + opening[:20]) == []
    home.board.pass_time(5.1)
    assert is_malformed(write(client, b"\x81" + opening[20:]))
    assert write(client, b"\x00" + opening[:20]) == []
    home.board.pass_time(4.8)
    [answer] = write(client, b"\x81" + opening[20:])
    assert answer[0] in (Kind.SEALED, Kind.ERROR)


def test_52_messages_without_their_body_are_malformed_or_refused(home: Home) -> None:
    client = Client(home.board)
    for message in (b"\x12", b"\x12\xff\x01", b"\x10\x00", b"\x11", b"\x02", b"\x04"):
        assert client.error(message) is ErrorCode.MALFORMED
    assert client.error(b"\x13") is ErrorCode.NO_SESSION
    session = home.controller(client)
    session.status()
    for sealed in (b"", bytes(23), bytes(25)):
        assert client.error(b"\x13" + sealed) is ErrorCode.MALFORMED
    assert session.status().result is Result.DONE


# --- 53: a silent client ----------------------------------------------------------------------


def test_53_silent_clients_are_dropped_and_the_owner_still_gets_in() -> None:
    home = paired_home(connections=2)
    home.gateway.leave()
    silent = [Client(home.board) for _number in range(10)]
    assert all(client.dropped for client in silent[:-1])
    owner = home.controller(Client(home.board), NonceSource.ADVERTISED)
    assert owner.operate(Operation.UNLOCK) is Result.ACCEPTED
    assert silent[-1].dropped
    lonely = Client(home.board)
    home.board.pass_time(10)
    assert lonely.dropped
    assert not owner.client.dropped


def test_53_junk_does_not_keep_a_connection(home: Home) -> None:
    client = Client(home.board)
    for _second in range(9):
        home.board.pass_time(1)
        client.send(b"\x10")
    home.board.pass_time(1)
    assert client.dropped


def test_53_answers_nobody_fetches_end_the_connection(home: Home) -> None:
    client = Client(home.board, listening=False)
    for _message in range(300):
        client.send(b"\x10")
    assert client.dropped


# --- 54: the clock is lost --------------------------------------------------------------------


def test_54_without_a_clock_restricted_accounts_are_refused_and_others_work_by_challenge(
    home: Home,
) -> None:
    limited = home.grant(GUEST, 255, requests.set_validity(0, 0, NOW + 86400))
    hourly = home.grant(GUEST, 255, requests.set_weekly_hours(1, Weekday(127), 0, 1439))
    owner = home.grant(GUEST)
    home.controller().ask(requests.set_pin(limited.slot, "1111"), requests.set_pin(2, "2222"))
    home.restart()
    assert not home.lock.clock_trusted
    assert home.try_operation(limited) is Result.OUTSIDE_TIME
    assert home.try_operation(hourly) is Result.OUTSIDE_TIME
    assert home.lock.pin_entered("1111") == Result.OUTSIDE_TIME
    with pytest.raises(RefusalError, match="TRY_AGAIN"):
        home.try_operation(owner, source=NonceSource.ADVERTISED)
    assert home.try_operation(owner) is Result.ACCEPTED
    home.board.arrive()
    home.relock()
    assert home.lock.pin_entered("2222") == Result.ACCEPTED
    home.board.arrive()
    home.relock()
    assert home.controller().operate(Operation.UNLOCK) is Result.ACCEPTED


# --- 58: a restored gateway -------------------------------------------------------------------


def test_58_a_gateway_restored_from_a_backup_repeats_no_nonce_and_no_counter(home: Home) -> None:
    old = home.lock_key, home.lock.counter
    recorded = home.controller(Client(home.board), NonceSource.ADVERTISED).message(UNLOCK)
    for _turn in range(5):
        client = Client(home.board)
        home.controller(client).status()
        client.leave()
    restored = Home(home.board, old[0])
    assert restored.controller().status().counter > old[1]
    refused(Client(home.board), recorded, ErrorCode.TRY_AGAIN)


def test_58_what_the_backup_remembers_of_removed_people_opens_nothing(home: Home) -> None:
    removed = home.grant(GUEST)
    home.controller().ask(requests.remove_account(removed.account_id))
    with pytest.raises(RefusalError):
        home.try_operation(removed)
    assert home.controller().result(requests.write_account(removed.account_id)) is Result.BAD_VALUE


# --- 59: messages cut short -------------------------------------------------------------------


def test_59_a_message_cut_after_any_frame_leaves_nobody_more_than_was_meant(home: Home) -> None:
    slot = 0
    granting = [
        requests.write_account(b"new guest"),
        requests.set_validity(slot, NOW + 86400, NOW + 2 * 86400),
        requests.set_weekly_hours(slot, Weekday(1), 480, 1020),
        requests.set_pin(slot, "2580"),
        requests.set_rights(slot, GUEST, 1),
    ]
    for frames in range(len(granting) + 1):
        home = paired_home()
        if frames:
            home.controller().ask(*granting[:frames])
        assert home.lock.pin_entered("2580") != Result.ACCEPTED
        if frames:
            key = account_key(home.lock_key, b"new guest")
            session = Session(Client(home.board), key, slot)
            result = session.results(requests.authenticate(b"new guest"), UNLOCK)[-1]
            assert result is (Result.DISABLED if frames < 5 else Result.OUTSIDE_TIME)
        assert home.board.moves == 0


def test_59_tightening_clears_the_enabled_right_first(home: Home) -> None:
    person = home.grant(Right(0xFF))
    tightening = [
        requests.set_rights(person.slot, Right.UNLOCK),
        requests.set_validity(person.slot, NOW + 86400, 0),
        requests.set_rights(person.slot, Right.UNLOCK | Right.ENABLED, 1),
    ]
    for frames in range(1, 4):
        home.controller().ask(*tightening[:frames])
        result = home.try_operation(person)
        assert result is (Result.DISABLED if frames < 3 else Result.OUTSIDE_TIME)
    assert home.board.moves == 0


def test_59_a_cut_message_runs_whole_frames_or_none(home: Home) -> None:
    client = Client(home.board, mtu=23)
    session = home.controller(client)
    session.status()
    message = session.message(requests.set_option(Option.SOUND, 0), UNLOCK)
    for part in split(message, 23)[:-1]:
        home.board.lock.written(client.conn, part)
    client.leave()
    home.board.pass_time(60)
    assert home.lock.option(Option.SOUND) == 1
    assert home.board.moves == 0


# --- 61: a guest whose time ended -------------------------------------------------------------


def test_61_a_clock_set_back_by_little_steps_needs_the_owner_and_is_logged(home: Home) -> None:
    guest = home.grant(GUEST, 255, requests.set_validity(0, 0, NOW + 60))
    home.board.pass_time(61)
    assert home.try_operation(guest) is Result.OUTSIDE_TIME
    # The guest may not, a gateway booted in the past cannot without force
    session = home.phone(guest)
    session.ask(requests.authenticate(guest.account_id))
    assert session.result(requests.set_time(NOW, 0)) is Result.OUTSIDE_TIME
    controller = home.controller(Client(home.board))
    assert controller.result(requests.set_time(NOW - 86400, 0)) is Result.BAD_VALUE
    assert home.try_operation(guest) is Result.OUTSIDE_TIME
    assert controller.result(requests.set_time(NOW - 86400, 0, force=True)) is Result.DONE
    record = home.log()[-1]
    assert record[0] == Event.CLOCK_SET
    assert record[7] >= NOW + 61


def test_61_an_end_while_a_session_is_held_is_an_end(home: Home) -> None:
    guest = home.grant(GUEST, 255, requests.set_validity(0, 0, NOW + 40))
    session = home.phone(guest)
    session.ask(requests.authenticate(guest.account_id))
    home.board.pass_time(39)
    assert session.operate(Operation.LOCK) is Result.DONE
    home.board.pass_time(2)
    assert session.operate(Operation.UNLOCK) is Result.OUTSIDE_TIME


def test_61_after_a_power_cut_without_a_clock_the_guest_stays_out(home: Home) -> None:
    guest = home.grant(GUEST, 255, requests.set_validity(0, 0, NOW + 60))
    home.restart()
    assert home.try_operation(guest) is Result.OUTSIDE_TIME


# --- 62: guessing PINs ------------------------------------------------------------------------


def test_62_an_own_pin_in_between_does_not_help_guessing(home: Home) -> None:
    own, victim = home.grant(GUEST), home.grant(GUEST)
    home.controller().ask(requests.set_pin(own.slot, "1357"), requests.set_pin(victim.slot, "9999"))
    guesses = minutes = 0
    while minutes < 24 * 60:
        if home.lock.pin_entered(f"{guesses:04}") == Result.NOT_POSSIBLE_NOW:
            home.board.pass_time(60)
            minutes += 1
            if minutes % 100 == 0:
                home.restart()  # which gains nothing either
            continue
        guesses += 1
        if home.lock.pin_entered("1357") == Result.ACCEPTED:
            home.board.arrive()
            home.relock()
    # Far fewer than two an hour: 10,000 PINs take a year
    assert 10 < guesses < 40


def test_62_pulling_the_power_does_not_help_guessing(home: Home) -> None:
    victim = home.grant(GUEST)
    home.controller().ask(requests.set_pin(victim.slot, "9999"))
    compared = 0
    for guess in range(40):
        if home.lock.pin_entered(f"{guess:04}") == Result.UNKNOWN_ACCOUNT:
            compared += 1
        home.restart()
    assert compared == 5


def test_62_a_pin_is_no_secret_of_the_log(home: Home) -> None:
    home.grant(GUEST)
    home.lock.pin_entered("8642")
    assert home.log()[-1][:3] == (Event.WRONG_PIN, 254, 2)
    for data in home.board.flash.files.values():
        assert b"8642" not in data


# --- fast path and keeping answers ------------------------------------------------------------


@pytest.mark.parametrize(("mtu", "writes"), [(23, 4), (63, 1), (247, 1)])
def test_the_fast_path_needs_no_notifications_and_few_writes(
    home: Home, mtu: int, writes: int
) -> None:
    person = home.grant(GUEST)
    client = Client(home.board, mtu=mtu, listening=False)
    session = home.phone(person, NonceSource.ADVERTISED, client)
    message = session.message(requests.authenticate(person.account_id), UNLOCK)
    assert len(message) == 59
    assert len(split(message, mtu)) == writes
    client.send(message)
    assert home.board.moves == 1
    home.board.arrive()
    assert client.heard() == []
    client.listen()
    replies = session.take()
    assert [reply.result for reply in replies] == [Result.DONE, Result.ACCEPTED]
    assert [event.event for event in session.events] == [Event.UNLOCKED]


def test_a_kilobyte_of_answers_is_kept(home: Home) -> None:
    client = Client(home.board, listening=False)
    session = home.controller(client, NonceSource.ADVERTISED)
    client.send(session.message(*[requests.get_status()] * 20))
    client.send(session.message(*[requests.get_status()] * 20))
    assert not client.dropped
    client.listen()
    assert len(session.take()) == 40


def test_a_radio_without_room_is_asked_again(home: Home) -> None:
    client = Client(home.board, mtu=23)
    session = home.controller(client)
    nonce = client.nonce()
    session.lock_nonce = nonce
    home.board.radio.room = 1
    client.send(session.message(*[requests.get_status()] * 3))
    got = home.board.radio.sent[:]
    assert len(got) == 1
    assert home.lock.poll() <= 20
    home.board.radio.room = None
    home.lock.poll()
    assert len(session.take()) == 3
    assert home.lock.poll() > 20


def test_a_message_half_sent_goes_on_as_it_was_cut_when_the_mtu_changes(home: Home) -> None:
    client = Client(home.board, mtu=23)
    session = home.controller(client)
    session.lock_nonce = client.nonce()
    home.board.radio.room = 2
    client.send(session.message(*[requests.get_status()] * 3))
    client.mtu = 100
    home.board.lock.mtu_changed(client.conn, 100)
    home.board.radio.room = None
    home.lock.poll()
    assert len(session.take()) == 3


def test_a_message_broken_off_by_switching_notifications_is_sent_whole(home: Home) -> None:
    client = Client(home.board, mtu=23)
    session = home.controller(client)
    session.lock_nonce = client.nonce()
    home.board.radio.room = 2
    client.send(session.message(*[requests.get_status()] * 3))
    home.board.lock.subscribed(client.conn, False)
    home.board.radio.room = None
    home.lock.poll()
    client.listen()
    assert len(session.take()) == 3


def test_a_client_that_writes_from_within_a_notification_is_served(home: Home) -> None:
    client = Client(home.board)
    session = home.controller(client)
    session.status()
    radio = home.board.radio
    answers = []
    wanted = [requests.get_status(), requests.identify(), requests.get_status()]

    def notify(_conn: object, data: bytes) -> bool:
        answers.append(data[1:])
        if wanted:
            client.send(session.message(wanted.pop()))
        return True

    radio.notify = notify  # type: ignore[method-assign, assignment]  # a radio that calls back
    client.send(session.message(requests.get_status()))
    assert session.ilp is not None
    commands = [session.ilp.receive(answer)[0].command for answer in answers]
    assert commands == [0x48, 0x48, 0x4F, 0x48]


def test_two_openings_of_one_nonce_within_a_call_are_one_session(home: Home) -> None:
    client = Client(home.board)
    session = home.controller(client, NonceSource.ADVERTISED)
    message = session.message(requests.identify())
    show = home.board.indicator.show
    tries: list[Client] = []

    def replay(what: str) -> None:
        show(what)
        if not tries:
            tries.append(client)
            client.send(message)

    home.board.indicator.show = replay  # type: ignore[method-assign]  # a port that calls back
    client.send(message)
    assert home.board.indicator.shown.count("identify") == 1


def test_writes_of_unknown_connections_are_ignored() -> None:
    board = new_lock()
    board.lock.written("nobody", b"\x80\x10")
    board.lock.subscribed("nobody", True)
    board.lock.mtu_changed("nobody", 100)
    board.lock.disconnected("nobody")
    assert board.radio.sent == []


def test_an_unpaired_lock_gives_nonces_but_knows_no_session() -> None:
    board = new_lock()
    client = Client(board)
    for source, code in (
        (NonceSource.CHALLENGE, ErrorCode.AUTHENTICATION_FAILED),
        (NonceSource.ADVERTISED, ErrorCode.TRY_AGAIN),
    ):
        session = ClientSession(controller_key(bytes(16)), DEVICE_ID, 255, source, client.nonce())
        assert client.error(session.open([UNLOCK.at(NOW)])) is code
