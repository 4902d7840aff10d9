"""What becomes of phones when their people change: keys follow, and who is out is out everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from homeassistant.config_entries import ConfigEntryDisabler
from homeassistant.helpers import issue_registry as ir
from peer import Denied
from remote_people import REMOTE, Street
from world import DOMAIN

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.remote.wire import Message, Refused, Status

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from ras_house import RasHouse
    from world import World


FULL = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD


@pytest.fixture
def lock(world: World) -> TestLock:
    """A lock with a keypad."""
    return world.add_lock(FULL)


@pytest.fixture
async def street(
    world: World, lock: TestLock, entry: ConfigEntry[Any], ras: RasHouse, enrolled: ConfigEntry[Any]
) -> Street:
    """A lock that is reachable over a server."""
    street = Street(world, lock, ras, entry, enrolled)
    await street.prepare()
    return street


async def is_out(street: Street, phone: Any, key: Any) -> None:
    """Neither the server nor the lock lets a phone in."""
    with pytest.raises(Denied):
        await street.locks_of(phone)
    assert await street.tenants.phone(key).ask(ilp.requests.get_status()) == [-2]


async def test_case_60_who_is_removed_is_out_at_once_and_stays_out_when_invited_again(
    street: Street,
) -> None:
    anna = await street.add("Anna")
    phone = await street.join(await street.invite(anna))
    left_open = await street.invite(anna)
    key = street.tenants.key("Anna")
    await street.ras.wait(phone.connect())
    street.tenants.remove(anna)
    # Before anything was written or told.
    assert not street.people.may_use(anna)
    assert not street.store.phones
    assert not street.people.members()
    await street.ras.until(phone.peer.closed.done)
    await street.settle()
    await street.told()
    await is_out(street, phone, key)
    with pytest.raises(Denied):
        await street.ras.wait(street.ras.phone().ask(left_open))
    again = await street.add("Anna")
    second = await street.join(await street.invite(again), "Anna's new phone")
    assert await street.locks_of(second) == [street.lock.unique_id]
    await is_out(street, phone, key)
    assert second.box["locks"][0]["account"] != phone.box["locks"][0]["account"]


async def test_case_25_a_removal_while_server_and_lock_are_away_is_made_up_for(
    street: Street,
) -> None:
    anna = await street.add("Anna")
    phone = await street.join(await street.invite(anna))
    key = street.tenants.key("Anna")
    await street.ras.kill()
    street.lock.silent = True
    for connection in [*street.lock.connections]:
        connection.end()
    street.tenants.remove(anna)
    assert not street.people.may_use(anna)
    await street.world.advance(5)
    street.lock.silent = False
    await street.ras.start()
    await street.linked()
    await street.settle()
    await is_out(street, phone, key)


async def test_a_lost_phone_is_out_and_the_others_of_its_person_get_other_keys(
    street: Street,
) -> None:
    anna = await street.add("Anna", "482913")
    lost = await street.join(await street.invite(anna), "Lost phone")
    kept = await street.join(await street.invite(anna), "Kept phone")
    assert [one.name for one in street.people.phones.of_person(anna)] == [
        "Lost phone",
        "Kept phone",
    ]
    key = street.tenants.key("Anna")
    assert street.tenants.opens("482913")
    await street.ras.wait(kept.connect())
    before = kept.box["locks"][0]
    await street.ras.wait(street.people.async_lose_phone(lost.join_id))
    assert not [one for one in street.store.phones.values() if one.name == "Lost phone"]
    await street.settle()
    keys = await street.keys(
        kept, lambda keys: keys["locks"] and keys["locks"][0]["account"] != before["account"]
    )
    new = street.tenants.key("Anna")
    assert keys["locks"][0]["account"] == ilp.format_account_id(new.account_id)
    assert keys["locks"][0]["epoch"] == before["epoch"] + 1
    await street.told()
    await is_out(street, lost, key)
    assert street.people.may_use(anna)
    assert await street.locks_of(kept) == [street.lock.unique_id]
    assert not street.tenants.opens("482913")
    # What was sealed for one phone opens for no other, though both are the same person's.
    assert not street.opened(lost)
    assert kept.person != lost.person


async def test_keys_follow_what_changes_in_one_message_with_rising_numbers(
    street: Street,
) -> None:
    anna, ben = await street.add("Anna"), await street.add("Ben")
    phone = await street.join(await street.invite(anna))
    await street.ras.wait(phone.connect())
    first = await street.keys(phone, lambda keys: keys["locks"])
    # Somebody else is removed: the lock's advertisements have another key.
    street.tenants.remove(ben)
    await street.settle()
    keys = await street.keys(phone, lambda keys: keys["locks"] and keys["locks"][0]["epoch"] == 1)
    sent = len(street.opened(phone))
    # Several changes at once are one message.
    street.hass.config_entries.async_update_entry(street.entry, title="Garden gate")
    street.hass.config_entries.async_update_subentry(
        street.tenants.people, street.tenants.people.subentries[anna], title="Anna Maria"
    )
    renamed = await street.keys(phone, lambda keys: keys["name"] == "Anna Maria")
    assert renamed["locks"][0]["name"] == "Garden gate"
    assert len(street.opened(phone)) == sent + 1
    assert first["number"] < keys["number"] < renamed["number"]
    # Who loses the right keeps the phone, for nothing; and has it back with the right.
    for fields in (
        {"suspended": True},
        {"suspended": False, "rights": REMOTE & ~ilp.Right.REMOTE_USE},
    ):
        street.tenants.change(anna, **fields)
        assert not street.people.may_use(anna)
        await street.settle()
        await street.keys(phone, lambda keys: not keys["locks"])
        assert await street.locks_of(phone) == []
        street.tenants.change(anna, suspended=False, rights=REMOTE)
        await street.settle()
        await street.keys(phone, lambda keys: keys["locks"])
    assert street.people.may_use(anna)
    assert await street.locks_of(phone) == [street.lock.unique_id]


async def test_without_a_people_entry_nobody_is_let_in_and_no_phone_is_forgotten(
    street: Street,
) -> None:
    anna = await street.add("Anna")
    phone = await street.join(await street.invite(anna))
    entries, people = street.hass.config_entries, street.tenants.people
    await entries.async_set_disabled_by(people.entry_id, ConfigEntryDisabler.USER)
    assert not street.people.may_use(anna)
    await street.told()
    assert await street.locks_of(phone) == []
    await entries.async_set_disabled_by(people.entry_id, None)
    await street.settle()
    await street.told()
    assert street.people.may_use(anna)
    assert await street.locks_of(phone) == [street.lock.unique_id]


async def test_case_57_a_server_that_ends_memberships_takes_no_pin_and_tells_on_itself(
    street: Street,
) -> None:
    anna = await street.add("Anna", "482913")
    phone = await street.join(await street.invite(anna))
    key = street.tenants.key("Anna")
    await street.people.async_durable(Message("x", "member.left", body={"user": phone.user}))
    await street.settle()
    assert not street.people.may_use(anna)
    assert street.tenants.key("Anna") == key
    assert street.tenants.opens("482913")
    (issue,) = [
        issue
        for (domain, _), issue in ir.async_get(street.hass).issues.items()
        if domain == DOMAIN and issue.translation_key == "phone_left"
    ]
    assert issue.translation_placeholders == {"person": "Anna", "phone": "Anna's phone"}
    await street.told()
    with pytest.raises(Denied):
        await street.locks_of(phone)
    await street.restart()
    assert not street.people.may_use(anna)
    # The owner decides that its keys are of no use any more.
    await street.ras.wait(street.people.async_end(phone.join_id))
    await street.settle()
    assert await street.tenants.phone(key).ask(ilp.requests.get_status()) == [-2]
    assert not street.store.phones


async def test_keys_are_sent_again_when_they_may_be_lost_or_were_refused(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = await street.add("Anna")
    phone = await street.join(await street.invite(anna))
    number = (await street.keys(phone, lambda keys: keys["locks"]))["number"]
    wanted = Message("x", "keys.wanted", body={"user": phone.user})
    await street.people.async_durable(wanted)
    again = await street.keys(phone, lambda keys: keys["number"] > number)
    request = street.gateway.link.async_request
    refusals = [Status.SLOW_DOWN, Status.EXISTS]
    numbers: list[int] = []

    async def refuse(kind: str, body: Any = None, lock: str = "") -> Any:
        if kind == "keys.update":
            numbers.append(body["number"])
            if refusals:
                raise Refused(refusals.pop())
        return await request(kind, body, lock)

    monkeypatch.setattr(street.gateway.link, "async_request", refuse)
    await street.people.async_durable(wanted)
    await street.ras.within(200, lambda: len(numbers) == 3, step=1)
    last = await street.keys(phone, lambda keys: keys["number"] > again["number"])
    assert len(numbers) == 3
    assert sorted(numbers) == numbers
    # After a number that the server has already, one that is far above.
    assert numbers[1] > numbers[0] + (1 << 39)
    assert last["number"] == numbers[-1]


async def test_one_user_with_two_browsers_gets_keys_for_each(street: Street) -> None:
    anna = await street.add("Anna")
    first = await street.join(await street.invite(anna), "Browser")
    second = street.ras.phone("Another browser")
    second.token, second.user, second.site = first.token, first.user, first.site
    invitation = await street.invite(anna)
    assert (await street.ask(second, invitation))["state"] == "answered"
    await street.ras.wait(second.done())
    await street.told()
    assert [*street.people.members()] == [first.user]
    for phone in (first, second):
        await street.ras.wait(phone.connect())
        await street.keys(phone, lambda keys: keys["locks"])
    numbers = [event["body"]["number"] for event in first.events if event["type"] == "keys"]
    assert numbers == sorted({*numbers})
    # One of them ends: the other one is the same user, and goes on.
    await street.ras.wait(street.people.async_lose_phone(second.join_id))
    await street.settle()
    await street.told()
    assert await street.locks_of(first) == [street.lock.unique_id]
