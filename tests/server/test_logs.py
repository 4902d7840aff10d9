"""Logs: one harmless line per record, whatever is put into it, and nothing that a request brought."""

import asyncio
import io
import json
import logging
import sys
import threading
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.http_exceptions import BadHttpMessage
from hypothesis import given
from hypothesis import strategies as st
from igrs_ras import logs
from igrs_ras.settings import Settings
from igrs_ras.status import Refused, Status
from sqlalchemy import create_engine, text

if TYPE_CHECKING:
    from collections.abc import Iterator

ANYTHING = st.text(st.characters(exclude_categories=()), max_size=200)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANYTHING | st.binary(max_size=50),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(ANYTHING, inner, max_size=5),
    max_leaves=20,
)
STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def record(
    message: Any, *arguments: Any, extra: dict[str, Any] | None = None, error: Any = None
) -> logging.LogRecord:
    made = logging.LogRecord("igrs_ras.x", logging.INFO, __file__, 1, message, arguments, error)
    vars(made).update(
        {name: value for name, value in (extra or {}).items() if name not in STANDARD}
    )
    return made


def assert_harmless(line: str) -> None:
    """No character that ends a line, drives a terminal, hides, or turns the direction of text."""
    assert not [
        character
        for character in line
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(character) in
        ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI") or character in "\u200e\u200f\u061c\ufeff"
    ]  # fmt: skip


@given(message=ANYTHING, extra=st.dictionaries(ANYTHING, VALUES, max_size=8))
def test_case_45_whatever_is_logged_is_one_harmless_line(
    message: str, extra: dict[str, Any]
) -> None:
    one = record("%s", message, extra=extra)
    for formatter in (logs.JsonFormatter(), logs.TextFormatter()):
        line = formatter.format(one)
        assert_harmless(line)
        assert len(line) < 500_000
    read = json.loads(logs.JsonFormatter().format(one), parse_constant=pytest.fail)
    assert read["level"] == "info"
    assert read["logger"] == "igrs_ras.x"
    for value in read.values():
        # Harmless also after a program took it out of the JSON and printed it.
        for shown in value if isinstance(value, list) else [value]:
            assert_harmless(str(shown))


@given(st.integers(min_value=501, max_value=100_000))
def test_case_45_a_huge_value_is_cut_and_its_size_said(size: int) -> None:
    line = json.loads(logs.JsonFormatter().format(record("x", extra={"name_of_it": "a" * size})))
    assert line["name_of_it"] == "a" * 500 + f"… ({size} characters)"


@given(st.integers(min_value=2**63))
def test_a_huge_number_is_not_written_out(number: int) -> None:
    assert len(logs.JsonFormatter().format(record("x", extra={"count": number * 10**5000}))) < 300


def test_a_json_line_has_the_fields_by_name() -> None:
    line = json.loads(
        logs.JsonFormatter().format(record("relay %s", "ended", extra={"site": "ab", "code": 31}))
    )
    assert line.keys() == {"time", "level", "logger", "message", "site", "code"}
    assert (line["message"], line["site"], line["code"]) == ("relay ended", "ab", 31)
    assert line["time"].endswith("Z")


def test_a_text_line_is_for_people() -> None:
    line = logs.TextFormatter().format(record("relay ended", extra={"site": "ab", "code": 31}))
    assert line.endswith('INFO    igrs_ras.x: relay ended site="ab" code=31')


def test_a_field_cannot_stand_in_for_one_of_the_lines_own() -> None:
    forged = {"level": "critical", "time": "never", "logger": "root", "exception": "x"}
    line = json.loads(logs.JsonFormatter().format(record("x", extra=forged)))
    assert (line["level"], line["logger"]) == ("info", "igrs_ras.x")
    assert "exception" not in line


@pytest.mark.parametrize(
    "name",
    [
        "headers",
        "Headers",
        "cookie",
        "Authorization",
        "body",
        "query",
        "query_string",
        "password",
        "token",
        "secret",
    ],
)
def test_case_46_what_must_not_be_logged_is_not_written_even_if_it_is_given(name: str) -> None:
    one = record("x", extra={name: "hunter2"})
    assert "hunter2" not in logs.JsonFormatter().format(one)
    assert "hunter2" not in logs.TextFormatter().format(one)


def test_values_that_do_not_fit_their_message_lose_only_themselves() -> None:
    assert "three %d" in logs.JsonFormatter().format(record("three %d", "words"))


class Unprintable:
    def __str__(self) -> str:
        raise ValueError("no text")


def test_what_has_no_text_is_named_by_its_type() -> None:
    line = json.loads(logs.JsonFormatter().format(record("x", extra={"what": Unprintable()})))
    assert line["what"] == "<Unprintable>"


def raised(error: BaseException, cause: BaseException | None = None) -> Any:
    try:
        raise error from cause  # noqa: TRY301  its place is what is tested
    except BaseException:  # noqa: BLE001  any is to be formatted
        return sys.exc_info()


def test_an_exception_is_type_and_place_without_its_text() -> None:
    line = logs.JsonFormatter().format(
        record("failed", error=raised(ValueError("Cookie: ingress_session=hunter2")))
    )
    assert "hunter2" not in line
    error = json.loads(line)["exception"][0]
    assert error["type"] == "ValueError"
    assert error["at"][-1].startswith("tests/server/test_logs.py:")
    assert error["at"][-1].endswith(" raised")


def test_own_exceptions_and_the_systems_keep_their_text() -> None:
    line = logs.TextFormatter().format(
        record(
            "failed",
            error=raised(
                Refused(Status.NOT_READY, "full"), OSError(28, "No space left on device", "/x")
            ),
        )
    )
    assert "igrs_ras.status.Refused (not ready: full) at " in line
    assert "OSError (No space left on device) at ?" in line
    assert "\n" not in line


def test_a_failing_statements_values_are_not_in_the_line() -> None:
    engine = create_engine("sqlite://")
    try:
        with engine.connect() as connection:
            connection.execute(
                text("SELECT * FROM nowhere WHERE email = :email"), {"email": "ann@example.org"}
            )
    except Exception:  # noqa: BLE001  any is to be formatted
        line = logs.JsonFormatter().format(record("failed", error=sys.exc_info()))
    assert "ann@example.org" not in line
    assert "OperationalError" in line
    engine.dispose()


def test_exceptions_that_cause_each_other_in_a_circle_end() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__context__ = second
    second.__context__ = first
    assert json.loads(logs.JsonFormatter().format(record("x", error=(ValueError, first, None))))


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level, hook, thread_hook = (
        root.handlers[:],
        root.level,
        sys.excepthook,
        threading.excepthook,
    )
    own = logging.getLogger("igrs_ras")
    own_level = own.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    own.setLevel(own_level)
    logging.getLogger("aiohttp.access").disabled = False
    logging.getLogger("aiohttp.server").removeFilter(logs._worth_reading)
    logging.raiseExceptions = True
    logging.captureWarnings(capture=False)
    sys.excepthook, threading.excepthook = hook, thread_hook


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_level_counts_for_the_server_and_libraries_speak_up_only_to_warn(
    stream: io.StringIO,
) -> None:
    logs.configure(Settings(log_level="debug"), stream)
    logging.getLogger("igrs_ras.relay").debug("own")
    logging.getLogger("sqlalchemy.engine").info("SELECT … 'ann@example.org'")
    logging.getLogger("aiosmtplib").debug("AUTH PLAIN …")
    logging.getLogger("aiohttp.access").error("GET /?token=hunter2")
    logging.getLogger("aiohttp.server").warning("library")
    assert [line["message"] for line in lines(stream)] == ["own", "library"]


def test_what_is_no_http_fills_no_log(stream: io.StringIO) -> None:
    logs.configure(Settings(), stream)
    header = UnicodeEncodeError("utf-8", "\udcff", 0, 1, "an Expect that is no UTF-8")
    for error in (BadHttpMessage("hunter2"), header, ValueError("hunter2")):
        logging.getLogger("aiohttp.server").error("Error handling request", exc_info=error)
    (line,) = lines(stream)
    assert line["exception"][0]["type"] == "ValueError"


def test_a_request_is_one_line_with_its_routes_template(stream: io.StringIO) -> None:
    logs.configure(Settings(log_level="debug"), stream)
    logs.request(
        method="GET", route="/api/v1/sites/{site}", status=200, ms=1.2345, request_id="ab12"
    )
    (line,) = lines(stream)
    del line["time"]
    assert line == {
        "level": "debug", "logger": "igrs_ras.logs.request", "message": "request", "method": "GET",
        "route": "/api/v1/sites/{site}", "status": 200, "ms": 1.2, "request_id": "ab12",
    }  # fmt: skip


def test_requests_are_not_logged_at_the_usual_level(stream: io.StringIO) -> None:
    logs.configure(Settings(), stream)
    logs.request(method="GET", route="/", status=200, ms=1, request_id="ab12")
    assert stream.getvalue() == ""


async def test_what_ends_a_task_or_a_thread_is_logged_without_its_values(
    stream: io.StringIO,
) -> None:
    logs.configure(Settings(), stream)
    loop = asyncio.get_running_loop()
    undo = logs.watch(loop)

    def fail(secret: str) -> None:
        raise ValueError(secret)

    loop.call_soon(fail, "hunter2")
    await asyncio.sleep(0)
    thread = threading.Thread(target=fail, args=("hunter2",), name="store-write")
    thread.start()
    await asyncio.to_thread(thread.join)
    sys.excepthook(*raised(ValueError("hunter2")))
    undo()
    assert "hunter2" not in stream.getvalue()
    found = lines(stream)
    assert [line["exception"][0]["type"] for line in found] == ["ValueError"] * 3
    assert found[1]["thread_name"] == "store-write"
    assert [line["level"] for line in found] == ["error", "critical", "critical"]
