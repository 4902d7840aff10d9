"""Case 57: a server that was taken over opens no door and shows nothing false, whatever it says.

It has the server's key, so the home and the clients take it for theirs. What happened is read from
the locks' cores and the radio, not from anybody's word.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from typing import TYPE_CHECKING, Any

from afar import RacError
from bsld import const as c
from hostile_ras import Parcel, Scene, calendar, hostile, scene
from igrs_rac import UnconfirmedError, Why
from igrs_rac.conversation import Bolt
from igrs_rac.errors import BoxError

from custom_components.igrs_lock.ilp import JoinKeyPair, join_proof
from custom_components.igrs_lock.remote.wire import b64

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant

__all__ = ["calendar", "hostile", "scene"]

FORBIDDEN = 35


def nothing(_parcel: Parcel) -> list[Parcel]:
    """Let no message through."""
    return []


async def test_case_57_a_relay_under_another_name_or_to_another_door(scene: Scene) -> None:
    front, back = scene.front.unique_id, scene.back.unique_id
    ben = scene.user(scene.ben)
    before = scene.writes()
    # To the other door, which Anna may open as well: not with what she sealed for this one.
    scene.ras.meddle_home = lambda one: [one.but(lock=back) if "data" in one.body else one]
    error = await scene.afar.tries(scene.anna.unlock(front))
    assert isinstance(error, RacError)
    assert (scene.moved(), scene.writes()) == ([], before)
    # Under Ben's name: the door opens since Anna wanted it, and it is she who did it.
    scene.ras.meddle_home = lambda one: [one.but(user=ben) if "user" in one.body else one]
    done = await scene.afar.wait(scene.anna.unlock(back))
    assert not done.already
    assert scene.moved() == [("back", c.OP_UNLOCK)]
    await scene.afar.play(8)
    assert scene.world.attribute(scene.back, "changed_by") == "Anna"
    assert scene.afar.is_shown_as_it_is(back)


async def test_case_9_57_what_was_done_once_is_not_done_again(
    hass: HomeAssistant, scene: Scene
) -> None:
    front, anna = scene.front.unique_id, scene.anna
    await scene.afar.wait(anna.unlock(front))
    opening = scene.openings()[-1]
    scene.front.core.bolt_sensed(c.BOLT_LOCKED)  # by hand
    await scene.afar.play(8)
    writes = scene.writes()
    await scene.ras.to_home(opening)
    for user in (scene.user(anna), scene.user(scene.ben)):
        ended = await scene.relay(scene.again(opening, user=user))
        assert (ended["outcome"], ended["code"]) == ("failed", FORBIDDEN)
    assert scene.writes() == writes
    # A home that started again has forgotten what it saw; then nonces of before are good for nothing.
    await scene.afar.wait(hass.config_entries.async_reload(scene.afar.entry.entry_id))
    await scene.afar.until(lambda: scene.afar.gateway.link.connected)
    ended = await scene.relay(scene.again(opening))
    assert (ended["outcome"], ended["code"]) == ("failed", FORBIDDEN)
    assert scene.moved() == [("front", c.OP_UNLOCK)]
    assert scene.afar.shown(front) == "locked"


async def test_case_10_57_a_command_that_was_held_back(scene: Scene) -> None:
    front = scene.front.unique_id
    scene.ras.meddle_home = nothing
    asked = asyncio.ensure_future(scene.anna.unlock(front))
    await scene.afar.until(scene.openings)
    opening = scene.openings()[-1]
    bens = asyncio.ensure_future(scene.ben.unlock(scene.back.unique_id))
    await scene.afar.until(lambda: len(scene.openings()) > 1)
    await scene.afar.play(12)
    # Under the server's new date. The home cannot know better, the lock does: nobody wants in now.
    ended = await scene.relay(scene.again(opening))
    assert ended["outcome"] != "failed"
    assert isinstance(await scene.afar.tries(asked), UnconfirmedError)
    assert isinstance(await scene.afar.tries(bens), UnconfirmedError)
    scene.back.core.bolt_sensed(c.BOLT_UNLOCKED)  # by hand: it advertises something else
    await scene.afar.play(65)
    # What nobody has seen yet is too old for the home, too.
    writes = scene.writes()
    for each in (opening, scene.openings()[1]):
        ended = await scene.relay(scene.again(each))
        assert (ended["outcome"], ended["code"]) == ("failed", FORBIDDEN)
    assert (scene.moved(), scene.writes()) == ([], writes)
    assert scene.anna.lock(front).view.bolt is Bolt.LOCKED


async def test_case_14_57_answers_that_belong_to_something_else(scene: Scene) -> None:
    back, anna, ras = scene.back.unique_id, scene.anna, scene.ras
    await scene.afar.wait(anna.unlock(back))
    await scene.afar.wait(scene.ben.lock_it(back))
    await scene.afar.play(3)
    said = [parcel for _, parcel in ras.for_people if parcel.kind == "relay.data"]
    assert len(said) >= 4  # an answer and an event for each
    # Whatever the lock ever answered to anybody, as the answer to what never got there.
    ras.meddle_home = nothing
    asked = asyncio.ensure_future(anna.unlock(back))
    await scene.afar.until(lambda: any(key[0] == scene.user(anna) for key in ras.relays.values()))
    name = {"site": ras.site, "lock": back, "key": scene.openings()[-1] and _key(scene, anna)}
    for n, parcel in enumerate(said):
        await ras.to_people(scene.user(anna), parcel.but(**name, n=n))
    ended = {"state": "answered", "code": 0, "n": 0}
    await ras.to_people(scene.user(anna), Parcel("relay.state", name | ended, back))
    assert isinstance(await scene.afar.tries(asked), UnconfirmedError)
    assert scene.moved() == [("back", c.OP_UNLOCK), ("back", c.OP_LOCK)]


def _key(scene: Scene, client: Any) -> str:
    """The key of a client's relay that goes on."""
    return next(
        key for user, _, key in reversed(scene.ras.relays.values()) if user == scene.user(client)
    )


async def test_case_57_dropped_doubled_reordered_and_false_ends(scene: Scene) -> None:
    front, anna, ras = scene.front.unique_id, scene.anna, scene.ras
    # The lock does it, and nobody hears so: not done, and not refused either.
    ras.meddle_people = lambda user, one: [] if one.kind == "relay.data" else [(user, one)]
    assert isinstance(await scene.afar.tries(anna.unlock(front)), UnconfirmedError)
    assert scene.moved() == [("front", c.OP_UNLOCK)]
    await scene.afar.play(8)
    assert scene.world.attribute(scene.front, "changed_by") == "Anna"
    # All of it twice: one movement, and done once.
    ras.meddle_home = lambda one: [one, one]
    ras.meddle_people = lambda user, one: [(user, one), (user, one)]
    done = await scene.afar.wait(anna.lock_it(front))
    assert (done.bolt, done.already) == (Bolt.LOCKED, False)
    assert scene.moved()[1:] == [("front", c.OP_LOCK)]
    await scene.afar.play(8)
    # The end before the answers, the event before the answer, or an end that is invented.
    for state in ("answered", "failed", "expired", "unknown"):
        parcels: list[tuple[str, Parcel]] = []
        end = {"state": state, "code": 0 if state == "answered" else 34, "n": 0}

        def turned(
            user: str,
            one: Parcel,
            end: dict[str, Any] = end,
            parcels: list[tuple[str, Parcel]] = parcels,
        ) -> list[tuple[str, Parcel]]:
            if one.kind != "relay.data":
                return [(user, one)]
            parcels.append((user, one))
            if len(parcels) < 2:
                return []
            told = {name: one.body[name] for name in ("site", "lock", "key")}
            return [(user, Parcel("relay.state", told | end, one.lock)), *reversed(parcels)]

        ras.meddle_home, ras.meddle_people = lambda one: [one], turned
        before = len(scene.moved())
        error = await scene.afar.tries(anna.open(front))
        assert isinstance(error, RacError)
        assert len(scene.moved()) == before + 1
        ras.meddle_people = lambda user, one: [(user, one)]
        await scene.afar.play(16)  # the home still waits for the client
        assert scene.afar.is_shown_as_it_is(front)


async def test_case_57_states_that_are_invented_old_or_of_another_door(scene: Scene) -> None:
    front, back, anna, ras = scene.front.unique_id, scene.back.unique_id, scene.anna, scene.ras
    view = anna.lock(front)
    await scene.afar.play(1)
    old = ras._latest[front]
    assert view.view.bolt is Bolt.LOCKED
    ras.meddle_people = lambda _user, _one: []
    # While somebody opens the door at home.
    await scene.afar.wait(_operate(scene, "unlock"))
    await scene.afar.play(1)
    new = ras._latest[front]
    assert new.body["advertisement"] != old.body["advertisement"]
    user = scene.user(anna)
    await ras.to_people(user, new)
    await scene.afar.now(lambda: view.view.bolt is Bolt.UNLOCKED)
    now = int(time.time())
    for false in (
        old,
        old.but(time=now),
        old.but(time=now, seen=new.body["seen"]),
        old.but(time=new.body["time"] + 1),
        ras._latest[back].but(time=now),
        new.but(advertisement=b64(secrets.token_bytes(10))),
        new.but(time=now + 3600),
        new.but(time=0),
    ):
        for lock in (front, back):
            await ras.to_people(user, Parcel("lock.state", false.body, lock))
        await scene.afar.quiet(3)
        # Not known, or as it is: never as it was.
        shown = view.view
        assert shown.bolt is Bolt.UNLOCKED if shown.why is None else shown.why is Why.UNREADABLE
        assert anna.lock(back).view.bolt in (None, Bolt.LOCKED)
        await ras.to_people(user, new)
    # What the server keeps to itself is told by its age.
    await ras.to_people(user, new.but(time=now))
    await ras.to_people(user, new)
    ras.meddle_home = nothing
    await scene.afar.play(95, step=1)
    assert not view.view.current
    assert view.view.why is not None or view.view.age > 90


async def _operate(scene: Scene, service: str) -> None:
    target = {"entity_id": f"lock.{scene.front.entity}"}
    await scene.world.hass.services.async_call("lock", service, target, blocking=True)


async def test_case_57_people_phones_and_owners_that_are_invented(scene: Scene) -> None:
    ras, gateway = scene.ras, scene.afar.gateway
    store, people = gateway.store, gateway.people
    persons = {one.name: one.id for one in gateway.home.persons().values()}
    link = await scene.afar.invite(persons["Anna"])
    invitation = link.split(",")[1]
    phones, members = dict(store.phones), people.members()
    user, pair = secrets.token_hex(16), JoinKeyPair()
    guessed = join_proof(bytes(16), bytes.fromhex(invitation), pair.public)

    async def asks(invitation: str, proof: bytes) -> str:
        join = secrets.token_hex(16)
        body = {
            "join": join, "invitation": invitation, "client_public": b64(pair.public),
            "proof": b64(proof), "name": "Mallory",
        }  # fmt: skip
        await ras.event("join.request", body)
        await scene.afar.until(lambda: any(one["join"] == join for one in ras.said("join.answer")))
        answer = next(one for one in ras.said("join.answer") if one["join"] == join)
        assert "box" not in answer
        return str(answer["outcome"])

    assert await asks(secrets.token_hex(16), guessed) == "refused"
    assert await asks(invitation, guessed) == "wrong"
    # Invitations that were used, under what the server knows of them.
    for used in (one for one in store.invitations if one != invitation):
        assert await asks(used, guessed) in ("wrong", "refused")
        done = {"invitation": used, "join": store.invitations[used].join, "user": user}
        await ras.event("join.done", done | {"done": b64(bytes(32))})
        await ras.event("owner.claimed", {"invitation": used, "user": user})
    done = {"invitation": invitation, "join": secrets.token_hex(16), "user": user}
    await ras.event("join.done", done | {"done": b64(bytes(32))})
    await ras.event("owner.claimed", {"invitation": invitation, "user": user})
    await ras.event("keys.wanted", {"user": user})
    await ras.event("member.left", {"user": user})
    await scene.afar.until(lambda: gateway.store.seq == len(ras.events_home))
    assert store.phones == phones
    assert people.members() == members
    assert not store.owners
    # Nobody else's keys come with somebody's answer, and the link is still good for whom it is for.
    other = scene.afar.client(await scene.afar.invite(persons["Ben"]), "Other")
    third = scene.afar.client(link, "Anna's tablet")
    ras.meddle_join = lambda answer: answer | {"state": "pending"}
    other.start(), third.start()
    await scene.afar.until(lambda: [one.state for one in ras.joins.values()] == ["answered"] * 4)
    boxes = [one for one in ras.joins.values() if one.invitation == invitation]
    false = {"invitation": invitation, "join": boxes[0].id, "user": user, "done": b64(bytes(32))}
    await ras.event("join.done", false)
    await scene.afar.until(lambda: store.seq == len(ras.events_home))
    assert store.phones == phones

    def swapped(answer: dict[str, Any]) -> dict[str, Any]:
        box = {"home_public": boxes[0].home_public, "box": boxes[0].box}
        return answer | box if answer["join"] != boxes[0].id else answer

    ras.meddle_join = swapped
    await scene.afar.until(lambda: third.memory.joined and other.over)
    assert isinstance(other.down, BoxError)
    assert not other.locks
    assert len(store.phones) == len(phones) + 1


async def test_case_57_a_list_whose_answer_says_that_all_has_ended(
    hass: HomeAssistant, scene: Scene
) -> None:
    ras, gateway = scene.ras, scene.afar.gateway
    persons = {one.name: one.id for one in gateway.home.persons().values()}
    accounts = {one.account_id for one in scene.tenants.accounts()}
    ended = {
        "users": [scene.user(scene.anna), secrets.token_hex(16), None],
        "invitations": [*gateway.store.invitations, "x"],
        "locks": [scene.front.unique_id, scene.back.unique_id],
    }
    lies: dict[str, dict[str, Any]] = {"site.digest": {"match": False}, "site.sync": ended}
    ras.answer = lambda message: lies.get(str(message["type"]))
    await scene.afar.wait(hass.config_entries.async_reload(scene.afar.entry.entry_id))
    gateway = scene.afar.gateway
    await scene.afar.until(
        lambda: ras.said("site.sync") and not gateway.people.may_use(persons["Anna"])
    )
    await scene.afar.play(5)
    # Anna's phone is out, as the server can always have it. Nothing else has changed at home.
    assert gateway.people.may_use(persons["Ben"])
    assert len(gateway.store.locks) == 2
    assert {one.account_id for one in scene.tenants.accounts()} == accounts
    assert scene.tenants.state("Anna") == "active"
    await scene.afar.until(lambda: scene.ben.down is None)
    await scene.afar.heard(scene.ben)
    assert (await scene.afar.wait(scene.ben.unlock(scene.back.unique_id))).bolt is Bolt.UNLOCKED


async def test_case_11_57_a_server_whose_clock_jumps(scene: Scene) -> None:
    front, anna, ras = scene.front.unique_id, scene.anna, scene.ras
    for ahead in (600_000, -600_000, 86_400_000 * 4000, 0):
        ras.ahead_ms = ahead
        # Right after the jump the home knows the old time only, and cannot say what is late.
        before = len(scene.moved())
        error = await scene.afar.tries(anna.unlock(front))
        if isinstance(error, RacError):
            assert len(scene.moved()) == before
        await scene.afar.play(50, step=0.5)
        assert scene.afar.is_shown_as_it_is(front)
        # Its time is as good as any: only what is late is told by it, and a lock judges by its own.
        await scene.afar.until(lambda: anna.down is None)
        await scene.afar.heard(anna)
        done = await scene.afar.wait(anna.lock_it(front))
        assert done.bolt is Bolt.LOCKED
    # Local control needs no server's time.
    await scene.afar.wait(_operate(scene, "unlock"))
    assert scene.afar.watches[front].bolt == c.BOLT_UNLOCKED


async def test_case_57_63_a_flood_uses_little_of_the_radio_and_hinders_nobody_at_home(
    scene: Scene,
) -> None:
    front, ras, world = scene.front, scene.ras, scene.world
    users = [scene.user(scene.anna), scene.user(scene.ben), secrets.token_hex(16)]
    locks = [scene.front.unique_id, scene.back.unique_id, "C00000000000"]
    ask = b"\x10"
    part = {"n": 0, "data": b64(ask), "hash": b64(hashlib.sha256(ask).digest())}
    connections = world.connections
    for _ in range(9):
        wish = {"lock": front.unique_id, "user": users[0]}
        await ras.to_home(Parcel("lock.prewarm", wish, front.unique_id))
        await scene.afar.play(11, step=1)
    assert world.connections - connections == 6  # in an hour, without anybody who comes
    connections, states = world.connections, len(ras.said("lock.state"))
    answers = len(ras.said("ok"))
    began = time.monotonic()
    for second in range(60):
        for user in users:
            for lock in locks:
                await ras.to_home(Parcel("lock.prewarm", {"lock": lock, "user": user}, lock))
                await ras.to_home(ras.opening(secrets.token_hex(16), user, lock, part))
        for _ in range(5):
            await ras.to_home(Parcel("lock.follow", {"locks": []}))
            await ras.to_home(Parcel("lock.follow", {"locks": locks[:2]}))
            guess = {"device": front.unique_id, "advertisement": b64(secrets.token_bytes(10))}
            await ras.to_home(Parcel("lock.authenticate", guess))
        if second == 30:
            # Whoever stands in front of it does not wait.
            asked = time.monotonic()
            await scene.afar.wait(_operate(scene, "unlock"))
            assert scene.moved() == [("front", c.OP_UNLOCK)]
            assert scene.afar.moved()[0].at - asked < 1
        await scene.afar.play(1, step=0.5)
    took = (time.monotonic() - began) / 60
    # Twenty relays a minute for each of two people; some share a connection.
    assert world.connections - connections <= 45 * took
    # A second of a state is told once, however often somebody begins to follow.
    assert len(ras.said("lock.state")) - states <= 2 * 61 * took
    assert len([one for one in ras.said("ok")[answers:] if "authentic" in one]) <= 10 * (took + 1)
    assert not any(one.get("authentic") for one in ras.said("ok")[answers:])
    assert scene.moved() == [("front", c.OP_UNLOCK)]
    await scene.afar.play(20, step=0.5)
    assert scene.afar.is_shown_as_it_is(front.unique_id)
