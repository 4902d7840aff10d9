"""The server's interface as JSON: numbers with names, the envelope of Table 2, and strict reading of both.

Whatever a server sends is read here first. A field that is missing, of another type or too large raises MalformedError
and the whole message is dropped: a hostile server reaches nothing behind this module with bytes of its own choice.
"""

import base64
import binascii
import json
import re
import secrets
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NoReturn, Self

MESSAGE_MAX: Final = 64 * 1024
INTEGER_MAX: Final = 2**63 - 1

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_DEVICE: Final = re.compile(r"[0-9A-F]{12}", re.ASCII)
_ULID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.ASCII)
_TYPE: Final = re.compile(r"[a-z][a-z_]*(?:\.[a-z_]+){0,3}", re.ASCII)


class MalformedError(ValueError):
    """What came does not have the form that docs/ras.md gives it. The text names a field, never a value."""


class Status(IntEnum):
    """Table 1 of clause 7.6 (docs/ras.md, "The HTTP interface")."""

    DONE = 0
    FAILED = 1
    MALFORMED = 10
    SIGN_IN = 11
    WRONG_CREDENTIALS = 12
    SECOND_STEP = 13
    WRONG_CODE = 14
    TOO_MANY_ATTEMPTS = 15
    NOT_PERMITTED = 20
    NOT_FOUND = 21
    EXISTS = 22
    GATEWAY_OFFLINE = 30
    OUT_OF_REACH = 31
    LOCK_BUSY = 32
    EXPIRED = 33
    UNKNOWN = 34
    REFUSED_BY_HOME = 35
    REFUSED_BY_LOCK = 36
    TOO_LARGE = 40
    SLOW_DOWN = 41
    NOT_READY = 50


class CloseCode(IntEnum):
    """How the server closes a socket (docs/ras.md, "The gateway's socket")."""

    SERVER_FAILED = 1011
    RESTARTS = 1012
    NOT_READY = 1013
    MALFORMED = 4400
    SIGN_IN = 4401
    REVOKED = 4403
    SILENT = 4408
    REPLACED = 4409
    TOO_LARGE = 4413
    TOO_MANY = 4429


def b64(data: bytes) -> str:
    """Write binary values as the interface has them."""
    return base64.b64encode(data).decode("ascii")


def unb64(text: str) -> bytes:
    """Read standard base64 with padding, and nothing else; MalformedError."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error, ValueError:
        raise MalformedError("not base64") from None
    if b64(data) != text:
        raise MalformedError("not base64 in its one form")
    return data


def ulid(now_ms: int) -> str:
    """Return a new ULID: 48 bits of time, 80 random ones."""
    value = (now_ms & (1 << 48) - 1) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -5, -5))


def read_json(text: str | bytes) -> Any:
    """Read JSON; MalformedError on anything that is none, on NaN, and on a nesting too deep to read."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError, RecursionError:
        raise MalformedError("not JSON") from None


def _no_constant(_text: str) -> NoReturn:
    raise MalformedError("not a number")


class Fields:
    """Typed fields of a JSON object. Each method raises MalformedError that names the field."""

    __slots__ = ("_fields",)

    def __init__(self, value: object) -> None:
        """Take an object; MalformedError if it is none."""
        if not isinstance(value, dict):
            raise MalformedError("not an object")
        self._fields = value

    def text(self, name: str, longest: int = 256) -> str:
        """Return a text of at most so many characters."""
        value = self._fields.get(name)
        if not isinstance(value, str) or len(value) > longest:
            raise MalformedError(name)
        return value

    def remark(self, name: str) -> str:
        """Return a text for people, which nothing depends on: empty if it is none."""
        value = self._fields.get(name)
        return value[:256] if isinstance(value, str) else ""

    def hex_id(self, name: str) -> str:
        """Return an identifier: 32 lower-case hexadecimal digits."""
        return self._matching(name, _ID)

    def device(self, name: str) -> str:
        """Return a device identifier: 12 upper-case hexadecimal digits."""
        return self._matching(name, _DEVICE)

    def ulid(self, name: str) -> str:
        """Return a ULID."""
        return self._matching(name, _ULID)

    def integer(self, name: str, lowest: int = 0, highest: int = INTEGER_MAX) -> int:
        """Return a whole number within bounds."""
        value = self._fields.get(name)
        if type(value) is not int or not lowest <= value <= highest:
            raise MalformedError(name)
        return value

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self._fields.get(name)
        if type(value) is not bool:
            raise MalformedError(name)
        return value

    def binary(self, name: str, *, size: int | None = None, most: int = MESSAGE_MAX) -> bytes:
        """Return base64's bytes: exactly `size`, or at most `most`."""
        data = unb64(self.text(name, MESSAGE_MAX))
        if len(data) > most or (size is not None and len(data) != size):
            raise MalformedError(name)
        return data

    def items(self, name: str, most: int) -> list[Fields]:
        """Return a list of objects, at most so many."""
        value = self._fields.get(name)
        if not isinstance(value, list) or len(value) > most:
            raise MalformedError(name)
        return [Fields(item) for item in value]

    def texts(self, name: str, most: int) -> list[str]:
        """Return a list of short texts, at most so many."""
        value = self._fields.get(name)
        if not isinstance(value, list) or len(value) > most:
            raise MalformedError(name)
        if any(not isinstance(item, str) or len(item) > 40 for item in value):
            raise MalformedError(name)
        return list(value)

    def inner(self, name: str) -> Fields:
        """Return an object within the object."""
        return Fields(self._fields.get(name))

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def _matching(self, name: str, form: re.Pattern[str]) -> str:
        value = self.text(name)
        if not form.fullmatch(value):
            raise MalformedError(name)
        return value


@dataclass(frozen=True, slots=True)
class Message:
    """An envelope as the server sends it. `lock` is empty where a message is about none; `seq` is 0 but for events."""

    id: str
    type: str
    lock: str
    seq: int
    body: Fields

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one message; MalformedError."""
        if len(text) > MESSAGE_MAX:
            raise MalformedError("too large")
        fields = Fields(read_json(text))
        kind = fields.text("type", 40)
        if not _TYPE.fullmatch(kind):
            raise MalformedError("type")
        lock = fields.text("lock", 12) if "lock" in fields else ""
        if lock and not _DEVICE.fullmatch(lock):
            raise MalformedError("lock")
        return cls(
            fields.ulid("id"),
            kind,
            lock,
            fields.integer("seq") if "seq" in fields else 0,
            fields.inner("body"),
        )


def envelope(id_: str, kind: str, body: dict[str, Any], lock: str = "") -> str:
    """Write one message: what the server reads of an envelope, and nothing else."""
    fields: dict[str, Any] = {"id": id_, "type": kind, "body": body}
    if lock:
        fields["lock"] = lock
    return json.dumps(fields, separators=(",", ":"))
