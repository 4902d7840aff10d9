"""What is written to a lock when somebody's access changes, at the real core, cut at every frame."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from bsld_home import NOW, Client, Home, paired_home
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ilp import (
    Account,
    AccountDigest,
    AccountWritten,
    Result,
    Right,
    Weekday,
    new_account_id,
    requests,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# The integration's package without its __init__, which needs Home Assistant.
_FOLDER = Path(__file__).resolve().parents[2] / "custom_components" / "igrs_lock"
_package = ModuleType("igrs_lock_pure")
_package.__path__ = [str(_FOLDER)]
sys.modules["igrs_lock_pure"] = _package
sys.modules["igrs_lock_pure.ilp"] = sys.modules["ilp"]
for _name in list(sys.modules):
    if _name.startswith("ilp."):
        sys.modules[f"igrs_lock_pure.{_name}"] = sys.modules[_name]
plan: Any = importlib.import_module("igrs_lock_pure.account_plan")
people: Any = importlib.import_module("igrs_lock_pure.person")
ledger: Any = importlib.import_module("igrs_lock_pure.ledger_lock")

DAY = 86400
HOURS = [(0, 0, 0), (0x7F, 480, 720), (0x01, 0, 1439), (0x41, 1320, 120), (0x1E, 600, 600)]
TIMES = [
    NOW - 2 * DAY,
    NOW - 60,
    NOW + 60,
    NOW + 9 * 3600,
    NOW + DAY,
    NOW + 20 * DAY,
    NOW + 40 * DAY,
]
PINS = ["", "482913", "77120954"]

terms = st.builds(
    lambda rights, enabled, begin, end, leased, hours, uses: plan.Terms(
        rights=Right(rights) | (Right.ENABLED if enabled else Right(0)),
        not_before=begin,
        not_after=end,
        leased=leased,
        weekdays=Weekday(hours[0]),
        first_minute=hours[1],
        last_minute=hours[2],
        uses=uses,
    ),
    st.integers(0, 7),
    st.booleans(),
    st.sampled_from([0, NOW - DAY, NOW + 3600, NOW + 35 * DAY]),
    st.sampled_from([0, NOW + 36 * DAY, NOW + 50 * DAY]),
    st.booleans(),
    st.sampled_from(HOURS),
    st.sampled_from([0, 1, 5, 255]),
)
pins = st.sampled_from([None, *PINS])


class Lab:
    """A lock with one account, and its controller."""

    def __init__(self) -> None:
        self.home: Home = paired_home()
        self.session = self.home.controller(Client(self.home.board))
        [reply] = self.session.ask(requests.write_account(new_account_id()))
        self.slot = AccountWritten.of(reply).slot
        self.core = self.home.board.lock

    def home_accounts(self) -> list[Account]:
        """Everything on the lock."""
        replies = self.session.ask(*(requests.read_account(slot) for slot in range(4)))
        return [Account.of(reply) for reply in replies if reply.result is Result.DONE]

    def account(self) -> Account:
        [reply] = self.session.ask(requests.read_account(self.slot))
        return Account.of(reply)

    def access(self) -> set[tuple[str, int, int, int]]:
        """Everything that this account lets anybody do: by what, what, when, how often."""
        account = self.core.accounts.get(self.slot)
        assert account is not None
        lock_key = self.core.owner.lock_key
        assert lock_key is not None
        by = ["phone"]
        by += [pin for pin in PINS if pin and self.core.accounts.holder(lock_key, pin)]
        clock = self.core.clock
        before = clock._unix, clock._at
        found = set()
        for when in TIMES:
            clock._unix, clock._at = when, clock._clock.uptime_ms()
            for operation in (c.OP_LOCK, c.OP_UNLOCK, c.OP_OPEN):
                if self.core.access._refused(account, operation) == c.DONE:
                    for often in (1, 2, 6):
                        if operation == c.OP_LOCK or account.uses >= often:
                            found |= {(one, operation, when, often) for one in by}
        clock._unix, clock._at = before
        return found

    def write(self, commands: Sequence[Any]) -> None:
        for step in commands:
            assert self.session.result(step.request) is Result.DONE, step
            self.same(step.after, self.account())

    @staticmethod
    def same(planned: Account, read: Account) -> None:
        assert planned == read


def commands(before: Account, after: Account, pin: str | None) -> list[Any]:
    first, last = plan.steps(before, after, pin)
    assert len(last) <= 1
    return [*first, *last]


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(old=terms, old_pin=pins, new=terms, new_pin=pins)
def test_a_message_cut_at_any_frame_leaves_the_old_or_the_new_access_or_less(
    old: Any, old_pin: str | None, new: Any, new_pin: str | None
) -> None:
    lab = Lab()
    lab.write(commands(lab.account(), plan.target(old, None, lab.account(), NOW), old_pin))
    before = lab.access()
    account = lab.account()
    after = plan.target(new, old, account, NOW)
    seen = [before]
    for step in commands(account, after, new_pin):
        assert lab.session.result(step.request) is Result.DONE
        assert lab.account() == step.after
        seen.append(lab.access())
    assert replace(lab.account(), pin_set=after.pin_set) == after
    meant = seen[-1]
    for access in seen:
        assert access <= before or access <= meant


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(new=terms, pin=pins, refused=st.integers(0, 3))
def test_a_refused_restriction_leaves_nobody_enabled(
    new: Any, pin: str | None, refused: int
) -> None:
    lab = Lab()
    account = lab.account()
    first, last = plan.steps(account, plan.target(new, None, account, NOW), pin)
    for step in first:
        assert not step.after.rights & Right.ENABLED
    for number, step in enumerate(first):
        if number != refused:
            lab.session.result(step.request)
    assert not lab.access()
    assert all(step.request.command == 0x42 for step in last)


def test_what_one_command_does_is_not_done_with_the_account_suspended() -> None:
    lab = Lab()
    resident = plan.Terms(Right.LOCK | Right.UNLOCK | Right.ENABLED)
    lab.write(commands(lab.account(), plan.target(resident, None, lab.account(), NOW), "482913"))
    account = lab.account()
    later = replace(resident, not_after=NOW + DAY)
    assert len(commands(account, plan.target(later, resident, account, NOW), None)) == 1
    assert len(commands(account, account, "77120954")) == 1
    assert commands(account, plan.target(resident, resident, account, NOW), None) == []
    suspended = replace(resident, rights=resident.rights & ~Right.ENABLED)
    assert len(commands(account, plan.target(suspended, resident, account, NOW), None)) == 1


def test_uses_are_left_alone_unless_the_owner_changed_them() -> None:
    lab = Lab()
    cleaner = plan.Terms(Right.LOCK | Right.UNLOCK | Right.ENABLED, uses=5)
    lab.write(commands(lab.account(), plan.target(cleaner, None, lab.account(), NOW), None))
    used = replace(lab.account(), uses=2)
    longer = replace(cleaner, not_after=NOW + DAY)
    assert plan.target(longer, cleaner, used, NOW).uses == 2
    assert plan.target(replace(cleaner, uses=9), cleaner, used, NOW).uses == 9


# --- leases -----------------------------------------------------------------------------------


def guest(**changes: Any) -> Any:
    return replace(plan.Terms(Right.LOCK | Right.UNLOCK | Right.ENABLED, leased=True), **changes)


def test_a_guest_gets_thirty_days_at_most_and_more_after_a_week() -> None:
    account = plan.target(guest(), None, plan.new_account(3, bytes(9)), NOW)
    assert account.not_after == NOW + 30 * DAY
    assert not plan.lease_due(guest(), account, NOW + 6 * DAY)
    due = plan.lease_renewal_at(guest(), account)
    assert due == NOW + 7 * DAY + 1
    assert not plan.lease_due(guest(), account, due - 1)
    assert plan.lease_due(guest(), account, due)


def test_a_lease_never_goes_beyond_the_end_that_the_owner_set() -> None:
    short = guest(not_after=NOW + 10 * DAY)
    account = plan.target(short, None, plan.new_account(3, bytes(9)), NOW)
    assert account.not_after == NOW + 10 * DAY
    assert plan.lease_renewal_at(short, account) is None
    assert not plan.lease_due(short, account, NOW + 9 * DAY)


def test_who_comes_later_than_a_lease_lasts_is_enabled_when_it_does() -> None:
    later = guest(not_before=NOW + 60 * DAY)
    account = plan.target(later, None, plan.new_account(3, bytes(9)), NOW)
    assert not account.rights & Right.ENABLED
    due = plan.lease_renewal_at(later, account)
    assert due is not None
    assert not plan.lease_due(later, account, due - 1)
    assert plan.lease_due(later, account, due)
    assert plan.target(later, later, account, due).rights & Right.ENABLED


def test_a_clock_in_the_past_puts_no_end_off() -> None:
    account = plan.target(guest(), None, plan.new_account(3, bytes(9)), NOW)
    assert not plan.lease_due(guest(), account, NOW - 400 * DAY)


# --- terms ------------------------------------------------------------------------------------


def test_terms_are_what_the_person_is_to_have() -> None:
    person = people.Person("P", "Anna", rights=Right.LOCK | Right.MANAGE, uses=3)
    assert plan.Terms.of(person) == plan.Terms(Right.LOCK | Right.ENABLED, uses=3)
    assert plan.Terms.of(person.changed(suspended=True)).rights == Right.LOCK
    assert plan.Terms.of(person.changed(kind=people.Kind.GUEST)).leased
    hours = plan.Terms.of(person.changed(first_minute=480, last_minute=600))
    assert (hours.weekdays, hours.first_minute, hours.last_minute) == (0x7F, 480, 600)
    days = plan.Terms.of(person.changed(weekdays=Weekday.MONDAY))
    assert (days.weekdays, days.first_minute, days.last_minute) == (1, 0, 1439)


@pytest.mark.parametrize(
    "change",
    [
        {"rights": Right.LOCK | Right.ENABLED},
        {"rights": Right.LOCK | Right.UNLOCK},
        {"not_before": NOW},
        {"not_after": NOW},
        {"leased": True},
        {"weekdays": Weekday.MONDAY, "last_minute": 600},
        {"uses": 3},
    ],
)
def test_less_is_told_from_more(change: dict[str, Any]) -> None:
    wide = plan.Terms(Right.LOCK | Right.UNLOCK | Right.ENABLED)
    narrow = replace(wide, **change)
    assert narrow.narrows(wide)
    assert not wide.narrows(narrow)
    assert not narrow.narrows(replace(wide, uses=254))


# --- after a cut ------------------------------------------------------------------------------


def _states(lab: Lab, steps: Sequence[Any]) -> Iterator[int]:
    yield 0
    for number, step in enumerate(steps, 1):
        assert lab.session.result(step.request) is Result.DONE
        yield number


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(new=terms, pin=pins)
def test_a_lost_answer_is_found_out_about(new: Any, pin: str | None) -> None:
    lab = Lab()
    account = lab.account()
    steps = commands(account, plan.target(new, None, account, NOW), pin)
    intention = ledger.Intention(
        account.account_id,
        [account, *(step.after for step in steps)],
        [number for number, step in enumerate(steps, 1) if step.free],
    )
    for number in _states(lab, steps):
        [reply] = lab.session.ask(requests.account_digest_request())
        told = (AccountDigest.of(reply).digest, 0)
        slots = [lab.slot] * number
        others = [one for one in lab.home_accounts() if one.slot != lab.slot]
        found = plan.recover([*others, account], 0, intention, told, slots)
        assert found == [*others, intention.states[number]]
        # One more change, or in another slot, or another epoch: somebody else was there.
        assert plan.recover([*others, account], 0, intention, told, [*slots, 9]) is None
        assert plan.recover([*others, account], 0, intention, (told[0], 1), slots) is None


def test_a_lost_answer_to_adding_and_removing_is_found_out_about() -> None:
    lab = Lab()
    known = lab.home_accounts()
    account_id = new_account_id()
    adding = ledger.Intention(account_id, [None, plan.new_account(-1, account_id)])
    assert plan.recover(known, 0, adding, (plan.account_digest(known), 0), []) == known
    [reply, digest] = lab.session.ask(
        requests.write_account(account_id), requests.account_digest_request()
    )
    slot = AccountWritten.of(reply).slot
    told = (AccountDigest.of(digest).digest, 0)
    added = [*known, plan.new_account(slot, account_id)]
    assert plan.recover(known, 0, adding, told, [slot]) == added
    assert plan.recover(known, 0, adding, told, []) is None
    # The power was cut before it was recorded.
    assert plan.recover(known, 0, adding, told, [], restarted=True) == added
    removing = ledger.Intention(account_id, [added[-1], None])
    assert plan.recover(added, 0, removing, told, []) == added
    [_, digest] = lab.session.ask(
        requests.remove_account(account_id), requests.account_digest_request()
    )
    told = (AccountDigest.of(digest).digest, 1)
    assert plan.recover(added, 0, removing, told, [slot]) == known
    assert plan.recover(added, 0, removing, (told[0], 0), [slot]) is None
    assert plan.recover(added, 0, removing, (told[0], 2), [slot]) is None


def test_the_ledger_of_a_lock_is_read_as_it_was_written() -> None:
    account = replace(plan.new_account(2, bytes(9)), pin_set=True, weekdays=Weekday(3))
    lock = ledger.LockLedger(
        known=[account],
        epoch=3,
        accounts_counter=77,
        own={78, 80},
        grants={"P": ledger.Grant(bytes(9), "Anna", 2, guest(), NOW, pin_taken=True)},
        doomed=[ledger.Doomed(bytes(9), "Bob", "Q")],
        foreign=[account],
        questions={"P": ledger.Question(ledger.QuestionKind.CHANGED, "P", "Anna", account, 5, "C")},
        holders=[(2, 10, "P", "Anna"), (2, 20, None, ""), (3, 5, "Q", "Bob")],
        pins={"P": "482913"},
        ended=["Q"],
        intention=ledger.Intention(bytes(9), [None, account], [1]),
    )
    assert ledger.LockLedger.of(lock.as_dict()) == lock
    assert lock.holder(2, 9) is None
    assert lock.holder(2, 19) == ledger.Holder("P", "Anna")
    assert lock.holder(2, 20) is None
    for secret in ("482913", repr(bytes(9)), "AAAAAAAAAAAA"):
        assert secret not in repr(lock)
