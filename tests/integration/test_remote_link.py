"""The link to the server: proved by both sides, kept, and made again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from custom_components.igrs_lock.remote.link import Down, GatewayLink, Welcome
from custom_components.igrs_lock.remote.store import RemoteStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant
    from ras_house import RasHouse

    from custom_components.igrs_lock.remote.wire import Message


class Recorder:
    """A delegate that only notes what it hears."""

    def __init__(self) -> None:
        self.welcomes: list[Welcome] = []
        self.downs: list[Down] = []
        self.live: list[Message] = []
        self.durable: list[Message] = []
        self.off: list[int | None] = []
        self.audits = 0
        self.keys: list[bytes] = []

    async def async_linked(self, welcome: Welcome) -> None:
        self.welcomes.append(welcome)

    async def async_durable(self, message: Message) -> None:
        self.durable.append(message)

    def received(self, message: Message) -> None:
        self.live.append(message)

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

    def __init__(self, hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
        self.hass = hass
        self.entry = entry
        self.heard = Recorder()
        self.store = RemoteStore(hass, entry.entry_id)
        self.link = GatewayLink(hass, entry, self.store, self.heard)

    async def start(self) -> None:
        await self.store.async_load()
        self.link.async_start()


@pytest.fixture
async def make_line(
    hass: HomeAssistant, ras_house: RasHouse
) -> AsyncGenerator[Callable[[ConfigEntry[Any]], Line]]:
    """Make links, which end with the test."""
    made: list[Line] = []

    def make(entry: ConfigEntry[Any]) -> Line:
        made.append(Line(hass, entry))
        return made[-1]

    yield make
    for line in made:
        await ras_house.wait(line.link.async_stop())


@pytest.fixture
async def line(ras: RasHouse, make_line: Callable[[ConfigEntry[Any]], Line]) -> Line:
    """A link that is up."""
    line = make_line(await ras.enrol())
    await line.start()
    await ras.until(lambda: line.link.connected)
    return line


async def test_both_prove_themselves(ras: RasHouse, line: Line) -> None:
    await ras.until(lambda: line.heard.welcomes)
    welcome = line.heard.welcomes[0]
    assert welcome.site == line.entry.data["site"]
    assert welcome.public_url == ras.url
    assert welcome.reached
    assert not welcome.restored
    assert line.store.n == 1
    assert line.link.clock.offset_ms in (-1, 0, 1)
