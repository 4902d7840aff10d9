"""When a request has become a WebSocket, HTTP lets go of the connection: nothing is lost on the way, nothing stays."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from conftest import Database, MovedClock, base_of, eventually, make_settings
from igrs_ras.api.listen import SHARE
from peer import ulid
from street import House, house
from test_sockets import frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from igrs_ras.ras import Ras
    from igrs_ras.settings import Settings


@pytest.fixture
async def place(ras: Ras, clock: MovedClock) -> AsyncIterator[House]:
    async with house(ras, clock) as found:
        yield found


def text(kind: str, body: dict[str, Any]) -> bytes:
    return frame(1, json.dumps({"id": ulid(1), "type": kind, "body": body}).encode())


async def connect(ras: Ras, behind: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a WebSocket, with bytes right behind the request in the same write."""
    port = int(base_of(ras).rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        "GET /api/v1/push HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: igrs.push.v1\r\n\r\n".encode()
        + behind
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"content-length" not in head.lower()
    assert b"transfer-encoding" not in head.lower()
    return reader, writer


async def take(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read a frame of the server."""
    first, size = await asyncio.wait_for(reader.readexactly(2), 10)
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2))
    return first & 15, await reader.readexactly(size)


async def test_what_comes_right_behind_the_request_is_read(ras: Ras, place: House) -> None:
    early = text("auth", {"token": place.phone.token}) + text("ping", {})
    for cut in (len(early), 5, 0):  # all at once, within a frame, and as it should be
        reader, writer = await connect(ras, early[:cut])
        writer.write(early[cut:])
        assert json.loads((await take(reader))[1])["type"] == "hello"
        assert json.loads((await take(reader))[1])["type"] == "pong"
        writer.close()
    for behind in (frame(5, b""), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
        reader, writer = await connect(ras, behind)
        opcode, payload = await take(reader)
        assert (opcode, int.from_bytes(payload[:2])) == (8, 4400)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
    await eventually(lambda: len(ras.hub.sockets) == 2)


async def test_an_open_socket_keeps_nothing_of_its_request(ras: Ras, place: House) -> None:
    await place.another_phone(place.phone)
    assert len(ras.hub.sockets) == 3

    def requests() -> list[web.Request]:
        gc.collect()
        return [found for found in gc.get_objects() if isinstance(found, web.Request)]

    await eventually(lambda: not requests())
    assert (await place.phone.peer.request("ping"))["re"]


async def test_an_open_socket_still_counts_among_its_callers_connections(
    database: Database, start_ras: Callable[[Settings], Awaitable[Ras]]
) -> None:
    ras = await start_ras(make_settings(database, sockets=16, trusted_proxies=["192.0.2.1"]))
    held = [await connect(ras, b"") for _ in range(16 // SHARE)]
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await connect(ras, b"")
    held.pop()[1].close()

    async def admitted() -> bool:
        try:
            held.append(await connect(ras, b""))
        except asyncio.IncompleteReadError, ConnectionResetError:
            return False
        return True

    await eventually(admitted)
    for _, writer in held:
        writer.close()


async def test_a_server_that_stops_tells_its_sockets_and_leaves_no_connection(
    ras: Ras, place: House
) -> None:
    silent, writer = await connect(ras, text("auth", {"token": place.phone.token}))
    assert json.loads((await take(silent))[1])["type"] == "hello"
    await ras.close()
    for end in (place.phone, place.home):
        assert await asyncio.wait_for(asyncio.shield(end.peer.closed), 10) == 1012
    assert await take(silent) == (8, (1012).to_bytes(2))
    assert await asyncio.wait_for(silent.read(), 10) == b""
    assert len(ras.hub.sockets) == 0
    writer.close()
