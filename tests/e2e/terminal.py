"""The demo as at a terminal, and what it leaves behind."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal

ROOT = Path(__file__).resolve().parents[2]

READY = "Ctrl-C stops all"


class Terminal:
    """`python -m simulator.demo` as at a terminal, with what it prints."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.text = ""
        self.children: set[int] = set()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "simulator.demo", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "IGRS_LOCK_DEMO": str(folder),
                "TMPDIR": str(folder.parent),
                "PYTHONUNBUFFERED": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.text += line

    def wait_for(self, text: str, seconds: float = 90) -> None:
        """Wait until it printed something, and note which processes it has started by then."""
        deadline = time.monotonic() + seconds
        while text not in self.text:
            assert self._process.poll() is None, f"it ended:\n{self.text}"
            assert time.monotonic() < deadline, f"no {text!r} in:\n{self.text}"
            time.sleep(0.1)
        self.children = descendants(self._process.pid)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it alone, as a terminal does not to its children's own sessions."""
        self._process.send_signal(number)

    def wait(self, seconds: float = 60) -> int:
        """Wait for its end; the exit code."""
        code = self._process.wait(seconds)
        self._reader.join(5)
        return code

    def close(self) -> None:
        """Leave nothing behind, also of a test that failed."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def descendants(pid: int) -> set[int]:
    """The processes that a process has started, and those they have."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue  # it has just ended
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def alive(pids: set[int], seconds: float = 5) -> set[int]:
    """Those that still run after a moment to end in."""
    deadline = time.monotonic() + seconds
    while left := {pid for pid in pids if _runs(pid)}:
        if time.monotonic() > deadline:
            return left
        time.sleep(0.1)
    return set()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
