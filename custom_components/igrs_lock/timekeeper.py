"""Keeps a lock's clock and its UTC offsets right (ILP1 section 4, rule 5)."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from homeassistant.const import EVENT_CORE_CONFIG_UPDATE
from homeassistant.core import CALLBACK_TYPE, Event, HassJob, HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.event import async_call_later
from homeassistant.util import dt as dt_util

from . import clock
from .const import DOMAIN, ISSUE_CLOCK, TIME_INTERVAL, TIME_RETRY, TIME_RETRY_MAX
from .errors import OperationError
from .ilp import CLOCK_TOLERANCE, Request, Result, requests
from .sync import Job

if TYPE_CHECKING:
    from datetime import datetime

    from .coordinator import IgrsLockCoordinator
    from .store import Memory

_LOGGER = logging.getLogger(__name__)


def only_once() -> bool:
    """Allow no repetition: the time in a request is that of when it was made."""
    return False


def time_requests(offsets: clock.Offsets, *, force: bool) -> tuple[Request, Request]:
    """Return the requests that set time and offsets now; send them without delay."""
    return (
        requests.set_time(round(time.time()), offsets.now, force=force),
        requests.set_next_utc_offset(offsets.change_at, offsets.then),
    )


@callback
def clock_is_right(memory: Memory) -> bool:
    """Whether a lock may be set from this machine's clock.

    On the owner's word alone the clock must not have gone back behind the latest time that any
    lock was set to.
    """
    now = time.time()
    if not clock.plausible(now):
        return False
    return clock.kernel_synchronised() or (memory.clock_vouched and now >= memory.time_set)


class TimeKeeper:
    """Sets one lock's time daily, when offsets change, and when the lock's time is off."""

    def __init__(self, hass: HomeAssistant, coordinator: IgrsLockCoordinator) -> None:
        self._hass = hass
        self._coordinator = coordinator
        self._remembered = coordinator.remembered
        self._wrong = False
        self._retry_at = 0.0
        self._failures = 0
        self._refused = False
        self._unsure_since: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._cancel_timer: CALLBACK_TYPE | None = None

    @callback
    def async_start(self) -> CALLBACK_TYPE:
        """Begin; returns what ends it."""
        unsubscribe = self._hass.bus.async_listen(EVENT_CORE_CONFIG_UPDATE, self._config_updated)

        @callback
        def stop() -> None:
            unsubscribe()
            self._disarm()
            if self._task is not None:
                self._task.cancel()

        return stop

    @callback
    def async_nudge(self, *, wrong: bool = False, vouched: bool = False) -> None:
        """Set the time now if that is due and possible, else later.

        `wrong`: the lock does not know the time, or an answer was more than 2 s off.
        `vouched`: the owner said just now that the clock is right.
        """
        self._wrong |= wrong
        if self._refused and (vouched or clock.kernel_synchronised()):
            self._retry_at = 0.0
        if self._task is not None and not self._task.done():
            return
        now = time.time()
        if not self._is_due(now):
            self._arm(self._remembered.get("time_set", 0) + TIME_INTERVAL - now)
        elif not clock_is_right(self._coordinator.memory):
            self._unsure()
            self._arm(TIME_RETRY)
        elif (wait := self._retry_at - self._hass.loop.time()) > 0:
            # After a refusal the wait is long, but a time service may start at any time.
            self._arm(min(wait, TIME_RETRY))
        elif self._coordinator.available:
            # Otherwise the lock's return nudges.
            self._unsure_since = None
            if not self._refused:
                ir.async_delete_issue(self._hass, DOMAIN, ISSUE_CLOCK)
            self._task = self._coordinator.config_entry.async_create_background_task(
                self._hass, self._async_set(), f"{self._coordinator.client.name} time"
            )

    async def _async_set(self) -> None:
        offsets = clock.offsets(dt_util.get_default_time_zone())
        client = self._coordinator.client
        retry = TIME_RETRY
        await asyncio.sleep(0)  # Bluetooth does not know the packet yet that led here
        try:
            # Connecting takes a while: what is sent after it must be the time of then.
            await self._coordinator.async_request(requests.get_status())
            force = clock.kernel_synchronised()
            made = time.monotonic()
            wanted = time_requests(offsets, force=force)
            replies = await client.async_request(
                *wanted,
                may_repeat=only_once,
                # A relay may have the lock for a minute: then this is not the time any more.
                wanted=lambda: time.monotonic() - made <= CLOCK_TOLERANCE,
            )
        except OperationError as err:
            _LOGGER.debug("%s: time not set: %s", client.name, err)
            retry = min(TIME_RETRY * (1 << min(self._failures, 16)), TIME_RETRY_MAX)
            self._failures += 1
        else:
            self._failures = 0
            if time.monotonic() - made > CLOCK_TOLERANCE:
                # It may have waited for another request or for a connection.
                _LOGGER.debug("%s: the time came late", client.name)
            elif all(reply.result is Result.DONE for reply in replies):
                self._wrong = self._refused = False
                ir.async_delete_issue(self._hass, DOMAIN, ISSUE_CLOCK)
                self._remembered["time_set"] = round(time.time())
                self._remembered["offsets"] = list(offsets)
                self._coordinator.memory.schedule_save()
                # While there is a connection; it is read once a day anyway.
                self._coordinator.sync.nudge(Job.LOG)
            else:
                # Asking again soon would only cost battery.
                retry = TIME_INTERVAL
                self._note_refusal(client.name)
        self._retry_at = self._hass.loop.time() + retry
        self._arm(TIME_RETRY)

    @callback
    def _note_refusal(self, name: str) -> None:
        self._raise_issue()
        if not self._refused:
            self._refused = True
            _LOGGER.warning(
                "%s did not take the time: its clock is more than ten minutes off this"
                " machine's, which no time service keeps right",
                name,
            )

    def _is_due(self, now: float) -> bool:
        if self._wrong or now - self._remembered.get("time_set", 0) >= TIME_INTERVAL:
            return True
        current = clock.offsets(dt_util.get_default_time_zone(), now)
        return self._remembered.get("offsets") != list(current)

    @callback
    def _unsure(self) -> None:
        # A time service needs a while after a start.
        now = self._hass.loop.time()
        if self._unsure_since is None:
            self._unsure_since = now
        elif now - self._unsure_since >= TIME_RETRY - 1:
            self._raise_issue()

    @callback
    def _raise_issue(self) -> None:
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            ISSUE_CLOCK,
            is_fixable=True,
            severity=ir.IssueSeverity.WARNING,
            translation_key=ISSUE_CLOCK,
        )

    @callback
    def _config_updated(self, _event: Event) -> None:
        self.async_nudge()

    @callback
    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._cancel_timer = async_call_later(
            self._hass, max(1.0, seconds), HassJob(self._tick, cancel_on_shutdown=True)
        )

    @callback
    def _disarm(self) -> None:
        if self._cancel_timer is not None:
            self._cancel_timer()
            self._cancel_timer = None

    @callback
    def _tick(self, _now: datetime) -> None:
        self._cancel_timer = None
        self.async_nudge()
