"""Relays: one client and one lock exchange a few messages through the lock's gateway (clause 7.7, ILP1 section 6).

    accepted → sent_to_gateway → sent_to_lock → answered      of the client's last message
    ends: answered, failed, expired, unknown                   once, recorded, then told

Nothing is kept for later: a message goes out now, on the socket that the relay was opened with, or never. *Answered*
says that a message came back and the gateway or the client ended the relay; what the lock did, only the sealed message
says. Once any byte went on, an end that nobody reports is *unknown*.
"""

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from igrs_ras import wire
from igrs_ras.clock import ulid_ms
from igrs_ras.prewarm import Prewarm
from igrs_ras.relay_parts import (
    BrokenError,
    DataBody,
    GatewayData,
    GatewayEnd,
    GatewayState,
    Load,
    OpenBody,
    Outcome,
    Part,
    Relay,
    first_message,
)
from igrs_ras.relay_rows import Ending, Known, Name, Opening, accept, find, finish, prune, recover
from igrs_ras.status import Refused, Status

if TYPE_CHECKING:
    from igrs_ras.hub import Client
    from igrs_ras.link import Link
    from igrs_ras.ras import Ras
    from igrs_ras.socket import Message

_LOGGER = logging.getLogger(__name__)

OLD_MS, EARLY_MS = (
    5 * 60_000,
    60_000,
)  # how far a key's time may be behind and ahead of the server's clock
IDLE, LONGEST = 15.0, 60.0  # seconds without a message; seconds in all
CONGESTED = 32 * 1024  # bytes that a gateway has not taken: what is sent now would come late
PRUNE_SECONDS = 60.0
RETRY_FIRST, RETRY_LAST = 0.1, 5.0  # seconds until the end of a relay is written again
GATEWAY_CODES = frozenset(
    {
        Status.FAILED, Status.MALFORMED, Status.GATEWAY_OFFLINE, Status.OUT_OF_REACH, Status.LOCK_BUSY, Status.EXPIRED,
        Status.REFUSED_BY_HOME, Status.REFUSED_BY_LOCK, Status.SLOW_DOWN,
    }
)  # fmt: skip


class Relays:
    """All relays under way in this process."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        self._live: dict[Name, Relay] = {}
        self._by_id: dict[str, Relay] = {}  # those whose first message went on and that did not end
        self._load = Load(ras)
        self.prewarm = Prewarm(ras)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pruned = 0.0

    async def start(self) -> None:
        """Record that nobody knows how those ended that were under way when the server stopped."""
        if found := await self._ras.store.write(recover):
            _LOGGER.warning("%d relays were under way: outcome unknown", found)

    async def tick(self) -> None:
        """End those that take too long or whose socket is closing; forget old ones."""
        now = self._ras.clock.monotonic()
        for relay in list(self._live.values()):
            if relay.client.socket.closed is not None:
                self._break(relay, Status.UNKNOWN)
            elif relay.link is not None and not self._is_link(relay.link):
                self._break(relay, Status.GATEWAY_OFFLINE)
            elif now - relay.heard >= IDLE or now - relay.opened >= LONGEST:
                self._break(relay, Status.UNKNOWN)
        if now - self._pruned >= PRUNE_SECONDS:
            self._pruned = now
            await self._ras.store.write(prune)

    async def stop(self) -> None:
        """End what is left, and wait until the ends are recorded if the database takes them."""
        self.end_for(why=Status.NOT_READY)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        for task in self._tasks:
            task.cancel()

    async def idle(self, seconds: float) -> None:
        """Wait until no relay is under way, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._live:  # noqa: ASYNC110  once, at the end of a server
                    await asyncio.sleep(0.02)

    @property
    def live(self) -> int:
        """How many relays are under way."""
        return len(self._live)

    # What clients say.

    async def open(self, client: Client, message: Message) -> None:
        """`relay.open`: check, record, and send on, in this order. Raises Refused."""
        body = message.read(OpenBody)
        first = first_message(body)
        now = self._ras.clock.now_ms()
        age = now - ulid_ms(body.key)
        if age > OLD_MS:
            raise Refused(Status.EXPIRED)
        if age < -EARLY_MS:
            raise Refused(Status.MALFORMED, "key is of another time")
        name = (client.user, body.site, body.lock, body.key)
        digest = wire.unb64(body.hash)
        if (live := self._live.get(name)) is not None:
            if live.end is not None and not live.recorded:
                raise Refused(Status.NOT_READY)  # the database has not said yet what is recorded
            self._repeat(client, name, Known(live.hash, *live.stands()), digest)
            return
        if self._ras.draining:
            raise Refused(Status.NOT_READY)
        link = self._ras.gateways.link_of(body.site)
        known: Known | None
        if link is None:
            # Who has no right does not learn whether the gateway is there.
            known = await self._ras.store.read(lambda connection: find(connection, name))
            if known is None:
                raise Refused(Status.GATEWAY_OFFLINE)
            self._repeat(client, name, known, digest)
            return
        if client.socket.closed is not None:
            raise Refused(Status.SIGN_IN)
        relay = Relay(name, digest, client, self._ras.clock.monotonic(), now + body.ttl_ms)
        relay.from_client = first
        try:
            self._load.begin(name)
        except Refused:
            # Nor how busy the home is.
            known = await self._ras.store.read(lambda connection: find(connection, name))
            if known is None:
                raise
            self._repeat(client, name, known, digest)
            return
        self._live[name] = relay
        known = await self._accept(relay)
        if known is not None:
            self._repeat(client, name, known, digest)
            return
        relay.recorded = True
        self.prewarm.used(*name[:3])
        if relay.end is not None:  # its right or its client ended meanwhile
            self._record_soon(relay)
        else:
            self._send_on(relay, link, body)

    def _send_on(self, relay: Relay, link: Link, body: OpenBody) -> None:
        """Send a recorded relay's first message, if it is not too late and its gateway is still there."""
        self._tell_state(relay)
        if not self._is_link(link) or link.socket.waiting > CONGESTED:
            self._finish(relay, "expired", Status.GATEWAY_OFFLINE)
        elif self._ras.clock.now_ms() >= relay.expires:
            self._finish(relay, "expired", Status.EXPIRED)
        else:
            relay.link = link
            relay.state = "sent_to_gateway"
            self._by_id[relay.id] = relay
            link.send(
                "relay.open",
                {
                    "relay": relay.id, "user": relay.name[0], "lock": body.lock, "expires": relay.expires,
                    "n": 0, "data": body.data, "hash": body.hash,
                },
                lock=body.lock, expires=relay.expires,
            )  # fmt: skip
            self._tell_state(relay)

    def data(self, client: Client, message: Message) -> None:
        """`relay.data` of a client: the next message for the lock. Raises Refused."""
        body = message.read(DataBody)
        relay = self._own(client, body)
        try:
            if not relay.from_client.take(body.n, body.data, body.hash):
                return
        except BrokenError:
            self._break(relay, Status.MALFORMED)
            return
        assert relay.link is not None  # noqa: S101  else it is not in _by_id
        relay.heard = self._ras.clock.monotonic()
        relay.state = "sent_to_gateway"
        relay.link.send(
            "relay.data",
            {"relay": relay.id, "n": body.n, "data": body.data, "hash": body.hash},
            lock=body.lock,
        )
        self._tell_state(relay)

    def end(self, client: Client, message: Message) -> None:
        """`relay.end` of a client: it has what it wants, or wants no more. Raises Refused."""
        relay = self._own(client, message.read(Part))
        if relay.state == "answered":
            self._finish(relay, "answered", Status.DONE)
        else:
            self._finish(relay, "unknown", Status.UNKNOWN)

    def _own(self, client: Client, part: Part) -> Relay:
        """Return the relay that this very socket opened. Raises Refused(NOT_FOUND)."""
        relay = self._live.get((client.user, part.site, part.lock, part.key))
        if relay is None or relay.client is not client or relay.id not in self._by_id:
            raise Refused(Status.NOT_FOUND)
        return relay

    # What gateways say.

    async def from_gateway(self, link: Link, message: Message) -> None:
        """`relay.state`, `relay.data`, `relay.end` of a gateway. What is said of others' relays is ignored.

        Raises Refused(MALFORMED).
        """
        if message.type == "relay.data":
            self._answer(link, message.read(GatewayData))
        elif message.type == "relay.state":
            self._reached(link, message.read(GatewayState))
        elif message.type == "relay.end":
            self._ended(link, message.read(GatewayEnd))
        else:
            raise Refused(Status.MALFORMED, "unknown type of message")

    def _answer(self, link: Link, body: GatewayData) -> None:
        if (relay := self._of_link(link, body.relay)) is None:
            return
        try:
            if not relay.from_gateway.take(body.n, body.data, body.hash):
                return
        except BrokenError:
            self._break(relay, Status.MALFORMED)
            return
        now = relay.heard = self._ras.clock.monotonic()
        if body.n == 0:
            self._ras.metrics.relay_answered(now - relay.opened)
        relay.state = "answered"
        relay.client.socket.send(
            "relay.data",
            {**relay.body(), "n": body.n, "data": body.data, "hash": body.hash},
            lock=relay.name[2], sender=f"gateway:{relay.name[1]}",
        )  # fmt: skip

    def _reached(self, link: Link, body: GatewayState) -> None:
        relay = self._of_link(link, body.relay)
        if relay is None or relay.state != "sent_to_gateway" or body.n != relay.from_client.last:
            return
        relay.heard = self._ras.clock.monotonic()
        relay.state = "sent_to_lock"
        self._tell_state(relay)

    def _ended(self, link: Link, body: GatewayEnd) -> None:
        if (relay := self._of_link(link, body.relay)) is None:
            return
        touched = relay.state != "sent_to_gateway" or relay.from_client.last > 0
        if body.outcome == "failed":
            # A number that is no reason becomes "failed", without one.
            code = next((code for code in GATEWAY_CODES if code == body.code), Status.FAILED)
            self._finish(relay, "failed", code, tell=False)
        elif body.outcome == "answered" and relay.state == "answered":
            self._finish(relay, "answered", Status.DONE, tell=False)
        elif body.outcome == "expired" and not touched:
            self._finish(relay, "expired", Status.EXPIRED, tell=False)
        else:
            self._finish(relay, "unknown", Status.UNKNOWN, tell=False)

    def _of_link(self, link: Link, identifier: str) -> Relay | None:
        relay = self._by_id.get(identifier)
        return relay if relay is not None and relay.link is link else None

    # Ends from elsewhere.

    def client_gone(self, client: Client) -> None:
        """End the relays of a socket that is closed."""
        if self._load.any(client.user):
            for relay in [relay for relay in self._live.values() if relay.client is client]:
                self._break(relay, Status.UNKNOWN)

    def gateway_gone(self, site: str) -> None:
        """End the relays over a link of this site that is no longer the open one."""
        if self._load.any(site):
            for relay in [relay for relay in self._live.values() if relay.name[1] == site]:
                if relay.link is not None and not self._is_link(relay.link):
                    self._break(relay, Status.GATEWAY_OFFLINE)

    def end_for(
        self,
        *,
        user: str | None = None,
        site: str | None = None,
        device: str | None = None,
        session: str | None = None,
        why: Status = Status.NOT_PERMITTED,
    ) -> None:
        """End the relays, and what is followed, of all that the arguments name together: the right has ended."""
        for relay in list(self._live.values()):
            if (
                user in (None, relay.name[0])
                and site in (None, relay.name[1])
                and device in (None, relay.name[2])
                and session in (None, relay.client.session)
            ):
                self._break(relay, why)
        if session is None:
            self._ras.states.forget(user=user, site=site, device=device)

    def _is_link(self, link: Link) -> bool:
        return self._ras.gateways.link_of(link.site) is link and link.open

    # The record.

    def _forget(self, relay: Relay) -> None:
        if self._live.pop(relay.name, None) is not None:
            self._load.end(relay.name)

    async def _accept(self, relay: Relay) -> Known | None:
        """Record a relay; None if it is new. Raises Refused."""
        try:
            known = await self._ras.store.bulk(
                accept, Opening(relay.name, relay.client.session, relay.hash)
            )
        except Refused as refused:
            if refused.status is Status.NOT_READY:
                self._doubtful(relay)
            else:
                self._forget(relay)
                self._load.spare_site(relay.name)  # a stranger does not use up a site's relays
            raise
        except BaseException:
            self._doubtful(relay)
            raise
        assert not isinstance(known, Exception)  # noqa: S101  the store raises those
        if known is not None:
            self._forget(relay)
            self._load.spare_site(relay.name)
        return known

    def _doubtful(self, relay: Relay) -> None:
        """The database did not say whether it took the record. Nothing went on, so if it did: expired."""
        relay.end = relay.told = ("expired", Status.NOT_READY)
        self._record_soon(relay)

    def _break(self, relay: Relay, why: Status) -> None:
        """End a relay that nobody ended in order: expired if nothing went on, else unknown."""
        if relay.link is not None:
            self._finish(relay, "unknown", why)
        else:
            self._finish(relay, "expired", Status.EXPIRED if why is Status.UNKNOWN else why)

    def _finish(self, relay: Relay, outcome: Outcome, code: Status, *, tell: bool = True) -> None:
        """End a relay once: nothing passes any more. `tell`: the gateway does not know yet."""
        if relay.end is not None:
            return
        relay.end = outcome, code
        self._by_id.pop(relay.id, None)
        if tell and relay.link is not None:
            relay.link.send("relay.end", {"relay": relay.id, "why": int(code)}, lock=relay.name[2])
        if relay.recorded:
            self._record_soon(relay)

    def _record_soon(self, relay: Relay) -> None:
        task = asyncio.get_running_loop().create_task(self._record(relay))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _record(self, relay: Relay) -> None:
        """Record the end, then tell it. While the database does not take it, the client knows it as unknown."""
        assert relay.end is not None  # noqa: S101  it is what this is for
        outcome, code = relay.end
        ending = Ending(relay.name, outcome, int(code))
        pause = RETRY_FIRST
        while True:
            try:
                await self._ras.store.bulk(finish, ending)
            except Refused:
                self._tell_end(relay, "unknown", Status.UNKNOWN)
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_LAST)
            except Exception:
                _LOGGER.exception("the end of a relay was not recorded")
                self._tell_end(relay, "unknown", Status.UNKNOWN)
                break
            else:
                self._tell_end(relay, outcome, code)
                break
        self._forget(relay)
        self._ras.metrics.relay_ended(outcome)

    # What the client is told.

    def _tell_end(self, relay: Relay, state: str, code: Status) -> None:
        if relay.told is None:
            relay.told = state, code
            self._tell(relay.client, relay.name, relay.from_client.last, state, code)

    def _tell_state(self, relay: Relay) -> None:
        self._tell(relay.client, relay.name, relay.from_client.last, relay.state, Status.DONE)

    def _repeat(self, client: Client, name: Name, known: Known, digest: bytes) -> None:
        """The key was used before: say where that relay is, if this is the same message. Raises Refused(EXISTS)."""
        if known.hash != digest:
            raise Refused(Status.EXISTS)
        self._tell(client, name, 0, known.state, known.code)

    def _tell(self, client: Client, name: Name, n: int, state: str, code: int) -> None:
        body = {
            "site": name[1], "lock": name[2], "key": name[3], "n": n, "state": state, "code": int(code),
        }  # fmt: skip
        client.socket.send("relay.state", body, lock=name[2])
