"""The remote client's calls: what a server cannot make of them."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from igrs_rac.errors import RacError
from igrs_rac.http import Http


def test_case_57_a_redirect_is_followed_to_no_other_server() -> None:
    """Neither by a call nor by the socket, whose first message is the token."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    async def play() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        http = Http(f"http://127.0.0.1:{runner.addresses[0][1]}")
        with pytest.raises(RacError):
            await http.connect("/api/v1/push", "igrs.push.v1", 1024)
        with pytest.raises(RacError):
            await http.call("GET", "/api/v1/locks", token="u_x")
        await http.close()
        await runner.cleanup()

    asyncio.run(play())
    assert asked == ["/api/v1/push", "/api/v1/locks"]
