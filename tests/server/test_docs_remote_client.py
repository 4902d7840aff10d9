"""docs/remote-client.md: its commands are run as they stand, its program too, and its tables are those of the code."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rac
from igrs_rac import client, connected, conversation, errors, socket, state
from igrs_rac import relay as relays
from igrs_rac.errors import ClosedError, tables
from process import free_port
from test_quick_start import in_form, pattern_of

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/remote-client.md").read_text("utf-8")
SECONDS = 120
FORMS = (
    (r"\bC0[0-9A-F]{10}\b", "<device>"),
    (r"\d+ s ago", "<age>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<time>"),
)


def section(heading: str) -> str:
    return re.split(r"\n##+ ", TEXT.partition(f"# {heading}\n")[2])[0]


def rows(heading: str) -> list[list[str]]:
    """The rows of a section's first table."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def form(text: str) -> list[str]:
    for pattern, name in FORMS:
        text = re.sub(pattern, name, text)
    return in_form(text)


@pytest.mark.timeout(SECONDS + 60)
def test_every_command_of_the_page_prints_what_it_shows(tmp_path: Path) -> None:
    blocks: list[list[str]] = []
    for kind, body in re.findall(
        r"^```(\w+)\n(.*?)^```$", section("Try it"), re.DOTALL | re.MULTILINE
    ):
        if kind == "sh":
            blocks.append([body, ""])
        else:
            blocks[-1][1] = body
    assert len(blocks) == 7
    home = tmp_path / "you"
    home.mkdir()
    script = tmp_path / "page.sh"
    script.write_text(
        "\n".join(
            f"{{\n{commands}}} >'{tmp_path}/{number}' 2>&1"
            for number, (commands, _) in enumerate(blocks)
        )
    )
    environment: Mapping[str, str] = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("IGRS_RAS_", "COVERAGE_"))
        },
        "HOME": str(home),
        "IGRS_RAS_LISTEN": f"127.0.0.1:{free_port()}",
    }
    shell = subprocess.Popen(
        ["bash", str(script)], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )  # fmt: skip
    try:
        shell.wait(SECONDS)
    except subprocess.TimeoutExpired:
        pass  # what it printed until then says more
    finally:
        try:
            os.killpg(shell.pid, signal.SIGKILL)
            left = True
        except ProcessLookupError:
            left = False
        shell.wait()
    for number, (commands, shown) in enumerate(blocks):
        output = tmp_path / str(number)
        printed = output.read_text("utf-8") if output.exists() else "nothing: it was not reached"
        expected, got = form(shown), form(printed)
        where = f"{commands}\nprinted\n{printed}"
        assert len(got) == len(expected), where
        for want, have in zip(expected, got, strict=True):
            assert re.fullmatch(pattern_of(want), have), where
    assert not left, "a process goes on"
    assert list(home.iterdir()) == [], "nothing is left behind"


def test_the_program_of_the_page_is_one() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", section("The library"), re.DOTALL)
    tree = ast.parse(program)
    imported = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "igrs_rac"
        for alias in node.names
    ]
    assert imported
    for name in imported:
        assert hasattr(__import__("igrs_rac"), name)
    called = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "client"
    }
    assert called >= {"joined", "connected", "unlock", "locks"}
    for name in called - {"locks"}:
        assert hasattr(client.RemoteClient, name)
    modules = {name for row in rows("The library") for name in re.findall(r"`(\w+)`", row[0])}
    files = {path.stem for path in (ROOT / "examples/rac/igrs_rac").glob("*.py")}
    assert files - modules == {"__init__", "links"}


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("What the server says", "status"),
        ("What the lock refuses, sealed", "result"),
        ("ERROR in the lock's name", "error"),
        ("How the socket ends", "close"),
    ],
)
def test_each_number_stands_with_its_class(heading: str, name: str) -> None:
    said = {int(row[0]): row[1].strip("`") for row in rows(heading)}
    assert said == {int(number): kind.__name__ for number, kind in tables()[name].items()}


def test_what_to_do_after_each_close_code() -> None:
    for code, _, again in rows("How the socket ends"):
        assert ClosedError.of[int(code)].lasting is (again == "no")


def test_every_class_is_named() -> None:
    named = set(re.findall(r"`(\w+Error)`", TEXT))
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert named <= kinds
    unnamed = {
        name for name in kinds - named if issubclass(getattr(errors, name), errors.UnconfirmedError)
    }
    assert unnamed == {"LockErrorSaidError"}


def test_the_page_says_the_numbers_of_the_code() -> None:
    assert (state.CURRENT, state.NONCE_LIFE, state.AHEAD) == (90, 60, 10)
    assert (relays.SILENCE, relays.LONGEST) == (15, 60)
    assert (socket.HEARTBEAT, socket.SILENCE) == (15, 30)
    assert (connected.FIRST_PAUSE, connected.LONGEST_PAUSE) == (3, 60)
    assert (client.REPEAT_MAX_AGE, conversation.CLOCK_TOLERANCE) == (10, 5)
    assert all(0 <= connected._pause(attempt) <= min(60, 3 * 2**attempt) for attempt in range(40))


def test_the_exit_statuses_are_the_programs() -> None:
    said = {int(row[0]) for row in rows("Try it")}
    assert said == {rac.DONE, 2, rac.COULD_NOT, rac.REFUSED, rac.UNKNOWN}
    assert rac.exit_status(errors.JammedError()) == rac.REFUSED
    assert rac.exit_status(errors.NoRightRefusedError()) == rac.REFUSED
    assert rac.exit_status(errors.SilentError()) == rac.UNKNOWN
    assert rac.exit_status(errors.GatewayOfflineError()) == rac.COULD_NOT
    assert rac.exit_status(errors.UnreachableError()) == rac.COULD_NOT
