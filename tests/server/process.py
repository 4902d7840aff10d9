"""A server as a process of its own, as an operator runs it: to be killed, stopped, starved and started again."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil

if TYPE_CHECKING:
    from conftest import Database

ADDON = Path(__file__).resolve().parents[2] / "addon"
PATIENCE = 30.0  # seconds a test waits for a start or an end; nothing depends on its size


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Server:
    """`python -m igrs_ras serve` on a database, on the same port at each start. `async with` starts and ends it."""

    def __init__(self, database: Database, **settings: str) -> None:
        self.folder = database.folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = {
            "data": str(database.folder),
            "database_url": database.url,
            "listen": f"127.0.0.1:{self.port}",
            "public_url": self.url,
            "metrics_listen": "",
            **settings,
        }
        self._said: list[list[str]] = []  # the lines of each run
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()

    @property
    def environment(self) -> dict[str, str]:
        given = {f"IGRS_RAS_{name.upper()}": value for name, value in self.settings.items()}
        return {**os.environ, "PYTHONPATH": str(ADDON), **given}

    @property
    def process(self) -> psutil.Process:
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def spawn(self) -> None:
        """Start the process; it may fail."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "igrs_ras", "serve"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        said: list[str] = []
        self._said.append(said)
        # Through a pipe, since a file would be full when the test fills the disk.
        self._reader = threading.Thread(
            target=said.extend, args=(self._process.stdout,), daemon=True
        )
        self._reader.start()

    async def start(self) -> None:
        """Start and wait until it listens."""
        self.spawn()
        assert self._process is not None
        end = time.monotonic() + PATIENCE
        while not any(line.get("message") == "ready" for line in self.lines()):
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"it did not start: {self.log()[-2000:]}")
            await asyncio.sleep(0.01)

    async def ended(self) -> int:
        """Wait until the process has ended; return its exit status."""
        assert self._process is not None
        status = await asyncio.to_thread(self._process.wait, PATIENCE)
        self._over()
        return status

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._over()

    def _over(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        assert self._reader is not None
        self._reader.join(PATIENCE)
        self._process.stdout.close()
        self._process = None

    async def stop(self) -> int:
        """Ask it to end; return its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await self.ended()

    def largest_file(self, size: int) -> None:
        """Let it write no file beyond a size, as on a full disk; -1: as far as it likes."""
        assert self._process is not None
        hard = resource.RLIM_INFINITY
        resource.prlimit(
            self._process.pid, resource.RLIMIT_FSIZE, (size if size >= 0 else hard, hard)
        )

    def log(self) -> str:
        """What it has written since its first start."""
        return "".join(line for said in self._said for line in said)

    def lines(self) -> list[dict[str, Any]]:
        """The log since its last start, read."""
        found = []
        for line in list(self._said[-1]):
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"message": line.rstrip()})
        return found

    def errors(self) -> list[str]:
        """What was logged at error level or above since its last start."""
        return [
            str(line["message"])
            for line in self.lines()
            if line.get("level") in ("error", "critical")
        ]

    async def verb(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        """Run a verb of the command line; return its status, what it answered as JSON, and what it said."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "igrs_ras", *arguments, "--json",
            env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        out, said = await process.communicate()
        assert process.returncode is not None
        return process.returncode, json.loads(out) if out.strip() else {}, said.decode()
