"""Case 57 by chance: a hostile server at random, between people who really use their doors.

Whatever it does, a bolt moves only since somebody wanted it just now, once for each wish; what is
shown as done is done; and nothing at home gives way.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from afar import Moved, RacError
from bsld import const as c
from homeassistant.exceptions import HomeAssistantError
from hostile_ras import Scene, calendar, hostile, scene
from igrs_rac import Done
from igrs_rac.conversation import Bolt, Operation
from mischief import Mischief

if TYPE_CHECKING:
    from afar import Client

__all__ = ["calendar", "hostile", "scene"]

STEPS = 45
LATE = 12.0
"""Seconds after which nobody wants in any more: a lock takes a wish of 10, by a clock that may differ."""
SERVICES = {Operation.LOCK: "lock", Operation.UNLOCK: "unlock", Operation.OPEN: "open"}
WANTED = {
    Operation.LOCK: {c.BOLT_LOCKED},
    Operation.UNLOCK: {c.BOLT_UNLOCKED, c.BOLT_OPEN},
    Operation.OPEN: {c.BOLT_OPEN},
}


class Play:
    """Two people, somebody at home, and a hostile server."""

    def __init__(self, scene: Scene, rng: random.Random) -> None:
        self.scene = scene
        self.rng = rng
        self.mischief = Mischief(scene, rng)
        self.asked_at_home: list[Moved] = []
        self.dones = 0
        self._wishes: list[tuple[Client, Moved, asyncio.Task[Any]]] = []
        self._at_home: list[asyncio.Task[Any]] = []
        gateway = scene.afar.gateway
        self._phones = {one.id: one.user for one in gateway.store.phones.values()}
        self._members = gateway.people.members()
        self._accounts = {one.account_id for one in scene.tenants.accounts()}
        self._slots = {
            (device, lock.keys.slot): name
            for name, client in (("Anna", scene.anna), ("Ben", scene.ben))
            for device, lock in client.locks.items()
        }

    async def step(self) -> None:
        """Let something happen."""
        chance = self.rng.random()
        if chance < 0.35:
            self._somebody_wants()
        elif chance < 0.45:
            self._somebody_at_home_wants()
        if self.rng.random() < 0.6:
            await self.mischief.act()
        await self.scene.afar.play(self.rng.choice((0.0, 0.2, 0.5, 1.0, 3.0, 8.0)), 0.5)
        await self.scene.afar.quiet(2)
        self.check()

    def _somebody_wants(self) -> None:
        client = self.rng.choice((self.scene.anna, self.scene.ben))
        device = self.rng.choice(sorted(client.locks))
        if client.down is not None or client.lock(device).busy.locked():
            return
        operation = self.rng.choice((Operation.LOCK, Operation.UNLOCK, Operation.OPEN))
        task = asyncio.ensure_future(client.operate(device, operation))
        wish = Moved(time.monotonic(), device, int(operation), client.locks[device].keys.slot)
        self._wishes.append((client, wish, task))

    def _somebody_at_home_wants(self) -> None:
        lock = self.rng.choice((self.scene.front, self.scene.back))
        operation = self.rng.choice((Operation.LOCK, Operation.UNLOCK))
        self.asked_at_home.append(Moved(time.monotonic(), lock.unique_id, int(operation), -1))
        call = self.scene.world.hass.services.async_call(
            "lock", SERVICES[operation], {"entity_id": f"lock.{lock.entity}"}, blocking=True
        )
        self._at_home.append(asyncio.ensure_future(call))

    # --- what must be so ------------------------------------------------------------------------

    def check(self) -> None:
        """Compare what is claimed with what the cores did."""
        self._bolts_moved_for_wishes()
        self._done_is_done()
        self._shown_is_true()
        gateway = self.scene.afar.gateway
        assert {one.id: one.user for one in gateway.store.phones.values()} == self._phones
        assert gateway.people.members() == self._members
        assert not gateway.store.owners
        assert {one.account_id for one in self.scene.tenants.accounts()} == self._accounts

    def _bolts_moved_for_wishes(self) -> None:
        """Each movement is one wish's, of that very person; at home, of somebody at home."""
        left = [*self.scene.anna.asked, *self.scene.ben.asked]
        home = [*self.asked_at_home]
        for moved in self.scene.afar.moved():
            remote = (moved.device, moved.slot) in self._slots
            wishes = left if remote else home
            found = [
                wish
                for wish in wishes
                if (wish.device, wish.operation) == (moved.device, moved.operation)
                and (not remote or wish.slot == moved.slot)
                and wish.at <= moved.at <= wish.at + (LATE if remote else 60)
            ]
            assert found, f"{moved} was nobody's wish"
            wishes.remove(found[0])

    def _done_is_done(self) -> None:
        for client, wish, task in [*self._wishes]:
            if not task.done():
                continue
            self._wishes.remove((client, wish, task))
            try:
                done = task.result()
            except RacError:
                continue
            assert isinstance(done, Done)
            assert (done.operation, wish.device in client.locks) == (wish.operation, True)
            watch = self.scene.afar.watches[wish.device]
            assert WANTED[done.operation] & watch.was(wish.at), (done, wish, watch.bolts[-6:])
            if not done.already:
                assert any(
                    one.operation == wish.operation and one.at >= wish.at - 4 for one in watch.moved
                ), (done, wish, watch.moved)
            self.dones += 1
        for task in [*self._at_home]:
            if task.done():
                self._at_home.remove(task)
                error = task.exception()
                assert error is None or isinstance(error, HomeAssistantError), error

    def _shown_is_true(self) -> None:
        """Clients show nothing that was not so at the time that they say."""
        for client in (self.scene.anna, self.scene.ben):
            for device, lock in client.locks.items():
                view = lock.view
                if view.why is None and view.bolt not in (None, Bolt.UNKNOWN):
                    since = time.monotonic() - view.age - 1.5
                    was = self.scene.afar.watches[device].was(since)
                    assert int(view.bolt) in was, (view, was)

    async def settle(self, *, known: bool = False) -> None:
        """Let everything come to rest, and compare Home Assistant with the cores.

        `known`: nothing keeps the log from being read, so it is also known who it was.
        """
        afar = self.scene.afar
        await afar.until(lambda: all(task.done() for *_, task in self._wishes), 90)
        await afar.until(lambda: all(task.done() for task in self._at_home), 90)
        await afar.play(12, 0.5)
        self.check()
        for lock in (self.scene.front, self.scene.back):
            assert afar.is_shown_as_it_is(lock.unique_id)
            moved = afar.watches[lock.unique_id].moved
            at, _ = afar.watches[lock.unique_id].bolts[-1]
            if moved and moved[-1].operation != c.OP_OPEN and at > moved[-1].at + 1:
                continue  # a latch that fell back later than somebody locked
            if moved and (name := self._slots.get((lock.unique_id, moved[-1].slot))):
                shown = self.scene.world.attribute(lock, "changed_by")
                assert shown == name or (shown is None and not known)


@pytest.mark.parametrize("seed", [11, 12, 13])
async def test_case_57_whatever_a_hostile_server_does(
    scene: Scene, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(seed)
    play = Play(scene, rng)
    world, began = scene.world, time.monotonic()
    connections = world.connections
    caplog.clear()
    for number in range(STEPS):
        await play.step()
        if number % 15 == 14:
            await play.settle()
    minutes = (time.monotonic() - began) / 60
    assert world.connections - connections <= 40 * minutes + 20
    assert scene.afar.moved(), "nothing happened at all"
    # Honest again it does its work: it broke nothing.
    play.mischief.rest()
    scene.ras.ahead_ms = 0
    gateway = scene.afar.gateway
    await scene.afar.until(lambda: gateway.link.connected and gateway.link.clock.now_ms(), 700)
    await scene.afar.play(70, 1)
    await scene.afar.until(lambda: scene.anna.down is None and scene.ben.down is None, 120)
    await scene.afar.heard(scene.anna, scene.ben)
    device = scene.front.unique_id
    done = await scene.afar.wait(scene.anna.lock_it(device))
    assert done.bolt is Bolt.LOCKED
    await play.settle(known=True)
    assert play.dones
    failures = [
        record
        for record in caplog.records
        if record.levelno >= logging.ERROR or record.exc_info is not None
    ]
    assert not failures, [record.getMessage() for record in failures]
