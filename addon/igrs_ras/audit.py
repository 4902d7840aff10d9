"""Checkpoints over the audit: the server signs each site's chain so that the home can hold it to what it said.

A checkpoint carries the hash of every entry since the last one; the gateway leads the chain on from its own head. What
is not yet signed, at most 100 entries or 10 minutes, is unprotected against somebody who can write to the database.
"""

import hashlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from igrs_ras import wire
from igrs_ras.chain import signed_bytes
from igrs_ras.identity import ServerIdentity
from igrs_ras.status import Refused
from igrs_ras.storage.heads import chain, genesis
from igrs_ras.storage.store import Transaction
from igrs_ras.storage.tables import audit, checkpoints, sites

if TYPE_CHECKING:
    from igrs_ras.ras import Ras

_LOGGER = logging.getLogger(__name__)

ENTRIES = 100  # unsigned entries after which a checkpoint is due
SECONDS = 600.0  # time after which it is due for fewer
MOST = 500  # entries of one checkpoint, whose message must stay under 64 KiB
RANGE = 20  # checkpoints per answer
KEPT_MS = 400 * 24 * 3600 * 1000
CUT_SECONDS = 24 * 3600.0


class BrokenChainError(Exception):
    """The database's entries do not lead to its hashes: nothing is signed on top of that."""

    def __init__(self, site: str, index: int) -> None:
        super().__init__(f"the audit of site {site} does not hold at entry {index}")


class Checkpoints:
    """Signs what is due and hands it to the gateways."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        self._signed: dict[str, int] = {}  # site → last index that is signed
        self._ends: dict[str, int] = {}  # site → last index, as read at the start
        self._since: dict[str, float] = {}  # site → since when something is unsigned
        self._broken: set[str] = set()
        self._cut_at = 0.0

    async def start(self) -> None:
        """Find what earlier runs left unsigned; it is due like anything else."""
        for site, end, signed in await self._ras.store.read(_ends):
            self._ends[site] = end or 0
            self._signed[site] = signed or 0
        # Soon, so that a server that is started anew each day cuts too.
        self._cut_at = self._ras.clock.monotonic() - CUT_SECONDS + SECONDS

    async def stop(self) -> None:
        """Sign what is left, so that a stopped server has nothing unprotected."""
        await self.sign_all()

    async def sign_all(self) -> None:
        """Sign all that is unsigned, and hand it to the gateways that are connected."""
        for site in self.unsigned():
            try:
                await self.sign(site)
            except Refused, BrokenChainError:
                _LOGGER.warning("the audit of a site stays unsigned until the next start")

    def unsigned(self) -> dict[str, int]:
        """Return how many entries each site has that no checkpoint covers; sites without any are left out."""
        ends = self._ends | dict(self._ras.store.heads.ends)
        counts = {site: end - self._signed.get(site, 0) for site, end in ends.items()}
        return {site: count for site, count in counts.items() if count > 0}

    def oldest_seconds(self) -> float:
        """Return for how long the oldest unsigned entry has waited."""
        return self._ras.clock.monotonic() - min(
            self._since.values(), default=self._ras.clock.monotonic()
        )

    async def tick(self) -> None:
        """Sign what is due; once a day, cut what is too old."""
        now = self._ras.clock.monotonic()
        unsigned = self.unsigned()
        for site in set(self._since) - set(unsigned):
            del self._since[site]
        for site, count in unsigned.items():
            since = self._since.setdefault(site, now)
            if (count >= ENTRIES or now - since >= SECONDS) and site not in self._broken:
                await self._sign_logged(site)
        if now - self._cut_at >= CUT_SECONDS:
            self._cut_at = now
            await self.cut()

    async def _sign_logged(self, site: str) -> None:
        try:
            await self.sign(site)
        except BrokenChainError as error:
            self._broken.add(site)
            _LOGGER.critical("%s: it is no longer signed. See igrs-ras audit verify", error)

    async def sign(self, site: str) -> list[dict[str, Any]]:
        """Sign all that is unsigned of a site; return the checkpoints as the gateway got them.

        Raises Refused(NOT_READY), BrokenChainError.
        """
        made: list[dict[str, Any]] = []
        identity = self._ras.identity
        while True:
            body, end = await self._ras.store.write(lambda tx: sign(tx, identity, site))
            self._signed[site] = end
            self._ends.pop(site, None)
            if body is None:
                break
            made.append(body)
            link = self._ras.gateways.link_of(site)
            if link is not None:
                link.send("audit.checkpoint", body)
            if len(body["entries"]) < MOST:
                break
        self._since.pop(site, None)
        return made

    async def range(self, site: str, first: int, last: int) -> list[dict[str, Any]]:
        """Return up to 20 checkpoints that cover entries `first` to `last`, oldest first."""
        return await self._ras.store.read(lambda connection: read(connection, site, first, last))

    async def cut(self) -> int:
        """Remove entries older than 400 days, up to a checkpoint; return how many."""
        removed = 0
        for site in await self._ras.store.read(
            lambda connection: connection.execute(select(sites.c.id)).scalars().all()
        ):
            removed += await self._ras.store.write(partial(cut, site=site))
        return removed


def _ends(connection: Connection) -> list[tuple[str, int | None, int | None]]:
    end = select(func.max(audit.c.i)).where(audit.c.site == sites.c.id).scalar_subquery()
    signed = (
        select(func.max(checkpoints.c.last))
        .where(checkpoints.c.site == sites.c.id)
        .scalar_subquery()
    )
    return [tuple(row) for row in connection.execute(select(sites.c.id, end, signed))]


def sign(tx: Transaction, identity: ServerIdentity, site: str) -> tuple[dict[str, Any] | None, int]:
    """Sign a site's entries since its last checkpoint, up to 500; return the checkpoint and the last index signed.

    A job of the writer. It signs what earlier groups committed. Raises BrokenChainError.
    """
    end, before = _last_signed(tx.connection, site)
    rows = tx.execute(
        select(audit.c.i, audit.c.hash, audit.c.entry)
        .where(audit.c.site == site, audit.c.i > end)
        .order_by(audit.c.i)
        .limit(MOST)
    ).all()
    if not rows:
        tx.heads.ends.pop(site, None)  # e.g. of a site that was removed
        return None, end
    head = before
    entries = []
    for index, row in enumerate(rows, end + 1):
        entry_hash = hashlib.sha256(row.entry.encode()).digest()
        head = chain(site, index, head, entry_hash)
        if row.i != index or head != bytes(row.hash):
            raise BrokenChainError(site, index)
        entries.append(wire.b64(entry_hash))
    first, last = end + 1, rows[-1].i
    generation = tx.execute(select(sites.c.generation).where(sites.c.id == site)).scalar_one()
    values = {
        "first": first, "last": last, "before": before, "head": head, "time": tx.now, "generation": generation
    }  # fmt: skip
    signature = identity.sign(signed_bytes(site, **values))
    tx.execute(checkpoints.insert(), {"site": site, **values, "signature": signature})
    return _body(values | {"signature": signature}, entries), last


def _last_signed(connection: Connection, site: str) -> tuple[int, bytes]:
    row = connection.execute(
        select(checkpoints.c.last, checkpoints.c.head)
        .where(checkpoints.c.site == site)
        .order_by(checkpoints.c.last.desc())
        .limit(1)
    ).first()
    return (row.last, bytes(row.head)) if row else (0, genesis(site))


def _body(values: dict[str, Any], entries: list[str]) -> dict[str, Any]:
    body = {
        name: wire.b64(bytes(value)) if isinstance(value, bytes) else value
        for name, value in values.items()
    }
    return body | {"entries": entries}


def read(connection: Connection, site: str, first: int, last: int) -> list[dict[str, Any]]:
    """Return up to 20 checkpoints of a site that cover entries `first` to `last`, as gateways get them."""
    found = []
    for row in connection.execute(
        select(checkpoints)
        .where(checkpoints.c.site == site, checkpoints.c.last >= first, checkpoints.c.first <= last)
        .order_by(checkpoints.c.last)
        .limit(RANGE)
    ).all():
        entries = connection.execute(
            select(audit.c.entry)
            .where(audit.c.site == site, audit.c.i.between(row.first, row.last))
            .order_by(audit.c.i)
        ).scalars()
        hashes = [wire.b64(hashlib.sha256(entry.encode()).digest()) for entry in entries]
        if len(hashes) != row.last - row.first + 1:
            continue  # the one at which older entries were cut
        values = {
            name: getattr(row, name)
            for name in ("first", "last", "before", "head", "time", "generation", "signature")
        }
        found.append(_body(values, hashes))
    return found


def holds(connection: Connection, site: str, index: int, digest: bytes) -> bool:
    """Tell whether the site's chain has this hash at this index, from 1, as a checkpoint says.

    False: the database is behind, or another one. An index that was cut by age cannot be compared.
    """
    found = connection.execute(
        select(audit.c.hash).where(audit.c.site == site, audit.c.i == index)
    ).scalar()
    if found is None:
        row = connection.execute(
            select(checkpoints.c.head).where(
                checkpoints.c.site == site, checkpoints.c.last == index
            )
        ).scalar()
        if row is not None:
            return bytes(row) == digest
        first = connection.execute(select(func.min(audit.c.i)).where(audit.c.site == site)).scalar()
        return first is not None and index < first
    return bytes(found) == digest


def cut(tx: Transaction, site: str) -> int:
    """Remove a site's entries older than 400 days, up to a checkpoint, which stays; return how many. A writer's job."""
    last = tx.execute(
        select(func.max(checkpoints.c.last)).where(
            checkpoints.c.site == site, checkpoints.c.time < tx.now - KEPT_MS
        )
    ).scalar()
    if last is None:
        return 0
    # First the entry, so that the chain goes on from its end even if nothing else is left.
    kept = tx.execute(
        select(audit.c.i).where(audit.c.site == site, audit.c.i <= last).limit(1)
    ).first()
    if kept is None:
        return 0
    tx.audit(site, "audit.cut", code=last)
    tx.execute(checkpoints.delete().where(checkpoints.c.site == site, checkpoints.c.last < last))
    return tx.execute(audit.delete().where(audit.c.site == site, audit.c.i <= last)).rowcount
