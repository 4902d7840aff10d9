"""Logs: one line per record, as JSON for programs or as text for people, and harmless to whoever reads them.

No header, body, query or secret is ever written. Values that came from outside cannot break a line, colour a terminal
or fill a disk: control characters become visible escapes and long texts are cut. An exception is written as its type
and place without its text, because libraries put values there (a header that could not be read, the parameters of a
statement); the texts of this package's own exceptions carry none and stay.
"""

import asyncio
import json
import logging
import math
import re
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO, override

from aiohttp.http_exceptions import HttpProcessingError

from igrs_ras.settings import Settings

LONGEST = 500  # characters of one value
ITEMS = 20  # items of one list, frames of one traceback, fields of one record

_REQUESTS = logging.getLogger(f"{__name__}.request")
_PACKAGE = __name__.partition(".")[0]

# C0, C1, DEL; separators that some viewers take for line ends; marks that turn the direction of text; half surrogates.
_HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_OWN = frozenset({"time", "level", "logger", "message", "exception"})
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# What must never be logged is not written even if somebody passes it by such a name.
_NEVER = frozenset(
    {
        "authorization",
        "body",
        "cookie",
        "cookies",
        "headers",
        "password",
        "query",
        "query_string",
        "secret",
        "token",
    }
)


def harmless(value: object, longest: int = LONGEST) -> str:
    """Return a value as text in one line without anything that acts on a terminal, at most `longest` characters."""
    try:
        text = value if isinstance(value, str) else str(value)
    except Exception:  # noqa: BLE001  a log line must not fail for a value that cannot be shown
        text = f"<{type(value).__name__}>"
    cut = text[:longest]
    shown = _HARMFUL.sub(lambda match: f"\\u{ord(match[0]):04x}", cut)
    return shown if len(text) == len(cut) else f"{shown}… ({len(text)} characters)"


def _plain(value: object) -> object:
    """Return a value as JSON can hold it, bounded."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if value.bit_length() < 64 else f"<{value.bit_length()} bits>"
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"  # keys and frames are bytes; no log needs them
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [
            harmless(item) if not isinstance(item, (bool, int)) else _plain(item)
            for item in list(value)[:ITEMS]
        ]
        return items if len(value) <= ITEMS else [*items, f"… ({len(value)} items)"]
    if isinstance(value, Mapping):
        return f"<{type(value).__name__} of {len(value)}>"
    return harmless(value)


def _exception(error: BaseException) -> list[dict[str, object]]:
    """Return type and place of an exception and of what caused it, the last one first."""
    found: list[dict[str, object]] = []
    one: BaseException | None = error
    seen: set[int] = set()
    while one is not None and id(one) not in seen and len(found) < 5:
        seen.add(id(one))
        kind = type(one)
        shown: dict[str, object] = {
            "type": harmless(f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."))
        }
        if kind.__module__.partition(".")[0] == _PACKAGE:
            shown["text"] = harmless(one)
        elif isinstance(one, OSError) and one.strerror:
            shown["text"] = harmless(one.strerror)
        shown["at"] = [
            harmless(f"{_short(frame.filename)}:{frame.lineno} {frame.name}")
            for frame in traceback.extract_tb(one.__traceback__)[-ITEMS:]
        ]
        found.append(shown)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return found


def _short(path: str) -> str:
    """Return a source file's path from its package on."""
    return (
        path.rpartition("site-packages/")[2]
        if "site-packages/" in path
        else "/".join(path.split("/")[-3:])
    )


def describe(record: logging.LogRecord) -> dict[str, object]:
    """Return what is written of a record: time, level, logger, message, its extra fields, and the exception."""
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001  a wrong format string must not hide the record
        message = f"{record.msg} (its values could not be put in)"
    line: dict[str, object] = {
        "time": datetime.fromtimestamp(record.created, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
        "level": harmless(record.levelname.lower(), 20),
        "logger": harmless(record.name, 100),
        "message": harmless(message, 4 * LONGEST),
    }
    extra = [
        (name, value)
        for name, value in vars(record).items()
        if name not in _STANDARD
        and name not in _OWN
        and name.lower() not in _NEVER
        and _NAME.fullmatch(name)
    ]
    line |= {name: _plain(value) for name, value in extra[:ITEMS]}
    if record.exc_info and record.exc_info[1] is not None:
        line["exception"] = _exception(record.exc_info[1])
    return line


class JsonFormatter(logging.Formatter):
    """One JSON object per line, in ASCII."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(describe(record), separators=(",", ":"), allow_nan=False)


class TextFormatter(logging.Formatter):
    """One line for people."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = describe(record)
        errors: Any = line.pop("exception", [])
        head = f"{line.pop('time')} {str(line.pop('level')).upper():<7} {line.pop('logger')}: {line.pop('message')}"
        parts = [
            head,
            *(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in line.items()),
        ]
        for error in errors:
            text = f" ({error['text']})" if "text" in error else ""
            parts.append(f"[{error['type']}{text} at {' < '.join(reversed(error['at'])) or '?'}]")
        return " ".join(parts)


def request(*, method: str, route: str, status: int, ms: float, request_id: str) -> None:
    """Log one finished request, at debug level. `route` is the route's template, never the path that was asked for."""
    _REQUESTS.debug(
        "request",
        extra={
            "method": method,
            "route": route,
            "status": status,
            "ms": round(ms, 1),
            "request_id": request_id,
        },
    )


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send all logs of this process to a stream (standard error), as the settings say.

    The level counts for this package. Libraries are heard from *warning* on: what they say below that may hold
    anything, headers and SQL included.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(_PACKAGE).setLevel(settings.log_level.upper())
    # Never on, whatever somebody else sets: it writes paths with queries, and User-Agent and Referer headers.
    access = logging.getLogger("aiohttp.access")
    access.disabled = True
    access.propagate = False
    logging.getLogger("aiohttp.server").addFilter(_worth_reading)
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _worth_reading(record: logging.LogRecord) -> bool:
    """Leave out that somebody sent what is no HTTP: anybody may, as often as they like, and it is answered with 400.

    UnicodeEncodeError: an Expect header that is no UTF-8, which aiohttp wants to repeat. Faults of the server's own
    code never come here: the border has caught them.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | UnicodeEncodeError)


def _uncaught(kind: type[BaseException], error: BaseException, place: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(_PACKAGE).critical(
        "an exception ended the server", exc_info=(kind, error, place)
    )


def _uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is None:
        return
    logging.getLogger(_PACKAGE).critical(
        "an exception ended a thread",
        exc_info=(arguments.exc_type, arguments.exc_value, arguments.exc_traceback),
        extra={"thread_name": arguments.thread.name if arguments.thread else ""},
    )


def watch(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Log what a loop's callbacks and forgotten tasks raise; return what undoes it.

    asyncio's own handler prints the arguments of callbacks and the locals' representations.
    """
    before = loop.get_exception_handler()

    def handle(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        task = context.get("task") or context.get("future")
        logging.getLogger(_PACKAGE).error(
            "%s",
            context.get("message", "an exception in the event loop"),
            exc_info=error if isinstance(error, BaseException) else None,
            extra={"task": task.get_name()} if isinstance(task, asyncio.Task) else None,
        )

    loop.set_exception_handler(handle)
    return lambda: loop.set_exception_handler(before)
