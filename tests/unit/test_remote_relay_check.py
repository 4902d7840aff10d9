"""What a home lets through between a remote client and a lock, judged beside the real lock core."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from boards.desk import DEVICE_ID
from bsld.schedule import WallClock
from bsld_home import NOW, Client, Home, Person, Session, paired_home
from hypothesis import given
from hypothesis import strategies as st
from ilp import (
    Account,
    ClientSession,
    Kind,
    NonceSource,
    Operation,
    Right,
    Weekday,
    account_key,
    challenge_request,
    controller_key,
    parse_challenge,
    requests,
)
from ilp_support import flip

# The integration's packages without their __init__, which need Home Assistant.
_FOLDER = Path(__file__).resolve().parents[2] / "custom_components" / "igrs_lock"
for _package, _path in (
    ("igrs_lock_relays", _FOLDER),
    ("igrs_lock_relays.remote", _FOLDER / "remote"),
):
    sys.modules[_package] = ModuleType(_package)
    sys.modules[_package].__path__ = [str(_path)]
sys.modules["igrs_lock_relays.ilp"] = sys.modules["ilp"]
for _name in list(sys.modules):
    if _name.startswith("ilp."):
        sys.modules[f"igrs_lock_relays.{_name}"] = sys.modules[_name]
check: Any = importlib.import_module("igrs_lock_relays.remote.relay_check")
plan: Any = importlib.import_module("igrs_lock_relays.account_plan")

RIGHTS = Right.ENABLED | Right.REMOTE_USE | Right.LOCK | Right.UNLOCK | Right.FOLLOW_STATE
UNLOCK = requests.operate(Operation.UNLOCK)


class House:
    """A lock, somebody in a slot of it, and a relay of theirs at the gateway."""

    def __init__(self, rights: Right = RIGHTS) -> None:
        self.home: Home = paired_home()
        self.person: Person = self.home.grant(rights)
        self.other: Person = self.home.grant(rights)
        self.tenants: dict[int, Any] = {
            one.slot: tenant(one, rights) for one in (self.person, self.other)
        }
        self.advertised: list[bytes] = []
        self.openings: set[bytes] = set()
        self.link = Client(self.home.board)
        self.passage = self.relay()

    def relay(self) -> Any:
        """Begin another relay over the same gateway."""

        def first_time(opening: bytes) -> bool:
            new = opening not in self.openings
            self.openings.add(opening)
            return new

        return check.Passage(DEVICE_ID, self.tenants.get, lambda: self.advertised, first_time)

    @property
    def moment(self) -> Any:
        return check.Moment(self.link.time(), 0)

    def advertise(self) -> bytes:
        """Pass an advertisement on; return its nonce."""
        nonce = b"\x00" + self.home.board.radio.data[3:]
        self.advertised.insert(0, nonce)
        return nonce

    def challenge(self) -> bytes:
        """Let the client ask for a nonce through the relay."""
        assert self.passage.to_lock(challenge_request(), self.moment) == check.Passed()
        self.link.send(challenge_request())
        answer = self.link.heard()[-1]
        assert self.passage.from_lock(answer)
        return parse_challenge(answer)

    def session(
        self,
        source: NonceSource = NonceSource.ADVERTISED,
        nonce: bytes | None = None,
        person: Person | None = None,
    ) -> Session:
        person = person or self.person
        if nonce is None:
            nonce = self.advertise() if source is NonceSource.ADVERTISED else self.challenge()
        return Session(self.link, person.key, person.slot, source, nonce)

    def opening(self, *wanted: Any, session: Session | None = None) -> bytes:
        session = session or self.session()
        return session.message(requests.authenticate(self.person.account_id), *wanted)

    def passes(self, message: bytes) -> Any:
        return self.passage.to_lock(message, self.moment)

    def refused(self, message: bytes) -> Any:
        with pytest.raises(check.RelayRefused) as refusal:
            self.passes(message)
        return refusal.value.why


def tenant(person: Person, rights: Right) -> Any:
    account = Account(
        slot=person.slot,
        account_id=person.account_id,
        rights=rights,
        uses=255,
        not_before=0,
        not_after=0,
        weekdays=Weekday(0),
        first_minute=0,
        last_minute=0,
        pin_set=False,
    )
    return check.Tenant("anna", account, person.key, plan.Terms(rights=rights), True)


# --- what passes --------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [NonceSource.ADVERTISED, NonceSource.CHALLENGE])
def test_a_session_passes_and_the_lock_takes_it(source: NonceSource) -> None:
    house = House()
    session = house.session(source)
    message = house.opening(UNLOCK, session=session)
    assert house.passes(message) == check.Passed(opens=True, moves=True)
    assert house.passage.slot == house.person.slot
    house.link.send(message)
    house.home.board.arrive()
    answers = house.link.heard()
    assert [house.passage.from_lock(answer) for answer in answers] == [True] * len(answers)
    more = session.message(requests.get_status())
    assert house.passes(more) == check.Passed()
    house.link.send(more)
    assert house.passage.from_lock(*house.link.heard())


def test_after_an_error_its_nonce_opens_a_session_once() -> None:
    house = House()
    stale = house.advertise()
    house.home.controller().status()  # moves the counter on
    message = house.opening(session=house.session(nonce=stale))
    assert house.passes(message).opens
    error = house.link.ask(message)
    assert house.passage.from_lock(error)
    session = house.session(NonceSource.CHALLENGE, error[2:])
    assert house.passes(house.opening(UNLOCK, session=session)).opens
    again = house.session(NonceSource.CHALLENGE, error[2:])
    assert house.refused(house.opening(session=again)) is check.Why.FORBIDDEN


def test_while_nobody_knows_which_session_the_lock_took_both_are_heard() -> None:
    house = House()
    first = house.session()
    message = house.opening(session=first)
    house.passes(message)
    house.link.send(message)
    [taken] = house.link.heard()
    stale = house.opening(session=house.session(nonce=house.advertised[0]))
    house.passes(stale)  # the lock refuses this one, and the first goes on
    assert house.passage.from_lock(house.link.ask(stale))
    assert house.passage.from_lock(taken)
    assert house.passes(first.message(requests.get_status())) == check.Passed()


# --- attacks ------------------------------------------------------------------------------------


@given(bit=st.integers(0, 2000), sealed=st.booleans())
def test_case_13_a_changed_bit_never_passes(bit: int, sealed: bool) -> None:
    house = House()
    session = house.session()
    message = house.opening(UNLOCK, session=session)
    if sealed:
        house.passes(message)
        message = session.message(UNLOCK)
    assert house.refused(flip(message, bit)) in check.Why


@given(data=st.binary(max_size=600))
def test_case_56_what_is_no_message_of_a_session_never_passes(data: bytes) -> None:
    house = House()
    if data != challenge_request():
        assert house.refused(data) in check.Why
    assert not house.passage.from_lock(data)


def test_case_56_other_kinds_go_nowhere() -> None:
    house = House()
    house.passes(challenge_request())
    for kind in {*range(256)} - {Kind.CHALLENGE_REQUEST, Kind.SESSION_OPEN, Kind.SEALED}:
        assert house.refused(bytes((kind, *range(32)))) is check.Why.FORBIDDEN
        if kind not in (Kind.CHALLENGE, Kind.ERROR):
            assert not house.passage.from_lock(bytes((kind, *range(8))))


def test_case_9_the_same_opening_in_another_relay_is_refused() -> None:
    house = House()
    message = house.opening(UNLOCK)
    assert house.passes(message).moves
    assert house.refused(message) is check.Why.FORBIDDEN
    house.passage = house.relay()
    assert house.refused(message) is check.Why.FORBIDDEN


def test_case_49_nonces_of_elsewhere_open_nothing() -> None:
    house = House()
    never = bytes(8)
    assert house.refused(house.opening(session=house.session(nonce=never)))
    # A challenge that somebody else was given, and the one before the last.
    foreign = house.session(NonceSource.CHALLENGE, house.home.gateway.nonce())
    assert house.refused(house.opening(session=foreign))
    before = house.challenge()
    house.challenge()
    assert house.refused(house.opening(session=house.session(NonceSource.CHALLENGE, before)))
    # An advertised one as a challenge, and the other way round.
    advertised = house.advertise()
    assert house.refused(house.opening(session=house.session(NonceSource.CHALLENGE, advertised)))
    given_ = house.challenge()
    assert house.refused(house.opening(session=house.session(nonce=given_)))


def test_case_49_a_challenge_that_was_not_asked_for_is_not_handed_on() -> None:
    house = House()
    challenge = bytes((Kind.CHALLENGE,)) + bytes(8)
    assert not house.passage.from_lock(challenge)
    house.passes(challenge_request())
    assert house.passage.from_lock(challenge)
    assert not house.passage.from_lock(challenge)


def test_case_49_frames_reordered_doubled_cut_or_reflected_do_not_pass() -> None:
    house = House()
    session = house.session()
    message = house.opening(UNLOCK, requests.get_status(), session=session)
    head, frames = message[:11], [message[at : at + 24] for at in range(11, len(message), 24)]
    for order in ([1, 0, 2], [0, 0, 1], [0, 2], [1, 2]):
        assert house.refused(head + b"".join(frames[at] for at in order))
    for cut in (message[:-1], message + b"\0", head):
        assert house.refused(cut)
    house.passes(message)
    house.link.send(message)
    [answer] = house.link.heard()
    assert house.refused(answer)
    assert not house.passage.from_lock(b"\x13" + message[11:])


def test_case_63_whose_session_it_is_says_the_slot_and_it_stays_so() -> None:
    house = House()
    swapped = house.session()
    swapped.slot = house.other.slot
    assert house.refused(house.opening(session=swapped)) is check.Why.FORBIDDEN
    house.passes(house.opening(session=house.session()))
    other = house.session(person=house.other)
    message = other.message(requests.authenticate(house.other.account_id))
    assert house.refused(message) is check.Why.FORBIDDEN
    house.passage = house.relay()
    assert house.passes(message).opens
    assert house.passage.slot == house.other.slot


@pytest.mark.parametrize("slot", [253, 254, 255])
def test_the_controllers_slot_and_free_ones_are_nobodys(slot: int) -> None:
    house = House()
    key = controller_key(house.home.lock_key)
    session = Session(house.link, key, slot, NonceSource.ADVERTISED, house.advertise())
    assert house.refused(session.message(requests.get_status())) is check.Why.FORBIDDEN


def test_another_account_id_in_the_own_slot_is_refused() -> None:
    house = House()
    for wanted in (
        [requests.get_status()],
        [requests.authenticate(house.other.account_id)],
        [
            requests.authenticate(house.person.account_id),
            requests.authenticate(house.other.account_id),
        ],
    ):
        assert house.refused(house.session().message(*wanted)) is check.Why.FORBIDDEN


def test_case_14_answers_of_another_session_stay_at_home() -> None:
    house = House()
    ours = house.home.controller(house.link)
    ours.status()
    opening = house.opening(session=house.session())
    house.passes(opening)
    message = ours.message(requests.get_status())
    house.link.send(message)
    assert [house.passage.from_lock(answer) for answer in house.link.heard()] == [False]
    house.link.send(opening)
    assert house.passage.from_lock(*house.link.heard())


def test_nothing_comes_back_to_who_said_nothing() -> None:
    house = House()
    assert not house.passage.from_lock(bytes((Kind.ERROR, 3)) + bytes(8))


# --- who may what ------------------------------------------------------------------------------


COMMANDS: dict[str, tuple[Any, Right]] = {
    "lock": (requests.operate(Operation.LOCK), Right.LOCK),
    "unlock": (UNLOCK, Right.UNLOCK),
    "open": (requests.operate(Operation.OPEN), Right.OPEN),
    "status": (requests.get_status(), Right(0)),
    "log": (requests.get_log(0), Right.READ_LOG),
    "key": (requests.get_advertisement_key(), Right.FOLLOW_STATE),
}
FORBIDDEN: list[Any] = [
    requests.write_account(bytes(9)),
    requests.remove_account(bytes(9)),
    requests.set_rights(1, Right(0xFF)),
    requests.set_validity(1, 0, 0),
    requests.set_time(NOW, 0),
    requests.set_pin(1, "1234"),
    requests.account_digest_request(),
    requests.factory_reset(),
    requests.read_account(1),
    requests.identify(),
]


@pytest.mark.parametrize("name", sorted(COMMANDS))
@pytest.mark.parametrize("where", ["lock", "owner"])
def test_each_command_needs_its_right_at_the_lock_and_from_the_owner(name: str, where: str) -> None:
    request, needed = COMMANDS[name]
    house = House(Right(0xFF))
    full = house.tenants[house.person.slot]
    assert house.passes(house.opening(request)).opens
    if where == "lock":
        without = replace(full, account=replace(full.account, rights=Right(0xFF) & ~needed))
    else:
        without = replace(full, terms=replace(full.terms, rights=Right(0xFF) & ~needed))
    house.tenants[house.person.slot] = without
    house.passage = house.relay()
    if needed:
        assert house.refused(house.opening(request)) is check.Why.FORBIDDEN
    else:
        assert house.passes(house.opening(request)).opens


@pytest.mark.parametrize("request_", FORBIDDEN)
def test_nobody_manages_a_lock_from_afar(request_: Any) -> None:
    house = House(Right(0xFF))
    assert house.refused(house.opening(request_)) is check.Why.FORBIDDEN


@pytest.mark.parametrize("right", [Right.ENABLED, Right.REMOTE_USE])
@pytest.mark.parametrize("where", ["lock", "owner"])
def test_case_23_without_the_remote_right_nothing_passes(right: Right, where: str) -> None:
    house = House()
    full = house.tenants[house.person.slot]
    less = RIGHTS & ~right
    house.tenants[house.person.slot] = (
        replace(full, account=replace(full.account, rights=less))
        if where == "lock"
        else replace(full, terms=replace(full.terms, rights=less))
    )
    assert house.refused(house.opening(requests.get_status())) is check.Why.FORBIDDEN


@pytest.mark.parametrize("where", ["account", "terms"])
@pytest.mark.parametrize(
    ("begin", "end", "passes"),
    [(None, None, True), (-1, 1, True), (0, 1, True), (1, None, False), (-9, 0, False)],
)
def test_case_20_one_second_before_and_after(
    where: str, begin: int | None, end: int | None, passes: bool
) -> None:
    house = House()
    full = house.tenants[house.person.slot]
    now = house.link.time()
    part = replace(
        getattr(full, where),
        not_before=0 if begin is None else now + begin,
        not_after=0 if end is None else now + end,
    )
    house.tenants[house.person.slot] = replace(full, **{where: part})
    message = house.opening(requests.get_status())
    if passes:
        house.passes(message)
    else:
        assert house.refused(message) is check.Why.FORBIDDEN


@pytest.mark.parametrize(
    ("left", "wanted", "agreed", "passes"),
    [
        (255, 255, True, True),
        (0, 3, True, False),
        (2, 3, True, True),
        (3, 2, False, False),
        (1, 9, False, True),
    ],
)
def test_case_22_who_has_no_use_left_may_lock_and_no_more(
    left: int, wanted: int, agreed: bool, passes: bool
) -> None:
    house = House()
    full = house.tenants[house.person.slot]
    house.tenants[house.person.slot] = replace(
        full,
        account=replace(full.account, uses=left),
        terms=replace(full.terms, uses=wanted),
        uses_agreed=agreed,
    )
    house.passes(house.opening(requests.operate(Operation.LOCK)))
    house.passage = house.relay()
    if passes:
        assert house.passes(house.opening(UNLOCK)).moves
    else:
        assert house.refused(house.opening(UNLOCK)) is check.Why.FORBIDDEN


def test_case_25_who_lost_the_right_in_the_middle_is_heard_no_more() -> None:
    house = House()
    session = house.session()
    house.passes(house.opening(session=session))
    del house.tenants[house.person.slot]
    assert house.refused(session.message(UNLOCK)) is check.Why.FORBIDDEN


class Hours:
    """The lock's own judgement of weekly hours."""

    def __init__(self, unix: int, offset: int) -> None:
        class Port:
            uptime_ms = staticmethod(lambda: 0)
            rtc = staticmethod(lambda: unix)
            set_rtc = staticmethod(lambda _unix: None)

        class Kept:
            get = staticmethod(lambda _key: None)
            commit = staticmethod(lambda *_changes: None)

        self.clock = WallClock(Port, Kept, 0)  # type: ignore[arg-type]  # what it needs of them
        self.clock.set(unix, offset)


@given(
    unix=st.integers(NOW - 10**6, NOW + 10**7),
    offset=st.sampled_from([-720, -60, 0, 60, 120, 345, 840]),
    days=st.integers(0, 0x7F),
    first=st.integers(0, 1439),
    last=st.integers(0, 1439),
    at_edge=st.booleans(),
)
def test_case_20_hours_are_the_locks_own(
    unix: int, offset: int, days: int, first: int, last: int, at_edge: bool
) -> None:
    if at_edge:  # the first or last second of a border
        unix += (first * 60 - (unix + offset * 60) % 86400) - (unix & 1)
    terms = plan.Terms(rights=RIGHTS, weekdays=Weekday(days), first_minute=first, last_minute=last)

    class Held:
        pass

    held: Any = Held()
    held.days, held.first, held.last = days, first, last
    mine = check.in_hours(terms, check.Moment(unix, offset))
    assert mine == Hours(unix, offset).clock.allows_hour(held)


@pytest.mark.parametrize("where", ["account", "terms"])
def test_hours_hold_for_moving_the_bolt_and_not_for_asking(where: str) -> None:
    house = House()
    full = house.tenants[house.person.slot]
    never = {"weekdays": Weekday.SUNDAY, "first_minute": 0, "last_minute": 0}  # it is a Monday
    house.tenants[house.person.slot] = replace(
        full, **{where: replace(getattr(full, where), **never)}
    )
    house.passes(house.opening(requests.get_status()))
    house.passage = house.relay()
    assert house.refused(house.opening(UNLOCK)) is check.Why.FORBIDDEN


# --- whatever a client and a server make up --------------------------------------------------------


STEPS = ("challenge", "advertised", "challenged", "seal", "mutate", "replay", "other", "counter")


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 10**6)), max_size=14))
def test_case_57_what_passes_the_lock_takes_and_only_for_this_person(
    steps: list[tuple[str, int]],
) -> None:
    """Whatever is said in a relay, the lock is only told what it does not refuse as forged."""
    house = House()
    said: list[bytes] = []
    session: Session | None = None
    for step, number in steps:
        if step == "challenge":
            house.challenge()
            continue
        if step == "counter":
            house.home.controller().status()
            continue
        message = b""
        opened: Session | None = None
        if step == "advertised":
            opened = house.session()
            message = house.opening(UNLOCK, session=opened)
        elif step == "challenged":
            opened = house.session(NonceSource.CHALLENGE)
            message = house.opening(session=opened)
        elif step == "seal" and session is not None:
            message = session.message(requests.get_status())
        elif step == "other":
            foreign = house.session(person=house.other)
            message = foreign.message(requests.authenticate(house.other.account_id))
        elif step == "mutate" and said:
            message = flip(said[number % len(said)], number)
        elif step == "replay" and said:
            message = said[number % len(said)]
        if not message:
            continue
        before = house.passage.slot
        try:
            passed = house.passes(message)
        except check.RelayRefused:
            assert step in ("mutate", "replay", "other") or session is None
            return  # the relay has ended
        assert step not in ("mutate", "replay")
        assert before in (None, house.passage.slot)
        said.append(message)
        house.link.send(message)
        answers = house.link.heard()
        assert answers, "the lock says something to whatever reaches it"
        for answer in answers:
            assert house.passage.from_lock(answer)
            # Its tags are right: of what passes the lock refuses an opening at most by its nonce.
            assert answer[0] == Kind.SEALED or (passed.opens and answer[1] in (2, 3))
        if passed.opens and answers[0][0] == Kind.SEALED:
            session = opened


def test_the_tenants_key_and_nothing_else_makes_the_tags() -> None:
    house = House()
    nonce = house.advertise()
    key = account_key(house.home.lock_key, house.other.account_id)
    session = ClientSession(key, DEVICE_ID, house.person.slot, NonceSource.ADVERTISED, nonce)
    frames = [requests.authenticate(house.person.account_id).at(NOW)]
    assert house.refused(session.open(frames)) is check.Why.FORBIDDEN
