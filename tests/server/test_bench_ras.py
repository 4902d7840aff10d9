"""The bench of the remote access server runs, relays through a real server and stands each figure beside its floor."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_bench_relays_and_compares_with_floors_of_the_same_run() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "bench.ras", "--quick", "--database", "sqlite", "--parts", "relays"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    *table, last = finished.stdout.splitlines()
    (figures,) = json.loads(last)["results"].values()
    found = {figure["name"]: figure for figure in figures}
    # A relay that ends otherwise than answered ends the bench.
    for name in (
        "relay, one at a time, p99",
        "relay, half of the peak, p99",
        "audited relays a second",
    ):
        figure = found[name]
        assert figure["value"] > 0
        assert figure["floor"] > 0
        assert abs(figure["ratio"] - figure["value"] / figure["floor"]) < 0.01
        assert figure["met"] in (True, False)
        assert any(line.startswith(name) for line in table)
