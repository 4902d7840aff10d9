"""A home around a lock core for its tests: the gateway and phones, made of the client's own code.

The client (`ilp`) and the lock (`bsld`) share no line; they meet here in bytes only.
"""

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from boards.desk import DEVICE_ID, SETUP_CODE, Board
from ilp import (
    CONTROLLER_SLOT,
    ClientSession,
    ErrorCode,
    Exchange,
    Kind,
    NonceSource,
    Operation,
    PairingClient,
    Reassembler,
    Reply,
    Request,
    Result,
    Right,
    StateEvent,
    Status,
    account_key,
    advertisement_key,
    challenge_request,
    controller_key,
    open_advertisement,
    parse_challenge,
    parse_error,
    requests,
    split,
)

if TYPE_CHECKING:
    from bsld.lock import Lock
    from ilp import Advertisement

# Monday, 21 September 2026, 12:13:20 UTC
NOW = 1_789_992_800
ALL_RIGHTS = Right(0xFF)
GUEST = Right.ENABLED | Right.LOCK | Right.UNLOCK
_numbers = itertools.count()


@dataclass
class Person:
    """Somebody with an account."""

    account_id: bytes
    slot: int
    key: bytes


class RefusalError(Exception):
    """The lock answered ERROR."""

    def __init__(self, code: ErrorCode, nonce: bytes) -> None:
        super().__init__(code.name)
        self.code = code
        self.nonce = nonce


class Client:
    """A central on one connection."""

    def __init__(
        self, board: Board, conn: str = "", mtu: int = 247, *, listening: bool = True
    ) -> None:
        self.board = board
        self.conn = conn or f"central {next(_numbers)}"
        self.mtu = mtu
        self._reassembler = Reassembler()
        board.lock.connected(self.conn)
        if mtu != 23:
            board.lock.mtu_changed(self.conn, mtu)
        if listening:
            self.listen()

    def listen(self) -> None:
        self.board.lock.subscribed(self.conn, True)

    def leave(self) -> None:
        self.board.lock.disconnected(self.conn)

    @property
    def dropped(self) -> bool:
        return self.conn in self.board.radio.dropped

    def time(self) -> int:
        """What the client's clock says: the true time."""
        return NOW + self.board.clock.ms // 1000

    def send(self, message: bytes) -> None:
        for write in split(message, self.mtu):
            self.board.lock.written(self.conn, write)

    def heard(self) -> list[bytes]:
        """The messages that came since the last look."""
        messages = []
        rest = []
        for conn, data in self.board.radio.sent:
            if conn != self.conn:
                rest.append((conn, data))
                continue
            assert len(data) <= self.mtu - 3
            message = self._reassembler.feed(data, self.board.clock.ms / 1000)
            if message is not None:
                messages.append(message)
        self.board.radio.sent[:] = rest
        return messages

    def ask(self, message: bytes) -> bytes:
        self.send(message)
        [answer] = self.heard()
        return answer

    def error(self, message: bytes) -> ErrorCode:
        code, _nonce = parse_error(self.ask(message))
        return code

    def nonce(self) -> bytes:
        """A nonce; what an earlier session of the connection was told meanwhile is lost."""
        self.send(challenge_request())
        return parse_challenge(self.heard()[-1])

    def exchange_keys(self, code: bytes = SETUP_CODE) -> bytes:
        """Pairing as far as PAIR_DONE; returns the lock key."""
        pairing = PairingClient(code, DEVICE_ID)
        confirm = pairing.on_reply(self.ask(pairing.request()))
        pairing.on_done(self.ask(confirm))
        assert pairing.lock_key is not None
        return pairing.lock_key


@dataclass
class Session:
    """A session over a client's connection."""

    client: Client
    key: bytes = field(repr=False)
    slot: int
    source: NonceSource = NonceSource.CHALLENGE
    lock_nonce: bytes | None = None
    events: list[StateEvent] = field(default_factory=list)
    ilp: ClientSession | None = None
    _exchange: Exchange = field(default_factory=Exchange)

    def message(self, *wanted: Request, at: int | None = None) -> bytes:
        """The next message of the session with these requests."""
        time = self.client.time() if at is None else at
        frames = [request.at(time) for request in wanted]
        if self.ilp is not None:
            self._exchange.sent(frames)
            return self.ilp.seal(frames)
        nonce = self.lock_nonce
        if nonce is None:
            advertised = self.source == NonceSource.ADVERTISED
            data = self.client.board.radio.data
            nonce = b"\x00" + data[3:] if advertised else self.client.nonce()
        self.ilp = ClientSession(self.key, DEVICE_ID, self.slot, self.source, nonce)
        self._exchange.sent(frames)
        return self.ilp.open(frames)

    def take(self) -> list[Reply]:
        """Read what came: answers are returned, events kept; RefusalError on an ERROR."""
        replies = []
        assert self.ilp is not None
        for message in self.client.heard():
            if message[0] == Kind.ERROR:
                raise RefusalError(*parse_error(message))
            for item in self._exchange.received(self.ilp.receive(message)):
                if isinstance(item, StateEvent):
                    self.events.append(item)
                else:
                    replies.append(item)
        return replies

    def ask(self, *wanted: Request, at: int | None = None) -> list[Reply]:
        """Send requests in one message; their answers, in order."""
        self.client.send(self.message(*wanted, at=at))
        replies = self.take()
        assert [reply.command for reply in replies] == [request.command for request in wanted]
        return replies

    def results(self, *wanted: Request, at: int | None = None) -> list[Result]:
        return [reply.result for reply in self.ask(*wanted, at=at)]

    def result(self, wanted: Request, at: int | None = None) -> Result:
        [result] = self.results(wanted, at=at)
        return result

    def status(self) -> Status:
        [reply] = self.ask(requests.get_status())
        return Status.of(reply)

    def operate(self, operation: Operation, max_age: int = 5) -> Result:
        return self.result(requests.operate(operation, max_age))


class Home:
    """A lock that was just paired, and who may use it; see `paired_home`."""

    # Somebody with an account, for tests that need one
    person: Person

    def __init__(self, board: Board, lock_key: bytes) -> None:
        self.board = board
        self.lock_key = lock_key
        self.gateway = Client(board, "gateway")
        self._ids = itertools.count(1)

    @property
    def lock(self) -> Lock:
        return self.board.lock

    def in_setup_mode(self) -> bool:
        return self.lock.setup_mode

    def controller(
        self, client: Client | None = None, source: NonceSource = NonceSource.CHALLENGE
    ) -> Session:
        key = controller_key(self.lock_key)
        return Session(client or self.gateway, key, CONTROLLER_SLOT, source)

    def new_id(self) -> bytes:
        return bytes((0xA0, *(next(self._ids).to_bytes(8))))

    def grant(self, rights: Right = GUEST, uses: int = 255, *more: Request) -> Person:
        """Write an account, restrictions first; `more` are requests for its slot."""
        account_id = self.new_id()
        session = self.controller()
        [reply] = session.ask(requests.write_account(account_id))
        slot = reply.response.value[1]
        assert reply.result is Result.DONE
        wanted = [*more, requests.set_rights(slot, rights, uses)]
        for request in wanted:
            assert session.result(request) is Result.DONE
        return Person(account_id, slot, account_key(self.lock_key, account_id))

    def phone(
        self,
        person: Person,
        source: NonceSource = NonceSource.CHALLENGE,
        client: Client | None = None,
    ) -> Session:
        """A person's session, not opened yet."""
        return Session(client or Client(self.board), person.key, person.slot, source)

    def try_operation(
        self,
        person: Person,
        operation: Operation = Operation.UNLOCK,
        source: NonceSource = NonceSource.CHALLENGE,
    ) -> Result:
        """A person comes, authenticates, operates and leaves; returns the operation's result."""
        client = Client(self.board)
        session = self.phone(person, source, client)
        try:
            results = session.results(
                requests.authenticate(person.account_id), requests.operate(operation)
            )
        finally:
            client.leave()
        return results[-1]

    def read(self, slot: int) -> Result:
        """What the lock says when asked for an account."""
        client = Client(self.board)
        result = self.controller(client).result(requests.read_account(slot))
        client.leave()
        return result

    def relock(self) -> None:
        """Bring the bolt back, by hand."""
        if self.lock.movement.moving:
            self.board.arrive()
        self.board.sense(1)

    def advertised(self, epoch: int = 0) -> Advertisement:
        key = advertisement_key(self.lock_key, epoch)
        return open_advertisement(key, DEVICE_ID, self.board.radio.data)

    def restart(self, seconds: int = 1) -> None:
        """The power is cut and comes back; connections are gone."""
        self.board.cut(seconds)
        self.board.boot()
        self.gateway = Client(self.board, "gateway")

    def log(self) -> list[tuple[int, ...]]:
        """The whole log as the lock has it."""
        return list(self.lock.log_records(0, 1000))


def new_lock(**settings: object) -> Board:
    """A lock out of its box, with the power just put on."""
    board = Board(**settings)
    board.boot()
    return board


def paired_home(*, time_set: bool = True, **settings: object) -> Home:
    """A lock that is paired and knows the time."""
    board = new_lock(**settings)
    client = Client(board)
    home = Home(board, client.exchange_keys())
    client.leave()
    session = home.controller()
    if time_set:
        assert session.result(requests.set_time(home.gateway.time(), 0)) is Result.DONE
    else:
        assert session.status().result is Result.DONE
    return home
