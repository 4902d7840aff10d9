"""Clause 7.2 against the running server: signing in, sessions, what guessing meets."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import types
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Api, Database, MovedClock, base_of, eventually, make_settings
from folk import (
    DAY,
    EMAIL,
    HOUR,
    OTHER,
    PASSWORD,
    Browser,
    browser_of,
    joined,
    registered,
    rows,
)
from igrs_ras.accounts import throttle as limits
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import known_devices, sessions, throttle, users
from sqlalchemy import func, select

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import aiohttp
    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings

WRONG = {"email": EMAIL, "password": "not the right one"}
ME = "/api/v1/me"
SESSIONS = "/api/v1/sessions"


@pytest.fixture
def settings(database: Database) -> Settings:
    """Behind a proxy, so that limits by address have addresses."""
    return make_settings(database, trusted_proxies=["127.0.0.1/32"])


@pytest.fixture
def browser(api: Api) -> Browser:
    return Browser(api, address="198.51.100.7")


async def test_a_browser_gets_a_cookie_that_no_script_and_no_other_site_can_use(
    ras: Ras, browser: Browser
) -> None:
    await registered(ras, browser)
    reply = await browser.sign_in()
    assert reply.data["second_step"] == "none"
    assert reply.data["methods"] == []
    assert reply.data["token"] == reply.data["device"] == ""
    for name in ("__Host-igrs", "__Host-igrs-device"):
        cookie = browser.set[name]
        assert cookie["secure"]
        assert cookie["httponly"]
        assert (cookie["samesite"], cookie["path"], cookie["domain"]) == ("Strict", "/", "")
        assert len(cookie.value) == 43
    me = await browser("GET", ME)
    assert (me.status, me.data["email"], me.data["name"]) == (0, EMAIL, "Alma")
    stored = (await rows(ras, select(sessions)))[0]
    assert bytes(stored.hash) == hashlib.sha256(browser.token.encode()).digest()


async def test_a_program_gets_a_bearer_token_only_if_it_asks(
    ras: Ras, api: Api, browser: Browser
) -> None:
    await registered(ras, browser)
    reply = await api("POST", SESSIONS, {"email": EMAIL, "password": PASSWORD, "kind": "bearer"})
    token = reply.data["token"]
    assert token.startswith("u_")
    assert "Set-Cookie" not in reply.headers
    assert (await api("GET", ME, token=token)).status == 0
    # A token works only the way that it was given.
    assert (await api("GET", ME, cookie=token)).status == Status.SIGN_IN
    await browser.sign_in()
    assert (await api("GET", ME, token=browser.token)).status == Status.SIGN_IN
    assert (await api("GET", ME, token="u_" + browser.token)).status == Status.SIGN_IN


async def test_case_04_a_token_in_the_address_is_refused_and_not_logged(
    ras: Ras, api: Api, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    await registered(ras, browser)
    reply = await api("POST", SESSIONS, {"email": EMAIL, "password": PASSWORD, "kind": "bearer"})
    token = reply.data["token"]
    with caplog.at_level(logging.DEBUG):
        for name in ("token", "session", "access_token"):
            assert (await api("GET", f"{ME}?{name}={token}")).status == Status.MALFORMED
    assert token not in caplog.text


async def test_each_sign_in_has_a_new_token_and_ends_the_one_before_of_this_browser(
    ras: Ras, api: Api, browser: Browser
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    first = browser.token
    await browser.sign_in()
    assert browser.token != first
    assert (await api("GET", ME, cookie=first)).status == Status.SIGN_IN
    listed = (await browser("GET", SESSIONS)).data["sessions"]
    assert [row["current"] for row in listed] == [True]


async def test_a_session_of_a_cookie_ends_after_12_idle_hours_or_30_days(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    for _ in range(60):
        clock.advance(11.9 * HOUR)
        assert (await browser("GET", ME)).status == 0
    clock.advance(7 * HOUR)
    assert (await browser("GET", ME)).status == Status.SIGN_IN
    await browser.sign_in()
    clock.advance(12.1 * HOUR)
    assert (await browser("GET", ME)).status == Status.SIGN_IN


async def test_a_bearer_token_ends_after_an_hour_and_a_joined_browser_after_90_idle_days(
    ras: Ras, api: Api, browser: Browser, clock: MovedClock
) -> None:
    site = await registered(ras, browser)
    _, cookie = await joined(ras, site)
    given = {"email": EMAIL, "password": PASSWORD, "kind": "bearer"}
    token = (await api("POST", SESSIONS, given)).data["token"]
    clock.advance(0.9 * HOUR)
    assert (await api("GET", ME, token=token)).status == 0
    clock.advance(0.2 * HOUR)
    assert (await api("GET", ME, token=token)).status == Status.SIGN_IN
    for _ in range(3):
        clock.advance(80 * DAY)
        assert (await api("GET", ME, cookie=cookie)).status == 0
    clock.advance(91 * DAY)
    assert (await api("GET", ME, cookie=cookie)).status == Status.SIGN_IN


async def test_use_is_written_at_most_once_a_minute(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    before = (await rows(ras, select(sessions.c.used)))[0].used
    for _ in range(5):
        await browser("GET", ME)
    assert (await rows(ras, select(sessions.c.used)))[0].used == before
    clock.advance(61)
    await browser("GET", ME)
    assert (await rows(ras, select(sessions.c.used)))[0].used > before


async def test_what_expired_is_deleted_within_a_minute(
    ras: Ras, api: Api, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    await api("POST", SESSIONS, {"email": EMAIL, "password": PASSWORD, "kind": "bearer"})
    await api("POST", SESSIONS, WRONG)
    clock.advance(2 * DAY)

    async def gone() -> bool:
        return not await rows(ras, select(sessions)) and not await rows(ras, select(throttle))

    await eventually(gone)
    assert await rows(ras, select(users))


async def test_one_session_or_all_are_ended_and_nobody_elses(
    ras: Ras, api: Api, browser: Browser
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    given = {"email": EMAIL, "password": PASSWORD, "kind": "bearer"}
    one, two = [(await api("POST", SESSIONS, given)).data for _ in range(2)]
    stranger = Browser(api, address="198.51.100.9")
    await registered(ras, stranger, "eve@example.org", name="Eve")
    await stranger.sign_in("eve@example.org")
    assert (await stranger("DELETE", f"{SESSIONS}/{one['session']}")).status == Status.NOT_FOUND
    assert len((await browser("GET", SESSIONS)).data["sessions"]) == 3
    assert (await browser("DELETE", f"{SESSIONS}/{one['session']}")).status == 0
    assert (await browser("DELETE", f"{SESSIONS}/{one['session']}")).status == Status.NOT_FOUND
    assert (await api("GET", ME, token=one["token"])).status == Status.SIGN_IN
    assert (await api("GET", ME, token=two["token"])).status == 0
    assert (await browser("DELETE", SESSIONS)).status == 0
    assert browser.token == ""
    assert (await api("GET", ME, token=two["token"])).status == Status.SIGN_IN
    assert (await stranger("GET", ME)).status == 0


async def test_signing_out_takes_the_cookie(ras: Ras, api: Api, browser: Browser) -> None:
    await registered(ras, browser)
    session = (await browser.sign_in()).data["session"]
    token = browser.token
    assert (await browser("DELETE", f"{SESSIONS}/{session}")).status == 0
    assert browser.token == ""
    assert (await api("GET", ME, cookie=token)).status == Status.SIGN_IN


async def test_the_socket_of_an_ended_session_closes_at_once(
    ras: Ras, api: Api, browser: Browser, http: aiohttp.ClientSession
) -> None:
    await registered(ras, browser)
    session = (await browser.sign_in()).data["session"]

    async def open_socket(token: str) -> aiohttp.ClientWebSocketResponse:
        headers = {"Cookie": f"__Host-igrs={token}", "Origin": api.base}
        url = base_of(ras) + "/api/v1/push"
        socket = await http.ws_connect(url, headers=headers, protocols=["igrs.push.v1"])
        assert (await socket.receive_json())["type"] == "hello"
        return socket

    async def close_code(socket: aiohttp.ClientWebSocketResponse) -> int | None:
        while not (await asyncio.wait_for(socket.receive(), 10)).type.name.startswith("CLOS"):
            pass
        return socket.close_code

    other = Browser(api, address="198.51.100.9")
    await other.sign_in()
    kept = await open_socket(other.token)
    ended = await open_socket(browser.token)
    await other("DELETE", f"{SESSIONS}/{session}")
    assert await close_code(ended) == 4401
    assert not kept.closed
    await kept.close()


async def test_an_open_socket_is_use_so_its_session_does_not_idle_out(
    ras: Ras, browser: Browser, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registered(ras, browser)
    session = (await browser.sign_in()).data["session"]
    # A real socket would count as silent when the clock jumps.
    client = types.SimpleNamespace(session=session)
    monkeypatch.setattr(ras.hub, "users", lambda: ["user"])
    monkeypatch.setattr(ras.hub, "clients_of", lambda user: [client])
    for _ in range(3):
        clock.advance(11 * HOUR)
        await eventually(lambda: _fresh(ras, clock))
    assert (await browser("GET", ME)).status == 0


async def _fresh(ras: Ras, clock: MovedClock) -> bool:
    found = await rows(ras, select(sessions.c.used))
    return bool(found) and clock.now_ms() - found[0].used < HOUR * 1000


async def test_a_user_has_at_most_50_sessions_and_the_oldest_makes_room(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    user = (await rows(ras, select(users.c.id)))[0].id
    tokens = []
    for _ in range(52):
        clock.advance(1)
        tokens.append(await ras.store.write(lambda tx: ras.sessions.create(tx, user, "bearer")))
    assert (await rows(ras, select(func.count().label("n")).select_from(sessions)))[0].n == 50
    assert await ras.sessions.resolve(tokens[1], "bearer") is None
    assert await ras.sessions.resolve(tokens[2], "bearer") is not None
    assert await ras.sessions.resolve(tokens[-1], "bearer") is not None


# Guessing


async def test_wrong_password_and_unknown_account_are_one_answer(
    ras: Ras, browser: Browser
) -> None:
    await registered(ras, browser)
    wrong = await browser("POST", SESSIONS, WRONG)
    unknown = await browser("POST", SESSIONS, WRONG | {"email": "nobody@example.org"})
    assert wrong.status == unknown.status == Status.WRONG_CREDENTIALS
    assert (wrong.http, wrong.data) == (unknown.http, unknown.data)
    drop = {"Date", "X-Request-ID"}
    assert {k: v for k, v in wrong.headers.items() if k not in drop} == {
        k: v for k, v in unknown.headers.items() if k not in drop
    }


async def test_case_29_unknown_accounts_cost_the_same_work(
    ras: Ras, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the time is asserted, which a busy machine decides, but the work: database jobs and Argon2."""
    await registered(ras, browser)
    work: list[str] = []
    write, verify = ras.store.write, ras.passwords.verify

    async def seen_write(job: Any) -> Any:
        if "sign_in.<locals>" in repr(job):  # not the server's regular work
            work.append("write")
        return await write(job)

    async def seen_verify(stored: Any, password: str, **how: Any) -> Any:
        work.append("argon2")
        return await verify(stored, password, **how)

    async def cost(email: str) -> list[str]:
        work.clear()
        await browser("POST", SESSIONS, WRONG | {"email": email})
        return list(work)

    monkeypatch.setattr(ras.store, "write", seen_write)
    monkeypatch.setattr(ras.passwords, "verify", seen_verify)
    known, unknown = await cost(EMAIL), await cost("nobody@example.org")
    assert known == unknown == ["write", "argon2"]


async def test_case_29_one_address_cannot_spray_over_many_accounts(
    ras: Ras, browser: Browser
) -> None:
    await registered(ras, browser)
    found = [
        (await browser("POST", SESSIONS, WRONG | {"email": f"user{n}@example.org"})).status
        for n in range(22)
    ]
    assert found == [Status.WRONG_CREDENTIALS] * 20 + [Status.TOO_MANY_ATTEMPTS] * 2
    # Neither can it go on with the right password, which would tell that it is right.
    refused = await browser.sign_in()
    assert refused.status == Status.TOO_MANY_ATTEMPTS
    assert 1 <= int(refused.headers["Retry-After"]) <= 30


async def test_case_06_a_forged_forwarded_for_dodges_no_limit(ras: Ras, api: Api) -> None:
    """The proxy appends the true address; what stands before it was written by the caller."""
    found = []
    for n in range(22):
        spoofing = Browser(api, address=f"192.0.2.{n}, 10.0.0.{n}, 198.51.100.66")
        body = WRONG | {"email": f"user{n}@example.org"}
        found.append((await spoofing("POST", SESSIONS, body)).status)
    assert found[20:] == [Status.TOO_MANY_ATTEMPTS] * 2
    assert found[19] == Status.WRONG_CREDENTIALS


async def test_case_30_many_addresses_cannot_try_one_account_without_end(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    """Over IPv6, where an attacker has as many addresses as he likes, one /64 is one."""
    await registered(ras, browser)
    same = [Browser(browser.api, address=f"2001:db8:0:1::{n:x}") for n in range(6)]
    found = [(await one("POST", SESSIONS, WRONG)).status for one in same]
    assert found == [Status.WRONG_CREDENTIALS] * 5 + [Status.TOO_MANY_ATTEMPTS]

    async def strangers(count: int) -> list[int]:
        """Count on by the server's own rules, without Argon2 for each."""
        found = []
        for n in range(count):
            uses = limits.sign_in_uses(EMAIL, f"2001:db8:1:{n:x}::/64", "")
            try:
                await ras.throttle.take(uses)
            except Refused as refused:
                found.append(int(refused.status))
            else:
                found.append(0)
        return found

    assert await strangers(96) == [0] * 95 + [Status.TOO_MANY_ATTEMPTS]
    another = Browser(browser.api, address="2001:db8:2::1")
    refused = await another.sign_in()
    assert refused.status == Status.TOO_MANY_ATTEMPTS
    clock.advance(int(refused.headers["Retry-After"]))
    assert (await another.sign_in()).status == 0


async def test_case_31_a_stranger_cannot_lock_the_owners_browser_out(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    del browser.jar["__Host-igrs"]
    # The attacker sits behind the very same address.
    attacker = Browser(browser.api, address=browser.address)
    statuses = [(await attacker("POST", SESSIONS, WRONG)).status for _ in range(8)]
    assert statuses[-1] == Status.TOO_MANY_ATTEMPTS
    for n in range(120):
        uses = limits.sign_in_uses(EMAIL, f"203.0.113.{n}", "")
        try:
            await ras.throttle.take(uses)
        except Refused:
            break
    assert (await attacker.sign_in()).status == Status.TOO_MANY_ATTEMPTS
    assert (await browser.sign_in()).status == 0
    # A device of one account opens no second bucket for another, and an invented one opens none at all.
    eve = Browser(browser.api, address="198.51.100.99")
    await registered(ras, eve, "eve@example.org", name="Eve")
    await eve.sign_in("eve@example.org")
    del eve.jar["__Host-igrs"]
    assert (await eve.sign_in()).status == Status.TOO_MANY_ATTEMPTS
    eve.jar["__Host-igrs-device"] = "x" * 43
    assert (await eve.sign_in()).status == Status.TOO_MANY_ATTEMPTS
    # Even the known browser is no way to guess.
    statuses = [(await browser("POST", SESSIONS, WRONG)).status for _ in range(6)]
    assert statuses == [Status.WRONG_CREDENTIALS] * 5 + [Status.TOO_MANY_ATTEMPTS]
    clock.advance(31)
    assert (await browser.sign_in()).status == 0


async def test_a_delay_doubles_and_is_forgotten_after_the_right_password(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    browser.headers["Connection"] = "close"  # an idle one may end just now by a clock that jumps
    waits = []
    for _ in range(5):
        await browser("POST", SESSIONS, WRONG)
    for _ in range(4):
        refused = await browser("POST", SESSIONS, WRONG)
        waits.append(int(refused.headers["Retry-After"]))
        clock.advance(waits[-1])
        assert (await browser("POST", SESSIONS, WRONG)).status == Status.WRONG_CREDENTIALS
    assert waits == [30, 60, 120, 240]
    clock.advance(480)
    assert (await browser.sign_in()).status == 0
    del browser.jar["__Host-igrs-device"]
    statuses = [(await browser("POST", SESSIONS, WRONG)).status for _ in range(5)]
    assert statuses == [Status.WRONG_CREDENTIALS] * 5


async def test_many_at_once_do_not_slip_through_the_limit(ras: Ras, browser: Browser) -> None:
    await registered(ras, browser)
    replies = await asyncio.gather(*(browser("POST", SESSIONS, WRONG) for _ in range(16)))
    found = [reply.status for reply in replies]
    assert found.count(Status.WRONG_CREDENTIALS) == 5
    assert found.count(Status.TOO_MANY_ATTEMPTS) == 11


async def test_case_32_a_flood_is_refused_before_it_takes_memory_and_counts_as_no_failure(
    ras: Ras, browser: Browser
) -> None:
    await registered(ras, browser)
    flood = [Browser(browser.api, address=f"203.0.113.{n}") for n in range(60)]
    before = _peak_rss()
    replies = await asyncio.gather(
        *(
            one("POST", SESSIONS, WRONG | {"email": f"u{n}@example.org"})
            for n, one in enumerate(flood)
        )
    )
    found = {reply.status for reply in replies}
    assert found <= {Status.WRONG_CREDENTIALS, Status.SLOW_DOWN}
    assert Status.WRONG_CREDENTIALS in found
    # 60 at once would be 1,140 MiB.
    assert _peak_rss() - before < 200 * 1024
    assert (await browser.sign_in()).status == 0
    slowed = [n for n, reply in enumerate(replies) if reply.status == Status.SLOW_DOWN]
    for n in slowed[:1]:
        bucket = limits.Use(limits.PAIR, (f"u{n}@example.org", f"203.0.113.{n}")).bucket
        assert not await rows(ras, select(throttle).where(throttle.c.bucket == bucket))


def _peak_rss() -> int:
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


async def test_without_a_trustworthy_address_nothing_is_limited_by_it(
    database: Database,
    start_ras: Callable[[Settings], Awaitable[Ras]],
    http: aiohttp.ClientSession,
) -> None:
    """Behind an unknown proxy all look like one: then one guesser would lock everybody out."""
    ras = await start_ras(make_settings(database))
    browser = browser_of(ras, http)
    await registered(ras, browser)
    for n in range(25):
        await ras.throttle.take(limits.sign_in_uses(f"u{n}@example.org", "", ""))
    for _ in range(10):
        assert (await browser("POST", SESSIONS, WRONG)).status == Status.WRONG_CREDENTIALS
    assert (await browser.sign_in()).status == 0


async def test_the_table_of_limits_is_bounded(ras: Ras) -> None:
    def fill(tx: Any) -> None:
        for n in range(50):
            limits.take(tx, [limits.Use(limits.ADDRESS, (str(n),))])
        for _ in range(3):
            limits.take(tx, [limits.Use(limits.ADDRESS, ("busy",))])
        limits.purge(tx, rows=10)

    await ras.store.write(fill)
    kept = await rows(ras, select(throttle.c.bucket))
    assert len(kept) == 10
    assert limits.Use(limits.ADDRESS, ("busy",)).bucket in [bytes(row.bucket) for row in kept]


async def test_a_user_has_a_bounded_number_of_known_devices(
    ras: Ras, api: Api, browser: Browser
) -> None:
    await registered(ras, browser)
    user = (await rows(ras, select(users.c.id)))[0].id
    for _ in range(30):
        await ras.store.write(lambda tx: ras.sessions.remember_device(tx, user, ""))
    assert len(await rows(ras, select(known_devices))) == 20
    await browser.sign_in()
    device = browser.jar["__Host-igrs-device"]
    await browser.sign_in()
    assert browser.jar["__Host-igrs-device"] == device
    given = {"email": EMAIL, "password": PASSWORD, "kind": "bearer"}
    told = (await api("POST", SESSIONS, given)).data["device"]
    assert (await api("POST", SESSIONS, given | {"device": told})).data["device"] == told


async def test_no_secret_is_logged(
    ras: Ras, api: Api, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await registered(ras, browser)
        await browser.sign_in()
        await browser("POST", SESSIONS, WRONG)
        await browser.prove()
        await browser("POST", f"{ME}/password", {"old": PASSWORD, "new": OTHER})
    for secret in (PASSWORD, OTHER, WRONG["password"], browser.token, EMAIL):
        assert secret not in caplog.text
    for record in caplog.records:
        assert PASSWORD not in json.dumps(record.__dict__, default=repr)
