"""Child processes that end with the demo, whatever ends it."""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Self

from .errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_PR_SET_PDEATHSIG = 1
_TAIL_BYTES = 16_384

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _prepare_child() -> None:
    """Runs in the child before its program: have Linux end it should the demo itself be killed."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """One child process. Its output goes to a log file; only its first line can be read.

    It has a session of its own, so that Ctrl-C at the terminal reaches the demo alone, which then stops its children in
    the right order.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process
        self._pump: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        *,
        read_output: bool = False,
        without: str = "",
    ) -> Self:
        """Start `command` in `folder`, with `environment` added to the demo's own but for what begins with `without`.

        Raises DemoError when the program cannot be started.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE if read_output else output,
                    stderr=output,
                    env={**inherited(without), **(environment or {})},
                    cwd=folder,
                    start_new_session=True,
                    preexec_fn=_prepare_child,
                )
            except OSError as err:
                raise DemoError(f"{name} could not be started: {err}") from err
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        """Process identifier."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def first_line(self, seconds: float) -> str:
        """The first line of output; what follows goes to the log.

        Raises DemoError when the process ends or the time is over without one.
        """
        stream = self._process.stdout
        if stream is None:
            raise RuntimeError("started without read_output")
        try:
            async with asyncio.timeout(seconds):
                line = await stream.readline()
        except TimeoutError:
            raise DemoError(
                f"{self.name} did not become ready within {seconds:.0f} s\n{self.tail()}"
            ) from None
        if not line.endswith(b"\n"):
            await self._process.wait()
            raise self.ended()
        self._pump = asyncio.create_task(self._pump_output(stream))
        return line.decode()

    async def _pump_output(self, stream: asyncio.StreamReader) -> None:
        with self.log.open("ab", buffering=0) as output:
            while chunk := await stream.read(65_536):
                output.write(chunk)

    async def wait(self) -> int:
        """Wait for its end; returns the exit code, negative for a signal."""
        return await self._process.wait()

    def ended(self) -> DemoError:
        """The error to raise for an end that nobody asked for, with the end of its log."""
        code = self._process.returncode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        return DemoError(f"{self.name} ended {how}\n{self.tail()}")

    def tail(self, lines: int = 12) -> str:
        """The last lines of the log, with its path."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except OSError:
            text = ""
        last = "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
        return f"{last}\n  log: {self.log}" if last else f"  log: {self.log} (empty)"

    async def stop(self, seconds: float = 15.0) -> None:
        """End it: ask first, after `seconds` by force, with whatever it has started."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                async with asyncio.timeout(seconds):
                    await self._process.wait()
            except TimeoutError:
                pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self._process.wait()
        if self._pump is not None:
            await self._pump

    async def kill(self) -> None:
        """End it at once, as a power cut would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self.stop()


def inherited(without: str) -> dict[str, str]:
    """Return the demo's own environment but for the variables that begin with a prefix; "" leaves out none."""
    return {
        name: value
        for name, value in os.environ.items()
        if not without or not name.startswith(without)
    }


def port_is_free(port: int) -> bool:
    """Whether a server can listen on this TCP port of the loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A TCP port of the loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
