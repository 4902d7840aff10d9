"""Pairing, from the client's side."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ilp import (
    IlpError,
    LockError,
    MalformedError,
    PairingClient,
    PairingError,
    WrongSetupCodeError,
)
from ilp_support import DEVICE_ID, SETUP_CODE, PairingLock, any_bytes, bytes_of, flip

ERROR_BUSY = b"\x1f\x05" + bytes(8)


def started() -> tuple[PairingClient, bytes, PairingLock]:
    """Return a client that asked, the lock's answer and the lock."""
    client, lock = PairingClient(SETUP_CODE, DEVICE_ID), PairingLock()
    return client, lock.reply(client.request()), lock


@given(bytes_of[10], bytes_of[6])
def test_both_sides_get_the_same_key(code: bytes, device_id: bytes) -> None:
    client, lock = PairingClient(code, device_id), PairingLock(code, device_id)
    confirm = client.on_reply(lock.reply(client.request()))
    assert confirm == b"\x03" + lock.client_confirm
    assert client.lock_key == lock.lock_key
    client.on_done(b"\x04\x00")


def test_every_attempt_has_a_new_key_pair() -> None:
    assert PairingClient(SETUP_CODE, DEVICE_ID).request() != (
        PairingClient(SETUP_CODE, DEVICE_ID).request()
    )


def test_the_key_is_there_before_the_confirmation_can_be_sent() -> None:
    client, reply, _ = started()
    assert client.lock_key is None
    client.on_reply(reply)
    assert client.lock_key is not None


@pytest.mark.parametrize(
    "lock", [PairingLock(setup_code=bytes(10)), PairingLock(device_id=bytes(6))]
)
def test_50_a_wrong_code_or_another_lock_gives_no_key(lock: PairingLock) -> None:
    client = PairingClient(SETUP_CODE, DEVICE_ID)
    with pytest.raises(WrongSetupCodeError):
        client.on_reply(lock.reply(client.request()))
    assert client.lock_key is None


@given(st.integers(0, 8 * 49 - 1))
def test_a_reply_with_any_bit_changed_is_refused_and_the_right_one_still_taken(bit: int) -> None:
    client, reply, lock = started()
    with pytest.raises(IlpError):
        client.on_reply(flip(reply, bit))
    assert client.lock_key is None
    client.on_reply(reply)
    assert client.lock_key == lock.lock_key


@given(st.integers(8, 8 * 33 - 1))
def test_a_request_with_any_bit_changed_on_its_way_gives_no_key(bit: int) -> None:
    client, lock = PairingClient(SETUP_CODE, DEVICE_ID), PairingLock()
    with pytest.raises(PairingError):
        client.on_reply(lock.reply(flip(client.request(), bit)))
    assert client.lock_key is None


# Points of small order: X25519 makes zeros of them with every private key.
@pytest.mark.parametrize(
    "public",
    [
        bytes(32),
        b"\x01" + bytes(31),
        bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ],
)
def test_50_a_public_key_that_makes_zeros_is_refused(public: bytes) -> None:
    client = PairingClient(SETUP_CODE, DEVICE_ID)
    client.request()
    with pytest.raises(PairingError) as caught:
        client.on_reply(b"\x02" + public + bytes(16))
    assert not isinstance(caught.value, WrongSetupCodeError)
    assert client.lock_key is None


@given(any_bytes)
def test_any_bytes_in_any_step_give_a_result_or_a_typed_error(message: bytes) -> None:
    client, reply, _ = started()
    paired, paired_reply, _ = started()
    paired.on_reply(paired_reply)
    for call in (client.on_reply, client.on_done, paired.on_done, paired.on_reply):
        with contextlib.suppress(IlpError):
            call(message)
    client.on_reply(reply)


def test_50_a_forged_error_ends_nothing() -> None:
    client, reply, _ = started()
    with pytest.raises(LockError) as caught:
        client.on_reply(ERROR_BUSY)
    assert caught.value.code == 5
    client.on_reply(reply)
    with pytest.raises(LockError):
        client.on_done(ERROR_BUSY)
    client.on_done(b"\x04\x00")


def test_steps_out_of_order_are_refused() -> None:
    client = PairingClient(SETUP_CODE, DEVICE_ID)
    with pytest.raises(PairingError):
        client.on_reply(b"\x02" + bytes(48))
    with pytest.raises(PairingError):
        client.on_done(b"\x04\x00")
    reply = PairingLock().reply(client.request())
    client.on_reply(reply)
    with pytest.raises(PairingError):
        client.on_reply(reply)


def test_a_pair_done_that_is_not_done_is_an_error() -> None:
    client, reply, _ = started()
    client.on_reply(reply)
    with pytest.raises(PairingError):
        client.on_done(b"\x04\x06")


@pytest.mark.parametrize("sizes", [(9, 6, 32), (10, 5, 32), (10, 6, 31)])
def test_inputs_of_the_wrong_size_are_malformed(sizes: tuple[int, int, int]) -> None:
    code, device_id, private = (bytes(size) for size in sizes)
    with pytest.raises(MalformedError):
        PairingClient(code, device_id, private)
