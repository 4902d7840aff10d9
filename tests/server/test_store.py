"""The one writer: what is answered is in the database, and nothing that fails leaves a gap or a lie behind."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING, Any

import pytest
from conftest import eventually, make_settings
from igrs_ras.status import Refused, Status
from igrs_ras.storage import store as store_module
from igrs_ras.storage.engine import SERVER_LOCK, FolderLock, InUseError, open_engine
from igrs_ras.storage.store import Store
from igrs_ras.storage.tables import audit, events, locks, recipients, sites, users
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError, NoResultFound
from stores import Gate, entries, new_site, new_user, opened, sequence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from conftest import Database, MovedClock
    from igrs_ras.storage.store import Transaction
    from postgres import PostgresCluster
    from sqlalchemy import Connection


@pytest.fixture
async def store(database: Database, clock: MovedClock) -> AsyncIterator[Store]:
    async with opened(database, clock) as running:
        yield running


async def together(store: Store, *jobs: Any) -> list[Any]:
    """Run jobs as one group; return values and exceptions."""
    gate = Gate()
    first = asyncio.create_task(store.write(gate.job))
    await asyncio.to_thread(gate.entered.wait, 10)
    rest = [asyncio.create_task(store.write(job)) for job in jobs]
    await asyncio.sleep(0)
    gate.open()
    await first
    return await asyncio.gather(*rest, return_exceptions=True)


def count(connection: Connection, table: Any) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def is_failing(store: Store) -> bool:
    return store.failing_since is not None


def break_connection(tx: Transaction) -> None:
    """Lose the writer's connection in the middle of a job, as a crash of the database does."""
    if tx.connection.dialect.name == "postgresql":
        tx.connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
    else:
        driver: Any = tx.connection.connection.driver_connection
        driver.close()
    tx.connection.exec_driver_sql("SELECT 1")


async def test_a_value_is_returned_after_the_commit(store: Store) -> None:
    site = await store.write(new_site)
    with store.engine.connect() as other:
        assert other.execute(select(sites.c.id)).scalar() == site


async def test_a_job_that_fails_undoes_only_itself(store: Store) -> None:
    site = await store.write(new_site)

    def good(tx: Transaction) -> int:
        tx.push(f"gateway:{site}", "test", {})
        return tx.audit(site, "test")

    def refused(tx: Transaction) -> None:
        new_user(tx)
        good(tx)
        raise Refused(Status.EXISTS)

    def twice(tx: Transaction) -> None:
        good(tx)
        tx.execute(
            locks.insert(),
            [{"site": site, "device": "A" * 12, "capabilities": 0, "created": 0}] * 2,
        )

    def goes_on(tx: Transaction) -> None:
        good(tx)
        with contextlib.suppress(IntegrityError):
            twice(tx)
        # PostgreSQL takes nothing more of this job; SQLite does.
        tx.execute(select(users.c.id))
        raise Refused(Status.EXISTS)

    def stops(_tx: Transaction) -> None:
        next(iter(()))

    outcomes = await together(store, good, refused, good, twice, goes_on, stops, good)
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], Refused)
    assert outcomes[2] == 2
    assert isinstance(outcomes[3], IntegrityError)
    assert isinstance(outcomes[4], Exception)
    assert isinstance(outcomes[5], RuntimeError)
    assert outcomes[6] == 3
    assert store.failing_since is None
    with store.engine.connect() as connection:
        assert len(entries(connection, site)) == 3
        assert sequence(connection, f"gateway:{site}")[0] == 3
        assert count(connection, users) == 0
        assert count(connection, locks) == 0


async def test_a_recipient_whose_first_event_failed_gets_his_first_event_later(
    store: Store,
) -> None:
    site = await store.write(new_site)

    def push(tx: Transaction, *, fails: bool = False) -> int:
        number = tx.push(f"gateway:{site}", "test", {})
        if fails:
            raise Refused(Status.EXISTS)
        return number

    fails = functools.partial(push, fails=True)
    outcomes = await together(store, fails, push, fails, push)
    assert outcomes[1::2] == [1, 2]
    with pytest.raises(Refused):
        await store.write(fails)
    assert await store.write(push) == 3


async def test_what_one_job_wrote_the_next_of_its_group_reads(store: Store) -> None:
    def read(tx: Transaction) -> int:
        return count(tx.connection, sites)

    outcomes = await together(store, new_site, read, new_site, read)
    assert outcomes[1::2] == [1, 2]


async def test_a_bulk_job_gets_all_items_and_answers_each(store: Store) -> None:
    sizes: list[int] = []

    def bulk(tx: Transaction, items: Sequence[int]) -> list[int | Exception]:
        sizes.append(len(items))
        return [Refused(Status.EXISTS) if item == 3 else item * 2 for item in items]

    gate = Gate()
    first = asyncio.create_task(store.write(gate.job))
    await asyncio.to_thread(gate.entered.wait, 10)
    rest = [asyncio.create_task(store.bulk(bulk, item)) for item in range(6)]
    await asyncio.sleep(0)
    gate.open()
    await first
    outcomes = await asyncio.gather(*rest, return_exceptions=True)
    assert sizes == [6]
    assert isinstance(outcomes.pop(3), Refused)
    assert outcomes == [0, 2, 4, 8, 10]


async def test_a_bulk_job_that_answers_too_few_fails_without_a_trace(store: Store) -> None:
    def bulk(tx: Transaction, items: Sequence[int]) -> list[int | Exception]:
        new_user(tx)
        return []

    with pytest.raises(ValueError, match="zip"):
        await store.bulk(bulk, 1)
    assert await store.read(lambda connection: count(connection, users)) == 0
    await store.write(new_user)


async def test_callbacks_follow_the_commit_and_only_it(store: Store) -> None:
    called: list[str] = []

    def job(name: str, tx: Transaction) -> None:
        tx.after(lambda: called.append(name))
        if name == "bad":
            raise Refused(Status.EXISTS)

    def broken(tx: Transaction) -> None:
        tx.after(lambda: called.remove("never there"))

    first, last = functools.partial(job, "first"), functools.partial(job, "last")
    await together(store, first, functools.partial(job, "bad"), broken, last)
    assert called == ["first", "last"]


async def test_a_fault_outside_the_database_does_not_end_the_writer(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(_connection: Connection) -> None:
        raise KeyError("a fault of ours")

    with monkeypatch.context() as patched:
        patched.setattr(store.heads, "flush", fault)
        with pytest.raises(Refused) as refused:
            await store.write(new_user)
        assert refused.value.status is Status.NOT_READY
    await store.write(new_user)
    assert await store.read(lambda connection: count(connection, users)) == 1


async def test_a_group_that_loses_its_connection_is_refused_as_a_whole(store: Store) -> None:
    site = await store.write(new_site)

    def good(tx: Transaction) -> int:
        tx.push(f"gateway:{site}", "test", {})
        return tx.audit(site, "test")

    assert await store.write(good) == 1
    outcomes = await together(store, good, break_connection, good)
    assert all(
        isinstance(outcome, Refused) and outcome.status is Status.NOT_READY for outcome in outcomes
    )
    assert is_failing(store)
    assert await store.probe()
    assert not is_failing(store)
    assert await store.write(good) == 2
    with store.engine.connect() as connection:
        assert len(entries(connection, site)) == 2
        assert sequence(connection, f"gateway:{site}")[0] == 2


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_case_42_a_full_disk_refuses_the_group_and_loses_nothing_before(store: Store) -> None:
    site = await store.write(new_site)
    await store.write(lambda tx: tx.audit(site, "test"))

    def fill(tx: Transaction) -> None:
        # SQLite's own way to say that there is no more room; as on a disk it comes in the middle of a job.
        tx.connection.exec_driver_sql("PRAGMA max_page_count = 1")
        for _ in range(2000):
            new_user(tx, "x" * 100)

    outcomes = await together(store, lambda tx: tx.audit(site, "test"), fill)
    assert all(isinstance(outcome, Refused) for outcome in outcomes)
    assert await store.write(lambda tx: tx.audit(site, "test")) == 2
    with store.engine.connect() as connection:
        assert len(entries(connection, site)) == 2
        assert count(connection, users) == 0


async def test_a_caller_who_went_away_before_his_turn_leaves_nothing(store: Store) -> None:
    gate = Gate()
    first = asyncio.create_task(store.write(gate.job))
    await asyncio.to_thread(gate.entered.wait, 10)
    gone = asyncio.create_task(store.write(new_user))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    gate.open()
    await first
    assert await store.read(lambda connection: count(connection, users)) == 0


async def test_a_caller_who_goes_away_in_the_middle_changes_nothing_for_others(
    store: Store,
) -> None:
    gate = Gate()
    done: list[int] = []

    def job(tx: Transaction) -> None:
        new_user(tx)
        tx.after(lambda: done.append(1))
        gate.job(tx)

    going = asyncio.create_task(store.write(job))
    await asyncio.to_thread(gate.entered.wait, 10)
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    gate.open()
    await store.write(new_user)
    assert done == [1]
    assert await store.read(lambda connection: count(connection, users)) == 2


async def test_a_job_that_waits_too_long_is_not_ready(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    first = asyncio.create_task(store.write(gate.job))
    await asyncio.to_thread(gate.entered.wait, 10)
    monkeypatch.setattr(store_module, "PATIENCE", 0.05)
    with pytest.raises(Refused) as refused:
        await store.write(new_user)
    assert refused.value.status is Status.NOT_READY
    assert is_failing(store)
    gate.open()
    await asyncio.gather(first, return_exceptions=True)
    monkeypatch.undo()
    assert await store.probe()
    assert not is_failing(store)
    # It was given up before its turn, so it did not happen after all.
    assert await store.read(lambda connection: count(connection, users)) == 0


async def test_only_so_many_jobs_wait(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "WAITING", 3)
    gate = Gate()
    first = asyncio.create_task(store.write(gate.job))
    await asyncio.to_thread(gate.entered.wait, 10)
    rest = [asyncio.create_task(store.write(new_user)) for _ in range(5)]
    await asyncio.sleep(0)
    gate.open()
    outcomes = await asyncio.gather(first, *rest, return_exceptions=True)
    assert sum(isinstance(outcome, Refused) for outcome in outcomes) == 2
    assert await store.read(lambda connection: count(connection, users)) == 3


async def test_a_reading_job_with_a_wrong_statement_is_no_trouble_of_the_database(
    store: Store,
) -> None:
    def nul(connection: Connection) -> Any:
        return connection.execute(select(users).where(users.c.name == "a\0b")).first()

    def overlong(connection: Connection) -> Any:
        return connection.execute(select(sites).where(sites.c.generation == 2**70)).first()

    for job in (nul, overlong):
        with contextlib.suppress(Exception):
            await store.read(job)
        assert store.failing_since is None


async def test_a_read_that_takes_too_long_is_not_ready(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()

    def slow(_connection: Connection) -> None:
        gate.entered.set()
        gate.wait()

    with monkeypatch.context() as hasty:
        hasty.setattr(store_module, "PATIENCE", 0.05)
        with pytest.raises(Refused) as refused:
            await store.read(slow)
    assert refused.value.status is Status.NOT_READY
    assert is_failing(store)
    gate.open()
    assert await store.probe()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_readers_find_their_way_back_to_a_database_that_was_gone(
    store: Store, cluster: PostgresCluster
) -> None:
    await store.write(new_user)
    cluster.stop()
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await store.read(lambda connection: count(connection, users))
        assert refused.value.status is Status.NOT_READY
        with pytest.raises(Refused):
            await store.write(new_user)
    assert is_failing(store)
    assert not await store.probe()
    cluster.start()
    assert await store.probe()
    assert await store.read(lambda connection: count(connection, users)) == 1


async def test_an_entry_for_no_site_fails_its_own_job_only(store: Store) -> None:
    site = await store.write(new_site)
    outcomes = await together(
        store,
        lambda tx: tx.audit(site, "test"),
        lambda tx: tx.audit("0" * 32, "test"),
        lambda tx: tx.push(f"gateway:{'0' * 32}", "test", {}),
        lambda tx: tx.audit(site, "test"),
    )
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], NoResultFound)
    assert isinstance(outcomes[2], NoResultFound)
    assert outcomes[3] == 2


async def test_a_site_is_removed_with_what_its_group_had_collected_for_it(store: Store) -> None:
    site, other = await store.write(new_site), await store.write(new_site)

    def write(name: str, tx: Transaction) -> int:
        tx.push(f"gateway:{name}", "test", {})
        return tx.audit(name, "test")

    def remove(tx: Transaction) -> None:
        tx.execute(sites.delete().where(sites.c.id == site))
        tx.forget_site(site)

    def fails(tx: Transaction) -> None:
        remove(tx)
        raise Refused(Status.EXISTS)

    this, that = functools.partial(write, site), functools.partial(write, other)
    assert await together(store, this, that) == [1, 1]
    outcomes = await together(store, this, fails, this, that, remove, that, this)
    assert [outcomes[0], outcomes[2], outcomes[3], outcomes[5]] == [2, 3, 2, 3]
    assert isinstance(outcomes[6], NoResultFound)
    with store.engine.connect() as connection:
        assert len(entries(connection, other)) == 3
        assert count(connection, audit) == 3
        assert count(connection, events) == 3
        assert count(connection, recipients) == 1


async def test_a_new_generation_of_a_recipient_counts_on(store: Store) -> None:
    user = f"user:{await store.write(new_user)}"

    def push(tx: Transaction) -> int:
        return tx.push(user, "test", {})

    def fails(tx: Transaction) -> None:
        tx.renew(user, 9)
        raise Refused(Status.EXISTS)

    outcomes = await together(store, push, fails, push, lambda tx: tx.renew(user, 7), push)
    assert [outcomes[0], outcomes[2], outcomes[4]] == [1, 2, 3]
    with store.engine.connect() as connection:
        row = connection.execute(select(recipients)).one()
        assert (row.generation, row.seq) == (7, 3)
        sequence(connection, user)


async def test_at_the_end_what_waits_is_done_and_what_comes_later_refused(
    database: Database, clock: MovedClock
) -> None:
    async with opened(database, clock) as store:
        gate = Gate()
        first = asyncio.create_task(store.write(gate.job))
        await asyncio.to_thread(gate.entered.wait, 10)
        waiting = [asyncio.create_task(store.write(new_user)) for _ in range(5)]
        await asyncio.sleep(0)
        stopping = asyncio.create_task(store.stop())
        await asyncio.sleep(0)
        for late in (store.write(new_user), store.read(lambda connection: None)):
            with pytest.raises(Refused):
                await late
        gate.open()
        await asyncio.gather(first, *waiting, stopping)
    async with opened(database, clock) as store:
        assert await store.read(lambda connection: count(connection, users)) == 5


async def test_a_writer_that_hangs_does_not_keep_the_server_from_ending(
    database: Database, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "STOP", 0.05)
    async with opened(database, clock) as store:
        gate = Gate()
        first = asyncio.create_task(store.write(gate.job))
        await asyncio.to_thread(gate.entered.wait, 10)
        waiting = asyncio.create_task(store.write(new_user))
        await asyncio.sleep(0)
        await store.stop()
        with pytest.raises(Refused):
            await waiting
        gate.open()
        await asyncio.gather(first, return_exceptions=True)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_only_one_server_uses_a_database(
    database: Database, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "START", 0.1)
    async with opened(database, clock):
        second = Store(open_engine(database.url), clock)
        with pytest.raises(InUseError):
            await second.start()
        await second.stop()
    async with opened(database, clock):
        pass


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_a_server_waits_a_moment_for_one_that_is_just_ending(
    database: Database, clock: MovedClock
) -> None:
    async with opened(database, clock) as first:
        second = Store(open_engine(database.url), clock)
        starting = asyncio.create_task(second.start())
        await asyncio.sleep(0.1)
        assert not starting.done()
        await first.stop()
        await starting
        assert await second.probe()
        await second.stop()


def test_only_one_server_uses_a_data_folder(tmp_path: Any) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(InUseError):
        FolderLock(tmp_path)
    lock.release()
    FolderLock(tmp_path).release()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_a_database_that_somebody_else_took_over_is_given_up_after_a_while(
    store: Store, clock: MovedClock, database: Database
) -> None:
    """PostgreSQL may keep our own lost connection, and its lock, for some seconds: that is no other server yet."""
    fatal: list[str] = []
    store.fatal = fatal.append
    other = open_engine(database.url)
    with other.connect() as taker:
        take = text("SELECT pg_advisory_lock(:lock)")
        waiting = asyncio.create_task(asyncio.to_thread(taker.execute, take, {"lock": SERVER_LOCK}))
        with pytest.raises(Refused):
            await store.write(break_connection)
        await waiting
        with pytest.raises(Refused):
            await store.write(new_user)
        await asyncio.sleep(0)
        assert fatal == []
        taker.rollback()
        taker.execute(text("SELECT pg_advisory_unlock_all()"))
        await store.write(new_user)
        taker.rollback()
        waiting = asyncio.create_task(asyncio.to_thread(taker.execute, take, {"lock": SERVER_LOCK}))
        with pytest.raises(Refused):
            await store.write(break_connection)
        await waiting
        clock.advance(store_module.GRACE)
        with pytest.raises(Refused):
            await store.write(new_user)
        await eventually(lambda: fatal)
    other.dispose()


async def test_the_database_of_settings_is_opened_durably(database: Database) -> None:
    engine = open_engine(make_settings(database).database)
    with engine.connect() as connection:
        if database.kind == "sqlite":
            found = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
            assert found == ["wal", 2, 1]
        else:
            assert (
                connection.exec_driver_sql("SHOW transaction_isolation").scalar()
                == "read committed"
            )
            assert connection.exec_driver_sql("SHOW tcp_keepalives_idle").scalar() is not None
    engine.dispose()
