"""Joining: one phone for one link, over every cut of three sides, and nobody else."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from homeassistant.components.repairs import DOMAIN as REPAIRS
from homeassistant.core import callback
from homeassistant.helpers import issue_registry as ir
from peer import Denied
from ras_house import breathe
from remote_people import Street
from world import DOMAIN

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.remote.store import RemoteStore
from custom_components.igrs_lock.remote.wire import LinkDown, Message, RemoteNotSaved, b64

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import Event, EventStateChangedData
    from ras_house import RasHouse
    from world import World

DAY = 24 * 3600


@pytest.fixture
async def street(
    world: World, lock: TestLock, entry: ConfigEntry[Any], ras: RasHouse, enrolled: ConfigEntry[Any]
) -> Street:
    """A lock that is reachable over a server."""
    street = Street(world, lock, ras, entry, enrolled)
    await street.prepare()
    return street


@pytest.fixture
def news(street: Street) -> list[tuple[str, str]]:
    """What the event entities of people tell: type, and name of the phone."""
    told: list[tuple[str, str]] = []

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        state = event.data["new_state"]
        if state is not None and state.attributes.get("phone"):
            told.append((state.attributes["event_type"], state.attributes["phone"]))

    street.hass.bus.async_listen("state_changed", note)
    return told


def issues(street: Street) -> list[str]:
    """Keys of the issues about phones, sorted."""
    return sorted(
        str(issue.translation_key)
        for (domain, _), issue in ir.async_get(street.hass).issues.items()
        if domain == DOMAIN and str(issue.translation_key).startswith(("link_", "phone_"))
    )


async def answer(street: Street, choice: str) -> Any:
    """Answer the one issue about a phone."""
    (issue_id,) = [
        issue_id
        for (domain, issue_id), issue in ir.async_get(street.hass).issues.items()
        if domain == DOMAIN and str(issue.translation_key).startswith(("link_", "phone_"))
    ]
    flows = street.hass.data[REPAIRS]["flow_manager"]
    result = await flows.async_init(DOMAIN, data={"issue_id": issue_id})
    assert result["menu_options"] == ["replace", "dismiss"]
    result = await flows.async_configure(result["flow_id"], {"next_step_id": choice})
    await street.world.settle()
    return result


async def test_a_phone_joins_by_a_link_and_gets_its_keys_and_nothing_else(
    street: Street, news: list[tuple[str, str]]
) -> None:
    anna = await street.add("Anna")
    await street.add("Ben")
    assert not street.people.may_use(anna)
    phone = await street.join(await street.invite(anna), "Anna's\nphone")
    (lock,) = phone.box["locks"]
    key, account = street.tenants.key("Anna"), street.tenants.account("Anna")
    lock_key = street.tenants.lock_key
    assert (phone.box["person"], phone.box["name"]) == (phone.person, "Anna")
    assert lock == {
        "device": street.lock.unique_id,
        "name": street.entry.title,
        "slot": key.slot,
        "account": ilp.format_account_id(key.account_id),
        "key": b64(ilp.account_key(lock_key, key.account_id)),
        "advertisement_key": b64(ilp.advertisement_key(lock_key, 0)),
        "epoch": 0,
        "rights": account.rights,
        "capabilities": street.entry.data["capabilities"],
    }
    assert street.people.may_use(anna)
    assert await street.locks_of(phone) == [street.lock.unique_id]
    assert news == [("phone_joined", "Anna's phone")]
    assert not issues(street)
    # The link is used up, and the secrets of the join are gone; what is needed later is kept.
    (item,) = street.store.invitations.values()
    assert (item.state, item.box, item.done_key, item.update_key) == ("done", b"", b"", b"")
    assert street.people.listed_invitations() == []


async def test_a_wrong_proof_uses_nothing_up(street: Street, news: list[Any]) -> None:
    anna = await street.add("Anna")
    invitation = await street.invite(anna)
    right, invitation.secret = invitation.secret, bytes(16)
    for _ in range(3):
        assert (await street.ask(street.ras.phone(), invitation))["state"] == "wrong"
    invitation.secret = right
    phone = await street.join(invitation)
    assert phone.box["locks"]
    assert not issues(street)
    assert [kind for kind, _ in news] == ["phone_joined"]


async def test_a_server_that_lets_too_many_wrong_proofs_through_gets_no_answer_to_more(
    street: Street,
) -> None:
    anna = await street.add("Anna")
    invitation = await street.invite(anna)
    right, invitation.secret = invitation.secret, bytes(16)
    heard: list[str] = []
    street.intercept("join.answer", lambda body: heard.append(body["outcome"]))
    for _ in range(5):
        await street.people.async_durable(request_of(street, invitation))
    invitation.secret = right
    await street.people.async_durable(request_of(street, invitation))
    assert heard == ["wrong"] * 6
    await street.world.advance(3601, step=60)
    await street.people.async_durable(request_of(street, invitation))
    assert heard[-1] == "answered"


def request_of(street: Street, invitation: Any, **changes: Any) -> Message:
    """What the server hands on of a fresh client's request."""
    body = street.ras.phone().join_body(invitation) | {"join": "0" * 32}
    return Message("x", "join.request", body={**body, **changes})


async def test_a_second_client_is_refused_and_the_owner_is_told(
    street: Street, news: list[tuple[str, str]]
) -> None:
    anna = await street.add("Anna")
    invitation = await street.invite(anna)
    phone = await street.join(invitation)
    thief = street.ras.phone("Another phone")
    assert (await street.ask(thief, invitation))["state"] == "refused"
    assert not thief.box
    await street.ras.until(lambda: issues(street) == ["link_opened_twice"])
    assert news[-1] == ("link_opened_twice", "Anna's phone")
    # The first one goes on until the owner says otherwise, and so it is after a restart.
    assert await street.locks_of(phone)
    await street.restart()
    assert issues(street) == ["link_opened_twice"]
    assert (await answer(street, "dismiss"))["type"] == "create_entry"
    await street.ras.until(lambda: not issues(street))
    assert await street.locks_of(phone)
    thief = street.ras.phone("A third phone")
    assert (await street.ask(thief, invitation))["state"] == "refused"
    old = street.tenants.key("Anna")
    assert (await answer(street, "replace"))["type"] == "create_entry"
    await street.settle()
    assert not issues(street)
    assert not street.people.may_use(anna)
    assert await street.tenants.phone(old).ask(ilp.requests.get_status()) == [-2]
    await street.told()
    with pytest.raises(Denied):
        await street.locks_of(phone)


async def test_links_that_are_withdrawn_expired_or_never_were_let_nobody_in(
    street: Street, world: World, freezer: Any
) -> None:
    anna = await street.add("Anna")
    invitation = await street.invite(anna)
    await street.ras.wait(street.people.async_withdraw(invitation.id))
    await street.told()
    with pytest.raises(Denied) as denied:
        await street.ras.wait(street.ras.phone().ask(invitation))
    assert denied.value.status == 21
    assert not street.store.invitations
    # What the server would still take is judged here all the same.
    heard: list[str] = []
    street.intercept("join.answer", lambda body: heard.append(body["outcome"]))
    await street.people.async_durable(request_of(street, invitation))
    late = await street.invite(anna, days=1)
    own = street.store.invitations[late.id]
    own.expires = round(world.now() * 1000)
    await street.people.async_durable(request_of(street, late))
    # A machine that starts in the past goes by the server's clock.
    own.expires = round(world.now() * 1000) + 1000
    street.gateway.link.clock.now_ms = lambda: own.expires  # type: ignore[method-assign]
    await street.people.async_durable(request_of(street, late))
    assert heard == ["refused"] * 3
    assert own.state == "open"
    assert not own.client


async def test_a_withdrawn_link_whose_phone_had_keys_already_costs_that_phone_its_keys(
    street: Street,
) -> None:
    anna = await street.add("Anna")
    invitation = await street.invite(anna)
    phone = street.ras.phone()
    await street.ask(phone, invitation)
    assert phone.box["locks"]
    old = street.tenants.key("Anna")
    assert await street.ras.wait(street.people.async_withdraw(invitation.id))
    await street.settle()
    await street.told()
    assert await street.tenants.phone(old).ask(ilp.requests.get_status()) == [-2]
    with pytest.raises(Denied):
        await street.ras.wait(phone.done())
    assert not street.people.members()
    assert not street.people.may_use(anna)


async def test_a_wrong_word_of_done_lets_nobody_in(street: Street) -> None:
    anna = await street.add("Anna")
    invitation = await street.invite(anna)
    phone = street.ras.phone()
    await street.ask(phone, invitation)
    item = street.store.invitations[invitation.id]
    body = {"invitation": item.id, "join": item.join, "user": phone.user, "done": b64(bytes(32))}
    await street.people.async_durable(Message("x", "join.done", body=body))
    assert not street.store.phones
    assert item.state == "answered"
    await street.ras.wait(phone.done())
    await street.admitted(phone)
    assert street.people.may_use(anna)
    # Said again, also for somebody else, it changes nothing.
    stranger = {**body, "user": "f" * 32}
    await street.people.async_durable(Message("x", "join.done", body=stranger))
    assert [*street.people.members()] == [phone.user]


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_home_assistant_dies_at_every_save_of_a_join(
    street: Street, monkeypatch: pytest.MonkeyPatch, *, before: bool
) -> None:
    """The same request gets the same bytes, whatever was stored, and the phone is in at the end."""
    real = RemoteStore.async_save
    left: list[int] = []
    died = False

    async def save(self: RemoteStore, undo: Any = None) -> None:
        nonlocal died
        if died or left == [0]:
            if not died and not before:
                await real(self)
            died = True
            raise RemoteNotSaved
        if left:
            left[0] -= 1
        await real(self, undo)

    anna = await street.add("Anna")
    monkeypatch.setattr(RemoteStore, "async_save", save)
    for after in range(16):
        invitation = await street.invite(anna)
        phone, boxes = street.ras.phone(), set[str]()
        left[:], died, restarted = [after], False, False
        for _ in range(200):
            if died:
                left.clear()
                died, restarted = False, True
                await street.restart()
            with suppress(Denied):
                asked = await street.ras.wait(phone.ask(invitation))
                if asked["state"] == "answered":
                    boxes.add(asked["box"])
                    await street.ras.wait(phone.done())
            if phone.token and await street.ras.wait(phone.member()):
                break
            await breathe(street.hass)
        assert await street.locks_of(phone) == [street.lock.unique_id]
        assert len(boxes) == 1
        complete = not restarted and not died
        left.clear()
        if died:
            died = False
            await street.restart()
        if complete:
            break
    assert 3 < after < 15
    assert len(street.store.phones) == after + 1


@pytest.mark.parametrize("kind", ["join.answer", "invitation.done"])
async def test_a_link_that_is_lost_before_an_answer_loses_and_doubles_nothing(
    street: Street, kind: str, news: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = await street.add("Anna")
    invitation = await street.invite(anna)
    lost: list[Any] = []
    request = street.gateway.link.async_request

    async def lose(name: str, body: Any = None, lock: str = "") -> Any:
        found = await request(name, body, lock)
        if name == kind and not lost:
            lost.append(name)
            for link in [*street.ras.server.hub.sockets._all]:
                assert link.wire.transport is not None
                link.wire.transport.abort()
            raise LinkDown
        return found

    monkeypatch.setattr(street.gateway.link, "async_request", lose)
    phone = street.ras.phone()
    assert (await street.ask(phone, invitation))["state"] == "answered"
    await street.ras.wait(phone.done())
    await street.ras.within(90, lambda: lost and street.gateway.link.connected)
    await street.ras.within(90, lambda: street.store.invitations[invitation.id].state == "done")
    assert await street.locks_of(phone) == [street.lock.unique_id]
    assert news == [("phone_joined", "Anna's phone")]
    assert len(street.store.phones) == 1
    assert await street.in_step()


async def test_the_server_restarts_between_all_steps(street: Street) -> None:
    anna = await street.add("Anna")
    invitation = await street.invite(anna)
    phone = street.ras.phone()
    await street.restart_server()
    assert (await street.ask(phone, invitation))["state"] == "answered"
    box = phone.box
    await street.restart_server()
    assert (await street.ask(phone, invitation))["state"] == "answered"
    assert phone.box == box
    await street.ras.wait(phone.done())
    await street.restart_server()
    await street.admitted(phone)
    assert await street.locks_of(phone) == [street.lock.unique_id]
    assert await street.in_step()


async def test_a_home_that_was_away_answers_later(street: Street) -> None:
    anna = await street.add("Anna")
    invitation = await street.invite(anna)
    await street.ras.wait(street.gateway.async_set_enabled(False))
    phone = street.ras.phone()
    assert (await street.ras.wait(phone.ask(invitation)))["state"] == "pending"
    await street.ras.wait(street.gateway.async_set_enabled(True))
    assert (await street.ask(phone, invitation))["state"] == "answered"


async def test_somebody_without_an_account_yet_joins_and_gets_the_keys_when_they_are_there(
    street: Street,
) -> None:
    street.lock.silent = True
    anna = street.tenants.add("Anna", rights=street.remote)
    await street.world.settle()
    phone = await street.join(await street.invite(anna))
    assert phone.box["locks"] == []
    assert await street.locks_of(phone) == []
    await street.ras.wait(phone.connect())
    street.lock.silent = False
    await street.settle()
    (lock,) = (await street.keys(phone, lambda keys: keys["locks"]))["locks"]
    assert lock["slot"] == street.tenants.key("Anna").slot
    assert await street.locks_of(phone) == [street.lock.unique_id]


async def test_case_16_an_old_copy_of_the_server_lets_nobody_in_again(street: Street) -> None:
    anna, ben = await street.add("Anna"), await street.add("Ben")
    phone = await street.join(await street.invite(anna))
    bens = await street.join(await street.invite(ben), "Ben's phone")
    await street.ras.stop()
    copy = street.ras.copy()
    await street.ras.start()
    await street.linked()
    street.tenants.remove(anna)
    await street.settle()
    await street.told()
    await street.ras.stop()
    street.ras.put_back(copy)
    await street.ras.start()
    await street.linked()
    await street.told()
    assert [*street.people.members()] == [bens.user]
    with pytest.raises(Denied):
        await street.locks_of(phone)


async def test_an_owner_code_makes_an_owner_without_any_key(street: Street) -> None:
    code = await street.ras.wait(street.people.async_make_owner_code())
    assert code not in str(street.store._data())
    owner = street.ras.phone("Olga")
    await street.ras.wait(owner.claim(code, "olga@example.org", "a long pass phrase"))
    await street.ras.until(lambda: street.store.owners)
    assert [*street.store.owners] == [owner.user]
    await street.ras.until(lambda: not street.people.listed_invitations())
    member = street.people.members()[owner.user]
    assert (member.role, member.locks) == ("owner", frozenset())
    sites = await street.ras.wait(owner.call("GET", "/api/v1/sites"))
    assert [(one["role"], one["state"]) for one in sites["sites"]] == [("owner", "active")]
    # A server cannot make owners: it was used up, and there is no other one.
    for user in ("a" * 32, owner.user):
        (item,) = street.store.invitations
        body = {"invitation": item, "user": user, "name": "Eve"}
        await street.people.async_durable(Message("x", "owner.claimed", body=body))
    assert [*street.people.members()] == [owner.user]
