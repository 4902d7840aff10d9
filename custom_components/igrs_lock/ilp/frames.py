"""The 16-byte frame of clause 8 (ILP1 section 5)."""

from dataclasses import dataclass, field
from typing import Self

from .const import FRAME_SIZE, VALUE_SIZE
from .errors import MalformedError
from .keys import check_size, unsigned


@dataclass(frozen=True, slots=True)
class Frame:
    """Command ID 1, Type 1, Value 9, Check 1, Timestamp 4 [S].

    `timestamp` is in Unix seconds. The value is left out of the repr: it may hold a PIN or a key.
    """

    command: int
    type: int
    value: bytes = field(repr=False)
    timestamp: int

    def encode(self) -> bytes:
        """Return the 16 bytes with their check byte; MalformedError when a field does not fit."""
        head = unsigned(self.command, 1, "command") + unsigned(self.type, 1, "type")
        body = head + check_size(self.value, VALUE_SIZE, "value")
        time = unsigned(self.timestamp, 4, "timestamp")
        return body + bytes((xor(body + time),)) + time

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read 16 bytes; MalformedError on a wrong length or check byte [S,D]."""
        check_size(data, FRAME_SIZE, "frame")
        if xor(data) != 0:
            raise MalformedError("wrong check byte")
        return cls(data[0], data[1], data[2:11], int.from_bytes(data[12:]))


def xor(data: bytes) -> int:
    """Return all bytes combined with exclusive or."""
    result = 0
    for byte in data:
        result ^= byte
    return result
