"""The owner's page inside Home Assistant: who gets in, what it shows, what it takes away, and what it never does."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import hashlib
import io
import ipaddress
import logging
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from aiohttp import web
from conftest import Api, Database, MovedClock, Reply, base_of, eventually, make_settings
from home import Home
from house import COOKIE, House
from igrs_ras import codes, ingress, logs, wire
from igrs_ras.api.listen import Guard, Listening
from igrs_ras.api.route import Listener
from igrs_ras.clock import SystemClock
from igrs_ras.ras import Ras
from igrs_ras.status import Status
from igrs_ras.storage.tables import enrolments, members, sites, users
from igrs_ras.supervisor import TOKEN_VARIABLE
from peer import Denied
from phone import Phone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import aiohttp
    from igrs_ras.settings import Settings
    from igrs_ras.storage.store import Transaction

ADMIN = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"
LOCK = "C4112233445F"
OWN = {ingress.OWN_HEADER: "1"}


def as_user(user: str) -> dict[str, str]:
    return {ingress.USER_HEADER: user, **OWN}


@pytest.fixture
def settings(database: Database) -> Settings:
    return make_settings(database, ingress_listen="127.0.0.1:0")


@pytest.fixture
async def ras(settings: Settings, clock: MovedClock) -> AsyncIterator[Ras]:
    """A server whose page takes this machine for the Supervisor."""
    running = Ras(
        settings,
        clock,
        local_networks=[ipaddress.ip_network("127.0.0.0/8")],
        ingress_peer="127.0.0.1",
        tick_seconds=0.2,
    )
    await running.open()
    yield running
    await running.close()


class Page:
    """Calls the page as the Supervisor does."""

    def __init__(self, ras: Ras, http: aiohttp.ClientSession) -> None:
        self.base = base_of(ras, Listener.INGRESS)
        self._http = http

    async def __call__(
        self, method: str, path: str, headers: dict[str, str] | None = None
    ) -> Reply:
        async with self._http.request(method, self.base + path, headers=headers or {}) as response:
            read = await response.json() if response.content_type == "application/json" else {}
            return Reply(
                response.status, read.get("status", -1), read.get("data"), response.headers
            )


@pytest.fixture
def page(ras: Ras, http: aiohttp.ClientSession) -> Page:
    return Page(ras, http)


async def new_code(ras: Ras, name: str, *, local: bool) -> str:
    """A site and an enrolment code for it."""
    raw, text = codes.new()

    def job(tx: Transaction) -> None:
        site = wire.new_id()
        tx.execute(sites.insert().values(id=site, name=name, generation=1, created=tx.now))
        tx.execute(
            enrolments.insert().values(
                hash=hashlib.sha256(raw).digest(), site=site, local=local, created=tx.now,
                expires=tx.now + 3_600_000,
            )
        )  # fmt: skip

    await ras.store.write(job)
    return text


class Homes:
    """Makes homes with a link, and closes them."""

    def __init__(self, ras: Ras, clock: MovedClock) -> None:
        self._ras = ras
        self._clock = clock
        self._open: list[Any] = []

    async def __call__(
        self, name: str = "Home", *, local: bool = True, admins: tuple[str, ...] = (ADMIN,)
    ) -> Home:
        listener = Listener.LOCAL if local else Listener.PUBLIC
        home = Home(base_of(self._ras, listener), now=self._clock.now_ms)
        self._open.append(home)
        await home.enrol(await new_code(self._ras, name, local=local))
        home.admins = list(admins)
        await home.connect()
        # Somebody outside gets through: before that nobody can be invited.
        await Api(home.http.session, base_of(self._ras))("GET", "/healthz")
        return home

    async def guest(self, home: Home, name: str = "Alma") -> Phone:
        """Somebody who joined by a link."""
        phone = Phone(base_of(self._ras), name=name, now=self._clock.now_ms)
        self._open.append(phone)
        await phone.join(await home.invite())
        return phone

    async def close(self) -> None:
        for one in reversed(self._open):
            await one.close()


@pytest.fixture
async def homes(ras: Ras, clock: MovedClock) -> AsyncIterator[Homes]:
    made = Homes(ras, clock)
    yield made
    await made.close()


async def shown(page: Page, user: str = ADMIN) -> dict[str, Any]:
    """The one site that a user sees."""
    reply = await page("GET", "/api/home", as_user(user))
    assert (reply.http, reply.status) == (200, 0)
    (site,) = reply.data["sites"]
    found: dict[str, Any] = site
    return found


# Who gets in.


async def test_an_administrator_whom_the_home_names_sees_its_site(page: Page, homes: Homes) -> None:
    home = await homes("Ferienhaus")
    await home.register_lock(LOCK)
    phone = await homes.guest(home)
    invitation = await home.invite()
    site = await shown(page)
    assert (site["id"], site["name"], site["suspended"]) == (home.site, "Ferienhaus", False)
    assert site["link"]["online"] is True
    assert [
        (one["user"], one["name"], one["role"], one["state"], one["locks"])
        for one in site["members"]
    ] == [(phone.user, "Alma", "member", "active", 1)]
    assert [(one["id"], one["kind"], one["state"]) for one in site["invitations"]] == [
        (invitation.id, "guest", "open")
    ]
    assert [(one["device"], one["members"]) for one in site["locks"]] == [(LOCK, 1)]
    records = [one["i"] for one in site["audit"]]
    assert records == sorted(records, reverse=True)
    assert {"lock.registered", "member.added", "invitation.created"} <= {
        one["what"] for one in site["audit"]
    }


async def test_case_65_a_user_who_is_no_administrator_is_told_where_to_go_instead(
    page: Page, homes: Homes
) -> None:
    await homes()
    assert (await page("GET", "/", as_user(OTHER))).http == 200
    reply = await page("GET", "/api/home", as_user(OTHER))
    assert (reply.http, reply.status, reply.data) == (403, Status.NOT_PERMITTED, None)


async def test_case_65_who_is_no_administrator_cannot_take_anything_away(
    page: Page, homes: Homes
) -> None:
    home = await homes()
    phone = await homes.guest(home)
    invitation = await home.invite()
    for path in paths(home.site, phone.user, invitation.id):
        reply = await page("DELETE", path, as_user(OTHER))
        assert reply.status == Status.NOT_FOUND
    site = await shown(page)
    assert len(site["members"]) == len(site["invitations"]) == 1


def paths(site: str, user: str, invitation: str) -> list[str]:
    return [f"/api/sites/{site}/members/{user}", f"/api/sites/{site}/invitations/{invitation}"]


async def test_nobody_gets_in_while_no_home_is_enrolled(page: Page) -> None:
    assert (await page("GET", "/api/home", as_user(ADMIN))).status == Status.NOT_PERMITTED


async def test_a_home_that_came_over_the_internet_names_nobody_here(
    page: Page, homes: Homes
) -> None:
    home = Home(base_of(homes._ras), now=homes._clock.now_ms)
    await home.enrol(await new_code(homes._ras, "Elsewhere", local=False))
    await home.connect()
    try:
        with pytest.raises(Denied):
            await home.request("home.admins", {"users": [ADMIN]})
        assert (await page("GET", "/api/home", as_user(ADMIN))).status == Status.NOT_PERMITTED
    finally:
        await home.close()


async def test_another_sites_administrator_sees_and_ends_only_his_own(
    page: Page, homes: Homes
) -> None:
    mine, theirs = await homes("Mine"), await homes("Theirs", admins=(OTHER,))
    phone = await homes.guest(theirs)
    invitation = await theirs.invite()
    assert (await shown(page))["id"] == mine.site
    for path in paths(theirs.site, phone.user, invitation.id):
        assert (await page("DELETE", path, as_user(ADMIN))).status == Status.NOT_FOUND
    # The right site with somebody else's ids.
    for path in paths(mine.site, phone.user, invitation.id):
        assert (await page("DELETE", path, as_user(ADMIN))).status == Status.NOT_FOUND
    site = await shown(page, OTHER)
    assert len(site["members"]) == len(site["invitations"]) == 1


async def test_five_minutes_without_a_link_shut_everybody_out(
    page: Page, homes: Homes, clock: MovedClock, ras: Ras
) -> None:
    home = await homes()
    await home.close()
    await eventually(lambda: ras.gateways.link_of(home.site) is None)
    site = await shown(page)
    assert site["link"]["online"] is False
    clock.advance(299)
    assert (await page("GET", "/api/home", as_user(ADMIN))).status == 0
    clock.advance(2)
    assert (await page("GET", "/api/home", as_user(ADMIN))).status == Status.NOT_PERMITTED


async def test_a_user_whom_the_home_names_no_more_is_out_at_once(page: Page, homes: Homes) -> None:
    home = await homes()
    await home.request("home.admins", {"users": [OTHER]})
    assert (await page("GET", "/api/home", as_user(ADMIN))).status == Status.NOT_PERMITTED
    assert (await page("GET", "/api/home", as_user(OTHER))).status == 0


# Headers.


PATHS = ("/", "/page.js", "/page.css", "/api/home", "/nothing")


async def test_a_request_without_a_user_is_refused(page: Page) -> None:
    for path in PATHS:
        reply = await page("GET", path, OWN)
        assert (path, reply.http, reply.status) == (path, 403, Status.NOT_PERMITTED)


async def test_a_user_that_is_none_is_refused(page: Page) -> None:
    for user in ("", " ", "a b", "a,b", "a" * 65, "../x", "<b>", "é"):
        assert (user, (await page("GET", "/", {ingress.USER_HEADER: user})).http) == (user, 403)


async def test_two_users_in_one_request_are_refused(ras: Ras, homes: Homes) -> None:
    await homes()
    head = f"GET /api/home HTTP/1.1\r\nHost: x\r\n{ingress.OWN_HEADER}: 1\r\nConnection: close\r\n"
    both = head + f"{ingress.USER_HEADER}: {OTHER}\r\n{ingress.USER_HEADER}: {ADMIN}\r\n\r\n"
    assert (await raw(ras, both)).startswith(b"HTTP/1.1 403 ")


async def raw(ras: Ras, text: str) -> bytes:
    """Send bytes as they are; return the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", ras.ports[Listener.INGRESS])
    writer.write(text.encode())
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_call_without_the_pages_own_header_is_refused(page: Page, homes: Homes) -> None:
    home = await homes()
    phone = await homes.guest(home)
    path = paths(home.site, phone.user, "0" * 32)[0]
    for own in (None, "", "0", "true"):
        headers = {ingress.USER_HEADER: ADMIN} | ({} if own is None else {ingress.OWN_HEADER: own})
        for reply in (await page("GET", "/api/home", headers), await page("DELETE", path, headers)):
            assert (own, reply.http, reply.status) == (own, 403, Status.NOT_PERMITTED)
    assert len((await shown(page))["members"]) == 1


async def test_no_other_origin_is_allowed_to_set_that_header(page: Page) -> None:
    asked = {
        **as_user(ADMIN),
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Headers": ingress.OWN_HEADER,
    }
    reply = await page("OPTIONS", "/api/home", asked)
    assert reply.http == 405
    assert not [name for name in reply.headers if name.lower().startswith("access-control-")]


async def test_every_answer_keeps_the_browser_strict_and_keeps_nothing_in_it(
    page: Page, homes: Homes
) -> None:
    await homes()
    for path in PATHS:
        headers = (await page("GET", path, as_user(ADMIN))).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "require-trusted-types-for 'script'" in policy
        assert "frame-ancestors 'self'" in policy
        assert "unsafe" not in policy
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Set-Cookie" not in headers
        assert "Python" not in headers["Server"]


# The peer.


async def test_the_page_is_shut_without_a_supervisor(settings: Settings, clock: MovedClock) -> None:
    running = Ras(settings, clock)
    await running.open()
    try:
        assert Listener.INGRESS not in running.ports
    finally:
        await running.close()


async def test_only_the_supervisors_address_is_listened_to(
    settings: Settings, clock: MovedClock, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "x")
    running = Ras(make_settings(database, ingress_listen="127.0.0.1:0", local_listen=""), clock)
    await running.open()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.ports[Listener.INGRESS])
        # Nothing was sent, so nothing was read: the connection ends for its address alone.
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
    finally:
        await running.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_connection_from_elsewhere_ends_before_anything_is_read(run: Any) -> None:
    """On both loops: the image's is uvloop."""
    asked: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request)
        return web.Response(text="here")

    async def ask(peer: str) -> bytes:
        app = web.Application()
        app.router.add_get("/", answer)
        listening = Listening(app, Guard(SystemClock(), 10), peer=peer)
        await listening.start("127.0.0.1", 0)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
            try:
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return await reader.read()
            except ConnectionError:
                return b""
            finally:
                writer.close()
        finally:
            await listening.stop()

    assert run(ask("127.0.0.1")).endswith(b"here")
    assert run(ask("127.0.0.2")) == b""
    assert run(ask("::ffff:127.0.0.1")) == b""
    assert len(asked) == 1


async def test_the_pages_address_serves_nothing_of_the_public_interface(page: Page) -> None:
    for path in ("/api/v1/server", "/healthz", "/readyz", "/metrics", "/api/v1/sites"):
        assert (await page("GET", path, as_user(ADMIN))).http == 404


async def test_the_public_address_serves_nothing_of_the_page(
    ras: Ras, http: aiohttp.ClientSession
) -> None:
    for listener in (Listener.PUBLIC, Listener.LOCAL):
        for path in ("/", "/page.js", "/api/home"):
            async with http.get(base_of(ras, listener) + path, headers=as_user(ADMIN)) as response:
                assert response.status == 404


# Logs.


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All logs, also those of libraries and at debug level."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


async def test_case_46_neither_a_header_nor_a_query_is_logged(
    ras: Ras, page: Page, homes: Homes, log: io.StringIO
) -> None:
    home = await homes()
    secret = secrets.token_hex(16)
    headers = as_user(ADMIN) | {"Cookie": f"{COOKIE}={secret}", "User-Agent": secret}
    await page("GET", f"/api/home?x={secret}", headers)
    await page("DELETE", f"/api/sites/{home.site}/members/{secret}", headers)
    await page("GET", f"/{secret}", headers)
    # Headers that cannot be read at all are what a library would write into its log.
    await raw(ras, f"GET / HTTP/1.1\r\nHost: x\r\nCookie : {COOKIE}={secret}\r\n\r\n")
    await raw(ras, f"GET / HTTP/1.1\r\nHost: x\r\nCookie: {COOKIE}={secret}\0\r\n\r\n")
    assert "aiohttp.http_exceptions." in log.getvalue()
    assert secret not in log.getvalue()


# What it takes away.


async def test_a_removed_member_is_out_and_the_home_is_told(
    page: Page, homes: Homes, ras: Ras
) -> None:
    home = await homes()
    await home.register_lock(LOCK)
    phone = await homes.guest(home)
    await phone.connect()
    reply = await page("DELETE", f"/api/sites/{home.site}/members/{phone.user}", as_user(ADMIN))
    assert (reply.http, reply.status) == (200, 0)
    assert (await home.event("member.left"))["user"] == phone.user
    await eventually(phone.peer.closed.done)
    site = await shown(page)
    assert site["members"] == []
    assert "member.ended" in {one["what"] for one in site["audit"]}
    again = await page("DELETE", f"/api/sites/{home.site}/members/{phone.user}", as_user(ADMIN))
    assert again.status == Status.NOT_FOUND


async def test_a_withdrawn_invitation_lets_nobody_join_and_the_home_is_told(
    page: Page, homes: Homes, ras: Ras, clock: MovedClock
) -> None:
    home = await homes()
    invitation = await home.invite()
    reply = await page(
        "DELETE", f"/api/sites/{home.site}/invitations/{invitation.id}", as_user(ADMIN)
    )
    assert (reply.http, reply.status) == (200, 0)
    assert (await home.event("invitation.withdrawn"))["invitation"] == invitation.id
    assert (await shown(page))["invitations"] == []
    late = Phone(base_of(ras), now=clock.now_ms)
    with pytest.raises(Denied) as denied:
        await late.ask(invitation)
    assert denied.value.status == Status.NOT_FOUND
    await late.close()


async def test_the_page_creates_and_changes_nothing(page: Page, homes: Homes) -> None:
    home = await homes()
    for path in ("/api/home", *paths(home.site, "0" * 32, "0" * 32)):
        for method in ("POST", "PUT", "PATCH"):
            assert (await page(method, path, as_user(ADMIN))).http == 405


async def test_an_id_that_is_none_is_not_there(page: Page, homes: Homes) -> None:
    home = await homes()
    for id_ in ("0", "0" * 31, "0" * 33, "A" * 32, "%00" * 32, "..%2f" * 8):
        for path in (*paths(home.site, id_, id_), *paths(id_, "0" * 32, "0" * 32)):
            assert (path, (await page("DELETE", path, as_user(ADMIN))).http) == (path, 404)


async def test_an_invitation_whose_time_is_over_is_not_shown(
    page: Page, homes: Homes, clock: MovedClock
) -> None:
    home = await homes()
    await home.invite(life_ms=60_000)
    assert len((await shown(page))["invitations"]) == 1
    clock.wall(61)
    assert (await shown(page))["invitations"] == []


async def test_a_thousand_members_and_long_names_are_shown(
    page: Page, homes: Homes, ras: Ras
) -> None:
    home = await homes()

    def job(tx: Transaction) -> None:
        ids = [wire.new_id() for _ in range(1000)]
        tx.execute(
            users.insert(), [{"id": one, "name": "W" * 100, "created": tx.now} for one in ids]
        )
        tx.execute(
            members.insert(),
            [
                {
                    "site": home.site,
                    "user": one,
                    "role": "member",
                    "state": "active",
                    "created": tx.now,
                }
                for one in ids
            ],
        )

    await ras.store.write(job)
    found = (await shown(page))["members"]
    assert len(found) == 1000
    assert {one["name"] for one in found} == {"W" * 100}


async def test_owners_come_first_then_names_in_their_order(
    page: Page, homes: Homes, ras: Ras
) -> None:
    home = await homes()
    people = [("bo", "member"), ("Alma", "member"), ("Zoe", "owner")]

    def job(tx: Transaction) -> None:
        for name, role in people:
            user = wire.new_id()
            tx.execute(users.insert().values(id=user, name=name, created=tx.now))
            tx.execute(
                members.insert().values(
                    site=home.site, user=user, role=role, state="active", created=tx.now
                )
            )

    await ras.store.write(job)
    assert [one["name"] for one in (await shown(page))["members"]] == ["Zoe", "Alma", "bo"]


# Through Home Assistant.


async def test_through_home_assistant_a_browser_cannot_say_who_it_is(
    ras: Ras, homes: Homes, http: aiohttp.ClientSession
) -> None:
    await homes()
    async with House(base_of(ras, Listener.INGRESS)) as house:
        cookie = {"Cookie": f"{COOKIE}={house.sign_in(OTHER)}"}
        async with http.get(f"{house.url}api/home", headers=as_user(ADMIN) | cookie) as response:
            assert response.status == 403
        cookie = {"Cookie": f"{COOKIE}={house.sign_in(ADMIN)}"}
        async with http.get(f"{house.url}api/home", headers=as_user(OTHER) | cookie) as response:
            assert response.status == 200


def test_the_page_and_its_files_hold_nothing_that_its_policy_would_stop() -> None:
    pages = Path(ingress.__file__).parent / "pages"
    html = (pages / "page.html").read_text("utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\bstyle=|<style", html)
    script = (pages / "page.js").read_text("utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|\.style\b"
        r"|localStorage|sessionStorage|indexedDB|document\.cookie|serviceWorker",
        script,
    )
    # Under ingress the page's path has a prefix that it does not know.
    everything = html + script + (pages / "page.css").read_text("utf-8")
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?:/|https?:)|["'`]/api""", everything)
    assert {path.name for path in pages.iterdir()} == {"page.html", "page.css", "page.js"}


def test_every_kind_of_record_has_a_sentence_on_the_page() -> None:
    package = Path(ingress.__file__).parent
    written = {
        argument.value
        for path in package.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, (ast.Attribute, ast.Name))
        and (call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id).endswith(
            "audit"
        )
        for part in call.args
        for argument in ast.walk(part)
        if isinstance(argument, ast.Constant)
        and re.fullmatch(r"[a-z_]+\.[a-z_]+", str(argument.value))
    }
    page = (package / "pages/page.js").read_text("utf-8")
    told = set(re.findall(r'^  "([a-z_]+\.[a-z_]+)": "', page, re.MULTILINE))
    assert len(written) > 20
    assert written == told
