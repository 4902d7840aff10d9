"""Simulator, remote access server and Home Assistant together, from start to clean stop."""

import asyncio
import fcntl
import shutil
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TextIO

from . import dashboard, ha_config
from .client import Client
from .errors import DemoError
from .ha_config import Adapter
from .home_assistant import HomeAssistant
from .locks import Simulator
from .processes import free_port, port_is_free
from .progress import say
from .ras import Ras, server_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path
    from types import TracebackType

_DEFAULT_PORT = 8123
_SIMULATOR_PORT = 8180
_FAILURES = 10
GATEWAY = "hallway"
"""Name of the demo's Bluetooth adapter on the simulated radio."""


@dataclass
class Setup:
    """What a demo is started with."""

    folder: Path
    """Keeps Home Assistant's configuration, the locks' state and the logs between runs."""
    python: Path
    """Interpreter that has Home Assistant."""
    locks: int = 1
    port: int | None = None
    """Port of Home Assistant; None: 8123, or a free one if that is taken; 0: a free one."""
    fresh: bool = False
    """Forget what earlier runs kept."""
    server: bool = False
    """Start a remote access server too."""
    simulator_options: tuple[str, ...] = ()


class Demo:
    """A running demo. `async with` starts and stops it, whatever happens in between."""

    simulator: Simulator
    home_assistant: HomeAssistant
    ras: Ras
    """Only where the set-up has a server."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.logs = setup.folder / "logs"
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        setup = self.setup
        port = _port(setup.port)
        self._stack.enter_context(_claim(setup.folder))
        for name in ("config", "locks", "logs", "ras") if setup.fresh else ("logs",):
            shutil.rmtree(setup.folder / name, ignore_errors=True)
        if setup.server:
            folder = setup.folder / "ras"
            say("starting the remote access server")
            self.ras = Ras(
                folder, self.logs / "ras.log", server_port(folder, usual=setup.port != 0)
            )
            self._stack.push_async_callback(self.ras.stop)
            await self.ras.start()
        say(f"starting the simulator with {setup.locks} lock{'s' if setup.locks > 1 else ''}")
        self.simulator = await Simulator.start(
            setup.folder / "locks",
            self.logs / "simulator.log",
            setup.locks,
            (*_simulator_port(setup), *setup.simulator_options),
        )
        self._stack.push_async_callback(self.simulator.stop)
        config = setup.folder / "config"
        ha_config.write(config, port, [Adapter(self.simulator.hci_ports[0], GATEWAY)])
        say("starting Home Assistant")
        self.home_assistant = HomeAssistant(
            setup.python, config, port, self.logs / "home-assistant.log"
        )
        self._stack.push_async_callback(self.home_assistant.stop)
        await self.home_assistant.start()
        await self._unless_failed(self._wait_until_served())

    async def _wait_until_served(self) -> None:
        await self.home_assistant.wait_until_served()
        if self.setup.server:
            await self.ras.wait_until_ready()

    async def sign_in(self) -> Client:
        """Sign in to Home Assistant when it is served, and wait until it has started."""
        await self.home_assistant.wait_until_served()
        client = await Client.sign_in(self.home_assistant.url)
        try:
            await client.wait_until_running()
        except BaseException:
            await client.close()
            raise
        return client

    async def run(
        self,
        ready: Callable[[], None],
        besides: Callable[[Client], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """Keep the dashboard in step with what is paired, until cancelled.

        `ready` is called when Home Assistant has started and shows its dashboard; `besides` runs from then on, anew after each
        restart of Home Assistant. Raises DemoError when one of the processes ends by itself.
        """
        await self._unless_failed(self._follow(ready, besides))

    async def _follow(
        self,
        ready: Callable[[], None],
        besides: Callable[[Client], Coroutine[Any, Any, None]] | None,
    ) -> None:
        """Sign in, again after each restart, and save the dashboard when locks come and go."""
        failures = 0
        told = False
        while True:
            try:
                async with await self.sign_in() as client:
                    await self._save_dashboard(client)
                    if not told:
                        told = True
                        ready()
                    failures = 0
                    async with _during(besides(client) if besides else None):
                        await self._keep_dashboard(client)
            except DemoError:
                # A restart ends the connection. So does the end of Home Assistant, told elsewhere.
                failures += 1
                if failures > _FAILURES:
                    raise
                await asyncio.sleep(1)

    async def _save_dashboard(self, client: Client) -> None:
        locks = await dashboard.devices(client)
        waiting = len(locks) < len(self.simulator.locks)
        await dashboard.save(client, locks, waiting, self.simulator.url)

    async def _keep_dashboard(self, client: Client) -> None:
        changes = 0

        def changed(_event: dict[str, Any]) -> None:
            nonlocal changes
            changes += 1

        def newer_than(seen: int) -> bool:
            return changes != seen

        for registry in ("entity_registry_updated", "device_registry_updated"):
            await client.subscribe(changed, "subscribe_events", event_type=registry)
        shown = None
        while True:
            seen = changes
            there = await dashboard.devices(client), await dashboard.server_entities(client)
            if there != shown:
                await self._save_dashboard(client)
                shown = there
            await client.wait_until(partial(newer_than, seen), "a change", None)

    async def _unless_failed(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work, unless a process ends meanwhile: then raise why."""
        tasks = [
            asyncio.create_task(task)
            for task in (
                self.simulator.failed(),
                self.home_assistant.failed(),
                *((self.ras.failed(),) if self.setup.server else ()),
                work,
            )
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


@asynccontextmanager
async def _during(work: Coroutine[Any, Any, None] | None) -> AsyncIterator[None]:
    """Do some work in the background, until the end of the block."""
    task = None if work is None else asyncio.create_task(work)
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()


def _port(wanted: int | None) -> int:
    if wanted == 0:
        return free_port()
    if wanted is None:
        return _DEFAULT_PORT if port_is_free(_DEFAULT_PORT) else free_port()
    if not port_is_free(wanted):
        raise DemoError(f"port {wanted} is taken: choose another with --port, or none")
    return wanted


def _simulator_port(setup: Setup) -> tuple[str, ...]:
    """Options that give its page the same address each time, so that an open tab finds it again."""
    if setup.port == 0 or not port_is_free(_SIMULATOR_PORT):
        return ()
    return ("--http", str(_SIMULATOR_PORT))


def _claim(folder: Path) -> TextIO:
    """Keep a second demo off the folder, for as long as the file is open."""
    folder.mkdir(parents=True, exist_ok=True)
    claim = (folder / "in-use").open("w")
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        claim.close()
        raise DemoError(f"another demo is running on {folder}") from None
    return claim
