"""Who is connected, and how durable events (clause 7.7) reach them: without gaps, without doubles, in order.

An event is a row with a dense number per recipient. After its commit it goes over the bus to every process that may
hold the recipient's sockets; here that is this one. A second bus (for several nodes) implements `Bus.publish` so that
each node's `Hub.deliver` is called, late or more than once or not at all: a Feed sends an event only if it is the next
one, and reads what it missed from the database.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import Connection, bindparam, delete, func, select

from igrs_ras.socket import RESTART, REVOKED, SIGN_IN, TOO_MANY, Socket, Sockets
from igrs_ras.status import Refused
from igrs_ras.storage.heads import EVENT_LIFE_MS
from igrs_ras.storage.tables import events, recipients, server, sessions, sites

if TYPE_CHECKING:
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction

_LOGGER = logging.getLogger(__name__)

KEPT = 1000  # events kept for a recipient at most
PAGE = 50  # events read at once for somebody who was away
SESSIONS_SECONDS = 30.0  # between two looks whether the sessions of open sockets still hold
OLD_SECONDS = 3600.0  # between two removals of events older than 7 days


@dataclass(frozen=True, slots=True)
class Event:
    """A committed durable event."""

    recipient: str  # "user:<id>" or "gateway:<site>"
    seq: int
    envelope: bytes


class Bus(Protocol):
    """Carries committed events to the processes that hold sockets."""

    def publish(self, event: Event) -> None:
        """Have `Hub.deliver` called wherever the recipient may be connected. Never waits."""


class LocalBus:
    """The bus of a server that is one process: a function call."""

    def __init__(self, deliver: Callable[[Event], None]) -> None:
        self._deliver = deliver

    def publish(self, event: Event) -> None:
        """Deliver in this process."""
        self._deliver(event)


class Feed:
    """One recipient's durable events over one socket. It holds no events: what it missed it reads again."""

    __slots__ = (
        "_missed", "_place", "_ras", "_reading", "_sent", "generation", "recipient", "socket",
    )  # fmt: skip

    def __init__(self, ras: Ras, socket: Socket, recipient: str) -> None:
        self.recipient = recipient
        self.socket = socket
        self.generation = 0
        self._ras = ras
        self._sent: int | None = (
            None  # the last number that went out; None until the peer said where it is
        )
        self._place = 0  # how often the peer said where it is
        self._reading = False
        self._missed = False

    async def cursor(self) -> tuple[int, int]:
        """Return the recipient's generation and last number, as `hello` and `welcome` tell them."""
        self.generation, seq = await self._ras.store.read(
            lambda connection: _cursor(connection, self.recipient)
        )
        return self.generation, seq

    async def locate(
        self, generation: int, seq: int, lost: Callable[[], Awaitable[None]] | None = None
    ) -> bool:
        """Take the peer's cursor; False if not all events after it are there, then the cursor is the newest event's.

        `catch_up` is called next, after the peer was told. `lost` is done before that is settled, so that a peer for
        which it failed asks again.
        """
        self._sent = None
        self._place += 1
        newest = await self._ras.store.read(
            lambda connection: _lacking(connection, self.recipient, generation, seq)
        )
        if newest is not None:
            if lost is not None:
                await lost()
            self.generation, seq = newest
        else:
            self.generation = generation
        self._sent = seq
        return newest is None

    @property
    def sent(self) -> int:
        """The last number that went out, or the peer's own."""
        return self._sent or 0

    def offer(self, event: Event) -> None:
        """Take a committed event from the hub: send it if it is the next one, never twice."""
        if self._sent is None or event.seq <= self._sent:
            return
        if self._reading:
            self._missed = True
        elif event.seq == self._sent + 1:
            self._sent = event.seq
            self.socket.send_raw(event.envelope)
        else:
            # The bus lost one.
            self._ras.hub.spawn(self.catch_up())

    async def ack(self, seq: int) -> None:
        """Forget a recipient's events up to a number that it was sent; for gateways, which have one socket."""
        until = min(seq, self._sent or 0)

        def job(tx: Transaction) -> None:
            tx.execute(
                delete(events).where(events.c.recipient == self.recipient, events.c.seq <= until)
            )

        await self._ras.store.write(job)

    async def catch_up(self) -> None:
        """Send all events after the cursor, as fast as the peer takes them; those that are committed now come after."""
        if self._reading or self._sent is None:
            return
        self._reading = True
        try:
            while self.socket.closed is None and self._sent is not None:
                self._missed = False
                place = self._place
                page = await self._ras.store.read(
                    partial(_page, recipient=self.recipient, after=self._sent)
                )
                if place != self._place:
                    continue  # the peer is somewhere else now
                for seq, envelope in page:
                    self._sent = seq
                    self.socket.send_raw(envelope)
                if not page and not self._missed:
                    break
                await self.socket.drain()
        finally:
            self._reading = False


class Client:
    """A signed-in user's push socket, as others may act on it."""

    __slots__ = ("feed", "follows", "session", "socket", "user")

    def __init__(self, socket: Socket, feed: Feed, user: str, session: str) -> None:
        self.socket = socket
        self.feed = feed
        self.user = user
        self.session = session
        self.follows: frozenset[tuple[str, str]] = frozenset()  # (site, device), each checked


class Hub:
    """All sockets of this process, and the way of events to them."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        self.sockets = Sockets(ras.clock, ras.settings.sockets)
        self.bus: Bus = LocalBus(self.deliver)
        self._clients: dict[str, list[Client]] = {}
        self._feeds: dict[str, list[Feed]] = {}
        self._full: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_sessions = 0.0
        self._next_old = 0.0

    async def start(self) -> None:
        """Take the store's committed events."""
        self._ras.store.on_events = self._committed

    async def stop(self) -> None:
        """Close what is still open."""
        await self.sockets.stop(RESTART)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def tick(self) -> None:
        """Close the silent and those whose session ended; remove old events."""
        self.sockets.sweep()
        now = self._ras.clock.monotonic()
        if now >= self._next_sessions:
            self._next_sessions = now + SESSIONS_SECONDS
            await self._check_sessions()
        full, self._full = self._full, {}
        if full:
            await self._ras.store.write(lambda tx: _cut(tx, full))
        if now >= self._next_old:
            self._next_old = now + OLD_SECONDS
            await self._ras.store.write(_cut_old)

    # Sockets.

    def add(self, client: Client) -> None:
        """Take in a client. The user's oldest socket gives way when there are too many: it may be a dead one."""
        clients = self._clients.setdefault(client.user, [])
        clients.append(client)
        self.attach(client.feed)
        if len(clients) > self._ras.settings.sockets_per_user:
            oldest = clients[0]
            self.remove(oldest)
            oldest.socket.close(TOO_MANY)

    def remove(self, client: Client) -> None:
        """Forget a client whose socket ended. Its follows and relays end with it."""
        clients = self._clients.get(client.user, [])
        if client not in clients:
            return
        clients.remove(client)
        if not clients:
            del self._clients[client.user]
        self.detach(client.feed)
        self._ras.states.follow(client, frozenset())
        self._ras.relay.client_gone(client)

    def attach(self, feed: Feed) -> None:
        """Offer a recipient's events to a feed from now on."""
        self._feeds.setdefault(feed.recipient, []).append(feed)

    def detach(self, feed: Feed) -> None:
        """Offer no more."""
        feeds = self._feeds.get(feed.recipient, [])
        if feed in feeds:
            feeds.remove(feed)
            if not feeds:
                del self._feeds[feed.recipient]

    def clients_of(self, user: str) -> Sequence[Client]:
        """Return a user's sockets, the oldest first."""
        return self._clients.get(user, ())

    def users(self) -> Iterable[str]:
        """Return the users who are connected."""
        return self._clients.keys()

    @property
    def clients(self) -> int:
        """How many push sockets are open."""
        return sum(map(len, self._clients.values()))

    def close_user(self, user: str, session: str | None = None, code: int = SIGN_IN) -> None:
        """Close a user's sockets, or those of one session, at once."""
        for client in list(self.clients_of(user)):
            if session is None or client.session == session:
                self.remove(client)
                client.socket.close(code)

    def close_site(self, site: str, code: int = REVOKED) -> None:
        """End all that runs for a site: its relays, what is followed, its gateway's link. People stay connected."""
        self._ras.relay.end_for(site=site)
        self._ras.states.forget(site=site)
        for feed in list(self._feeds.get(f"gateway:{site}", ())):
            feed.socket.close(code)

    def users_of(self, site: str) -> set[str]:
        """Return the connected users who follow a lock of the site."""
        return self._ras.states.followers_of(site)

    def close_all(self, code: int) -> None:
        """Close every socket."""
        self.sockets.close_all(code)

    def closers(self, code: int) -> list[Callable[[], None]]:
        """Return a function for each client's socket that closes it."""
        return [
            lambda socket=client.socket: socket.close(code)  # type: ignore[misc]  # its own socket for each
            for clients in self._clients.values()
            for client in clients
        ]

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background that ends with the server. That the database is not there is no fault of it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, Refused):
            _LOGGER.error("work in the background failed", exc_info=error)

    # Events.

    def _committed(self, committed: Sequence[tuple[str, int, bytes]]) -> None:
        for recipient, seq, envelope in committed:
            if seq > KEPT:
                self._full[recipient] = seq - KEPT
            self.bus.publish(Event(recipient, seq, envelope))

    def deliver(self, event: Event) -> None:
        """Hand an event to the recipient's sockets. Called by the bus."""
        for feed in self._feeds.get(event.recipient, ()):
            feed.offer(event)

    async def holds(self, session: str) -> bool:
        """Tell whether a session is still good."""
        now = self._ras.clock.now_ms()
        return bool(
            await self._ras.store.read(lambda connection: _held(connection, [session], now))
        )

    async def _check_sessions(self) -> None:
        open_ = {client.session for clients in self._clients.values() for client in clients}
        if not open_:
            return
        now = self._ras.clock.now_ms()
        held = await self._ras.store.read(lambda connection: _held(connection, sorted(open_), now))
        for clients in list(self._clients.values()):
            for client in list(clients):
                if client.session in open_ and client.session not in held:
                    self.remove(client)
                    client.socket.close(SIGN_IN)


def _cursor(connection: Connection, recipient: str) -> tuple[int, int]:
    row = connection.execute(
        select(recipients.c.generation, recipients.c.seq).where(recipients.c.name == recipient)
    ).first()
    if row is not None:
        return row.generation, row.seq
    # The row is made with the first event.
    kind, _, identifier = recipient.partition(":")
    statement = select(server.c.generation)
    if kind == "gateway":
        statement = select(sites.c.generation).where(sites.c.id == identifier)
    return connection.execute(statement).scalar_one(), 0


def _lacking(
    connection: Connection, recipient: str, generation: int, seq: int
) -> tuple[int, int] | None:
    """Return the present cursor if not every event after the given one is there."""
    present, last = _cursor(connection, recipient)
    first = connection.execute(
        select(func.min(events.c.seq)).where(events.c.recipient == recipient)
    ).scalar()
    oldest = last + 1 if first is None else first
    if generation != present or seq > last or seq + 1 < oldest:
        return present, last
    return None


def _page(connection: Connection, recipient: str, after: int) -> list[tuple[int, bytes]]:
    rows = connection.execute(
        select(events.c.seq, events.c.envelope)
        .where(events.c.recipient == recipient, events.c.seq > after)
        .order_by(events.c.seq)
        .limit(PAGE)
    )
    return [(row.seq, bytes(row.envelope)) for row in rows]


def _held(connection: Connection, identifiers: Sequence[str], now: int) -> set[str]:
    held: set[str] = set()
    for start in range(0, len(identifiers), 500):
        rows = connection.execute(
            select(sessions.c.id).where(
                sessions.c.id.in_(identifiers[start : start + 500]),
                sessions.c.full.is_(True),
                sessions.c.expires > now,
            )
        )
        held.update(rows.scalars())
    return held


def _cut(tx: Transaction, full: dict[str, int]) -> None:
    tx.execute(
        delete(events).where(
            events.c.recipient == bindparam("b_recipient"), events.c.seq <= bindparam("b_seq")
        ),
        [{"b_recipient": recipient, "b_seq": seq} for recipient, seq in full.items()],
    )


def _cut_old(tx: Transaction) -> None:
    tx.execute(delete(events).where(events.c.time < tx.now - EVENT_LIFE_MS))
