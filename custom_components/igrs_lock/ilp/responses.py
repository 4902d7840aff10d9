"""Answers, records and state events as typed values (ILP1 section 5).

`X.of(reply)` reads the answer to one request. All but `Status.of` raise RefusedError when the
result is not *done*; MalformedError on values that ILP1 does not define.
"""

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from .advertisement import battery_percent
from .const import (
    DIGEST_SIZE,
    LOG_PAGE_MAX,
    Bolt,
    Command,
    Door,
    Event,
    FrameType,
    Option,
    Result,
    Right,
    Source,
    Weekday,
)
from .errors import MalformedError, RefusedError

if TYPE_CHECKING:
    from .frames import Frame


@dataclass(frozen=True, slots=True)
class Reply:
    """A type-2 frame and the type-4 records that belong to it."""

    response: Frame
    records: tuple[Frame, ...] = ()

    @property
    def command(self) -> int:
        """Command ID that this answers."""
        return self.response.command

    @property
    def timestamp(self) -> int:
        """The lock's Unix seconds; 0 while its clock is not trusted."""
        return self.response.timestamp

    @property
    def result(self) -> Result:
        """First byte of every answer."""
        return Result.parse(self.response.value[0])


@dataclass(frozen=True, slots=True)
class Status:
    """*status*: the answer to most commands, and to any that is unknown, malformed or bad.

    `aux` is the operation in the answer to 03. *Accepted* is not *done*: the end of a movement
    comes as a StateEvent.
    """

    command: int
    result: Result
    bolt: Bolt
    door: Door
    battery: int | None
    counter: int
    aux: int

    @classmethod
    def of(cls, reply: Reply) -> Self:
        """Read any result; `ensure` tells the good from the bad."""
        value = reply.response.value
        return cls(
            reply.command,
            reply.result,
            Bolt.parse(value[1]),
            Door.parse(value[2]),
            battery_percent(value[3]),
            int.from_bytes(value[4:7]),
            value[7],
        )

    def ensure(self) -> Self:
        """Return self when done or accepted; RefusedError otherwise."""
        if self.result not in (Result.DONE, Result.ACCEPTED):
            raise RefusedError(self.command, self.result)
        return self


@dataclass(frozen=True, slots=True)
class AccountWritten:
    """Answer to 01 (Table 4 [P])."""

    slot: int
    bolt: Bolt
    door: Door
    battery: int | None
    counter: int

    @classmethod
    def of(cls, reply: Reply) -> Self:
        """Read the answer to write account."""
        value = _done(reply, Command.WRITE_ACCOUNT)
        return cls(
            value[1],
            Bolt.parse(value[2]),
            Door.parse(value[3]),
            battery_percent(value[4]),
            int.from_bytes(value[5:8]),
        )


@dataclass(frozen=True, slots=True)
class Authenticated:
    """Answer to 02 (Table 6 [P]); `uses` 255 is unlimited."""

    slot: int
    rights: Right
    uses: int
    clock_trusted: bool

    @classmethod
    def of(cls, reply: Reply) -> Self:
        """Read the answer to authenticate."""
        value = _done(reply, Command.AUTHENTICATE)
        return cls(value[1], Right(value[2]), value[3], bool(value[4] & 0x01))


@dataclass(frozen=True, slots=True)
class AccountRemoved:
    """Answer to 41, with the new epoch of the advertisement key."""

    bolt: Bolt
    door: Door
    battery: int | None
    counter: int
    epoch: int

    @classmethod
    def of(cls, reply: Reply) -> Self:
        """Read the answer to remove account."""
        value = _done(reply, Command.REMOVE_ACCOUNT)
        return cls(
            Bolt.parse(value[1]),
            Door.parse(value[2]),
            battery_percent(value[3]),
            int.from_bytes(value[4:7]),
            int.from_bytes(value[7:9]),
        )


@dataclass(frozen=True, slots=True)
class AccountDigest:
    """Answer to 49: 8 bytes to compare with `digest.account_digest`."""

    digest: bytes

    @classmethod
    def of(cls, reply: Reply) -> Self:
        """Read the answer to account digest."""
        return cls(_done(reply, Command.ACCOUNT_DIGEST)[1 : 1 + DIGEST_SIZE])


@dataclass(frozen=True, slots=True)
class OptionValue:
    """Answer to 4C: an option and its 32-bit value."""

    option: Option
    value: int

    @classmethod
    def of(cls, reply: Reply) -> Self:
        """Read the answer to get option."""
        value = _done(reply, Command.GET_OPTION)
        return cls(Option.parse(value[1]), int.from_bytes(value[2:6]))


@dataclass(frozen=True, slots=True)
class AdvertisementKey:
    """Answer to 4E: epoch and 16-byte key; the key is kept out of the repr."""

    epoch: int
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, reply: Reply) -> Self:
        """Read the answer to get advertisement key and put its halves together."""
        value = _done(reply, Command.GET_ADVERTISEMENT_KEY)
        halves = _records(reply, 2)
        if [half[0] for half in halves] != [0, 1]:
            raise MalformedError("the halves of the key must be 0 and 1")
        return cls(int.from_bytes(value[1:3]), halves[0][1:] + halves[1][1:])


@dataclass(frozen=True, slots=True)
class Account:
    """One account as the lock keeps it (answer to 4D).

    Times are Unix seconds (0 is open), `first_minute` and `last_minute` local minutes of the
    day, `uses` 255 unlimited.
    """

    slot: int
    account_id: bytes
    rights: Right
    uses: int
    not_before: int
    not_after: int
    weekdays: Weekday
    first_minute: int
    last_minute: int
    pin_set: bool

    @classmethod
    def of(cls, reply: Reply) -> Self:
        """Read the answer to read account; RefusedError with result 4 for a free slot."""
        value = _done(reply, Command.READ_ACCOUNT)
        account_id, validity = _records(reply, 2)
        return cls(
            slot=value[1],
            account_id=account_id,
            rights=Right(value[2]),
            uses=value[3],
            not_before=int.from_bytes(validity[0:4]),
            not_after=int.from_bytes(validity[4:8]),
            weekdays=Weekday(value[4]),
            first_minute=int.from_bytes(value[5:7]),
            last_minute=int.from_bytes(value[7:9]),
            pin_set=_flag(validity[8], "PIN set"),
        )


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record of the log (type 4 of 4A).

    `timestamp` is the event's, in Unix seconds, 0 while the clock was not trusted. `detail` is
    the result for ACCESS_DENIED, the changed slot for ACCOUNT_CHANGED, the option for
    OPTION_CHANGED. Slot 254 is nobody known, 255 the controller.
    """

    event: Event
    slot: int
    source: Source
    counter: int
    bolt: Bolt
    door: Door
    detail: int
    timestamp: int

    @classmethod
    def of(cls, frame: Frame) -> Self:
        """Read one record frame."""
        _expect(frame, Command.GET_LOG, FrameType.RECORD)
        value = frame.value
        return cls(
            Event.parse(value[0]),
            value[1],
            Source.parse(value[2]),
            int.from_bytes(value[3:6]),
            Bolt.parse(value[6]),
            Door.parse(value[7]),
            value[8],
            frame.timestamp,
        )


@dataclass(frozen=True, slots=True)
class LogPage:
    """Answer to 4A: counters of the oldest and newest record kept, and the records asked for."""

    oldest: int
    newest: int
    records: tuple[LogRecord, ...]

    @classmethod
    def of(cls, reply: Reply) -> Self:
        """Read the answer to get log; the records' counters must rise."""
        value = _done(reply, Command.GET_LOG)
        if value[1] > LOG_PAGE_MAX or value[1] != len(reply.records):
            raise MalformedError("wrong number of log records")
        records = tuple(LogRecord.of(frame) for frame in reply.records)
        if any(later.counter <= earlier.counter for earlier, later in itertools.pairwise(records)):
            raise MalformedError("log records must rise")
        return cls(int.from_bytes(value[2:5]), int.from_bytes(value[5:8]), records)


@dataclass(frozen=True, slots=True)
class StateEvent:
    """A change of state, told to every session (03, type 3)."""

    event: Event
    bolt: Bolt
    door: Door
    battery: int | None
    counter: int
    slot: int
    source: Source
    timestamp: int

    @classmethod
    def of(cls, frame: Frame) -> Self:
        """Read an event frame."""
        _expect(frame, Command.OPERATE, FrameType.EVENT)
        value = frame.value
        return cls(
            Event.parse(value[0]),
            Bolt.parse(value[1]),
            Door.parse(value[2]),
            battery_percent(value[3]),
            int.from_bytes(value[4:7]),
            value[7],
            Source.parse(value[8]),
            frame.timestamp,
        )


def _expect(frame: Frame, command: Command, frame_type: FrameType) -> None:
    if frame.command != command or frame.type != frame_type:
        raise MalformedError(f"not a {frame_type.name} of {command.name}")


def _done(reply: Reply, command: Command) -> bytes:
    _expect(reply.response, command, FrameType.RESPONSE)
    result = reply.result
    if result is not Result.DONE:
        raise RefusedError(command, result)
    return reply.response.value


def _records(reply: Reply, count: int) -> list[bytes]:
    if len(reply.records) != count:
        raise MalformedError(f"{count} records must follow")
    for frame in reply.records:
        _expect(frame, Command.parse(reply.command), FrameType.RECORD)
    return [frame.value for frame in reply.records]


def _flag(byte: int, what: str) -> bool:
    if byte > 1:
        raise MalformedError(f"{what} must be 0 or 1")
    return bool(byte)
