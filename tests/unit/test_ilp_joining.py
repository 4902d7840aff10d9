"""Joining's cryptography: both ends agree, everybody else gets nothing, and nothing but IlpError comes out."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ilp import (
    BOX_MAX,
    SEALED_MAX,
    AuthenticationError,
    IlpError,
    JoinKeyPair,
    MalformedError,
    client_join_keys,
    done_proof,
    home_join_keys,
    is_done_proof,
    is_join_proof,
    join_proof,
    open_box,
    open_keys,
    seal_box,
    seal_keys,
)
from ilp_support import bytes_of, flip

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENT = JoinKeyPair(bytes(range(1, 33)))
HOME = JoinKeyPair(bytes(range(2, 34)))
STRANGER = JoinKeyPair()
SECRET, ID, PERSON = bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 48))
KEYS = home_join_keys(HOME, CLIENT.public, SECRET, ID)
NUMBER = 1_790_000_000_000


@given(bytes_of[16], bytes_of[16], st.binary(max_size=2000))
def test_the_client_opens_what_its_home_sealed(secret: bytes, id_: bytes, plain: bytes) -> None:
    home = home_join_keys(HOME, CLIENT.public, secret, id_)
    client = client_join_keys(CLIENT, HOME.public, secret, id_)
    assert client == home
    assert open_box(client, id_, seal_box(home, id_, plain)) == plain
    assert is_done_proof(home.done, done_proof(client.done))
    assert len({home.box, home.done, home.update}) == 3


def test_a_stored_key_pair_is_the_same_one() -> None:
    again = JoinKeyPair(STRANGER.private)
    assert again.public == STRANGER.public
    assert again.shared(HOME.public) == HOME.shared(STRANGER.public)


def test_every_pair_is_another_one() -> None:
    assert len({JoinKeyPair().public for _ in range(3)}) == 3


@given(st.integers(0, 8 * 16 - 1), st.sampled_from(["secret", "id", "client"]))
def test_every_input_counts_in_proof_and_keys(bit: int, which: str) -> None:
    secret = flip(SECRET, bit) if which == "secret" else SECRET
    id_ = flip(ID, bit) if which == "id" else ID
    client = STRANGER if which == "client" else CLIENT
    proof = join_proof(SECRET, ID, CLIENT.public)
    assert is_join_proof(SECRET, ID, CLIENT.public, proof)
    assert not is_join_proof(secret, id_, client.public, proof)
    other = client_join_keys(client, HOME.public, secret, id_)
    with pytest.raises(AuthenticationError):
        open_box(other, id_, seal_box(KEYS, ID, b"{}"))
    assert not is_done_proof(KEYS.done, done_proof(other.done))


@given(st.integers(0))
def test_a_box_with_one_bit_changed_does_not_open(bit: int) -> None:
    with pytest.raises(AuthenticationError):
        open_box(KEYS, ID, flip(seal_box(KEYS, ID, b"keys of locks"), bit))


def test_a_box_is_bound_to_its_invitation() -> None:
    with pytest.raises(AuthenticationError):
        open_box(KEYS, flip(ID, 0), seal_box(KEYS, ID, b"keys"))


@given(st.integers(1, 2**63 - 1), st.binary(max_size=300), st.integers(0))
def test_changed_keys_open_for_their_person_and_number_only(
    number: int, plain: bytes, bit: int
) -> None:
    sealed = seal_keys(KEYS.update, PERSON, number, plain)
    assert open_keys(KEYS.update, PERSON, number, sealed) == plain
    another = number - 1 if number > 1 else 2
    for arguments in (
        (KEYS.update, PERSON, another, sealed),
        (KEYS.update, flip(PERSON, bit), number, sealed),
        (flip(KEYS.update, bit), PERSON, number, sealed),
        (KEYS.update, PERSON, number, flip(sealed, bit)),
    ):
        with pytest.raises(AuthenticationError):
            open_keys(*arguments)


@pytest.mark.parametrize(
    "peer",
    [
        b"",
        bytes(65),
        b"\x04" + bytes(64),
        CLIENT.public[:-1],
        CLIENT.public + b"\0",
        b"\x05" + CLIENT.public[1:],
        flip(CLIENT.public, 64 * 8),
        # The compressed form, and the hybrid one of the right length.
        b"\x02" + CLIENT.public[1:33],
        b"\x06" + CLIENT.public[1:],
        b"\x07" + CLIENT.public[1:],
    ],
)
def test_what_is_no_uncompressed_point_is_refused(peer: bytes) -> None:
    with pytest.raises(MalformedError):
        home_join_keys(HOME, peer, SECRET, ID)
    with pytest.raises(MalformedError):
        client_join_keys(CLIENT, peer, SECRET, ID)


@given(st.binary(max_size=70))
def test_whatever_a_peer_sends_as_its_key_only_an_ilp_error_comes_out(peer: bytes) -> None:
    with pytest.raises(IlpError):
        home_join_keys(HOME, peer, SECRET, ID)


@pytest.mark.parametrize("private", [b"", bytes(32), b"\xff" * 32, bytes(31), bytes(33)])
def test_what_is_no_private_key_is_refused(private: bytes) -> None:
    with pytest.raises(MalformedError):
        JoinKeyPair(private)


def test_sizes_are_kept() -> None:
    room = b"x" * (BOX_MAX - 16)
    assert open_box(KEYS, ID, seal_box(KEYS, ID, room)) == room
    room = b"x" * (SEALED_MAX - 16)
    assert open_keys(KEYS.update, PERSON, 1, seal_keys(KEYS.update, PERSON, 1, room)) == room
    calls: tuple[Callable[[], object], ...] = (
        lambda: seal_box(KEYS, ID, b"x" * (BOX_MAX - 15)),
        lambda: seal_keys(KEYS.update, PERSON, 1, b"x" * (SEALED_MAX - 15)),
        lambda: open_box(KEYS, ID, bytes(BOX_MAX + 1)),
        lambda: open_box(KEYS, ID, bytes(15)),
        lambda: open_keys(KEYS.update, PERSON, 1, bytes(SEALED_MAX + 1)),
        lambda: open_keys(KEYS.update, PERSON, 1, bytes(15)),
    )
    for call in calls:
        with pytest.raises(MalformedError):
            call()


@pytest.mark.parametrize("number", [0, -1, 2**63])
def test_a_number_out_of_range_is_refused(number: int) -> None:
    with pytest.raises(MalformedError):
        seal_keys(KEYS.update, PERSON, number, b"")
    with pytest.raises(MalformedError):
        open_keys(KEYS.update, PERSON, number, bytes(16))


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_wrong_sizes_are_refused(size: int) -> None:
    wrong = bytes(size)
    for call in (
        lambda: join_proof(wrong, ID, CLIENT.public),
        lambda: join_proof(SECRET, wrong, CLIENT.public),
        lambda: join_proof(SECRET, ID, wrong),
        lambda: home_join_keys(HOME, CLIENT.public, wrong, ID),
        lambda: client_join_keys(CLIENT, HOME.public, SECRET, wrong),
        lambda: seal_box(KEYS, wrong, b""),
        lambda: open_box(KEYS, wrong, bytes(16)),
        lambda: seal_keys(KEYS.update, wrong, 1, b""),
        lambda: open_keys(KEYS.update, wrong, 1, bytes(16)),
    ):
        with pytest.raises(MalformedError):
            call()
    if size != 32:
        with pytest.raises(MalformedError):
            done_proof(wrong)
        with pytest.raises(MalformedError):
            seal_keys(wrong, PERSON, 1, b"")


@given(st.binary(max_size=64))
def test_a_proof_of_any_size_is_only_wrong(proof: bytes) -> None:
    assert not is_done_proof(KEYS.done, proof)
    assert not is_join_proof(SECRET, ID, CLIENT.public, proof)


@pytest.mark.parametrize("holder", [KEYS, CLIENT, replace(KEYS, box=SECRET)])
def test_46_keys_of_a_join_are_not_shown(holder: object) -> None:
    shown = repr(holder) + str(holder)
    for secret in (KEYS.box, KEYS.done, KEYS.update, CLIENT.private, SECRET):
        assert secret.hex() not in shown
        assert repr(secret) not in shown
