"""The home's list as it goes to the server: its digest, and its parts (docs/ras.md). Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from .wire import canonical

if TYPE_CHECKING:
    from collections.abc import Iterator

type Listing = dict[str, list[dict[str, Any]]]

PART_MAX: Final = 32 * 1024
"""Bytes of a part; a message may have twice as many."""
_KINDS: Final = ("locks", "members", "invitations")


def digest_of(listing: Listing) -> bytes:
    """Return what is compared with the server's."""
    return hashlib.sha256(canonical(listing)).digest()


def parts_of(listing: Listing) -> Iterator[dict[str, Any]]:
    """Yield the list in messages that are not too long; an empty list is one empty part.

    One item is never that long: a member has 500 locks at most.
    """
    parts: list[dict[str, Any]] = [{}]
    size = 0
    for kind in _KINDS:
        for item in listing[kind]:
            length = len(canonical(item)) + 1
            if size + length > PART_MAX:
                parts.append({})
                size = 0
            size += length
            parts[-1].setdefault(kind, []).append(item)
    for number, part in enumerate(parts):
        yield {**part, "part": number, "more": number < len(parts) - 1}
