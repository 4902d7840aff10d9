"""Measures the lock core's memory; runs on MicroPython, started by `lock_memory.py`.

    micropython lock_memory_on_board.py FOLDER

The ports here hold nothing: flash is outside the heap, as on a board (files in FOLDER).
"""

import gc
import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Seal = Callable[[int, bytes, int], bytes]


def used() -> int:
    """Bytes of the heap in use."""
    gc.collect()
    gc.collect()
    return gc.mem_alloc()  # type: ignore[attr-defined, no-any-return]  # MicroPython's own


START = used()

from bsld import lock as lock_module  # noqa: E402 - measured

CODE = used()

from boards.files import FileStorage  # noqa: E402 - not the core
from bsld import const as c  # noqa: E402 - after the measured import
from bsld.crypto import decryptor, encryptor, mac  # noqa: E402 - after the measured import
from bsld.frames import encode  # noqa: E402 - after the measured import
from bsld.identifiers import controller_key  # noqa: E402 - after the measured import
from bsld.ports import Ports  # noqa: E402 - after the measured import

DEVICE_ID = bytes.fromhex("7ebf64669818")


class Nothing:
    """Clock, motor, radio and indicator in one: the least a lock can be given."""

    def __init__(self) -> None:
        """Nothing was sent."""
        self.heard = b""
        self.sent = 0

    def uptime_ms(self) -> int:
        """No time goes by."""
        return 0

    def rtc(self) -> int | None:
        """No clock."""
        return None

    def set_rtc(self, unix: int) -> None:
        """No clock."""

    def start(self, operation: int) -> None:
        """No motor."""

    def stop(self) -> None:
        """No motor."""

    def advertise(self, data: bytes, interval_ms: int, connectable: bool) -> None:
        """No radio, but for what a session is answered."""

    def notify(self, conn: Any, data: bytes) -> bool:  # noqa: ARG002 - there is only one
        """Keep the last notification."""
        self.heard = data
        self.sent += 1
        return True

    def disconnect(self, conn: Any) -> None:
        """No radio."""

    def show(self, what: str) -> None:
        """No light."""


def open_session(lock: lock_module.Lock, board: Nothing, key: bytes) -> Seal:
    """Open the controller's session; returns what seals its further messages."""
    lock.connected(1)
    lock.mtu_changed(1, 517)
    lock.subscribed(1, True)
    lock.written(1, b"\x80\x10")
    prk = mac(
        controller_key(key), b"ILP1 session", DEVICE_ID, b"\xff\x01", board.heard[2:], bytes(8)
    )
    keys, ivs = mac(prk, b"\x01"), mac(prk, b"\x02")
    encrypt = encryptor(keys[:16], ivs[:16])
    sent = [0]

    def seal(command: int, value: bytes, times: int) -> bytes:
        out = b""
        for _time in range(times):
            ciphertext = encrypt(encode(command, c.REQUEST, value, 0))
            out += ciphertext
            out += mac(keys[16:], b"\x00" + sent[0].to_bytes(4, "big"), ciphertext)[:8]
            sent[0] += 1
        return out

    lock.written(1, b"\x80\x12\xff\x01" + bytes(8) + seal(c.GET_STATUS, b"", 1))
    assert board.heard[1] == c.SEALED
    decrypt = decryptor(keys[:16], ivs[16:])
    assert decrypt(board.heard[2:18])[2] == c.DONE
    return seal


def measure() -> dict[str, int]:
    """Make a lock, step by step."""
    board = Nothing()
    storage = FileStorage(sys.argv[1])
    ports = Ports(board, os.urandom, storage, board, board, board)
    before = used()
    lock = lock_module.Lock(ports, DEVICE_ID, bytes(10), capabilities=0x3F)
    lock.start()
    unpaired = used() - before
    key = bytes(range(16))
    lock.pair(key)
    before = used()
    for slot in range(32):
        lock.accounts.add(mac(key, bytes((slot,)))[:9])
        account = lock.accounts.get(slot)
        assert account is not None
        account.pin = lock.accounts.pin(key, "1234" + str(slot), os.urandom(8))
        lock.accounts.save(account)
    accounts = used() - before
    before = used()
    seal = open_session(lock, board, key)
    session = used() - before
    # Not measured, but it has to be possible: 21 requests, each answered with three frames
    lock.written(1, b"\x80\x13" + seal(c.READ_ACCOUNT, b"\x05", 21))
    assert board.sent == 5
    return {
        "word_bits": 64 if sys.maxsize > 1 << 32 else 32,
        "code": CODE - START,
        "lock": unpaired,
        "accounts": accounts,
        "session": session,
        "total": CODE - START + unpaired + accounts + session,
        "without_code": unpaired + accounts + session,
    }


print(json.dumps(measure()))
