"""Messages in fragments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ilp import MalformedError, Reassembler, split

messages = st.binary(min_size=1, max_size=512)


@given(st.lists(messages, min_size=1, max_size=4), st.integers(23, 517))
def test_messages_arrive_as_they_were_split(sent: list[bytes], mtu: int) -> None:
    reassembler = Reassembler()
    for message in sent:
        writes = split(message, mtu)
        assert all(2 <= len(write) <= mtu - 3 for write in writes)
        *unfinished, last = [reassembler.feed(write, 1.0) for write in writes]
        assert unfinished == [None] * (len(writes) - 1)
        assert last == message


@given(st.lists(st.tuples(st.binary(max_size=40) | messages, st.floats(0, 3)), max_size=40))
def test_52_any_fragments_give_messages_or_are_malformed(
    writes: list[tuple[bytes, float]],
) -> None:
    reassembler = Reassembler()
    now = 0.0
    for write, pause in writes:
        now += pause
        try:
            message = reassembler.feed(write, now)
        except MalformedError:
            continue
        assert message is None or 1 <= len(message) <= 512
    assert reassembler.feed(b"\x80\x10", now) == b"\x10"


@pytest.mark.parametrize(("size", "mtu"), [(0, 23), (513, 23), (1, 22)])
def test_what_cannot_be_split_is_malformed(size: int, mtu: int) -> None:
    with pytest.raises(MalformedError):
        split(bytes(size), mtu)


def test_the_fast_path_is_one_write_at_mtu_63() -> None:
    assert len(split(bytes(59), 63)) == 1
    assert len(split(bytes(59), 23)) == 4


@pytest.mark.parametrize("wrong", [b"", b"\x01", b"\x81", b"\x02a", b"\x80", b"\xffa"])
def test_52_a_wrong_fragment_drops_what_was_unfinished(wrong: bytes) -> None:
    reassembler = Reassembler()
    assert reassembler.feed(b"\x00ab", 0) is None
    with pytest.raises(MalformedError):
        reassembler.feed(wrong, 0)
    with pytest.raises(MalformedError):
        reassembler.feed(b"\x81cd", 0)


def test_index_0_begins_a_new_message() -> None:
    reassembler = Reassembler()
    reassembler.feed(b"\x00ab", 0)
    reassembler.feed(b"\x00cd", 0)
    assert reassembler.feed(b"\x81ef", 0) == b"cdef"


def test_52_a_message_without_end_is_dropped_at_512_bytes() -> None:
    reassembler = Reassembler()
    reassembler.feed(b"\x00" + bytes(500), 0)
    with pytest.raises(MalformedError):
        reassembler.feed(b"\x01" + bytes(13), 0)
    with pytest.raises(MalformedError):
        reassembler.feed(b"\x80" + bytes(513), 0)


def test_an_unfinished_message_is_dropped_after_5_seconds() -> None:
    reassembler = Reassembler()
    reassembler.feed(b"\x00ab", 10.0)
    assert reassembler.feed(b"\x81cd", 15.0) == b"abcd"
    reassembler.feed(b"\x00ab", 20.0)
    with pytest.raises(MalformedError):
        reassembler.feed(b"\x81cd", 25.1)


def test_a_disconnection_drops_what_was_unfinished() -> None:
    reassembler = Reassembler()
    reassembler.feed(b"\x00ab", 0)
    reassembler.reset()
    with pytest.raises(MalformedError):
        reassembler.feed(b"\x81cd", 0)
