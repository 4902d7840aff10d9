"""The lock core on MicroPython: the vectors, and a whole day of a lock, byte for byte."""

import json
import os
import subprocess
import sys
from pathlib import Path

import bsld_replay
import pytest
from boards.desk import SETUP_CODE, Board, PowerCutError
from bsld_home import GUEST, NOW, Client, Home
from bsld_tape import TapedBoard
from ilp import NonceSource, Operation, Option, Result, Right, Weekday, requests

ROOT = Path(__file__).resolve().parents[2]
# Without it these tests fail: a lock that was not run there was not tested
MICROPYTHON = Path(sys.executable).with_name("micropython")


def micropython(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    paths = (ROOT / "tests/vectors", ROOT / "tests/unit", ROOT / "firmware", ".frozen")
    return subprocess.run(
        [MICROPYTHON, program, *map(str, arguments)],
        env={**os.environ, "MICROPYPATH": ":".join(map(str, paths))},
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=120,
    )


def test_the_vectors_hold_on_micropython() -> None:
    program = ROOT / "tests/vectors/lock_vectors.py"
    done = micropython(program, ROOT / "tests/vectors/ilp1.json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["passed"] == sum(report["parts"].values()) > 90
    assert len(report["parts"]) == 12


def test_a_wrong_vector_is_noticed_there(tmp_path: Path) -> None:
    vectors = (ROOT / "tests/vectors/ilp1.json").read_text("utf-8")
    path = tmp_path / "wrong.json"
    path.write_text(vectors.replace("b624589ad1e4", "b624589ad1e5"), "utf-8")
    done = micropython(ROOT / "tests/vectors/lock_vectors.py", path)
    assert done.returncode == 1
    assert "shared" in done.stdout


def morning(home: Home) -> None:
    """Paired and furnished."""
    session = home.controller()
    now = home.gateway.time()
    session.ask(requests.set_time(now, 120), requests.set_next_utc_offset(now + 40_000, 60))
    session.ask(requests.set_option(Option.AUTO_LOCK_SECONDS, 30), requests.identify())
    session.ask(requests.get_option(Option.AUTO_LOCK_SECONDS), requests.get_advertisement_key())


def forenoon(home: Home) -> None:
    """Comings and goings, some refused."""
    board = home.board
    cleaner = home.grant(
        GUEST | Right.FOLLOW_STATE, 255, requests.set_weekly_hours(0, Weekday(1), 480, 1019)
    )
    postman = home.grant(GUEST | Right.OPEN, 1, requests.set_validity(1, NOW - 60, NOW + 86400))
    home.controller().ask(requests.set_pin(0, "135790"), requests.set_pin(1, "2468"))
    client = Client(board, mtu=23, listening=False)
    session = home.phone(cleaner, NonceSource.ADVERTISED, client)
    client.send(
        session.message(
            requests.authenticate(cleaner.account_id), requests.operate(Operation.UNLOCK)
        )
    )
    board.pass_time(1)
    board.arrive()
    client.listen()
    assert [reply.result for reply in session.take()] == [Result.DONE, Result.ACCEPTED]
    client.leave()
    board.lock.door_sensed(True)
    board.pass_time(20)
    board.lock.door_sensed(False)
    board.pass_time(31)
    board.sense(5)  # auto-lock jams, and succeeds the second time
    board.pass_time(6)
    board.arrive()
    assert home.try_operation(postman, Operation.OPEN) is Result.ACCEPTED
    board.sense(2)
    board.sense(6)
    board.sense(2)
    assert home.try_operation(postman, Operation.OPEN) is Result.DISABLED
    board.pass_time(60)
    board.arrive()
    intruder = Client(board)
    intruder.send(b"\x12\x00\x00" + bytes(32))
    intruder.send(b"\x01" + bytes(32))
    board.lock.written(intruder.conn, b"\x05junk")
    board.pass_time(11)


def turn_for_ever(board: Board) -> None:
    while True:
        board.sense(3 - board.bolt)


def afternoon(home: Home) -> None:
    """Somebody guesses PINs; the power fails in between."""
    board = home.board
    for guess in range(6):
        board.lock.pin_entered(f"000{guess}")
    board.pass_time(61)
    assert board.lock.pin_entered("135790") == Result.ACCEPTED
    board.arrive()
    board.lock.tamper_sensed(True)
    board.lock.tamper_sensed(False)
    board.lock.battery_measured(12, True)
    board.clock.has_rtc = True
    board.flash.cut_after = 30
    with pytest.raises(PowerCutError):
        turn_for_ever(board)
    home.restart(seconds=300)
    for _turn in range(70):
        board.sense(3 - board.bolt)
    board.pass_time(7200)


def evening(home: Home) -> None:
    """Reading the log, sending somebody away, giving the lock to the next owner."""
    home.gateway = Client(home.board)
    session = home.controller()
    after = 0
    while records := session.ask(requests.get_log(after))[0].records:
        after = int.from_bytes(records[-1].value[3:6])
    session.ask(requests.read_account(0), requests.read_account(5))
    [written] = session.ask(requests.write_account(home.new_id()))
    assert written.response.value[1] == 2
    account = home.lock.accounts.get(0)
    assert account is not None
    session.ask(requests.remove_account(account.account_id), requests.account_digest_request())
    home.board.pass_time(40_000)
    home.lock.inner_button_held(10)
    home.board.pass_time(3)
    home.lock_key = Client(home.board).exchange_keys(SETUP_CODE)
    home.gateway = Client(home.board)
    assert home.controller().results(requests.factory_reset()) == [Result.DONE]
    home.restart()
    home.lock.button_pressed()
    home.board.arrive()


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The day as CPython saw it."""
    board = TapedBoard()
    board.clock.unix = NOW
    board.boot()
    home = Home(board, Client(board).exchange_keys())
    for part in (morning, forenoon, afternoon, evening):
        part(home)
    path = tmp_path_factory.mktemp("day") / "day.jsonl"
    board.save(path)
    return path


def test_a_day_can_be_played_again(day: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bsld_replay.main(str(day)) == 0
    assert json.loads(capsys.readouterr().out)["steps"] > 250


def test_a_day_on_micropython_is_the_same_day_byte_for_byte(day: Path) -> None:
    done = micropython(ROOT / "tests/unit/bsld_replay.py", day)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["steps"] == len(day.read_text("utf-8").splitlines())


def test_a_day_that_went_otherwise_is_noticed(day: Path, tmp_path: Path) -> None:
    lines = day.read_text("utf-8").splitlines()
    number = next(n for n, line in enumerate(lines) if '"pin_entered"' in line)
    lines[number] = lines[number].replace('"0000"', '"0009"').replace('"pin_entered"', '"poll"')
    path = tmp_path / "other.jsonl"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    done = micropython(ROOT / "tests/unit/bsld_replay.py", path)
    assert done.returncode == 1, done.stdout + done.stderr
