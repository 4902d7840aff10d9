"""Cases 15, 16, 58 and 60 over the whole way: what an old copy puts back revives nobody and repeats nothing."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from afar import Afar, RacError
from bsld import const as c
from hostile_ras import REMOTE
from igrs_rac.conversation import Bolt
from igrs_rac.errors import JoinGoneError, JoinRefusedError
from igrs_ras.storage.store import Store
from tenants import Backup, Tenants, restart
from world import DOMAIN

from custom_components.igrs_lock.remote.enrolment import async_enrol_anew, offer_of
from custom_components.igrs_lock.remote.link import Down

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from afar import Client
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant
    from ras_house import RasHouse
    from world import World


class House:
    """A home at the real server; Anna and Ben may use its door from far away."""

    def __init__(self, afar: Afar, ras: RasHouse, tenants: Tenants) -> None:
        self.afar = afar
        self.ras = ras
        self.tenants = tenants
        self.lock = tenants.lock
        self.device = tenants.lock.unique_id
        self.anna = tenants.add("Anna", rights=REMOTE)
        self.ben = tenants.add("Ben", rights=REMOTE)

    @property
    def file(self) -> str:
        """Where the home keeps what it knows of the server."""
        return f"{DOMAIN}.remote.{self.afar.entry.entry_id}"

    async def works(self, client: Client) -> None:
        """Somebody far away opens and locks the door."""
        await self.afar.until(lambda: client.down is None and self.device in client.locks)
        await self.afar.heard(client)
        moved = len(self.afar.moved())
        assert (await self.afar.wait(client.unlock(self.device))).bolt is Bolt.UNLOCKED
        assert (await self.afar.wait(client.lock_it(self.device))).bolt is Bolt.LOCKED
        assert [one.operation for one in self.afar.moved()[moved:]] == [c.OP_UNLOCK, c.OP_LOCK]

    async def is_out(self, client: Client) -> None:
        """Somebody far away gets nothing done: not a message of theirs reaches the lock."""
        await self.afar.play(8)
        moved, traffic = len(self.afar.moved()), len(self.lock.traffic)
        assert isinstance(await self.afar.tries(client.unlock(self.device)), RacError)
        assert (len(self.afar.moved()), len(self.lock.traffic)) == (moved, traffic)

    async def linked(self) -> None:
        """Wait for the link."""
        await self.afar.until(lambda: self.afar.gateway.link.connected)
        await self.afar.play(10)

    async def restore(self, storage: dict[str, Any], backup: Backup, remote: Any) -> None:
        """Put a backup of Home Assistant in the place of what it knows now."""

        async def put_back() -> None:
            await backup._put_back()
            storage[self.file] = copy.deepcopy(remote)

        await self.afar.wait(restart(self.tenants, put_back))


def _noted(before: Callable[..., Awaitable[Any]], jobs: set[object]) -> Callable[..., Any]:
    """Note which jobs of the server's database go on."""

    async def job(*given: Any) -> Any:
        jobs.add(name := object())
        try:
            return await before(*given)
        finally:
            jobs.discard(name)

    return job


@pytest.fixture
async def house(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncGenerator[House]:
    await world.advance(8)
    afar = Afar(world, enrolled, tmp_path)
    jobs: set[object] = set()
    for name in ("read", "_submit"):
        monkeypatch.setattr(Store, name, _noted(getattr(Store, name), jobs))
    afar.busy = lambda: bool(jobs)
    house = House(afar, ras, Tenants(world, lock, entry))
    hass.config_entries.async_update_entry(enrolled, options={"locks": [lock.unique_id]})
    await afar.until(lambda: afar.gateway.store.locks)
    await afar.play(12)
    yield house
    await afar.close()


async def test_case_58_a_backup_of_home_assistant_is_put_back(
    hass: HomeAssistant, hass_storage: dict[str, Any], house: House
) -> None:
    afar, ras = house.afar, house.ras
    anna = await afar.join(house.anna, "Anna's phone")
    link = await afar.invite(house.ben)
    await afar.play(5)
    backup, remote = Backup(house.tenants), copy.deepcopy(hass_storage[house.file])
    # Since then: the link was used, keys were sent again, the home connected once more.
    ben = afar.client(link, "Ben's phone")
    ben.start()
    await afar.until(lambda: house.device in ben.locks and ben.down is None)
    await house.works(ben)
    hass.config_entries.async_update_entry(house.tenants.entry, title="Front door")
    await afar.until(lambda: anna.memory.number)
    number = anna.memory.number
    await afar.wait(hass.config_entries.async_reload(afar.entry.entry_id))
    await house.linked()
    await house.restore(hass_storage, backup, remote)
    # The server takes it for a copy, and so it is: nothing is carried until the owner acts.
    await afar.until(lambda: afar.gateway.link.down is Down.COPY)
    await house.is_out(anna)
    await afar.play(130, step=5)
    assert afar.gateway.link.down is Down.COPY
    for service, bolt in (("unlock", c.BOLT_UNLOCKED), ("lock", c.BOLT_LOCKED)):
        target = {"entity_id": f"lock.{house.lock.entity}"}
        await afar.wait(hass.services.async_call("lock", service, target, blocking=True))
        assert afar.watches[house.device].bolt == bolt
    # With a place of its own again: the link that was open in the backup is open to nobody.
    code = await ras.code(site=afar.entry.data["site"])
    await afar.wait(async_enrol_anew(hass, afar.entry, offer_of(afar.entry, code)))
    await house.linked()
    late = afar.client(link, "Somebody's phone")
    late.start()
    await afar.until(lambda: late.over)
    assert isinstance(late.down, (JoinGoneError, JoinRefusedError))
    # Anna goes on, with keys under a number that was never used; Ben's phone nobody knows.
    hass.config_entries.async_update_entry(house.tenants.entry, title="Garden door")
    await afar.until(lambda: anna.memory.number > number)
    assert anna.refused_keys == 0
    await house.works(anna)
    await house.is_out(ben)


async def test_case_16_60_both_are_put_back_from_before_somebody_was_removed(
    hass_storage: dict[str, Any], house: House
) -> None:
    afar, ras = house.afar, house.ras
    anna = await afar.join(house.anna, "Anna's phone")
    ben = await afar.join(house.ben, "Ben's phone")
    await house.works(ben)
    await afar.play(6)
    backup, remote = Backup(house.tenants), copy.deepcopy(hass_storage[house.file])
    await afar.wait(ras.stop())
    old = ras.copy()
    await afar.wait(ras.start())
    await house.linked()
    account = house.tenants.key("Ben").account_id
    # Removed and invited again, he is somebody else: the old phone stays out, the new one is in.
    house.tenants.remove(house.ben)
    await afar.until(lambda: len(house.tenants.accounts()) == 1)
    await house.is_out(ben)
    again = house.tenants.add("Ben", rights=REMOTE)
    await afar.play(12)
    new = await afar.join(again, "Ben's new phone")
    await house.works(new)
    await house.is_out(ben)
    # The whole machine from before: who was removed is known to both, and not to the lock.
    await afar.wait(ras.stop())
    ras.put_back(old)
    await afar.wait(ras.start())
    await house.restore(hass_storage, backup, remote)
    await afar.play(60, step=1)
    assert house.lock.core.accounts.find(account) is None, "written again by itself"
    for client in (ben, new):
        moved = len(afar.moved())
        assert isinstance(await afar.tries(client.unlock(house.device)), RacError)
        assert len(afar.moved()) == moved
    assert afar.is_shown_as_it_is(house.device)
    # Sessions of before are void at a server that was put back: not even Anna's goes on by itself.
    assert anna.down is not None
