"""Reads a lock's own log: each record once, over restarts, absences and full logs.

What the lock advertises tells that there is something new. What is read is on disk before anybody
is told of it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.dispatcher import async_dispatcher_send
from homeassistant.util.hass_dict import HassKey
from homeassistant.util.signal_type import SignalType

from .activity import Activity, plain_name
from .const import DOMAIN, ISSUE_LOG_GAP
from .errors import OperationError
from .ilp import (
    CONTROLLER_SLOT,
    UNKNOWN_SLOT,
    Bolt,
    Event,
    IlpError,
    LogRecord,
    MalformedError,
    RefusedError,
    Result,
    Source,
)
from .issues import async_raise_issue
from .log_mark import (
    Mark,
    began_anew,
    freshness,
    gap_before,
    is_last,
    is_news,
    read_to_end,
)
from .log_names import SlotCheck
from .log_pages import PAGES_MAX, LogPages
from .log_store import LogBook, LogEntry, async_save_book, log_store
from .state import CONTROLLER_NAME, cause
from .sync import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .coordinator import IgrsLockCoordinator
    from .ilp import Advertisement, StateEvent

__all__ = ["SIGNAL_LOG", "LockLog", "LogEntry"]

_LOGGER = logging.getLogger(__name__)

SIGNAL_LOG: Final[SignalType[IgrsLockCoordinator, LogEntry]] = SignalType(f"{DOMAIN}_log")
"""Sent with each entry of any lock's log."""
DEBOUNCE: Final = 1.0
"""Seconds to wait for what comes along: a door is opened after it was unlocked."""
CALM: Final = 60.0
"""Seconds instead, after there was nothing to read twice in a row: somebody may forge the bits."""
CALM_MAX: Final = 600.0
"""It doubles up to this: as often as a lock is asked that only wrong packets are heard of."""
_DAY: Final = 24 * 3600.0
_BATCH: Final = 200
"""Records that are stored at once: more would be read again if the connection was lost."""

_STANDS: Final = {
    Event.LOCKED: (Bolt.LOCKED,),
    Event.UNLOCKED: (Bolt.UNLOCKED, Bolt.OPEN),
    Event.OPENED: (Bolt.OPEN, Bolt.UNLOCKED),  # the latch falls back by itself
    Event.JAMMED: (Bolt.JAMMED,),
}
_NOBODYS: Final = frozenset((Source.BY_HAND, Source.AUTO_LOCK, Source.BUTTON))
_KEEPING: Final[HassKey[dict[str, asyncio.Task[None]]]] = HassKey(f"{DOMAIN}_log_keeping")


@dataclass(frozen=True, slots=True)
class _End:
    """The end of the log: what was heard before it was asked for, where it was, and when."""

    heard: Mark | None
    until: int
    asked_at: float  # the loop's seconds


class LockLog:
    """The log job of one lock.

    What was read is on disk before anybody is told; if Home Assistant dies right between, it is in
    `entries` and told to nobody: an event too many would be worse than one too few.
    """

    def __init__(self, hass: HomeAssistant, coordinator: IgrsLockCoordinator) -> None:
        self._hass = hass
        self._coordinator = coordinator
        self._store = log_store(hass, coordinator.device_id)
        self._book = LogBook()
        self._supported = True  # until the lock says no: its capabilities are not authenticated
        self._activity = Activity(hass, coordinator)
        self._pages = LogPages(coordinator)
        self._slots = SlotCheck(coordinator)
        self._reading = asyncio.Lock()
        self._keeping = hass.data.setdefault(_KEEPING, {})
        self._listeners: list[Callable[[LogEntry], None]] = []
        self._heard: Mark | None = None
        self._read: Mark | None = None
        self._behind = False
        self._fruitless = 0
        self._calm_until = -math.inf
        self._all_read_at = -math.inf  # the loop's seconds when there certainly was nothing unread
        self._told_counter = 0  # of the newest turn of the bolt that a sealed event told

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
        remembered = self._coordinator.remembered
        counter, bits = remembered.get("counter"), remembered.get("log_bits")
        if counter is not None and bits is not None and bits == self._book.bits:
            # Heard last with nothing unread. If in doubt, it is read once too often.
            self._read = Mark(counter, bits)

    @callback
    def async_start(self) -> CALLBACK_TYPE:
        """Begin to read; returns what ends it."""
        sync = self._coordinator.sync
        sync.register(Job.LOG, self.async_read)
        sync.nudge(Job.LOG, _DAY)
        return self._listeners.clear

    # --- what is known --------------------------------------------------------------------------

    @property
    def entries(self) -> Sequence[LogEntry]:
        """What was read, newest last; at most 2,000."""
        return self._book.entries

    @property
    def cursor(self) -> int | None:
        """Counter of the last record read; None before the log was ever read."""
        return self._book.cursor

    @callback
    def async_listen(self, listener: Callable[[LogEntry], None]) -> CALLBACK_TYPE:
        """Call `listener` with each new entry once, oldest first; returns what ends it."""
        self._listeners.append(listener)

        @callback
        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    def who(self, slot: int, counter: int, source: Source) -> tuple[str | None, str | None]:
        """Return whose a slot was when a record was written: person ID and name.

        Both None for nobody known; what is done by hand is nobody's.
        """
        if source in _NOBODYS or slot == UNKNOWN_SLOT:
            return None, None
        if slot == CONTROLLER_SLOT:
            return None, CONTROLLER_NAME
        coordinator = self._coordinator
        holder = coordinator.home.ledger.holder(coordinator.device_id, slot, counter)
        if holder is None:
            return None, None
        # The ledger has the name of then, and of those who are gone.
        person = coordinator.home.persons().get(holder.person_id or "")
        return holder.person_id, plain_name(holder.name if person is None else person.name)

    # --- when to read ---------------------------------------------------------------------------

    @callback
    def async_heard(self, advertisement: Advertisement, silent: float) -> None:
        """Take what an authentic advertisement tells of the log.

        `silent`: seconds since the one before was heard last.
        """
        if not self._supported:
            return
        now = self._hass.loop.time()
        if self._read is not None and not self._behind:
            self._all_read_at = max(self._all_read_at, now - silent)
        self._heard = heard = Mark(advertisement.counter, advertisement.log_bits)
        if is_news(self._read, heard):
            self._behind = True
            if self._reading.locked():
                return  # it is looked at when that is done
            self._nudge()
        elif self._read is not None:
            if heard.counter > self._read.counter:
                self._read = heard
            self._all_read_at = now
            self._tell_who()

    @callback
    def async_event(self, event: StateEvent) -> None:
        """Take a sealed event: there is a record of it."""
        if event.event in _STANDS:
            self._told_counter = event.counter
        if self._supported and event.counter > (self.cursor or 0):
            self._coordinator.sync.nudge(Job.LOG, DEBOUNCE)

    @callback
    def async_forget_heard(self) -> None:
        """Take that what was heard was wrong and may have hidden records: what comes tells anew."""
        self._read = None
        self._all_read_at = -math.inf

    @callback
    def _nudge(self) -> None:
        calm = self._calm_until - self._hass.loop.time() if self._fruitless > 1 else 0.0
        self._coordinator.sync.nudge(Job.LOG, max(DEBOUNCE, calm))

    # --- reading --------------------------------------------------------------------------------

    async def async_read(self) -> None:
        """Read to the end: the job. Kin of OperationError and IlpError.

        What was read before an error is kept.
        """
        if not self._supported:
            return
        async with self._reading, self._coordinator.async_hold():
            await self._async_kept()
            try:
                await self._async_read()
            except RefusedError as err:
                if err.result != Result.NOT_SUPPORTED:
                    raise
                _LOGGER.debug("%s keeps no log", self._coordinator.config_entry.title)
                self._supported = False
                return
            self._coordinator.sync.nudge(Job.LOG, _DAY)
            if self._behind:
                self._nudge()

    async def _async_read(self) -> None:
        await self._activity.async_prepare()
        anew = self.cursor is None
        after = await self._pages.async_beginning() if self.cursor is None else self.cursor
        found: list[LogEntry] = []
        total = 0
        for _ in range(PAGES_MAX):
            heard, asked_at = self._heard, self._hass.loop.time()
            try:
                answer = await self._pages.async_page(after)
            except OperationError, IlpError:
                await self._async_take(found, after)
                raise
            page = answer.page
            if began_anew(page, after, answer.until) and not anew:
                anew = True
                after = await self._pages.async_beginning()
                found.append(LogEntry.gap(after))
                continue
            if not anew and (lost := gap_before(page, after)) is not None:
                found.append(LogEntry.gap(lost))
            anew = False
            found += self._entries(page.records, answer.now)
            total += len(page.records)
            if page.records:
                after = page.records[-1].counter
            if is_last(page):
                break
            if len(found) >= _BATCH:
                await self._async_take(found, after)
                found = []
        else:
            raise MalformedError("the log has no end")
        if total:
            self._fruitless = 0
        elif self._behind:
            forged = asked_at < self._calm_until + CALM_MAX
            self._fruitless = self._fruitless + 1 if forged else 1
            wait = min(CALM * 2 ** min(max(self._fruitless - 2, 0), 8), CALM_MAX)
            self._calm_until = asked_at + wait
        await self._async_take(found, after, _End(heard, answer.until, asked_at))

    def _entries(self, records: Sequence[LogRecord], now: int) -> list[LogEntry]:
        """Return records with who it was, and whether they are news."""
        fresh = freshness(records, now, self._hass.loop.time() - self._all_read_at)
        return [
            LogEntry.of(record, *self.who(record.slot, record.counter, record.source), fresh=news)
            for record, news in zip(records, fresh, strict=True)
        ]

    # --- taking in and telling ------------------------------------------------------------------

    async def _async_take(
        self, new: Sequence[LogEntry], cursor: int, end: _End | None = None
    ) -> None:
        """Keep entries, then tell of them; `end` where nothing is left to read."""
        new = await self._slots.async_checked(self._book.entries, new)
        book = LogBook(cursor, None, [*self._book.entries])
        book.add(new)
        read: Mark | None = None
        if end is not None:
            counters = (entry.counter for entry in book.entries if entry.event is not None)
            read = read_to_end(end.heard, end.until, counters)
            book.bits = None if read is None else read.bits
        if new or (book.cursor, book.bits) != (self._book.cursor, self._book.bits):
            # A task of its own: broken off between disk and telling, a record would be told never.
            self._keeping[self._coordinator.device_id] = task = self._hass.async_create_task(
                self._async_keep(book, new, read, end),
                f"{self._coordinator.config_entry.title} log",
            )
            await asyncio.shield(task)
        else:
            self._tell(new, read, end)

    async def _async_kept(self) -> None:
        """Wait until what was read last is kept, though whoever read it was broken off."""
        if (task := self._keeping.get(self._coordinator.device_id)) is not None:
            await asyncio.wait([task])

    async def _async_keep(
        self, book: LogBook, new: Sequence[LogEntry], read: Mark | None, end: _End | None
    ) -> None:
        await async_save_book(self._hass, self._coordinator.device_id, self._store, book)
        self._book = book
        self._tell(new, read, end)

    @callback
    def _tell(self, new: Sequence[LogEntry], read: Mark | None, end: _End | None) -> None:
        if end is not None:
            self._read = read
            self._all_read_at = max(self._all_read_at, end.asked_at)
            self._behind = self._heard is not None and is_news(read, self._heard)
            self._tell_who()  # before the entries: who listens to them may look at the lock
        for entry in new:
            if entry.event is None:
                async_raise_issue(self._hass, self._coordinator, ISSUE_LOG_GAP, fixable=True)
            async_dispatcher_send(self._hass, SIGNAL_LOG, self._coordinator, entry)
            for listener in (self._activity.async_tell, *self._listeners):
                try:
                    listener(entry)
                except Exception:
                    # It is on disk and told once: the other listeners must not miss it.
                    _LOGGER.exception("A record of a lock's log could not be told")

    @callback
    def _tell_who(self) -> None:
        """Show who moved the bolt last, if that is how the bolt stands and nothing came since."""
        state = self._coordinator.data
        if self._behind or self._read is None or state is None:
            return
        for entry in reversed(self.entries):
            if entry.event in (None, Event.PAIRED):
                return  # before that it may have been another lock
            if (stands := _STANDS.get(entry.event)) is not None:
                if entry.counter >= self._told_counter and state.bolt in stands:
                    self._coordinator.async_changed_by(cause(entry, entry.name))
                return
