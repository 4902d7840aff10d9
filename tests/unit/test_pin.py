"""Which PINs are refused, and that a made one never is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pin import PIN_MAX, PIN_MIN, make_pin, weakness

DIGITS = st.text("0123456789", min_size=PIN_MIN, max_size=PIN_MAX)


@pytest.mark.parametrize(
    ("pin", "reason"),
    [
        ("", "pin_digits"),
        ("12a456", "pin_digits"),
        ("12 456", "pin_digits"),
        ("-12345", "pin_digits"),
        ("٣٨٤٧٢٩", "pin_digits"),
        ("38472", "pin_length"),
        ("384729105638472", "pin_length"),
        ("777777", "pin_equal"),
        ("123456", "pin_sequence"),
        ("654321", "pin_sequence"),
        ("789012", "pin_sequence"),
        ("321098", "pin_sequence"),
        ("01234567890123", "pin_sequence"),
        ("121212", "pin_repeated"),
        ("1212121", "pin_repeated"),
        ("384384", "pin_repeated"),
        ("38472913847291", "pin_repeated"),
        ("384729", None),
        ("112233", None),
        ("135790", None),
        ("38472910563847", None),
    ],
)
def test_a_weak_pin_is_refused_with_its_reason(pin: str, reason: str | None) -> None:
    assert weakness(pin) == reason


@given(st.integers(0, 9), st.sampled_from((0, 1, -1)), st.integers(PIN_MIN, PIN_MAX))
def test_every_run_and_every_row_of_equal_digits_is_weak(
    first: int, step: int, length: int
) -> None:
    assert weakness("".join(str((first + step * i) % 10) for i in range(length))) is not None


@given(st.text("0123456789", min_size=1, max_size=7), st.integers(2, PIN_MAX))
def test_every_repeated_part_is_weak(part: str, times: int) -> None:
    assert weakness(part * times) is not None


@given(DIGITS)
def test_a_good_pin_stays_good_backwards(pin: str) -> None:
    assert (weakness(pin) is None) == (weakness(pin[::-1]) is None)


@given(st.integers(PIN_MIN, PIN_MAX), st.sets(DIGITS, max_size=5))
def test_a_made_pin_is_good_and_nobody_elses(length: int, taken: set[str]) -> None:
    pin = make_pin(taken, length)
    assert len(pin) == length
    assert weakness(pin) is None
    assert pin not in taken


def test_a_made_pin_is_another_each_time() -> None:
    assert len({make_pin() for _ in range(50)}) > 45
