"""What the steps of the unattended check have in common."""

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from .dashboard import DOMAIN
from .demo import Demo, Setup
from .errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .client import Client, State
    from .locks import LockLabel


def expect(condition: object, what: str) -> None:
    """Fail the step unless the condition holds."""
    if not condition:
        raise DemoError(what)


async def eventually[T](
    look: Callable[[], Awaitable[T]], seconds: float, what: str, interval: float = 0.1
) -> T:
    """Look again and again until there is something to see, and return it; fail the step after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if found := await look():
            return found
        expect(time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(interval)


class Steps:
    """A demo under way, and what was learnt of it by the steps so far."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._demo = Demo(setup)
        self._client: Client
        self._flow: dict[str, Any] = {}
        self._entity = ""
        self._door_entity = ""
        self._battery_entity = ""
        self._secrets: set[str] = set()

    async def _close(self) -> None:
        if hasattr(self, "_client"):
            await self._client.close()
        await self._demo.__aexit__(None, None, None)

    @property
    def _label(self) -> LockLabel:
        return self._demo.simulator.locks[0]

    async def _truth(self) -> dict[str, Any]:
        return await self._demo.simulator.truth(self._label.id)

    async def _act(self, action: str, **details: Any) -> None:
        await self._demo.simulator.act(self._label.id, action, **details)

    def _shown(self, entity_id: str = "") -> str:
        state = self._client.states.get(entity_id or self._entity)
        return state.value if state else "not there"

    async def _keys(self) -> set[str]:
        """The keys that Home Assistant has stored by now, to look for them in the logs."""
        stored = self.setup.folder / "config" / ".storage" / "core.config_entries"
        return {
            value
            for entry in json.loads(stored.read_text())["data"]["entries"]
            if entry["domain"] == DOMAIN
            for name, value in entry["data"].items()
            if name.endswith("key") and name != "server_key"  # which everybody may know
        }

    async def _settled(self, bolt: str, seconds: float = 10.0) -> None:
        """Wait until Home Assistant shows the bolt so, and check that it really stands so."""
        await self._client.wait_for_state(self._entity, bolt, seconds)
        truth = (await self._truth())["bolt"]
        expect(truth == bolt, f"Home Assistant shows {bolt}, but the bolt is {truth}")

    async def _operate(self, service: str, seen: list[str], bolt: str) -> str:
        """Call an action of the lock and compare what was shown meanwhile with what is expected."""
        since, before = len(self._client.published), self._shown()
        began = time.monotonic()
        await self._client.call("lock", service, self._entity)
        took = time.monotonic() - began
        await self._settled(bolt)
        shown = values(self._client.published[since:], self._entity)
        if shown[:1] == [before]:
            del shown[0]  # nothing new but who did it, which the log tells a moment later
        expect(shown == seen, f"expected {' → '.join(seen)}, shown was {' → '.join(shown)}")
        return f"confirmed after {took:.2f} s"


def on_off(value: object) -> str:
    """The state of a binary sensor."""
    return "on" if value else "off"


def values(states: list[State], entity_id: str) -> list[str]:
    """The values an entity went through, repeated ones once."""
    found: list[str] = []
    for state in states:
        if state.entity_id == entity_id and found[-1:] != [state.value]:
            found.append(state.value)
    return found
