"""The 16-byte frame of clause 8 [S]: Command ID 1, Type 1, Value 9, Check 1, Timestamp 4."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    Frame = tuple[int, int, bytes, int, bool]

SIZE = 16


def _check(frame: bytes) -> int:
    check = 0
    for at in range(SIZE):
        if at != 11:
            check ^= frame[at]
    return check


def encode(command: int, kind: int, value: bytes, timestamp: int) -> bytes:
    """Make a frame; a value shorter than 9 bytes is filled with zeros."""
    head = bytes((command, kind)) + value + bytes(9 - len(value))
    tail = timestamp.to_bytes(4, "big")
    return head + bytes((_check(head + b"\x00" + tail),)) + tail


def decode(frame: bytes) -> "Frame":
    """Take a frame apart: command, type, value, timestamp, whether its check byte is right.

    Raises:
        ValueError: not 16 bytes.
    """
    if len(frame) != SIZE:
        raise ValueError("frame: not 16 bytes")
    timestamp = int.from_bytes(frame[12:], "big")
    return frame[0], frame[1], frame[2:11], timestamp, frame[11] == _check(frame)
