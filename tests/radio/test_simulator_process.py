"""`python -m simulator` as its own process: what it prints, what it keeps, how it ends."""

import asyncio
import json
import signal
import stat
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bsld.identifiers import parse_setup_code
from control import Control

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.usefixtures("socket_enabled")

ROOT = Path(__file__).resolve().parents[2]


class Running(Control):
    """A simulator in a process of its own."""

    process: asyncio.subprocess.Process


@asynccontextmanager
async def running(state: Path, *options: str) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulator", "--state", str(state), *options),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with Running(json.loads(await process.stdout.readline())) as simulator:
            simulator.process = process
            yield simulator
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def test_one_line_says_all_that_is_needed_to_use_it(tmp_path: Path) -> None:
    async with running(tmp_path, "--locks", "3") as simulator:
        ready = simulator.ready
        assert len(ready["locks"]) == 3
        assert len({lock["setup_code"] for lock in ready["locks"]}) == 3
        for lock in ready["locks"]:
            assert len(parse_setup_code(lock["setup_code"])) == 10
            assert lock["address"].replace(":", "") == lock["id"]
            assert int(lock["id"][:2], 16) >= 0xC0  # a static random address
        _, locks = await simulator.get("/api/locks")
        assert [lock["id"] for lock in locks] == [lock["id"] for lock in ready["locks"]]
        _reader, writer = await asyncio.open_connection("127.0.0.1", ready["hci"][0])
        writer.close()


async def test_killing_it_loses_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as first:
        await first.act("turn", bolt="unlocked")
        await first.act("door", open=True)
        await first.act("battery", percent=41)
        before = await first.lock()
        first.process.send_signal(signal.SIGKILL)
        await first.process.wait()
    async with running(tmp_path) as second:
        assert second.ready["locks"] == first.ready["locks"]
        after = await second.lock()
        for name in ("bolt", "door", "battery", "physical", "paired"):
            assert after[name] == before[name], name
        assert after["counter"] > before["counter"]


async def test_an_interrupt_ends_it_quietly(tmp_path: Path) -> None:
    async with running(tmp_path) as simulator:
        simulator.process.send_signal(signal.SIGINT)
        assert await simulator.process.wait() == 0


async def test_two_do_not_share_a_folder(tmp_path: Path) -> None:
    async with running(tmp_path):
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "simulator", "--state", str(tmp_path)),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
        _, error = await second.communicate()
        assert second.returncode == 1
        assert b"another simulator" in error


async def test_a_damaged_label_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "lock-001").mkdir()
    label = tmp_path / "lock-001" / "identity.json"
    label.write_text('{"address": "C0:00:00:00:00:01"}')
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulator", "--state", str(tmp_path)),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    _, error = await process.communicate()
    assert process.returncode == 1
    assert b"damaged" in error
    assert "C0:00" in label.read_text()


async def test_secrets_in_the_folder_are_for_their_owner_only(tmp_path: Path) -> None:
    async with running(tmp_path):
        mode = (tmp_path / "lock-001" / "identity.json").stat().st_mode
        assert stat.S_IMODE(mode) == 0o600
