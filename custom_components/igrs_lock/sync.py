"""The one background worker of a lock: what can wait is done together, and people go first.

Each connection costs the lock's battery, so there is none while nothing is due, and all jobs that
are due share one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from homeassistant.core import CALLBACK_TYPE, HassJob, HomeAssistant, callback
from homeassistant.helpers.event import async_call_later

from .errors import GatewayBusyError, NoAnswerError, OperationError, OutOfReachError
from .ilp import IlpError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from .coordinator import IgrsLockCoordinator

_LOGGER = logging.getLogger(__name__)

BACK_OFF_MIN: Final = 30.0
BACK_OFF_MAX: Final = 3600.0
_SOON: Final = 5.0
_TELL_AFTER: Final = 3
"""Failures in a row before the log tells: one lost connection is nothing to be told."""


class Job(StrEnum):
    """What can be due, in the order in which it is done."""

    LOG = "log"
    ACCOUNTS = "accounts"
    OPTIONS = "options"


@dataclass(slots=True)
class _Work:
    """A job: `due` in the loop's seconds, None while there is nothing to do.

    `failures` in a row, the last of them at `failed_at`; `returns` of the lock meanwhile.
    """

    run: Callable[[], Awaitable[None]]
    registered: bool = False
    due: float | None = None
    failures: int = 0
    failed_at: float = 0.0
    returns: int = 0
    not_before: float = 0.0

    def forgive(self) -> None:
        """Forget that it ever failed."""
        self.failures = self.returns = 0
        self.not_before = 0.0

    def at(self) -> float | None:
        """Return when to run next; None when never."""
        return None if self.due is None or not self.registered else max(self.due, self.not_before)


class Sync:
    """Runs the jobs of one lock while the lock is heard."""

    def __init__(self, hass: HomeAssistant, coordinator: IgrsLockCoordinator) -> None:
        self._hass = hass
        self._coordinator = coordinator
        self._jobs = {job: _Work(_nothing) for job in Job}
        self._told: Job | None = None
        self._started = False
        self._task: asyncio.Task[None] | None = None
        self._cancel_timer: CALLBACK_TYPE | None = None
        self._timer_at = 0.0  # of the loop

    @callback
    def async_start(self) -> CALLBACK_TYPE:
        """Begin to work; returns what ends it."""
        self._started = True
        self._go_on()

        @callback
        def stop() -> None:
            self._started = False
            self._disarm()
            if self._task is not None:
                self._task.cancel()

        return stop

    @property
    def running(self) -> bool:
        """Whether a job is being done."""
        return self._task is not None and not self._task.done()

    def status(self) -> dict[str, dict[str, float | int | None]]:
        """Return for diagnostics how many seconds each job is due in, and its failures in a row."""
        now = self._hass.loop.time()
        return {
            job: {
                "due_in_seconds": None if (at := work.at()) is None else round(at - now, 1),
                "failures": work.failures,
            }
            for job, work in self._jobs.items()
        }

    @property
    def calm(self) -> bool:
        """Whether no job is being done and none will be in the next seconds."""
        soon = self._hass.loop.time() + _SOON
        return not self.running and not any(
            at <= soon for work in self._jobs.values() if (at := work.at()) is not None
        )

    @callback
    def register(self, job: Job, run: Callable[[], Awaitable[None]]) -> None:
        """Let `run` do a job.

        It raises kin of OperationError or IlpError when it could not finish, and is run again
        from its beginning then.
        """
        work = self._jobs[job]
        work.run, work.registered = run, True
        self._go_on()

    @callback
    def nudge(self, job: Job, delay: float = 0.0) -> None:
        """Note that a job has to be done, in `delay` seconds or when the lock is heard again.

        A job that runs is run once more after it.
        """
        due = self._hass.loop.time() + delay
        work = self._jobs[job]
        if work.due is not None and work.due <= due:
            return  # usual with each packet of a lock that cannot be asked
        work.due = due
        self._go_on()

    @callback
    def async_reached(self) -> None:
        """Take that somebody reached the lock: what failed before is tried anew."""
        for work in self._jobs.values():
            work.forgive()
        self._go_on()

    @callback
    def async_returned(self) -> None:
        """Take that the lock is heard again: what failed a while ago is tried anew.

        A lock at the edge of reach comes and goes, and each try in vain costs it and a gateway
        something: from return to return it takes longer since the last try.
        """
        failed = [work for work in self._jobs.values() if work.failures]
        for work in failed:
            wait = _back_off(work.returns)
            work.returns += 1
            work.not_before = min(work.not_before, work.failed_at + wait)
        soonest = max((work.not_before for work in failed), default=0.0)
        for work in self._jobs.values():
            if not work.failures:
                work.not_before = min(work.not_before, soonest)
        self._go_on()

    # --- the worker -----------------------------------------------------------------------------

    @callback
    def _go_on(self) -> None:
        """Start the worker if a job is due, else look again when one will be."""
        if not self._started or self.running:
            return
        times = [at for work in self._jobs.values() if (at := work.at()) is not None]
        if not times or not self._coordinator.available:
            self._disarm()
            return  # the lock's return comes here again
        at = min(times)
        if self._cancel_timer is not None and at == self._timer_at:
            return
        self._disarm()
        if (wait := at - self._hass.loop.time()) > 0:
            self._timer_at = at
            self._cancel_timer = async_call_later(
                self._hass, wait, HassJob(self._tick, cancel_on_shutdown=True)
            )
            return
        self._task = self._coordinator.config_entry.async_create_background_task(
            self._hass,
            self._async_work(),
            f"{self._coordinator.client.name} sync",
            eager_start=False,  # what is nudged in the same breath is sorted first
        )
        self._task.add_done_callback(self._worked)

    @callback
    def _tick(self, _now: datetime) -> None:
        self._cancel_timer = None
        self._go_on()

    @callback
    def _worked(self, _task: asyncio.Task[None]) -> None:
        self._go_on()
        self._coordinator.client.carrier.async_next()

    @callback
    def _disarm(self) -> None:
        if self._cancel_timer is not None:
            self._cancel_timer()
            self._cancel_timer = None

    async def _async_work(self) -> None:
        async with self._coordinator.async_hold():
            while (job := self._next()) is not None:
                if not await self._async_run(job, self._jobs[job]):
                    return

    def _next(self) -> Job | None:
        """Return the first job that is due."""
        now = self._hass.loop.time()
        if self._coordinator.available:
            for job, work in self._jobs.items():
                if (at := work.at()) is not None and at <= now:
                    return job
        return None

    async def _async_run(self, job: Job, work: _Work) -> bool:
        """Do a job; return whether it is worth to go on with the next one."""
        work.due = None  # before it starts: news that come meanwhile are another run
        try:
            await work.run()
        except (OperationError, IlpError) as err:
            _LOGGER.debug("%s: %s: %s", self._coordinator.client.name, job, err)
            return self._failed(job, work, err)
        except Exception as err:
            # A fault in one job must not end the worker: removals and the log still have to go on.
            if not work.failures:
                _LOGGER.exception("%s: %s failed", self._coordinator.client.name, job)
            return self._failed(job, work, err)
        work.forgive()
        if self._told is job:
            self._told = None
            _LOGGER.info("%s: %s could be finished", self._coordinator.client.name, job)
        return True

    def _failed(self, job: Job, work: _Work, err: Exception) -> bool:
        now = self._hass.loop.time()
        if work.due is None:
            work.due = now
        work.failed_at = now
        work.not_before = now + _back_off(work.failures)
        work.failures += 1
        if work.failures >= _TELL_AFTER and self._told is None:
            self._told = job
            _LOGGER.warning(
                "%s: %s cannot be finished and is tried again: %s",
                self._coordinator.client.name,
                job,
                err,
            )
        if not isinstance(err, OutOfReachError | GatewayBusyError | NoAnswerError):
            return True
        # The next job would only wait for the same lock.
        for other in self._jobs.values():
            if other.due is not None:
                other.not_before = max(other.not_before, work.not_before)
        return False


def _back_off(times: int) -> float:
    """Return how many seconds to wait after it happened so many times before."""
    return min(BACK_OFF_MIN * 2.0 ** min(times, 16), BACK_OFF_MAX)


async def _nothing() -> None:
    """Do nothing: this job has not come yet."""
