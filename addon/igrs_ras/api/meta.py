"""What anybody may ask: who the server is, whether it works, how it is spoken to."""

from aiohttp import web

from igrs_ras import __version__, wire
from igrs_ras.api.route import Call, Table, Who
from igrs_ras.status import Refused, Status
from igrs_ras.wire import Answer

table = Table()


class Server(Answer):
    """Who this server is. `key` is what a gateway pins; compare `fingerprint` with the command line's.

    `reached`: a request has come in at `public_url`, so people can be invited.
    """

    name: str
    version: str
    key: str
    fingerprint: str
    time: int
    public_url: str
    reached: bool
    second_steps: list[str]


@table.add(
    "GET",
    "/api/v1/server",
    Who.ANYBODY,
    summary="Who the server is",
    answer=Server,
    answer_example={
        "name": "IGRS Lock",
        "version": "0.1.0",
        "key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        "fingerprint": "21fe 31df a154 a261 626b",
        "time": 1790000000000,
        "public_url": "https://locks.example",
        "reached": True,
        "second_steps": ["totp", "recovery"],
    },
)
async def get_server(call: Call[None]) -> Server:
    """Tell name, version, key and time."""
    ras = call.ras
    return Server(
        name=ras.settings.name,
        version=__version__,
        key=wire.b64(ras.identity.public),
        fingerprint=ras.identity.fingerprint,
        time=ras.clock.now_ms(),
        public_url=ras.settings.public_url,
        reached=ras.reach.reached,
        second_steps=ras.second_steps(),
    )


@table.add("GET", "/healthz", Who.ANYBODY, summary="Whether the process answers; asks no database")
async def get_health(_call: Call[None]) -> None:
    """Answer: the process and its event loop work."""


@table.add(
    "GET",
    "/readyz",
    Who.ANYBODY,
    summary="Whether it can do its work now",
    statuses=(Status.NOT_READY,),
)
async def get_ready(call: Call[None]) -> None:
    """Answer done only if the database takes writes and the server is not stopping."""
    if not call.ras.ready():
        raise Refused(Status.NOT_READY)


@table.add(
    "GET", "/api/v1/openapi.json", Who.ANYBODY, summary="This interface as an OpenAPI document"
)
async def get_openapi(call: Call[None]) -> web.StreamResponse:
    """Answer with the document itself, without the envelope."""
    return web.Response(body=call.ras.openapi(), content_type="application/json")
