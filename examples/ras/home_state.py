"""A home as JSON: all that a gateway has to remember between two runs, its keys among it."""

import dataclasses
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from home import Home
from home_parts import Invitation, Member

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAIN = (
    "url", "gateway", "site", "n", "generation", "acked", "seq_generation", "locks", "checkpoint", "audit_problems",
)  # fmt: skip


def to_state(home: Home) -> dict[str, Any]:
    """Return what to store."""
    return {name: getattr(home, name) for name in PLAIN} | {
        "key": home.key.private_bytes_raw().hex(),
        "server_key": home.server_key.hex(),
        "audit": _head(home.audit),
        "keys_owed": sorted(home.keys_owed),
        "old_audits": [_head(head) for head in home.old_audits],
        "members": {user: _fields(member) for user, member in home.members.items()},
        "invitations": {id_: _fields(item) for id_, item in home.invitations.items()},
    }


def from_state(state: Mapping[str, Any]) -> Home:
    """Return the home as it was stored."""
    home = Home(state["url"])
    for name in PLAIN:
        setattr(home, name, state[name])
    home.seq = home.acked  # what was taken and not worked off comes again
    home.key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(state["key"]))
    home.server_key = bytes.fromhex(state["server_key"])
    home.audit = _read_head(state["audit"]) if state["audit"] else None
    home.keys_owed = set(state["keys_owed"])
    home.old_audits = [_read_head(head) for head in state["old_audits"]]
    home.members = {
        user: Member(**_unfields(Member, item)) for user, item in state["members"].items()
    }
    home.invitations = {
        id_: Invitation(**_unfields(Invitation, item)) for id_, item in state["invitations"].items()
    }
    return home


def _head(head: tuple[int, bytes] | None) -> list[Any] | None:
    return None if head is None else [head[0], head[1].hex()]


def _read_head(head: list[Any]) -> tuple[int, bytes]:
    return head[0], bytes.fromhex(head[1])


def _fields(item: Member | Invitation) -> dict[str, Any]:
    return {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in dataclasses.asdict(item).items()
    }


def _unfields(kind: type[Member | Invitation], item: Mapping[str, Any]) -> dict[str, Any]:
    binary = {field.name for field in dataclasses.fields(kind) if isinstance(field.default, bytes)}
    binary |= {"secret"} if kind is Invitation else set()
    return {name: bytes.fromhex(value) if name in binary else value for name, value in item.items()}
