"""The client's socket (clause 7.7): who it is, then events, states and relays, all over one WebSocket."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec

from igrs_ras import wire
from igrs_ras.api.route import Principal, Who
from igrs_ras.hub import Client, Feed
from igrs_ras.keys import want_keys
from igrs_ras.socket import MALFORMED, NOT_READY_CODE, SIGN_IN, Message, Socket, accept
from igrs_ras.status import Refused, Status

if TYPE_CHECKING:
    from aiohttp import web

    from igrs_ras.ras import Ras

PROTOCOL = "igrs.push.v1"
AUTH_SECONDS = 5.0

Sequence = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class AuthBody(wire.Body):
    """The bearer token of a client from another origin, or of a program."""

    token: Annotated[str, msgspec.Meta(max_length=200)]


class ResumeBody(wire.Body):
    """The last event that the client has; generation and seq of the last hello if it has none."""

    generation: Sequence
    seq: Sequence


class AckBody(wire.Body):
    """The last event that the client has handled."""

    seq: Sequence


async def serve(ras: Ras, request: web.Request, principal: Principal) -> web.StreamResponse:
    """Begin a client's socket. `principal` is who the request's cookie says, or nobody.

    Raises Refused before the upgrade.
    """
    known = principal if principal.who is Who.USER else None
    return await accept(ras, request, PROTOCOL, _Push(ras, known).run)


async def _authenticate(ras: Ras, socket: Socket) -> Principal | None:
    """Take the first message, `auth`, within 5 s. Close with 4401 if it is not good."""
    try:
        async with asyncio.timeout(AUTH_SECONDS):
            found = await _first(ras, socket)
    except TimeoutError:
        found = None
    except Refused as refused:
        codes = {Status.MALFORMED: MALFORMED, Status.NOT_READY: NOT_READY_CODE}
        socket.close(codes.get(refused.status, SIGN_IN))
        return None
    if found is None or found.who is not Who.USER:
        socket.close(SIGN_IN)
        return None
    return found


async def _first(ras: Ras, socket: Socket) -> Principal | None:
    message = await socket.receive()
    if message is None or message.type != "auth":
        return None
    return await ras.sessions.resolve(message.read(AuthBody).token, "bearer")


class _Push:
    """One client's socket."""

    __slots__ = ("_client", "_feed", "_known", "_ras", "_socket")

    _socket: Socket
    _feed: Feed
    _client: Client

    def __init__(self, ras: Ras, known: Principal | None) -> None:
        self._ras = ras
        self._known = known

    async def run(self, socket: Socket) -> None:
        """Find out who it is, say hello, then handle messages in their order until the end."""
        principal = self._known or await _authenticate(self._ras, socket)
        if principal is None:
            return
        self._socket = socket
        socket.name = f"user:{principal.user}"
        self._feed = Feed(self._ras, socket, socket.name)
        self._client = Client(socket, self._feed, principal.user, principal.session)
        # Known to the hub before the session is looked at: whoever ends it from now on, closes this socket.
        self._ras.hub.add(self._client)
        try:
            try:
                held = await self._ras.hub.holds(self._client.session)
                generation, seq = await self._feed.cursor()
            except Refused:
                self._socket.close(NOT_READY_CODE)
                return
            if not held:
                self._socket.close(SIGN_IN)
                return
            self._socket.send(
                "hello",
                {
                    "time": self._ras.clock.now_ms(),
                    "generation": generation,
                    "seq": seq,
                    "user": self._client.user,
                },
            )
            await self._socket.serve(self._handle)
        finally:
            self._ras.hub.remove(self._client)

    async def _handle(self, message: Message) -> None:
        match message.type:
            case "ping":
                self._socket.send("pong", {"re": message.id, "time": self._ras.clock.now_ms()})
            case "relay.open":
                await self._ras.relay.open(self._client, message)
            case "relay.data":
                self._ras.relay.data(self._client, message)
            case "relay.end":
                self._ras.relay.end(self._client, message)
            case "follow":
                await self._ras.states.follow_message(self._client, message)
            case "lock.prewarm":
                await self._ras.relay.prewarm.ask(self._client, message)
            case "resume":
                await self._resume(message.read(ResumeBody))
            case "ack":
                # A user has several browsers: events stay until they are old.
                message.read(AckBody)
            case _:
                raise Refused(Status.MALFORMED, "unknown type of message")

    async def _resume(self, body: ResumeBody) -> None:
        lost = partial(want_keys, self._ras, self._client.user)
        if not await self._feed.locate(body.generation, body.seq, lost):
            self._socket.send(
                "push.reset", {"generation": self._feed.generation, "seq": self._feed.sent}
            )
        await self._feed.catch_up()
