"""A new password for who forgot the old one, by a code from a mail (or the command line).

The request is answered alike for every address. The code has 80 bits, since nothing else stands before it; where
there is a second factor, that is needed too, and e-mail is none. All sessions and known devices end.
"""

from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, delete, select

from igrs_ras.accounts import letters, mailcodes, names, passwords, second
from igrs_ras.accounts.sessions import known_device, member_sites
from igrs_ras.accounts.throttle import MAILS, RESETS, Use, code_uses, give_back, guess_uses, take
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import known_devices, mail_codes, users

if TYPE_CHECKING:
    from igrs_ras.accounts.signin import Step
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction


async def request(ras: Ras, email: str, address: str, device: str) -> None:
    """Mail a code if the address is a confirmed one of an account; the answer does not tell.

    A known device has mails of its own, so that a stranger who asks for some cannot use up the owner's.

    Raises:
        Refused: NOT_READY on a server without SMTP, TOO_MANY_ATTEMPTS.
    """
    email = names.email(email)
    if not ras.mailer.configured:
        raise Refused(Status.NOT_READY, "the server sends no mail: ask its operator for a code")

    def job(tx: Transaction) -> str | None:
        user: str | None = tx.execute(
            select(users.c.id).where(
                users.c.email == email,
                users.c.email_verified.is_not(None),
                users.c.password.is_not(None),
            )
        ).scalar()
        known = known_device(tx, user, device)
        # Of a known device only its own mails count: strangers may come from the same address.
        by_address = [Use(RESETS, (address,))] if address and not known else []
        take(tx, [Use(MAILS, ("reset", email, known)), *by_address])
        return mailcodes.issue(tx, user, "reset", email) if user else None

    code = await ras.store.write(job)
    if code is not None:
        ras.mailer.later(email, letters.reset_code(code))


async def finish(
    ras: Ras, *, email: str, code: str, password: str, step: Step | None, address: str, device: str
) -> None:
    """Set a new password.

    Raises:
        Refused: WRONG_CODE, SECOND_STEP if the code is right and a TOTP or recovery code is missing, MALFORMED for a
            password that is too weak, TOO_MANY_ATTEMPTS, SLOW_DOWN.
    """
    email = names.email(email)

    def begin(tx: Transaction) -> tuple[Row[Any], bool] | None:
        account = tx.execute(select(users.c.id).where(users.c.email == email)).scalar()
        guesses = guess_uses("reset", address, known_device(tx, account, device))
        take(tx, guesses)
        row = mailcodes.find(tx, "reset", code, mail_codes.c.email == email)
        user = row and tx.execute(select(users).where(users.c.id == row.user)).first()
        if not user:
            return None
        give_back(tx, guesses)
        return user, second.has_factor(tx.connection, user)

    found = await ras.store.write(begin)
    if found is None:
        raise Refused(Status.WRONG_CODE)
    user, factor = found
    if factor and (step is None or step.method not in ("totp", "recovery")):
        raise Refused(Status.SECOND_STEP, "a TOTP or recovery code is needed too")
    passwords.check(password, second_factor=factor, names=(email, user.name))
    stored = await ras.passwords.hash(password)
    uses = code_uses("reset", user.id) if factor else []
    await ras.throttle.take(uses)

    def job(tx: Transaction) -> bool:
        row = tx.execute(select(users).where(users.c.id == user.id)).first()
        if row is None or mailcodes.redeem(tx, "reset", code, mail_codes.c.user == row.id) is None:
            raise Refused(Status.WRONG_CODE)
        present = second.has_factor(tx.connection, row)
        if present and (step is None or not _shown(tx, row, step)):
            raise Refused(Status.WRONG_CODE)
        if (
            factor and not present
        ):  # removed meanwhile: the password may be too short to stand alone
            raise Refused(Status.WRONG_CODE)
        give_back(tx, uses)
        set_password(ras, tx, row.id, stored)
        return True

    await ras.store.write(job)
    ras.mailer.later(email, letters.password_changed())


def _shown(tx: Transaction, user: Row[Any], step: Step) -> bool:
    if step.method == "totp":
        return second.use_totp(tx, user, step.text)
    return second.use_recovery(tx, user.id, step.text)


def set_password(ras: Ras, tx: Transaction, user: str, stored: str, *, keep: str = "") -> None:
    """Store a new password's hash in a job and end all sessions but `keep`, and without one what was known of devices."""
    tx.execute(users.update().where(users.c.id == user).values(password=stored))
    tx.execute(delete(mail_codes).where(mail_codes.c.user == user, mail_codes.c.purpose == "reset"))
    if not keep:
        tx.execute(delete(known_devices).where(known_devices.c.user == user))
    for site in member_sites(tx, user):
        tx.audit(site, "password.changed", user=user)
    ras.sessions.end(tx, user, keep=keep)


def issue_by_operator(tx: Transaction, user: str) -> str | None:
    """Return a reset code for the command line, good for 10 minutes, in a job; None if the user has no address."""
    email = tx.execute(select(users.c.email).where(users.c.id == user)).scalar()
    return mailcodes.issue(tx, user, "reset", email) if email else None
