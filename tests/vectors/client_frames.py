"""Builds and reads the frames of a vector file with the client's builders and parsers.

Every value is made again from what was read, so a field in the wrong place shows.
"""

from collections.abc import Callable
from typing import Any

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
    Frame,
    FrameType,
    LogPage,
    LogRecord,
    MalformedError,
    Operation,
    Option,
    OptionValue,
    RefusedError,
    Reply,
    Request,
    Right,
    StateEvent,
    Status,
    Weekday,
    advertisement_key,
    requests,
)

REQUESTS: dict[Command, Callable[[bytes], Request]] = {
    Command.WRITE_ACCOUNT: requests.write_account,
    Command.AUTHENTICATE: requests.authenticate,
    Command.OPERATE: lambda v: requests.operate(Operation.parse(v[0]), v[1]),
    Command.REMOVE_ACCOUNT: requests.remove_account,
    Command.SET_RIGHTS: lambda v: requests.set_rights(v[0], Right(v[1]), v[2]),
    Command.SET_VALIDITY: lambda v: requests.set_validity(v[0], number(v[1:5]), number(v[5:9])),
    Command.SET_WEEKLY_HOURS: lambda v: requests.set_weekly_hours(
        v[0], Weekday(v[1]), number(v[2:4]), number(v[4:6])
    ),
    Command.SET_TIME: lambda v: requests.set_time(number(v[0:4]), signed(v[4:6]), force=v[6] != 0),
    Command.SET_PIN: lambda v: requests.set_pin(v[0], v[2:].hex()[: v[1]]),
    Command.SET_OPTION: lambda v: requests.set_option(Option.parse(v[0]), number(v[1:5])),
    Command.GET_STATUS: lambda _: requests.get_status(),
    Command.ACCOUNT_DIGEST: lambda _: requests.account_digest_request(),
    Command.GET_LOG: lambda v: requests.get_log(number(v[0:3]), v[3]),
    Command.FACTORY_RESET: lambda _: requests.factory_reset(),
    Command.GET_OPTION: lambda v: requests.get_option(Option.parse(v[0])),
    Command.READ_ACCOUNT: lambda v: requests.read_account(v[0]),
    Command.GET_ADVERTISEMENT_KEY: lambda _: requests.get_advertisement_key(),
    Command.IDENTIFY: lambda _: requests.identify(),
    Command.SET_NEXT_UTC_OFFSET: lambda v: requests.set_next_utc_offset(
        number(v[0:4]), signed(v[4:6])
    ),
}


class FrameRound:
    """Takes frames in order and makes each again from what the client understood of it.

    Records are understood by the response before them.
    """

    def __init__(self, lock_key: bytes) -> None:
        self._lock_key = lock_key
        self._response: Frame | None = None
        self._records = 0

    def again(self, plain: bytes) -> bytes:
        """Return the frame as the client would have made it; MalformedError when it cannot."""
        frame = Frame.decode(plain)
        command = Command.parse(frame.command)
        frame_type = FrameType.parse(frame.type)
        if frame_type is FrameType.REQUEST:
            return REQUESTS[command](frame.value).at(frame.timestamp).encode()
        if frame_type is FrameType.EVENT:
            value = _event(StateEvent.of(frame))
        elif frame_type is FrameType.RESPONSE:
            self._response, self._records = frame, 0
            value = _response(command, frame)
        else:
            value = self._record(command, frame)
            self._records += 1
        return Frame(command, frame_type, value, frame.timestamp).encode()

    def _record(self, command: Command, frame: Frame) -> bytes:
        response = self._response
        if response is None or response.command != command:
            raise MalformedError("a record without its response")
        if command is Command.GET_LOG:
            return _log_record(LogRecord.of(frame))
        if command is Command.READ_ACCOUNT:
            return self._account_record(response, frame)
        if command is Command.GET_ADVERTISEMENT_KEY:
            return self._key_record(response, frame)
        raise MalformedError("no record of this command is known")

    def _account_record(self, response: Frame, frame: Frame) -> bytes:
        other = Frame(response.command, FrameType.RECORD, bytes(9), 0)
        if self._records == 0:
            return Account.of(Reply(response, (frame, other))).account_id
        account = Account.of(Reply(response, (other, frame)))
        times = account.not_before.to_bytes(4) + account.not_after.to_bytes(4)
        return times + bytes((account.pin_set,))

    def _key_record(self, response: Frame, frame: Frame) -> bytes:
        """The file shows one half; the other comes from the key that both must make."""
        key = advertisement_key(self._lock_key, number(response.value[1:3]))
        halves = [
            Frame(
                response.command, FrameType.RECORD, bytes((half,)) + key[8 * half : 8 * half + 8], 0
            )
            for half in (0, 1)
        ]
        half = frame.value[0]
        if half > 1:
            raise MalformedError("a key has halves 0 and 1")
        halves[half] = frame
        read = AdvertisementKey.of(Reply(response, tuple(halves)))
        if read.key != key:
            raise MalformedError("not a half of the epoch's key")
        return halves[half].value


def number(data: bytes) -> int:
    return int.from_bytes(data)


def signed(data: bytes) -> int:
    return int.from_bytes(data, signed=True)


def _response(command: Command, frame: Frame) -> bytes:
    reply = Reply(frame, _filled_records(command, frame))
    reader = RESPONSES.get(command)
    if reader is None:
        return _status(Status.of(reply))
    read, write = reader
    try:
        return bytes((0,)) + write(read(reply))
    except RefusedError as refused:
        # Beside the result nothing of a refused answer is read.
        return bytes((refused.result,)) + frame.value[1:]


def _filled_records(command: Command, frame: Frame) -> tuple[Frame, ...]:
    def record(value: bytes) -> Frame:
        return Frame(command, FrameType.RECORD, value, 0)

    if command is Command.GET_LOG:
        template = bytes((Event.LOCKED, 0, 0))
        return tuple(
            record(template + counter.to_bytes(3) + bytes((Bolt.LOCKED, Door.NO_SENSOR, 0)))
            for counter in range(frame.value[1])
        )
    if command is Command.READ_ACCOUNT:
        return record(bytes(9)), record(bytes(9))
    if command is Command.GET_ADVERTISEMENT_KEY:
        return record(bytes(9)), record(b"\x01" + bytes(8))
    return ()


def _battery(percent: int | None) -> int:
    return 255 if percent is None else percent


def _status(s: Status) -> bytes:
    head = bytes((s.result, s.bolt, s.door, _battery(s.battery)))
    return head + s.counter.to_bytes(3) + bytes((s.aux, 0))


def _event(e: StateEvent) -> bytes:
    head = bytes((e.event, e.bolt, e.door, _battery(e.battery)))
    return head + e.counter.to_bytes(3) + bytes((e.slot, e.source))


def _log_record(r: LogRecord) -> bytes:
    head = bytes((r.event, r.slot, r.source)) + r.counter.to_bytes(3)
    return head + bytes((r.bolt, r.door, r.detail))


def _written(a: AccountWritten) -> bytes:
    head = bytes((a.slot, a.bolt, a.door, _battery(a.battery)))
    return head + a.counter.to_bytes(3) + bytes(1)


def _authenticated(a: Authenticated) -> bytes:
    return bytes((a.slot, a.rights, a.uses, a.clock_trusted)) + bytes(4)


def _removed(a: AccountRemoved) -> bytes:
    head = bytes((a.bolt, a.door, _battery(a.battery)))
    return head + a.counter.to_bytes(3) + a.epoch.to_bytes(2)


def _page(p: LogPage) -> bytes:
    return bytes((len(p.records),)) + p.oldest.to_bytes(3) + p.newest.to_bytes(3) + bytes(1)


def _option(o: OptionValue) -> bytes:
    return bytes((o.option,)) + o.value.to_bytes(4) + bytes(3)


def _account(a: Account) -> bytes:
    minutes = a.first_minute.to_bytes(2) + a.last_minute.to_bytes(2)
    return bytes((a.slot, a.rights, a.uses, a.weekdays)) + minutes


RESPONSES: dict[Command, tuple[Callable[[Reply], Any], Callable[[Any], bytes]]] = {
    Command.WRITE_ACCOUNT: (AccountWritten.of, _written),
    Command.AUTHENTICATE: (Authenticated.of, _authenticated),
    Command.REMOVE_ACCOUNT: (AccountRemoved.of, _removed),
    Command.ACCOUNT_DIGEST: (AccountDigest.of, lambda d: d.digest),
    Command.GET_LOG: (LogPage.of, _page),
    Command.GET_OPTION: (OptionValue.of, _option),
    Command.READ_ACCOUNT: (Account.of, _account),
    Command.GET_ADVERTISEMENT_KEY: (AdvertisementKey.of, lambda k: k.epoch.to_bytes(2) + bytes(6)),
}
