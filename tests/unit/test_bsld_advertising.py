"""What the lock advertises, how often, and how its counter grows (ILP1 section 2)."""

import itertools

import pytest
from boards.desk import DEVICE_ID
from bsld_home import Client, Home, RefusalError, new_lock, paired_home
from ilp import (
    AdvertisementTracker,
    Bolt,
    NonceSource,
    Option,
    Result,
    advertisement_key,
    open_advertisement,
    open_unpaired,
    requests,
)


@pytest.fixture
def home() -> Home:
    return paired_home()


def counter(data: bytes) -> int:
    return int.from_bytes(data[3:6])


def test_an_unpaired_lock_shows_itself_unmasked_and_without_a_tag() -> None:
    board = new_lock()
    shown = open_unpaired(board.radio.data)
    assert (shown.setup_mode, shown.clock_trusted, shown.bolt, shown.battery) == (
        True,
        False,
        Bolt.LOCKED,
        87,
    )
    board.lock.bolt_sensed(2)
    assert open_unpaired(board.radio.data).bolt is Bolt.UNLOCKED


def test_a_paired_lock_is_authentic_and_masked(home: Home) -> None:
    seen = set()
    for _turn in range(16):
        home.board.sense(3 - home.board.bolt)
        assert home.advertised().bolt == home.board.bolt
        seen.add((home.board.bolt, home.board.radio.data[1]))
    assert len({masked for bolt, masked in seen if bolt == Bolt.LOCKED}) > 4


def test_the_counter_grows_before_any_change_is_sent_and_one_counter_has_one_content(
    home: Home,
) -> None:
    session = home.controller()
    session.ask(requests.set_option(Option.SOUND, 0), requests.get_status())
    home.lock.door_sensed(True)
    home.lock.battery_measured(50, True)
    home.lock.tamper_sensed(True)
    home.lock.inner_button_held(10)
    home.board.pass_time(7200)
    for before, after in itertools.pairwise(home.board.on_air):
        assert counter(after) > counter(before) or after == before


@pytest.mark.parametrize("source", list(NonceSource))
def test_each_accepted_session_moves_the_counter(home: Home, source: NonceSource) -> None:
    before = counter(home.board.radio.data)
    home.controller(Client(home.board), source).status()
    assert counter(home.board.radio.data) == before + 1


def test_nothing_without_a_right_tag_moves_it_or_writes_to_flash(home: Home) -> None:
    client = Client(home.board)
    nonce_message = home.controller(client).message(requests.get_status())
    data, writes, records = home.board.radio.data, home.board.flash.writes, len(home.log())
    for message in (
        b"\x10",
        b"\x77",
        b"\x13" + bytes(24),
        b"\x12\xff\x00" + bytes(32),
        b"\x01" + bytes(range(32)),
        b"\x03" + bytes(16),
        nonce_message[:-1] + bytes((nonce_message[-1] ^ 1,)),
    ):
        client.send(message)
    home.lock.inner_button_held(9)
    assert (home.board.radio.data, home.board.flash.writes, len(home.log())) == (
        data,
        writes,
        records,
    )


def test_after_ten_idle_minutes_it_beats(home: Home) -> None:
    home.board.pass_time(60)
    before = counter(home.board.radio.data)
    home.board.pass_time(539)
    assert counter(home.board.radio.data) == before
    home.board.pass_time(1)
    assert counter(home.board.radio.data) == before + 1
    home.board.pass_time(6000)
    assert counter(home.board.radio.data) == before + 11


def test_the_block_is_in_flash_before_its_first_counter_and_a_restart_goes_on_from_there(
    home: Home,
) -> None:
    assert counter(home.board.radio.data) < 256
    home.restart()
    assert 256 <= counter(home.board.on_air[-1]) < 512
    while home.lock.counter != 511:
        home.board.sense(3 - home.board.bolt)
    assert home.board.make().counter == 512
    home.board.sense(3 - home.board.bolt)
    assert home.board.make().counter == 768


def test_log_bits_count_the_records(home: Home) -> None:
    for _turn in range(9):
        before = home.advertised().log_bits
        home.board.sense(3 - home.board.bolt)
        assert home.advertised().log_bits == (before + 1) % 4
    bits = home.advertised().log_bits
    home.restart()
    assert home.advertised().log_bits == (bits + 1) % 4


def test_it_is_fast_for_30_seconds_after_any_change(home: Home) -> None:
    home.board.pass_time(31)
    assert home.board.radio.interval == 1000
    home.board.sense(Bolt.UNLOCKED)
    assert home.board.radio.interval == 250
    home.board.pass_time(29.9)
    assert home.board.radio.interval == 250
    home.board.pass_time(0.2)
    assert home.board.radio.interval == 1000


def test_a_heartbeat_is_no_reason_to_hurry(home: Home) -> None:
    home.board.pass_time(40)
    data = home.board.radio.data
    home.board.pass_time(600)
    assert home.board.radio.data != data
    assert home.board.radio.interval == 1000


def test_the_owner_chooses_the_idle_interval(home: Home) -> None:
    home.controller().ask(requests.set_option(Option.ADVERTISING_MS, 2000))
    assert home.board.radio.interval == 250
    home.board.pass_time(31)
    assert home.board.radio.interval == 2000
    home.controller(Client(home.board)).ask(requests.set_option(Option.ADVERTISING_MS, 100))
    assert home.board.radio.interval == 100


def test_on_the_mains_it_is_always_fast() -> None:
    home = paired_home(mains=True)
    home.board.pass_time(60)
    assert home.board.radio.interval == 100


def test_it_is_advertised_again_after_connections_come_and_go(home: Home) -> None:
    sent = len(home.board.radio.advertised)
    client = Client(home.board)
    assert len(home.board.radio.advertised) == sent + 1
    client.leave()
    assert len(home.board.radio.advertised) == sent + 2


def test_a_receiver_follows_everything_the_lock_does(home: Home) -> None:
    tracker = AdvertisementTracker(DEVICE_ID, home.lock_key)
    heard: list[bytes] = []

    def listen() -> None:
        for data in home.board.on_air[len(heard) :]:
            heard.append(data)
            tracker.feed(data, home.board.clock.ms / 1000)

    home.board.on_air.clear()
    person = home.grant()
    listen()
    assert tracker.counter == home.lock.counter
    home.try_operation(person, source=NonceSource.ADVERTISED)
    home.board.arrive()
    home.controller().ask(requests.remove_account(person.account_id))
    listen()
    assert tracker.epoch == 1
    home.restart()
    listen()
    assert tracker.counter == home.lock.counter
    assert tracker.advertisement is not None
    assert tracker.advertisement.bolt is Bolt.UNLOCKED


# --- the end of the range (attack 55) ---------------------------------------------------------


def at_the_end() -> Home:
    home = paired_home()
    home.lock.store.commit((4, b"\xff\xfe\xff"))
    home.restart()
    while home.lock.counter < 0xFFFFFF:
        home.board.sense(3 - home.board.bolt)
    home.controller().ask(requests.set_time(home.gateway.time(), 0))
    return home


def test_55_at_the_end_of_its_range_the_counter_stays_and_challenges_work() -> None:
    home = at_the_end()
    assert counter(home.board.radio.data) == 0xFFFFFF
    session = home.controller(Client(home.board), NonceSource.ADVERTISED)
    with pytest.raises(RefusalError, match="TRY_AGAIN"):
        session.status()
    assert home.controller(Client(home.board)).status().counter == 0xFFFFFF
    home.board.sense(3 - home.board.bolt)
    home.board.pass_time(1200)
    home.restart()
    assert home.lock.counter == 0xFFFFFF
    key = advertisement_key(home.lock_key, 0)
    assert open_advertisement(key, DEVICE_ID, home.board.radio.data).counter == 0xFFFFFF


def test_55_records_can_be_read_at_the_end_of_the_range() -> None:
    home = at_the_end()
    for _turn in range(5):
        home.board.sense(3 - home.board.bolt)
    counters = [record[3] for record in home.log()]
    assert counters == sorted(set(counters))
    assert counters[-1] == 0xFFFFFF


def test_55_pairing_anew_gives_the_lock_a_fresh_range() -> None:
    home = at_the_end()
    home.lock.inner_button_held(10)
    home.board.pass_time(2)
    old_key = home.lock_key
    home.lock_key = Client(home.board).exchange_keys()
    assert home.lock_key != old_key
    assert home.lock.counter < 256
    home.controller(Client(home.board)).ask(requests.set_time(home.gateway.time(), 0))
    session = home.controller(Client(home.board), NonceSource.ADVERTISED)
    assert session.status().result is Result.DONE
    assert [record[3] for record in home.log()] == sorted({record[3] for record in home.log()})
    home.restart()
    assert 256 <= home.lock.counter < 512
