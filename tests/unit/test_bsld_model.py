"""Random commands of a gateway and of people, against a model of what they should come to."""

from dataclasses import dataclass

from bsld_home import NOW, Client, Session, paired_home
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from ilp import (
    Account,
    NonceSource,
    Operation,
    Result,
    Right,
    Weekday,
    account_digest,
    account_key,
    requests,
)

slots = st.integers(0, 5)
rights = st.integers(0, 255).map(Right)


NOTHING = Right(0)


@dataclass
class Held:
    """An account as the lock should have it."""

    account_id: bytes
    rights: Right = NOTHING
    uses: int = 255
    start: int = 0
    end: int = 0
    days: int = 0
    last: int = 0
    pin: str = ""


class LockMachine(RuleBasedStateMachine):
    """Random commands of gateway and people, against what they should come to."""

    people = Bundle("people")

    def __init__(self) -> None:
        super().__init__()
        self.home = paired_home(slots=6)
        self.accounts: dict[int, Held] = {}
        self.dirty: set[int] = set()
        self.removed: set[bytes] = set()
        self.epoch = 0

    def controller(self) -> Session:
        self.home.gateway.leave()
        self.home.gateway = Client(self.home.board)
        return self.home.controller()

    @rule(target=people)
    def write(self) -> bytes:
        account_id = self.home.new_id()
        [reply] = self.controller().ask(requests.write_account(account_id))
        free = [s for s in range(6) if s not in self.accounts and s not in self.dirty]
        if not free:
            assert reply.result is Result.FULL
            return account_id
        assert reply.response.value[:2] == bytes((0, free[0]))
        self.accounts[free[0]] = Held(account_id)
        return account_id

    @rule(person=people)
    def remove(self, person: bytes) -> None:
        slot = self.slot_of(person)
        result = self.controller().result(requests.remove_account(person))
        if slot is None:
            assert result is Result.UNKNOWN_ACCOUNT
            return
        assert result is Result.DONE
        del self.accounts[slot]
        self.dirty.add(slot)
        self.removed.add(person)
        self.epoch += 1

    @rule(person=people)
    def write_again(self, person: bytes) -> None:
        slot = self.slot_of(person)
        if slot is None and person not in self.removed:
            return  # it never found room
        result = self.controller().result(requests.write_account(person))
        assert result is (Result.BAD_VALUE if slot is None else Result.DONE)

    @rule(slot=slots, rights=rights, uses=st.integers(0, 255))
    def set_rights(self, slot: int, rights: Right, uses: int) -> None:
        result = self.controller().result(requests.set_rights(slot, rights, uses))
        if self.changed(slot, result):
            self.accounts[slot].rights = rights
            if uses != 254:
                self.accounts[slot].uses = uses

    @rule(slot=slots, before=st.integers(-2, 2), after=st.integers(-2, 2))
    def set_validity(self, slot: int, before: int, after: int) -> None:
        start = NOW + before * 86400 if before else 0
        end = NOW + after * 86400 if after else 0
        result = self.controller().result(requests.set_validity(slot, start, end))
        if slot in self.accounts and 0 < end <= start:
            assert result is Result.BAD_VALUE
        elif self.changed(slot, result):
            self.accounts[slot].start = start
            self.accounts[slot].end = end

    @rule(slot=slots, days=st.sampled_from([0, 1, 0x7E, 0x7F]))
    def set_hours(self, slot: int, days: int) -> None:
        wanted = requests.set_weekly_hours(slot, Weekday(days), 0, 1439)
        if self.changed(slot, self.controller().result(wanted)):
            self.accounts[slot].days = days
            self.accounts[slot].last = 1439

    @rule(slot=slots, pin=st.sampled_from(["", "1111", "2222"]))
    def set_pin(self, slot: int, pin: str) -> None:
        result = self.controller().result(requests.set_pin(slot, pin))
        elsewhere = self.holder(pin) not in (None, slot)
        if slot in self.accounts and pin and elsewhere:
            assert result is Result.BAD_VALUE
        elif self.changed(slot, result):
            self.accounts[slot].pin = pin

    @rule()
    def read_log(self) -> None:
        session = self.controller()
        after = 0
        while records := session.ask(requests.get_log(after))[0].records:
            after = int.from_bytes(records[-1].value[3:6])
        self.dirty.clear()

    @rule()
    def restart(self) -> None:
        self.home.board.clock.has_rtc = True
        self.home.relock()
        self.home.restart()
        assert self.home.lock.clock_trusted

    @rule(person=people, operation=st.sampled_from(list(Operation)), source=st.booleans())
    def operate(self, person: bytes, operation: Operation, source: bool) -> None:
        slot = self.slot_of(person)
        if slot is None:
            return
        moves = self.home.board.moves
        client = Client(self.home.board)
        # After restarts the client's clock and the lock's went different ways: ask the lock
        time = self.home.lock.clock.now()
        key = account_key(self.home.lock_key, person)
        session = Session(client, key, slot, NonceSource(source))
        results = session.results(
            requests.authenticate(person), requests.operate(operation), at=time
        )
        client.leave()
        wanted = self.judge(slot, operation)
        assert results[-1] is wanted
        assert self.home.board.moves == moves + (wanted is Result.ACCEPTED)
        self.settle(slot, operation, wanted)

    @rule(pin=st.sampled_from(["1111", "2222"]))
    def type_pin(self, pin: str) -> None:
        slot = self.holder(pin)
        if slot is None or self.home.lock.pin_misses:
            return
        wanted = self.judge(slot, Operation.UNLOCK)
        assert self.home.lock.pin_entered(pin) == wanted
        self.settle(slot, Operation.UNLOCK, wanted)

    def judge(self, slot: int, operation: Operation) -> Result:
        account = self.accounts[slot]
        right = {1: Right.LOCK, 2: Right.UNLOCK, 3: Right.OPEN}[operation]
        now = self.home.lock.clock.now()
        if not account.rights & Right.ENABLED:
            return Result.DISABLED
        outside = now < account.start or 0 < account.end <= now
        if outside:
            return Result.OUTSIDE_TIME
        if not account.rights & right:
            return Result.NO_RIGHT
        # The tests' day is a Monday
        if account.days and not account.days & 1:
            return Result.OUTSIDE_TIME
        if operation is not Operation.LOCK and account.uses == 0:
            return Result.DISABLED
        if self.home.board.bolt == {1: 1, 2: 2, 3: 0}[operation]:
            return Result.DONE
        return Result.ACCEPTED

    def settle(self, slot: int, operation: Operation, result: Result) -> None:
        if result is not Result.ACCEPTED:
            return
        if operation is not Operation.LOCK and self.accounts[slot].uses != 255:
            self.accounts[slot].uses -= 1
        self.home.board.arrive()

    def slot_of(self, person: bytes) -> int | None:
        return next((s for s, a in self.accounts.items() if a.account_id == person), None)

    def holder(self, pin: str) -> int | None:
        return next((s for s, a in self.accounts.items() if pin and a.pin == pin), None)

    def changed(self, slot: int, result: Result) -> bool:
        if slot not in self.accounts:
            assert result is Result.UNKNOWN_ACCOUNT
            return False
        assert result is Result.DONE
        return True

    @invariant()
    def the_list_is_as_expected(self) -> None:
        read = []
        for slot, held in self.accounts.items():
            read.append(
                Account(
                    slot=slot,
                    account_id=held.account_id,
                    rights=held.rights,
                    uses=held.uses,
                    not_before=held.start,
                    not_after=held.end,
                    weekdays=Weekday(held.days),
                    first_minute=0,
                    last_minute=held.last,
                    pin_set=bool(held.pin),
                )
            )
            stored = self.home.lock.accounts.get(slot)
            assert stored is not None
            assert stored.uses == held.uses
        assert self.home.lock.accounts.digest() == account_digest(read)
        assert self.home.lock.owner.epoch == self.epoch

    @invariant()
    def what_is_on_the_air_is_authentic_and_current(self) -> None:
        shown = self.home.advertised(self.epoch)
        assert shown.bolt == self.home.board.bolt
        assert shown.counter == self.home.lock.counter


TestLockMachine = LockMachine.TestCase
TestLockMachine.settings = settings(max_examples=60, stateful_step_count=30)
