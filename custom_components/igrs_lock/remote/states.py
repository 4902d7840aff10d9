"""What locks advertise, for remote clients who follow them (ILP1 section 6.2), and that a log has news.

A state goes out as it was heard, with the time at which it was heard and the proof of it. What is
older than it looks (a packet sent again and again) is not passed on longer than it counts here.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from homeassistant.components import bluetooth
from homeassistant.core import CALLBACK_TYPE, callback
from homeassistant.helpers.event import async_track_time_interval

from ..log_mark import Mark, is_news
from .wire import Reader, b64

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ..coordinator import IgrsLockCoordinator
    from .gateway import Gateway
    from .wire import Message

_LOGGER = logging.getLogger(__name__)

_FOLLOWED_MAX: Final = 500
_AGAIN: Final = timedelta(seconds=30)
"""A followed state is sent again if the lock was heard since: every 60 seconds at least."""
_PACE: Final = 0.2
"""Seconds between two messages about one lock, however fast it advertises."""
_SAME: Final = 5.0
"""Seconds after which the very same state may be asked for again."""
_NONCE: Final = 60.0
_NONCES_MAX: Final = 32
_NO_SIGNAL: Final = -127


class States:
    """Follows the locks of one server."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._locks: dict[str, _Lock] = {}
        self._followed: frozenset[str] = frozenset()

    @callback
    def async_start(self) -> CALLBACK_TYPE:
        """Begin; returns what ends it."""
        gateway = self._gateway
        stops = (
            gateway.home.async_listen(self._changed),
            gateway.async_listen(self._changed),
            async_track_time_interval(gateway.hass, self._again, _AGAIN, cancel_on_shutdown=True),
        )
        self._changed()

        @callback
        def stop() -> None:
            for each in stops:
                each()
            for lock in self._locks.values():
                lock.stop()
            self._locks.clear()

        return stop

    def passed_on(self, device_id: str) -> list[bytes]:
        """Return the nonces of what was passed on of a lock in the last 60 seconds, newest first."""
        lock = self._locks.get(device_id)
        return [] if lock is None else lock.nonces()

    @callback
    def received(self, message: Message) -> None:
        """Take what is followed from now on. Malformed."""
        followed = frozenset(Reader(message.body).devices("locks", _FOLLOWED_MAX))
        self._followed = followed
        for device_id in followed & self._locks.keys():
            self._locks[device_id].send(again=True)

    def follows(self, device_id: str) -> bool:
        """Whether somebody follows a lock."""
        return device_id in self._followed

    @callback
    def _changed(self) -> None:
        """Take which locks are there, and whether there is a link."""
        gateway = self._gateway
        linked = gateway.enabled and gateway.link.connected
        if not linked:
            self._followed = frozenset()
            for lock in self._locks.values():
                lock.unlinked()
        wanted = {
            device_id: coordinator
            for device_id, coordinator in gateway.home.coordinators.items()
            if device_id in gateway.store.locks
        }
        for device_id, lock in [*self._locks.items()]:
            if wanted.get(device_id) is not lock.coordinator:
                lock.stop()
                del self._locks[device_id]
        for device_id in wanted.keys() - self._locks.keys():
            coordinator = wanted[device_id]
            self._locks[device_id] = lock = _Lock(gateway, coordinator, self.follows)
            lock.send()

    @callback
    def _again(self, _now: datetime) -> None:
        for device_id in self._followed & self._locks.keys():
            self._locks[device_id].send()


class _Lock:
    """One lock: what was sent of it, and what waits for its turn."""

    def __init__(
        self,
        gateway: Gateway,
        coordinator: IgrsLockCoordinator,
        followed: Callable[[str], bool],
    ) -> None:
        self.coordinator = coordinator
        self._gateway = gateway
        self._device_id = coordinator.device_id
        self._followed = followed
        self._loop = gateway.hass.loop
        self._mark: Mark | None = None
        self._event: int | None = None
        self._sent: tuple[bytes, int] | None = None
        self._sent_at = -_SAME
        self._quiet_until = 0.0
        self._timer: CALLBACK_TYPE | None = None
        self._nonces: deque[tuple[bytes, float]] = deque(maxlen=_NONCES_MAX)
        self._stops = (
            coordinator.async_listen_heard(self._heard),
            coordinator.async_add_listener(self._later),  # it may be back, with what it said before
        )
        self._note_mark()

    @callback
    def stop(self) -> None:
        """Listen no more."""
        for each in self._stops:
            each()
        if self._timer is not None:
            self._timer()
            self._timer = None

    @callback
    def unlinked(self) -> None:
        """Take that the server may not have what was sent."""
        self._sent_at = -_SAME

    def nonces(self) -> list[bytes]:
        """Return those that were passed on lately, newest first."""
        now = self._loop.time()
        return [nonce for nonce, at in reversed(self._nonces) if now - at <= _NONCE]

    @callback
    def _heard(self) -> None:
        """Take a new authentic advertisement."""
        before = self._mark
        mark = self._note_mark()
        if mark is not None and before is not None and is_news(before, mark):
            self._event = mark.counter
        self._later()

    def _note_mark(self) -> Mark | None:
        advertisement = self.coordinator.tracker.advertisement
        if advertisement is not None:
            self._mark = Mark(advertisement.counter, advertisement.log_bits)
        return self._mark

    @callback
    def _later(self) -> None:
        """Send now, or as soon as the pace allows."""
        if self._timer is not None:
            return
        if (wait := self._quiet_until - self._loop.time()) <= 0:
            self._send_all()
            return
        self._timer = self._loop.call_later(wait, self._due).cancel

    @callback
    def _due(self) -> None:
        self._timer = None
        self._send_all()

    def _send_all(self) -> None:
        """Send what there is. What goes wrong is nothing to who hears the lock at home."""
        self._quiet_until = self._loop.time() + _PACE
        try:
            if self._event is not None:
                self._gateway.link.send("lock.event", {"counter": self._event}, self._device_id)
                self._event = None
            self.send()
        except Exception:
            _LOGGER.exception("A lock's state could not be passed on")

    @callback
    def send(self, *, again: bool = False) -> None:
        """Send the state if somebody follows it and it is news; `again`: who asks may not have it."""
        if not self._followed(self._device_id):
            return
        coordinator, now = self.coordinator, self._loop.time()
        data, ago = coordinator.tracker.data, coordinator.heard_ago
        if data is None or ago is None or not coordinator.available:
            return
        heard = int(time.time() - ago)
        if self._sent is not None and self._sent[0] == data:
            # When it was heard it was heard: a clock that moved does not make it older or newer.
            if heard <= self._sent[1] and not (again and now - self._sent_at >= _SAME):
                return
            heard = max(heard, self._sent[1])
        body = {
            "advertisement": b64(data),
            "time": heard,
            "seen": b64(coordinator.tracker.seen(heard)),
            "rssi": self._signal(),
        }
        if self._gateway.link.send("lock.state", body, self._device_id):
            self._sent, self._sent_at = (data, heard), now
            nonce = b"\x00" + data[3:]
            if self._nonces and self._nonces[-1][0] == nonce:
                self._nonces.pop()
            self._nonces.append((nonce, now))

    def _signal(self) -> int:
        info = bluetooth.async_last_service_info(
            self._gateway.hass, self.coordinator.address, connectable=False
        )
        return _NO_SIGNAL if info is None else min(max(info.rssi, -128), 127)
