"""Remote use for whoever tries the demo: connected by itself, and somebody invited as soon as there is a lock.

Each is done once. What its user removes or changes afterwards stays as it is, until a start with --fresh.
"""

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from . import owner
from .dashboard import DOMAIN, devices
from .errors import DemoError
from .ha_config import ROOT
from .progress import say

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .client import Client
    from .dashboard import Device
    from .ras import Ras

GUEST: Final = "Remote guest"
_SERVER: Final = "Server of the demo"
_LINK_SECONDS: Final = 7 * 86_400 - 600  # as the dialog suggests, less a little
_WRITTEN_SECONDS: Final = 20.0
_PYTHON, _CLIENT = ".venv/bin/python", "examples/rac/rac.py"


class Trial:
    """What was done so far, kept in a file that only its owner reads: an invitation lets in who has it."""

    def __init__(self, ras: Ras, folder: Path, tell: Callable[[str], None]) -> None:
        self._ras = ras
        self._file = folder / "ras" / "trial.json"
        self._keys = folder / "ras" / "guest.json"
        self._tell = tell
        self._told = False
        self._done: dict[str, Any] = (
            json.loads(self._file.read_text()) if self._file.exists() else {}
        )

    async def keep(self, client: Client) -> None:
        """Do what is not done yet, and tell once how to use it. What goes wrong is said and ends nothing else."""
        try:
            await self._connect(client)
            await self._some_lock(client)
            if "guest" not in self._done:
                await self._invite_guest(client)
            elif not self._keys.exists() and self._done.get("until", 0) < time.time():
                await self._invite(client)
            lock = await self._lock_of_guest(client)
        except (DemoError, aiohttp.ClientError, TimeoutError) as err:
            if client.connected:  # else Home Assistant starts again, and so does this
                say(f"remote use is not set up: {err}")
            return
        if lock is not None and not self._told:
            self._told = True
            self._tell(self._how(lock))

    async def _connect(self, client: Client) -> None:
        if "server" in self._done:
            return
        entry = await owner.connect(client, self._ras.url, await self._ras.make_place())
        self._save(server=entry)
        # Else it is called by its address.
        await client.command("config_entries/update", entry_id=entry, title=_SERVER)
        say("Home Assistant is connected to the remote access server")

    async def _some_lock(self, client: Client) -> None:
        """Wait until a lock is paired."""

        def is_there() -> bool:
            return any(entity.startswith("lock.") for entity in client.states)

        while not await devices(client):
            await client.wait_until(is_there, "a lock", None)
            await asyncio.sleep(1)  # its device comes with the first of its entities

    async def _invite_guest(self, client: Client) -> None:
        lock = (await devices(client))[0]
        await owner.make_reachable(client, self._done["server"], [lock.device_id])
        guest = await owner.add_person(client, GUEST, "guest", [lock.device_id])
        self._save(guest=guest, lock=lock.device_id)
        await self._invite(client)
        await self._written(client, lock)

    async def _lock_of_guest(self, client: Client) -> Device | None:
        """The lock that the guest was invited to; None if either is gone."""
        people = await client.subentries(await owner.people_entry(client))
        if all(person["subentry_id"] != self._done["guest"] for person in people):
            return None
        return next(
            (one for one in await devices(client) if one.device_id == self._done["lock"]), None
        )

    async def _invite(self, client: Client) -> None:
        link = await owner.invite(client, self._done["guest"])
        self._save(link=link, until=int(time.time()) + _LINK_SECONDS)

    async def _written(self, client: Client, lock: Device) -> None:
        """Wait until the lock knows the guest, so that the keys are there when somebody joins; not if it is out of reach."""
        deadline = time.monotonic() + _WRITTEN_SECONDS
        while time.monotonic() < deadline:
            answer = await client.ask(DOMAIN, "get_users", lock.entities[0])
            users = answer[lock.entities[0]]["users"]
            if any(user["name"] == GUEST and user["state"] == "active" for user in users):
                return
            await asyncio.sleep(0.2)

    def _how(self, lock: Device) -> str:
        """How to be that guest."""
        words = f"{_PYTHON} {_CLIENT} --state {_short(self._keys)}"
        lines = [
            f"\nRemote use: {GUEST} may operate {lock.name} from anywhere, here in a second terminal:\n"
        ]
        if not self._keys.exists():
            lines.append(f"  {words} join '{self._done['link']}'")
        lines += [
            f"  {words} unlock {lock.device_id}",
            f"  {words} watch\n",
            "The server in between reads none of it. The guest is in People in Home Assistant: take a right away,",
            "suspend or remove, and try again.",
        ]
        return "\n".join(lines)

    def _save(self, **what: Any) -> None:
        self._done |= what
        self._file.touch(mode=0o600)
        self._file.write_text(json.dumps(self._done))


def _short(path: Path) -> str:
    """A path as one types it in the checkout."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
