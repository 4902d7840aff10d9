"""Client of Home Assistant's Supervisor: how Home Assistant learns of the app (docs/ras.md, "App discovery").

The Supervisor hands a message of the app to the integration of the same name. It keeps the message in a file, as plain
text, so the enrolment code in it works over the local listener only and until it was used; then the message is
replaced by one without a code.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self, override

import aiohttp

if TYPE_CHECKING:
    from types import TracebackType

_LOGGER = logging.getLogger(__name__)

SERVICE: Final = "igrs_lock"  # the integration's domain, and `discovery:` in config.yaml
TOKEN_VARIABLE: Final = "SUPERVISOR_TOKEN"  # noqa: S105  the variable's name
ADDRESS: Final = "http://supervisor"
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0  # seconds

type Code = Callable[[], Awaitable[str | None]]
type Pause = Callable[[float], Awaitable[None]]


class SupervisorError(Exception):
    """The Supervisor did not do what was asked. The text holds no token and nothing of the request."""


class Supervisor:
    """The calls of the Supervisor's interface that any app may make, with the token that it gave to this one."""

    def __init__(self, token: str, address: str = ADDRESS) -> None:
        self._session = aiohttp.ClientSession(
            address, headers={"Authorization": f"Bearer {token}"}, timeout=_TIMEOUT
        )

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the client's connections."""
        await self._session.close()

    @override
    def __repr__(self) -> str:
        return "<Supervisor>"

    async def hostname(self) -> str:
        """Return this app's name on the Supervisor's network. Raises SupervisorError."""
        name = (await self._ask("GET", "/addons/self/info")).get("hostname")
        if not isinstance(name, str) or not name:
            raise SupervisorError("the Supervisor did not say what this app's name is")
        return name

    async def discover(self, service: str, config: dict[str, Any]) -> None:
        """Give the message about a service, in place of the one before. Raises SupervisorError."""
        await self._ask("POST", "/discovery", {"service": service, "config": config})

    async def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        try:
            async with self._session.request(
                method, path, json=body, allow_redirects=False
            ) as answer:
                if answer.status != HTTPStatus.OK:
                    raise SupervisorError(f"the Supervisor answered {answer.status} to {path}")
                read = await answer.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            # Not chained: aiohttp's errors may show the request with its headers.
            raise SupervisorError(f"{path}: {type(error).__name__}") from None
        if not isinstance(read, dict) or read.get("result") != "ok":
            raise SupervisorError(f"the Supervisor refused {path}")
        data = read.get("data")
        return data if isinstance(data, dict) else {}


class Discovery:
    """Keeps Home Assistant's message about this server true, as long as `run` runs.

    `code` is asked before each message and returns the enrolment code that a home may use now, or None once one was
    used. While a code is unused it should return the same again: the Supervisor drops a message that is like the one
    before, and a dialog that is open in Home Assistant keeps a code that works. `server_key` and the code are in the
    form in which the message carries them; `port` is the local listener's.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        port: int,
        server_key: str,
        code: Code,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._supervisor = supervisor
        self._port = port
        self._server_key = server_key
        self._code = code
        self._pause = pause
        self._changed = asyncio.Event()

    def used(self) -> None:
        """Say that the code was used or has ended, so that the message is replaced."""
        self._changed.set()

    async def run(self) -> None:
        """Announce this server now and after each change, until cancelled."""
        while True:
            self._changed.clear()
            await self._announce()
            await self._changed.wait()

    async def _announce(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._supervisor.discover(SERVICE, await self._message())
            except SupervisorError as error:
                if pause == _FIRST_PAUSE:  # said once, however long it lasts
                    _LOGGER.warning("Home Assistant does not know of this server yet: %s", error)
                await self._pause(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                _LOGGER.info("Home Assistant knows of this server")
                return

    async def _message(self) -> dict[str, Any]:
        host = await self._supervisor.hostname()
        code = await self._code()
        message = {"host": host, "port": self._port, "server_key": self._server_key}
        return message if code is None else message | {"code": code}
