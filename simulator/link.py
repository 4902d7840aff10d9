"""The link layer that Bumble's virtual radio lacks: what happens on the air.

Bumble's own `LocalLink` hands every packet over at once, to everybody, for ever. Here:

* every pair of radios has a signal strength, or is out of reach of each other;
* a packet can be lost: an advertisement is gone, a data packet is sent again at the next event;
* a connection has connection events, one every interval, and a packet waits for the next one;
* a connection whose other end is not heard for its supervision time-out ends.

Connection events as in the Core Specification 5.4, volume 6 part B, 4.5.1: both ends wake at each
anchor point. Whatever their hosts had queued until then is exchanged, several packets in one event
as long as "more data" is set, at most `PACKETS_PER_EVENT` from each side. So commands written back
to back share one event, while the answer to a request waits for the next: a host takes longer to
make it than the 150 µs between two packets. A lost packet closes the event.

Simplified, and said so: a CONNECT_IND that is lost counts as never sent (no error 0x3E); the empty
packets of an idle connection are not simulated one by one; data length extension is always on, so
an ATT packet of up to 247 bytes is one radio packet.
"""

import asyncio
import math
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bumble import hci, ll
from bumble.controller import Connection
from bumble.link import LocalLink

if TYPE_CHECKING:
    from .controller import Advertiser, VirtualController

DEFAULT_RSSI = -60
"""Signal strength in dBm between two radios of which nothing else was said: one room away."""
SENSITIVITY = -100
"""Weaker signals than this are not received at all."""
PACKETS_PER_EVENT = 6
"""Packets one side sends in one connection event; common controllers manage 4 to 8."""
INTERVAL_UNIT_MS = 1.25
NO_INTERVAL_RETRY_MS = 1.25
"""With interval 0 a lost packet is sent again after this long: nothing is lost for free."""


@dataclass
class Data:
    """A data packet on the air: part of an L2CAP packet, at most 251 bytes."""

    first: bool
    data: bytes


@dataclass(eq=False)
class End(Connection):
    """One end of a connection, as the controller of that side sees it."""

    controller: VirtualController
    air: AirLink | None = None
    waiting: deque[Data | ll.ControlPdu] = field(default_factory=deque)

    def on_hci_acl_data_packet(self, packet: hci.HCI_AclDataPacket) -> None:
        """Queue what the host sends; the controller's buffer is free again once it was received."""
        self.transmit(Data(packet.pb_flag != 1, packet.data))

    def send_ll_control_pdu(self, packet: ll.ControlPdu) -> None:
        """Queue a control packet behind the data."""
        self.transmit(packet)

    def transmit(self, packet: Data | ll.ControlPdu) -> None:
        """Queue a packet for the next connection event."""
        if self.air is not None:
            self.waiting.append(packet)
            self.air.schedule()


class Radio(LocalLink):
    """The air that all controllers share."""

    def __init__(self, seed: int | None = None) -> None:
        """Make an empty radio.

        Args:
            seed: makes loss, jitter and phases repeatable. Never used for anything secret.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # Bumble's has no annotations
        self.random = random.Random(seed)  # noqa: S311 - radio noise, not a secret
        self.loss = 0.0
        """Share of packets lost, 0 to 1."""
        self.interval_ms: float | None = None
        """Interval of all new connections in ms (0: packets go at once); None: as asked for."""
        self.links: set[AirLink] = set()
        self.listeners: set[VirtualController] = set()
        self._rssi: dict[tuple[str, str | None], int | None] = {}

    # --- distance and loss --------------------------------------------------------------------

    def set_rssi(self, name: str, peer: str | None, rssi: int | None) -> None:
        """Set the signal strength between `name` and `peer` (None: everybody) in dBm.

        None means out of reach. Setting it for everybody forgets what was set for single peers.
        """
        if peer is None:
            for pair in [pair for pair in self._rssi if name in pair]:
                del self._rssi[pair]
        self._rssi[name, peer] = rssi
        self.reach_changed()

    def rssi(self, one: str, other: str) -> int | None:
        """Signal strength in dBm between two radios, None out of reach; the same both ways."""
        for pair in ((one, other), (other, one), (one, None), (other, None)):
            if pair in self._rssi:
                rssi = self._rssi[pair]
                break
        else:
            rssi = DEFAULT_RSSI
        return None if rssi is None or rssi < SENSITIVITY else rssi

    def set_loss(self, loss: float) -> None:
        """Set the share of packets that are lost, 0 to 1."""
        self.loss = loss
        self.reach_changed()

    def lost(self) -> bool:
        """Say whether one packet is lost."""
        return self.loss > 0 and self.random.random() < self.loss

    def reach_changed(self) -> None:
        """Tell all connections that somebody came or went."""
        for link in list(self.links):
            link.reach_changed()

    def remove_controller(self, controller: VirtualController) -> None:  # type: ignore[override]  # only such are on this radio
        """Take a controller off the air without a goodbye: its peers notice by time-out."""
        super().remove_controller(controller)
        self.listeners.discard(controller)
        for link in list(self.links):
            link.forget(controller)
        self.reach_changed()

    # --- advertising --------------------------------------------------------------------------

    def advertise(self, advertiser: Advertiser) -> None:
        """Send one advertising event to everybody who listens and is in reach.

        An initiator that wants this advertiser connects; everybody else gets a report.
        """
        sender = advertiser.controller
        for listener in list(self.listeners):
            rssi = self.rssi(sender.name, listener.name)
            if listener is sender or rssi is None or self.lost():
                continue
            if advertiser.enabled and listener.wants(advertiser) and not self.lost():
                listener.initiate(advertiser)
            else:
                listener.on_advertising_event(advertiser, rssi)


class AirLink:
    """One connection between a central and a peripheral."""

    def __init__(
        self, radio: Radio, central: End, peripheral: End, interval_ms: float, timeout_ms: float
    ) -> None:
        """Start the connection; its first event comes within one interval.

        Args:
            radio: the air.
            central: the end that initiated.
            peripheral: the end that advertised.
            interval_ms: connection interval, 0 for none.
            timeout_ms: supervision time-out.
        """
        self._radio = radio
        self._loop = asyncio.get_running_loop()
        self.central: End | None = central
        self.peripheral: End | None = peripheral
        self.timeout_ms = timeout_ms
        self.interval_ms = 0.0
        self.latency = 0
        self._anchor = 0.0
        self._number = -1
        self._active = 0
        self._timer: asyncio.Handle | None = None
        self._supervision: asyncio.TimerHandle | None = None
        self.set_interval(interval_ms)
        central.air = peripheral.air = self
        radio.links.add(self)

    def set_interval(self, interval_ms: float, latency: int = 0) -> None:
        """Set the interval in ms, and how many events the peripheral may sleep through.

        The central chooses where in the interval the events are: anywhere, here as there.
        """
        self.interval_ms = interval_ms
        self.latency = latency
        offset = INTERVAL_UNIT_MS + self._radio.random.random() * interval_ms
        self._anchor = self._loop.time() + offset / 1000
        self._number = -1
        self._active = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.schedule()

    @property
    def heard(self) -> bool:
        """Whether the two ends can hear each other."""
        if self.central is None or self.peripheral is None or self._radio.loss >= 1:
            return False
        names = self.central.controller.name, self.peripheral.controller.name
        return self._radio.rssi(*names) is not None

    def reach_changed(self) -> None:
        """Start or stop the supervision timer."""
        if self.heard:
            if self._supervision is not None:
                self._supervision.cancel()
                self._supervision = None
            if self._anything_waiting():
                self.schedule()
        elif self._supervision is None:
            self._supervision = self._loop.call_later(
                self.timeout_ms / 1000, self.drop, hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR
            )

    def forget(self, controller: VirtualController) -> None:
        """One side lost its power: it neither hears nor says anything any more."""
        for end in (self.central, self.peripheral):
            if end is not None and end.controller is controller:
                end.air = None
                end.waiting.clear()
                if end is self.central:
                    self.central = None
                else:
                    self.peripheral = None

    # --- connection events --------------------------------------------------------------------

    def schedule(self) -> None:
        """Wake at the next connection event that can carry something."""
        if self._timer is not None or self not in self._radio.links:
            return
        if self.interval_ms == 0:
            self._timer = self._loop.call_soon(self._event, 0)
        else:
            number = self._next_event()
            when = self._anchor + number * self.interval_ms / 1000
            self._timer = self._loop.call_at(when, self._event, number)

    def _anything_waiting(self) -> bool:
        return any(end is not None and end.waiting for end in (self.central, self.peripheral))

    def _next_event(self) -> int:
        passed = (self._loop.time() - self._anchor) * 1000 / self.interval_ms
        # Never the same one twice: a timer may fire a hair early.
        number = max(self._number + 1, math.floor(passed) + 1)
        step = self.latency + 1
        if step > 1 and not (self.peripheral is not None and self.peripheral.waiting):
            # A sleeping peripheral is reached only when it wakes by itself.
            number = self._active + math.ceil((number - self._active) / step) * step
        return number

    def _event(self, number: int) -> None:
        self._timer = None
        self._number = number
        central, peripheral = self.central, self.peripheral
        if self.heard and central is not None and peripheral is not None:
            self._active = number
            # Counted before anything is delivered: what a delivery causes waits for the next event.
            turns = [
                (sender, receiver, min(len(sender.waiting), PACKETS_PER_EVENT))
                for sender, receiver in ((central, peripheral), (peripheral, central))
            ]
            for sender, receiver, count in turns:
                if not self._exchange(sender, receiver, count):
                    break
        elif self.interval_ms == 0:
            return  # nothing to wait for: reach_changed or the supervision timer goes on
        if self._anything_waiting():
            if self.interval_ms == 0 and self._timer is None:
                self._timer = self._loop.call_later(
                    NO_INTERVAL_RETRY_MS / 1000 if self._radio.loss else 0, self._event, 0
                )
            else:
                self.schedule()

    def _exchange(self, sender: End, receiver: End, count: int) -> bool:
        """Deliver the first `count` packets of one side; False when one was lost."""
        for _ in range(count):
            if self._radio.lost():
                return False
            if not sender.waiting:
                break
            packet = sender.waiting.popleft()
            if isinstance(packet, Data):
                sender.controller.on_delivered(sender)
                receiver.controller.on_data(receiver, packet)
            elif isinstance(packet, ll.TerminateInd):
                self._close(sender, hci.HCI_ErrorCode.CONNECTION_TERMINATED_BY_LOCAL_HOST_ERROR)
                self._close(receiver, packet.error_code)
                self._end()
                return True
            else:
                if isinstance(packet, ll.ConnectionUpdateInd):
                    self._update(sender, packet)
                receiver.controller.on_ll_control_pdu(receiver.peer_address, packet)
        return True

    def _update(self, sender: End, packet: ll.ConnectionUpdateInd) -> None:
        fixed = self._radio.interval_ms
        self.timeout_ms = packet.timeout * 10
        self.set_interval(
            packet.interval * INTERVAL_UNIT_MS if fixed is None else fixed, packet.latency
        )
        sender.controller.on_ll_control_pdu(sender.peer_address, packet)

    # --- the end ------------------------------------------------------------------------------

    def drop(self, reason: int) -> None:
        """End the connection at once, both hosts being told `reason` (an HCI error code)."""
        for end in (self.central, self.peripheral):
            if end is not None:
                self._close(end, reason)
        self._end()

    def _close(self, end: End, reason: int) -> None:
        end.air = None
        end.waiting.clear()
        end.controller.on_le_disconnected(end, reason)

    def _end(self) -> None:
        self._radio.links.discard(self)
        self.central = self.peripheral = None
        for timer in (self._timer, self._supervision):
            if timer is not None:
                timer.cancel()
