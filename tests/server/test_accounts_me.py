"""One's own account against the running server: password, address, a forgotten password, deletion."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import TYPE_CHECKING, Any

import pyotp
import pytest
from conftest import Api, Database, MovedClock, eventually, make_settings
from folk import (
    DAY,
    EMAIL,
    HOUR,
    OTHER,
    PASSWORD,
    Browser,
    Mailbox,
    browser_of,
    joined,
    new_home,
    registered,
    registration,
    rows,
    with_mail,
)
from igrs_ras.accounts import reset
from igrs_ras.status import Status
from igrs_ras.storage.tables import audit, events, members, metadata, recovery_codes, users
from sqlalchemy import select

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import aiohttp
    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings

ME = "/api/v1/me"
RESETS = "/api/v1/resets"
DONE = "/api/v1/resets/done"
THIRD = "clouds taste of elderflower"
SESSIONS = "/api/v1/sessions"

type Start = Callable[[Settings], Awaitable[Ras]]


@pytest.fixture
def settings(database: Database) -> Settings:
    return make_settings(database, trusted_proxies=["127.0.0.1/32"])


@pytest.fixture
def browser(api: Api) -> Browser:
    return Browser(api, address="198.51.100.7")


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as running:
        yield running


@pytest.fixture
async def mailing(database: Database, start_ras: Start, mailbox: Mailbox) -> Ras:
    """A server with SMTP."""
    return await start_ras(
        make_settings(database, trusted_proxies=["127.0.0.1/32"], **mailbox.settings)
    )


@pytest.fixture
async def alma(mailing: Ras, http: aiohttp.ClientSession, mailbox: Mailbox) -> Browser:
    """Somebody with a confirmed address, signed in."""
    browser = browser_of(mailing, http, address="198.51.100.7")
    await with_mail(mailing, browser, mailbox)
    await by_mail(browser, mailbox)
    return browser


async def by_mail(
    browser: Browser, mailbox: Mailbox, password: str = PASSWORD, email: str = EMAIL
) -> None:
    """Sign in with a mailed code."""
    assert (await browser.sign_in(email, password)).status == 0
    assert (await browser("POST", "/api/v1/sessions/mail", {})).status == 0
    step = {"method": "email", "code": mailbox.code(email)}
    assert (await browser("POST", "/api/v1/sessions/step", step)).status == 0


async def add_totp(browser: Browser, clock: MovedClock) -> tuple[pyotp.TOTP, list[str]]:
    app = pyotp.TOTP((await browser("POST", f"{ME}/totp")).data["secret"])
    body = {"code": app.at(clock.now_ms() // 1000)}
    codes = (await browser("POST", f"{ME}/totp/confirm", body)).data["recovery_codes"]
    clock.advance(31)
    return app, codes


async def test_what_is_said_of_a_user_holds_no_secret(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    app, _ = await add_totp(browser, clock)
    told = json.dumps((await browser("GET", ME)).data) + json.dumps(
        (await browser("GET", SESSIONS)).data
    )
    for secret in (app.secret, browser.token, "argon2", browser.jar["__Host-igrs-device"]):
        assert secret not in told


async def test_case_18_only_name_and_address_can_be_changed(ras: Ras, browser: Browser) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    for field, value in (
        ("role", "owner"), ("id", "0" * 32), ("email_verified", True), ("password", OTHER), ("totp", None),
        ("sites", []), ("user", "0" * 32),
    ):  # fmt: skip
        assert (await browser("PATCH", ME, {"name": "x", field: value})).status == Status.MALFORMED
    assert (await browser("PATCH", ME, {"name": "  Alma   Berg "})).data == {"confirm": "none"}
    assert (await browser("GET", ME)).data["name"] == "Alma Berg"
    assert (await browser("PATCH", ME, {"name": "\u202eamlA"})).status == Status.MALFORMED


async def test_a_new_password_takes_the_old_one_and_ends_all_other_sessions(
    ras: Ras, api: Api, browser: Browser
) -> None:
    site = await registered(ras, browser)
    await browser.sign_in()
    other = Browser(api, address="198.51.100.8")
    await other.sign_in()
    given = {"email": EMAIL, "password": PASSWORD, "kind": "bearer"}
    bearer = (await api("POST", SESSIONS, given)).data["token"]
    before = browser.token
    wrong = {"old": OTHER, "new": THIRD}
    assert (await browser("POST", f"{ME}/password", wrong)).status == Status.WRONG_CREDENTIALS
    assert (await other("GET", ME)).status == 0
    assert (await browser("POST", f"{ME}/password", {"old": PASSWORD, "new": OTHER})).status == 0
    assert browser.token != before
    assert (await browser("GET", ME)).status == 0
    assert (await other("GET", ME)).status == Status.SIGN_IN
    assert (await api("GET", ME, token=bearer)).status == Status.SIGN_IN
    assert (await api("GET", ME, cookie=before)).status == Status.SIGN_IN
    assert (await other.sign_in()).status == Status.WRONG_CREDENTIALS
    assert (await other.sign_in(EMAIL, OTHER)).status == 0
    names = [
        json.loads(row.entry)["what"] for row in await rows(ras, select(audit).order_by(audit.c.i))
    ]
    assert names.count("password.changed") == 1
    assert {"owner.claimed", "session.created", "session.ended"} <= set(names)
    assert all(row.site == site for row in await rows(ras, select(audit)))


async def test_of_two_password_changes_at_once_one_holds(ras: Ras, browser: Browser) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    pair = [Browser(browser.api, address=browser.address) for _ in range(2)]
    for one in pair:
        one.jar = dict(browser.jar)
    found = await asyncio.gather(
        pair[0]("POST", f"{ME}/password", {"old": PASSWORD, "new": OTHER}),
        pair[1]("POST", f"{ME}/password", {"old": PASSWORD, "new": THIRD}),
    )
    done = [reply.status == 0 for reply in found]
    assert done.count(True) == 1
    fresh = Browser(browser.api, address="198.51.100.8")
    assert (await fresh.sign_in(EMAIL, OTHER)).status == (
        0 if done[0] else Status.WRONG_CREDENTIALS
    )
    assert (await fresh.sign_in(EMAIL, THIRD)).status == (
        0 if done[1] else Status.WRONG_CREDENTIALS
    )


async def test_without_mail_a_new_address_counts_at_once_if_it_is_free(
    ras: Ras, browser: Browser
) -> None:
    await registered(ras, browser)
    await registered(
        ras, Browser(browser.api, address="198.51.100.8"), "eve@example.org", name="Eve"
    )
    await browser.sign_in()
    assert (await browser("PATCH", ME, {"email": "eve@example.org"})).status == Status.EXISTS
    assert (await browser("PATCH", ME, {"email": "New@Example.org"})).status == 0
    assert (await browser.sign_in()).status == Status.WRONG_CREDENTIALS
    assert (await browser.sign_in("new@example.org")).status == 0


# With mail


async def test_a_new_address_counts_when_it_is_confirmed_and_the_old_one_is_told(
    mailing: Ras, alma: Browser, mailbox: Mailbox
) -> None:
    new = "new@example.org"
    assert (await alma("PATCH", ME, {"email": new})).data == {"confirm": "mail"}
    assert (await alma("GET", ME)).data["email"] == EMAIL
    assert len(mailbox.to(EMAIL)) == 2
    confirmation = {"email": new, "code": mailbox.code(new)}
    assert (await alma("POST", "/api/v1/users/confirm", confirmation)).status == 0
    me = (await alma("GET", ME)).data
    assert (me["email"], me["email_verified"]) == (new, True)
    await mailbox.got(3, EMAIL)
    assert "has another e-mail address now" in mailbox.to(EMAIL)[-1]


async def test_a_taken_new_address_is_told_by_mail_alone(
    mailing: Ras, alma: Browser, mailbox: Mailbox, http: aiohttp.ClientSession
) -> None:
    eve = browser_of(mailing, http, address="198.51.100.8")
    await with_mail(mailing, eve, mailbox, "eve@example.org")
    taken = await alma("PATCH", ME, {"email": "eve@example.org"})
    free = await alma("PATCH", ME, {"email": "free@example.org"})
    assert (taken.status, taken.data) == (free.status, free.data) == (0, {"confirm": "mail"})
    assert "You have one already" in mailbox.to("eve@example.org")[-1]


async def test_a_forgotten_password_is_set_anew_by_mail_and_everything_else_ends(
    mailing: Ras, alma: Browser, mailbox: Mailbox
) -> None:
    asker = Browser(alma.api, origin=alma.origin, address="198.51.100.8")
    assert (await asker("POST", RESETS, {"email": EMAIL})).status == 0
    await mailbox.got(3)
    code = mailbox.long_code()
    body = {"email": EMAIL, "code": code.lower().replace("-", " "), "password": OTHER}
    weak = await asker("POST", DONE, body | {"password": "too short"})
    assert weak.status == Status.MALFORMED
    assert (await asker("POST", DONE, body)).status == 0
    assert (await asker("POST", DONE, body)).status == Status.WRONG_CODE
    assert (await alma("GET", ME)).status == Status.SIGN_IN
    assert (await alma.sign_in()).status == Status.WRONG_CREDENTIALS
    # Known devices ended too; the second step is still asked for.
    assert (await alma.sign_in(EMAIL, OTHER)).data["second_step"] == "needed"
    await mailbox.got(4)
    assert "password of your account was changed" in mailbox.to(EMAIL)[-1]


async def test_case_29_a_reset_is_answered_alike_for_every_address(
    mailing: Ras, alma: Browser, mailbox: Mailbox
) -> None:
    known = await alma("POST", RESETS, {"email": EMAIL})
    unknown = await alma("POST", RESETS, {"email": "nobody@example.org"})
    assert (known.http, known.status, known.data) == (unknown.http, unknown.status, unknown.data)
    for email in (EMAIL, "nobody@example.org"):
        reply = await alma(
            "POST", DONE, {"email": email, "code": "8KNZ-44YW-D3XS-6GJ4", "password": OTHER}
        )
        assert reply.status == Status.WRONG_CODE
    # Also when there were too many.
    for email in (EMAIL, "nobody@example.org"):
        found = [(await alma("POST", RESETS, {"email": email})).status for _ in range(3)]
        assert found == [0, 0, Status.TOO_MANY_ATTEMPTS]
    await mailbox.got(5)
    assert mailbox.to("nobody@example.org") == []


async def test_a_reset_also_takes_the_second_factor_and_mail_is_none(
    mailing: Ras, alma: Browser, mailbox: Mailbox, clock: MovedClock
) -> None:
    app, codes = await add_totp(alma, clock)
    asker = Browser(alma.api, origin=alma.origin, address="198.51.100.8")
    await asker("POST", RESETS, {"email": EMAIL})
    await mailbox.got(4)
    # With a factor a password may be shorter.
    body = {"email": EMAIL, "code": mailbox.long_code(), "password": "8 letter"}
    assert (await asker("POST", DONE, body)).status == Status.SECOND_STEP
    assert (await asker("POST", DONE, body | {"method": "email"})).status == Status.MALFORMED
    now = app.at(clock.now_ms() // 1000)
    wrong = next(f"{n:06}" for n in range(5) if f"{n:06}" != now)
    found = [
        (await asker("POST", DONE, body | {"method": "totp", "second": wrong})).status
        for _ in range(11)
    ]
    assert found == [Status.WRONG_CODE] * 10 + [Status.TOO_MANY_ATTEMPTS]
    right = body | {"method": "recovery", "second": codes[0]}
    assert (await asker("POST", DONE, right)).status == Status.TOO_MANY_ATTEMPTS
    clock.advance(HOUR)
    await asker("POST", RESETS, {"email": EMAIL})
    await mailbox.got(5)
    right["code"] = mailbox.long_code()
    assert (await asker("POST", DONE, right)).status == 0
    left = await rows(mailing, select(recovery_codes).where(recovery_codes.c.used.is_(None)))
    assert len(left) == 9
    assert (await alma.sign_in(EMAIL, "8 letter")).data["methods"] == ["totp", "recovery"]


async def test_a_reset_code_ends_after_ten_minutes_and_five_guesses_per_address(
    mailing: Ras, alma: Browser, mailbox: Mailbox, clock: MovedClock
) -> None:
    await alma("POST", RESETS, {"email": EMAIL})
    await mailbox.got(3)
    body = {"email": EMAIL, "code": mailbox.long_code(), "password": OTHER}
    guess = body | {"code": "8KNZ-44YW-D3XS-6GJ4"}
    guesser = Browser(alma.api, origin=alma.origin, address="203.0.113.5")
    found = [(await guesser("POST", DONE, guess)).status for _ in range(6)]
    assert found == [Status.WRONG_CODE] * 5 + [Status.TOO_MANY_ATTEMPTS]
    clock.advance(601)
    assert (await alma("POST", DONE, body)).status == Status.WRONG_CODE


async def test_a_reset_mail_that_fails_is_logged_and_tells_nobody_anything(
    mailing: Ras, alma: Browser, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox.refuse = True
    known = await alma("POST", RESETS, {"email": EMAIL})
    unknown = await alma("POST", RESETS, {"email": "nobody@example.org"})
    assert (known.status, known.data) == (unknown.status, unknown.data) == (0, None)
    await eventually(lambda: "a mail was not sent" in caplog.text)
    assert EMAIL not in caplog.text


async def test_no_code_or_secret_of_mail_is_logged_or_stored_readably(
    mailing: Ras, alma: Browser, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await alma("POST", RESETS, {"email": EMAIL})
        await mailbox.got(3)
        await by_mail(alma, mailbox)
    found = [
        code for text in mailbox.to(EMAIL) for code in re.findall(r"\d{6}|(?:\w{4}-){3}\w{4}", text)
    ]
    assert len(found) >= 4
    logged = "\n".join(
        repr(record.__dict__) for record in caplog.records if record.name != "mail.log"
    )  # the test's own SMTP server logs all it gets
    assert "request" in logged
    stored = []
    for table in metadata.sorted_tables:
        stored += [repr(tuple(row)) for row in await rows(mailing, select(table))]
    for code in found:
        assert not re.search(rf"\b{code}\b", logged)
        assert not any(f"'{code}'" in row for row in stored)


async def test_without_mail_a_reset_says_so_for_everybody(ras: Ras, browser: Browser) -> None:
    await registered(ras, browser)
    for email in (EMAIL, "nobody@example.org"):
        assert (await browser("POST", RESETS, {"email": email})).status == Status.NOT_READY


async def test_an_operators_code_sets_a_password_where_there_is_no_mail(
    ras: Ras, browser: Browser
) -> None:
    await registered(ras, browser)
    user = (await rows(ras, select(users)))[0].id
    code = await ras.store.write(lambda tx: reset.issue_by_operator(tx, user))
    body = {"email": EMAIL, "code": code, "password": OTHER}
    assert (await browser("POST", DONE, body)).status == 0
    assert (await browser.sign_in(EMAIL, OTHER)).status == 0


# The end


async def test_deletion_leaves_nothing_but_random_ids_in_the_audit(
    ras: Ras, api: Api, browser: Browser, clock: MovedClock, http: aiohttp.ClientSession
) -> None:
    site = await registered(ras, browser)
    session = (await browser.sign_in()).data
    await add_totp(browser, clock)
    user = session["user"]
    await ras.store.write(lambda tx: tx.push(f"user:{user}", "account", {"what": "Alma"}))
    await ras.store.write(
        lambda tx: tx.execute(members.update().values(state="active", role="owner"))
    )
    headers = {"Cookie": f"__Host-igrs={browser.token}", "Origin": api.base}
    socket = await http.ws_connect(
        api.base + "/api/v1/push", headers=headers, protocols=["igrs.push.v1"]
    )
    assert (await socket.receive_json())["type"] == "hello"
    assert (await browser("DELETE", ME)).status == 0
    assert browser.token == ""
    while not (await asyncio.wait_for(socket.receive(), 10)).type.name.startswith("CLOS"):
        pass
    assert socket.close_code == 4401
    # Only the home's own waiting messages still hold a name, until the gateway takes them.
    told = await rows(ras, select(events).where(events.c.recipient == f"gateway:{site}"))
    assert [b"member.left" in row.envelope for row in told] == [False, True]
    assert user.encode() in bytes(told[1].envelope)
    for table in metadata.sorted_tables:
        if table.name in ("audit", "events", "recipients", "checkpoints"):
            continue
        for row in await rows(ras, select(table)):
            assert EMAIL not in repr(tuple(row)), table.name
            assert "Alma" not in repr(tuple(row)), table.name
            assert user not in repr(tuple(row)), table.name
    assert not await rows(ras, select(events).where(events.c.recipient == f"user:{user}"))
    entries = [json.loads(row.entry) for row in await rows(ras, select(audit).order_by(audit.c.i))]
    assert "user.deleted" in {entry["what"] for entry in entries}
    assert EMAIL not in str(entries)
    assert "Alma" not in str(entries)
    assert (await browser.sign_in()).status == Status.WRONG_CREDENTIALS
    # The address is free again.
    await registered(ras, browser)


async def test_an_event_for_somebody_deleted_in_the_same_commit_breaks_nothing(
    ras: Ras, browser: Browser
) -> None:
    await registered(ras, browser)
    user = (await browser.sign_in()).data["user"]
    from igrs_ras.accounts import people  # noqa: PLC0415  used here only

    pushed, erased = await asyncio.gather(
        ras.store.write(lambda tx: tx.push(f"user:{user}", "account", {})),
        ras.store.write(lambda tx: people.erase(ras, tx, user)),
    )
    assert (pushed, erased) == (1, None)
    assert not await rows(ras, select(users))


async def test_somebody_invited_can_leave_without_ever_having_a_password(
    ras: Ras, browser: Browser
) -> None:
    site = await registered(ras, browser)
    user, browser.jar["__Host-igrs"] = await joined(ras, site)
    assert (await browser("DELETE", ME)).status == 0
    assert not await rows(ras, select(users).where(users.c.id == user))


async def test_somebody_whose_membership_ended_is_forgotten_when_his_sessions_are(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    site = await registered(ras, browser)
    user, _ = await joined(ras, site)
    await ras.store.write(lambda tx: tx.execute(members.delete().where(members.c.user == user)))
    clock.advance(2 * DAY)
    await asyncio.sleep(0.5)
    assert await rows(ras, select(users).where(users.c.id == user))
    clock.advance(90 * DAY)

    async def gone() -> bool:
        return not await rows(ras, select(users).where(users.c.id == user))

    await eventually(gone)
    assert await rows(ras, select(users).where(users.c.email == EMAIL))


CALLS: list[tuple[str, str, Any]] = [
    ("GET", ME, None),
    ("PATCH", ME, {"name": "x"}),
    ("DELETE", ME, None),
    ("POST", f"{ME}/password", {"old": PASSWORD, "new": OTHER}),
    ("POST", f"{ME}/homes", {"owner_code": "x"}),
    ("POST", f"{ME}/totp", None),
    ("POST", f"{ME}/totp/confirm", {"code": "1"}),
    ("POST", f"{ME}/totp/remove", {"password": PASSWORD}),
    ("POST", f"{ME}/recovery", None),
    ("POST", f"{ME}/passkeys/options", None),
    ("POST", f"{ME}/passkeys", {"name": "x", "credential": {}}),
    ("POST", f"{ME}/passkeys/{'0' * 32}/remove", {"password": PASSWORD}),
    ("GET", SESSIONS, None),
    ("DELETE", SESSIONS, None),
    ("DELETE", f"{SESSIONS}/{'0' * 32}", None),
    ("POST", f"{SESSIONS}/step", {"method": "totp"}),
    ("POST", f"{SESSIONS}/mail", {}),
    ("POST", f"{SESSIONS}/passkey", None),
    ("POST", f"{SESSIONS}/proof", {"method": "password"}),
]


async def test_nobody_gets_anything_without_signing_in(
    ras: Ras, api: Api, browser: Browser
) -> None:
    for method, path, body in CALLS:
        assert (await browser(method, path, body)).status == Status.SIGN_IN, path
        assert (await api(method, path, body, token="u_" + "x" * 43)).status == Status.SIGN_IN, path
    # And a session from a foreign page does nothing.
    await registered(ras, browser)
    await browser.sign_in()
    foreign = Browser(api, origin="https://evil.example", address=browser.address)
    foreign.jar = dict(browser.jar)
    for method, path, body in CALLS:
        if method != "GET":
            assert (await foreign(method, path, body)).status == Status.NOT_PERMITTED, path
    assert (await browser("GET", ME)).status == 0


async def test_whoever_is_signed_in_completely_cannot_do_a_second_step_again(
    ras: Ras, browser: Browser
) -> None:
    await registered(ras, browser)
    await browser.sign_in()
    for path, body in ((f"{SESSIONS}/step", {"method": "totp"}), (f"{SESSIONS}/mail", {})):
        assert (await browser("POST", path, body)).status == Status.NOT_PERMITTED


async def test_a_deleted_user_cannot_be_registered_over_by_his_old_session(
    ras: Ras, browser: Browser
) -> None:
    site, _, _ = await new_home(ras)
    _, token = await joined(ras, site)
    browser.jar["__Host-igrs"] = token
    await browser("DELETE", ME)
    browser.jar["__Host-igrs"] = token
    assert (await browser("POST", "/api/v1/users", registration(""))).status == Status.NOT_PERMITTED
