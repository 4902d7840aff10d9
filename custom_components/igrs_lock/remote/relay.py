"""Relays at home: a remote client's messages for a lock, checked before the radio, and its answers.

A server says who it is and which lock; neither is believed where it matters: whose session it is the
lock's own keys say. Every relay ends once, with what is known then.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from homeassistant.core import CALLBACK_TYPE, callback

from .prewarm import Prewarm
from .relay_limits import DATA_MAX, Broken, Once, Rate
from .relay_run import ENDED, Ending, Relay
from .tenants import users_person
from .wire import INT_MAX, Malformed, Reader, Status

if TYPE_CHECKING:
    from .gateway import Gateway
    from .handshake import Down
    from .wire import Message

_LOGGER = logging.getLogger(__name__)

_MINUTE: Final = 60.0
_OF_PERSON: Final = 20
_OF_SERVER: Final = 60
"""Relays a minute."""
_LIVE_MAX: Final = 64
_TTL_MAX_MS: Final = 20_000
"""A server gives a relay 15 seconds; its clock is an estimate."""
_REMEMBERED: Final = 900.0
"""Seconds for which an ID or an opening is known again. A lock takes no opening that is older."""
_REMEMBERED_MAX: Final = 1024
_WHOSE: Final = 7
"""Bytes of an opening that say whose it is."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A client's message in a relay."""

    n: int
    data: bytes = field(repr=False)
    hash: bytes = field(repr=False)

    @classmethod
    def of(cls, read: Reader) -> _Part:
        """Read it. Malformed."""
        return cls(
            read.integer("n", 0, INT_MAX),
            read.binary("data", most=DATA_MAX),
            read.binary("hash", 32),
        )


class Relays:
    """All relays of one server."""

    def __init__(self, gateway: Gateway) -> None:
        self.prewarm = Prewarm(gateway)
        self._gateway = gateway
        self._live: dict[str, Relay] = {}
        self._ids = Once(_REMEMBERED_MAX, _REMEMBERED)
        self._openings: dict[bytes, Once] = {}
        self._of_person = Rate(_OF_PERSON, _MINUTE)
        self._of_server = Rate(_OF_SERVER, _MINUTE)

    @callback
    def async_start(self) -> CALLBACK_TYPE:
        """Begin to look after what changes at home; returns what ends it."""
        stops = (
            self._gateway.home.async_listen(self._judge_again),
            self._gateway.async_listen(self._judge_again),
        )

        @callback
        def stop() -> None:
            for each in stops:
                each()

        return stop

    @callback
    def async_stop(self, _reason: Down | None = None) -> None:
        """End all: the link ended or is about to."""
        self.prewarm.async_stop()
        for relay in [*self._live.values()]:
            relay.interrupt(Status.GATEWAY_OFFLINE)

    @property
    def live(self) -> int:
        """How many there are."""
        return len(self._live)

    # --- what the server says -------------------------------------------------------------------

    @callback
    def received(self, message: Message) -> None:
        """Take a live message. Malformed."""
        if message.type == "relay.open":
            self._open(message)
        elif message.type == "lock.prewarm":
            self.prewarm.received(message)
        else:
            read = Reader(message.body)
            if (relay := self._live.get(read.hex_id("relay"))) is None:
                return
            if message.type == "relay.end":
                relay.ended_elsewhere()
            elif message.type == "relay.data":
                self._data(relay, read)

    def _open(self, message: Message) -> None:
        now = self._now()
        read = Reader(message.body)
        relay_id = read.hex_id("relay")
        if relay_id in self._live:
            return  # it goes on as it is
        try:
            user, device = read.hex_id("user"), read.device("lock")
            expires = read.integer("expires")
            part = _Part.of(read)
        except Malformed as err:
            _LOGGER.debug("A relay is malformed: %s", err)
            self._refuse(relay_id, "", Status.MALFORMED)
            return
        if not self._of_server.take("", now) or len(self._live) >= _LIVE_MAX:
            self._refuse(relay_id, device, Status.SLOW_DOWN)
            return
        if not self._ids.first_time(relay_id.encode(), now):
            return  # it has ended once
        ending = self.late(expires)
        if ending is None:
            ending = self._begin(relay_id, user, device, expires, part)
        if ending is not None:
            self._tell_end(relay_id, device, ending)

    def late(self, expires: int) -> Ending | None:
        """Return how a relay ends that is too late, None if it is not, by the server's clock (ms)."""
        server_ms = self._gateway.link.clock.now_ms()
        if server_ms is None:
            # Nobody can say whether it is late.
            return Ending("failed", Status.EXPIRED)
        if expires <= server_ms:
            return Ending("expired", Status.EXPIRED)
        if expires > server_ms + _TTL_MAX_MS:
            return Ending("failed", Status.MALFORMED)
        return None

    def _begin(
        self, relay_id: str, user: str, device: str, expires: int, part: _Part
    ) -> Ending | None:
        """Begin a relay; return why not."""
        gateway = self._gateway
        if not gateway.enabled or device not in gateway.store.locks:
            return Ending("failed", Status.REFUSED_BY_HOME)
        if (coordinator := gateway.home.coordinators.get(device)) is None:
            return Ending("failed", Status.OUT_OF_REACH)
        person = users_person(gateway, coordinator, user)
        relay = Relay(self, coordinator, relay_id, person, expires)
        try:
            relay.from_client.take(part.n, part.data, part.hash)
        except Broken:
            return Ending("failed", Status.MALFORMED)
        self._live[relay_id] = relay
        relay.begin(part.data)
        return None

    def _data(self, relay: Relay, read: Reader) -> None:
        try:
            part = _Part.of(read)
            new = relay.from_client.take(part.n, part.data, part.hash)
        except Malformed, Broken:
            relay.fail(Status.MALFORMED)
            return
        if new:
            relay.message(part.data)

    # --- for the relays -------------------------------------------------------------------------

    @property
    def gateway(self) -> Gateway:
        """Whose relays they are."""
        return self._gateway

    def seconds_until(self, server_ms: int) -> float:
        """Return how long it is until a time of the server's."""
        now = self._gateway.link.clock.now_ms()
        return 0.0 if now is None else (server_ms - now) / 1000

    def first_time(self, opening: bytes) -> bool:
        """Whether a session was never opened by these bytes, in whatever relay.

        They begin with device and slot, each of which has a memory of its own: who fills theirs is
        in nobody else's way.
        """
        mine = self._openings.setdefault(opening[:_WHOSE], Once(_REMEMBERED_MAX, _REMEMBERED))
        return mine.first_time(opening, self._now())

    def may_begin(self, person_id: str) -> bool:
        """Count a relay of a person; False if it is one too many."""
        return self._of_person.take(person_id, self._now())

    def send(self, kind: str, device: str, body: dict[str, Any]) -> None:
        """Tell the server of a relay; without a link it has ended there."""
        self._gateway.link.send(kind, body, device)

    def over(self, relay: Relay, ending: Ending) -> None:
        """Take that a relay has ended, and tell the server unless it said so itself."""
        self._live.pop(relay.id, None)
        if ending is not ENDED:
            self._tell_end(relay.id, relay.device, ending)

    def _tell_end(self, relay_id: str, device: str, ending: Ending) -> None:
        body = {"relay": relay_id, "outcome": ending.outcome, "code": int(ending.code)}
        self.send("relay.end", device, body)

    def _refuse(self, relay_id: str, device: str, code: Status) -> None:
        self._tell_end(relay_id, device, Ending("failed", code))

    # --- what changes at home -------------------------------------------------------------------

    @callback
    def _judge_again(self) -> None:
        """End the relays of those who may not relay any more."""
        gateway = self._gateway
        for relay in [*self._live.values()]:
            if (
                not gateway.enabled
                or relay.device not in gateway.store.locks
                or gateway.home.coordinators.get(relay.device) is not relay.coordinator
                or not relay.still_allowed()
            ):
                relay.interrupt(Status.REFUSED_BY_HOME)

    def _now(self) -> float:
        return self._gateway.hass.loop.time()
