"""Joins under a server that chooses what it may choose: identifiers, times, names. Case 57."""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import patch

import pytest
from afar import RacError
from folk import Folk
from hostile_ras import Parcel, Scene, calendar, hostile, scene

from custom_components.igrs_lock.errors import LedgerNotSavedError
from custom_components.igrs_lock.ledger import Ledger
from custom_components.igrs_lock.remote.errors import Unreachable
from custom_components.igrs_lock.remote.http import RasHttp
from custom_components.igrs_lock.remote.records import InvitationState
from custom_components.igrs_lock.remote.wire import MILLIS_MAX

__all__ = ["calendar", "hostile", "scene"]


def person(scene: Scene, name: str) -> str:
    """Return somebody's ID."""
    persons = scene.afar.gateway.home.persons().values()
    return next(str(one.id) for one in persons if one.name == name)


async def test_case_57_phones_that_a_server_gives_one_identifier(scene: Scene) -> None:
    ras, store = scene.ras, scene.afar.gateway.store
    people = scene.afar.gateway.people
    annas = next(one for one in store.phones.values() if one.person_id == person(scene, "Anna"))
    before = dict(store.phones)
    link = await scene.afar.invite(person(scene, "Ben"))
    invitation = link.split(",")[1]
    requests: list[Parcel] = []

    def as_annas(parcel: Parcel) -> list[Parcel]:
        if parcel.kind != "join.request":
            return [parcel]
        requests.append(parcel)
        return [parcel.but(join=annas.id)]

    ras.meddle_home = as_annas
    tablet = scene.afar.client(link, "![see](https://mallory.example/x) [Ben's] tablet")
    tablet.start()
    await scene.afar.until(lambda: ras.said("join.answer")[-1]["join"] == annas.id)
    # Ben's tablet would be found when Anna loses hers, and Anna's phone would be nowhere.
    assert ras.said("join.answer")[-1] == {"join": annas.id, "outcome": "refused"}
    item = store.invitations[invitation]
    assert (store.phones, item.state) == (before, InvitationState.OPEN)
    # Nor later, in the name of a server that was put back; the link is as good as before.
    ras.meddle_home = lambda parcel: [parcel]
    (asked,) = requests
    await ras.event("join.request", asked.body)
    await scene.afar.until(lambda: item.state is InvitationState.ANSWERED)
    await ras.event("join.request", asked.but(join=annas.id).body)
    await scene.afar.until(lambda: ras.said("join.answer")[-1]["join"] == annas.id)
    assert "box" not in ras.said("join.answer")[-1]
    await scene.afar.until(lambda: tablet.memory.joined)
    await scene.afar.until(lambda: len(store.phones) == len(before) + 1)
    assert store.phones.items() >= before.items()
    # Its name is a guest's words, and stands in dialogs: no picture and no link.
    name = next(one.name for one in store.phones.values() if one.id not in before)
    assert name == "! see (https://mallory.example/x) Ben's tablet"
    accounts = {one.account_id for one in scene.tenants.accounts()}
    await scene.afar.wait(people.async_lose_phone(annas.id))
    await scene.afar.play(12)
    gone = accounts - {one.account_id for one in scene.tenants.accounts()}
    assert [key.hex() for key in gone] == [
        scene.anna.locks[scene.front.unique_id].keys.account_id.hex()
    ]


async def test_case_57_a_phone_that_joined_in_the_far_future_can_be_ended(scene: Scene) -> None:
    ras, store = scene.ras, scene.afar.gateway.store
    ben = person(scene, "Ben")
    client = scene.afar.client(await scene.afar.invite(ben), "Ben's tablet")
    ras.meddle_home = lambda parcel: [] if parcel.kind == "join.done" else [parcel]
    client.start()
    await scene.afar.until(lambda: ras.events_home[-1].kind == "join.done")
    ras.ahead_ms = MILLIS_MAX - round(time.time() * 1000) - 10**6
    await scene.afar.play(31, step=0.5)  # the home has its clock by now
    assert scene.afar.gateway.link.clock.now_ms() > MILLIS_MAX - 10**7
    # By that clock every invitation has ended; they are not forgotten for a server's word.
    assert not scene.afar.gateway.people.invitations.drop_expired()
    await ras.to_home(ras.events_home[-1])
    await scene.afar.until(lambda: len(scene.afar.gateway.people.phones.of_person(ben)) == 2)
    folk = Folk(scene.world)
    form = await folk.reconfigure(ben, "phones")
    lost = next(one.id for one in store.phones.values() if one.name == "Ben's tablet")
    form = await scene.afar.wait(folk.submit(form, {"phone": lost}))
    form = await scene.afar.wait(folk.submit(form, {}))
    assert (form["type"], form["reason"]) == ("abort", "phone_ended")
    assert lost not in store.phones


async def test_case_42_60_a_lost_phone_is_out_also_while_nothing_can_be_stored(
    scene: Scene,
) -> None:
    front, people = scene.front.unique_id, scene.afar.gateway.people
    anna = person(scene, "Anna")
    tablet = await scene.afar.join(anna, "Anna's tablet")
    (lost,) = (one for one in people.phones.of_person(anna) if one.name == "Anna's phone")
    with patch.object(Ledger, "async_save", side_effect=LedgerNotSavedError("")):
        with pytest.raises(LedgerNotSavedError):
            await scene.afar.wait(people.async_lose_phone(lost.id))
        # Its account is as good as ever, and a server lets it in that was taken over.
        await scene.afar.heard(scene.anna)
        assert isinstance(await scene.afar.tries(scene.anna.unlock(front)), RacError)
        assert scene.moved() == []
        assert not people.may_use(anna)
    # As soon as there is a disk, she has other accounts, and her tablet the keys of them.
    await scene.afar.until(lambda: people.may_use(anna), 70)
    old = scene.anna.locks[front].keys.account
    await scene.afar.until(
        lambda: front in tablet.locks and tablet.locks[front].keys.account != old, 60
    )
    await scene.afar.heard(tablet)
    done = await scene.afar.wait(tablet.unlock(front))
    assert not done.already
    assert isinstance(await scene.afar.tries(scene.anna.unlock(front)), RacError)
    assert len(scene.moved()) == 1


async def test_case_57_what_a_server_refuses_keeps_nothing_else_back(scene: Scene) -> None:
    ras = scene.ras
    first, second = sorted(map(scene.user, (scene.anna, scene.ben)))

    def refused(message: dict[str, Any]) -> dict[str, Any] | None:
        return {"status": 40} if message["body"].get("user") == first else None

    def told() -> dict[str, Any]:
        return {one["user"]: one["locks"] for one in ras.said("member.set")}

    ras.answer = refused
    ras.tape.clear()
    for name in ("Anna", "Ben"):
        scene.tenants.change(person(scene, name), suspended=True)
    await scene.afar.until(lambda: told().get(second) == [], 5)
    await scene.afar.until(lambda: {one["user"] for one in ras.said("keys.update")} >= {second}, 15)
    ras.answer = lambda _message: None
    ras.tape.clear()
    await scene.afar.until(lambda: told().get(first) == [], 70)
    await scene.afar.until(lambda: {one["user"] for one in ras.said("keys.update")} >= {first}, 15)


async def test_case_57_a_list_that_is_refused_is_sent_again_and_stands_for_what_failed(
    scene: Scene,
) -> None:
    ras, front = scene.ras, scene.front.unique_id
    digest: dict[str, Any] = {"status": 50}
    ras.answer = lambda message: digest if message["type"] == "site.digest" else None
    ras.tape.clear()
    ras.cut()
    await scene.afar.until(lambda: ras.said("site.digest"), 30)
    digest = {"match": False}
    ras.tape.clear()
    await scene.afar.until(lambda: ras.said("site.sync"), 70)
    # A proxy that knows no DELETE, for one: what is not reachable any more is out all the same.
    ras.tape.clear()
    with patch.object(RasHttp, "remove_lock", side_effect=Unreachable):
        scene.world.hass.config_entries.async_update_entry(
            scene.afar.entry, options={"locks": [front]}
        )
        await scene.afar.until(lambda: ras.said("site.sync"), 20)
    listed = ras.said("site.sync")[-1]["locks"]
    assert [one["device"] for one in listed] == [front]
