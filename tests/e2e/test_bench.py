"""The bench of the unlock runs, and the fast path is what it measures."""

import json
import subprocess
import sys

from terminal import ROOT


def test_the_bolt_command_is_the_first_write_after_connecting() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "bench.unlock", "--rounds", "3", "--intervals", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    results = {
        result["kind"]: result for result in json.loads(finished.stdout.splitlines()[-1])["results"]
    }
    # Agreeing on the MTU is the adapter's, as with the adapters of Linux.
    assert results["cold"]["packets"] == {"MTU request + write command": 3}
    assert results["held"]["packets"] == {"write command": 3}
    # Where nobody waits for it, the message goes in two writes at once.
    assert results["cold, MTU 23"]["packets"] == {"MTU request + write command + write command": 3}
    for result in results.values():
        assert 0 < result["to_bolt_p50"] <= result["to_confirmed_p50"]
        assert result["floor_p50"] > 0
