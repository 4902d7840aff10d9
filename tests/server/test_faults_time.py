"""Clocks that are wrong, and everybody at once (cases 11 and 41)."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Any

import pyotp
import pytest
from conftest import Api, Database, MovedClock, base_of, eventually, make_settings
from home import Home
from igrs_ras.clock import SystemClock
from igrs_ras.storage.tables import audit, gateways, sites
from peer import Denied
from sqlalchemy import insert, select
from town import PASSWORD, Residence, new_site, rows_of, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings
    from phone import Phone

TEN_MINUTES = 600
HOMES = 100
EXPIRED, MALFORMED, WRONG_CODE, SIGN_IN = 33, 10, 14, 11


@pytest.fixture
def settings(database: Database) -> Settings:
    return make_settings(database, messages_per_second=1000)


@pytest.fixture
async def place(ras: Ras, database: Database, clock: MovedClock) -> AsyncIterator[Residence]:
    """A home and people whose clocks are right, whatever the server's says."""
    with rows_of(database) as rows:
        code = new_site(rows, "Mill Lane 2", clock.now_ms())
    found = await settle(base_of(ras), code)
    yield found
    await found.close()


async def relay_status(phone: Phone, place: Residence) -> int:
    try:
        end, _ = await phone.relay(place.site, place.devices[0], b"unlock")
    except Denied as denied:
        return denied.status
    assert end == "answered"
    return 0


@pytest.mark.parametrize("wrong", [TEN_MINUTES, -TEN_MINUTES])
async def test_case_11_with_a_server_clock_ten_minutes_off_relays_go_by_the_servers_time_and_nobody_is_locked_out(
    ras: Ras, place: Residence, clock: MovedClock, database: Database, wrong: int
) -> None:
    home, owner, phone = place.home, place.owner, place.member
    code = await home.owner_code()
    clock.wall(wrong)
    # A key of another time is refused: it could be an old one. The server's time, which its hello tells, is right.
    assert await relay_status(phone, place) == (EXPIRED if wrong > 0 else MALFORMED)
    await phone.peer.close()
    await phone.connect()
    off = phone.hello["time"] - SystemClock().now_ms()
    assert abs(off - wrong * 1000) < 60_000
    phone.now = lambda: SystemClock().now_ms() + off
    phone.peer.now = phone.now
    assert await relay_status(phone, place) == 0
    relay = next(reversed(home.relays.values()))
    assert (
        abs(relay.expires - clock.now_ms()) < 60_000
    )  # by the server's clock, which the gateway compares
    # Sessions, links and codes that were good are good: an hour is more than ten minutes.
    assert await owner.call("GET", "/api/v1/me")
    await home.cut()
    await home.connect()
    await home.register_lock("C4AABBCCDDEE")
    token, owner.token = owner.token, ""
    await owner.claim(code, "new@example.org", PASSWORD)
    assert owner.token != token
    # Numbers and the audit do not follow the clock.
    with rows_of(database) as rows:
        entries = rows.execute(
            select(audit.c.i).where(audit.c.site == home.site).order_by(audit.c.i)
        )
        numbers = list(entries.scalars())
    assert numbers == list(range(1, len(numbers) + 1))


async def test_case_11_a_clock_set_back_makes_nothing_good_again(
    ras: Ras, api: Api, place: Residence, clock: MovedClock
) -> None:
    home, owner = place.home, place.owner
    secret = (await owner.call("POST", "/api/v1/me/totp"))["secret"]
    at = clock.now_ms() // 1000
    code = pyotp.TOTP(secret).at(at)
    await owner.call("POST", "/api/v1/me/totp/confirm", {"code": code})
    phone, used = place.member, phone_opening(place.member, place)
    await phone.peer.send("relay.open", used)
    await phone.until(lambda: phone.answers(used["key"]))
    await phone.peer.send("relay.end", {key: used[key] for key in ("site", "lock", "key")})
    await phone.until(lambda: "answered" in phone.states(used["key"]))
    short = await home.invite(life_ms=60_000)
    clock.wall(TEN_MINUTES)
    assert await joined(place, short) == 21
    await ras.tick()
    clock.wall(-TEN_MINUTES)
    # A code of an app counts once, although its time has come again.
    body = {"email": place.email, "password": PASSWORD, "kind": "bearer"}
    pending = (await api("POST", "/api/v1/sessions", body)).data
    step = {"method": "totp", "code": code}
    assert (await api("POST", "/api/v1/sessions/step", step, token=pending["token"])).status == WRONG_CODE  # fmt: skip
    # A relay's key too: the message is not sent a second time.
    home.relays.clear()
    before = len(phone.states(used["key"]))
    await phone.peer.send("relay.open", used)
    await phone.until(lambda: len(phone.states(used["key"])) > before)
    assert phone.states(used["key"])[-1] == "answered"
    assert home.relays == {}


def phone_opening(phone: Phone, place: Residence) -> dict[str, Any]:
    return phone.opening(place.site, place.devices[0], b"unlock")


async def joined(place: Residence, invitation: Any) -> int:
    try:
        await place.member.http.call("POST", "/api/v1/joins", place.member.join_body(invitation))
    except Denied as denied:
        return denied.status
    return 0


@pytest.mark.parametrize("jump", [TEN_MINUTES, -TEN_MINUTES, 400 * 24 * 3600, -30 * 24 * 3600])
async def test_case_11_a_jump_of_the_wall_clock_ends_no_socket_and_stops_no_work(
    ras: Ras,
    api: Api,
    place: Residence,
    clock: MovedClock,
    jump: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Waiting times go by a clock that does not jump; what has an end by the calendar ends or stays, and nothing fails."""
    clock.wall(jump)
    await ras.tick()
    for end in (place.home, place.owner, place.member):
        if jump < 3600:  # else their sessions are over
            await end.peer.request("ping")
    assert (await api("GET", "/readyz")).status == 0
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    clock.wall(-jump)
    await ras.tick()
    assert (await api("GET", "/readyz")).status == 0
    if jump < 3600:
        assert await relay_status(place.member, place) == 0


async def test_case_41_all_gateways_come_back_at_once_and_each_is_welcome(
    ras: Ras, api: Api, database: Database, clock: MovedClock, caplog: pytest.LogCaptureFixture
) -> None:
    homes = []
    with rows_of(database) as rows:
        for _ in range(HOMES):
            home = Home(base_of(ras))
            home.server_key, home.generation = ras.identity.public, 1
            home.site, home.gateway = secrets.token_hex(16), secrets.token_hex(16)
            homes.append(home)
            values = {"id": home.site, "name": "Home", "generation": 1, "created": 1}
            rows.execute(insert(sites).values(values))
            key = home.key.public_key().public_bytes_raw()
            row = {"id": home.gateway, "site": home.site, "public_key": key, "created": 1}
            rows.execute(insert(gateways).values(row))
    try:
        await asyncio.gather(*(home.connect() for home in homes))
        assert ras.gateways.connected == HOMES
        for _ in range(2):
            await asyncio.gather(*(home.cut() for home in homes))
            coming = asyncio.gather(*(home.connect() for home in homes))
            assert (await api("GET", "/healthz")).status == 0  # others are served meanwhile
            await coming
        assert ras.gateways.connected == HOMES
        await asyncio.gather(*(home.request("token") for home in homes))
        assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
        # The server ends in order: each is told to come again, and none is left.
        await ras.drain(0.5)
        codes = await asyncio.gather(*(asyncio.shield(home.peer.closed) for home in homes))
        assert set(codes) == {1012}
        await eventually(lambda: ras.gateways.connected == 0)
    finally:
        for home in homes:
            await home.http.close()
