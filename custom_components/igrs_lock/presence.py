"""How long it holds what a lock said last (ILP1 section 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeassistant.components import bluetooth
from homeassistant.core import CALLBACK_TYPE, HassJob, callback
from homeassistant.helpers.event import async_call_later

from .const import SILENCE_INTERVALS, SILENCE_MIN
from .ilp import COUNTER_EXPIRY

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from .coordinator import IgrsLockCoordinator


class Presence:
    """Tells when nothing certain was heard of a lock for too long.

    `proved_at` is when it was, in the monotonic seconds of `now`.
    """

    def __init__(
        self, coordinator: IgrsLockCoordinator, now: Callable[[], float], gone: Callable[[], None]
    ) -> None:
        self.proved_at = now()
        self._coordinator = coordinator
        self._now = now
        self._gone = gone
        self._cancel_timer: CALLBACK_TYPE | None = None

    @callback
    def async_watch(self) -> None:
        """Look again when what was said last would be too old."""
        self.async_stop()
        now = self._now()
        if (left := self._until(now) - now) <= 0:
            self._gone()
            return
        self._cancel_timer = async_call_later(
            self._coordinator.hass, left, HassJob(self._tick, cancel_on_shutdown=True)
        )

    @callback
    def async_stop(self) -> None:
        """Look no more."""
        if self._cancel_timer is not None:
            self._cancel_timer()
            self._cancel_timer = None

    @callback
    def _tick(self, _now: datetime) -> None:
        self._cancel_timer = None
        self.async_watch()

    def _until(self, now: float) -> float:
        coordinator = self._coordinator
        heard_at = now if coordinator.client.session_alive else self.proved_at
        interval = (
            bluetooth.async_get_learned_advertising_interval(coordinator.hass, coordinator.address)
            or 0.0
        )
        silent_at = heard_at + max(SILENCE_MIN, SILENCE_INTERVALS * interval)
        return min(silent_at, (coordinator.tracker.advanced_at or now) + COUNTER_EXPIRY)
