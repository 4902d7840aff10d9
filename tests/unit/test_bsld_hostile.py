"""What a hostile reader found in the lock core once, and what must not come back."""

import pytest
from boards.desk import DEVICE_ID, SETUP_CODE, Board
from bsld import pairing as bsld_pairing
from bsld_home import GUEST, NOW, Client, Home, Session, new_lock, paired_home
from ilp import (
    ClientSession,
    Frame,
    FrameType,
    NonceSource,
    Operation,
    Option,
    PairingClient,
    Result,
    Right,
    requests,
)
from ilp.const import Bolt, Door, Event

LOST_CLOCK = 946_684_800  # 2000-01-01: what a clock chip says after its battery was changed


@pytest.mark.parametrize("newest", ["account changed", "clock set"])
def test_61_a_clock_that_lost_its_time_stays_distrusted_over_restarts(newest: str) -> None:
    home = paired_home()
    board = home.board
    board.clock.has_rtc = True
    board.clock.unix = NOW
    assert home.controller().result(requests.set_time(NOW + 1, 0)) is Result.DONE
    guest = home.grant(GUEST, 255)
    home.controller().result(requests.set_validity(guest.slot, 0, NOW - 3600))
    if newest == "clock set":
        home.controller().result(requests.set_time(NOW + 30, 0))
    for _boot in range(3):
        board.cut()
        board.clock.unix = LOST_CLOCK
        board.boot()
        assert not board.lock.clock_trusted
        assert home.try_operation(guest) is Result.OUTSIDE_TIME
    assert board.motor.started == []


def test_one_persons_sessions_do_not_keep_the_owner_out() -> None:
    home = paired_home()
    home.gateway.leave()
    gateway = Client(home.board, "gateway again")
    home.gateway = gateway
    guest = home.grant(GUEST, 255)
    gateway.leave()
    for _number in range(3):
        session = home.phone(guest)
        session.result(requests.authenticate(guest.account_id))
    assert home.board.radio.connectable
    assert not session.client.dropped
    owner = Client(home.board, "owner")
    assert home.controller(owner).status().result is Result.DONE


class WithWrongCheck:
    """A request whose check byte is wrong, sealed like any other."""

    command = 0x48
    type = FrameType.REQUEST

    def encode(self) -> bytes:
        frame = bytearray(Frame(self.command, self.type, bytes(9), NOW).encode())
        frame[11] ^= 1
        return bytes(frame)


@pytest.mark.parametrize("kind", ["disabled", "expired"])
@pytest.mark.parametrize("odd", ["wrong check", "too old", "unknown operation"])
def test_who_has_no_valid_account_learns_nothing_of_the_door(kind: str, odd: str) -> None:
    home = paired_home()
    guest = home.grant(GUEST, 255)
    if kind == "disabled":
        home.controller().result(requests.set_rights(guest.slot, Right.UNLOCK))
    else:
        home.controller().result(requests.set_validity(guest.slot, 0, NOW - 3600))
    home.board.sense(2)
    client = Client(home.board)
    session = home.phone(guest, client=client)
    session.ilp = ClientSession(
        guest.key, DEVICE_ID, guest.slot, NonceSource.CHALLENGE, client.nonce()
    )
    frame: Frame | WithWrongCheck
    if odd == "wrong check":
        frame = WithWrongCheck()
    elif odd == "too old":
        frame = requests.get_status().at(NOW - 1000)
    else:
        value = bytes((9, 5)) + bytes(7)
        frame = Frame(0x03, FrameType.REQUEST, value, client.time())
    client.send(session.ilp.open([frame]))  # type: ignore[list-item]  # odd on purpose
    [message] = client.heard()
    [answer] = session.ilp.receive(message)
    assert answer.value[0] in (Result.DISABLED, Result.UNKNOWN_ACCOUNT)
    assert answer.value[1:4] == bytes((Bolt.UNKNOWN, Door.NO_SENSOR, 255))
    home.board.sense(1)
    assert client.heard() == []


@pytest.mark.parametrize("how", ["factory reset", "paired again"])
def test_auto_lock_ends_with_the_option_that_asked_for_it(how: str) -> None:
    home = paired_home()
    board = home.board
    home.controller().result(requests.set_option(Option.AUTO_LOCK_SECONDS, 300))
    home.controller().operate(Operation.UNLOCK)
    board.arrive()
    if how == "factory reset":
        assert home.controller().result(requests.factory_reset()) is Result.DONE
    else:
        board.lock.inner_button_held(10)
        client = Client(board)
        board.pass_time(2.1)
        client.exchange_keys()
    board.pass_time(400)
    assert board.motor.started == [Operation.UNLOCK]


def held_by(home: Home) -> Session:
    guest = home.grant(GUEST, 255)
    session = home.phone(guest)
    session.result(requests.authenticate(guest.account_id))
    return session


def test_50_a_session_does_not_keep_pairing_busy() -> None:
    home = paired_home()
    board = home.board
    home.gateway.leave()
    home.gateway = Client(board, "gateway again")
    session = held_by(home)
    board.lock.inner_button_held(10)
    board.pass_time(3)
    session.client.ask(PairingClient(SETUP_CODE, DEVICE_ID).request())
    board.pass_time(31)
    assert len(Client(board).exchange_keys()) == 16


def test_50_two_silent_connections_do_not_end_a_pairing() -> None:
    board = new_lock()
    client = Client(board)
    pairing = PairingClient(SETUP_CODE, DEVICE_ID)
    confirm = pairing.on_reply(client.ask(pairing.request()))
    for _number in range(4):
        Client(board)
    assert not client.dropped
    pairing.on_done(client.ask(confirm))


def test_50_the_gap_between_requests_begins_after_a_slow_computation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board = new_lock()
    compute = bsld_pairing.Exchange.__init__

    def slowly(exchange: bsld_pairing.Exchange, *values: bytes) -> None:
        compute(exchange, *values)
        board.clock.ms += 4000

    monkeypatch.setattr(bsld_pairing.Exchange, "__init__", slowly)
    client = Client(board)
    answers = [client.ask(PairingClient(SETUP_CODE, DEVICE_ID).request())[0] for _ in range(5)]
    assert answers.count(2) == 1


def test_a_latch_that_jams_leaves_the_bolt_known_and_auto_lock_at_work() -> None:
    home = paired_home()
    board = home.board
    home.controller().result(requests.set_option(Option.AUTO_LOCK_SECONDS, 60))
    home.controller().operate(Operation.OPEN)
    board.sense(Bolt.UNLOCKED)
    board.pass_time(30)
    assert board.lock.bolt == Bolt.UNLOCKED
    assert home.log()[-1][0] == Event.JAMMED
    board.pass_time(100)
    assert board.motor.started[:2] == [Operation.OPEN, Operation.LOCK]


def test_a_firmware_that_keeps_more_records_loses_none() -> None:
    board = Board(log_size=256)
    board.boot()
    for number in range(400):
        board.lock.door_sensed(number % 2 == 0)
    board.settings["log_size"] = 512
    board.boot()
    before = board.lock.log.total
    for number in range(100):
        board.lock.door_sensed(number % 2 == 0)
    assert board.lock.log.total == before + 100
    records = list(board.lock.log_records(0, 1000))
    counters = [record[3] for record in records]
    assert counters == sorted(counters)
    assert records[-1][3] == board.lock.counter
    board.boot()
    assert board.lock.log.total == before + 101
