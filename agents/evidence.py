"""Whether evidence is there: runs and metrics in the lab's database, commits in its repository."""

import math
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from arcfusion.core import store
from arcfusion.core.home import Home

if TYPE_CHECKING:
    from arcfusion.issues.evidence import Check, Evidence, EvidenceKind

# A figure is typed or printed with fewer digits than it is stored with.
METRIC_TOLERANCE = 1e-4


def evidence_checks(home: Home) -> "Mapping[EvidenceKind, Check]":
    """Return the checks that `Queue(..., checks=...)` takes."""
    from arcfusion.issues.evidence import EvidenceKind

    return {
        EvidenceKind.RUN: partial(_check_run, home),
        EvidenceKind.METRIC: partial(_check_metric, home),
        EvidenceKind.COMMIT: partial(_check_commit, home),
    }


def _check_run(home: Home, item: "Evidence") -> str | None:
    with closing(store.connect(home)) as connection:
        row = connection.execute(
            "SELECT state, outcome FROM run WHERE id = ?", (item.value,)
        ).fetchone()
    if row is None:
        return "there is no such run"
    return None if row["state"] == "done" else f"the run is {row['state']}, it has not ended"


def _check_metric(home: Home, item: "Evidence") -> str | None:
    run_id, _, name = item.value.rpartition("/")
    with closing(store.connect(home)) as connection:
        row = connection.execute(
            "SELECT value FROM metric WHERE run_id = ? AND name = ?", (run_id, name)
        ).fetchone()
    if row is None:
        return f"run {run_id!r} has no metric {name!r}"
    assert item.number is not None
    if not math.isclose(row["value"], item.number, rel_tol=METRIC_TOLERANCE):
        return f"the run measured {row['value']!r}"
    return None


def _check_commit(home: Home, item: "Evidence") -> str | None:
    from arcfusion.agents.workspace import Workspace

    workspace = Workspace(home.workspace_path)
    if not workspace.is_repository() or workspace.resolve(item.value) is None:
        return f"there is no such commit in {str(home.workspace_path)!r}"
    return None
