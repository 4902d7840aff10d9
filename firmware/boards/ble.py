"""The radio port on MicroPython's `bluetooth` module (NimBLE, for example ESP32).

Never run on hardware here: tests run it with a stand-in for `bluetooth`. What was learnt from
MicroPython's sources and documentation:

- On ESP32 events are synchronous: each write is announced before the next one replaces it. The
  handler may interrupt the main loop, so it only queues; `pump` hands everything to the lock.
- A peripheral stops advertising when somebody connects; `advertise` starts it again.
- Nobody tells Python when a client switches notifications on (NimBLE's subscribe event ends in
  C). A firmware that passes it on calls `subscribed`; else the port takes it that a client has
  done so `GUESS_MS` after its first write. That is late for the first answer of a connection and
  in time for all others; a client slower than that loses the first answer and has to ask again.
- Prepared writes cannot be refused from Python; what is longer than one write can be was one, and
  is passed on as an empty write, which the lock answers with ERROR 1.
"""

from collections import deque
from time import ticks_diff, ticks_ms  # type: ignore[attr-defined]  # MicroPython's own

import bluetooth  # type: ignore[import-not-found]  # as well
from bsld import advert
from bsld import const as c

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bsld.lock import Lock

_CONNECT = 1
_DISCONNECT = 2
_WRITE = 3
_MTU = 21

_READ = 0x0002
_WRITE_NO_RESPONSE = 0x0004
_WRITABLE = 0x0008
_NOTIFY = 0x0010

GUESS_MS = 500
_MTU_OFFERED = 247
_EVENTS = 64


def _uuid(value: "int | str") -> "Any":
    return bluetooth.UUID(value)


class _Peer:
    """What the port knows of a connection."""

    def __init__(self) -> None:
        self.mtu = c.DEFAULT_MTU
        self.wrote_at: int | None = None
        self.subscribed = False


class BleRadio:
    """Implements `bsld.ports.Radio`, and brings what it hears to the lock.

    Args:
        maker: manufacturer's name in the Device Information service.
        model: model number there.
        revision: firmware revision there.
    """

    def __init__(self, maker: str, model: str, revision: str) -> None:
        """Switch the radio on and register the services."""
        self._ble = bluetooth.BLE()
        self._ble.active(True)
        self._ble.config(mtu=_MTU_OFFERED)
        self.device_id = bytes(self._ble.config("mac")[1])
        self._ble.config(gap_name="IGRS-" + self.device_id.hex().upper()[-4:])
        information = [(_uuid(number), _READ) for number in (0x2A29, 0x2A24, 0x2A26)]
        handles = self._ble.gatts_register_services(
            (
                (
                    _uuid(c.SERVICE_UUID),
                    (
                        (_uuid(c.INFO_UUID), _READ),
                        (_uuid(c.REQUEST_UUID), _WRITABLE | _WRITE_NO_RESPONSE),
                        (_uuid(c.RESPONSE_UUID), _NOTIFY),
                    ),
                ),
                (_uuid(0x180A), tuple(information)),
                (_uuid(0x180F), ((_uuid(0x2A19), _READ | _NOTIFY),)),
            )
        )
        (self._info, self._request, self._response), about, (self._battery,) = handles
        # Room for the longest write of any MTU
        self._ble.gatts_set_buffer(self._request, c.MAX_MESSAGE + 5)
        for handle, text in zip(about, (maker, model, revision)):  # noqa: B905 - no `strict` here
            self._ble.gatts_write(handle, text.encode())
        self._events: Any = deque((), _EVENTS)  # noqa: RUF037 - MicroPython wants both arguments
        self._peers: dict[int, _Peer] = {}
        self._percent = -1
        self.lock: Lock | None = None
        self._ble.irq(self._irq)

    def begin(self, lock: "Lock") -> None:
        """Everything heard from now on goes to this lock, at the next `pump`."""
        self.lock = lock
        self._ble.gatts_write(self._info, lock.info())

    def _irq(self, event: int, data: "Any") -> None:
        # May interrupt the main loop anywhere: take what would be gone later, and leave
        if event == _WRITE:
            conn, handle = data
            if handle == self._request:
                self._events.append((event, conn, bytes(self._ble.gatts_read(handle))))
        elif event == _MTU:
            self._events.append((event, data[0], data[1]))
        elif event in (_CONNECT, _DISCONNECT):
            self._events.append((event, data[0], None))

    def pump(self) -> None:
        """Bring everything heard to the lock; call it from the main loop."""
        lock = self.lock
        if lock is None:
            return
        while self._events:
            event, conn, data = self._events.popleft()
            if event == _CONNECT:
                self._peers[conn] = _Peer()
                lock.connected(conn)
            elif event == _DISCONNECT:
                self._peers.pop(conn, None)
                lock.disconnected(conn)
            elif conn not in self._peers:
                continue
            elif event == _MTU:
                self._peers[conn].mtu = data
                lock.mtu_changed(conn, data)
            else:
                self._written(lock, conn, data)
        now = ticks_ms()
        for conn, peer in list(self._peers.items()):
            waited = peer.wrote_at is not None and ticks_diff(now, peer.wrote_at) >= GUESS_MS
            if waited and not peer.subscribed:
                self.subscribed(conn, True)
        if lock.battery != self._percent:
            self._percent = lock.battery
            level = min(self._percent, 100)
            self._ble.gatts_write(self._battery, bytes((level,)), True)

    def _written(self, lock: "Lock", conn: int, data: bytes) -> None:
        peer = self._peers[conn]
        if peer.wrote_at is None:
            peer.wrote_at = ticks_ms()
        lock.written(conn, data if len(data) <= peer.mtu - 3 else b"")

    def subscribed(self, conn: int, on: bool) -> None:
        """A client switched notifications on or off: known, or guessed."""
        if self.lock is not None and conn in self._peers:
            self._peers[conn].subscribed = on
            self.lock.subscribed(conn, on)

    @property
    def connected(self) -> bool:
        """Whether anybody is connected (then the main loop should not sleep long)."""
        return bool(self._peers) or bool(self._events)

    # --- bsld.ports.Radio ---------------------------------------------------------------------

    def advertise(self, data: bytes, interval_ms: int, connectable: bool) -> None:
        """Advertise these 10 data bytes."""
        try:
            self._advertise(data, interval_ms, connectable)
        except OSError:
            # All of the stack's connections are taken: a connectable one is not to be had
            self._advertise(data, interval_ms, False)

    def _advertise(self, data: bytes, interval_ms: int, connectable: bool) -> None:
        self._ble.gap_advertise(
            interval_ms * 1000,
            adv_data=advert.payload(data),
            resp_data=advert.scan_response(self.device_id),
            connectable=connectable,
        )

    def notify(self, conn: "Any", data: bytes) -> bool:
        """Send one notification; False while the stack has no buffer."""
        try:
            self._ble.gatts_notify(conn, self._response, data)
        except OSError:
            return False
        return True

    def disconnect(self, conn: "Any") -> None:
        """End a connection."""
        self._peers.pop(conn, None)
        try:
            self._ble.gap_disconnect(conn)
        except OSError:
            pass  # gone already: its event is on the way
