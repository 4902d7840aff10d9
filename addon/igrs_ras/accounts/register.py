"""Registration (clause 7.1) and confirming an e-mail address.

Open only to who holds a home's owner code, or is invited and has joined. Whether an address has an account already is
told by mail alone: the answer is the same, and so is what is stored until the code from the mail is entered. A server
without SMTP cannot tell, and takes addresses as names: a second registration of one changes nothing.
"""

from typing import TYPE_CHECKING

from sqlalchemy import delete, or_, select

from igrs_ras.accounts import letters, mailcodes, names, owners, passwords
from igrs_ras.accounts.leftovers import forget
from igrs_ras.accounts.signin import require_recent, user_row
from igrs_ras.accounts.throttle import MAILS, REGISTRATIONS, Use, confirm_uses, give_back, take
from igrs_ras.api.route import Principal, Who
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import mail_codes, members, sessions, users
from igrs_ras.wire import new_id

if TYPE_CHECKING:
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction


def _taken(tx: Transaction, email: str, user: str = "") -> bool:
    other = select(users.c.id).where(users.c.email == email, users.c.id != user)
    return tx.execute(other).first() is not None


async def register(
    ras: Ras,
    principal: Principal,
    *,
    email: str,
    password: str,
    name: str,
    owner_code: str,
    address: str,
) -> bool:
    """Make an account, or give the account of an invited person an address and a password.

    Returns:
        Whether a code from a mail has to be entered now (`confirm`).

    Raises:
        Refused: MALFORMED, NOT_PERMITTED without code and session, EXISTS if this user has a password already,
            WRONG_CODE for the owner code, TOO_MANY_ATTEMPTS, SLOW_DOWN, NOT_READY if the mail was not sent.
    """
    email, name = names.email(email), names.display_name(name)
    passwords.check(password, second_factor=False, names=(email, name))
    joined = principal.who is Who.USER
    if joined == bool(owner_code):
        if joined:
            raise Refused(Status.MALFORMED, "owner_code: signed in, it goes to /api/v1/me/homes")
        raise Refused(Status.NOT_PERMITTED, "an owner code or an invitation is needed")
    uses = [Use(REGISTRATIONS, (address,))] if address else []
    await ras.throttle.take(uses)
    code = b"" if joined else await owners.check(ras, owner_code, address)
    mailed = ras.mailer.configured
    stored = await ras.passwords.hash(password)

    def job(tx: Transaction) -> str | None:
        if mailed:
            take(tx, [Use(MAILS, ("verify", email))])
        if joined:
            return _add_methods(tx, principal, email, name, stored, mailed=mailed)
        return _add_user(tx, code, email, name, stored, mailed=mailed)

    mail_code = await ras.store.write(job)
    if mailed:
        await ras.mailer.send(
            email, letters.has_account() if mail_code is None else letters.verify_code(mail_code)
        )
    return mailed


def _add_user(
    tx: Transaction, code: bytes, email: str, name: str, password: str, *, mailed: bool
) -> str | None:
    """Make a user by an owner code; return the code to mail, None if the address is taken."""
    invitation = owners.open_code(tx, code)
    if invitation is None:
        raise Refused(Status.WRONG_CODE)
    taken = _taken(tx, email)
    if taken and not mailed:
        return None
    if invitation.user is not None:
        _drop_unconfirmed(tx, invitation.user)
    user = new_id()
    tx.execute(
        users.insert(),
        {
            "id": user,
            "name": name,
            "email": None if mailed else email,
            "password": password,
            "created": tx.now,
        },
    )
    if not mailed:
        owners.claim(tx, invitation, user)
        return None
    owners.reserve(tx, invitation.id, user)
    mail_code = mailcodes.issue(tx, user, "verify", email)
    return None if taken else mail_code


def _drop_unconfirmed(tx: Transaction, user: str) -> None:
    """Forget who registered with the same code before and never confirmed his address, e.g. a mistyped one."""
    there = tx.execute(
        select(users.c.id).where(
            users.c.id == user,
            or_(
                users.c.email.is_not(None),
                users.c.id.in_(select(members.c.user)),
                users.c.id.in_(select(sessions.c.user)),
            ),
        )
    ).first()
    if there is None:
        forget(tx, user)


def _add_methods(
    tx: Transaction, principal: Principal, email: str, name: str, password: str, *, mailed: bool
) -> str | None:
    """Give an invited person a password and an address; return the code to mail, None if the address is taken."""
    user = user_row(tx, principal.user)
    if user.password is not None:
        raise Refused(Status.EXISTS)
    taken = _taken(tx, email, user.id)
    if taken and not mailed:
        return None
    values = {"name": name, "password": password} | ({} if mailed else {"email": email})
    tx.execute(users.update().where(users.c.id == user.id).values(values))
    tx.execute(sessions.update().where(sessions.c.id == principal.session).values(proven=tx.now))
    if not mailed:
        return None
    mail_code = mailcodes.issue(tx, user.id, "verify", email, principal.session)
    return None if taken else mail_code


async def change_email(ras: Ras, principal: Principal, email: str) -> bool:
    """Begin to change the address; return whether a code from a mail has to be entered now.

    Raises:
        Refused: MALFORMED, SECOND_STEP, EXISTS (only where the server sends no mail), TOO_MANY_ATTEMPTS, NOT_READY.
    """
    email = names.email(email)
    mailed = ras.mailer.configured

    def job(tx: Transaction) -> str | None:
        user = require_recent(tx, principal)
        if user.password is None:
            raise Refused(Status.NOT_PERMITTED, "register first: /api/v1/users")
        take(tx, [Use(MAILS, ("verify", email)), Use(MAILS, ("change", user.id))])
        taken = _taken(tx, email, user.id)
        if not mailed:
            if taken:
                raise Refused(Status.EXISTS)
            tx.execute(
                users.update().where(users.c.id == user.id).values(email=email, email_verified=None)
            )
            return None
        code = mailcodes.issue(tx, user.id, "verify", email, principal.session)
        return None if taken else code

    code = await ras.store.write(job)
    if mailed:
        await ras.mailer.send(
            email, letters.has_account() if code is None else letters.verify_code(code)
        )
    return mailed


async def confirm(ras: Ras, principal: Principal, email: str, code: str, address: str) -> None:
    """Confirm an address with the code from a mail; a registration by owner code is complete with it.

    Raises:
        Refused: WRONG_CODE, TOO_MANY_ATTEMPTS.
    """
    email = names.email(email)
    uses = confirm_uses(email, principal.user or address)
    await ras.throttle.take(uses)

    def job(tx: Transaction) -> tuple[bool, str | None]:
        mine = or_(mail_codes.c.session.is_(None), mail_codes.c.session == principal.session)
        row = mailcodes.redeem(tx, "verify", code, mail_codes.c.email == email, mine)
        if row is None or _taken(tx, email, row.user):
            return False, None
        if row.session is None:
            invitation = owners.reserved(tx, row.user)
            if invitation is None:
                return False, None
            owners.claim(tx, invitation, row.user)
        old: str | None = user_row(tx, row.user).email
        tx.execute(
            users.update().where(users.c.id == row.user).values(email=email, email_verified=tx.now)
        )
        # Codes that went to the old address.
        tx.execute(delete(mail_codes).where(mail_codes.c.user == row.user))
        give_back(tx, uses)
        return True, old

    done, old = await ras.store.write(job)
    if not done:
        raise Refused(Status.WRONG_CODE)
    if old is not None and old != email:
        ras.mailer.later(old, letters.email_changed())
