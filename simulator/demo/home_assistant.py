"""Runs Home Assistant, and starts it again when it asks for that."""

import asyncio
import os
import time
from typing import TYPE_CHECKING

import aiohttp

from .errors import DemoError
from .ha_config import STAND_INS
from .processes import Child

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

_RESTART_EXIT_CODE = 100
_READY_SECONDS = 120.0


class HomeAssistant:
    """One Home Assistant on its configuration folder, through all its restarts."""

    def __init__(self, python: Path, config: Path, port: int, log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.config = config
        self.log = log
        self.starts = 0
        """How often the process was started."""
        self.stopped_at = 0.0
        """When the last process ended, in Unix seconds."""
        self.while_down: Callable[[], Awaitable[None]] | None = None
        """Called once, between the end of the process and its next start."""
        self._python = python
        self._child: Child | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def child(self) -> Child:
        """The process that runs now."""
        if self._child is None:
            raise RuntimeError("not started")
        return self._child

    async def start(self) -> None:
        """Start it. It is not ready to be talked to until `wait_until_served` returns."""
        await self._spawn(await _stand_ins(self._python))
        self._supervisor = asyncio.create_task(self._supervise())

    async def _spawn(self, python_path: str) -> None:
        self._python_path = python_path
        self.starts += 1
        self._child = await Child.start(
            "Home Assistant",
            # -P: the folder it runs in is no place to import from.
            [self._python, "-P", "-m", "homeassistant", "--skip-pip", "--config", self.config],
            self.log,
            {"PYTHONPATH": python_path, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
            self.config,
        )

    async def _supervise(self) -> None:
        while True:
            code = await self.child.wait()
            self.stopped_at = time.time()
            if self._stopping:
                return
            if code != _RESTART_EXIT_CODE:
                raise self.child.ended()
            while_down, self.while_down = self.while_down, None
            if while_down is not None:
                await while_down()
            await self._spawn(self._python_path)

    async def failed(self) -> None:
        """Wait until it ends without being asked to, and raise DemoError then."""
        if self._supervisor is None:
            raise RuntimeError("not started")
        await asyncio.shield(self._supervisor)

    async def wait_until_served(self) -> None:
        """Wait until it answers HTTP requests.

        Raises DemoError when it ends instead, or takes more than two minutes.
        """
        deadline = time.monotonic() + _READY_SECONDS
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < deadline:
                if self._supervisor is not None and self._supervisor.done():
                    await self._supervisor
                try:
                    async with session.get(f"{self.url}/auth/providers") as response:
                        if response.status < 500:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.1)
        raise DemoError(
            f"Home Assistant did not answer within {_READY_SECONDS:.0f} s\n{self.child.tail()}"
        )

    async def stop(self) -> None:
        """Stop it as its user would; by force if that takes more than half a minute."""
        self._stopping = True
        if self._child is not None:
            await self._child.stop(30.0)
        if self._supervisor is not None:
            await asyncio.wait([self._supervisor])
            if not self._supervisor.cancelled():
                self._supervisor.exception()  # has been told, or is of no interest any more


async def _stand_ins(python: Path) -> str:
    """The PYTHONPATH with stand-ins for modules that this Python does not have."""
    names = sorted(path.name for path in STAND_INS.iterdir() if path.is_dir())
    process = await asyncio.create_subprocess_exec(
        python,
        "-P",
        "-c",
        "import importlib.util, sys\n"
        "print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None))",
        *names,
        stdout=asyncio.subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise DemoError(f"{python} does not run")
    return os.pathsep.join(str(STAND_INS / name) for name in output.decode().split())
