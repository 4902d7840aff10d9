"""What the server has to know of this home: members, open invitations, locks (docs/ras.md, "The home is the root").

This home's list is the truth. It is compared on every link and sent when the server's differs: what
it does not name ends there. A lock is registered by what it advertises now (clause 7.4), and then
stands in the list; one that goes is first out of the list, then removed (7.5), so it is gone there
even if the server is down meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from homeassistant.core import CALLBACK_TYPE, HassJob, callback
from homeassistant.helpers.event import async_call_later

from ..const import CONF_CAPABILITIES, CONF_LOCKS, DOMAIN
from ..home import is_lock
from .listing import Listing, digest_of, parts_of
from .wire import LinkDown, Refused, RemoteError, Status, b64

if TYPE_CHECKING:
    from ..coordinator import IgrsLockCoordinator
    from .gateway import Gateway

_LOGGER = logging.getLogger(__name__)

_LISTS: Final = 9
_LISTS_TIME: Final = 600.0
"""So many lists in so many seconds: the server takes ten."""
_RETRY: Final = 30.0
_SLOW: Final = 60.0
_LONG: Final = 600.0
_PAUSES: Final = {
    Status.GATEWAY_OFFLINE: _RETRY,
    Status.OUT_OF_REACH: _RETRY,
    Status.REFUSED_BY_LOCK: _RETRY,
    Status.SLOW_DOWN: _SLOW,
}
"""Seconds until a lock that was not registered is tried again; else `_LONG`."""


class Site:
    """Keeps the server's rows as this home wants them."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._working = asyncio.Lock()
        self.telling = asyncio.Lock()
        """Held while the list, or a word about one of its rows, is on its way.

        A list that was made before a word and came after it would take back what the word did.
        """
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._unsure = True
        """Whether the server's list may differ."""
        self._dropped: set[str] = set()
        self._missing: set[str] = set()
        """Locks that are to be registered and whose entry is not loaded."""
        self._lists: deque[float] = deque()
        self._waiting: list[CALLBACK_TYPE] = []
        self._timer: CALLBACK_TYPE | None = None

    # --- the list -------------------------------------------------------------------------------

    def wanted(self) -> dict[str, int]:
        """Return the locks that the owner wants to be reachable, with their capabilities."""
        chosen = set(self._gateway.entry.options.get(CONF_LOCKS, ()))
        entries = self._gateway.hass.config_entries.async_entries(DOMAIN, include_ignore=False)
        return {
            entry.unique_id: int(entry.data[CONF_CAPABILITIES])
            for entry in entries
            if is_lock(entry) and entry.unique_id is not None and entry.unique_id in chosen
        }

    def listing(self) -> Listing:
        """Return the list: who is a member, what is open, which locks there are."""
        locks = self._gateway.store.locks
        people = self._gateway.people
        return {
            "members": [
                {"user": user, "role": member.role, "locks": sorted(locks.keys() & member.locks)}
                for user, member in sorted(people.members().items())
            ],
            "invitations": sorted(people.listed_invitations(), key=lambda one: str(one["id"])),
            "locks": [
                {"device": device, "capabilities": capabilities}
                for device, capabilities in sorted(locks.items())
            ],
        }

    # --- life -----------------------------------------------------------------------------------

    async def async_linked(self) -> None:
        """Compare the lists; then register what waits for it. LinkDown.

        What is refused is tried again later: other parts have something to say, too.
        """
        self._unsure = True
        try:
            async with self._working:
                await self._async_drop()
                await self._async_compare()
        except LinkDown:
            raise
        except RemoteError as err:
            _LOGGER.debug("%s: no list: %s", self._gateway.entry.title, err)
            self._later(_SLOW)
        else:
            self.async_check_soon(unsure=False)

    @callback
    def async_home_changed(self) -> None:
        """Register a lock whose entry is loaded now."""
        if self._missing & self._gateway.home.coordinators.keys():
            self.async_check_soon(unsure=False)

    @callback
    def unlinked(self) -> None:
        """Wait for the next link."""
        self._disarm()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    @callback
    def async_check_soon(self, *, unsure: bool = True) -> None:
        """Bring the server in line: something changed here, or (`unsure`) an answer was lost."""
        self._unsure |= unsure
        self._again = True
        if self._task is None and self._gateway.link.connected:
            self._task = self._gateway.entry.async_create_background_task(
                self._gateway.hass,
                self._async_work(),
                f"{self._gateway.entry.title} site",
                eager_start=False,  # its end clears what is set here
            )

    async def _async_work(self) -> None:
        try:
            while self._again:
                self._again = False
                self._disarm()
                await self._async_settle()
        except LinkDown:
            self._unsure = True
        except RemoteError as err:
            _LOGGER.debug("%s: %s", self._gateway.entry.title, err)
            self._unsure = True
            self._later(_SLOW)
        finally:
            if self._task is asyncio.current_task():
                self._task = None

    async def _async_settle(self) -> None:
        async with self._working:
            await self._async_drop()
            if self._unsure:
                await self._async_compare()
            await self._async_register()

    # --- comparing ------------------------------------------------------------------------------

    async def _async_compare(self) -> None:
        """Send the digest, and the list where the server has another one. LinkDown, Refused."""
        async with self.telling:
            await self._async_send_list()

    async def _async_send_list(self) -> None:
        listing = self.listing()
        body = {"digest": b64(digest_of(listing))}
        answer = await self._gateway.link.async_request("site.digest", body)
        if answer.get("match") is True:
            self._unsure = False
            return
        now = time.monotonic()
        while self._lists and now - self._lists[0] >= _LISTS_TIME:
            self._lists.popleft()
        if len(self._lists) >= _LISTS:
            self._later(_LISTS_TIME - (now - self._lists[0]))
            return
        self._lists.append(now)
        for body in parts_of(listing):
            answer = await self._gateway.link.async_request("site.sync", body)
        self._unsure = False
        await self._async_answered(listing, answer)

    async def _async_answered(self, listing: Listing, answer: dict[str, Any]) -> None:
        """Let go of what ended at the server: somebody left, an invitation was withdrawn there."""
        told = {
            key: {one for one in answer.get(key, ()) if isinstance(one, str)}
            for key in ("users", "invitations")
            if isinstance(answer.get(key, ()), list)
        }
        # Only what was asked about: the server names nobody else to this home.
        users = {str(one["user"]) for one in listing["members"]} & told.get("users", set())
        invitations = {str(one["id"]) for one in listing["invitations"]} & told.get(
            "invitations", set()
        )
        if users or invitations:
            await self._gateway.people.async_server_ended(users, invitations)

    # --- locks ----------------------------------------------------------------------------------

    async def async_locks_changed(self) -> None:
        """Take what the owner chose; what is not wanted any more is out before anything is told.

        At once, whatever is under way. RemoteNotSaved: then it is out in memory only, until the
        next start takes it out again.
        """
        try:
            await self._async_take_out()
        finally:
            self.async_check_soon(unsure=False)

    async def _async_take_out(self) -> None:
        """Take the locks from the list that are not wanted, and their capabilities as they are."""
        store, wanted = self._gateway.store, self.wanted()
        dropped = store.locks.keys() - wanted.keys()
        changed = {
            device: wanted[device]
            for device in store.locks.keys() & wanted.keys()
            if store.locks[device] != wanted[device]
        }
        if not dropped and not changed:
            return
        for device in dropped:
            del store.locks[device]
        store.locks.update(changed)
        self._dropped |= dropped
        self._unsure |= bool(changed)
        self._gateway.async_changed()
        await store.async_save()

    async def _async_drop(self) -> None:
        """Remove locks at the server that are not wanted (7.5). LinkDown, RemoteNotSaved.

        The list ends them as well: if nobody remembers them after a restart, or this call fails.
        """
        await self._async_take_out()
        for device in sorted(self._dropped):
            try:
                await self._gateway.http.remove_lock(self._gateway.token(), device)
            except LinkDown:
                raise
            except RemoteError as err:
                if not isinstance(err, Refused) or err.status is not Status.NOT_FOUND:
                    _LOGGER.debug("%s: a lock is not removed: %s", self._gateway.entry.title, err)
                    self._unsure = True
            self._dropped.discard(device)

    async def _async_register(self) -> None:
        """Register the locks that are wanted and heard (7.4); wait for the others. LinkDown."""
        gateway = self._gateway
        known = gateway.home.coordinators.keys() | gateway.store.locks.keys()
        self._missing = self.wanted().keys() - known
        for device, capabilities in sorted(self.wanted().items()):
            if device in gateway.store.locks:
                continue
            coordinator = gateway.home.coordinators.get(device)
            advertisement = None if coordinator is None else _advertised(coordinator)
            if advertisement is None:
                if coordinator is not None:
                    self._wait_for(coordinator)
                continue
            try:
                await gateway.http.register_lock(
                    gateway.token(), device, capabilities, advertisement
                )
            except Refused as err:
                if err.status is not Status.EXISTS:
                    _LOGGER.debug("%s: a lock is not registered yet: %s", gateway.entry.title, err)
                    self._later(_PAUSES.get(err.status, _LONG))
                    continue
            if device not in self.wanted():
                self._unsure = self._again = True  # unticked meanwhile
                continue
            gateway.store.locks[device] = capabilities
            try:
                await gateway.store.async_save()
            except RemoteError:
                del gateway.store.locks[device]
                self._unsure = True
                raise
            gateway.async_changed()

    @callback
    def _wait_for(self, coordinator: IgrsLockCoordinator) -> None:
        """Try again when a lock is heard."""
        self._waiting.append(
            coordinator.async_add_listener(lambda: self.async_check_soon(unsure=False))
        )
        self._later(_RETRY)

    @callback
    def _later(self, seconds: float) -> None:
        """Look again after a while, unless something makes it sooner."""
        if self._timer is None and self._gateway.link.connected:

            @callback
            def due(_now: Any) -> None:
                self._timer = None
                self.async_check_soon(unsure=False)

            self._timer = async_call_later(
                self._gateway.hass, max(1.0, seconds), HassJob(due, cancel_on_shutdown=True)
            )

    @callback
    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer()
            self._timer = None
        while self._waiting:
            self._waiting.pop()()


def _advertised(coordinator: IgrsLockCoordinator) -> bytes | None:
    """Return what a lock advertises now; None while that is not known."""
    return coordinator.tracker.data if coordinator.available else None
