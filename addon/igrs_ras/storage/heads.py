"""The ends of the audit chains and of the recipients' sequences, in memory of the one writer.

Rows are collected while jobs run and written with executemany before the group's commit. A job that fails takes back
what it added; a group that fails makes everything be read from the database anew.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select

from igrs_ras import wire
from igrs_ras.clock import new_ulid
from igrs_ras.storage.tables import audit, events, recipients, server, sites

LABEL = b"IGRS audit 1"
EVENT_LIFE_MS = 7 * 24 * 3600 * 1000

type Mark = tuple[int, int, int, int]


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
    renewed: list[str]  # recipients whose generation changed
    removed: list[
        tuple[str, int, int]
    ]  # (site or recipient, audit rows, events) that were collected before


def _nothing() -> _Added:
    return _Added([], [], [], [], [])


_ENDS = (
    recipients.update()
    .where(recipients.c.name == bindparam("b_name"))
    .values(generation=bindparam("b_generation"), seq=bindparam("b_seq"))
)


class Heads:
    """Belongs to the writer's thread; `ends` may be read from anywhere."""

    def __init__(self) -> None:
        self._chains: dict[str, tuple[int, bytes]] = {}
        self._sequences: dict[str, tuple[int, int]] = {}
        self._added = _nothing()
        self._written: list[dict[str, Any]] = []  # audit rows of the group that is being committed
        self.ends: dict[str, int] = {}  # site → index of the last entry that this process committed

    def mark(self) -> Mark:
        """Return what `back` needs."""
        added = self._added
        return len(added.audit), len(added.events), len(added.undo), len(added.removed)

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
        del self._added.removed[mark[3] :]

    def _set(self, ends: dict[str, Any], key: str, value: tuple[Any, Any]) -> None:
        self._added.undo.append((ends, key, ends.get(key)))
        ends[key] = value

    def _pop(self, ends: dict[str, Any], key: str) -> None:
        self._added.undo.append((ends, key, ends.pop(key, None)))

    def forget(self) -> None:
        """Forget everything: the group was not written."""
        self._chains.clear()
        self._sequences.clear()
        self._added = _nothing()
        self._written = []

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
        """Return index and hash of the last entry; (0, genesis) if there is none. Raises NoResultFound: no such site."""
        if site not in self._chains:
            row = connection.execute(
                select(audit.c.i, audit.c.hash)
                .where(audit.c.site == site)
                .order_by(audit.c.i.desc())
                .limit(1)
            ).first()
            if row is None:
                # An entry of no site would only be refused with its whole group.
                connection.execute(select(sites.c.id).where(sites.c.id == site)).one()
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

    def read_users(self, connection: Connection, users: Iterable[str]) -> None:
        """Read the numbers of many users in two statements, before each of them gets an event."""
        names = {f"user:{user}" for user in users} - self._sequences.keys()
        if not names:
            return
        for row in connection.execute(select(recipients).where(recipients.c.name.in_(names))):
            self._set(self._sequences, row.name, (row.generation, row.seq))
        if new := sorted(names - self._sequences.keys()):
            generation = connection.execute(select(server.c.generation)).scalar_one()
            connection.execute(
                recipients.insert(),
                [{"name": name, "generation": generation, "seq": 0} for name in new],
            )
            for name in new:
                self._set(self._sequences, name, (generation, 0))

    def renew(self, connection: Connection, recipient: str, generation: int) -> None:
        """Give a recipient a new generation: what it remembers of its sequence is void."""
        _, seq = self.sequence(connection, recipient)
        self._set(self._sequences, recipient, (generation, seq))
        self._added.renewed.append(recipient)

    def remove_site(self, connection: Connection, site: str) -> None:
        """Forget a site that the job deletes, with what is collected for it."""
        self._pop(self._chains, site)
        self._added.removed.append((site, len(self._added.audit), 0))
        self.remove_recipient(connection, f"gateway:{site}")

    def remove_recipient(self, connection: Connection, recipient: str) -> None:
        """Delete a recipient with its events, also those that are collected for it."""
        connection.execute(recipients.delete().where(recipients.c.name == recipient))
        self._pop(self._sequences, recipient)
        self._added.removed.append((recipient, 0, len(self._added.events)))

    def flush(self, connection: Connection) -> list[tuple[str, int, bytes]]:
        """Write what was collected; return the events as (recipient, number, envelope)."""
        added, self._added = self._added, _nothing()
        for name, audits, pushed in added.removed:
            # What was collected before its site or recipient was deleted would be refused with the whole group.
            added.audit = _kept(added.audit, "site", name, audits)
            added.events = _kept(added.events, "recipient", name, pushed)
        if added.removed:
            added.audit = [row for row in added.audit if row]
            added.events = [row for row in added.events if row]
        if added.audit:
            connection.execute(audit.insert(), added.audit)
        if added.events:
            connection.execute(events.insert(), added.events)
        changed = {row["recipient"] for row in added.events} | set(added.renewed)
        values = [
            {"b_name": name, "b_generation": ends[0], "b_seq": ends[1]}
            for name in sorted(changed)
            if (ends := self._sequences.get(name)) is not None
        ]
        if values:
            connection.execute(_ENDS, values)
        self._written = added.audit
        return [(row["recipient"], row["seq"], row["envelope"]) for row in added.events]

    def committed(self) -> int:
        """Take note that the group is in the database; return how many audit entries it had."""
        written, self._written = self._written, []
        for row in written:
            self.ends[row["site"]] = row["i"]
        return len(written)


def _kept(rows: list[dict[str, Any]], field: str, name: str, before: int) -> list[dict[str, Any]]:
    # An emptied row keeps its place, since other removals count by place; it is left out in `flush`.
    return [{} if at < before and row.get(field) == name else row for at, row in enumerate(rows)]
