"""Finds out that the database is an older copy, and then makes it revive nobody (docs/ras.md, "Restore").

Two signs: the boot nonce, which stands in the database and in a file that no backup has, and the checkpoints that homes'
gateways keep, which this server signed. The nonce changes at each start, after each backup and hourly, so a copy of the
database alone is known when it comes back. A copy of file and database together is known by the gateways.
"""

import contextlib
import json
import logging
import os
import secrets
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from igrs_ras.relay_rows import Ending, finish
from igrs_ras.revoked import RevokedFile, known, revoke_again
from igrs_ras.socket import RESTART
from igrs_ras.status import Status
from igrs_ras.storage.migrate import sync
from igrs_ras.storage.store import Transaction
from igrs_ras.storage.tables import (
    enrolments,
    events,
    known_devices,
    mail_codes,
    recipients,
    recovery_codes,
    relays,
    server,
    sessions,
    sites,
)

if TYPE_CHECKING:
    from igrs_ras.ras import Ras

_LOGGER = logging.getLogger(__name__)

FILE = "boot"
NONCE = 16
SECONDS = 3600.0


class BootFile:
    """The file outside every backup. It lists the nonces of which the database must have one.

    Before the database changes to the next nonce the file lists both, so that no crash between looks like a restore.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def read(self) -> list[bytes]:
        """Return the nonces; none if there is no file, or an unreadable one."""
        try:
            found = json.loads(self._path.read_bytes())
            return [bytes.fromhex(text) for text in found["nonces"]]
        except OSError, ValueError, KeyError, TypeError:
            return []

    def write(self, nonces: Iterable[bytes]) -> None:
        """Replace the file at once and for good."""
        part = self._path.with_name(f"{FILE}.part")
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, json.dumps({"nonces": [nonce.hex() for nonce in nonces]}).encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        part.rename(self._path)
        sync(self._path.parent)


class Boot:
    """Compares at the start, changes the nonce, and voids what an older copy would revive."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        self._file = BootFile(ras.settings.folder)
        self._revoked = RevokedFile(ras.settings.folder)
        self._rotated = 0.0
        self.restored_at_start = False

    async def start(self) -> None:
        """Compare; if the database is an older copy, restore the whole server. Then change the nonce."""
        nonce = await self._ras.store.read(_nonce)
        if nonce and nonce not in self._file.read():
            _LOGGER.warning(
                "the database is not the one that was used last: it was restored from a copy."
                " All sessions and codes are void, and homes let their people in again"
            )
            self.restored_at_start = True
            self._ras.identity.generation = await self._ras.store.write(restored_server)
            revoked = self._revoked.read()
            await self._ras.store.write(lambda tx: revoke_again(tx, revoked))
        self._revoked.add(await self._ras.store.write(known))
        await self.rotate()

    def note_revoked(self, gateway: str) -> None:
        """Remember, outside every backup, that a gateway was revoked."""
        try:
            self._revoked.add([gateway])
        except OSError:
            # The next start tries again; until then only a restore would not know of it.
            _LOGGER.exception("that a gateway was revoked could not be noted beside the database")

    async def tick(self) -> None:
        """Change the nonce hourly."""
        if self._ras.clock.monotonic() - self._rotated >= SECONDS:
            await self.rotate()

    async def stop(self) -> None:
        """Change the nonce: a copy made while the server ran is known as one when it comes back in its place."""
        await self.rotate()

    async def rotate(self) -> None:
        """Change the nonce: a copy made before is from now on known as one."""
        fresh = secrets.token_bytes(NONCE)
        present = await self._ras.store.read(_nonce)
        # An earlier change that was given up may still be committed: what it listed stays for now.
        self._file.write(dict.fromkeys([*self._file.read()[-2:], present, fresh]))
        # If this fails the file lists both, which is right whether the commit was done or not.
        await self._ras.store.write(lambda tx: _set_nonce(tx, fresh))
        self._file.write([fresh])
        self._rotated = self._ras.clock.monotonic()

    def proven(self, tx: Transaction, generation: int) -> None:
        """Restore the whole server in a job: a checkpoint of `generation` proves that the database is an older copy.

        Whoever is connected comes again: people sign in, homes send their lists.
        """
        made = restored_server(tx, generation)
        revoke_again(tx, self._revoked.read())
        tx.after(partial(self._end_all, made))

    def _end_all(self, generation: int) -> None:
        _LOGGER.warning(
            "a home's gateway has a checkpoint that this server signed and the database does not know: it is an older"
            " copy. All sessions and codes are void, and homes let their people in again"
        )
        ras = self._ras
        ras.identity.generation = generation
        ras.sites.restored()
        ras.relay.end_for(why=Status.UNKNOWN)
        for user in list(ras.hub.users()):
            ras.hub.close_user(user)
        ras.gateways.close_links(RESTART)


def _nonce(connection: Connection) -> bytes:
    return bytes(connection.execute(select(server.c.boot)).scalar_one())


def _set_nonce(tx: Transaction, nonce: bytes) -> None:
    tx.execute(server.update().values(boot=nonce))


def next_generation(old: int, reported: int, now: int) -> int:
    """Return a generation above both; by the time in it also another one when the same copy comes back twice."""
    return max(old + 1, reported + 1, now)


def restored_server(tx: Transaction, reported: int = 0) -> int:
    """Void all that an older copy would revive, for every site; return the new generation. A writer's job.

    `reported`: a generation that was given before and that the database may not know.
    """
    known = [
        tx.execute(select(server.c.generation)).scalar_one(),
        *tx.execute(select(sites.c.generation)).scalars(),
    ]
    generation = next_generation(max(known), reported, tx.now)
    tx.execute(server.update().values(generation=generation))
    for table in (sessions, mail_codes, recovery_codes, enrolments, known_devices):
        tx.execute(table.delete())
    tx.execute(events.delete())
    tx.execute(sites.update().values(generation=generation, suspended=True))
    for row in tx.execute(select(sites.c.id)).all():
        _end_relays(tx, row.id)
        tx.audit(row.id, "site.restored", code=generation)
    for row in tx.execute(select(recipients.c.name)).all():
        tx.renew(row.name, generation)
    return generation


def _end_relays(tx: Transaction, site: str) -> None:
    """Record that nobody knows how those ended that the copy has under way."""
    under_way = tx.execute(
        select(relays.c.user, relays.c.device, relays.c.key).where(
            relays.c.site == site, relays.c.state == "accepted"
        )
    ).all()
    ends = [
        Ending((row.user, site, row.device, row.key), "unknown", Status.UNKNOWN)
        for row in under_way
    ]
    for start in range(0, len(ends), 200):
        finish(tx, ends[start : start + 200])
