"""What every socket keeps to, whoever is at the other end: form, size, rate, silence, slow readers, too many."""

from __future__ import annotations

import asyncio
import json
import os
import socket as sockets
import struct
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from conftest import MovedClock, base_of, eventually
from igrs_ras import push
from igrs_ras.settings import Settings
from igrs_ras.socket import QUEUE
from igrs_ras.status import Status
from igrs_ras.storage import tables
from peer import Closed, Denied, Peer, ulid
from street import House, house

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from home import HomeRelay
    from igrs_ras.ras import Ras

TEXT, BINARY = 1, 2


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return Settings(
        **{name: getattr(settings, name) for name in settings.__struct_fields__} | {"sockets": 12}
    )


@pytest.fixture
async def place(ras: Ras, clock: MovedClock) -> AsyncIterator[House]:
    async with house(ras, clock, people=2) as found:
        yield found


def frame(opcode: int, payload: bytes, *, first: int = 0x80) -> bytes:
    """A client's frame, with whatever bits the test wants."""
    size = len(payload)
    if size < 126:
        head = bytes((first | opcode, size | 0x80))
    elif size < 1 << 16:
        head = bytes((first | opcode, 126 | 0x80)) + struct.pack(">H", size)
    else:
        head = bytes((first | opcode, 127 | 0x80)) + struct.pack(">Q", size)
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


async def raw(peer: Peer, data: bytes) -> None:
    """Write bytes past the client's library."""
    transport = peer.socket.get_extra_info("socket")
    loop = asyncio.get_running_loop()
    with sockets.socket(fileno=os.dup(transport.fileno())) as plain:
        plain.setblocking(False)
        await loop.sock_sendall(plain, data)


async def closed(end: Any) -> int | None:
    """Wait until the server has closed a socket; return the code, or None if it did not."""
    done, _ = await asyncio.wait([asyncio.shield(end.peer.closed)], timeout=10)
    return end.peer.closed.result() if done else None


def text(body: Any = None, **fields: Any) -> bytes:
    return json.dumps({"id": ulid(1), "type": "ping", "body": body or {}} | fields).encode()


HOSTILE = {
    "not JSON": (frame(TEXT, b"hello"), 4400),
    "nothing": (frame(TEXT, b""), 4400),
    "an array": (frame(TEXT, b"[]"), 4400),
    "NaN": (frame(TEXT, b'{"id": "' + ulid(1).encode() + b'", "type": "ping", "time": NaN}'), 4400),
    "a key twice": (frame(TEXT, b'{"type": "ping", ' + text()[1:]), 4400),
    "a key twice inside": (frame(TEXT, text()[:-3] + b'{"a": 1, "a": 2}}'), 4400),
    "deeply nested": (
        frame(TEXT, text({"a": 0}).replace(b"0}", b"[" * 5000 + b"]" * 5000 + b"}")),
        4400,
    ),
    "text after it": (frame(TEXT, text() + b"{}"), 4400),
    "half a character": (frame(TEXT, text({"a": "\ud800"})), 4400),
    "no UTF-8": (frame(TEXT, b'{"id": "\xff\xfe"}'), 4400),
    "an unknown field": (frame(TEXT, text(admin=True)), 4400),
    "no ULID": (frame(TEXT, text(id="1")), 4400),
    "a type that is none": (frame(TEXT, text(type="ping\r\nforged line")), 4400),
    "a huge number": (
        frame(TEXT, text(time=0).replace(b'"time": 0', b'"time": ' + b"9" * 5000)),
        4400,
    ),
    "binary": (frame(BINARY, text()), 4400),
    "1 MiB": (frame(TEXT, text({"a": "x" * (1 << 20)})), 4413),
    "compressed": (frame(TEXT, b"\xaa\x56", first=0xC0), 4400),
    "a reserved bit": (frame(TEXT, text(), first=0xA0), 4400),
    "an unknown opcode": (frame(5, b""), 4400),
    "a close with a forbidden code": (frame(8, struct.pack(">H", 1005)), 4400),
}


async def test_case_38_whatever_is_sent_ends_that_socket_and_nothing_else(
    ras: Ras, place: House
) -> None:
    for name, (data, code) in HOSTILE.items():
        victim = await place.another_phone(place.phone, connect=False)
        await victim.connect()
        await raw(victim.peer, data)
        assert (name, await closed(victim)) == (name, code)
        assert (await place.phone.peer.request("ping"))["re"], name
    # In pieces it is the same.
    victim = await place.another_phone(place.phone)
    for _ in range(70):
        await raw(victim.peer, frame(0 if _ else TEXT, b"x" * 1024, first=0))
    assert await closed(victim) == 4413
    await eventually(lambda: len(ras.hub.sockets) == 3)


async def test_case_36_a_reader_that_is_too_slow_is_closed_and_costs_a_bounded_queue(
    ras: Ras, place: House
) -> None:
    slow = await place.another_phone(place.phone, connect=False)
    peer = await slow.open()
    await peer.send("auth", {"token": slow.token})
    assert (await peer.receive())["type"] == "hello"
    peer.socket.get_extra_info("socket")
    (_, client) = ras.hub.clients_of(slow.user)
    transport: Any = client.socket._transport
    for end in (transport, peer.socket):
        # Small buffers of the system, so that little has to be sent.
        end.get_extra_info("socket").setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)
        end.get_extra_info("socket").setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    most = 0
    await peer.send("resume", {"generation": slow.generation or ras.identity.generation, "seq": 0})
    connection: Any = peer.socket._response.connection
    hung = connection.transport
    hung.pause_reading()
    sent = 0
    while client.socket.closed is None:
        assert sent < 2000, "it was never closed"
        client.socket.send("account", {"filler": "x" * 8000})
        sent += 1
        await asyncio.sleep(0)
        most = max(most, transport.get_write_buffer_size())
    assert client.socket.closed == 4408
    assert most < QUEUE + 3 * 8192
    await eventually(lambda: len(ras.hub.clients_of(slow.user)) == 1)
    assert (await place.phone.peer.request("ping"))["re"]
    hung.resume_reading()
    await peer.socket.close()


async def test_silent_peers_are_closed_and_those_that_ping_are_not(
    ras: Ras, place: House, clock: MovedClock
) -> None:
    one, two = place.phones
    clock.advance(16)
    await one.peer.request("ping")
    await two.peer.socket.ping()
    await place.home.peer.request("ping")
    silent = await place.another_phone(one)
    await silent.peer.request("ping")
    clock.advance(16)
    for phone in (one, two):
        assert (await phone.peer.request("ping"))["re"]
    await place.home.peer.request("ping")
    clock.advance(16)
    assert await closed(silent) == 4408
    clock.advance(16)
    for end in (one, two, place.home):
        assert await closed(end) == 4408
    await eventually(lambda: len(ras.hub.sockets) == 0)


async def test_who_sends_too_much_is_told_to_slow_down_and_who_does_not_is_closed(
    ras: Ras, place: House, clock: MovedClock
) -> None:
    phone = place.phone
    for _ in range(105):
        await phone.peer.send("ping")
    await phone.until(lambda: [body for body in phone.of_type("refused") if body["status"] == 41])
    clock.advance(2)
    assert (await phone.peer.request("ping"))["re"]
    for _ in range(300):
        try:
            await phone.peer.send("ping")
        except ConnectionError:
            break
    assert await closed(phone) == 4429
    flood = place.phones[1]
    await raw(flood.peer, frame(9, b"x" * 125) * 500)
    assert await closed(flood) == 4429


async def test_a_socket_needs_its_subprotocol_and_a_signed_in_user(
    ras: Ras, place: House, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = base_of(ras) + "/api/v1/push"
    for protocols in ([], ["igrs.gateway.v1"]):
        with pytest.raises(aiohttp.WSServerHandshakeError) as failed:
            await http.ws_connect(url, protocols=protocols)
        assert failed.value.status == 400
    async with http.get(url) as plain:
        assert plain.status == 400
    phone = await place.another_phone(place.phone, connect=False)
    good = phone.token
    for token in (
        "",
        "u_wrong",
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        "x" * 300,
        "g_" + good[2:],
    ):
        phone.token = token
        with pytest.raises(Closed) as closed:
            await phone.connect()
        assert closed.value.code == (4400 if len(token) > 200 else 4401)
    peer = await phone.open()
    await peer.send("ping")
    with pytest.raises(Closed) as closed:
        await peer.receive()
    assert closed.value.code == 4401
    # A session whose second step is missing is nobody.
    phone.token = good
    await ras.store.write(
        lambda tx: tx.execute(
            tables.sessions.update().where(tables.sessions.c.user == phone.user).values(full=False)
        )
    )
    with pytest.raises(Closed) as closed:
        await phone.connect()
    assert closed.value.code == 4401
    monkeypatch.setattr(push, "AUTH_SECONDS", 0.05)
    peer = await phone.open()
    with pytest.raises(Closed) as closed:
        await peer.receive()
    assert closed.value.code == 4401


async def test_the_oldest_of_a_persons_sockets_gives_way_and_a_full_server_takes_no_more(
    ras: Ras, place: House
) -> None:
    phone = place.phone
    others = [await place.another_phone(phone) for _ in range(8)]
    assert await closed(phone) == 4429
    assert not others[0].peer.closed.done()
    await eventually(lambda: len(ras.hub.sockets) == 10)
    second = await place.another_phone(place.phones[1])
    third = await place.another_phone(place.phones[1])
    with pytest.raises(aiohttp.ClientError):
        await place.another_phone(place.phones[1])
    await second.peer.close()
    await third.peer.close()
    await eventually(lambda: len(ras.hub.sockets) == 10)
    assert (await (await place.another_phone(place.phones[1])).peer.request("ping"))["re"]


async def test_a_server_that_stops_takes_no_relays_and_lets_those_under_way_end(
    ras: Ras, place: House
) -> None:
    phone = place.phone
    reached: asyncio.Queue[HomeRelay] = asyncio.Queue()
    place.home.on_relay = reached.put
    opening = phone.opening(place.site, place.device, b"open")
    await phone.peer.send("relay.open", opening)
    relay = await asyncio.wait_for(reached.get(), 10)
    stopping = asyncio.create_task(ras.drain(4))
    await eventually(lambda: ras.draining)
    with pytest.raises(Denied) as denied:
        await phone.peer.request("relay.open", phone.opening(place.site, place.device, b"new"))
    assert denied.value.status == Status.NOT_READY
    await relay.send(b"in time")
    await relay.end()
    await phone.until(lambda: "answered" in phone.states(opening["key"]))
    assert phone.answers(opening["key"]) == [b"in time"]
    await stopping
    assert await closed(phone) == await closed(place.home) == 1012
