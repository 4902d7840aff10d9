"""The unattended check is green, and red when there is a reason."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from terminal import ROOT

from simulator.demo.check import Check
from simulator.demo.demo import Setup


def last_line(output: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(output.splitlines()[-1])
    return report


@pytest.mark.timeout(300)  # 75 s of waiting; on two cores beside other tests it takes longer
def test_the_check_passes_and_its_last_line_says_so() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "simulator.demo", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    report = last_line(finished.stdout)
    assert report["passed"] is True
    assert {step["result"] for step in report["steps"]} == {"ok"}
    names = [step["name"] for step in report["steps"]]
    for wanted in (
        *("pair", "lock", "unlock", "open"),
        "two people join from afar by links",
        "unlock from afar",
        "server killed, the lock used at home",
        "server started again, the lock used from afar",
        "somebody removed is out everywhere",
        "an old copy of the server revives nobody",
    ):
        assert wanted in names
    assert "Traceback" not in finished.stderr


async def test_a_lock_that_cannot_be_heard_fails_the_check_with_the_reason(
    tmp_path: Path, capsys: Any
) -> None:
    # All packets get lost: Home Assistant starts, but there is nothing to discover.
    setup = Setup(tmp_path, Path(sys.executable), port=0, simulator_options=("--loss", "1"))
    check = Check(setup, "this one")
    check.patience = 3

    assert await check.run() is False

    check.report(sys.stdout)
    output = capsys.readouterr().out
    report = last_line(output)
    assert report["passed"] is False
    assert "not within 3 s" in report["error"]
    assert "discovered" in report["error"]
    assert (tmp_path / "logs" / "home-assistant.log").exists()
    assert str(tmp_path / "logs") in output
    results = {step["name"]: step["result"] for step in report["steps"]}
    assert results["lock discovered over Bluetooth"] == "FAILED"
    assert results["pair"] == "not reached"
