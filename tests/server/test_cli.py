"""The command line: the same verbs through a running server and without one, one clear line for every error."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from certificate import make_certificate
from conftest import Database, eventually, make_settings
from hypothesis import given
from hypothesis import strategies as st
from igrs_ras import backup, cli, codes, output
from igrs_ras.admin import run
from igrs_ras.storage.engine import FolderLock, open_engine
from igrs_ras.storage.migrate import prepare
from igrs_ras.storage.tables import audit, enrolments
from process import Server
from sqlalchemy import select, update
from stores import become_next_version, new_site, residence
from town import PASSWORD, dump, rows_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from conftest import Api
    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings

PASSPHRASE = "a long way to the sea"
HOUR_MS = 3600 * 1000

type Cli = Callable[..., Awaitable[Outcome]]


class Outcome:
    """What the command said."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def data(self) -> Any:
        assert self.status in (0, 5), self.err
        assert self.err == ""
        return json.loads(self.out)

    def failed(self, status: int, *says: str) -> None:
        """Check that it is one line that says so."""
        assert (self.status, self.out) == (status, ""), self.err
        assert self.err.startswith("igrs-ras: ")
        assert self.err.count("\n") == 1
        assert self.err.endswith("\n")
        for text in says:
            assert text in self.err


@pytest.fixture
def environment(database: Database, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The settings of the command, as an operator gives them."""
    for name in list(os.environ):
        if name.startswith("IGRS_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(backup, "SCRYPT_N", 2**8)  # a test has no time for 64 MiB per passphrase
    monkeypatch.setenv("IGRS_RAS_DATA", str(database.folder))
    monkeypatch.setenv("IGRS_RAS_LISTEN", "")
    monkeypatch.setenv("IGRS_RAS_METRICS_LISTEN", "")
    if database.url:
        monkeypatch.setenv("IGRS_RAS_DATABASE_URL", database.url)
    return monkeypatch


@pytest.fixture
def command(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """Run a command in this process, in a thread, as a running server is in the same."""
    mask = os.umask(0o022)

    async def call(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        status = await asyncio.to_thread(cli.main, [str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Outcome(status, said.out, said.err)

    yield call
    os.umask(mask)


# Usage.


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "arguments",
    [
        [], ["nonsense"], ["user"], ["user", "show"], ["gateway", "code"], ["site", "rename", "x"],
        ["gateway", "code", "--new-site", "a", "--site", "b"], ["stat"], ["user", "list", "--js"],
        ["audit", "show", "x", "--last", "0"], ["audit", "show", "x", "--last", "ten"],
        ["backup", "file", "--passphrase", "secret"], ["backup"], ["restore"], ["config"],
    ],
)  # fmt: skip
async def test_wrong_usage_is_one_line_and_status_2(command: Cli, arguments: list[str]) -> None:
    (await command(*arguments)).failed(2, "--help")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_wrong_settings_are_one_line_and_status_2(
    command: Cli, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("IGRS_RAS_LISTEN", "0.0.0.0:8443")
    (await command("config", "check")).failed(2, "TLS")
    environment.setenv("IGRS_RAS_LISTEN", "")
    environment.setenv("IGRS_RAS_SMTP_PASWORD", "hunter2")
    said = await command("status")
    said.failed(2, "IGRS_RAS_SMTP_PASWORD")
    assert "hunter2" not in said.err
    environment.delenv("IGRS_RAS_SMTP_PASWORD")
    (await command("--config", tmp_path / "none.toml", "status")).failed(2, "none.toml")
    file = tmp_path / "settings.toml"
    for wrong, *told in (
        ('log_level = "hunter2"', "log_level must be one of debug, info, warning, error"),
        ('sockets = "hunter2"', "sockets must be a number"),
        ('allowed_origins = "hunter2"', "allowed_origins must be a list"),
        ('smtp_pasword = "hunter2"', "smtp_pasword is no setting", "smtp_password meant"),
        ('hunter = "hunter2"', "hunter is no setting", "docs/ras-operators.md"),
        ('\nname = "hunter2', "settings.toml", "TOML", "line 2"),
    ):
        file.write_text(wrong)
        said = await command("--config", file, "config", "check")
        said.failed(2, *told)
        assert "hunter2" not in said.err
    file.write_text('name = "Named"\n')
    assert (await command("--config", file, "config", "check")).status == 0


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_help_names_every_verb(command: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    for verb in ("serve", "migrate", "status", "user", "site", "gateway", "backup", "restore"):
        assert verb in said


# The same answers with and without a server.


async def test_a_running_server_and_a_stopped_one_say_the_same(
    ras: Ras, command: Cli, database: Database
) -> None:
    async with residence(ras) as place:
        member = place.member.user
        calls = [
            ("user", "list"), ("user", "show", member), ("user", "show", place.email),
            ("site", "list"), ("site", "show", place.site), ("gateway", "list"),
            ("audit", "show", place.site, "--last", "5"),
        ]  # fmt: skip
        await ras.checkpoints.sign(place.site)
        assert (await command("status", "--json")).data["gateways_online"] == 1
        live = [(await command(*call, "--json")).data for call in calls]
        await ras.close()
        assert not (database.folder / "control").exists()
        alone = [(await command("--json", *call)).data for call in calls]
    for one, other in zip(live, alone, strict=True):
        for row in (*one.get("sites", []), *one.get("gateways", []), one):
            if isinstance(row, dict) and "online" in row:
                assert row.pop("online") is True
        for row in (*other.get("sites", []), *other.get("gateways", []), other):
            if isinstance(row, dict) and "online" in row:
                assert row.pop("online") is False
        assert one == other
    found = (await command("status", "--json")).data
    assert (found["running"], found["sites"], found["users"]) == (False, 1, 2)
    text = (await command("user", "list")).out
    assert place.email in text
    assert " UTC" in text
    assert "igrs-ras" not in (await command("site", "list")).err


async def test_a_verb_needs_a_database_that_is_there(
    database: Database, command: Cli, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("IGRS_RAS_DATA", str(tmp_path / "elsewhere"))
    if database.url:
        environment.setenv("IGRS_RAS_DATABASE_URL", database.url + "&dbname=nowhere")
    for call in (("user", "list"), ("status",), ("audit", "verify")):
        (await command(*call)).failed(4)
    assert not (tmp_path / "elsewhere" / "ras.sqlite3").exists()


async def test_a_folder_in_use_without_an_answering_server_is_status_4(
    command: Cli, database: Database, tmp_path: Path
) -> None:
    lock = FolderLock(database.folder)
    file = tmp_path / "backup"
    with rows_of(database) as connection:
        connection.execute(select(enrolments))
    for call in (("user", "list"), ("migrate",), ("audit", "verify")):
        (await command(*call)).failed(4, "another igrs-ras", "stop it first")
    file.write_bytes(b"")
    (await command("restore", file)).failed(4)
    lock.release()
    assert (await command("user", "list")).status == 0


# Gateways, sites, people.


async def test_a_code_is_for_one_hour_and_the_latest_one_counts(
    ras: Ras, command: Cli, database: Database
) -> None:
    first = (await command("gateway", "code", "--new-site", "Lake house", "--json")).data
    assert first["name"] == "Lake house"
    assert len(codes.read(first["code"])) == codes.BYTES
    second = (await command("gateway", "code", "--site", first["site"], "--local", "--json")).data
    assert (second["site"], second["local"]) == (first["site"], True)
    with rows_of(database) as connection:
        row = connection.execute(select(enrolments)).one()
    assert row.local
    assert row.expires - row.created == HOUR_MS
    assert second["code"].encode() not in bytes(row.hash)
    said = (await command("gateway", "code", "--new-site", "Other")).out
    assert ras.identity.fingerprint in said
    assert "within an hour" in said
    (await command("gateway", "code", "--site", "0" * 32)).failed(3, "site list")
    (await command("gateway", "code", "--new-site", "")).failed(3)


async def test_a_gateway_is_revoked_and_another_takes_its_place(ras: Ras, command: Cli) -> None:
    async with residence(ras) as place:
        found = (await command("gateway", "list", "--json")).data["gateways"]
        assert [(row["id"], row["online"]) for row in found] == [(place.home.gateway, True)]
        assert (await command("gateway", "revoke", place.home.gateway, "--json")).data["revoked"]
        await eventually(lambda: not place.home.connected)
        found = (await command("gateway", "list", "--json")).data["gateways"]
        assert found[0]["revoked"] is not None
        assert not found[0]["online"]
        (await command("gateway", "revoke", place.home.gateway)).failed(3, "gateway list")
        made = (await command("gateway", "code", "--site", place.site, "--json")).data
        await place.home.enrol(made["code"])
        await place.home.connect()
        assert place.home.site == place.site


async def test_a_site_is_renamed_and_removed(ras: Ras, command: Cli) -> None:
    async with residence(ras) as place:
        renamed = await command("site", "rename", place.site, "Attic", "--json")
        assert renamed.data["name"] == "Attic"
        assert (await command("site", "show", place.site, "--json")).data["name"] == "Attic"
        (await command("site", "rename", place.site, "x" * 101)).failed(3)
        (await command("site", "remove", place.site)).failed(3, "--yes", "audit")
        assert (await command("site", "remove", place.site, "--yes", "--json")).data["removed"]
        await eventually(lambda: not place.home.connected)
        (await command("site", "show", place.site)).failed(3, "site list")
        assert (await command("site", "list", "--json")).data == {"sites": []}
        assert (await command("site", "list")).out == "none\n"
        # The writer still works for everybody else.
        assert (await command("gateway", "code", "--new-site", "Next")).status == 0


async def test_a_persons_sessions_end_at_once(ras: Ras, command: Cli) -> None:
    async with residence(ras) as place:
        shown = (await command("user", "show", place.email, "--json")).data
        assert shown["sites"][0]["role"] == "owner"
        assert not any("hash" in row or "token" in row for row in shown["sessions"])
        ended = (await command("user", "end-sessions", place.email, "--json")).data
        assert ended["ended"] == len(shown["sessions"]) > 0
        await eventually(place.owner.peer.closed.done)
        assert (await command("user", "show", place.email, "--json")).data["sessions"] == []


async def test_an_operators_code_sets_a_new_password_once(ras: Ras, command: Cli, api: Api) -> None:
    async with residence(ras) as place:
        made = (await command("user", "password-reset", place.email, "--json")).data
        body = {"email": place.email, "code": made["code"], "password": "another long password"}
        assert (await api("POST", "/api/v1/resets/done", body)).status == 0
        assert (await api("POST", "/api/v1/resets/done", body)).status == 14
        again = {"email": place.email, "password": PASSWORD, "kind": "bearer"}
        assert (await api("POST", "/api/v1/sessions", again)).status == 12
        signed = await api("POST", "/api/v1/sessions", again | {"password": body["password"]})
        assert signed.status == 0
        (await command("user", "password-reset", place.member.user)).failed(3, "no e-mail address")


async def test_a_user_is_deleted_and_the_home_is_told(ras: Ras, command: Cli) -> None:
    async with residence(ras) as place:
        user = place.member.user
        (await command("user", "delete", user)).failed(3, "--yes")
        assert (await command("user", "delete", user, "--yes", "--json")).data["deleted"]
        await eventually(lambda: any(event["type"] == "member.left" for event in place.home.events))
        (await command("user", "show", user)).failed(3, "user list")
        (await command("user", "show", "nobody@example.org")).failed(3)
        (await command("user", "show", "no body")).failed(2, "e-mail")


# Backup, restore.


async def test_a_backup_through_the_command_line_comes_back(
    ras: Ras, command: Cli, environment: pytest.MonkeyPatch, tmp_path: Path, database: Database
) -> None:
    site = await ras.store.write(new_site)
    file, secret = tmp_path / "backup.igrs", tmp_path / "passphrase"
    secret.write_text(PASSPHRASE + "\n")
    environment.chdir(tmp_path)
    made = (await command("backup", "backup.igrs", "--passphrase-file", secret, "--json")).data
    assert (made["file"], made["encrypted"]) == (str(file), True)
    assert backup.check(file, PASSPHRASE).rows["sites"] == 1
    (await command("backup", file)).failed(3, "--replace")
    (await command("backup", file, "--replace", "--passphrase-file", "none")).failed(2, "none")
    (await command("restore", file, "--passphrase-file", secret)).failed(4, "another igrs-ras")
    await ras.close()
    (await command("restore", file, "--passphrase-file", secret)).failed(3, "--force")
    (await command("restore", file, "--force")).failed(3, "--passphrase-file")
    (await command("restore", tmp_path / "none", "--force")).failed(3, "none")
    environment.setenv(cli.VARIABLE, "wrong passphrase")
    (await command("restore", file, "--force")).failed(3, "passphrase is wrong")
    environment.setenv(cli.VARIABLE, PASSPHRASE)
    done = (await command("restore", file, "--force", "--json")).data
    assert done["replaced"]
    assert "gateway revoke" in done["next"]
    environment.delenv(cli.VARIABLE)
    sites = (await command("site", "list", "--json")).data["sites"]
    assert [(row["id"], row["state"]) for row in sites] == [
        (site, "waits for its home after a restore")
    ]
    (await command("restore", secret)).failed(3, "no backup")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("text", ["", "\n", "two\nlines\n"])
async def test_a_passphrase_is_one_line(command: Cli, tmp_path: Path, text: str) -> None:
    file = tmp_path / "passphrase"
    file.write_text(text)
    (await command("backup", tmp_path / "b", "--passphrase-file", file)).failed(2, "one line")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_passphrase_may_come_from_standard_input(
    database: Database, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "backup.igrs"
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "igrs_ras", "backup", str(file), "--passphrase-file", "-"],
        input=f"{PASSPHRASE}\n", text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert backup.check(file, PASSPHRASE).header.encryption is not None
    assert PASSPHRASE not in done.stdout


# Audit.


async def test_a_broken_audit_is_status_5_wherever_it_is_checked(
    ras: Ras, command: Cli, database: Database, tmp_path: Path
) -> None:
    site = await ras.store.write(new_site)
    for number in range(
        5
    ):  # each another text, or two of one millisecond could be taken for each other
        await ras.store.write(lambda tx, number=number: tx.audit(site, "test", code=number))  # type: ignore[misc]
    head = (await ras.checkpoints.sign(site))[0]
    good = await command("audit", "verify", "--json")
    assert (good.status, good.data["holds"], good.data["entries"]) == (0, True, 5)
    digest = good.data["heads"][site]["hash"]
    assert (await command("audit", "verify", "--site", site, "--head", f"5:{digest}")).status == 0
    ahead = await command("audit", "verify", "--site", site, "--head", f"9:{digest}", "--json")
    assert (ahead.status, ahead.data["bad"][0]["kind"]) == (5, "truncated")
    (await command("audit", "verify", "--head", f"5:{digest}")).failed(2, "--site")
    (await command("audit", "verify", "--site", site, "--head", "5:ff")).failed(2, "--head")
    (await command("audit", "verify", "--site", "0" * 32)).failed(3, "site list")
    assert len(head["entries"]) == 5
    whole = tmp_path / "whole.igrs"
    assert (await command("backup", whole)).status == 0
    assert (await command("audit", "verify", "--file", whole)).status == 0

    with rows_of(database) as connection:
        connection.execute(update(audit).where(audit.c.i == 3).values(entry="{}"))
        connection.commit()
    expected = [{"site": site, "index": 3, "last": 3, "kind": "edited"}]
    live = await command("audit", "verify", "--json")
    assert (live.status, live.data["bad"]) == (5, expected)
    text = await command("audit", "verify")
    assert text.status == 5
    assert "edited" in text.out
    broken = tmp_path / "broken.igrs"
    assert (await command("backup", broken)).status == 0
    await ras.close()
    with rows_of(database) as connection:
        before = dump(connection)
    stopped = await command("audit", "verify", "--json")
    assert (stopped.status, stopped.data["bad"]) == (5, expected)
    with rows_of(database) as connection:
        assert dump(connection) == before  # looking changes nothing
    of_file = await command("audit", "verify", "--file", broken, "--json")
    assert (of_file.status, of_file.data["bad"]) == (5, expected)
    (await command("audit", "verify", "--file", tmp_path / "none")).failed(3, "none")
    if database.kind == "sqlite":
        copied = shutil.copy(database.folder / "ras.sqlite3", tmp_path / "copy.sqlite3")
        of_copy = await command("audit", "verify", "--file", copied, "--json")
        assert (of_copy.status, of_copy.data["bad"]) == (5, expected)
        assert not (tmp_path / "copy.sqlite3-wal").exists()


# The server itself.


async def test_migrate_makes_and_changes_the_tables_once(
    database: Database,
    settings: Settings,
    command: Cli,
    environment: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    assert (await command("migrate", "--json")).data == {"schema": "0001", "before": "0001"}
    with environment.context() as later:
        become_next_version(tmp_path, later)
        prepare(open_engine(settings.database), settings)
    (await command("migrate")).failed(3, "newer igrs-ras", "update")
    (await command("status")).failed(3, "newer igrs-ras")
    if database.kind == "sqlite":
        (database.folder / "ras.sqlite3").unlink()
        assert (await command("config", "check", "--json")).data["database"] == "not made yet"
        assert (await command("migrate", "--json")).data == {"schema": "0001", "before": None}
        assert (await command("config", "check", "--json")).data["database"] == "right"


async def test_config_check_tells_what_would_stop_the_server(
    database: Database, command: Cli, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert (await command("config", "check", "--json")).data == {
        "settings": "right",
        "database": "right",
    }
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    environment.setenv("IGRS_RAS_CERTFILE", str(bad))
    environment.setenv("IGRS_RAS_KEYFILE", str(bad))
    (await command("config", "check")).failed(2, "certificate")
    chain, key = make_certificate(tmp_path)
    environment.setenv("IGRS_RAS_CERTFILE", str(chain))
    environment.setenv("IGRS_RAS_KEYFILE", str(key))
    said = await command("config", "check", "--json")
    assert said.data["certificate"].startswith("right until 20")
    make_certificate(tmp_path, days=-1)
    (await command("config", "check")).failed(2, "certificate ended on", "renew")
    environment.delenv("IGRS_RAS_CERTFILE")
    environment.delenv("IGRS_RAS_KEYFILE")
    with environment.context() as elsewhere:
        elsewhere.setenv("IGRS_RAS_DATA", str(bad))
        (await command("config", "check")).failed(4, str(bad), "check the setting")
        shared = tmp_path / "shared"
        shared.mkdir()
        shared.chmod(0o777)
        elsewhere.setenv("IGRS_RAS_DATA", str(shared))
        for verb in (["config", "check"], ["migrate"]):
            (await command(*verb)).failed(4, str(shared), "everybody may write there")
        assert list(shared.iterdir()) == []
    environment.setenv(
        "IGRS_RAS_DATABASE_URL", "postgresql+psycopg://ada:hunter2@127.0.0.1:1/nowhere"
    )
    said = await command("config", "check")
    said.failed(4, "database_url")
    assert "hunter2" not in said.err


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_the_server_process_serves_answers_and_ends(
    database: Database,
) -> None:
    async with Server(database) as server:
        assert stat.S_IMODE((database.folder / "control").stat().st_mode) == 0o600
        assert stat.S_IMODE((database.folder / "ras.sqlite3").stat().st_mode) & 0o077 == 0
        status, data, said = await server.verb("status")
        assert (status, said) == (0, "")
        assert data["ready"] is True
        assert data["ports"]["public"] == server.port
        second = Server(database)
        second.spawn()
        assert await second.ended() == 4
        assert "another igrs-ras" in second.log()
        server.kill()
        # A killed server leaves its socket; the command does the verb by itself.
        assert (database.folder / "control").exists()
        status, data, said = await server.verb("status")
        assert (status, said, data["running"]) == (0, "", False)
        await server.start()
        assert await server.stop() == 0
        assert server.errors() == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_backup_that_home_assistant_put_back_is_taken_if_nothing_else_is_there(
    ras: Ras, database: Database, tmp_path: Path
) -> None:
    site = await ras.store.write(new_site)
    folder = tmp_path / "again"
    folder.mkdir(mode=0o700)
    await run(ras, "backup", {"file": str(folder / "backup.igrs")})
    async with Server(Database("sqlite", "", folder)) as server:
        data = (await server.verb("site", "list"))[1]
        assert [row["id"] for row in data["sites"]] == [site]
        assert data["sites"][0]["state"].startswith("waits")
        assert await server.stop() == 0
        # Now there is a database, so the next start leaves it alone.
        await server.start()
        assert await server.stop() == 0
        assert server.log().count("restored from backup.igrs") == 1
    (folder / "ras.sqlite3").unlink()
    (folder / "backup.igrs").write_bytes(b"damaged")
    damaged = Server(Database("sqlite", "", folder))
    damaged.spawn()
    assert await damaged.ended() == 3
    assert "backup.igrs" in damaged.log()
    assert not (folder / "ras.sqlite3").exists()


# The control socket.


def speak(folder: Path, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(folder / "control"))
        connection.sendall(line)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").readline()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_nonsense_on_the_control_socket_is_answered_and_does_no_harm(
    ras: Ras, database: Database, command: Cli
) -> None:
    for line in (b"\n", b"nonsense\n", b"[]\n", b'{"verb": "serve", "arguments": {}}\n', b"null\n"):
        answer = json.loads(await asyncio.to_thread(speak, database.folder, line))
        assert answer["error"]["code"] in (2, 4)
    assert await asyncio.to_thread(speak, database.folder, b"x" * 300_000 + b"\n") == b""
    assert (await command("status", "--json")).data["running"] is True


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_gets_no_answer_even_if_he_may_open_the_socket(
    ras: Ras, database: Database
) -> None:
    database.folder.chmod(0o755)
    (database.folder / "control").chmod(0o666)
    child = (
        "import os, socket, sys\n"
        "os.chdir(sys.argv[1])\n"
        "os.setuid(65534)\n"
        "connection = socket.socket(socket.AF_UNIX)\n"
        "connection.connect('control')\n"
        "try:\n"
        '    connection.sendall(b\'{"verb": "user list", "arguments": {}}\\n\')\n'
        "    print(connection.recv(1000))\n"
        "except OSError:\n"
        "    print(b'')\n"
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", child, str(database.folder)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "b''\n"


async def test_a_folder_with_a_long_name_works_too(
    tmp_path: Path,
    start_ras: Callable[[Settings], Awaitable[Ras]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    database: Database,
    command: Cli,
) -> None:
    folder = tmp_path / ("deep" * 20) / ("deeper" * 10)
    folder.mkdir(parents=True, mode=0o700)
    await start_ras(make_settings(database, data=str(folder)))
    monkeypatch.setenv("IGRS_RAS_DATA", str(folder))
    assert (await command("status", "--json")).data["running"] is True


# What people read.


@given(st.text())
def test_no_name_can_steer_the_terminal(text: str) -> None:
    shown = output._plain(text)
    assert all(character.isprintable() for character in shown)
    if text.isprintable():
        assert shown == text


def test_tables_and_lines_are_readable(capsys: pytest.CaptureFixture[str]) -> None:
    output.show(
        {
            "name": "evil\x1b[2J\u202e",
            "none": None,
            "ready": True,
            "created": 1_800_000_000_000,
            "ports": {"public": 8443},
            "locks": ["A", "B"],
            "rows": [{"id": "x", "seen": None}, {"id": "longer", "seen": 0}],
            "next": "Do this.",
        }
    )
    assert capsys.readouterr().out.splitlines() == [
        "name: evil\\x1b[2J\\u202e",
        "none: -",
        "ready: yes",
        "created: 2027-01-15 08:00:00 UTC",
        "ports public: 8443",
        "locks: A, B",
        "",
        "rows:",
        "id      seen",
        "x       -",
        "longer  1970-01-01 00:00:00 UTC",
        "",
        "Do this.",
    ]


def test_a_time_that_is_none_is_shown_as_it_is() -> None:
    assert output._time(2**80) == str(2**80)


def test_what_few_rows_of_a_wide_table_have_stands_with_its_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rare = {f"rare_{number}": number for number in range(output.WIDE)}
    output.show({"entries": [{"index": 1, "what": "one"} | rare, {"index": 2, "what": "two"}]})
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.split() == ["index", "what", "more"]
    assert second.endswith("rare_0 0, rare_1 1, rare_2 2, rare_3 3, rare_4 4, rare_5 5, rare_6 6, rare_7 7")  # fmt: skip
    assert third.split() == ["2", "two"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_who_reads_only_the_beginning_gets_no_traceback(environment: pytest.MonkeyPatch) -> None:
    del environment  # whose variables the process gets
    reading, writing = os.pipe()
    os.close(reading)
    try:
        said = subprocess.run(
            [sys.executable, "-m", "igrs_ras", "status"],
            stdout=writing, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (said.returncode, said.stderr) == (0, b"")
