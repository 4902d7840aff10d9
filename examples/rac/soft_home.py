"""A home in one process: a gateway that is linked to a server, and a lock without hardware. No Home Assistant, no radio.

For tests and trials of remote clients. What a real gateway does besides: it checks every message before the radio, asks
people, stores what it knows. Here nothing is stored, so the home is gone when the program ends.

As a library, for tests:

async with SoftHome(url).running(code) as home:
    link = await home.link()

As a program: `python examples/rac/soft_home.py --help`.
"""

import argparse
import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples/ras"))
sys.path.append(str(Path(__file__).resolve().parents[2] / "custom_components/igrs_lock"))

from home import Home
from ilp import Kind, Right, advertisement_key, format_account_id, seen_proof
from peer import Closed, b64, fingerprint, unb64
from program import ProgramError, run
from soft_lock import Connection, SoftLock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from home_parts import HomeRelay, Invitation, Member

RIGHTS = (
    Right.LOCK | Right.UNLOCK | Right.OPEN | Right.READ_LOG | Right.FOLLOW_STATE | Right.REMOTE_USE
)
FRESH = 45.0  # seconds after which a followed lock's state is sent again
_TO_LOCK = (Kind.CHALLENGE_REQUEST, Kind.SESSION_OPEN, Kind.SEALED)


class SoftHome(Home):
    """A gateway with one lock. `lock` is the lock, `accounts` who may use it: person → (account id, slot, key)."""

    def __init__(
        self, url: str, *, name: str = "Front door", travel: float = 0.05, **given: Any
    ) -> None:
        super().__init__(url, **given)
        self.name = name
        self.lock = SoftLock(travel=travel)
        self.lock.pair()
        self.lock.on_advertise = self._advertised
        self.heard_at = int(time.time())
        self.rights = RIGHTS
        self.accounts: dict[str, tuple[bytes, int, bytes]] = {}
        self.carried = 0  # messages to and from the lock
        self.keys = self._keys_of
        self.on_relay = self._carry
        self.on_follow = self._follow
        self._followed = False
        self._beating: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def running(self, code: str, server_key: bytes | None = None) -> AsyncGenerator[SoftHome]:
        """Enrol with a code, connect, register the lock, and stay connected for a block."""
        try:
            await self.enrol(code, server_key)
            await self.connect()
            await self.register_lock(self.lock.device, int(self.lock.core.capabilities))
            self._beating = [
                asyncio.create_task(work) for work in (self.peer.heartbeat(), self._repeat())
            ]
            yield self
        finally:
            for task in self._beating:
                task.cancel()
            await asyncio.gather(*self._beating, return_exceptions=True)
            self.lock.close()
            await self.close()

    async def link(self, address: str = "rac:") -> str:
        """Invite somebody; return the link."""
        item = await self.invite()
        return self.link_of(item, address)

    def link_of(self, item: Invitation, address: str = "rac:") -> str:
        """Return an invitation's link."""
        return f"{address}#{self.url},{item.id},{item.secret.hex()}"

    def _keys_of(self, person: str, _device: str) -> dict[str, Any]:
        """A person's keys of the lock. The account may do nothing before the box was opened."""
        account_id, slot, key = self._account(person)
        return {
            "name": self.name,
            "slot": slot,
            "account": format_account_id(account_id),
            "key": b64(key),
            "advertisement_key": b64(advertisement_key(self.lock.lock_key, self.lock.epoch)),
            "epoch": self.lock.epoch,
            "rights": int(self.rights),
            "capabilities": int(self.lock.core.capabilities),
        }

    def _account(self, person: str) -> tuple[bytes, int, bytes]:
        if person not in self.accounts:
            self.accounts[person] = self.lock.new_account()
        return self.accounts[person]

    async def admit(self, item: Invitation) -> None:
        """The box was opened: enable the account, then let the person in at the server."""
        if item.kind == "guest":
            self.lock.allow(self._account(item.person)[1], self.rights | Right.ENABLED)
        await super().admit(item)

    async def remove_person(self, person: str) -> None:
        """End a person everywhere; the others get the keys of the new epoch."""
        self.lock.remove_account(self.accounts.pop(person)[0])
        for user, member in list(self.members.items()):
            if member.person == person:
                await self.end_member(user)
            else:
                await self.send_keys(user, member)

    async def send_keys(self, user: str, member: Member) -> None:
        """Send a member's keys as they are now."""
        await self.update_keys(user, self.box(member.person, member.locks))

    # --- states

    def _advertised(self, data: bytes) -> None:
        self.heard_at = int(time.time())
        if self._followed:
            self._later(self._tell(data))

    async def _follow(self, devices: list[str]) -> None:
        self._followed = self.lock.device in devices
        if self._followed:
            await self._tell(self.lock.data)

    async def _tell(self, data: bytes) -> None:
        key = advertisement_key(self.lock.lock_key, self.lock.epoch)
        seen = seen_proof(key, self.lock.device_id, data, self.heard_at)
        await self.send_state(self.lock.device, data, self.heard_at, seen)

    async def _repeat(self) -> None:
        """The lock is heard all the time, so its state is heard now."""
        while True:
            await asyncio.sleep(FRESH)
            self._advertised(self.lock.data)

    # --- relays

    async def _carry(self, relay: HomeRelay) -> None:
        """Carry messages both ways over a connection of the relay's own, until the client has enough."""
        connection = Connection(self.lock)
        back = asyncio.create_task(self._carry_back(relay, connection))
        try:
            while (data := await relay.receive()) is not None:
                if not data or data[0] not in _TO_LOCK:
                    await relay.end("failed", 10)
                    return
                self.carried += 1
                connection.send(data)
                await relay.sent_to_lock()
        finally:
            back.cancel()
            connection.close()

    async def _carry_back(self, relay: HomeRelay, connection: Connection) -> None:
        with contextlib.suppress(Closed, ConnectionError):
            while (message := await connection.heard.get()) is not None:
                self.carried += 1
                await relay.send(message)


async def serve(url: str, code: str, expected: str, name: str, invitations: int) -> None:
    """Be a home until the program is ended."""
    home = SoftHome(url, name=name, travel=0.5)
    key = unb64((await home.http.call("GET", "/api/v1/server"))["key"])
    if expected.replace(" ", "") != fingerprint(key).replace(" ", ""):
        home.lock.close()
        await home.close()
        raise ProgramError("this is another server: its fingerprint differs")
    async with home.running(code, key):
        for _ in range(invitations):
            print(f"invitation: {await home.link()}", flush=True)
        await home.peer.closed
    raise ProgramError("the link to the server has ended, and with it this home")


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(
        prog="soft_home.py", description="A home with one lock in one process, to try remote clients with. It ends with the program."
    )  # fmt: skip
    parser.add_argument("server", help="the server's address")
    parser.add_argument("code", help="an enrolment code: igrs-ras gateway code --new-site Home")
    parser.add_argument(
        "fingerprint", help="the server's fingerprint, which the same command prints"
    )
    parser.add_argument("--name", default="Front door", help="the lock's name (Front door)")
    parser.add_argument(
        "--invitations", type=int, default=1, metavar="N", help="links to print (1)"
    )
    given = parser.parse_args()
    run(
        "soft_home.py",
        serve(given.server, given.code, given.fingerprint, given.name, given.invitations),
    )


if __name__ == "__main__":
    main()
