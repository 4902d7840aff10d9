"""Bulk jobs have no savepoint while nothing fails; when one fails, it alone has failed."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import sites
from sqlalchemy import event, select
from sqlalchemy.exc import IntegrityError
from stores import Gate, entries, new_site, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from conftest import Database, MovedClock
    from igrs_ras.storage.store import Store, Transaction


@pytest.fixture
async def store(database: Database, clock: MovedClock) -> AsyncIterator[Store]:
    async with opened(database, clock) as running:
        yield running


async def together(store: Store, *asked: Any) -> list[Any]:
    """Have jobs wait until they are one group; return values and exceptions."""
    gate = Gate()
    first = asyncio.create_task(store.write(gate.job))
    await asyncio.to_thread(gate.entered.wait, 10)
    rest = [asyncio.create_task(one) for one in asked]
    await asyncio.sleep(0)
    gate.open()
    await first
    return await asyncio.gather(*rest, return_exceptions=True)


def note(tx: Transaction, items: Sequence[str]) -> list[int]:
    return [tx.audit(item, "noted") for item in items]


def note_and_refuse(tx: Transaction, items: Sequence[str]) -> list[int]:
    note(tx, items)
    raise Refused(Status.EXISTS)


def note_and_double(tx: Transaction, items: Sequence[str]) -> list[int]:
    note(tx, items)
    tx.execute(
        sites.insert(), {"id": items[0], "name": "Again", "generation": 1, "created": tx.now}
    )
    return []


@pytest.mark.parametrize(
    ("bad", "raised"), [(note_and_refuse, Refused), (note_and_double, IntegrityError)]
)
async def test_one_that_fails_takes_nothing_of_the_others_with_it(
    store: Store, bad: Any, raised: type[Exception]
) -> None:
    site = await store.write(new_site)
    statements: list[str] = []
    event.listen(
        store.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: statements.append(statement),
    )
    assert await together(store, *(store.bulk(note, site) for _ in range(3))) == [1, 2, 3]
    assert statements.count("SAVEPOINT job") == 1  # of the job that held the writer

    outcomes = await together(
        store, store.bulk(note, site), store.bulk(bad, site), store.bulk(note, site)
    )
    assert outcomes[::2] == [4, 5]
    assert isinstance(outcomes[1], raised)
    outcomes = await together(store, store.bulk(bad, site), store.bulk(bad, site))
    assert [type(outcome) for outcome in outcomes] == [raised, raised]
    # Beside a job with a savepoint they have one too.
    outcomes = await together(
        store,
        store.bulk(note, site),
        store.write(lambda tx: tx.audit(site, "written")),
        store.bulk(bad, site),
    )
    assert sorted(outcomes[:2]) == [6, 7]
    assert isinstance(outcomes[2], raised)
    assert len(await store.read(lambda connection: entries(connection, site))) == 7
    names = await store.read(
        lambda connection: connection.execute(select(sites.c.name)).scalars().all()
    )
    assert names == ["Home"]
    assert store.failing_since is None


async def test_what_was_promised_for_after_the_commit_is_not_done_twice(store: Store) -> None:
    called: list[str] = []

    def good(tx: Transaction, items: Sequence[str]) -> list[str]:
        for item in items:
            tx.after(partial(called.append, item))
        return list(items)

    def bad(tx: Transaction, items: Sequence[str]) -> list[str]:
        tx.after(lambda: called.append("bad"))
        raise Refused(Status.EXISTS)

    outcomes = await together(
        store, store.bulk(good, "one"), store.bulk(bad, "x"), store.bulk(good, "two")
    )
    assert outcomes[::2] == ["one", "two"]
    await asyncio.sleep(0)
    assert called == ["one", "two"]
