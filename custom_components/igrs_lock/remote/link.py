"""The link to the server: one outgoing connection, proved by both sides, kept while it is wanted.

Whatever ends it, it is made again by itself, unless the server says that this home's key is revoked
or used by somebody else. A server may send anything: what is malformed is dropped, the rest is
handed on in its order, and how much of it is worked off a second is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from homeassistant.core import HomeAssistant, callback

from ..const import (
    CONF_CA,
    CONF_GATEWAY,
    CONF_LOCAL,
    CONF_PRIVATE_KEY,
    CONF_SERVER_KEY,
    CONF_SITE,
    CONF_URL,
)
from .audit import AuditTrail
from .channel import Channel
from .clock import ServerClock
from .events import Events
from .handshake import Down, Ended, Welcome, greet
from .http import Dialer
from .identity import GatewayIdentity, new_private_key
from .wire import LinkDown, Refused, RemoteError, RemoteNotSaved, unb64

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import aiohttp
    from homeassistant.config_entries import ConfigEntry

    from .store import RemoteStore
    from .wire import Message

_LOGGER = logging.getLogger(__name__)

__all__ = ["Delegate", "Down", "GatewayLink", "Welcome"]

PROTOCOL: Final = "igrs.gateway.v1"
_FIRST_PAUSE: Final = 3.0
_LONGEST_PAUSE: Final = 60.0
_LONG_PAUSE: Final = 600.0
"""Where somebody has to do something, most likely, and each attempt is written to the disk."""
_STEADY: Final = 60.0
"""Seconds after which a link counts as one that holds."""
_HOPELESS: Final = (Down.REFUSED, Down.NOT_SAVED)


class Delegate(Protocol):
    """Who works with the link. Everything is called from the event loop."""

    async def async_linked(self, welcome: Welcome) -> None:
        """Bring the server in line: the list first. A task of the link; LinkDown and Refused may be raised.

        Durable events come after it returned, so what may take long belongs in a task of its own.
        That the server was put back from a copy is told again with the next link unless it returns.
        """

    async def async_durable(self, message: Message) -> None:
        """Deal with a durable event: its effect is stored on return. It may come again.

        Malformed drops it; RemoteNotSaved, Refused and LinkDown let it come again.
        """

    def received(self, message: Message) -> None:
        """Take a live message; must not wait. Malformed drops it."""

    def unlinked(self, down: Down) -> None:
        """Hear why there is no link: after each one, and after each attempt that failed."""

    def clock_off(self, seconds: int | None) -> None:
        """Hear by how much the server's clock is ahead of this machine's; None: not much any more."""

    def audit_changed(self) -> None:
        """Hear that the store has another problem of the audit, or another restore to tell."""

    async def async_key_changed(self, private_key: bytes) -> None:
        """Keep this private key in the entry: the server takes no other any more."""


class GatewayLink:
    """The link of one server entry."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry[Any],
        store: RemoteStore,
        delegate: Delegate,
    ) -> None:
        """Prepare. Address, authority and keys are the entry's."""
        self.clock = ServerClock()
        self.down: Down | None = None
        """Why there is no link; None while there is one, and before the first attempt."""
        self._hass = hass
        self._entry = entry
        self._store = store
        self._delegate = delegate
        self._events = Events(store, self.async_request, self.send, delegate.async_durable)
        self._channel: Channel | None = None
        self._token: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._other_key = False  # the one that the server may have taken is tried
        self._off: int | None = None
        self._read_entry()

    @callback
    def _read_entry(self) -> None:
        data = self._entry.data
        self._dialer = Dialer(self._hass, data[CONF_URL], data[CONF_CA], local=data[CONF_LOCAL])
        self._identity = GatewayIdentity(
            gateway=data[CONF_GATEWAY],
            site=data[CONF_SITE],
            server_key=unb64(data[CONF_SERVER_KEY], 32),
            private_key=unb64(data[CONF_PRIVATE_KEY], 32),
        )
        self.audit = AuditTrail(
            self._store,
            self._identity.site,
            self._identity.server_key,
            self.async_request,
            self._delegate.audit_changed,
        )

    # --- life -----------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether both sides are proved and messages go through."""
        return self._channel is not None and not self._channel.ended.done()

    @property
    def token(self) -> str | None:
        """The bearer token for HTTP calls while the link lasts."""
        return self._token if self.connected else None

    @callback
    def async_start(self) -> None:
        """Connect, and again whenever the link ends."""
        if self._task is None:
            self._failures = 0
            self._task = self._hass.async_create_background_task(self._run(), "IGRS Lock link")

    async def async_stop(self) -> None:
        """Close at once."""
        task, self._task = self._task, None
        if task is None:
            return
        if self._channel is not None:
            self._channel.end(None)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self._tell(Down.STOPPED)

    @callback
    def async_move(self) -> None:
        """Connect anew at once if it is wanted: the entry's address, authority or keys have changed."""
        self._read_entry()
        if (task := self._task) is not None:
            self._task = self._hass.async_create_background_task(
                self._run_after(task), "IGRS Lock link"
            )

    async def _run_after(self, task: asyncio.Task[None]) -> None:
        if self._channel is not None:
            self._channel.end(None)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self._tell(Down.LOST)
        self._failures = 0
        await self._run()

    async def _run(self) -> None:
        if self._store.copied:
            self._tell(Down.COPY)
            return
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            down = await self._once()
            self._tell(down)
            if down.final:
                _LOGGER.warning("No connection to the remote access server by itself: %s", down)
                return
            if loop.time() - began >= _STEADY:
                self._failures = 0
            longest = _LONG_PAUSE if down in _HOPELESS else _LONGEST_PAUSE
            longest = min(longest, _FIRST_PAUSE * 2.0**self._failures)
            self._failures = min(self._failures + 1, 16)
            # All of it by chance, so that not all homes of a server come back at once.
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311  spreads load, no secret

    def _tell(self, down: Down) -> None:
        if down is not self.down:
            _LOGGER.debug("No link: %s", down)
        self.down = down
        try:
            self._delegate.unlinked(down)
        except Exception:
            _LOGGER.exception("The end of the link could not be dealt with")

    # --- one connection -------------------------------------------------------------------------

    async def _once(self) -> Down:
        """Connect and serve; return how it ended."""
        try:
            async with self._dialer.socket(PROTOCOL) as socket:
                return await self._serve(socket)
        except Ended as ended:
            return ended.down
        except RemoteError as err:
            return Down.of_error(err)
        except Exception:
            _LOGGER.exception("The link to the remote access server failed")
            return Down.LOST

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse) -> Down:
        store = self._store
        identity = self._identity
        other = store.next_key
        if other and other != identity.private_key and self._other_key:
            identity = replace(identity, private_key=other)
        try:
            welcome, lifetime = await greet(socket, identity, store, self.clock, self._dialer.began)
        except Ended as ended:
            if ended.down is Down.REFUSED:
                self._other_key = not self._other_key
            elif ended.down is Down.COPY:
                await self._note_copy()
            raise
        await self._settle_key(identity)
        self._token = welcome.token
        channel = Channel(socket, self.clock, self._received, self._sampled)
        restored = self.audit.begin(welcome.generation)
        if restored:
            await store.async_save()
        welcome = replace(welcome, restored=welcome.restored or restored)
        self._events.begin()
        self._channel = channel
        self.down = None
        self._sampled()
        tasks = [
            self._part(channel.read(), "reader"),
            self._part(channel.beat(), "heartbeat"),
            self._part(self._renew(channel, lifetime), "token"),
            self._part(self.audit.run(), "audit"),
            self._part(self._work(welcome), "events"),
        ]
        try:
            code = await asyncio.shield(channel.ended)
        finally:
            self._channel = self._token = None
            channel.end(None)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.clock.forget()
        down = Down.of_code(code)
        if down is Down.COPY:
            await self._note_copy()
        return down

    def _part(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return self._hass.async_create_background_task(
            self._guarded(work, name), f"IGRS Lock link: {name}", eager_start=False
        )

    async def _guarded(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Do one part's work. What it does wrong ends the link, which is then made anew."""
        try:
            await work
        except LinkDown:
            _LOGGER.debug("The %s ended with the link", name)
        except Exception:
            _LOGGER.exception("The %s of the link failed", name)
            if self._channel is not None:
                self._channel.end(None)

    async def _work(self, welcome: Welcome) -> None:
        """Have everything compared, then deal with durable events."""
        try:
            await self._delegate.async_linked(welcome)
        except LinkDown:
            raise
        except (Refused, RemoteNotSaved) as err:
            _LOGGER.debug("Not everything could be compared: %r", err)
        except Exception:
            _LOGGER.exception("Not everything could be compared with the remote access server")
        else:
            # Only now: what a restore asks for was stored meanwhile.
            if self._store.generation != welcome.generation:
                self._store.generation = welcome.generation
                try:
                    await self._store.async_save()
                except RemoteNotSaved:
                    _LOGGER.debug("The server's generation could not be stored")
        await self._events.run()

    async def _renew(self, channel: Channel, lifetime: float) -> None:
        """Have a new token made before the present one ends."""
        while True:
            await asyncio.sleep(lifetime * 0.8)
            answer = await channel.request("token", {})
            token = answer.get("token")
            if isinstance(token, str) and token.isascii() and token.isprintable():
                self._token = token

    async def _note_copy(self) -> None:
        """Never connect by itself again, also after a restart."""
        self._store.copied = True
        try:
            await self._store.async_save()
        except RemoteNotSaved:
            _LOGGER.debug("That this home was copied could not be stored")

    # --- messages -------------------------------------------------------------------------------

    async def async_request(
        self, kind: str, body: dict[str, Any] | None = None, lock: str = ""
    ) -> dict[str, Any]:
        """Send a message and return its answer's body. Refused, LinkDown."""
        if self._channel is None:
            raise LinkDown
        return await self._channel.request(kind, body or {}, lock)

    @callback
    def send(self, kind: str, body: dict[str, Any] | None = None, lock: str = "") -> bool:
        """Send a message whose answer nobody waits for; False when it cannot go out."""
        return self._channel is not None and self._channel.send(kind, body or {}, lock)

    @callback
    def _received(self, message: Message) -> None:
        if message.seq:
            self._events.feed(message)
        elif message.type == "audit.checkpoint":
            self.audit.feed(message)
        else:
            self._delegate.received(message)

    @callback
    def _sampled(self) -> None:
        """Tell when the clocks part, and when they agree again."""
        off = self.clock.off_ms
        if (off is None) != (self._off is None):
            self._off = off
            try:
                self._delegate.clock_off(None if off is None else round(off / 1000))
            except Exception:
                _LOGGER.exception("A wrong clock could not be told")

    # --- this home's key ------------------------------------------------------------------------

    async def async_change_key(self) -> None:
        """Change this home's key at the server. Refused, LinkDown, RemoteNotSaved.

        The new one is stored before the server hears of it: if the answer is lost, the next link
        finds out which of the two the server has taken.
        """
        store, before, channel = self._store, self._store.next_key, self._channel
        if channel is None:
            raise LinkDown
        new = new_private_key()

        def undo() -> None:
            store.next_key = before

        store.next_key = new
        await store.async_save(undo)
        # Over this very link: another one would have settled which key it is.
        await channel.request("gateway.key", self._identity.key_change(new))
        self._identity = replace(self._identity, private_key=new)
        await self._delegate.async_key_changed(new)

    async def _settle_key(self, proved: GatewayIdentity) -> None:
        """Keep the key with which the link was proved, and forget the other one."""
        store = self._store
        self._other_key = False
        if proved is not self._identity:
            self._identity = proved
            await self._delegate.async_key_changed(proved.private_key)
        elif store.next_key and store.next_key != proved.private_key:
            store.next_key = b""
            await store.async_save()
