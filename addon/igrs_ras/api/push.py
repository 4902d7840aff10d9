"""The client's socket as a route (clause 7.7)."""

from typing import Any

from aiohttp import web

from igrs_ras import push as client
from igrs_ras.api.route import Call, Table, Who
from igrs_ras.status import Status

table = Table()


@table.add(
    "GET",
    "/api/v1/push",
    Who.ANYBODY,
    clause="7.7",
    summary="WebSocket of a client: events, states, relays. Signed in by cookie, or by its first message",
    statuses=(Status.MALFORMED, Status.NOT_READY),
    websocket=True,
)
async def push(call: Call[Any]) -> web.StreamResponse:
    """Run the socket. A session whose second step is missing is nobody here."""
    return await client.serve(call.ras, call.request, call.principal)
