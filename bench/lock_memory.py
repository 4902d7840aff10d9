"""How much memory the lock core takes on MicroPython.

    python bench/lock_memory.py [--micropython PROGRAM]

Starts MicroPython on `bench/lock_memory_on_board.py` and prints what it measured there, and the
smallest heap on which the same can be done at all: loaded from source, paired, filled with 32
accounts, a session opened and a full message answered. Numbers of the unix port: with 64-bit
words (what `scripts/setup` provides) most objects are twice as big as on a microcontroller; a
32-bit build is the closer measure. The last line is JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "bench" / "lock_memory_on_board.py"
AIM = 64 * 1024
STEP = 1024


def run(micropython: Path, heap: int | None) -> dict[str, int] | None:
    """Measure with a heap of so many bytes (None: plenty); None if it was too small."""
    size = [] if heap is None else ["-X", f"heapsize={heap}"]
    with tempfile.TemporaryDirectory() as flash:
        done = subprocess.run(
            [micropython, *size, PROGRAM, flash],
            env={**os.environ, "MICROPYPATH": f"{ROOT / 'firmware'}:.frozen"},
            capture_output=True,
            check=False,
            encoding="utf-8",
            timeout=120,
        )
    if done.returncode != 0:
        if "MemoryError" in done.stderr or "FATAL" in done.stderr:
            return None
        raise SystemExit(done.stdout + done.stderr)
    measured: dict[str, int] = json.loads(done.stdout)
    return measured


def smallest_heap(micropython: Path) -> int:
    """The smallest heap, to one KiB, on which the measurement runs through."""
    low, high = 16 * STEP, 512 * STEP
    while high - low > STEP:
        middle = (low + high) // 2 // STEP * STEP
        if run(micropython, middle) is None:
            low = middle
        else:
            high = middle
    return high


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Memory of the lock core on MicroPython")
    parser.add_argument(
        "--micropython", type=Path, default=Path(sys.executable).with_name("micropython")
    )
    micropython = parser.parse_args().micropython
    measured = run(micropython, None)
    if measured is None:
        raise SystemExit("MicroPython's own heap is too small")
    measured["smallest_heap"] = smallest_heap(micropython)
    measured["aim"] = AIM
    print(f"words of {measured['word_bits']} bits")
    for name, label in (
        ("code", "code of the core, loaded from source"),
        ("lock", "an unpaired lock"),
        ("accounts", "32 accounts, each with a PIN"),
        ("session", "a connection with a session"),
        ("total", "all together"),
        ("without_code", "the same with the code frozen into the firmware"),
        ("smallest_heap", "smallest heap for all this, loading from source"),
    ):
        print(f"{measured[name]:>8}  {label}")
    verdict = "within" if measured["total"] <= AIM else "over"
    print(f"{verdict} the aim of {AIM} bytes")
    print(json.dumps(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
