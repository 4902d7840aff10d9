"""The lock's end of ILP1, written from the protocol and not from the client's code.

Enough of a lock to talk to the client in its tests; the real one has its own tests.
"""

import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import strategies as st
from ilp import Frame, advertisement_key

DEVICE_ID = bytes.fromhex("7ebf64669818")
LOCK_KEY = bytes.fromhex("c56b9b774b91a3d4d78d38da0e922e4c")
SETUP_CODE = bytes.fromhex("44ebf213dc68fb934244")

bytes_of = {size: st.binary(min_size=size, max_size=size) for size in (6, 8, 9, 10, 16, 32)}
any_bytes = st.binary(max_size=600)
frames = st.builds(
    Frame,
    st.integers(0, 255),
    st.integers(0, 255),
    bytes_of[9],
    st.integers(0, 0xFFFFFFFF),
)
request_frames = st.builds(
    Frame, st.integers(0, 255), st.just(1), bytes_of[9], st.integers(0, 0xFFFFFFFF)
)


def mac(key: bytes, *parts: bytes) -> bytes:
    return hmac.digest(key, b"".join(parts), "sha256")


def flip(data: bytes, bit: int) -> bytes:
    """Return data with one bit changed; `bit` counts round and round."""
    bit %= 8 * len(data)
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def plain_advertisement(
    counter: int, *, bolt: int = 1, door: int = 0, battery: int = 87, flags: int = 0x12
) -> bytes:
    return bytes((flags, bolt | door << 3, battery)) + counter.to_bytes(3)


def seal_advertisement(
    plain: bytes, *, epoch: int = 0, lock_key: bytes = LOCK_KEY, device_id: bytes = DEVICE_ID
) -> bytes:
    key = advertisement_key(lock_key, epoch)
    tag = mac(key, device_id, plain)[:4]
    mask = mac(key, b"mask", device_id, plain[3:6] + tag)
    return bytes((plain[0], plain[1] ^ mask[0], plain[2] ^ mask[1])) + plain[3:] + tag


def advertised(counter: int, *, epoch: int = 0, bolt: int = 1) -> bytes:
    return seal_advertisement(plain_advertisement(counter, bolt=bolt), epoch=epoch)


@dataclass
class LockEnd:
    """The lock's end of one session: what it sends is sealed frame by frame, each with its IV."""

    key: bytes
    slot: int
    source: int
    lock_nonce: bytes
    client_nonce: bytes
    device_id: bytes = DEVICE_ID

    def __post_init__(self) -> None:
        prk = mac(
            self.key,
            b"ILP1 session",
            self.device_id,
            bytes((self.slot, self.source)),
            self.lock_nonce,
            self.client_nonce,
        )
        keys, ivs = mac(prk, b"\x01"), mac(prk, b"\x02")
        self._aes, self._tag = keys[:16], keys[16:]
        self._ivs = {0: ivs[:16], 1: ivs[16:]}
        self._sequences = {0: 0, 1: 0}

    def seal(self, frames: list[Frame], direction: int = 1) -> bytes:
        return b"\x13" + b"".join(self._seal(frame.encode(), direction) for frame in frames)

    def _seal(self, plain: bytes, direction: int) -> bytes:
        encryptor = Cipher(AES(self._aes), CBC(self._ivs[direction])).encryptor()
        ciphertext = encryptor.update(plain) + encryptor.finalize()
        sequence = self._sequences[direction].to_bytes(4)
        self._ivs[direction] = ciphertext
        self._sequences[direction] += 1
        return ciphertext + mac(self._tag, bytes((direction,)), sequence, ciphertext)[:8]


class PairingLock:
    """The lock's end of pairing."""

    def __init__(self, setup_code: bytes = SETUP_CODE, device_id: bytes = DEVICE_ID) -> None:
        self._setup_code = setup_code
        self._device_id = device_id
        self._private = X25519PrivateKey.generate()
        self.lock_key = b""
        self.client_confirm = b""

    def reply(self, request: bytes) -> bytes:
        client_public = request[1:]
        public = self._private.public_key().public_bytes_raw()
        shared = self._private.exchange(X25519PublicKey.from_public_bytes(client_public))
        prk = mac(self._setup_code, b"ILP1 pair", self._device_id, client_public, public, shared)
        self.lock_key = mac(prk, b"lock key")[:16]
        self.client_confirm = mac(prk, b"client confirm")[:16]
        return b"\x02" + public + mac(prk, b"lock confirm")[:16]
