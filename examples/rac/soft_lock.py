"""A lock without hardware that lives in real time: the firmware's core on a board of plain objects.

For tests and trials of remote clients. It has no radio: who has the object is in reach.
"""

import asyncio
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).resolve().parents[2] / "custom_components/igrs_lock"))
sys.path.append(str(Path(__file__).resolve().parents[2] / "firmware"))

from bsld import const as c
from bsld.lock import Lock
from bsld.ports import Ports
from ilp import (
    CONTROLLER_SLOT,
    ClientSession,
    Exchange,
    IlpError,
    NonceSource,
    PairingClient,
    Reassembler,
    Reply,
    Request,
    Result,
    Right,
    account_key,
    challenge_request,
    controller_key,
    new_account_id,
    parse_challenge,
    requests,
    split,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MTU = 247
CAPABILITIES = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_LOG
_REACHED = {
    c.OP_LOCK: c.BOLT_LOCKED,
    c.OP_UNLOCK: c.BOLT_UNLOCKED,
    c.OP_OPEN: c.BOLT_OPEN,
}


class Flash(dict[str, bytes]):
    """Files in memory."""

    def append(self, name: str, data: bytes) -> None:
        """See `bsld.ports.Storage`."""
        self[name] = self.get(name, b"") + data

    def read(self, name: str) -> bytes | None:
        """See `bsld.ports.Storage`."""
        return self.get(name)

    def write(self, name: str, data: bytes) -> None:
        """See `bsld.ports.Storage`."""
        self[name] = data

    def rename(self, old: str, new: str) -> None:
        """See `bsld.ports.Storage`."""
        self[new] = self.pop(old)

    def remove(self, name: str) -> None:
        """See `bsld.ports.Storage`."""
        self.pop(name, None)

    def names(self) -> list[str]:
        """See `bsld.ports.Storage`."""
        return list(self)


class Connection:
    """A connection to the lock: messages in, messages out."""

    def __init__(self, lock: SoftLock) -> None:
        self.heard: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._lock = lock
        self._reassembler = Reassembler()
        lock.connections.append(self)
        lock.core.connected(id(self))
        lock.core.mtu_changed(id(self), MTU)
        lock.core.subscribed(id(self), True)

    def send(self, message: bytes) -> None:
        """Write a message, in fragments."""
        for write in split(message, MTU):
            if self in self._lock.connections:
                self._lock.core.written(id(self), write)
        self._lock.nudge()

    def notified(self, data: bytes) -> None:
        """Take a notification."""
        if (message := self._reassembler.feed(data, time.monotonic())) is not None:
            self.heard.put_nowait(message)

    def close(self) -> None:
        """End the connection."""
        if self in self._lock.connections:
            self._lock.connections.remove(self)
            self.heard.put_nowait(None)
            self._lock.core.disconnected(id(self))


class SoftLock:
    """One lock with its power on. Made and used in a running event loop; `close` takes the power away.

    Args:
        travel: seconds that the bolt takes.
    """

    def __init__(self, device_id: bytes | None = None, travel: float = 0.05) -> None:
        self.device_id = device_id or bytes((0xC0,)) + secrets.token_bytes(5)
        self.device = self.device_id.hex().upper()
        self.travel = travel
        self.jams = False
        self.operations: list[int] = []
        self.connections: list[Connection] = []
        self.on_advertise: Callable[[bytes], None] = lambda _data: None
        self.data = b""
        self.lock_key = b""
        self.epoch = 0
        self._setup_code = secrets.token_bytes(10)
        self._loop = asyncio.get_running_loop()
        self._started = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._motor: asyncio.TimerHandle | None = None
        self.core = Lock(
            Ports(self, secrets.token_bytes, Flash(), self, self, self),
            self.device_id, self._setup_code, capabilities=CAPABILITIES,
        )  # fmt: skip
        self.core.battery_measured(87, False)
        self.core.door_sensed(False)
        self.core.bolt_sensed(c.BOLT_LOCKED)
        self.core.start()
        self.nudge()

    def close(self) -> None:
        """Take the power away."""
        for timer in (self._timer, self._motor):
            if timer is not None:
                timer.cancel()
        for connection in list(self.connections):
            connection.heard.put_nowait(None)
        self.connections.clear()

    def nudge(self) -> None:
        """Let the lock do what is due, and again when it wants."""
        if self._timer is not None:
            self._timer.cancel()
        wait = self.core.poll()
        self._timer = self._loop.call_later(min(max(wait, 1), 1000) / 1000, self.nudge)

    # --- ports

    def uptime_ms(self) -> int:
        """See `bsld.ports.Clock`."""
        return round((time.monotonic() - self._started) * 1000)

    def rtc(self) -> int | None:
        """See `bsld.ports.Clock`."""
        return None

    def set_rtc(self, unix: int) -> None:
        """See `bsld.ports.Clock`."""

    def start(self, operation: int) -> None:
        """See `bsld.ports.Motor`."""
        self.operations.append(operation)
        outcome = c.BOLT_JAMMED if self.jams else _REACHED[operation]
        self._motor = self._loop.call_later(self.travel, self._arrive, outcome)

    def stop(self) -> None:
        """See `bsld.ports.Motor`."""

    def advertise(self, data: bytes, interval_ms: int, connectable: bool) -> None:  # noqa: ARG002
        """See `bsld.ports.Radio`."""
        self.data = data
        self.on_advertise(data)

    def notify(self, conn: Hashable, data: bytes) -> bool:
        """See `bsld.ports.Radio`."""
        for connection in self.connections:
            if id(connection) == conn:
                connection.notified(data)
        return True

    def disconnect(self, conn: Hashable) -> None:
        """See `bsld.ports.Radio`."""
        for connection in list(self.connections):
            if id(connection) == conn:
                self._loop.call_soon(connection.close)

    def show(self, what: str) -> None:
        """See `bsld.ports.Indicator`."""

    def _arrive(self, bolt: int) -> None:
        self.turn(bolt)

    def turn(self, bolt: int) -> None:
        """The bolt is somewhere else now, by the motor or by hand."""
        self.core.bolt_sensed(bolt)
        self.nudge()

    # --- its owner

    def pair(self) -> None:
        """Pair with it as the home does, and set its time."""
        pairing = PairingClient(self._setup_code, self.device_id)
        connection = Connection(self)
        confirm = pairing.on_reply(self._ask(connection, pairing.request()))
        pairing.on_done(self._ask(connection, confirm))
        assert pairing.lock_key is not None  # noqa: S101  on_done raises otherwise
        self.lock_key = pairing.lock_key
        connection.close()
        self.command(requests.set_time(int(time.time()), 0))

    def command(self, *wanted: Request) -> list[Reply]:
        """Send requests as the controller; return the answers. Raises IlpError unless all are done."""
        connection = Connection(self)
        try:
            nonce = parse_challenge(self._ask(connection, challenge_request()))
            session = ClientSession(
                controller_key(self.lock_key), self.device_id, CONTROLLER_SLOT, NonceSource.CHALLENGE, nonce
            )  # fmt: skip
            exchange = Exchange()
            replies: list[Reply] = []
            for number, request in enumerate(wanted):
                frames = [request.at(int(time.time()))]
                exchange.sent(frames)
                sealed = session.seal(frames) if number else session.open(frames)
                items = exchange.received(session.receive(self._ask(connection, sealed)))
                replies += [item for item in items if isinstance(item, Reply)]
        finally:
            connection.close()
        if any(reply.result is not Result.DONE for reply in replies):
            raise IlpError([reply.result for reply in replies])
        return replies

    def new_account(self) -> tuple[bytes, int, bytes]:
        """Write an account that may do nothing yet; return its id, slot and key."""
        account_id = new_account_id()
        (reply,) = self.command(requests.write_account(account_id))
        return account_id, reply.response.value[1], account_key(self.lock_key, account_id)

    def allow(self, slot: int, rights: Right, uses: int = 255) -> None:
        """Say what an account may do."""
        self.command(requests.set_rights(slot, rights, uses))

    def remove_account(self, account_id: bytes) -> None:
        """Erase an account, which begins a new epoch."""
        self.command(requests.remove_account(account_id))
        self.epoch += 1

    def _ask(self, connection: Connection, message: bytes) -> bytes:
        connection.send(message)
        answer = connection.heard.get_nowait()
        if answer is None:
            raise IlpError("the lock ended the connection")
        return answer
