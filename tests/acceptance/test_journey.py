"""This fails when an issue does not go from the queue to a branch that a person can review."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARCFUSION = Path(sys.executable).with_name("arcfusion")
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("ARCFUSION_")}


def arcfusion(*arguments: str, cwd: Path, code: int = 0) -> str:
    done = subprocess.run(
        [str(ARCFUSION), *arguments],
        cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout


def git(cwd: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(cwd), *arguments], check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """One demo of the quick plan; every test looks at what it left."""
    directory = tmp_path_factory.mktemp("demo") / "lab"
    plan = ROOT / "experiments" / "plans" / "quick.yaml"
    text = arcfusion(
        "demo", "--json", "--home", str(directory), "--plan", str(plan), cwd=directory.parent
    )
    return directory, json.loads(text)["data"]


def query(directory: Path, sql: str) -> list[tuple]:
    connection = sqlite3.connect(directory / ".arcfusion" / "lab.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_three_issues_are_closed_with_runs_and_a_commit_as_evidence(demo) -> None:
    directory, data = demo
    assert len(data["closed"]) == 3
    for (evidence,) in query(directory, "SELECT evidence FROM issue WHERE status = 'closed'"):
        kinds = [item["kind"] for item in json.loads(evidence)]
        assert kinds.count("commit") == 1
        assert kinds.count("run") >= 4


def test_every_run_was_scored_in_the_sandbox_and_none_twice(demo) -> None:
    directory, data = demo
    assert {run["outcome"] for run in data["runs"]} == {"completed"}
    runs = query(directory, "SELECT fingerprint, seed, sandbox_tier FROM run")
    assert len({run[:2] for run in runs}) == len(runs)
    assert {run[2] for run in runs} == {"good"}
    for path in (directory / ".arcfusion" / "runs").glob("*/result.json"):
        assert json.loads(path.read_text())["attempts"] == 1


def test_each_insight_names_runs_that_exist(demo) -> None:
    directory, data = demo
    assert data["insights"]
    existing = {row[0] for row in query(directory, "SELECT id FROM run")}
    for (run_ids,) in query(directory, "SELECT run_ids FROM insight"):
        assert set(json.loads(run_ids)) <= existing
        assert json.loads(run_ids)


def test_hypotheses_became_issues_that_a_worker_can_claim(demo) -> None:
    directory, data = demo
    assert len(data["hypotheses"]) >= 5
    found = json.loads(arcfusion("issue", "ready", "--json", "-l", "hypothesis", cwd=directory))
    text = json.dumps(found["data"])
    assert "agent-safe" in text
    (edges,) = query(directory, "SELECT count(*) FROM dependency WHERE type = 'discovered-from'")
    assert edges[0] >= 5


def test_the_branch_holds_code_card_evidence_and_text(demo) -> None:
    directory, data = demo
    for branch in data["branches"]:
        files = git(directory, "ls-tree", "-r", "--name-only", branch).split()
        folder = f"lab/{branch.removeprefix('agent/')}"
        assert f"{folder}/PULL_REQUEST.md" in files
        assert f"{folder}/evidence.json" in files
        assert any(re.match(rf"{folder}/models/.*\.py", file) for file in files)
        assert any(re.match(rf"{folder}/cards/.*\.md", file) for file in files)
        evidence = json.loads(git(directory, "show", f"{branch}:{folder}/evidence.json"))
        assert all(run["bits_per_byte"] > 0 for one in evidence for run in one["runs"])
    assert git(directory, "status", "--porcelain").strip() == "?? HANDOFF.md"


def test_the_model_file_of_a_branch_runs_with_torch_alone(demo, tmp_path: Path) -> None:
    directory, data = demo
    branch = data["branches"][0]
    files = git(directory, "ls-tree", "-r", "--name-only", branch).split()
    name = next(file for file in files if file.endswith(".py"))
    (tmp_path / "model.py").write_text(git(directory, "show", f"{branch}:{name}"))
    code = (
        "import sys, torch, model; m = model.build(); ids = torch.zeros(1, 5, dtype=torch.int64);"
        "print(tuple(m(ids).shape), any(n.startswith('arcfusion') for n in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env={**ENVIRONMENT, "PYTHONSAFEPATH": "", "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "(1, 5, 256) False"


def test_the_handoff_names_only_what_exists(demo) -> None:
    directory, _ = demo
    text = (directory / "HANDOFF.md").read_text()
    ids = {row[0] for row in query(directory, "SELECT id FROM issue")}
    runs = {row[0] for row in query(directory, "SELECT id FROM run")}
    assert set(re.findall(r"arcfusion-[0-9a-z]+", text)) <= ids
    assert set(re.findall(r"run-[0-9a-z]+", text)) <= runs
    assert set(re.findall(r"run-[0-9a-z]+", text))


def test_the_days_screen_and_the_listings_show_it(demo) -> None:
    directory, _ = demo
    screen = arcfusion("daily", cwd=directory)
    assert "Pareto" in screen
    assert len(screen.splitlines()) <= 40
    assert all(len(line) <= 100 for line in screen.splitlines())
    for command in (["leaderboard"], ["insights", "list"], ["hypotheses", "list"], ["run", "list"]):
        document = json.loads(arcfusion(*command, "--json", cwd=directory))
        assert document["schema_version"] == 1
        assert document["data"]
    cards = json.loads(arcfusion("summary", "recipe-cards", "--json", cwd=directory))
    assert cards["data"]


def test_training_the_same_model_again_starts_nothing(demo) -> None:
    directory, _ = demo
    before = query(directory, "SELECT count(*) FROM run")
    text = arcfusion(
        "train", "mha", "--protocol", "instant", "--seed", "0", "--json", cwd=directory
    )
    assert json.loads(text)["data"]["outcome"] == "completed"
    assert query(directory, "SELECT count(*) FROM run") == before


def test_a_demo_refuses_a_directory_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    arcfusion("demo", "--home", str(tmp_path), cwd=tmp_path, code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


LEAK = """
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, vocab_size, d_model):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_model)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, ids):
        x = self.embedding(ids)
        return (x + PEEK) @ self.embedding.weight.t()


def build(vocab_size, d_model, n_layers):
    return Model(vocab_size, d_model)
"""


@pytest.mark.parametrize(("peek", "code"), [("0", 0), ("x.mean(1, keepdim=True)", 5)])
def test_a_model_file_from_anywhere_is_judged_by_its_causality(
    peek: str, code: int, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(LEAK.replace("PEEK", peek))
    text = arcfusion("gate", "run", "own.py", "--json", cwd=tmp_path, code=code)
    gates = {gate["name"]: gate["outcome"] for gate in json.loads(text)["data"]["gates"]}
    assert gates["causality"] == ("pass" if code == 0 else "fail")


def test_a_model_file_that_looks_ahead_trains_but_is_not_ranked(demo, tmp_path: Path) -> None:
    directory, _ = demo
    (tmp_path / "leak.py").write_text(LEAK.replace("PEEK", "x.mean(1, keepdim=True)"))
    text = arcfusion(
        "train", str(tmp_path / "leak.py"), "--protocol", "instant", "--json",
        cwd=directory, code=5,
    )  # fmt: skip
    run = json.loads(text)["data"]
    assert run["outcome"] == "leak"
    board = json.loads(arcfusion("leaderboard", "--json", cwd=directory))["data"]
    assert run["fingerprint"] not in json.dumps([one["rows"] for one in board["leaderboards"]])
