"""The rules of accounts without a server: names, passwords, limits, codes."""

from __future__ import annotations

import asyncio
import types
from typing import Any

import pytest
from argon2 import PasswordHasher
from conftest import eventually
from hypothesis import given
from hypothesis import strategies as st
from igrs_ras.accounts import names, passwords, second
from igrs_ras.accounts.letters import Letter
from igrs_ras.accounts.mail import Mailer
from igrs_ras.accounts.passwords import Passwords
from igrs_ras.accounts.signin import SignedIn, Step
from igrs_ras.accounts.throttle import ACCOUNT, DEVICE, HOUR, MINUTE, PAIR, Delay, Quota, Use
from igrs_ras.clock import SystemClock
from igrs_ras.settings import Settings
from igrs_ras.status import Refused, Status

DELAYS = st.builds(
    Delay,
    st.just("d"),
    free=st.integers(0, 20),
    base=st.integers(1, HOUR),
    cap=st.integers(1, 24 * HOUR),
    forget=st.just(24 * HOUR),
)
QUOTAS = st.builds(Quota, st.just("q"), st.integers(1, 20), st.integers(1, 24 * HOUR))
NOW = 1_790_000_000_000


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("Alma@Example.ORG", "alma@example.org"),
        ("  alma@example.org ", "alma@example.org"),
        ("alma@bücher.example", "alma@xn--bcher-kva.example"),
        ("\uff41\uff4c\uff4d\uff41@example.org", "alma@example.org"),
        ("a.b+tag@sub.example.org", "a.b+tag@sub.example.org"),
    ],
)
def test_an_address_has_one_form(typed: str, stored: str) -> None:
    assert names.email(typed) == stored
    assert names.email(stored) == stored


@pytest.mark.parametrize(
    "typed",
    [
        "", "alma", "@example.org", "alma@", "alma@localhost", "a b@example.org", "alma@exa mple.org",
        "alma@example.org\r\nBcc: x@example.org", "a..b@example.org", "<alma@example.org>", "älma@example.org",
        '"a b"@example.org', "alma@[127.0.0.1]", "a" * 65 + "@example.org", "a@" + "b" * 250 + ".org",
        "alma@example.org,eve@example.org", "alma@-example.org", "alma@example..org",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(typed: str) -> None:
    with pytest.raises(Refused) as refused:
        names.email(typed)
    assert refused.value.status is Status.MALFORMED
    assert typed == "" or typed not in str(refused.value)


@given(st.text(max_size=80))
def test_an_address_never_holds_what_could_add_a_header(text: str) -> None:
    try:
        found = names.email(text)
    except Refused:
        return
    assert found.isascii()
    assert found.isprintable()
    assert not set(found) & set(' \r\n\t<>,;:"()[]\\')
    assert found.count("@") == 1
    assert names.email(found) == found


@pytest.mark.parametrize(
    "name",
    [
        "",
        "   ",
        "a" * 101,
        "Al\x07ma",
        "Alma\u202eevil",
        "\u200b",
        "a\x1b[31m",
        "\u200d",
        "Alma\u200c",
        "\u3164",
        "Alma\u2800",
        "\u0301\ufe0f",
    ],
)
def test_a_name_that_does_not_show_as_it_is_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        names.display_name(name)


def test_a_name_is_one_line() -> None:
    assert names.display_name("  Alma \n Berg ") == "Alma Berg"
    assert names.display_name("👩‍👧 Zoë") == "👩‍👧 Zoë"
    assert names.display_name("می‌خواهم") == "می‌خواهم"
    assert names.display_name("❤️") == "❤️"


@pytest.mark.parametrize(
    ("password", "factor", "fine"),
    [
        ("the moon is made of rice", False, True),
        ("fifteen letters", False, True),
        ("fourteen chars", False, False),
        ("fourteen chars", True, True),
        ("8 letter", True, True),
        ("7 lette", True, False),
        ("x" * 7 + "y" * 250, True, False),
        ("aaaaaaaaaaaaaaaaaaaa", False, False),
        ("abcabcabcabcabcabc", False, False),
        ("passwordpassword", False, False),
        ("123456789123456789", False, False),
        ("PassWord1", True, False),
        ("\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44\uff11", True, False),
        ("iloveyou", True, False),
        ("alma.berg@example.org", False, False),
        ("ALMA.BERG", True, False),
        ("Alma Bergström", True, False),
        ("日本語のとても長いパスワードです", False, True),
    ],
)
def test_a_password_is_long_and_not_the_first_that_anybody_tries(
    password: str, factor: bool, fine: bool
) -> None:
    given_names = ("alma.berg@example.org", "Alma Bergström")
    if fine:
        passwords.check(password, second_factor=factor, names=given_names)
        return
    with pytest.raises(Refused) as refused:
        passwords.check(password, second_factor=factor, names=given_names)
    assert refused.value.status is Status.MALFORMED
    assert password not in str(refused.value)


async def _run(work: Any) -> Any:
    service = Passwords(types.SimpleNamespace())  # type: ignore[arg-type]
    await service.start()
    try:
        return await work(service)
    finally:
        await service.stop()


async def test_a_hash_is_argon2id_with_19_mib() -> None:
    stored = await _run(lambda service: service.hash("the moon is made of rice"))
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_the_same_password_from_another_keyboard_is_the_same() -> None:
    async def work(service: Passwords) -> None:
        stored = await service.hash("Zoe\u0308 und der Mond \u2460")
        assert await service.verify(stored, "Zo\u00eb und der Mond 1") == (True, None)
        assert await service.verify(stored, "zo\u00eb und der Mond 1") == (False, None)

    await _run(work)


async def test_a_hash_with_old_parameters_is_made_anew() -> None:
    old = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash("the moon")

    async def work(service: Passwords) -> None:
        assert await service.verify(old, "the mooo") == (False, None)
        right, better = await service.verify(old, "the moon")
        assert right
        assert better is not None
        assert "m=19456,t=2,p=1" in better
        assert await service.verify(better, "the moon") == (True, None)

    await _run(work)


async def test_for_nobody_the_same_work_is_done_and_the_answer_is_no() -> None:
    async def work(service: Passwords) -> None:
        checked: list[str] = []
        real = passwords.HASHER.verify

        class Seen(PasswordHasher):
            def verify(self, stored: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]
                checked.append(str(stored))
                return bool(real(stored, password))

        passwords.HASHER, before = Seen(2, 19 * 1024, 1), passwords.HASHER
        try:
            assert await service.verify(None, "the moon") == (False, None)
            assert await service.verify(await service.hash("x"), "the moon") == (False, None)
        finally:
            passwords.HASHER = before
        assert len(checked) == 2
        assert all(stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$") for stored in checked)

    await _run(work)


async def test_case_32_two_run_sixteen_wait_and_the_rest_is_refused() -> None:
    async def work(service: Passwords) -> None:
        stored = await service.hash("the moon")
        found = await asyncio.gather(
            *(service.verify(stored, "x") for _ in range(60)), return_exceptions=True
        )
        refused = [item for item in found if isinstance(item, Refused)]
        assert len(refused) == 60 - 18
        assert {item.status for item in refused} == {Status.SLOW_DOWN}
        assert service.waiting == 0
        assert await service.verify(stored, "the moon") == (True, None)

    await _run(work)


async def test_who_goes_away_frees_his_place_only_when_the_thread_is_free() -> None:
    async def work(service: Passwords) -> None:
        tasks = [asyncio.create_task(service.hash("x")) for _ in range(18)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await eventually(lambda: not service._taken)
        assert (await service.hash("x")).startswith("$argon2id$")

    await _run(work)


# Limits


@given(DELAYS, st.lists(st.integers(0, HOUR), max_size=60))
def test_a_delay_grows_to_its_cap_and_never_shrinks_while_failures_go_on(
    rule: Delay, pauses: list[int]
) -> None:
    count, since, now = 0, NOW, NOW
    last = 0
    for pause in pauses:
        now += pause
        wait = rule.wait(count, since, now)
        assert 0 <= wait <= rule.cap
        now += wait
        assert rule.wait(count, since, now) == 0  # waiting what was asked is enough
        count, since, until = rule.add(count, since, now)
        assert until == now + rule.forget
        grown = rule.pause(count)
        assert grown >= last
        last = grown
    assert rule.wait(count, since, now + rule.forget) == 0


@given(DELAYS, st.integers(0, 10**6))
def test_an_attacker_gets_few_tries_a_day_however_he_times_them(rule: Delay, start: int) -> None:
    """Trying as soon as allowed is the best that he can do."""
    count, since, now, tries = 0, NOW + start, NOW + start, 0
    end = now + 24 * HOUR
    while tries < 200:
        now += rule.wait(count, since, now)
        if now >= end:
            break
        count, since, _ = rule.add(count, since, now)
        tries += 1
    doubling = (rule.cap // rule.base).bit_length() + 1
    assert tries <= max(rule.free, 1) + doubling + 24 * HOUR // rule.cap + 1 or tries == 200


def test_the_limits_in_use_leave_few_guesses() -> None:
    def tries(rule: Delay) -> int:
        count, since, now, made = 0, NOW, NOW, 0
        while (now := now + rule.wait(count, since, now)) < NOW + 24 * HOUR:
            count, since, _ = rule.add(count, since, now)
            made += 1
        return made

    assert tries(PAIR) <= 40
    assert tries(DEVICE) <= 110
    assert tries(ACCOUNT) <= 400


@given(QUOTAS, st.lists(st.integers(0, HOUR), max_size=60))
def test_a_quota_lets_no_more_through_in_its_window(rule: Quota, pauses: list[int]) -> None:
    count, since, now = 0, NOW, NOW
    through: list[int] = []
    for pause in pauses:
        now += pause
        if rule.wait(count, since, now) == 0:
            count, since, until = rule.add(count, since, now)
            assert until > now
            through.append(now)
    # A window may begin at any use: at most twice as many in any such time.
    for begin in through:
        assert sum(begin <= at < begin + rule.window for at in through) <= 2 * rule.count
    assert rule.wait(count, since, now + rule.window) == 0


@given(st.one_of(DELAYS, QUOTAS), st.integers(1, 1000), st.integers(MINUTE + 1, 10**10))
def test_a_clock_that_was_set_back_locks_nobody_out(
    rule: Delay | Quota, count: int, back: int
) -> None:
    assert rule.wait(count, NOW, NOW - back) == 0


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_what_differs_has_another_bucket_and_none_can_be_read(
    one: list[str], two: list[str]
) -> None:
    first, other = Use(PAIR, tuple(one)), Use(PAIR, tuple(two))
    assert (first.bucket == other.bucket) == (one == two)
    assert len(first.bucket) == 32
    assert first.bucket != Use(DEVICE, tuple(one)).bucket


# Secrets


def test_nothing_secret_is_in_a_representation() -> None:
    signed = SignedIn("user", "session", "u_secret", True, False, [], "device-secret")
    step = Step("totp", "123456", {"response": "secret"})
    letter = Letter("Subject", "code 123456")
    for text in map(repr, (signed, step, letter)):
        assert "secret" not in text
        assert "123456" not in text


async def test_a_header_cannot_be_injected_into_a_mail() -> None:
    settings = Settings(
        smtp_host="127.0.0.1", smtp_sender="a@example.org", name="Home\r\nBcc: eve@example.org"
    )
    mailer = Mailer(types.SimpleNamespace(settings=settings, clock=SystemClock()))  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        mailer._message("alma@example.org", Letter("Subject", "text"))
    good = Settings(smtp_host="127.0.0.1", smtp_sender="Home <a@example.org>")
    mailer = Mailer(types.SimpleNamespace(settings=good, clock=SystemClock()))  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        mailer._message("alma@example.org\r\nBcc: eve@example.org", Letter("Subject", "text"))
    message = mailer._message(
        "alma@example.org", Letter("Subject", "a\r\nBcc: eve@example.org\r\n")
    )
    assert message.get_all("Bcc") is None
    assert message.get_content_type() == "text/plain"
    assert message["Auto-Submitted"] == "auto-generated"


def test_a_totp_secret_is_read_by_any_app() -> None:
    secret = second.new_totp()
    uri = second.totp_uri(secret, "alma@example.org", "IGRS: Lock")
    assert uri.startswith("otpauth://totp/IGRS%20%20Lock:alma%40example.org?secret=")
    assert len(second.totp_text(secret)) == 32
