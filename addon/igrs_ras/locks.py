"""Locks (BSLD) of a site: discovery and authentication, registration, removal (clauses 7.3 to 7.5).

A device identifier is visible on the air, so it proves nothing: a lock is registered only by the credential of its site's
gateway, and only when that gateway, which holds the lock's key, says that the advertisement's tag is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, select

from igrs_ras import wire
from igrs_ras.members import remove_lock
from igrs_ras.sites import add_locks
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import gateways, grants, locks, members, sites
from igrs_ras.window import Window
from igrs_ras.wire import Body

if TYPE_CHECKING:
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction

ADVERTISEMENT = 10  # bytes (ILP1 section 2)
ASK_SECONDS = 3.0
A_MINUTE = 10, 60.0


class Authentic(Body):
    """A gateway's answer: is the tag right under this device's key?"""

    re: str
    authentic: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What 7.3 says of a device. `registered`: at the caller's own site; another site's device looks free."""

    registered: bool
    authentic: bool


class Authentications:
    """Asks gateways for the tag check, 10 times a minute for each caller and for each lock."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        self._callers = Window(ras.clock, *A_MINUTE)
        self._locks = Window(ras.clock, *A_MINUTE)

    async def check(self, caller: str, site: str, device: str, advertisement: bytes) -> bool:
        """Return whether the site's gateway finds the advertisement's tag right.

        Raises Refused: SLOW_DOWN; GATEWAY_OFFLINE; OUT_OF_REACH if it says nothing within 3 s; what it refuses with.
        """
        lock = f"{site} {device}"
        if self._callers.full(caller) or self._locks.full(lock):
            raise Refused(Status.SLOW_DOWN, retry_after=60)
        self._callers.add(caller)
        self._locks.add(lock)
        link = self._ras.gateways.link_of(site)
        if link is None:
            raise Refused(Status.GATEWAY_OFFLINE)
        answer = await link.ask(
            "lock.authenticate",
            {"device": device, "advertisement": wire.b64(advertisement)},
            ASK_SECONDS,
        )
        try:
            return wire.convert(answer.body, Authentic).authentic
        except Refused as refused:
            # The fault is the gateway's, not the caller's.
            raise Refused(Status.FAILED) from refused

    async def authenticate(
        self, caller: str, site: str, device: str, advertisement: bytes
    ) -> Found:
        """Say whether a device is registered at this site and whether its gateway knows it (7.3). Raises as `check`."""
        registered = await self._ras.store.read(
            lambda connection: _present(connection, site, device) is not None
        )
        return Found(registered, await self.check(caller, site, device, advertisement))

    async def register(
        self, gateway: str, site: str, device: str, capabilities: int, advertisement: bytes
    ) -> None:
        """Register a lock at its gateway's site (7.4).

        Raises Refused: EXISTS; REFUSED_BY_LOCK if the tag is not right; as `check`.
        """

        def absent(connection: Connection) -> None:
            if _present(connection, site, device) is not None:
                raise Refused(Status.EXISTS)

        await self._ras.store.read(absent)
        if not await self.check(gateway, site, device, advertisement):
            raise Refused(Status.REFUSED_BY_LOCK)

        def job(tx: Transaction) -> None:
            _still_gateway(tx, gateway)
            absent(tx.connection)
            add_locks(tx, site, {device: capabilities})

        await self._ras.store.write(job)

    async def remove(self, gateway: str, site: str, device: str) -> None:
        """Remove a lock (7.5). Raises Refused(NOT_FOUND)."""

        def job(tx: Transaction) -> None:
            _still_gateway(tx, gateway)
            if not remove_lock(self._ras, tx, site, device):
                raise Refused(Status.NOT_FOUND)

        await self._ras.store.write(job)


def _still_gateway(tx: Transaction, gateway: str) -> None:
    """Refuse (11) what a gateway asked that was revoked while it waited."""
    active = gateways.c.id == gateway, gateways.c.revoked.is_(None)
    if tx.execute(select(gateways.c.id).where(*active)).first() is None:
        raise Refused(Status.SIGN_IN)


def _present(connection: Connection, site: str, device: str) -> Row[Any] | None:
    return connection.execute(
        select(locks).where(locks.c.site == site, locks.c.device == device)
    ).first()


def locks_of_user(connection: Connection, user: str) -> Sequence[Row[Any]]:
    """Return the locks to which a user has the remote right: site, device, capabilities."""
    return connection.execute(
        select(grants.c.site, grants.c.device, locks.c.capabilities)
        .join(members, (members.c.site == grants.c.site) & (members.c.user == grants.c.user))
        .join(locks, (locks.c.site == grants.c.site) & (locks.c.device == grants.c.device))
        .join(sites, sites.c.id == grants.c.site)
        .where(grants.c.user == user, members.c.state == "active", sites.c.suspended.is_(False))
        .order_by(grants.c.site, grants.c.device)
        .limit(1000)
    ).all()
