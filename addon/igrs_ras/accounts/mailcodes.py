"""Codes that go out by mail. Only a hash is stored, each works once, for 10 minutes, for one purpose.

For the second step and for confirming an address they have six digits and count only in the session that asked; for a
new password, which no session and no password guard, they have 80 bits.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import ColumnElement, Row, delete, select

from igrs_ras import codes
from igrs_ras.accounts.throttle import MINUTE
from igrs_ras.status import Refused
from igrs_ras.storage.tables import mail_codes
from igrs_ras.wire import new_id

if TYPE_CHECKING:
    from igrs_ras.storage.store import Transaction

type Purpose = Literal["sign_in", "verify", "reset"]

LIFE = 10 * MINUTE


def issue(
    tx: Transaction, user: str, purpose: Purpose, email: str, session: str = "", life: int = LIFE
) -> str:
    """Store a new code in a job and return its text. It counts in that session only, or without one in none."""
    identifier = new_id()
    code = codes.new()[1] if purpose == "reset" else f"{secrets.randbelow(10**6):06}"
    tx.execute(
        mail_codes.insert(),
        {
            "id": identifier,
            "user": user,
            "session": session or None,
            "purpose": purpose,
            "hash": _hash(identifier, _read(purpose, code)),
            "email": email,
            "created": tx.now,
            "expires": tx.now + life,
        },
    )
    return code


def redeem(
    tx: Transaction, purpose: Purpose, code: str, *where: ColumnElement[bool]
) -> Row[Any] | None:
    """Use a code up in a job; return its row, or None if none of those that match is right, unused and in time."""
    row = find(tx, purpose, code, *where)
    if row is None:
        return None
    # Whatever else was sent for the same purpose is void with it.
    tx.execute(
        delete(mail_codes).where(mail_codes.c.user == row.user, mail_codes.c.purpose == purpose)
    )
    return row


def find(
    tx: Transaction, purpose: Purpose, code: str, *where: ColumnElement[bool]
) -> Row[Any] | None:
    """Return the row of a code without using it up."""
    typed = _read(purpose, code)
    rows: Iterable[Row[Any]] = tx.execute(
        select(mail_codes).where(
            mail_codes.c.purpose == purpose,
            mail_codes.c.used.is_(None),
            mail_codes.c.expires > tx.now,
            mail_codes.c.created <= tx.now + MINUTE,
            *where,
        )
    ).all()
    right = [row for row in rows if hmac.compare_digest(bytes(row.hash), _hash(row.id, typed))]
    return right[0] if right else None


def _read(purpose: Purpose, code: str) -> bytes:
    if purpose == "reset":
        try:
            return codes.read(code)
        except Refused:
            return b""
    return "".join(code.split()).encode()


def _hash(identifier: str, code: bytes) -> bytes:
    return hashlib.sha256(identifier.encode() + code).digest()
