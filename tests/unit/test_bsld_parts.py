"""Small parts of the lock core that the other tests reach by the way only."""

import pytest
from boards.desk import DEVICE_ID, SETUP_CODE, Board
from bsld import advert, identifiers
from bsld.lock import Lock
from bsld_home import new_lock, paired_home
from hypothesis import given
from hypothesis import strategies as st
from ilp import Info, format_account_id, format_setup_code, parse_setup_code


@given(code=st.binary(min_size=10, max_size=10))
def test_setup_codes_read_as_they_are_printed(code: bytes) -> None:
    text = identifiers.format_setup_code(code)
    assert text == format_setup_code(code)
    assert identifiers.parse_setup_code(text.lower().replace("-", " ")) == code
    assert parse_setup_code(text) == code


@pytest.mark.parametrize(
    "text",
    ["", "8KNZ", "8KNZ-44YW-D3XS-6GJ", "8KNZ-44YW-D3XS-6GJ44", "8KNZ-44YW-D3XS-6GJU", "ß" * 16],
)
def test_what_is_no_setup_code_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="setup code") as caught:
        identifiers.parse_setup_code(text)
    assert not text or text not in str(caught.value)


@given(account_id=st.binary(min_size=9, max_size=9))
def test_account_ids_are_written_alike(account_id: bytes) -> None:
    assert identifiers.format_account_id(account_id) == format_account_id(account_id)


def test_the_info_characteristic_tells_what_the_lock_is() -> None:
    info = Info.parse(new_lock(slots=40, log_size=512).lock.info())
    assert info.device_id == DEVICE_ID
    assert (info.slots, info.log_size, info.capabilities) == (40, 512, 0x3F)


def test_the_packets_fit_legacy_advertising() -> None:
    board = new_lock()
    assert len(advert.payload(board.radio.data)) == 31
    assert len(advert.scan_response(DEVICE_ID)) <= 31


@pytest.mark.parametrize(
    ("settings", "device_id", "code"),
    [
        ({"slots": 0}, DEVICE_ID, SETUP_CODE),
        ({"slots": 129}, DEVICE_ID, SETUP_CODE),
        ({"log_size": 100}, DEVICE_ID, SETUP_CODE),
        ({"log_size": 0}, DEVICE_ID, SETUP_CODE),
        ({"connections": 1}, DEVICE_ID, SETUP_CODE),
        ({}, DEVICE_ID[:5], SETUP_CODE),
        ({}, DEVICE_ID, SETUP_CODE + b"x"),
    ],
)
def test_a_lock_that_cannot_be_is_not_made(
    settings: dict[str, int], device_id: bytes, code: bytes
) -> None:
    board = Board()
    with pytest.raises(ValueError, match=r"\w"):
        Lock(board.ports(), device_id, code, **settings)  # type: ignore[arg-type]  # numbers only


def test_nothing_is_sent_before_it_is_started() -> None:
    board = Board()
    board.lock = board.make()
    board.lock.bolt_sensed(1)
    board.lock.door_sensed(True)
    board.lock.battery_measured(3, True)
    board.lock.tamper_sensed(True)
    assert board.radio.advertised == []
    board.lock.start()
    assert len(board.radio.advertised) == 1


def test_poll_says_when_it_wants_to_be_called_again() -> None:
    board = new_lock()
    assert board.lock.poll() == 30_000  # the end of fast advertising
    board.pass_time(31)
    assert board.lock.poll() == 569_000  # the end of setup mode comes before the heartbeat
    board.lock.connected("a")
    assert board.lock.poll() == 10_000
    board.lock.disconnected("a")
    home = paired_home()
    home.gateway.leave()
    home.board.pass_time(31)
    assert home.lock.poll() == 569_000
    home.lock.button_pressed()
    assert home.lock.poll() == 10_000


def test_pages_can_read_what_a_lock_knows() -> None:
    home = paired_home()
    home.grant()
    lock = home.lock
    assert (lock.bolt, lock.door, lock.battery, lock.low_battery, lock.tamper) == (
        1,
        1,
        87,
        False,
        False,
    )
    assert (lock.paired, lock.setup_mode, lock.clock_trusted, lock.pin_misses) == (
        True,
        False,
        True,
        0,
    )
    assert lock.advertisement == home.board.radio.data
    assert lock.log_records(0, 3) == home.log()[:3]
    assert lock.log_records(lock.counter) == []
