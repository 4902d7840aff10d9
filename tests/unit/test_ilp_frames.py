"""Frames, and the builder of every request."""

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ilp import (
    Command,
    Frame,
    IlpError,
    MalformedError,
    Operation,
    Option,
    Request,
    Right,
    Weekday,
    requests,
)
from ilp_support import any_bytes, bytes_of, flip, frames

if TYPE_CHECKING:
    from collections.abc import Callable

ACCOUNT = bytes(range(9))


@given(frames)
def test_a_frame_decodes_as_it_was_encoded(frame: Frame) -> None:
    assert Frame.decode(frame.encode()) == frame


@given(any_bytes | bytes_of[16])
def test_any_bytes_decode_or_are_malformed(data: bytes) -> None:
    try:
        frame = Frame.decode(data)
    except MalformedError:
        return
    assert frame.encode() == data


@given(frames, st.integers(0, 127))
def test_a_frame_with_any_bit_changed_fails_its_check(frame: Frame, bit: int) -> None:
    with pytest.raises(MalformedError):
        Frame.decode(flip(frame.encode(), bit))


@pytest.mark.parametrize(
    "frame",
    [
        Frame(256, 1, bytes(9), 0),
        Frame(-1, 1, bytes(9), 0),
        Frame(1, 256, bytes(9), 0),
        Frame(1, 1, bytes(8), 0),
        Frame(1, 1, bytes(10), 0),
        Frame(1, 1, bytes(9), -1),
        Frame(1, 1, bytes(9), 1 << 32),
    ],
)
def test_a_field_that_does_not_fit_is_malformed(frame: Frame) -> None:
    with pytest.raises(MalformedError):
        frame.encode()


@pytest.mark.parametrize(
    ("request_", "command", "value"),
    [
        (requests.write_account(ACCOUNT), 0x01, "000102030405060708"),
        (requests.authenticate(ACCOUNT), 0x02, "000102030405060708"),
        (requests.operate(Operation.LOCK, 30), 0x03, "011e00000000000000"),
        (requests.operate(Operation.UNLOCK), 0x03, "020500000000000000"),
        (requests.operate(Operation.OPEN, 1), 0x03, "030100000000000000"),
        (requests.remove_account(ACCOUNT), 0x41, "000102030405060708"),
        (
            requests.set_rights(4, Right.ENABLED | Right.REMOTE_USE | Right.LOCK),
            0x42,
            "04c1fe000000000000",
        ),
        (requests.set_rights(4, Right.UNLOCK, 3), 0x42, "040203000000000000"),
        (requests.set_validity(253, 1, 0xFFFFFFFF), 0x43, "fd00000001ffffffff"),
        (
            requests.set_weekly_hours(2, Weekday.MONDAY | Weekday.SUNDAY, 1320, 360),
            0x44,
            "024105280168000000",
        ),
        (requests.set_time(1790000000, -210), 0x45, "6ab13b80ff2e000000"),
        (requests.set_time(1790000000, 120, force=True), 0x45, "6ab13b800078010000"),
        (requests.set_pin(4, "1234"), 0x46, "04041234ffffffffff"),
        (requests.set_pin(4, "01234567890123"), 0x46, "040e01234567890123"),
        (requests.set_pin(4, ""), 0x46, "0400ffffffffffffff"),
        (requests.set_option(Option.AUTO_LOCK_SECONDS, 300), 0x47, "010000012c00000000"),
        (requests.get_status(), 0x48, "000000000000000000"),
        (requests.account_digest_request(), 0x49, "000000000000000000"),
        (requests.get_log(0x010203, 7), 0x4A, "010203070000000000"),
        (requests.get_log(0), 0x4A, "000000140000000000"),
        (requests.factory_reset(), 0x4B, b"ILP1RESET".hex()),
        (requests.get_option(Option.ADVERTISING_MS), 0x4C, "040000000000000000"),
        (requests.read_account(0), 0x4D, "000000000000000000"),
        (requests.get_advertisement_key(), 0x4E, "000000000000000000"),
        (requests.identify(), 0x4F, "000000000000000000"),
        (requests.set_next_utc_offset(1790000000, 60), 0x50, "6ab13b80003c000000"),
        (requests.set_next_utc_offset(0, 0), 0x50, "000000000000000000"),
    ],
)
def test_every_request_has_its_table_s_value(request_: Request, command: int, value: str) -> None:
    assert request_.at(7) == Frame(command, 1, bytes.fromhex(value), 7)


def test_there_is_a_builder_for_every_command() -> None:
    built = {
        "write_account",
        "authenticate",
        "operate",
        "remove_account",
        "set_rights",
        "set_validity",
        "set_weekly_hours",
        "set_time",
        "set_pin",
        "set_option",
        "get_status",
        "account_digest_request",
        "get_log",
        "factory_reset",
        "get_option",
        "read_account",
        "get_advertisement_key",
        "identify",
        "set_next_utc_offset",
    }
    assert len(built) == len(Command)
    assert all(callable(getattr(requests, name)) for name in built)


@pytest.mark.parametrize(
    "build",
    [
        lambda: requests.write_account(bytes(8)),
        lambda: requests.authenticate(bytes(10)),
        lambda: requests.operate(Operation.LOCK, 0),
        lambda: requests.operate(Operation.LOCK, 31),
        lambda: requests.set_rights(254, Right.LOCK),
        lambda: requests.set_rights(-1, Right.LOCK),
        lambda: requests.set_rights(1, Right.LOCK, 256),
        lambda: requests.set_validity(255, 0, 0),
        lambda: requests.set_validity(1, -1, 0),
        lambda: requests.set_validity(1, 0, 1 << 32),
        lambda: requests.set_weekly_hours(1, Weekday.MONDAY, 1440, 0),
        lambda: requests.set_weekly_hours(1, Weekday.MONDAY, 0, -1),
        lambda: requests.set_time(-1, 0),
        lambda: requests.set_time(0, 0x8000),
        lambda: requests.set_option(Option.SOUND, -1),
        lambda: requests.get_log(1 << 24),
        lambda: requests.get_log(0, 0),
        lambda: requests.get_log(0, 21),
        lambda: requests.read_account(254),
        lambda: requests.set_next_utc_offset(1 << 32, 0),
    ],
)
def test_a_value_outside_its_range_is_never_sent(build: Callable[[], Request]) -> None:
    with pytest.raises(MalformedError):
        build()


@pytest.mark.parametrize(
    "digits", ["123", "123456789012345", "12a4", "12 4", "١٢٣٤", "²²²²", "-123"]
)
def test_a_pin_that_is_none_is_refused_without_showing_it(digits: str) -> None:
    with pytest.raises(MalformedError) as caught:
        requests.set_pin(1, digits)
    assert digits not in str(caught.value)


@given(st.text(max_size=20) | st.text("0123456789", max_size=20))
def test_any_text_is_a_pin_or_malformed(digits: str) -> None:
    try:
        value = requests.set_pin(1, digits).value
    except MalformedError:
        return
    assert value[2:].hex() == digits.ljust(14, "f")


@given(st.integers(), st.integers(), st.integers(), any_bytes)
def test_any_numbers_build_a_frame_or_give_a_typed_error(
    one: int, two: int, three: int, data: bytes
) -> None:
    builds: list[Callable[[], Request]] = [
        lambda: requests.write_account(data),
        lambda: requests.remove_account(data),
        lambda: requests.operate(Operation.LOCK, one),
        lambda: requests.set_rights(one, Right(two & 0xFF), three),
        lambda: requests.set_validity(one, two, three),
        lambda: requests.set_weekly_hours(one, Weekday(two & 0x7F), two, three),
        lambda: requests.set_time(one, two),
        lambda: requests.set_option(Option.SOUND, one),
        lambda: requests.get_log(one, two),
        lambda: requests.read_account(one),
        lambda: requests.set_next_utc_offset(one, two),
    ]
    for build in builds:
        with contextlib.suppress(IlpError):
            assert len(build().at(one).encode()) == 16
