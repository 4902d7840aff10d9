"""No guest is invited before somebody got through to the server at its public address (clause 7.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conftest import Api, base_of, eventually, make_settings
from gates import HOUR_MS, Gates
from home import Invitation
from igrs_ras import wire
from igrs_ras.admin import run
from igrs_ras.api.route import Listener
from igrs_ras.settings import Settings, SettingsError, check
from igrs_ras.storage.tables import invitations, server
from peer import Denied
from sqlalchemy import select

if TYPE_CHECKING:
    import aiohttp
    from conftest import Database, MovedClock

URL = "https://locks.example"


async def refused_invitation(gates: Gates, home: Any) -> str:
    """Try in vain to invite a guest; return what the server says."""
    with pytest.raises(Denied) as denied:
        await home.invite()
    assert denied.value.status == 50
    assert await gates.rows(select(invitations.c.id)) == []
    return denied.value.message


async def test_no_guest_is_invited_before_the_public_address_is_set_and_was_reached(
    database: Database, start_ras: Any, http: aiohttp.ClientSession, clock: MovedClock
) -> None:
    ras = await start_ras(make_settings(database, public_url=""))
    async with Gates(ras) as gates:
        home = await gates.enrolled("Home")
        assert "public_url" in await refused_invitation(gates, home)
    await ras.close()

    ras = await start_ras(make_settings(database, public_url=URL))
    api = Api(http, base_of(ras))
    async with Gates(ras) as gates:
        home = await gates.enrolled("Home")
        home.auto_sync = False
        assert "public_url" in await refused_invitation(gates, home)
        # Requests that did not come by this address, or not from outside.
        for host in ("locks.example:8443", "locks.example.org", "x@locks.example", "locks.example/", "", "[", "locks.example:x"):  # fmt: skip
            await api("GET", "/healthz", headers={"Host": host})
        local = Api(http, base_of(ras, Listener.LOCAL))
        await local("GET", "/healthz", headers={"Host": "locks.example"})
        assert "public_url" in await refused_invitation(gates, home)
        shown = (await api("GET", "/api/v1/server")).data
        assert (shown["public_url"], shown["reached"]) == (URL, False)
        assert (await run(ras, "status", {}))["reached"] is False
        peer = await home.open()
        welcome = await home.handshake(peer)
        assert (welcome["public_url"], welcome["reached"]) == (URL, False)
        await peer.socket.close()
        await home.connect()
        # A list that names an invitation which the server does not know is no way around it.
        assert home.invitations == {}
        item = Invitation(wire.new_id(), b"", home.now() + HOUR_MS)
        home.invitations[item.id] = item
        assert (await home.send_list())["invitations"] == [item.id]
        # Who owns the home may come first: the code is not a link.
        await home.owner_code()

        await api("GET", "/nothing", headers={"Host": "LOCKS.example:443"})
        assert (await api("GET", "/api/v1/server")).data["reached"] is True
        await home.invite()
        assert (await run(ras, "status", {}))["reached"] is True
        peer = await home.open()
        assert (await home.handshake(peer))["reached"] is True
        await peer.socket.close()
        stored = select(server.c.reached)

        async def remembered() -> bool:
            return [row.reached for row in await gates.rows(stored)] == [URL]

        await eventually(remembered)
    await ras.close()

    # It is remembered for this address only.
    for url, reached in ((URL, True), ("https://other.example", False), ("", False)):
        ras = await start_ras(make_settings(database, public_url=url))
        assert ras.reach.reached is reached
        await ras.close()


async def test_behind_a_proxy_any_listener_counts_and_the_port_where_the_address_has_one(
    database: Database, start_ras: Any, http: aiohttp.ClientSession
) -> None:
    ras = await start_ras(
        make_settings(
            database, public_url="https://locks.example:8443", trusted_proxies=["127.0.0.1/32"]
        )
    )
    local = Api(http, base_of(ras, Listener.LOCAL))
    await local("GET", "/healthz", headers={"Host": "locks.example"})
    assert not ras.reach.reached
    await local("GET", "/healthz", headers={"Host": "locks.example:8443"})
    assert ras.reach.reached
    await ras.close()
    ras = await start_ras(make_settings(database, public_url="https://locks.example:8443"))
    assert ras.reach.reached, "a server that ends at once has remembered it"


@pytest.mark.parametrize(
    "url",
    ["https://locks.example", "https://locks.example:8443/app", "http://127.0.0.1:8443", "http://[::1]:8443", "http://localhost:8443"],
)  # fmt: skip
def test_addresses_that_people_may_reach(url: str) -> None:
    assert check(Settings(public_url=url)).public_url == url


@pytest.mark.parametrize(
    "url",
    ["http://192.168.1.5:8443", "http://localhost.example", "http://127.0.0.1.example", "http://:8443", "https://", "ftp://127.0.0.1", "https://h:99999", "https://[", "http://me@127.0.0.1", "https://t\u00fcr.example", "http://127.0.0.1:80"],
)  # fmt: skip
def test_addresses_that_no_link_may_carry(url: str) -> None:
    with pytest.raises(SettingsError, match="public_url"):
        check(Settings(public_url=url))


def test_pages_of_other_origins_come_by_https_only() -> None:
    with pytest.raises(SettingsError):
        check(Settings(allowed_origins=["http://127.0.0.1:8443"]))
