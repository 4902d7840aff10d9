"""Plays a day of a lock again, call by call, and compares everything the lock does.

    MICROPYPATH=firmware:.frozen micropython bsld_replay.py FILE

The file was written by `bsld_tape` on CPython: a line of JSON for each call into the lock, with
what came of it. The lock's random numbers follow from a seed, so every byte has to be the same.
"""

import hashlib
import json
import sys

from boards.desk import Board, PowerCutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def argument(value: Any) -> Any:
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value


class Watch:
    """Everything a board's lock does, since the last look."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._seen: dict[str, int] = {}

    def _new(self, name: str, items: list[Any]) -> list[Any]:
        start = self._seen.get(name, 0)
        self._seen[name] = len(items)
        return [plain(item) for item in items[start:]]

    def power_up(self) -> None:
        self._seen = {}

    def look(self, result: Any) -> list[Any]:
        board = self.board
        digest = hashlib.sha256()
        for name in sorted(board.flash.files):
            digest.update(name.encode() + board.flash.files[name])
        flash = digest.digest()[:8]
        sent = self._new("sent", board.radio.sent_ever)
        return [
            plain(result),
            sent,
            self._new("advertised", board.radio.advertised),
            self._new("dropped", board.radio.dropped),
            self._new("started", board.motor.started),
            board.motor.stopped,
            self._new("shown", board.indicator.shown),
            plain(flash),
        ]


def call(board: Board, name: str, args: list[Any]) -> Any:
    """One call into the lock; a power cut in it is a result too."""
    try:
        return getattr(board.lock, name)(*args)
    except PowerCutError:
        return "power cut"


def main(path: str) -> int:
    board = Board()
    watch = Watch(board)
    steps = 0
    with open(path) as file:  # noqa: PTH123 - MicroPython has no pathlib
        for line in file:
            step = json.loads(line)
            board.clock.unix = step["unix"]
            board.clock.has_rtc = step["rtc"]
            board.flash.cut_after = step["cut_after"]
            board.bolt = step["bolt"]
            if step["call"] == "boot":
                watch.power_up()
                board.boot()
                result = None
            else:
                board.clock.ms = step["ms"]
                result = call(board, step["call"], [argument(arg) for arg in step["args"]])
            got = watch.look(result)
            if got != step["came"]:
                say(f"step {steps}, {step['call']}: CPython, then this interpreter")
                say(json.dumps(step["came"]))
                say(json.dumps(got))
                return 1
            steps += 1
    say(json.dumps({"steps": steps}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
