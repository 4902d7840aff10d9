"""Properties of the lock core: what holds whatever comes."""

from datetime import UTC, datetime, timedelta

import pytest
from boards.desk import DEVICE_ID, Clock, Flash, PowerCutError
from bsld.accounts import Account
from bsld.eventlog import EventLog
from bsld.fragments import MalformedError, Reassembler, fragment
from bsld.frames import decode, encode
from bsld.schedule import WallClock
from bsld.store import Store
from bsld_home import NOW, Client, Home, new_lock, paired_home
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ilp import (
    ClientSession,
    Frame,
    NonceSource,
    controller_key,
    split,
)
from ilp import (
    MalformedError as ClientMalformedError,
)
from ilp import (
    Reassembler as ClientReassembler,
)

# --- any bytes --------------------------------------------------------------------------------

conns = st.sampled_from(["a", "b", "c", "d"])
writes = st.one_of(
    st.binary(max_size=64),
    # Whole messages of every kind, so that more than the fragments is reached
    st.builds(
        lambda kind, body: b"\x80" + bytes((kind,)) + body,
        st.sampled_from([1, 2, 3, 4, 0x10, 0x11, 0x12, 0x13, 0x1F]),
        st.binary(max_size=80),
    ),
    st.builds(
        lambda slot, source, frames: b"\x80\x12" + bytes((slot, source)) + frames,
        st.sampled_from([0, 1, 31, 254, 255]),
        st.sampled_from([0, 1]),
        st.binary(min_size=32, max_size=32),
    ),
)
steps = st.one_of(
    st.tuples(st.just("connected"), conns),
    st.tuples(st.just("disconnected"), conns),
    st.tuples(st.just("mtu_changed"), conns, st.integers(23, 517)),
    st.tuples(st.just("subscribed"), conns, st.booleans()),
    st.tuples(st.just("written"), conns, writes),
    st.tuples(st.just("written"), conns, writes),
    st.tuples(st.just("pass_time"), st.floats(0, 20)),
)


@pytest.mark.parametrize("make", [paired_home, new_lock])
@given(script=st.lists(steps, max_size=40))
@settings(max_examples=150)
def test_any_bytes_in_any_order_neither_raise_nor_move_the_bolt(make, script) -> None:  # type: ignore[no-untyped-def]  # two kinds of locks
    made = make()
    board = made.board if isinstance(made, Home) else made
    lock = board.lock
    for conn in "abcd":
        lock.connected(conn)
    paired, digest = lock.owner.lock_key, lock.accounts.digest()
    counter, records = lock.counter, lock.log.total
    writes_before = board.flash.writes
    elapsed = 0.0
    for name, *args in script:
        if name == "pass_time":
            elapsed += args[0]
            board.pass_time(args[0])
        else:
            getattr(lock, name)(*args)
    assert board.moves == 0
    assert (lock.owner.lock_key, lock.accounts.digest()) == (paired, digest)
    assert lock.log.total == records
    # Only the heartbeat and the end of setup mode move the counter
    assert lock.counter <= counter + elapsed // 600 + 1
    assert board.flash.writes == writes_before


@given(data=st.binary(min_size=16, max_size=16 * 20).filter(lambda d: len(d) % 16 == 0))
@settings(max_examples=300)
def test_any_plain_frames_of_the_controller_itself_are_answered(data: bytes) -> None:
    home = paired_home()
    client = Client(home.board)
    nonce = client.nonce()
    frames = [data[at : at + 16] for at in range(0, len(data), 16)]

    class Plain(Frame):
        plain = b""

        def encode(self) -> bytes:
            return self.plain

    wanted = []
    for frame in frames:
        one = Plain(frame[0], 1, frame[2:11], int.from_bytes(frame[12:]))
        object.__setattr__(one, "plain", frame)
        wanted.append(one)
    session = ClientSession(
        controller_key(home.lock_key), DEVICE_ID, 255, NonceSource.CHALLENGE, nonce
    )
    client.send(session.open(wanted))
    answers = [answer for message in client.heard() for answer in session.receive(message)]
    responses = [answer for answer in answers if answer.type == 2]
    assert [response.command for response in responses] == [frame[0] for frame in frames]


# --- fragments and frames, each side written for itself ---------------------------------------


@given(message=st.binary(min_size=1, max_size=512), mtu=st.integers(23, 600))
def test_both_sides_cut_and_join_alike(message: bytes, mtu: int) -> None:
    parts = split(message, mtu)
    mine = [fragment(message, index, mtu) for index in range(len(parts))]
    assert mine == parts
    lock, client = Reassembler(), ClientReassembler()
    assert [lock.feed(part, 0) for part in parts][-1] == message
    assert [client.feed(part, 0) for part in mine][-1] == message


@given(parts=st.lists(st.binary(max_size=40), max_size=30))
def test_both_sides_take_and_drop_the_same_fragments(parts: list[bytes]) -> None:
    lock, client = Reassembler(), ClientReassembler()
    for part in parts:
        mine: object
        theirs: object
        try:
            mine = lock.feed(part, 0)
        except MalformedError:
            mine = "malformed"
        try:
            theirs = client.feed(part, 0)
        except ClientMalformedError:
            theirs = "malformed"
        assert mine == theirs


@given(
    command=st.integers(0, 255),
    kind=st.integers(0, 255),
    value=st.binary(min_size=9, max_size=9),
    timestamp=st.integers(0, 0xFFFFFFFF),
)
def test_both_sides_make_the_same_frames(
    command: int, kind: int, value: bytes, timestamp: int
) -> None:
    frame = Frame(command, kind, value, timestamp)
    assert encode(command, kind, value, timestamp) == frame.encode()
    assert decode(frame.encode()) == (command, kind, value, timestamp, True)


@given(data=st.binary(max_size=20))
def test_frames_have_16_bytes(data: bytes) -> None:
    if len(data) == 16:
        assert decode(data)[0] == data[0]
    else:
        with pytest.raises(ValueError, match="16 bytes"):
            decode(data)


# --- time -------------------------------------------------------------------------------------


@given(
    days=st.integers(1, 127),
    first=st.integers(0, 1439),
    last=st.integers(0, 1439),
    seconds=st.integers(0, 14 * 86400),
    offset=st.integers(-720, 840),
)
@settings(max_examples=500)
def test_weekly_hours_are_what_a_calendar_says(
    days: int, first: int, last: int, seconds: int, offset: int
) -> None:
    clock = WallClock(Clock(), Store(Flash()), 0)
    assert clock.set(NOW + seconds, offset)
    hours = bytes((days,)) + first.to_bytes(2) + last.to_bytes(2)
    account = Account(0, bytes(19) + hours)
    local = datetime.fromtimestamp(NOW + seconds, UTC) + timedelta(minutes=offset)
    minute = local.hour * 60 + local.minute
    today = bool(days >> local.weekday() & 1)
    yesterday = bool(days >> (local.weekday() - 1) % 7 & 1)
    if first <= last:
        may = today and first <= minute <= last
    else:
        may = (today and minute >= first) or (yesterday and minute <= last)
    assert clock.allows_hour(account) is may


# --- flash ------------------------------------------------------------------------------------

changes = st.lists(
    st.tuples(st.integers(0, 9), st.one_of(st.none(), st.binary(max_size=60))),
    min_size=1,
    max_size=4,
)


@given(commits=st.lists(changes, max_size=120), data=st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.data_too_large])
def test_the_store_is_before_or_after_each_commit(commits, data: st.DataObject) -> None:  # type: ignore[no-untyped-def]  # lists of changes
    flash = Flash()
    store = Store(flash)
    model: dict[int, bytes] = {}
    for commit in commits:
        after = dict(model)
        for key, value in commit:
            if value is None:
                after.pop(key, None)
            else:
                after[key] = value
        if data.draw(st.integers(0, 9)) == 0:
            flash.cut_after = data.draw(st.integers(0, 300))
        try:
            store.commit(*commit)
            model = after
        except PowerCutError:
            flash.cut_after = None
            store = Store(flash)
            found = {key: store.get(key) for key in range(10) if store.get(key) is not None}
            assert found in (model, after)
            model = found  # type: ignore[assignment]  # without None, see above
        flash.cut_after = None
        assert {key: store.get(key) for key in range(10)} == {
            key: model.get(key) for key in range(10)
        }
    again = Store(flash)
    assert {key: again.get(key) for key in range(10)} == {key: model.get(key) for key in range(10)}


@given(data=st.binary(max_size=200))
def test_flash_with_anything_in_it_starts(data: bytes) -> None:
    flash = Flash()
    flash.files = {"state": data, "log0-0": data, "log0-1": data[:17], "log9-0": data}
    store = Store(flash)
    store.commit((1, b"one"))
    assert Store(flash).get(1) == b"one"
    log = EventLog(flash, store, 64)
    total = log.total
    log.append((1, 254, 3, 77, 1, 1, 0, NOW))
    assert EventLog(flash, store, 64).total == total + 1
    assert "log9-0" not in flash.files
