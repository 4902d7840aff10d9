"""The web server: only on loopback, and only for pages that come from here."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import segno
from aiohttp import web

from .api import WORLD, BadRequestError, routes
from .door import ImpossibleError

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from .world import World

STATIC = Path(__file__).parent / "static"
LOCAL_NAMES = {"127.0.0.1", "localhost", "[::1]"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def _from_elsewhere(request: web.Request) -> str | None:
    """Why a request is refused, None if it is not.

    A page from elsewhere must not drive the locks or read setup codes: its requests carry its own
    `Origin`. A name that was made to point here (DNS rebinding) is in `Host`.
    """
    name, _, port = request.host.rpartition(":")
    if not port.isdigit():
        name = request.host
    if name.lower() not in LOCAL_NAMES:
        return "this server answers to 127.0.0.1 and localhost only"
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc.lower() != request.host.lower():
        return "requests from other origins are refused"
    # Following a link from another page shows the page, no more.
    linked = request.method == "GET" and request.path == "/"
    if not linked and request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return "requests from other sites are refused"
    return None


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse strangers, put errors into JSON, add the headers."""
    try:
        refusal = _from_elsewhere(request)
        if refusal is not None:
            return _error(403, refusal)
        response = await handler(request)
    except BadRequestError as error:
        return _error(400, str(error))
    except ImpossibleError as error:
        return _error(409, str(error))
    except web.HTTPException as error:
        return _error(error.status, error.text or error.reason)
    if not response.prepared:
        response.headers.update(HEADERS)
    return response


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status, headers=HEADERS)


async def show_page(request: web.Request) -> web.Response:
    """The control page."""
    world = request.app[WORLD]
    locks = "\n".join(
        f'<li data-lock="{escape(lock.identity.id)}">{escape(lock.identity.name)}'
        f" <code>{escape(lock.identity.address)}</code></li>"
        for lock in world.locks.values()
    )
    page = (STATIC / "page.html").read_text("utf-8").replace("<!-- locks -->", locks)
    return web.Response(text=page, content_type="text/html")


async def show_qr(request: web.Request) -> web.Response:
    """A lock's setup code as a QR code."""
    lock = request.app[WORLD].locks.get(request.match_info["id"].upper())
    if lock is None:
        raise web.HTTPNotFound(text="no such lock")
    image = segno.make_qr(lock.identity.setup_code, error="m")
    svg = image.svg_inline(border=2, omitsize=True, dark="#000", light="#fff")
    return web.Response(
        text=svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1),
        content_type="image/svg+xml",
    )


async def show_static(request: web.Request) -> web.FileResponse:
    """The page's style sheet and script."""
    name = request.match_info["name"]
    if name not in ("page.css", "page.js", "icon.svg"):
        raise web.HTTPNotFound(text="no such file")
    return web.FileResponse(STATIC / name)


def make_app(world: World) -> web.Application:
    """Make the web application for a world."""
    app = web.Application(middlewares=[guard], client_max_size=4096)
    app[WORLD] = world
    app.add_routes(routes)
    app.router.add_get("/", show_page)
    app.router.add_get("/locks/{id}/qr.svg", show_qr)
    app.router.add_get("/static/{name}", show_static)
    return app


async def serve(world: World, port: int) -> tuple[web.AppRunner, int]:
    """Serve on 127.0.0.1; return the runner (to clean up) and the port.

    Raises:
        OSError: the port is taken.
    """
    runner = web.AppRunner(make_app(world), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    return runner, runner.addresses[0][1]
