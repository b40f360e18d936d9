"""This fails when a migration loses something, or leaves a lab between two schemas."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from arcfusion.core import lab_file, store
from arcfusion.core.errors import ForeignDatabaseError
from arcfusion.core.home import Home, new_home
from arcfusion.core.upgrade import MigrationRefusedError, upgrade
from arcfusion.issues.draft import Draft
from arcfusion.issues.examination import State, examine, find_event_gaps
from arcfusion.issues.queue import Queue
from arcfusion.issues.states import Outcome

OLD = "0004"
TABLES = ("issue", "lease", "attempt", "event")
ISSUE = (
    "INSERT INTO issue (id, title, description, design, acceptance, notes, status, priority, type,"
    " size, metadata, needs_gpus, needs_gpu_memory_bytes, needs_skills, not_before, blocked_by,"
    " fence, attempts, losses, failures, max_attempts, evidence, created_at, created_by,"
    " updated_at, revision) VALUES (?, 'title', '', '', '', '', ?, 2, 'task', 'M', '{}', 0, 0,"
    " '[]', 0.0, 0, ?, ?, 0, 0, 3, '[]', 1700000000.125, 'alice', 1700000000.125, 1)"
)
LEASE = (
    "INSERT INTO lease (issue_id, fence, attempt_id, holder, duration_s, granted_at, heartbeat_at,"
    " expires_at, gpus, gpu_memory_bytes) VALUES ('a-1', 1, 'a-1@1', 'bob', 60, 1, 1, 9e9, 0, 0)"
)
ATTEMPT = (
    "INSERT INTO attempt (id, issue_id, number, fence, actor, host, pid, started_at)"
    " VALUES ('a-1@1', 'a-1', 1, 1, 'bob', 'here', 7, 1.0)"
)
EVENT = (
    "INSERT INTO event (seq, issue_id, type, actor, before, after, created_at)"
    " VALUES (?, ?, 'created', 'alice', '{}', '{}', 1.0)"
)


@pytest.fixture
def old_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("ARCFUSION_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    home = new_home(tmp_path)
    make_old(home)
    return home


def make_old(home: Home) -> None:
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        migrate = store.migrate
        patch.setattr(store, "migrate", lambda home: migrate(home, OLD))
        store.create(home)
    with closing(sqlite3.connect(home.db_path)) as connection:
        connection.execute(ISSUE, ("a-1", "in_progress", 1, 1))
        connection.executemany(ISSUE, [(f"b-{n}", "open", 0, 0) for n in range(500)])
        connection.execute(ATTEMPT)
        connection.execute(LEASE)
        connection.executemany(EVENT, [(n, f"b-{n}") for n in range(1, 501)])
        connection.commit()


def read_rows(path: Path) -> dict[str, list[dict[str, object]]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return {
            table: [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1")]
            for table in TABLES
        }


def read_version(path: Path) -> str:
    with closing(lab_file.open_to_read(path)) as connection:
        return lab_file.read_version(connection, path)


def test_an_old_lab_is_refused_by_every_read_and_changed_by_none(old_lab: Home) -> None:
    before = old_lab.db_path.read_bytes()
    with pytest.raises(ForeignDatabaseError, match="run `arcfusion upgrade`"):
        store.connect(old_lab)
    with pytest.raises(ForeignDatabaseError, match="run `arcfusion upgrade`"):
        store.create(old_lab)
    assert old_lab.db_path.read_bytes() == before


def test_an_upgrade_keeps_every_row_and_the_lab_as_it_was_beside_it(old_lab: Home) -> None:
    rows = read_rows(old_lab.db_path)
    done = upgrade(old_lab, check=find_event_gaps)
    assert (done.before, done.after) == (OLD, store.SCHEMA_HEAD)
    assert done.backup == old_lab.path / f"lab.db.{OLD}.bak"
    assert read_version(done.backup) == OLD
    assert read_rows(done.backup) == rows
    new = read_rows(old_lab.db_path)
    for table, found in rows.items():
        kept = [{name: row[name] for name in found[0]} for row in new[table]]
        assert kept == found, table
    with Queue(old_lab, "carol") as queue:
        claim = queue.claim()
        queue.close(claim.token, Outcome.WONTDO, reason="the lab works")
        queue.create(Draft(title="new"))
    with closing(lab_file.open_to_read(old_lab.db_path)) as connection:
        wrong = [f for f in examine(connection) if f.state is State.WRONG]
    assert wrong == []


def test_an_upgrade_of_a_new_lab_does_nothing(old_lab: Home) -> None:
    upgrade(old_lab, check=find_event_gaps)
    before = old_lab.db_path.read_bytes()
    done = upgrade(old_lab, check=find_event_gaps)
    assert (done.before, done.after, done.backup) == (store.SCHEMA_HEAD, store.SCHEMA_HEAD, None)
    assert old_lab.db_path.read_bytes() == before


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "install a newer"),
        ("PRAGMA application_id = 7", "not a lab's database"),
        ("DROP TABLE alembic_version", "not a readable database"),
    ],
)
def test_a_newer_or_foreign_database_is_left_alone(
    old_lab: Home, statement: str, words: str
) -> None:
    with closing(sqlite3.connect(old_lab.db_path)) as connection:
        connection.execute(statement)
        connection.commit()
    before = old_lab.db_path.read_bytes()
    with pytest.raises(ForeignDatabaseError, match=words):
        upgrade(old_lab, check=find_event_gaps)
    assert old_lab.db_path.read_bytes() == before
    assert not list(old_lab.path.glob("*.bak"))


def test_tables_that_are_not_whole_after_it_undo_the_migration(old_lab: Home) -> None:
    rows = read_rows(old_lab.db_path)

    def check(connection: sqlite3.Connection) -> list[str]:
        names = [row[1] for row in connection.execute("PRAGMA table_info(issue)")]
        return ["planted"] if "question" in names else []

    with pytest.raises(MigrationRefusedError, match="planted"):
        upgrade(old_lab, check=check)
    assert read_version(old_lab.db_path) == OLD
    assert read_rows(old_lab.db_path) == rows


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from arcfusion.core import lab_file
from arcfusion.core.home import Home
from arcfusion.core.upgrade import upgrade
import alembic.command, sqlalchemy
connect, path = sqlite3.connect, Path(sys.argv[1])

def run(limit):
    left = limit
    def trace(_):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    def traced(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.set_trace_callback(trace)
        return connection
    def opened(self, *arguments, **options):
        begin(self, *arguments, **options)
        self.set_trace_callback(trace)
    sqlite3.connect = traced
    begin, lab_file.LabConnection.__init__ = lab_file.LabConnection.__init__, opened
    upgrade(Home(path), check=lambda _: [])

for limit in map(int, sys.argv[2:]):
    child = os.fork()
    if child == 0:
        run(limit)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    connection = connect(path / "lab.db")
    version = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    names = {row[1] for row in connection.execute("PRAGMA table_info(issue)")}
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    whole = connection.execute("PRAGMA integrity_check").fetchone()[0]
    counts = "SELECT (SELECT count(*) FROM issue), (SELECT count(*) FROM event)"
    rows = list(connection.execute(counts).fetchone())
    connection.close()
    import json
    print(json.dumps([limit, os.WIFSIGNALED(status), version, "question" in names,
                      "capacity" in tables, whole, rows]), flush=True)
    if version != "0004":
        break
"""


def test_a_kill_at_any_statement_leaves_the_old_schema_or_the_new_one(old_lab: Home) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(old_lab.path), *map(str, range(1, 200))],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    points = [json.loads(line) for line in done.stdout.splitlines()]
    killed = [point for point in points if point[1]]
    assert len(killed) >= 20, done.stderr
    for limit, _, version, *new, whole, rows in points:
        assert whole == "ok", limit
        assert rows == [501, 500], limit
        assert new == [version != OLD] * 2, limit
    assert points[-1][2] == store.SCHEMA_HEAD  # the loop has gone through to the end
    assert len(list(old_lab.path.glob("lab.db.*.bak"))) == 1
    upgrade(old_lab, check=find_event_gaps)
    assert not list(old_lab.path.glob(".lab.db*.tmp*"))


@pytest.mark.parametrize("left", ["nothing", "the mark alone"])
def test_an_init_that_was_killed_is_gone_on_with(left: str, tmp_path: Path) -> None:
    home = new_home(tmp_path)
    with closing(sqlite3.connect(home.db_path)) as connection:
        if left == "the mark alone":
            connection.execute(f"PRAGMA application_id={lab_file.APPLICATION_ID}")
    home.db_path.touch()
    store.create(home)
    store.connect(home).close()
