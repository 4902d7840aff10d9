"""Attack and fault cases over the whole way: client, server, home, lock (numbers as in the list of cases)."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from afar import LockRefusedError, RacError
from bsld import const as c
from hostile_ras import Parcel, Scene, calendar, hostile, scene
from igrs_rac import Done
from igrs_rac.conversation import Bolt

from custom_components.igrs_lock.ilp import Kind, NonceSource
from custom_components.igrs_lock.remote.wire import b64, unb64

if TYPE_CHECKING:
    from afar import Client

__all__ = ["calendar", "hostile", "scene"]

FORBIDDEN = 35


def person(scene: Scene, name: str) -> str:
    """Somebody's ID at home."""
    persons = scene.afar.gateway.home.persons()
    return next(str(one.id) for one in persons.values() if one.name == name)


@pytest.fixture
def wrong_clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set a module's clock wrong, by seconds."""

    def set_wrong(module: str, seconds: int) -> None:
        clock = SimpleNamespace(time=lambda: time.time() + seconds, monotonic=time.monotonic)
        monkeypatch.setattr(f"{module}.time", clock)

    return set_wrong


async def test_case_11_a_phone_whose_clock_is_ten_minutes_off(
    scene: Scene, wrong_clock: Any
) -> None:
    # By the time alone the lock cannot tell whether it is fresh: it asks, with a nonce of its own.
    front = scene.front.unique_id
    opens, asks = Kind.SESSION_OPEN, Kind.CHALLENGE_REQUEST
    for seconds, operate, kinds in (
        (600, scene.anna.unlock, [opens, opens]),  # refused with a nonce, which is as good
        (-600, scene.anna.lock_it, [asks, opens]),  # it has learned that clocks differ
    ):
        wrong_clock("igrs_rac.client", seconds)
        asked, before = len(scene.ras.for_home), len(scene.moved())
        assert isinstance(await scene.afar.wait(operate(front)), Done)
        assert len(scene.moved()) == before + 1
        sent = [unb64(one.body["data"]) for one in scene.ras.for_home[asked:] if "data" in one.body]
        assert [one[0] for one in sent] == kinds
        assert sent[-1][2] == NonceSource.CHALLENGE
        # What it sealed before it asked is good for nothing.
        for opening in scene.openings():
            if unb64(opening.body["data"])[0] != opens:
                continue
            ended = await scene.relay(scene.again(opening))
            assert ended["outcome"] == "failed"
        assert len(scene.moved()) == before + 1
        await scene.afar.play(20)


async def test_case_13_a_change_of_any_byte_of_what_is_sealed_reaches_no_radio(
    scene: Scene,
) -> None:
    scene.ras.meddle_home = lambda _parcel: []
    asked = asyncio.ensure_future(scene.anna.unlock(scene.front.unique_id))
    await scene.afar.until(scene.openings)
    opening = scene.openings()[-1]
    sealed = unb64(opening.body["data"])
    assert len(sealed) <= 60  # as many as a server may begin in a minute
    connections, writes = scene.world.connections, scene.writes()
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1 << (place % 8)
        part = {"data": b64(bytes(changed)), "hash": b64(hashlib.sha256(changed).digest())}
        ended = await scene.relay(scene.again(opening, **part))
        assert ended["outcome"] == "failed"
        assert ended["code"] in (10, FORBIDDEN)
    assert isinstance(await scene.afar.tries(asked), RacError)
    assert (scene.world.connections, scene.writes()) == (connections, writes)
    assert scene.moved() == []


async def test_case_21_22_the_last_use_and_two_phones_at_once(scene: Scene) -> None:
    front, anna, ras = scene.front.unique_id, scene.anna, scene.ras
    tablet = await scene.afar.join(person(scene, "Anna"), "Anna's tablet")
    scene.tenants.change(person(scene, "Anna"), uses=1)
    await scene.afar.until(lambda: scene.tenants.account("Anna").uses == 1, 60)
    await scene.afar.play(15)
    await scene.afar.heard(anna, tablet)
    # An attempt that comes too late for the lock uses nothing up.
    ras.meddle_home = lambda parcel: [] if parcel.kind.startswith("relay") else [parcel]
    asked = asyncio.ensure_future(anna.open(front))
    await scene.afar.until(scene.openings)
    await scene.afar.play(12)
    await scene.relay(scene.again(scene.openings()[-1]))
    await scene.afar.tries(asked)
    assert scene.tenants.account("Anna").uses == 1
    ras.meddle_home = lambda parcel: [parcel]
    await scene.afar.play(16)
    await scene.afar.heard(anna, tablet)
    # Both at once: one of them gets in, once.
    both = [asyncio.ensure_future(client.open(front)) for client in (anna, tablet)]
    ends = [await scene.afar.tries(task) for task in both]
    assert scene.moved() == [("front", c.OP_OPEN)]
    assert sum(isinstance(end, Done) for end in ends) == 1
    assert scene.tenants.account("Anna").uses == 0
    await scene.afar.play(10)
    await scene.afar.heard(anna, tablet)
    for client in (anna, tablet):
        assert isinstance(await scene.afar.tries(client.open(front)), RacError)
    # Who has no use left may still lock.
    assert (await scene.afar.wait(tablet.lock_it(front))).bolt is Bolt.LOCKED
    assert scene.moved() == [("front", c.OP_OPEN), ("front", c.OP_LOCK)]


@pytest.mark.parametrize("code", [2, 3, 5, 6])
async def test_case_51_errors_that_a_third_party_writes_cause_one_retry_at_most(
    scene: Scene, code: int
) -> None:
    front, lock = scene.front.unique_id, scene.front

    def wrote(data: bytes) -> bytes:
        if data[1] == Kind.SESSION_OPEN:
            for connection in lock.connections:
                connection.inject(bytes((Kind.ERROR, code)) + secrets.token_bytes(8))
        return data

    lock.on_write = wrote
    end = await scene.afar.tries(scene.anna.open(front))
    relayed = [one for one in scene.ras.for_home if one.kind in ("relay.open", "relay.data")]
    assert len(relayed) <= 2
    assert len(scene.moved()) <= 1
    if isinstance(end, Done):
        assert scene.moved() == [("front", c.OP_OPEN)]
    else:
        assert isinstance(end, RacError)
    await scene.afar.play(16)
    assert scene.afar.is_shown_as_it_is(front)


async def test_case_61_a_home_that_lives_in_the_past(scene: Scene, wrong_clock: Any) -> None:
    front = scene.front.unique_id
    link = await scene.afar.invite(person(scene, "Anna"))
    scene.tenants.change(person(scene, "Anna"), not_after=int(time.time()) + 60)
    await scene.afar.until(lambda: scene.tenants.account("Anna").not_after, 60)
    await scene.afar.play(65, step=0.5)
    await scene.afar.heard(scene.anna)
    writes = scene.writes()
    assert isinstance(await scene.afar.tries(scene.anna.unlock(front)), RacError)
    assert scene.writes() == writes, "the home knows that it is over"
    # Its clock is set back by an hour. It lets her through; the lock does not.
    wrong_clock("custom_components.igrs_lock.remote.tenants", -3600)
    assert isinstance(await scene.afar.tries(scene.anna.unlock(front)), LockRefusedError)
    assert scene.moved() == []
    # A link that has expired is not good again either: the server's clock counts, too.
    scene.ras.ahead_ms = 8 * 86_400_000
    await scene.afar.play(70, step=1)
    late = scene.afar.client(link, "Late")
    late.start()
    await scene.afar.until(lambda: late.over)
    assert not late.locks
    assert scene.ras.said("join.answer")[-1]["outcome"] == "refused"


async def test_case_43_an_answer_that_the_server_is_not_ready_for_comes_later(
    scene: Scene,
) -> None:
    ras = scene.ras
    refusal = {"status": 50, "message": "not ready"}
    ras.answer = lambda message: refusal if message["type"] == "join.answer" else None
    ras.meddle_join = lambda answer: answer | {"state": "pending"}
    client: Client = scene.afar.client(await scene.afar.invite(person(scene, "Ben")), "Tablet")
    client.start()
    await scene.afar.play(10)
    assert not client.locks
    ras.answer = lambda _message: None
    ras.meddle_join = lambda answer: answer
    answers = len(ras.said("join.answer"))
    await scene.afar.until(lambda: len(ras.said("join.answer")) > answers, 60)
    await scene.afar.until(lambda: client.locks and client.down is None)
    await scene.afar.heard(client)
    done = await scene.afar.wait(client.unlock(scene.back.unique_id))
    assert done.bolt is Bolt.UNLOCKED


async def test_case_53_somebody_who_keeps_silent_in_a_relay_is_passed_by(scene: Scene) -> None:
    back, ras = scene.back.unique_id, scene.ras
    ask = bytes((Kind.CHALLENGE_REQUEST,))
    part = {"n": 0, "data": b64(ask), "hash": b64(hashlib.sha256(ask).digest())}
    relay = secrets.token_hex(16)
    await ras.to_home(ras.opening(relay, scene.user(scene.ben), back, part))
    await scene.afar.until(lambda: any(one["relay"] == relay for one in ras.said("relay.data")))
    # Somebody else far away, and then somebody at home, while he keeps silent.
    end: Any = None
    began = time.monotonic()
    while not isinstance(end, Done):
        assert time.monotonic() - began < 15
        end = await scene.afar.tries(scene.anna.unlock(back))
    assert scene.moved() == [("back", c.OP_UNLOCK)]
    relay = secrets.token_hex(16)
    await ras.to_home(ras.opening(relay, scene.user(scene.ben), back, part))
    await scene.afar.play(1)
    began = time.monotonic()
    await scene.afar.wait(
        scene.world.hass.services.async_call(
            "lock", "lock", {"entity_id": f"lock.{scene.back.entity}"}, blocking=True
        )
    )
    assert scene.afar.moved()[-1].at - began < 1
    parcel = Parcel("relay.end", {"relay": relay}, back)
    await ras.to_home(parcel)
