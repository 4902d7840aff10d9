"""The remote access client as a program: `python examples/rac/rac.py --help`. docs/remote-client.md describes it.

Its exit status: 0 done; 2 a wrong command line; 3 nothing was sent, or somebody on the way refused; 4 the lock itself
refused, so nothing was done, or says that it is jammed; 5 nobody can tell what came of it.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import getpass
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from igrs_rac import (
    Done,
    LockRefusedError,
    Memory,
    RacError,
    RemoteClient,
    UnconfirmedError,
    View,
    read_link,
)
from igrs_rac.errors import JammedError, JoinPendingError, NoSuchLockError
from igrs_rac.http import Http
from igrs_rac.joining import mail_code, second_step, sign_in
from igrs_rac.texts import describe, describe_record, done_text

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

DONE, COULD_NOT, REFUSED, UNKNOWN = 0, 3, 4, 5
JOIN_SECONDS = 20.0
CONNECT_SECONDS = 15.0
SETTLE_SECONDS = 5.0  # for the first states to come
NO_LOCKS = "no locks: the home has given none yet, or lets you use none from afar now"


def find(memory: Memory, name: str) -> str:
    """Return the device of a lock by its name or device identifier. Raises NoSuchLockError."""
    wanted = name.casefold()
    found = [
        device
        for device, keys in memory.locks.items()
        if wanted in (keys.name.casefold(), device.casefold())
    ]
    if len(found) == 1:
        return found[0]
    if not memory.locks:
        raise NoSuchLockError(NO_LOCKS)
    why = "more than one has this name: give its number; " if found else ""
    raise NoSuchLockError(f"{why}see the command locks")


async def join(file: Path, link: str, name: str, ca: Path | None) -> int:
    """Join a home by a link; run again, it goes on."""
    memory = Memory.begin(file, read_link(link), name)
    async with RemoteClient(memory, ca=ca) as client:
        try:
            await client.joined(JOIN_SECONDS)
        except JoinPendingError as error:
            print(error)
            return COULD_NOT
    print(f"joined as {memory.person_name or memory.name}")
    for keys in memory.locks.values():
        print(f"{keys.name}: {keys.device}")
    if not memory.locks:
        print(NO_LOCKS)
    return DONE


async def enter(file: Path, email: str, ca: Path | None) -> int:
    """Sign in with e-mail address and password, and a second step where there is one."""
    memory = Memory.load(file)
    http = Http(memory.url, ca)
    try:
        methods = await sign_in(memory, http, email, await asyncio.to_thread(getpass.getpass))
        if methods:
            codes = [method for method in ("totp", "mail", "recovery") if method in methods]
            if not codes:
                print("the second step needs a passkey, which only a browser has")
                return COULD_NOT
            if codes[0] == "mail":
                await mail_code(memory, http)
            code = await asyncio.to_thread(input, f"code ({codes[0]}): ")
            await second_step(memory, http, codes[0], code)
    finally:
        await http.close()
    print("signed in")
    return DONE


async def with_client(
    file: Path, ca: Path | None, work: Callable[[RemoteClient], Coroutine[None, None, int]]
) -> int:
    """Connect, do something, and close."""
    async with RemoteClient(Memory.load(file), ca=ca) as client:
        await client.connected(CONNECT_SECONDS)
        return await work(client)


async def first_states(client: RemoteClient) -> None:
    """Wait a little for a first state of each lock."""
    changed = asyncio.Event()
    client.listen(lambda _device: changed.set())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_SECONDS):
            while any(lock.view.bolt is None for lock in client.locks.values()):
                changed.clear()
                await changed.wait()


async def locks(client: RemoteClient) -> int:
    """Print all locks and what is known of them."""
    await first_states(client)
    online = await client.online()
    for device, lock in client.locks.items():
        said = {True: "home connected", False: "home not connected", None: "no remote use"}
        print(f"{lock.keys.name} ({device}): {describe(lock.view)}; the server says: {said[online.get(device)]}")  # fmt: skip
    if not client.locks:
        print(NO_LOCKS)
    return DONE


async def watch(client: RemoteClient, count: int) -> int:
    """Print what is known whenever it changes, and when it gets old, `count` lines or until interrupted."""
    changed = asyncio.Event()
    client.listen(lambda _device: changed.set())
    shown: dict[str, str] = {}
    down = ""
    printed = 0
    while True:
        if (now_down := str(client.down or "")) != down:
            down = now_down
            print(down or "connected again", flush=True)
        if client.over and client.down is not None:
            raise client.down
        for device, lock in client.locks.items():
            view = lock.view
            if (text := describe(view, age=False)) != shown.get(device):
                shown[device] = text
                print(f"{lock.keys.name}: {describe(view)}", flush=True)
                printed += 1
                if count and printed >= count:
                    return DONE
        changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), 1)  # ages go on without a word from anybody


async def operate(client: RemoteClient, name: str, verb: str, *, warm: bool) -> int:
    """Lock, unlock or open, and print what the lock says."""
    device = find(client.memory, name)
    if warm:
        await client.prewarm(device)
    await first_states(client)
    done: Done = await {
        "lock": client.lock_it, "unlock": client.unlock, "open": client.open,
    }[verb](device)  # fmt: skip
    print(f"{client.lock(device).keys.name}: {done_text(done)}")
    return DONE


async def status(client: RemoteClient, name: str) -> int:
    """Ask the lock itself."""
    device = find(client.memory, name)
    view: View = await client.status(device)
    print(f"{client.lock(device).keys.name}: {describe(view)}")
    return DONE


async def log(client: RemoteClient, name: str) -> int:
    """Print the lock's log."""
    device = find(client.memory, name)
    own = client.lock(device).keys.slot
    for record in await client.log(device):
        when = "time not known"
        if record.timestamp:
            when = f"{dt.datetime.fromtimestamp(record.timestamp).astimezone():%Y-%m-%d %H:%M:%S}"
        print(f"{when}  {describe_record(record, own)}")
    return DONE


def exit_status(error: RacError) -> int:
    """Return the exit status of an error."""
    if isinstance(error, (LockRefusedError, JammedError)):
        return REFUSED
    if isinstance(error, UnconfirmedError):
        return UNKNOWN
    return COULD_NOT


def run(work: Coroutine[None, None, int]) -> int:
    """Run a command; return the exit status."""
    try:
        return asyncio.run(work)
    except RacError as error:
        print(f"rac.py: {error}", file=sys.stderr)
        return exit_status(error)
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argparse.ArgumentParser(
        prog="rac.py",
        description="Operate the locks of a home from far away. The server in between can read none of it.",
        epilog="Exit status: 0 done; 2 wrong command; 3 nothing sent, or refused on the way; 4 the lock refused or is jammed; 5 outcome unknown.",
    )  # fmt: skip
    made.add_argument("--state", type=Path, default=Path("rac.json"), metavar="FILE",
                      help="keys and session; whoever has this file has your keys (rac.json)")  # fmt: skip
    made.add_argument("--ca", type=Path, metavar="FILE", help="certificates to trust instead of the system's")  # fmt: skip
    made.add_argument("--debug", action="store_true", help="say what is dropped")
    verbs = made.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    verb = verbs.add_parser("join", help="join a home by an invitation's link")
    verb.add_argument("link")
    verb.add_argument("--name", default="Remote client", help="what the home's owner sees")
    verb = verbs.add_parser("sign-in", help="sign in again, once the session has ended")
    verb.add_argument("email")
    verbs.add_parser("locks", help="all locks and what is known of them")
    verb = verbs.add_parser("watch", help="print states as they come")
    verb.add_argument("--count", type=int, default=0, metavar="N", help="end after so many lines")
    for name, text in (
        ("lock", "lock"), ("unlock", "unlock"), ("open", "unlock and pull the latch"),
    ):  # fmt: skip
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("name")
        verb.add_argument("--prewarm", action="store_true", help="let the home connect to the lock first")  # fmt: skip
    for name, text in (("status", "ask the lock how it is"), ("log", "read the lock's log")):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("name")
    return made


def main() -> None:
    """Read the command line and do it."""
    given = parser().parse_args()
    if given.debug:
        logging.basicConfig(level=logging.DEBUG)
    file, ca = given.state, given.ca
    match given.verb:
        case "join":
            work = join(file, given.link, given.name, ca)
        case "sign-in":
            work = enter(file, given.email, ca)
        case "locks":
            work = with_client(file, ca, locks)
        case "watch":
            work = with_client(file, ca, lambda client: watch(client, given.count))
        case "status":
            work = with_client(file, ca, lambda client: status(client, given.name))
        case "log":
            work = with_client(file, ca, lambda client: log(client, given.name))
        case verb:
            work = with_client(
                file, ca, lambda client: operate(client, given.name, verb, warm=given.prewarm)
            )
    sys.exit(run(work))


if __name__ == "__main__":
    main()
