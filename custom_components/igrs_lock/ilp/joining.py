"""Joining by an invitation's link, and the keys that follow later: the cryptography of both ends.

The server between them sees none of it. docs/ras.md, "Joining" and "Later changes".
"""

import hmac
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .errors import AuthenticationError, MalformedError
from .keys import check_size, mac, unsigned

INVITATION_ID_SIZE: Final = 16
INVITATION_SECRET_SIZE: Final = 16
PERSON_ID_SIZE: Final = 16
JOIN_PRIVATE_SIZE: Final = 32
JOIN_PUBLIC_SIZE: Final = 65
JOIN_PROOF_SIZE: Final = 32
BOX_MAX: Final = 16 * 1024
"""The most bytes of a sealed box."""
SEALED_MAX: Final = 8 * 1024
"""The most bytes of sealed keys sent later."""
TAG_SIZE: Final = 16

_CURVE: Final = ec.SECP256R1()
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_JOINED_KEY_SIZE: Final = 32
_NUMBER_SIZE: Final = 12
_NUMBER_MAX: Final = (1 << 63) - 1
"""What the server takes; the nonce would hold more."""
_LABEL_JOIN: Final = b"ILP1 join"
_LABEL_PROOF: Final = b"join"
_LABEL_DONE: Final = b"done"


class JoinKeyPair:
    """A P-256 key pair of one end of one join."""

    __slots__ = ("_private", "public")

    def __init__(self, private: bytes | None = None) -> None:
        """Make a fresh one, or take the 32 bytes that a client stored."""
        if private is None:
            self._private = ec.generate_private_key(_CURVE)
        else:
            number = int.from_bytes(check_size(private, JOIN_PRIVATE_SIZE, "private key"))
            if not 0 < number < _ORDER:
                raise MalformedError("no private key of P-256")
            self._private = ec.derive_private_key(number, _CURVE)
        self.public: bytes = self._private.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )

    @property
    def private(self) -> bytes:
        """The 32 bytes to store."""
        return self._private.private_numbers().private_value.to_bytes(JOIN_PRIVATE_SIZE)

    def shared(self, peer: bytes) -> bytes:
        """Return what both ends compute of the other's public point; MalformedError if it is none."""
        check_size(peer, JOIN_PUBLIC_SIZE, "public key")
        try:
            point = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, peer)
        except ValueError:
            raise MalformedError("no point of P-256") from None
        return self._private.exchange(ec.ECDH(), point)


@dataclass(frozen=True, slots=True)
class JoinKeys:
    """The keys of one join, 32 bytes each: of the box, of the word *done*, of later changes."""

    box: bytes = field(repr=False)
    done: bytes = field(repr=False)
    update: bytes = field(repr=False)


def join_proof(secret: bytes, invitation_id: bytes, client_public: bytes) -> bytes:
    """Return what shows the home that this client key belongs to who has the link."""
    check_size(secret, INVITATION_SECRET_SIZE, "secret")
    check_size(invitation_id, INVITATION_ID_SIZE, "invitation identifier")
    check_size(client_public, JOIN_PUBLIC_SIZE, "client's public key")
    return mac(secret, _LABEL_PROOF, invitation_id, client_public)


def home_join_keys(
    pair: JoinKeyPair, client_public: bytes, secret: bytes, invitation_id: bytes
) -> JoinKeys:
    """Return the keys at the home's end; MalformedError if `client_public` is no point."""
    return _keys(pair.shared(client_public), secret, invitation_id, client_public, pair.public)


def client_join_keys(
    pair: JoinKeyPair, home_public: bytes, secret: bytes, invitation_id: bytes
) -> JoinKeys:
    """Return the keys at the client's end; MalformedError if `home_public` is no point."""
    return _keys(pair.shared(home_public), secret, invitation_id, pair.public, home_public)


def _keys(
    shared: bytes, secret: bytes, invitation_id: bytes, client: bytes, home: bytes
) -> JoinKeys:
    check_size(secret, INVITATION_SECRET_SIZE, "secret")
    check_size(invitation_id, INVITATION_ID_SIZE, "invitation identifier")
    info = _LABEL_JOIN + invitation_id + client + home
    size = _JOINED_KEY_SIZE
    okm = HKDF(SHA256(), 3 * size, secret, info).derive(shared)
    return JoinKeys(okm[:size], okm[size : 2 * size], okm[2 * size :])


def seal_box(keys: JoinKeys, invitation_id: bytes, plain: bytes) -> bytes:
    """Seal a box. There must never be another one under these keys: its nonce is fixed."""
    check_size(invitation_id, INVITATION_ID_SIZE, "invitation identifier")
    if len(plain) + TAG_SIZE > BOX_MAX:
        raise MalformedError("too much for a box")
    return AESGCM(keys.box).encrypt(bytes(_NUMBER_SIZE), plain, invitation_id)


def open_box(keys: JoinKeys, invitation_id: bytes, box: bytes) -> bytes:
    """Open a box; AuthenticationError if the home that has the secret did not seal it."""
    check_size(invitation_id, INVITATION_ID_SIZE, "invitation identifier")
    return _open(keys.box, bytes(_NUMBER_SIZE), box, invitation_id, BOX_MAX)


def done_proof(done_key: bytes) -> bytes:
    """Return what shows the home that the client has opened the box."""
    return mac(check_size(done_key, _JOINED_KEY_SIZE, "done key"), _LABEL_DONE)


def is_done_proof(done_key: bytes, proof: bytes) -> bool:
    """Whether the client with this done key made the proof, in the same time for every answer."""
    return hmac.compare_digest(done_proof(done_key), proof)


def is_join_proof(secret: bytes, invitation_id: bytes, client_public: bytes, proof: bytes) -> bool:
    """Whether who has the secret made the proof for this key, in the same time for every answer."""
    return hmac.compare_digest(join_proof(secret, invitation_id, client_public), proof)


def seal_keys(update_key: bytes, person: bytes, number: int, plain: bytes) -> bytes:
    """Seal changed keys. A number must never be used again under the same update key."""
    if len(plain) + TAG_SIZE > SEALED_MAX:
        raise MalformedError("too much for sealed keys")
    nonce = _nonce(number)
    return AESGCM(_update_key(update_key)).encrypt(nonce, plain, _bound(person, nonce))


def open_keys(update_key: bytes, person: bytes, number: int, sealed: bytes) -> bytes:
    """Open changed keys; AuthenticationError if they are another person's or number's, or forged.

    The caller refuses a number that is not above the last one it took.
    """
    nonce = _nonce(number)
    return _open(_update_key(update_key), nonce, sealed, _bound(person, nonce), SEALED_MAX)


def _update_key(update_key: bytes) -> bytes:
    return check_size(update_key, _JOINED_KEY_SIZE, "update key")


def _nonce(number: int) -> bytes:
    if not 0 < number <= _NUMBER_MAX:
        raise MalformedError("no number of sealed keys")
    return unsigned(number, _NUMBER_SIZE, "number")


def _bound(person: bytes, nonce: bytes) -> bytes:
    return check_size(person, PERSON_ID_SIZE, "person") + nonce


def _open(key: bytes, nonce: bytes, sealed: bytes, bound: bytes, most: int) -> bytes:
    if not TAG_SIZE <= len(sealed) <= most:
        raise MalformedError("sealed bytes of a wrong size")
    try:
        return AESGCM(key).decrypt(nonce, sealed, bound)
    except InvalidTag:
        raise AuthenticationError("sealed with another key, or changed") from None
