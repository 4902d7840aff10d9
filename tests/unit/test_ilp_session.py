"""Sessions: sealing, opening, verifying, and what is refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ilp import (
    AuthenticationError,
    ClientSession,
    ErrorCode,
    Frame,
    IlpError,
    Kind,
    LockError,
    MalformedError,
    NonceSource,
    SessionClock,
    SessionError,
    SessionVerifier,
    challenge_request,
    message_kind,
    parse_challenge,
    parse_error,
    requests,
)
from ilp_support import DEVICE_ID, LockEnd, any_bytes, bytes_of, flip, frames, request_frames

KEY = bytes(range(16))
NONCE = bytes(range(8))
STATUS = requests.get_status().at(1790000000)
ANSWER = Frame(0x48, 2, bytes((0, 1, 0, 90, 0, 0, 7, 0, 0)), 1790000000)
batches = st.lists(st.lists(request_frames, min_size=1, max_size=20), min_size=1, max_size=4)


def opened(
    source: NonceSource = NonceSource.CHALLENGE, slot: int = 255
) -> tuple[ClientSession, LockEnd]:
    """Return a session that was opened and the lock's end of it."""
    session = ClientSession(KEY, DEVICE_ID, slot, source, NONCE)
    message = session.open([STATUS])
    return session, LockEnd(KEY, slot, source, NONCE, message[3:11])


@given(batches, st.sampled_from(NonceSource), st.integers(0, 255), bytes_of[8])
def test_what_the_client_seals_is_what_the_protocol_says(
    sent: list[list[Frame]], source: NonceSource, slot: int, client_nonce: bytes
) -> None:
    session = ClientSession(KEY, DEVICE_ID, slot, source, NONCE, client_nonce)
    lock = LockEnd(KEY, slot, source, NONCE, client_nonce)
    head = bytes((0x12, slot, source)) + client_nonce
    assert session.open(sent[0]) == head + lock.seal(sent[0], direction=0)[1:]
    for batch in sent[1:]:
        assert session.seal(batch) == lock.seal(batch, direction=0)


@given(st.lists(st.lists(frames, min_size=1, max_size=21), min_size=1, max_size=4))
def test_what_the_lock_seals_arrives(sent: list[list[Frame]]) -> None:
    session, lock = opened()
    for batch in sent:
        assert session.receive(lock.seal(batch)) == batch


@given(batches, st.sampled_from(NonceSource), st.integers(0, 255))
def test_a_gateway_verifies_what_a_client_seals(
    sent: list[list[Frame]], source: NonceSource, slot: int
) -> None:
    session = ClientSession(KEY, DEVICE_ID, slot, source, NONCE)
    verifier = SessionVerifier(KEY, DEVICE_ID, slot, source, NONCE)
    assert verifier.open(session.open(sent[0])) == sent[0]
    for batch in sent[1:]:
        assert verifier.receive(session.seal(batch)) == batch


@given(st.integers(1, 4), st.integers(0, 8 * 24 * 4))
def test_13_a_sealed_message_with_any_bit_changed_is_refused_and_changes_nothing(
    count: int, bit: int
) -> None:
    session, lock = opened()
    message = lock.seal([ANSWER] * count)
    with pytest.raises((AuthenticationError, MalformedError)):
        session.receive(flip(message, bit))
    assert session.receive(message) == [ANSWER] * count
    assert session.receive(lock.seal([ANSWER])) == [ANSWER]


@given(st.integers(0, 8 * 35 - 1))
def test_13_an_opening_with_any_bit_changed_is_refused_before_the_radio(bit: int) -> None:
    message = ClientSession(KEY, DEVICE_ID, 4, NonceSource.ADVERTISED, NONCE).open([STATUS])
    verifier = SessionVerifier(KEY, DEVICE_ID, 4, NonceSource.ADVERTISED, NONCE)
    with pytest.raises((AuthenticationError, MalformedError)):
        verifier.open(flip(message, bit))
    assert verifier.open(message) == [STATUS]


def test_49_frames_reordered_doubled_cut_reflected_or_replayed_are_refused() -> None:
    session, lock = opened()
    own = session.seal([STATUS, STATUS])
    message = lock.seal([ANSWER, ANSWER])
    first, second = message[1:25], message[25:]
    for wrong in (
        b"\x13" + second + first,
        message + second,
        b"\x13" + second,
        message[:-1],
        message + b"\x00",
        message[:-24] + bytes(24),
        own,
    ):
        with pytest.raises((AuthenticationError, MalformedError)):
            session.receive(wrong)
    assert session.receive(message) == [ANSWER, ANSWER]
    with pytest.raises(AuthenticationError):
        session.receive(message)


def test_a_message_of_another_session_is_refused() -> None:
    session, lock = opened()
    _, other = opened()
    with pytest.raises(AuthenticationError):
        session.receive(other.seal([ANSWER]))
    assert session.receive(lock.seal([ANSWER])) == [ANSWER]


def test_49_another_slot_source_lock_key_or_nonce_opens_nothing() -> None:
    message = ClientSession(KEY, DEVICE_ID, 4, NonceSource.CHALLENGE, NONCE).open([STATUS])
    for verifier in (
        SessionVerifier(KEY, DEVICE_ID, 5, NonceSource.CHALLENGE, NONCE),
        SessionVerifier(KEY, DEVICE_ID, 4, NonceSource.ADVERTISED, NONCE),
        SessionVerifier(KEY, bytes(6), 4, NonceSource.CHALLENGE, NONCE),
        SessionVerifier(bytes(16), DEVICE_ID, 4, NonceSource.CHALLENGE, NONCE),
        SessionVerifier(KEY, DEVICE_ID, 4, NonceSource.CHALLENGE, bytes(8)),
    ):
        with pytest.raises(AuthenticationError):
            verifier.open(message)


def test_an_authentic_frame_with_a_wrong_check_byte_is_malformed_not_forged() -> None:
    session, lock = opened()
    sealed = b"\x13" + lock._seal(flip(ANSWER.encode(), 3), 1)
    with pytest.raises(MalformedError):
        session.receive(sealed)
    assert session.receive(lock.seal([ANSWER])) == [ANSWER]


@given(any_bytes | any_bytes.map(lambda rest: b"\x13" + rest))
def test_any_bytes_give_frames_or_a_typed_error_and_end_no_session(message: bytes) -> None:
    session, lock = opened()
    fresh = SessionVerifier(KEY, DEVICE_ID, 255, NonceSource.CHALLENGE, NONCE)
    verifier = SessionVerifier(KEY, DEVICE_ID, 255, NonceSource.CHALLENGE, NONCE)
    verifier.open(ClientSession(KEY, DEVICE_ID, 255, NonceSource.CHALLENGE, NONCE).open([STATUS]))
    for call in (
        session.receive,
        verifier.receive,
        verifier.open,
        fresh.open,
        fresh.receive,
        parse_challenge,
        parse_error,
        message_kind,
    ):
        with contextlib.suppress(IlpError):
            call(message)
    assert session.receive(lock.seal([ANSWER])) == [ANSWER]


def test_the_largest_messages_fit_and_larger_ones_are_never_made() -> None:
    session = ClientSession(KEY, DEVICE_ID, 4, NonceSource.CHALLENGE, NONCE)
    with pytest.raises(MalformedError):
        session.open([STATUS] * 21)
    assert len(session.open([STATUS] * 20)) <= 512
    with pytest.raises(MalformedError):
        session.seal([STATUS] * 22)
    assert len(session.seal([STATUS] * 21)) <= 512


def test_a_message_over_512_bytes_is_refused() -> None:
    session, lock = opened()
    with pytest.raises(MalformedError):
        session.receive(lock.seal([ANSWER] * 22))


def test_a_refused_opening_does_not_use_the_session_up() -> None:
    session = ClientSession(KEY, DEVICE_ID, 4, NonceSource.CHALLENGE, NONCE)
    for wrong in ([], [ANSWER], [Frame(3, 1, bytes(8), 0)], [STATUS, Frame(3, 1, bytes(9), -1)]):
        with pytest.raises(MalformedError):
            session.open(wrong)
    verifier = SessionVerifier(KEY, DEVICE_ID, 4, NonceSource.CHALLENGE, NONCE)
    assert verifier.open(session.open([STATUS])) == [STATUS]
    with pytest.raises(MalformedError):
        session.seal([STATUS, ANSWER])
    assert verifier.receive(session.seal([STATUS])) == [STATUS]


def test_a_session_is_opened_once_and_first() -> None:
    session = ClientSession(KEY, DEVICE_ID, 4, NonceSource.CHALLENGE, NONCE)
    with pytest.raises(SessionError):
        session.seal([STATUS])
    session.open([STATUS])
    with pytest.raises(SessionError):
        session.open([STATUS])
    with pytest.raises(SessionError):
        SessionVerifier(KEY, DEVICE_ID, 4, NonceSource.CHALLENGE, NONCE).receive(
            b"\x13" + bytes(24)
        )


def test_58_every_session_has_a_new_client_nonce() -> None:
    messages = {
        ClientSession(KEY, DEVICE_ID, 4, NonceSource.CHALLENGE, NONCE).open([STATUS])
        for _ in range(20)
    }
    assert len(messages) == 20


def test_51_an_error_in_a_session_is_told_apart_and_ends_nothing() -> None:
    session, lock = opened(NonceSource.ADVERTISED)
    with pytest.raises(LockError) as caught:
        session.receive(b"\x1f\x03" + bytes(range(8)))
    assert caught.value.code is ErrorCode.TRY_AGAIN
    assert caught.value.nonce == bytes(range(8))
    assert session.receive(lock.seal([ANSWER])) == [ANSWER]


def test_challenges_and_errors_are_read() -> None:
    assert challenge_request() == b"\x10"
    assert parse_challenge(b"\x11" + NONCE) == NONCE
    assert parse_error(b"\x1f\x06" + NONCE) == (ErrorCode.NO_SESSION, NONCE)
    assert message_kind(b"\x04\x00") is Kind.PAIR_DONE
    with pytest.raises(LockError):
        parse_challenge(b"\x1f\x05" + NONCE)
    for wrong in (b"", b"\x11", b"\x12" + NONCE, b"\x1f\x00" + NONCE, b"\x1f\x03", b"\x77"):
        with pytest.raises(MalformedError):
            parse_challenge(wrong)


@given(bytes_of[8] | any_bytes, bytes_of[6] | any_bytes, bytes_of[16] | any_bytes, st.integers())
def test_any_inputs_make_a_session_or_a_typed_error(
    nonce: bytes, device_id: bytes, key: bytes, number: int
) -> None:
    for make in (
        lambda: ClientSession(key, device_id, number, NonceSource.CHALLENGE, nonce),
        lambda: ClientSession(key, device_id, 4, NonceSource.CHALLENGE, NONCE, nonce),
        lambda: SessionVerifier(key, device_id, number, NonceSource.CHALLENGE, nonce),
        lambda: SessionVerifier(key, device_id, 4, NonceSource.CHALLENGE, nonce),
    ):
        with contextlib.suppress(IlpError):
            make()


def test_a_sessions_timestamps_follow_one_monotonic_clock() -> None:
    clock = SessionClock(1790000000.6, 50.0)
    assert clock.timestamp(50.0) == 1790000000
    assert clock.timestamp(50.5) == 1790000001
    assert clock.timestamp(80.0) == 1790000030
