"""Which states a remote client shows: whatever a server sends, only the lock's and the home's own, never an older one."""

from hypothesis import given
from hypothesis import strategies as st
from igrs_rac.state import AHEAD, CURRENT, NONCE_LIFE, StateTracker, Verdict, View, Why
from ilp import Bolt, Door, Event, Source, StateEvent, Status
from ilp_support import any_bytes, bytes_of, flip, plain_advertisement, seal_advertisement
from rac_support import lock_keys, seen_state

NOW = 1_900_000_000
OTHER_LOCK_KEY = bytes(range(16))
BOLTS = (1, 2, 6, 5)

# What the lock and the home really made, in this order: state n has counter n // 2 and the bolt that goes with it, and every
# counter is heard twice.
GENUINE = [
    seen_state(1 + n // 2, NOW + n, bolt=BOLTS[n // 2 % len(BOLTS)]) for n in range(24)
]  # fmt: skip
genuine = st.integers(0, len(GENUINE) - 1)


@st.composite
def sent(draw: st.DrawFn) -> tuple[bytes, int, bytes, int | None]:
    """Something that a hostile server sends, and which genuine state it is, if it is one."""
    n = draw(genuine)
    data, time, seen = GENUINE[n]
    match draw(st.integers(0, 7)):
        case 0 | 1 | 2:
            return data, time, seen, n
        case 3:
            return flip(data, draw(st.integers(0, 79))), time, seen, None
        case 4:
            return data, time, flip(seen, draw(st.integers(0, 63))), None
        case 5:  # a state with the time and proof of another
            _, other_time, other_seen = GENUINE[draw(genuine.filter(lambda m: m // 2 != n // 2))]
            return data, other_time, seen if draw(st.booleans()) else other_seen, None
        case 6:  # another lock's, or of keys that this client never had
            return *seen_state(99, NOW + 99, lock_key=OTHER_LOCK_KEY), None
        case _:
            return draw(bytes_of[10]), NOW + draw(st.integers(0, 99)), draw(bytes_of[8]), None


@given(st.lists(sent(), max_size=40))
def test_case_57_whatever_a_server_sends_only_the_newest_genuine_state_is_shown(
    sequence: list[tuple[bytes, int, bytes, int | None]],
) -> None:
    tracker = StateTracker(lock_keys())
    newest = -1
    for data, time, seen, which in sequence:
        before = tracker.view(NOW + 30, 0)
        verdict = tracker.feed(data, time, seen, NOW + 30, 0)
        view = tracker.view(NOW + 30, 0)
        if which is None:
            assert verdict is Verdict.UNREADABLE
            assert view == View(why=Why.UNREADABLE)
            continue
        if which > newest:
            assert verdict is Verdict.ACCEPTED
            newest = which
        elif which == newest:
            assert verdict is Verdict.REPEATED
        else:
            assert verdict is Verdict.OLDER
            assert view == before
            continue
        assert view.bolt == BOLTS[newest // 2 % len(BOLTS)]
        assert view.age == 30 - newest
        assert tracker.floor == (NOW + newest, 1 + newest // 2)


@given(any_bytes, st.integers(0, 2**32 - 1), any_bytes)
def test_bytes_of_any_length_are_no_state(data: bytes, time: int, seen: bytes) -> None:
    tracker = StateTracker(lock_keys())
    assert tracker.feed(data, time, seen, NOW, 0) is Verdict.UNREADABLE


@given(st.integers(-5000, 5000), st.integers(0, 5000), st.integers(0, 60))
def test_a_state_gets_old_by_whichever_clock_runs(wall: int, monotonic: int, age: int) -> None:
    """The wall clock may be set back, the monotonic one stands still while the machine sleeps."""
    tracker = StateTracker(lock_keys())
    tracker.feed(*seen_state(5, NOW - age), NOW, 1000)
    view = tracker.view(NOW + wall, 1000 + monotonic)
    assert view.bolt is Bolt.LOCKED
    assert view.age == age + max(wall, monotonic, -age)
    assert view.age >= age + monotonic
    assert view.current == (view.age <= CURRENT)


def test_a_state_of_the_future_is_not_shown_and_moves_nothing() -> None:
    tracker = StateTracker(lock_keys())
    assert tracker.feed(*seen_state(5, NOW + AHEAD + 1), NOW, 0) is Verdict.AHEAD
    assert tracker.view(NOW, 0) == View(why=Why.AHEAD)
    assert tracker.floor == (0, 0)
    assert tracker.feed(*seen_state(4, NOW + AHEAD), NOW, 0) is Verdict.ACCEPTED
    assert tracker.view(NOW, 0).age == 0
    assert tracker.view(NOW + 60, 0).age == 60 - AHEAD


def test_one_counter_has_one_content() -> None:
    tracker = StateTracker(lock_keys())
    tracker.feed(*seen_state(5, NOW, bolt=1), NOW, 0)
    assert tracker.feed(*seen_state(5, NOW + 1, bolt=2), NOW + 1, 0) is Verdict.OLDER
    assert tracker.view(NOW + 1, 0).bolt is Bolt.LOCKED


def test_the_same_heard_again_makes_it_young_again() -> None:
    tracker = StateTracker(lock_keys())
    tracker.feed(*seen_state(5, NOW), NOW, 0)
    assert not tracker.view(NOW + 91, 91).current
    changes = tracker.changes
    assert tracker.feed(*seen_state(5, NOW + 90), NOW + 91, 91) is Verdict.ACCEPTED
    assert tracker.view(NOW + 91, 91).age == 1
    assert tracker.view(NOW + 91, 91).current
    assert tracker.changes == changes


def test_a_restart_forgets_no_floor() -> None:
    tracker = StateTracker(lock_keys())
    old, new = seen_state(5, NOW, bolt=1), seen_state(7, NOW + 1, bolt=2)
    tracker.feed(*old, NOW + 1, 0)
    tracker.feed(*new, NOW + 1, 0)
    again = StateTracker(lock_keys(), tracker.floor)
    assert again.view(NOW + 1, 0) == View(why=Why.NOTHING_YET)
    assert again.feed(*old, NOW + 1, 0) is Verdict.OLDER
    assert again.feed(*new, NOW + 1, 0) is Verdict.ACCEPTED


def test_a_new_epoch_is_not_known_until_its_keys_come() -> None:
    tracker = StateTracker(lock_keys())
    tracker.feed(*seen_state(5, NOW, bolt=1), NOW, 0)
    assert tracker.feed(*seen_state(7, NOW + 2, bolt=2, epoch=1), NOW + 2, 0) is Verdict.UNREADABLE
    assert tracker.view(NOW + 2, 0) == View(why=Why.UNREADABLE)
    assert tracker.nonce(NOW + 2, 0) is None
    assert tracker.set_keys(lock_keys(epoch=1), NOW + 3, 0) is Verdict.ACCEPTED
    view = tracker.view(NOW + 3, 0)
    assert (view.bolt, view.age) == (Bolt.UNLOCKED, 1)
    # The counter went on: what the old epoch's key still opens elsewhere is behind.
    assert tracker.feed(*seen_state(6, NOW + 3, epoch=1), NOW + 3, 0) is Verdict.OLDER


def test_keys_of_a_new_pairing_let_the_counter_begin_again_but_no_older_time() -> None:
    tracker = StateTracker(lock_keys(epoch=3))
    tracker.feed(*seen_state(0xFFFFFE, NOW, epoch=3), NOW, 0)
    paired_anew = lock_keys(lock_key=OTHER_LOCK_KEY, epoch=0)
    tracker.set_keys(paired_anew, NOW + 5, 0)
    assert tracker.view(NOW + 5, 0) == View(why=Why.NOTHING_YET)
    data = seal_advertisement(plain_advertisement(2, bolt=2), lock_key=OTHER_LOCK_KEY)
    early = seen_state(2, NOW - 1, lock_key=OTHER_LOCK_KEY, data=data)
    assert tracker.feed(*early, NOW + 5, 0) is Verdict.OLDER
    good = seen_state(2, NOW + 4, lock_key=OTHER_LOCK_KEY, data=data)
    assert tracker.feed(*good, NOW + 5, 0) is Verdict.ACCEPTED


def status(counter: int, bolt: Bolt) -> Status:
    return Status(0x48, 0, bolt, Door.CLOSED, 80, counter, 0)  # type: ignore[arg-type]


def test_what_the_lock_said_itself_is_newer_than_an_older_counter() -> None:
    tracker = StateTracker(lock_keys())
    tracker.feed(*seen_state(5, NOW, bolt=1), NOW, 0)
    event = StateEvent(
        Event.UNLOCKED, Bolt.UNLOCKED, Door.CLOSED, 80, 9, 4, Source.BLUETOOTH, NOW + 3
    )
    tracker.sealed(event, NOW + 1, 1, NOW + 3, 3)
    view = tracker.view(NOW + 3, 3)
    assert (view.bolt, view.sealed) == (Bolt.UNLOCKED, True)
    assert view.age == 2, "it counts from the question: an answer may have been held back"
    assert view.low_battery is None, "it is not told in sessions"
    assert tracker.nonce(NOW + 3, 3) is None, "the counter has moved on"
    for counter in (6, 8):
        assert tracker.feed(*seen_state(counter, NOW + 3), NOW + 3, 3) is Verdict.OLDER
    assert tracker.feed(*seen_state(9, NOW + 3, bolt=2), NOW + 3, 3) is Verdict.ACCEPTED
    assert tracker.nonce(NOW + 3, 3) is not None


def test_case_48_an_answer_corrects_a_counter_that_was_forged() -> None:
    """Who once had the advertisement key, and a server, can forge states until the next epoch."""
    tracker = StateTracker(lock_keys())
    tracker.feed(*seen_state(0xFFFF00, NOW, bolt=1), NOW, 0)
    tracker.sealed(status(9, Bolt.UNLOCKED), NOW + 1, 1, NOW + 2, 2)
    assert tracker.view(NOW + 2, 2).bolt is Bolt.UNLOCKED
    assert tracker.feed(*seen_state(10, NOW + 2, bolt=6), NOW + 2, 2) is Verdict.ACCEPTED


def test_an_answer_that_was_held_back_does_not_take_back_what_came_meanwhile() -> None:
    tracker = StateTracker(lock_keys())
    tracker.feed(*seen_state(9, NOW + 5, bolt=2), NOW + 5, 5)
    tracker.sealed(status(7, Bolt.LOCKED), NOW + 1, 1, NOW + 9, 9)
    assert tracker.view(NOW + 9, 9).bolt is Bolt.UNLOCKED
    assert tracker.feed(*seen_state(8, NOW + 9), NOW + 9, 9) is Verdict.OLDER


def test_the_nonce_is_the_newest_states_while_lock_and_home_take_it() -> None:
    tracker = StateTracker(lock_keys())
    assert tracker.nonce(NOW, 0) is None
    data, time, seen = seen_state(5, NOW)
    tracker.feed(data, time, seen, NOW, 0)
    assert tracker.nonce(NOW + NONCE_LIFE, NONCE_LIFE) == b"\x00" + data[3:]
    assert tracker.nonce(NOW + NONCE_LIFE + 1, NONCE_LIFE + 1) is None
    no_clock = seal_advertisement(plain_advertisement(6, flags=0x10))
    tracker.feed(*seen_state(6, NOW, data=no_clock), NOW, 0)
    assert tracker.nonce(NOW, 0) is None, "the clock is not trusted"
    end = seal_advertisement(plain_advertisement(0xFFFFFF))
    tracker.feed(*seen_state(0, NOW + 1, data=end), NOW + 1, 0)
    assert tracker.nonce(NOW + 1, 0) is None, "the counter is at its end"
