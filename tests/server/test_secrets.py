"""A whole story at the most talkative log level: no secret is anywhere but where it was given or has to be kept.

Cases 45 and 46: logs, metrics, the database, the command line's output, every answer and every message are searched.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp
import pyotp
import pytest
from folk import Mailbox
from home import Home
from igrs_ras.clock import SystemClock
from igrs_ras.control import ask
from igrs_ras.storage.tables import metadata
from igrs_ras.storage.tables import server as server_table
from peer import Denied, read_code
from phone import Phone
from process import Server, free_port
from sqlalchemy import select
from town import dump, new_site, rows_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from conftest import Database

EMAIL = "olga.muster@example.org"
PASSWORD = "violet herons file taxes early"
CHANGED = "seven lazy otters paint fences"
AGAIN = "nobody irons socks in winter"
WRONG = "this was never the password 1"
RELAYED = b"sealed bytes of one relay 5f1c"


@dataclass
class Secret:
    """Something that may be seen only where it is said here."""

    name: str
    forms: list[bytes]
    given_by: set[str] = field(
        default_factory=set
    )  # answers and messages that give it, e.g. "POST /api/v1/sessions"
    kept_in: set[str] = field(default_factory=set)  # "table.column" where the server has to have it

    def within(self, text: bytes) -> bool:
        return any(form in text for form in self.forms)


def text_forms(text: str) -> list[bytes]:
    return [text.encode(), base64.b64encode(text.encode()), quote(text).encode()]


def raw_forms(raw: bytes) -> list[bytes]:
    return [
        raw,
        raw.hex().encode(),
        base64.b64encode(raw),
        base64.urlsafe_b64encode(raw).rstrip(b"="),
    ]


@dataclass
class Seen:
    """Everything that the server said to anybody: (what it was, all its bytes)."""

    said: list[tuple[str, bytes]] = field(default_factory=list)

    async def answer(self, response: aiohttp.ClientResponse) -> None:
        if response.status == 101:
            return
        path = re.sub(r"[0-9a-f]{32}|[0-9A-F]{12}", "{id}", response.url.path)
        headers = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
        body = await response.read()
        self.said.append((f"{response.method} {path}", headers.encode() + b"\n\n" + body))

    def message(self, text: str) -> None:
        self.said.append((f"message {json.loads(text)['type']}", text.encode()))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found = Seen()
    request, receive = aiohttp.ClientSession._request, aiohttp.ClientWebSocketResponse.receive

    async def recorded(self: aiohttp.ClientSession, *arguments: Any, **named: Any) -> Any:
        response = await request(self, *arguments, **named)
        await found.answer(response)
        return response

    async def heard(self: Any, *arguments: Any, **named: Any) -> Any:
        message = await receive(self, *arguments, **named)
        if message.type is aiohttp.WSMsgType.TEXT:
            found.message(message.data)
        return message

    monkeypatch.setattr(aiohttp.ClientSession, "_request", recorded)
    monkeypatch.setattr(aiohttp.ClientWebSocketResponse, "receive", heard)
    return found


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as found:
        yield found


@pytest.fixture
async def talkative(database: Database, mailbox: Mailbox) -> AsyncIterator[Server]:
    given = {name: str(value) for name, value in mailbox.settings.items()}
    given |= {"log_level": "debug", "metrics_listen": f"127.0.0.1:{free_port()}"}
    async with Server(database, **given) as running:
        yield running


async def refused(phone: Phone, method: str, path: str, body: Any = None, **headers: str) -> int:
    try:
        await phone.call(method, path, body, **headers)
    except Denied as denied:
        return denied.status
    raise AssertionError(f"{method} {path} was done")


class Story:
    """A home, its owner and a guest from the first code to a relay, with what goes wrong on the way."""

    def __init__(self, server: Server, database: Database, mailbox: Mailbox) -> None:
        self.server = server
        self.database = database
        self.mailbox = mailbox
        self.secrets: list[Secret] = []
        self.home = Home(server.url)
        self.owner = Phone(server.url, name="Olga")
        self.guest = Phone(server.url, name="Gustav")
        self.browser = Phone(server.url)
        self.cookies: list[str] = []
        self.device = "C4112233445F"
        self.recovery: list[str] = []

    async def close(self) -> None:
        for end in (self.home, self.owner, self.guest, self.browser):
            await end.close()

    def secret(self, name: str, text: str, *given_by: str, kept_in: tuple[str, ...] = ()) -> str:
        self.secrets.append(Secret(name, text_forms(text), set(given_by), set(kept_in)))
        return text

    def raw(self, name: str, raw: bytes, *given_by: str, kept_in: tuple[str, ...] = ()) -> None:
        self.secrets.append(Secret(name, raw_forms(raw), set(given_by), set(kept_in)))

    def code(self, name: str, text: str, *given_by: str) -> str:
        """A code that people type: its text and its bytes."""
        self.raw(f"{name}'s bytes", read_code(text))
        return self.secret(name, text, *given_by)

    async def tell(self) -> None:
        self.known_from_the_start()
        await self.a_home_is_enrolled()
        await self.its_owner_registers_and_signs_in()
        await self.a_browser_signs_in_and_changes_the_password()
        await self.the_password_is_forgotten()
        await self.a_guest_joins_and_relays()
        await self.secrets_are_sent_where_they_do_not_belong()
        await self.somebody_writes_into_the_log()

    def known_from_the_start(self) -> None:
        for name, text in (("password", PASSWORD), ("changed", CHANGED), ("again", AGAIN), ("wrong", WRONG)):  # fmt: skip
            self.secret(f"{name} password", text)
        self.secret(
            "e-mail address", EMAIL, "GET /api/v1/me", "POST /api/v1/me/totp",
            kept_in=("users.email", "mail_codes.email"),
        )  # fmt: skip
        self.raw("relayed message", RELAYED, "message relay.open", "message relay.data")
        with rows_of(self.database) as rows:
            key = bytes(rows.execute(select(server_table.c.key)).scalar_one())
        self.raw("server's key", key, kept_in=("server.key",))

    async def a_home_is_enrolled(self) -> None:
        home = self.home
        with rows_of(self.database) as rows:
            code = new_site(rows, "Mill Lane 2", SystemClock().now_ms())
        with pytest.raises(Denied):
            await home.enrol(self.code("guessed code", "AAAA-BBBB-CCCC-DDDD"))
        await home.enrol(self.code("enrolment code", code))
        await home.connect()
        self.secret("gateway's token", home.token, "message welcome")
        await home.register_lock(self.device)
        home.answer = lambda *_: RELAYED

    async def its_owner_registers_and_signs_in(self) -> None:
        owner, mailbox = self.owner, self.mailbox
        code = self.code("owner code", await self.home.owner_code())
        account = {"email": EMAIL, "password": PASSWORD, "name": "Olga", "owner_code": code}
        assert (await owner.call("POST", "/api/v1/users", account))["confirm"] == "mail"
        await mailbox.got(1, EMAIL)
        confirm = {"email": EMAIL, "code": "000000"}
        assert await refused(owner, "POST", "/api/v1/users/confirm", confirm) == 14
        confirm["code"] = self.secret("confirmation", mailbox.code(EMAIL))
        await owner.call("POST", "/api/v1/users/confirm", confirm)
        body = {"email": EMAIL, "password": WRONG, "kind": "bearer"}
        assert await refused(owner, "POST", "/api/v1/sessions", body) == 12
        pending = await owner.call("POST", "/api/v1/sessions", body | {"password": PASSWORD})
        owner.token = self.secret("pending token", pending["token"], "POST /api/v1/sessions")
        await owner.call("POST", "/api/v1/sessions/mail", {})
        await mailbox.got(2, EMAIL)
        step = {"method": "email", "code": self.secret("mailed step", mailbox.code(EMAIL))}
        self.signed_in(await owner.call("POST", "/api/v1/sessions/step", step))
        owner.site = self.home.site
        totp = await owner.call("POST", "/api/v1/me/totp")
        self.raw("app's secret", base64.b32decode(totp["secret"]), kept_in=("users.totp",))
        self.secret("app's secret as text", totp["secret"], "POST /api/v1/me/totp")
        now = SystemClock().now_ms() // 1000
        self.used = self.secret("app's code", pyotp.TOTP(totp["secret"]).at(now))
        confirmed = await owner.call("POST", "/api/v1/me/totp/confirm", {"code": self.used})
        self.recovery = [
            self.code("recovery code", code, "POST /api/v1/me/totp/confirm")
            for code in confirmed["recovery_codes"]
        ]

    def signed_in(self, full: dict[str, Any]) -> None:
        self.owner.token = self.secret("token", full["token"], "POST /api/v1/sessions/step")
        self.secret("known device", full["device"], "POST /api/v1/sessions/step")
        self.owner.user = full["user"]

    async def from_browser(self, method: str, path: str, body: Any) -> int:
        """Call as a page of the server's own origin; return the status. Keeps the cookie."""
        headers = {"Origin": self.server.url}
        if self.cookies:
            headers["Cookie"] = f"__Host-igrs={self.cookies[-1]}"
        session = self.browser.http.session
        async with session.request(method, self.server.url + path, json=body, headers=headers) as response:  # fmt: skip
            for name, morsel in response.cookies.items():
                self.secret(f"cookie {name}", morsel.value, f"{method} {path}")
                if name == "__Host-igrs":
                    self.cookies.append(morsel.value)
            status: int = (await response.json())["status"]
            return status

    async def a_browser_signs_in_and_changes_the_password(self) -> None:
        body = {"email": EMAIL, "password": PASSWORD}
        assert await self.from_browser("POST", "/api/v1/sessions", body) == 0
        again = {"method": "totp", "code": self.used}
        assert await self.from_browser("POST", "/api/v1/sessions/step", again) == 14
        step = {"method": "recovery", "code": self.recovery[0]}
        assert await self.from_browser("POST", "/api/v1/sessions/step", step) == 0
        change = {"old": PASSWORD, "new": CHANGED}
        assert await self.from_browser("POST", "/api/v1/me/password", change) == 0
        assert len(set(self.cookies)) == 3

    async def the_password_is_forgotten(self) -> None:
        owner = self.owner
        owner.token = ""
        await owner.call("POST", "/api/v1/resets", {"email": EMAIL})
        await self.mailbox.got(5, EMAIL)  # confirmation, step, app added, password changed, reset
        code = next(text for text in reversed(self.mailbox.to(EMAIL)) if "new password is" in text)
        found = re.search(r"(?:[0-9A-Z]{4}-){3}[0-9A-Z]{4}", code)
        assert found
        body = {"email": EMAIL, "code": self.code("reset code", found[0]), "password": AGAIN}
        assert await refused(owner, "POST", "/api/v1/resets/done", body) == 13
        second = {"method": "recovery", "second": self.recovery[1]}
        await owner.call("POST", "/api/v1/resets/done", body | second)
        sign_in = {"email": EMAIL, "password": AGAIN, "kind": "bearer"}
        pending = await owner.call("POST", "/api/v1/sessions", sign_in)
        owner.token = self.secret("pending token", pending["token"], "POST /api/v1/sessions")
        step = {"method": "recovery", "code": self.recovery[2]}
        self.signed_in(await owner.call("POST", "/api/v1/sessions/step", step))

    async def a_guest_joins_and_relays(self) -> None:
        home, guest = self.home, self.guest
        invitation = await home.invite()
        self.raw("invitation's secret", invitation.secret)
        await guest.join(invitation)
        self.secret("guest's token", guest.token, "POST /api/v1/joins")
        self.raw("update key", guest.update_key)
        await guest.connect()
        await guest.follow(home.site, self.device)
        assert await guest.relay(home.site, self.device, RELAYED) == ("answered", [RELAYED])
        await home.update_keys(guest.user, "new keys")
        await guest.event("keys")
        for one in (guest, self.owner):
            await one.call("GET", "/api/v1/me")
        for path in ("", "/members", "/invitations", "/locks", "/audit"):
            await self.owner.call("GET", f"/api/v1/sites/{home.site}{path}")

    async def secrets_are_sent_where_they_do_not_belong(self) -> None:
        owner, guest, token = self.owner, self.guest, self.owner.token
        for path in ("/api/v1/me?token=", "/api/v1/me?Authorization=", "/", "/api/v1/sites/"):
            await refused(owner, "GET", path + token)
        for header in (f"Basic {token}", f"Bearer g_{token}", token):
            assert await refused(guest, "GET", "/api/v1/me", Authorization=header) == 11
        bodies: list[Any] = [
            {"email": EMAIL, "password": [AGAIN]}, {"email": EMAIL, "password": AGAIN, AGAIN: 1}, [AGAIN], AGAIN,
            {"email": AGAIN, "password": AGAIN}, {"email": EMAIL, "password": AGAIN, "kind": AGAIN},
        ]  # fmt: skip
        for body in bodies:
            assert await refused(guest, "POST", "/api/v1/sessions", body) == 10
        for kind, message in (("relay.open", {"key": AGAIN}), ("follow", {AGAIN: AGAIN}), ("auth", {"token": token})):  # fmt: skip
            with pytest.raises(Denied):
                await guest.peer.request(kind, message)
        if self.database.kind == "sqlite":
            # Even a statement that fails does not show its values.
            self.server.largest_file(0)
            assert await refused(owner, "PATCH", "/api/v1/me", {"name": "Olga the second"}) == 50
            body = {"email": EMAIL, "password": AGAIN, "kind": "bearer"}
            assert await refused(owner, "POST", "/api/v1/sessions", body) == 50
            self.server.largest_file(-1)

    async def somebody_writes_into_the_log(self) -> None:
        """Case 45: over several lines, in colour, from right to left."""
        nasty = "\r\n\x1b[31mERROR forged\x1b[0m \u202egnol"
        assert await refused(self.owner, "PATCH", "/api/v1/me", {"name": nasty}) == 10
        await refused(self.owner, "POST", "/api/v1/sessions", {"email": nasty, "password": "x"})
        await refused(self.owner, "GET", "/api/v1/%0d%0a%1b%5b31mforged")
        await self.guest.http.call("GET", "/healthz", **{"User-Agent": "forged\u202e", "Referer": "x" * 4000})  # fmt: skip
        with pytest.raises(Denied):
            await self.guest.peer.request("forged", {nasty: nasty})

    async def outputs(self) -> dict[str, str]:
        """What the command line prints: one verb by the command itself, the others as they reach it."""
        status, answer, said = await self.server.verb("status")
        assert status == 0, said
        found = {"status": json.dumps(answer) + said}
        site, user = {"site": self.home.site}, {"user": EMAIL}
        for verb, arguments in (
            ("site list", {}), ("site show", site), ("gateway list", {}), ("user list", {}), ("user show", user),
            ("audit show", site),
        ):  # fmt: skip
            data = await asyncio.to_thread(ask, self.server.folder, verb, arguments)
            found[verb] = json.dumps(data)
        return found

    async def metrics(self) -> None:
        async with aiohttp.ClientSession() as session:
            for accept in ("text/plain", "application/openmetrics-text"):
                url = f"http://{self.server.settings['metrics_listen']}/metrics"
                async with session.get(url, headers={"Accept": accept}) as response:
                    assert response.status == 200


async def test_case_46_no_secret_is_seen_anywhere_but_where_it_is_given(
    talkative: Server, database: Database, mailbox: Mailbox, seen: Seen
) -> None:
    story = Story(talkative, database, mailbox)
    await story.tell()
    await story.metrics()
    outputs = await story.outputs()
    await story.close()
    assert await talkative.stop() == 0
    log = talkative.log()
    assert log.count('"message":"request"') > 40  # it did say much
    with rows_of(database) as rows:
        columns = columns_of(dump(rows))
    places: list[tuple[str, bytes, set[str]]] = [("in the log", log.encode(), set())]
    places += [
        (f"in what {verb!r} prints", text.encode(), {"e-mail address"} if verb.startswith("user ") else set())
        for verb, text in outputs.items()
    ]  # fmt: skip
    faults = {
        f"{one.name} is {where}"
        for one in story.secrets
        for where, text, allowed in places
        if one.name not in allowed and one.within(text)
    }
    for one in story.secrets:
        faults |= {f"{one.name} is in {where}" for where, text in columns.items() if where not in one.kept_in and one.within(text)}  # fmt: skip
        faults |= {f"{one.name} is in {what}" for what, text in seen.said if what not in one.given_by and one.within(text)}  # fmt: skip
        if not all(any(one.within(text) for what, text in seen.said if what == by) for by in one.given_by) or not all(one.within(columns[where]) for where in one.kept_in - {"mail_codes.email"}):  # fmt: skip
            faults.add(f"{one.name} is not where it should be: the test looks for the wrong thing")
    assert not faults, "\n".join(sorted(faults))
    for line in log.splitlines():
        assert {"time", "level", "logger", "message"} <= json.loads(line).keys()
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", line)
        assert "forged" not in line
    metrics = b"".join(text for what, text in seen.said if what == "GET /metrics")
    assert b"igrs_ras" in metrics
    for known in (story.home.site, story.home.gateway, story.owner.user, story.device, "Olga"):
        assert known.encode() not in metrics, known


def columns_of(tables: dict[str, list[Any]]) -> dict[str, bytes]:
    """All that is stored, by "table.column"."""
    found: dict[str, bytes] = {}
    for name, rows in tables.items():
        names = [column.name for column in metadata.tables[name].c]
        for number, column in enumerate(names):
            parts = [row[number] for row in rows]
            found[f"{name}.{column}"] = b"\n".join(
                bytes(part) if isinstance(part, (bytes, memoryview)) else str(part).encode()
                for part in parts
            )
    return found


def test_the_search_finds_what_it_looks_for() -> None:
    assert Secret("x", raw_forms(b"\xfb\xff\xfe" * 5)).within(b'{"a": "-__--__--__--__--__-"}')
    assert Secret("x", text_forms("some words")).within(base64.b64encode(b"some words"))
    assert not Secret("x", raw_forms(secrets.token_bytes(16))).within(b"some words")
