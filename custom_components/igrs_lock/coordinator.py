"""One lock's state, from its advertisements and its authenticated answers."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, override

from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import MONOTONIC_TIME, BluetoothScanningMode
from homeassistant.components.bluetooth.passive_update_coordinator import (
    PassiveBluetoothDataUpdateCoordinator,
)
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_ADDRESS
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback

from .accounts import AccountKeeper
from .client import LockClient, always
from .const import (
    ADVERTISEMENT_MAX_AGE,
    CONF_CAPABILITIES,
    CONF_LOCK_KEY,
    LOG_BITS_PERIOD,
    RESET_SILENCE,
)
from .doubt import Doubt
from .ilp import (
    SERVICE_UUID,
    Advertisement,
    AdvertisementTracker,
    Bolt,
    Capability,
    Door,
    Event,
    Operation,
    Reply,
    Request,
    StateEvent,
    Status,
    controller_key,
    device_id_from_address,
    format_device_id,
)
from .issues import IssueKeeper
from .log import LockLog
from .operation import Operator
from .options import LockOptions
from .presence import Presence
from .standby import Standby
from .state import LockState, cause
from .sync import Sync
from .timekeeper import TimeKeeper
from .watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from homeassistant.components.bluetooth import BluetoothServiceInfoBleak

    from .client import Identity
    from .home import Home
    from .store import Memory

_LOGGER = logging.getLogger(__name__)

type IgrsLockConfigEntry = ConfigEntry[IgrsLockCoordinator]

_SETTLED: Final = frozenset((Bolt.LOCKED, Bolt.UNLOCKED, Bolt.JAMMED, Bolt.OPEN))
_MOVING: Final = frozenset((Bolt.LOCKING, Bolt.UNLOCKING))
_BOLT_EVENTS: Final = frozenset((Event.LOCKED, Event.UNLOCKED, Event.OPENED, Event.JAMMED))


class IgrsLockCoordinator(PassiveBluetoothDataUpdateCoordinator):
    """Follows one lock and operates it.

    Hears every packet of every gateway: the change-driven callbacks of Home Assistant come only
    from the gateway that owns the address, seconds late when another one heard the change.
    """

    config_entry: IgrsLockConfigEntry

    def __init__(
        self, hass: HomeAssistant, entry: IgrsLockConfigEntry, memory: Memory, home: Home
    ) -> None:
        super().__init__(hass, _LOGGER, entry.data[CONF_ADDRESS], BluetoothScanningMode.PASSIVE)
        self.config_entry = entry
        device_id = device_id_from_address(self.address)
        self.device_id = format_device_id(device_id)
        self.capabilities = Capability(entry.data[CONF_CAPABILITIES])
        self.home = home
        self.memory = memory
        self.remembered = memory.lock(self.device_id)
        self.data: LockState | None = None
        self.changed_by = self.remembered.get("changed_by")
        self._available = False
        self._key = (device_id, bytes.fromhex(entry.data[CONF_LOCK_KEY]))
        self.tracker = AdvertisementTracker(
            *self._key, self.remembered.get("epoch", 0), self.remembered.get("counter")
        )
        self.client = LockClient(
            hass, self.address, entry.title, device_id, controller_key(self._key[1])
        )
        self.client.on_event = self.async_event
        self.doubt = Doubt(self)
        self.operator = Operator(self)
        self.sync = Sync(hass, self)
        self.log = LockLog(hass, self)
        self.accounts = AccountKeeper(hass, self, home)
        self.standby = Standby(hass, self)
        self.time_keeper = TimeKeeper(hass, self)
        self.options = LockOptions(hass, self)
        self.watch = Watch(hass, self)
        self.issues = IssueKeeper(hass, self)
        self.changes = 0
        """Changes of the bolt seen so far."""
        self._heard: list[Callable[[], None]] = []
        self._shown: tuple[LockState, str | None, bool] | None = None
        self.presence = Presence(self, MONOTONIC_TIME, self._async_gone)
        self._proved_writes = 0
        self._stopped = False

    # --- life -----------------------------------------------------------------------------------

    @callback
    @override
    def async_start(self) -> CALLBACK_TYPE:
        """Begin to listen; returns what ends it."""
        info = bluetooth.async_last_service_info(self.hass, self.address, connectable=False)
        if info is not None:
            self._async_heard(info)
        self._on_stop += [
            bluetooth.async_register_advertisement_callback(
                self.hass, self._async_heard, self.address
            ),
            self.time_keeper.async_start(),
            self.sync.async_start(),
            self.log.async_start(),
            self.accounts.async_start(),
            self.standby.async_start(),
            self.options.async_start(),
            self.watch.async_start(),
            self.issues.async_start(),
            self._async_stopped,
        ]
        return self._async_stop

    @callback
    def _async_stopped(self) -> None:
        """Let nothing that still comes in start anything."""
        self._stopped = True
        self.presence.async_stop()
        self.operator.abandon()

    @property
    def moving(self) -> Operation | None:
        """The operation this home asked for, while its end is not known."""
        movement = self.operator.movement
        return movement.operation if movement is not None else None

    # --- what the lock advertises ---------------------------------------------------------------

    @callback
    def _async_heard(self, info: BluetoothServiceInfoBleak) -> None:
        """Take one packet. Runs for each of every gateway: the usual case must be short."""
        data = info.service_data.get(SERVICE_UUID)
        if data is None or (info.raw is not None and data not in info.raw):
            return  # a scan response: Home Assistant adds the data of an earlier packet
        now = MONOTONIC_TIME()
        if now - info.time > ADVERTISEMENT_MAX_AGE:
            self._async_restore(data, info.time)
            return
        tracker = self.tracker
        counter, heard_at = tracker.counter, tracker.heard_at
        if (advertisement := tracker.feed(data, now)) is not None:
            silent = math.inf if heard_at is None else now - heard_at
            self._async_advertised(advertisement, now, counter, silent)
        elif tracker.heard_at != now:
            self.doubt.async_take(data, now, now - self.presence.proved_at)
        elif self._available and self._proved_writes == self.client.writes:
            self.presence.proved_at = now
        elif tracker.advertisement is not None and tracker.is_current(now):
            # The same again: the lock is there, and accepted nothing that was written meanwhile.
            self._async_prove(now)
            self._async_take(LockState.advertised(tracker.advertisement))
        else:
            self.doubt.async_ask(now)

    @callback
    def async_listen_heard(self, listener: Callable[[], None]) -> CALLBACK_TYPE:
        """Call `listener` for each new authentic advertisement; returns what ends it."""
        self._heard.append(listener)

        @callback
        def stop() -> None:
            self._heard.remove(listener)

        return stop

    @property
    def heard_ago(self) -> float | None:
        """Seconds since `tracker.data` was heard last; None while that is nothing."""
        tracker = self.tracker
        if tracker.data is None or tracker.heard_at is None:
            return None
        return max(0.0, MONOTONIC_TIME() - tracker.heard_at)

    @callback
    def _async_restore(self, data: bytes, time: float) -> None:
        """Take the counter of a packet that was stored, if nothing newer is known."""
        known = self.tracker
        stored = AdvertisementTracker(*self._key, known.epoch, known.counter)
        if self.data is None and stored.feed(data, time) is not None:
            self.tracker = AdvertisementTracker(*self._key, stored.epoch, stored.counter)

    @callback
    def _async_advertised(
        self, advertisement: Advertisement, now: float, before: int | None, silent: float
    ) -> None:
        """Take a new authentic advertisement.

        `before` is the counter known until then; the one before was last heard `silent` seconds ago.
        """
        gap = advertisement.counter - (advertisement.counter if before is None else before)
        log_moved = self.remembered.get("log_bits") != advertisement.log_bits
        if (log_moved and (gap > 1 or not self._available)) or gap >= LOG_BITS_PERIOD:
            # Something happened while nobody heard it; the log bits alone count to four.
            self.changed_by = None
        self.remembered["log_bits"] = advertisement.log_bits
        self._async_prove(now)
        self._async_take(LockState.advertised(advertisement))
        self.log.async_heard(advertisement, silent)
        if self.operator.movement is not None:
            self.operator.movement.take_advertisement(advertisement)
        if not advertisement.clock_trusted:
            self.time_keeper.async_nudge(wrong=True)
        for listener in tuple(self._heard):
            listener()

    # --- what the lock answers ------------------------------------------------------------------

    @callback
    def async_event(self, event: StateEvent) -> None:
        """Take a sealed event."""
        state = self.data
        # Otherwise an advertisement overtook it.
        if self.tracker.counter is None or event.counter >= self.tracker.counter:
            self._async_prove(self._async_adopt(event.counter))
            state = self._told(event.bolt, event.door, event.battery)
        if event.event in _BOLT_EVENTS:
            _, holder = self.log.who(event.slot, event.counter, event.source)
            self.changed_by = cause(event, holder)
            self.remembered["bolt"] = event.bolt
        self.log.async_event(event)
        if state is not None:
            self._async_take(state)
        if self.operator.movement is not None:
            self.operator.movement.take_event(event)

    @callback
    def async_answered(self, status: Status, *, down: bool = False) -> None:
        """Take a status; with `down` also one with a lower counter than what was heard."""
        if not down and self.tracker.counter is not None and status.counter < self.tracker.counter:
            return
        self._async_prove(self._async_adopt(status.counter))
        self._async_take(self._told(status.bolt, status.door, status.battery))
        if self.tracker.exhausted:
            self.config_entry.async_start_reauth(self.hass)

    @callback
    def _async_adopt(self, counter: int) -> float:
        now = MONOTONIC_TIME()
        self.tracker.adopt(counter, now)
        return now

    def _told(self, bolt: Bolt, door: Door, battery: int | None) -> LockState:
        if self.data is None:
            return LockState(bolt, door, battery)
        return replace(self.data, bolt=bolt, door=door, battery=battery)

    # --- state and how long it holds ------------------------------------------------------------

    @callback
    def _async_take(self, state: LockState) -> None:
        """Show a state; who changed it is not known unless an event told."""
        if state.bolt in _SETTLED:
            before = self.remembered.get("bolt")
            # The latch falling back is no act of anybody.
            if before != state.bolt and (before, state.bolt) != (Bolt.OPEN, Bolt.UNLOCKED):
                self.changed_by = None
            self.remembered["bolt"] = state.bolt
        if self.data is None or state.bolt is not self.data.bolt:
            self.changes += 1
        self.data = state
        self.remembered["counter"] = self.tracker.counter
        self.remembered["epoch"] = self.tracker.epoch
        self.remembered["changed_by"] = self.changed_by
        self.memory.schedule_save()
        # A heartbeat is a new counter and nothing else: nothing to show.
        shown = (state, self.changed_by, self._available)
        if shown != self._shown:
            self._shown = shown
            self.async_update_listeners()

    @callback
    def async_changed_by(self, who: str | None) -> None:
        """Take from the lock's log who moved the bolt to where it stands."""
        if who != self.changed_by and self.data is not None:
            self.changed_by = who
            self._async_take(self.data)

    @callback
    def _async_prove(self, now: float) -> None:
        """Note that the lock was heard for certain."""
        if self._stopped:
            return
        if now - self.presence.proved_at >= RESET_SILENCE or not self._available:
            self.doubt.async_dispel()
        self.presence.proved_at = now
        self._proved_writes = self.client.writes
        if self._available:
            return
        self._available = True
        if self.data is not None:
            _LOGGER.info("%s is back", self.config_entry.title)
        self.presence.async_watch()
        self.time_keeper.async_nudge()
        self.sync.async_returned()

    @callback
    def async_not_done(self) -> None:
        """Take an authentic answer that nothing was done of what was written."""
        self._proved_writes = self.client.writes

    @callback
    def async_doubt(self, *, moving: bool = True) -> None:
        """Show no bolt if nothing was heard of the lock since something was written to it.

        What it did then nobody knows; the next authentic packet tells. The same holds for a
        movement whose end was not told (`moving`: it should have been by now).
        """
        state = self.data
        if state is None or self._stopped:
            return
        if self._proved_writes != self.client.writes or (moving and state.bolt in _MOVING):
            self._shown = None
            self.changed_by = None
            self.data = replace(state, bolt=Bolt.UNKNOWN)

    @callback
    def _async_gone(self) -> None:
        """Stop showing a state that is too old."""
        self._available = False
        self._shown = None
        _LOGGER.info("%s is unavailable: nothing new was heard of it", self.config_entry.title)
        self.async_update_listeners()

    # --- what this home wants of the lock -------------------------------------------------------

    def async_hold(self) -> AbstractAsyncContextManager[None]:
        """Keep the connection for several requests; the first of them makes it."""
        return self.operator.hold()

    async def async_request(
        self,
        *wanted: Request,
        may_repeat: Callable[[], bool] = always,
        identity: Identity | None = None,
    ) -> list[Reply]:
        """Send requests that can wait for people at the door; kin of OperationError.

        `may_repeat` and `identity` as in `LockClient.async_request`.
        """
        return await self.operator.async_request(*wanted, may_repeat=may_repeat, identity=identity)

    async def async_operate(
        self,
        operation: Operation,
        identity: Identity | None = None,
        *,
        asked_at: float | None = None,
    ) -> None:
        """Lock, unlock or open in somebody's name, and wait until the lock says that it is done.

        `asked_at` is when somebody wanted it, in monotonic seconds, None for now. Kin of
        OperationError.
        """
        asked_at = time.monotonic() if asked_at is None else asked_at
        await self.operator.async_operate(operation, identity, asked_at)

    @callback
    def async_clock_told(self, *, off: bool) -> None:
        """Note whether the lock's time was off in an answer."""
        if off and not self._stopped:
            self.time_keeper.async_nudge(wrong=True)
