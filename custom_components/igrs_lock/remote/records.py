"""What a home remembers of invitations and phones. Secrets are kept out of every repr."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

from .wire import b64, unb64


class InvitationKind(StrEnum):
    """For whom an invitation is."""

    GUEST = "guest"
    OWNER = "owner"


class InvitationState(StrEnum):
    """How far an invitation is."""

    OPEN = "open"
    ANSWERED = "answered"
    """A client's key was taken, and its box made: nobody else is let in by it."""
    DONE = "done"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


def _as_dict(record: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in fields(record):
        value = getattr(record, one.name)
        if isinstance(value, bytes):
            value = b64(value)
        elif isinstance(value, StrEnum):
            value = value.value
        elif isinstance(value, list):
            value = list(value)
        found[one.name] = value
    return found


@dataclass(slots=True)
class Invitation:
    """One invitation, from its link to the word that lets its phone in. Times are milliseconds.

    `person_id` is the person's subentry ("" for an owner), `person` the phone's own 16 bytes, which
    its keys are sealed for. `client`, `home_public`, `box` and the keys are there once a client was
    answered, so that the same request gets the same bytes.
    """

    id: str
    secret: bytes = field(repr=False)
    kind: InvitationKind
    person_id: str
    name: str
    expires: int
    created: int
    person: bytes = field(repr=False)
    state: InvitationState = InvitationState.OPEN
    client: bytes = field(default=b"", repr=False)
    home_public: bytes = field(default=b"", repr=False)
    box: bytes = field(default=b"", repr=False)
    done_key: bytes = field(default=b"", repr=False)
    update_key: bytes = field(default=b"", repr=False)
    join: str = ""
    user: str = ""
    phone_name: str = ""
    opened_twice: int = 0
    wrong: list[int] = field(default_factory=list)
    """When wrong proofs came."""

    def as_dict(self) -> dict[str, Any]:
        """Return what is stored."""
        return _as_dict(self)

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """Read what was stored."""
        binary = ("secret", "person", "client", "home_public", "box", "done_key", "update_key")
        made = cls(**data | {name: unb64(data[name]) for name in binary})
        made.kind = InvitationKind(made.kind)
        made.state = InvitationState(made.state)
        made.wrong = [int(when) for when in made.wrong]
        return made


@dataclass(slots=True)
class Phone:
    """A phone that joined: `id` is its join's, `user` the server's user that it is signed in as.

    `sent` is the digest of what the server took last of its keys, None while it may have nothing.
    `ended` is when the server said that the membership is over, which the owner does not know yet:
    nobody is let in any more, but the phone still has its keys. 0: it goes on.
    """

    id: str
    user: str
    person_id: str
    person: bytes = field(repr=False)
    name: str
    update_key: bytes = field(repr=False)
    joined: int
    sent: str | None = None
    ended: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return what is stored."""
        return _as_dict(self)

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """Read what was stored."""
        return cls(**data | {name: unb64(data[name]) for name in ("person", "update_key")})
