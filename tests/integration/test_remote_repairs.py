"""What the owner is told of a remote access server, and that it goes when it is mended."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from homeassistant.components.repairs import repairs_flow_manager
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import issue_registry as ir
from igrs_ras.api.route import Listener
from igrs_ras.storage.tables import gateways as gateway_rows
from world import DOMAIN

from custom_components.igrs_lock.diagnostics import async_get_config_entry_diagnostics
from custom_components.igrs_lock.remote.errors import Unreachable
from custom_components.igrs_lock.remote.handshake import Down
from custom_components.igrs_lock.remote.http import RasHttp
from custom_components.igrs_lock.remote.store import RemoteStore

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant
    from ras_house import RasHouse
    from world import World


def told(hass: HomeAssistant, entry: ConfigEntry[Any]) -> set[str]:
    """What is told of a server: keys of its issues."""
    found = set()
    for domain, issue_id in ir.async_get(hass).issues:
        if domain == DOMAIN and issue_id.startswith("server_"):
            assert issue_id.endswith(f"_{entry.entry_id}")
            found.add(issue_id.removesuffix(f"_{entry.entry_id}"))
    return found


def issue(hass: HomeAssistant, entry: ConfigEntry[Any], key: str) -> ir.IssueEntry:
    """One issue of a server."""
    found = ir.async_get(hass).async_get_issue(DOMAIN, f"{key}_{entry.entry_id}")
    assert found is not None
    return found


async def fix(
    hass: HomeAssistant, ras: RasHouse, entry: ConfigEntry[Any], key: str
) -> dict[str, Any]:
    """Go through an issue's repair."""
    manager = repairs_flow_manager(hass)
    assert manager is not None
    assert issue(hass, entry, key).is_fixable
    data = {"issue_id": f"{key}_{entry.entry_id}"}
    flow = await ras.wait(manager.async_init(DOMAIN, data=data))
    assert flow["step_id"] == "confirm"
    return dict(await ras.wait(manager.async_configure(flow["flow_id"], {})))


async def reenrol(ras: RasHouse, entry: ConfigEntry[Any]) -> None:
    """Give the entry a new place, as the dialog does."""
    from custom_components.igrs_lock.remote.enrolment import (  # noqa: PLC0415
        async_enrol_anew,
        offer_of,
    )

    code = await ras.code(site=entry.data["site"])
    await ras.wait(async_enrol_anew(ras.hass, entry, offer_of(entry, code)))
    await ras.until(lambda: entry.state.value == "loaded" and entry.runtime_data.connected)


async def test_a_server_that_is_away_is_told_of_after_an_hour(
    hass: HomeAssistant,
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    assert told(hass, enrolled) == set()
    await ras.stop()
    await ras.let_pass(3500, step=100)
    assert told(hass, enrolled) == set()
    await ras.let_pass(200, step=50)
    assert told(hass, enrolled) == {"server_unreachable"}
    assert not issue(hass, enrolled, "server_unreachable").is_fixable
    await ras.start()
    await ras.within(120, lambda: not told(hass, enrolled))
    # The log says it once each, however often it was tried.
    said = [record.getMessage() for record in caplog.records if "custom_components" in record.name]
    assert len([line for line in said if "is not connected: " in line]) == 1
    assert said.count(f"{enrolled.title} is back") == 1
    # Switched off nothing is missed.
    await ras.wait(enrolled.runtime_data.async_set_enabled(False))
    await ras.let_pass(4000, step=100)
    assert told(hass, enrolled) == set()
    # It takes an hour also after a start, and says what it found last.
    await ras.stop()
    await ras.wait(enrolled.runtime_data.async_set_enabled(True))
    enrolled.runtime_data.unlinked(Down.TLS)
    enrolled.runtime_data.issues._hour_over(None)
    assert told(hass, enrolled) == {"server_certificate"}


async def test_case_2_a_copied_or_revoked_home_is_told_of_and_connects_anew(
    hass: HomeAssistant, ras: RasHouse, enrolled: ConfigEntry[Any]
) -> None:
    await ras.verb("gateway revoke", gateway=enrolled.data["gateway"])
    await ras.until(lambda: told(hass, enrolled) == {"server_revoked"})
    result = await fix(hass, ras, enrolled, "server_revoked")
    (flow,) = enrolled.async_get_active_flows(hass, {"reauth"})
    assert flow["step_id"] == "server_code"
    assert result["next_flow"] == ("config_flow", flow["flow_id"])
    assert told(hass, enrolled) == {"server_revoked"}  # until it is connected
    await reenrol(ras, enrolled)
    await ras.until(lambda: not told(hass, enrolled))
    assert not [*enrolled.async_get_active_flows(hass, {"reauth"})]

    # Somebody has a copy: this home comes with a number that was used before.
    store = enrolled.runtime_data.store
    store.n = 0
    await ras.wait(store.async_save())
    assert await ras.wait(hass.config_entries.async_reload(enrolled.entry_id))
    await ras.until(lambda: told(hass, enrolled) == {"server_copied"})
    # After a start it is still so, and nobody connects.
    await ras.wait(hass.config_entries.async_reload(enrolled.entry_id))
    await ras.let_pass(120)
    assert not enrolled.runtime_data.connected
    assert told(hass, enrolled) == {"server_copied"}
    await reenrol(ras, enrolled)
    await ras.until(lambda: not told(hass, enrolled))


async def test_a_server_that_does_not_know_this_home_any_more_is_told_of(
    hass: HomeAssistant, ras: RasHouse, enrolled: ConfigEntry[Any]
) -> None:
    def forget(tx: Any) -> None:
        tx.execute(gateway_rows.delete())

    await ras.wait(ras.server.store.write(forget))
    await ras.stop()
    await ras.start()
    await ras.within(60, lambda: told(hass, enrolled))
    assert told(hass, enrolled) <= {"server_refused", "server_revoked"}
    await reenrol(ras, enrolled)
    await ras.until(lambda: not told(hass, enrolled))


async def test_another_key_is_told_of_and_gone_with_the_right_server(
    hass: HomeAssistant, ras: RasHouse, enrolled: ConfigEntry[Any]
) -> None:
    gateway = enrolled.runtime_data
    gateway.unlinked(Down.KEY_CHANGED)
    assert told(hass, enrolled) == {"server_key_changed"}
    assert not issue(hass, enrolled, "server_key_changed").is_fixable
    gateway.unlinked(Down.FALSE_CHECKPOINT)
    assert told(hass, enrolled) == {"server_key_changed", "server_false_checkpoint"}
    await ras.stop()
    await ras.start()
    await ras.within(60, lambda: not told(hass, enrolled))


async def test_case_11_clocks_that_differ_are_told_of_until_they_agree(
    hass: HomeAssistant, ras: RasHouse, enrolled: ConfigEntry[Any]
) -> None:
    ras.clock.offset_ms = 600_000
    await ras.within(120, lambda: told(hass, enrolled) == {"server_clock_off"})
    shown = issue(hass, enrolled, "server_clock_off").translation_placeholders
    assert shown == {"name": enrolled.title, "seconds": "600"}
    ras.clock.offset_ms = 0
    await ras.within(240, lambda: not told(hass, enrolled))


@pytest.mark.parametrize("problem", ["cut", "forked", "signature"])
async def test_a_contradiction_in_the_record_is_told_of_until_the_owner_has_seen_it(
    hass: HomeAssistant,
    ras: RasHouse,
    enrolled: ConfigEntry[Any],
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = enrolled.runtime_data.store
    store.audit_problem = {"kind": problem}
    store.audit = (7, bytes(32))
    await ras.wait(store.async_save())
    enrolled.runtime_data.audit_changed()
    key = f"server_audit_{problem}"
    assert told(hass, enrolled) == {key}
    # It is there again after a start.
    await ras.wait(hass.config_entries.async_reload(enrolled.entry_id))
    assert told(hass, enrolled) == {key}
    gateway = enrolled.runtime_data

    async def nothing(_store: RemoteStore) -> dict[str, Any]:
        return {}

    with monkeypatch.context() as full:
        full.setattr(RemoteStore, "_async_stored", nothing)
        result = await fix(hass, ras, enrolled, key)
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "not_saved")
    assert told(hass, enrolled) == {key}
    result = await fix(hass, ras, enrolled, key)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert told(hass, enrolled) == set()
    assert gateway.store.audit_problem is None
    # What was known is kept.
    assert (7, bytes(32), 0) in gateway.store.old_audits
    diagnostics = await async_get_config_entry_diagnostics(hass, enrolled)
    assert [7, bytes(32).hex(), 0] in diagnostics["record"]["old_heads"]


async def test_case_16_a_restored_server_is_told_of_until_the_owner_confirms(
    hass: HomeAssistant, ras: RasHouse, enrolled: ConfigEntry[Any]
) -> None:
    await ras.stop()
    copy = ras.copy()
    await ras.start()
    await ras.within(60, lambda: enrolled.runtime_data.connected)
    await ras.stop()
    ras.put_back(copy)
    await ras.start()
    # Time that is moved ends a handshake for which the machine had no time: the next one is up to a minute later.
    await ras.within(900, lambda: told(hass, enrolled) == {"server_restored"})
    gateway = enrolled.runtime_data
    # The list has come, so it is not told again.
    await ras.within(
        60, lambda: gateway.connected and gateway.store.generation == gateway.welcome.generation
    )
    await ras.wait(hass.config_entries.async_unload(enrolled.entry_id))
    result = await fix(hass, ras, enrolled, "server_restored")
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "not_loaded")
    assert await ras.wait(hass.config_entries.async_setup(enrolled.entry_id))
    result = await fix(hass, ras, enrolled, "server_restored")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert told(hass, enrolled) == set()
    await ras.until(lambda: enrolled.runtime_data.connected)
    assert told(hass, enrolled) == set()


async def test_a_public_address_that_nobody_reached_is_told_of(
    hass: HomeAssistant, world: World, ras_house: RasHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    ras = ras_house
    await ras.start()
    entry = await ras.enrol()
    # Where it is enrolled is not where people come.
    monkeypatch.setattr(ras.server.reach, "_place", ("locks.example", 80))
    monkeypatch.setattr(ras.server.reach, "reached", False)
    await ras.set_up(entry)
    await ras.until(lambda: told(hass, entry) == {"server_not_reached"})
    shown = issue(hass, entry, "server_not_reached").translation_placeholders
    assert shown == {"name": entry.title, "url": ras.url}
    assert not entry.runtime_data.welcome.reached
    # Somebody gets through from outside.
    ras.server.reach.seen("locks.example")
    await ras.within(660, lambda: not told(hass, entry), step=10)
    assert entry.runtime_data.welcome.reached


async def test_what_was_looked_for_before_it_was_switched_off_is_not_told(
    hass: HomeAssistant, world: World, ras: RasHouse, enrolled: ConfigEntry[Any]
) -> None:
    gateway = enrolled.runtime_data
    gate, asked = asyncio.Event(), asyncio.Event()

    async def slow(_self: RasHttp) -> None:
        asked.set()
        await gate.wait()
        raise Unreachable

    gateway.welcome = replace(gateway.welcome, public_url="", reached=False)
    with patch.object(RasHttp, "server_info", slow):
        looking = asyncio.ensure_future(gateway.async_look_public())
        await ras.until(asked.is_set)
        await ras.wait(gateway.async_set_enabled(False))
        gate.set()
        await ras.wait(looking)
    assert told(hass, enrolled) == set()


async def test_this_homes_own_look_may_be_the_first_at_the_public_address(
    hass: HomeAssistant, world: World, ras_house: RasHouse
) -> None:
    ras = ras_house
    await ras.start()
    entry = await ras.enrol()
    ras.server.reach.reached = False
    hass.config_entries.async_update_entry(entry, data={**entry.data, "url": ras.local_url})
    assert ras.server.ports[Listener.LOCAL]
    await ras.set_up(entry)
    await ras.until(lambda: entry.runtime_data.welcome.reached)
    assert told(hass, entry) == set()
    # A server elsewhere sends nobody to this machine.
    hass.config_entries.async_update_entry(entry, data={**entry.data, "url": "https://ras.example"})
    assert not entry.runtime_data._may_call("http://127.0.0.1:8123")
    assert entry.runtime_data._may_call("https://locks.example")


async def test_a_server_without_a_public_address_says_so(
    hass: HomeAssistant, world: World, ras_house: RasHouse
) -> None:
    ras = ras_house
    await ras.start(public_url="")
    entry = await ras.enrol()
    await ras.set_up(entry)
    await ras.until(lambda: told(hass, entry) == {"server_no_address"})
    await ras.stop()
    await ras.start()
    await ras.within(120, lambda: not told(hass, entry))


async def test_diagnostics_of_a_server_have_no_secret(
    hass: HomeAssistant, ras: RasHouse, enrolled: ConfigEntry[Any]
) -> None:
    gateway = enrolled.runtime_data
    code = await ras.wait(gateway.people.async_make_owner_code())
    found = await async_get_config_entry_diagnostics(hass, enrolled)
    assert found["link"]["connected"]
    assert found["entry"]["fingerprint"] == ras.server.identity.fingerprint
    assert found["people"]["invitations"] == {"open": 1}
    secrets = [enrolled.data["private_key"], code, gateway.link.token]
    secrets += [
        secret.hex() for one in gateway.store.invitations.values() if (secret := one.secret)
    ]
    for secret in secrets:
        assert secret not in str(found)
    assert gateway.link.token not in repr(vars(gateway))
