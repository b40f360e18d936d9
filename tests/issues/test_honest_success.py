"""This fails when a verb reports success for what was not written, or an error not as JSON."""

import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import typer

from arcfusion.agents.cli import app as cli
from arcfusion.agents.cli import issue as issue_cli
from arcfusion.agents.cli.typed import build_app
from arcfusion.core import errors, lab_file, store
from arcfusion.core.home import Home
from arcfusion.issues.draft import Draft, Edge
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.queue import Queue
from arcfusion.issues.states import EdgeType, Outcome

pytestmark = pytest.mark.sqlite

READING = {
    *("ready", "list", "show", "blocked", "events", "export", "verify", "doctor"),
    *("schedule", "gate", "recall", "memories"),
}
HELD = ("a-held", "--fence", "1", "--actor", "alice")
LOST = ("a-lost", "--fence", "1", "--actor", "alice")
HANDOFF = ("--tried", "a", "--result", "b", "--next", "c")

# verb -> a command line that writes in the lab below.
WRITING: dict[str, tuple[str, ...]] = {
    "create": ("create", "new"),
    "claim": ("claim",),
    "claim by id": ("claim", "a-free"),
    "heartbeat": ("heartbeat", *HELD),
    "checkpoint": ("checkpoint", *HELD, *HANDOFF),
    "release": ("release", *HELD, *HANDOFF),
    "ask": ("ask", *HELD, *HANDOFF, "--question", "which one?"),
    "answer": ("answer", "a-asked", "this one"),
    "fail": ("fail", *HELD, *HANDOFF, "--error", "e"),
    "close": ("close", "a-free", "--outcome", "wontdo", "--reason", "no"),
    "close held": ("close", *HELD, "--outcome", "wontdo", "--reason", "no"),
    "reopen": ("reopen", "a-closed", "--reason", "again"),
    "requeue": ("requeue", "a-quarantined", "--reason", "again"),
    "update": ("update", "a-free", "--priority", "0"),
    "comment": ("comment", "a-free", "text"),
    "note": ("note", "a-free", "text"),
    "import": ("import", "--file", "export.jsonl"),
    "import plan": ("import", "--plan", "plan.yaml"),
    "split": ("split", "a-large", "--into", "one", "--into", "two"),
    "remember": ("remember", "text", "--key", "k"),
    "forget": ("forget", "kept"),
    "capacity": ("capacity", "--pool", "p", "--gpus", "2"),
    "dep add": ("dep", "add", "a-free", "a-large"),
    "dep remove": ("dep", "remove", "a-waiting", "a-free"),
    "label add": ("label", "add", "a-free", "new"),
    "label remove": ("label", "remove", "a-free", "old"),
}
# What can not be done -> the exit code and the error's code.
REFUSED: dict[tuple[str, ...], tuple[int, str]] = {
    ("claim", "a-held", "--actor", "bob"): (13, "already_claimed"),
    ("claim", "a-none"): (2, "issue_unknown"),
    ("claim", "a-closed"): (2, "issue_closed"),
    ("claim", "a-waiting"): (5, "issue_blocked"),
    ("claim", "--label", "nobody-has-it"): (3, "nothing_ready"),
    ("heartbeat", *LOST): (13, "claim_lost"),
    ("checkpoint", *LOST, *HANDOFF): (13, "claim_lost"),
    ("release", *LOST, *HANDOFF): (13, "claim_lost"),
    ("release", *HELD): (2, "handoff_missing"),
    ("ask", *LOST, *HANDOFF, "--question", "which?"): (13, "claim_lost"),
    ("answer", "a-free", "this one"): (2, "transition"),
    ("forget", "nothing"): (3, "memory_unknown"),
    ("capacity", "--pool", "p", "--gpus", "-1"): (2, "field"),
    ("fail", *LOST, *HANDOFF, "--error", "e"): (13, "claim_lost"),
    ("close", *LOST, "--outcome", "wontdo", "--reason", "no"): (13, "claim_lost"),
    ("close", "a-held", "--outcome", "wontdo", "--reason", "no"): (2, "fence_missing"),
    ("close", "a-free", "--outcome", "done"): (5, "evidence_missing"),
    ("close", "a-free", "--outcome", "perfect"): (2, "field"),
    ("close", "a-none", "--outcome", "wontdo", "--reason", "no"): (2, "issue_unknown"),
    ("reopen", "a-free", "--reason", "x"): (2, "transition"),
    ("requeue", "a-free", "--reason", "x"): (2, "transition"),
    ("update", "a-none", "--priority", "1"): (2, "issue_unknown"),
    ("update", "a-free", "--priority", "9"): (2, "bad_input"),
    ("comment", "a-none", "text"): (2, "issue_unknown"),
    ("note", "a-held", "text"): (2, "fence_missing"),
    ("note", "a-none", "text"): (2, "issue_unknown"),
    ("create", "new", "--deps", "a-none"): (2, "dependency_unknown"),
    ("import", "--file", "none.jsonl"): (2, "import_file"),
    ("import", "--plan", "none.yaml"): (2, "plan"),
    ("split", "a-none", "--into", "one", "--into", "two"): (2, "issue_unknown"),
    ("dep", "add", "a-free", "a-none"): (2, "dependency_unknown"),
    ("dep", "add", "a-free", "a-waiting"): (2, "dependency_cycle"),
    ("dep", "remove", "a-free", "a-large"): (2, "dependency_unknown"),
    ("label", "add", "a-none", "x"): (2, "issue_unknown"),
    ("label", "remove", "a-free", "none"): (2, "field"),
    ("recall", "nobody-said-it"): (3, "memory_unknown"),
    ("show", "a-none"): (2, "issue_unknown"),
    ("claim", "--no-such-option"): (2, "bad_usage"),
    ("heartbeat", "a-held", "--fence", "one"): (2, "bad_usage"),
    ("heartbeat", "a-held"): (2, "bad_usage"),
    ("clam",): (2, "bad_usage"),
    ("dep", "ad"): (2, "bad_usage"),
}


@pytest.fixture
def full_lab(lab: Home) -> Home:
    with Queue(lab, "alice") as queue:
        queue.create(Draft(title="held", id="a-held", priority=0))
        queue.create(Draft(title="lost", id="a-lost", priority=4))
        queue.create(Draft(title="free", id="a-free", labels=("old",)))
        queue.create(Draft(title="large", id="a-large"))
        waits = (Edge(EdgeType.BLOCKS, "a-free"),)
        queue.create(Draft(title="waiting", id="a-waiting", edges=waits))
        queue.create(Draft(title="closed", id="a-closed"))
        queue.close("a-closed", Outcome.WONTDO, reason="no")
        queue.create(Draft(title="quarantined", id="a-quarantined", max_attempts=1))
        queue.claim("a-lost")
        queue.claim("a-quarantined")
        queue.create(Draft(title="asked", id="a-asked"))
        handoff = Handoff(tried="a", result="b", next="c")
        queue.release(queue.claim("a-asked"), handoff, question="which?")
        queue.remember("a thing", key="kept")
    with Queue(lab, "bob", clock=lambda: time.time() + 1000) as thief:
        assert thief.sweep() == 2
        thief.claim("a-lost")
    with Queue(lab, "alice") as queue:
        queue.claim("a-held")
    return lab


def run(monkeypatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["arcfusion", "issue", *words, "--json"])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    out, err = capsys.readouterr()
    return int(leaving.value.code or 0), out, err


def picture(home: Home) -> dict[str, list[tuple[object, ...]]]:
    with closing(store.connect(home)) as connection:
        return {
            table: [tuple(row) for row in connection.execute(f"SELECT * FROM {table}")]
            for table in TABLES
        }


TABLES = (
    *("issue", "label", "dependency", "lease", "attempt", "event", "comment", "memory"),
    "capacity",
)


def test_every_verb_that_writes_is_here() -> None:
    tried = {words[0] for words in WRITING.values()}
    assert tried == set(issue_cli.VERBS) - READING
    refused = {words[0] for words in REFUSED}
    assert tried - refused <= {"remember"}


def test_what_is_refused_is_one_json_error_and_writes_nothing(
    full_lab: Home, monkeypatch, capsys
) -> None:
    before = picture(full_lab)
    for words, (expected, name) in REFUSED.items():
        code, out, err = run(monkeypatch, capsys, *words)
        assert out == "", words
        assert len(err.strip().splitlines()) == 1, words
        error = json.loads(err)
        assert (code, error["code"]) == (expected, name), words
        assert set(error) == {"code", "retryable", "message"}, words
        assert error["retryable"] is False, words
        assert picture(full_lab) == before, words


@pytest.fixture
def files(full_lab: Home, tmp_path: Path, monkeypatch, capsys) -> None:
    """What the imports read: an issue that the lab does not have."""
    other = full_lab.workspace_path
    (other / "plan.yaml").write_text("plan: p\nissues:\n  - key: one\n    title: planned\n")
    monkeypatch.setattr(sys, "argv", ["arcfusion", "issue", "export", "export.jsonl"])
    with pytest.raises(SystemExit):
        cli.main()
    lines = (other / "export.jsonl").read_text().splitlines()
    fresh = next(line for line in lines if '"a-large"' in line).replace("a-large", "a-new")
    (other / "export.jsonl").write_text(fresh + "\n")
    capsys.readouterr()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", WRITING)
def test_a_verb_that_writes_says_so_after_it_is_written(
    name: str, full_lab: Home, monkeypatch, capsys
) -> None:
    before = picture(full_lab)
    code, out, err = run(monkeypatch, capsys, *WRITING[name])
    assert code == 0, err
    assert json.loads(out)["data"]
    assert picture(full_lab) != before


def ignore(home: Home, tables: tuple[str, ...]) -> None:
    """Plant the defect: the database takes each write of the tables and does nothing."""
    with closing(store.connect(home)) as connection, store.write(connection):
        for table in tables:
            for verb in ("INSERT", "UPDATE", "DELETE"):
                connection.execute(
                    f"CREATE TRIGGER no_{table}_{verb} BEFORE {verb} ON {table}"
                    " BEGIN SELECT RAISE(IGNORE); END"
                )


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", WRITING)
def test_a_verb_whose_write_was_lost_reports_no_success(
    name: str, full_lab: Home, monkeypatch, capsys
) -> None:
    ignore(full_lab, TABLES)
    before = picture(full_lab)
    code, out, err = run(monkeypatch, capsys, *WRITING[name])
    assert code != 0
    assert out == ""
    assert set(json.loads(err)) == {"code", "retryable", "message"}
    assert picture(full_lab) == before


@pytest.mark.parametrize(("error", "code"), [("DatabaseBusyError", 4), ("DatabaseFullError", 1)])
def test_a_busy_or_full_database_has_its_code(
    error: str, code: int, full_lab: Home, monkeypatch, capsys
) -> None:
    kind = getattr(errors, error)
    monkeypatch.setattr(lab_file.LabConnection, "commit", raiser(kind))
    before = picture(full_lab)
    got, out, err = run(monkeypatch, capsys, "note", "a-free", "text")
    assert (got, out) == (code, "")
    assert json.loads(err)["retryable"] is (code == 4)
    assert picture(full_lab) == before


def raiser(kind: type[Exception]) -> Callable[[object], None]:
    def commit(_connection: object) -> None:
        raise kind

    return commit


def command_paths() -> list[tuple[str, ...]]:
    paths = []

    def walk(command: object, path: tuple[str, ...]) -> None:
        children = getattr(command, "commands", None)
        if children is None:
            paths.append(path)
        for name, child in (children or {}).items():
            walk(child, (*path, name))

    walk(typer.main.get_command(build_app(cli.ROOT)), ())
    return paths


def test_a_wrong_command_line_is_a_json_error_for_every_command(monkeypatch, capsys) -> None:
    paths = command_paths()
    assert len(paths) >= 45
    for path in [*paths, ("no-such-command",), ("issue",), ()]:
        monkeypatch.setattr(sys, "argv", ["arcfusion", *path, "--no-such-option", "--json"])
        with pytest.raises(SystemExit) as leaving:
            cli.main()
        out, err = capsys.readouterr()
        assert (leaving.value.code, out) == (2, ""), path
        error = json.loads(err)
        assert (error["code"], error["retryable"]) == ("bad_usage", False), path
        assert "\n" not in error["message"]


@pytest.mark.parametrize("words", [("issue", "--json"), ("issue", "dep", "--json"), ("--json",)])
def test_a_group_without_a_verb_is_a_json_error(words, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["arcfusion", *words])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    out, err = capsys.readouterr()
    assert (leaving.value.code, out) == (2, "")
    assert json.loads(err)["code"] == "bad_usage"
