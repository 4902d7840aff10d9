"""A home gets its place by a code from the server's command line: once, in time, and bound to its key."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import aiohttp
import pytest
from conftest import Database, MovedClock, make_settings
from gates import HOUR_MS, Gates
from home import public_bytes
from igrs_ras.api.route import Listener
from igrs_ras.storage.tables import enrolments, gateways
from peer import Closed, Denied, b64
from sqlalchemy import select

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from home import Home
    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings


@pytest.fixture
def settings(database: Database) -> Settings:
    """A server behind a proxy, so that callers have addresses."""
    return make_settings(database, trusted_proxies=["127.0.0.1/32"])


@pytest.fixture
async def gates(ras: Ras) -> AsyncIterator[Gates]:
    async with Gates(ras) as found:
        yield found


def at(home: Home, address: str) -> Home:
    """The home calls from an address."""
    home.http.headers["X-Forwarded-For"] = address
    return home


async def refusal(home: Home, code: str, server_key: bytes | None = None) -> int:
    """The status with which an enrolment is refused."""
    with pytest.raises(Denied) as denied:
        await home.enrol(code, server_key)
    return denied.value.status


async def test_a_code_gives_a_home_its_place_and_the_servers_key(gates: Gates, ras: Ras) -> None:
    home = gates.home()
    await home.enrol((await gates.code()).lower().replace("-", " "))
    assert home.server_key == ras.identity.public
    await home.connect()
    assert ras.gateways.link_of(home.site) is not None
    assert [entry["gateway"] for entry in await gates.noted(home.site, "gateway.enrolled")] == [
        home.gateway
    ]


async def test_case_08_a_code_that_was_used_or_is_over_or_never_was_is_refused_alike(
    gates: Gates, clock: MovedClock
) -> None:
    used = await gates.code()
    await gates.home().enrol(used)
    late = await gates.code(life_ms=HOUR_MS)
    clock.advance(3600)
    never = "0000-0000-0000-0000"
    for number, code in enumerate(
        (used, late, never, "no code", used[:-1] + ("0" if used[-1] != "0" else "1"))
    ):
        assert await refusal(at(gates.home(), f"192.0.2.{number}"), code) == 14, code


async def test_case_08_of_two_gateways_that_race_for_a_code_one_is_enrolled(gates: Gates) -> None:
    code = await gates.code()
    racers = [at(gates.home(), f"192.0.2.{number}") for number in range(4)]
    outcomes = await asyncio.gather(*(home.enrol(code) for home in racers), return_exceptions=True)
    lost = [outcome for outcome in outcomes if isinstance(outcome, Denied)]
    assert [outcome.status for outcome in lost] == [14] * 3
    assert len(await gates.rows(select(gateways.c.id))) == 1


async def test_case_08_after_five_wrong_codes_an_address_waits_an_hour_and_others_do_not(
    gates: Gates, clock: MovedClock
) -> None:
    code = await gates.code(life_ms=3 * HOUR_MS)
    guesser = at(gates.home(), "192.0.2.66")
    for _ in range(5):
        assert await refusal(guesser, "8KNZ-44YW-D3XS-6GJ4") == 14
    assert await refusal(guesser, "8KNZ-44YW-D3XS-6GJ4") == 15
    assert await refusal(guesser, code) == 15, "the right code must not tell itself apart now"
    await at(gates.home(), "192.0.2.67").enrol(await gates.code())
    clock.advance(3601)
    await guesser.enrol(code)


async def test_right_codes_use_up_nothing_of_the_limit(gates: Gates) -> None:
    home = at(gates.home(), "192.0.2.1")
    for _ in range(8):
        await home.enrol(await gates.code())


async def test_a_code_is_good_only_with_the_key_and_for_the_server_that_were_signed(
    gates: Gates, ras: Ras
) -> None:
    code = await gates.code()
    assert await refusal(gates.home(), code, secrets.token_bytes(32)) == 14, (
        "signed for another server"
    )
    home, thief = gates.home(), gates.home()
    home.server_key = ras.identity.public
    seen = home.enrolment(code)
    for stolen in (
        {**seen, "public_key": b64(public_bytes(thief.key))},
        {**seen, "nonce": b64(bytes(32))},
    ):
        with pytest.raises(Denied) as denied:
            await thief.http.call("POST", "/api/v1/gateways", stolen)
        assert denied.value.status == 14, "who only sees the request cannot use its code"
    assert [row.used for row in await gates.rows(select(enrolments.c.used))] == [None]
    await home.enrol(code)


async def test_a_local_code_works_over_the_supervisors_network_only(gates: Gates) -> None:
    code = await gates.code(local=True)
    assert await refusal(gates.home(), code) == 14
    home = gates.home(Listener.LOCAL)
    await home.enrol(code)
    from_afar = gates.home(Listener.LOCAL)
    await from_afar.enrol(await gates.code())
    found = {row.id: row.local for row in await gates.rows(select(gateways.c.id, gateways.c.local))}
    assert found == {home.gateway: True, from_afar.gateway: False}


async def test_a_new_code_for_a_home_revokes_its_gateway_of_before(gates: Gates, ras: Ras) -> None:
    lost = await gates.enrolled("Home", "C4112233445F")
    token = lost.token
    new = gates.home()
    await new.enrol(await gates.code(site=lost.site))
    assert new.site == lost.site
    assert await asyncio.wait_for(asyncio.shield(lost.peer.closed), 10) == 4403
    assert ras.gateways.resolve(token) is None
    with pytest.raises(Closed) as closed:
        await lost.connect()
    assert closed.value.code == 4403
    new.locks = dict(lost.locks)
    await new.connect()
    assert await new.sync(), "the site and what belongs to it is the same"
    assert [entry["gateway"] for entry in await gates.noted(new.site, "gateway.revoked")] == [
        lost.gateway
    ]


async def test_case_37_half_open_handshakes_of_one_address_do_not_keep_others_out(
    gates: Gates, clock: MovedClock
) -> None:
    home = at(gates.home(), "192.0.2.1")
    await home.enrol(await gates.code())
    silent = at(gates.home(), "192.0.2.66")
    silent.http.session.headers["X-Forwarded-For"] = "192.0.2.66"
    home.http.session.headers["X-Forwarded-For"] = "192.0.2.1"
    peers = [await silent.open() for _ in range(32)]
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await silent.open()
    assert refused.value.status == 503
    await home.connect()
    clock.advance(11)
    for peer in peers:
        await peer.receive()
        with pytest.raises(Closed) as closed:
            await peer.receive()
        assert closed.value.code == 4408
    await (await silent.open()).socket.close()
