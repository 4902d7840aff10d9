"""The database goes away and comes back: the server refuses, says so, confirms nothing, loses nothing, and goes on."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Api, Database, MovedClock, base_of, eventually, make_ras, make_settings
from igrs_ras.clock import SystemClock
from igrs_ras.ras import DATABASE_PATIENCE
from igrs_ras.storage import store
from igrs_ras.storage.engine import InUseError
from igrs_ras.storage.tables import audit, relays
from peer import Closed, Denied
from phone import ENDS, Phone
from process import Server
from sqlalchemy import select
from town import Residence, new_site, rows_of, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings
    from postgres import PostgresCluster

NOT_READY = 50
CLOSED_NOT_READY = 1013


@pytest.fixture(autouse=True)
def durable(database: Database) -> None:
    """What is committed survives a crash, which the tests' PostgreSQL does not promise by default."""
    if database.kind == "postgresql":
        with rows_of(database) as rows:
            rows.exec_driver_sql(f"ALTER DATABASE {database.name} SET synchronous_commit = on")


@pytest.fixture
async def place(ras: Ras, database: Database, clock: MovedClock) -> AsyncIterator[Residence]:
    with rows_of(database) as rows:
        code = new_site(rows, "Mill Lane 2", clock.now_ms())
    found = await settle(base_of(ras), code, now=clock.now_ms)
    yield found
    await found.close()


async def relay_status(phone: Phone, place: Residence) -> int:
    """Try a relay; return the status with which it is refused, 0 if it was answered.

    A socket that the server has closed for want of a database says the same.
    """
    try:
        end, answers = await phone.relay(place.site, place.devices[0], b"unlock")
    except Denied as denied:
        return denied.status
    except Closed, ConnectionError, TimeoutError:
        code = await asyncio.wait_for(asyncio.shield(phone.peer.closed), 10)
        assert code == CLOSED_NOT_READY
        return NOT_READY
    assert (end, answers) == ("answered", [b"unlock"])
    return 0


async def relay_works_again(phone: Phone, place: Residence) -> None:
    async def works() -> bool:
        if phone.peer.closed.done():
            await reconnected(place)
        return await relay_status(phone, place) == 0

    await eventually(works)


async def told_ready(api: Api) -> bool:
    return (await api("GET", "/readyz")).status == 0


async def told_not_ready(api: Api) -> bool:
    return (await api("GET", "/readyz")).status == NOT_READY


def audit_fits(database: Database, site: str, phones: list[Phone]) -> None:
    """Each relay that is recorded has one beginning and one end in a chain without a hole; what was told is so."""
    with rows_of(database) as rows:
        entries = rows.execute(
            select(audit.c.i, audit.c.entry).where(audit.c.site == site).order_by(audit.c.i)
        ).all()
        kept = {row.key: row.state for row in rows.execute(select(relays)).all()}
    assert [row.i for row in entries] == list(range(1, len(entries) + 1))
    for key, state in kept.items():
        about = [row.entry for row in entries if key in row.entry]
        assert ["relay.accepted" in entry for entry in about] == [True, False], state
        assert state != "accepted"
    told = [
        body for phone in phones for body in phone.of_type("relay.state") if body["state"] in ENDS
    ]
    for body in told:
        if body["state"] == "answered":
            assert kept[body["key"]] == "answered"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests wait for a database that says nothing for less than the usual 5 s."""
    monkeypatch.setattr(store, "PATIENCE", 0.3)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_case_42_a_database_that_hangs_refuses_relays_and_closes_all_sockets_and_comes_back(
    ras: Ras, api: Api, place: Residence, database: Database, cluster: PostgresCluster, clock: MovedClock,
    impatient: None,
) -> None:  # fmt: skip
    assert await relay_status(place.member, place) == 0
    with cluster.frozen():
        assert await relay_status(place.member, place) == NOT_READY
        assert (await api("GET", "/healthz")).status == 0
        assert await told_not_ready(api)
        for method, path in (("GET", "/api/v1/sites"), ("GET", "/api/v1/me")):
            assert (await api(method, path, token=place.owner.token)).status == NOT_READY
        clock.advance(DATABASE_PATIENCE)
        for end in (place.home, place.owner, place.member):
            assert await asyncio.wait_for(asyncio.shield(end.peer.closed), 10) == CLOSED_NOT_READY
        # Who comes now is told to come later.
        with pytest.raises(Closed) as closed:
            await place.home.connect()
        assert closed.value.code == CLOSED_NOT_READY
    await eventually(lambda: told_ready(api))
    await reconnected(place)
    await relay_works_again(place.member, place)
    await ras.close()
    audit_fits(database, place.site, [place.member])


async def reconnected(place: Residence) -> None:
    """Connect again who lost the connection."""
    for end in (place.home, place.owner, place.member):
        if end.peer.closed.done():
            await end.connect()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("how", ["connections ended", "crashed", "restarted"])
async def test_case_42_a_database_that_breaks_off_loses_no_audit_and_needs_no_restart_of_the_server(
    ras: Ras, api: Api, place: Residence, database: Database, cluster: PostgresCluster, how: str
) -> None:
    busy = asyncio.create_task(relays_without_end(place.member, place))
    await eventually(lambda: len(place.member.of_type("relay.state")) > 12)
    if how == "connections ended":
        assert cluster.disconnect(database.name) > 0
    else:
        # In a thread: the server goes on in this one meanwhile.
        await asyncio.to_thread(cluster.kill if how == "crashed" else cluster.stop)
        try:
            assert await relay_status(place.owner, place) == NOT_READY
            await eventually(lambda: told_not_ready(api))
        finally:
            await asyncio.to_thread(cluster.start)
    await eventually(lambda: told_ready(api))
    busy.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await busy
    await reconnected(place)
    await relay_works_again(place.owner, place)
    await ras.close()
    audit_fits(database, place.site, [place.member, place.owner])


async def relays_without_end(phone: Phone, place: Residence) -> None:
    while True:
        with contextlib.suppress(Denied, Closed, ConnectionError):
            await phone.relay(place.site, place.devices[0], b"unlock")
        await asyncio.sleep(0)


@pytest.fixture
def settings(database: Database) -> Settings:
    return make_settings(database, relays_per_minute=100_000, messages_per_second=100_000)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_case_42_with_a_full_disk_relays_are_refused_and_once_there_is_room_all_goes_on(
    database: Database,
) -> None:
    async with Server(database) as server:
        with rows_of(database) as rows:
            code = new_site(rows, "Mill Lane 2", SystemClock().now_ms())
        place = await settle(server.url, code)
        assert await relay_status(place.member, place) == 0
        server.largest_file(0)
        assert await relay_status(place.member, place) == NOT_READY
        with pytest.raises(Denied) as denied:
            await place.owner.call("GET", "/readyz")
        assert denied.value.status == NOT_READY
        await place.owner.http.call("GET", "/healthz")
        with pytest.raises(Denied) as denied:
            await place.member.call(
                "DELETE", f"/api/v1/sites/{place.site}/members/{place.member.user}"
            )
        assert denied.value.status == NOT_READY
        for end in (place.home, place.owner, place.member):
            assert await asyncio.wait_for(asyncio.shield(end.peer.closed), 20) == CLOSED_NOT_READY
        await eventually(lambda: any("closing all sockets" in line for line in server.errors()))
        server.largest_file(-1)

        async def ready() -> bool:
            try:
                await place.owner.http.call("GET", "/readyz")
            except Denied:
                return False
            return True

        await eventually(ready)
        await reconnected(place)
        await relay_works_again(place.member, place)
        assert await place.member.member()
        status, _, said = await server.verb("audit", "verify")
        assert status == 0, said
        await place.close()
        assert await server.stop() == 0
        audit_fits(database, place.site, [place.member])


async def test_a_second_server_on_the_same_folder_or_database_does_not_start(
    ras: Ras, api: Api, settings: Settings, database: Database, clock: MovedClock, tmp_path: Any
) -> None:
    second = make_ras(settings, clock)
    with pytest.raises(InUseError):
        await second.open()
    if database.kind == "postgresql":
        other = Database("postgresql", database.url, tmp_path / "elsewhere")
        third = make_ras(make_settings(other), clock)
        with pytest.raises(InUseError):
            await third.open()
    # The first one is as it was.
    assert await told_ready(api)
    assert (await api("GET", "/api/v1/sites")).status == 11


async def test_case_25_a_gateway_that_vanishes_in_the_middle_of_a_relay_leaves_its_outcome_unknown(
    ras: Ras, place: Residence, database: Database
) -> None:
    phone, device = place.member, place.devices[0]

    async def end_when(step: str) -> str:
        opening = phone.opening(place.site, device, b"unlock")
        key = opening["key"]

        async def on_relay(relay: Any) -> None:
            if step != "the home has the message":
                await relay.sent_to_lock()
            if step == "an answer has come":
                await relay.send(b"done")
                await phone.until(lambda: phone.answers(key))
            await place.home.cut()

        place.home.on_relay = on_relay
        await phone.peer.send("relay.open", opening)
        await phone.until(lambda: set(phone.states(key)) & set(ENDS))
        await place.home.connect()
        return phone.states(key)[-1]

    for step in ("the home has the message", "the lock has the message", "an answer has come"):
        assert await end_when(step) == "unknown", step
    await ras.close()
    audit_fits(database, place.site, [phone])


async def test_case_02_a_copy_of_a_gateway_takes_over_nothing_and_the_newest_link_ends_the_relays_of_the_old(
    ras: Ras, place: Residence, database: Database
) -> None:
    phone, device, home = place.member, place.devices[0], place.home
    started = asyncio.Event()

    async def hold(relay: Any) -> None:
        started.set()

    home.on_relay = hold
    opening = phone.opening(place.site, device, b"unlock")
    await phone.peer.send("relay.open", opening)
    await asyncio.wait_for(started.wait(), 10)
    # A copy of the key with a number that was used already gets nowhere and disturbs nobody.
    peer = await home.open()
    with pytest.raises(Closed) as closed:
        await home.handshake(peer, n=home.n)
    assert closed.value.code == 4409
    home.n -= 1  # the copy's number, not this home's
    assert not set(phone.states(opening["key"])) & set(ENDS)
    old = home.peer
    # With the next number it is the newest link: the old one goes, with what ran over it.
    await home.connect()
    assert await asyncio.wait_for(asyncio.shield(old.closed), 10) == 4409
    await phone.until(lambda: set(phone.states(opening["key"])) & set(ENDS))
    assert phone.states(opening["key"])[-1] == "unknown"
    await ras.close()
    audit_fits(database, place.site, [phone])
