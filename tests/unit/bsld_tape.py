"""Records every call into a lock and what came of it, for `bsld_replay`."""

import json
from typing import TYPE_CHECKING, Any

from boards.desk import Board, PowerCutError
from bsld_replay import Watch, plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CALLS = frozenset(
    {
        "connected",
        "disconnected",
        "mtu_changed",
        "subscribed",
        "written",
        "poll",
        "bolt_sensed",
        "door_sensed",
        "battery_measured",
        "tamper_sensed",
        "pin_entered",
        "button_pressed",
        "inner_button_held",
    }
)


class _TapedLock:
    """Stands in front of a board's lock."""

    def __init__(self, board: TapedBoard) -> None:
        self._board = board

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._board.real, name)
        if name not in CALLS:
            return real

        def taped(*args: Any) -> Any:
            return self._board.taped(name, real, args)

        return taped


class TapedBoard(Board):
    """A board that writes down its lock's day."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._watch = Watch(self)
        self._booting = False

    @property
    def lock(self) -> Any:
        return self.real if self._booting else _TapedLock(self)

    @lock.setter
    def lock(self, lock: Any) -> None:
        self.real = lock

    def boot(self) -> Any:
        self._watch.power_up()
        self._booting = True
        before = self._before()
        super().boot()
        self._booting = False
        self._write("boot", (), before, None)
        return self.lock

    def taped(self, name: str, real: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        before = self._before()
        try:
            result = real(*args)
        except PowerCutError:
            self._write(name, args, before, "power cut")
            raise
        self._write(name, args, before, result)
        return result

    def _before(self) -> dict[str, Any]:
        return {
            "ms": self.clock.ms,
            "unix": self.clock.unix,
            "rtc": self.clock.has_rtc,
            "cut_after": self.flash.cut_after,
            "bolt": self.bolt,
        }

    def _write(self, name: str, args: tuple[Any, ...], before: dict[str, Any], got: Any) -> None:
        step = {**before, "call": name, "args": plain(list(args)), "came": self._watch.look(got)}
        self.lines.append(json.dumps(step))

    def save(self, path: Path) -> None:
        path.write_text("\n".join(self.lines) + "\n", "utf-8")
