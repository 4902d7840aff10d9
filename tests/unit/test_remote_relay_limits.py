"""Numbers, rates and memories of relays: bounded, and never twice."""

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

_FILE = Path(__file__).resolve().parents[2] / "custom_components/igrs_lock/remote/relay_limits.py"
_spec = importlib.util.spec_from_file_location("relay_limits", _FILE)
assert _spec is not None
assert _spec.loader is not None
limits: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(limits)


def hashed(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.binary(min_size=1, max_size=3), st.booleans()), max_size=30
    )
)
def test_each_number_passes_once_in_order_with_one_content(
    messages: list[tuple[int, bytes, bool]],
) -> None:
    direction = limits.Direction()
    taken: list[bytes] = []
    for n, data, honest in messages:
        digest = hashed(data) if honest else hashed(data + b"!")
        try:
            new = direction.take(n, data, digest)
        except limits.Broken:
            assert not honest or n > len(taken) or (n < len(taken) and taken[n] != data)
            return
        assert honest
        assert new == (n == len(taken))
        if new:
            taken.append(data)
        assert taken[n] == data
        assert direction.last == len(taken) - 1


@pytest.mark.parametrize("data", [b"", b"x" * 513])
def test_a_message_has_1_to_512_bytes(data: bytes) -> None:
    with pytest.raises(limits.Broken):
        limits.Direction().take(0, data, hashed(data))


def test_a_relay_has_an_end_in_each_direction() -> None:
    there, back = limits.Direction(), limits.Direction()
    for n in range(limits.MESSAGES_MAX):
        assert there.take(n, b"m", hashed(b"m"))
        assert back.add(b"m") == (n, hashed(b"m"))
    assert back.add(b"m") is None
    with pytest.raises(limits.Broken):
        there.take(limits.MESSAGES_MAX, b"m", hashed(b"m"))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 50)), max_size=60))
def test_never_more_than_the_limit_in_any_window(steps: list[tuple[str, float]]) -> None:
    rate = limits.Rate(3, 60.0)
    now, taken = 0.0, [("", -1e9)]
    for name, pause in steps:
        now += pause
        recent = [at for one, at in taken if one == name and now - at < 60]
        assert rate.take(name, now) == (len(recent) < 3)
        if len(recent) < 3:
            taken.append((name, now))
    assert len(rate._times) <= 2


def test_what_was_not_in_vain_is_given_back() -> None:
    rate = limits.Rate(1, 60.0)
    assert rate.take("a", 0)
    rate.give_back("a")
    rate.give_back("nobody")
    assert rate.take("a", 1)
    assert not rate.take("a", 2)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 40)), max_size=60))
def test_nothing_is_new_twice_within_its_time(steps: list[tuple[int, float]]) -> None:
    once = limits.Once(4, 100.0)
    now = 0.0
    seen: dict[int, float] = {}
    for what, pause in steps:
        now += pause
        new = once.first_time(bytes((what,)), now)
        known = what in seen and now - seen[what] < 100
        assert not (new and known)
        if new:
            seen[what] = now
        assert len(once._seen) <= 4


def test_full_it_forgets_nothing() -> None:
    once = limits.Once(2, 100.0)
    assert once.first_time(b"a", 0)
    assert once.first_time(b"b", 1)
    assert not once.first_time(b"c", 2)
    assert not once.first_time(b"a", 99)
    assert once.first_time(b"c", 100.5)
