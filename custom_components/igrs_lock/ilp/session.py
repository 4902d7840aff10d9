"""Sessions, stage b: keys, sealed frames and both ways of checking them (ILP1 section 4)."""

import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from .const import (
    DEVICE_ID_SIZE,
    DIRECTION_FROM_LOCK,
    DIRECTION_TO_LOCK,
    FRAME_SIZE,
    IV_SIZE,
    KEY_SIZE,
    LABEL_SESSION,
    MESSAGE_MAX,
    NONCE_SIZE,
    SEALED_FRAME_SIZE,
    SEALED_TAG_SIZE,
    FrameType,
    Kind,
    NonceSource,
)
from .errors import AuthenticationError, MalformedError, SessionError
from .frames import Frame
from .keys import check_size, mac, unsigned
from .messages import body_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPEN_HEAD = 3 + NONCE_SIZE


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The 16-byte keys and first IVs of a session; none of them is in the repr."""

    aes: bytes = field(repr=False)
    tag: bytes = field(repr=False)
    iv_to_lock: bytes = field(repr=False)
    iv_from_lock: bytes = field(repr=False)

    @classmethod
    def derive(
        cls,
        key: bytes,
        device_id: bytes,
        slot: int,
        source: int,
        lock_nonce: bytes,
        client_nonce: bytes,
    ) -> SessionKeys:
        """Derive from an account or controller key; MalformedError on a wrong size or range."""
        prk = mac(
            check_size(key, KEY_SIZE, "session key"),
            LABEL_SESSION,
            check_size(device_id, DEVICE_ID_SIZE, "device identifier"),
            unsigned(slot, 1, "slot"),
            bytes((NonceSource.parse(source),)),
            check_size(lock_nonce, NONCE_SIZE, "lock nonce"),
            check_size(client_nonce, NONCE_SIZE, "client nonce"),
        )
        keys, ivs = mac(prk, b"\x01"), mac(prk, b"\x02")
        return cls(keys[:KEY_SIZE], keys[KEY_SIZE:], ivs[:IV_SIZE], ivs[IV_SIZE:])


class _Sealer:
    """One direction's sending end: running CBC and sequence number."""

    __slots__ = ("_direction", "_encryptor", "_sequence", "_tag_key")

    def __init__(self, keys: SessionKeys, iv: bytes, direction: bytes) -> None:
        self._tag_key = keys.tag
        self._direction = direction
        self._encryptor = Cipher(AES(keys.aes), CBC(iv)).encryptor()
        self._sequence = 0

    def seal(self, frames: Sequence[Frame]) -> bytes:
        plain = [frame.encode() for frame in frames]
        sealed = bytearray()
        for block in plain:
            # One frame is one block, so the running CBC is "IV = previous ciphertext".
            ciphertext = self._encryptor.update(block)
            sealed += ciphertext + _tag(self._tag_key, self._direction, self._sequence, ciphertext)
            self._sequence += 1
        return bytes(sealed)


class _Opener:
    """One direction's receiving end. Nothing changes before every tag of a message is right."""

    __slots__ = ("_decryptor", "_direction", "_sequence", "_tag_key")

    def __init__(self, keys: SessionKeys, iv: bytes, direction: bytes) -> None:
        self._tag_key = keys.tag
        self._direction = direction
        self._decryptor = Cipher(AES(keys.aes), CBC(iv)).decryptor()
        self._sequence = 0

    def open(self, sealed: bytes) -> list[Frame]:
        if not sealed or len(sealed) % SEALED_FRAME_SIZE:
            raise MalformedError(f"sealed frames have {SEALED_FRAME_SIZE} bytes each")
        ciphertexts = []
        right = True
        for number, start in enumerate(range(0, len(sealed), SEALED_FRAME_SIZE)):
            ciphertext = sealed[start : start + FRAME_SIZE]
            tag = sealed[start + FRAME_SIZE : start + SEALED_FRAME_SIZE]
            expected = _tag(self._tag_key, self._direction, self._sequence + number, ciphertext)
            right &= hmac.compare_digest(expected, tag)
            ciphertexts.append(ciphertext)
        if not right:
            raise AuthenticationError("wrong tag on a sealed frame")
        plain = self._decryptor.update(b"".join(ciphertexts))
        self._sequence += len(ciphertexts)
        return [
            Frame.decode(plain[start : start + FRAME_SIZE])
            for start in range(0, len(plain), FRAME_SIZE)
        ]


class ClientSession:
    """A session with a lock: the client's end.

    `key` is the controller key (slot 255) or an account key with its slot; `lock_nonce` the
    advertised nonce (source 0) or that of a CHALLENGE or ERROR (source 1). The 8-byte
    `client_nonce` is for vectors, else a fresh one is made: one object is one SESSION_OPEN.
    """

    __slots__ = ("_head", "_opened", "_opener", "_sealer", "slot", "source")

    def __init__(
        self,
        key: bytes,
        device_id: bytes,
        slot: int,
        source: NonceSource,
        lock_nonce: bytes,
        client_nonce: bytes | None = None,
    ) -> None:
        """Derive the session's keys; MalformedError on a wrong size or range."""
        if client_nonce is None:
            client_nonce = secrets.token_bytes(NONCE_SIZE)
        keys = SessionKeys.derive(key, device_id, slot, source, lock_nonce, client_nonce)
        self.slot = slot
        self.source = NonceSource(source)
        self._head = bytes((Kind.SESSION_OPEN, slot, source)) + client_nonce
        self._sealer = _Sealer(keys, keys.iv_to_lock, DIRECTION_TO_LOCK)
        self._opener = _Opener(keys, keys.iv_from_lock, DIRECTION_FROM_LOCK)
        self._opened = False

    def open(self, frames: Sequence[Frame]) -> bytes:
        """Return SESSION_OPEN with 1 to 20 request frames.

        SessionError when it was made before: a nonce is good for one attempt.
        """
        if self._opened:
            raise SessionError("a session is opened once")
        message = self._message(self._head, frames)
        self._opened = True
        return message

    def seal(self, frames: Sequence[Frame]) -> bytes:
        """Return SEALED with 1 to 21 more request frames; SessionError before `open`."""
        if not self._opened:
            raise SessionError("the session is not open")
        return self._message(bytes((Kind.SEALED,)), frames)

    def receive(self, message: bytes) -> list[Frame]:
        """Return the frames of a SEALED message from the lock.

        AuthenticationError on a wrong tag: the message may be another session's, ignore it; this
        session is as it was. LockError when the lock sent ERROR, MalformedError on anything else.
        """
        return self._opener.open(_sealed_body(message))

    def _message(self, head: bytes, frames: Sequence[Frame]) -> bytes:
        if not 1 <= len(frames) <= (MESSAGE_MAX - len(head)) // SEALED_FRAME_SIZE:
            raise MalformedError("too many or no frames for one message")
        if any(frame.type != FrameType.REQUEST for frame in frames):
            raise MalformedError("only requests go to the lock")
        return head + self._sealer.seal(frames)


class SessionVerifier:
    """Checks the messages of somebody else's session before they are carried to the lock, or from it.

    The gateway holds the lock key, so it can refuse what the lock would refuse (ILP1 section 6).
    `key` is the key of the account that holds `slot`; `lock_nonce` a nonce that the client was
    given.
    """

    __slots__ = ("_answers", "_device_id", "_key", "_lock_nonce", "_opener", "slot", "source")

    def __init__(
        self, key: bytes, device_id: bytes, slot: int, source: NonceSource, lock_nonce: bytes
    ) -> None:
        """Expect a SESSION_OPEN of this slot and source on this nonce."""
        self._key = check_size(key, KEY_SIZE, "session key")
        self._device_id = check_size(device_id, DEVICE_ID_SIZE, "device identifier")
        self._lock_nonce = check_size(lock_nonce, NONCE_SIZE, "lock nonce")
        unsigned(slot, 1, "slot")
        self.slot = slot
        self.source = NonceSource.parse(source)
        self._opener: _Opener | None = None
        self._answers: _Opener | None = None

    def open(self, message: bytes) -> list[Frame]:
        """Return the frames of a right SESSION_OPEN; it starts the session anew.

        AuthenticationError on another slot or source and on a wrong tag; MalformedError.
        """
        if len(message) <= _OPEN_HEAD or message[0] != Kind.SESSION_OPEN:
            raise MalformedError("not a SESSION_OPEN")
        if message[1] != self.slot or message[2] != self.source:
            raise AuthenticationError("another slot or nonce source")
        keys = SessionKeys.derive(
            self._key,
            self._device_id,
            self.slot,
            self.source,
            self._lock_nonce,
            message[3:_OPEN_HEAD],
        )
        opener = _Opener(keys, keys.iv_to_lock, DIRECTION_TO_LOCK)
        frames = opener.open(_checked_length(message)[_OPEN_HEAD:])
        self._opener = opener
        self._answers = _Opener(keys, keys.iv_from_lock, DIRECTION_FROM_LOCK)
        return frames

    def receive(self, message: bytes) -> list[Frame]:
        """Return the frames of a later SEALED message; SessionError before `open`."""
        if self._opener is None:
            raise SessionError("the session is not open")
        return self._opener.open(_sealed_body(message))

    def answered(self, message: bytes) -> list[Frame]:
        """Return the frames of a SEALED message from the lock; SessionError before `open`.

        AuthenticationError: it is another session's, and this one is as it was.
        """
        if self._answers is None:
            raise SessionError("the session is not open")
        return self._answers.open(_sealed_body(message))


class SessionClock:
    """Unix seconds that follow one monotonic clock, so that a time step splits no session."""

    __slots__ = ("_monotonic", "_unix_time")

    def __init__(self, unix_time: float, monotonic: float) -> None:
        """Tie Unix time to the reading of the caller's monotonic clock, both in seconds."""
        self._unix_time = unix_time
        self._monotonic = monotonic

    def timestamp(self, monotonic: float) -> int:
        """Return whole Unix seconds at a later reading of the same monotonic clock."""
        return int(self._unix_time + monotonic - self._monotonic)


def _tag(key: bytes, direction: bytes, sequence: int, ciphertext: bytes) -> bytes:
    return mac(key, direction, sequence.to_bytes(4), ciphertext)[:SEALED_TAG_SIZE]


def _checked_length(message: bytes) -> bytes:
    if len(message) > MESSAGE_MAX:
        raise MalformedError(f"a message has at most {MESSAGE_MAX} bytes")
    return message


def _sealed_body(message: bytes) -> bytes:
    return body_of(_checked_length(message), Kind.SEALED, len(message) - 1)
