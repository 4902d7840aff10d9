"""Giving this home a place at a server: by the app's message, or by an address and a code.

The key pair is made here, and its private half leaves neither this module nor the entry. The code is
bound to the server's key that the owner compared, so it is of no use to another server.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from homeassistant.config_entries import ConfigEntryState
from yarl import URL

from ..const import (
    CONF_APP,
    CONF_CA,
    CONF_GATEWAY,
    CONF_LOCAL,
    CONF_PRIVATE_KEY,
    CONF_SERVER_KEY,
    CONF_SITE,
    CONF_TYPE,
    CONF_URL,
    DOMAIN,
    TYPE_SERVER,
)
from ..errors import OperationError
from .errors import NotAServer, RemoteNotSaved
from .handshake import Down
from .http import BadAddress, RasHttp, async_context, read_address
from .identity import fingerprint, new_private_key, read_code
from .records import InvitationState
from .store import RemoteStore
from .wire import Malformed, Reader, b64, unb64

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant

    from .gateway import Gateway, ServerConfigEntry

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """A server at which this home may take a place. `code` is "" where there is none."""

    url: str
    server_key: bytes
    name: str
    ca: str | None = None
    code: str = field(default="", repr=False)
    app: dict[str, str] | None = None

    @property
    def unique_id(self) -> str:
        """What tells servers apart: their key, wherever they are."""
        return self.server_key.hex()

    @property
    def fingerprint(self) -> str:
        """What people compare."""
        return fingerprint(self.server_key)


def read_message(config: dict[str, Any], name: str, slug: str, uuid: str) -> Offer:
    """Read the app's message. Malformed."""
    read = Reader(config)
    host, port = read.text("host", 100, least=1), read.integer("port", 1, 65535)
    code = read.text("code", 40, default="")
    try:
        url = read_address(f"http://{host}:{port}", local=True)
    except BadAddress as err:
        raise Malformed("host is no name") from err
    return Offer(
        url,
        read.binary("server_key", 32),
        name,
        code=code,
        app={"name": name, "slug": slug, "uuid": uuid},
    )


async def async_read_again(hass: HomeAssistant, offer: Offer) -> Offer | None:
    """Read the app's message from the Supervisor as it is now; None if there is none.

    A dialog that is open is not told of a newer one, and a code in it may have ended meanwhile.
    """
    if (app := offer.app) is None:
        return None
    from aiohasupervisor import SupervisorError  # noqa: PLC0415  only where there is a Supervisor
    from homeassistant.components.hassio import get_supervisor_client  # noqa: PLC0415

    discovery = get_supervisor_client(hass).discovery
    try:
        try:
            found = await discovery.get(UUID(app["uuid"]))
        except SupervisorError:
            # Installed anew, the app has another message.
            found = next(
                one
                for one in await discovery.list()
                if one.addon == app["slug"] and one.service == DOMAIN
            )
        if found.service != DOMAIN or found.addon != app["slug"]:
            return None
        return read_message(found.config, app["name"], found.addon, found.uuid.hex)
    except (SupervisorError, Malformed, ValueError, StopIteration) as err:
        # Not the error itself: it may show the message with its code.
        _LOGGER.debug("The app's message cannot be read: %s", type(err).__name__)
        return None


async def async_look(hass: HomeAssistant, address: str, ca: str | None, code: str = "") -> Offer:
    """Look who answers at an address. BadAddress, BadAuthority, WrongCode, kin of RemoteError."""
    url = read_address(address)
    await async_context(hass, ca)
    if code:
        read_code(code)
    info = await RasHttp(hass, url, ca).server_info()
    return Offer(url, info.key, URL(url).host or url, ca=ca, code=code)


async def async_enrol(hass: HomeAssistant, offer: Offer) -> dict[str, Any]:
    """Take the place; return the entry's data. WrongCode, kin of RemoteError."""
    http = RasHttp(hass, offer.url, offer.ca, local=offer.app is not None)
    # First, so that the code is not spent at another server, if the address has changed hands.
    if (await http.server_info()).key != offer.server_key:
        raise NotAServer
    private_key = new_private_key()
    enrolled = await http.enrol(offer.code, offer.server_key, private_key)
    return {
        CONF_TYPE: TYPE_SERVER,
        CONF_URL: offer.url,
        CONF_CA: offer.ca,
        CONF_LOCAL: offer.app is not None,
        CONF_APP: offer.app,
        CONF_SERVER_KEY: b64(offer.server_key),
        CONF_GATEWAY: enrolled.gateway,
        CONF_SITE: enrolled.site,
        CONF_PRIVATE_KEY: b64(private_key),
    }


async def async_enrol_anew(hass: HomeAssistant, entry: ServerConfigEntry, offer: Offer) -> None:
    """Take a new place in an entry that had one. WrongCode, kin of RemoteError.

    What belonged to the old place is forgotten, also on disk, before the new one is used: links
    that were given out may be known to whoever has a copy of the old key.
    """
    loaded = entry.state is ConfigEntryState.LOADED
    store = entry.runtime_data.store if loaded else RemoteStore(hass, entry.entry_id)
    # The owner knows that it does not, and begins anew.
    unsigned = loaded and entry.runtime_data.link.down is Down.FALSE_CHECKPOINT
    if not loaded:
        await store.async_load()
    await store.async_save()  # a code is spent only if its place can be stored
    data = await async_enrol(hass, offer)
    if loaded:
        await _async_withdraw(entry.runtime_data)
        await hass.config_entries.async_unload(entry.entry_id)
        store = RemoteStore(hass, entry.entry_id)
        await store.async_load()
    store.async_begin_anew()
    if unsigned or any(data[key] != entry.data[key] for key in (CONF_SERVER_KEY, CONF_SITE)):
        store.checkpoint = None  # another server did not sign it, and another site is not in it
    await store.async_save()
    hass.config_entries.async_update_entry(entry, data=data, unique_id=offer.unique_id)
    hass.config_entries.async_schedule_reload(entry.entry_id)


async def _async_withdraw(gateway: Gateway) -> None:
    """Withdraw what was given out; whoever has keys already and is not in gets no use of them."""
    for invitation in [*gateway.store.invitations.values()]:
        if invitation.state in (InvitationState.OPEN, InvitationState.ANSWERED):
            try:
                await gateway.people.async_withdraw(invitation.id)
            except (OperationError, RemoteNotSaved) as err:
                _LOGGER.debug("An invitation is dropped: %s", err)  # with the old place


def offer_of(entry: ServerConfigEntry, code: str = "") -> Offer:
    """Return the server of an entry, with a new code for it."""
    data = entry.data
    return Offer(
        data[CONF_URL],
        unb64(data[CONF_SERVER_KEY], 32),
        entry.title,
        ca=data[CONF_CA],
        code=code,
        app=data[CONF_APP],
    )
