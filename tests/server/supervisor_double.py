"""A double of Home Assistant's Supervisor: the rules of its interface, as far as this app uses it, over a real socket."""

import asyncio
from collections import deque
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

TOKEN = "f00d" * 28


class Double:
    """The Supervisor, as far as an app without special rights can call it."""

    def __init__(self, token: str = TOKEN) -> None:
        self.token = token
        self.message: dict[str, Any] | None = None
        self.told: list[
            dict[str, Any]
        ] = []  # what Home Assistant hears: messages that differ from the one before
        self.faults: deque[web.Response | None] = deque()  # None: the connection breaks
        self.news = asyncio.Event()
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/addons/self/info", self._info)
        app.router.add_post("/discovery", self._discovery)
        self.server = TestServer(app)

    @property
    def address(self) -> str:
        return str(self.server.make_url(""))

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=403)
        if self.faults:
            fault = self.faults.popleft()
            if fault is None:
                assert request.transport
                request.transport.abort()
                return web.Response()
            return fault
        answer = await handler(request)
        assert isinstance(answer, web.StreamResponse)
        return answer

    async def _info(self, request: web.Request) -> web.Response:
        data = {"slug": "1a2b3c4d_igrs_ras", "hostname": "1a2b3c4d-igrs-ras"}
        return web.json_response({"result": "ok", "data": data})

    async def _discovery(self, request: web.Request) -> web.Response:
        body = await request.json()
        if set(body) != {"service", "config"} or not isinstance(body["config"], dict):
            return web.json_response({"result": "error", "message": "malformed"}, status=400)
        if body["service"] != "igrs_lock":
            return web.json_response({"result": "error", "message": "not listed"}, status=403)
        if body["config"] != self.message:
            self.message = body["config"]
            self.told.append(body["config"])
        self.news.set()
        return web.json_response({"result": "ok", "data": {"uuid": "0" * 32}})

    async def heard(self) -> dict[str, Any]:
        """Wait for the next message, new or not."""
        await self.news.wait()
        self.news.clear()
        assert self.message is not None
        return self.message
