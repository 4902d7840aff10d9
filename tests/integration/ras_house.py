"""The real server beside Home Assistant: in the test's own process, on real sockets of loopback.

Time stands still for both unless `world.advance` moves it: the server's clocks are Python's. What
goes over a socket, or works in a thread, takes real time all the same, so tests wait for it with
`until` (no time passes) or `within` (time passes, too).

    async def test_…(world, ras, enrolled): …

`ras` is a running server whose public address was reached; `enrolled` a loaded entry of it. The
scripted client is `ras.phone()`. A server is stopped, killed, copied and put back by its methods.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import random
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from world import DOMAIN

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "addon"), str(ROOT / "examples" / "ras")]

from igrs_ras.admin import run as run_verb  # noqa: E402 - the path is set above
from igrs_ras.api.route import Listener  # noqa: E402
from igrs_ras.clock import SystemClock  # noqa: E402
from igrs_ras.ras import Ras  # noqa: E402
from igrs_ras.settings import Settings  # noqa: E402
from igrs_ras.storage.engine import open_engine  # noqa: E402
from igrs_ras.storage.migrate import prepare  # noqa: E402
from phone import Phone  # noqa: E402

from custom_components.igrs_lock.remote import identity, wire  # noqa: E402
from custom_components.igrs_lock.remote.http import RasHttp  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from freezegun.api import FrozenDateTimeFactory
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant

PATIENCE = 20.0
"""Real seconds until a test gives up; nothing depends on their number."""


async def breathe(hass: HomeAssistant, seconds: float = 0.002) -> None:
    """Let real time pass, for sockets and threads."""
    await hass.async_add_executor_job(threading.Event().wait, seconds)
    for _ in range(5):
        await asyncio.sleep(0)


class RasHouse:
    """One server's data folder, and the server on it while it runs."""

    def __init__(self, hass: HomeAssistant, freezer: FrozenDateTimeFactory, folder: Path) -> None:
        self.hass = hass
        self.folder = folder
        self.clock = SystemClock()
        """Its `offset_ms` makes the server's wall clock a wrong one."""
        self.port = free_port()
        self.ras: Ras | None = None
        self._freezer = freezer
        self._phones: list[Phone] = []

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def local_url(self) -> str:
        """Its address in the Supervisor's network, while it runs."""
        return f"http://127.0.0.1:{self.server.ports[Listener.LOCAL]}"

    @property
    def server(self) -> Ras:
        """The running server."""
        assert self.ras is not None, "the server is stopped"
        return self.ras

    # --- life ---

    async def start(self, public_url: str | None = None) -> Ras:
        """Start the server, on the port of before."""
        assert self.ras is None
        address = f"127.0.0.1:{self.port}"
        settings = Settings(
            data=str(self.folder),
            listen=address,
            public_url=f"http://{address}" if public_url is None else public_url,
            local_listen="127.0.0.1:0",
            metrics_listen="",
        )
        # Loopback stands for the Supervisor's network.
        self.ras = Ras(settings, self.clock, local_networks=[ipaddress.ip_network("127.0.0.0/8")])
        await self.ras.open()
        return self.ras

    async def stop(self) -> None:
        """Stop it in order: every socket is closed with 1012."""
        ras, self.ras = self.server, None
        await ras.close()

    async def kill(self) -> None:
        """Stop it as a power cut does: no socket is closed in order, no port listens."""
        ras, self.ras = self.server, None
        for listening in ras._listening.values():
            listening.close()
        for one in list(ras.hub.sockets._all):
            if one.wire.transport is not None:
                one.wire.transport.abort()
        await breathe(self.hass)
        await ras.close()

    def copy(self) -> Path:
        """Copy the data folder of a server that is stopped; return where the copy is."""
        assert self.ras is None, "stop it first"
        copy = self.folder.with_name(f"{self.folder.name}-copy-{time.time_ns()}")
        shutil.copytree(self.folder, copy)
        return copy

    def put_back(self, copy: Path, *, keep_boot: bool = False) -> None:
        """Put a copy in the place of the data.

        `keep_boot`: also what no backup holds is the copy's, so only homes can tell it is one.
        """
        assert self.ras is None, "stop it first"
        boot = self.folder / "boot"
        present = boot.read_bytes()
        shutil.rmtree(self.folder)
        shutil.copytree(copy, self.folder)
        if not keep_boot:
            boot.write_bytes(present)

    async def verb(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Run a verb of the server's command line."""
        answer: dict[str, Any] = await self.wait(run_verb(self.server, name, arguments))
        return answer

    async def close(self) -> None:
        """End everything."""
        for phone in self._phones:
            await self.wait(phone.close())
        if self.ras is not None:
            await self.stop()
        # Sockets that were closed in order would be cut off seconds later: Home Assistant's tests want no timer to be left.
        self._freezer.tick(60)
        await breathe(self.hass)

    # --- homes and people ---

    async def code(self, site: str = "", name: str = "Home") -> str:
        """Make an enrolment code: for a new site, or for one that is there."""
        arguments = {"site": site} if site else {"new_site": name}
        made = await self.verb("gateway code", **arguments)
        return str(made["code"])

    async def reach(self) -> None:
        """Call the server at its public address: from then on people can be invited."""
        await self.wait(RasHttp(self.hass, self.url).server_info())
        await self.until(lambda: self.server.reach.reached)

    async def enrol(self, *locks: str, code: str = "") -> MockConfigEntry:
        """Enrol this home; return an entry that is added but not set up."""
        http = RasHttp(self.hass, self.url)
        info = await self.wait(http.server_info())
        private = identity.new_private_key()
        enrolled = await self.wait(http.enrol(code or await self.code(), info.key, private))
        entry = MockConfigEntry(
            domain=DOMAIN,
            title="127.0.0.1",
            unique_id=info.key.hex(),
            data={
                "type": "server",
                "url": self.url,
                "server_key": wire.b64(info.key),
                "gateway": enrolled.gateway,
                "site": enrolled.site,
                "private_key": wire.b64(private),
                "local": False,
                "ca": None,
                "app": None,
            },
            options={"locks": sorted(locks)},
        )
        entry.add_to_hass(self.hass)
        return entry

    async def set_up(self, entry: ConfigEntry[Any]) -> Any:
        """Set an entry up and wait for its link; return the gateway."""
        assert await self.hass.config_entries.async_setup(entry.entry_id)
        gateway = entry.runtime_data
        await self.until(lambda: gateway.link.connected)
        return gateway

    def phone(self, name: str = "Anna's phone") -> Phone:
        """Return a scripted client, which ends with the test."""
        phone = Phone(self.url, name=name, now=lambda: time.time_ns() // 1_000_000)
        self._phones.append(phone)
        return phone

    # --- waiting ---

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until something is so that needs no time to pass; return it."""
        patience = Patience()
        while not (found := condition()):
            patience.check()
            await breathe(self.hass)
        return found

    async def within(self, seconds: float, condition: Callable[[], Any], step: float = 0.5) -> Any:
        """Let time pass until something is so, for `seconds` at most; return it.

        In between there is real time for what has to happen on sockets.
        """
        for _ in range(round(seconds / step)):
            for _ in range(4):
                if found := condition():
                    return found
                await breathe(self.hass)
            self._freezer.tick(step)
            await breathe(self.hass)
        return await self.until(condition)

    async def let_pass(self, seconds: float, step: float = 5.0) -> None:
        """Let time pass, with real time in between for what has to happen on sockets."""
        end = time.monotonic() + seconds
        await self.within(seconds + step, lambda: time.monotonic() >= end, step)

    async def wait(self, work: Any) -> Any:
        """Wait for work that needs no time to pass; return its result."""
        task = asyncio.ensure_future(work)
        await self.until(task.done)
        return task.result()


class Patience:
    """Ends a wait that would never end, by a clock that nobody moves."""

    def __init__(self) -> None:
        self._left = round(PATIENCE / 0.002)

    def check(self) -> None:
        """Fail when there was more than enough of it."""
        self._left -= 1
        assert self._left > 0, "it did not happen"


def free_port() -> int:
    """Return a port that nobody listens on, of those that systems give to nobody by themselves."""
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


_PREPARED: dict[str, Path] = {}


@pytest.fixture
def ras_folder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose database has its tables; they are made once for all tests of a process."""
    # Home Assistant's test plugin has every statement logged.
    logging.getLogger("sqlalchemy.engine").setLevel(logging.WARNING)
    if "sqlite" not in _PREPARED:
        source = tmp_path_factory.mktemp("prepared")
        settings = Settings(data=str(source))
        engine = open_engine(settings.database)
        prepare(engine, settings)
        with engine.connect() as connection:
            # Everything into the one file that is copied.
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.dispose()
        _PREPARED["sqlite"] = source / "ras.sqlite3"
    folder = tmp_path / "ras"
    folder.mkdir(mode=0o700)
    shutil.copy(_PREPARED["sqlite"], folder / "ras.sqlite3")
    return folder


@pytest.fixture
async def ras_house(
    hass: HomeAssistant, freezer: FrozenDateTimeFactory, socket_enabled: None, ras_folder: Path
) -> AsyncGenerator[RasHouse]:
    """A server that is not started yet."""
    # It notes the stack of every callback, and moved time looks like slow code to it.
    asyncio.get_running_loop().set_debug(False)
    house = RasHouse(hass, freezer, ras_folder)
    # Its database works in threads: time that is moved meanwhile is no time that it took.
    with patch("igrs_ras.storage.store.PATIENCE", 1e6):
        yield house
        for entry in hass.config_entries.async_loaded_entries(DOMAIN):
            if entry.data.get("type") == "server":
                await house.wait(hass.config_entries.async_unload(entry.entry_id))
        await house.close()


@pytest.fixture
async def ras(ras_house: RasHouse) -> RasHouse:
    """A running server whose public address was reached."""
    await ras_house.start()
    await ras_house.reach()
    return ras_house


@pytest.fixture
async def enrolled(ras: RasHouse, world: object) -> ConfigEntry[Any]:
    """A loaded entry of this server, linked; without any lock."""
    entry = await ras.enrol()
    await ras.set_up(entry)
    return entry
