"""Backups: complete, readable by either database, protected, and refused when anything in them was touched."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import sqlite3
import stat
import zlib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from conftest import Database, base_of, make_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from igrs_ras import backup, recover
from igrs_ras.admin import run
from igrs_ras.backup import BackupError
from igrs_ras.control import VerbError
from igrs_ras.identity import read_or_make
from igrs_ras.recover import ReplaceError
from igrs_ras.storage.engine import FolderLock, open_engine
from igrs_ras.storage.heads import Heads
from igrs_ras.storage.migrate import SCHEMA, NewerSchemaError, prepare
from igrs_ras.storage.store import Transaction
from igrs_ras.storage.tables import events, metadata, server, sites, users
from sqlalchemy import Boolean, LargeBinary, column, insert, select, table, text
from stores import become_next_version, new_site, new_user, residence
from town import dump, rows_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings
    from postgres import PostgresCluster
    from sqlalchemy import Connection

PASSPHRASE = "a long way to the sea"


@pytest.fixture(autouse=True)
def cheap_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test has no time for 64 MiB per passphrase; the cost stands in the file's header."""
    monkeypatch.setattr(backup, "SCRYPT_N", 2**8)


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Where a backup is restored to: nothing is there yet, not even tables."""
    folder = tmp_path / "target"
    url, name = "", ""
    if request.param == "postgresql":
        cluster: PostgresCluster = request.getfixturevalue("cluster")
        name = cluster.create_database()
        url = cluster.url(name)
    folder.mkdir(mode=0o700)
    yield make_settings(Database(request.param, url, folder, name))
    if name:
        cluster.drop_database(name)


def rows_at(made: Settings) -> Any:
    return rows_of(Database("", made.database_url, made.folder))


def everything(connection: Connection) -> None:
    """One row with unusual values in every table, whatever columns it gets in time."""
    known: dict[str, Any] = {}
    for made in metadata.sorted_tables:
        row: dict[str, Any] = {}
        for field in made.columns:
            key = next(iter(field.foreign_keys), None)
            if key is not None and key.column.table.name in known:
                row[field.name] = known[key.column.table.name][key.column.name]
            elif isinstance(field.type, LargeBinary):
                row[field.name] = secrets.token_bytes(40) + b"\0\xff"
            elif isinstance(field.type, Boolean):
                row[field.name] = True
            elif field.type.python_type is int:
                row[field.name] = 1 if field.name == "id" else 2**31 - 1
            else:
                length = getattr(field.type, "length", None) or 60
                row[field.name] = (
                    "Zoë \U0001f511 'x'\n\"y\""[:length] if length > 32 else "a" * length
                )
        connection.execute(insert(made), row)
        known[made.name] = row


def write(database: Database, file: Path, passphrase: str | None = None) -> backup.Summary:
    with rows_of(database) as connection:
        return backup.write(connection, file, 1_800_000_000_000, passphrase)


@pytest.fixture
def full(database: Database) -> Database:
    with rows_of(database) as connection:
        everything(connection)
        connection.commit()
    return database


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_every_row_of_every_table_comes_back_on_either_database(
    full: Database, target: Settings, tmp_path: Path, passphrase: str | None
) -> None:
    file = tmp_path / "backup.igrs"
    summary = write(full, file, passphrase)
    assert summary.rows == dict.fromkeys(metadata.tables, 1)
    found, kept = recover.restore(target, file, passphrase)
    assert (found.rows, kept) == (summary.rows, "")
    with rows_of(full) as before, rows_at(target) as after:
        # The nonce is another one, so that the next start knows.
        assert dump(after, without={"server.boot"}) == dump(before, without={"server.boot"})
        old, new = (c.execute(select(server.c.boot)).scalar() for c in (before, after))
        assert old != new
    assert prepare(open_engine(target.database), target) is None


def test_a_backup_is_for_its_owner_only_and_replaces_nothing(
    full: Database, tmp_path: Path
) -> None:
    file = tmp_path / "backup.igrs"
    old = os.umask(0)
    try:
        write(full, file)
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        write(full, file)


def test_case_46_nothing_can_be_read_in_a_backup_with_a_passphrase(
    full: Database, tmp_path: Path
) -> None:
    with rows_of(full) as connection:
        secrets_of = [
            bytes(connection.execute(select(server.c.key)).scalar_one()),
            connection.execute(select(users.c.name)).scalar_one().encode(),
        ]
    file = tmp_path / "backup.igrs"
    write(full, file, PASSPHRASE)
    content = file.read_bytes()
    assert PASSPHRASE.encode() not in content
    assert not any(secret in content for secret in secrets_of)
    twice = tmp_path / "again.igrs"
    write(full, twice, PASSPHRASE)
    # No key or nonce is used for two files.
    assert twice.read_bytes()[300:] != content[300:]


@pytest.mark.parametrize(
    ("made", "given", "says"),
    [
        (PASSPHRASE, None, "has a passphrase"),
        (PASSPHRASE, PASSPHRASE + "!", "wrong"),
        (None, PASSPHRASE, "has no passphrase"),
    ],
)
def test_the_passphrase_must_be_the_right_one(
    full: Database, tmp_path: Path, made: str | None, given: str | None, says: str
) -> None:
    file = tmp_path / "backup.igrs"
    write(full, file, made)
    with pytest.raises(BackupError, match=says):
        backup.check(file, given)


def test_a_passphrase_that_protects_nothing_is_refused(full: Database, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="at least 8"):
        write(full, tmp_path / "backup.igrs", "short")
    assert not (tmp_path / "backup.igrs").exists()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_a_backup_that_was_touched_anywhere_is_refused(
    full: Database, tmp_path: Path, passphrase: str | None
) -> None:
    with rows_of(full) as connection:
        # Two chunks at least.
        connection.execute(
            insert(users),
            [
                {"id": secrets.token_hex(16), "name": secrets.token_hex(40), "created": 1}
                for _ in range(2500)
            ],
        )
        connection.commit()
    file = tmp_path / "backup.igrs"
    write(full, file, passphrase)
    content = file.read_bytes()
    assert len(content) > 2 * backup.CHUNK

    @settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        at=st.integers(0, len(content) - 1),
        bit=st.integers(0, 7),
        how=st.sampled_from(["flip", "cut", "add", "drop"]),
    )
    def touched(at: int, bit: int, how: str) -> None:
        changed = {
            "flip": content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :],
            "cut": content[:at],
            "add": content + content[at:],
            "drop": content[:at] + content[at + 1 :],
        }[how]
        other = tmp_path / "touched.igrs"
        other.write_bytes(changed)
        with pytest.raises(BackupError):
            backup.check(other, passphrase)

    touched()
    # The chunks changed places.
    start = len(backup.MAGIC) + 4 + int.from_bytes(content[8:12])
    length = 4 + int.from_bytes(content[start : start + 4])
    one, two = content[start : start + length], content[start + length : start + 2 * length]
    file.write_bytes(content[:start] + two + one + content[start + 2 * length :])
    with pytest.raises(BackupError):
        backup.check(file, passphrase)


def test_a_header_cannot_ask_for_all_memory(full: Database, tmp_path: Path) -> None:
    file = tmp_path / "backup.igrs"
    write(full, file, PASSPHRASE)
    content = file.read_bytes()
    length = int.from_bytes(content[8:12])
    header = content[12 : 12 + length].replace(b'"n":256', b'"n":1073741824')
    file.write_bytes(content[:8] + len(header).to_bytes(4) + header + content[12 + length :])
    with pytest.raises(BackupError, match="memory"):
        backup.check(file, PASSPHRASE)


# Replacing.


@pytest.fixture
def in_use(target: Settings) -> Settings:
    """A target that is somebody's server."""
    with_lock = FolderLock(target.folder)
    engine = open_engine(target.database)
    prepare(engine, target)
    with engine.begin() as connection:
        tx = Transaction(connection, Heads(), 1)
        read_or_make(tx)
        new_site(tx, "the old one")
    engine.dispose()
    with_lock.release()
    return target


def test_a_database_in_use_is_replaced_only_on_demand_and_kept(
    full: Database, in_use: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "backup.igrs"
    write(full, file)
    with rows_at(in_use) as connection:
        before = dump(connection)
    with pytest.raises(ReplaceError, match="--force"):
        recover.restore(in_use, file)
    with rows_at(in_use) as connection:
        assert dump(connection) == before
    _, kept = recover.restore(in_use, file, force=True)
    with rows_of(full) as old, rows_at(in_use) as new:
        assert dump(new, without={"server"}) == dump(old, without={"server"})
    if in_use.database_url:
        with rows_at(in_use) as connection:
            found = connection.execute(select(table("sites", column("name"), schema=kept)))
            assert found.scalars().all() == ["the old one"]
    else:
        path = in_use.folder / kept
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with sqlite3.connect(path) as replaced:
            assert replaced.execute("SELECT name FROM sites").fetchall() == [("the old one",)]
    # And once more: nothing of the first replacing stands in the way.
    _, again = recover.restore(in_use, file, force=True)
    assert again != kept


@pytest.mark.parametrize(
    "cost",
    [(2**20, 8, 1), (2**16, 2**20, 1), (2**16, 8, 2**20), (-(2**40), -8, 1), (0, 0, 0), (3, 8, 1)],
)
def test_a_header_that_asks_for_too_much_is_refused_before_the_work_begins(
    tmp_path: Path, cost: tuple[int, int, int]
) -> None:
    file = tmp_path / "costly.igrs"
    encryption = backup.Encryption(bytes(16), bytes(7), *cost)
    written = msgspec.json.encode(backup.Header(SCHEMA, 0, encryption=encryption))
    file.write_bytes(backup.MAGIC + len(written).to_bytes(4) + written)
    with pytest.raises(BackupError, match="header"):
        backup.check(file, PASSPHRASE)


@pytest.mark.parametrize(
    "record",
    [
        3, [], ["sites"], [7, [], []], ["sites", 7, []], ["sites", [7], []], ["sites", [], 7], ["sites", ["id"], [7]],
        ["sites", ["id"], [["a", "b"]]], ["sites", ["id"], [{}]], [["sites"], [], []], ["", [], b""], ["", {"sites": "x"}, b""],
    ],
)  # fmt: skip
@pytest.mark.parametrize("target", ["sqlite"], indirect=True)
def test_records_that_nobody_wrote_are_damage_and_no_fault(
    target: Settings, tmp_path: Path, record: Any
) -> None:
    file = tmp_path / "forged.igrs"
    written = msgspec.json.encode(backup.Header(SCHEMA, 0))
    head = backup.MAGIC + len(written).to_bytes(4) + written
    data = msgspec.msgpack.encode(record)
    framed = len(data).to_bytes(4) + data
    end = msgspec.msgpack.encode(["", {"sites": 1}, hashlib.sha256(head + framed).digest()])
    zipped = zlib.compress(framed + len(end).to_bytes(4) + end)
    file.write_bytes(head + (len(zipped) | backup.LAST).to_bytes(4) + zipped)
    with pytest.raises(BackupError):
        recover.restore(target, file)


def test_a_backup_that_is_damaged_at_its_end_changes_nothing(
    full: Database, in_use: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "backup.igrs"
    write(full, file)
    file.write_bytes(file.read_bytes()[:-20])
    with rows_at(in_use) as connection:
        before = dump(connection)
    with pytest.raises(BackupError):
        recover.restore(in_use, file, force=True)
    with rows_at(in_use) as connection:
        assert dump(connection) == before
    assert list(in_use.folder.glob("*.new*")) == []
    assert list(in_use.folder.glob("*replaced*")) == []


@pytest.mark.parametrize("target", ["sqlite"], indirect=True)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_damaged_database_is_replaced_and_kept_as_it_is(
    full: Database, target: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "backup.igrs"
    write(full, file)
    path = target.folder / "ras.sqlite3"
    path.write_bytes(b"SQLite format 3\0" + b"nonsense" * 600)
    (target.folder / "ras.sqlite3-wal").write_bytes(b"a log of that")
    with pytest.raises(ReplaceError):
        recover.restore(target, file)
    _, kept = recover.restore(target, file, force=True)
    assert (target.folder / kept).read_bytes().endswith(b"nonsense")
    # The old log must never be taken for the new database's.
    assert not (target.folder / "ras.sqlite3-wal").exists()
    with rows_at(target) as connection:
        assert connection.execute(select(sites.c.id)).scalar() is not None


def test_a_backup_of_an_older_version_is_migrated_and_one_of_a_newer_refused(
    full: Database,
    target: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    older, newer = tmp_path / "older.igrs", tmp_path / "newer.igrs"
    write(full, older)
    source = make_settings(full)
    with monkeypatch.context() as later:
        become_next_version(tmp_path, later)
        engine = open_engine(source.database)
        prepare(engine, source)
        engine.dispose()
        assert write(full, newer).header.schema == "0002"
    with pytest.raises(NewerSchemaError):
        recover.restore(target, newer)
    assert list(target.folder.glob("*")) == []

    become_next_version(tmp_path, monkeypatch)
    for file in (older, newer):
        recover.restore(target, file, force=True)
        with rows_at(target) as connection:
            assert connection.execute(text("SELECT zone FROM sites")).scalar() == "UTC"


# Of a running server.


async def test_a_running_server_is_backed_up_as_of_one_moment(
    ras: Ras, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written while the backup runs is in it as a whole or not at all."""
    site = await ras.store.write(new_site)
    begun: list[bool] = []
    original = backup._write_records

    loop = asyncio.get_running_loop()

    def late(tx: Transaction) -> None:
        tx.audit(site, "late")
        tx.push(f"gateway:{site}", "late", {})

    def slow(connection: Connection, *rest: Any) -> None:
        connection.execute(select(sites)).all()  # the moment
        asyncio.run_coroutine_threadsafe(ras.store.write(late), loop).result(10)
        begun.append(True)
        original(connection, *rest)

    monkeypatch.setattr(backup, "_write_records", slow)
    file = tmp_path / "backup.igrs"
    made = await run(ras, "backup", {"file": str(file)})
    assert begun == [True]
    assert made["encrypted"] is False
    rows = backup.check(file).rows
    assert (rows["sites"], rows["audit"], rows["events"]) == (1, 0, 0)
    assert (
        await ras.store.read(lambda connection: len(connection.execute(select(events)).all())) == 1
    )


async def test_a_backup_replaces_a_file_only_on_demand_and_leaves_no_half_one(
    ras: Ras, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "backup.igrs"
    await run(ras, "backup", {"file": str(file)})
    with pytest.raises(VerbError, match="--replace"):
        await run(ras, "backup", {"file": str(file)})
    with pytest.raises(VerbError, match="at least"):
        await run(ras, "backup", {"file": str(tmp_path / "other"), "passphrase": "short"})
    with pytest.raises(VerbError, match="cannot be written"):
        await run(ras, "backup", {"file": str(tmp_path / "no" / "folder")})
    await ras.store.write(new_user)
    made = await run(ras, "backup", {"file": str(file), "replace": True, "passphrase": PASSPHRASE})
    assert made["encrypted"] is True
    assert backup.check(file, PASSPHRASE).rows["users"] == 1

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "_write_records", full)
    with pytest.raises(VerbError, match="No space left"):
        await run(ras, "backup", {"file": str(file), "replace": True})
    assert len(list(tmp_path.glob("*backup*"))) == 1  # noqa: ASYNC240  nothing else runs
    assert backup.check(file, PASSPHRASE).rows["users"] == 1


async def test_case_16_a_restored_backup_lets_in_only_whom_the_home_still_knows(
    ras: Ras,
    database: Database,
    settings: Settings,
    start_ras: Callable[[Settings], Awaitable[Ras]],
    tmp_path: Path,
) -> None:
    async with residence(ras) as place:
        file = tmp_path / "backup.igrs"
        await run(ras, "backup", {"file": str(file)})
        await place.home.request("member.end", {"user": place.member.user})
        del place.home.members[place.member.user]
        await ras.close()
        _, kept = recover.restore(settings, file, force=True)
        assert kept
        ras = await start_ras(settings)
        assert ras.boot.restored_at_start
        place.home.url = place.home.http.base = base_of(ras)
        data = await run(ras, "site show", {"site": place.site})
        assert data["state"].startswith("waits")
        assert len(data["members"]) == 2
        await place.home.connect()
        assert place.home.restored
        data = await run(ras, "site show", {"site": place.site})
        assert data["state"] == "active"
        assert [member["user"] for member in data["members"]] == [place.owner.user]
