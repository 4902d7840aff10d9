"""Joining by an invitation's link (docs/ras.md, "Joining"): the server keeps the request until the home answers.

It cannot read the answer. Same request, same bytes, until the client says done, the invitation is withdrawn, or day 7.
A join that is not made by a signed-in user makes a user of its own, whose id is the join's: so it stays known which
users have a session because of which join.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Connection, Row, select

from igrs_ras import wire
from igrs_ras.members import add_pending, recipient_of_site
from igrs_ras.messages import Messages
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import invitations, joins, sites, users
from igrs_ras.window import Window
from igrs_ras.wire import Body, Id

if TYPE_CHECKING:
    from igrs_ras.link import Link
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction

PENDING = 5  # of an invitation
WRONG = 5  # of an invitation in an hour
KEPT_ROWS = 50  # of an invitation, whatever became of them
HOUR_MS = 3600 * 1000
LIFE_MS = 7 * 24 * HOUR_MS
BOX = 16 * 1024
SESSIONS = (30, 3600.0)  # that a join may make in an hour
CLEAN_SECONDS = 600.0

Outcome = Literal["answered", "refused", "wrong"]

messages = Messages()


class JoinAnswer(Body):
    """The home's word on a join. `home_public` and `box` go with outcome answered."""

    join: Id
    outcome: Outcome
    home_public: str = ""
    box: Annotated[str, msgspec.Meta(max_length=(BOX + 2) // 3 * 4)] = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A client's request to join, checked for its form."""

    invitation: str
    client_public: bytes
    proof: bytes
    name: str


@dataclass(frozen=True, slots=True)
class State:
    """What became of a request so far. `token` is a new session's, if one was made."""

    join: str
    state: str
    site: str = ""
    user: str = ""
    home_public: bytes = b""
    box: bytes = b""
    token: str = ""


def check_point(data: bytes, field: str) -> bytes:
    """Return an uncompressed P-256 point of 65 bytes, if it is one on the curve. Raises Refused(MALFORMED)."""
    if data[:1] != b"\x04":
        raise Refused(Status.MALFORMED, f"{field} is not uncompressed")
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data)
    except ValueError as error:
        raise Refused(Status.MALFORMED, f"{field} is no point of P-256") from error
    return data


class Joins:
    """Takes requests of clients and says what became of them."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        self._next = 0.0
        self._sessions = Window(ras.clock, *SESSIONS)

    async def start(self) -> None:
        """Nothing to begin."""

    async def stop(self) -> None:
        """Nothing to end."""

    async def tick(self) -> None:
        """Forget joins of more than 7 days."""
        now = self._ras.clock.monotonic()
        if now >= self._next:
            self._next = now + CLEAN_SECONDS
            await self._ras.store.write(
                lambda tx: tx.execute(joins.delete().where(joins.c.created <= tx.now - LIFE_MS))
            )

    async def ask(self, request: Request, user: str, *, bearer: bool) -> State:
        """Take a request, or say what became of the same one.

        `user`: who is signed in and joins as that user; empty if nobody. `bearer`: a session's token is wanted as text.

        Raises:
            Refused: NOT_FOUND alike for an invitation that never was, has expired or was withdrawn, for a join that is
                done, and for a request that differs from the first of the same client key; SLOW_DOWN with too many
                pending or wrong.
        """
        row = await self._ras.store.read(lambda connection: _find(connection, request))
        if row is None:
            # Before the one writer is troubled: most of what a stranger sends ends here.
            await self._ras.store.read(lambda connection: self._site(connection, request))
            return await self._ras.store.write(lambda tx: self._new(tx, request, user))
        _check_same(row, request)
        # A user who joined while signed in has a session; so has nobody else a right to one.
        own = row.user == row.id
        if row.state != "answered" or not own:
            return _state(row)
        if not self._sessions.take(row.id):
            raise Refused(Status.SLOW_DOWN)
        return await self._ras.store.write(lambda tx: self._fetch(tx, request, bearer=bearer))

    def _new(self, tx: Transaction, request: Request, user: str) -> State:
        row = _find(tx.connection, request)
        if row is not None:  # the same request, twice at once
            _check_same(row, request)
            return _state(row)
        site = self._site(tx.connection, request)
        counts = {"pending": 0, "wrong": 0, "all": 0}
        for found in tx.execute(
            select(joins.c.state, joins.c.created).where(joins.c.invitation == request.invitation)
        ):
            counts["all"] += 1
            counts["pending"] += found.state == "pending"
            counts["wrong"] += found.state == "wrong" and found.created > tx.now - HOUR_MS
        if counts["pending"] >= PENDING or counts["wrong"] >= WRONG or counts["all"] >= KEPT_ROWS:
            raise Refused(Status.SLOW_DOWN)
        join = wire.new_id()
        tx.execute(
            joins.insert().values(
                id=join,
                invitation=request.invitation,
                client_public=request.client_public,
                proof=request.proof,
                name=request.name,
                state="pending",
                user=user or None,
                created=tx.now,
            )
        )
        body = {
            "join": join,
            "invitation": request.invitation,
            "client_public": wire.b64(request.client_public),
            "proof": wire.b64(request.proof),
            "name": request.name,
        }
        tx.push(recipient_of_site(site), "join.request", body)
        return State(join, "pending")

    def _site(self, connection: Connection, request: Request) -> str:
        """Return the site that can be joined by this invitation now. Raises Refused(NOT_FOUND)."""
        site: str | None = connection.execute(
            select(invitations.c.site)
            .join(sites, sites.c.id == invitations.c.site)
            .where(
                invitations.c.id == request.invitation,
                invitations.c.kind == "guest",
                # Also one that was used: the home then tells its owner that the link was opened twice.
                invitations.c.state != "withdrawn",
                invitations.c.expires > self._ras.clock.now_ms(),
                sites.c.suspended.is_(False),
            )
        ).scalar()
        if site is None:
            raise Refused(Status.NOT_FOUND)
        return site

    def _fetch(self, tx: Transaction, request: Request, *, bearer: bool) -> State:
        """Hand out the answer with a new session; the ones that this join made before end."""
        row = _find(tx.connection, request)
        if row is None:
            raise Refused(Status.NOT_FOUND)
        _check_same(row, request)  # it may be done meanwhile
        user = tx.execute(select(users.c.email).where(users.c.id == row.id)).first()
        if user is None:
            raise Refused(Status.NOT_FOUND)
        if user.email is not None:
            # Meanwhile there is a way to sign in, perhaps with a second step: the link is not a way around it.
            return _state(row)
        self._ras.sessions.end(tx, row.id)
        token = self._ras.sessions.create(tx, row.id, "join", bearer=bearer)
        return _state(row, token)

    async def done(self, join: str, user: str, proof: bytes) -> None:
        """Pass the client's proof that it has its keys on to the home. The same again is done already.

        Raises Refused(NOT_FOUND), and EXISTS for another proof.
        """

        def job(tx: Transaction) -> None:
            row = tx.execute(
                select(joins, invitations.c.site)
                .join(invitations, invitations.c.id == joins.c.invitation)
                .where(joins.c.id == join, joins.c.user == user, joins.c.state == "answered")
            ).first()
            if row is None:
                raise Refused(Status.NOT_FOUND)
            if row.done is not None:
                if not hmac.compare_digest(bytes(row.done), proof):
                    raise Refused(Status.EXISTS)
                return
            # The client has its keys: the box is of no more use to anybody.
            tx.execute(joins.update().where(joins.c.id == join).values(done=proof, box=None))
            body = {"invitation": row.invitation, "join": join, "user": user}
            tx.push(recipient_of_site(row.site), "join.done", body | {"done": wire.b64(proof)})

        await self._ras.store.write(job)


def _find(connection: Connection, request: Request) -> Row[Any] | None:
    return connection.execute(
        select(joins, invitations.c.site)
        .join(invitations, invitations.c.id == joins.c.invitation)
        .where(
            joins.c.invitation == request.invitation,
            joins.c.client_public == request.client_public,
        )
    ).first()


def _check_same(row: Row[Any], request: Request) -> None:
    if not hmac.compare_digest(bytes(row.proof), request.proof) or row.done is not None:
        raise Refused(Status.NOT_FOUND)


def _state(row: Row[Any], token: str = "") -> State:
    if row.state != "answered":
        return State(row.id, row.state)
    return State(
        row.id, row.state, row.site, row.user, bytes(row.home_public), bytes(row.box), token
    )


@messages.on("join.answer", JoinAnswer)
async def join_answer(link: Link, body: JoinAnswer) -> Mapping[str, Any]:
    """Take the home's answer, once; the same again is done already, another one is refused (22).

    An answer to a join that is gone is refused (21): the invitation was withdrawn, or 7 days are over.
    """
    answered = body.outcome == "answered"
    if answered != bool(body.home_public) or answered != bool(body.box):
        raise Refused(Status.MALFORMED, "home_public and box go with outcome answered")
    home_public = box = None
    if answered:
        home_public = check_point(
            wire.unb64(body.home_public, 65, field="home_public"), "home_public"
        )
        box = wire.unb64(body.box, field="box")
        if len(box) > BOX:
            raise Refused(Status.TOO_LARGE, "box")

    def job(tx: Transaction) -> None:
        row = tx.execute(
            select(joins, invitations.c.state.label("invitation_state"))
            .join(invitations, invitations.c.id == joins.c.invitation)
            .where(joins.c.id == body.join, invitations.c.site == link.site)
        ).first()
        if row is None:
            raise Refused(Status.NOT_FOUND)
        if row.state != "pending":
            same = row.state == body.outcome and (
                row.done is not None or (row.home_public, row.box) == (home_public, box)
            )
            if not same:
                raise Refused(Status.EXISTS)
            return
        if answered:
            if row.invitation_state != "open":
                raise Refused(Status.EXISTS)
            _admit(tx, link.site, row)
        elif body.outcome == "refused" and row.invitation_state in ("joined", "done"):
            tx.audit(link.site, "join.opened_twice", invitation=row.invitation)
        tx.execute(
            joins.update()
            .where(joins.c.id == row.id)
            .values(state=body.outcome, home_public=home_public, box=box)
        )

    await link.write(job)
    return {}


def _admit(tx: Transaction, site: str, row: Row[Any]) -> None:
    """Give the joined person a user, if it has none, and a membership that waits for the home's last word."""
    user = row.user
    if user is None:
        user = row.id
        tx.execute(users.insert().values(id=user, name=row.name, created=tx.now))
        tx.execute(joins.update().where(joins.c.id == row.id).values(user=user))
    add_pending(tx, site, user, "member")
    tx.execute(
        invitations.update()
        .where(invitations.c.id == row.invitation)
        .values(state="joined", user=user)
    )
    tx.audit(site, "invitation.joined", invitation=row.invitation, user=user)


def opened_twice(connection: Connection, site: str) -> set[str]:
    """Return the invitations that another client tried to use after the first: their links were seen by others."""
    return set(
        connection.execute(
            select(invitations.c.id)
            .join(joins, joins.c.invitation == invitations.c.id)
            .where(
                invitations.c.site == site,
                invitations.c.state.in_(("joined", "done")),
                joins.c.state == "refused",
            )
        ).scalars()
    )
