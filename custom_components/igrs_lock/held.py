"""When one lock is connected: not before there is something to ask, and not much longer."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from homeassistant.core import HomeAssistant, callback

from .const import IDLE_HOLD
from .errors import NoAnswerError
from .link import Link

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class HeldLink:
    """At most one connection, kept for a few idle seconds: gateways have few of them.

    `busy` is held by whoever uses it. `received` takes the messages; `ended` is told of every end,
    and whether the connection was lost. `on_end` may be changed at any time: it is told last.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        address: str,
        name: str,
        busy: asyncio.Lock,
        received: Callable[[bytes], None],
        ended: Callable[[bool], None],
    ) -> None:
        self.link: Link | None = None
        self.on_end: Callable[[], None] = _ignore
        self._hass = hass
        self._address = address
        self.name = name
        self._busy = busy
        self._received = received
        self._ended = ended
        self._holders = 0
        self._wanting = 0
        self._connecting: asyncio.Task[Link] | None = None
        self._closed = False
        self._idle_timer: asyncio.TimerHandle | None = None

    async def connect(self) -> Link:
        """Connect, or wait for the connection that is being made already; kin of OperationError.

        It is made for whoever wants it: a relay that has to give way has not cost the person here
        the time that it connected.
        """
        self._check_open()
        if self._connecting is None or self._connecting.done():
            self._connecting = self._hass.async_create_background_task(
                self._async_connect(), f"{self.name} connecting", eager_start=True
            )
            self._connecting.add_done_callback(self._connected)
        connecting = self._connecting
        self._wanting += 1
        try:
            return await asyncio.shield(connecting)
        finally:
            self._wanting -= 1
            self._cancel_unwanted()

    async def _async_connect(self) -> Link:
        link = await Link.connect(self._hass, self._address, self.name)
        try:
            self._check_open()
        except NoAnswerError:
            await link.disconnect()
            raise
        self.use(link)
        return link

    @callback
    def _connected(self, task: asyncio.Task[Link]) -> None:
        if self._connecting is task:
            self._connecting = None
        if not task.cancelled():
            task.exception()  # whoever waits for it is told
        if not self._wanting and not self._busy.locked():
            self.arm_idle()

    @callback
    def _cancel_unwanted(self) -> None:
        """Connect no further if nobody wants it any more."""
        if self._connecting is not None and not self._wanting and not self._holders:
            self._connecting.cancel()
            self._connecting = None

    def _check_open(self) -> None:
        """NoAnswerError once it was closed, which may happen while it connects."""
        if self._closed:
            raise NoAnswerError(self.name)

    @callback
    def use(self, link: Link) -> None:
        """Take a connection that is there already."""
        link.received = self._received
        link.lost = self._link_lost
        self.link = link

    @callback
    def _link_lost(self) -> None:
        self.link = None
        self._ended(True)
        self.on_end()

    async def drop(self) -> None:
        """End the connection; the next request makes a new one."""
        link, self.link = self.link, None
        if link is not None:
            self._ended(False)
            self.on_end()
            await link.disconnect()

    @callback
    def close(self) -> None:
        """Connect no more."""
        self._closed = True

    @contextmanager
    def hold(self) -> Generator[None]:
        """Keep a connection that there is or that is made meanwhile."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            self._cancel_unwanted()
            if not self._busy.locked():
                self.arm_idle()

    @callback
    def arm_idle(self) -> None:
        """Let go soon, unless it is used before."""
        self.cancel_idle()
        if self.link is not None and not self._holders:
            self._idle_timer = self._hass.loop.call_later(IDLE_HOLD, self._idle)

    @callback
    def cancel_idle(self) -> None:
        """Keep the connection: it is used."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    @callback
    def let_go(self) -> None:
        """End the connection at once, unless somebody holds or uses it."""
        if self.link is not None and not self._holders and not self._busy.locked():
            self.cancel_idle()
            self._idle()

    @callback
    def _idle(self) -> None:
        self._idle_timer = None
        self._hass.async_create_background_task(
            self._drop_idle(), f"{self.name} idle", eager_start=True
        )

    async def _drop_idle(self) -> None:
        async with self._busy:
            # Somebody may have used it while this waited.
            if not self._holders and self._idle_timer is None:
                await self.drop()


def _ignore() -> None:
    """Do nothing when a connection ends."""
