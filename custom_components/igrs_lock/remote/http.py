"""The server's HTTP interface, as far as a home calls it, and how its address is judged.

The certificate is checked wherever there is TLS, by an own authority if the owner gave one. Without
TLS only this machine itself is spoken to, or the app that the Supervisor named. No redirect is
followed and no cookie kept: an address is what the owner said, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.aiohttp_client import async_create_clientsession
from yarl import URL

from .errors import CertificateWrong, NotAServer, NotReady, Refused, Unreachable
from .identity import enrolment
from .wire import INT_MAX, MESSAGE_MAX, Malformed, Reader, Status, b64, loads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aiohttp.client_middlewares import ClientHandlerType

_TIMEOUT: Final = aiohttp.ClientTimeout(total=20, connect=10)
_CONNECT_TIMEOUT: Final = 10.0
_CLOSE_TIMEOUT: Final = 1.0
_URL_MAX: Final = 300
_ALLOWED: Final = re.compile(r"[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]+")
"""What RFC 3986 allows, without `#`. Texts show addresses between backticks: nothing gets out of these."""


class BadAddress(Exception):  # noqa: N818  an input, not a fault
    """An address that is not spoken to; `reason` is `invalid`, or `https` where TLS is missing."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BadAuthority(Exception):  # noqa: N818  an input, not a fault
    """A text that holds no certificate of an authority."""


class _Redirected(aiohttp.ClientError):
    """The server sent on to somewhere else."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says of itself to anybody. `public_url` is "" where it is unset or no address."""

    name: str
    version: str
    key: bytes
    time: int
    public_url: str
    reached: bool


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A new gateway's place."""

    gateway: str
    site: str
    server_key: bytes
    generation: int


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_address(text: str, *, local: bool = False) -> str:
    """Return a server's address as it is stored, https where nothing else is said. BadAddress."""
    text = text.strip()
    if "://" not in text:
        text = f"https://{text}"
    url = _url(text)
    if url is None or url.path not in ("", "/") or url.query_string:
        raise BadAddress("invalid")
    if url.scheme == "http" and not local and not is_loopback(url.host or ""):
        raise BadAddress("https")
    return str(url.origin())


def read_public_url(text: str) -> str:
    """Return the address at which people reach a server, "" if it is none that can stand in a link."""
    url = _url(text)
    if url is None or (url.scheme == "http" and not is_loopback(url.host or "")):
        return ""
    return text.rstrip("/")


def _url(text: str) -> URL | None:
    """Read an address of http or https without a name, a password or a fragment."""
    if len(text) > _URL_MAX or not _ALLOWED.fullmatch(text):
        return None
    try:
        url = URL(text)
        if url.scheme not in ("http", "https") or not url.host or not url.port:
            return None
    except ValueError:
        return None
    if url.user is not None or url.password is not None:
        return None
    return url


def _context_of(ca: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca)
    return context


async def async_context(hass: HomeAssistant, ca: str | None) -> ssl.SSLContext | bool:
    """Return aiohttp's `ssl` argument: the own authority alone, if there is one. BadAuthority."""
    if ca is None:
        return True
    try:
        return await hass.async_add_executor_job(_context_of, ca)
    except (ssl.SSLError, ValueError) as err:
        raise BadAuthority from err


async def _no_redirect(
    request: aiohttp.ClientRequest, handler: ClientHandlerType
) -> aiohttp.ClientResponse:
    response = await handler(request)
    if 300 <= response.status < 400:
        response.close()
        raise _Redirected
    return response


@callback
def _session(hass: HomeAssistant) -> aiohttp.ClientSession:
    """Return a session that follows no redirect and keeps no cookie; to be detached."""
    return async_create_clientsession(
        hass, auto_cleanup=False, cookie_jar=aiohttp.DummyCookieJar(), middlewares=(_no_redirect,)
    )


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Say in this package's words why nothing was connected or answered."""
    try:
        yield
    except (aiohttp.ClientSSLError, ssl.SSLError) as err:
        raise CertificateWrong from err
    except aiohttp.ClientResponseError as err:
        raise (NotReady if err.status in (429, 502, 503, 504) else NotAServer) from err
    except (_Redirected, aiohttp.ClientPayloadError) as err:
        raise NotAServer from err
    except (aiohttp.ClientError, OSError, TimeoutError) as err:
        raise Unreachable from err


class _Caller:
    """An address, and how its certificate is checked."""

    def __init__(
        self, hass: HomeAssistant, url: str, ca: str | None = None, *, local: bool = False
    ) -> None:
        """Prepare. `local`: an app on this machine, which may speak without TLS."""
        self._hass = hass
        self._url = url
        self._ca = ca
        self._local = local
        self._ssl: ssl.SSLContext | bool | None = None

    async def _context(self) -> ssl.SSLContext | bool:
        """Return aiohttp's `ssl` argument. CertificateWrong where nothing would be checked."""
        if self._ssl is None:
            try:
                read_address(self._url, local=self._local)
                self._ssl = await async_context(self._hass, self._ca)
            except (BadAddress, BadAuthority) as err:
                raise CertificateWrong from err
        return self._ssl


class Dialer(_Caller):
    """Opens WebSockets to one server."""

    began = 0.0
    """When the last one was begun (monotonic)."""

    @contextlib.asynccontextmanager
    async def socket(self, protocol: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Lend a WebSocket of a subprotocol, closed at the end.

        Unreachable, NotReady, CertificateWrong, NotAServer, all before it is open.
        """
        context = await self._context()
        session = _session(self._hass)
        self.began = time.monotonic()
        try:
            with _failures():
                async with asyncio.timeout(_CONNECT_TIMEOUT):
                    socket = await session.ws_connect(
                        f"{self._url}/api/v1/gateway",
                        protocols=(protocol,),
                        ssl=context,
                        max_msg_size=MESSAGE_MAX,
                        # A flood of pings would be answered without a pause.
                        autoping=False,
                        timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_TIMEOUT),
                    )
            try:
                if socket.protocol != protocol:
                    raise NotAServer
                yield socket
            finally:
                await socket.close()
        finally:
            session.detach()


class RasHttp(_Caller):
    """Calls of one server. Each raises Refused, Unreachable, NotReady, CertificateWrong, NotAServer."""

    async def server_info(self) -> ServerInfo:
        """Ask who the server is."""
        data = await self._call("GET", "/api/v1/server")
        with _answers():
            read = Reader(data)
            return ServerInfo(
                name=read.text("name", 100),
                version=read.text("version", 40),
                key=read.binary("key", 32),
                time=read.integer("time"),
                public_url=read_public_url(read.text("public_url", _URL_MAX, default="")),
                reached=read.flag("reached", default=False),
            )

    async def enrol(self, code: str, server_key: bytes, private_key: bytes) -> Enrolled:
        """Redeem an enrolment code at the server whose key the owner compared.

        WrongCode before anything is sent. NotAServer if it answers under another key.
        """
        body = enrolment(code, server_key, private_key)
        data = await self._call("POST", "/api/v1/gateways", body)
        with _answers():
            read = Reader(data)
            enrolled = Enrolled(
                gateway=read.hex_id("gateway"),
                site=read.hex_id("site"),
                server_key=read.binary("server_key", 32),
                generation=read.integer("generation", 0, INT_MAX),
            )
        if enrolled.server_key != server_key:
            raise NotAServer
        return enrolled

    async def register_lock(
        self, token: str, device: str, capabilities: int, advertisement: bytes
    ) -> None:
        """Register a lock (7.4); the server asks this home whether the advertisement is authentic."""
        body = {
            "device": device,
            "capabilities": capabilities,
            "advertisement": b64(advertisement),
        }
        await self._call("POST", "/api/v1/locks", body, token)

    async def remove_lock(self, token: str, device: str) -> None:
        """Remove a lock (7.5)."""
        await self._call("DELETE", f"/api/v1/locks/{device}", token=token)

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, token: str = ""
    ) -> Any:
        """Call; return `data`."""
        context = await self._context()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        session = _session(self._hass)
        try:
            with _failures():
                async with session.request(
                    method,
                    self._url + path,
                    json=body,
                    headers=headers,
                    ssl=context,
                    timeout=_TIMEOUT,
                    allow_redirects=False,
                ) as response:
                    http, raw = response.status, await _bounded(response)
        finally:
            session.detach()
        try:
            read = Reader(loads(raw.decode()))
            status = read.integer("status", 0, 1000)
            message = read.text("message", 500, default="")
        except (Malformed, UnicodeDecodeError) as err:
            # A proxy in front of a server that starts says so in its own way.
            raise (NotReady if http in (429, 502, 503, 504) else NotAServer) from err
        if status != Status.DONE:
            raise Refused(Status.of(status), message)
        return read.value("data")


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """Read a body that keeps to the interface's size. NotAServer."""
    raw = bytearray()
    async for chunk in response.content.iter_chunked(16 * 1024):
        raw += chunk
        if len(raw) > MESSAGE_MAX:
            raise NotAServer
    return bytes(raw)


@contextlib.contextmanager
def _answers() -> Iterator[None]:
    """Take an answer that does not keep to the interface for somebody else's."""
    try:
        yield
    except Malformed as err:
        raise NotAServer from err
