"""A person's menu about phones: invite one, take a link back, end one that is lost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from folk import Folk, options
from homeassistant.data_entry_flow import FlowResultType
from phone_command import read_link
from remote_people import Street

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.errors import LedgerNotSavedError
from custom_components.igrs_lock.ledger import Ledger
from custom_components.igrs_lock.person import DEFAULT_RIGHTS, Kind
from custom_components.igrs_lock.remote.store import RemoteStore
from custom_components.igrs_lock.remote.wire import RemoteNotSaved

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from ras_house import RasHouse
    from world import World

LOCAL = DEFAULT_RIGHTS[Kind.RESIDENT]


@pytest.fixture
async def street(
    world: World, lock: TestLock, entry: ConfigEntry[Any], ras: RasHouse, enrolled: ConfigEntry[Any]
) -> Street:
    """A lock that is reachable over a server."""
    street = Street(world, lock, ras, entry, enrolled)
    await street.prepare()
    return street


@pytest.fixture
def folk(street: Street) -> Folk:
    return Folk(street.world)


async def submit(street: Street, result: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Fill in a form whose step speaks to the server."""
    flows = street.hass.config_entries.subentries
    return dict(await street.ras.wait(flows.async_configure(result["flow_id"], data)))


async def test_a_phone_is_invited_with_a_link_as_text_and_as_a_code(
    street: Street, folk: Folk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    anna = await street.add("Anna", rights=LOCAL)
    result = await folk.reconfigure(anna)
    assert result["menu_options"] == ["identity", "access", "times", "invite", "suspend"]
    result = await folk.choose(result, "invite")
    assert result["description_placeholders"]["locks"] == street.entry.title
    assert [str(field) for field in result["data_schema"].schema] == ["life"]
    assert options(result, "life") == ["day", "week", "month"]
    result = await submit(street, result, {"life": "day"})
    assert result["step_id"] == "invite_link"
    link = result["description_placeholders"]["link"]
    (selector,) = result["data_schema"].schema.values()
    assert selector.config["data"] == link
    url, invitation = read_link(link)
    assert url == street.ras.url
    assert link.startswith(f"{street.ras.url}/#")
    item = street.store.invitations[invitation.id]
    assert item.expires == round(street.world.now() * 1000) + 24 * 3600 * 1000
    # What a phone is of no use without is given, and nothing else.
    rights = street.gateway.home.persons()[anna].rights
    assert rights == LOCAL | ilp.Right.REMOTE_USE | ilp.Right.FOLLOW_STATE
    result = await submit(street, result, {})
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "invited")
    await street.settle()
    phone = await street.join(invitation)
    assert phone.box["locks"]
    # Nothing secret is in the log, down to its finest level.
    secrets = (invitation.secret.hex(), phone.update_key.hex(), phone.box["locks"][0]["key"])
    for secret in secrets:
        assert secret not in caplog.text


async def test_case_46_what_is_stored_of_a_link_is_shown_nowhere(street: Street) -> None:
    anna = await street.add("Anna")
    invitation = await street.invite(anna)
    await street.join(invitation)
    shown = repr(street.store.invitations) + repr(street.store.phones) + repr(street.store)
    for item in street.store.invitations.values():
        assert item.secret.hex() not in shown
        assert repr(item.secret) not in shown
    for phone in street.store.phones.values():
        assert repr(phone.update_key) not in shown


async def test_without_a_server_or_a_lock_of_it_nobody_is_invited(
    street: Street, folk: Folk
) -> None:
    anna = await street.add("Anna", locks=frozenset())
    result = await folk.reconfigure(anna, "invite")
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "no_remote_locks")
    flow = await folk.reconfigure(anna)
    entries = street.hass.config_entries
    await street.ras.wait(entries.async_unload(street.server.entry_id))
    result = await folk.choose(flow, "invite")
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "no_server")
    result = await folk.reconfigure(anna)
    assert "invite" not in result["menu_options"]


async def test_what_keeps_a_link_from_being_made_is_told_and_changes_nothing(
    street: Street, folk: Folk
) -> None:
    anna = await street.add("Anna", rights=LOCAL)
    result = await folk.reconfigure(anna, "invite")
    # Nobody can reach the server: a link would lead nowhere.
    reach = street.ras.server.reach
    with patch.object(reach, "reached", False), patch.object(reach, "seen"):
        await street.ras.wait(street.gateway.async_look_public())
        result = await submit(street, result, {"life": "week"})
    assert result["errors"] == {"base": "remote_no_public_address"}
    await street.ras.wait(street.gateway.async_look_public())

    async def full(self: RemoteStore, undo: Any = None) -> None:
        if undo is not None:
            undo()
        raise RemoteNotSaved

    with patch.object(RemoteStore, "async_save", full):
        result = await submit(street, result, {"life": "week"})
    assert result["errors"] == {"base": "remote_not_saved"}
    await street.ras.kill()
    await street.ras.until(lambda: not street.gateway.link.connected)
    result = await submit(street, result, {"life": "week"})
    assert result["errors"] == {"base": "remote_link_down"}
    assert not street.store.invitations
    assert street.gateway.home.persons()[anna].rights == LOCAL


async def test_open_links_are_shown_and_withdrawn(street: Street, folk: Folk) -> None:
    anna, ben = await street.add("Anna"), await street.add("Ben")
    result = await folk.reconfigure(anna)
    assert "invitations" not in result["menu_options"]
    used, kept = await street.invite(anna), await street.invite(anna, days=30)
    bens = await street.invite(ben)
    phone = street.ras.phone("Tablet")
    await street.ask(phone, used)
    result = await folk.reconfigure(anna, "invitations")
    assert set(options(result, "invitations")) == {used.id, kept.id}
    labels = {
        one["value"]: one["label"]
        for one in result["data_schema"].schema["invitations"].config["options"]
    }
    assert labels[used.id].endswith(" · Tablet")
    assert "·" not in labels[kept.id]
    result = await submit(street, result, {"invitations": []})
    assert result["reason"] == "nothing_changed"
    assert len(street.store.invitations) == 3
    result = await folk.reconfigure(anna, "invitations")
    result = await submit(street, result, {"invitations": [kept.id]})
    assert result["reason"] == "withdrawn"
    old = street.tenants.key("Anna")
    result = await folk.reconfigure(anna, "invitations")
    result = await submit(street, result, {"invitations": [used.id]})
    assert result["reason"] == "withdrawn_replaced"
    await street.settle()
    assert await street.tenants.phone(old).ask(ilp.requests.get_status()) == [-2]
    assert [*street.store.invitations] == [bens.id]


async def test_a_lost_phone_is_ended_and_says_what_that_means(street: Street, folk: Folk) -> None:
    anna = await street.add("Anna")
    result = await folk.reconfigure(anna)
    assert "phones" not in result["menu_options"]
    phone = await street.join(await street.invite(anna), "Tablet")
    key = street.tenants.key("Anna")
    result = await folk.reconfigure(anna, "phones")
    (option,) = result["data_schema"].schema["phone"].config["options"]
    assert option["value"] == phone.join_id
    assert option["label"].startswith("Tablet · 20")
    result = await submit(street, result, {"phone": phone.join_id})
    assert result["step_id"] == "phone_lost"
    assert result["description_placeholders"]["phone"] == "Tablet"
    assert street.store.phones

    async def full(self: Ledger) -> None:
        raise LedgerNotSavedError("")

    with patch.object(Ledger, "async_save", full):
        result = await submit(street, result, {})
    # It is out already, and what could not be stored is made up for.
    assert result["errors"] == {"base": "ledger_not_saved"}
    assert not street.people.may_use(anna)
    assert street.store.rotations == {anna}
    await street.ras.within(100, lambda: not street.store.rotations, step=1)
    await street.settle()
    assert await street.tenants.phone(key).ask(ilp.requests.get_status()) == [-2]
    result = await submit(street, result, {})
    assert result["reason"] == "phone_gone"
    await street.linked()
    second = await street.join(await street.invite(anna), "Phone")
    result = await folk.reconfigure(anna, "phones")
    result = await submit(street, result, {"phone": second.join_id})
    result = await submit(street, result, {})
    assert (result["reason"], result["description_placeholders"]["phone"]) == (
        "phone_ended",
        "Phone",
    )
    assert not street.store.phones
