"""The server's signed record, led on from the head that this home has (docs/ras.md, "Audit"). Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, Self

from .identity import verified
from .wire import INT_MAX, Malformed, Reader, b64

ENTRIES_MAX: Final = 1000
"""Entries of a checkpoint; the server sends 500 at most."""

type Head = tuple[int, bytes]


class Problem(StrEnum):
    """How what the server says now contradicts what it said before."""

    CUT = "cut"
    """Entries are missing, and the server does not send them."""
    FORKED = "forked"
    """Other entries than before, or another order."""
    SIGNATURE = "signature"
    """A checkpoint that the server's key did not sign."""


class Verdict(NamedTuple):
    """What a checkpoint is beside the own head: the next head, a problem, or neither.

    `gap`: it begins later than it should, which the server may mend. All empty: it is an old one.
    """

    head: Head | None = None
    problem: Problem | None = None
    gap: bool = False


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The hashes of some entries, and the server's signature under what they lead to."""

    first: int
    last: int
    before: bytes
    head: bytes
    time: int
    generation: int
    entries: tuple[bytes, ...]
    signature: bytes

    @classmethod
    def of(cls, body: dict[str, Any]) -> Self:
        """Read a checkpoint as the server sends it. Malformed."""
        read = Reader(body)
        first, last = read.integer("first", 1, INT_MAX), read.integer("last", 1, INT_MAX)
        entries = read.binaries("entries", ENTRIES_MAX, 32)
        if not entries or last - first + 1 != len(entries):
            raise Malformed("entries are not those from first to last")
        return cls(
            first=first,
            last=last,
            before=read.binary("before", 32),
            head=read.binary("head", 32),
            time=read.integer("time", 0, INT_MAX),
            generation=read.integer("generation", 0, INT_MAX),
            entries=tuple(entries),
            signature=read.binary("signature", 64),
        )

    def as_proof(self) -> dict[str, Any]:
        """Return it without its entries, as `auth` shows it to the server."""
        return {
            "first": self.first,
            "last": self.last,
            "before": b64(self.before),
            "head": b64(self.head),
            "time": self.time,
            "generation": self.generation,
            "signature": b64(self.signature),
        }

    def signed_bytes(self, site: bytes) -> bytes:
        """Return what the server signed."""
        return (
            b"IGRS checkpoint 1\0"
            + site
            + self.first.to_bytes(8)
            + self.last.to_bytes(8)
            + self.before
            + self.head
            + self.time.to_bytes(8)
            + self.generation.to_bytes(8)
        )

    def leads_on(self, site: bytes) -> bytes:
        """Return the head to which its entries lead."""
        rolling = self.before
        for index, entry in enumerate(self.entries, self.first):
            rolling = hashlib.sha256(
                b"IGRS audit 1" + site + index.to_bytes(8) + rolling + entry
            ).digest()
        return rolling


def genesis(site: bytes) -> bytes:
    """Return where a site's record begins."""
    return hashlib.sha256(b"IGRS audit 1" + site).digest()


def follow(
    site: bytes,
    server_key: bytes,
    own: Head | None,
    generations: tuple[int, int],
    checkpoint: Checkpoint,
) -> Verdict:
    """Judge a checkpoint beside the own head.

    `own` None: nothing is known yet, and it is believed as a beginning, but for the very first
    entry's. `generations`: the last checkpoint's and the link's, between which its own must lie.
    """
    if not verified(server_key, checkpoint.signed_bytes(site), checkpoint.signature):
        return Verdict(problem=Problem.SIGNATURE)
    if checkpoint.leads_on(site) != checkpoint.head:
        return Verdict(problem=Problem.FORKED)
    if own is None:
        if checkpoint.first == 1 and checkpoint.before != genesis(site):
            return Verdict(problem=Problem.FORKED)
        return Verdict(head=(checkpoint.last, checkpoint.head))
    index, head = own
    if checkpoint.last <= index:
        # Seen before. Where it ends at the own head it must be that one.
        if checkpoint.last == index and checkpoint.head != head:
            return Verdict(problem=Problem.FORKED)
        return Verdict()
    if checkpoint.first > index + 1:
        return Verdict(gap=True)
    earliest, latest = generations
    if (
        checkpoint.first <= index
        or checkpoint.before != head
        or not earliest <= checkpoint.generation <= latest
    ):
        return Verdict(problem=Problem.FORKED)
    return Verdict(head=(checkpoint.last, checkpoint.head))
