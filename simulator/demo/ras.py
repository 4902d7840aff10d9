"""The remote access server as a process of its own, and what its operator does on its command line."""

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from .errors import DemoError, RefusedError
from .ha_config import ROOT
from .processes import Child, free_port, inherited, port_is_free

if TYPE_CHECKING:
    from pathlib import Path

_SETTINGS: Final = "IGRS_RAS_"
"""Settings of another server that happen to be in the environment are none of the demo's."""
_READY_SECONDS: Final = 60.0
_DEFAULT_PORT: Final = 8443
_HOME: Final = "Home of the demo"


@dataclass(frozen=True)
class Place:
    """A place for a home at the server: what its operator gives to the home's owner."""

    code: str = field(repr=False)
    fingerprint: str


class Ras:
    """One server on its data folder, reached at the same address each time: homes and links know it."""

    def __init__(self, folder: Path, log: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.data = folder / "data"
        self.log = log
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The process that runs now."""
        if self._child is None:
            raise RuntimeError("not started")
        return self._child

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._child is not None and self._child.running

    def _environment(self) -> dict[str, str]:
        return {
            "PYTHONPATH": str(ROOT / "addon"),
            "PYTHONUNBUFFERED": "1",
            f"{_SETTINGS}DATA": str(self.data),
            f"{_SETTINGS}LISTEN": self.url.removeprefix("http://"),
            # People reach it where the home does: on this machine only.
            f"{_SETTINGS}PUBLIC_URL": self.url,
            f"{_SETTINGS}METRICS_LISTEN": "",
            f"{_SETTINGS}LOG_FORMAT": "text",
        }

    async def start(self) -> None:
        """Start it. It is not ready to be talked to until `wait_until_ready` returns."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self._child = await Child.start(
            "the remote access server",
            [sys.executable, "-P", "-m", "igrs_ras", "serve"],
            self.log,
            self._environment(),
            self.data.parent,
            without=_SETTINGS,
        )

    async def wait_until_ready(self) -> None:
        """Wait until it answers. Raises DemoError when it ends instead, or takes more than a minute."""
        deadline = time.monotonic() + _READY_SECONDS
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < deadline:
                if not self.running:
                    raise self.child.ended()
                try:
                    async with session.get(f"{self.url}/readyz") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)
        raise DemoError(
            f"the remote access server did not answer within {_READY_SECONDS:.0f} s\n{self.child.tail()}"
        )

    async def failed(self) -> None:
        """Wait until it ends without being asked to, and raise DemoError then."""
        await self.child.wait()
        raise self.child.ended()

    async def stop(self) -> None:
        """Stop it as its operator would."""
        if self._child is not None:
            await self._child.stop()

    async def kill(self) -> None:
        """End it at once, as a power cut would."""
        await self.child.kill()

    async def command(self, *words: str) -> dict[str, Any]:
        """Run a verb of its command line. Raises RefusedError with what it says."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "igrs_ras", "--json", *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**inherited(_SETTINGS), **self._environment()},
            cwd=self.data.parent,
        )
        output, complaint = await process.communicate()
        if process.returncode != 0:
            raise RefusedError(complaint.decode(errors="replace").strip())
        answer: dict[str, Any] = json.loads(output)
        return answer

    async def make_place(self) -> Place:
        """Make a place for a home that is new here. Raises RefusedError."""
        made = await self.command("gateway", "code", "--new-site", _HOME)
        return Place(made["code"], made["fingerprint"])


def server_port(folder: Path, *, usual: bool) -> int:
    """Return the port of the server whose folder this is: the same each time, `usual` or any one at first.

    Raises DemoError when somebody else has it now: the home knows the server there.
    """
    kept = folder / "port"
    if kept.exists():
        port = int(kept.read_text())
        if not port_is_free(port):
            raise DemoError(
                f"port {port}, where Home Assistant knows the remote access server, is taken:"
                " end what uses it, or start with --fresh"
            )
        return port
    port = _DEFAULT_PORT if usual and port_is_free(_DEFAULT_PORT) else free_port()
    folder.mkdir(parents=True, exist_ok=True)
    kept.write_text(str(port))
    return port
