"""The cryptography of joining, the same at both ends (docs/ras.md, "Joining")."""

import hmac

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the uncompressed public point: 65 bytes."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def join_proof(secret: bytes, id_: bytes, client_public: bytes) -> bytes:
    """Return what shows the home that a client key belongs to who has the invitation's secret: 32 bytes."""
    return hmac.digest(secret, b"join" + id_ + client_public, "sha256")


def join_keys(
    private: ec.EllipticCurvePrivateKey,
    peer: bytes,
    secret: bytes,
    id_: bytes,
    client: bytes,
    home: bytes,
) -> tuple[bytes, bytes, bytes]:
    """Return key, done key and update key of a join: 32 bytes each. `peer` is the other end's public point."""
    shared = private.exchange(
        ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), peer)
    )
    okm = HKDF(SHA256(), 96, secret, b"ILP1 join" + id_ + client + home).derive(shared)
    return okm[:32], okm[32:64], okm[64:]


def done_proof(done_key: bytes) -> bytes:
    """Return what shows the home that the client has opened the box: 32 bytes."""
    return hmac.digest(done_key, b"done", "sha256")
