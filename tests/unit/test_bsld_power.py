"""The power is cut at every step of flash: before every call and after every byte of it.

Each scene is run again and again with the cut one step later, until it runs through. After every
cut the lock starts on what is left, and must be in the state before or the state after.
"""

from typing import TYPE_CHECKING

import pytest
from boards.desk import DEVICE_ID, SETUP_CODE, PowerCutError
from bsld import const as c
from bsld_home import GUEST, Client, Home, RefusalError, new_lock, paired_home
from ilp import (
    Event,
    LockError,
    Operation,
    Option,
    PairingClient,
    Result,
    requests,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def cuts(prepare: Callable[[], Home], scene: Callable[[Home], None]) -> Iterator[Home]:
    """Yield a home after each possible cut, restarted; the last one had no cut."""
    steps = 0
    while True:
        home = prepare()
        home.board.flash.cut_after = steps
        try:
            scene(home)
            done = True
        except PowerCutError:
            done = False
        home.restart()
        yield home
        if done:
            break
        steps += 1
    assert steps > 5, "the scene writes to flash"


def test_a_counter_is_never_used_twice() -> None:
    def prepare() -> Home:
        home = paired_home()
        for _event in range(248 - home.lock.counter):
            home.board.sense(3 - home.board.bolt)
        return home

    def scene(home: Home) -> None:
        for _event in range(12):
            home.board.sense(3 - home.board.bolt)

    for home in cuts(prepare, scene):
        contents: dict[bytes, set[bytes]] = {}
        highest = -1
        for data in home.board.on_air:
            contents.setdefault(data[3:6], set()).add(data)
            assert int.from_bytes(data[3:6]) >= highest
            highest = int.from_bytes(data[3:6])
        assert all(len(different) == 1 for different in contents.values())
        counters = [record[3] for record in home.log()]
        assert counters == sorted(set(counters))


def state_of(home: Home) -> str:
    """Whose the lock is after a cut during a new pairing."""
    session = home.controller(Client(home.board))
    try:
        session.status()
    except RefusalError:
        return "new"
    return "old"


def test_pairing_is_never_half_done() -> None:
    keys: dict[str, bytes] = {}

    def prepare() -> Home:
        home = paired_home()
        home.person = home.grant()
        home.controller().ask(requests.set_pin(0, "2580"), requests.set_option(Option.SOUND, 0))
        home.lock.inner_button_held(10)
        home.board.pass_time(2)
        return home

    def scene(home: Home) -> None:
        client = Client(home.board)
        pairing = PairingClient(SETUP_CODE, DEVICE_ID)
        confirm = pairing.on_reply(client.ask(pairing.request()))
        assert pairing.lock_key is not None
        keys["new"] = pairing.lock_key  # the client stores it before PAIR_CONFIRM
        pairing.on_done(client.ask(confirm))

    seen = set()
    for home in cuts(prepare, scene):
        state = state_of(home)
        seen.add(state)
        if state == "old":
            assert home.read(0) is Result.DONE
            assert home.lock.pin_entered("2580") == Result.ACCEPTED
            assert home.lock.option(c.OPT_SOUND) == 0
            assert not home.in_setup_mode()
            continue
        assert home.in_setup_mode()  # pairing is not complete, so it may begin anew
        home.lock_key = keys["new"]
        assert home.controller(Client(home.board)).status().result is Result.DONE
        assert not home.in_setup_mode()
        assert home.read(0) is Result.UNKNOWN_ACCOUNT
        assert home.lock.pin_entered("2580") == Result.UNKNOWN_ACCOUNT
        assert home.lock.option(c.OPT_SOUND) == 1
        assert home.lock.owner.epoch == 0
    assert seen == {"old", "new"}


def test_completing_the_pairing_is_never_half_done() -> None:
    def prepare() -> Home:
        board = new_lock()
        return Home(board, Client(board).exchange_keys())

    def scene(home: Home) -> None:
        home.controller(Client(home.board)).status()

    for home in cuts(prepare, scene):
        assert home.controller(Client(home.board)).status().result is Result.DONE
        assert not home.in_setup_mode()
        home.restart()
        assert not home.in_setup_mode()


def test_a_removed_account_is_not_revived() -> None:
    removed: dict[str, bool] = {}

    def prepare() -> Home:
        home = paired_home()
        home.person = home.grant()
        home.controller().ask(requests.set_pin(home.person.slot, "2580"))
        removed["answered"] = False
        return home

    def scene(home: Home) -> None:
        person = home.person
        assert home.controller().result(requests.remove_account(person.account_id)) is Result.DONE
        removed["answered"] = True

    for home in cuts(prepare, scene):
        person = home.person
        there = home.read(person.slot) is Result.DONE
        assert there == (home.lock.owner.epoch == 0), "account and epoch change together"
        assert there == (home.lock.pin_entered("2580") == Result.ACCEPTED)
        home.relock()
        if removed["answered"]:
            assert not there
        if not there:
            with pytest.raises(RefusalError):
                home.try_operation(person)
            # and it stays so, whatever is written next
            other = home.grant()
            home.restart()
            assert other.slot != person.slot
            with pytest.raises(RefusalError):
                home.try_operation(person)


def with_pin() -> Home:
    home = paired_home()
    person = home.grant()
    home.controller().ask(requests.set_pin(person.slot, "2580"))
    for _miss in range(3):
        home.lock.pin_entered("0000")
    return home


def test_no_miss_is_lost() -> None:
    def wrong(home: Home) -> None:
        home.lock.pin_entered("9999")

    for home in cuts(with_pin, wrong):
        logged = [record[0] for record in home.log()].count(Event.WRONG_PIN)
        assert logged <= home.lock.pin_misses <= 4
        assert home.lock.pin_misses >= 3


def test_a_right_pin_leaves_one_miss_too_many_at_most_never_one_too_few() -> None:
    def right(home: Home) -> None:
        assert home.lock.pin_entered("2580") == Result.ACCEPTED

    for home in cuts(with_pin, right):
        assert home.lock.pin_misses == 3 or (home.lock.pin_misses == 4 and not home.board.moves)


def test_uses_are_in_flash_before_the_bolt_moves() -> None:
    def prepare() -> Home:
        home = paired_home()
        home.person = home.grant(GUEST, 1)
        return home

    def scene(home: Home) -> None:
        assert home.try_operation(home.person) is Result.ACCEPTED

    for home in cuts(prepare, scene):
        moved = home.board.moves
        result = home.try_operation(home.person)
        assert result is Result.DISABLED or (result is Result.ACCEPTED and not moved)


def test_a_factory_reset_is_never_half_done() -> None:
    before: list[int] = []

    def prepare() -> Home:
        home = paired_home()
        home.grant()
        before.append(home.lock.counter)
        return home

    def scene(home: Home) -> None:
        assert home.controller().result(requests.factory_reset()) is Result.DONE

    for home in cuts(prepare, scene):
        assert home.lock.counter > before[-1]
        events = [record[0] for record in home.log()]
        if home.lock.paired:
            assert home.controller().status().result is Result.DONE
            assert Event.PAIRED in events
        else:
            assert home.in_setup_mode()  # it is unpaired and was powered up
            assert events == [Event.RESTARTED]
            assert not any(home.lock_key in data for data in home.board.flash.files.values())


def test_a_record_cut_in_half_does_not_take_later_ones_with_it() -> None:
    before: list[tuple[int, ...]] = []

    def prepare() -> Home:
        home = paired_home()
        for _event in range(60):
            home.board.sense(3 - home.board.bolt)
        before[:] = home.log()
        return home

    def scene(home: Home) -> None:
        for _event in range(10):
            home.board.sense(3 - home.board.bolt)

    for home in cuts(prepare, scene):
        records = home.log()
        assert records[: len(before)] == before
        assert records[-1][0] == Event.RESTARTED
        home.board.sense(3 - home.board.bolt)
        assert len(home.log()) == len(records) + 1
        counters = [record[3] for record in home.log()]
        assert counters == sorted(set(counters))


def test_a_full_ring_keeps_its_promise_through_a_cut() -> None:
    def prepare() -> Home:
        home = paired_home(log_size=64)
        while home.lock.log.total % 64 != 62 or home.lock.log.total < 128:
            home.board.sense(3 - home.board.bolt)
        return home

    def scene(home: Home) -> None:
        for _event in range(4):
            home.board.sense(3 - home.board.bolt)

    for home in cuts(prepare, scene):
        assert len(home.log()) >= 64


def test_writing_the_store_anew_loses_nothing() -> None:
    def prepare() -> Home:
        home = paired_home()
        home.person = home.grant(GUEST)
        size = len(home.board.flash.files["state"])
        while len(home.board.flash.files["state"]) < size + 3500:
            home.lock.store.commit((0xFE, b"wear"))
        home.controller().status()
        return home

    def scene(home: Home) -> None:
        for before in (1000, 2000, 3000):
            for _time in range(8):
                home.lock.store.commit((0xFE, b"more wear"))
            assert home.controller().result(requests.set_validity(0, before, 0)) is Result.DONE

    sizes = set()
    for home in cuts(prepare, scene):
        account = home.lock.accounts.get(0)
        assert account is not None
        assert account.not_before in (0, 1000, 2000, 3000)
        assert account.rights == GUEST
        sizes.add(len(home.board.flash.files["state"]) < 3000)
    assert sizes == {True, False}, "some cuts came before and some after"


def test_flash_that_cannot_store_stops_what_rests_on_it() -> None:
    home = paired_home()
    person = home.grant(GUEST, 5)
    session = home.phone(person)
    session.ask(requests.authenticate(person.account_id))
    message = session.message(requests.operate(Operation.UNLOCK))
    home.board.flash.full = True
    with pytest.raises(OSError, match="no space"):
        session.client.send(message)
    assert home.board.moves == 0
    home.board.flash.full = False
    # What was half written is mended with the next change
    home.lock.store.commit((0xFE, b"more"))
    home.restart()
    account = home.lock.accounts.get(person.slot)
    assert account is not None
    assert account.uses == 5
    assert home.lock.store.get(0xFE) == b"more"


def test_a_counter_that_cannot_be_reserved_is_not_used() -> None:
    home = paired_home()
    while home.lock.counter & 0xFF != 0xFF:
        home.board.sense(3 - home.board.bolt)
    counter = home.lock.counter
    home.board.flash.full = True
    with pytest.raises(OSError, match="no space"):
        home.board.sense(3 - home.board.bolt)
    assert home.lock.counter == counter


def test_a_pairing_that_stops_after_each_message_can_begin_anew() -> None:
    board = new_lock()
    for messages in range(1, 3):
        client = Client(board)
        pairing = PairingClient(SETUP_CODE, DEVICE_ID)
        confirm = pairing.on_reply(client.ask(pairing.request()))
        if messages == 2:
            client.send(confirm)
        board.cut()
        board.boot()
    home = Home(board, Client(board).exchange_keys())
    assert home.controller().status().result is Result.DONE
    with pytest.raises(LockError):
        Client(board).exchange_keys()
