"""Primitives on MicroPython: `cryptolib` and `hashlib` of the firmware, the rest in Python."""

import hashlib

# MicroPython's own module; the type checker runs on CPython, where it does not exist
from cryptolib import aes  # type: ignore[import-not-found]

from .x25519 import x25519

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["decryptor", "encryptor", "mac", "same", "sha256", "x25519"]

_CBC = 2
_BLOCK = 64


def sha256(data: bytes) -> bytes:
    """SHA-256 of data: 32 bytes."""
    return hashlib.sha256(data).digest()


def mac(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104) over the concatenated parts: 32 bytes."""
    if len(key) > _BLOCK:
        key = sha256(key)
    key = key + bytes(_BLOCK - len(key))
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in key))
    for part in parts:
        inner.update(part)
    outer = hashlib.sha256(bytes(b ^ 0x5C for b in key))
    outer.update(inner.digest())
    return outer.digest()


def same(a: bytes, b: bytes) -> bool:
    """Compare without telling by its time where two values differ."""
    if len(a) != len(b):
        return False
    difference = 0
    for x, y in zip(a, b):  # noqa: B905 - MicroPython's zip has no `strict`
        difference |= x ^ y
    return difference == 0


def encryptor(key: bytes, iv: bytes) -> "Callable[[bytes], bytes]":
    """AES-128-CBC from this IV on: each call encrypts the next whole blocks."""
    cipher = aes(key, _CBC, iv)
    return lambda data: bytes(cipher.encrypt(data))


def decryptor(key: bytes, iv: bytes) -> "Callable[[bytes], bytes]":
    """Undo `encryptor`, block after block."""
    cipher = aes(key, _CBC, iv)
    return lambda data: bytes(cipher.decrypt(data))
