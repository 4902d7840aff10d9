"""`python -m bench.ras`: how fast and how large the remote access server is, beside the floors of the same machine.

The server is `python -m igrs_ras serve` in a process of its own; the load, homes' gateways and clients, is another. The
floors come from the same run: a bare aiohttp echo server, bare transactions of sqlite3 and psycopg on the same disk,
Argon2id alone. A relay's floor is two echoes and two commits of 32 rows: the way to the lock and back, and the two
times at which it has to be on the disk. Limits that guard against abuse are raised by settings.

Times are the machine's. What can be compared anywhere are the ratios.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from bench import ras_floors
from bench.home import print_table
from bench.ras_parts import (
    QUICK,
    Figure,
    Floors,
    Scale,
    accounts,
    at_rest,
    idle,
    relay_figures,
    relays,
    storm,
)
from bench.ras_world import make, make_certificate
from simulator.demo.progress import say
from tests.server.postgres import PostgresCluster

PARTS = ("start", "relays", "accounts", "storm", "idle")
_PACKAGES = ("aiohttp", "uvloop", "SQLAlchemy", "psycopg", "msgspec", "cryptography")

type Database = Callable[[], str]


@contextlib.contextmanager
def _databases(kind: str) -> Iterator[Database]:
    """Give the addresses of new, empty databases; an empty address is SQLite in the data folder."""
    if kind == "sqlite":
        yield lambda: ""
        return
    with PostgresCluster() as cluster:
        yield lambda: cluster.url(cluster.create_database())


def _floors(kind: str, folder: Path, new: Database, scale: Scale) -> Floors:
    """Half of what is wanted: once before the relays, once after, since a shared machine has its moods."""
    folder.mkdir()
    echo, echoes = ras_floors.echo(scale.rounds // 2, scale.seconds / 4)
    bare: ras_floors.Floor = (
        ras_floors.Sqlite(folder / "floor.sqlite3")
        if kind == "sqlite"
        else ras_floors.Postgres(new())
    )
    ras_floors.prepare(bare)
    ras_floors.commits(bare, scale.rounds // 10, 1, "warming")
    half = scale.rounds // 2
    return Floors(
        echo,
        echoes,
        ras_floors.commits(bare, half, 1, "single"),
        ras_floors.commits(bare, half // 2, ras_floors.GROUP, "grouped"),
        ras_floors.relays(bare, scale.seconds / 8, ras_floors.GROUP),
        ras_floors.relays(bare, scale.seconds / 8, 1),
    )


def _measure(kind: str, parts: tuple[str, ...], scale: Scale, *, sockets: bool) -> list[Figure]:
    """Measure on one database; `sockets`: also what does not depend on it."""
    found: list[Figure] = []
    with (
        tempfile.TemporaryDirectory(prefix="igrs-ras-bench-") as name,
        _databases(kind) as new,
    ):
        folder = Path(name)
        if "start" in parts:
            say(f"{kind}: start")
            found += at_rest(make(folder / "empty", new()), "empty", scale)
            audit = make(folder / "audit", new(), homes=scale.homes, audit=scale.audit)
            with audit.server():
                time.sleep(1.5)  # signs what is unsigned; later starts find it signed
            found += at_rest(audit, f"{scale.audit} audit entries", scale)
        world = make(
            folder / "homes",
            new(),
            homes=max(scale.sockets, scale.homes),
            owners=scale.accounts,
        )
        if "relays" in parts:
            say(f"{kind}: relays")
            floors = _floors(kind, folder / "before", new, scale)
            relayed = relays(world, scale)
            floors += _floors(kind, folder / "after", new, scale)
            found += [*floors.figures(), *relay_figures(relayed, floors, kind)]
        if "accounts" in parts:
            say(f"{kind}: accounts")
            found += accounts(world, scale)
        if "storm" in parts:
            say(f"{kind}: storm")
            found += storm(world, scale)
        if "idle" in parts and sockets:
            say(f"{kind}: idle sockets")
            found += idle(world, scale, make_certificate(folder))
    return found


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30), 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


class _Used:
    """Processor time of this machine from now on."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._all, self._own = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        every, own = psutil.cpu_times(), os.times()
        return sum(every) - every.idle - every.iowait - every.guest, sum(own[:4])

    def by_others(self) -> float:
        """How many cores others had in the mean, since neither this process nor an ended child of it did."""
        every, own = self._now()
        busy = every - self._all - (own - self._own)
        return round(max(busy, 0.0) / (time.perf_counter() - self._began), 2)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _row(figure: Figure) -> list[str]:
    aim = ""
    if figure.aim is not None:
        sign = "≥" if figure.at_least else "≤"
        aim = f"{sign} {_number(figure.aim)}{' times' if figure.of_ratio else ''}"
    met = {True: "yes", False: "NO", None: ""}[figure.met]
    return [
        figure.name,
        f"{_number(figure.value)} {figure.unit}".strip(),
        _number(figure.floor),
        _number(figure.ratio),
        aim,
        met,
    ]


def main() -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.ras", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--quick", action="store_true", help="a look, in seconds")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seconds", type=float, help="of load in each relay part")
    parser.add_argument("--json", action="store_true", help="no table, the last line only")
    arguments = parser.parse_args()
    scale = QUICK if arguments.quick else Scale()
    if arguments.seconds:
        scale = replace(scale, seconds=arguments.seconds)
    kinds = ["sqlite", "postgresql"] if arguments.database == "both" else [arguments.database]
    machine, used = _machine(), _Used()
    results = {
        kind: _measure(kind, tuple(arguments.parts), scale, sockets=kind == kinds[0])
        for kind in kinds
    }
    machine["busy_with_others"] = used.by_others()
    if not arguments.json:
        for kind, figures in results.items():
            print(f"\n{kind}\n")
            print_table(
                ["figure", "measured", "floor", "ratio", "aim", "met"],
                [_row(figure) for figure in figures],
            )
            print()
            for figure in figures:
                if figure.note:
                    print(f"{figure.name}: {figure.note}")
        print("\n" + ", ".join(f"{name} {value}" for name, value in machine.items()))
    print(
        json.dumps(
            {
                "bench": "ras",
                "machine": machine,
                "results": {
                    kind: [
                        {
                            "name": figure.name,
                            "value": round(figure.value, 4),
                            "unit": figure.unit,
                            "floor": figure.floor and round(figure.floor, 4),
                            "ratio": figure.ratio and round(figure.ratio, 3),
                            "aim": figure.aim,
                            "met": figure.met,
                            "note": figure.note,
                        }
                        for figure in figures
                    ]
                    for kind, figures in results.items()
                },
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
