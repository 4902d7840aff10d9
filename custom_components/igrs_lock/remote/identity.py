"""How a home proves itself to its server, and the server to the home: Ed25519 (docs/ras.md, "Gateways")."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from .wire import b64

CODE_SIZE: Final = 10
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ: Final = str.maketrans("OIL", "011", " -")


class WrongCode(Exception):  # noqa: N818  an input, not a fault
    """A text that is no enrolment code, whatever the server."""


def new_private_key() -> bytes:
    """Make a gateway's private key."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_key(private_key: bytes) -> bytes:
    """Return the public key, 32 bytes."""
    return Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def sign(private_key: bytes, message: bytes) -> bytes:
    """Return the signature, 64 bytes."""
    return Ed25519PrivateKey.from_private_bytes(private_key).sign(message)


def verified(public: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether a signature is right. A key or signature of the wrong form is not."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature, ValueError:
        return False
    return True


def fingerprint(public: bytes) -> str:
    """Return the text by which people compare a server's key."""
    digits = hashlib.sha256(public).hexdigest()[:20]
    return " ".join(digits[at : at + 4] for at in range(0, 20, 4))


def write_code(code: bytes) -> str:
    """Write 10 bytes as four groups of four characters."""
    value = int.from_bytes(code)
    text = "".join(_CROCKFORD[value >> shift & 31] for shift in range(75, -5, -5))
    return "-".join(text[at : at + 4] for at in range(0, 16, 4))


def read_code(text: str) -> bytes:
    """Read a code as people type it: case, spaces and dashes do not count, O is 0, I and L are 1. WrongCode."""
    digits = text.upper().translate(_READ).strip()
    if len(digits) != 16 or not set(digits) <= set(_CROCKFORD):
        raise WrongCode
    value = 0
    for digit in digits:
        value = value << 5 | _CROCKFORD.index(digit)
    return value.to_bytes(CODE_SIZE)


def enrolment(code: str, server_key: bytes, private_key: bytes) -> dict[str, Any]:
    """Return the request that binds a code, this home's key and the server's key together. WrongCode."""
    nonce = secrets.token_bytes(32)
    public = public_key(private_key)
    hashed = hashlib.sha256(read_code(code)).digest()
    signed = b"IGRS enrol 1\0" + server_key + hashed + public + nonce
    return {
        "code": code,
        "public_key": b64(public),
        "nonce": b64(nonce),
        "signature": b64(sign(private_key, signed)),
    }


@dataclass(frozen=True, slots=True)
class GatewayIdentity:
    """This home's place at a server, as enrolment gave it, and the server's pinned key."""

    gateway: str
    site: str
    server_key: bytes
    private_key: bytes = field(repr=False)

    def handshake_bytes(self, server_nonce: bytes, nonce: bytes, n: int) -> bytes:
        """What both sides sign: the *stored* server key, both nonces of this connection, its number."""
        return (
            b"IGRS gateway 1\0"
            + self.server_key
            + server_nonce
            + bytes.fromhex(self.gateway)
            + nonce
            + n.to_bytes(8)
        )

    def auth(
        self, signed: bytes, nonce: bytes, n: int, checkpoint: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Return the body of `auth` over the handshake's bytes."""
        return {
            "gateway": self.gateway,
            "nonce": b64(nonce),
            "n": n,
            "checkpoint": checkpoint,
            "signature": b64(sign(self.private_key, signed)),
        }

    def is_server(self, signed: bytes, signature: bytes) -> bool:
        """Tell whether the pinned key signed the handshake's bytes."""
        return verified(self.server_key, b"IGRS server 1\0" + signed, signature)

    def key_change(self, new_private_key: bytes) -> dict[str, Any]:
        """Return the body of `gateway.key`: a new key, proved with the old and with the new one."""
        new = public_key(new_private_key)
        signed = (
            b"IGRS key 1\0"
            + self.server_key
            + bytes.fromhex(self.gateway)
            + public_key(self.private_key)
            + new
        )
        return {
            "public_key": b64(new),
            "old_signature": b64(sign(self.private_key, signed)),
            "new_signature": b64(sign(new_private_key, signed)),
        }
