"""This fails when a backup is not of one moment, is not whole, or is written over something."""

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from arcfusion.core import backup, lab_file, store
from arcfusion.core.errors import ForeignDatabaseError
from arcfusion.core.home import Home, new_home
from arcfusion.issues.draft import Draft
from arcfusion.issues.examination import State, examine, find_event_gaps
from arcfusion.issues.queue import Queue
from arcfusion.issues.replay import verify
from arcfusion.issues.states import Outcome
from arcfusion.issues.view import View

pytestmark = pytest.mark.sqlite
WRITERS = 8


def write_until_told(home: Home, name: str, stop, wrote) -> None:
    with Queue(home, name) as queue:
        while not stop.is_set():
            queue.create(Draft(title=f"by {name}"))
            claim = queue.claim()
            queue.close(claim.token, Outcome.WONTDO, reason="written")
            wrote.release()


def test_a_backup_amid_eight_writers_is_of_one_moment(lab: Home, tmp_path: Path, spawn) -> None:
    stop, wrote = spawn.Event(), spawn.Semaphore(0)
    writers = [
        spawn.Process(target=write_until_told, args=(lab, f"w{number}", stop, wrote))
        for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    try:
        for _ in range(2 * WRITERS):
            assert wrote.acquire(timeout=60)
        copies = [tmp_path / f"copy{number}.db" for number in range(3)]
        for copy in copies:
            backup.back_up(lab, copy, check=find_event_gaps)
            assert wrote.acquire(timeout=60)  # nobody is kept waiting for the end
    finally:
        stop.set()
        for writer in writers:
            writer.join(30)
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    sizes = [count_events(copy) for copy in copies]
    assert 0 < sizes[0] <= sizes[1] <= sizes[2]
    for number, copy in enumerate(copies):
        home = restore_to(tmp_path / f"restored{number}", copy)
        with View(home) as view:
            assert verify(view).differences == ()


def count_events(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM event").fetchone()[0])


def restore_to(workspace: Path, copy: Path) -> Home:
    home = new_home(workspace)
    with closing(backup.open_backup(copy)) as source:
        backup.restore(home, source, check=find_event_gaps)
    return home


def test_a_backup_is_one_file_and_a_restored_lab_works(queue: Queue, tmp_path: Path) -> None:
    kept = queue.create(Draft(title="kept"))
    copy = tmp_path / "folder" / "copy.db"
    copy.parent.mkdir()
    backup.back_up(queue.home, copy, check=find_event_gaps)
    queue.create(Draft(title="later"))
    assert [path.name for path in copy.parent.iterdir()] == ["copy.db"]
    home = restore_to(tmp_path / "other", copy)
    with Queue(home, "bob") as restored:
        assert [issue.id for issue in restored.list()] == [kept.id]
        restored.claim(kept.id)
    with closing(store.connect(home)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_nothing_is_overwritten_without_leave(queue: Queue, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_text("mine")
    with pytest.raises(backup.BackupExistsError, match="--force"):
        backup.back_up(queue.home, copy, check=find_event_gaps)
    assert copy.read_text() == "mine"
    backup.back_up(queue.home, copy, check=find_event_gaps, overwrite=True)
    assert count_events(copy) == 0
    with pytest.raises(backup.BackupExistsError, match="own database"):
        backup.back_up(queue.home, queue.home.db_path, check=find_event_gaps, overwrite=True)
    (tmp_path / "new.db-wal").write_text("left of another one")
    with pytest.raises(backup.BackupExistsError, match="wal"):
        backup.back_up(queue.home, tmp_path / "new.db", check=find_event_gaps)


def test_a_backup_that_is_not_whole_gets_no_name(queue: Queue, tmp_path: Path) -> None:
    for number in range(3):
        queue.create(Draft(title=str(number)))
    with closing(sqlite3.connect(queue.home.db_path)) as connection:
        connection.execute("DELETE FROM event WHERE seq = 2")
        connection.commit()
    with pytest.raises(backup.BackupBrokenError, match="after event 1 comes 3"):
        backup.back_up(queue.home, tmp_path / "copy.db", check=find_event_gaps)
    assert not list(tmp_path.glob("*copy.db*"))
    assert not list(tmp_path.glob(".copy.db*"))


def test_a_restore_takes_no_place_that_is_taken(queue: Queue, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    backup.back_up(queue.home, copy, check=find_event_gaps)
    with closing(backup.open_backup(copy)) as source:
        with pytest.raises(backup.HomeOccupiedError, match="is there"):
            backup.restore(queue.home, source, check=find_event_gaps)
        home = new_home(tmp_path / "crashed")
        home.db_path.with_name("lab.db-wal").write_text("of the lab that was here")
        with pytest.raises(backup.HomeOccupiedError, match="move it away"):
            backup.restore(home, source, check=find_event_gaps)
    assert not home.db_path.exists()


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000])
def test_what_is_no_backup_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "copy.db"
    path.write_bytes(content)
    with pytest.raises(ForeignDatabaseError):
        backup.open_backup(path)
    with pytest.raises(backup.BackupUnreadableError, match="no file"):
        backup.open_backup(tmp_path / "none.db")


def test_a_backup_of_a_newer_version_is_refused(queue: Queue, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    backup.back_up(queue.home, copy, check=find_event_gaps)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(backup.BackupUnreadableError, match="newer ArcFusion"):
        backup.open_backup(copy)


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_damaged_backup_is_refused(damage: str, queue: Queue, tmp_path: Path) -> None:
    for number in range(50):
        queue.create(Draft(title=str(number)))
    copy = tmp_path / "copy.db"
    backup.back_up(queue.home, copy, check=find_event_gaps)
    with copy.open("r+b") as file:
        if damage == "cut":
            file.truncate(copy.stat().st_size - 40_960)
        else:
            file.seek(copy.stat().st_size - 20_480)
            file.write(b"\xff" * 4096)
    with pytest.raises((backup.BackupBrokenError, ForeignDatabaseError)):
        restore_to(tmp_path / "other", copy)
    assert [path.name for path in tmp_path.glob("other/**/*lab.db*")] == []


def copy_and_stop(home: Home, path: Path, started) -> None:
    def check(_connection: sqlite3.Connection) -> list[str]:
        started.set()
        os.kill(os.getpid(), signal.SIGSTOP)
        return []

    backup.back_up(home, path, check=check)


def test_a_killed_backup_leaves_no_name_and_the_next_one_tidies_up(
    queue: Queue, tmp_path: Path, spawn
) -> None:
    copy = tmp_path / "copy.db"
    started = spawn.Event()
    writer = spawn.Process(target=copy_and_stop, args=(queue.home, copy, started))
    writer.start()
    assert started.wait(60)
    writer.kill()
    writer.join()
    assert not copy.exists()
    assert list(tmp_path.glob(".copy.db.*.tmp"))
    queue.create(Draft(title="the lab goes on"))
    backup.back_up(queue.home, copy, check=find_event_gaps)
    assert not list(tmp_path.glob(".copy.db.*"))
    with closing(lab_file.open_to_read(copy)) as connection:
        assert {finding.state for finding in examine(connection)} == {State.OK}


def test_a_server_has_tools_of_its_own(lab: Home, tmp_path: Path) -> None:
    home = Home(lab.path, "postgresql+psycopg://user:secret@host/lab")
    with pytest.raises(backup.ServerDatabaseError, match="pg_dump") as refused:
        backup.back_up(home, tmp_path / "copy.db", check=find_event_gaps)
    assert "secret" not in str(refused.value)
