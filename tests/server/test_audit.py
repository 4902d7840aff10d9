"""The audit holds itself together, and who changes it is found: case 44, at every position."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from conftest import eventually
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from igrs_ras import audit as service
from igrs_ras.admin import run
from igrs_ras.audit import BrokenChainError, cut, holds, read, sign
from igrs_ras.chain import Bad, Verdict, signed_bytes, verify
from igrs_ras.identity import ServerIdentity, read_or_make, verified
from igrs_ras.storage.engine import WRITER
from igrs_ras.storage.heads import Heads, chain, genesis
from igrs_ras.storage.store import Transaction
from igrs_ras.storage.tables import audit, checkpoints
from igrs_ras.wire import canonical, unb64
from sqlalchemy import Connection, delete, insert, select, update
from stores import entries, new_site, opened, residence
from town import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Database, MovedClock
    from igrs_ras.ras import Ras

ENTRIES = 30
SIGNED = (7, 15, 24)  # the last entries of the checkpoints; what follows is unsigned
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def books(database: Database) -> Iterator[tuple[Connection, str]]:
    """A site with 30 entries and 3 checkpoints, and another one, in a transaction that is taken back."""
    with rows_of(database) as connection:
        heads = Heads()
        now = 1_800_000_000_000
        tx = Transaction(connection, heads, now)
        identity = read_or_make(tx)
        site, other = new_site(tx), new_site(tx)
        for index in range(1, ENTRIES + 1):
            tx.now += 1000
            tx.audit(site, "test", code=index)
            tx.audit(other, "test", code=index)
            heads.flush(connection)
            if index in SIGNED:
                assert sign(tx, identity, site)[1] == index
        yield connection, site
        connection.rollback()


def on_each(test: Callable[..., None], **strategies: Any) -> Any:
    """Run a test on many positions, each on the untouched books."""

    def run(books: tuple[Connection, str]) -> None:
        connection, site = books

        @settings(
            max_examples=15, deadline=None, suppress_health_check=[HealthCheck.differing_executors]
        )
        @given(**strategies)
        def example(**drawn: Any) -> None:
            savepoint = connection.begin_nested()
            try:
                test(connection, site, **drawn)
            finally:
                savepoint.rollback()

        example()

    run.__name__ = test.__name__
    return run


def head(connection: Connection, site: str) -> dict[str, tuple[int, bytes]]:
    """What the gateway knows: the chain's end before anybody touched it."""
    row = connection.execute(
        select(audit).where(audit.c.site == site).order_by(audit.c.i.desc()).limit(1)
    ).one()
    return {site: (row.i, bytes(row.hash))}


def rows(connection: Connection, site: str) -> list[dict[str, Any]]:
    found = connection.execute(select(audit).where(audit.c.site == site).order_by(audit.c.i))
    return [dict(row._mapping) for row in found]


def replace(connection: Connection, site: str, changed: list[dict[str, Any]]) -> None:
    """Put these rows in the place of the site's, numbered as they come."""
    connection.execute(delete(audit).where(audit.c.site == site))
    if changed:
        connection.execute(
            insert(audit), [row | {"i": index} for index, row in enumerate(changed, 1)]
        )


def add(site: str, tx: Transaction) -> int:
    return tx.audit(site, "test")


def forged(site: str, index: int, before: bytes) -> dict[str, Any]:
    """An entry that never was, with the hash that would be right."""
    entry = canonical({"time": 5, "what": "forged", "code": index}).decode()
    digest = chain(site, index, before, hashlib.sha256(entry.encode()).digest())
    return {"site": site, "i": index, "hash": digest, "entry": entry, "time": 5}


def only(verdict: Verdict) -> tuple[str, int, int]:
    assert len(verdict.bad) == 1, verdict
    bad = verdict.bad[0]
    return bad.kind, bad.index, bad.last


def test_an_untouched_audit_holds(books: tuple[Connection, str]) -> None:
    connection, site = books
    verdict = verify(connection, head(connection, site))
    assert verdict.bad == []
    assert (verdict.entries, verdict.checkpoints) == (2 * ENTRIES, len(SIGNED))
    assert verdict.heads[site] == head(connection, site)[site]
    assert verify(connection, only=site).entries == ENTRIES


def edited(connection: Connection, site: str, index: int, column: str) -> None:
    value: Any = {"entry": '{"time":0,"what":"nothing"}', "hash": bytes(32), "time": 0}[column]
    where = (audit.c.site == site, audit.c.i == index)
    connection.execute(update(audit).where(*where).values({column: value}))
    assert only(verify(connection)) == ("edited", index, index)


test_case_44_an_edited_entry_is_named = on_each(
    edited, index=st.integers(1, ENTRIES), column=st.sampled_from(["entry", "hash", "time"])
)


def missing(connection: Connection, site: str, index: int, *, closed: bool) -> None:
    known = head(connection, site)
    kept = rows(connection, site)
    del kept[index - 1]
    if closed:
        replace(connection, site, kept)
    else:
        connection.execute(delete(audit).where(audit.c.site == site, audit.c.i == index))
    kind, first, _ = only(verify(connection, known))
    assert first == index
    if index == ENTRIES:
        assert kind == "truncated"
    elif closed and index == ENTRIES - 1:
        # The last entry took its place: it cannot be told from an edited one.
        assert kind in ("missing", "edited")
    else:
        assert kind == "missing"


test_case_44_a_deleted_entry_is_named = on_each(
    missing, index=st.integers(1, ENTRIES), closed=st.booleans()
)


def inserted(connection: Connection, site: str, index: int, *, well: bool) -> None:
    kept = rows(connection, site)
    before = kept[index - 2]["hash"] if index > 1 else genesis(site)
    new = forged(site, index, before)
    kept.insert(index - 1, new if well else new | {"hash": bytes(32)})
    replace(connection, site, kept)
    assert only(verify(connection)) == ("inserted", index, index)


test_case_44_an_inserted_entry_is_named = on_each(
    inserted, index=st.integers(1, ENTRIES), well=st.booleans()
)


def swapped(connection: Connection, site: str, two: set[int], *, whole: bool) -> None:
    first, second = sorted(two)
    kept = rows(connection, site)
    a, b = kept[first - 1], kept[second - 1]
    for column in ("entry", "time", "hash") if whole else ("entry", "time"):
        a[column], b[column] = b[column], a[column]
    replace(connection, site, kept)
    assert only(verify(connection)) == ("swapped", first, second)


test_case_44_swapped_entries_are_named = on_each(
    swapped,
    two=st.sets(st.integers(1, ENTRIES), min_size=2, max_size=2),
    whole=st.booleans(),
)


def truncated(connection: Connection, site: str, left: int, *, quietly: bool) -> None:
    known = head(connection, site)
    connection.execute(delete(audit).where(audit.c.site == site, audit.c.i > left))
    if quietly:
        connection.execute(delete(checkpoints).where(checkpoints.c.last > left))
    assert only(verify(connection, known)) == ("truncated", left + 1, ENTRIES)
    without = verify(connection).bad
    if quietly or left >= SIGNED[-1]:
        assert without == []  # only the gateway knows
    else:
        assert without == [Bad(site, left + 1, SIGNED[-1], "truncated")]


test_case_44_a_cut_off_end_is_named = on_each(
    truncated, left=st.integers(0, ENTRIES - 1), quietly=st.booleans()
)


def fork(connection: Connection, site: str, index: int) -> None:
    """Write another history from an entry on, with hashes that are right in themselves."""
    kept = rows(connection, site)[: index - 1]
    before = kept[-1]["hash"] if kept else genesis(site)
    for at in range(index, ENTRIES + 1):
        kept.append(forged(site, at, before))
        before = kept[-1]["hash"]
    replace(connection, site, kept)


def forked(connection: Connection, site: str, index: int) -> None:
    known = head(connection, site)
    fork(connection, site, index)
    starts = (1, *(last + 1 for last in SIGNED))
    ends = (*SIGNED, ENTRIES)
    first, last = next(
        (start, end) for start, end in zip(starts, ends, strict=True) if start <= index <= end
    )
    assert only(verify(connection, known)) == ("forked", first, last)


test_case_44_another_history_is_named = on_each(forked, index=st.integers(1, ENTRIES))


def resigned(connection: Connection, site: str, index: int, *, own_key: bool) -> None:
    """Somebody forks and signs anew: with another key, or even with the server's, which only gateways notice."""
    known = head(connection, site)
    fork(connection, site, index)
    connection.execute(delete(checkpoints).where(checkpoints.c.site == site))
    tx = Transaction(connection, Heads(), 1_900_000_000_000)
    sign(tx, read_or_make(tx) if own_key else ServerIdentity(bytes(32), 0), site)
    verdict = verify(connection)
    if own_key:
        assert verdict.bad == []
        assert only(verify(connection, known))[0] == "forked"
    else:
        assert only(verdict) == ("signature", ENTRIES, ENTRIES)


test_case_44_a_history_that_is_signed_anew_is_named = on_each(
    resigned, index=st.integers(1, ENTRIES), own_key=st.booleans()
)


def altered(connection: Connection, site: str, at: int, column: str) -> None:
    where = (checkpoints.c.site == site, checkpoints.c.last == SIGNED[at])
    row = connection.execute(select(checkpoints).where(*where)).one()
    old = getattr(row, column)
    new = old + 1 if isinstance(old, int) else bytes([bytes(old)[0] ^ 1]) + bytes(old)[1:]
    connection.execute(update(checkpoints).where(*where).values({column: new}))
    assert only(verify(connection)) == ("signature", SIGNED[at], SIGNED[at])


test_case_44_an_altered_checkpoint_is_named = on_each(
    altered,
    at=st.integers(0, len(SIGNED) - 1),
    column=st.sampled_from(["first", "before", "head", "time", "generation", "signature"]),
)


@pytest.mark.parametrize("at", [0, 1])
def test_case_44_a_missing_checkpoint_is_named(books: tuple[Connection, str], at: int) -> None:
    connection, _ = books
    connection.execute(delete(checkpoints).where(checkpoints.c.last == SIGNED[at]))
    first = SIGNED[at - 1] + 1 if at else 1
    assert only(verify(connection)) == ("checkpoint", first, SIGNED[at])


def test_case_44_old_entries_cannot_go_as_if_they_had_been_cut(
    books: tuple[Connection, str],
) -> None:
    connection, site = books
    connection.execute(delete(audit).where(audit.c.site == site, audit.c.i <= SIGNED[0]))
    assert only(verify(connection)) == ("missing", 1, SIGNED[0])


def test_old_entries_are_cut_at_a_checkpoint_and_the_rest_holds(
    books: tuple[Connection, str],
) -> None:
    connection, site = books
    known = head(connection, site)
    heads = Heads()
    identity = read_or_make(Transaction(connection, heads, 0))
    # The second checkpoint is 400 days old, the third is not yet.
    made = connection.execute(
        select(checkpoints.c.time).where(checkpoints.c.last == SIGNED[1])
    ).scalar_one()
    tx = Transaction(connection, heads, made + 400 * DAY_MS + 1)
    assert cut(tx, site) == SIGNED[1]
    heads.flush(connection)
    assert cut(tx, site) == 0
    verdict = verify(connection, known)
    assert verdict.bad == []
    assert verdict.heads[site][0] == ENTRIES + 1
    assert [row["i"] for row in rows(connection, site)] == list(range(SIGNED[1] + 1, ENTRIES + 2))
    assert sign(tx, identity, site)[1] == ENTRIES + 1
    assert verify(connection, known).bad == []
    # All of it may be old: the entry about the cut then carries the chain on.
    tx = Transaction(connection, heads, tx.now + 500 * DAY_MS)
    assert cut(tx, site) == ENTRIES + 1 - SIGNED[1]
    heads.flush(connection)
    assert tx.audit(site, "test") == ENTRIES + 3
    heads.flush(connection)
    assert verify(connection).bad == []
    # What is older than the cut cannot be compared, and is no proof of another history.
    assert holds(connection, site, 3, bytes(32))
    assert verify(connection, known).bad == []
    connection.execute(
        update(audit).where(audit.c.site == site, audit.c.i == ENTRIES + 2).values(time=1)
    )
    assert only(verify(connection))[:2] == ("edited", ENTRIES + 2)


def test_a_gateway_that_remembers_something_else_is_heard(books: tuple[Connection, str]) -> None:
    connection, site = books
    known = rows(connection, site)
    assert all(holds(connection, site, row["i"], row["hash"]) for row in known)
    assert not holds(connection, site, ENTRIES + 1, bytes(32))
    assert not holds(connection, site, 5, known[5]["hash"])
    assert not holds(connection, "0" * 32, 1, bytes(32))


def test_nothing_is_signed_on_top_of_a_broken_chain(books: tuple[Connection, str]) -> None:
    connection, site = books
    connection.execute(
        update(audit).where(audit.c.site == site, audit.c.i == 27).values(entry="{}")
    )
    tx = Transaction(connection, Heads(), 1_900_000_000_000)
    with pytest.raises(BrokenChainError, match="27"):
        sign(tx, read_or_make(tx), site)


def test_a_checkpoint_carries_what_a_gateway_needs_to_follow_the_chain(
    books: tuple[Connection, str],
) -> None:
    connection, site = books
    public = read_or_make(Transaction(connection, Heads(), 0)).public
    found = read(connection, site, 1, ENTRIES)
    assert [body["last"] for body in found] == list(SIGNED)
    assert [body["last"] for body in read(connection, site, 8, 15)] == [15]
    before = genesis(site)
    for body in found:
        assert unb64(body["before"]) == before
        for index, entry in enumerate(body["entries"], body["first"]):
            before = chain(site, index, before, unb64(entry))
        assert unb64(body["head"]) == before
        message = signed_bytes(
            site,
            body["first"],
            body["last"],
            unb64(body["before"]),
            before,
            body["time"],
            body["generation"],
        )
        assert verified(public, message, unb64(body["signature"]))


# The running server signs by itself.


async def test_a_home_gets_checkpoints_after_a_while_and_can_ask_for_those_it_missed(
    ras: Ras, clock: MovedClock, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "SECONDS", 20.0)  # less than a silent link lives
    async with residence(ras) as place:
        home = place.home
        await ras.checkpoints.tick()
        clock.advance(10)
        await ras.checkpoints.tick()
        assert not home.audit
        assert sum(ras.checkpoints.unsigned().values()) > 0
        assert ras.checkpoints.oldest_seconds() >= 10
        clock.advance(15)
        first = await eventually(lambda: home.audit)
        assert ras.checkpoints.unsigned() == {}
        await ras.store.write(lambda tx: tx.audit(place.site, "test"))
        missed = await ras.checkpoints.sign(place.site)
        home.audit = first
        await home.request("audit.range", {"first": first[0] + 1, "last": first[0] + 50})
        await eventually(lambda: home.audit == (first[0] + 1, unb64(missed[0]["head"])))
        assert home.audit_problems == []
    with rows_of(database) as connection:
        assert verify(connection, {place.site: home.audit}).bad == []


async def test_a_checkpoint_comes_at_once_after_a_hundred_entries(
    ras: Ras, database: Database
) -> None:
    async with residence(ras) as place:
        for _ in range(service.ENTRIES):
            await ras.store.write(lambda tx: tx.audit(place.site, "test"))
        await eventually(lambda: place.home.audit)
        assert place.home.audit_problems == []


async def test_many_entries_are_signed_in_messages_that_fit(
    database: Database, clock: MovedClock, ras: Ras
) -> None:
    def many(tx: Transaction) -> str:
        site = new_site(tx)
        for _ in range(2 * service.MOST + 1):
            tx.audit(site, "test")
        return site

    site = await ras.store.write(many)
    made = await ras.checkpoints.sign(site)
    assert [body["last"] for body in made] in (
        [500, 1000, 1001],
        [],  # the server's own tick was faster
    )
    found = await ras.checkpoints.range(site, 1, 2000)
    assert [body["last"] for body in found] == [500, 1000, 1001]
    assert all(len(canonical(body)) < 60_000 for body in found)


async def test_what_an_earlier_run_left_unsigned_is_signed(
    database: Database, clock: MovedClock, start_ras: Any, settings: Any
) -> None:
    async with opened(database, clock) as store:
        site = await store.write(new_site)
        await store.write(lambda tx: tx.audit(site, "test"))
    ras = await start_ras(settings)
    assert ras.checkpoints.unsigned() == {site: 1}
    await ras.close()
    with rows_of(database) as connection:
        assert connection.execute(select(checkpoints.c.last)).scalar() == 1
        assert len(entries(connection, site)) == 1


async def test_a_site_whose_chain_is_broken_is_reported_once_and_others_are_signed(
    ras: Ras, clock: MovedClock, caplog: pytest.LogCaptureFixture
) -> None:
    sites = [await ras.store.write(new_site) for _ in range(2)]
    for site in sites:
        await ras.store.write(functools.partial(add, site))
    with ras.store.engine.connect().execution_options(**WRITER) as connection, connection.begin():
        connection.execute(update(audit).where(audit.c.site == sites[0]).values(entry="{}"))
    await ras.checkpoints.tick()
    clock.advance(service.SECONDS)
    await ras.checkpoints.tick()
    await ras.checkpoints.tick()
    assert ras.checkpoints.unsigned() == {sites[0]: 1}
    assert sum("does not hold at entry 1" in record.message for record in caplog.records) == 1


async def test_a_removed_site_leaves_nothing_to_sign(ras: Ras) -> None:
    site = await ras.store.write(new_site)
    await ras.store.write(lambda tx: tx.audit(site, "test"))
    await run(ras, "site remove", {"site": site, "yes": True})
    await ras.checkpoints.sign(site)
    assert ras.checkpoints.unsigned() == {}


async def test_the_running_server_cuts_what_is_too_old(
    ras: Ras, clock: MovedClock, database: Database
) -> None:
    site = await ras.store.write(new_site)
    for _ in range(3):
        await ras.store.write(functools.partial(add, site))
    await ras.checkpoints.sign(site)
    await ras.store.write(functools.partial(add, site))
    clock.wall(401 * 24 * 3600)
    clock.advance(service.SECONDS)

    def cut_off() -> bool:
        with rows_of(database) as connection:
            return [row["i"] for row in rows(connection, site)] == [4, 5]

    await eventually(cut_off)
    with rows_of(database) as connection:
        assert '"audit.cut"' in rows(connection, site)[1]["entry"]
        assert verify(connection).bad == []
