"""Clause 7.1 against the running server: owner codes, invited people, confirming an address by real mail."""

from __future__ import annotations

import asyncio
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
    Mailbox,
    browser_of,
    joined,
    make_certificate,
    new_home,
    registered,
    registration,
    rows,
    with_mail,
)
from igrs_ras.accounts import throttle as limits
from igrs_ras.status import Status
from igrs_ras.storage.tables import events, invitations, mail_codes, members, users
from sqlalchemy import select
from town import new_site, rows_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import aiohttp
    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings

USERS = "/api/v1/users"
CONFIRM = "/api/v1/users/confirm"
ME = "/api/v1/me"
UNKNOWN = "8KNZ-44YW-D3XS-6GJ4"

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
def reader(mailing: Ras, http: aiohttp.ClientSession) -> Browser:
    """Somebody at the server with SMTP."""
    return browser_of(mailing, http, address="198.51.100.7")


async def test_registration_is_closed_to_who_has_no_code_and_no_invitation(
    browser: Browser,
) -> None:
    body = registration("")
    assert (await browser("POST", USERS, body)).status == Status.NOT_PERMITTED
    assert (await browser("POST", USERS, body | {"role": "owner"})).status == Status.MALFORMED


async def test_an_owner_code_makes_a_pending_member_and_the_home_is_told(
    ras: Ras, browser: Browser
) -> None:
    site, invitation, code = await new_home(ras)
    reply = await browser("POST", USERS, registration(code.lower().replace("-", " ")))
    assert (reply.status, reply.data) == (0, {"confirm": "none"})
    user = (await rows(ras, select(users)))[0]
    assert (user.email, user.name, user.email_verified) == (EMAIL, "Alma", None)
    member = (await rows(ras, select(members)))[0]
    # The role comes from the home alone.
    assert (member.site, member.state, member.role) == (site, "pending", "member")
    used = (await rows(ras, select(invitations)))[0]
    assert (used.state, used.user) == ("joined", user.id)
    event = (await rows(ras, select(events)))[0]
    assert event.recipient == f"gateway:{site}"
    assert b'"owner.claimed"' in event.envelope
    assert f'"user":"{user.id}","name":"Alma"'.encode() in event.envelope
    assert invitation.encode() in event.envelope
    await browser.sign_in()
    me = (await browser("GET", ME)).data
    assert me["sites"] == [{"site": site, "name": "Home", "role": "member", "state": "pending"}]


async def test_a_real_home_makes_its_owner_an_owner(
    ras: Ras, database: Database, browser: Browser, clock: MovedClock
) -> None:
    from home import Home  # noqa: PLC0415  only this test needs one

    with rows_of(database) as connection:
        enrolment = new_site(connection, "Home", clock.now_ms())
    home = Home(base_of(ras), now=clock.now_ms)
    try:
        await home.enrol(enrolment)
        await home.connect()
        code = await home.owner_code()
        assert (await browser("POST", USERS, registration(code))).status == 0
        await browser.sign_in()

        async def role() -> bool:
            sites = (await browser("GET", ME)).data["sites"]
            return bool(
                [home["role"], home["state"]] == ["owner", "active"] for home in sites
            ) and (sites[0]["role"] == "owner" and sites[0]["state"] == "active")

        await eventually(role)
        # And when he leaves, the home learns it.
        assert (await browser("DELETE", ME)).status == 0
        await eventually(lambda: any(event["type"] == "member.left" for event in home.events))
    finally:
        await home.close()


async def test_case_08_an_owner_code_works_once(ras: Ras, browser: Browser) -> None:
    _, _, code = await new_home(ras)
    assert (await browser("POST", USERS, registration(code))).status == 0
    again = await browser("POST", USERS, registration(code, email="eve@example.org"))
    assert again.status == Status.WRONG_CODE
    assert len(await rows(ras, select(users))) == 1


async def test_case_08_of_two_at_once_one_gets_the_home(ras: Ras, browser: Browser) -> None:
    _, _, code = await new_home(ras)
    replies = await asyncio.gather(
        *(browser("POST", USERS, registration(code, email=f"u{n}@example.org")) for n in range(4))
    )
    assert sorted(reply.status for reply in replies) == [0] + [Status.WRONG_CODE] * 3
    assert len(await rows(ras, select(members))) == len(await rows(ras, select(users))) == 1


async def test_case_08_an_expired_or_withdrawn_code_is_as_wrong_as_an_unknown_one(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    _, _, expired = await new_home(ras, life=60)
    _, invitation, withdrawn = await new_home(ras)
    await ras.store.write(
        lambda tx: tx.execute(
            invitations.update().where(invitations.c.id == invitation).values(state="withdrawn")
        )
    )
    clock.advance(61)
    found = [
        await browser("POST", USERS, registration(c)) for c in (expired, withdrawn, UNKNOWN, "ABC")
    ]
    assert {(reply.status, reply.http, reply.data) for reply in found} == {
        (Status.WRONG_CODE, 403, None)
    }


async def test_case_08_guessing_codes_ends_after_five(
    ras: Ras, browser: Browser, clock: MovedClock
) -> None:
    _, _, code = await new_home(ras, life=2 * HOUR)
    found = [(await browser("POST", USERS, registration(UNKNOWN))).status for _ in range(6)]
    assert found == [Status.WRONG_CODE] * 5 + [Status.TOO_MANY_ATTEMPTS]
    # Not even the right one goes through then, nor over the other way in.
    assert (await browser("POST", USERS, registration(code))).status == Status.TOO_MANY_ATTEMPTS
    # Nobody else is held up by it.
    other = Browser(browser.api, address="198.51.100.8")
    assert (await other("POST", USERS, registration(code))).status == 0
    clock.advance(HOUR + 1)
    assert (await browser("POST", USERS, registration(UNKNOWN))).status == Status.WRONG_CODE


async def test_right_codes_are_no_guesses(ras: Ras, browser: Browser) -> None:
    for n in range(7):
        await registered(ras, browser, f"user{n}@example.org", name=f"User {n}")


async def test_a_code_of_a_suspended_home_waits_for_its_gateway(ras: Ras, browser: Browser) -> None:
    from igrs_ras.storage.tables import sites  # noqa: PLC0415  used here only

    site, _, code = await new_home(ras)
    await ras.store.write(
        lambda tx: tx.execute(sites.update().where(sites.c.id == site).values(suspended=True))
    )
    assert (await browser("POST", USERS, registration(code))).status == Status.WRONG_CODE


async def test_a_weak_password_is_said_before_the_code_is_used(ras: Ras, browser: Browser) -> None:
    _, _, code = await new_home(ras)
    for weak in ("too short", "passwordpassword", EMAIL, "x" * 300):
        reply = await browser("POST", USERS, registration(code, password=weak))
        assert reply.status == Status.MALFORMED
        assert weak not in str(reply.data)
    assert (await browser("POST", USERS, registration(code))).status == 0


async def test_who_has_an_account_claims_another_home_with_it(ras: Ras, browser: Browser) -> None:
    first = await registered(ras, browser)
    await browser.sign_in()
    second, _, code = await new_home(ras)
    assert (
        await browser("POST", f"{ME}/homes", {"owner_code": UNKNOWN})
    ).status == Status.WRONG_CODE
    reply = await browser("POST", f"{ME}/homes", {"owner_code": code})
    assert (reply.status, reply.data) == (0, {"site": second})
    assert (await browser("POST", f"{ME}/homes", {"owner_code": code})).status == Status.WRONG_CODE
    assert {home["site"] for home in (await browser("GET", ME)).data["sites"]} == {first, second}


async def test_somebody_invited_adds_an_address_and_a_password(ras: Ras, browser: Browser) -> None:
    site = await registered(ras, browser)
    user, cookie = await joined(ras, site)
    guest = Browser(browser.api, address="198.51.100.8")
    guest.jar["__Host-igrs"] = cookie
    before = (await guest("GET", ME)).data
    assert (before["email"], before["password"], before["second_step"]) == (None, False, False)
    body = registration("", email="guest@example.org", name="Berta")
    assert (await guest("POST", USERS, body)).data == {"confirm": "none"}
    after = (await guest("GET", ME)).data
    assert (after["user"], after["email"], after["name"]) == (user, "guest@example.org", "Berta")
    assert (await guest("POST", USERS, body)).status == Status.EXISTS
    phone = Browser(browser.api, address="198.51.100.9")
    assert (await phone.sign_in("guest@example.org")).data["user"] == user


async def test_without_mail_a_taken_address_is_answered_alike_and_changes_nothing(
    ras: Ras, browser: Browser
) -> None:
    await registered(ras, browser)
    site, invitation, code = await new_home(ras)
    stranger = Browser(browser.api, address="198.51.100.8")
    reply = await stranger("POST", USERS, registration(code, password=OTHER, name="Eve"))
    assert (reply.status, reply.data) == (0, {"confirm": "none"})
    assert (await stranger.sign_in(EMAIL, OTHER)).status == Status.WRONG_CREDENTIALS
    assert (await browser.sign_in()).status == 0
    assert (await browser("GET", ME)).data["name"] == "Alma"
    left = (await rows(ras, select(invitations).where(invitations.c.id == invitation)))[0]
    assert (left.state, left.user) == ("open", None)
    # Whoever holds the code and the account uses both.
    assert (await browser("POST", f"{ME}/homes", {"owner_code": code})).data == {"site": site}


# With mail


async def test_an_account_begins_when_the_code_from_the_mail_is_entered(
    mailing: Ras, reader: Browser, mailbox: Mailbox
) -> None:
    site, _, code = await new_home(mailing)
    reply = await reader("POST", USERS, registration(code))
    assert (reply.status, reply.data) == (0, {"confirm": "mail"})
    assert (await reader.sign_in()).status == Status.WRONG_CREDENTIALS
    assert not await rows(mailing, select(members))
    mail = mailbox.mails[0]
    assert (mail.sender, mail.to) == ("locks@example.org", [EMAIL])
    assert mail.message["From"] == "IGRS Lock <locks@example.org>"
    assert mail.message["Subject"] == "Your confirmation code (IGRS Lock)"
    assert mail.message.get_content_type() == "text/plain"
    assert "http" not in mail.message.get_content()
    wrong = f"{(int(mailbox.code()) + 1) % 10**6:06}"
    assert (
        await reader("POST", CONFIRM, {"email": EMAIL, "code": wrong})
    ).status == Status.WRONG_CODE
    right = {"email": EMAIL, "code": mailbox.code()}
    assert (await reader("POST", CONFIRM, right)).status == 0
    assert (await reader("POST", CONFIRM, right)).status == Status.WRONG_CODE
    assert [row.site for row in await rows(mailing, select(members))] == [site]
    # A confirmed address is a second step from now on.
    assert (await reader.sign_in()).data["methods"] == ["email"]


async def test_a_code_from_a_mail_ends_after_ten_minutes_and_ten_wrong_ones(
    mailing: Ras, reader: Browser, mailbox: Mailbox, clock: MovedClock
) -> None:
    _, _, code = await new_home(mailing, life=DAY)
    await reader("POST", USERS, registration(code))
    clock.advance(601)
    late = {"email": EMAIL, "code": mailbox.code()}
    assert (await reader("POST", CONFIRM, late)).status == Status.WRONG_CODE
    await reader("POST", USERS, registration(code))
    right = {"email": EMAIL, "code": mailbox.code()}
    wrong = right | {"code": f"{(int(mailbox.code()) + 1) % 10**6:06}"}
    found = [(await reader("POST", CONFIRM, wrong)).status for _ in range(10)]
    assert found == [Status.WRONG_CODE] * 9 + [Status.TOO_MANY_ATTEMPTS]  # one was too late
    assert (await reader("POST", CONFIRM, right)).status == Status.TOO_MANY_ATTEMPTS
    # That is the guesser's own trouble. But many together are stopped too.
    owner = Browser(reader.api, address="198.51.100.8")
    for n in range(90):
        await mailing.throttle.take(limits.confirm_uses(EMAIL, f"203.0.113.{n}"))
    assert (await owner("POST", CONFIRM, right)).status == Status.TOO_MANY_ATTEMPTS
    await mailing.throttle.give_back([limits.Use(limits.CONFIRMATIONS, (EMAIL,))])
    assert (await owner("POST", CONFIRM, right)).status == 0


async def test_a_taken_address_is_told_by_mail_alone(
    mailing: Ras, reader: Browser, mailbox: Mailbox
) -> None:
    await with_mail(mailing, reader, mailbox)
    site, _, code = await new_home(mailing)
    _, _, other = await new_home(mailing)
    eve = Browser(reader.api, address="198.51.100.8")
    taken = await eve("POST", USERS, registration(code, name="Eve", password=OTHER))
    free = await eve("POST", USERS, registration(other, name="Eve", email="eve@example.org"))
    assert (taken.http, taken.status, taken.data) == (free.http, free.status, free.data)
    assert "You have one already" in mailbox.to(EMAIL)[-1]
    # What is stored looks the same too: a user without address, with a code that counts for nobody.
    stored = await rows(mailing, select(users).where(users.c.name == "Eve"))
    assert [(row.email, row.email_verified) for row in stored] == [(None, None)] * 2
    assert len(await rows(mailing, select(mail_codes))) == 2
    # The code of the home is still good for who has the account.
    await reader.sign_in()
    await reader("POST", "/api/v1/sessions/mail", {})
    step = {"method": "email", "code": mailbox.code()}
    assert (await reader("POST", "/api/v1/sessions/step", step)).status == 0
    assert (await reader("POST", f"{ME}/homes", {"owner_code": code})).data == {"site": site}


async def test_even_the_guessed_code_gives_nobody_a_taken_address(
    mailing: Ras, reader: Browser, mailbox: Mailbox
) -> None:
    await with_mail(mailing, reader, mailbox)
    _, _, code = await new_home(mailing)
    await reader("POST", USERS, registration(code, name="Eve", password=OTHER))
    row = (await rows(mailing, select(mail_codes)))[0]
    from igrs_ras.accounts import mailcodes  # noqa: PLC0415  to find the code that no mail holds

    guessed = next(
        f"{n:06}"
        for n in range(10**6)
        if mailcodes._hash(row.id, f"{n:06}".encode()) == bytes(row.hash)
    )
    reply = await reader("POST", CONFIRM, {"email": EMAIL, "code": guessed})
    assert reply.status == Status.WRONG_CODE
    owners = await rows(mailing, select(users).where(users.c.email == EMAIL))
    assert [row.name for row in owners] == ["Alma"]


async def test_a_mistyped_address_is_mended_with_the_same_code(
    mailing: Ras, reader: Browser, mailbox: Mailbox
) -> None:
    _, _, code = await new_home(mailing)
    await reader("POST", USERS, registration(code, email="almo@example.org"))
    await reader("POST", USERS, registration(code))
    # The first registration is gone, its code with it.
    first = {"email": "almo@example.org", "code": mailbox.code("almo@example.org")}
    assert (await reader("POST", CONFIRM, first)).status == Status.WRONG_CODE
    assert (await reader("POST", CONFIRM, {"email": EMAIL, "code": mailbox.code()})).status == 0
    assert len(await rows(mailing, select(users))) == 1


async def test_a_registration_that_was_never_confirmed_leaves_nothing(
    mailing: Ras, reader: Browser, clock: MovedClock
) -> None:
    _, _, code = await new_home(mailing)
    await reader("POST", USERS, registration(code))
    assert await rows(mailing, select(users))
    clock.advance(DAY + 120)

    async def gone() -> bool:
        return not await rows(mailing, select(users)) and not await rows(
            mailing, select(mail_codes)
        )

    await eventually(gone)


async def test_three_mails_an_hour_go_to_an_address(
    mailing: Ras, reader: Browser, mailbox: Mailbox, clock: MovedClock
) -> None:
    _, _, code = await new_home(mailing, life=DAY)
    found = []
    for n in range(4):
        one = Browser(reader.api, address=f"203.0.113.{n}")
        found.append((await one("POST", USERS, registration(code))).status)
    assert found == [0, 0, 0, Status.TOO_MANY_ATTEMPTS]
    assert len(mailbox.to(EMAIL)) == 3
    clock.advance(HOUR + 1)
    assert (await reader("POST", USERS, registration(code))).status == 0


async def test_a_mail_that_is_not_sent_is_said(
    mailing: Ras, reader: Browser, mailbox: Mailbox
) -> None:
    _, _, code = await new_home(mailing)
    mailbox.refuse = True
    assert (await reader("POST", USERS, registration(code))).status == Status.NOT_READY
    assert (await reader.sign_in()).status == Status.WRONG_CREDENTIALS
    mailbox.refuse = False
    await reader("POST", USERS, registration(code))
    assert (await reader("POST", CONFIRM, {"email": EMAIL, "code": mailbox.code()})).status == 0


async def test_a_code_counts_in_the_session_that_asked_for_it(
    mailing: Ras, reader: Browser, mailbox: Mailbox
) -> None:
    site, _, _ = await new_home(mailing)
    guest, thief = (Browser(reader.api, address=f"198.51.100.{n}") for n in (20, 21))
    _, guest.jar["__Host-igrs"] = await joined(mailing, site)
    _, thief.jar["__Host-igrs"] = await joined(mailing, site)
    body = registration("", email="guest@example.org")
    assert (await guest("POST", USERS, body)).data == {"confirm": "mail"}
    confirmation = {"email": "guest@example.org", "code": mailbox.code("guest@example.org")}
    for stranger in (thief, reader):
        assert (await stranger("POST", CONFIRM, confirmation)).status == Status.WRONG_CODE
    assert (await guest("POST", CONFIRM, confirmation)).status == 0
    me = (await guest("GET", ME)).data
    assert (me["email"], me["email_verified"]) == ("guest@example.org", True)


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_mail_goes_over_tls_with_a_checked_certificate(
    database: Database,
    start_ras: Start,
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
    security: str,
) -> None:
    certificate = make_certificate(database.folder.parent)
    who = ("ras", "secret of smtp")
    with Mailbox(security, certificate, who if security == "starttls" else None) as mailbox:
        untrusting = await start_ras(make_settings(database, **mailbox.settings))
        browser = browser_of(untrusting, http)
        _, _, code = await new_home(untrusting)
        # Nobody vouches for the certificate: the mail is not sent, and that is said.
        assert (await browser("POST", USERS, registration(code))).status == Status.NOT_READY
        assert mailbox.mails == []
        await untrusting.close()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        ras = await start_ras(make_settings(database, **mailbox.settings))
        browser = browser_of(ras, http)
        assert (await browser("POST", USERS, registration(code))).status == 0
        assert [mail.encrypted for mail in mailbox.mails] == [True]
        assert mailbox.mails[0].user == ("ras" if security == "starttls" else "")


async def test_starttls_is_never_given_up(
    database: Database,
    start_ras: Start,
    http: aiohttp.ClientSession,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server, or somebody between, that does not offer it gets neither the password nor the mail."""
    with Mailbox() as mailbox:
        plain = mailbox.settings | {
            "smtp_security": "starttls", "smtp_user": "ras", "smtp_password": "secret of smtp",
        }  # fmt: skip
        ras = await start_ras(make_settings(database, **plain))
        _, _, code = await new_home(ras)
        reply = await browser_of(ras, http)("POST", USERS, registration(code))
        assert reply.status == Status.NOT_READY
        assert mailbox.mails == []
    for secret in ("secret of smtp", EMAIL, PASSWORD):
        assert secret not in caplog.text
    assert "a mail was not sent" in caplog.text


async def test_an_smtp_server_that_is_gone_is_said(
    database: Database, start_ras: Start, http: aiohttp.ClientSession
) -> None:
    with Mailbox() as mailbox:
        given: dict[str, Any] = mailbox.settings
    ras = await start_ras(make_settings(database, **given))
    _, _, code = await new_home(ras)
    browser = browser_of(ras, http)
    assert (await browser("POST", USERS, registration(code))).status == Status.NOT_READY
    # Nothing is stuck: the code is still good.
    assert (await rows(ras, select(invitations.c.state)))[0].state == "open"
