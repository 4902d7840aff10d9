"""Second steps against the running server: TOTP, recovery codes, mailed codes, passkeys; and showing again who one is."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import pyotp
import pytest
from authenticator import Authenticator
from conftest import Database, MovedClock, make_settings
from folk import (
    DAY,
    EMAIL,
    HOUR,
    OTHER,
    PASSWORD,
    Browser,
    Mailbox,
    browser_of,
    registered,
    rows,
    with_mail,
)
from igrs_ras.accounts import throttle as limits
from igrs_ras.accounts.passkeys import Passkeys
from igrs_ras.settings import Settings
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import passkeys, recovery_codes, users
from sqlalchemy import select

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import aiohttp
    from igrs_ras.ras import Ras

ME = "/api/v1/me"
STEP = "/api/v1/sessions/step"
ORIGIN = "https://locks.example"

type Start = Callable[[Settings], Awaitable[Ras]]


@pytest.fixture
def settings(database: Database) -> Settings:
    return make_settings(database, trusted_proxies=["127.0.0.1/32"], public_url=ORIGIN)


@pytest.fixture(autouse=True)
def no_step_ends_by_itself(clock: MovedClock) -> None:
    clock.hold()


@pytest.fixture
def browser(ras: Ras, http: aiohttp.ClientSession) -> Browser:
    return browser_of(ras, http, address="198.51.100.7")


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as running:
        yield running


class App:
    """An authenticator app, by the server's clock."""

    def __init__(self, secret: str, clock: MovedClock) -> None:
        self.totp = pyotp.TOTP(secret)
        self.clock = clock

    def code(self, steps: int = 0) -> str:
        return self.totp.at(self.clock.now_ms() // 1000, counter_offset=steps)

    def wrong(self) -> str:
        near = {self.code(steps) for steps in range(-3, 4)}
        return next(f"{n:06}" for n in range(10) if f"{n:06}" not in near)


async def add_totp(browser: Browser, clock: MovedClock) -> tuple[App, list[str]]:
    given = (await browser("POST", f"{ME}/totp")).data
    app = App(given["secret"], clock)
    assert f"secret={given['secret']}" in given["uri"]
    reply = await browser("POST", f"{ME}/totp/confirm", {"code": app.code()})
    assert reply.status == 0
    clock.advance(31)  # the step that confirmed is used up
    return app, reply.data["recovery_codes"]


async def step(browser: Browser, method: str, code: str = "", credential: Any = None) -> Any:
    body = {"method": method, "code": code} | ({"credential": credential} if credential else {})
    return await browser("POST", STEP, body)


async def test_until_the_second_step_nothing_but_it_can_be_done(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    app, _ = await add_totp(browser, clock)
    other = browser_of(ras, browser.api.session, address="198.51.100.8")
    reply = await other.sign_in()
    assert reply.data["second_step"] == "needed"
    assert reply.data["methods"] == ["totp", "recovery"]
    assert "__Host-igrs-device" not in other.jar  # not known before it is complete
    pending = other.token
    for method, path in (
        ("GET", ME),
        ("GET", "/api/v1/sessions"),
        ("DELETE", ME),
        ("DELETE", "/api/v1/sessions"),
    ):
        refused = await other(method, path)
        assert (refused.http, refused.status) == (401, Status.SECOND_STEP), path
    mine = (await browser("GET", "/api/v1/sessions")).data["sessions"][0]["session"]
    assert (await other("DELETE", f"/api/v1/sessions/{mine}")).status == Status.NOT_FOUND
    done = await step(other, "totp", f" {app.code()[:3]} {app.code()[3:]} ")
    assert (done.status, done.data["second_step"]) == (0, "done")
    assert other.token != pending
    assert other.jar["__Host-igrs-device"]
    assert (await other("GET", ME)).data["totp"] is True
    other.jar["__Host-igrs"] = pending
    assert (await other("GET", ME)).status == Status.SIGN_IN


async def test_a_pending_session_lasts_ten_minutes(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    app, _ = await add_totp(browser, clock)
    await browser.sign_in()
    clock.advance(601)
    assert (await step(browser, "totp", app.code())).status == Status.SIGN_IN


async def test_a_bearer_stays_one_through_the_second_step(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    app, _ = await add_totp(browser, clock)
    api = browser.api
    given = {"email": EMAIL, "password": PASSWORD, "kind": "bearer"}
    first = (await api("POST", "/api/v1/sessions", given)).data["token"]
    reply = await api("POST", STEP, {"method": "totp", "code": app.code()}, token=first)
    second = reply.data["token"]
    assert second.startswith("u_")
    assert second != first
    assert "Set-Cookie" not in reply.headers
    assert (await api("GET", ME, token=first)).status == Status.SIGN_IN
    assert (await api("GET", ME, token=second)).status == 0


async def test_a_totp_step_counts_once_and_one_step_either_side_is_let_pass(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    app, _ = await add_totp(browser, clock)
    clock.advance(300)
    for steps, right in ((-2, False), (2, False), (-1, True), (0, True), (1, True)):
        await browser.sign_in()
        assert ((await step(browser, "totp", app.code(steps))).status == 0) is right, steps
    # All three were used: none of them, nor an older one, counts again.
    for steps in (-1, 0, 1):
        await browser.sign_in()
        assert (await step(browser, "totp", app.code(steps))).status == Status.WRONG_CODE


async def test_of_two_sign_ins_with_one_code_at_once_one_succeeds(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    app, _ = await add_totp(browser, clock)
    pair = [browser_of(ras, browser.api.session, address=f"198.51.100.{n}") for n in (8, 9)]
    for one in pair:
        await one.sign_in()
    replies = await asyncio.gather(*(step(one, "totp", app.code()) for one in pair))
    assert sorted(reply.status for reply in replies) == [0, Status.WRONG_CODE]


async def test_a_code_shown_before_it_is_confirmed_is_no_second_step(
    ras: Ras, browser: Browser
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    await browser("POST", f"{ME}/totp")
    assert (
        await browser("POST", f"{ME}/totp/confirm", {"code": "000000"})
    ).status == Status.WRONG_CODE
    assert (await browser.sign_in()).data["second_step"] == "none"


async def test_case_30_codes_are_guessed_ten_times_an_hour_over_all_addresses(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    app, _ = await add_totp(browser, clock)
    guessers = []
    for n in range(3):
        one = browser_of(ras, browser.api.session, address=f"203.0.113.{n}")
        await one.sign_in()
        guessers.append(one)
    found = [(await step(guessers[n % 3], "totp", app.wrong())).status for n in range(11)]
    assert found == [Status.WRONG_CODE] * 10 + [Status.TOO_MANY_ATTEMPTS]
    # Another way is no way round, and the right code tells nothing either.
    assert (
        await step(guessers[0], "recovery", "8KNZ-44YW-D3XS-6GJ4")
    ).status == Status.TOO_MANY_ATTEMPTS
    assert (await step(guessers[1], "totp", app.code())).status == Status.TOO_MANY_ATTEMPTS
    # Case 31: whoever knows the password still cannot lock the owner's own browser out.
    await browser.sign_in()
    assert (await step(browser, "totp", app.code())).status == 0


async def test_codes_are_guessed_thirty_times_a_day() -> None:
    uses = limits.code_uses("sign_in", "user")
    assert {(use.rule.name, getattr(use.rule, "count", 0)) for use in uses} == {
        ("codes", 10),
        ("codes day", 30),
    }


async def test_each_recovery_code_works_once(ras: Ras, browser: Browser, clock: MovedClock) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    _, codes = await add_totp(browser, clock)
    assert len(set(codes)) == 10
    assert all(len(code) == 19 for code in codes)
    await browser.sign_in()
    assert (await step(browser, "recovery", codes[0].lower().replace("-", ""))).status == 0
    await browser.sign_in()
    assert (await step(browser, "recovery", codes[0])).status == Status.WRONG_CODE
    assert (await step(browser, "recovery", codes[1])).status == 0
    assert (await browser("GET", ME)).data["recovery_left"] == 8
    stored = await rows(ras, select(recovery_codes))
    assert all(len(bytes(row.hash)) == 32 for row in stored)
    fresh = (await browser("POST", f"{ME}/recovery")).data["recovery_codes"]
    await browser.sign_in()
    assert (await step(browser, "recovery", codes[2])).status == Status.WRONG_CODE
    assert (await step(browser, "recovery", fresh[0])).status == 0


async def test_removing_the_last_factor_takes_the_password_and_a_long_one(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    app, _ = await add_totp(browser, clock)
    short = {"old": PASSWORD, "new": "8 letter"}
    assert (await browser("POST", f"{ME}/password", short)).status == 0
    remove = f"{ME}/totp/remove"
    assert (
        await browser("POST", remove, {"password": PASSWORD})
    ).status == Status.WRONG_CREDENTIALS
    refused = await browser("POST", remove, {"password": "8 letter"})
    assert refused.status == Status.MALFORMED
    assert "15" in refused.data["detail"]
    assert (await browser("POST", f"{ME}/password", {"old": "8 letter", "new": OTHER})).status == 0
    assert (await browser("POST", remove, {"password": OTHER})).status == 0
    assert (await browser("POST", remove, {"password": OTHER})).status == Status.NOT_FOUND
    me = (await browser("GET", ME)).data
    assert (me["totp"], me["recovery_left"], me["second_step"]) == (False, 0, False)
    assert (await browser.sign_in(EMAIL, OTHER)).data["second_step"] == "none"
    assert app.code()


async def test_without_a_factor_a_password_has_fifteen_characters(
    ras: Ras, browser: Browser
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    refused = await browser("POST", f"{ME}/password", {"old": PASSWORD, "new": "8 letter"})
    assert refused.status == Status.MALFORMED


# Showing again


async def test_what_guards_the_account_changes_only_after_a_recent_proof(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    clock.advance(601)
    calls: list[tuple[str, str, Any]] = [
        ("POST", f"{ME}/totp", None),
        ("POST", f"{ME}/totp/confirm", {"code": "000000"}),
        ("POST", f"{ME}/recovery", None),
        ("POST", f"{ME}/passkeys/options", None),
        ("POST", f"{ME}/passkeys", {"name": "x", "credential": {}}),
        ("PATCH", ME, {"email": "new@example.org"}),
        ("DELETE", ME, None),
    ]
    for method, path, body in calls:
        refused = await browser(method, path, body)
        assert (refused.http, refused.status) == (401, Status.SECOND_STEP), path
        assert "proof" in refused.data["detail"]
    # The name guards nothing.
    assert (await browser("PATCH", ME, {"name": "Alma Berg"})).status == 0
    before = browser.token
    assert (await browser.prove(OTHER)).status == Status.WRONG_CREDENTIALS
    assert browser.token == before
    assert (await browser.prove()).status == 0
    assert browser.token != before
    assert (await browser("POST", f"{ME}/totp")).status == 0
    # A stolen token does not learn the new one, and is void.
    browser.jar["__Host-igrs"] = before
    assert (await browser("GET", ME)).status == Status.SIGN_IN


async def test_a_second_factor_is_a_proof_too_and_guessing_it_ends(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    app, codes = await add_totp(browser, clock)
    clock.advance(601)
    proof = "/api/v1/sessions/proof"
    assert (
        await browser("POST", proof, {"method": "totp", "code": app.wrong()})
    ).status == Status.WRONG_CODE
    assert (await browser("POST", proof, {"method": "totp", "code": app.code()})).status == 0
    assert (await browser("POST", f"{ME}/recovery")).status == 0
    assert (
        await browser("POST", proof, {"method": "recovery", "code": codes[0]})
    ).status == Status.WRONG_CODE
    found = [(await browser.prove(OTHER)).status for _ in range(9)]
    assert found == [Status.WRONG_CREDENTIALS] * 8 + [Status.TOO_MANY_ATTEMPTS]


# Mail


async def test_a_mailed_code_is_the_second_step_of_who_has_no_factor(
    database: Database,
    start_ras: Start,
    http: aiohttp.ClientSession,
    mailbox: Mailbox,
    clock: MovedClock,
) -> None:
    ras = await start_ras(
        make_settings(database, trusted_proxies=["127.0.0.1/32"], **mailbox.settings)
    )
    browser = browser_of(ras, http, address="198.51.100.7")
    await with_mail(ras, browser, mailbox)
    send = "/api/v1/sessions/mail"
    assert (await browser.sign_in()).data["methods"] == ["email"]
    assert (await browser("POST", send, {})).status == 0
    code = mailbox.code()
    # It counts in the session that asked, for ten minutes, once.
    thief = browser_of(ras, http, address="198.51.100.9")
    await thief.sign_in()
    assert (await step(thief, "email", code)).status == Status.WRONG_CODE
    assert (await step(browser, "email", code)).status == 0
    await browser.sign_in()
    assert (await step(browser, "email", code)).status == Status.WRONG_CODE
    # Three mails an hour for strangers; the owner's own browser has its own three.
    for _ in range(3):
        await thief("POST", send, {})
    assert (await thief("POST", send, {})).status == Status.TOO_MANY_ATTEMPTS
    assert (await browser("POST", send, {})).status == 0
    # A mail that is not sent is no way in.
    mailbox.refuse = True
    assert (await browser("POST", send, {})).status == Status.NOT_READY
    mailbox.refuse = False
    assert (await browser("POST", send, {})).status == 0
    assert (await step(browser, "email", mailbox.code())).status == 0
    # Once there is a factor, mail is no second step any more.
    app, _ = await add_totp(browser, clock)
    assert (await browser.sign_in()).data["methods"] == ["totp", "recovery"]
    assert (await browser("POST", send, {})).status == Status.NOT_PERMITTED
    assert (await step(browser, "email", "000000")).status == Status.WRONG_CODE
    assert (await step(browser, "totp", app.code())).status == 0


# Passkeys


async def add_passkey(browser: Browser, key: Authenticator, name: str = "phone") -> Any:
    options = (await browser("POST", f"{ME}/passkeys/options")).data["options"]
    body = {"name": name, "credential": key.create(options)}
    return await browser("POST", f"{ME}/passkeys", body)


async def passkey_step(browser: Browser, key: Authenticator) -> Any:
    options = (await browser("POST", "/api/v1/sessions/passkey")).data["options"]
    return await step(browser, "passkey", credential=key.get(options))


async def test_a_passkey_is_a_second_step(ras: Ras, browser: Browser) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    key = Authenticator(ORIGIN)
    options = (await browser("POST", f"{ME}/passkeys/options")).data["options"]
    assert options["rp"]["id"] == "locks.example"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["attestation"] == "none"
    added = await add_passkey(browser, key)
    assert added.status == 0
    assert len(added.data["recovery_codes"]) == 10
    reply = await browser.sign_in()
    assert (reply.data["second_step"], reply.data["methods"]) == ("needed", ["passkey", "recovery"])
    assert (await passkey_step(browser, key)).status == 0
    me = (await browser("GET", ME)).data
    assert [item["name"] for item in me["passkeys"]] == ["phone"]
    assert me["passkeys"][0]["used"] is not None
    await browser.sign_in()
    assert (await step(browser, "recovery", added.data["recovery_codes"][0])).status == 0


async def test_a_passkey_cannot_be_added_twice_or_be_removed_by_others(
    ras: Ras, browser: Browser
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    key = Authenticator(ORIGIN)
    passkey = (await add_passkey(browser, key)).data["passkey"]
    assert (await add_passkey(browser, key)).status == Status.EXISTS
    eve = browser_of(ras, browser.api.session, address="198.51.100.9")
    await registered(ras, eve, "eve@example.org", name="Eve")
    await eve.sign_in("eve@example.org")
    remove = f"{ME}/passkeys/{passkey}/remove"
    assert (await eve("POST", remove, {"password": PASSWORD})).status == Status.NOT_FOUND
    # Neither does another's passkey complete one's own sign-in.
    own = Authenticator(ORIGIN)
    await add_passkey(eve, own)
    await eve.sign_in("eve@example.org")
    assert (await passkey_step(eve, key)).status == Status.WRONG_CODE
    assert (await browser("POST", remove, {"password": PASSWORD})).status == 0
    assert (await browser.sign_in()).data["second_step"] == "none"


BENT: list[dict[str, Any]] = [
    {"origin": "https://evil.example"},
    {"origin": "http://locks.example"},
    {"origin": "https://sub.locks.example"},
    {"rp_id": "evil.example"},
    {"verified": False},
]


@pytest.mark.parametrize("bent", BENT, ids=str)
async def test_a_passkey_of_another_place_or_without_its_user_is_refused(
    ras: Ras, browser: Browser, bent: dict[str, Any]
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    key = Authenticator(ORIGIN)
    assert (
        await add_passkey(browser, dataclasses.replace(key, **bent))
    ).status == Status.WRONG_CODE
    assert (await add_passkey(browser, key)).status == 0
    await browser.sign_in()
    assert (
        await passkey_step(browser, dataclasses.replace(key, **bent))
    ).status == Status.WRONG_CODE
    assert (await passkey_step(browser, key)).status == 0


async def test_a_challenge_works_once_in_its_session_for_five_minutes(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    key = Authenticator(ORIGIN)
    await add_passkey(browser, key)
    other = browser_of(ras, browser.api.session, address="198.51.100.8")
    await browser.sign_in()
    await other.sign_in()
    begin = "/api/v1/sessions/passkey"
    options = (await browser("POST", begin)).data["options"]
    await other("POST", begin)
    assert (await step(other, "passkey", credential=key.get(options))).status == Status.WRONG_CODE
    answer = key.get(options)
    assert (await step(browser, "passkey", credential=answer)).status == 0
    await browser.sign_in()
    assert (await step(browser, "passkey", credential=answer)).status == Status.WRONG_CODE
    options = (await browser("POST", begin)).data["options"]
    clock.advance(301)
    assert (await step(browser, "passkey", credential=key.get(options))).status == Status.WRONG_CODE
    # A wrong answer uses the challenge up too.
    options = (await browser("POST", begin)).data["options"]
    wrong = dataclasses.replace(key, origin="https://evil.example").get(options)
    assert (await step(browser, "passkey", credential=wrong)).status == Status.WRONG_CODE
    key.count += 1
    assert (await step(browser, "passkey", credential=key.get(options))).status == Status.WRONG_CODE


async def test_a_copied_passkey_is_noticed_by_its_count(ras: Ras, browser: Browser) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    key = Authenticator(ORIGIN)
    await add_passkey(browser, key)
    copy = dataclasses.replace(key)
    for _ in range(2):
        await browser.sign_in()
        assert (await passkey_step(browser, key)).status == 0
    await browser.sign_in()
    assert (await passkey_step(browser, copy)).status == Status.WRONG_CODE
    assert [row.sign_count for row in await rows(ras, select(passkeys.c.sign_count))] == [2]


async def test_an_authenticator_without_a_count_works(ras: Ras, browser: Browser) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    key = Authenticator(ORIGIN, step=0)
    await add_passkey(browser, key)
    for _ in range(2):
        await browser.sign_in()
        assert (await passkey_step(browser, key)).status == 0


async def test_broken_credentials_are_wrong_and_break_nothing(ras: Ras, browser: Browser) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    key = Authenticator(ORIGIN)
    await add_passkey(browser, key)
    await browser.sign_in()
    good = key.get((await browser("POST", "/api/v1/sessions/passkey")).data["options"])
    broken: list[dict[str, Any]] = [
        {}, {"rawId": 5}, {"rawId": "!!"}, good | {"response": {}}, good | {"response": None},
        good | {"id": "other"}, good | {"type": "password"},
        good | {"response": good["response"] | {"signature": "AAAA"}},
        good | {"response": good["response"] | {"authenticatorData": "AAAA"}},
    ]  # fmt: skip
    for credential in broken:
        await browser("POST", "/api/v1/sessions/passkey")
        reply = await step(browser, "passkey", credential=credential or {"x": 1})
        assert reply.status == Status.WRONG_CODE, credential


async def test_passkeys_are_off_without_a_host_name(
    database: Database, start_ras: Start, http: aiohttp.ClientSession
) -> None:
    for url in ("", "https://192.0.2.1", "https://[2001:db8::1]:8443"):
        keys = Passkeys(_Bare(Settings(public_url=url)))  # type: ignore[arg-type]
        assert not keys.available
    ras = await start_ras(make_settings(database))
    browser = browser_of(ras, http)
    await registered(ras, browser)
    await browser.sign_in()
    assert (await browser("POST", f"{ME}/passkeys/options")).status == Status.NOT_PERMITTED


def test_only_origins_at_or_below_the_rp_id_count() -> None:
    listed = ["https://app.locks.example", "https://evil.example", "https://evillocks.example"]
    keys = Passkeys(_Bare(Settings(public_url=ORIGIN + "/app", allowed_origins=listed)))  # type: ignore[arg-type]
    assert keys.rp_id == "locks.example"
    assert keys.origins == [ORIGIN, "https://app.locks.example"]


class _Bare:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings


async def test_a_moved_server_never_lets_a_passkey_owner_in_by_password_alone(
    ras: Ras, browser: Browser, database: Database, start_ras: Start
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    codes = (await add_passkey(browser, Authenticator(ORIGIN))).data["recovery_codes"]
    await ras.close()
    moved = await start_ras(make_settings(database))
    there = browser_of(moved, browser.api.session)
    reply = await there.sign_in()
    assert (reply.data["second_step"], reply.data["methods"]) == ("needed", ["recovery"])
    assert (await step(there, "recovery", codes[0])).status == 0


async def test_a_factor_needs_a_password_beside_it(ras: Ras, browser: Browser) -> None:
    from folk import joined  # noqa: PLC0415  used here only

    site = await registered(ras, browser)
    user, browser.jar["__Host-igrs"] = await joined(ras, site)
    for path in (f"{ME}/totp", f"{ME}/passkeys/options", f"{ME}/recovery"):
        assert (await browser("POST", path)).status == Status.NOT_PERMITTED
    assert not [row for row in await rows(ras, select(users).where(users.c.id == user)) if row.totp]


async def test_a_user_has_ten_passkeys_at_most(ras: Ras, browser: Browser) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    for n in range(10):
        assert (await add_passkey(browser, Authenticator(ORIGIN), f"key {n}")).status == 0
    assert (await browser("POST", f"{ME}/passkeys/options")).status == Status.NOT_PERMITTED


def test_the_limits_of_the_pages_are_those_of_the_code() -> None:
    assert (limits.CODES.count, limits.CODES.window) == (10, HOUR * 1000)
    assert (limits.MAILS.count, limits.MAILS.window) == (3, HOUR * 1000)
    assert limits.CODES_A_DAY.window == DAY * 1000
    assert Refused(Status.TOO_MANY_ATTEMPTS, retry_after=1).status.http == 429
