"""A server in a few lines, honest unless a test makes it hostile: the far end of a client's socket, with a real lock behind."""

import asyncio
import hashlib
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from igrs_rac.errors import closed
from igrs_rac.keys import LockKeys
from igrs_rac.memory import JOINED, Memory
from igrs_rac.wire import b64, ulid, unb64
from ilp import (
    Capability,
    Right,
    advertisement_key,
    format_account_id,
    seen_proof,
)
from ilp.joining import seal_keys
from rac_support import REMOTE, SITE
from soft_lock import Connection, SoftLock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PERSON = bytes(range(16))
UPDATE_KEY = bytes(range(32))


def make_keys(lock: SoftLock, rights: Right = REMOTE, name: str = "Front door") -> LockKeys:
    """An account at a running lock."""
    account_id, slot, key = lock.new_account()
    lock.allow(slot, rights | Right.ENABLED)
    return LockKeys(
        device=lock.device,
        name=name,
        slot=slot,
        account=format_account_id(account_id),
        key=key,
        advertisement_key=advertisement_key(lock.lock_key, lock.epoch),
        epoch=lock.epoch,
        rights=rights,
        capabilities=Capability(0),
    )


def make_memory(path: Path, *keys: LockKeys) -> Memory:
    """What a client knows that joined before."""
    return Memory(
        path, "http://127.0.0.1:1", "Ben", "ad" * 16, b"", b"", JOINED, join="01" * 16, token="u_token",
        user="02" * 16, site=SITE, person=PERSON, update_key=UPDATE_KEY, locks={one.device: one for one in keys},
        generation=7, seq=3,
    )  # fmt: skip


class FakeServer:
    """One connection's far end at a time; `dial` makes the next."""

    def __init__(self, *locks: SoftLock) -> None:
        self.locks = {lock.device: lock for lock in locks}
        self.connections = 0
        self.sent: list[dict[str, Any]] = []  # what the client sent
        self.hello: dict[str, Any] = {"time": 0, "generation": 7, "seq": 3, "user": "02" * 16}
        self.opened: Callable[[dict[str, Any]], None] = self.relay  # what is done with relay.open
        self.before_answer: Callable[[bytes], list[bytes]] = lambda message: [message]
        self.refuses: dict[str, int] = {}
        self.active = True  # the membership
        self._queue: asyncio.Queue[str | int | None] = asyncio.Queue()
        self._relays: dict[str, Connection] = {}
        self._numbers: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def dial(self) -> FakeServer:
        self.connections += 1
        self._queue = asyncio.Queue()
        return self

    # --- a transport

    async def receive(self) -> str:
        item = await self._queue.get()
        if not isinstance(item, str):
            raise closed(item)
        return item

    async def send(self, text: str) -> None:
        message = json.loads(text)
        self.sent.append(message)
        kind, body = message["type"], message["body"]
        if kind in self.refuses:
            self.refuse(message["id"], self.refuses[kind])
        elif kind == "auth":
            self.say("hello", self.hello)
        elif kind == "ping":
            self.say("pong", {"re": message["id"], "time": 0})
        elif kind == "follow":
            locks = body["locks"] if self.active else []
            self.say("ok", {"re": message["id"], "locks": locks})
        elif kind == "lock.prewarm":
            self.say("ok", {"re": message["id"]})
        elif kind == "relay.open":
            self.opened({**body, "id": message["id"]})
        elif kind == "relay.data":
            self.carry(body)
        elif kind == "relay.end" and (connection := self._relays.pop(body["key"], None)):
            connection.close()

    async def close(self) -> None:
        self._queue.put_nowait(None)

    # --- what a test says

    def say(self, kind: str, body: dict[str, Any], lock: str = "", seq: int = 0) -> None:
        message = {
            "id": ulid(int(time.time() * 1000)), "type": kind, "time": 0, "expires": 0, "from": "", "to": "",
            "lock": lock, "seq": seq, "body": body,
        }  # fmt: skip
        self._queue.put_nowait(json.dumps(message))

    def raw(self, text: str) -> None:
        """Send a text that may be anything."""
        self._queue.put_nowait(text)

    def end(self, code: int | None) -> None:
        """Close the connection."""
        self._queue.put_nowait(code)

    def refuse(self, id_: str, status: int, text: str = "no") -> None:
        self.say("refused", {"re": id_, "status": status, "message": text})

    def state(self, lock: SoftLock, *, age: int = 0, device: str = "") -> None:
        """Send what a lock advertises, as its home would, or under another lock's name."""
        at = int(time.time()) - age
        key = advertisement_key(lock.lock_key, lock.epoch)
        body = {
            "site": SITE, "advertisement": b64(lock.data), "time": at, "rssi": -60,
            "seen": b64(seen_proof(key, lock.device_id, lock.data, at)),
        }  # fmt: skip
        self.say("lock.state", body, device or lock.device)

    def keys(
        self,
        number: int,
        *locks: LockKeys,
        seq: int,
        person: bytes = PERSON,
        key: bytes = UPDATE_KEY,
        says: bytes | None = None,
    ) -> None:
        """Send changed keys as the home sealed them."""
        plain = json.dumps(
            {
                "person": (says or person).hex(),
                "name": "Ben",
                "locks": [one.as_json() for one in locks],
            }
        )
        sealed = seal_keys(key, person, number, plain.encode())
        self.say("keys", {"site": SITE, "number": number, "sealed": b64(sealed)}, seq=seq)

    # --- relays

    def relay(self, body: dict[str, Any]) -> None:
        """Open one honestly."""
        connection = self._relays[body["key"]] = Connection(self.locks[body["lock"]])
        self._numbers[body["key"]] = 0
        task = asyncio.get_running_loop().create_task(self._back(body, connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.tell_state(body, "accepted")
        self.carry(body)

    def carry(self, body: dict[str, Any]) -> None:
        if (connection := self._relays.get(body["key"])) is not None:
            connection.send(unb64(body["data"]))

    def answer(self, body: dict[str, Any], data: bytes, n: int | None = None) -> None:
        """Send a message in a lock's name."""
        key = body["key"]
        if n is None:
            n = self._numbers.get(key, 0)
            self._numbers[key] = n + 1
        part = {"site": body["site"], "lock": body["lock"], "key": key, "n": n}
        self.say("relay.data", {**part, "data": b64(data), "hash": b64(hashlib.sha256(data).digest())})  # fmt: skip

    def tell_state(self, body: dict[str, Any], state: str, code: int = 0) -> None:
        part = {"site": body["site"], "lock": body["lock"], "key": body["key"], "n": 0}
        self.say("relay.state", {**part, "state": state, "code": code})

    async def _back(self, body: dict[str, Any], connection: Connection) -> None:
        while (message := await connection.heard.get()) is not None:
            for one in self.before_answer(message):
                self.answer(body, one)

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [message["body"] for message in self.sent if message["type"] == kind]


def of_epoch(keys: LockKeys, lock: SoftLock) -> LockKeys:
    """The same account with the keys of the lock's present epoch."""
    return replace(
        keys, epoch=lock.epoch, advertisement_key=advertisement_key(lock.lock_key, lock.epoch)
    )
