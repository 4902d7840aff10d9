"""docs/ras-quick-start.md: its commands are run as they stand, in order, in one shell, against a real server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from process import free_port

if TYPE_CHECKING:
    from postgres import PostgresCluster

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/ras-quick-start.md").read_text("utf-8")
SECONDS = 240  # after which what was printed is compared anyway

# What differs from one run to the next. The first that fits is taken; the order matters.
FORMS = (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "<time>"),
    (r"\b[0-9a-f]{64}\b", "<hash>"),
    (r"\b[0-9a-f]{32}\b", "<id>"),
    (r"\b(?:[0-9a-f]{4} ){4}[0-9a-f]{4}\b", "<fingerprint>"),
    (r"\b[0-9A-HJKMNP-TV-Z]{4}(?:-[0-9A-HJKMNP-TV-Z]{4}){3}\b", "<code>"),
    (r"\bu_[\w-]{43}(?![\w-])", "<token>"),
    (r"\"[\w-]{43}\"", '"<device>"'),
    (r"\b[A-Z2-7]{32}\b", "<secret>"),
    (r"\b[0-9A-HJKMNP-TV-Z]{26}\b", "<ulid>"),
    (r"[A-Za-z0-9+/]{14,}={1,2}", "<base64>"),
    (r"127\.0\.0\.1:\d+", "<address>"),
    (r"(?<= )/\S*/ras-hour", "<folder>"),
    (r"\b\d{10,}\b", "<number>"),
    (r"^(size|rows): \d+$", r"\1: <number>"),
    (r"\s+", " "),
)

ON_POSTGRESQL = (
    ("database: not made yet", "database: empty"),
    ("keeps it beside", "keeps it in a schema of its own"),
)


@dataclass(frozen=True)
class Block:
    """Commands of the page and what it says that they print."""

    commands: str
    printed: str


def blocks() -> list[Block]:
    """All `sh` blocks with the block of output that follows before the next heading or commands."""
    found: list[Block] = []
    for kind, body in re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE):
        if kind == "sh":
            found.append(Block(body, ""))
        else:
            assert kind in ("text", "json"), kind
            assert not found[-1].printed, "one block of output for each block of commands"
            found[-1] = Block(found[-1].commands, body)
    return found


def in_form(text: str) -> list[str]:
    """The lines with what differs between runs named instead."""
    lines = []
    for line in text.splitlines():
        formed = line
        for pattern, name in FORMS:
            formed = re.sub(pattern, name, formed)
        lines.append(formed.strip())
    return lines


def pattern_of(line: str) -> str:
    """A line of the page as a regular expression: … stands for anything."""
    return ".*".join(re.escape(part) for part in line.split("…"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """What stands in IGRS_RAS_DATABASE_URL: nothing, or an empty database."""
    if request.param == "sqlite":
        return ""
    cluster: PostgresCluster = request.getfixturevalue("cluster")
    return cluster.url(cluster.create_database())


def test_the_page_begins_with_what_a_machine_needs() -> None:
    first = blocks()[0].commands.splitlines()
    readme = (ROOT / "README.md").read_text("utf-8")
    assert first[0] in readme, "the same address as for everybody"
    command, *options = first[1].split()
    assert os.access(ROOT / command, os.X_OK)
    assert all(option in (ROOT / command).read_text("utf-8") for option in options)


@pytest.mark.timeout(SECONDS + 60)
def test_every_command_of_the_page_prints_what_it_shows(database_url: str, tmp_path: Path) -> None:
    page = blocks()[1:]
    home = tmp_path / "you"
    home.mkdir()
    script = tmp_path / "page.sh"
    script.write_text(
        "\n".join(
            f"{{\n{block.commands}}} >'{tmp_path}/{number}' 2>&1"
            for number, block in enumerate(page)
        )
    )
    environment = {
        # Not counted in the coverage: it would cost half of the time of these many small processes.
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("IGRS_RAS_", "COVERAGE_"))
        },
        "HOME": str(home),
        "IGRS_RAS_LISTEN": f"127.0.0.1:{free_port()}",
        **({"IGRS_RAS_DATABASE_URL": database_url} if database_url else {}),
    }
    shell = subprocess.Popen(
        ["bash", str(script)], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    said, ended = "", True
    try:
        said, _ = shell.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        ended = False  # what it printed until then says more
    finally:
        try:
            os.killpg(shell.pid, signal.SIGKILL)
            left = True
        except ProcessLookupError:
            left = False
        shell.wait()
    assert said == ""
    for number, block in enumerate(page):
        shown = block.printed
        for sqlite, postgresql in ON_POSTGRESQL if database_url else ():
            shown = shown.replace(sqlite, postgresql)
        output = tmp_path / str(number)
        printed = output.read_text("utf-8") if output.exists() else "nothing: it was not reached"
        expected, got = in_form(shown), in_form(printed)
        where = f"{block.commands}\nprinted\n{printed}"
        assert len(got) == len(expected), where
        for want, have in zip(expected, got, strict=True):
            assert re.fullmatch(pattern_of(want), have), f"{where}\nnot: {want}"
    assert ended, "its end"
    assert not left, "a process goes on"
    assert list(home.iterdir()) == [], "nothing is left behind"
