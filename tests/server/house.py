"""Home Assistant and its Supervisor in front of the app's page: what ingress does to a request, in one process.

A path prefix with a token, a cookie for the session of a signed-in user, headers that say who it is. As there, the user's
headers are the proxy's own: what a browser writes under these names is dropped.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

if TYPE_CHECKING:
    from types import TracebackType

COOKIE: Final = "ingress_session"
USER_HEADERS: Final = frozenset(
    {"x-remote-user-id", "x-remote-user-name", "x-remote-user-display-name", "x-ingress-path"}
)
HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "host",
        "keep-alive",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclass
class House:
    """A proxy for the page at `target`. Used as a context manager; `url` is what the sidebar opens."""

    target: str
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    sessions: dict[str, str] = field(default_factory=dict)
    """Session cookie → user."""
    seen: list[web.Request] = field(default_factory=list)
    broken: bool = False
    """Answer as Home Assistant does while the app restarts."""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/api/hassio_ingress/{token}/{path:.*}", self._forward)
        # Home Assistant's own frontend: a page of the same origin that shows the app in a frame.
        app.router.add_get("/frontend", self._frontend)
        app.router.add_get("/favicon.ico", self._icon)
        self._client = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.origin = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.prefix = f"/api/hassio_ingress/{self.token}"
        self.url = f"{self.origin}{self.prefix}/"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()
        await self._runner.cleanup()

    def sign_in(self, user: str) -> str:
        """Return the cookie of a new session of a user."""
        session = secrets.token_hex(32)
        self.sessions[session] = user
        return session

    async def _frontend(self, _request: web.Request) -> web.Response:
        page = f'<!doctype html><title>Home Assistant</title><iframe title="app" src="{self.prefix}/"></iframe>'
        return web.Response(text=page, content_type="text/html")

    async def _icon(self, _request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def _forward(self, request: web.Request) -> web.Response:
        user = self.sessions.get(request.cookies.get(COOKIE, ""))
        if user is None or request.match_info["token"] != self.token:
            return web.Response(status=401, text="401: Unauthorized")
        if self.broken:
            return web.Response(status=502, text="502: Bad Gateway")
        self.seen.append(request)
        headers = CIMultiDict(
            (name, value)
            for name, value in request.headers.items()
            if name.lower() not in USER_HEADERS | HOP_BY_HOP
        )
        headers["X-Remote-User-Id"] = user
        headers["X-Remote-User-Name"] = "somebody"
        headers["X-Remote-User-Display-Name"] = "Somebody"
        headers["X-Ingress-Path"] = self.prefix
        headers["X-Forwarded-For"] = str(request.remote)
        url = f"{self.target}/{request.match_info['path']}"
        async with self._client.request(
            request.method, url, params=request.query, headers=headers, data=await request.read(),
            allow_redirects=False,
        ) as answer:  # fmt: skip
            kept = CIMultiDict(
                (name, value)
                for name, value in answer.headers.items()
                if name.lower() not in HOP_BY_HOP
            )
            return web.Response(status=answer.status, headers=kept, body=await answer.read())
