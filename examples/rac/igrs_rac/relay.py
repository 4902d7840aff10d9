"""One relay at the client's end (docs/ras.md, "Relays"): numbers and hashes of its messages, and how it ended.

Pure. What the server says of the relay's state is for people who wait; it never says what the lock did.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from .errors import (
    RacError,
    RelayExpiredError,
    RelayOverError,
    RelayUnknownError,
    server_says,
)
from .wire import Fields, MalformedError, b64

DATA_MAX: Final = 512
MESSAGES_MAX: Final = 128
TTL_MS: Final = 10_000
SILENCE: Final = 15.0
LONGEST: Final = 60.0

_UNDER_WAY: Final = ("accepted", "sent_to_gateway", "sent_to_lock")
_ENDS: Final = ("failed", "expired", "unknown")


@dataclass(frozen=True, slots=True)
class Part:
    """What names a relay: the lock's site and device, and the key that this client chose."""

    site: str
    lock: str
    key: str

    @classmethod
    def read(cls, fields: Fields) -> Part:
        """Read it from a message's body; MalformedError."""
        return cls(fields.hex_id("site"), fields.device("lock"), fields.ulid("key"))


class RelayPort:
    """Numbers what goes out and checks what comes in. `ended` is set once, when nothing more may come."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.state = ""  # the last that the server said
        self.ended: RacError | None = None
        self.broken = False
        self._sent = 0
        self._hashes: list[bytes] = []  # of the messages from the lock

    def opening(self, data: bytes, ttl_ms: int = TTL_MS) -> dict[str, Any]:
        """Return the body of relay.open."""
        return {**self._message(data), "ttl_ms": ttl_ms}

    def further(self, data: bytes) -> dict[str, Any]:
        """Return the body of the next relay.data."""
        return self._message(data)

    def end(self) -> dict[str, Any]:
        """Return the body of relay.end."""
        return {"site": self.part.site, "lock": self.part.lock, "key": self.part.key}

    def take_data(self, fields: Fields) -> bytes | None:
        """Take a message of the lock; None if it is a repeat, comes after the end, or breaks the row (then `broken`).

        Raises MalformedError.
        """
        number = fields.integer("n", 0, 2**31 - 1)
        data = fields.binary("data", most=DATA_MAX)
        digest = fields.binary("hash", size=32)
        if self.ended is not None or self.broken:
            return None
        right = hashlib.sha256(data).digest() == digest
        if right and number < len(self._hashes) and self._hashes[number] == digest:
            return None
        if not right or number != len(self._hashes) or number >= MESSAGES_MAX:
            self.broken = True
            return None
        self._hashes.append(digest)
        return data

    def take_state(self, fields: Fields) -> None:
        """Take what the server says of the relay. Raises MalformedError."""
        state = fields.text("state", 20)
        code = fields.integer("code", 0, 1000)
        number = fields.integer("n", 0, 2**31 - 1)
        if state not in (*_UNDER_WAY, "answered", *_ENDS):
            raise MalformedError("state")
        if self.ended is not None:
            return
        if state in _UNDER_WAY:
            if number == self._sent - 1:  # else it is about an earlier message
                self.state = state
            return
        self.state = state
        match state:
            case "answered":
                self.ended = RelayOverError()
            case "expired":
                self.ended = RelayExpiredError(_reason(code))
            case "failed":
                self.ended = server_says(code)
            case _:
                self.ended = RelayUnknownError(_reason(code))

    def _message(self, data: bytes) -> dict[str, Any]:
        number, self._sent = self._sent, self._sent + 1
        return {
            "site": self.part.site, "lock": self.part.lock, "key": self.part.key, "n": number,
            "data": b64(data), "hash": b64(hashlib.sha256(data).digest()),
        }  # fmt: skip


def _reason(code: int) -> str:
    return server_says(code).sentence if code else ""
