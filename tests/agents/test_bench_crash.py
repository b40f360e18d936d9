"""This fails when the crash proof passes over a lost issue, a changed score or a second run."""

import json

import pytest

from arcfusion.agents.bench.crash import Tally, _examine, _work_to_the_end
from arcfusion.core.home import Home
from arcfusion.issues.draft import Draft
from arcfusion.issues.queue import Queue
from arcfusion.issues.states import Outcome

FOUND = {"runs": [{"score": 1.0}]}


def add_run(home: Home, attempts: int) -> None:
    directory = home.runs_path / f"run-{attempts}"
    directory.mkdir()
    (directory / "result.json").write_text(json.dumps({"attempts": attempts}))


@pytest.mark.parametrize(
    ("found", "attempts", "spotted"),
    [
        (FOUND, 1, None),
        (None, 1, "unfinished"),
        ({"runs": [{"score": 2.0}]}, 1, "differing"),
        (FOUND, 2, "trained_again"),
    ],
)
def test_each_planted_fault_is_counted(
    home: Home, found: dict | None, attempts: int, spotted: str | None
) -> None:
    add_run(home, attempts)
    tally = Tally()
    _examine(home, found, FOUND, tally)
    faults = {
        name: getattr(tally, name)
        for name in ("unfinished", "differing", "trained_again", "damaged")
    }
    if spotted is None:
        assert set(faults.values()) == {0}
    else:
        assert faults[spotted] == 1


def test_a_lab_whose_issues_are_closed_needs_no_worker(home: Home) -> None:
    with Queue(home, "person") as queue:
        issue = queue.create(Draft(title="q", priority=1, labels=("agent-safe",)))
        queue.close(issue.id, Outcome.WONTDO, reason="no")
    assert _work_to_the_end(home, [], Tally()) == {
        "runs": [], "comparisons": [], "insights": [], "hypotheses": [], "branches": [],
    }  # fmt: skip
