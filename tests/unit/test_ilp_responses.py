"""Answers, records, events, and how they find their requests."""

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ilp import (
    Account,
    AccountDigest,
    AccountRemoved,
    AccountWritten,
    AdvertisementKey,
    Authenticated,
    Bolt,
    Command,
    Door,
    Event,
    Exchange,
    Frame,
    IlpError,
    LogPage,
    LogRecord,
    MalformedError,
    Operation,
    Option,
    OptionValue,
    RefusedError,
    Reply,
    Result,
    Right,
    SessionError,
    Source,
    StateEvent,
    Status,
    Weekday,
    account_digest,
    requests,
)
from ilp_support import bytes_of, frames

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1790000000
PARSERS: list[Callable[[Reply], Any]] = [
    Status.of,
    AccountWritten.of,
    Authenticated.of,
    AccountRemoved.of,
    AccountDigest.of,
    OptionValue.of,
    AdvertisementKey.of,
    Account.of,
    LogPage.of,
]


def answer(command: int, value: str, *records: str) -> Reply:
    return Reply(
        Frame(command, 2, bytes.fromhex(value).ljust(9, b"\0"), NOW),
        tuple(Frame(command, 4, bytes.fromhex(record), NOW) for record in records),
    )


def test_a_status_tells_what_the_lock_does() -> None:
    reply = answer(0x03, "01 04 02 57 000102 02 00")
    status = Status.of(reply)
    assert status == Status(0x03, Result.ACCEPTED, Bolt.UNLOCKING, Door.OPEN, 87, 0x102, 2)
    assert status.ensure() is status
    assert reply.timestamp == NOW


@pytest.mark.parametrize("result", [r for r in Result if r > Result.ACCEPTED])
def test_a_status_that_is_not_done_or_accepted_is_an_error_when_asked(result: Result) -> None:
    status = Status.of(answer(0x48, f"{result:02x} 01 00 ff 000001"))
    assert status.battery is None
    with pytest.raises(RefusedError) as caught:
        status.ensure()
    assert (caught.value.command, caught.value.result) == (0x48, result)


def test_answers_with_a_form_of_their_own_are_read() -> None:
    assert AccountWritten.of(answer(0x01, "00 04 01 00 57 000009 00")) == AccountWritten(
        4, Bolt.LOCKED, Door.NO_SENSOR, 87, 9
    )
    assert Authenticated.of(answer(0x02, "00 04 c7 ff 01 00000000")) == Authenticated(
        4, Right.ENABLED | Right.REMOTE_USE | Right.LOCK | Right.UNLOCK | Right.OPEN, 255, True
    )
    assert AccountRemoved.of(answer(0x41, "00 01 01 57 00000d 0102")) == AccountRemoved(
        Bolt.LOCKED, Door.CLOSED, 87, 13, 0x102
    )
    assert AccountDigest.of(answer(0x49, "00 0102030405060708")).digest == bytes(range(1, 9))
    assert OptionValue.of(answer(0x4C, "00 04 000003e8 000000")) == OptionValue(
        Option.ADVERTISING_MS, 1000
    )


def test_an_account_is_read_from_an_answer_and_two_records() -> None:
    reply = answer(0x4D, "00 09 83 05 1f 01e0 03fb", "7c5652a02dc7d3080a", "6ab13b80 6ab28d00 01")
    account = Account.of(reply)
    assert account == Account(
        slot=9,
        account_id=bytes.fromhex("7c5652a02dc7d3080a"),
        rights=Right.LOCK | Right.UNLOCK | Right.ENABLED,
        uses=5,
        not_before=1790000000,
        not_after=1790086400,
        weekdays=Weekday(0x1F),
        first_minute=480,
        last_minute=1019,
        pin_set=True,
    )
    with pytest.raises(MalformedError):
        Account.of(Reply(reply.response, reply.records[:1]))
    with pytest.raises(MalformedError):
        Account.of(answer(0x4D, "00", "00" * 9, "0000000000000000 02"))


def test_an_advertisement_key_is_put_together_from_its_halves() -> None:
    halves = "00 0001020304050607", "01 08090a0b0c0d0e0f"
    key = AdvertisementKey.of(answer(0x4E, "00 0003", *halves))
    assert (key.epoch, key.key) == (3, bytes(range(16)))
    with pytest.raises(MalformedError):
        AdvertisementKey.of(answer(0x4E, "00 0003", *reversed(halves)))


def test_a_page_of_the_log_rises() -> None:
    records = "06 fe 02 00000c 01 01 00", "05 04 01 00000d 01 01 03"
    page = LogPage.of(answer(0x4A, "00 02 000003 00000d 00", *records))
    assert (page.oldest, page.newest) == (3, 13)
    assert page.records[1] == LogRecord(
        Event.ACCESS_DENIED, 4, Source.BLUETOOTH, 13, Bolt.LOCKED, Door.CLOSED, 3, NOW
    )
    for wrong in (
        answer(0x4A, "00 02 000003 00000d 00", *reversed(records)),
        answer(0x4A, "00 02 000003 00000d 00", records[0], records[0]),
        answer(0x4A, "00 01 000003 00000d 00", *records),
        answer(0x4A, "00 15", *[f"01 00 00 {n:06x} 01 00 00" for n in range(21)]),
    ):
        with pytest.raises(MalformedError):
            LogPage.of(wrong)


def test_an_empty_page_of_the_log_is_a_page() -> None:
    assert LogPage.of(answer(0x4A, "00")) == LogPage(0, 0, ())


def test_a_state_event_tells_who_and_how() -> None:
    frame = Frame(0x03, 3, bytes.fromhex("02 02 01 57 000004 04 01"), NOW)
    assert StateEvent.of(frame) == StateEvent(
        Event.UNLOCKED, Bolt.UNLOCKED, Door.CLOSED, 87, 4, 4, Source.BLUETOOTH, NOW
    )
    with pytest.raises(MalformedError):
        StateEvent.of(Frame(0x48, 3, frame.value, NOW))


@pytest.mark.parametrize(
    ("parse", "command"),
    [
        (AccountWritten.of, 0x01),
        (Authenticated.of, 0x02),
        (AccountRemoved.of, 0x41),
        (AccountDigest.of, 0x49),
        (OptionValue.of, 0x4C),
        (AdvertisementKey.of, 0x4E),
        (Account.of, 0x4D),
        (LogPage.of, 0x4A),
    ],
)
def test_a_refusal_is_an_error_with_its_result(
    parse: Callable[[Reply], object], command: int
) -> None:
    with pytest.raises(RefusedError) as caught:
        parse(answer(command, "04"))
    assert caught.value.result is Result.UNKNOWN_ACCOUNT


@pytest.mark.parametrize("parse", PARSERS[1:])
def test_14_an_answer_to_another_command_is_malformed(parse: Callable[[Reply], object]) -> None:
    with pytest.raises(MalformedError):
        parse(answer(0x48, "00 01 00 57 000001"))


replies = st.builds(
    lambda command, value, records: Reply(
        Frame(command, 2, value, NOW), tuple(Frame(command, 4, record, NOW) for record in records)
    ),
    st.sampled_from(Command) | st.integers(0, 255),
    bytes_of[9] | bytes_of[8].map(lambda rest: b"\0" + rest),
    st.lists(bytes_of[9], max_size=3),
)


@given(replies | st.builds(Reply, frames, st.lists(frames, max_size=3).map(tuple)))
def test_any_answer_is_read_or_gives_a_typed_error(reply: Reply) -> None:
    for parse in PARSERS:
        with contextlib.suppress(IlpError):
            parse(reply)
    for frame in (reply.response, *reply.records):
        for parse_frame in (StateEvent.of, LogRecord.of):
            with contextlib.suppress(IlpError):
                parse_frame(frame)


@given(
    st.lists(st.sampled_from(Command), max_size=6),
    st.lists(st.lists(frames | replies.map(lambda r: r.response), max_size=4), max_size=6),
)
def test_any_frames_find_their_requests_or_give_a_typed_error(
    sent: list[Command], received: list[list[Frame]]
) -> None:
    exchange = Exchange()
    exchange.sent(Frame(command, 1, bytes(9), NOW) for command in sent)
    replied = 0
    for batch in received:
        try:
            items = exchange.received(batch)
        except IlpError:
            break
        replied += sum(isinstance(item, Reply) for item in items)
        assert exchange.waiting == len(sent) - replied


def test_answers_come_in_the_order_of_the_requests_with_events_between() -> None:
    exchange = Exchange()
    exchange.sent(
        request.at(NOW)
        for request in (
            requests.operate(Operation.UNLOCK),
            requests.get_log(0),
            requests.read_account(4),
            requests.get_advertisement_key(),
            requests.get_status(),
        )
    )
    moving, status = answer(0x03, "01 04 00 57"), answer(0x48, "00 02 00 57")
    event = Frame(0x03, 3, bytes.fromhex("02 02 01 57 000004 04 01"), NOW)
    log = answer(0x4A, "00 01 000001 000001", "01 00 00 000001 01 00 00")
    account, key = answer(0x4D, "00", "00" * 9, "00" * 9), answer(0x4E, "00", "00" * 9, "01" * 9)
    assert exchange.received([moving.response, log.response, event]) == [
        moving,
        StateEvent.of(event),
    ]
    assert exchange.waiting == 4
    assert exchange.received([log.records[0], account.response, account.records[0]]) == [log]
    rest = [account.records[1], key.response, *key.records, status.response]
    assert exchange.received(rest) == [account, key, status]
    assert exchange.waiting == 0


def test_a_refused_answer_is_followed_by_no_records() -> None:
    exchange = Exchange()
    exchange.sent([requests.get_log(0).at(NOW), requests.read_account(1).at(NOW)])
    refused = answer(0x4A, "02 05"), answer(0x4D, "04")
    assert exchange.received([reply.response for reply in refused]) == list(refused)


@pytest.mark.parametrize(
    "frame",
    [
        answer(0x03, "00").response,
        answer(0x4A, "00", "00" * 9).records[0],
        requests.get_status().at(NOW),
        Frame(0x48, 9, bytes(9), NOW),
    ],
)
def test_14_what_answers_nothing_asked_is_an_error(frame: Frame) -> None:
    exchange = Exchange()
    exchange.sent([requests.get_status().at(NOW)])
    with pytest.raises(SessionError):
        exchange.received([frame])


def test_14_an_answer_before_all_records_came_is_an_error() -> None:
    exchange = Exchange()
    exchange.sent([requests.get_log(0).at(NOW), requests.get_status().at(NOW)])
    with pytest.raises(SessionError):
        exchange.received([answer(0x4A, "00 02").response, answer(0x48, "00").response])


def account(slot: int, rights: Right = Right.LOCK) -> Account:
    return Account(slot, bytes(9), rights, 255, 0, 0, Weekday(0), 0, 0, pin_set=False)


def test_a_digest_tells_every_difference_but_the_uses_left() -> None:
    base = account_digest([account(1), account(2)])
    assert account_digest([account(2), account(1)]) == base
    assert account_digest([account(1)]) != base
    assert account_digest([account(1), account(3)]) != base
    assert account_digest([account(1), account(2, Right.UNLOCK)]) != base


def test_a_digest_of_impossible_accounts_is_malformed() -> None:
    for accounts in (
        [account(1), account(1)],
        [account(256)],
        [Account(1, bytes(8), Right.LOCK, 0, 0, 0, Weekday(0), 0, 0, pin_set=False)],
        [Account(1, bytes(9), Right.LOCK, 0, -1, 0, Weekday(0), 0, 0, pin_set=False)],
    ):
        with pytest.raises(MalformedError):
            account_digest(accounts)
