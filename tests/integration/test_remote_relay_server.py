"""The whole way: a phone that joined, the real server, Home Assistant, and the lock core."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from peer import Denied
from remote_people import Street

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.ilp import Event, NonceSource, Result, requests
from custom_components.igrs_lock.remote.wire import Status, unb64

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from phone import Phone
    from ras_house import RasHouse
    from world import World

UNLOCK = requests.operate(ilp.Operation.UNLOCK)
STATUS = requests.get_status()


class Hand:
    """A phone's hand on a lock: what it got in its box, and what it followed."""

    def __init__(self, street: Street, phone: Phone) -> None:
        self.street = street
        self.phone = phone
        (box,) = phone.box["locks"]
        self.device: str = box["device"]
        self.slot: int = box["slot"]
        self.account = ilp.parse_account_id(box["account"])
        self.key = unb64(box["key"])
        self.advertisement_key = unb64(box["advertisement_key"])
        self.relay = ""
        self.session: ilp.ClientSession | None = None
        self.exchange = ilp.Exchange()
        self._read = 0

    async def follow(self) -> ilp.Advertisement:
        """Follow, and read the state that comes: its proof must be right."""
        ras, phone = self.street.ras, self.phone
        await ras.wait(phone.follow(phone.site, self.device))
        await ras.until(lambda: phone.of_type("lock.state"))
        body = phone.of_type("lock.state")[-1]
        data, at = unb64(body["advertisement"]), body["time"]
        device_id = bytes.fromhex(self.device)
        assert unb64(body["seen"]) == ilp.seen_proof(self.advertisement_key, device_id, data, at)
        return ilp.open_advertisement(self.advertisement_key, device_id, data)

    async def open(self, *wanted: ilp.Request) -> None:
        """Open a session in a new relay, on the state that came last."""
        nonce = b"\x00" + unb64(self.phone.of_type("lock.state")[-1]["advertisement"])[3:]
        device_id = bytes.fromhex(self.device)
        self.session = ilp.ClientSession(
            self.key, device_id, self.slot, NonceSource.ADVERTISED, nonce
        )
        self.exchange, self._read = ilp.Exchange(), 0
        frames = [
            one.at(int(time.time())) for one in (requests.authenticate(self.account), *wanted)
        ]
        self.exchange.sent(frames)
        body = self.phone.opening(self.phone.site, self.device, self.session.open(frames))
        self.relay = body["key"]
        await self.street.ras.wait(self.phone.peer.send("relay.open", body))

    async def read(self, count: int) -> list[Any]:
        """Wait for so many further messages; return results and events."""
        answers = self.phone.answers(self.relay)
        for _ in range(400):
            if len(answers := self.phone.answers(self.relay)) >= self._read + count:
                break
            await self.street.world.advance(0.1)
            await self.street.ras.wait(_nothing())
        new, self._read = answers[self._read :], len(answers)
        assert self.session is not None
        return [
            item.event if isinstance(item, ilp.StateEvent) else item.result
            for message in new
            for item in self.exchange.received(self.session.receive(message))
        ]

    async def ended(self) -> str:
        """Wait for the relay's end."""
        ends = {"failed", "expired", "unknown", "answered"}
        await self.street.ras.until(lambda: ends & {*self.phone.states(self.relay)})
        return str(self.phone.states(self.relay)[-1])


async def _nothing() -> None:
    """Let sockets have their turn."""


@pytest.fixture
async def hand(
    world: World, lock: TestLock, entry: ConfigEntry[Any], ras: RasHouse, enrolled: ConfigEntry[Any]
) -> Hand:
    """Anna's phone, far away and connected."""
    street = Street(world, lock, ras, entry, enrolled)
    await street.prepare()
    phone = await street.join(await street.invite(await street.add("Anna")))
    await ras.wait(phone.connect())
    await world.advance(6)
    return Hand(street, phone)


async def test_somebody_far_away_unlocks_and_the_server_sees_nothing_of_it(
    world: World, lock: TestLock, hand: Hand
) -> None:
    street, phone = hand.street, hand.phone
    assert (await hand.follow()).bolt is ilp.Bolt.LOCKED
    lock.traffic.clear()
    await hand.open(UNLOCK)
    assert await hand.read(1) == [Result.DONE, Result.ACCEPTED]
    assert lock.kinds() == [ilp.Kind.SESSION_OPEN]  # one message over the radio
    assert await hand.read(1) == [Event.UNLOCKED]
    assert lock.operations == [c.OP_UNLOCK]
    states = ["accepted", "sent_to_gateway", "sent_to_lock"]
    assert phone.states(hand.relay) == states
    end = {"site": phone.site, "lock": hand.device, "key": hand.relay}
    await street.ras.wait(phone.peer.send("relay.end", end))
    assert await hand.ended() == "answered"
    assert street.gateway.relays.live == 0
    await world.advance(3)
    assert world.state(lock) == "unlocked"
    assert world.attribute(lock, "changed_by") == "Anna"
    await street.ras.until(lambda: phone.of_type("lock.event"))
    assert phone.of_type("lock.event")[-1]["counter"] <= lock.core.counter
    # Whoever is here goes first.
    await hand.open(STATUS)
    assert await hand.read(1) == [Result.DONE, Result.DONE]
    await world.call(lock, "lock")
    assert await hand.ended() == "unknown"


async def test_switched_off_removed_and_cut_off_nothing_goes_through(
    world: World, lock: TestLock, hand: Hand
) -> None:
    street, phone, ras = hand.street, hand.phone, hand.street.ras
    await hand.follow()
    # The lock is gone from the gateways: the phone hears it at once.
    for gate in (world.near, world.far):
        gate.forget(lock.address)
    await hand.open(UNLOCK)
    assert await hand.ended() == "failed"
    assert phone.of_type("relay.state")[-1]["code"] == Status.OUT_OF_REACH
    await world.advance(2)
    # Switched off in the middle.
    await hand.open(STATUS)
    assert await hand.read(1) == [Result.DONE, Result.DONE]
    await ras.wait(street.gateway.async_set_enabled(False))
    assert await hand.ended() == "unknown"
    with pytest.raises(Denied) as denied:
        await ras.wait(phone.relay(phone.site, hand.device, b"\x10"))
    assert denied.value.status == Status.GATEWAY_OFFLINE
    await ras.wait(street.gateway.async_set_enabled(True))
    await ras.within(10, lambda: street.gateway.link.connected)
    await ras.until(lambda: street.gateway.states.follows(hand.device))
    # The server dies in the middle: at home nothing stays behind, and people here notice nothing.
    await hand.open(UNLOCK)
    assert await hand.read(1) == [Result.DONE, Result.ACCEPTED]
    await ras.kill()
    await ras.until(lambda: not street.gateway.link.connected)
    assert street.gateway.relays.live == 0
    await world.advance(2)
    assert lock.operations == [c.OP_UNLOCK]
    await world.call(lock, "lock")
    assert world.state(lock) == "locked"
