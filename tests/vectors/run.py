"""Runs every implementation of ILP1 against a file of vectors (`scripts/vectors FILE`).

Each implementation is a program of its own: it takes the file, prints one line of JSON,
`{"passed": n, "parts": {part: checks}}`, and ends with status 0 only when all fits.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import form

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "vectors"
TIME_LIMIT = 300


@dataclass(frozen=True)
class Implementation:
    """How one implementation is started, and the parts that it has no use for."""

    name: str
    interpreter: Path
    program: str
    path: dict[str, str]
    leaves_out: frozenset[str]

    @property
    def expected(self) -> set[str]:
        return set(form.PARTS) - self.leaves_out


PYTHON = Path(sys.executable)
FIRMWARE = str(ROOT / "firmware")
IMPLEMENTATIONS = (
    Implementation(
        "client",
        PYTHON,
        "client_vectors.py",
        {},
        frozenset(),
    ),
    Implementation(
        "lock on CPython",
        PYTHON,
        "lock_vectors.py",
        {"PYTHONPATH": FIRMWARE},
        frozenset({"join", "seen"}),
    ),
    Implementation(
        "lock on MicroPython",
        PYTHON.with_name("micropython"),
        "lock_vectors.py",
        {"MICROPYPATH": f"{HERE}:{FIRMWARE}:.frozen"},
        frozenset({"join", "seen"}),
    ),
)


class FailedError(Exception):
    """An implementation does not fit the file, or did not look at all of it."""


def run(implementation: Implementation, path: Path, vectors: dict[str, Any]) -> dict[str, int]:
    """Return the number of checks in each part; FailedError otherwise."""
    try:
        done = subprocess.run(
            [implementation.interpreter, HERE / implementation.program, path],
            env={**os.environ, **implementation.path},
            capture_output=True,
            check=False,
            encoding="utf-8",
            timeout=TIME_LIMIT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FailedError(f"did not run: {error}") from None
    if done.returncode != 0:
        raise FailedError((done.stdout + done.stderr).strip() or "failed without a word")
    return check_report(implementation, done.stdout, vectors)


def check_report(
    implementation: Implementation, output: str, vectors: dict[str, Any]
) -> dict[str, int]:
    """Return the parts of a report; FailedError when it is wrong or a part was left out."""
    try:
        report = json.loads(output)
        parts = dict(report["parts"])
        passed = int(report["passed"])
    except ValueError, TypeError, KeyError:
        raise FailedError("the report cannot be read") from None
    for part in sorted(implementation.expected):
        if parts.get(part, 0) < form.entries(vectors, part):
            raise FailedError(f"{part} was left out, or some of it")
    for part in sorted(parts.keys() - implementation.expected):
        raise FailedError(f"covers {part}, which is not expected of it: correct the table")
    if passed != sum(parts.values()):
        raise FailedError("the report does not add up")
    return parts


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: scripts/vectors FILE", file=sys.stderr)
        return 2
    path = Path(arguments[0]).resolve()
    try:
        vectors = form.load(path)
    except form.FormError as error:
        print(f"FAILED: {error}")
        return 1
    status = 0
    for implementation in IMPLEMENTATIONS:
        try:
            parts = run(implementation, path, vectors)
        except FailedError as error:
            print(f"{implementation.name}: FAILED: {error}")
            status = 1
        else:
            covered = ", ".join(f"{part} {parts[part]}" for part in form.PARTS if part in parts)
            print(f"{implementation.name}: {sum(parts.values())} passed ({covered})")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
