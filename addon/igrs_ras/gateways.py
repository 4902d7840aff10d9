"""Gateways: who is connected, their handshake, revocation, and copies of a stolen key (docs/ras.md, "Gateways")."""

import hashlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web
from sqlalchemy import Connection, Row, select

from igrs_ras import wire
from igrs_ras.api.route import Principal, Who
from igrs_ras.identity import verified
from igrs_ras.link import PROTOCOL, Auth, Link, signed_bytes
from igrs_ras.locks import Authentications
from igrs_ras.members import owners, recipient_of_user
from igrs_ras.socket import (
    COPY,
    MALFORMED,
    NOT_READY_CODE,
    REVOKED,
    SIGN_IN,
    SLOW,
    TOO_MANY,
    Socket,
    accept,
)
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import gateways, sites
from igrs_ras.window import Window

if TYPE_CHECKING:
    from igrs_ras.proof import Proof
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction

_LOGGER = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 10.0
HANDSHAKES = 1024  # at once; each ends after 10 s
HANDSHAKES_OF_ADDRESS = 32
ADMINS_SECONDS = 300.0  # for how long a home's admins are believed after its link went down
REPORTS = 1, 3600.0  # owners hear of a copy, or of a false checkpoint, at most once an hour
# What one site may do, over all its connections: each leaves a row or an audit entry, which are kept.
CONNECTIONS = 60, 60.0
CHANGES = 600, 600.0  # messages of each type


@dataclass(eq=False, slots=True)
class _Greeting:
    """A socket in its handshake. `link`: once the gateway has proved itself."""

    socket: Socket
    address: str
    until: float
    link: Link | None = None


@dataclass(frozen=True, slots=True)
class _Connected:
    """What became of a handshake: the code with which to close, or the site as the gateway finds it."""

    code: int | None = None
    generation: int = 0
    suspended: bool = False


class Gateways:
    """All links of this server. One per site: the newest."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        self._links: dict[str, Link] = {}
        self._tokens: dict[bytes, Link] = {}
        self._greetings: set[_Greeting] = set()
        self._went: dict[
            str, tuple[float, list[str]]
        ] = {}  # site → when its link ended, its admins
        self._reports = Window(ras.clock, *REPORTS)
        self._connections = Window(ras.clock, *CONNECTIONS)
        self.changes = Window(ras.clock, *CHANGES)
        self.authentications = Authentications(ras)

    async def start(self) -> None:
        """Nothing to begin."""

    async def stop(self) -> None:
        """Close all links."""
        self.close_all(1012)

    async def tick(self) -> None:
        """End handshakes that take too long; forget admins of homes that are gone."""
        now = self._ras.clock.monotonic()
        for greeting in list(self._greetings):
            if greeting.until <= now:
                greeting.socket.close(SLOW)
        for site, (when, _) in list(self._went.items()):
            if now - when > ADMINS_SECONDS:
                del self._went[site]

    # What others ask.

    def link_of(self, site: str) -> Link | None:
        """Return the open link of a site's gateway; None if it is not connected."""
        link = self._links.get(site)
        return link if link is not None and link.welcomed and link.open else None

    @property
    def connected(self) -> int:
        """How many gateways are connected."""
        return len(self._links)

    def admins(self, site: str) -> list[str]:
        """Return the users of Home Assistant whom the site's local home named admins; nobody 5 minutes after it left."""
        link = self._links.get(site)
        if link is not None:
            return link.admins
        when, admins = self._went.get(site, (0.0, []))
        return admins if self._ras.clock.monotonic() - when <= ADMINS_SECONDS else []

    def resolve(self, token: str) -> Principal | None:
        """Return the gateway of an HTTP token, as long as the link for which it was made is open."""
        # A header may hold bytes that are no UTF-8: no token, but no fault either.
        digest = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        link = self._tokens.get(digest)
        if link is None or not link.has_token(digest):
            return None
        return Principal(Who.GATEWAY, site=link.site, gateway=link.gateway)

    def new_token(self, link: Link) -> tuple[str, int]:
        """Return a link's next HTTP token and when it ends (ms)."""
        for digest in link.token_digests():
            self._tokens.pop(digest, None)
        token, expires = link.new_token()
        self._tokens.update(dict.fromkeys(link.token_digests(), link))
        return token, expires

    def close_all(self, code: int) -> None:
        """Close every gateway's socket."""
        for close in self.closers(code):
            close()

    def close_links(self, code: int) -> None:
        """Close the links, not those that are in their handshake."""
        for link in list(self._links.values()):
            link.close(code)

    def closers(self, code: int) -> list[Callable[[], None]]:
        """Return a function for each socket that closes it."""
        closing: list[Callable[[], None]]
        closing = [partial(link.close, code) for link in self._links.values()]
        return closing + [partial(greeting.socket.close, code) for greeting in self._greetings]

    # Revocation.

    async def revoke(self, gateway: str) -> None:
        """Revoke a gateway for good. Raises Refused(NOT_FOUND)."""

        def job(tx: Transaction) -> None:
            site = tx.execute(
                select(gateways.c.site).where(
                    gateways.c.id == gateway, gateways.c.revoked.is_(None)
                )
            ).scalar()
            if site is None:
                raise Refused(Status.NOT_FOUND)
            self.revoke_site(tx, site)

        await self._ras.store.write(job)

    def revoke_site(self, tx: Transaction, site: str) -> None:
        """Revoke a site's active gateway, if it has one, in a job: its link closes with 4403, its relays end."""
        rows = tx.execute(
            select(gateways.c.id).where(gateways.c.site == site, gateways.c.revoked.is_(None))
        ).all()
        for row in rows:
            tx.execute(gateways.update().where(gateways.c.id == row.id).values(revoked=tx.now))
            tx.audit(site, "gateway.revoked", gateway=row.id)
            tx.after(partial(self._drop, row.id, site))

    def _drop(self, gateway: str, site: str) -> None:
        self._ras.boot.note_revoked(gateway)
        link = self._links.get(site)
        if link is not None and link.gateway == gateway:
            link.admins = []
            link.close(REVOKED)
        self._went.pop(site, None)

    # The socket.

    async def serve(self, request: web.Request, address: str) -> web.StreamResponse:
        """Begin a gateway's socket. Raises Refused before the upgrade."""
        if len(self._greetings) >= HANDSHAKES or (
            address
            and sum(greeting.address == address for greeting in self._greetings)
            >= HANDSHAKES_OF_ADDRESS
        ):
            raise Refused(Status.NOT_READY, retry_after=10)
        return await accept(self._ras, request, PROTOCOL, partial(self._run, address))

    async def _run(self, address: str, socket: Socket) -> None:
        """Serve a gateway's socket from its handshake to its end."""
        until = self._ras.clock.monotonic() + HANDSHAKE_SECONDS
        greeting = _Greeting(socket, address, until)
        self._greetings.add(greeting)
        try:
            link = await self._handshake(greeting)
            self._greetings.discard(greeting)
            if link is not None:
                await link.run()
        except Refused as refused:
            socket.close(MALFORMED if refused.status is Status.MALFORMED else NOT_READY_CODE)
        finally:
            self._greetings.discard(greeting)
            if greeting.link is not None:
                self._detach(greeting.link)

    async def _handshake(self, greeting: _Greeting) -> Link | None:
        """Prove both sides; return the link, or None after closing the socket. Raises Refused."""
        ras, socket = self._ras, greeting.socket
        public = ras.identity.public
        nonce = secrets.token_bytes(32)
        hello = {"server_key": wire.b64(public), "nonce": wire.b64(nonce)}
        socket.send("hello", hello | {"time": ras.clock.now_ms()})
        message = await socket.receive()
        if message is None:
            return None
        if message.type != "auth":
            raise Refused(Status.MALFORMED)
        auth = message.read(Auth)
        own_nonce = wire.unb64(auth.nonce, 32, field="nonce")
        signature = wire.unb64(auth.signature, 64, field="signature")
        row = await ras.store.read(lambda connection: _row(connection, auth.gateway))
        signed = signed_bytes(public, nonce, auth.gateway, own_nonce, auth.n)
        if row is None or not verified(bytes(row.public_key), signed, signature):
            socket.close(SIGN_IN)
            return None
        if not self._connections.take(auth.gateway):
            socket.close(TOO_MANY)
            return None
        proof = auth.checkpoint.read(row.site) if auth.checkpoint is not None else None
        believed = proof is None or proof.is_signed(public)
        link = Link(ras, socket, auth.gateway, row.site, auth.n, local=row.local)
        key = bytes(row.public_key)
        connected = await ras.store.write(
            lambda tx: self._connect(tx, greeting, link, key, proof, believed=believed)
        )
        if connected.code is not None:
            socket.close(connected.code)
            return None
        link.generation = connected.generation
        event_generation, seq = await link.feed.cursor()
        token, expires = self.new_token(link)
        link.send(
            "welcome",
            {
                "signature": wire.b64(ras.identity.sign(b"IGRS server 1\0" + signed)),
                "token": token,
                "token_expires": expires,
                "site": link.site,
                "generation": connected.generation,
                "events": {"generation": event_generation, "seq": seq},
                "restored": connected.suspended,
                "public_url": ras.settings.public_url,
                "reached": ras.reach.reached,
                "time": ras.clock.now_ms(),
            },
        )
        link.welcomed = True
        ras.states.link_up(link)
        return link

    def _connect(
        self,
        tx: Transaction,
        greeting: _Greeting,
        link: Link,
        key: bytes,
        proof: Proof | None,
        *,
        believed: bool,
    ) -> _Connected:
        """Take the connection's number, once; restore the server if it is proven to be behind. A job of the writer.

        The link becomes the site's own right after the commit, so that a revocation that is committed later finds it.
        """
        taken = tx.execute(
            gateways.update()
            .where(
                gateways.c.id == link.gateway,
                gateways.c.revoked.is_(None),
                gateways.c.public_key == key,
                gateways.c.n < link.n,
            )
            .values(n=link.n, seen=tx.now)
        )
        row = _row(tx.connection, link.gateway)
        if row is None or bytes(row.public_key) != key:
            return _Connected(SIGN_IN)
        if row.revoked is not None:
            return _Connected(REVOKED)
        if taken.rowcount == 0:
            self._report_copy(tx, row.site, link.gateway)
            return _Connected(COPY)
        if not believed:
            self._report_false(tx, row.site, link.gateway)
            return _Connected(MALFORMED)
        if proof is not None and proof.contradicts(tx.connection, row.site, row.generation):
            self._ras.boot.proven(tx, proof.generation)
            row = _row(tx.connection, link.gateway)
            if row is None or row.revoked is not None:
                return _Connected(REVOKED)
        tx.after(partial(self._attach, greeting, link))
        return _Connected(None, row.generation, row.suspended)

    def _report_copy(self, tx: Transaction, site: str, gateway: str) -> None:
        """Tell that the right key came with a number that was used: a copy of the key, or of the whole gateway."""
        if not self._reports.take(f"{gateway} copy"):
            return
        tx.audit(site, "gateway.copy", gateway=gateway)
        for owner in owners(tx, site):
            tx.push(recipient_of_user(owner), "account", {"what": "gateway_copy", "site": site})
        tx.after(
            lambda: _LOGGER.warning("a gateway's key is used twice", extra={"gateway": gateway})
        )

    def _report_false(self, tx: Transaction, site: str, gateway: str) -> None:
        """Tell that a gateway showed a checkpoint that this server never signed for its site: nothing follows from it."""
        if not self._reports.take(f"{gateway} false"):
            return
        tx.audit(site, "gateway.false_checkpoint", gateway=gateway)
        for owner in owners(tx, site):
            body = {"what": "gateway_false_checkpoint", "site": site}
            tx.push(recipient_of_user(owner), "account", body)
        tx.after(
            lambda: _LOGGER.warning(
                "a gateway shows a checkpoint that this server did not sign",
                extra={"gateway": gateway},
            )
        )

    def _attach(self, greeting: _Greeting, link: Link) -> None:
        """Make a link the site's own. The newest wins: an older one is closed."""
        greeting.link = link
        old = self._links.get(link.site)
        if old is not None:
            _LOGGER.info("a gateway's newer link takes over", extra={"gateway": link.gateway})
            old.close(COPY)
            self._detach(old)
        self._links[link.site] = link
        self._went.pop(link.site, None)
        self._ras.hub.attach(link.feed)

    def _detach(self, link: Link) -> None:
        """Forget a link that ended, with its tokens; relays over it end."""
        for digest in link.token_digests():
            self._tokens.pop(digest, None)  # also one that was made after a newer link took over
        if self._links.get(link.site) is not link:
            return
        del self._links[link.site]
        if link.admins:
            self._went[link.site] = self._ras.clock.monotonic(), link.admins
        link.ended()
        self._ras.hub.detach(link.feed)
        self._ras.relay.gateway_gone(link.site)


def _row(connection: Connection, gateway: str) -> Row[Any] | None:
    return connection.execute(
        select(gateways, sites.c.generation, sites.c.suspended)
        .join(sites, sites.c.id == gateways.c.site)
        .where(gateways.c.id == gateway)
    ).first()
