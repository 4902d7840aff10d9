"""People far away: real clients that join a real home's locks over a server, and time for all of them.

    afar = Afar(world, server_entry, tmp_path)
    anna = await afar.join(person_id)
    done = await afar.wait(anna.unlock(device))

Time stands still unless `play` or `wait` moves it, for the locks, Home Assistant and the clients
alike; in between there is real time for sockets and threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple, override

from bsld import const as c
from igrs_rac import LockRefusedError, Memory, RacError, RemoteClient, read_link
from ras_house import Patience, breathe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from igrs_rac import Done
    from igrs_rac.conversation import Operation
    from world import World

__all__ = ["Afar", "Client", "LockRefusedError", "Moved", "RacError", "Watch"]


class Moved(NamedTuple):
    """A lock's motor was started, or somebody wanted it to be. The time is monotonic."""

    at: float
    device: str
    operation: int
    slot: int


class Watch:
    """Sees what a lock's core does, whatever anybody says about it."""

    def __init__(self, lock: TestLock) -> None:
        self.lock = lock
        self.moved: list[Moved] = []
        self.bolts: list[tuple[float, int]] = []
        """Where the bolt was from when on."""
        self._note()
        start, run = lock.start, lock.run

        def started(operation: int) -> None:
            slot = lock.core.movement._slot
            self.moved.append(Moved(time.monotonic(), lock.unique_id, operation, slot))
            self._note()
            start(operation)

        def ran() -> None:
            run()
            self._note()

        lock.start = started  # type: ignore[method-assign]
        lock.run = ran  # type: ignore[method-assign]

    def _note(self) -> None:
        if not self.bolts or self.bolts[-1][1] != self.bolt:
            self.bolts.append((time.monotonic(), self.bolt))

    def was(self, since: float) -> set[int]:
        """Where the bolt was at any time since then."""
        before = [bolt for at, bolt in self.bolts if at <= since][-1:]
        return {*before, *(bolt for at, bolt in self.bolts if at > since)}

    @property
    def bolt(self) -> int:
        """Where the bolt is."""
        return self.lock.core.movement.state

    @property
    def writes(self) -> int:
        """How many packets were written to the lock."""
        return sum(what == "write" for what, _ in self.lock.traffic)


class Client(RemoteClient):  # type: ignore[misc]  # of it mypy has a run of its own
    """A phone. Notes what its person wanted, and when."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory, pause=lambda _attempt: 0.5)
        self.asked: list[Moved] = []

    @override
    async def operate(self, device: str, operation: Operation) -> Done:
        slot = self.locks[device].keys.slot
        self.asked.append(Moved(time.monotonic(), device, int(operation), slot))
        return await super().operate(device, operation)


class Afar:
    """One home, one server, and who is far away."""

    def __init__(self, world: World, entry: ConfigEntry[Any], folder: Path) -> None:
        self.busy: Callable[[], bool] = lambda: False
        """Whether something works in a thread that gives up when too much time passes."""
        self.world = world
        self.entry = entry
        self.folder = folder
        self.clients: list[Client] = []
        self.watches = {lock.unique_id: Watch(lock) for lock in world.locks.values()}

    @property
    def gateway(self) -> Any:
        """The entry's gateway."""
        return self.entry.runtime_data

    # --- time -----------------------------------------------------------------------------------

    async def play(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0.0005:
            await self._rest()
            await self.world.advance(min(left, step), step)
            await breathe(self.world.hass)

    async def _rest(self) -> None:
        """Wait, without time, for what works in threads."""
        patience = Patience()
        while self.busy():
            patience.check()
            await breathe(self.world.hass)

    async def until(self, condition: Callable[[], Any], seconds: float = 150) -> Any:
        """Let time pass until something is so; return it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for _ in range(3):
                if found := condition():
                    return found
                await breathe(self.world.hass)
            await self._rest()
            await self.world.advance(0.1, 0.1)
        return await self.now(condition)

    async def now(self, condition: Callable[[], Any]) -> Any:
        """Wait without time until something is so; return it."""
        patience = Patience()
        while not (found := condition()):
            patience.check()
            await breathe(self.world.hass)
        return found

    async def quiet(self, times: int = 12) -> None:
        """Let sockets and threads do all that needs no time."""
        for _ in range(times):
            await breathe(self.world.hass)
            await self.world.settle()

    async def wait(self, work: Any, seconds: float = 60) -> Any:
        """Let time pass until work is done; return its result."""
        task = asyncio.ensure_future(work)
        await self.until(task.done, seconds)
        return task.result()

    # --- people ---------------------------------------------------------------------------------

    async def invite(self, person_id: str) -> str:
        """Invite a phone; return the link."""
        person = self.gateway.home.persons()[person_id]
        link: str = await self.wait(self.gateway.people.async_invite(person, 7))
        return link

    def client(self, link: str, name: str = "Phone") -> Client:
        """A client that has a link and did nothing with it yet."""
        path = self.folder / f"client-{len(self.clients)}.json"
        client = Client(Memory.begin(path, read_link(link), name))
        self.clients.append(client)
        return client

    async def join(self, person_id: str, name: str = "Phone") -> Client:
        """Invite somebody and let them join; return their client, once it may operate every lock."""
        client = self.client(await self.invite(person_id), name)
        client.start()
        person = self.gateway.home.persons()[person_id]
        await self.until(lambda: client.down is None)
        await self.until(lambda: person.locks <= client.locks.keys())
        await self.until(lambda: self.gateway.people.may_use(person_id))
        return client

    async def tries(self, work: Any, seconds: float = 60) -> Any:
        """Return what comes of something: its result, or what the client says instead."""
        try:
            return await self.wait(work, seconds)
        except RacError as error:
            return error

    async def heard(self, *clients: Client) -> None:
        """Wait until clients have a state of each lock whose nonce opens a session at once."""
        await self.until(
            lambda: all(
                lock.nonce() is not None for client in clients for lock in client.locks.values()
            )
        )

    async def close(self) -> None:
        """End all clients."""
        for client in self.clients:
            with contextlib.suppress(RacError):
                await self.wait(client.close())

    # --- what must be so ------------------------------------------------------------------------

    def moved(self) -> list[Moved]:
        """Whatever moved on any lock."""
        return sorted(one for watch in self.watches.values() for one in watch.moved)

    def shown(self, device: str) -> str:
        """What Home Assistant shows of a lock."""
        return self.world.state(self.watches[device].lock)

    def is_shown_as_it_is(self, device: str) -> bool:
        """Whether Home Assistant shows what the core says."""
        names = {c.BOLT_LOCKED: "locked", c.BOLT_UNLOCKED: "unlocked", c.BOLT_OPEN: "open"}
        return self.shown(device) == names[self.watches[device].bolt]
