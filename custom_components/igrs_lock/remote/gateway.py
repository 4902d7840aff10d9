"""One remote access server as this home uses it: the link, and the parts that speak over it.

The entry's runtime data, and the link's delegate: each type of message has one part that knows it.
What one part does wrong ends neither the link nor the others, and nothing of it reaches the locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from yarl import URL

from ..const import CONF_CA, CONF_LOCAL, CONF_PRIVATE_KEY, CONF_SERVER_KEY, CONF_URL
from .admins import Admins
from .errors import LinkDown, RemoteError
from .http import RasHttp, is_loopback
from .issues import ServerIssues
from .link import Down, GatewayLink, Welcome
from .people import RemotePeople
from .relay import Relays
from .site import Site
from .states import States
from .tags import TagChecks
from .wire import b64, unb64

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..home import Home
    from .store import RemoteStore
    from .wire import Message

_LOGGER = logging.getLogger(__name__)

type ServerConfigEntry = ConfigEntry[Gateway]

_RELAYS: Final = frozenset(("lock.prewarm", "relay.data", "relay.end", "relay.open"))


def _http_of(hass: HomeAssistant, entry: ServerConfigEntry) -> RasHttp:
    data = entry.data
    return RasHttp(hass, data[CONF_URL], data[CONF_CA], local=data[CONF_LOCAL])


class Gateway:
    """This home at one server. `async_start` begins, `async_stop` ends it for good."""

    def __init__(
        self, hass: HomeAssistant, entry: ServerConfigEntry, home: Home, store: RemoteStore
    ) -> None:
        self.hass = hass
        self.entry = entry
        self.home = home
        self.store = store
        self.welcome: Welcome | None = None
        """What the server said when the link was made last."""
        self.left_out: set[str] = set()
        """Locks that were told not to fit into the keys of a phone."""
        self._listeners: list[Callable[[], None]] = []
        self._switching = asyncio.Lock()
        self._said_gone = False
        self._stopped = False
        self._stops: list[CALLBACK_TYPE] = []
        self.http = _http_of(hass, entry)
        self.link = GatewayLink(hass, entry, store, self)
        self.site = Site(self)
        self.people = RemotePeople(self)
        self.relays = Relays(self)
        self.states = States(self)
        self.issues = ServerIssues(self)
        self._admins = Admins(self)
        self._tags = TagChecks(self)

    # --- life -----------------------------------------------------------------------------------

    @callback
    def async_start(self) -> None:
        """Begin; connect if remote access is switched on."""
        self._stops += [
            self._admins.async_start(),
            self.home.async_listen(self.site.async_home_changed),
            self.people.async_start(),
            self.issues.async_start(),
            self.relays.async_start(),
            self.states.async_start(),
        ]
        if self.enabled:
            self.link.async_start()

    async def async_stop(self) -> None:
        """End for good: relays first, then the link."""
        self._stopped = True
        while self._stops:
            self._guarded(self._stops.pop())
        await self._async_close()

    async def _async_close(self) -> None:
        """End what is under way and close the link, at once."""
        self._end_parts()
        await self.link.async_stop()

    @callback
    def _end_parts(self) -> None:
        self._guarded(self.relays.async_stop)
        self._guarded(self.site.unlinked)

    # --- the switch -----------------------------------------------------------------------------

    @property
    def enabled(self) -> bool:
        """Whether remote access is switched on."""
        return self.store.enabled

    @property
    def connected(self) -> bool:
        """Whether the link is up."""
        return self.link.connected

    async def async_set_enabled(self, enabled: bool) -> None:
        """Switch remote access; RemoteNotSaved when a restart would bring back what was before.

        Off holds from now on even then; on is stored before anybody is connected.
        """
        async with self._switching:
            before = self.store.enabled
            self.store.enabled = enabled
            if not enabled:
                self.issues.switched_off()
                self.async_changed()
                await self._async_close()
                await self.store.async_save()
            else:

                def undo() -> None:
                    self.store.enabled = before

                await self.store.async_save(undo)
                if not self._stopped:
                    self.issues.switched_on()
                    self.link.async_start()
            self.async_changed()

    # --- the link's delegate --------------------------------------------------------------------

    async def async_linked(self, welcome: Welcome) -> None:
        """Bring the server in line: the list, then people and what else it does not know yet."""
        self.welcome = welcome
        if self._said_gone:
            self._said_gone = False
            _LOGGER.info("%s is back", self.entry.title)
        self.issues.linked()
        self.async_changed()
        await self.site.async_linked()
        if welcome.restored:
            await self.people.async_owe_all()
        await self.people.async_linked()
        await self._admins.async_linked()

    async def async_durable(self, message: Message) -> None:
        """Hand on a durable event; all of them are about people."""
        await self.people.async_durable(message)

    @callback
    def received(self, message: Message) -> None:
        """Hand on a live message. Types that nobody knows are let be."""
        if not self.enabled or self._stopped:
            return
        if message.type in _RELAYS:
            self.relays.received(message)
        elif message.type == "lock.follow":
            self.states.received(message)
        elif message.type == "lock.authenticate":
            self._tags.received(message)

    @callback
    def unlinked(self, down: Down) -> None:
        """End what was under way over the link."""
        self._end_parts()
        if down is not Down.STOPPED and not self._said_gone:
            self._said_gone = True  # once, however often it is tried again
            _LOGGER.info("%s is not connected: %s", self.entry.title, down)
        self.issues.unlinked(down)
        self.async_changed()

    @callback
    def clock_off(self, seconds: int | None) -> None:
        """Tell the owner that this machine and the server differ about the time."""
        self.issues.clock_off(seconds)

    @callback
    def audit_changed(self) -> None:
        """Tell the owner what the server's record says of itself."""
        self.issues.stored_changed()

    async def async_key_changed(self, private_key: bytes) -> None:
        """Keep the key that the server takes from now on."""
        data = {**self.entry.data, CONF_PRIVATE_KEY: b64(private_key)}
        self.hass.config_entries.async_update_entry(self.entry, data=data)

    # --- calls ----------------------------------------------------------------------------------

    def token(self) -> str:
        """Return the token for HTTP calls; LinkDown without a link."""
        if not self.link.connected or self.link.token is None:
            raise LinkDown
        return self.link.token

    async def async_look_public(self) -> None:
        """See whether people can reach the server by now; this home's own call may be the first.

        The address is the server's word. What is there learns nothing but that somebody asked.
        """
        welcome = self.welcome
        if welcome is None or not self.connected:
            return
        if welcome.public_url and self._may_call(welcome.public_url):
            with contextlib.suppress(RemoteError):
                await RasHttp(self.hass, welcome.public_url).server_info()
        with contextlib.suppress(RemoteError):
            info = await self.http.server_info()
            if info.key == unb64(self.entry.data[CONF_SERVER_KEY]) and self.connected:
                self.welcome = replace(
                    welcome,
                    public_url=info.public_url,
                    reached=bool(info.public_url) and info.reached,
                )
        if not self.link.connected:
            return  # switched off meanwhile, for one: then nothing is wrong
        self.issues.public_changed()
        self.async_changed()

    def _may_call(self, url: str) -> bool:
        """Whether a server may send this home there: to this machine only one that is on it."""
        host = URL(url).host or ""
        own = URL(self.entry.data[CONF_URL]).host or ""
        return not is_loopback(host) or is_loopback(own)

    # --- changes --------------------------------------------------------------------------------

    @callback
    def async_move(self) -> None:
        """Go to the address and the certificate authority that the entry has now."""
        self.http = _http_of(self.hass, self.entry)
        self.link.async_move()

    @callback
    def async_listen(self, listener: Callable[[], None]) -> CALLBACK_TYPE:
        """Call `listener` when link, switch or what is reachable changed; returns what ends it."""
        self._listeners.append(listener)

        @callback
        def stop() -> None:
            self._listeners.remove(listener)

        return stop

    @callback
    def async_changed(self) -> None:
        """Tell that something changed."""
        for listener in tuple(self._listeners):
            self._guarded(listener)

    def _guarded(self, part: Callable[[], object]) -> None:
        """Let a part do something; what it does wrong is its own."""
        try:
            part()
        except Exception:
            _LOGGER.exception("%s: a part of remote access failed", self.entry.title)
