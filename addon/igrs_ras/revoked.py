"""Remembers outside every backup which gateways were revoked, so that an older copy revives none (docs/ras.md, "Restore").

A gateway is the root of its site: one that was stolen and revoked after a backup was made could otherwise become the
home again, with a list of its own. Who puts back this file too, or moves to another machine, has to revoke it again.
"""

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import select

from igrs_ras.storage.migrate import sync
from igrs_ras.storage.store import Transaction
from igrs_ras.storage.tables import gateways

FILE = "boot.revoked"  # beside `boot`, and like it in no backup
_ID = re.compile(r"[0-9a-f]{32}")


class RevokedFile:
    """One id of a gateway per line."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def read(self) -> set[str]:
        """Return the ids; a line that a crash cut short is none."""
        try:
            text = self._path.read_text("ascii", "replace")
        except FileNotFoundError:
            return set()
        return {line for line in text.split() if _ID.fullmatch(line)}

    def add(self, identifiers: Iterable[str]) -> None:
        """Note ids for good. Raises OSError."""
        new = sorted(set(identifiers) - self.read())
        if not new:
            return
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with contextlib.closing(os.fdopen(handle, "w", encoding="ascii")) as file:
            file.write("\n" + "\n".join(new) + "\n")
            file.flush()
            os.fsync(file.fileno())
        sync(self._path.parent)


def known(tx: Transaction) -> list[str]:
    """Return the gateways that the database knows as revoked."""
    return list(tx.execute(select(gateways.c.id).where(gateways.c.revoked.is_not(None))).scalars())


def revoke_again(tx: Transaction, identifiers: Iterable[str]) -> int:
    """Revoke in a restored database what was revoked before; return how many it had as active. A writer's job."""
    count = 0
    for identifier in sorted(identifiers):
        site = tx.execute(
            select(gateways.c.site).where(gateways.c.id == identifier, gateways.c.revoked.is_(None))
        ).scalar()
        if site is not None:
            tx.execute(gateways.update().where(gateways.c.id == identifier).values(revoked=tx.now))
            tx.audit(site, "gateway.revoked", gateway=identifier)
            count += 1
    return count
