"""The lock's primitives: the board's own ones against a library's, and published test vectors."""

import hashlib
import hmac
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from bsld import crypto_host
from bsld.x25519 import BASE, x25519
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

keys = st.binary(min_size=32, max_size=32)


class _Aes:
    """MicroPython's `cryptolib.aes` in CBC mode: one object for one direction, state kept."""

    def __init__(self, key: bytes, mode: int, iv: bytes) -> None:
        assert mode == 2
        cipher = Cipher(AES(key), CBC(iv))
        self.encrypt = cipher.encryptor().update
        self.decrypt = cipher.decryptor().update


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The board's primitives, imported on CPython."""
    cryptolib = ModuleType("cryptolib")
    cryptolib.aes = _Aes  # type: ignore[attr-defined]  # made here
    monkeypatch.setitem(sys.modules, "cryptolib", cryptolib)
    monkeypatch.delitem(sys.modules, "bsld.crypto_board", raising=False)
    import bsld.crypto_board as module  # noqa: PLC0415 - possible only with the module above

    yield module
    monkeypatch.delitem(sys.modules, "bsld.crypto_board")


@pytest.mark.parametrize("size", [0, 1, 16, 63, 64, 65, 200])
def test_the_boards_mac_is_hmac_sha256(board: ModuleType, size: int) -> None:
    key = bytes(range(size % 256)) if size < 256 else bytes(size)
    wanted = hmac.digest(key, b"one two", "sha256")
    assert board.mac(key, b"one", b" ", b"two") == wanted
    assert crypto_host.mac(key, b"one", b" ", b"two") == wanted
    assert board.sha256(key) == crypto_host.sha256(key) == hashlib.sha256(key).digest()


def test_comparing_tells_equal_from_different(board: ModuleType) -> None:
    for module in (board, crypto_host):
        assert module.same(b"abc", b"abc")
        assert not module.same(b"abc", b"abd")
        assert not module.same(b"abc", b"ab")


def test_both_ciphers_chain_over_calls(board: ModuleType) -> None:
    key, iv = bytes(range(16)), bytes(range(16, 32))
    plain = [bytes((n,)) * 16 for n in range(4)]
    for module in (board, crypto_host):
        encrypt, decrypt = module.encryptor(key, iv), module.decryptor(key, iv)
        sealed = [encrypt(block) for block in plain]
        whole = Cipher(AES(key), CBC(iv)).encryptor().update(b"".join(plain))
        assert b"".join(sealed) == whole
        assert [decrypt(block) for block in sealed] == plain


# RFC 7748, section 5.2
@pytest.mark.parametrize(
    ("private", "public", "shared"),
    [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ],
)
def test_x25519_is_rfc_7748s(private: str, public: str, shared: str) -> None:
    for function in (x25519, crypto_host.x25519):
        result = function(bytes.fromhex(private), bytes.fromhex(public))
        assert result.hex() == shared


def test_x25519_holds_after_a_thousand_rounds_of_rfc_7748() -> None:
    k = u = BASE
    for _round in range(1000):
        k, u = x25519(k, u), k
    assert k.hex() == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


@given(private=keys, public=keys)
@settings(max_examples=200)
def test_x25519_is_the_librarys_for_any_bytes(private: bytes, public: bytes) -> None:
    assert x25519(private, public) == crypto_host.x25519(private, public)


@given(one=keys, other=keys)
@settings(max_examples=25)
def test_both_ends_agree(one: bytes, other: bytes) -> None:
    assert x25519(one, x25519(other, BASE)) == x25519(other, x25519(one, BASE))


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31)])
def test_a_key_of_small_order_gives_zero(public: bytes) -> None:
    for function in (x25519, crypto_host.x25519):
        assert function(b"\x77" * 32, public) == bytes(32)
