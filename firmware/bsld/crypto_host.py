"""Primitives on CPython (simulator and tests): `hashlib`, `hmac` and `cryptography`."""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def sha256(data: bytes) -> bytes:
    """SHA-256 of data: 32 bytes."""
    return hashlib.sha256(data).digest()


def mac(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104) over the concatenated parts: 32 bytes."""
    return hmac.digest(key, b"".join(parts), "sha256")


def same(a: bytes, b: bytes) -> bool:
    """Compare without telling by its time where two values differ."""
    return hmac.compare_digest(a, b)


def encryptor(key: bytes, iv: bytes) -> "Callable[[bytes], bytes]":
    """AES-128-CBC from this IV on: each call encrypts the next whole blocks."""
    return Cipher(AES(key), CBC(iv)).encryptor().update


def decryptor(key: bytes, iv: bytes) -> "Callable[[bytes], bytes]":
    """Undo `encryptor`, block after block."""
    return Cipher(AES(key), CBC(iv)).decryptor().update


def x25519(private: bytes, public: bytes) -> bytes:
    """Multiply a public key by a private one (RFC 7748): 32 bytes, all zero for a small order."""
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    except ValueError:  # how the library reports an all-zero result
        return bytes(32)
