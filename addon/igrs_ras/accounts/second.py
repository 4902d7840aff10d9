"""Second steps (clause 7.2): which a user has, TOTP, recovery codes.

A *second factor* is a TOTP app or a passkey; with either come ten recovery codes. A code by e-mail is a second step
for those without a factor, if the server sends mail and the address is confirmed; it is no factor, since who reads
the mail can also ask for a new password there.
"""

import base64
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Any

import pyotp
from sqlalchemy import Connection, Row, delete, func, or_, select

from igrs_ras import codes
from igrs_ras.status import Refused
from igrs_ras.storage.tables import passkeys, recovery_codes, users

if TYPE_CHECKING:
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction

RECOVERY_CODES = 10
TOTP_BYTES = 20  # RFC 4226: as long as SHA-1's output
STEP_SECONDS = 30


def has_factor(connection: Connection, user: Row[Any]) -> bool:
    """Tell whether a user has a second factor. `user` is a row of `users`."""
    return user.totp_confirmed is not None or passkey_count(connection, user.id) > 0


def passkey_count(connection: Connection, user: str) -> int:
    """Return how many passkeys a user has."""
    return connection.execute(
        select(func.count()).select_from(passkeys).where(passkeys.c.user == user)
    ).scalar_one()


def methods(ras: Ras, connection: Connection, user: Row[Any]) -> tuple[bool, list[str]]:
    """Return whether a second step is needed, and by which ways it can be done now.

    A user with passkeys needs one even where they cannot be used (the server's address changed): then a recovery code.
    """
    found = []
    if user.totp_confirmed is not None:
        found.append("totp")
    has_passkeys = passkey_count(connection, user.id) > 0
    if has_passkeys and ras.passkeys.available:
        found.append("passkey")
    if user.totp_confirmed is not None or has_passkeys:
        if recovery_left(connection, user.id):
            found.append("recovery")
        return True, found
    if ras.mailer.configured and user.email_verified is not None:
        return True, ["email"]
    return False, []


# TOTP (RFC 6238): SHA-1, six digits, 30 s, as all apps understand it.


def new_totp() -> bytes:
    """Return a new secret."""
    return secrets.token_bytes(TOTP_BYTES)


def totp_text(secret: bytes) -> str:
    """Return a secret as apps take it: base32."""
    return base64.b32encode(secret).decode()


def totp_uri(secret: bytes, account: str, issuer: str) -> str:
    """Return the address that is shown as a QR code."""
    return pyotp.TOTP(totp_text(secret)).provisioning_uri(
        name=account, issuer_name=issuer.replace(":", " ")
    )


def use_totp(tx: Transaction, user: Row[Any], code: str, *, confirmed: bool = True) -> bool:
    """Check a code in a job, one step to either side allowed. A step counts once: the same code is refused then."""
    if user.totp is None or confirmed != (user.totp_confirmed is not None):
        return False
    typed = "".join(code.split()).encode()
    totp = pyotp.TOTP(totp_text(bytes(user.totp)))
    now = tx.now // 1000 // STEP_SECONDS
    found = -1
    for step in (now - 1, now, now + 1):
        if hmac.compare_digest(totp.generate_otp(step).encode(), typed):
            found = step
    used = tx.execute(
        users.update()
        .where(users.c.id == user.id, users.c.totp_step < found, users.c.totp == user.totp)
        .values(totp_step=found)
    )
    return used.rowcount == 1


# Recovery codes.


def new_recovery(tx: Transaction, user: str) -> list[str]:
    """Make ten codes in a job, in place of all earlier ones, and return their texts, which are nowhere else."""
    tx.execute(delete(recovery_codes).where(recovery_codes.c.user == user))
    made = [codes.new() for _ in range(RECOVERY_CODES)]
    tx.execute(
        recovery_codes.insert(),
        [{"user": user, "hash": hashlib.sha256(raw).digest(), "used": None} for raw, _text in made],
    )
    return [text for _raw, text in made]


def recovery_left(connection: Connection, user: str) -> int:
    """Return how many codes are left."""
    return connection.execute(
        select(func.count())
        .select_from(recovery_codes)
        .where(recovery_codes.c.user == user, recovery_codes.c.used.is_(None))
    ).scalar_one()


def use_recovery(tx: Transaction, user: str, code: str) -> bool:
    """Use a code up in a job."""
    try:
        found = hashlib.sha256(codes.read(code)).digest()
    except Refused:
        return False
    used = tx.execute(
        recovery_codes.update()
        .where(
            recovery_codes.c.user == user,
            recovery_codes.c.hash == found,
            recovery_codes.c.used.is_(None),
        )
        .values(used=tx.now)
    )
    return used.rowcount == 1


def added(tx: Transaction, user: str) -> list[str]:
    """After a factor was added: return recovery codes if the user has none left, else nothing."""
    return [] if recovery_left(tx.connection, user) else new_recovery(tx, user)


def removed(tx: Transaction, user: str) -> None:
    """After a factor was removed: the recovery codes go with the last one."""
    tx.execute(
        delete(recovery_codes).where(
            recovery_codes.c.user == user,
            ~or_(
                recovery_codes.c.user.in_(
                    select(users.c.id).where(users.c.totp_confirmed.is_not(None))
                ),
                recovery_codes.c.user.in_(select(passkeys.c.user)),
            ),
        )
    )
