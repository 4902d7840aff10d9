"""However the demo ends, nothing of it keeps running, and a person can read why it ended."""

import asyncio
import os
import re
import shlex
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

from terminal import READY, ROOT, Terminal, alive

from simulator.demo.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SETUP_CODE = re.compile(r"Setup code +((?:[0-9A-Z]{4}-){3}[0-9A-Z]{4})")
HOME_ASSISTANT = re.compile(r"Home Assistant +(http://127.0.0.1:\d+)/")
COMMAND = re.compile(r"^  (\.venv/bin/python examples/rac/rac.py .*)$", re.MULTILINE)
TRIED = "and try again."


def test_remote_use_is_set_up_by_itself_and_all_is_kept_for_the_next_time(
    demo: Callable[..., Terminal],
) -> None:
    first = demo("--locks", "2")
    first.wait_for("connected to the remote access server")
    assert len(first.children) >= 3
    codes = SETUP_CODE.findall(first.text)
    asyncio.run(pair(first.text, codes[0]))
    first.wait_for(TRIED)
    join, unlock, watch = COMMAND.findall(first.text)
    assert "joined as Remote guest" in typed(join)
    assert ": unlocked" in typed(unlock)
    first.send(signal.SIGINT)

    assert first.wait() == 0
    assert alive(first.children) == set()
    assert "Traceback" not in first.text

    # The same locks, the same home at the same server, the same guest: nobody is invited a second time.
    second = demo("--locks", "2")
    second.wait_for(TRIED)
    assert SETUP_CODE.findall(second.text) == codes
    assert len(codes) == 2
    assert "connected to the remote access server" not in second.text
    assert COMMAND.findall(second.text) == [unlock, watch]
    assert "unlocked already" in typed(unlock)  # the bolt stayed where it was

    third = demo("--fresh", "--locks", "1")
    assert third.wait() == 1
    assert "another demo is running" in third.text
    assert "Traceback" not in third.text

    second.send(signal.SIGKILL)
    second.wait()
    assert alive(second.children) == set()


async def pair(text: str, code: str) -> None:
    """Pair a lock in Home Assistant, as the demo's user does."""
    found = HOME_ASSISTANT.search(text)
    assert found
    async with await Client.sign_in(found[1]) as client:
        for flow in await client.flows("igrs_lock"):
            shown = await client.show_flow(flow["flow_id"])
            step = await client.continue_flow(shown["flow_id"], {"setup_code": code})
            if step["type"] == "create_entry":
                return
    raise AssertionError("no lock took the code")


def typed(command: str) -> str:
    """What a command prints that somebody copies from the terminal, in the folder of the checkout."""
    finished = subprocess.run(
        shlex.split(command), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_a_termination_during_the_start_stops_everything(demo: Callable[..., Terminal]) -> None:
    terminal = demo()
    terminal.wait_for("starting Home Assistant")
    terminal.send(signal.SIGTERM)

    assert terminal.wait() == 0
    assert alive(terminal.children) == set()
    assert "Traceback" not in terminal.text


def test_a_check_that_is_broken_off_has_not_passed_and_leaves_nothing(
    demo: Callable[..., Terminal], tmp_path: Path
) -> None:
    terminal = demo("--check")
    terminal.wait_for("lock discovered over Bluetooth")
    terminal.send(signal.SIGINT)

    assert terminal.wait() == 130
    assert alive(terminal.children) == set()
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in terminal.text


def test_a_simulator_that_dies_ends_the_demo_with_a_word_about_it(
    demo: Callable[..., Terminal],
) -> None:
    terminal = demo()
    terminal.wait_for(READY)
    (simulator,) = [pid for pid in terminal.children if _command(pid).endswith("-m simulator")]
    os.kill(simulator, signal.SIGKILL)

    assert terminal.wait() == 1
    assert "the simulator ended by signal 9" in terminal.text
    assert alive(terminal.children) == set()
    assert "Traceback" not in terminal.text


def test_a_port_that_is_taken_is_said_before_anything_starts(
    demo: Callable[..., Terminal],
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        terminal = demo("--port", str(port))

        assert terminal.wait() == 1

    assert f"port {port} is taken" in terminal.text
    assert "starting" not in terminal.text
    assert "Traceback" not in terminal.text


def test_a_version_that_cannot_be_is_said(demo: Callable[..., Terminal]) -> None:
    terminal = demo("--home-assistant", "newest")

    assert terminal.wait() == 1
    assert "'newest' is not a version of Home Assistant" in terminal.text
    assert "Traceback" not in terminal.text


def _command(pid: int) -> str:
    """Up to the module that a Python process runs."""
    with open(f"/proc/{pid}/cmdline", "rb") as line:  # noqa: PTH123 - no path, a window into the kernel
        words = line.read().decode().split("\0")
    return " ".join(words[:3])
