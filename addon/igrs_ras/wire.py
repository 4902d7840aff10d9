"""JSON as it crosses the server's border: read strictly, written one way.

Texts: UTF-8, no duplicate keys, no NaN, no unknown fields, bounded depth. Binary fields are standard base64 with
padding, canonical; identifiers are 32 lower-case hex digits; times are milliseconds since 1970 as integers.
"""

import base64
import binascii
import json
import re
import secrets
from typing import Annotated, Any

import msgspec

from igrs_ras.status import Refused, Status

DEPTH = 12  # the deepest message of the interface has 5 levels

Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$", description="32 lower-case hex digits")]
Device = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9A-F]{12}$", description="device identifier: 12 upper-case hex digits"
    ),
]
Ulid = Annotated[str, msgspec.Meta(pattern=r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$", description="ULID")]
Millis = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1, description="milliseconds since 1970")]

_ID = re.compile(r"[0-9a-f]{32}")
_DEVICE = re.compile(r"[0-9A-F]{12}")


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Base of every request and message body. An unknown field is an error, so nothing can be smuggled in."""


class Answer(msgspec.Struct, kw_only=True):
    """Base of every answer's `data`."""


def new_id() -> str:
    """Return a random identifier: 128 bits as 32 hex digits."""
    return secrets.token_hex(16)


def is_id(text: str) -> bool:
    """Tell whether a text of a path is an identifier."""
    return _ID.fullmatch(text) is not None


def is_device(text: str) -> bool:
    """Tell whether a text of a path is a device identifier (ILP1 section 1)."""
    return _DEVICE.fullmatch(text) is not None


def b64(data: bytes) -> str:
    """Write binary data for JSON."""
    return base64.b64encode(data).decode()


def unb64(text: str, length: int | None = None, *, field: str = "base64") -> bytes:
    """Read binary data of `length` bytes from JSON. Raises Refused(MALFORMED), which names the field."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(Status.MALFORMED, f"{field} is not base64") from error
    if b64(data) != text:
        raise Refused(Status.MALFORMED, f"{field} is not canonical base64")
    if length is not None and len(data) != length:
        raise Refused(Status.MALFORMED, f"{field} must have {length} bytes")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(_name: str) -> Any:
    raise ValueError("NaN and Infinity are no JSON")


_STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)


def _deep(text: str) -> bool:
    """Tell whether brackets are nested deeper than any message needs; brackets inside texts count too."""
    depth = 0
    for character in text:
        if character in "[{":
            depth += 1
            if depth > DEPTH:
                return True
        elif character in "]}":
            depth -= 1
    return False


def _clean(value: Any) -> bool:
    """Tell whether no text in it has a NUL or half a surrogate pair, which databases and UTF-8 refuse."""
    if isinstance(value, str):
        return "\x00" not in value and not any(
            "\ud800" <= character <= "\udfff" for character in value
        )
    if isinstance(value, dict):
        return all(_clean(key) and _clean(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_clean, value))
    return True


def loads(data: bytes | str) -> Any:
    """Read strict JSON. Raises Refused(MALFORMED) without repeating the input."""
    try:
        text = (data if isinstance(data, str) else data.decode()).strip(" \t\r\n")
        if text.count("{") + text.count("[") > DEPTH and _deep(text):
            raise Refused(Status.MALFORMED, "nested too deeply")
        value, end = _STRICT.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise Refused(Status.MALFORMED, "not JSON, or a field twice") from error
    if end != len(text) or ("\\u" in text and not _clean(value)):
        raise Refused(Status.MALFORMED, "not JSON")
    return value


def _without_values(text: str) -> str:
    """Return what msgspec says, e.g. "Expected `int`, got `str` - at `$.ttl_ms`", without the two things of the sender.

    It repeats the name of an unknown field and a value that is none of a few allowed ones: perhaps a misplaced password.
    """
    if text.startswith("Object contains unknown field"):
        return "Object contains unknown field"
    if text.startswith("Invalid enum value"):
        return f"Invalid enum value - at {text.rpartition(' - at ')[2]}"
    return text


def convert[T](value: Any, kind: type[T]) -> T:
    """Make a Body of read JSON. Raises Refused(MALFORMED), which names the field and never its value."""
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise Refused(Status.MALFORMED, _without_values(str(error))) from error


def decode[T](data: bytes | str, kind: type[T]) -> T:
    """Read strict JSON into a Body."""
    return convert(loads(data), kind)


_ENCODER = msgspec.json.Encoder()


def encode(value: object) -> bytes:
    """Write JSON: compact, UTF-8, fields in the order of their declaration."""
    return _ENCODER.encode(value)


def canonical(value: dict[str, Any]) -> bytes:
    """Write JSON that two programs write alike: keys sorted, no spaces, ASCII. For digests and signatures."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()
