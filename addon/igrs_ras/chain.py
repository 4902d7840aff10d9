"""Finds the first place where a site's audit is not what was written, signed, or seen by the home's gateway.

Works on the connection of any database: the server's while it runs, a stopped one's, or one made of a backup.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from igrs_ras.identity import ServerIdentity, verified
from igrs_ras.storage.heads import chain, genesis
from igrs_ras.storage.tables import audit, checkpoints, server, sites

LABEL = b"IGRS checkpoint 1\0"
PAGE = 1000  # rows read at once

type Head = tuple[int, bytes]


def signed_bytes(
    site: str, first: int, last: int, before: bytes, head: bytes, time: int, generation: int
) -> bytes:
    """Return what the server signs: label ‖ site 16 ‖ first 8 ‖ last 8 ‖ before 32 ‖ head 32 ‖ time 8 ‖ generation 8."""
    return (
        LABEL
        + bytes.fromhex(site)
        + first.to_bytes(8)
        + last.to_bytes(8)
        + before
        + head
        + time.to_bytes(8)
        + generation.to_bytes(8)
    )


@dataclass(frozen=True, slots=True)
class Bad:
    """The first bad place of a site: entry `index`, up to `last` where it cannot be told more closely.

    `kind`: edited, missing, inserted, swapped; truncated: the chain's end is gone; forked: a chain that holds in itself,
    but is another than the one that was signed or that the gateway knows; signature: a checkpoint that this server did
    not sign; checkpoint: one is missing.
    """

    site: str
    index: int
    last: int
    kind: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was checked, and the first bad place of each site that has one."""

    entries: int
    checkpoints: int
    heads: dict[str, Head]
    bad: list[Bad]


def verify(
    connection: Connection, known: Mapping[str, Head] | None = None, only: str | None = None
) -> Verdict:
    """Check the audit of all sites, or of one, inside one transaction of the caller.

    `known` are heads that somebody else has, e.g. a gateway: site → (index, hash 32). The server's key is the one in
    the same database; who could change that too is found by the gateways alone, which pinned it.
    """
    private = connection.execute(select(server.c.key)).scalar()
    public = ServerIdentity(bytes(private), 0).public if private is not None else bytes(32)
    chosen = select(sites.c.id).order_by(sites.c.id)
    if only is not None:
        chosen = chosen.where(sites.c.id == only)
    walks = [
        _Walk(connection, site, public, (known or {}).get(site))
        for site in connection.execute(chosen).scalars().all()
    ]
    bad = [found for walk in walks if (found := walk.run()) is not None]
    return Verdict(
        sum(walk.entries for walk in walks),
        sum(len(walk.signed) for walk in walks),
        {walk.site: (walk.index, walk.hash) for walk in walks if walk.index},
        bad,
    )


class _Walk:
    """Goes along one site's chain."""

    def __init__(
        self, connection: Connection, site: str, public: bytes, known: Head | None
    ) -> None:
        self.site = site
        self.entries = 0
        self.index = 0
        self.hash = genesis(site)
        self._connection = connection
        self._public = public
        self._known = known
        self._two_back = b""  # the hash before the last good entry
        # Read before the entries: what is signed meanwhile must not look like an end that is gone.
        self.signed = list(
            connection.execute(
                select(checkpoints).where(checkpoints.c.site == site).order_by(checkpoints.c.last)
            )
        )
        self._next = 0  # the checkpoint that is reached next

    def run(self) -> Bad | None:
        """Return the first bad place."""
        rows = self._rows(0)
        row = next(rows, None)
        if row is not None and row.i > 1 and self.signed and row.i == self.signed[0].last + 1:
            # What is older was cut here: an entry says so, and the checkpoint vouches for it.
            anchor = self.signed[0]
            if not self._was_cut(anchor.last):
                return self._bad("missing", 1, anchor.last)
            if not self._is_signed(anchor):
                return self._bad("signature", anchor.last)
            self.index, self.hash = anchor.last, bytes(anchor.head)
            self._next = 1
            if self._known is not None and self._known[0] < self.index:
                self._known = None  # older than what is kept
            elif (found := self._compare()) is not None:
                return found
        while row is not None:
            if row.i != self.index + 1:
                return self._bad("missing", self.index + 1, row.i - 1)
            if not self._follows(row):
                return self._classify(row)
            self._two_back, self.hash, self.index = self.hash, bytes(row.hash), row.i
            self.entries += 1
            row = next(rows, None)
            if (found := self._compare()) is not None:
                if row is not None and self._fits(self.index, self._two_back, row):
                    return self._bad("inserted", self.index)  # the next row belongs here
                return found
        return self._end()

    def _end(self) -> Bad | None:
        ends = [row.last for row in self.signed[self._next :]]
        if self._known is not None:
            ends.append(self._known[0])
        if ends and max(ends) > self.index:
            return self._bad("truncated", self.index + 1, max(ends))
        return None

    def _was_cut(self, last: int) -> bool:
        entries = self._connection.execute(
            select(audit.c.entry).where(
                audit.c.site == self.site, audit.c.entry.contains('"audit.cut"')
            )
        ).scalars()
        read = [_read(entry) for entry in entries]
        return any(entry.get("what") == "audit.cut" and entry.get("code") == last for entry in read)

    def _rows(self, after: int) -> Iterator[Row[Any]]:
        statement = select(audit).where(audit.c.site == self.site).order_by(audit.c.i).limit(PAGE)
        while page := self._connection.execute(statement.where(audit.c.i > after)).all():
            yield from page
            after = page[-1].i

    def _bad(self, kind: str, index: int, last: int = 0) -> Bad:
        return Bad(self.site, index, max(index, last), kind)

    def _follows(self, row: Row[Any]) -> bool:
        entry_hash = hashlib.sha256(row.entry.encode()).digest()
        return (
            chain(self.site, row.i, self.hash, entry_hash) == bytes(row.hash)
            and _read(row.entry).get("time") == row.time
        )

    def _compare(self) -> Bad | None:
        """Compare with what was signed and what is known to end here."""
        while self._next < len(self.signed) and self.signed[self._next].last <= self.index:
            row = self.signed[self._next]
            before = self.signed[self._next - 1] if self._next else None
            self._next += 1
            if not self._is_signed(row):
                return self._bad("signature", row.last)
            end, head = (before.last, bytes(before.head)) if before else (0, genesis(self.site))
            if row.first != end + 1:
                return self._bad("checkpoint", end + 1, max(end + 1, row.first - 1))
            if bytes(row.before) != head or bytes(row.head) != self.hash:
                return self._bad("forked", row.first, row.last)
        if self._known is not None and self._known[0] == self.index:
            if self._known[1] != self.hash:
                since = self.signed[self._next - 1].last + 1 if self._next else 1
                return self._bad("forked", min(since, self.index), self.index)
            self._known = None
        return None

    def _is_signed(self, row: Row[Any]) -> bool:
        message = signed_bytes(
            self.site,
            row.first,
            row.last,
            bytes(row.before),
            bytes(row.head),
            row.time,
            row.generation,
        )
        return verified(self._public, message, bytes(row.signature))

    def _classify(self, row: Row[Any]) -> Bad:
        """Say how the row at the next index came to be wrong, from where its text or its hash would fit."""
        at = self.index + 1
        if self._two_back and self._fits(at - 1, self._two_back, row):
            # It belongs one place further up: what stands there was put in.
            return self._bad("inserted", at - 1)
        for other in self._rows(at):
            fits = chain(self.site, at, self.hash, hashlib.sha256(other.entry.encode()).digest())
            if fits not in (bytes(row.hash), bytes(other.hash)):
                continue
            if other.i > at + 1 or fits == bytes(row.hash):
                return self._bad("swapped", at, other.i)
            # The next row belongs here. Either the two changed places, or all was shifted by a row put in.
            if self._fits(other.i, bytes(other.hash), row):
                return self._bad("swapped", at, other.i)
            return self._bad("inserted", at)
        following = next(self._rows(at), None)
        if following is not None and self._fits(at + 2, bytes(row.hash), following):
            # All that follows was numbered down by one.
            return self._bad("missing", at)
        return self._bad("edited", at)

    def _fits(self, index: int, before: bytes, row: Row[Any]) -> bool:
        entry_hash = hashlib.sha256(row.entry.encode()).digest()
        return chain(self.site, index, before, entry_hash) == bytes(row.hash)


def _read(entry: str) -> dict[str, Any]:
    try:
        read = json.loads(entry)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}
