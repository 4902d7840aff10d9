"""A client and the real lock core, with somebody in between: what is said to be done is done, and no certain no is a lie."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from bsld_home import NOW, Client, Home, Person, paired_home
from hypothesis import given, settings
from hypothesis import strategies as st
from igrs_rac.conversation import Conversation, Done, Step
from igrs_rac.errors import (
    AcceptedOnlyError,
    AuthenticationSaidError,
    BatteryRefusedError,
    BrokenLockError,
    BusySaidError,
    ConnectionLostError,
    DisabledRefusedError,
    JammedError,
    LockRefusedError,
    NoRightRefusedError,
    NotSupportedRefusedError,
    OutsideTimeRefusedError,
    RefusedSecondError,
    RelayUnknownError,
    TooOldRefusedError,
    TryAgainSaidError,
    UnconfirmedError,
    UnknownAccountRefusedError,
    lock_refused,
)
from ilp import (
    Bolt,
    ErrorCode,
    Frame,
    Kind,
    LogPage,
    LogRecord,
    Operation,
    Reply,
    Request,
    Result,
    Right,
    StateEvent,
    Status,
    requests,
)
from ilp_support import LockEnd, flip
from rac_support import REMOTE, keys_of, lock_keys, remote_person

if TYPE_CHECKING:
    from collections.abc import Callable

    from igrs_rac.keys import LockKeys

LOCKED, UNLOCKED, OPENED, JAMMED = 1, 2, 6, 5
ERROR_3 = bytes((Kind.ERROR, ErrorCode.TRY_AGAIN))


@dataclass
class Relay:
    """A client's conversation and the lock's end of it, with every message in a test's hands."""

    home: Home
    talk: Conversation
    conn: Client
    to_lock: list[bytes] = field(default_factory=list)
    to_client: list[bytes] = field(default_factory=list)

    def deliver(self) -> None:
        """Bring the next message to the lock, and fetch what the lock says."""
        self.conn.send(self.to_lock.pop(0))
        self.hear()

    def hear(self) -> None:
        self.to_client += self.conn.heard()

    def answer(self) -> None:
        """Bring the next message to the client."""
        self.to_lock += self.talk.feed(self.to_client.pop(0))

    def settle(self) -> None:
        """Carry everything honestly until nothing is left to carry."""
        self.hear()
        while self.to_lock or self.to_client:
            if self.to_lock:
                self.deliver()
            else:
                self.answer()

    def arrive(self) -> None:
        """The motor brings the bolt where it was told to."""
        if self.home.lock.movement.moving:
            self.home.board.arrive()
        self.hear()


def relay(
    home: Home,
    keys: LockKeys,
    *wanted: Request,
    operation: Operation | None = None,
    fast: bool = True,
    nonce: bytes | None = None,
    may_repeat: Callable[[], bool] = lambda: True,
    ahead: int = 0,
    more: Callable[[list[Reply]], tuple[Request, ...]] = lambda _replies: (),
) -> Relay:
    advertised = b"\x00" + home.board.radio.data[3:]
    talk = Conversation(
        keys,
        wanted or (requests.operate(operation or Operation.UNLOCK, 10),),
        nonce=nonce or (advertised if fast else None),
        timestamp=lambda: home.gateway.time() + ahead,
        may_repeat=may_repeat,
        operation=operation,
        more=more,
    )
    made = Relay(home, talk, Client(home.board))
    made.to_lock.append(talk.start())
    return made


def unlocking(home: Home, person: Person, **more: object) -> Relay:
    operation = more.pop("operation", Operation.UNLOCK)
    return relay(home, keys_of(home, person), operation=operation, **more)  # type: ignore[arg-type]


def step(made: Relay) -> Step:
    return made.talk.step


def done_of(made: Relay) -> Done | None:
    return made.talk.done


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("operation", list(Operation))
def test_done_is_what_the_lock_says_at_the_end_of_the_movement(
    operation: Operation, fast: bool
) -> None:
    home = paired_home()
    if operation is Operation.LOCK:
        home.board.sense(UNLOCKED)
    made = unlocking(home, remote_person(home), operation=operation, fast=fast)
    made.settle()
    assert step(made) is Step.MOVING
    assert done_of(made) is None, "accepted is not done"
    if operation is Operation.OPEN:
        home.board.sense(UNLOCKED)
        made.settle()
        assert step(made) is Step.MOVING, "the latch comes after the bolt"
    made.arrive()
    made.settle()
    assert made.talk.done is not None
    assert not made.talk.done.already
    assert made.talk.error is None
    assert [type(state) for state in made.talk.states] == [Status, StateEvent]
    assert home.board.motor.started == [operation]


def test_one_message_and_two_answers_are_an_unlock() -> None:
    home = paired_home()
    made = unlocking(home, remote_person(home))
    assert made.to_lock[0][0] == Kind.SESSION_OPEN
    assert len(made.to_lock[0]) == 59
    made.deliver()
    made.arrive()
    assert [message[0] for message in made.to_client] == [Kind.SEALED, Kind.SEALED]
    made.settle()
    assert made.talk.done is not None


def test_what_is_there_already_is_done_at_once() -> None:
    home = paired_home()
    made = unlocking(home, remote_person(home), operation=Operation.LOCK)
    made.settle()
    assert made.talk.done is not None
    assert made.talk.done.already
    assert home.board.motor.started == []


def test_locking_an_open_door_is_said() -> None:
    home = paired_home()
    home.board.sense(UNLOCKED)
    home.lock.door_sensed(True)
    made = unlocking(home, remote_person(home), operation=Operation.LOCK)
    made.settle()
    made.arrive()
    made.settle()
    assert made.talk.done is not None
    assert made.talk.done.door_open


@pytest.mark.parametrize(("bolt", "error"), [(JAMMED, JammedError), (LOCKED, JammedError)])
def test_a_movement_that_ends_elsewhere_is_no_success(bolt: int, error: type[Exception]) -> None:
    home = paired_home()
    made = unlocking(home, remote_person(home))
    made.settle()
    home.board.sense(bolt)
    made.settle()
    assert type(made.talk.error) is error
    assert made.talk.done is None


def test_another_movement_that_is_told_first_is_no_success() -> None:
    """The lock's own event was lost on the way; what came of it nobody can tell."""
    home = paired_home()
    made = unlocking(home, remote_person(home))
    made.settle()
    made.arrive()
    home.board.sense(LOCKED)  # by hand, right after
    made.hear()
    del made.to_client[0]
    made.settle()
    assert made.talk.done is None
    made.talk.broken_off(RelayUnknownError())
    assert type(made.talk.error) is AcceptedOnlyError, (
        "a gap in a session ends nothing, but proves nothing"
    )


def test_somebody_elses_movement_to_the_same_place_counts() -> None:
    home = paired_home()
    first, second = (unlocking(home, remote_person(home), fast=False) for _ in range(2))
    first.settle()
    second.settle()
    assert second.talk.step is Step.MOVING
    first.arrive()
    second.settle()
    assert second.talk.done is not None
    assert len(home.board.motor.started) == 1


def test_an_old_nonce_costs_one_retry() -> None:
    home = paired_home()
    person = remote_person(home)
    made = unlocking(home, person)
    home.board.sense(UNLOCKED)
    home.board.sense(LOCKED)  # by hand: the counter has moved on
    made.deliver()
    assert made.to_client[0][0] == Kind.ERROR
    made.answer()
    assert made.to_lock[0][:3] == bytes((Kind.SESSION_OPEN, person.slot, 1))
    made.settle()
    made.arrive()
    made.settle()
    assert made.talk.done is not None


def test_case_51_forged_errors_cause_one_retry() -> None:
    home = paired_home()
    made = unlocking(home, remote_person(home))
    made.to_lock.clear()
    for number in range(4):
        made.to_lock += made.talk.feed(ERROR_3 + bytes(7) + bytes((number,)))
    assert len(made.to_lock) == 1
    assert type(made.talk.error) is TryAgainSaidError
    assert isinstance(made.talk.error, UnconfirmedError)


def test_open_is_not_repeated_after_a_change() -> None:
    home = paired_home()
    made = unlocking(home, remote_person(home), operation=Operation.OPEN, may_repeat=lambda: False)
    made.to_lock.clear()
    assert made.talk.feed(ERROR_3 + bytes(8)) == []
    assert type(made.talk.error) is TryAgainSaidError


def test_nothing_is_repeated_once_the_lock_has_answered() -> None:
    home = paired_home()
    made = unlocking(home, remote_person(home))
    made.settle()
    assert made.talk.feed(ERROR_3 + bytes(8)) == []
    assert made.talk.step is Step.MOVING
    made.arrive()
    made.settle()
    assert made.talk.done is not None


def test_case_10_what_comes_too_late_moves_nothing_and_is_asked_once_more() -> None:
    home = paired_home()
    made = unlocking(home, remote_person(home))
    home.board.pass_time(12)
    made.conn = Client(home.board)  # nobody keeps one open for so long
    made.deliver()
    made.answer()
    assert made.to_lock == [bytes((Kind.CHALLENGE_REQUEST,))]
    made.settle()
    made.arrive()
    made.settle()
    assert made.talk.done is not None
    assert home.board.motor.started == [Operation.UNLOCK]


def test_what_comes_too_late_and_may_not_be_repeated_is_refused() -> None:
    home = paired_home()
    made = unlocking(home, remote_person(home), may_repeat=lambda: False)
    home.board.pass_time(12)
    made.conn = Client(home.board)
    made.settle()
    assert type(made.talk.error) is TooOldRefusedError
    assert home.board.motor.started == []


def test_case_11_a_clock_that_is_minutes_off_needs_a_challenge_and_works() -> None:
    home = paired_home()
    made = unlocking(home, remote_person(home), ahead=600)
    made.settle()
    made.arrive()
    made.settle()
    assert made.talk.done is not None
    assert made.talk.clock_off, "so the next one asks for a nonce at once"


@pytest.mark.parametrize(
    ("rights", "uses", "more", "error"),
    [
        (Right.ENABLED | Right.LOCK, 255, (), NoRightRefusedError),
        (REMOTE, 0, (), DisabledRefusedError),
        (REMOTE & ~Right.ENABLED, 255, (), DisabledRefusedError),
        (REMOTE, 255, (requests.set_validity(0, 0, NOW - 100),), OutsideTimeRefusedError),
    ],
)
def test_what_the_lock_refuses_is_certain(
    rights: Right, uses: int, more: tuple[Request, ...], error: type[LockRefusedError]
) -> None:
    home = paired_home()
    made = unlocking(home, home.grant(rights, uses, *more))
    made.settle()
    assert type(made.talk.error) is error
    assert home.board.motor.started == []


def test_a_removed_account_is_refused_whatever_it_asks() -> None:
    home = paired_home()
    person = remote_person(home)
    assert home.controller().result(requests.remove_account(person.account_id)) is Result.DONE
    made = unlocking(home, person)
    made.settle()
    assert type(made.talk.error) in (AuthenticationSaidError, UnknownAccountRefusedError)
    assert home.board.motor.started == []


def test_other_refusals_of_the_lock() -> None:
    no_latch = paired_home(capabilities=0)
    made = unlocking(no_latch, remote_person(no_latch), operation=Operation.OPEN)
    made.settle()
    assert type(made.talk.error) is NotSupportedRefusedError
    empty = paired_home()
    empty.lock.battery_measured(1, True)
    made = unlocking(empty, remote_person(empty))
    made.settle()
    assert type(made.talk.error) is BatteryRefusedError


def test_a_lock_that_is_busy_says_so_without_a_seal() -> None:
    home = paired_home()
    made = unlocking(home, remote_person(home), fast=False)
    made.to_lock.clear()
    made.talk.feed(bytes((Kind.ERROR, ErrorCode.BUSY)) + bytes(8))
    assert type(made.talk.error) is BusySaidError


def test_case_57_a_refusal_after_a_forged_error_is_not_taken_for_certain() -> None:
    """An account with one use. Somebody forges an ERROR with a nonce of the lock's, and has both messages delivered."""
    home = paired_home()
    made = unlocking(home, remote_person(home, REMOTE, 1))
    nonce = made.conn.nonce()
    made.deliver()
    held_back, made.to_client = made.to_client, []
    made.arrive()
    made.to_client.clear()
    made.to_lock += made.talk.feed(ERROR_3 + nonce)
    made.settle()
    assert home.board.motor.started == [Operation.UNLOCK], "the first one did it"
    assert made.talk.done is None
    assert type(made.talk.error) is RefusedSecondError
    assert isinstance(made.talk.error, UnconfirmedError)
    assert held_back


def test_an_end_after_the_acceptance_says_so_whoever_says_it() -> None:
    home = paired_home()
    for error in (ConnectionLostError(), RelayUnknownError()):
        made = unlocking(home, remote_person(home))
        made.settle()
        made.talk.broken_off(error)
        assert type(made.talk.error) is AcceptedOnlyError
        made.talk.broken_off(RelayUnknownError())
        assert type(made.talk.error) is AcceptedOnlyError, "an end is told once"
        home.relock()


def test_questions_are_answered_and_the_log_comes_in_pages() -> None:
    home = paired_home()
    for _ in range(20):
        home.board.sense(UNLOCKED)
        home.board.sense(LOCKED)
    keys = keys_of(home, remote_person(home))
    records: list[LogRecord] = []

    def more(replies: list[Reply]) -> tuple[Request, ...]:
        page = LogPage.of(replies[-1])
        records.extend(page.records)
        at_end = not page.records or page.records[-1].counter >= page.newest
        return () if at_end else (requests.get_log(page.records[-1].counter),)

    made = relay(home, keys, requests.get_log(0), more=more)
    made.settle()
    assert made.talk.over
    assert made.talk.error is None
    assert [record.counter for record in records] == [record[3] for record in home.log()]
    made = relay(home, keys, requests.get_status())
    made.settle()
    (status,) = made.talk.states
    assert status.bolt is Bolt.LOCKED


def test_an_error_between_two_pages_of_the_log_begins_nothing_anew() -> None:
    home = paired_home()
    again = (requests.get_log(0),)
    made = relay(
        home, keys_of(home, remote_person(home)), requests.get_log(0), more=lambda _replies: again
    )
    made.deliver()
    made.answer()
    made.to_lock.clear()
    assert made.talk.feed(ERROR_3 + bytes(8)) == []
    assert type(made.talk.error) is TryAgainSaidError


def test_what_an_earlier_movement_came_to_is_not_what_came_of_this_one() -> None:
    """Sealed events of before the acceptance, and then the right one. The lock is written from the protocol here."""
    keys = lock_keys()
    talk = Conversation(
        keys,
        (requests.operate(Operation.UNLOCK, 10),),
        nonce=bytes(8),
        timestamp=lambda: NOW,
        may_repeat=lambda: False,
        operation=Operation.UNLOCK,
    )
    opening = talk.start()
    lock = LockEnd(keys.key, keys.slot, 0, bytes(8), opening[3:11])

    def event(number: int, bolt: int, counter: int) -> bytes:
        return lock.seal(
            [Frame(3, 3, bytes((number, bolt, 1, 90)) + counter.to_bytes(3) + bytes((4, 1)), NOW)]
        )

    assert talk.feed(event(4, JAMMED, 5)) == []
    authenticated = Frame(2, 2, bytes((0, 4, 0xFF, 255, 1, 0, 0, 0, 0)), NOW)
    accepted = Frame(3, 2, bytes((1, 4, 1, 90, 0, 0, 5, 2, 0)), NOW)
    talk.feed(lock.seal([authenticated, accepted]))
    assert talk.step is Step.MOVING
    talk.feed(event(4, JAMMED, 5))
    talk.feed(event(8, UNLOCKED, 6))  # the door was opened: no end of a movement
    assert talk.step is Step.MOVING
    talk.feed(event(2, UNLOCKED, 7))
    assert talk.done is not None


@pytest.mark.parametrize(
    "answer",
    [
        Frame(3, 2, bytes((0, 1, 1, 90, 0, 0, 5, 2, 0)), NOW),  # done, and locked
        Frame(3, 2, bytes((99, 1, 1, 90, 0, 0, 5, 2, 0)), NOW),  # a result that is none
        Frame(0x48, 2, bytes(9), NOW),  # an answer to what was not asked
    ],
)
def test_a_broken_lock_is_not_believed(answer: Frame) -> None:
    keys = lock_keys()
    talk = Conversation(
        keys,
        (requests.operate(Operation.UNLOCK, 10),),
        nonce=bytes(8),
        timestamp=lambda: NOW,
        may_repeat=lambda: False,
        operation=Operation.UNLOCK,
    )
    lock = LockEnd(keys.key, keys.slot, 0, bytes(8), talk.start()[3:11])
    talk.feed(lock.seal([Frame(2, 2, bytes((0, 4, 0xFF, 255, 1, 0, 0, 0, 0)), NOW), answer]))
    assert type(talk.error) is BrokenLockError


def test_who_may_not_read_the_log_is_told_so() -> None:
    home = paired_home()
    made = relay(home, keys_of(home, home.grant()), requests.get_log(0))
    made.settle()
    assert type(made.talk.error) is NoRightRefusedError


def test_every_result_has_its_error() -> None:
    kinds = {type(lock_refused(result)) for result in Result if result > Result.ACCEPTED}
    assert len(kinds) == len(Result) - 2
    assert LockRefusedError not in kinds


# What somebody in between can do with the messages that are under way.
actions = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "honest", "honest", "honest", "honest", "honest", "honest", "honest", "drop", "drop answer", "repeat",
                "repeat answer", "swap", "swap answers", "flip", "flip answer", "reflect", "error", "challenge",
                "steal a nonce", "other's answer", "turn", "wait",
            ]
        ),
        st.integers(0, 4095),
    ),
    min_size=4,
    max_size=25,
)  # fmt: skip


class Middle:
    """Somebody who has both ends' messages in hand, and everything that was ever said."""

    def __init__(self, made: Relay, other: Relay) -> None:
        self.made = made
        self.other = other
        self.history: list[bytes] = []
        self.nonces: list[bytes] = [bytes(8)]

    def act(self, action: str, number: int) -> None:
        made = self.made
        if made.conn.dropped:
            made.conn = Client(made.home.board)
        self.history += [*made.to_lock, *made.to_client]
        self._carry(action, number)
        self._change(action, number)
        self._write(action, number)
        back = made.to_client
        self.nonces += [
            message[-8:] for message in back if message[0] in (Kind.CHALLENGE, Kind.ERROR)
        ]

    def _carry(self, action: str, number: int) -> None:
        made = self.made
        match action:
            case "honest" if made.to_lock:
                made.deliver()
            case "honest" if made.to_client:
                made.answer()
            case "honest":
                made.arrive()
            case "turn" if not made.home.lock.movement.moving:
                made.home.board.sense(LOCKED)
            case "wait":
                made.home.board.pass_time(number % (20 if number % 5 == 0 else 3))

    def _change(self, action: str, number: int) -> None:
        out, back = self.made.to_lock, self.made.to_client
        match action:
            case "drop" if out:
                del out[number % len(out)]
            case "drop answer" if back:
                del back[number % len(back)]
            case "swap":
                out.reverse()
            case "swap answers":
                back.reverse()
            case "flip" if out:
                out[0] = flip(out[0], number)
            case "flip answer" if back:
                back[0] = flip(back[0], number)

    def _write(self, action: str, number: int) -> None:
        out, back = self.made.to_lock, self.made.to_client
        nonce = self.nonces[number % len(self.nonces)]
        match action:
            case "repeat" if self.history:
                out.append(self.history[number % len(self.history)])
            case "repeat answer" if self.history:
                back.append(self.history[number % len(self.history)])
            case "reflect" if out:
                back.append(out[0])
            case "error":
                back.append(bytes((Kind.ERROR, 1 + number % 7)) + nonce)
            case "challenge":
                back.append(bytes((Kind.CHALLENGE,)) + nonce)
            case "steal a nonce":
                out.append(bytes((Kind.CHALLENGE_REQUEST,)))
            case "other's answer":
                self.other.hear()
                back += self.other.to_client


@settings(max_examples=150)
@given(actions, st.sampled_from(list(Operation)), st.booleans(), st.sampled_from([1, 255]))
def test_case_57_whoever_is_in_between_nothing_false_is_shown_as_done(
    sequence: list[tuple[str, int]], operation: Operation, fast: bool, uses: int
) -> None:
    home = paired_home()
    if operation is Operation.LOCK:
        home.board.sense(UNLOCKED)
    made = unlocking(home, remote_person(home, REMOTE, uses), operation=operation, fast=fast)
    other = relay(home, keys_of(home, remote_person(home)), requests.get_status(), fast=False)
    other.settle()
    middle = Middle(made, other)
    sensed: list[int] = [home.lock.bolt]
    for action, number in sequence:
        middle.act(action, number)
        sensed.append(home.lock.bolt)
    talk = made.talk
    started = home.board.motor.started
    assert set(started) <= {operation}
    assert len(started) <= 2
    if talk.done is not None:
        reached = {
            Operation.LOCK: (LOCKED,),
            Operation.UNLOCK: (UNLOCKED, OPENED),
            Operation.OPEN: (OPENED,),
        }
        assert any(bolt in reached[operation] for bolt in sensed)
        assert talk.done.already or started
        assert talk.error is None
    if isinstance(talk.error, LockRefusedError):
        assert not started, "a certain no is true"
    for state in talk.states:
        assert state.bolt in {Bolt(bolt) for bolt in sensed} | {Bolt.LOCKING, Bolt.UNLOCKING}
