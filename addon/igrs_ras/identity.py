"""Who this server is: the Ed25519 key that gateways pin at enrolment, and the server's generation."""

import hashlib
import secrets
from typing import override

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import select

from igrs_ras.storage.store import Store, Transaction
from igrs_ras.storage.tables import server


class ServerIdentity:
    """The server's key pair. `generation` rises with each restore of the whole server."""

    def __init__(self, private: bytes, generation: int) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(private)
        self.public = self._key.public_key().public_bytes_raw()
        self.generation = generation

    @override
    def __repr__(self) -> str:
        return f"<ServerIdentity {self.fingerprint}>"

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature, 64 bytes."""
        return self._key.sign(message)

    @property
    def fingerprint(self) -> str:
        """What people compare: the first 10 bytes of the public key's SHA-256, in groups of four hex digits."""
        return fingerprint(self.public)


def fingerprint(public: bytes) -> str:
    """Return the text by which people compare a public key of 32 bytes."""
    digits = hashlib.sha256(public).hexdigest()[:20]
    return " ".join(digits[at : at + 4] for at in range(0, 20, 4))


def verified(public: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether an Ed25519 signature is right. A key or signature of the wrong form is not."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature, ValueError:
        return False
    return True


def read_or_make(tx: Transaction) -> ServerIdentity:
    """Return the identity in the database; at the very first start make it. A job of the writer.

    The boot nonce stays empty until the server's first start is complete (see `restore`).
    """
    row = tx.execute(select(server.c.key, server.c.generation)).one_or_none()
    if row is None:
        private, generation = secrets.token_bytes(32), tx.now
        tx.execute(
            server.insert(),
            {"id": 1, "key": private, "boot": b"", "generation": generation, "created": tx.now},
        )
        return ServerIdentity(private, generation)
    return ServerIdentity(bytes(row.key), row.generation)


async def load_identity(store: Store) -> ServerIdentity:
    """Return the server's identity, made at the first start."""
    return await store.write(read_or_make)
