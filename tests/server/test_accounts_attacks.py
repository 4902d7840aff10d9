"""Attacks on accounts that once worked: each met a limit or check that let a little through."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from authenticator import Authenticator
from conftest import Api, Database, MovedClock, base_of, eventually, make_settings
from folk import EMAIL, OTHER, PASSWORD, Browser, Mailbox, browser_of, registered, rows, with_mail
from igrs_ras.accounts import throttle as limits
from igrs_ras.api.route import Listener
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import audit, passkeys, sessions, throttle, users
from sqlalchemy import func, select

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import aiohttp
    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings

    Start = Callable[[Settings], Awaitable[Ras]]

ORIGIN = "https://locks.example"
ME = "/api/v1/me"
SESSIONS = "/api/v1/sessions"
PROOF = f"{SESSIONS}/proof"
CONFIRM = "/api/v1/users/confirm"
RESETS = "/api/v1/resets"
WRONG = {"email": EMAIL, "password": "not the right one"}


@pytest.fixture
def settings(database: Database) -> Settings:
    return make_settings(database, public_url=ORIGIN, trusted_proxies=["127.0.0.1/32"])


@pytest.fixture
def browser(ras: Ras, http: aiohttp.ClientSession) -> Browser:
    return browser_of(ras, http, address="198.51.100.7")


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as running:
        yield running


async def raw(ras: Ras, *lines: bytes, body: bytes = b"") -> int:
    """Send a request as bytes; return the number of its status line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", ras.ports[Listener.PUBLIC])
    own = (b"Host: x", b"X-Forwarded-For: 198.51.100.7", b"Content-Length: %d" % len(body))
    head = [*lines, *own]
    writer.write(b"\r\n".join(head) + b"\r\n\r\n" + body)
    line = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    await writer.wait_closed()
    return int(line.split()[1])


async def test_bytes_that_are_no_utf8_in_a_header_are_no_fault_and_fill_no_log(
    ras: Ras, caplog: pytest.LogCaptureFixture
) -> None:
    token = b"\xff" * 43
    me = b"GET /api/v1/me HTTP/1.1"
    found = {
        "user": await raw(ras, me, b"Authorization: Bearer u_" + token),
        "gateway": await raw(ras, me, b"Authorization: Bearer g_" + token),
        "cookie": await raw(ras, me, b"Cookie: __Host-igrs=" + token),
        "device": await raw(
            ras,
            b"POST /api/v1/sessions HTTP/1.1",
            b"Content-Type: application/json",
            b"Cookie: __Host-igrs-device=" + token,
            body=b'{"email": "a@example.org", "password": "anything"}',
        ),
        "socket": await raw(
            ras,
            b"GET /api/v1/push HTTP/1.1",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Protocol: igrs.push.v1",
            b"Sec-WebSocket-Key: " + token,
        ),
    }
    assert found == {"user": 401, "gateway": 401, "cookie": 401, "device": 401, "socket": 400}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_who_goes_away_within_a_request_fills_no_log(
    ras: Ras, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "igrs_ras.logs.request")
    _, writer = await asyncio.open_connection("127.0.0.1", ras.ports[Listener.PUBLIC])
    writer.write(
        b"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 198.51.100.7\r\n"
        b'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"email": '
    )
    await writer.drain()
    await eventually(lambda: any(one.busy for guard in ras._guards for one in _open(guard)))
    writer.close()
    await eventually(lambda: [one for one in caplog.records if one.getMessage() == "request"])
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def _open(guard: Any) -> list[Any]:
    return list(guard._connections.values())


async def test_a_full_queue_for_passwords_forgives_no_wrong_ones(
    ras: Ras, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who fills the queue on purpose gets his attempt back, and not the ones before it."""
    await registered(ras, browser)
    await browser.sign_in()
    full, verify = False, ras.passwords.verify

    async def verify_if_free(*given: Any, **how: Any) -> Any:
        if full:
            raise Refused(Status.SLOW_DOWN, retry_after=1)
        return await verify(*given, **how)

    monkeypatch.setattr(ras.passwords, "verify", verify_if_free)
    eve = browser_of(ras, browser.api.session, address="203.0.113.5")
    found = []
    for n in range(8):
        full = n == 4
        found.append((await eve("POST", SESSIONS, WRONG)).status)
    wrong, many = Status.WRONG_CREDENTIALS, Status.TOO_MANY_ATTEMPTS
    assert found[:5] == [wrong] * 4 + [Status.SLOW_DOWN]
    assert wrong not in found[6:]
    assert found[7] == many
    # Neither does it use up what the owner has for showing his own password.
    full = True
    for _ in range(11):
        assert (await browser.prove()).status == Status.SLOW_DOWN
    full = False
    assert (await browser.prove()).status == 0


async def test_a_flood_of_strangers_leaves_room_for_who_was_here_before(
    ras: Ras, browser: Browser
) -> None:
    await registered(ras, browser)
    await browser.sign_in()  # from now on this browser is known
    flood = [asyncio.create_task(ras.passwords.verify(None, "x", stranger=True)) for _ in range(40)]
    await asyncio.sleep(0)
    for task in flood:
        task.add_done_callback(lambda task: task.exception())
    stranger = browser_of(ras, browser.api.session, address="203.0.113.5")
    taken = ras.passwords._taken
    assert taken < 18
    one, other = await asyncio.gather(browser.sign_in(), stranger.sign_in())
    assert one.status == 0
    assert other.status in (0, Status.SLOW_DOWN)
    await asyncio.gather(*flood, return_exceptions=True)


async def test_case_30_no_flood_of_made_up_addresses_makes_the_server_forget_guessed_codes(
    ras: Ras, browser: Browser
) -> None:
    guesses = [*limits.code_uses("sign_in", "0" * 32), limits.Use(limits.PROOF, ("0" * 32,))]
    for _ in range(2):
        await ras.throttle.take(guesses)

    def flood(tx: Any) -> None:
        for n in range(30):
            for _ in range(5):
                limits.take(tx, limits.code_uses("verify", f"u{n}@example.org", "203.0.113.5"))
        limits.purge(tx, rows=10)

    await ras.store.write(flood)
    left = {bytes(row.bucket): row.count for row in await rows(ras, select(throttle))}
    assert [left.get(use.bucket) for use in guesses] == [2, 2, 2]
    assert len(left) == 10 + len(guesses)


async def test_one_caller_tries_to_confirm_sixty_addresses_an_hour(
    ras: Ras, browser: Browser
) -> None:
    def nearly(tx: Any) -> None:
        for n in range(58):
            limits.take(tx, limits.confirm_uses(f"u{n}@example.org", "198.51.100.7"))

    await ras.store.write(nearly)
    found = [
        (await browser("POST", CONFIRM, {"email": f"v{n}@example.org", "code": "1"})).status
        for n in range(3)
    ]
    assert found == [Status.WRONG_CODE] * 2 + [Status.TOO_MANY_ATTEMPTS]
    bucket = limits.Use(limits.CONFIRMATIONS, ("v2@example.org",)).bucket
    assert await rows(ras, select(throttle).where(throttle.c.bucket == bucket)) == []


async def test_who_signs_in_without_end_does_not_fill_the_homes_audit(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    user = (await browser.sign_in()).data["user"]
    uses = [limits.Use(limits.CHANGES, (user,))]

    def many(tx: Any) -> None:
        for _ in range(limits.CHANGES.count - 1):
            limits.take(tx, uses)

    await ras.store.write(many)
    before = await rows(ras, select(func.count()).select_from(audit))
    # Right ones, which therefore count as no wrong ones: neither now nor afterwards.
    for _ in range(7):
        assert (await browser.sign_in()).status == Status.TOO_MANY_ATTEMPTS
    body = {"old": PASSWORD, "new": OTHER}
    assert (await browser("POST", f"{ME}/password", body)).status == Status.TOO_MANY_ATTEMPTS
    assert await rows(ras, select(func.count()).select_from(audit)) == before
    clock.advance(3600)
    assert (await browser.sign_in()).status == 0


async def test_a_passkey_is_not_added_by_a_session_that_ends_while_it_is_checked(
    ras: Ras, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    options = (await browser("POST", f"{ME}/passkeys/options")).data["options"]
    from igrs_ras.accounts import passkeys as module  # noqa: PLC0415

    take = module._take_challenge

    def taken_and_ended(tx: Any, session: str) -> bytes:
        challenge = take(tx, session)
        tx.execute(sessions.delete())
        return challenge

    monkeypatch.setattr(module, "_take_challenge", taken_and_ended)
    body = {"name": "thief", "credential": Authenticator(ORIGIN).create(options)}
    assert (await browser("POST", f"{ME}/passkeys", body)).status == Status.SECOND_STEP
    assert await rows(ras, select(passkeys.c.id)) == []


async def test_mail_of_a_reset_cannot_be_used_up_by_a_stranger_nor_its_password_be_short(
    database: Database,
    start_ras: Start,
    http: aiohttp.ClientSession,
    mailbox: Mailbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxies = ["127.0.0.1/32"]
    ras = await start_ras(make_settings(database, trusted_proxies=proxies, **mailbox.settings))
    alma = browser_of(ras, http, address="198.51.100.7")
    await with_mail(ras, alma, mailbox)
    await alma.sign_in()
    body = {"method": "email", "code": ""}
    await alma("POST", f"{SESSIONS}/mail", {})
    await mailbox.got(2)
    assert (await alma("POST", f"{SESSIONS}/step", body | {"code": mailbox.code()})).status == 0
    # A stranger, even one at the same address, asks for all that may be sent to her.
    eve = browser_of(ras, http, address="198.51.100.7")
    asked = [(await eve("POST", RESETS, {"email": EMAIL})).status for _ in range(4)]
    assert asked == [0, 0, 0, Status.TOO_MANY_ATTEMPTS]
    for _ in range(8):
        await eve("POST", RESETS, {"email": "nobody@example.org"})
    for _ in range(6):
        guess = {"email": EMAIL, "code": "0" * 16, "password": OTHER}
        await eve("POST", f"{RESETS}/done", guess)
    assert (await alma("POST", RESETS, {"email": EMAIL})).status == 0
    await mailbox.got(6)
    # With a second factor a password may be short; if the factor goes meanwhile, it may not.
    tx_users = users.update().where(users.c.email == EMAIL)
    secret = {"totp": b"0" * 20, "totp_confirmed": 1}
    await ras.store.write(lambda tx: tx.execute(tx_users.values(secret)))
    hash_ = ras.passwords.hash

    async def hash_later(password: str) -> str:
        gone = tx_users.values(totp=None, totp_confirmed=None)
        await ras.store.write(lambda tx: tx.execute(gone))
        return await hash_(password)

    monkeypatch.setattr(ras.passwords, "hash", hash_later)
    new = {"email": EMAIL, "code": mailbox.long_code(), "method": "totp", "second": "1"}
    short = await alma("POST", f"{RESETS}/done", new | {"password": "8 letter"})
    assert short.status == Status.WRONG_CODE
    long = await alma("POST", f"{RESETS}/done", new | {"password": OTHER})
    assert long.status == 0


async def test_that_callers_cannot_be_told_apart_is_logged_once(
    ras: Ras, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy that does not say who called: a limit on its address would lock everybody out for one."""
    api = Api(http, base_of(ras))
    for n in range(3):
        body = WRONG | {"email": f"u{n}@example.org"}
        assert (await api("POST", SESSIONS, body)).status == Status.WRONG_CREDENTIALS
    bucket = limits.Use(limits.ADDRESS, ("127.0.0.1",)).bucket
    assert await rows(ras, select(throttle).where(throttle.c.bucket == bucket)) == []
    said = [record for record in caplog.records if "trusted_proxies" in record.getMessage()]
    assert len(said) == 1
