"""A database that comes back from a copy revives nobody: cases 15 and 16, below the sockets."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
import shutil
import stat
from typing import TYPE_CHECKING, Any

import pytest
from conftest import MovedClock, base_of, eventually, make_settings
from hypothesis import given
from hypothesis import strategies as st
from igrs_ras import restore
from igrs_ras.admin import run
from igrs_ras.api import access
from igrs_ras.chain import verify
from igrs_ras.clock import new_ulid
from igrs_ras.restore import BootFile, next_generation
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import (
    enrolments,
    events,
    known_devices,
    locks,
    mail_codes,
    members,
    recipients,
    recovery_codes,
    relays,
    server,
    sessions,
    sites,
    throttle,
)
from igrs_ras.wire import new_id
from sqlalchemy import func, select
from stores import entries, new_site, new_user, residence
from town import rows_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conftest import Database
    from home import Home
    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings
    from igrs_ras.storage.store import Transaction
    from postgres import PostgresCluster
    from sqlalchemy import Connection

    type Start = Callable[[Settings], Awaitable[Ras]]

SECRET_TABLES = (sessions, mail_codes, recovery_codes, enrolments, known_devices)


@pytest.fixture
def copy_of(request: pytest.FixtureRequest, database: Database) -> Callable[[str], Database]:
    """Copy the stopped database, without what stands beside it, and return the copy as a database in the same folder."""

    def copy(name: str) -> Database:
        if database.kind == "postgresql":
            cluster: PostgresCluster = request.getfixturevalue("cluster")
            made = cluster.create_database(database.name)
            request.addfinalizer(lambda: cluster.drop_database(made))
            return dataclasses.replace(database, url=cluster.url(made), name=made)
        target = database.folder / f"{name}.sqlite3"
        shutil.copy(database.folder / "ras.sqlite3", target)
        return dataclasses.replace(database, url=f"sqlite:///{target}")

    return copy


def count(connection: Connection, table: Any, *where: Any) -> int:
    return connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one()


def fill(tx: Transaction, site: str, user: str) -> None:
    """Give a member of a site everything that a copy could revive."""
    later = tx.now + 10**9
    tx.execute(locks.insert(), {"site": site, "device": "C" * 12, "capabilities": 0, "created": 1})
    tx.execute(
        members.insert(),
        {"site": site, "user": user, "role": "member", "state": "active", "created": 1},
    )
    session = new_id()
    tx.execute(
        sessions.insert(),
        {
            "id": session, "hash": secrets.token_bytes(32), "user": user, "kind": "cookie",
            "full": True, "created": tx.now, "used": tx.now, "expires": later,
        },
    )  # fmt: skip
    tx.execute(
        mail_codes.insert(),
        {
            "id": new_id(), "user": user, "session": session, "purpose": "sign_in",
            "hash": b"", "email": "", "created": tx.now, "expires": later,
        },
    )  # fmt: skip
    tx.execute(
        known_devices.insert(),
        {"hash": secrets.token_bytes(32), "user": user, "created": tx.now, "used": tx.now},
    )
    tx.execute(recovery_codes.insert(), {"user": user, "hash": secrets.token_bytes(32)})
    tx.execute(
        enrolments.insert(),
        {"hash": secrets.token_bytes(32), "site": site, "created": tx.now, "expires": later},
    )
    tx.execute(
        throttle.insert(),
        {"bucket": secrets.token_bytes(32), "count": 3, "since": tx.now, "until": later},
    )
    for state in ("accepted", "answered"):
        tx.execute(
            relays.insert(),
            {
                "user": user, "site": site, "device": "C" * 12, "key": new_ulid(tx.now),
                "hash": b"", "state": state, "created": tx.now,
            },
        )  # fmt: skip
    tx.push(f"user:{user}", "test", {})
    tx.push(f"gateway:{site}", "test", {})
    tx.audit(site, "test")


def town(tx: Transaction) -> dict[str, str]:
    """Two sites with a member each, and one person who belongs to both."""
    made = {name: new_site(tx, name) for name in ("here", "there")}
    made |= {name: new_user(tx, name) for name in ("ann", "bob", "cid")}
    fill(tx, made["here"], made["ann"])
    fill(tx, made["there"], made["bob"])
    for site in ("here", "there"):
        tx.execute(
            members.insert(),
            {
                "site": made[site], "user": made["cid"], "role": "member", "state": "active",
                "created": 1,
            },
        )  # fmt: skip
    return made


async def restored(home: Home) -> bool:
    """Connect; tell whether the server says that it was put back."""
    await home.connect()
    return home.restored


def nonce_of(database: Database) -> bytes:
    with rows_of(database) as connection:
        return bytes(connection.execute(select(server.c.boot)).scalar_one())


def in_file(database: Database) -> list[bytes]:
    return BootFile(database.folder).read()


# The nonce.


async def test_a_server_that_was_only_stopped_is_not_restored(
    database: Database, settings: Settings, start_ras: Start
) -> None:
    seen = set()
    for _ in range(3):
        ras = await start_ras(settings)
        assert not ras.boot.restored_at_start
        await ras.close()
        seen.add(nonce_of(database))
        assert in_file(database) == [nonce_of(database)]
    assert len(seen) == 3
    assert stat.S_IMODE((database.folder / "boot").stat().st_mode) == 0o600


async def test_the_nonce_changes_hourly_and_with_each_backup(
    database: Database, ras: Ras, clock: MovedClock
) -> None:
    first = nonce_of(database)
    await ras.boot.tick()
    assert nonce_of(database) == first
    clock.advance(restore.SECONDS)
    await ras.boot.tick()
    second = nonce_of(database)
    assert second != first
    await run(ras, "backup", {"file": str(database.folder / "backup")})
    assert nonce_of(database) not in (first, second)


@pytest.mark.parametrize("when", ["before the commit", "after the commit"])
async def test_a_crash_while_the_nonce_changes_is_no_restore(
    database: Database,
    settings: Settings,
    start_ras: Start,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    ras = await start_ras(settings)
    before = nonce_of(database)

    class CrashError(Exception):
        pass

    async def crash(_job: Any) -> None:
        raise CrashError

    writes: list[Any] = []
    write = BootFile.write

    def once(file: BootFile, nonces: Any) -> None:
        if writes:
            raise CrashError
        writes.append(nonces)
        write(file, nonces)

    with monkeypatch.context() as patched:
        if when == "before the commit":
            patched.setattr(ras.store, "write", crash)
        else:
            patched.setattr(BootFile, "write", once)
        with pytest.raises(CrashError):
            await ras.boot.rotate()
    assert (nonce_of(database) == before) is (when == "before the commit")
    await ras.close()
    again = await start_ras(settings)
    assert not again.boot.restored_at_start


async def test_a_change_of_the_nonce_that_is_committed_after_all_is_no_restore(
    database: Database, settings: Settings, start_ras: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer was slow, the change was given up and begun anew; then the first one came, and the power went."""
    ras = await start_ras(settings)
    late: list[Any] = []

    async def slow(job: Any) -> None:
        late.append(job)
        raise Refused(Status.NOT_READY)

    with monkeypatch.context() as patched:
        patched.setattr(ras.store, "write", slow)
        for _ in range(2):
            with pytest.raises(Refused):
                await ras.boot.rotate()
    await ras.store.write(late[0])
    assert nonce_of(database) in in_file(database)
    await ras.close()
    assert not (await start_ras(settings)).boot.restored_at_start


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"nonces": 3}', b'{"nonces": ["zz"]}'])
async def test_a_file_that_is_gone_or_damaged_means_restored(
    database: Database, settings: Settings, start_ras: Start, content: bytes | None
) -> None:
    await (await start_ras(settings)).close()
    path = database.folder / "boot"
    path.unlink() if content is None else path.write_bytes(content)
    ras = await start_ras(settings)
    assert ras.boot.restored_at_start
    await ras.close()
    ras = await start_ras(settings)
    assert not ras.boot.restored_at_start


# What is void then.


async def test_case_16_a_copy_of_the_database_revives_no_session_code_or_relay(
    database: Database, settings: Settings, start_ras: Start, copy_of: Callable[[str], Database]
) -> None:
    ras = await start_ras(settings)
    made = await ras.store.write(town)
    old = ras.identity.generation
    await ras.close()
    copied = copy_of("older")
    await (await start_ras(settings)).close()  # the nonce moves on

    ras = await start_ras(make_settings(copied))
    assert ras.boot.restored_at_start
    assert ras.identity.generation > old
    with rows_of(copied) as connection:
        assert connection.execute(select(server.c.generation)).scalar() == ras.identity.generation
        for table in (*SECRET_TABLES, events):
            assert count(connection, table) == 0, table.name
        assert count(connection, sites, sites.c.suspended.is_(False)) == 0
        assert count(connection, relays, relays.c.state == "accepted") == 0
        assert count(connection, relays, relays.c.state == "answered") == 2
        assert count(connection, throttle) >= 2  # nobody gets new attempts by it
        generations = connection.execute(select(sites.c.generation)).scalars().all()
        assert min(generations) > old
        names = {f"user:{made['ann']}", f"user:{made['bob']}"}
        for row in connection.execute(select(recipients).where(recipients.c.name.in_(names))):
            assert row.generation == ras.identity.generation
        for site in (made["here"], made["there"]):
            found = entries(connection, site)
            assert [entry["what"] for entry in found] == ["test", "relay.ended", "site.restored"]
            with pytest.raises(Refused) as refused:
                access.member(connection, site, made["cid"])
            assert refused.value.status is Status.NOT_FOUND
        assert verify(connection).bad == []
    await ras.close()

    ras = await start_ras(make_settings(copied))
    assert not ras.boot.restored_at_start
    await ras.close()


async def test_case_15_the_same_copy_put_back_twice_gets_another_generation_each_time(
    settings: Settings, start_ras: Start, copy_of: Callable[[str], Database], clock: MovedClock
) -> None:
    ras = await start_ras(settings)
    await ras.store.write(town)
    await ras.close()
    copied, same = copy_of("first"), copy_of("second")
    found = []
    for copy in (copied, same):
        await (await start_ras(settings)).close()
        clock.advance(1)
        ras = await start_ras(make_settings(copy))
        found.append(ras.identity.generation)
        with rows_of(copy) as connection:
            found += connection.execute(select(sites.c.generation)).scalars().all()
        await ras.close()
    assert set(found[:3]).isdisjoint(found[3:])
    assert max(found[:3]) < min(found[3:])


async def test_a_running_server_that_is_proven_to_be_an_older_copy_is_restored_at_once(
    database: Database, ras: Ras
) -> None:
    """A checkpoint that the server signed, and that the database does not know, is the proof."""
    made = await ras.store.write(town)
    async with residence(ras) as place:
        await place.owner.connect()
        reported = ras.identity.generation + 10**9
        await ras.store.write(lambda tx: ras.boot.proven(tx, reported))
        assert ras.identity.generation > reported
        await eventually(place.owner.peer.closed.done)
        await eventually(lambda: not place.home.connected)
    with rows_of(database) as connection:
        for table in SECRET_TABLES:
            assert count(connection, table) == 0, table.name
        assert count(connection, relays, relays.c.state == "accepted") == 0
        generations = set(connection.execute(select(sites.c.generation)).scalars())
        generations |= set(connection.execute(select(recipients.c.generation)).scalars())
        generations.add(connection.execute(select(server.c.generation)).scalar_one())
        assert generations == {ras.identity.generation}
        for site in (made["here"], made["there"]):
            with pytest.raises(Refused):
                access.member(connection, site, made["cid"])
        assert verify(connection).bad == []


async def test_a_copy_made_while_the_server_ran_is_known_when_it_comes_back_in_its_place(
    database: Database, settings: Settings, start_ras: Start, copy_of: Callable[[str], Database]
) -> None:
    ras = await start_ras(settings)
    with rows_of(database) as connection:
        nonce = connection.execute(select(server.c.boot)).scalar_one()
    await ras.close()
    copied = copy_of("running")
    with rows_of(copied) as connection:
        connection.execute(server.update().values(boot=nonce))  # as it was then
    ras = await start_ras(make_settings(copied))
    assert ras.boot.restored_at_start


@given(
    old=st.integers(0, 2**52),
    reported=st.integers(0, 2**52),
    now=st.integers(0, 2**52),
)
def test_a_generation_is_above_all_that_anybody_remembers(
    old: int, reported: int, now: int
) -> None:
    made = next_generation(old, reported, now)
    assert made > old
    assert made > reported
    assert made >= now
    assert made <= 2**53


async def test_a_home_that_comes_back_lets_in_whom_it_still_knows(
    database: Database, settings: Settings, start_ras: Start, copy_of: Callable[[str], Database]
) -> None:
    ras = await start_ras(settings)
    async with residence(ras) as place:
        owner, member = place.owner.user, place.member.user
        site = place.site
        await ras.close()
        copied = copy_of("older")
        ras = await start_ras(settings)
        place.home.url = place.home.http.base = base_of(ras)
        assert not await restored(place.home)
        del place.home.members[member]
        await place.home.request("member.end", {"user": member})
        await ras.close()

        ras = await start_ras(make_settings(copied))
        place.home.url = place.home.http.base = base_of(ras)
        with rows_of(copied) as connection:
            # The member whom the home had removed is back in the rows, and gets nowhere.
            assert count(connection, members, members.c.user == member) == 1
            for user in (owner, member):
                with pytest.raises(Refused):
                    access.member(connection, site, user)
        assert await restored(place.home)
        with rows_of(copied) as connection:
            assert access.member(connection, site, owner).role == "owner"
            with pytest.raises(Refused):
                access.member(connection, site, member)
            assert count(connection, members, members.c.user == member) == 0
        await ras.close()


async def test_a_server_that_is_asked_to_end_signs_all_while_its_homes_are_there(
    database: Database, ras: Ras
) -> None:
    async with residence(ras) as place:
        assert sum(ras.checkpoints.unsigned().values()) > 0
        await ras.drain(2.0)
        await asyncio.wait_for(asyncio.shield(place.home.peer.closed), 10)
        with rows_of(database) as connection:
            found = entries(connection, place.site)
        assert place.home.audit is not None
        assert place.home.audit[0] == len(found)


def test_the_file_says_nothing_but_nonces(tmp_path: Any) -> None:
    file = BootFile(tmp_path)
    file.write([b"\1" * 16, b"\2" * 16])
    assert json.loads((tmp_path / "boot").read_bytes()) == {"nonces": ["01" * 16, "02" * 16]}
    assert file.read() == [b"\1" * 16, b"\2" * 16]
