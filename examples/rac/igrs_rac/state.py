"""Which states of a lock count, and what may be shown of them (ILP1 section 6.2): the client's own judgement.

A server can drop, delay, repeat, reorder and swap states, and write new ones; of these only the ones that the lock and
the home made pass. What was withheld shows as age.
"""

import hmac
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from ilp import (
    COUNTER_MAX,
    Advertisement,
    AdvertisementReader,
    AuthenticationError,
    Bolt,
    Door,
    MalformedError,
    seen_proof,
)

if TYPE_CHECKING:
    from ilp import StateEvent, Status

    from .keys import LockKeys

CURRENT: Final = 90.0
"""Seconds after which a state is not current any more."""
NONCE_LIFE: Final = 60
"""Seconds for which the home takes an advertisement that it has passed on."""
AHEAD: Final = 10
"""Seconds by which the home's clock may be ahead of this one's. A state of the future would look new for too long."""


class Verdict(Enum):
    """What became of a state that the server sent."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"  # the very same again
    UNREADABLE = "unreadable"  # not made with the keys here: they have changed, or it is invented
    OLDER = "older"  # time or counter behind one that was accepted
    AHEAD = "ahead"  # from this client's future


class Why(Enum):
    """Why a state is not known."""

    NOTHING_YET = "nothing came yet"
    UNREADABLE = (
        "what comes cannot be read with the keys here: new ones are on their way, or it is invented"
    )
    AHEAD = "the clocks of this device and of the home differ too much"


@dataclass(frozen=True, slots=True)
class View:
    """What may be shown. All but `why` is None while nothing is known; `age` is in seconds.

    `sealed`: the lock said so to this client itself, in a session. Without `current` it has to be shown as old.
    """

    why: Why | None = None
    bolt: Bolt | None = None
    door: Door | None = None
    battery: int | None = None
    low_battery: bool | None = None
    tamper: bool | None = None
    age: float | None = None
    current: bool = False
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class _Shown:
    """The state that counts. `counter` orders it; `at` is the wall clock of the moment from which its age counts."""

    counter: int
    bolt: Bolt
    door: Door
    battery: int | None
    low_battery: bool | None
    tamper: bool | None
    at: float
    taken_age: float  # when it was taken
    taken_monotonic: float
    sealed: bool


class StateTracker:
    """Judges one lock's states. Pure: `now` is always Unix seconds, `monotonic` seconds of one monotonic clock.

    Public attributes, to be read only: `changes` (how often something else was seen than before), `floor` (time and
    counter below which nothing counts, to be remembered over a restart).
    """

    def __init__(self, keys: LockKeys, floor: tuple[int, int] = (0, 0)) -> None:
        self._set_keys(keys)
        self.floor = floor
        self.changes = 0
        self._content: bytes | None = (
            None  # the ten bytes of the floor's counter, when an advertisement set it
        )
        self._shown: _Shown | None = None
        self._nonce: tuple[int, bytes] | None = (
            None  # counter and nonce of the newest advertisement
        )
        self._clock_trusted = False
        self._unreadable: tuple[bytes, int, bytes] | None = (
            None  # the newest state that no key opened
        )
        self._ahead = False

    def set_keys(self, keys: LockKeys, now: float, monotonic: float) -> Verdict | None:
        """Use changed keys; judge a state again that could not be read without them."""
        before = self._keys
        if keys.advertisement_key != before.advertisement_key:
            if keys.epoch <= before.epoch:
                # Paired anew. Its counter may have begun again; an older time still counts for nothing.
                self.floor = (self.floor[0], 0)
                self._content = self._shown = self._nonce = None
                self.changes += 1
            self._content = None
        self._set_keys(keys)
        waiting, self._unreadable = self._unreadable, None
        return None if waiting is None else self.feed(*waiting, now, monotonic)

    def _set_keys(self, keys: LockKeys) -> None:
        self._keys = keys
        self._reader = AdvertisementReader(keys.advertisement_key, keys.device_id)

    def feed(self, data: bytes, time: int, seen: bytes, now: float, monotonic: float) -> Verdict:
        """Take a state as the server sent it: advertisement 10, the home's time in s, proof 8."""
        advertisement = self._open(data, time, seen)
        if advertisement is None:
            if self._unreadable is None or time >= self._unreadable[1]:
                self._unreadable = (data, time, seen)
            return Verdict.UNREADABLE
        if time > now + AHEAD:
            self._ahead = True
            return Verdict.AHEAD
        verdict = self._order(advertisement.counter, time, data)
        if verdict is Verdict.OLDER:
            return verdict
        self._unreadable = None
        self._ahead = False
        if verdict is Verdict.REPEATED:
            return verdict
        self.floor = (time, advertisement.counter)
        self._content = data
        self._nonce = (advertisement.counter, advertisement.nonce)
        self._clock_trusted = advertisement.clock_trusted
        self._show(
            _Shown(
                advertisement.counter, advertisement.bolt, advertisement.door, advertisement.battery,
                advertisement.low_battery, advertisement.tamper, time, max(0.0, now - time), monotonic, sealed=False,
            )
        )  # fmt: skip
        return verdict

    def sealed(
        self,
        state: Status | StateEvent,
        asked: float,
        asked_monotonic: float,
        now: float,
        monotonic: float,
    ) -> None:
        """Take what the lock said in a session. It was so at `asked`, when the session began, or later: age counts from there.

        Its counter replaces a higher one that was there before (section 2.4): who once had the key forged that.
        """
        shown = self._shown
        if shown is not None and state.counter < shown.counter:
            taken_since = shown.taken_monotonic >= asked_monotonic
            if taken_since:
                return  # something newer came while the answer was on its way
        if state.counter != self.floor[1]:
            self._content = None
        self.floor = (self.floor[0], state.counter)
        self._ahead = False
        self._unreadable = None
        if self._nonce is not None and self._nonce[0] != state.counter:
            self._nonce = None
        self._show(
            _Shown(
                state.counter, state.bolt, state.door, state.battery,
                None, None,  # told by advertisements only
                asked, max(0.0, now - asked), monotonic, sealed=True,
            )
        )  # fmt: skip

    def view(self, now: float, monotonic: float) -> View:
        """Return what may be shown now."""
        if self._unreadable is not None:
            return View(why=Why.UNREADABLE)
        if self._ahead:
            return View(why=Why.AHEAD)
        shown = self._shown
        if shown is None:
            return View(why=Why.NOTHING_YET)
        age = self._age(shown, now, monotonic)
        return View(
            None, shown.bolt, shown.door, shown.battery, shown.low_battery, shown.tamper, age,
            age <= CURRENT, shown.sealed,
        )  # fmt: skip

    def nonce(self, now: float, monotonic: float) -> bytes | None:
        """Return the advertised nonce if both the lock and the home should still take it, else None: ask the lock for one."""
        shown = self._shown
        if (
            self._nonce is None
            or shown is None
            or shown.sealed
            or not self._clock_trusted
            or self._unreadable is not None
            or self._nonce[0] == COUNTER_MAX
            or self._age(shown, now, monotonic) > NONCE_LIFE
        ):
            return None
        return self._nonce[1]

    def _open(self, data: bytes, time: int, seen: bytes) -> Advertisement | None:
        keys = self._keys
        try:
            proof = seen_proof(keys.advertisement_key, keys.device_id, data, time)
            if not hmac.compare_digest(proof, seen):
                return None
            return self._reader.open(data)
        except AuthenticationError, MalformedError:
            return None

    def _order(self, counter: int, time: int, data: bytes) -> Verdict:
        floor_time, floor_counter = self.floor
        if time < floor_time or counter < floor_counter:
            return Verdict.OLDER
        if counter == floor_counter and self._content is not None:
            if data != self._content and counter != COUNTER_MAX:
                return (
                    Verdict.OLDER
                )  # one counter has one content: the key is in somebody else's hands
            if time == floor_time and data == self._content:
                return Verdict.REPEATED
        return Verdict.ACCEPTED

    def _show(self, shown: _Shown) -> None:
        before = self._shown
        if before is None or (before.bolt, before.door) != (shown.bolt, shown.door):
            self.changes += 1
        self._shown = shown

    @staticmethod
    def _age(shown: _Shown, now: float, monotonic: float) -> float:
        """The larger of what both clocks say: one may be set back, the other stands still while the machine sleeps."""
        return max(now - shown.at, shown.taken_age + monotonic - shown.taken_monotonic, 0.0)
