"""Prints a verb's data for people: tables and lines. Names come from strangers, so no control character gets through."""

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

TIMES = {
    "created", "email_verified", "ended", "expires", "made", "revoked", "seen", "time", "used",
}  # fmt: skip

WIDE = 8  # columns of a table, for a terminal


def show(data: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """Print a verb's data; what to do next stands last."""
    out = stream or sys.stdout
    following = data.get("next")
    tables = {key: value for key, value in data.items() if _is_table(value)}
    for key, value in data.items():
        if key != "next" and key not in tables and not isinstance(value, Mapping):
            print(f"{_label(key)}: {_text(key, value)}", file=out)
        elif isinstance(value, Mapping):
            for name, part in value.items():
                print(f"{_label(key)} {_plain(str(name))}: {_text(name, part)}", file=out)
    for key, rows in tables.items():
        if len(data) > 1:
            print(f"\n{_label(key)}:", file=out)
        print_table(rows, out)
    if following:
        print(f"\n{_plain(following)}", file=out)


def print_table(rows: list[Mapping[str, Any]], out: TextIO) -> None:
    """Print rows under the names of their fields. What few rows have stands with its name in the last column."""
    if not rows:
        print("none", file=out)
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    common = [key for key in columns if all(key in row for row in rows)]
    if len(columns) > WIDE and len(common) < len(columns):
        rows = [
            {key: row[key] for key in common}
            | {"more": {key: value for key, value in row.items() if key not in common}}
            for row in rows
        ]
        columns = [*common, "more"]
    cells = [[_label(key) for key in columns]]
    cells += [[_text(key, row.get(key)) for key in columns] for row in rows]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    for line in cells:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(),
            file=out,
        )


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, Mapping) for row in value)


def _label(key: str) -> str:
    return _plain(key.replace("_", " "))


def _text(key: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key in TIMES and isinstance(value, int):
        return _time(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{_plain(str(name))} {_text(name, part)}" for name, part in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(_text(key, part) for part in value) or "-"
    return _plain(str(value))


def _time(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except ValueError, OverflowError, OSError:
        return str(ms)


def _plain(text: str) -> str:
    """Make control characters, and what turns the direction of writing, visible."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
