"""The scripted home as a program. Its state, with its keys, is in one file (mode 0600).

`run` is the gateway itself and stays connected. All other commands but `enrol` go to it over a Unix socket beside the
state file, since a site has one link. Whoever can open the socket can do what the home can, so it is its owner's alone.
"""

import argparse
import asyncio
import contextlib
import json
import secrets
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import stand_in
from cryptography.exceptions import InvalidSignature
from home import Home
from home_state import from_state, to_state
from peer import Closed, Denied, fingerprint, unb64
from program import ProgramError, explain, read_state, run, write_state

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from home import HomeRelay

REVOKED, COPY = 4403, 4409
OUT_OF_TIME, REFUSED_BY_HOME, REFUSED_BY_LOCK = 33, 35, 36
LINK = 5.0  # seconds that a command waits for the link
STATES = 60.0  # seconds after which the state of a followed lock is sent again

type Verb = Callable[..., Awaitable[dict[str, Any]]]


def say(text: str) -> None:
    """Write a line at once: the gateway's output is usually a file."""
    print(text, flush=True)


class Gateway:
    """A home that stays connected, and does what it is told over its socket."""

    def __init__(self, file: Path, longest_wait: float) -> None:
        state = read_state(file)
        self.file = file
        self.socket = file.with_name(f"{file.name}.socket")
        self.home = from_state(state)
        self._secret = bytes.fromhex(state["secret"])  # of which the stand-in locks' keys are made
        self._longest_wait = longest_wait
        self._followed: list[str] = []
        self._linked = asyncio.Event()  # connected, and the lists are in line
        self._why_not = ""  # what was said last about the missing link
        self._stop = asyncio.Event()
        self.home.store = self._store
        self.home.keys = lambda person, device: {
            "key": stand_in.key_for(self._secret, person, device).hex()
        }
        self.home.on_relay = self._relay
        self.home.on_follow = self._follow
        self.verbs: dict[str, Verb] = {
            "status": self.status, "audit": self.audit, "owner-code": self.owner_code, "invite": self.invite,
            "withdraw": self.withdraw, "register-lock": self.register_lock, "remove-lock": self.remove_lock,
            "members": self.members, "remove-member": self.remove_member,
        }  # fmt: skip

    def _store(self) -> None:
        write_state(self.file, to_state(self.home) | {"secret": self._secret.hex()})

    # The link.

    async def serve(self) -> None:
        """Stay connected until SIGTERM. Raises ProgramError when there is nothing to connect to any more."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        with contextlib.suppress(FileNotFoundError):
            self.socket.unlink()
        server = await asyncio.start_unix_server(self._command, self.socket)
        self.socket.chmod(0o600)
        try:
            while not self._stop.is_set():
                await self._stay_connected()
        finally:
            server.close()
            self.socket.unlink(missing_ok=True)
            await self.home.close()

    async def _stay_connected(self) -> None:
        """Connect; return when the link has ended, after a while by chance, so that not all homes come at once."""
        home = self.home
        home.seq = home.acked  # what was taken and not worked off comes again
        try:
            await home.connect()
            say("connected" + (": the server was put back from a copy" * home.restored))
            self._why_not = ""
            await home.fetch_audit()
            self._linked.set()
            await self._until_ended()
        except InvalidSignature as error:
            raise ProgramError("the server does not prove the key that was pinned") from error
        except (Closed, Denied, TimeoutError, aiohttp.ClientError, ConnectionError) as error:
            if isinstance(error, Closed) and error.code in (REVOKED, COPY):
                raise ProgramError(explain(error)) from error
            if (why := explain(error)) != self._why_not:
                say(f"not connected: {why}")
            self._why_not = why
        self._linked.clear()
        if home.connected:
            await home.peer.close()
        if not self._stop.is_set():
            wait = secrets.SystemRandom().uniform(0, self._longest_wait)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait)

    async def _until_ended(self) -> None:
        """Keep the link until it ends or this program does. Raises what ended the link."""
        peer = self.home.peer
        tasks: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(peer.heartbeat()),
            asyncio.ensure_future(self._tell_states()),
            asyncio.ensure_future(self._stop.wait()),
        ]
        try:
            await asyncio.wait([peer.closed, *tasks], return_when=asyncio.FIRST_COMPLETED)
            if peer.closed.done():
                raise Closed(peer.closed.result())
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # Relays and states.

    async def _relay(self, relay: HomeRelay) -> None:
        """Open a client's messages, and answer in the lock's place; refuse what is late or whose sender may not."""
        ahead = self.home.peer.ahead  # asked again with each heartbeat
        if ahead is None or self.home.now() + ahead >= relay.expires:
            await relay.end("expired", OUT_OF_TIME)
            return
        member = self.home.members.get(relay.user)
        if member is None or relay.device not in member.locks:
            await relay.end("failed", REFUSED_BY_HOME)
            return
        key = stand_in.key_for(self._secret, member.person, relay.device)
        while (message := await relay.receive()) is not None:
            await relay.sent_to_lock()
            text = stand_in.unseal(key, message)
            if text is None:
                await relay.end("failed", REFUSED_BY_LOCK)
                return
            say(f"lock {relay.device}: {text!r} from user {relay.user}")
            await relay.send(stand_in.seal(key, f"{relay.device} heard: {text}"))

    async def _follow(self, devices: list[str]) -> None:
        self._followed = devices
        await self._send_states()

    async def _send_states(self) -> None:
        for device in self._followed:
            seconds = self.home.now() // 1000
            advertisement, seen = stand_in.advertised(self._secret, device, seconds)
            await self.home.send_state(device, advertisement, seconds, seen)

    async def _tell_states(self) -> None:
        while True:
            await asyncio.sleep(STATES)
            await self._send_states()
            await self.home.send_owed()  # what the server did not take at once

    # Commands.

    async def _command(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = json.loads(await reader.readline())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._linked.wait(), LINK)
            answer = await self.verbs[asked.pop("verb")](**asked)
        except (ProgramError, Denied, Closed, TimeoutError, aiohttp.ClientError) as error:
            answer = {"error": explain(error)}
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
        writer.close()

    async def status(self) -> dict[str, Any]:
        """Tell how the home is."""
        home = self.home
        return {
            "connected": home.connected,
            "server": home.url,
            "fingerprint": fingerprint(home.server_key),
            "site": home.site,
            "gateway": home.gateway,
            "locks": ", ".join(sorted(home.locks)) or "none",
            "members": len(home.members),
            "invitations": len(home.invitations),
        }

    async def audit(self) -> dict[str, Any]:
        """Tell how far the server's record was followed, and what did not hold."""
        await self.home.fetch_audit()
        index, head = self.home.audit or (0, b"")
        return {
            "holds": not self.home.audit_problems,
            "checked up to entry": index,
            "head": f"{index}:{head.hex()}" if index else "none",
            **{f"problem {i}": text for i, text in enumerate(self.home.audit_problems, 1)},
            **{
                f"before a restore {i}": f"{index}:{head.hex()}"
                for i, (index, head) in enumerate(self.home.old_audits, 1)
            },
        }

    async def owner_code(self) -> dict[str, Any]:
        """Make a code for an owner's account."""
        return {"owner code": await self.home.owner_code()}

    async def invite(self) -> dict[str, Any]:
        """Make an invitation for all locks."""
        item = await self.home.invite()
        return {"link": f"{self.home.url}/#{self.home.url},{item.id},{item.secret.hex()}"}

    async def withdraw(self, invitation: str) -> dict[str, Any]:
        """Withdraw an invitation."""
        await self.home.withdraw(invitation)
        return {"withdrawn": invitation}

    async def register_lock(self, device: str) -> dict[str, Any]:
        """Register a lock; owners may use it at once."""
        await self._token()
        await self.home.register_lock(device)
        for user, member in list(self.home.members.items()):
            if member.role == "owner":
                await self.home.set_member(user, "owner", [*member.locks, device])
        return {"registered": device}

    async def remove_lock(self, device: str) -> dict[str, Any]:
        """Remove a lock."""
        await self._token()
        await self.home.remove_lock(device)
        return {"removed": device}

    async def _token(self) -> None:
        self.home.token = (await self.home.request("token"))["token"]

    async def members(self) -> dict[str, Any]:
        """List the members, as the home knows them: it decides."""
        return {
            user: f"{member.role} {' '.join(member.locks)}".strip()
            for user, member in sorted(self.home.members.items())
        }

    async def remove_member(self, user: str) -> dict[str, Any]:
        """End a membership."""
        await self.home.end_member(user)
        return {"removed": user}


async def enrol(file: Path, url: str, code: str, expected: str) -> None:
    """Make the state file, after comparing the server's fingerprint."""
    if file.exists():
        raise ProgramError(f"{file} is there already: a home enrols once")
    home = Home(url)
    try:
        key = unb64((await home.http.call("GET", "/api/v1/server"))["key"])
        if fingerprint(key).replace(" ", "") != expected.replace(" ", "").lower():
            raise ProgramError(f"this is another server: its fingerprint is {fingerprint(key)}")
        # Written first, so that no key is enrolled that is nowhere.
        secret = secrets.token_bytes(32).hex()
        home.store = lambda: write_state(file, to_state(home) | {"secret": secret})
        home.server_key = key
        home.store()
        try:
            await home.enrol(code, key)
        except Denied:
            file.unlink()
            raise
    finally:
        await home.close()
    show({"site": home.site, "gateway": home.gateway})


async def reach(socket: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open the running gateway's socket; it may have been started just now. Raises ProgramError."""
    for _ in range(int(LINK / 0.1)):
        with contextlib.suppress(OSError):
            return await asyncio.open_unix_connection(socket)
        await asyncio.sleep(0.1)
    raise ProgramError("the gateway does not run: home.py run")


async def tell(file: Path, verb: str, given: dict[str, Any]) -> None:
    """Let the running gateway do something."""
    reader, writer = await reach(file.with_name(f"{file.name}.socket"))
    writer.write(json.dumps({"verb": verb, **given}).encode() + b"\n")
    answer = json.loads(await reader.readline() or b'{"error": "the gateway ended"}')
    writer.close()
    if "error" in answer:
        raise ProgramError(answer["error"])
    show(answer)


def show(answer: dict[str, Any]) -> None:
    """Print an answer for people."""
    for name, value in answer.items():
        say(f"{name}: {('no', 'yes')[value] if isinstance(value, bool) else value}")


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(
        prog="home.py", description="A scripted home of the remote access server: a gateway without a radio."
    )  # fmt: skip
    parser.add_argument("--state", type=Path, default=Path("home.json"), metavar="FILE",
                        help="keys and everything else to remember (home.json)")  # fmt: skip
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    made = verbs.add_parser("enrol", help="become a site's gateway; once")
    made.add_argument("url", help="the server's address")
    made.add_argument("code", help="of igrs-ras gateway code")
    made.add_argument("fingerprint", help="of the same, to be sure which server this is")
    made = verbs.add_parser("run", help="stay connected; the other commands need it")
    made.add_argument("--wait", type=float, default=60.0, metavar="SECONDS",
                      help="longest time before it connects again, chosen by chance (60)")  # fmt: skip
    for name, text, argument in (
        ("status", "how it is", ""),
        ("audit", "whether the server's signed record holds", ""),
        ("owner-code", "a code for an owner's account, good for an hour, once", ""),
        ("invite", "a link for one person, for all locks, good for a day", ""),
        ("withdraw", "withdraw an invitation", "invitation"),
        ("register-lock", "register a lock", "device"),
        ("remove-lock", "remove a lock", "device"),
        ("members", "who is a member", ""),
        ("remove-member", "end a membership", "user"),
    ):
        made = verbs.add_parser(name, help=text)
        if argument:
            made.add_argument(argument)
    given = vars(parser.parse_args())
    file, verb = given.pop("state"), given.pop("verb")
    if verb == "enrol":
        run("home.py", enrol(file, given["url"], given["code"], given["fingerprint"]))
    if verb == "run":
        run("home.py", serve(file, given["wait"]))
    run("home.py", tell(file, verb, given))


async def serve(file: Path, longest_wait: float) -> None:
    """Be the gateway."""
    await Gateway(file, longest_wait).serve()
