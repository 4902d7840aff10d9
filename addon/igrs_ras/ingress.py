"""The owner's page inside Home Assistant (docs/ras.md, "The page in Home Assistant"): a listener of its own.

The page has the same origin as Home Assistant and every other app's page, so nothing is kept in the browser: no cookie,
no key, no service worker. Who calls is said anew by each request, in headers that the Supervisor sets and that only its
address can bring (the listener reads nothing from others). The page takes away and never creates.
"""

import hashlib
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web
from sqlalchemy import Connection, func, select

from igrs_ras import joins, wire
from igrs_ras import members as people
from igrs_ras.api.app import note, refusal, request_id, success
from igrs_ras.status import Refused, Status
from igrs_ras.storage.store import Transaction
from igrs_ras.storage.tables import (
    audit,
    checkpoints,
    gateways,
    grants,
    invitations,
    locks,
    members,
    sites,
    users,
)
from igrs_ras.wire import Answer

if TYPE_CHECKING:
    from igrs_ras.api.listen import Guard
    from igrs_ras.ras import Ras

_LOGGER = logging.getLogger(__name__)

USER_HEADER: Final = "X-Remote-User-Id"
OWN_HEADER: Final = "X-IGRS-Ingress"
RECORDS: Final = 20  # of the audit, the last ones

_PAGES = Path(__file__).parent / "pages"
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
# A user of Home Assistant: `uuid4().hex` there; other forms are let through as long as they are one plain word.
_USER = re.compile(r"[A-Za-z0-9_-]{1,64}")

HEADERS: Final = {
    # Home Assistant shows the page in a frame of the same origin.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'self'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Server": "igrs-ras",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "interest-cohort=()",
}

type _Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class LinkShown(Answer):
    """The home's link. `fingerprint` names the gateway's key."""

    online: bool
    enrolled: int
    seen: int | None
    fingerprint: str


class MemberShown(Answer):
    """A member. `locks`: to how many locks they may relay."""

    user: str
    name: str
    role: str
    state: str
    locks: int
    created: int


class InvitationShown(Answer):
    """An invitation that can still be used or is not completed. `twice`: a second client tried to use it."""

    id: str
    kind: str
    state: str
    created: int
    expires: int
    twice: bool


class LockShown(Answer):
    """A lock. `members`: how many may relay to it."""

    device: str
    members: int
    created: int


class RecordShown(Answer):
    """An entry of the audit, as far as the page tells it."""

    i: int
    time: int
    what: str
    user: str = ""
    device: str = ""
    outcome: str = ""


class CheckpointShown(Answer):
    """The last signed checkpoint: up to which entry, and when."""

    last: int
    time: int


class SiteShown(Answer):
    """A site as its owner's page shows it."""

    id: str
    name: str
    suspended: bool
    link: LinkShown
    members: list[MemberShown]
    invitations: list[InvitationShown]
    locks: list[LockShown]
    audit: list[RecordShown]
    checkpoint: CheckpointShown | None


class HomeShown(Answer):
    """What a user may see: the sites whose home names them."""

    sites: list[SiteShown]


def make_app(ras: Ras, guard: Guard) -> web.Application:
    """Return the application of `ingress_listen`. It must be given connections of the Supervisor only."""
    page = _Page(ras, guard)
    app = web.Application(client_max_size=1024, middlewares=[page.middleware])
    for path in _FILES:
        app.router.add_get(path, page.file)
    app.router.add_get("/api/home", page.home)
    app.router.add_delete("/api/sites/{site}/members/{user}", page.remove_member)
    app.router.add_delete("/api/sites/{site}/invitations/{invitation}", page.withdraw)
    return app


class _Page:
    """The routes, and what holds for each."""

    def __init__(self, ras: Ras, guard: Guard) -> None:
        self._ras = ras
        self._guard = guard
        self._files = {
            path: ((_PAGES / name).read_bytes(), kind) for path, (name, kind) in _FILES.items()
        }
        self.middleware = web.middleware(partial(self._run))  # a method cannot be marked as one

    async def _run(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        started = time.perf_counter()
        with self._guard.serving(request.protocol):
            response = await self._answer(request, handler)
        for name, value in HEADERS.items():
            response.headers[name] = value
        note(self._ras, request, response, started, prefix="ingress ")
        return response

    async def _answer(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            _user(request)
            _own_page(request)
            return await handler(request)
        except Refused as refused:
            return refusal(refused)
        except web.HTTPMethodNotAllowed as error:
            response = refusal(Refused(Status.NOT_PERMITTED, "method"))
            response.set_status(405)
            response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
            return response
        except web.HTTPException as error:
            return refusal(Refused(Status.NOT_FOUND if error.status == 404 else Status.MALFORMED))
        except Exception:
            _LOGGER.exception("a request failed", extra={"request_id": request_id(request)})
            return refusal(Refused(Status.FAILED))

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Answer with the page or one of its two files: the same for everybody."""
        body, kind = self._files[request.path]
        return web.Response(body=body, content_type=kind, charset="utf-8")

    async def home(self, request: web.Request) -> web.StreamResponse:
        """Answer with the sites whose home names the user (20 if none does)."""
        user = _user(request)
        found = await self._ras.store.read(lambda connection: self._homes(connection, user))
        if not found:
            raise Refused(Status.NOT_PERMITTED)
        return success(HomeShown(sites=found))

    def _homes(self, connection: Connection, user: str) -> list[SiteShown]:
        rows = connection.execute(_LOCAL.order_by(sites.c.name, sites.c.id)).all()
        now = self._ras.clock.now_ms()
        return [
            _show(connection, row, online=self._ras.gateways.link_of(row.id) is not None, now=now)
            for row in rows
            if user in self._ras.gateways.admins(row.id)
        ]

    async def remove_member(self, request: web.Request) -> web.StreamResponse:
        """Remove a member, as an owner's DELETE of the public interface does."""
        admin, site, member = _user(request), _id(request, "site"), _id(request, "user")

        def job(tx: Transaction) -> None:
            self._admit(tx.connection, site, admin)
            if not people.end_member(self._ras, tx, site, member, tell_home=True):
                raise Refused(Status.NOT_FOUND)

        await self._ras.store.write(job)
        _LOGGER.info("a member was removed", extra={"site": site, "user": member, "by": admin})
        return success(None)

    async def withdraw(self, request: web.Request) -> web.StreamResponse:
        """Withdraw an invitation, as an owner's DELETE of the public interface does."""
        admin, site, invitation = _user(request), _id(request, "site"), _id(request, "invitation")

        def job(tx: Transaction) -> None:
            self._admit(tx.connection, site, admin)
            if not people.withdraw(self._ras, tx, site, invitation, tell_home=True):
                raise Refused(Status.NOT_FOUND)

        await self._ras.store.write(job)
        _LOGGER.info(
            "an invitation was withdrawn",
            extra={"site": site, "invitation": invitation, "by": admin},
        )
        return success(None)

    def _admit(self, connection: Connection, site: str, user: str) -> None:
        """Refuse (21) who is not named by this site's home. Somebody else's site and no site are answered alike."""
        row = connection.execute(_LOCAL.where(sites.c.id == site)).first()
        if row is None or user not in self._ras.gateways.admins(site):
            raise Refused(Status.NOT_FOUND)


# Sites with a gateway that came over the Supervisor's network: only such a home speaks for this Home Assistant.
_LOCAL = (
    select(sites, gateways.c.public_key, gateways.c.seen, gateways.c.created.label("enrolled"))
    .join(gateways, gateways.c.site == sites.c.id)
    .where(gateways.c.local, gateways.c.revoked.is_(None))
)


def _user(request: web.Request) -> str:
    """Return the user of Home Assistant. Refuses (20) a request that does not say exactly one."""
    given = request.headers.getall(USER_HEADER, [])
    if len(given) != 1 or _USER.fullmatch(given[0]) is None:
        raise Refused(Status.NOT_PERMITTED, "open this page in Home Assistant")
    return given[0]


def _own_page(request: web.Request) -> None:
    """Refuse (20) a call without the page's header: no form or link can set it, no script of another origin may."""
    if request.path.startswith("/api/") and request.headers.getall(OWN_HEADER, []) != ["1"]:
        raise Refused(Status.NOT_PERMITTED, f"{OWN_HEADER} is missing")


def _id(request: web.Request, name: str) -> str:
    value = request.match_info[name]
    if not wire.is_id(value):
        raise Refused(Status.NOT_FOUND)
    return value


def _show(connection: Connection, site: Any, *, online: bool, now: int) -> SiteShown:
    return SiteShown(
        id=site.id,
        name=site.name,
        suspended=site.suspended,
        link=LinkShown(
            online=online,
            enrolled=site.enrolled,
            seen=site.seen,
            fingerprint=hashlib.sha256(site.public_key).hexdigest()[:16],
        ),
        members=_members(connection, site.id),
        invitations=_invitations(connection, site.id, now),
        locks=_locks(connection, site.id),
        audit=_audit(connection, site.id),
        checkpoint=_checkpoint(connection, site.id),
    )


def _members(connection: Connection, site: str) -> list[MemberShown]:
    counted = (
        select(func.count())
        .where(grants.c.site == members.c.site, grants.c.user == members.c.user)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(members, users.c.name, counted.label("locks"))
        .join(users, users.c.id == members.c.user)
        .where(members.c.site == site)
    ).all()
    found = [
        MemberShown(
            user=row.user,
            name=row.name,
            role=row.role,
            state=row.state,
            locks=row.locks,
            created=row.created,
        )
        for row in rows
    ]
    return sorted(found, key=lambda one: (one.role != "owner", one.name.casefold(), one.user))


def _invitations(connection: Connection, site: str, now: int) -> list[InvitationShown]:
    twice = joins.opened_twice(connection, site)
    rows = connection.execute(
        select(invitations)
        .where(
            invitations.c.site == site,
            (invitations.c.state == "joined")
            | ((invitations.c.state == "open") & (invitations.c.expires > now)),
        )
        .order_by(invitations.c.created.desc(), invitations.c.id)
    ).all()
    return [
        InvitationShown(
            id=row.id,
            kind=row.kind,
            state=row.state,
            created=row.created,
            expires=row.expires,
            twice=row.id in twice,
        )
        for row in rows
    ]


def _locks(connection: Connection, site: str) -> list[LockShown]:
    counted = (
        select(func.count())
        .where(grants.c.site == locks.c.site, grants.c.device == locks.c.device)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(locks, counted.label("members")).where(locks.c.site == site).order_by(locks.c.device)
    ).all()
    return [LockShown(device=row.device, members=row.members, created=row.created) for row in rows]


def _audit(connection: Connection, site: str) -> list[RecordShown]:
    rows = connection.execute(
        select(audit.c.i, audit.c.time, audit.c.entry)
        .where(audit.c.site == site)
        .order_by(audit.c.i.desc())
        .limit(RECORDS)
    ).all()
    found = []
    for row in rows:
        entry = json.loads(row.entry)
        texts = {name: str(entry[name]) for name in ("user", "device", "outcome") if name in entry}
        found.append(RecordShown(i=row.i, time=row.time, what=str(entry["what"]), **texts))
    return found


def _checkpoint(connection: Connection, site: str) -> CheckpointShown | None:
    row = connection.execute(
        select(checkpoints.c.last, checkpoints.c.time)
        .where(checkpoints.c.site == site)
        .order_by(checkpoints.c.last.desc())
        .limit(1)
    ).first()
    return CheckpointShown(last=row.last, time=row.time) if row is not None else None
