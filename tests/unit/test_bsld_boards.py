"""The boards: files as flash on CPython, and the microcontroller port run with stand-ins."""

import os
from typing import TYPE_CHECKING

import pytest
from boards.desk import Board
from boards.files import FileStorage
from bsld_home import Client, Home
from ilp import Result
from test_bsld_micropython import ROOT, micropython

if TYPE_CHECKING:
    from pathlib import Path


def test_the_microcontroller_port_does_its_work_with_stand_ins_for_the_chip() -> None:
    program = ROOT / "tests/unit/bsld_on_board.py"
    done = micropython(program)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) == program.read_text("utf-8").count("\ndef check_") > 7


@pytest.mark.parametrize("sync", [True, False])
def test_files_are_what_the_core_asks_for(tmp_path: Path, sync: bool) -> None:
    storage = FileStorage(str(tmp_path), sync)
    assert storage.read("a") is None
    storage.append("a", b"one")
    storage.append("a", b" two")
    storage.write("b", b"three")
    assert sorted(storage.names()) == ["a", "b"]
    storage.rename("a", "b")
    assert storage.read("b") == b"one two"
    storage.write("b", b"short")
    assert storage.read("b") == b"short"
    storage.remove("b")
    storage.remove("b")
    assert storage.names() == []


def test_what_is_stored_is_on_the_medium_before_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(number: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{number}"))  # noqa: PTH115 - a name, not a path

    monkeypatch.setattr(os, "fsync", fsync)
    storage = FileStorage(str(tmp_path))
    storage.append("a", b"one")
    storage.rename("a", "b")
    storage.remove("b")
    assert synced == [str(tmp_path / "a"), *[str(tmp_path)] * 3]


def test_errors_of_the_file_system_are_not_swallowed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    storage = FileStorage(str(tmp_path))
    with pytest.raises(IsADirectoryError):
        storage.read("folder")
    with pytest.raises(OSError, match="folder"):
        storage.remove("folder")
    with pytest.raises(FileNotFoundError):
        FileStorage(str(tmp_path / "nowhere")).append("a", b"x")


def test_a_lock_lives_in_a_folder(tmp_path: Path) -> None:
    board = Board()
    board.flash = FileStorage(str(tmp_path), False)  # type: ignore[assignment]  # of another kind
    board.boot()
    home = Home(board, Client(board).exchange_keys())
    person = home.grant()
    board.boot()
    home.gateway = Client(board)
    assert home.read(person.slot) is Result.DONE
    assert home.try_operation(person) is Result.ACCEPTED
