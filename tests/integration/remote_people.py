"""A home with a lock and a server, and the phones of its people."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from igrs_ras import sites
from phone_command import read_link
from ras_house import breathe
from tenants import Tenants

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.person import DEFAULT_RIGHTS, Kind
from custom_components.igrs_lock.remote.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Callable

    from board import TestLock
    from home_parts import Invitation
    from homeassistant.config_entries import ConfigEntry
    from phone import Phone
    from ras_house import RasHouse
    from world import World

    from custom_components.igrs_lock.remote.gateway import Gateway
    from custom_components.igrs_lock.remote.people import RemotePeople
    from custom_components.igrs_lock.remote.store import RemoteStore

REMOTE = DEFAULT_RIGHTS[Kind.RESIDENT] | ilp.Right.REMOTE_USE | ilp.Right.FOLLOW_STATE


class Street:
    """What happens between a home, its server and phones far away."""

    remote = REMOTE

    def __init__(
        self,
        world: World,
        lock: TestLock,
        ras: RasHouse,
        entry: ConfigEntry[Any],
        server: ConfigEntry[Any],
    ) -> None:
        self.world = world
        self.hass = world.hass
        self.lock = lock
        self.ras = ras
        self.entry = entry
        self.server = server
        self.tenants = Tenants(world, lock, entry)

    async def prepare(self) -> None:
        """Make the lock reachable over the server."""
        self.hass.config_entries.async_update_entry(
            self.server, options={"locks": [self.lock.unique_id]}
        )
        await self.ras.until(lambda: self.store.locks)
        await self.settle()

    @property
    def gateway(self) -> Gateway:
        found: Gateway = self.server.runtime_data
        return found

    @property
    def people(self) -> RemotePeople:
        return self.gateway.people

    @property
    def store(self) -> RemoteStore:
        return self.gateway.store

    # --- waiting ---

    async def settle(self) -> None:
        """Let everything be written to the lock."""
        for _ in range(12):
            await self.world.advance(5)
            await breathe(self.hass)
            if not self.tenants.keeper.pending:
                return
        raise AssertionError("never done")

    async def told(self) -> None:
        """Wait until the server knows all there is to know, keys among it."""
        for attempt in range(200):
            if await self.in_step() and not self._busy:
                return
            if attempt % 5 == 0:
                await self.world.advance(1)  # changes are collected
            await breathe(self.hass)
        raise AssertionError("the server is not in step")

    @property
    def _busy(self) -> bool:
        return self.people._task is not None or "keys" in self.people._timers

    async def in_step(self) -> bool:
        """Whether the server's list is this home's."""
        own = hashlib.sha256(canonical(self.gateway.site.listing())).digest()
        server = self.ras.server

        def read(connection: Any) -> bytes:
            return sites.digest(connection, self.server.data["site"], server.clock.now_ms())

        other: bytes = await self.ras.wait(server.store.read(read))
        return own == other

    async def linked(self) -> None:
        """Wait for the link, and until everything was said that a new one begins with."""
        await self.ras.within(90, lambda: self.gateway.link.connected)
        await self.told()

    async def restart(self) -> None:
        """Let the server's entry die and begin again from its file."""
        entries = self.hass.config_entries
        await self.ras.wait(entries.async_unload(self.server.entry_id))
        assert await self.ras.wait(entries.async_setup(self.server.entry_id))
        await self.ras.until(lambda: self.gateway.link.connected)

    async def restart_server(self) -> None:
        """Let the server die, and begin again."""
        await self.ras.kill()
        await self.ras.start()
        await self.linked()

    def intercept(self, kind: str, heard: Callable[[dict[str, Any]], None]) -> None:
        """Take a type of message instead of the server, which says that it is well."""
        request = self.gateway.link.async_request

        async def answer(name: str, body: Any = None, lock: str = "") -> dict[str, Any]:
            if name == kind:
                heard(body)
                return {}
            return await request(name, body, lock)

        setattr(self.gateway.link, "async_request", answer)  # noqa: B010  it is a method

    # --- people ---

    async def add(self, name: str, pin: str = "", **fields: Any) -> str:
        """Add somebody who may use the lock remotely; the lock has the account."""
        person_id = self.tenants.add(name, pin, **{"rights": REMOTE, **fields})
        await self.settle()
        return person_id

    async def invite(self, person_id: str, days: int = 7) -> Invitation:
        """Invite a phone; return what its link says."""
        person = self.gateway.home.persons()[person_id]
        link = await self.ras.wait(self.people.async_invite(person, days))
        url, invitation = read_link(link)
        assert url == self.ras.url
        return invitation

    # --- phones ---

    async def ask(self, phone: Phone, invitation: Invitation) -> dict[str, Any]:
        """Let a phone ask until the home has answered; return the answer."""
        for _ in range(500):
            answer: dict[str, Any] = await self.ras.wait(phone.ask(invitation))
            if answer["state"] != "pending":
                return answer
            await breathe(self.hass)
        raise AssertionError("no answer")

    async def admitted(self, phone: Phone) -> None:
        """Wait until the server lets a phone in."""
        for _ in range(500):
            if await self.ras.wait(phone.member()):
                return
            await breathe(self.hass)
        raise AssertionError("not let in")

    async def join(self, invitation: Invitation, name: str = "Anna's phone") -> Phone:
        """Let a phone join by a link."""
        phone = self.ras.phone(name)
        assert (await self.ask(phone, invitation))["state"] == "answered"
        await self.ras.wait(phone.done())
        await self.admitted(phone)
        return phone

    async def locks_of(self, phone: Phone) -> list[str]:
        """The locks that the server lets a phone reach. Denied."""
        answer = await self.ras.wait(phone.call("GET", "/api/v1/locks"))
        return sorted(one["device"] for one in answer["locks"])

    def opened(self, phone: Phone) -> list[dict[str, Any]]:
        """The keys that were sent to a phone and that it can open, with their numbers."""
        found = []
        for event in phone.events:
            if event["type"] == "keys":
                with suppress(InvalidTag):
                    plain = json.loads(phone.open_update(event["body"]))
                    found.append({**plain, "number": event["body"]["number"]})
        return found

    async def keys(self, phone: Phone, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Wait until the last keys that a phone got are as wanted; return them."""
        for _ in range(100):
            if (found := self.opened(phone)) and wanted(found[-1]):
                return found[-1]
            if phone._peer is None or phone.peer.closed.done():
                # It has no heartbeat of its own while time is moved.
                await self.ras.wait(phone.connect())
            await self.world.advance(0.5)
            for _ in range(3):
                await breathe(self.hass)
        raise AssertionError("no such keys came")
