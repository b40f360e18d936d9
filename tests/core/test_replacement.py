"""This fails when a file that is replaced can be lost, cut, or overwritten without leave."""

import os
import signal
import time
from pathlib import Path

import pytest

from arcfusion.core.replacement import remove_abandoned, replace_file


def write_slowly(path: Path, started) -> None:
    with replace_file(path) as temporary, temporary.open("w") as file:
        file.write("half")
        file.flush()
        started.set()
        time.sleep(60)


def test_a_kill_leaves_the_old_file_and_the_next_writer_removes_the_rest(
    tmp_path: Path, spawn
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    started = spawn.Event()
    writer = spawn.Process(target=write_slowly, args=(path, started))
    writer.start()
    assert started.wait(30)
    left = tmp_path / f".a.txt.{writer.pid}.tmp"
    assert left.is_file()
    assert remove_abandoned(path) == []  # it is alive
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    (tmp_path / f".a.txt.{writer.pid}.tmp-journal").touch()
    assert path.read_text() == "old"
    with replace_file(path) as temporary:
        temporary.write_text("new")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.txt"]
    assert path.read_text() == "new"


def write_and_fail(path: Path) -> None:
    with replace_file(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError


def test_a_block_that_raises_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write_and_fail(tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []


def write_too_late(path: Path) -> None:
    with replace_file(path, overwrite=False) as temporary:
        temporary.write_text("mine")
        path.write_text("theirs")


def test_a_file_that_came_in_between_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(FileExistsError):
        write_too_late(path)
    assert path.read_text() == "theirs"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_files_of_other_names_are_nobodys_rest(tmp_path: Path) -> None:
    others = [".a.txt.x.tmp", ".a.txt.tmp", ".b.txt.999999999.tmp", "a.txt.999999999.tmp"]
    for name in others:
        (tmp_path / name).touch()
    assert remove_abandoned(tmp_path / "a.txt") == []
