"""Pairing, stage a, from the client's side (ILP1 section 4)."""

import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from .const import (
    CONFIRM_SIZE,
    DEVICE_ID_SIZE,
    KEY_SIZE,
    LABEL_CLIENT_CONFIRM,
    LABEL_LOCK_CONFIRM,
    LABEL_LOCK_KEY,
    LABEL_PAIR,
    PUBLIC_KEY_SIZE,
    SETUP_CODE_SIZE,
    Kind,
    Result,
)
from .errors import PairingError, WrongSetupCodeError
from .keys import check_size, mac
from .messages import body_of


def pairing_prk(
    setup_code: bytes, device_id: bytes, client_public: bytes, lock_public: bytes, shared: bytes
) -> bytes:
    """Return the 32 bytes that all of a pairing's values come from."""
    return mac(setup_code, LABEL_PAIR, device_id, client_public, lock_public, shared)


class PairingClient:
    """One attempt to pair: request, on_reply, on_done, in this order, with its own key pair.

    Pairing is complete only with the first accepted source-1 controller session under
    `lock_key`; PAIR_DONE proves nothing. A message that is refused leaves the attempt as it was.
    """

    __slots__ = ("_device_id", "_lock_key", "_private", "_public", "_requested", "_setup_code")

    def __init__(
        self, setup_code: bytes, device_id: bytes, private_key: bytes | None = None
    ) -> None:
        """Prepare for a lock; the 32-byte private key is for vectors, else a fresh one is made."""
        self._setup_code = check_size(setup_code, SETUP_CODE_SIZE, "setup code")
        self._device_id = check_size(device_id, DEVICE_ID_SIZE, "device identifier")
        if private_key is None:
            self._private = X25519PrivateKey.generate()
        else:
            check_size(private_key, PUBLIC_KEY_SIZE, "private key")
            self._private = X25519PrivateKey.from_private_bytes(private_key)
        self._public = self._private.public_key().public_bytes_raw()
        self._requested = False
        self._lock_key: bytes | None = None

    @property
    def lock_key(self) -> bytes | None:
        """The 16-byte lock key once PAIR_REPLY was right.

        Store it as pending before the confirmation is sent: if the answer is lost, the lock may
        be paired all the same.
        """
        return self._lock_key

    def request(self) -> bytes:
        """Return PAIR_REQUEST."""
        self._requested = True
        return bytes((Kind.PAIR_REQUEST,)) + self._public

    def on_reply(self, message: bytes) -> bytes:
        """Check PAIR_REPLY and return PAIR_CONFIRM.

        WrongSetupCodeError when the lock's confirmation does not fit, PairingError on a refused
        public key or out of order, LockError when the lock sent ERROR, else MalformedError.
        """
        if not self._requested or self._lock_key is not None:
            raise PairingError("no PAIR_REPLY is due")
        body = body_of(message, Kind.PAIR_REPLY, PUBLIC_KEY_SIZE + CONFIRM_SIZE)
        lock_public, confirm = body[:PUBLIC_KEY_SIZE], body[PUBLIC_KEY_SIZE:]
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(lock_public))
        except ValueError:
            # The library refuses an all-zero result, as ILP1 asks.
            raise PairingError("the lock's public key is refused") from None
        prk = pairing_prk(self._setup_code, self._device_id, self._public, lock_public, shared)
        if not hmac.compare_digest(mac(prk, LABEL_LOCK_CONFIRM)[:CONFIRM_SIZE], confirm):
            raise WrongSetupCodeError("the lock's confirmation does not fit the setup code")
        self._lock_key = mac(prk, LABEL_LOCK_KEY)[:KEY_SIZE]
        return bytes((Kind.PAIR_CONFIRM,)) + mac(prk, LABEL_CLIENT_CONFIRM)[:CONFIRM_SIZE]

    def on_done(self, message: bytes) -> None:
        """Check PAIR_DONE; PairingError when its result is not *done*, LockError on ERROR."""
        if self._lock_key is None:
            raise PairingError("no PAIR_DONE is due")
        result = body_of(message, Kind.PAIR_DONE, 1)[0]
        if result != Result.DONE:
            raise PairingError(f"the lock ended pairing with result {result}")
