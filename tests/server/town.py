"""Homes with people, doors and everything else that the server knows of them, made over its real interfaces."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyotp
from home import Home, Invitation
from igrs_ras.clock import SystemClock
from igrs_ras.storage.engine import open_engine
from igrs_ras.storage.tables import (
    enrolments,
    gateways,
    invitations,
    joins,
    locks,
    members,
    metadata,
    passkeys,
    server,
    sessions,
    sites,
)
from peer import PATIENCE, Closed, b64, write_code
from phone import Phone
from sqlalchemy import insert, select

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Database
    from sqlalchemy import Connection

PASSWORD = "correct horse battery staple"
HOUR_MS = 3600 * 1000


@contextlib.contextmanager
def rows_of(database: Database) -> Any:
    """The database itself, beside the server: for what an operator or a thief does, and to look at what is stored."""
    url = database.url or f"sqlite:///{database.folder / 'ras.sqlite3'}"
    engine = open_engine(url, readers=1)
    try:
        with engine.connect() as connection, connection.begin():
            yield connection
    finally:
        engine.dispose()


def dump(connection: Connection, *, without: set[str] = frozenset()) -> dict[str, list[Any]]:  # type: ignore[assignment]
    """Every row of every table, sorted; columns or tables in `without` are left out ("table" or "table.column")."""
    found = {}
    for table in metadata.sorted_tables:
        if table.name in without:
            continue
        columns = [item for item in table.c if f"{table.name}.{item.name}" not in without]
        rows = [tuple(row) for row in connection.execute(select(*columns))]
        found[table.name] = sorted(rows, key=repr)
    return found


def new_site(connection: Connection, name: str, now: int, *, site: str = "") -> str:
    """Make a site, or take one, and return an enrolment code for it, as `gateway code` does."""
    code = secrets.token_bytes(10)
    if not site:
        site = secrets.token_hex(16)
        generation = connection.execute(select(server.c.generation)).scalar_one_or_none() or now
        connection.execute(
            insert(sites).values(id=site, name=name, generation=generation, created=now)
        )
    connection.execute(
        insert(enrolments).values(
            hash=hashlib.sha256(code).digest(), site=site, created=now, expires=now + HOUR_MS
        )
    )
    return write_code(code)


@dataclass
class Residence:
    """A home, its owner with an account and a member who joined by a link."""

    home: Home
    owner: Phone
    member: Phone
    email: str
    devices: list[str]
    owner_code: str
    invitation: Invitation
    others: list[Any] = field(default_factory=list)  # whoever else has to be closed at the end

    @property
    def site(self) -> str:
        return self.home.site

    @property
    def url(self) -> str:
        return self.home.url

    async def close(self) -> None:
        for one in (self.home, self.owner, self.member, *self.others):
            with contextlib.suppress(Closed, ConnectionError):
                await one.close()
            await one.http.close()


def device_id() -> str:
    return "C4" + secrets.token_hex(5).upper()


async def settle(
    url: str,
    code: str,
    *,
    now: Callable[[], int] | None = None,
    name: str = "Olga",
    origin: str = "",
) -> Residence:
    """Enrol a home with two locks, let its owner claim it, and a member join for the first lock. All are connected.

    `origin`: the server's public address, if people come by another one than `url`.
    """
    clock = now or SystemClock().now_ms
    home = Home(url, now=clock)
    if origin:
        await home.http.call("GET", "/healthz", Host=origin.removeprefix("https://"))
    await home.enrol(code)
    await home.connect()
    devices = sorted((device_id(), device_id()))
    for device in devices:
        await home.register_lock(device)
    owner = Phone(url, name=name, now=clock)
    email = f"{name.lower()}.{secrets.token_hex(4)}@example.org"
    owner_code = await home.owner_code()
    await owner.claim(owner_code, email, PASSWORD)
    owner.site = home.site
    await home.until(lambda: owner.user in home.members)
    invitation = await home.invite([devices[0]])
    member = Phone(url, name=f"{name}'s guest", now=clock)
    await member.join(invitation)
    await owner.connect()
    await member.connect()
    return Residence(home, owner, member, email, devices, owner_code, invitation)


@dataclass
class Caller:
    """Somebody who calls the interface: with a bearer token, with a browser's cookie, or as nobody."""

    token: str = ""
    cookie: str = ""
    user: str = ""

    def headers(self, origin: str) -> dict[str, str]:
        if self.cookie:
            return {"Cookie": f"__Host-igrs={self.cookie}", "Origin": origin}
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


@dataclass
class Furnished:
    """All that a site can have: its people by what they are, and the ids of everything, by the name in a path."""

    place: Residence
    callers: dict[str, Caller]
    ids: dict[str, list[str]]
    totp: str  # the owner's secret
    recovery: list[str]

    @property
    def site(self) -> str:
        return self.place.site


async def furnish(place: Residence, database: Database, origin: str) -> Furnished:
    """Add to a home: a browser that joined, somebody who waits to be let in, an unanswered join, an open invitation,
    a second session, an authenticator app and a passkey of the owner, a session whose second step is missing.
    """
    home, owner, now = place.home, place.owner, place.owner.now
    callers = {
        "anybody": Caller(),
        "member": Caller(place.member.token, user=place.member.user),
        "gateway": Caller(home.token),
        "joined": await join_in_browser(place, origin),
        "newcomer": await ask_only(place),
    }
    await home.invite(place.devices)
    home.auto_join = False
    waiting = Phone(place.url, name="Waiting", now=now)
    place.others.append(waiting)
    invitation = await home.invite(place.devices)
    seen = len(home.events)
    assert (await waiting.ask(invitation))["state"] == "pending"
    await home.until(
        lambda: any(
            event["body"].get("invitation") == invitation.id for event in home.events[seen:]
        )
    )
    await asyncio.sleep(0)  # so that the home has passed it over
    home.auto_join = True
    second = Phone(place.url, name="Second", now=now)
    place.others.append(second)
    await second.sign_in(place.email, PASSWORD)
    secret = (await owner.call("POST", "/api/v1/me/totp"))["secret"]
    code = pyotp.TOTP(secret).at(now() // 1000)
    added = await owner.call("POST", "/api/v1/me/totp/confirm", {"code": code})
    callers["owner"] = Caller(owner.token, user=owner.user)
    pending = await owner.http.call(
        "POST",
        "/api/v1/sessions",
        {"email": place.email, "password": PASSWORD, "kind": "bearer"},
    )
    assert pending["second_step"] == "needed"
    callers["pending"] = Caller(pending["token"], user=owner.user)
    with rows_of(database) as rows:
        values = {
            "credential": secrets.token_bytes(32),
            "id": secrets.token_hex(16),
            "user": owner.user,
        }
        key = {
            "public_key": secrets.token_bytes(77),
            "sign_count": 1,
            "name": "phone",
            "created": now(),
        }
        rows.execute(insert(passkeys).values(values | key))
        ids = ids_of(rows, place.site)
    return Furnished(place, callers, ids, secret, added["recovery_codes"])


async def join_in_browser(place: Residence, origin: str) -> Caller:
    """Join as a page of the server's own origin does: its session is a cookie."""
    browser = Phone(place.url, name="Browser", now=place.owner.now)
    place.others.append(browser)
    invitation = await place.home.invite([place.devices[0]])
    await place.home.until(lambda: place.home.connected)
    cookie = ""
    while not cookie:
        async with browser.http.session.post(
            place.url + "/api/v1/joins",
            json=browser.join_body(invitation),
            headers={"Origin": origin},
        ) as response:
            answer = (await response.json())["data"]
            found = response.cookies.get("__Host-igrs")
            cookie = found.value if found else ""
    browser.open_box(invitation, answer)
    browser.join_id, browser.user, browser.site = answer["join"], answer["user"], answer["site"]
    caller = Caller(cookie=cookie, user=browser.user)
    proof = b64(hmac.digest(browser._done_key, b"done", "sha256"))
    await browser.http.call(
        "POST", f"/api/v1/joins/{browser.join_id}/done", {"done": proof}, **caller.headers(origin)
    )
    await place.home.until(lambda: browser.user in place.home.members)
    return caller


async def ask_only(place: Residence) -> Caller:
    """Ask to join and get the home's answer, but do not say that it came: the membership stays pending."""
    newcomer = Phone(place.url, name="Newcomer", now=place.owner.now)
    place.others.append(newcomer)
    invitation = await place.home.invite(place.devices)
    async with asyncio.timeout(PATIENCE):
        while (await newcomer.ask(invitation))["state"] == "pending":  # noqa: ASYNC110  as a page asks again
            await asyncio.sleep(0.01)
    return Caller(newcomer.token, user=newcomer.user)


def ids_of(rows: Connection, site: str) -> dict[str, list[str]]:
    """The ids of everything of a site, by the name under which they stand in paths and bodies."""
    people = list(rows.execute(select(members.c.user).where(members.c.site == site)).scalars())

    def found(column: Any, *where: Any) -> list[str]:
        return sorted(rows.execute(select(column).where(*where)).scalars())

    return {
        "site": [site],
        "user": sorted(people),
        "device": found(locks.c.device, locks.c.site == site),
        "invitation": found(invitations.c.id, invitations.c.site == site),
        "join": found(
            joins.c.id,
            joins.c.invitation.in_(select(invitations.c.id).where(invitations.c.site == site)),
        ),
        "session": found(sessions.c.id, sessions.c.user.in_(people)),
        "gateway": found(gateways.c.id, gateways.c.site == site),
        "passkey": found(passkeys.c.id, passkeys.c.user.in_(people)),
    }
