"""Kinds of messages, challenges and errors (ILP1 section 4)."""

from .const import NONCE_SIZE, ErrorCode, Kind
from .errors import LockError, MalformedError


def message_kind(message: bytes) -> Kind:
    """Return the kind of a message; MalformedError when it is empty or of no known kind."""
    if not message:
        raise MalformedError("empty message")
    return Kind.parse(message[0])


def body_of(message: bytes, kind: Kind, size: int) -> bytes:
    """Return the body of a message that must be of `kind` and have `size` bytes after it.

    LockError when the lock sent ERROR instead; MalformedError on anything else.
    """
    found = message_kind(message)
    if found is Kind.ERROR and kind is not Kind.ERROR:
        raise LockError(*parse_error(message))
    if found is not kind:
        raise MalformedError(f"{found.name} where {kind.name} was due")
    if len(message) != 1 + size:
        raise MalformedError(f"{kind.name} must have {1 + size} bytes")
    return message[1:]


def challenge_request() -> bytes:
    """Return the message that asks for a nonce."""
    return bytes((Kind.CHALLENGE_REQUEST,))


def parse_challenge(message: bytes) -> bytes:
    """Return the 8-byte nonce of a CHALLENGE; LockError when an ERROR came instead."""
    return body_of(message, Kind.CHALLENGE, NONCE_SIZE)


def parse_error(message: bytes) -> tuple[ErrorCode, bytes]:
    """Return code and 8-byte nonce of an ERROR; the nonce counts as a CHALLENGE."""
    body = body_of(message, Kind.ERROR, 1 + NONCE_SIZE)
    return ErrorCode.parse(body[0]), body[1:]
