"""Builds the frames of a vector file again with the lock's code, and lets a lock run the requests.

Every value is made again from the fields it was read into, so a field in the wrong place, out of
its range or a byte that should be 0 shows.
"""

from boards.desk import Board
from bsld import const as c
from bsld.commands import Commands
from bsld.crypto import mac
from bsld.frames import decode, encode
from bsld.identifiers import advertisement_key
from bsld.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# One letter a field: its size and largest value
_FIELDS = {
    "A": (1, c.MAX_AGE_S),
    "B": (1, c.BOLT_OPEN),
    "D": (1, c.DOOR_OPEN),
    "E": (2, 0xFFFF),  # epoch, unsigned
    "F": (1, 1),  # flag
    "H": (2, 0xFFFF),  # offset, signed
    "I": (9, (1 << 72) - 1),  # account ID
    "K": (1, c.SRC_NETWORK),
    "L": (1, c.LOG_RECORDS_PER_ANSWER),
    "M": (2, 1439),
    "N": (3, c.COUNTER_END),
    "O": (1, c.OP_OPEN),
    "P": (1, 255),  # percent
    "Q": (1, c.OPT_ADVERTISING),
    "R": (1, c.BATTERY_TOO_LOW),
    "S": (1, 255),
    "T": (4, 0xFFFFFFFF),
    "V": (1, c.EV_PAIRED),
    "W": (1, 0x7F),
    "X": (1, 255),
    "Y": (8, (1 << 64) - 1),
}
_STATUS = "RBDPNO"
_LAYOUTS = {
    c.REQUEST: {
        c.WRITE_ID: "I",
        c.AUTHENTICATE: "I",
        c.OPERATE: "OA",
        c.REMOVE_ID: "I",
        c.SET_RIGHTS: "SXX",
        c.SET_VALIDITY: "STT",
        c.SET_HOURS: "SWMM",
        c.SET_TIME: "THF",
        c.SET_OPTION: "QT",
        c.GET_STATUS: "",
        c.GET_DIGEST: "",
        c.GET_LOG: "NL",
        c.FACTORY_RESET: "I",
        c.GET_OPTION: "Q",
        c.READ_ACCOUNT: "S",
        c.GET_ADVERT_KEY: "",
        c.IDENTIFY: "",
        c.SET_NEXT_OFFSET: "TH",
    },
    c.RESPONSE: {
        c.WRITE_ID: "RSBDPN",
        c.AUTHENTICATE: "RSXXF",
        c.REMOVE_ID: "RBDPNE",
        c.GET_DIGEST: "RY",
        c.GET_LOG: "RLNN",
        c.GET_OPTION: "RQT",
        c.READ_ACCOUNT: "RSXXWMM",
        c.GET_ADVERT_KEY: "RE",
    },
    c.EVENT: {c.OPERATE: "VBDPNSK"},
    c.RECORD: {c.GET_LOG: "VSKNBDX"},
}


class FrameError(Exception):
    """The lock would not make this frame."""


def _fields(layout: str, value: bytes) -> "Iterable[bytes]":
    at = 0
    for letter in layout:
        size, most = _FIELDS[letter]
        number = int.from_bytes(value[at : at + size], "big")
        if number > most or (letter == "P" and 100 < number < 255):
            raise FrameError(f"field {letter} is {number}")
        at += size
        yield number.to_bytes(size, "big")


def _pin(value: bytes) -> bytes:
    text = value[2:].hex()
    digits = text[: value[1]]
    if not digits.isdigit() or not 4 <= len(digits) <= 14:
        raise FrameError("no PIN")
    return value[:1] + bytes((len(digits),)) + bytes.fromhex(digits + "f" * (14 - len(digits)))


class FrameRound:
    """Takes frames in order; records are understood by the response before them."""

    def __init__(self, lock_key: bytes, account_ids: "list[bytes]") -> None:
        self._lock_key = lock_key
        self._ids = account_ids
        self._response = (0, b"")
        self._records = 0

    def again(self, plain: bytes) -> bytes:
        """The frame as the lock makes it from what it understood."""
        command, kind, value, timestamp, good = decode(plain)
        if not good:
            raise FrameError("wrong check byte")
        if kind == c.RESPONSE:
            self._response = (command, value)
            self._records = 0
        if kind == c.REQUEST and command == c.SET_PIN:
            made = _pin(value)
        elif kind == c.RECORD and command in (c.READ_ACCOUNT, c.GET_ADVERT_KEY):
            made = self._record(command, value)
        else:
            commands = _LAYOUTS[kind]
            default = _STATUS if kind == c.RESPONSE and command in _LAYOUTS[c.REQUEST] else None
            if kind == c.RESPONSE and command == c.SET_PIN:
                default = _STATUS
            layout = commands.get(command, default)
            if layout is None:
                raise FrameError("no such frame")
            made = b"".join(_fields(layout, value))
        return encode(command, kind, made, timestamp)

    def _record(self, command: int, value: bytes) -> bytes:
        if self._response[0] != command:
            raise FrameError("a record without its response")
        self._records += 1
        if command == c.READ_ACCOUNT:
            if self._records > 1:
                return b"".join(_fields("TTF", value))
            for account_id in self._ids:
                if account_id == value:
                    return account_id
            raise FrameError("no account of the file has this ID")
        epoch = int.from_bytes(self._response[1][1:3], "big")
        half = value[0]
        if half > 1:
            raise FrameError("a key has two halves")
        key = advertisement_key(self._lock_key, epoch)
        return bytes((half,)) + key[8 * half : 8 * half + 8]


def run_request(plain: bytes) -> None:
    """Let the controller of a real lock send a request that it must understand."""
    command, _kind, value, timestamp, _good = decode(plain)
    board = Board()
    lock = board.boot()
    lock.pair(mac(b"", b"any lock key")[:16])
    lock.clock.set(timestamp, 0)
    for slot in range(lock.accounts.slots):
        lock.accounts.add(mac(b"", b"account", bytes((slot,)))[:9])
    if command in (c.AUTHENTICATE, c.REMOVE_ID):
        account = lock.accounts.get(4)
        if account is not None:
            account.account_id = value
            account.rights = c.RIGHT_ENABLED
            lock.accounts.save(account)
    # A person sends 02, the controller everything else
    slot = 4 if command == c.AUTHENTICATE else c.SLOT_CONTROLLER
    session = Session(bytes(16), board.device_id, slot, 0, bytes(8), bytes(8))
    answers = Commands(lock).run(session, [plain], 60)
    answered, kind, result, _time, good = decode(answers[0])
    if (answered, kind, good) != (command, c.RESPONSE, True):
        raise FrameError("the lock gives another answer")
    # All 32 slots are taken, so a new account finds no room
    wanted = c.FULL if command == c.WRITE_ID else c.DONE
    if command == c.OPERATE and value[0] != c.OP_LOCK:
        wanted = c.ACCEPTED
    if result[0] != wanted:
        raise FrameError(f"the lock answers with result {result[0]}")
