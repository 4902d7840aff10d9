"""What a lock shows now: the latest advertisement per lock, for those who follow it (clause 7.7, ILP1 section 6).

Kept in memory only, and only for locks that somebody with the remote right followed, so a gateway cannot fill it. When
the link is down the last one stays, with the gateway's own time in it: the client checks `seen` and shows the age.
"""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from sqlalchemy import Connection, select, tuple_

from igrs_ras import wire
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import grants, members, sites

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from igrs_ras.hub import Client
    from igrs_ras.link import Link
    from igrs_ras.ras import Ras
    from igrs_ras.socket import Message

FOLLOWED = 100  # locks that one socket may follow
REMEMBERED = 20_000  # states that are kept of locks that nobody follows any more
ATTEMPTS = 10  # to look up rights while others end
EVENTS_WAITING = 200  # locks of a site with an event that is not told yet

type Lock = tuple[str, str]  # site and device


class LockStateBody(wire.Body):
    """An advertisement as the gateway received it. `site` is the server's to say."""

    advertisement: str
    time: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1, description="seconds since 1970")]
    seen: str
    rssi: Annotated[int, msgspec.Meta(ge=-128, le=127)]
    site: str = ""


class LockEventBody(wire.Body):
    """The lock's log has something new."""

    counter: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class Followed(wire.Body):
    """A lock that a client follows."""

    site: wire.Id
    lock: wire.Device


class FollowBody(wire.Body):
    """All locks that a client follows from now on."""

    locks: Annotated[list[Followed], msgspec.Meta(max_length=FOLLOWED)]


class States:
    """The latest states, and who follows which lock."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        self._followers: dict[Lock, set[Client]] = {}
        self._by_site: dict[str, set[str]] = {}
        self._latest: dict[Lock, dict[str, Any]] = {}
        self._told: dict[str, float] = {}  # site → when its gateway was last told what is followed
        self._changed: set[str] = set()
        self._events: dict[str, dict[str, int]] = {}
        self._ends = 0  # how often a right ended

    async def start(self) -> None:
        """Nothing is kept over a restart."""

    async def tick(self) -> None:
        """Tell gateways whose locks' followers changed more than once within a second."""
        for site in list(self._changed):
            self._tell(site)
        for site in [
            site for site in self._told if site not in self._by_site and site not in self._changed
        ]:
            del self._told[site]

    async def stop(self) -> None:
        """Nothing to end."""

    # Clients.

    async def follow_message(self, client: Client, message: Message) -> None:
        """Follow exactly these locks. Those without the remote right, there or not, are left out of the answer."""
        wanted = {(item.site, item.lock) for item in message.read(FollowBody).locks}
        allowed = await self._allowed(client.user, wanted)
        if client not in self._ras.hub.clients_of(client.user):
            return
        locks = [{"site": site, "lock": device} for site, device in sorted(allowed)]
        client.socket.ok(message, {"locks": locks})
        new = allowed - client.follows
        self.follow(client, frozenset(allowed))
        for lock in sorted(new):
            if (state := self._latest.get(lock)) is not None:
                client.socket.send("lock.state", state, lock=lock[1], sender=f"gateway:{lock[0]}")

    async def _allowed(self, user: str, wanted: set[Lock]) -> set[Lock]:
        """Return the locks that the user may follow now: looked up again if some right ended meanwhile."""
        if not wanted:
            return set()
        for _ in range(ATTEMPTS):
            ends = self._ends
            allowed = await self._ras.store.read(
                lambda connection: granted(connection, user, wanted)
            )
            if ends == self._ends:
                return allowed
        raise Refused(Status.NOT_READY)

    def follow(self, client: Client, locks: frozenset[Lock]) -> None:
        """Make a client follow exactly these locks, whose rights were checked."""
        before, client.follows = client.follows, locks
        for lock in before - locks:
            followers = self._followers[lock]
            followers.discard(client)
            if not followers:
                del self._followers[lock]
                self._by_site[lock[0]].discard(lock[1])
                self._note(lock[0])
                self._bound()
        for lock in locks - before:
            if lock not in self._followers:
                self._by_site.setdefault(lock[0], set()).add(lock[1])
                self._note(lock[0])
            self._followers.setdefault(lock, set()).add(client)
        for site in {lock[0] for lock in before} - {lock[0] for lock in locks}:
            if not self._by_site.get(site, True):
                del self._by_site[site]

    def forget(
        self, *, user: str | None = None, site: str | None = None, device: str | None = None
    ) -> None:
        """Stop what the arguments (all of them) name from being followed: the right has ended."""
        self._ends += 1
        for lock in [
            lock
            for lock in self._followers
            if site in (None, lock[0]) and device in (None, lock[1])
        ]:
            for client in [
                client for client in self._followers.get(lock, ()) if user in (None, client.user)
            ]:
                self.follow(client, client.follows - {lock})
        if user is None:
            for lock in [
                lock
                for lock in self._latest
                if site in (None, lock[0]) and device in (None, lock[1])
            ]:
                del self._latest[lock]

    def followers_of(self, site: str) -> set[str]:
        """Return the users who follow a lock of the site."""
        return {
            client.user
            for device in self._by_site.get(site, ())
            for client in self._followers[site, device]
        }

    # Gateways.

    def link_up(self, link: Link) -> None:
        """Tell a gateway that has just connected what is followed."""
        self._tell(link.site)

    async def from_gateway(self, link: Link, message: Message) -> None:
        """Take `lock.state` or `lock.event` of a site's own lock. Raises Refused(MALFORMED)."""
        if not message.lock:
            raise Refused(Status.MALFORMED, "lock is missing")
        if message.type == "lock.state":
            self._state(link.site, message.lock, message.read(LockStateBody))
        elif message.type == "lock.event":
            self._event(link.site, message.lock, message.read(LockEventBody).counter)
        else:
            raise Refused(Status.MALFORMED, "unknown type")

    def _state(self, site: str, device: str, body: LockStateBody) -> None:
        wire.unb64(body.advertisement, 10, field="advertisement")
        wire.unb64(body.seen, 8, field="seen")
        lock = site, device
        followers = self._followers.get(lock)
        if not followers:
            return
        state = {
            "site": site,
            "advertisement": body.advertisement,
            "time": body.time,
            "seen": body.seen,
            "rssi": body.rssi,
        }
        self._latest[lock] = state
        for client in followers:
            client.socket.send("lock.state", state, lock=device, sender=f"gateway:{site}")

    def _event(self, site: str, device: str, counter: int) -> None:
        """Remember the newest event per lock and tell it with one look into the database at a time for each site."""
        waiting = self._events.get(site)
        if waiting is None:
            self._events[site] = {device: counter}
            self._ras.hub.spawn(self._tell_events(site))
        elif device in waiting or len(waiting) < EVENTS_WAITING:
            waiting[device] = counter

    async def _tell_events(self, site: str) -> None:
        try:
            while waiting := self._events[site]:
                device, counter = next(iter(waiting.items()))
                del waiting[device]
                ends = self._ends
                try:
                    users = await self._ras.store.read(
                        lambda connection: holders(connection, site, device)  # noqa: B023  used at once
                    )
                except Refused:
                    return  # without the database nobody can be said to have the right
                if ends != self._ends:
                    waiting.setdefault(device, counter)  # some right ended meanwhile: look again
                    continue
                for user in users:
                    for client in self._ras.hub.clients_of(user):
                        client.socket.send(
                            "lock.event",
                            {"site": site, "counter": counter},
                            lock=device,
                            sender=f"gateway:{site}",
                        )
        finally:
            del self._events[site]

    # What is followed.

    def _note(self, site: str) -> None:
        """Tell the gateway in this turn of the loop, at most once a second."""
        if site in self._changed:
            return
        self._changed.add(site)
        if self._ras.clock.monotonic() - self._told.get(site, -1.0e9) >= 1:
            asyncio.get_running_loop().call_soon(self._tell, site)

    def _tell(self, site: str) -> None:
        self._changed.discard(site)
        link = self._ras.gateways.link_of(site)
        if link is not None:
            self._told[site] = self._ras.clock.monotonic()
            link.send("lock.follow", {"locks": sorted(self._by_site.get(site, ()))})

    def _bound(self) -> None:
        if len(self._latest) - len(self._followers) > REMEMBERED:
            for lock in [lock for lock in self._latest if lock not in self._followers]:
                del self._latest[lock]


def granted(connection: Connection, user: str, locks: Iterable[Lock]) -> set[Lock]:
    """Return those locks to which the user has the remote right as an active member of a site that is not suspended."""
    rows = connection.execute(
        select(grants.c.site, grants.c.device)
        .join(members, (members.c.site == grants.c.site) & (members.c.user == grants.c.user))
        .join(sites, sites.c.id == grants.c.site)
        .where(
            grants.c.user == user,
            tuple_(grants.c.site, grants.c.device).in_(list(locks)),
            members.c.state == "active",
            sites.c.suspended.is_(False),
        )
    )
    return {(row.site, row.device) for row in rows}


def holders(connection: Connection, site: str, device: str) -> Sequence[str]:
    """Return the users with the remote right to a lock."""
    return (
        connection.execute(
            select(grants.c.user)
            .join(members, (members.c.site == grants.c.site) & (members.c.user == grants.c.user))
            .join(sites, sites.c.id == grants.c.site)
            .where(
                grants.c.site == site,
                grants.c.device == device,
                members.c.state == "active",
                sites.c.suspended.is_(False),
            )
        )
        .scalars()
        .all()
    )
