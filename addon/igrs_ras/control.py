"""The command line's way into a running server: a Unix socket in the data folder, for the server's own user and root.

One connection carries one verb: a line of JSON `{"verb", "arguments"}` and a line back, `{"data"}` or `{"error"}`.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from igrs_ras.status import Refused

if TYPE_CHECKING:
    from igrs_ras.ras import Ras

_LOGGER = logging.getLogger(__name__)

NAME = "control"
LINE = 256 * 1024
PATIENCE = 5.0  # seconds for the request; the answer may take longer, e.g. a backup's
LONGEST = 100  # bytes of a socket's path that every system takes


class VerbError(Exception):
    """A verb failed. The text is one line that says what to do next; `code` is the command's exit status."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


USAGE, REFUSED, NOT_READY, AUDIT_BROKEN = 2, 3, 4, 5


class Control:
    """Listens while the server runs."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        self._path = ras.settings.folder / NAME
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. A socket that a killed server left is replaced: the data folder is ours alone."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            with _short(self._path) as path:
                listening.bind(path)
        except OSError:
            listening.close()
            raise
        finally:
            os.umask(mask)
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=LINE)

    async def tick(self) -> None:
        """Nothing is due."""

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not _is_ours(writer.get_extra_info("socket")):
                return
            async with asyncio.timeout(PATIENCE):
                line = await reader.readline()
            answer = await self._answer(line)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (TimeoutError, ValueError, OSError) as error:
            _LOGGER.warning("a request of the command line failed: %s", type(error).__name__)
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        from igrs_ras.admin import run  # noqa: PLC0415  most servers are never asked

        try:
            request = json.loads(line)
            return {"data": await run(self._ras, request["verb"], request["arguments"])}
        except VerbError as error:
            return {"error": {"code": error.code, "text": error.text}}
        except Refused as error:
            return {"error": {"code": NOT_READY, "text": f"{error}: see the server's log"}}
        except ValueError, KeyError, TypeError:
            _LOGGER.exception("a request of the command line could not be done")
            return {
                "error": {
                    "code": USAGE,
                    "text": "the server did not understand: is it the same version?",
                }
            }
        except Exception:
            _LOGGER.exception("a request of the command line could not be done")
            return {"error": {"code": NOT_READY, "text": "the server failed: see its log"}}


def _is_ours(connection: Any) -> bool:
    """Tell whether the other end is the same user or root; where the system cannot say, the file's mode has to do."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in (0, os.geteuid())


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a path that fits into a socket's address, by way of an open handle of its folder if need be."""
    if len(os.fsencode(path)) <= LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def ask(folder: Path, verb: str, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """Let the running server do a verb; return its data, None if no server runs. Blocks.

    Raises VerbError.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            with _short(folder / NAME) as path:
                connection.connect(path)
        except FileNotFoundError, ConnectionRefusedError, NotADirectoryError:
            return None
        except PermissionError as error:
            raise VerbError(
                NOT_READY, "the server's control socket is another user's: run this as that user"
            ) from error
        try:
            connection.sendall(json.dumps({"verb": verb, "arguments": arguments}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                answer = json.loads(stream.readline())
        except (OSError, ValueError) as error:
            raise VerbError(
                NOT_READY, "the server ended before it answered: see its log, then try again"
            ) from error
    if "error" in answer:
        raise VerbError(answer["error"]["code"], answer["error"]["text"])
    data: dict[str, Any] = answer["data"]
    return data
