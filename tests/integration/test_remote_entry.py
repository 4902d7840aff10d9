"""A remote access server's entry: its life, its switch, and that the locks at home need none of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from folk import Folk
from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.core import Context
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers import issue_registry as ir
from igrs_ras.status import Refused
from igrs_ras.storage.tables import locks as lock_rows
from sqlalchemy import select
from world import DOMAIN, name_of

from custom_components.igrs_lock.remote import states as states_of
from custom_components.igrs_lock.remote.people_issues import async_replace_phone_issues
from custom_components.igrs_lock.remote.store import RemoteStore
from custom_components.igrs_lock.remote.wire import Message

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant
    from ras_house import RasHouse
    from world import World

SWITCH = "switch.127_0_0_1_remote_access"
CONNECTED = "binary_sensor.127_0_0_1_connectivity"


def states(hass: HomeAssistant) -> tuple[str, str]:
    """Switch and connection, as Home Assistant shows them."""
    found = [hass.states.get(entity_id) for entity_id in (SWITCH, CONNECTED)]
    switch, connected = ("none" if state is None else state.state for state in found)
    return switch, connected


async def turn(hass: HomeAssistant, ras: RasHouse, how: str, user_id: str | None = None) -> None:
    """Turn the switch on or off, in a user's name if given."""
    context = None if user_id is None else Context(user_id=user_id)
    await ras.wait(
        hass.services.async_call(
            "switch", f"turn_{how}", {"entity_id": SWITCH}, blocking=True, context=context
        )
    )


@pytest.fixture
def disk_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be stored of any server."""

    async def nothing(_self: RemoteStore) -> dict[str, Any]:
        return {}

    monkeypatch.setattr(RemoteStore, "_async_stored", nothing)


async def test_a_server_has_a_device_with_a_switch_and_its_connection(
    hass: HomeAssistant, enrolled: ConfigEntry[Any]
) -> None:
    assert states(hass) == ("on", "on")
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), enrolled.entry_id)
    assert device.entry_type is dr.DeviceEntryType.SERVICE
    assert device.name == enrolled.title
    entities = er.async_entries_for_config_entry(er.async_get(hass), enrolled.entry_id)
    assert {entity.entity_id: entity.entity_category for entity in entities} == {
        SWITCH: None,
        CONNECTED: "diagnostic",
    }


async def test_switched_off_the_link_is_closed_at_once_and_stays_so_over_a_restart(
    hass: HomeAssistant, ras: RasHouse, enrolled: ConfigEntry[Any]
) -> None:
    site = enrolled.data["site"]
    assert ras.server.gateways.link_of(site) is not None
    await turn(hass, ras, "off")
    assert states(hass) == ("off", "off")
    await ras.until(lambda: ras.server.gateways.link_of(site) is None)
    await ras.wait(hass.config_entries.async_reload(enrolled.entry_id))
    assert states(hass) == ("off", "off")
    await ras.let_pass(120)
    assert ras.server.gateways.link_of(site) is None
    await turn(hass, ras, "on")
    await ras.until(lambda: states(hass) == ("on", "on"))


async def test_off_holds_also_if_it_cannot_be_stored_and_on_does_not(
    hass: HomeAssistant,
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    request.getfixturevalue("disk_full")
    with pytest.raises(HomeAssistantError) as failure:
        await turn(hass, ras, "off")
    assert failure.value.translation_key == "remote_not_saved"
    assert states(hass) == ("off", "off")
    with pytest.raises(HomeAssistantError):
        await turn(hass, ras, "on")
    assert states(hass) == ("off", "off")
    await ras.let_pass(60)
    assert ras.server.gateways.link_of(enrolled.data["site"]) is None
    monkeypatch.undo()
    await turn(hass, ras, "on")
    await ras.until(lambda: states(hass) == ("on", "on"))


async def test_a_person_may_switch_it_off_but_not_on(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
) -> None:
    # The first one is this Home Assistant's owner.
    admin = await hass.auth.async_create_user("Olga", group_ids=["system-admin"])
    user = await hass.auth.async_create_user("Gina", group_ids=["system-users"])
    await Folk(world).add("Gina", lock, kind="guest", user_id=user.id)
    await turn(hass, ras, "off", user.id)
    assert states(hass) == ("off", "off")
    with pytest.raises(HomeAssistantError) as failure:
        await turn(hass, ras, "on", user.id)
    assert failure.value.translation_key == "not_allowed"
    assert failure.value.translation_placeholders == {"name": enrolled.title, "person": "Gina"}
    assert states(hass) == ("off", "off")
    await turn(hass, ras, "on", admin.id)
    await ras.until(lambda: states(hass) == ("on", "on"))


async def test_without_the_server_it_is_set_up_all_the_same_and_locks_work(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
) -> None:
    await ras.kill()
    await ras.wait(hass.config_entries.async_reload(enrolled.entry_id))
    assert enrolled.state is ConfigEntryState.LOADED
    assert states(hass) == ("on", "off")
    await world.call(lock, "lock")
    assert world.state(lock) == "locked"
    await ras.start()
    await ras.within(120, lambda: states(hass) == ("on", "on"))


async def test_what_a_part_does_wrong_ends_neither_the_link_nor_a_lock(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway = enrolled.runtime_data

    def broken(*_args: object, **_kwargs: object) -> None:
        raise ZeroDivisionError

    hass.config_entries.async_update_entry(enrolled, options={"locks": [lock.unique_id]})
    await registered(ras, gateway)
    monkeypatch.setattr(gateway._tags, "received", broken)
    monkeypatch.setattr(gateway.relays, "async_stop", broken)
    monkeypatch.setattr(states_of._Lock, "send", broken)
    gateway.async_listen(broken)
    gateway.home.async_listen(broken)
    link = ras.server.gateways.link_of(enrolled.data["site"])
    assert link is not None
    asked = asyncio.ensure_future(
        link.ask("lock.authenticate", {"device": lock.unique_id, "advertisement": ""}, 3)
    )
    await ras.within(5, asked.done)
    assert isinstance(asked.exception(), Refused)
    gateway.async_changed()
    gateway.home.async_access_changed()
    assert "A message of the server could not be worked off" in caplog.text
    assert "a part of remote access failed" in caplog.text
    assert gateway.connected
    await world.call(lock, "lock")
    assert world.state(lock) == "locked"
    await turn(hass, ras, "off")
    assert states(hass) == ("off", "off")
    await ras.until(lambda: ras.server.gateways.link_of(enrolled.data["site"]) is None)


def message(kind: str, **body: Any) -> Any:
    """A live message of a server."""
    return Message(id="01J0000000000000000000000A", type=kind, body=body)


async def test_nothing_is_carried_while_it_is_switched_off(
    hass: HomeAssistant,
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway = enrolled.runtime_data
    heard: list[str] = []
    monkeypatch.setattr(gateway.relays, "received", lambda one: heard.append(one.type))
    gateway.received(message("relay.open"))
    assert heard == ["relay.open"]
    await turn(hass, ras, "off")
    gateway.received(message("relay.open"))
    assert heard == ["relay.open"]


async def test_removed_it_leaves_nothing_behind_and_disabled_it_tells_nothing(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
) -> None:
    gateway = enrolled.runtime_data
    stored = f"{DOMAIN}.remote.{enrolled.entry_id}"
    assert stored in hass_storage
    gateway.issues.clock_off(300)
    issue = f"server_clock_off_{enrolled.entry_id}"
    lost = f"phone_left_{enrolled.entry_id}_{'a' * 32}"
    issues = ir.async_get(hass)
    assert issues.async_get_issue(DOMAIN, issue)
    await ras.wait(
        hass.config_entries.async_set_disabled_by(enrolled.entry_id, ConfigEntryDisabler.USER)
    )
    assert not issues.async_get_issue(DOMAIN, issue)
    await ras.wait(hass.config_entries.async_set_disabled_by(enrolled.entry_id, None))
    await ras.until(lambda: enrolled.runtime_data.connected)
    enrolled.runtime_data.issues.clock_off(300)
    async_replace_phone_issues(hass, enrolled, {lost: {"person": "Anna", "phone": "Phone"}})
    await ras.wait(hass.config_entries.async_remove(enrolled.entry_id))
    assert not issues.async_get_issue(DOMAIN, issue)
    assert not issues.async_get_issue(DOMAIN, lost)
    assert stored not in hass_storage
    await ras.until(lambda: ras.server.gateways.link_of(enrolled.data["site"]) is None)


async def registered(ras: RasHouse, gateway: Any) -> None:
    """Wait until a lock can be reached."""
    await ras.until(lambda: gateway.store.locks)


async def test_a_server_whose_entry_is_removed_gets_the_place_back(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
) -> None:
    site_of: list[str] = []
    for up in (True, False):
        made = await ras.enrol(str(lock.unique_id))
        gateway = await ras.set_up(made)
        await registered(ras, gateway)
        site_of.append(made.data["site"])
        if not up:
            await ras.stop()
        removing = asyncio.ensure_future(hass.config_entries.async_remove(made.entry_id))
        await ras.within(10, removing.done)
        assert not hass.config_entries.async_get_entry(made.entry_id)
        if not up:
            # It is removed all the same, in seconds.
            await ras.start()

    def rows(connection: Any) -> list[str]:
        return list(connection.execute(select(lock_rows.c.site)).scalars())

    assert await ras.wait(ras.server.store.read(rows)) == site_of[1:]
    # Switched off it stays off: nobody is called.
    off = await ras.enrol()
    await ras.wait((await ras.set_up(off)).async_set_enabled(False))
    await ras.wait(hass.config_entries.async_remove(off.entry_id))
    site_of.append(off.data["site"])
    listed = await ras.verb("gateway list")
    assert {one["site"]: bool(one["revoked"]) for one in listed["gateways"]} == {
        site_of[0]: True,
        site_of[1]: False,
        site_of[2]: False,
    }


async def test_two_servers_do_not_know_of_each_other(
    hass: HomeAssistant, world: World, lock: TestLock, entry: ConfigEntry[Any], ras: RasHouse
) -> None:
    first = await ras.enrol(lock.unique_id)
    await ras.set_up(first)
    second = await ras.enrol()
    hass.config_entries.async_update_entry(second, unique_id="00" * 32, title="second")
    await ras.set_up(second)
    home = first.runtime_data.home
    assert home.gateways == {one.entry_id: one.runtime_data for one in (first, second)}
    await ras.wait(hass.config_entries.async_unload(second.entry_id))
    assert list(home.gateways) == [first.entry_id]
    assert first.runtime_data.connected
    assert name_of(lock)
