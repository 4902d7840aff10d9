"""Calls of the server's HTTP interface, with answers read as strictly as everything that a server says."""

import json
import ssl
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from .errors import BadAnswerError, CertificateError, UnreachableError, server_says
from .wire import Fields, MalformedError, read_json

if TYPE_CHECKING:
    from pathlib import Path

ANSWER_MAX: Final = 1024 * 1024
PATIENCE: Final = 15.0


class Http:
    """Calls to one server. It keeps no cookies and follows no redirect: a token goes to no other server.

    Args:
        url: as `links.check_address` returns it.
        ca: a file with certificates (PEM) to trust instead of the system's.
    """

    def __init__(self, url: str, ca: Path | None = None) -> None:
        self.url = url
        self._ssl: ssl.SSLContext | bool = True
        if ca is not None:
            try:
                self._ssl = ssl.create_default_context(cafile=str(ca))
            except (OSError, ssl.SSLError) as error:
                raise CertificateError(f"{ca.name} is no file of certificates") from error
        self._session: aiohttp.ClientSession | None = None

    async def call(self, method: str, path: str, body: Any = None, token: str = "") -> Fields:
        """Call; return `data` (empty if there is none). Kin of ServerSaysError, UnreachableError, BadAnswerError."""
        headers = {"Accept-Encoding": "identity"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        try:
            async with self._client().request(
                method, self.url + path, data=data, headers=headers, ssl=self._ssl,
                allow_redirects=False, timeout=aiohttp.ClientTimeout(total=PATIENCE),
            ) as response:  # fmt: skip
                text = bytearray()
                async for chunk in response.content.iter_chunked(16 * 1024):
                    text += chunk
                    if len(text) > ANSWER_MAX:
                        raise BadAnswerError
        except aiohttp.ClientConnectorCertificateError as error:
            raise CertificateError from error
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise UnreachableError(type(error).__name__) from error
        return _answer(bytes(text))

    async def connect(
        self, path: str, protocol: str, largest: int
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a socket, without compression. Kin of NotSentError."""
        try:
            return await self._client().ws_connect(
                self.url + path, protocols=[protocol], compress=0, ssl=self._ssl,
                max_msg_size=largest, timeout=aiohttp.ClientWSTimeout(ws_close=5),
            )  # fmt: skip
        except aiohttp.ClientConnectorCertificateError as error:
            raise CertificateError from error
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise UnreachableError(type(error).__name__) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), middlewares=(_no_redirect,)
            )
        return self._session


async def _no_redirect(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Follow none, also where aiohttp would: before a socket is open."""
    response = await handler(request)
    if 300 <= response.status < 400:
        response.close()
        raise aiohttp.ClientError("sent on to somewhere else")
    return response


def _answer(text: bytes) -> Fields:
    try:
        answer = Fields(read_json(text))
        status = answer.integer("status", 0, 1000)
        if status:
            raise server_says(status, answer.remark("message"))
        data = read_json(text).get("data")
        return Fields({} if data is None else data)
    except MalformedError as error:
        raise BadAnswerError from error
