"""The simulator as a process, and its HTTP interface: what is true at the door, whatever Home Assistant shows."""

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from .errors import DemoError, RefusedError
from .ha_config import ROOT
from .processes import Child

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

_READY_SECONDS = 30.0


@dataclass(frozen=True)
class LockLabel:
    """What is printed on a lock's label."""

    id: str
    address: str
    name: str
    setup_code: str

    @property
    def radio_name(self) -> str:
        """What it calls itself on the radio: Home Assistant shows it under this name at first."""
        return f"IGRS-{self.id[-4:]}"


class Simulator:
    """The simulated locks, in a process of their own."""

    def __init__(self, child: Child, ready: dict[str, Any]) -> None:
        self.child = child
        self.hci_ports: list[int] = ready["hci"]
        self.url = f"http://127.0.0.1:{ready['http']}"
        self.locks = [LockLabel(**lock) for lock in ready["locks"]]
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))

    @classmethod
    async def start(cls, state: Path, log: Path, locks: int, options: Sequence[str] = ()) -> Self:
        """Start it with its locks' state in a folder.

        Raises DemoError when it does not become ready.
        """
        command = ["-m", "simulator", "--locks", str(locks), "--state", str(state), *options]
        child = await Child.start(
            "the simulator",
            [sys.executable, *command],
            log,
            {"PYTHONUNBUFFERED": "1"},
            ROOT,
            read_output=True,
        )
        try:
            return cls(child, json.loads(await child.first_line(_READY_SECONDS)))
        except BaseException:
            await child.stop()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop it; the locks keep their state."""
        await self._session.close()
        await self.child.stop()

    async def failed(self) -> None:
        """Wait until it ends without being asked to, and raise DemoError then."""
        await self.child.wait()
        raise self.child.ended()

    async def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request, with its JSON answer.

        Raises RefusedError with the simulator's words, DemoError when it is not there.
        """
        try:
            async with self._session.request(method, f"{self.url}{path}", json=body) as response:
                if response.status >= 400:
                    raise RefusedError(f"{path}: {response.status} {await response.text()}")
                return await response.json()
        except aiohttp.ClientError as err:
            raise DemoError(f"the simulator does not answer: {err}") from err

    async def truth(self, lock_id: str) -> dict[str, Any]:
        """How a lock really stands."""
        state: dict[str, Any] = await self.request("GET", f"/api/locks/{lock_id}")
        return state

    async def act(self, lock_id: str, action: str, **details: Any) -> dict[str, Any]:
        """Do something at a door, as a person in front of it would."""
        state: dict[str, Any] = await self.request(
            "POST", f"/api/locks/{lock_id}/{action}", details
        )
        return state

    async def trace(self, lock_id: str) -> list[dict[str, Any]]:
        """What happened at the lock and when (CLOCK_MONOTONIC, nanoseconds), for benches."""
        trace: list[dict[str, Any]] = await self.request("GET", f"/api/locks/{lock_id}/trace")
        return trace

    async def clear_trace(self, lock_id: str) -> None:
        """Begin a new trace."""
        await self.request("DELETE", f"/api/locks/{lock_id}/trace")
