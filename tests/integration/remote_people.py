"""A home with a lock and a server, and the phones of its people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from home_parts import Invitation
from phone_command import read_link
from ras_house import breathe
from tenants import Tenants

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.person import DEFAULT_RIGHTS, Kind

if TYPE_CHECKING:
    from board import TestLock
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

    async def settle(self) -> None:
        """Let everything be written to the lock, and be told to the server."""
        for _ in range(12):
            await self.world.advance(5)
            if not self.tenants.keeper.pending:
                return
        raise AssertionError("never done")

    async def add(self, name: str, **fields: Any) -> str:
        """Add somebody who may use the lock remotely; the lock has the account."""
        person_id = self.tenants.add(name, rights=fields.pop("rights", REMOTE), **fields)
        await self.settle()
        return person_id

    async def invite(self, person_id: str, days: int = 7) -> Invitation:
        """Invite a phone; return what its link says."""
        person = self.gateway.home.persons()[person_id]
        link = await self.ras.wait(self.people.async_invite(person, days))
        url, invitation = read_link(link)
        assert url == self.ras.url
        return invitation

    async def ask(self, phone: Phone, invitation: Invitation) -> dict[str, Any]:
        """Let a phone ask until the home has answered; return the answer."""
        while True:
            answer: dict[str, Any] = await self.ras.wait(phone.ask(invitation))
            if answer["state"] != "pending":
                return answer
            await breathe(self.hass)

    async def admitted(self, phone: Phone) -> None:
        """Wait until the server lets a phone in."""
        while not await self.ras.wait(phone.member()):
            await breathe(self.hass)

    async def join(self, invitation: Invitation, name: str = "Anna's phone") -> Phone:
        """Let a phone join by a link."""
        phone = self.ras.phone(name)
        assert (await self.ask(phone, invitation))["state"] == "answered"
        await self.ras.wait(phone.done())
        await self.admitted(phone)
        return phone
