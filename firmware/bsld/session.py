"""A session's keys and sealed frames, the lock's side (section 4, stage b)."""

from . import const as c
from .crypto import decryptor, encryptor, mac, same

_HEAD = 11  # kind, slot, nonce source, client nonce


class SessionOpen:
    """A SESSION_OPEN message taken apart, nothing verified."""

    def __init__(self, message: bytes) -> None:
        """Take apart kind 1, slot 1, nonce source 1, client nonce 8, sealed frames 24 each.

        Raises:
            ValueError: no frame, a part of one, or an unknown nonce source.
        """
        sealed = message[_HEAD:]
        if not sealed or len(sealed) % c.SEALED_SIZE or message[2] > c.NONCE_CHALLENGE:
            raise ValueError("session: malformed")
        self.slot = message[1]
        self.source = message[2]
        self.client_nonce = message[3:_HEAD]
        self.sealed = sealed


class Session:
    """One session: who, and the state of both directions.

    Attributes:
        slot: account slot or 255.
        source: 0 advertised nonce, 1 challenge.
        authenticated: a person has sent its account ID.
        ended: result that ended it, 0 while it goes on.
        nonce_ms: uptime at which a challenge was sent.
        first: timestamp of the first frame.
    """

    def __init__(
        self,
        key: bytes,
        device_id: bytes,
        slot: int,
        source: int,
        lock_nonce: bytes,
        client_nonce: bytes,
        nonce_ms: int = 0,
    ) -> None:
        """Derive the keys of a session; whether the client has them `open` finds out."""
        prk = mac(key, b"ILP1 session", device_id, bytes((slot, source)), lock_nonce, client_nonce)
        keys = mac(prk, b"\x01")
        ivs = mac(prk, b"\x02")
        self.aes_key = keys[:16]
        self.tag_key = keys[16:]
        self._decrypt = decryptor(self.aes_key, ivs[:16])
        self._encrypt = encryptor(self.aes_key, ivs[16:])
        self._received = 0
        self._sent = 0
        self.slot = slot
        self.source = source
        self.authenticated = slot == c.SLOT_CONTROLLER
        self.ended = 0
        self.nonce_ms = nonce_ms
        self.first = 0

    def _tag(self, direction: int, number: int, ciphertext: bytes) -> bytes:
        head = bytes((direction,)) + number.to_bytes(4, "big")
        return mac(self.tag_key, head, ciphertext)[:8]

    def open(self, sealed: bytes) -> "list[bytes] | None":
        """Open a message's sealed frames; None if one tag is wrong (then nothing is decrypted)."""
        size = c.SEALED_SIZE
        number = self._received
        good = True
        for at in range(0, len(sealed), size):
            tag = self._tag(0, number, sealed[at : at + 16])
            good = same(tag, sealed[at + 16 : at + size]) and good
            number += 1
        if not good:
            return None
        self._received = number
        return [self._decrypt(sealed[at : at + 16]) for at in range(0, len(sealed), size)]

    def seal(self, frames: "list[bytes]") -> bytes:
        """Seal at most 21 frames into the body of a SEALED message."""
        out = b""
        for frame in frames:
            ciphertext = self._encrypt(frame)
            out += ciphertext + self._tag(1, self._sent, ciphertext)
            self._sent += 1
        return out

    def age(self, timestamp: int, unix: int, now: int) -> int:
        """Age of a request in seconds (rule 5), negative from the future.

        Args:
            timestamp: the request's.
            unix: the lock's clock.
            now: the lock's uptime in ms.
        """
        if self.source == c.NONCE_ADVERTISED:
            return unix - timestamp
        return (now - self.nonce_ms) // 1000 - (timestamp - self.first)
