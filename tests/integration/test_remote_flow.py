"""Connecting to a remote access server: as an app, by address and code, anew, elsewhere."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from aiohasupervisor import SupervisorError
from aiohasupervisor.models import Discovery
from homeassistant.config_entries import SOURCE_HASSIO, SOURCE_USER
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.service_info.hassio import HassioServiceInfo
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import server as server_row
from world import DOMAIN

from custom_components.igrs_lock.remote import errors, identity, wire
from custom_components.igrs_lock.remote.http import RasHttp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from board import TestLock
    from homeassistant.config_entries import ConfigEntry, ConfigFlowContext
    from homeassistant.core import HomeAssistant
    from ras_house import RasHouse
    from world import World

SLUG = "1a2b3c4d_igrs_ras"
NAME = "IGRS Lock remote access"


class Desk:
    """Who fills in the dialogs, and the Supervisor that keeps the app's message."""

    def __init__(self, hass: HomeAssistant, ras: RasHouse) -> None:
        self.hass = hass
        self.ras = ras
        self.uuid = uuid4()
        self.message: dict[str, Any] | None = None

    # --- dialogs ---

    async def begin(self, source: str, data: Any = None, **context: Any) -> dict[str, Any]:
        """Begin a flow."""
        flows = self.hass.config_entries.flow
        begun = cast("ConfigFlowContext", {"source": source, **context})
        return dict(await self.ras.wait(flows.async_init(DOMAIN, context=begun, data=data)))

    async def submit(self, result: dict[str, Any], **user_input: Any) -> dict[str, Any]:
        """Fill in a form, or choose in a menu."""
        flows = self.hass.config_entries.flow
        return dict(await self.ras.wait(flows.async_configure(result["flow_id"], user_input)))

    async def typed(self, **fields: Any) -> dict[str, Any]:
        """Add a server by its address."""
        result = await self.begin(SOURCE_USER)
        assert result["type"] is FlowResultType.MENU
        result = await self.submit(result, next_step_id="server")
        return await self.submit(result, **{"url": self.ras.url} | fields)

    async def change(self, entry: ConfigEntry[Any], step: str) -> dict[str, Any]:
        """Choose in the menu of a server."""
        result = await self.begin("reconfigure", entry_id=entry.entry_id)
        assert result["step_id"] == "server_menu"
        assert step in result["menu_options"]
        return await self.submit(result, next_step_id=step)

    async def anew(self, entry: ConfigEntry[Any]) -> dict[str, Any]:
        """Begin to connect anew, as a repair does."""
        entry.async_start_reauth(self.hass)
        await self.ras.until(lambda: entry.async_get_active_flows(self.hass, {"reauth"}))
        (flow,) = entry.async_get_active_flows(self.hass, {"reauth"})
        flows = self.hass.config_entries.flow
        return dict(await self.ras.wait(flows.async_configure(flow["flow_id"])))

    # --- the app ---

    async def local_code(self, **site: str) -> str:
        """A code for the home of this machine."""
        made = await self.ras.verb("gateway code", local=True, **site or {"new_site": "Home"})
        return str(made["code"])

    def announce(self, offered: str | None, **other: Any) -> None:
        """What the app tells the Supervisor."""
        self.message = {
            "host": "127.0.0.1",
            "port": int(self.ras.local_url.rpartition(":")[2]),
            "server_key": wire.b64(self.ras.server.identity.public),
            **({} if offered is None else {"code": offered}),
            **other,
        }

    async def discovered(self) -> dict[str, Any]:
        """The Supervisor hands the message on, as Home Assistant's own integration does."""
        info = HassioServiceInfo(
            config={**(self.message or {}), "addon": NAME},
            name=NAME,
            slug=SLUG,
            uuid=self.uuid.hex,
        )
        return await self.begin(SOURCE_HASSIO, info)

    async def get(self, uuid: UUID) -> Discovery:
        """Supervisor: the message."""
        if self.message is None or uuid != self.uuid:
            raise SupervisorError
        return Discovery(addon=SLUG, service=DOMAIN, uuid=uuid, config=dict(self.message))

    async def list(self) -> list[Discovery]:
        """Supervisor: all messages."""
        other = Discovery(addon="mqtt", service="mqtt", uuid=uuid4(), config={})
        return [other] if self.message is None else [other, await self.get(self.uuid)]

    @property
    def discovery(self) -> Desk:
        """Supervisor's part for discovery."""
        return self


@pytest.fixture
def desk(hass: HomeAssistant, world: World, ras: RasHouse) -> Iterator[Desk]:
    """Dialogs, beside a server and a Supervisor."""
    desk = Desk(hass, ras)
    with patch("homeassistant.components.hassio.get_supervisor_client", return_value=desk):
        yield desk


def servers(hass: HomeAssistant) -> list[ConfigEntry[Any]]:
    """The entries of servers."""
    entries = hass.config_entries.async_entries(DOMAIN)
    return [entry for entry in entries if entry.data.get("type") == "server"]


async def linked(ras: RasHouse, entry: ConfigEntry[Any]) -> None:
    """Wait until an entry's gateway is at its place."""
    await ras.until(lambda: ras.server.gateways.link_of(entry.data["site"]) is not None)
    await ras.until(lambda: getattr(entry, "runtime_data", None) and entry.runtime_data.connected)


def device_of(hass: HomeAssistant, entry: ConfigEntry[Any]) -> dr.DeviceEntry:
    """The server's device."""
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    return device


# --- by address and code --------------------------------------------------------------------------


async def test_by_address_and_code_the_key_is_compared_and_locks_chosen(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
    desk: Desk,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    code = await ras.code()
    result = await desk.typed(code=code.lower().replace("-", " "))
    assert result["step_id"] == "server_confirm"
    shown = result["description_placeholders"]
    assert shown["fingerprint"] == ras.server.identity.fingerprint
    assert code not in str(shown)
    assert result["data_schema"]({}) == {"locks": [lock.unique_id]}
    result = await desk.submit(result, locks=[lock.unique_id])
    assert result["type"] is FlowResultType.CREATE_ENTRY, result
    assert result["title"] == "127.0.0.1"
    assert result["options"] == {"locks": [lock.unique_id]}
    made = result["result"]
    assert made.unique_id == ras.server.identity.public.hex()
    assert not made.data["local"]
    await linked(ras, made)
    await ras.until(lambda: made.runtime_data.store.locks)
    assert device_of(hass, made).configuration_url is None  # there is no page
    for secret in (code, made.data["private_key"]):
        assert secret not in caplog.text
    # A second place of the same home at the same server is of no use.
    again = await desk.typed(code=await ras.code())
    assert (again["type"], again["reason"]) == (FlowResultType.ABORT, "server_already_configured")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"url": "http://locks.example"}, {"url": "not_https"}),
        ({"url": "locks.example/path"}, {"url": "invalid_address"}),
        ({"url": "127.0.0.1:1"}, {"base": "server_unreachable"}),
        ({"code": "8KNZ-44YW"}, {"code": "invalid_code"}),
        ({"ca": "-----BEGIN CERTIFICATE-----\nAAAA"}, {"ca": "invalid_ca"}),
    ],
)
async def test_what_is_typed_wrongly_is_said_where_it_was_typed(
    hass: HomeAssistant, desk: Desk, fields: dict[str, str], error: dict[str, str]
) -> None:
    result = await desk.typed(**{"code": "8KNZ-44YW-D3XS-6GJ4"} | fields)
    assert (result["step_id"], result["errors"]) == ("server", error)
    assert not servers(hass)


async def test_a_code_that_the_server_refuses_is_asked_for_again(
    hass: HomeAssistant, ras: RasHouse, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = await desk.submit(await desk.typed(code="8KNZ-44YW-D3XS-6GJ4"))
    assert (result["step_id"], result["errors"]) == ("server", {"code": "wrong_code"})

    async def too_many(_uses: object) -> None:
        raise Refused(Status.TOO_MANY_ATTEMPTS)

    monkeypatch.setattr(ras.server.throttle, "take", too_many)
    code = await ras.code()
    result = await desk.submit(await desk.submit(result, url=ras.url, code=code))
    assert (result["step_id"], result["errors"]) == ("server", {"base": "too_many_attempts"})
    monkeypatch.undo()
    result = await desk.submit(await desk.submit(result, url=ras.url, code=code))
    assert result["type"] is FlowResultType.CREATE_ENTRY
    # Without a lock there is nothing to choose.
    assert result["options"] == {"locks": []}
    await linked(ras, result["result"])


async def test_what_was_unticked_stays_so_while_another_code_is_typed(
    lock: TestLock, entry: ConfigEntry[Any], ras: RasHouse, desk: Desk
) -> None:
    result = await desk.submit(await desk.typed(code="8KNZ-44YW-D3XS-6GJ4"), locks=[])
    assert (result["step_id"], result["errors"]) == ("server", {"code": "wrong_code"})
    result = await desk.submit(result, url=ras.url, code=await ras.code())
    assert result["data_schema"]({}) == {"locks": []}


async def new_key(ras: RasHouse) -> None:
    """Let another server stand in the same place."""

    def change(tx: Any) -> None:
        tx.execute(server_row.update().values(key=identity.new_private_key()))

    await ras.wait(ras.server.store.write(change))
    await ras.stop()
    await ras.start()


async def test_another_server_at_the_address_gets_no_code(
    hass: HomeAssistant, ras: RasHouse, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = await desk.typed(code=await ras.code())
    sent: list[str] = []
    call = RasHttp._call

    async def watched(http: RasHttp, method: str, path: str, *args: Any, **more: Any) -> Any:
        sent.append(path)
        return await call(http, method, path, *args, **more)

    monkeypatch.setattr(RasHttp, "_call", watched)
    await new_key(ras)
    result = await desk.submit(result)
    assert (result["step_id"], result["errors"]) == ("server_confirm", {"base": "not_a_server"})
    assert sent == ["/api/v1/server"]


# --- the app --------------------------------------------------------------------------------------


async def test_an_app_is_connected_without_typing(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
    desk: Desk,
) -> None:
    desk.announce(await desk.local_code())
    result = await desk.discovered()
    assert result["step_id"] == "hassio_confirm"
    assert result["description_placeholders"]["name"] == NAME
    assert result["description_placeholders"]["fingerprint"] == ras.server.identity.fingerprint
    # The code of the message that began the dialog has ended; the one of now is taken.
    desk.announce(await desk.local_code(site=await site_of(ras)))
    result = await desk.submit(result, locks=[])
    assert result["type"] is FlowResultType.CREATE_ENTRY, result
    made = result["result"]
    assert (made.title, made.data["local"], made.data["app"]["slug"]) == (NAME, True, SLUG)
    await linked(ras, made)
    assert device_of(hass, made).configuration_url == f"homeassistant://app/{SLUG}"
    # It named the administrators, which only a gateway of this machine may.
    await ras.until(lambda: made.runtime_data._admins._told is not None)


async def site_of(ras: RasHouse) -> str:
    """The only site's ID."""
    listed = await ras.verb("site list")
    (site,) = listed["sites"]
    return str(site["id"])


async def test_an_app_found_again_changes_its_address_only(
    hass: HomeAssistant, ras: RasHouse, desk: Desk
) -> None:
    desk.announce(await desk.local_code())
    made = (await desk.submit(await desk.discovered()))["result"]
    await linked(ras, made)
    before = dict(made.data)
    desk.announce(None, port=1)
    result = await desk.discovered()
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "server_already_configured")
    assert dict(made.data) == before | {"url": "http://127.0.0.1:1"}
    await ras.until(lambda: ras.server.gateways.link_of(made.data["site"]) is None)
    desk.announce(None)
    await desk.discovered()
    await linked(ras, made)
    assert dict(made.data) == before


async def test_a_server_whose_address_was_typed_stays_there_when_it_is_found_as_an_app(
    hass: HomeAssistant, ras: RasHouse, desk: Desk
) -> None:
    made = (await desk.submit(await desk.typed(code=await ras.code())))["result"]
    await linked(ras, made)
    before = dict(made.data)
    desk.announce(await desk.local_code())
    result = await desk.discovered()
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "server_already_configured")
    assert dict(made.data) == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"server_key": "AAAA"}, "app_message_wrong"),
        ({"port": "8098"}, "app_message_wrong"),
        ({"host": "a b"}, "app_message_wrong"),
        ({"host": "evil@127.0.0.1"}, "app_message_wrong"),
        ({"code": ""}, "app_taken"),
    ],
)
async def test_a_message_that_offers_nothing_begins_no_dialog(
    hass: HomeAssistant, desk: Desk, change: dict[str, Any], reason: str
) -> None:
    desk.announce("8KNZ-44YW-D3XS-6GJ4", **change)
    result = await desk.discovered()
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, reason)


async def test_an_app_that_took_its_offer_back_or_is_another_one_is_not_connected(
    hass: HomeAssistant, ras: RasHouse, desk: Desk
) -> None:
    code = await desk.local_code()
    for change in ("code", "key", "message"):
        desk.announce(code)
        result = await desk.discovered()
        match change:
            case "code":
                desk.announce(None)
            case "key":
                desk.announce(code, server_key=wire.b64(bytes(32)))
            case "message":
                desk.message = None
        result = await desk.submit(result)
        assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "app_taken")
    assert not servers(hass)


async def test_an_app_that_began_anew_gets_its_entry_after_its_key_was_compared(
    hass: HomeAssistant, ras: RasHouse, desk: Desk
) -> None:
    desk.announce(await desk.local_code())
    made = (await desk.submit(await desk.discovered()))["result"]
    await linked(ras, made)
    before = ras.server.identity.fingerprint
    await new_key(ras)
    desk.uuid = uuid4()
    desk.announce(await desk.local_code())
    result = await desk.discovered()
    assert result["step_id"] == "app_changed"
    shown = result["description_placeholders"]
    assert (shown["before"], shown["fingerprint"]) == (before, ras.server.identity.fingerprint)
    result = await desk.submit(result)
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "server_enrolled_again")
    assert servers(hass) == [made]
    assert made.unique_id == ras.server.identity.public.hex()
    await linked(ras, made)


# --- connecting anew ------------------------------------------------------------------------------


async def test_a_revoked_home_connects_anew_with_a_code_for_the_same_site(
    hass: HomeAssistant, ras: RasHouse, desk: Desk
) -> None:
    made = (await desk.submit(await desk.typed(code=await ras.code())))["result"]
    await linked(ras, made)
    site, gateway = made.data["site"], made.data["gateway"]
    await ras.verb("gateway revoke", gateway=gateway)
    await ras.until(lambda: made.runtime_data.link.down == "revoked")
    result = await desk.anew(made)
    assert result["step_id"] == "server_code"
    for wrong, error in (("8KNZ", "invalid_code"), ("8KNZ-44YW-D3XS-6GJ4", "wrong_code")):
        result = await desk.submit(result, code=wrong)
        assert result["errors"] == {"code": error}
    result = await desk.submit(result, code=await ras.code(site=site))
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "server_enrolled_again")
    assert made.data["site"] == site
    assert made.data["gateway"] != gateway
    await linked(ras, made)


async def test_a_revoked_home_of_an_app_connects_anew_without_typing(
    hass: HomeAssistant, ras: RasHouse, desk: Desk
) -> None:
    desk.announce(await desk.local_code())
    made = (await desk.submit(await desk.discovered()))["result"]
    await linked(ras, made)
    await ras.verb("gateway revoke", gateway=made.data["gateway"])
    await ras.until(lambda: made.runtime_data.link.down == "revoked")
    # Without an offer it says how the app is made to give one.
    desk.announce(None)
    result = await desk.anew(made)
    assert result["step_id"] == "app_waits"
    result = await desk.submit(result)
    assert (result["step_id"], result["errors"]) == ("app_waits", {"base": "app_offers_nothing"})
    desk.announce(await desk.local_code(site=made.data["site"]))
    result = await desk.submit(result)
    assert result["step_id"] == "app_again"
    result = await desk.submit(result)
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "server_enrolled_again")
    await linked(ras, made)
    assert made.data["local"]


async def test_a_server_with_another_key_is_not_connected_to_by_a_code_alone(
    hass: HomeAssistant, ras: RasHouse, desk: Desk
) -> None:
    made = (await desk.submit(await desk.typed(code=await ras.code())))["result"]
    await linked(ras, made)
    before, data = ras.server.identity.fingerprint, dict(made.data)
    await new_key(ras)
    code = await ras.code()
    result = await desk.submit(await desk.anew(made), code=code)
    assert result["errors"] == {"base": "not_a_server"}
    assert dict(made.data) == data
    hass.config_entries.flow.async_abort(result["flow_id"])
    # Where both keys are shown it is the owner's word.
    result = await desk.submit(await desk.change(made, "server_address"), url=ras.url)
    assert result["step_id"] == "server_changed"
    shown = result["description_placeholders"]
    assert (shown["before"], shown["fingerprint"]) == (before, ras.server.identity.fingerprint)
    result = await desk.submit(result, code="8KNZ-44YW-D3XS-6GJ4")
    assert result["errors"] == {"code": "wrong_code"}
    result = await desk.submit(result, code=code)
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "server_enrolled_again")
    assert made.unique_id == ras.server.identity.public.hex()
    await linked(ras, made)


async def test_a_place_that_cannot_be_stored_spends_no_code(
    hass: HomeAssistant, ras: RasHouse, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (await desk.submit(await desk.typed(code=await ras.code())))["result"]
    await linked(ras, made)

    async def nothing() -> dict[str, Any]:
        return {}

    monkeypatch.setattr(made.runtime_data.store, "_async_stored", nothing)
    code = await ras.code(site=made.data["site"])
    result = await desk.submit(await desk.anew(made), code=code)
    assert result["errors"] == {"base": "remote_not_saved"}
    monkeypatch.undo()
    result = await desk.submit(result, code=code)
    assert result["reason"] == "server_enrolled_again"
    await linked(ras, made)


async def test_case_58_a_new_place_withdraws_what_was_given_out(
    hass: HomeAssistant, ras: RasHouse, desk: Desk
) -> None:
    made = (await desk.submit(await desk.typed(code=await ras.code())))["result"]
    await linked(ras, made)
    for loaded in (True, False):
        gateway = made.runtime_data
        await ras.wait(gateway.people.async_make_owner_code())
        assert gateway.store.invitations
        if not loaded:
            await ras.wait(hass.config_entries.async_unload(made.entry_id))
        result = await desk.anew(made)
        result = await desk.submit(result, code=await ras.code(site=made.data["site"]))
        assert result["reason"] == "server_enrolled_again"
        await linked(ras, made)
        await ras.until(lambda: made.runtime_data.store.generation)
        assert made.runtime_data.store.invitations == {}


async def test_what_an_app_took_back_meanwhile_is_said(
    hass: HomeAssistant, ras: RasHouse, desk: Desk
) -> None:
    desk.announce(await desk.local_code())
    made = (await desk.submit(await desk.discovered()))["result"]
    await linked(ras, made)
    await ras.verb("gateway revoke", gateway=made.data["gateway"])
    await ras.until(lambda: made.runtime_data.link.down == "revoked")
    desk.announce(await desk.local_code(site=made.data["site"]))
    result = await desk.anew(made)
    assert result["step_id"] == "app_again"
    desk.announce("8KNZ-44YW-D3XS-6GJ4")
    result = await desk.submit(result)
    assert result["errors"] == {"base": "wrong_code"}
    desk.message = None
    result = await desk.submit(result)
    assert result["step_id"] == "app_waits"
    hass.config_entries.flow.async_abort(result["flow_id"])
    await new_key(ras)
    desk.announce("8KNZ-44YW-D3XS-6GJ4")
    result = await desk.discovered()
    assert result["step_id"] == "app_changed"
    result = await desk.submit(result)
    assert result["errors"] == {"base": "wrong_code"}
    desk.announce(None)
    ended = await desk.submit(result)
    assert (ended["type"], ended["reason"]) == (FlowResultType.ABORT, "app_taken")
    desk.announce("8KNZ-44YW-D3XS-6GJ4")
    result = await desk.discovered()
    await ras.wait(hass.config_entries.async_remove(made.entry_id))
    ended = await desk.submit(result)
    assert (ended["type"], ended["reason"]) == (FlowResultType.ABORT, "server_gone")


# --- the menu -------------------------------------------------------------------------------------


async def test_the_menu_changes_locks_address_and_key_and_makes_an_owner(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    entry: ConfigEntry[Any],
    ras: RasHouse,
    desk: Desk,
) -> None:
    made = (await desk.submit(await desk.typed(code=await ras.code()), locks=[]))["result"]
    await linked(ras, made)
    gateway = made.runtime_data
    result = await desk.change(made, "server_locks")
    assert result["data_schema"]({}) == {"locks": []}
    result = await desk.submit(result, locks=[lock.unique_id])
    assert result["reason"] == "server_locks_saved"
    await ras.until(lambda: gateway.store.locks)

    result = await desk.submit(await desk.change(made, "owner_code"))
    assert result["step_id"] == "owner_code_made"
    assert identity.read_code(result["description_placeholders"]["code"])
    assert (await desk.submit(result))["reason"] == "owner_code_made"

    key = made.data["private_key"]
    result = await desk.submit(await desk.change(made, "new_key"))
    assert result["reason"] == "key_renewed"
    assert made.data["private_key"] != key
    assert gateway.connected
    await ras.wait(hass.config_entries.async_reload(made.entry_id))
    await linked(ras, made)
    gateway = made.runtime_data

    address = await desk.change(made, "server_address")
    result = await desk.submit(address, url="http://locks.example")
    assert result["errors"] == {"url": "not_https"}
    moved = ras.local_url  # the same server on another port
    result = await desk.submit(result, url=moved)
    assert result["reason"] == "server_moved"
    assert made.data["url"] == moved
    await ras.until(lambda: gateway.link.down is not None or gateway.connected)
    await linked(ras, made)
    assert made.runtime_data is gateway

    await ras.kill()
    await ras.within(60, lambda: not gateway.connected)
    for step in ("owner_code", "new_key"):
        result = await desk.submit(await desk.change(made, step))
        assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "server_not_connected")
    assert (await desk.change(made, "server_locks"))["step_id"] == "server_locks"


async def test_what_the_server_refuses_is_said_in_the_menu_too(
    hass: HomeAssistant, ras: RasHouse, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (await desk.submit(await desk.typed(code=await ras.code())))["result"]
    await linked(ras, made)
    gateway = made.runtime_data

    async def refuse() -> None:
        raise errors.Refused(wire.Status.TOO_LARGE)

    async def full() -> None:
        raise errors.RemoteNotSaved

    async def down() -> None:
        raise errors.LinkDown

    for step, owner, method in (
        ("owner_code", gateway.people, "async_make_owner_code"),
        ("new_key", gateway.link, "async_change_key"),
    ):
        result = await desk.change(made, step)
        for fault, error in ((refuse, "server_refused"), (full, "remote_not_saved")):
            monkeypatch.setattr(owner, method, fault)
            result = await desk.submit(result)
            assert (result["step_id"], result["errors"]) == (step, {"base": error})
        monkeypatch.setattr(owner, method, down)
        result = await desk.submit(result)
        assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "server_not_connected")
    # Another entry's server is not taken over by this one.
    other = await ras.enrol()
    hass.config_entries.async_update_entry(
        made, data={**made.data, "server_key": wire.b64(bytes(32))}
    )
    result = await desk.submit(await desk.change(made, "server_address"), url=ras.url)
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "server_already_configured")
    assert other.unique_id == ras.server.identity.public.hex()


async def test_an_app_has_no_address_to_change_and_without_locks_there_are_none_to_choose(
    hass: HomeAssistant, ras: RasHouse, desk: Desk
) -> None:
    desk.announce(await desk.local_code())
    made = (await desk.submit(await desk.discovered()))["result"]
    await linked(ras, made)
    result = await desk.begin("reconfigure", entry_id=made.entry_id)
    assert result["menu_options"] == ["server_locks", "owner_code", "new_key"]
    result = await desk.submit(result, next_step_id="server_locks")
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, "no_locks")
