"""The tests' own PostgreSQL: what it promises to the tests that break it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest
from postgres import PORT, USER, PostgresCluster, ended

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster() as cluster:
        yield cluster


def connect(cluster: PostgresCluster, database: str) -> psycopg.Connection[tuple[int]]:
    return psycopg.connect(host=str(cluster.folder), port=PORT, user=USER, dbname=database)


def test_a_database_can_be_made_from_another_and_they_are_apart(cluster: PostgresCluster) -> None:
    first = cluster.create_database()
    with connect(cluster, first) as connection:
        connection.execute("CREATE TABLE kept (number int)")
    second = cluster.create_database(first)
    with connect(cluster, second) as connection:
        connection.execute("INSERT INTO kept VALUES (7)")
    with connect(cluster, first) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    with connect(cluster, second) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


def test_a_crash_breaks_connections_and_keeps_what_was_committed(cluster: PostgresCluster) -> None:
    name = cluster.create_database()
    with connect(cluster, name) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    connection = connect(cluster, name)
    connection.execute("INSERT INTO kept VALUES (8)")
    cluster.kill()
    assert not cluster.running
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    connection.close()
    cluster.start()
    with connect(cluster, name) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(7,)]


def test_a_frozen_one_holds_its_connections_and_goes_on_afterwards(
    cluster: PostgresCluster,
) -> None:
    name = cluster.create_database()
    with connect(cluster, name) as connection:
        backend = psutil.Process(connection.info.backend_pid)
        with cluster.frozen():
            assert backend.status() == psutil.STATUS_STOPPED
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_nothing_is_left_of_one_whose_process_was_killed_while_it_was_frozen() -> None:
    program = (
        "import time; from postgres import PostgresCluster; cluster = PostgresCluster(fsync=False); cluster.freeze();"
        "print(cluster.folder, *(p.pid for p in cluster._frozen), cluster._keeper.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(FOLDER)},
    ) as process:
        assert process.stdout is not None
        folder, *pids = process.stdout.readline().split()
        processes = [psutil.Process(int(pid)) for pid in pids]
        assert len(processes) > 2
        process.send_signal(signal.SIGKILL)
        assert process.stdout.read() == ""  # waits for the keeper, which has it open too
    assert all(map(ended, processes[:-1]))
    assert not Path(folder).exists()
