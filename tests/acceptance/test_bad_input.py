"""This fails when bad input gets other than one clear line and exit 2, or leaves a trace."""

import hashlib
import sqlite3
import sys
from pathlib import Path

import pytest

from arcfusion.agents.cli import app as cli
from arcfusion.core import store
from arcfusion.core.home import new_home
from arcfusion.issues.draft import Draft
from arcfusion.issues.queue import Queue
from arcfusion.issues.states import Outcome

PROTOCOL = """
name: own
data: {data}
tokenizer: bytes
vocab_size: 256
n_tracks: 4
validation_fraction: 0.1
device_class: cpu
training: {{steps: 2, batch_size: 2, context: 32, lr_peak: 0.001}}
"""


def run(arguments: list[str], monkeypatch, capsys) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["arcfusion", *arguments])
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    out, err = capsys.readouterr()
    return int(leaving.value.code or 0), out, err


def snapshot(directory: Path) -> dict[str, str]:
    """Content of every file but SQLite's shared memory, which readers touch."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.suffix not in {".db-shm", ".db-wal", ".lock"}
    }


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    home = new_home(tmp_path)
    store.create(home)
    with Queue(home, "person") as queue:
        issue = queue.create(Draft(title="ended", id="arcfusion-old"))
        queue.close(issue.id, Outcome.WONTDO, reason="no")
    return tmp_path


def spec(layer: str, rest: str = "") -> str:
    return f"d_model: 64\nlayers: [{layer}] * 2\n{rest}\n"


# name -> (files that are written, command, words that its message has to say)
CASES: dict[str, tuple[dict[str, str], list[str], list[str]]] = {
    "unknown component": (
        {"a.yaml": spec("mambo")},
        ["gate", "run", "a.yaml"],
        ["mambo", "mamba1"],
    ),
    "heads do not divide": (
        {"a.yaml": spec("mha", "options: {mha: {n_heads: 5}}")},
        ["gate", "run", "a.yaml"],
        ["n_heads", "5", "64"],
    ),
    "zero layers": ({"a.yaml": "d_model: 64\nlayers: []\n"}, ["gate", "run", "a.yaml"], ["layers"]),
    "malformed YAML": (
        {"a.yaml": "d_model: 64\nlayers: [mha\nnorm: x\n"},
        ["generate", "a.yaml"],
        ["line"],
    ),
    "unknown target": ({}, ["train", "no-such-preset"], ["no-such-preset", "mamba"]),
    "unknown issue": ({}, ["issue", "show", "arcfusion-zzz"], ["arcfusion-zzz"]),
    "closed issue claimed": ({}, ["issue", "claim", "arcfusion-old"], ["arcfusion-old", "closed"]),
    "no text": (
        {"p.yaml": PROTOCOL.format(data="none.txt")},
        ["train", "mha", "--protocol", "p.yaml"],
        ["none.txt"],
    ),
    "text too short": (
        {"p.yaml": PROTOCOL.format(data="short.txt"), "short.txt": "too short"},
        ["train", "mha", "--protocol", "p.yaml"],
        ["short"],
    ),
    "unknown protocol": ({}, ["train", "mha", "--protocol", "slow"], ["slow", "smoke"]),
    "not a model file": ({"m.py": "x = 1\n"}, ["gate", "run", "m.py"], ["build"]),
    "unknown sandbox": ({}, ["train", "mha", "--sandbox", "off"], ["off", "good"]),
    "unknown strategy": ({}, ["dream", "genius"], ["genius", "mutate"]),
    "same net twice": ({}, ["compare", "mha", "mha"], ["same net"]),
    "unknown option": ({}, ["leaderboard", "--best"], ["--best", "arcfusion leaderboard --help"]),
    "unknown command": ({}, ["leaderbord"], ["leaderbord", "arcfusion --help"]),
    "no number": ({}, ["train", "mha", "--seed", "x"], ["--seed", "integer"]),
    "malformed plan": (
        {"plan.yaml": "plan: p\nissues: [\n"},
        ["issue", "import", "--plan", "plan.yaml"],
        ["line"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gets_one_line_and_exit_2_and_leaves_nothing(
    name: str, lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files, arguments, words = CASES[name]
    for file, text in files.items():
        (lab / file).write_text(text)
    before = snapshot(lab)
    code, out, err = run(arguments, monkeypatch, capsys)
    assert code == 2, err
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    assert all(word in err for word in words), err
    assert snapshot(lab) == before


def test_a_directory_without_a_lab_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(["issue", "ready"], monkeypatch, capsys)
    assert (code, out) == (2, "")
    assert "arcfusion init" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["foreign", "garbage", "older"])
def test_a_foreign_database_is_refused_and_not_touched(
    content: str, lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = lab / ".arcfusion" / "lab.db"
    if content == "older":
        connection = sqlite3.connect(path)
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    else:
        for part in path.parent.glob("lab.db*"):
            part.unlink()
        if content == "garbage":
            path.write_bytes(b"not a database" * 400)
        connection = sqlite3.connect(":memory:" if content == "garbage" else path)
        connection.execute("CREATE TABLE issue (id TEXT)")
    connection.commit()
    connection.close()
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    for arguments in (["issue", "ready"], ["leaderboard"], ["issue", "create", "x"]):
        code, _, err = run(arguments, monkeypatch, capsys)
        assert code == 2, err
        assert len(err.strip().splitlines()) == 1
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_an_unwritable_home_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    monkeypatch.setenv("ARCFUSION_HOME", str(blocked / "lab"))
    code, _, err = run(["init"], monkeypatch, capsys)
    assert code == 2
    assert "can not write" in err
    assert len(err.strip().splitlines()) == 1


def test_an_error_in_json_has_code_message_and_retryable(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    code, out, err = run(["issue", "show", "arcfusion-zzz", "--json"], monkeypatch, capsys)
    document = json.loads(err)
    assert (code, out) == (2, "")
    assert set(document) == {"code", "message", "retryable"}
    assert document["code"] == "issue_unknown"
