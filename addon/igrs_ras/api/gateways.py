"""Gateways: enrolment, and the socket over which a home is connected."""

from aiohttp import web

from igrs_ras import wire
from igrs_ras.api.route import Call, Listener, Table, Who
from igrs_ras.enrolment import enrol
from igrs_ras.status import Status
from igrs_ras.wire import Answer, Body

table = Table()


class NewGateway(Body):
    """A code from the server's command line, and the gateway's Ed25519 key with which it is bound together."""

    code: str
    public_key: str
    nonce: str
    signature: str


class EnrolledGateway(Answer):
    """The gateway's place. It pins `server_key`."""

    gateway: str
    site: str
    server_key: str
    generation: int


@table.add(
    "POST",
    "/api/v1/gateways",
    Who.ANYBODY,
    clause="6.2",
    summary="Enrol a home's gateway with a code that works once",
    body=NewGateway,
    answer=EnrolledGateway,
    statuses=(Status.WRONG_CODE, Status.TOO_MANY_ATTEMPTS),
    example={
        "code": "8KNZ-44YW-D3XS-6GJ4",
        "public_key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        "nonce": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "signature": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
    },
    answer_example={
        "gateway": "0123456789abcdef0123456789abcdef",
        "site": "fedcba9876543210fedcba9876543210",
        "server_key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        "generation": 1790000000000,
    },
)
async def enrol_gateway(call: Call[NewGateway]) -> EnrolledGateway:
    """Use the code up, revoke the site's gateway of before and make this one."""
    enrolled = await enrol(
        call.ras,
        call.body.code,
        wire.unb64(call.body.public_key, 32, field="public_key"),
        wire.unb64(call.body.nonce, 32, field="nonce"),
        wire.unb64(call.body.signature, 64, field="signature"),
        address=call.address,
        local=call.listener is Listener.LOCAL,
    )
    return EnrolledGateway(
        gateway=enrolled.gateway,
        site=enrolled.site,
        server_key=wire.b64(call.ras.identity.public),
        generation=enrolled.generation,
    )


@table.add(
    "GET",
    "/api/v1/gateway",
    Who.ANYBODY,
    clause="6.2",
    summary="The gateway's WebSocket, subprotocol igrs.gateway.v1: it proves its key in the first message",
    statuses=(Status.MALFORMED, Status.NOT_READY),
    websocket=True,
)
async def open_gateway_link(call: Call[None]) -> web.StreamResponse:
    """Serve a gateway until its link ends."""
    return await call.ras.gateways.serve(call.request, call.address)
