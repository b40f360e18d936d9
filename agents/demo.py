"""The demo: a fresh lab with the project's own backlog, one worker, three issues."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from arcfusion.agents.worker import WorkerSettings, WorkReport, run_worker
from arcfusion.agents.workspace import Author, Workspace
from arcfusion.core import store
from arcfusion.core.errors import BadInputError
from arcfusion.core.home import Home, new_home

if TYPE_CHECKING:
    from arcfusion.issues.config import QueueConfig

N_ISSUES = 3
BACKLOG = Path(__file__).resolve().parents[1] / "experiments" / "plans" / "backlog.yaml"


class DirectoryNotEmptyError(BadInputError):
    """The demo makes a fresh lab: name an empty directory, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demo leaves behind."""

    home: Home
    report: WorkReport
    seconds: float


def make_lab(
    directory: Path,
    *,
    actor: str,
    plan: Path = BACKLOG,
    config: "QueueConfig | None" = None,
) -> Home:
    """Make a git repository with a lab in it, the library seeded and the plan filed.

    Raises:
        PlanError: the plan is not one.
        DirectoryNotEmptyError: something is there already.
        HomeUnwritableError: the directory can not be written.
    """
    from arcfusion.agents.fingerprint import fingerprint
    from arcfusion.core.composer.batch import identify_spec
    from arcfusion.core.library.seeds import seed_library
    from arcfusion.issues.plan import file_plan, load_plan
    from arcfusion.issues.queue import Queue

    if directory.exists() and any(directory.iterdir()):
        raise DirectoryNotEmptyError(f"{str(directory)!r} is not empty: name a new directory")
    document = load_plan(plan)
    home = new_home(directory)
    Workspace(directory).create(
        {"README.md": "# An ArcFusion lab\n\nAgents add branches `agent/<issue>` for review.\n"},
        message="Begin the lab",
        author=Author(actor),
    )
    store.create(home)
    with store.session(home) as session:
        seed_library(session, now=datetime.now(UTC), identify=identify_spec)
    with Queue(home, actor, config=config) as queue:
        file_plan(queue, document, identify=fingerprint)
    return home


def run_demo(
    directory: Path, settings: WorkerSettings, *, plan: Path, say: Callable[[str], None]
) -> DemoResult:
    """Make the lab and let one worker do three issues.

    Args:
        directory: empty or not there yet.
        settings: of the worker.
        plan: the issues.
        say: tells the person who watches.
    """
    started = time.monotonic()
    home = make_lab(directory, actor=settings.actor, plan=plan, config=settings.queue)
    say(f"a fresh lab in {directory}")
    report = run_worker(home, settings, say=say)
    return DemoResult(home=home, report=report, seconds=time.monotonic() - started)


def summarise(home: Home) -> dict[str, object]:
    """Return what two demos of one seed have to agree on, digit for digit: no times, no paths."""
    connection = store.connect(home)
    try:
        runs = connection.execute(
            "SELECT r.name, r.fingerprint, r.seed, r.outcome, r.weights_sha256, m.value AS score"
            " FROM run r LEFT JOIN metric m ON m.run_id = r.id AND m.name = 'bits_per_byte'"
            " ORDER BY r.name, r.seed, r.id"
        ).fetchall()
        comparisons = connection.execute(
            "SELECT baseline_fingerprint, candidate_fingerprint, mean_difference, low, high,"
            " verdict FROM comparison ORDER BY id"
        ).fetchall()
        insights = connection.execute("SELECT claim, status FROM insight ORDER BY id").fetchall()
        hypotheses = connection.execute(
            "SELECT statement, predicted_low, predicted_high, priority FROM hypothesis ORDER BY id"
        ).fetchall()
        branches = connection.execute("SELECT branch FROM pull_request ORDER BY 1").fetchall()
    finally:
        connection.close()
    return {
        "runs": [dict(row) for row in runs],
        "comparisons": [dict(row) for row in comparisons],
        "insights": [dict(row) for row in insights],
        "hypotheses": [dict(row) for row in hypotheses],
        "branches": [row["branch"] for row in branches],
    }
