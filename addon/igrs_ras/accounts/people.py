"""What a user does with his own account: see it, change the password, add and remove second steps, delete it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, delete, select

from igrs_ras.accounts import letters, names, passwords, reset, second
from igrs_ras.accounts.leftovers import forget
from igrs_ras.accounts.sessions import member_sites
from igrs_ras.accounts.signin import require_recent, user_row
from igrs_ras.accounts.throttle import CHANGES, PROOF, Use, code_uses, give_back, take
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import passkeys, users

if TYPE_CHECKING:
    from igrs_ras.api.route import Principal
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction


@dataclass(frozen=True, slots=True)
class Profile:
    """What a user sees of himself."""

    user: Row[Any]
    passkeys: list[Row[Any]]
    recovery_left: int
    needed: bool
    methods: list[str]


def profile(ras: Ras, connection: Connection, user: str) -> Profile:
    """Read a user with his methods. Raises Refused(SIGN_IN) if he is gone."""
    row = connection.execute(select(users).where(users.c.id == user)).first()
    if row is None:
        raise Refused(Status.SIGN_IN)
    keys = connection.execute(
        select(passkeys).where(passkeys.c.user == user).order_by(passkeys.c.created, passkeys.c.id)
    ).all()
    needed, ways = second.methods(ras, connection, row)
    return Profile(row, list(keys), second.recovery_left(connection, user), needed, ways)


async def rename(ras: Ras, user: str, name: str) -> None:
    """Change the display name."""
    name = names.display_name(name)
    await ras.store.write(
        lambda tx: tx.execute(users.update().where(users.c.id == user).values(name=name))
    )


async def _check_password(ras: Ras, principal: Principal, password: str) -> Row[Any]:
    """Return the user if the password is his. Raises Refused(WRONG_CREDENTIALS, TOO_MANY_ATTEMPTS, SLOW_DOWN)."""
    uses = [Use(PROOF, (principal.user,))]
    await ras.throttle.take(uses)
    user = await ras.store.write(lambda tx: user_row(tx, principal.user))
    try:
        right, _ = await ras.passwords.verify(user.password, password)
    except Refused:
        await ras.throttle.give_back(uses, made=False)
        raise
    if not right:
        raise Refused(Status.WRONG_CREDENTIALS)
    await ras.throttle.give_back(uses)
    return user


async def change_password(
    ras: Ras, principal: Principal, old: str, new: str, *, bearer: bool
) -> str:
    """Change the password: all other sessions end, this one gets the new token that is returned.

    Raises:
        Refused: WRONG_CREDENTIALS for the old one, MALFORMED for the new one, TOO_MANY_ATTEMPTS, SLOW_DOWN.
    """
    user = await _check_password(ras, principal, old)
    factor = await ras.store.read(lambda connection: second.has_factor(connection, user))
    passwords.check(new, second_factor=factor, names=(user.email or "", user.name))
    stored = await ras.passwords.hash(new)

    def job(tx: Transaction) -> str:
        row = user_row(tx, user.id)
        if row.password != user.password or (factor and not second.has_factor(tx.connection, row)):
            raise Refused(Status.WRONG_CREDENTIALS)  # something else changed meanwhile
        take(tx, [Use(CHANGES, (user.id,))])
        reset.set_password(ras, tx, user.id, stored, keep=principal.session)
        return ras.sessions.renew(tx, principal.session, bearer=bearer)

    token = await ras.store.write(job)
    _tell(ras, user, letters.password_changed())
    return token


def _tell(ras: Ras, user: Row[Any], letter: letters.Letter) -> None:
    if user.email is not None and user.email_verified is not None:
        ras.mailer.later(user.email, letter)


def _audit(tx: Transaction, user: str, what: str) -> None:
    """Write a change into the audit of each of the user's homes. Raises Refused(TOO_MANY_ATTEMPTS)."""
    take(tx, [Use(CHANGES, (user,))])
    for site in member_sites(tx, user):
        tx.audit(site, what, user=user)


def _may_have_factor(user: Row[Any]) -> None:
    # A factor guards a sign-in by password; without one it would be the only method.
    if user.password is None or user.email is None:
        raise Refused(Status.NOT_PERMITTED, "an e-mail address and a password come first")


# TOTP


async def begin_totp(ras: Ras, principal: Principal) -> tuple[str, str]:
    """Make a secret, which counts when a code has confirmed it; return it as text and as an address for a QR code.

    Raises:
        Refused: EXISTS, SECOND_STEP, NOT_PERMITTED.
    """

    def job(tx: Transaction) -> tuple[bytes, str]:
        user = require_recent(tx, principal)
        _may_have_factor(user)
        if user.totp_confirmed is not None:
            raise Refused(Status.EXISTS)
        secret = second.new_totp()
        tx.execute(users.update().where(users.c.id == user.id).values(totp=secret, totp_step=0))
        return secret, user.email

    secret, email = await ras.store.write(job)
    return second.totp_text(secret), second.totp_uri(secret, email, ras.settings.name)


async def confirm_totp(ras: Ras, principal: Principal, code: str) -> list[str]:
    """Confirm the secret with a code of the app; return recovery codes if the user had none.

    Raises:
        Refused: WRONG_CODE, SECOND_STEP, TOO_MANY_ATTEMPTS.
    """
    uses = code_uses("totp", principal.user)
    await ras.throttle.take(uses)

    def job(tx: Transaction) -> tuple[Row[Any], list[str]] | None:
        user = require_recent(tx, principal)
        if not second.use_totp(tx, user, code, confirmed=False):
            return None
        give_back(tx, uses)
        tx.execute(users.update().where(users.c.id == user.id).values(totp_confirmed=tx.now))
        _audit(tx, user.id, "second.added")
        return user, second.added(tx, user.id)

    done = await ras.store.write(job)
    if done is None:
        raise Refused(Status.WRONG_CODE)
    _tell(ras, done[0], letters.second_step_added())
    return done[1]


async def new_recovery(ras: Ras, principal: Principal) -> list[str]:
    """Make ten new recovery codes in place of the old. Raises Refused(SECOND_STEP), NOT_PERMITTED without a factor."""

    def job(tx: Transaction) -> list[str]:
        user = require_recent(tx, principal)
        if not second.has_factor(tx.connection, user):
            raise Refused(Status.NOT_PERMITTED)
        return second.new_recovery(tx, user.id)

    return await ras.store.write(job)


# Passkeys


async def begin_passkey(ras: Ras, principal: Principal) -> dict[str, Any]:
    """Return what `navigator.credentials.create` takes. Raises Refused(SECOND_STEP, NOT_PERMITTED)."""

    def job(tx: Transaction) -> dict[str, Any]:
        user = require_recent(tx, principal)
        _may_have_factor(user)
        return ras.passkeys.creation_options(tx, user, principal.session)

    return await ras.store.write(job)


async def add_passkey(
    ras: Ras, principal: Principal, name: str, credential: dict[str, Any]
) -> tuple[str, list[str]]:
    """Store a passkey; return its id, and recovery codes if the user had none.

    Raises:
        Refused: WRONG_CODE, EXISTS, SECOND_STEP.
    """
    name = names.display_name(name)
    await ras.store.write(lambda tx: _may_have_factor(require_recent(tx, principal)))
    made = await ras.passkeys.check(principal.session, credential)

    def job(tx: Transaction) -> tuple[Row[Any], str, list[str]]:
        # Again in the job that stores it: the session may have ended while the answer was checked.
        user = require_recent(tx, principal)
        _may_have_factor(user)
        identifier = ras.passkeys.store(tx, user.id, name, made)
        _audit(tx, user.id, "second.added")
        return user, identifier, second.added(tx, user.id)

    user, identifier, codes = await ras.store.write(job)
    _tell(ras, user, letters.second_step_added())
    return identifier, codes


async def remove_factor(
    ras: Ras, principal: Principal, password: str, *, passkey: str = ""
) -> None:
    """Remove TOTP, or a passkey, with the password itself: without a second factor it has to be a long one.

    Raises:
        Refused: WRONG_CREDENTIALS, NOT_FOUND, MALFORMED if the password is too short to stand alone.
    """
    user = await _check_password(ras, principal, password)

    def job(tx: Transaction) -> None:
        row = user_row(tx, user.id)
        if row.password != user.password:
            raise Refused(Status.WRONG_CREDENTIALS)
        if passkey:
            gone = tx.execute(
                delete(passkeys).where(passkeys.c.id == passkey, passkeys.c.user == row.id)
            )
        else:
            gone = tx.execute(
                users.update()
                .where(users.c.id == row.id, users.c.totp.is_not(None))
                .values(totp=None, totp_confirmed=None, totp_step=0)
            )
        if gone.rowcount != 1:
            raise Refused(Status.NOT_FOUND)
        if not second.has_factor(tx.connection, user_row(tx, row.id)):
            passwords.check(password, second_factor=False, names=(row.email or "", row.name))
        second.removed(tx, row.id)
        _audit(tx, row.id, "second.removed")

    await ras.store.write(job)
    _tell(ras, user, letters.second_step_removed())


# The end


def erase(ras: Ras, tx: Transaction, user: str) -> None:
    """Delete a person in a job: sites' gateways are told, sessions, sockets and relays end, the audit keeps the id."""
    for site in member_sites(tx, user):
        tx.audit(site, "user.deleted", user=user)
        tx.push(f"gateway:{site}", "member.left", {"user": user})
    ras.sessions.end(tx, user)
    forget(tx, user)
    tx.after(lambda: ras.relay.end_for(user=user))
    tx.after(lambda: ras.hub.close_user(user))


async def delete_me(ras: Ras, principal: Principal) -> None:
    """Delete the caller's account. Raises Refused(SECOND_STEP)."""

    def job(tx: Transaction) -> Row[Any]:
        user = require_recent(tx, principal)
        erase(ras, tx, user.id)
        return user

    _tell(ras, await ras.store.write(job), letters.account_deleted())
