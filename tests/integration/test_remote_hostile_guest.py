"""Somebody who may use one door from afar, and wants nobody else to use any. Case 63."""

from __future__ import annotations

import hashlib
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from bsld import const as c
from hostile_ras import Parcel, Scene, calendar, hostile, scene

from custom_components.igrs_lock.ilp import ClientSession, NonceSource, requests
from custom_components.igrs_lock.remote.wire import b64

if TYPE_CHECKING:
    from afar import Client

__all__ = ["calendar", "hostile", "scene"]


def opening(client: Client, device: str) -> bytes:
    """Return a session's beginning, as right as any."""
    keys = client.locks[device].keys
    nonce = client.locks[device].nonce()
    assert nonce is not None
    session = ClientSession(keys.key, keys.device_id, keys.slot, NonceSource.ADVERTISED, nonce)
    return session.open([requests.authenticate(keys.account_id).at(int(time.time()))])


def part(n: int, data: bytes) -> dict[str, Any]:
    """Return a relay's message."""
    return {"n": n, "data": b64(data), "hash": b64(hashlib.sha256(data).digest())}


def ended(scene: Scene, relay: str) -> bool:
    """Whether a relay has ended at home."""
    return any(one["relay"] == relay for one in scene.ras.said("relay.end"))


async def test_case_63_who_never_falls_silent_gives_way_to_others_far_away(scene: Scene) -> None:
    ras, ben, back = scene.ras, scene.ben, scene.back.unique_id
    keys, relay = ben.locks[back].keys, secrets.token_hex(16)
    nonce = ben.locks[back].nonce()
    assert nonce is not None
    session = ClientSession(keys.key, keys.device_id, keys.slot, NonceSource.ADVERTISED, nonce)

    def asked() -> Any:
        return requests.get_status().at(int(time.time()))

    first = session.open([requests.authenticate(keys.account_id).at(int(time.time())), asked()])
    await ras.to_home(ras.opening(relay, scene.user(ben), back, part(0, first)))
    for n in range(1, 6):
        await scene.afar.play(4)
        assert not ended(scene, relay)
        data = {"relay": relay} | part(n, session.seal([asked()]))
        await ras.to_home(Parcel("relay.data", data, back))
    await scene.afar.play(0.5)
    assert not ended(scene, relay)
    # Anna waits for three seconds, and Ben has just said something.
    done = await scene.afar.wait(scene.anna.unlock(back))
    assert not done.already
    assert ended(scene, relay)
    assert scene.moved() == [("back", c.OP_UNLOCK)]


async def test_case_63_who_opens_without_end_keeps_nobody_else_from_opening(scene: Scene) -> None:
    ras, ben, back = scene.ras, scene.ben, scene.back.unique_id
    for _ in range(9):
        relay = secrets.token_hex(16)
        await ras.to_home(ras.opening(relay, scene.user(ben), back, part(0, opening(ben, back))))
        for n in range(1, 128):
            data = {"relay": relay} | part(n, opening(ben, back))
            await ras.to_home(Parcel("relay.data", data, back))
        await scene.afar.until(partial(ended, scene, relay))
    await scene.afar.play(6)
    await scene.afar.heard(scene.anna)
    done = await scene.afar.wait(scene.anna.unlock(scene.front.unique_id))
    assert not done.already
    assert scene.moved() == [("front", c.OP_UNLOCK)]
