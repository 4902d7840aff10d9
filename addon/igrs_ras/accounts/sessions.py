"""Sessions (clause 7.2, section 6): 256-bit tokens, stored as SHA-256, in a cookie of the own origin or as bearer.

| kind | for | ends |
|---|---|---|
| cookie | a browser at the server's own origin | 12 h without use, 30 days at most |
| bearer | a listed origin or a program | 1 h after it was made |
| join | the browser of an invited person | 90 days without use |

A session whose second step is missing lasts 10 minutes. The token changes at each step; the session's id does not.
"""

import hashlib
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import ColumnElement, and_, delete, func, or_, select

from igrs_ras.accounts.leftovers import DEVICE_LIFE, purge
from igrs_ras.accounts.throttle import DAY, HOUR, MINUTE
from igrs_ras.api.route import Principal, Who
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import known_devices, members, sessions
from igrs_ras.wire import new_id

if TYPE_CHECKING:
    from aiohttp import web

    from igrs_ras.api.route import Call
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction

type Kind = Literal["cookie", "bearer", "join"]

COOKIE = "__Host-igrs"
DEVICE_COOKIE = "__Host-igrs-device"
BEARER = "u_"
COOKIE_IDLE = 12 * HOUR
LIFE: dict[str, int] = {"cookie": 30 * DAY, "bearer": HOUR, "join": 90 * DAY}
PENDING_LIFE = 10 * MINUTE
RECENT = 10 * MINUTE  # how long a proof lasts
USED_EVERY = MINUTE
SESSIONS = 50  # per user; the longest unused one makes room
PENDING_SESSIONS = 10
DEVICES = 20
PURGE_SECONDS = 60.0
_TOKEN_LENGTH = len(secrets.token_urlsafe(32))


def token_hash(token: str) -> bytes:
    """Return what is stored of a token. It has 256 random bits, so a plain hash says nothing about it.

    A header may hold bytes that are no UTF-8, which aiohttp gives as half surrogates: no token, but no fault either.
    """
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


def member_sites(tx: Transaction, user: str) -> list[str]:
    """Return the sites whose audit has the user's doings."""
    return list(tx.execute(select(members.c.site).where(members.c.user == user)).scalars())


class Sessions:
    """Makes, finds and ends sessions."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        self._purged = 0.0

    async def start(self) -> None:
        """Nothing to begin."""
        self._purged = self._ras.clock.monotonic()

    async def stop(self) -> None:
        """Nothing to end."""

    async def tick(self) -> None:
        """End once a minute what has expired, and its sockets."""
        if self._ras.clock.monotonic() - self._purged >= PURGE_SECONDS:
            self._purged = self._ras.clock.monotonic()
            hub = self._ras.hub
            live = [client.session for user in list(hub.users()) for client in hub.clients_of(user)]
            await self._ras.store.write(lambda tx: _keep(tx, live))
            await self._ras.store.write(self._purge)

    async def resolve(self, token: str, kind: Literal["cookie", "bearer"]) -> Principal | None:
        """Return whose token it is; None if it is nobody's, has expired, or came in the other way than it was given."""
        bearer = token.startswith(BEARER)
        if bearer != (kind == "bearer") or len(token) != _TOKEN_LENGTH + len(BEARER) * bearer:
            return None
        found = token_hash(token)
        row = await self._ras.store.read(
            lambda connection: connection.execute(
                select(sessions).where(sessions.c.hash == found)
            ).first()
        )
        now = self._ras.clock.now_ms()
        if (
            row is None
            or now >= row.expires
            or (row.kind == "cookie" and now - row.used >= COOKIE_IDLE)
        ):
            return None
        if row.full and now - row.used >= USED_EVERY:
            await self._ras.store.write(lambda tx: _use(tx, row.id, row.kind))
        who = Who.USER if row.full else Who.PENDING
        return Principal(who, user=row.user, session=row.id, kind=row.kind)

    def create(
        self,
        tx: Transaction,
        user: str,
        kind: Kind,
        full: bool = True,
        *,
        bearer: bool = False,
        session: str = "",
        proven: bool = False,
    ) -> str:
        """Make a session in a job and return its token, which is nowhere else.

        Args:
            tx: the job's transaction.
            user: whose it is.
            kind: see above.
            full: false while the second step is missing.
            bearer: a join's token goes into an Authorization header instead of the cookie.
            session: the id to give it; a random one by default.
            proven: the user has just shown a password.
        """
        token = _new_token(bearer=bearer or kind == "bearer")
        session = session or new_id()
        self._make_room(tx, user, full=full)
        tx.execute(
            sessions.insert(),
            {
                "id": session,
                "hash": token_hash(token),
                "user": user,
                "kind": kind,
                "full": full,
                "created": tx.now,
                "used": tx.now,
                "expires": tx.now + (LIFE[kind] if full else PENDING_LIFE),
                "proven": tx.now if proven else None,
            },
        )
        if full:
            self._audit(tx, user, "session.created", session)
        return token

    def renew(self, tx: Transaction, session: str, *, bearer: bool, completed: bool = False) -> str:
        """Give a session a new token after a proof; the old one is void. Raises Refused(SIGN_IN) if it ended.

        `bearer`: the old token came in a header. `completed`: the proof was the second step.
        """
        row = tx.execute(select(sessions).where(sessions.c.id == session)).first()
        if row is None:
            raise Refused(Status.SIGN_IN)
        token = _new_token(bearer=bearer)
        values = {"hash": token_hash(token), "proven": tx.now, "used": tx.now}
        if completed:
            values |= {"full": True, "created": tx.now, "expires": tx.now + LIFE[row.kind]}
        tx.execute(sessions.update().where(sessions.c.id == session).values(values))
        if completed:
            self._audit(tx, row.user, "session.created", session)
        return token

    def end(self, tx: Transaction, user: str, *, session: str = "", keep: str = "") -> int:
        """End a user's sessions in a job: one, or all but `keep`. Their sockets close. Return how many there were."""
        which: list[ColumnElement[bool]] = [sessions.c.user == user]
        if session:
            which.append(sessions.c.id == session)
        if keep:
            which.append(sessions.c.id != keep)
        return self._end(tx, and_(*which))

    def _end(self, tx: Transaction, which: ColumnElement[bool]) -> int:
        rows = tx.execute(
            select(sessions.c.id, sessions.c.user, sessions.c.full).where(which)
        ).all()
        for row in rows:
            tx.execute(delete(sessions).where(sessions.c.id == row.id))
            if row.full:
                self._audit(tx, row.user, "session.ended", row.id)
                self._close_after(tx, row.user, row.id)
        return len(rows)

    def _close_after(self, tx: Transaction, user: str, session: str) -> None:
        tx.after(lambda: self._ras.hub.close_user(user, session=session))

    def _audit(self, tx: Transaction, user: str, what: str, session: str) -> None:
        for site in member_sites(tx, user):
            tx.audit(site, what, user=user, session=session)

    def _make_room(self, tx: Transaction, user: str, *, full: bool) -> None:
        """A user has a bounded number of sessions; who keeps asking ends his own oldest."""
        bound = SESSIONS if full else PENDING_SESSIONS
        oldest = (
            select(sessions.c.id)
            .where(sessions.c.user == user, sessions.c.full.is_(full))
            .order_by(sessions.c.used.desc(), sessions.c.id)
            .offset(bound - 1)
            .limit(SESSIONS)
        )
        for session in tx.execute(oldest).scalars().all():
            self._end(tx, sessions.c.id == session)

    def _purge(self, tx: Transaction) -> None:
        self._end(
            tx,
            or_(
                sessions.c.expires <= tx.now,
                and_(sessions.c.kind == "cookie", sessions.c.used <= tx.now - COOKIE_IDLE),
            ),
        )
        purge(tx)

    # Cookies.

    def set_cookie(self, call: Call[Any], token: str) -> None:
        """Give the browser its session's token. The server decides how long it is good for, the browser keeps it."""
        call.cookies.append(lambda response: _set(response, COOKIE, token))

    def clear_cookie(self, call: Call[Any]) -> None:
        """Take the token from the browser."""
        call.cookies.append(
            lambda response: response.del_cookie(
                COOKIE, path="/", secure=True, httponly=True, samesite="Strict"
            )
        )

    # Known devices.

    def remember_device(self, tx: Transaction, user: str, device: str) -> str:
        """Return the token of a browser that just signed in completely: the one it showed if it is known, else a new one."""
        if device:
            known = tx.execute(
                known_devices.update()
                .where(known_devices.c.hash == token_hash(device), known_devices.c.user == user)
                .values(used=tx.now)
            )
            if known.rowcount:
                return device
        token = secrets.token_urlsafe(32)
        keep = (
            select(known_devices.c.hash)
            .where(known_devices.c.user == user)
            .order_by(known_devices.c.used.desc())
            .limit(DEVICES - 1)
        )
        kept = tx.execute(keep).scalars().all()
        tx.execute(
            delete(known_devices).where(
                known_devices.c.user == user, known_devices.c.hash.not_in(kept)
            )
        )
        tx.execute(
            known_devices.insert(),
            {"hash": token_hash(token), "user": user, "created": tx.now, "used": tx.now},
        )
        return token

    def set_device_cookie(self, call: Call[Any], device: str) -> None:
        """Let the browser be recognised at its next sign-in."""
        call.cookies.append(lambda response: _set(response, DEVICE_COOKIE, device))


def known_device(tx: Transaction, user: str | None, device: str) -> str:
    """Return the device's token if it is known for this user, else an empty text.

    For nobody the same is asked, so that the time does not tell whether there is an account.
    """
    if not device:
        return ""
    count = tx.execute(
        select(func.count())
        .select_from(known_devices)
        .where(known_devices.c.hash == token_hash(device), known_devices.c.user == (user or ""))
    ).scalar_one()
    return device if count else ""


def is_recent(tx: Transaction, session: str) -> bool:
    """Tell whether a password or second factor was shown in this session within the last 10 minutes."""
    proven = tx.execute(select(sessions.c.proven).where(sessions.c.id == session)).scalar()
    return proven is not None and 0 <= tx.now - proven < RECENT


def _new_token(*, bearer: bool) -> str:
    return (BEARER if bearer else "") + secrets.token_urlsafe(32)


def _use(tx: Transaction, session: str, kind: str) -> None:
    values = {"used": tx.now}
    if kind == "join":
        values["expires"] = tx.now + LIFE["join"]
    tx.execute(sessions.update().where(sessions.c.id == session).values(values))


def _keep(tx: Transaction, live: Sequence[str]) -> None:
    """An open socket is use. Written once an hour for each, which is all that the limits need."""
    for start in range(0, len(live), 500):
        stale = select(sessions.c.id, sessions.c.kind).where(
            sessions.c.id.in_(live[start : start + 500]), sessions.c.used <= tx.now - HOUR
        )
        for row in tx.execute(stale).all():
            _use(tx, row.id, row.kind)


def _set(response: web.StreamResponse, name: str, value: str) -> None:
    response.set_cookie(
        name,
        value,
        max_age=DEVICE_LIFE // 1000,
        path="/",
        secure=True,
        httponly=True,
        samesite="Strict",
    )
