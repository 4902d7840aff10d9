"""Watches for what lasts too long: an open door, and a bolt that auto-lock did not move."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from homeassistant.core import CALLBACK_TYPE, HassJob, HomeAssistant, callback
from homeassistant.helpers.event import async_call_later

from . import clock
from .const import (
    AUTO_LOCK_GRACE,
    CONF_DOOR_LEFT_OPEN,
    DOOR_LEFT_OPEN_DEFAULT,
    LOG_BITS_PERIOD,
)
from .ilp import Bolt, Door, Option, Source
from .state import CAUSES

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from .coordinator import IgrsLockCoordinator
    from .state import LockState
    from .store import LockMemory

_JAM_GRACE: Final = 30
"""Seconds. A lock whose auto-lock met an obstacle tries once more after 5 s."""


class _Stretch:
    """How long something has been so. Kept over a restart in which nothing else happened."""

    def __init__(self, hass: HomeAssistant, remembered: LockMemory, key: str) -> None:
        self._loop = hass.loop
        self._kept = remembered.setdefault("stretches", {})
        self._key = key
        self._kind = ""
        self._since = 0.0  # of the loop's clock: this machine's may be set meanwhile

    def resume(self, *, certain: bool) -> None:
        """Go on counting after nobody listened, or count anew where something may have happened."""
        self._kind = ""
        kind, since = self._kept.get(self._key, ("", 0.0))
        if certain and kind and clock.plausible(since):
            self._kind = kind
            self._since = self._loop.time() - max(0.0, time.time() - since)
        else:
            self._kept.pop(self._key, None)

    def is_now(self, kind: str) -> bool:
        """Take what is so now, "" for nothing; return whether that is a change."""
        if kind == self._kind:
            return False
        self._kind, self._since = kind, self._loop.time()
        self._kept.pop(self._key, None)
        if kind:
            self._kept[self._key] = (kind, time.time())
        return True

    def left(self, seconds: float) -> float:
        """Seconds until it has lasted so long; not above 0 when it has."""
        return self._since + seconds - self._loop.time()


class Watch:
    """Tells of a door left open and of an auto-lock that failed.

    While the lock is not heard both stay as they were: entities are unavailable then.
    """

    def __init__(self, hass: HomeAssistant, coordinator: IgrsLockCoordinator) -> None:
        self.door_left_open: bool | None = None
        """None when nobody wants to know, or there is no sensor."""
        self.auto_lock_failed: bool | None = None
        """None when it is not known whether auto-lock is on."""
        self._hass = hass
        self._coordinator = coordinator
        remembered = coordinator.remembered
        self._door = _Stretch(hass, remembered, "door")
        self._auto_lock = _Stretch(hass, remembered, "auto_lock")
        self._heard = False
        self._before = (remembered.get("counter"), remembered.get("log_bits"))
        self._listeners: list[Callable[[], None]] = []
        self._cancel_timer: CALLBACK_TYPE | None = None

    @property
    def minutes(self) -> int:
        """Minutes after which an open door is told, 0 for never."""
        options = self._coordinator.config_entry.options
        minutes: int = options.get(CONF_DOOR_LEFT_OPEN, DOOR_LEFT_OPEN_DEFAULT)
        return minutes

    @callback
    def async_start(self) -> CALLBACK_TYPE:
        """Begin; returns what ends it."""
        stops = (
            self._coordinator.async_add_listener(self._async_update),
            self._coordinator.options.async_listen(self._async_update),
            self._disarm,
        )
        self._async_update()

        @callback
        def stop() -> None:
            for each in stops:
                each()

        return stop

    @callback
    def async_listen(self, listener: Callable[[], None]) -> CALLBACK_TYPE:
        """Call `listener` after each change; returns what ends it."""
        self._listeners.append(listener)

        @callback
        def stop() -> None:
            self._listeners.remove(listener)

        return stop

    @callback
    def _async_update(self, _now: datetime | None = None) -> None:
        self._disarm()
        coordinator = self._coordinator
        state = coordinator.data
        if not coordinator.available or state is None:
            if self._heard:
                self._heard = False
                self._before = self._marks()
            return
        if not self._heard:
            self._heard = True
            certain = self._nothing_happened()
            self._door.resume(certain=certain)
            self._auto_lock.resume(certain=certain)
        before = (self.door_left_open, self.auto_lock_failed)
        waits = [*self._judge_door(state), *self._judge_auto_lock(state)]
        if waits:
            self._cancel_timer = async_call_later(
                self._hass, min(waits), HassJob(self._async_update, cancel_on_shutdown=True)
            )
        if before != (self.door_left_open, self.auto_lock_failed):
            for listener in tuple(self._listeners):
                listener()

    def _judge_door(self, state: LockState) -> list[float]:
        """Judge the door; return in how many seconds to look again, if at all."""
        if self._door.is_now("open" if state.door is Door.OPEN else ""):
            self._coordinator.memory.schedule_save()
        self.door_left_open = None
        if not self.minutes or state.door is Door.NO_SENSOR:
            return []
        left = self._door.left(self.minutes * 60)
        self.door_left_open = state.door is Door.OPEN and left <= 0
        return [left] if state.door is Door.OPEN and left > 0 else []

    def _judge_auto_lock(self, state: LockState) -> list[float]:
        """Judge the bolt; return in how many seconds to look again, if at all."""
        coordinator = self._coordinator
        delay = coordinator.options.get(Option.AUTO_LOCK_SECONDS)
        kind, limit = "", 0
        if state.bolt is Bolt.JAMMED and coordinator.changed_by == CAUSES[Source.AUTO_LOCK]:
            kind, limit = "jammed", _JAM_GRACE
        elif (
            delay
            and state.bolt in (Bolt.UNLOCKED, Bolt.OPEN)
            and state.door is not Door.OPEN
            # Unlocking an unlocked door begins the delay anew.
            and coordinator.moving is None
        ):
            kind, limit = f"unlocked {delay}", delay + AUTO_LOCK_GRACE
        if self._auto_lock.is_now(kind):
            coordinator.memory.schedule_save()
        left = self._auto_lock.left(limit)
        failed = bool(kind) and left <= 0
        self.auto_lock_failed = None if delay is None and not failed else failed
        return [left] if kind and left > 0 else []

    def _marks(self) -> tuple[int | None, int | None]:
        return self._coordinator.tracker.counter, self._coordinator.remembered.get("log_bits")

    def _nothing_happened(self) -> bool:
        """Whether door and bolt certainly were as they are since they were heard last.

        The log bits count to four, and every record has a counter of its own.
        """
        (counter, bits), (before, bits_before) = self._marks(), self._before
        if counter is None or before is None:
            return False
        return bits == bits_before and 0 <= counter - before < LOG_BITS_PERIOD

    @callback
    def _disarm(self) -> None:
        if self._cancel_timer is not None:
            self._cancel_timer()
            self._cancel_timer = None
