"""Verbs about users."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from igrs_ras import wire
from igrs_ras.accounts import names, people, reset
from igrs_ras.admin.common import MOST, Arguments, confirmed, count, verb
from igrs_ras.control import REFUSED, USAGE, VerbError
from igrs_ras.status import Refused
from igrs_ras.storage.store import Transaction
from igrs_ras.storage.tables import members, passkeys, sessions, sites, users

if TYPE_CHECKING:
    from igrs_ras.ras import Ras


def _user(connection: Connection, text: str) -> Any:
    """Return a user by id or e-mail address."""
    where = users.c.id == text
    if not wire.is_id(text):
        try:
            where = users.c.email == names.email(text)
        except Refused as error:
            raise VerbError(USAGE, "give the user's id or e-mail address") from error
    row = connection.execute(select(users).where(where)).first()
    if row is None:
        raise VerbError(REFUSED, "there is no such user: see igrs-ras user list")
    return row


def _user_data(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "email": row.email,
        "email_verified": row.email_verified,
        "password": row.password is not None,
        "totp": row.totp_confirmed is not None,
        "created": row.created,
    }


@verb("user list")
async def user_list(ras: Ras, _arguments: Arguments) -> dict[str, Any]:
    """List the users."""

    def job(connection: Connection) -> list[dict[str, Any]]:
        rows = connection.execute(select(users).order_by(users.c.created, users.c.id).limit(MOST))
        return [_user_data(row) for row in rows]

    return {"users": await ras.store.read(job)}


@verb("user show")
async def user_show(ras: Ras, arguments: Arguments) -> dict[str, Any]:
    """Show a user with his sites, sessions and methods; no secret is shown."""

    def job(connection: Connection) -> dict[str, Any]:
        row = _user(connection, arguments["user"])
        membership = connection.execute(
            select(members.c.site, sites.c.name, members.c.role, members.c.state)
            .join(sites, sites.c.id == members.c.site)
            .where(members.c.user == row.id)
        )
        open_sessions = connection.execute(
            select(sessions.c.id, sessions.c.kind, sessions.c.created, sessions.c.used)
            .where(sessions.c.user == row.id)
            .order_by(sessions.c.used.desc())
        )
        return _user_data(row) | {
            "passkeys": count(connection, passkeys, passkeys.c.user == row.id),
            "sites": [dict(found._mapping) for found in membership],  # noqa: SLF001  its public name
            "sessions": [dict(found._mapping) for found in open_sessions],  # noqa: SLF001  likewise
        }

    return await ras.store.read(job)


@verb("user password-reset")
async def user_password_reset(ras: Ras, arguments: Arguments) -> dict[str, Any]:
    """Make a code with which the user sets a new password; a second factor is needed all the same."""

    def job(tx: Transaction) -> dict[str, Any]:
        row = _user(tx.connection, arguments["user"])
        code = reset.issue_by_operator(tx, row.id)
        if code is None:
            raise VerbError(
                REFUSED, "the user has no e-mail address, so no password: the home invites again"
            )
        return {"user": row.id, "email": row.email, "code": code}

    found = await ras.store.write(job)
    return found | {
        "next": "Give the code to nobody but this person. It works once, within 10 minutes,"
        f" on the page for a forgotten password of {ras.settings.public_url or 'this server'}."
    }


@verb("user end-sessions")
async def user_end_sessions(ras: Ras, arguments: Arguments) -> dict[str, Any]:
    """End all sessions of a user; sockets close at once."""

    def job(tx: Transaction) -> dict[str, Any]:
        row = _user(tx.connection, arguments["user"])
        return {"user": row.id, "ended": ras.sessions.end(tx, row.id)}

    return await ras.store.write(job)


@verb("user delete")
async def user_delete(ras: Ras, arguments: Arguments) -> dict[str, Any]:
    """Delete a user; the homes are told. The audit keeps the id only."""

    def job(tx: Transaction) -> dict[str, Any]:
        row = _user(tx.connection, arguments["user"])
        confirmed(arguments, f"this deletes the account {row.id} for good")
        people.erase(ras, tx, row.id)
        return {"user": row.id, "deleted": True}

    return await ras.store.write(job)
