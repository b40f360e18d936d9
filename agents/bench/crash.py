"""kill -9 of the worker at random moments of the demo: nothing lost, nothing done twice."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from arcfusion.agents.bench.record import Row, at_least, at_most
from arcfusion.agents.demo import BACKLOG, make_lab, summarise
from arcfusion.core.home import Home

KILLS = 20
KILLS_A_LAB = 5
QUICK_PLAN = BACKLOG.with_name("one.yaml")
# Short leases, so that a dead worker's claim is soon free; and no quarantine, in which three lost
# claims of one issue are meant to end.
LEASE_S, HEARTBEAT_S, MAX_ATTEMPTS = 3.0, 0.5, 100
MAX_WORKERS = 40  # of one lab: more than that means that the demo does not come to its end


@dataclass(slots=True)
class Tally:
    """What was seen over all labs."""

    kills: int = 0
    labs: int = 0
    unfinished: int = 0
    differing: int = 0
    trained_again: int = 0
    damaged: int = 0


def measure(quick: bool) -> Iterator[Row]:
    """Kill workers, let the next ones finish, and compare with a demo that nobody disturbed."""
    wanted, per_lab = (1, 1) if quick else (KILLS, KILLS_A_LAB)
    plan = QUICK_PLAN if quick else BACKLOG
    generator = random.Random(5)  # noqa: S311  # moments of a test, no secret
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="arcfusion-bench-") as name:
        root = Path(name)
        started = time.monotonic()
        expected = _work_to_the_end(_make_lab(root / "quiet", plan), [], Tally())
        duration_s = time.monotonic() - started
        while tally.kills < wanted:
            n_kills = min(per_lab, wanted - tally.kills)
            # Anywhere in the time that the undisturbed demo took; kept as gaps between kills.
            at = sorted(generator.uniform(0.5, duration_s) for _ in range(n_kills))
            moments = [later - earlier for earlier, later in pairwise([0.0, *at])]
            home = _make_lab(root / f"lab{tally.labs}", plan)
            found = _work_to_the_end(home, moments, tally)
            _examine(home, found, expected, tally)
    detail = f"{tally.kills} kills in {tally.labs} labs, demo {duration_s:.0f} s, seed 5"
    yield at_least("kill -9 of the worker", tally.kills, wanted, "kills", detail)
    yield at_most("labs in which an issue was lost", tally.unfinished, 0, "labs", detail)
    yield at_most("labs whose scores or verdicts differ", tally.differing, 0, "labs", detail)
    yield at_most("runs trained twice", tally.trained_again, 0, "runs", detail)
    yield at_most("databases that fail integrity_check", tally.damaged, 0, "databases", detail)


def _make_lab(directory: Path, plan: Path) -> Home:
    from arcfusion.issues.config import QueueConfig

    return make_lab(
        directory, actor="bench", plan=plan, config=QueueConfig(max_attempts=MAX_ATTEMPTS)
    )


def _work_to_the_end(home: Home, moments: Sequence[float], tally: Tally) -> dict[str, Any] | None:
    """Work on the lab with one worker after the other and return its summary.

    Args:
        home: the lab.
        moments: seconds of work until each kill, counted from the kill before it; whatever is left
            when a worker has done its issue goes over to the next worker.
        tally: counts the kills.
    """
    wanted = _count(home, "open")
    waiting = list(moments)
    for _ in range(MAX_WORKERS):
        if _count(home, "closed") >= wanted:
            return summarise(home)
        worker, started = _start_worker(home), time.monotonic()
        if not waiting:
            worker.wait()
            continue
        try:
            worker.wait(timeout=waiting[0])
            waiting[0] -= time.monotonic() - started
        except subprocess.TimeoutExpired:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            tally.kills += 1
            waiting.pop(0)
            time.sleep(LEASE_S)  # until the claim of the dead can be taken over
    return None


def _start_worker(home: Home) -> "subprocess.Popen[bytes]":
    executable = Path(sys.executable).with_name("arcfusion")
    environment = {
        **os.environ,
        "ARCFUSION_HOME": str(home.path),
        "ARCFUSION_LEASE_S": str(LEASE_S),
        "ARCFUSION_HEARTBEAT_S": str(HEARTBEAT_S),
        "ARCFUSION_MAX_ATTEMPTS": str(MAX_ATTEMPTS),
    }
    return subprocess.Popen(
        [str(executable), "agent", "run", "--role", "worker", "--once", "--actor", "bench"],
        env=environment,
        cwd=home.workspace_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _query(home: Home, sql: str, *values: str) -> str | int:
    connection = sqlite3.connect(home.db_path)
    try:
        value: str | int = connection.execute(sql, values).fetchone()[0]
    finally:
        connection.close()
    return value


def _count(home: Home, status: str) -> int:
    """Return how many of the plan's own agent-safe issues have the status."""
    count = _query(
        home,
        "SELECT count(*) FROM issue i JOIN label l ON l.issue_id = i.id AND l.name = 'agent-safe'"
        " WHERE i.status = ? AND i.priority = 1",
        status,
    )
    return int(count)


def _examine(
    home: Home, found: dict[str, Any] | None, expected: dict[str, Any] | None, tally: Tally
) -> None:
    tally.labs += 1
    tally.unfinished += found is None
    tally.differing += found != expected
    tally.damaged += _query(home, "PRAGMA integrity_check") != "ok"
    for directory in home.runs_path.iterdir():
        result = json.loads((directory / "result.json").read_text())
        tally.trained_again += result["attempts"] != 1
