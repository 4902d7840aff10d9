"""A relay's numbers and ends at the client, whatever the server makes of them."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igrs_rac.errors import (
    GatewayOfflineError,
    RelayExpiredError,
    RelayOverError,
    RelayUnknownError,
    ServerSaysError,
)
from igrs_rac.relay import Part, RelayPort
from igrs_rac.wire import Fields, MalformedError, b64, ulid

PART = Part("fe" * 16, "C4112233445F", ulid(1_900_000_000_000))
TRUE = [bytes((0x13, n)) * 10 for n in range(6)]


def body(n: int, data: bytes, digest: bytes | None = None) -> Fields:
    return Fields({"n": n, "data": b64(data), "hash": b64(digest or hashlib.sha256(data).digest())})


def state(name: str, code: int = 0, n: int = 0) -> Fields:
    return Fields({"state": name, "code": code, "n": n})


@given(st.lists(st.tuples(st.integers(-1, 7), st.integers(0, 5), st.booleans()), max_size=30))
def test_case_57_the_locks_messages_come_once_in_order_and_without_a_gap(
    sequence: list[tuple[int, int, bool]],
) -> None:
    """Numbers and messages as they should be, repeated, swapped, left out, with a wrong hash."""
    port = RelayPort(PART)
    taken: list[bytes] = []
    for n, which, right in sequence:
        if n < 0:
            with pytest.raises(MalformedError):
                port.take_data(body(n, TRUE[which]))
            continue
        data = TRUE[which]
        broken = port.broken
        found = port.take_data(body(n, data, None if right else bytes(32)))
        if broken:
            assert found is None
        elif right and n == len(taken):
            assert found == data
            taken.append(data)
        elif right and n < len(taken) and taken[n] == data:
            assert found is None
            assert not port.broken
        else:
            assert found is None
            assert port.broken


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["accepted", "sent_to_gateway", "sent_to_lock", "answered", "failed", "expired", "unknown"]
            ),
            st.integers(0, 60),
            st.integers(0, 2),
        )
    )
)  # fmt: skip
def test_a_relay_ends_once(sequence: list[tuple[str, int, int]]) -> None:
    port = RelayPort(PART)
    port.opening(b"\x10")
    first: Any = None
    for name, code, n in sequence:
        port.take_state(state(name, code, n))
        if first is None and name not in ("accepted", "sent_to_gateway", "sent_to_lock"):
            first = port.ended
            assert first is not None
        assert port.ended is first
    if first is not None:
        assert port.take_data(body(0, TRUE[0])) is None, "nothing comes after the end"


def test_each_end_has_its_error() -> None:
    ends = {
        ("answered", 0): RelayOverError,
        ("expired", 30): RelayExpiredError,
        ("unknown", 34): RelayUnknownError,
        ("failed", 30): GatewayOfflineError,
        ("failed", 99): ServerSaysError,
    }
    for (name, code), kind in ends.items():
        port = RelayPort(PART)
        port.take_state(state(name, code))
        assert type(port.ended) is kind


def test_what_goes_out_is_numbered_and_hashed() -> None:
    port = RelayPort(PART)
    opening, further = port.opening(b"\x10", 5000), port.further(b"\x12")
    assert (opening["n"], further["n"], opening["ttl_ms"]) == (0, 1, 5000)
    assert further["hash"] == b64(hashlib.sha256(b"\x12").digest())
    port.take_state(state("sent_to_lock", n=0))
    assert port.state == "", "it is about an earlier message"
    port.take_state(state("sent_to_lock", n=1))
    assert port.state == "sent_to_lock"
    for wrong in (state("done"), Fields({"state": "answered", "n": 0}), Fields({})):
        with pytest.raises(MalformedError):
            port.take_state(wrong)
