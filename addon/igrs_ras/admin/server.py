"""Verbs about the server itself: backup, audit, status."""

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from igrs_ras import __version__, backup, chain, wire
from igrs_ras.admin.common import Arguments, count, site_row, verb
from igrs_ras.api.route import Listener
from igrs_ras.control import NOT_READY, REFUSED, USAGE, VerbError
from igrs_ras.storage.migrate import SCHEMA, sync
from igrs_ras.storage.tables import audit, gateways, sites, users

if TYPE_CHECKING:
    from igrs_ras.ras import Ras


def _snapshot[T](ras: Ras, job: Callable[[Connection], T]) -> T:
    """Run a long reading job on one state of the database. Blocks."""
    options = {"isolation_level": "REPEATABLE READ"}
    if ras.store.engine.dialect.name == "sqlite":
        options = {}  # a SQLite transaction sees one state anyway
    with (
        ras.store.engine.connect().execution_options(**options) as connection,
        connection.begin(),
    ):
        if options:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        return job(connection)


@verb("backup")
async def make_backup(ras: Ras, arguments: Arguments) -> dict[str, Any]:
    """Write a backup to a file and change the boot nonce, so that it is known as older when it comes back."""
    target = Path(arguments["file"])
    passphrase = arguments.get("passphrase")
    replace = bool(arguments.get("replace"))
    part = target.with_name(f".{target.name}.part")

    def write() -> backup.Summary:
        if target.exists() and not replace:
            raise VerbError(REFUSED, f"{target} is there already: give another name, or --replace")
        part.unlink(missing_ok=True)
        try:
            made = _snapshot(
                ras,
                lambda connection: backup.write(connection, part, ras.clock.now_ms(), passphrase),
            )
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        part.replace(target)
        sync(target.parent)
        return made

    try:
        summary = await asyncio.to_thread(write)
    except backup.BackupError as error:
        raise VerbError(REFUSED, str(error)) from error
    except OSError as error:
        raise VerbError(
            REFUSED, f"{target} cannot be written by the server: {os.strerror(error.errno or 0)}"
        ) from error
    except SQLAlchemyError as error:
        text = "the database does not answer: see the server's log, then try again"
        raise VerbError(NOT_READY, text) from error
    await ras.boot.rotate()
    encrypted = summary.header.encryption is not None
    return {
        "file": str(target),
        "size": summary.size,
        "rows": sum(summary.rows.values()),
        "schema": summary.header.schema,
        "encrypted": encrypted,
        "next": "Keep it as you keep keys: it holds the server's key and people's second factors"
        + (", under your passphrase." if encrypted else ", and has no passphrase."),
    }


@verb("audit verify")
async def audit_verify(ras: Ras, arguments: Arguments) -> dict[str, Any]:
    """Check the audit while the server runs."""
    only, known = arguments.get("site"), known_heads(arguments)
    if only is not None:
        await ras.store.read(lambda connection: site_row(connection, only))
    verdict = await asyncio.to_thread(
        _snapshot, ras, lambda connection: chain.verify(connection, known, only)
    )
    return verdict_data(verdict)


def known_heads(arguments: Arguments) -> dict[str, chain.Head]:
    """Read `--head INDEX:HASH` of the one site."""
    text = arguments.get("head")
    if text is None:
        return {}
    index, _, digest = text.partition(":")
    with contextlib.suppress(ValueError):
        if len(raw := bytes.fromhex(digest)) == 32 and arguments.get("site"):
            return {arguments["site"]: (int(index), raw)}
    raise VerbError(USAGE, "--head is INDEX:HASH, 64 hex digits, and goes with --site")


def verdict_data(verdict: chain.Verdict) -> dict[str, Any]:
    """Return a verdict as JSON has it."""
    return {
        "holds": not verdict.bad,
        "entries": verdict.entries,
        "checkpoints": verdict.checkpoints,
        "heads": {
            site: {"index": index, "hash": head.hex()}
            for site, (index, head) in verdict.heads.items()
        },
        "bad": [
            {"site": bad.site, "index": bad.index, "last": bad.last, "kind": bad.kind}
            for bad in verdict.bad
        ],
    }


@verb("audit show")
async def audit_show(ras: Ras, arguments: Arguments) -> dict[str, Any]:
    """Show the last entries of a site's audit, newest last."""

    def job(connection: Connection) -> list[dict[str, Any]]:
        row = site_row(connection, arguments["site"])
        found = connection.execute(
            select(audit.c.i, audit.c.entry)
            .where(audit.c.site == row.id)
            .order_by(audit.c.i.desc())
            .limit(arguments.get("last") or 50)
        ).all()
        return [{"index": entry.i} | json.loads(entry.entry) for entry in reversed(found)]

    return {"entries": await ras.store.read(job)}


# The server.


@verb("status")
async def status(ras: Ras, _arguments: Arguments) -> dict[str, Any]:
    """Tell how the server is."""

    def job(connection: Connection) -> dict[str, Any]:
        return {
            "sites": count(connection, sites),
            "suspended_sites": count(connection, sites, sites.c.suspended),
            "users": count(connection, users),
            "gateways": count(connection, gateways, gateways.c.revoked.is_(None)),
        }

    counts = await ras.store.read(job)
    listening = {str(listener): ras.ports.get(listener) for listener in Listener}
    return {
        "version": __version__,
        "schema": SCHEMA,
        "running": bool(ras.ports),
        "ready": bool(ras.ports) and ras.ready(),
        "database": ras.store.engine.dialect.name,
        "fingerprint": ras.identity.fingerprint,
        "server_key": wire.b64(ras.identity.public),
        "generation": ras.identity.generation,
        "public_url": ras.settings.public_url or None,
        "reached": ras.reach.reached,
        "ports": {name: port for name, port in listening.items() if port is not None},
        **counts,
        "gateways_online": ras.gateways.connected,
        "clients_online": ras.hub.clients,
        "relays_open": ras.relay.live,
        "audit_unsigned": sum(ras.checkpoints.unsigned().values()),
    }
