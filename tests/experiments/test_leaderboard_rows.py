import json
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from arcfusion.agents.cli import leaderboard as command
from arcfusion.agents.cli.typed import build_app
from arcfusion.experiments import registry
from arcfusion.experiments.compare import KeyMismatchError
from arcfusion.experiments.gates.record import GateResult, Outcome
from arcfusion.experiments.leaderboard import (
    UnknownKeyError,
    assign_tier,
    find_pareto_rows,
    latest_key,
    load_leaderboards,
    load_scored_runs,
    rank_runs,
)


def _board(lab, **options):
    with lab.reader() as connection:
        return load_leaderboards(connection, key=lab.key, **options)[0]


def _invoke(*arguments):
    return CliRunner().invoke(build_app(command.command), list(arguments), catch_exceptions=False)


@pytest.fixture
def measured(lab):
    lab.add_scores("mha", {0: 2.60, 1: 2.62, 2: 2.61}, seconds=4.0)
    lab.add_scores("mamba", {0: 2.30, 1: 2.325, 2: 2.31}, seconds=8.0)
    lab.add_run("lucky", 0, 2.10, seconds=1.0)
    with lab.session() as session:
        registry.set_baseline(session, lab.key, "fp-mha")
    return lab


def test_rows_are_means_over_seeds_with_an_interval_and_the_runs(measured):
    mamba = next(row for row in _board(measured).rows if row.name == "mamba")
    assert mamba.bits_per_byte == pytest.approx(2.31166667)
    assert mamba.low < mamba.bits_per_byte < mamba.high
    assert (mamba.n_seeds, len(mamba.run_ids)) == (3, 3)
    assert mamba.perplexity == pytest.approx(2**mamba.bits_per_byte)
    assert mamba.efficiency == pytest.approx(mamba.perplexity * (8.0 / 300) ** 0.5)
    assert mamba.tokens_per_s == pytest.approx(122_880 / 8)


def test_a_better_verdict_is_needed_for_a_top_tier(measured):
    rows = {row.name: row for row in _board(measured).rows}
    assert (rows["mamba"].verdict, rows["mamba"].tier) == ("better", "A")
    assert rows["mha"].is_baseline
    assert (rows["mha"].verdict, rows["mha"].tier) == (None, "B")
    # By far the best and the fastest, but from one seed.
    assert (rows["lucky"].verdict, rows["lucky"].tier) == ("indistinguishable", "B")


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("bpb", ["lucky", "mamba", "mha"]),
        ("time", ["lucky", "mha", "mamba"]),
        ("efficiency", ["lucky", "mha", "mamba"]),
    ],
)
def test_rows_are_sorted_as_asked(measured, sort, order):
    rows = _board(measured, sort=sort).rows
    assert [row.name for row in rows] == order
    assert [row.rank for row in rows] == [1, 2, 3]


def test_without_a_baseline_there_is_no_verdict_and_no_tier(lab):
    lab.add_scores("mha", {0: 2.6, 1: 2.7})
    (row,) = _board(lab).rows
    assert (row.verdict, row.tier, row.is_baseline) == (None, None, False)


def test_without_a_common_seed_there_is_no_verdict(measured):
    measured.add_scores("other", {7: 1.0, 8: 1.0})
    row = next(row for row in _board(measured).rows if row.name == "other")
    assert (row.verdict, row.difference, row.tier) == (None, None, "B")


@pytest.mark.parametrize("outcome", ["diverged", "killed", "crashed", "leak", "invalid"])
def test_a_failed_run_is_named_and_not_ranked(measured, outcome):
    measured.add_run("broken", 0, 0.5, outcome=outcome, reason="because")
    board = _board(measured)
    assert "broken" not in [row.name for row in board.rows]
    (entry,) = board.unranked
    assert (entry.name, entry.outcome, entry.reason) == ("broken", outcome, "because")


def test_a_model_that_fails_a_gate_is_not_ranked(measured):
    failed = GateResult(
        name="causality", outcome=Outcome.FAIL, figure=1.0, unit="logit", limit=0.0, detail=""
    )
    with measured.session() as session:
        registry.record_gates(session, "fp-lucky", [failed], harness_version="1", now=1.0)
    board = _board(measured)
    assert [row.name for row in board.rows] == ["mamba", "mha"]
    assert [(u.name, u.reason) for u in board.unranked] == [("lucky", "gate causality failed")]


def test_runs_of_two_keys_are_never_ranked_together(measured):
    other = measured.protocol.resolve(measured.protocol.data_sha256, device_class="cuda:A100")
    measured.add_scores("mha", {0: 1.0, 1: 1.0}, protocol=other)
    with measured.reader() as connection:
        boards = load_leaderboards(connection)
        runs = [
            run for key in (measured.key, other.key()) for run in load_scored_runs(connection, key)
        ]
        assert latest_key(connection) == other.key()
    assert [board.key for board in boards] == [measured.key, other.key()]
    assert {row.n_seeds for row in boards[1].rows} == {2}
    with pytest.raises(KeyMismatchError, match="choose one key"):
        rank_runs(runs, None)


def test_an_unknown_key_lists_the_known_ones(measured):
    with measured.reader() as connection, pytest.raises(UnknownKeyError, match=measured.key):
        load_leaderboards(connection, key="key-none")


@pytest.mark.parametrize(
    ("perplexity", "seconds", "verdict", "tier"),
    [
        (0.89, 0.49, "better", "S"),
        (0.89, 0.50, "better", "A"),
        (0.90, 0.49, "better", "A"),
        (0.95, 0.49, "better", "B"),
        (0.50, 0.10, "indistinguishable", "B"),
        (1.05, 0.49, "worse", "C"),
        (1.05, 0.50, "worse", "D"),
        (1.05, None, "worse", "D"),
        (None, 0.10, "better", None),
    ],
)
def test_tiers_have_these_borders(perplexity, seconds, verdict, tier):
    assert assign_tier(perplexity, seconds, verdict) == tier


def test_the_pareto_rows_are_those_that_nothing_beats_in_score_and_time(measured):
    measured.add_run("slow", 0, 2.7, seconds=9.0)
    assert [row.name for row in find_pareto_rows(_board(measured).rows)] == ["lucky"]


def test_the_command_prints_one_table_a_key(measured):
    other = measured.protocol.resolve(measured.protocol.data_sha256, device_class="cuda:A100")
    measured.add_scores("mha", {0: 1.0, 1: 1.0}, protocol=other)
    text = _invoke().stdout
    first, second = text.split("\n\n")
    assert first.startswith(measured.key)
    assert second.startswith(other.key())
    assert "mamba" in first
    assert "mamba" not in second
    assert max(map(len, text.splitlines()[1:5])) <= 100


def test_the_command_prints_json(measured):
    (board,) = json.loads(_invoke("--json", "--sort", "time").stdout)["data"]["leaderboards"]
    assert board["key"] == measured.key
    assert board["baseline"] == "mha"
    assert [row["name"] for row in board["rows"]] == ["lucky", "mha", "mamba"]


def test_a_weak_sandbox_and_a_failed_run_are_noted_under_the_table(measured):
    measured.add_run("risky", 0, 2.9, sandbox_tier="weak")
    measured.add_run("broken", 0, None, outcome="diverged", reason="loss is NaN")
    text = _invoke().stdout
    assert "trained in a weak sandbox: risky" in text
    assert "not ranked: broken, diverged (loss is NaN), 1 run(s)" in text


def test_an_empty_lab_has_an_empty_leaderboard(lab):
    del lab
    assert "no completed run yet" in _invoke().stdout
    assert json.loads(_invoke("--json").stdout)["data"] == {"leaderboards": []}


def test_the_command_loads_nothing_heavy_and_starts_fast(measured):
    script = (
        "import sys; from arcfusion.agents.cli import leaderboard; leaderboard.command()\n"
        "heavy = {'torch', 'numpy', 'scipy', 'sqlmodel', 'sqlalchemy', 'alembic', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-I", "-c", script],
            capture_output=True,
            text=True,
            check=True,
            cwd=measured.home.workspace_path,
        )
        best = min(best, time.perf_counter() - start)
        assert done.stderr.strip() == "[]"
        assert "mamba" in done.stdout
    # The bar is 0.35 s on an idle machine and is measured by the bench; here others use the cores.
    assert best < 1.5
