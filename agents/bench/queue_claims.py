"""Many processes claim from one lab: nothing twice, nothing lost, nothing "locked".

What was claimed is read from each worker's own log, written through to the disk after each
acknowledged call, and from the table of attempts; the two have to agree.
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from arcfusion.agents.bench.queue_crew import WORKER, Crew, Load, describe, fill, temporary_lab
from arcfusion.agents.bench.record import Row, at_least, at_most
from arcfusion.core import store
from arcfusion.core.errors import ExitCode
from arcfusion.core.home import Home
from arcfusion.issues.replay import verify
from arcfusion.issues.states import Status
from arcfusion.issues.view import View

WORKERS, ISSUES, SEEDS = 64, 2_000, 5
LOSERS, SHOTS = 8, 10  # of the command line
ARCFUSION = Path(sys.executable).with_name("arcfusion")
BUSY = ("DatabaseBusyError", "OperationalError", "DatabaseUnreachableError")


@dataclass(slots=True)
class Tally:
    """What was seen over all races."""

    issues: int = 0
    claims: int = 0
    claimed_twice: int = 0
    attempts_twice: int = 0
    lost: int = 0
    off: int = 0
    damaged: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def busy(self) -> int:
        """How often a caller heard that the database is locked."""
        return sum(n for name, n in self.refused.items() if name.split()[1] in BUSY)

    @property
    def unexpected(self) -> int:
        """How many refusals were none of the two that a claim by id may get.

        Those are: claimed by another (exit 13); and closed, of an issue that was closed at once.
        """
        allowed = {
            f"late AlreadyClaimedError {int(ExitCode.LOST_GUARD)}",
            f"early AlreadyClaimedError {int(ExitCode.LOST_GUARD)}",
            f"early IssueClosedError {int(ExitCode.BAD_INPUT)}",
        }
        return sum(n for name, n in self.refused.items() if name not in allowed) - self.busy


def measure(quick: bool) -> Iterator[Row]:
    """Race for issues with several seeds, then over the command line."""
    n_workers, n_issues, n_seeds = (6, 60, 1) if quick else (WORKERS, ISSUES, SEEDS)
    tally, load = Tally(), Load()
    for seed in range(n_seeds):
        with temporary_lab() as home:
            race(home, tally, n_workers=n_workers, n_issues=n_issues, seed=seed)
        load.sample()
    detail = f"{n_workers} processes x {n_issues} issues x {n_seeds} seeds; claims " + describe(
        tally.seconds, "acknowledged", load
    )
    lost_races = sum(n for name, n in tally.refused.items() if "AlreadyClaimed" in name)
    yield at_most("issues claimed twice, workers' logs", tally.claimed_twice, 0, "issues", detail)
    yield at_most(
        "issues claimed twice, table of attempts", tally.attempts_twice, 0, "issues", detail
    )
    yield at_most("issues not claimed and closed exactly once", tally.lost, 0, "issues", detail)
    yield at_most("'database is locked' surfaced", tally.busy, 0, "calls", detail)
    yield at_least("lost claims by id, exit 13", lost_races, 1, "claims", detail)
    yield at_most(
        "refusals of another kind", tally.unexpected, 0, "calls", f"{dict(tally.refused)}; {detail}"
    )
    yield at_most("attempts beside acknowledged claims", tally.off, 0, "attempts", detail)
    yield at_most("labs damaged, or not what their log says", tally.damaged, 0, "labs", detail)
    yield _race_commands(*((3, 1) if quick else (LOSERS, SHOTS)), load)


def race(
    home: Home,
    tally: Tally,
    *,
    n_workers: int,
    n_issues: int,
    seed: int,
    program: Sequence[str] = WORKER,
) -> None:
    """Let the workers claim and close all issues of the empty lab, and add up what they did."""
    ids = fill(home, n_issues)
    (home.path / "ids").write_text("\n".join(ids))
    (home.path / "early").write_text("\n".join(ids[::2]))
    logs = [home.path / f"log{number}" for number in range(n_workers)]
    settings = [
        {
            "seed": seed * n_workers + number,
            "ids": str(home.path / "ids"),
            "early": str(home.path / "early"),
            "log": str(log),
        }
        for number, log in enumerate(logs)
    ]
    with Crew(home, "race", settings, program=program) as crew:
        crew.hear()
        crew.ask(do="claim")
        for report in crew.ask(do="close"):
            tally.refused.update(report["refused"])
            tally.seconds += report["seconds"]
    _examine(home, ids, logs, tally)


def _examine(home: Home, ids: Sequence[str], logs: Sequence[Path], tally: Tally) -> None:
    """Compare the logs with each other, with the issues and with the table of attempts."""
    lines = [line.split() for log in logs for line in log.read_text().splitlines()]
    claims = Counter(issue for verb, issue, _ in lines if verb == "claim")
    closes = Counter(issue for verb, issue, _ in lines if verb == "close")
    with closing(store.connect(home)) as connection:
        attempts = {
            row["issue_id"]: row["n"]
            for row in connection.execute(
                "SELECT issue_id, count(*) AS n FROM attempt GROUP BY issue_id"
            )
        }
        if home.database is None:
            (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
            tally.damaged += verdict != "ok"
    with View(home) as view:
        closed = {issue.id for issue in view.list(statuses=[Status.CLOSED])}
        differences = verify(view).differences
    tally.issues += len(ids)
    tally.claims += claims.total()
    tally.claimed_twice += sum(n > 1 for n in claims.values())
    tally.attempts_twice += sum(n > 1 for n in attempts.values())
    tally.lost += sum(
        (claims[issue], closes[issue], issue in closed) != (1, 1, True) for issue in ids
    )
    tally.off += abs(sum(attempts.values()) - claims.total())
    tally.damaged += bool(differences)


def _race_commands(n_processes: int, n_shots: int, load: Load) -> Row:
    """Start `arcfusion issue claim ID` several times at once: one wins, the others exit 13."""
    wrong: list[list[int]] = []
    with temporary_lab() as home:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ARCFUSION_")}
        environment["ARCFUSION_HOME"] = str(home.path)
        for issue_id in fill(home, n_shots):
            racers = [
                subprocess.Popen(
                    [str(ARCFUSION), "issue", "claim", issue_id, "--actor", f"racer{number}"],
                    env=environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                for number in range(n_processes)
            ]
            codes = sorted(racer.wait() for racer in racers)
            if codes != [ExitCode.DONE, *[ExitCode.LOST_GUARD] * (n_processes - 1)]:
                wrong.append(codes)
    return at_most(
        "`arcfusion issue claim ID` races without one 0 and else 13",
        len(wrong),
        0,
        "races",
        f"n={n_shots} races of {n_processes} processes, wrong {wrong}, {load}",
    )
