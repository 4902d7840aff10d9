"""The example programs: what they write down, who may read it, and when a gateway does not come back by itself."""

from __future__ import annotations

import asyncio
import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import eventually
from home_state import from_state, to_state
from process import Server
from program import read_state, write_state
from stores import residence

if TYPE_CHECKING:
    from conftest import Database
    from igrs_ras.ras import Ras

PROGRAM = Path(__file__).resolve().parents[2] / "examples/ras/home.py"


async def home(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    """Start the gateway's program in a folder."""
    return await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), *arguments, cwd=folder, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def said(folder: Path, *arguments: str) -> str:
    """Run a command to its end; return what it said."""
    process = await home(folder, *arguments)
    out, _ = await process.communicate()
    return out.decode()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_home_goes_on_from_its_file(ras: Ras, tmp_path: Path) -> None:
    file = tmp_path / "home.json"
    async with residence(ras) as place:
        await place.home.invite()
        await ras.checkpoints.sign(place.site)
        await eventually(lambda: place.home.audit)
        before = to_state(place.home)
    write_state(file, before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert before["members"]
    assert before["invitations"]
    again = from_state(read_state(file))
    assert to_state(again) == before
    await again.connect()
    assert await again.sync(), "the lists are equal"
    assert again.n == before["n"] + 1
    await again.close()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_of_two_copies_of_a_home_the_older_one_ends_and_does_not_come_back(
    database: Database, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    async with Server(database) as server:
        _, code, _ = await server.verb("gateway", "code", "--new-site", "Home")
        enrolled = await said(first, "enrol", server.url, code["code"], code["fingerprint"])
        assert f"site: {code['site']}\n" in enrolled
        older = await home(first, "run", "--wait", "0")
        assert "connected: yes\n" in await said(first, "status")
        assert stat.S_IMODE((first / "home.json.socket").stat().st_mode) == 0o600
        shutil.copy(first / "home.json", second)
        newer = await home(second, "run", "--wait", "0")
        out, _ = await asyncio.wait_for(older.communicate(), 30)
        assert older.returncode == 3
        assert out.decode().splitlines()[-1].endswith("somebody else uses the same key (4409)")
        assert "connected: yes\n" in await said(second, "status")
        newer.terminate()
        await asyncio.wait_for(newer.communicate(), 30)
        assert newer.returncode == 0
    assert not (second / "home.json.socket").exists()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_gateway_enrols_at_no_other_server_than_the_one_that_was_compared(
    database: Database, tmp_path: Path
) -> None:
    async with Server(database) as server:
        _, code, _ = await server.verb("gateway", "code", "--new-site", "Home")
        other = "0000 0000 0000 0000 0000"
        assert "this is another server" in await said(
            tmp_path, "enrol", server.url, code["code"], other
        )
        assert not (tmp_path / "home.json").exists()
        _, listed, _ = await server.verb("gateway", "list")
    assert listed["gateways"] == []
