"""This fails when damage to the queue goes unseen, or when looking at it changes a byte."""

import hashlib
import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from arcfusion.agents.cli import app as cli
from arcfusion.core import lab_file, store
from arcfusion.core.home import Home
from arcfusion.issues.draft import Draft, Edge
from arcfusion.issues.examination import Finding, State, examine
from arcfusion.issues.queue import Queue
from arcfusion.issues.states import EdgeType, IssueType, Outcome

pytestmark = pytest.mark.sqlite

# name -> (statements, the check that finds it, a word of what it says)
DAMAGE: dict[str, tuple[list[str], str, str]] = {
    "counter too high": (
        ["UPDATE issue SET blocked_by = 1 WHERE id = 'a-free'"],
        "blockers",
        "a-free has blocked_by 1, its edges give 0",
    ),
    "counter too low": (
        ["UPDATE issue SET blocked_by = 0 WHERE id = 'a-waiting'"],
        "blockers",
        "a-waiting",
    ),
    "lease of nobody": (
        [
            "INSERT INTO lease SELECT 'a-none', fence, attempt_id, holder, session, duration_s,"
            " granted_at, heartbeat_at, expires_at, gpus, gpu_memory_bytes, pool FROM lease"
        ],
        "leases",
        "a lease of a-none, and no such issue",
    ),
    "lease of an open issue": (
        ["UPDATE issue SET status = 'open' WHERE id = 'a-held'"],
        "leases",
        "a-held is open and has a lease",
    ),
    "in progress without a lease": (["DELETE FROM lease"], "leases", "nobody holds a lease"),
    "fence of an older claim": (
        ["UPDATE lease SET fence = 0"],
        "leases",
        "a-held has fence 1, its lease 0",
    ),
    "attempt without a claim": (
        ["UPDATE issue SET attempts = 0 WHERE id = 'a-held'"],
        "attempts",
        "a-held counts 0 claims and has 1 attempts",
    ),
    "attempt that never ended": (
        ["UPDATE attempt SET outcome = 'closed', ended_at = 1 WHERE issue_id = 'a-held'"],
        "attempts",
        "a-held@1",
    ),
    "gap in the events": (["DELETE FROM event WHERE seq = 3"], "events", "after event 2 comes 4"),
    "first event gone": (["DELETE FROM event WHERE seq = 1"], "events", "after event 0 comes 2"),
    "dangling edge": (
        ["UPDATE dependency SET depends_on_id = 'a-none' WHERE issue_id = 'a-waiting'"],
        "edges",
        "a-waiting depends on a-none, and there is no issue a-none",
    ),
    "edge of nobody": (
        ["UPDATE dependency SET issue_id = 'a-none' WHERE issue_id = 'a-waiting'"],
        "integrity",
        "dependency",
    ),
    "circle": (
        [
            "INSERT INTO dependency SELECT depends_on_id, issue_id, type, gate, created_at,"
            " created_by FROM dependency"
        ],
        "circles",
        "a-waiting",
    ),
    "status of no known kind": (
        ["UPDATE issue SET status = 'lost' WHERE id = 'a-free'"],
        "fields",
        "a-free is lost",
    ),
    "rule of the table broken": (
        ["PRAGMA ignore_check_constraints=ON", "UPDATE issue SET priority = 9"],
        "fields",
        "priority 9",
    ),
}
SEEN_BY_REPLAY = {
    "title changed behind the log": "UPDATE issue SET title = 'other' WHERE id = 'a-free'",
    "label out of nowhere": "INSERT INTO label VALUES ('a-free', 'new')",
    "event that is not JSON": "UPDATE event SET after = '{' WHERE seq = 2",
    "event of no known type": "UPDATE event SET type = 'imagined' WHERE seq = 2",
}
WARNINGS = {
    "expired leases": "UPDATE lease SET expires_at = 1",
    "quarantined": "UPDATE issue SET status = 'quarantined' WHERE id = 'a-free'",
    "finished epics": "UPDATE issue SET type = 'epic' WHERE id = 'a-epic'",
}


@pytest.fixture
def full_lab(lab: Home) -> Home:
    with Queue(lab, "alice") as queue:
        queue.create(Draft(title="free", id="a-free", priority=4))
        queue.create(Draft(title="held", id="a-held", priority=0))
        waits = (Edge(EdgeType.BLOCKS, "a-free"),)
        queue.create(Draft(title="waiting", id="a-waiting", edges=waits))
        queue.create(Draft(title="story", id="a-epic", type=IssueType.STORY))
        part = (Edge(EdgeType.PARENT_CHILD, "a-epic"),)
        queue.create(Draft(title="part", id="a-part", edges=part))
        queue.close("a-part", Outcome.WONTDO, reason="no")
        queue.claim("a-held")
    return lab


def damage(home: Home, *statements: str) -> None:
    with closing(sqlite3.connect(home.db_path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def look(home: Home, *, deep: bool = False) -> list[Finding]:
    with closing(lab_file.open_to_read(home.db_path)) as connection:
        return list(examine(connection, deep=deep))


def run(capsys: pytest.CaptureFixture[str], monkeypatch, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["arcfusion", "issue", "doctor", *arguments])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    out, err = capsys.readouterr()
    return int(leaving.value.code or 0), out, err


def test_a_whole_queue_passes_every_check(full_lab: Home) -> None:
    findings = look(full_lab, deep=True)
    assert {finding.state for finding in findings} == {State.OK}
    assert len(findings) >= 11


@pytest.mark.parametrize("name", DAMAGE)
def test_each_damage_is_found_and_told_what_to_do(name: str, full_lab: Home) -> None:
    statements, check, words = DAMAGE[name]
    damage(full_lab, *statements)
    found = {finding.check: finding for finding in look(full_lab)}
    assert found[check].state is State.WRONG
    assert words in found[check].detail
    assert found[check].advice


@pytest.mark.parametrize("name", SEEN_BY_REPLAY)
def test_what_only_the_log_can_tell_is_found_by_the_deep_look(name: str, full_lab: Home) -> None:
    damage(full_lab, SEEN_BY_REPLAY[name])
    assert {finding.state for finding in look(full_lab)} == {State.OK}
    assert [f.check for f in look(full_lab, deep=True) if f.state is State.WRONG] == ["replay"]


@pytest.mark.parametrize("check", WARNINGS)
def test_what_is_not_wrong_is_said_and_leaves_exit_0(
    check: str, full_lab: Home, monkeypatch, capsys
) -> None:
    damage(full_lab, WARNINGS[check])
    code, out, err = run(capsys, monkeypatch, "--json")
    assert (code, err) == (0, "")
    states = {finding["check"]: finding["state"] for finding in json.loads(out)["data"]}
    assert states[check] == "warning"


def test_looking_changes_no_byte_and_leaves_the_lock_to_others(
    full_lab: Home, monkeypatch, capsys
) -> None:
    damage(full_lab, "UPDATE lease SET expires_at = 1", "UPDATE issue SET blocked_by = 3")
    before = hashlib.sha256(full_lab.db_path.read_bytes()).hexdigest()
    with store.writer_lock(full_lab):
        code, out, err = run(capsys, monkeypatch, "--deep", "--json")
    assert code == 5
    assert hashlib.sha256(full_lab.db_path.read_bytes()).hexdigest() == before
    error = json.loads(err)
    assert (error["code"], error["retryable"]) == ("queue_damaged", False)
    states = {finding["check"]: finding["state"] for finding in json.loads(out)["data"]}
    assert states["blockers"] == states["replay"] == "wrong"
    assert states["file system"] == "ok"


def overwrite_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-20_480, 2)
        file.write(b"\xff" * 8192)


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


FILES: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "garbage": (lambda path: path.write_bytes(b"no database " * 4096), 2, "foreign_database"),
    "empty": (lambda path: path.write_bytes(b""), 2, "foreign_database"),
    "another application": (
        lambda path: path.write_bytes(path.read_bytes().replace(b"ARCF", b"XXXX", 1)),
        2,
        "foreign_database",
    ),
    "cut": (cut, 5, "queue_damaged"),
    "page overwritten": (overwrite_page, 5, "queue_damaged"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_broken_gets_its_exit_code_and_no_traceback(
    name: str, full_lab: Home, monkeypatch, capsys
) -> None:
    with closing(store.connect(full_lab)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for ending in ("-wal", "-shm"):
        full_lab.db_path.with_name("lab.db" + ending).unlink(missing_ok=True)
    spoil, expected, error_code = FILES[name]
    spoil(full_lab.db_path)
    before = full_lab.db_path.read_bytes()
    code, _, err = run(capsys, monkeypatch, "--deep", "--json")
    assert code == expected, err
    assert json.loads(err)["code"] == error_code
    assert full_lab.db_path.read_bytes() == before


def test_no_database_is_bad_input(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.delenv("ARCFUSION_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, monkeypatch, "--json")
    assert (code, out, json.loads(err)["code"]) == (2, "", "home_not_found")


def test_a_network_file_system_is_wrong(full_lab: Home, monkeypatch, capsys) -> None:
    monkeypatch.setattr("arcfusion.core.filesystem.find_kind", lambda *_: "nfs4")
    code, out, err = run(capsys, monkeypatch)
    assert code == 5
    assert "nfs4" in out
    assert "nfs4" in err
