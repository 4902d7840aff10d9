"""`lock.prewarm`: a client that will relay soon lets the gateway connect to the lock beforehand (ILP1 section 6)."""

from typing import TYPE_CHECKING

from igrs_ras import wire
from igrs_ras.relay_rows import may_relay
from igrs_ras.status import Refused, Status
from igrs_ras.window import Window

if TYPE_CHECKING:
    from igrs_ras.hub import Client
    from igrs_ras.ras import Ras
    from igrs_ras.socket import Message

CONNECTED = 9.0  # seconds for which the gateway holds the connection
AN_HOUR = 6  # of one user for one lock, without a relay that follows
WARMING = 10_000  # locks


class PrewarmBody(wire.Body):
    """The lock."""

    site: wire.Id
    lock: wire.Device


class Prewarm:
    """Passes the wish on, seldom enough for the lock's battery."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        self._unused = Window(ras.clock, AN_HOUR, 3600)
        self._warm: dict[tuple[str, str], float] = {}  # site and device → until when

    async def ask(self, client: Client, message: Message) -> None:
        """Pass a client's wish on and answer it. Raises Refused."""
        body = message.read(PrewarmBody)
        wanted = client.user, body.site, body.lock
        if not await self._ras.store.read(lambda connection: may_relay(connection, [wanted])):
            raise Refused(Status.NOT_FOUND)
        link = self._ras.gateways.link_of(body.site)
        if link is None:
            raise Refused(Status.GATEWAY_OFFLINE)
        now = self._ras.clock.monotonic()
        self._warm = {lock: until for lock, until in self._warm.items() if until > now}
        if (body.site, body.lock) in self._warm or len(self._warm) >= WARMING:
            raise Refused(Status.LOCK_BUSY)
        if not self._unused.take(_key(*wanted)):
            raise Refused(Status.SLOW_DOWN)
        self._warm[body.site, body.lock] = now + CONNECTED
        link.send("lock.prewarm", {"lock": body.lock, "user": client.user}, lock=body.lock)
        client.socket.ok(message)

    def used(self, user: str, site: str, device: str) -> None:
        """A relay followed: the user's next ones count anew."""
        self._unused.clear(_key(user, site, device))


def _key(user: str, site: str, device: str) -> str:
    return f"{user} {site} {device}"
