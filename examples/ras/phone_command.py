"""The scripted client as a program. Its keys, its session and its place are in one file (mode 0600)."""

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stand_in
from cryptography.hazmat.primitives.asymmetric import ec
from home_parts import Invitation
from peer import Denied
from phone import Phone
from program import ProgramError, read_state, run, write_state

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAIN = ("url", "name", "token", "user", "site", "join_id", "person", "box", "seq", "generation")


def to_state(phone: Phone, invitation: Invitation) -> dict[str, Any]:
    """Return what to store."""
    return {name: getattr(phone, name) for name in PLAIN} | {
        "key": phone.key.private_numbers().private_value.to_bytes(32).hex(),
        "update_key": phone.update_key.hex(),
        "invitation": [invitation.id, invitation.secret.hex()],
    }


def from_state(state: Mapping[str, Any]) -> Phone:
    """Return the client as it was stored."""
    phone = Phone(state["url"])
    for name in PLAIN:
        setattr(phone, name, state[name])
    phone.key = ec.derive_private_key(int(state["key"], 16), ec.SECP256R1())
    phone.update_key = bytes.fromhex(state["update_key"])
    return phone


def read_link(link: str) -> tuple[str, Invitation]:
    """Read an invitation's link: the server's address, and what proves that one was invited. Raises ProgramError."""
    try:
        url, id_, secret = link.partition("#")[2].split(",")
        return url, Invitation(id_, bytes.fromhex(secret), 0)
    except ValueError as error:
        raise ProgramError("this is no link of an invitation") from error


async def join(file: Path, link: str, name: str) -> None:
    """Join; run again, it goes on with the same key, so a home that is offline may answer later."""
    url, invitation = read_link(link)
    if file.exists():
        state = read_state(file)
        if state["invitation"][0] != invitation.id:
            raise ProgramError(f"{file} belongs to another invitation: give another --state")
        phone = from_state(state)
    else:
        phone = Phone(url, name=name)
        write_state(file, to_state(phone, invitation))  # the key first: the home answers one only
    try:
        await phone.join(invitation)
    except TimeoutError as error:
        raise ProgramError("the home has not answered yet: run this again later") from error
    except Denied as denied:
        if denied.status == 20:
            raise ProgramError(f"the home says: {denied.message}") from denied
        raise
    finally:
        write_state(file, to_state(phone, invitation))
        await phone.close()
    print(f"user: {phone.user}")
    print(f"site: {phone.site}")
    for lock in phone.box["locks"]:
        print(f"lock: {lock['device']}")


async def status(file: Path) -> None:
    """Print the homes and locks, as the server says."""
    phone = from_state(read_state(file))
    try:
        for home in (await phone.call("GET", "/api/v1/sites"))["sites"]:
            print(f"site {home['site']}: {home['role']}, {home['state']}")
        for lock in (await phone.call("GET", "/api/v1/locks"))["locks"]:
            print(f"lock {lock['device']}: {'online' if lock['online'] else 'offline'}")
    finally:
        await phone.close()


def token(file: Path) -> None:
    """Print the session's token, e.g. for curl."""
    print(read_state(file)["token"])


async def follow(file: Path, device: str, count: int) -> None:
    """Print states as they come, without the key that reads them."""
    phone = from_state(read_state(file))
    try:
        await phone.connect()
        heartbeat = asyncio.create_task(phone.peer.heartbeat())
        await phone.follow(phone.site, device)
        shown = 0
        while shown < count and not phone.peer.closed.done():
            states = [item for item in phone.messages if item["type"] == "lock.state"]
            for item in states[shown : count or None]:
                body = item["body"]
                print(f"{item['lock']}: advertisement {body['advertisement']}, at {body['time']}, {body['rssi']} dBm")  # fmt: skip
            shown = len(states)
            await asyncio.sleep(0.05)
        heartbeat.cancel()
    finally:
        await phone.close()


async def relay(file: Path, device: str, text: str) -> None:
    """Seal a text for a lock, relay it, print what became of it and what the lock answered."""
    state = read_state(file)
    phone = from_state(state)
    keys = {lock["device"]: bytes.fromhex(lock["key"]) for lock in phone.box.get("locks", [])}
    if device not in keys:
        raise ProgramError(f"this client has no key for {device}")
    sealed = stand_in.seal(keys[device], text)
    try:
        await phone.connect()
        print(f"message: {len(sealed)} sealed bytes")
        ended, answers = await phone.relay(phone.site, device, sealed)
        ends = [body for body in phone.of_type("relay.state") if body["state"] == ended]
        for body in phone.of_type("relay.state")[:-1]:
            print(f"state: {body['state']}")
        for answer in answers:
            print(f"answer: {stand_in.unseal(keys[device], answer) or 'not from this lock'}")
        print(f"end: {ended}" + (f" ({ends[-1]['code']})" if ends[-1]["code"] else ""))
    finally:
        await phone.close()
    if ended != "answered":
        raise ProgramError(f"the lock did not answer: {ended}")


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(
        prog="phone.py", description="A scripted client of the remote access server: a phone without a screen."
    )  # fmt: skip
    parser.add_argument("--state", type=Path, default=Path("phone.json"), metavar="FILE",
                        help="keys, session and everything else to remember (phone.json)")  # fmt: skip
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    made = verbs.add_parser("join", help="join a home by an invitation's link")
    made.add_argument("link")
    made.add_argument("--name", default="Ben", help="what the home's owner sees (Ben)")
    verbs.add_parser("status", help="homes and locks, as the server says")
    verbs.add_parser("token", help="print the session's token, for calls by other programs")
    made = verbs.add_parser("follow", help="print what a lock advertises, as the server sees it")
    made.add_argument("device")
    made.add_argument("--count", type=int, default=1, metavar="N", help="end after so many (1)")
    made = verbs.add_parser("relay", help="send a sealed text to a lock")
    made.add_argument("device")
    made.add_argument("text")
    given = parser.parse_args()
    match given.verb:
        case "join":
            run("phone.py", join(given.state, given.link, given.name))
        case "status":
            run("phone.py", status(given.state))
        case "follow":
            run("phone.py", follow(given.state, given.device, given.count))
        case "relay":
            run("phone.py", relay(given.state, given.device, given.text))
        case "token":
            try:
                token(given.state)
            except ProgramError as error:
                parser.exit(3, f"phone.py: {error}\n")
