"""The HTTP side: every request passes here, in one order, before a route's own code runs.

Peer → size and encoding → principal → origin → who may call → path → body → handler → envelope.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from igrs_ras import logs, wire
from igrs_ras.api import address
from igrs_ras.api.listen import GUARD, Guard
from igrs_ras.api.route import ANYBODY, Call, Listener, Principal, Route, Who
from igrs_ras.status import Refused, Status
from igrs_ras.wire import Body

if TYPE_CHECKING:
    from igrs_ras.ras import Ras

_LOGGER = logging.getLogger(__name__)

REQUEST_ID = web.RequestKey("request_id", str)
BODY_LIMIT = 64 * 1024
BODY_SECONDS = 10.0
SESSION_COOKIE = "__Host-igrs"
SAFE = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
TOKENS = frozenset({"token", "access_token", "authorization", "session", "code", "api_key"})

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Server": "igrs-ras",
}
HSTS = "max-age=31536000"

type _Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(
    ras: Ras, listener: Listener, routes: Iterable[Route], guard: Guard
) -> web.Application:
    """Return the application of one listener."""
    border = _Border(ras, listener, guard)

    @web.middleware
    async def middleware(request: web.Request, handler: _Handler) -> web.StreamResponse:
        return await border.run(request, handler)

    app = web.Application(client_max_size=BODY_LIMIT, middlewares=[middleware])
    app[GUARD] = guard
    for route in routes:
        if listener in route.listeners:
            app.router.add_route(route.method, route.path, _Endpoint(ras, listener, route).handle)
    return app


class _Border:
    """What holds for every request, also for those that fit no route."""

    def __init__(self, ras: Ras, listener: Listener, guard: Guard) -> None:
        self._ras = ras
        self._listener = listener
        self._guard = guard

    async def run(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        with self._guard.serving(request.protocol):
            return await self._answer(request, handler)

    async def _answer(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        started = time.perf_counter()
        response: web.StreamResponse
        try:
            self._peer(request)
            if request.method == hdrs.METH_OPTIONS:
                response = self._preflight(request)
            else:
                response = await handler(request)
        except Refused as refused:
            response = refusal(refused)
        except web.HTTPRequestEntityTooLarge:
            response = refusal(Refused(Status.TOO_LARGE))
        except web.HTTPMethodNotAllowed as error:
            response = refusal(Refused(Status.NOT_PERMITTED, "method"))
            response.set_status(405)
            response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        except web.HTTPException as error:
            response = refusal(
                Refused(Status.NOT_FOUND if error.status == 404 else Status.MALFORMED)
            )
        except ConnectionError:
            # Who asked went away within the request, as anybody may as often as they like: no fault and no line.
            response = refusal(Refused(Status.MALFORMED))
        except Exception:
            # The traceback is for the operator; the caller learns only that it happened.
            _LOGGER.exception("a request failed", extra={"request_id": request_id(request)})
            response = refusal(Refused(Status.FAILED))
        note(self._ras, request, response, started)
        if not response.prepared:
            self._headers(request, response)
        return response

    def _peer(self, request: web.Request) -> None:
        peer = address.parse(_peer(request))
        settings = self._ras.settings
        if self._listener is Listener.LOCAL:
            allowed = peer is not None and address.within(peer, self._ras.local_networks)
        else:
            # Without a certificate only those may come who bring TLS themselves, or need none.
            allowed = bool(settings.certfile) or (
                peer is not None and (peer.is_loopback or address.within(peer, settings.proxies))
            )
        if not allowed:
            if self._listener is not Listener.LOCAL:
                self._tell_no_proxy(peer)
            raise Refused(Status.NOT_PERMITTED)
        behind_proxy = peer is not None and address.within(peer, settings.proxies)
        if self._listener is Listener.PUBLIC or behind_proxy:
            self._ras.reach.seen(request.headers.get(hdrs.HOST, ""))

    def _tell_no_proxy(self, peer: address.Address | None) -> None:
        """Tell the operator once: most often it is the proxy itself, by another address than was thought."""
        if self._ras.told_no_proxy:
            return
        self._ras.told_no_proxy = True
        # A person's own address is in no log; a proxy's is nearly always a private one.
        private = peer is not None and address.within(peer, address.PRIVATE)
        _LOGGER.warning(
            "refused a sender that is none of trusted_proxies: without a certificate only they are answered."
            " If it was the proxy, name the address it comes from%s",
            f": {peer}" if private else "",
        )

    def _preflight(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get(hdrs.ORIGIN, "") not in self._ras.settings.allowed_origins:
            raise Refused(Status.NOT_PERMITTED)
        return web.Response(
            status=204,
            headers={
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST, PATCH, PUT, DELETE",
                hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "Authorization, Content-Type",
                hdrs.ACCESS_CONTROL_MAX_AGE: "600",
            },
        )

    def _headers(self, request: web.Request, response: web.StreamResponse) -> None:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if self._listener is Listener.PUBLIC:
            response.headers["Strict-Transport-Security"] = HSTS
        origin = request.headers.get(hdrs.ORIGIN, "")
        if origin and origin in self._ras.settings.allowed_origins:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.VARY] = hdrs.ORIGIN
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"


class _Endpoint:
    """One route: checks that the caller may call it and that the request has its form, then runs it."""

    def __init__(self, ras: Ras, listener: Listener, route: Route) -> None:
        self._ras = ras
        self._listener = listener
        self._route = route

    async def handle(self, request: web.Request) -> web.StreamResponse:
        route = self._route
        if request.headers.get(hdrs.CONTENT_ENCODING):
            raise Refused(Status.MALFORMED, "compressed bodies are not read")
        if not request.headers.get(hdrs.SEC_WEBSOCKET_KEY, "").isascii():
            raise Refused(Status.MALFORMED, "Sec-WebSocket-Key")  # aiohttp fails on it
        query = self._query(request)
        principal = await self._principal(request)
        self._may_call(principal)
        path = self._path(request)
        call: Call[Any] = Call(
            ras=self._ras,
            request=request,
            principal=principal,
            body=await self._body(request, route.body) if route.body is not None else None,
            path=path,
            query=query,
            address=self._address(request),
            listener=self._listener,
        )
        answer = await route.handler(call)
        if isinstance(answer, web.StreamResponse):
            return answer
        response = success(answer)
        for change in call.cookies:
            change(response)
        return response

    def _query(self, request: web.Request) -> dict[str, str]:
        query = dict(request.query)
        if len(query) != len(request.query) or not query.keys() <= self._route.query.keys():
            # A token in an address ends in histories and logs; whoever sends one must learn it at once.
            secret = TOKENS & {key.lower() for key in query}
            raise Refused(
                Status.MALFORMED,
                "no secrets in the address" if secret else "unknown query parameter",
            )
        return query

    async def _principal(self, request: web.Request) -> Principal:
        origin = request.headers.get(hdrs.ORIGIN)
        authorization = request.headers.get(hdrs.AUTHORIZATION)
        if origin is not None and origin not in self._ras.settings.allowed_origins:
            self._own_origin(request, origin)
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise Refused(Status.SIGN_IN)
            if token.startswith("g_"):
                found = self._ras.gateways.resolve(token)
            else:
                found = await self._ras.sessions.resolve(token, "bearer")
            if found is None:
                raise Refused(Status.SIGN_IN)
            return found
        token = request.cookies.get(SESSION_COOKIE, "")
        if not token:
            return ANYBODY
        if origin is None and (request.method not in SAFE or self._route.websocket):
            # A browser sends Origin with each of these; something without it must use a bearer token.
            raise Refused(Status.NOT_PERMITTED, "Origin is missing")
        if (
            origin is not None
            and origin in self._ras.settings.allowed_origins
            and not is_own(self._ras, request, origin)
        ):
            return ANYBODY  # other origins never act by cookie
        return await self._ras.sessions.resolve(token, "cookie") or ANYBODY

    def _own_origin(self, request: web.Request, origin: str) -> None:
        if not is_own(self._ras, request, origin) and (
            request.method not in SAFE or self._route.websocket
        ):
            raise Refused(Status.NOT_PERMITTED, "foreign Origin")

    def _may_call(self, principal: Principal) -> None:
        who = self._route.who
        if Who.ANYBODY in who or principal.who in who:
            return
        if principal.who is Who.ANYBODY:
            raise Refused(Status.SIGN_IN)
        if principal.who is Who.PENDING:
            raise Refused(Status.SECOND_STEP)
        raise Refused(Status.NOT_PERMITTED)

    def _path(self, request: web.Request) -> dict[str, str]:
        path = dict(request.match_info)
        for name, value in path.items():
            if not (wire.is_device(value) if name == "device" else wire.is_id(value)):
                raise Refused(Status.NOT_FOUND)
        return path

    async def _body(self, request: web.Request, kind: type[Body]) -> Any:
        if (
            request.content_type != "application/json"
            or (request.charset or "utf-8").lower() != "utf-8"
        ):
            raise Refused(Status.MALFORMED, "Content-Type must be application/json")
        try:
            async with asyncio.timeout(BODY_SECONDS):
                data = await request.read()
        except TimeoutError as error:
            raise Refused(Status.MALFORMED, "the body came too slowly") from error
        return wire.decode(data, kind)

    def _address(self, request: web.Request) -> str:
        forwarded = request.headers.getall(hdrs.X_FORWARDED_FOR, [])
        found = address.caller(_peer(request), forwarded, self._ras.settings.proxies)
        if not found and self._listener is Listener.PUBLIC and not self._ras.told_no_address:
            self._ras.told_no_address = True
            _LOGGER.warning(
                "callers cannot be told apart by their address, so guessing is not limited by it: they come from a"
                " private network. If a proxy stands there, name it in trusted_proxies, and let it send X-Forwarded-For"
            )
        return found


def _peer(request: web.Request) -> str:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return str(peer[0]) if peer else ""


def is_own(ras: Ras, request: web.Request, origin: str) -> bool:
    """Tell whether an Origin is this server's own."""
    if ras.settings.public_url:
        parts = urlsplit(ras.settings.public_url)
        return origin == f"{parts.scheme}://{parts.netloc}"
    return origin in (f"https://{request.host}", f"{request.scheme}://{request.host}")


def request_id(request: web.Request) -> str:
    """Return a random id that the answer and the log lines of one request have in common."""
    if REQUEST_ID not in request:
        request[REQUEST_ID] = secrets.token_hex(4)
    return request[REQUEST_ID]


def note(
    ras: Ras,
    request: web.Request,
    response: web.StreamResponse,
    started: float,
    *,
    prefix: str = "",
) -> None:
    """Count and log an answered request by its route's template, never by the path that was asked for."""
    seconds = time.perf_counter() - started
    resource = request.match_info.route.resource
    template = prefix + (resource.canonical if resource is not None else "none")
    ras.metrics.request(template, request.method, response.status, seconds)
    if not response.prepared:
        response.headers["X-Request-Id"] = request_id(request)
    logs.request(
        method=request.method,
        route=template,
        status=response.status,
        ms=seconds * 1000,
        request_id=request_id(request),
    )


def success(answer: Any) -> web.Response:
    """Return the envelope of a request that was done."""
    return web.Response(
        body=wire.encode({"status": Status.DONE, "message": Status.DONE.text, "data": answer}),
        content_type="application/json",
    )


def refusal(refused: Refused) -> web.Response:
    """Return the envelope of a refused request."""
    data = {"detail": refused.detail} if refused.detail else None
    response = web.Response(
        status=refused.status.http,
        body=wire.encode({"status": refused.status, "message": refused.status.text, "data": data}),
        content_type="application/json",
    )
    if refused.retry_after is not None:
        response.headers[hdrs.RETRY_AFTER] = str(refused.retry_after)
    if refused.status is Status.SIGN_IN:
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return response
