"""Signing in (clause 7.2): password, then the second step; and showing again within a session who one is."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Row, select

from igrs_ras.accounts import letters, mailcodes, names, second
from igrs_ras.accounts.sessions import is_recent, known_device
from igrs_ras.accounts.throttle import (
    CHANGES,
    MAILS,
    PROOF,
    Use,
    code_uses,
    give_back,
    sign_in_uses,
    take,
)
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import mail_codes, sessions, users
from igrs_ras.wire import new_id

if TYPE_CHECKING:
    from igrs_ras.api.route import Principal
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction

type Method = Literal["totp", "recovery", "email", "passkey"]
type ProofMethod = Literal["password", "totp", "recovery", "passkey"]


@dataclass(frozen=True, slots=True)
class Step:
    """What somebody shows as a second step or proof."""

    method: Method | ProofMethod
    text: str = field(default="", repr=False)  # code or password
    credential: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session after a step. `methods` is empty when nothing is missing."""

    user: str
    session: str
    token: str = field(repr=False)
    full: bool
    needed: bool  # the user has a second step
    methods: list[str]
    device: str = field(default="", repr=False)


def user_row(tx: Transaction, user: str) -> Row[Any]:
    """Return a user. Raises Refused(SIGN_IN) when he was deleted meanwhile."""
    row = tx.execute(select(users).where(users.c.id == user)).first()
    if row is None:
        raise Refused(Status.SIGN_IN)
    return row


async def sign_in(
    ras: Ras,
    email: str,
    password: str,
    kind: Literal["cookie", "bearer"],
    address: str,
    device: str,
) -> SignedIn:
    """Check a password and make a session, which is full if the user has no second step.

    Whether the account exists shows neither in the answer nor in the work that is done.

    Raises:
        Refused: WRONG_CREDENTIALS, TOO_MANY_ATTEMPTS, SLOW_DOWN.
    """
    account = names.email(email)

    def begin(tx: Transaction) -> tuple[Row[Any] | None, list[Use], bool]:
        user = tx.execute(select(users).where(users.c.email == account)).first()
        known = known_device(tx, user.id if user else None, device)
        uses = sign_in_uses(account, address, known)
        take(tx, uses)
        return user, uses, not known

    try:
        user, uses, stranger = await ras.store.write(begin)
    except Refused as refused:
        if refused.status is Status.TOO_MANY_ATTEMPTS:
            ras.metrics.sign_in("throttled")
        raise
    try:
        right, better = await ras.passwords.verify(
            user.password if user else None, password, stranger=stranger
        )
    except Refused:
        await ras.throttle.give_back(uses, made=False)
        raise
    if user is None or not right:
        ras.metrics.sign_in("wrong")
        raise Refused(Status.WRONG_CREDENTIALS)

    def finish(tx: Transaction) -> SignedIn:
        row = tx.execute(
            select(users).where(users.c.id == user.id, users.c.password == user.password)
        ).first()
        if row is None:  # changed or deleted meanwhile
            raise Refused(Status.WRONG_CREDENTIALS)
        give_back(tx, uses)
        if better:
            tx.execute(users.update().where(users.c.id == row.id).values(password=better))
        needed, ways = second.methods(ras, tx.connection, row)
        if not needed:
            take(tx, [Use(CHANGES, (row.id,))])
        session = new_id()
        token = ras.sessions.create(tx, row.id, kind, not needed, session=session, proven=True)
        known = "" if needed else ras.sessions.remember_device(tx, row.id, device)
        return SignedIn(row.id, session, token, not needed, needed, ways, known)

    try:
        signed = await ras.store.write(finish)
    except Refused as refused:
        if refused.status is Status.TOO_MANY_ATTEMPTS:  # of right ones
            await ras.throttle.give_back(uses)
            ras.metrics.sign_in("throttled")
        raise
    ras.metrics.sign_in("done" if signed.full else "second_step")
    return signed


async def send_code(ras: Ras, principal: Principal, device: str) -> None:
    """Mail a code for the second step of this session.

    Raises:
        Refused: NOT_PERMITTED if this user's second step is another, TOO_MANY_ATTEMPTS after 3 mails in an hour,
            NOT_READY if the mail could not be sent.
    """

    def issue(tx: Transaction) -> tuple[str, str]:
        user = user_row(tx, principal.user)
        if "email" not in second.methods(ras, tx.connection, user)[1]:
            raise Refused(Status.NOT_PERMITTED)
        take(tx, [Use(MAILS, ("sign_in", user.id, known_device(tx, user.id, device)))])
        return user.email, mailcodes.issue(tx, user.id, "sign_in", user.email, principal.session)

    email, code = await ras.store.write(issue)
    await ras.mailer.send(email, letters.sign_in_code(code))


async def second_step(
    ras: Ras, principal: Principal, step: Step, device: str, *, bearer: bool
) -> SignedIn:
    """Complete a sign-in: the session gets a new token and is full.

    Raises:
        Refused: WRONG_CODE, TOO_MANY_ATTEMPTS.
    """

    def begin(tx: Transaction) -> list[Use]:
        uses = code_uses("sign_in", principal.user, known_device(tx, principal.user, device))
        take(tx, uses)
        return uses

    uses = await ras.store.write(begin)
    passkey = step.method == "passkey" and await ras.passkeys.verify(
        principal.user, principal.session, step.credential
    )

    def finish(tx: Transaction) -> SignedIn | None:
        pending = tx.execute(
            select(sessions.c.id).where(
                sessions.c.id == principal.session, sessions.c.full.is_(False)
            )
        ).first()
        if pending is None:
            raise Refused(Status.SIGN_IN)
        user = user_row(tx, principal.user)
        if step.method not in second.methods(ras, tx.connection, user)[1]:
            return None
        if not (passkey or _shown(tx, user, principal.session, step)):
            return None
        give_back(tx, uses)
        take(tx, [Use(CHANGES, (user.id,))])
        token = ras.sessions.renew(tx, principal.session, bearer=bearer, completed=True)
        known = ras.sessions.remember_device(tx, user.id, device)
        return SignedIn(user.id, principal.session, token, True, True, [], known)

    signed = await ras.store.write(finish)
    if signed is None:
        ras.metrics.sign_in("wrong")
        raise Refused(Status.WRONG_CODE)
    ras.metrics.sign_in("done")
    return signed


def _shown(tx: Transaction, user: Row[Any], session: str, step: Step) -> bool:
    """Use up a code in a job; tell whether it was right."""
    if step.method == "totp":
        return second.use_totp(tx, user, step.text)
    if step.method == "recovery":
        return second.use_recovery(tx, user.id, step.text)
    if step.method == "email":
        mine = (mail_codes.c.user == user.id, mail_codes.c.session == session)
        return mailcodes.redeem(tx, "sign_in", step.text, *mine) is not None
    return False


async def prove(ras: Ras, principal: Principal, step: Step, *, bearer: bool) -> str:
    """Show a password or second factor again: return the session's new token. Sockets of the session stay open.

    Raises:
        Refused: WRONG_CREDENTIALS or WRONG_CODE, TOO_MANY_ATTEMPTS, SLOW_DOWN.
    """
    uses = [Use(PROOF, (principal.user,))]
    wrong = Status.WRONG_CREDENTIALS if step.method == "password" else Status.WRONG_CODE
    await ras.throttle.take(uses)
    user = await ras.store.write(lambda tx: user_row(tx, principal.user))
    right = False
    if step.method == "password":
        try:
            right, _ = await ras.passwords.verify(user.password, step.text)
        except Refused:
            await ras.throttle.give_back(uses, made=False)
            raise
    elif step.method == "passkey":
        right = await ras.passkeys.verify(principal.user, principal.session, step.credential)

    def finish(tx: Transaction) -> str | None:
        row = user_row(tx, principal.user)
        if row.password != user.password or not (right or _shown_factor(tx, row, step)):
            return None
        give_back(tx, uses)
        return ras.sessions.renew(tx, principal.session, bearer=bearer)

    token = await ras.store.write(finish)
    if token is None:
        raise Refused(wrong)
    return token


def _shown_factor(tx: Transaction, user: Row[Any], step: Step) -> bool:
    if step.method == "totp":
        return second.use_totp(tx, user, step.text)
    return step.method == "recovery" and second.use_recovery(tx, user.id, step.text)


def require_recent(tx: Transaction, principal: Principal) -> Row[Any]:
    """Return the user if he may change what guards the account: he showed a password or second factor within 10 minutes.

    Somebody invited who has no password has nothing to show but his session. Raises Refused(SECOND_STEP).
    """
    user = user_row(tx, principal.user)
    if user.password is not None and not is_recent(tx, principal.session):
        raise Refused(
            Status.SECOND_STEP, "show your password or second factor again: /api/v1/sessions/proof"
        )
    return user
