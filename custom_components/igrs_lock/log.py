"""Reads a lock's own log: each record once, over restarts, absences and full logs.

The log bits of the advertisement tell that there is something new. What is read is on disk before
anybody is told of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN, ISSUE_LOG_GAP
from .ilp import (
    CONTROLLER_SLOT,
    UNKNOWN_SLOT,
    Bolt,
    Event,
    IlpError,
    LogPage,
    RefusedError,
    requests,
)
from .issues import async_raise_issue
from .log_store import LogBook, LogEntry, log_store, read_bits, since_pairing, take
from .state import CONTROLLER_NAME, cause
from .sync import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .coordinator import IgrsLockCoordinator
    from .ilp import Advertisement

_LOGGER = logging.getLogger(__name__)

FRESH: Final = 60
"""Seconds. An older record is no news: "Anna came home" would be told days later."""
_DELAY: Final = 1.0
"""Seconds to wait for what comes along: a door is opened after it was unlocked."""
_PAGES_MAX: Final = 4096
_STANDS: Final = {
    Event.LOCKED: (Bolt.LOCKED,),
    Event.UNLOCKED: (Bolt.UNLOCKED,),
    Event.OPENED: (Bolt.OPEN, Bolt.UNLOCKED),  # the latch falls back by itself
    Event.JAMMED: (Bolt.JAMMED,),
}
_KEEPING: Final[HassKey[dict[str, asyncio.Task[None]]]] = HassKey(f"{DOMAIN}_log_keeping")


class LockLog:
    """One lock's log, as far as it was read."""

    def __init__(self, hass: HomeAssistant, coordinator: IgrsLockCoordinator) -> None:
        self._hass = hass
        self._coordinator = coordinator
        self._store = log_store(hass, coordinator.device_id)
        self._book = LogBook()
        self._reading = asyncio.Lock()
        self._keeping = hass.data.setdefault(_KEEPING, {})
        self._listeners: list[Callable[[LogEntry], None]] = []

    @property
    def entries(self) -> Sequence[LogEntry]:
        """What was read, newest last."""
        return self._book.entries

    @property
    def cursor(self) -> int | None:
        """Counter of the last record read; None before the log was ever read."""
        return self._book.cursor

    # --- life -----------------------------------------------------------------------------------

    async def async_load(self) -> None:
        """Read what was kept. A damaged file is begun anew, from the lock."""
        await self._async_kept()
        try:
            data = await self._store.async_load()
            self._book = LogBook() if data is None else LogBook.of(data)
        except HomeAssistantError, IlpError, ValueError, TypeError, KeyError:
            _LOGGER.exception(
                "The log of %s cannot be read and is fetched from the lock again",
                self._coordinator.config_entry.title,
            )

    @callback
    def async_start(self) -> CALLBACK_TYPE:
        """Begin to read; returns what ends it."""
        sync = self._coordinator.sync
        sync.register(Job.LOG, self.async_read)
        if self._book.bits is None:
            sync.nudge(Job.LOG)
        return self._listeners.clear

    @callback
    def async_heard(self, advertisement: Advertisement, *, missed: bool) -> None:
        """Take what an authentic advertisement tells of the log.

        `missed`: so much may have happened unheard that the log bits came round to where they were.
        """
        if missed or advertisement.log_bits != self._book.bits:
            self._coordinator.sync.nudge(Job.LOG, _DELAY)

    @callback
    def async_listen(self, listener: Callable[[LogEntry], None]) -> CALLBACK_TYPE:
        """Call `listener` with each new entry, oldest first; returns what ends it."""
        self._listeners.append(listener)

        @callback
        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    # --- reading --------------------------------------------------------------------------------

    async def async_read(self) -> None:
        """Read to the end: the job of `Sync`. Kin of OperationError and IlpError."""
        async with self._reading:
            await self._async_kept()
            first: list[LogEntry] | None = [] if self._book.cursor is None else None
            cursor = self._book.cursor
            for _ in range(_PAGES_MAX):
                heard = self._coordinator.tracker.advertisement
                (reply,) = await self._coordinator.async_request(requests.get_log(cursor or 0))
                try:
                    step = take(cursor, LogPage.of(reply))
                except RefusedError as err:
                    _LOGGER.debug("%s: no log: %s", self._coordinator.config_entry.title, err)
                    return
                cursor = step.cursor
                new = list(step.entries)
                if first is not None:
                    # What the lock kept of another home is nobody's business here.
                    first += new
                    new = since_pairing(first) if step.done else []
                if new or step.done:
                    await self._async_take(new, cursor, heard if step.done else None)
                if step.done:
                    return

    async def _async_take(
        self, new: list[LogEntry], cursor: int, heard: Advertisement | None
    ) -> None:
        """Keep entries, then tell of them; `heard` was so before the last of them were asked for."""
        now = time.time()
        new = [self._known(entry, now) for entry in new]
        book = LogBook(cursor, None, [*self._book.entries])
        book.add(new)
        if heard is not None:
            book.bits = read_bits(heard.log_bits, heard.counter, book.entries)
        if book.as_dict() == self._book.as_dict() and not new:
            return
        # A task of its own: broken off between disk and memory, the records would be read again.
        self._keeping[self._coordinator.device_id] = task = self._hass.async_create_task(
            self._async_keep(book, new)
        )
        await asyncio.shield(task)

    async def _async_kept(self) -> None:
        """Wait until what was read last is kept, though whoever read it was broken off."""
        if (task := self._keeping.get(self._coordinator.device_id)) is not None:
            await asyncio.wait([task])

    async def _async_keep(self, book: LogBook, new: Sequence[LogEntry]) -> None:
        await self._store.async_save(book.as_dict())
        self._book = book
        if book.bits is not None:
            self._tell_who(book.entries)
        for entry in new:
            if entry.event is None:
                async_raise_issue(self._hass, self._coordinator, ISSUE_LOG_GAP, fixable=True)
            for listener in tuple(self._listeners):
                listener(entry)

    def _known(self, entry: LogEntry, now: float) -> LogEntry:
        """Return an entry with who it was, and whether it is news."""
        happened_at = entry.happened_at
        person_id, name = self.who(entry.slot, entry.counter)
        return replace(
            entry,
            person_id=person_id,
            name=name,
            fresh=happened_at is not None and abs(now - happened_at) <= FRESH,
        )

    def who(self, slot: int, counter: int) -> tuple[str | None, str | None]:
        """Return whose a slot was: person ID and name; both None for nobody known."""
        if slot == CONTROLLER_SLOT:
            return None, CONTROLLER_NAME
        if slot == UNKNOWN_SLOT:
            return None, None
        coordinator = self._coordinator
        holder = coordinator.home.ledger.holder(coordinator.device_id, slot, counter)
        return (None, None) if holder is None else (holder.person_id, holder.name)

    @callback
    def _tell_who(self, entries: Sequence[LogEntry]) -> None:
        """Show who moved the bolt last, if that is how the bolt stands and nothing came since."""
        coordinator = self._coordinator
        heard, state = coordinator.tracker.advertisement, coordinator.data
        if state is None or heard is None or heard.log_bits != self._book.bits:
            return
        for entry in reversed(entries):
            if entry.event is None:
                return
            if (stands := _STANDS.get(entry.event)) is not None:
                if state.bolt in stands:
                    coordinator.async_changed_by(cause(entry, entry.name))
                return
