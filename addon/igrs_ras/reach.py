"""Whether people can reach this server at its `public_url` (docs/ras.md, "Joining").

A link that leads nowhere is worse than none: no guest is invited before a request has come in at the address that the
link would carry. That is remembered in the database, for this address.
"""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sqlalchemy import select

from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import server

if TYPE_CHECKING:
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction

PORTS = {"http": 80, "https": 443}


class Reach:
    """Looks at requests until one has come in at `public_url`."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        self._url = ras.settings.public_url
        self._place = _place(urlsplit(self._url).scheme, urlsplit(self._url).netloc)
        self._stored = False
        self.reached = False

    async def start(self) -> None:
        """Read whether it was reached before."""
        stored = await self._ras.store.read(
            lambda connection: connection.execute(select(server.c.reached)).scalar()
        )
        self.reached = self._stored = bool(self._url) and stored == self._url

    async def tick(self) -> None:
        """Remember that it was reached."""
        if self.reached and not self._stored:
            await self._ras.store.write(self._store)
            self._stored = True

    async def stop(self) -> None:
        """Remember it at the latest now."""
        await self.tick()

    def _store(self, tx: Transaction) -> None:
        tx.execute(server.update().values(reached=self._url))

    def seen(self, host: str) -> None:
        """Take note of a request from outside with this `Host`."""
        if not self.reached and self._url and self._place is not None:
            scheme = urlsplit(self._url).scheme
            self.reached = _place(scheme, host) == self._place

    def require(self) -> None:
        """Raise Refused(NOT_READY) unless people can follow a link to this server."""
        if not self._url:
            raise Refused(Status.NOT_READY, "public_url is not set")
        if not self.reached:
            raise Refused(Status.NOT_READY, "nothing has come in at public_url yet")


def _place(scheme: str, netloc: str) -> tuple[str, int] | None:
    """Return host and port of an address, or of a `Host` under a scheme; None if it is none."""
    try:
        parts = urlsplit(f"//{netloc}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or parts.path or parts.username is not None:
        return None
    return host.rstrip("."), port if port is not None else PORTS.get(scheme, 0)
