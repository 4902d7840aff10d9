"""A link without the rest of remote access: its store, and a delegate that only notes what it hears."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from custom_components.igrs_lock.remote.link import Down, GatewayLink, Welcome
from custom_components.igrs_lock.remote.store import RemoteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant
    from ras_house import RasHouse

    from custom_components.igrs_lock.remote.wire import Message


class Recorder:
    """A delegate that notes."""

    def __init__(self) -> None:
        self.welcomes: list[Welcome] = []
        self.downs: list[Down] = []
        self.live: list[Message] = []
        self.durable: list[Message] = []
        self.off: list[int | None] = []
        self.audits = 0
        self.keys: list[bytes] = []
        self.on_linked: Callable[[Welcome], Awaitable[None]] | None = None
        self.on_durable: Callable[[Message], Awaitable[None]] | None = None
        self.on_received: Callable[[Message], None] = self.live.append

    async def async_linked(self, welcome: Welcome) -> None:
        self.welcomes.append(welcome)
        if self.on_linked is not None:
            await self.on_linked(welcome)

    async def async_durable(self, message: Message) -> None:
        if self.on_durable is not None:
            await self.on_durable(message)
        self.durable.append(message)

    def received(self, message: Message) -> None:
        self.on_received(message)

    def unlinked(self, down: Down) -> None:
        self.downs.append(down)

    def clock_off(self, seconds: int | None) -> None:
        self.off.append(seconds)

    def audit_changed(self) -> None:
        self.audits += 1

    async def async_key_changed(self, private_key: bytes) -> None:
        self.keys.append(private_key)


class Line:
    """One link with its store and a delegate that notes."""

    def __init__(self, hass: HomeAssistant, ras: RasHouse, entry: ConfigEntry[Any]) -> None:
        self.entry = entry
        self.ras = ras
        self.heard = Recorder()
        self.store = RemoteStore(hass, entry.entry_id)
        self.link = GatewayLink(hass, entry, self.store, self.heard)

    async def start(self) -> None:
        """Read what is stored and begin to connect."""
        await self.store.async_load()
        self.link.async_start()

    async def up(self) -> Welcome:
        """Begin, and wait until everything is compared."""
        before = len(self.heard.welcomes)
        await self.start()
        await self.ras.until(lambda: len(self.heard.welcomes) > before)
        return self.heard.welcomes[-1]

    async def again(self, seconds: float = 70) -> Welcome:
        """Let time pass until there is another link."""
        before = len(self.heard.welcomes)
        await self.ras.within(seconds, lambda: len(self.heard.welcomes) > before)
        return self.heard.welcomes[-1]

    async def is_down(self, down: Down) -> None:
        """Wait for an end for this reason."""
        await self.ras.until(lambda: down in self.heard.downs)


@pytest.fixture
async def make_line(
    hass: HomeAssistant, ras_house: RasHouse
) -> AsyncGenerator[Callable[[ConfigEntry[Any]], Line]]:
    """Make links, which end with the test."""
    made: list[Line] = []

    def make(entry: ConfigEntry[Any]) -> Line:
        made.append(Line(hass, ras_house, entry))
        return made[-1]

    yield make
    for line in made:
        await ras_house.wait(line.link.async_stop())


@pytest.fixture
async def line(ras: RasHouse, make_line: Callable[[ConfigEntry[Any]], Line]) -> Line:
    """A link to the real server that is up."""
    line = make_line(await ras.enrol())
    await line.up()
    return line
