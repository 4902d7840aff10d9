"""The home's list at the server: which locks are reachable, in step after every kind of absence."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from igrs_ras import sites
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import locks as lock_rows
from sqlalchemy import select

from custom_components.igrs_lock.remote.errors import Refused as RefusedHere
from custom_components.igrs_lock.remote.wire import Status as RemoteStatus
from custom_components.igrs_lock.remote.wire import canonical

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant
    from ras_house import RasHouse
    from world import World


async def registered(ras: RasHouse, site: str) -> dict[str, int]:
    """The locks that the server has of a site."""

    def read(connection: Any) -> dict[str, int]:
        rows = connection.execute(
            select(lock_rows.c.device, lock_rows.c.capabilities).where(lock_rows.c.site == site)
        )
        return {row.device: row.capabilities for row in rows}

    found: dict[str, int] = await ras.wait(ras.server.store.read(read))
    return found


def choose(hass: HomeAssistant, entry: ConfigEntry[Any], *locks: TestLock) -> None:
    """Choose which locks are reachable, as the dialog does."""
    chosen = [str(lock.unique_id) for lock in locks]
    hass.config_entries.async_update_entry(entry, options={"locks": chosen})


async def in_step(ras: RasHouse, entry: ConfigEntry[Any]) -> bool:
    """Whether the server's digest is that of this home's list."""
    gateway = entry.runtime_data
    own = hashlib.sha256(canonical(gateway.site.listing())).digest()

    def read(connection: Any) -> bytes:
        return sites.digest(connection, entry.data["site"], ras.server.clock.now_ms())

    other: bytes = await ras.wait(ras.server.store.read(read))
    return own == other


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Count the lists that the server takes."""
    taken: list[Any] = []
    before = sites.sync

    def sync(ras: Any, tx: Any, site: str, parts: Any) -> Any:
        taken.append(site)
        return before(ras, tx, site, parts)

    monkeypatch.setattr(sites, "sync", sync)
    return taken


async def test_a_lock_is_registered_by_what_it_advertises_and_goes_when_it_is_unticked(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
    lists: list[Any],
) -> None:
    site, gateway = enrolled.data["site"], enrolled.runtime_data
    assert await registered(ras, site) == {}
    choose(hass, enrolled, lock)
    await ras.until(lambda: gateway.store.locks)
    expected = {lock.unique_id: entry.data["capabilities"]}
    assert gateway.store.locks == expected
    assert await registered(ras, site) == expected
    assert await in_step(ras, enrolled)
    # With the next link the lists are found to be equal: none is sent.
    await ras.wait(hass.config_entries.async_reload(enrolled.entry_id))
    await ras.until(lambda: enrolled.runtime_data.connected)
    await settled(ras, enrolled)
    choose(hass, enrolled)
    assert enrolled.runtime_data.site.wanted() == {}
    await settled(ras, enrolled)
    assert await registered(ras, site) == {}
    assert await in_step(ras, enrolled)
    assert lists == []


async def settled(ras: RasHouse, entry: ConfigEntry[Any]) -> None:
    """Wait until there is nothing more to tell the server for now."""
    site = entry.runtime_data.site
    for _ in range(3):
        await ras.wait(asyncio.sleep(0))
        await ras.until(lambda: site._task is None and not site._working.locked())


async def test_a_lock_that_is_not_heard_is_registered_when_it_is(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
) -> None:
    lock.silent = True
    await ras.within(100, lambda: not entry.runtime_data.available)
    choose(hass, enrolled, lock)
    await settled(ras, enrolled)
    assert await registered(ras, enrolled.data["site"]) == {}
    assert enrolled.runtime_data.store.locks == {}
    lock.silent = False
    await world.advance(2)
    await ras.until(lambda: enrolled.runtime_data.store.locks)
    assert list(await registered(ras, enrolled.data["site"])) == [lock.unique_id]


async def test_unticked_it_is_out_at_once_while_the_server_does_not_answer(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
) -> None:
    gateway = enrolled.runtime_data
    choose(hass, enrolled, lock)
    await ras.until(lambda: gateway.store.locks)
    async with gateway.site._working:  # somebody waits for an answer
        choose(hass, enrolled)
        await world.settle()
        assert gateway.store.locks == {}
    await settled(ras, enrolled)
    assert await registered(ras, enrolled.data["site"]) == {}


async def test_entries_may_be_loaded_in_any_order(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
) -> None:
    gateway = enrolled.runtime_data
    await ras.wait(hass.config_entries.async_unload(entry.entry_id))
    choose(hass, enrolled, lock)
    await settled(ras, enrolled)
    assert gateway.store.locks == {}
    assert await ras.wait(hass.config_entries.async_setup(entry.entry_id))
    world.broadcast(lock)
    await ras.until(lambda: gateway.store.locks)
    assert list(await registered(ras, enrolled.data["site"])) == [lock.unique_id]
    # A lock that is not loaded stays registered: it is there, and nobody reaches it.
    await ras.wait(hass.config_entries.async_unload(entry.entry_id))
    await settled(ras, enrolled)
    assert list(await registered(ras, enrolled.data["site"])) == [lock.unique_id]


async def test_what_was_unticked_and_removed_while_the_server_was_down_is_gone_with_the_next_link(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
    lists: list[Any],
) -> None:
    other = world.add_lock()
    removed = await world.pair(other)
    choose(hass, enrolled, lock, other)
    gateway = enrolled.runtime_data
    await ras.until(lambda: len(gateway.store.locks) == 2)
    await ras.kill()
    await ras.within(60, lambda: not gateway.connected)
    # One by the dialog, the other with its entry.
    choose(hass, enrolled, other)
    await hass.config_entries.async_remove(removed.entry_id)
    await ras.until(lambda: gateway.store.locks == {})
    assert enrolled.options["locks"] == []
    # Home Assistant starts again meanwhile: nobody remembers what to remove, but the list knows.
    await ras.wait(hass.config_entries.async_reload(enrolled.entry_id))
    await ras.start()
    await ras.within(120, lambda: enrolled.runtime_data.connected and lists)
    await settled(ras, enrolled)
    assert await registered(ras, enrolled.data["site"]) == {}
    assert await in_step(ras, enrolled)
    assert len(lists) == 1
    # Set up anew it is not reachable before somebody says so.
    other.core.inner_button_held(10)
    await world.advance(12)
    await world.pair(other)
    await settled(ras, enrolled)
    assert await registered(ras, enrolled.data["site"]) == {}


async def test_what_the_server_lost_or_has_too_much_is_mended_by_the_list(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
    lists: list[Any],
) -> None:
    site, gateway = enrolled.data["site"], enrolled.runtime_data
    choose(hass, enrolled, lock)
    await ras.until(lambda: gateway.store.locks)

    def swap(tx: Any) -> None:
        tx.execute(lock_rows.update().values(device="AAAAAAAAAAAA", capabilities=1))

    await ras.wait(ras.server.store.write(swap))
    await ras.stop()
    await ras.start()
    await ras.within(120, lambda: gateway.connected and lists)
    await settled(ras, enrolled)
    assert await registered(ras, site) == {lock.unique_id: entry.data["capabilities"]}
    assert lists == [site]


async def test_a_lock_takes_the_place_of_one_that_was_reachable(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
) -> None:
    from custom_components.igrs_lock.takeover import async_take_over  # noqa: PLC0415

    choose(hass, enrolled, lock)
    gateway = enrolled.runtime_data
    await ras.until(lambda: gateway.store.locks)
    new = world.add_lock()
    pairing = await world.pair(new)
    data = dict(pairing.data)
    await hass.config_entries.async_remove(pairing.entry_id)
    await world.during(async_take_over(hass, entry, data, keep_people=True))
    await world.advance(3)
    assert enrolled.options["locks"] == [new.unique_id]
    await ras.within(60, lambda: list(gateway.store.locks) == [new.unique_id])
    assert list(await registered(ras, enrolled.data["site"])) == [new.unique_id]


async def test_a_registration_that_cannot_be_stored_here_does_not_stay_there(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site, gateway = enrolled.data["site"], enrolled.runtime_data

    async def nothing() -> dict[str, Any]:
        return {}

    monkeypatch.setattr(gateway.store, "_async_stored", nothing)
    choose(hass, enrolled, lock)
    await settled(ras, enrolled)
    assert gateway.store.locks == {}
    monkeypatch.undo()
    await ras.within(90, lambda: gateway.store.locks)
    await settled(ras, enrolled)
    assert list(await registered(ras, site)) == [lock.unique_id]
    assert await in_step(ras, enrolled)


async def test_a_registration_that_is_refused_is_tried_again_and_one_that_is_too_late_taken_back(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site, gateway = enrolled.data["site"], enrolled.runtime_data
    register = gateway.http.register_lock
    tried: list[int] = []

    async def slow_down(*args: Any) -> None:
        tried.append(len(tried))
        if len(tried) < 3:
            raise RefusedHere(RemoteStatus.SLOW_DOWN)
        choose(hass, enrolled)  # unticked while the server works on it
        await register(*args)

    monkeypatch.setattr(gateway.http, "register_lock", slow_down)
    choose(hass, enrolled, lock)
    await ras.within(130, lambda: len(tried) == 3, step=2)
    await settled(ras, enrolled)
    assert gateway.store.locks == {}
    assert await registered(ras, site) == {}
    assert await in_step(ras, enrolled)


# --- what the server asks -------------------------------------------------------------------------


async def test_the_tag_of_an_advertisement_is_judged_here(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
) -> None:
    site = enrolled.data["site"]
    checks = ras.server.gateways.authentications
    counter = entry.runtime_data.tracker.counter

    async def authentic(device: str, advertisement: bytes, caller: str = "somebody") -> bool:
        return bool(await ras.wait(checks.check(caller, site, device, advertisement)))

    assert await authentic(lock.unique_id, lock.data)
    assert not await authentic(lock.unique_id, lock.data[:-1] + bytes([lock.data[-1] ^ 1]))
    assert not await authentic("AAAAAAAAAAAA", lock.data)
    assert entry.runtime_data.tracker.counter == counter
    # No more guesses than the server itself lets through, whatever it says.
    gateway = enrolled.runtime_data
    answers: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gateway.link, "send", lambda kind, _body: answers.append(kind))
        for _ in range(20):
            gateway.received(question(lock))
    assert (answers.count("ok"), answers.count("refused")) == (8, 12)
    refused_with: list[Any] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gateway.link, "send", lambda _kind, body: refused_with.append(body))
        gateway.received(replace(question(lock), body={"device": lock.unique_id}))
    assert [body["status"] for body in refused_with] == [Status.MALFORMED]
    lock.silent = True
    await ras.within(100, lambda: not entry.runtime_data.available)
    with pytest.raises(Refused) as refused:
        await authentic(lock.unique_id, lock.data, "another")
    assert refused.value.status == Status.OUT_OF_REACH


def question(lock: TestLock) -> Any:
    """What a server asks about an advertisement."""
    from custom_components.igrs_lock.remote.wire import Message, b64  # noqa: PLC0415

    body = {"device": lock.unique_id, "advertisement": b64(lock.data)}
    return Message(id="01J0000000000000000000000A", type="lock.authenticate", body=body)


async def test_a_server_that_always_differs_gets_nine_lists_in_ten_minutes(
    hass: HomeAssistant,
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway = enrolled.runtime_data
    asked: list[str] = []

    async def request(kind: str, body: Any = None, lock: str = "") -> dict[str, Any]:
        asked.append(kind)
        return {"match": False, "users": ["f" * 32, 7, None], "invitations": "x"}

    monkeypatch.setattr(gateway.link, "async_request", request)
    for _ in range(30):
        gateway.site.async_check_soon()
        await settled(ras, enrolled)
    assert asked.count("site.sync") == 9
    await ras.within(605, lambda: asked.count("site.sync") > 9, step=5)


async def test_administrators_are_named_to_a_server_on_this_machine_only(
    hass: HomeAssistant, ras: RasHouse, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = await ras.enrol()
    await ras.set_up(far)
    near = await ras.enrol()
    hass.config_entries.async_update_entry(
        near, unique_id="00" * 32, data={**near.data, "local": True}
    )
    gateway = await ras.set_up(near)
    await ras.until(lambda: gateway._admins._told == [])  # nobody yet
    told: list[list[str]] = []
    told_far: list[list[str]] = []

    def listen(link: Any, heard: list[list[str]]) -> None:
        async def request(kind: str, body: Any = None, lock: str = "") -> dict[str, Any]:
            if kind == "home.admins":
                heard.append(body["users"])
            return {"match": True}  # of the home's list, whose time may come meanwhile

        monkeypatch.setattr(link, "async_request", request)

    listen(gateway.link, told)
    listen(far.runtime_data.link, told_far)
    olga = await hass.auth.async_create_user("Olga", group_ids=["system-admin"])
    await hass.auth.async_create_user("Gina", group_ids=["system-users"])
    paul = await hass.auth.async_create_user("Paul", group_ids=["system-admin"])
    await hass.async_block_till_done()
    await hass.auth.async_update_user(paul, is_active=False)
    await hass.async_block_till_done()
    assert told == [[olga.id], sorted([olga.id, paul.id]), [olga.id]]
    assert not told_far
