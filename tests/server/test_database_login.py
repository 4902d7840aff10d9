"""How the server signs in to a PostgreSQL across a network: never in a weaker way because somebody asks for it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from igrs_ras.storage.engine import open_engine
from sqlalchemy.exc import OperationalError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

PASSWORD = "correct-horse-of-the-database"
SSL_REQUEST = (80877103).to_bytes(4)
CLEAR_TEXT, MD5, TRUST = (3).to_bytes(4), (5).to_bytes(4) + b"salt", (0).to_bytes(4)
SASL_PLAIN = (10).to_bytes(4) + b"PLAIN\0\0"


class Middle:
    """Somebody between server and database who refuses TLS and asks for the password as `asked` says."""

    def __init__(self, asked: bytes) -> None:
        self._asked = asked
        self.heard = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size = int.from_bytes(await reader.readexactly(4))
                message = await reader.readexactly(size - 4)
                if message != SSL_REQUEST:
                    break
                writer.write(b"N")
            writer.write(b"R" + (4 + len(self._asked)).to_bytes(4) + self._asked)
            self.heard = await reader.read(4096)
        writer.close()


@pytest.fixture
async def between() -> AsyncIterator[Callable[[bytes], Awaitable[tuple[Middle, int]]]]:
    """Start somebody in the middle; returns them and their port."""
    servers: list[asyncio.Server] = []

    async def start(asked: bytes) -> tuple[Middle, int]:
        middle = Middle(asked)
        servers.append(await asyncio.start_server(middle.serve, "127.0.0.1", 0))
        return middle, servers[-1].sockets[0].getsockname()[1]

    yield start
    for server in servers:
        server.close()


def connect(port: int, query: str = "") -> None:
    engine = open_engine(f"postgresql+psycopg://ras:{PASSWORD}@127.0.0.1:{port}/ras{query}")
    try:
        with engine.connect():
            pass
    finally:
        engine.dispose()


@pytest.mark.parametrize("asked", [CLEAR_TEXT, MD5, TRUST, SASL_PLAIN])
async def test_case_07_a_weaker_way_of_signing_in_is_refused_and_no_password_sent(
    between: Callable[[bytes], Awaitable[tuple[Middle, int]]], asked: bytes
) -> None:
    middle, port = await between(asked)
    with pytest.raises(OperationalError) as refused:
        await asyncio.to_thread(connect, port)
    assert PASSWORD.encode() not in middle.heard
    assert middle.heard in (b"", b"X\0\0\0\4")  # nothing, or goodbye
    assert PASSWORD not in str(refused.value)


async def test_case_07_the_same_middle_gets_the_password_when_the_operator_allows_it(
    between: Callable[[bytes], Awaitable[tuple[Middle, int]]],
) -> None:
    middle, port = await between(CLEAR_TEXT)
    with pytest.raises(OperationalError):
        await asyncio.to_thread(connect, port, "?require_auth=password")
    assert PASSWORD.encode() in middle.heard


async def test_case_07_tls_that_was_asked_for_is_not_given_up(
    between: Callable[[bytes], Awaitable[tuple[Middle, int]]],
) -> None:
    middle, port = await between(CLEAR_TEXT)
    with pytest.raises(OperationalError):
        await asyncio.to_thread(connect, port, "?sslmode=require")
    assert not middle.heard
