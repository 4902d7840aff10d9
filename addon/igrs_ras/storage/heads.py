"""The ends of the audit chains and of the recipients' sequences, in memory of the one writer.

Rows are collected while jobs run and written with executemany before the group's commit. A job that fails takes back
what it added; a group that fails makes everything be read from the database anew.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select

from igrs_ras import wire
from igrs_ras.clock import new_ulid
from igrs_ras.storage.tables import audit, events, recipients, server, sites

LABEL = b"IGRS audit 1"
EVENT_LIFE_MS = 7 * 24 * 3600 * 1000

type Mark = tuple[int, int, int]


def genesis(site: str) -> bytes:
    """Return the hash before a site's first entry."""
    return hashlib.sha256(LABEL + bytes.fromhex(site)).digest()


def chain(site: str, index: int, before: bytes, entry_hash: bytes) -> bytes:
    """Return `SHA-256("IGRS audit 1" ‖ site 16 ‖ index 8 ‖ hash before 32 ‖ entry hash 32)`."""
    return hashlib.sha256(
        LABEL + bytes.fromhex(site) + index.to_bytes(8) + before + entry_hash
    ).digest()


@dataclass(slots=True)
class _Added:
    audit: list[dict[str, Any]]
    events: list[dict[str, Any]]
    undo: list[tuple[dict[str, Any], str, Any]]  # what stood where before, to take a job back


class Heads:
    """Belongs to the writer's thread; `unsigned` may be read from anywhere."""

    def __init__(self) -> None:
        self._chains: dict[str, tuple[int, bytes]] = {}
        self._sequences: dict[str, tuple[int, int]] = {}
        self._added = _Added([], [], [])
        self.unsigned: dict[
            str, int
        ] = {}  # site → entries since this process last signed a checkpoint

    def mark(self) -> Mark:
        """Return what `back` needs."""
        return len(self._added.audit), len(self._added.events), len(self._added.undo)

    def back(self, mark: Mark) -> None:
        """Take back everything since the mark."""
        del self._added.audit[mark[0] :]
        del self._added.events[mark[1] :]
        for ends, key, before in reversed(self._added.undo[mark[2] :]):
            if before is None:
                ends.pop(key, None)
            else:
                ends[key] = before
        del self._added.undo[mark[2] :]

    def _set(self, ends: dict[str, Any], key: str, value: tuple[Any, Any]) -> None:
        self._added.undo.append((ends, key, ends.get(key)))
        ends[key] = value

    def forget(self) -> None:
        """Forget everything: the group was not written."""
        self._chains.clear()
        self._sequences.clear()
        self._added = _Added([], [], [])

    def add_audit(
        self,
        connection: Connection,
        site: str,
        what: str,
        fields: Mapping[str, str | int],
        now: int,
    ) -> int:
        """Chain one entry; return its index, from 1."""
        index, before = self.chain_head(connection, site)
        index += 1
        entry = wire.canonical({"time": now, "what": what, **fields}).decode()
        head = chain(site, index, before, hashlib.sha256(entry.encode()).digest())
        self._set(self._chains, site, (index, head))
        self._added.audit.append(
            {"site": site, "i": index, "hash": head, "entry": entry, "time": now}
        )
        return index

    def chain_head(self, connection: Connection, site: str) -> tuple[int, bytes]:
        """Return index and hash of the last entry; (0, genesis) if there is none."""
        if site not in self._chains:
            row = connection.execute(
                select(audit.c.i, audit.c.hash)
                .where(audit.c.site == site)
                .order_by(audit.c.i.desc())
                .limit(1)
            ).first()
            head = (row.i, bytes(row.hash)) if row else (0, genesis(site))
            self._set(self._chains, site, head)
        return self._chains[site]

    def add_event(
        self,
        connection: Connection,
        recipient: str,
        kind: str,
        body: Mapping[str, Any],
        sender: str,
        lock: str,
        now: int,
    ) -> int:
        """Give an event the recipient's next number; return it."""
        generation, seq = self.sequence(connection, recipient)
        seq += 1
        self._set(self._sequences, recipient, (generation, seq))
        envelope = {
            "id": new_ulid(now),
            "type": kind,
            "time": now,
            "expires": now + EVENT_LIFE_MS,
            "from": sender,
            "to": recipient,
            "lock": lock,
            "seq": seq,
            "body": body,
        }
        self._added.events.append(
            {"recipient": recipient, "seq": seq, "envelope": wire.encode(envelope), "time": now}
        )
        return seq

    def sequence(self, connection: Connection, recipient: str) -> tuple[int, int]:
        """Return (generation, last number) of a recipient; a new one gets a row."""
        if recipient not in self._sequences:
            row = connection.execute(
                select(recipients.c.generation, recipients.c.seq).where(
                    recipients.c.name == recipient
                )
            ).first()
            if row is None:
                generation = connection.execute(select(server.c.generation)).scalar_one()
                if recipient.startswith("gateway:"):
                    site = recipient.removeprefix("gateway:")
                    generation = connection.execute(
                        select(sites.c.generation).where(sites.c.id == site)
                    ).scalar_one()
                connection.execute(
                    recipients.insert(), {"name": recipient, "generation": generation, "seq": 0}
                )
                self._set(self._sequences, recipient, (generation, 0))
            else:
                self._set(self._sequences, recipient, (row.generation, row.seq))
        return self._sequences[recipient]

    def drop_sequence(self, recipient: str) -> None:
        """Read a recipient's numbers anew: its row was changed by other means."""
        self._sequences.pop(recipient, None)

    def flush(self, connection: Connection) -> list[tuple[str, int, bytes]]:
        """Write what was collected; return the events as (recipient, number, envelope)."""
        added, self._added = self._added, _Added([], [], [])
        if added.audit:
            connection.execute(audit.insert(), added.audit)
            for row in added.audit:
                self.unsigned[row["site"]] = self.unsigned.get(row["site"], 0) + 1
        if added.events:
            connection.execute(events.insert(), added.events)
            last = {row["recipient"]: row["seq"] for row in added.events}
            connection.execute(
                recipients.update()
                .where(recipients.c.name == bindparam("b_name"))
                .values(seq=bindparam("b_seq")),
                [{"b_name": name, "b_seq": seq} for name, seq in last.items()],
            )
        return [(row["recipient"], row["seq"], row["envelope"]) for row in added.events]
