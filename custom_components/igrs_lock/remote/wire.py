"""What crosses the border between this home and its server: clause 7.7's envelope, read strictly.

A server may be hostile: every field that comes from it has a type and a bound, and what does not
keep to them is Malformed, whose text names the field and never the value.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import unicodedata
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, Self

from .errors import LinkDown, Refused, RemoteError, RemoteNotSaved

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = [
    "INT_MAX",
    "MESSAGE_MAX",
    "MILLIS_MAX",
    "CloseCode",
    "LinkDown",
    "Malformed",
    "Message",
    "Reader",
    "Refused",
    "RemoteError",
    "RemoteNotSaved",
    "Status",
    "b64",
    "canonical",
    "loads",
    "ulid",
    "unb64",
]

MESSAGE_MAX: Final = 64 * 1024
MILLIS_MAX: Final = 2**53 - 1
INT_MAX: Final = 2**63 - 1
_DEPTH: Final = 12  # the deepest message has 5 levels

_ID: Final = re.compile(r"[0-9a-f]{32}")
_DEVICE: Final = re.compile(r"[0-9A-F]{12}")
_TYPE: Final = re.compile(r"[a-z][a-z_]*(?:\.[a-z_]+){0,3}")
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_UNWRITABLE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Controls, halves of pairs, separators of lines: they would break a log or a form."""


class Malformed(Exception):  # noqa: N818  an input, not a fault
    """A message does not keep to the interface. The text names a field, never a value."""


class Status(IntEnum):
    """Table 1 of clause 7.6."""

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

    @classmethod
    def of(cls, number: object) -> Status:
        """Return what a number means; one that is none of these is FAILED, and so is DONE."""
        if isinstance(number, int) and not isinstance(number, bool) and number != cls.DONE:
            try:
                return cls(number)
            except ValueError:
                return cls.FAILED
        return cls.FAILED


class CloseCode(IntEnum):
    """With what a server closes a socket."""

    FAILED = 1011
    RESTART = 1012
    NOT_READY = 1013
    MALFORMED = 4400
    SIGN_IN = 4401
    REVOKED = 4403
    SLOW = 4408
    COPY = 4409
    TOO_LARGE = 4413
    TOO_MANY = 4429


def b64(data: bytes) -> str:
    """Write binary data for JSON."""
    return base64.b64encode(data).decode()


def unb64(text: object, size: int | None = None, *, name: str = "value") -> bytes:
    """Read binary data, of `size` bytes if given: standard base64 with padding, canonical. Malformed."""
    if not isinstance(text, str):
        raise Malformed(f"{name} is no text")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as err:
        raise Malformed(f"{name} is not base64") from err
    if b64(data) != text:
        raise Malformed(f"{name} is not canonical base64")
    if size is not None and len(data) != size:
        raise Malformed(f"{name} must have {size} bytes")
    return data


def ulid(now_ms: int) -> str:
    """Return a new ULID: 48 bits of time, 80 random ones."""
    value = (now_ms & (2**48 - 1)) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -5, -5))


def canonical(value: Mapping[str, Any]) -> bytes:
    """Write JSON that two programs write alike: keys sorted, no spaces, ASCII. For digests."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def loads(text: str) -> Any:
    """Read JSON strictly. Malformed, without repeating the input."""
    if len(text) > MESSAGE_MAX:
        raise Malformed("too large")
    if text.count("{") + text.count("[") > _DEPTH and _deep(text):
        raise Malformed("nested too deeply")
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except ValueError, RecursionError:
        # Not chained: the error holds the whole text.
        raise Malformed("not JSON, or a field twice") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field twice")
    return found


def _no_constant(_name: str) -> Any:
    raise ValueError("no number")


def _deep(text: str) -> bool:
    """Tell whether brackets are nested deeper than any message needs; those in texts count too."""
    depth = 0
    for character in text:
        if character in "[{":
            depth += 1
            if depth > _DEPTH:
                return True
        elif character in "]}":
            depth -= 1
    return False


@dataclass(frozen=True, slots=True)
class Message:
    """One envelope. What it carries may be a secret's proof: the body is not in the repr."""

    id: str
    type: str
    lock: str = ""
    seq: int = 0
    expires: int = 0
    body: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, text: str) -> Self:
        """Read what came in. Malformed."""
        value = loads(text)
        if not isinstance(value, dict):
            raise Malformed("no object")
        read = Reader(value)
        kind = read.text("type", 40)
        if _TYPE.fullmatch(kind) is None:
            raise Malformed("type has a wrong form")
        lock = read.text("lock", 12, default="")
        if lock and _DEVICE.fullmatch(lock) is None:
            raise Malformed("lock is no device identifier")
        body = value.get("body", {})
        if not isinstance(body, dict):
            raise Malformed("body is no object")
        return cls(
            id=read.text("id", 40, least=1),
            type=kind,
            lock=lock,
            seq=read.integer("seq", 0, INT_MAX, default=0),
            expires=read.integer("expires", 0, MILLIS_MAX, default=0),
            body=body,
        )

    def as_text(self) -> str:
        """Write it for the server, which ignores what it says itself."""
        envelope: dict[str, Any] = {"id": self.id, "type": self.type, "body": self.body}
        if self.lock:
            envelope["lock"] = self.lock
        return json.dumps(envelope, separators=(",", ":"), allow_nan=False)


_NONE: Final[Any] = object()


class Reader:
    """Takes typed, bounded fields out of a body. Everything raises Malformed.

    A `default` stands for a field that is missing, not for one that is wrong. Fields that nobody
    asks for are let be: a newer server may say more.
    """

    __slots__ = ("_body", "_name")

    def __init__(self, body: object, name: str = "") -> None:
        """Read a body; `name` is where it stands in a larger one."""
        if not isinstance(body, dict):
            raise Malformed(f"{name or 'body'} is no object")
        self._body: dict[str, Any] = body
        self._name = name

    def __contains__(self, name: str) -> bool:
        return self._body.get(name) is not None

    def text(self, name: str, most: int, *, least: int = 0, default: str = _NONE) -> str:
        """A text of `least` to `most` characters that can stand in a line."""
        value = self._get(name, default)
        if not isinstance(value, str) or not least <= len(value) <= most:
            raise self._wrong(name, "a text")
        if not value.isascii() or not value.isprintable():
            for character in value:
                if unicodedata.category(character) in _UNWRITABLE:
                    raise self._wrong(name, "a text of one line")
        return value

    def choice[T: str](self, name: str, options: Collection[T]) -> T:
        """One of a few texts."""
        value = self._get(name)
        for option in options:
            if isinstance(value, str) and option == value:
                return option
        raise self._wrong(name, "one of a few")

    def hex_id(self, name: str) -> str:
        """An identifier: 32 lower-case hexadecimal digits."""
        return self._match(name, _ID, "an identifier")

    def device(self, name: str) -> str:
        """A lock's device identifier."""
        return self._match(name, _DEVICE, "a device identifier")

    def integer(self, name: str, lo: int = 0, hi: int = MILLIS_MAX, *, default: int = _NONE) -> int:
        """A whole number from `lo` to `hi`."""
        value = self._get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not lo <= value <= hi:
            raise self._wrong(name, "a number in its bounds")
        return value

    def flag(self, name: str, *, default: bool = _NONE) -> bool:
        """Yes or no."""
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def binary(self, name: str, size: int | None = None, *, most: int = MESSAGE_MAX) -> bytes:
        """Bytes: `size` of them, or `most` at most."""
        data = unb64(self._get(name), size, name=self._path(name))
        if len(data) > most:
            raise self._wrong(name, "shorter")
        return data

    def value(self, name: str) -> Any:
        """What stands there, unread; None if nothing does."""
        return self._body.get(name)

    def binaries(self, name: str, most: int, size: int) -> list[bytes]:
        """A list of values of `size` bytes."""
        path = self._path(name)
        return [unb64(value, size, name=path) for value in self._list(name, most)]

    def child(self, name: str) -> Reader:
        """An object in this one."""
        return Reader(self._get(name), self._path(name))

    def children(self, name: str, most: int) -> Iterator[Reader]:
        """A list of objects, `most` of them at most."""
        return (Reader(value, self._path(name)) for value in self._list(name, most))

    def hex_ids(self, name: str, most: int) -> list[str]:
        """A list of identifiers."""
        return self._matching(name, most, _ID, "identifiers")

    def devices(self, name: str, most: int) -> list[str]:
        """A list of device identifiers."""
        return self._matching(name, most, _DEVICE, "device identifiers")

    def _list(self, name: str, most: int) -> list[Any]:
        value = self._get(name)
        if not isinstance(value, list) or len(value) > most:
            raise self._wrong(name, "a list in its bounds")
        return value

    def _matching(self, name: str, most: int, form: re.Pattern[str], what: str) -> list[str]:
        found = self._list(name, most)
        if not all(isinstance(value, str) and form.fullmatch(value) for value in found):
            raise self._wrong(name, what)
        return found

    def _match(self, name: str, form: re.Pattern[str], what: str) -> str:
        value = self._get(name)
        if not isinstance(value, str) or form.fullmatch(value) is None:
            raise self._wrong(name, what)
        return value

    def _get(self, name: str, default: Any = _NONE) -> Any:
        value = self._body.get(name, default)
        if value is _NONE:
            raise Malformed(f"{self._path(name)} is missing")
        return value

    def _path(self, name: str) -> str:
        return f"{self._name}.{name}" if self._name else name

    def _wrong(self, name: str, what: str) -> Malformed:
        return Malformed(f"{self._path(name)} is not {what}")
