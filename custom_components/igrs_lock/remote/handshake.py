"""How a link begins: both sides prove their keys before anything is said (docs/ras.md, "Handshake")."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import aiohttp

from .errors import CertificateWrong, NotAServer, NotReady, Unreachable
from .http import read_public_url
from .wire import (
    INT_MAX,
    CloseCode,
    Malformed,
    Message,
    Reader,
    RemoteError,
    RemoteNotSaved,
    ulid,
)

if TYPE_CHECKING:
    from .clock import ServerClock
    from .identity import GatewayIdentity
    from .store import RemoteStore

_LOGGER = logging.getLogger(__name__)

TIMEOUT: Final = 10.0
_LIFE_MIN: Final = 60.0
_LIFE_MAX: Final = 3600.0


class Down(StrEnum):
    """Why there is no link."""

    STOPPED = "stopped"
    """It is not wanted: switched off, or Home Assistant stops."""
    LOST = "lost"
    """It ended without a reason, or was silent for 30 seconds."""
    RESTARTING = "restarting"
    """The server stops or starts, or is not ready."""
    UNREACHABLE = "unreachable"
    """Nothing answers at the address."""
    TLS = "tls"
    """The certificate does not prove the name."""
    NOT_A_SERVER = "not_a_server"
    """What answers does not speak the gateway's protocol."""
    KEY_CHANGED = "key_changed"
    """The server has, or proved, another key than the one that this home stored."""
    REFUSED = "refused"
    """The server does not know this home's gateway, or its key."""
    REVOKED = "revoked"
    """The server revoked this home's gateway. No connection by itself."""
    COPY = "copy"
    """Somebody else uses this home's key. No connection by itself, also after a restart."""
    FALSE_CHECKPOINT = "false_checkpoint"
    """The server did not sign what this home stored as signed. No connection by itself."""
    NOT_SAVED = "not_saved"
    """The connection's number could not be stored on disk, so none was made."""

    @property
    def final(self) -> bool:
        """Whether no connection is made by itself any more."""
        return self in (Down.STOPPED, Down.REVOKED, Down.COPY, Down.FALSE_CHECKPOINT)

    @classmethod
    def of_code(cls, code: int | None) -> Down:
        """Return what the close of a link means."""
        return _CODES.get(code or 0, cls.LOST)

    @classmethod
    def of_error(cls, error: RemoteError) -> Down:
        """Return why nothing was connected."""
        for kind, down in _ERRORS:
            if isinstance(error, kind):
                return down
        return cls.LOST


_CODES: Final[dict[int, Down]] = {
    CloseCode.RESTART: Down.RESTARTING,
    CloseCode.NOT_READY: Down.RESTARTING,
    CloseCode.REVOKED: Down.REVOKED,
    CloseCode.COPY: Down.COPY,
}
_ERRORS: Final[tuple[tuple[type[RemoteError], Down], ...]] = (
    (CertificateWrong, Down.TLS),
    (NotReady, Down.RESTARTING),
    (NotAServer, Down.NOT_A_SERVER),
    (Unreachable, Down.UNREACHABLE),
    (RemoteNotSaved, Down.NOT_SAVED),
)


class Ended(Exception):  # noqa: N818  an end, not a fault
    """The connection was ended before it was a link."""

    def __init__(self, down: Down) -> None:
        super().__init__(down)
        self.down = down


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the server said of itself when the link was made.

    `restored`: it was put back from a copy since the last link, or still waits for this home's list.
    `public_url` is where people reach it, "" where that is unset or no address.
    """

    site: str
    generation: int
    restored: bool
    public_url: str
    reached: bool
    token: str = field(default="", repr=False)


async def greet(
    socket: aiohttp.ClientWebSocketResponse,
    identity: GatewayIdentity,
    store: RemoteStore,
    clock: ServerClock,
    began: float,
) -> tuple[Welcome, float]:
    """Prove both ends; return the welcome, and for how many seconds its token is good.

    The connection's number is stored before anything is signed. Ended, RemoteNotSaved.
    """
    try:
        async with asyncio.timeout(TIMEOUT):
            return await _greet(socket, identity, store, clock, began)
    except Malformed as err:
        _LOGGER.debug("The server's greeting: %s", err)
        raise Ended(Down.NOT_A_SERVER) from err
    except (TimeoutError, aiohttp.ClientError, OSError) as err:
        raise Ended(Down.LOST) from err


async def _greet(
    socket: aiohttp.ClientWebSocketResponse,
    identity: GatewayIdentity,
    store: RemoteStore,
    clock: ServerClock,
    began: float,
) -> tuple[Welcome, float]:
    hello = await _receive(socket, "hello")
    if not hmac.compare_digest(hello.binary("server_key", 32), identity.server_key):
        raise Ended(Down.KEY_CHANGED)
    server_nonce, time = hello.binary("nonce", 32), hello.integer("time")
    clock.add(began, time)
    store.n += 1
    await store.async_save()
    nonce = secrets.token_bytes(32)
    signed = identity.handshake_bytes(server_nonce, nonce, store.n)
    auth = Message(ulid(time), "auth", body=identity.auth(signed, nonce, store.n, store.checkpoint))
    await socket.send_str(auth.as_text())
    try:
        welcome = await _receive(socket, "welcome")
    except Ended as ended:
        if socket.close_code == CloseCode.SIGN_IN:
            raise Ended(Down.REFUSED) from ended
        if socket.close_code == CloseCode.MALFORMED and store.checkpoint is not None:
            raise Ended(Down.FALSE_CHECKPOINT) from ended
        raise
    if not identity.is_server(signed, welcome.binary("signature", 64)):
        raise Ended(Down.KEY_CHANGED)
    if welcome.hex_id("site") != identity.site:
        raise Ended(Down.NOT_A_SERVER)
    life = (welcome.integer("token_expires") - welcome.integer("time")) / 1000
    return (
        Welcome(
            site=identity.site,
            generation=welcome.integer("generation", 1, INT_MAX),
            restored=welcome.flag("restored"),
            public_url=read_public_url(welcome.text("public_url", 300, default="")),
            reached=welcome.flag("reached"),
            token=welcome.text("token", 200, least=1),
        ),
        min(max(life, _LIFE_MIN), _LIFE_MAX),
    )


async def _receive(socket: aiohttp.ClientWebSocketResponse, kind: str) -> Reader:
    """Return the body of the next message, which must be of this type. Malformed, Ended."""
    frame = await socket.receive()
    while frame.type is aiohttp.WSMsgType.PING:
        await socket.pong(frame.data)
        await asyncio.sleep(0)
        frame = await socket.receive()
    if frame.type is not aiohttp.WSMsgType.TEXT:
        raise Ended(Down.of_code(socket.close_code))
    message = Message.of(frame.data)
    if message.type != kind:
        raise Malformed(f"{kind} was expected")
    return Reader(message.body)
