"""A stand-in for a lock: messages to and from it are sealed, so that the server carries what it cannot read.

A real message is ILP1's (docs/ilp1.md, section 6): the lock itself opens it, and refuses what is forged, repeated or
late. Here the home holds the key in the lock's place, and AES-256-GCM with a random nonce hides and proves the text and
nothing more. A person's key for a lock comes to the person's client in the box of the join.
"""

import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ADVERTISEMENT = 10
SEEN = 8


def key_for(secret: bytes, person: str, device: str) -> bytes:
    """Return the key of a person for a lock, 32 bytes, from the home's secret: nothing has to be stored for it."""
    return hmac.digest(secret, b"stand-in" + bytes.fromhex(person + device), "sha256")


def seal(key: bytes, text: str) -> bytes:
    """Return nonce 12 ‖ sealed text ‖ tag 16."""
    nonce = secrets.token_bytes(12)
    return nonce + AESGCM(key).encrypt(nonce, text.encode(), None)


def unseal(key: bytes, message: bytes) -> str | None:
    """Return the text; None if it is not sealed under this key."""
    try:
        return AESGCM(key).decrypt(message[:12], message[12:], None).decode()
    except InvalidTag, ValueError:
        return None


def advertised(secret: bytes, device: str, seconds: int) -> tuple[bytes, bytes]:
    """Return an advertisement and its proof as they look to who has no key: 10 and 8 random bytes."""
    text = hashlib.shake_256(secret + bytes.fromhex(device) + seconds.to_bytes(4))
    made = text.digest(ADVERTISEMENT + SEEN)
    return made[:ADVERTISEMENT], made[ADVERTISEMENT:]
