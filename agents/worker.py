"""The worker: claims issues and brings each to an end that is on record.

An issue is closed with a typed outcome and checked evidence, released with a handoff, or, when this
process dies, taken over by the next worker when the lease has run out. Trainings are other
processes: they outlive the worker.
"""

import importlib
import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from arcfusion.agents.assignment import Assignment, Finding
from arcfusion.agents.ending import Ending
from arcfusion.agents.evidence import evidence_checks
from arcfusion.agents.guard import Guard
from arcfusion.agents.handoff import write_lab_handoff
from arcfusion.agents.roles import ROLES, role_of
from arcfusion.agents.session import SessionLog
from arcfusion.agents.workspace import Workspace
from arcfusion.core import store
from arcfusion.core.errors import (
    ArcFusionError,
    BadInputError,
    LostGuardError,
    NotFoundError,
    RefusedError,
)
from arcfusion.core.home import Home
from arcfusion.core.ids import short_id

if TYPE_CHECKING:
    from arcfusion.core.sandbox.strength import Tier
    from arcfusion.issues.config import QueueConfig
    from arcfusion.issues.draft import Offer
    from arcfusion.issues.handoff import Handoff
    from arcfusion.issues.queue import Queue
    from arcfusion.issues.record import Claim


_LIBRARIES = ("torch", "arcfusion.agents.tables", "arcfusion.experiments.experiment")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker works.

    Attributes:
        actor: its name.
        labels: it claims only issues that have all of them.
        max_issues: it stops after so many; None goes on until nothing is ready.
        seed: of dreams and trainings.
        parallel: trainings at the same time.
        tier: the weakest sandbox for generated code.
        queue: the figures of leases and attempts.
        pool: whose GPUs its claims take.
        offer: what it has; it claims only issues that need no more.
    """

    actor: str
    labels: tuple[str, ...]
    max_issues: int | None
    seed: int
    parallel: int
    tier: "Tier"
    queue: "QueueConfig"
    pool: str
    offer: "Offer"


@dataclass(slots=True)
class WorkReport:
    """What the worker did: issue id -> outcome or why it was given back."""

    closed: dict[str, str] = field(default_factory=dict)
    released: dict[str, str] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)


def run_worker(home: Home, settings: WorkerSettings, *, say: Callable[[str], None]) -> WorkReport:
    """Work until enough issues are done or nothing is ready.

    Raises:
        NotFoundError: nothing was ready at the first claim.
        KeyboardInterrupt: after the claim was given back with a handoff and the trainings stopped.
    """
    from arcfusion.issues.queue import Queue

    # Loaded before anything is claimed: an interrupt amid a library's import surfaces as whatever
    # that library makes of it, and the claim would be left to run out.
    for name in _LIBRARIES:
        importlib.import_module(name)
    report = WorkReport()
    checks = evidence_checks(home)
    ending = Ending()
    with (
        # What ends services politely has to give the claim back, as Ctrl-C does.
        ending.listening(),
        Queue(
            home, settings.actor, session=_new_session(), config=settings.queue, checks=checks
        ) as queue,
    ):
        while settings.max_issues is None or _count(report) < settings.max_issues:
            ending.check()
            asked_at = time.monotonic()
            try:
                claim = queue.claim(
                    labels=settings.labels, offer=settings.offer, pool=settings.pool
                )
            except NotFoundError:
                if _count(report):
                    break
                raise
            say(f"{claim.issue_id}: {claim.issue.title}")
            with Guard(home, settings.actor, claim, settings.queue, asked_at=asked_at) as guard:
                _work(home, settings, queue, claim, guard, ending, report, say)
            head = Workspace(home.workspace_path).resolve("HEAD")
            say(f"  handoff: {write_lab_handoff(home, head)}")
    return report


def _new_session() -> str:
    """Name one life of a worker: no two are named alike."""
    return short_id("life", [platform.node(), os.getpid(), time.time_ns()])


def _count(report: WorkReport) -> int:
    return len(report.closed) + len(report.released)


def _work(
    home: Home,
    settings: WorkerSettings,
    queue: "Queue",
    claim: "Claim",
    guard: Guard,
    ending: Ending,
    report: WorkReport,
    say: Callable[[str], None],
) -> None:
    role = role_of(claim.issue.labels)

    def check() -> None:
        ending.check()
        guard.check()

    log = SessionLog(home, issue_id=claim.issue_id, fence=claim.fence, guard=guard.hold)
    assignment = Assignment(
        home=home,
        queue=queue,
        claim=claim,
        actor=settings.actor,
        seed=settings.seed,
        parallel=settings.parallel,
        tier=settings.tier,
        log=log,
        check=check,
        guard=guard.hold,
        say=say,
    )
    try:
        _work_on(assignment, role, report)
    except LostGuardError as error:
        # Nothing more is written for the issue: its next holder reads the database. What is left
        # of the lease is not held by the life that begins here.
        queue.session = _new_session()
        log.end(f"lost: {error}")
        report.released[claim.issue_id] = str(error)
        say(f"  lost: {error}")


def _work_on(assignment: Assignment, role: str, report: WorkReport) -> None:
    """Bring the issue to its end, or give it back.

    Raises:
        LostGuardError: the claim has ended, whenever that was noticed.
    """
    queue, claim, log, say = assignment.queue, assignment.claim, assignment.log, assignment.say
    try:
        log.begin(actor=assignment.actor, role=role)
        log.add("issue", f"{claim.issue.title}\n{claim.issue.description}")
        finding: Finding = importlib.import_module(ROLES[role]).work(assignment)
        _close(assignment, finding)
    except LostGuardError:
        raise
    except (BadInputError, RefusedError) as error:
        # What is asked for can not be done as it is written: a person must say what is meant.
        queue.release(claim.token, _handoff(assignment, str(error)), question=_question(error))
        log.end(f"blocked: {error}")
        report.released[claim.issue_id] = str(error)
        say(f"  waits for a person: {error}")
    except KeyboardInterrupt:
        with suppress(LostGuardError):  # what a lost claim left running is its next holder's
            queue.heartbeat(claim.token)
            _stop_runs(assignment)
            queue.release(claim.token, _handoff(assignment, "interrupted by a person"))
            log.end("interrupted")
        raise
    except ArcFusionError as error:
        queue.fail(claim.token, _handoff(assignment, str(error)), error=str(error))
        log.end(f"failed: {error}")
        raise
    else:
        log.end(f"closed: {finding.outcome}")
        report.closed[claim.issue_id] = str(finding.outcome)
        report.findings[claim.issue_id] = finding
        say(f"  closed as {finding.outcome}: {finding.reason}")


def _question(error: ArcFusionError) -> str:
    return f"It can not be worked on as it is written; what is meant? {error}"[:2000]


def _close(assignment: Assignment, finding: Finding) -> None:
    """Close the issue; every piece of evidence is looked up before it counts."""
    assignment.check()
    assignment.queue.close(
        assignment.claim.token,
        finding.outcome,
        reason=finding.reason,
        evidence=finding.evidence,
    )


def _stop_runs(assignment: Assignment) -> None:
    from arcfusion.experiments.experiment import cancel

    connection = store.connect(assignment.home)
    try:
        rows = connection.execute(
            "SELECT id FROM run WHERE issue_id = ? AND state = 'running'",
            (assignment.claim.issue_id,),
        ).fetchall()
    finally:
        connection.close()
    cancel(assignment.home, [row["id"] for row in rows])


def _handoff(assignment: Assignment, result: str) -> "Handoff":
    from arcfusion.issues.handoff import Handoff

    connection = store.connect(assignment.home)
    try:
        rows = connection.execute(
            "SELECT coalesce(outcome, state) AS word, count(*) AS n FROM run WHERE issue_id = ?"
            " GROUP BY 1 ORDER BY 1",
            (assignment.claim.issue_id,),
        ).fetchall()
        plan = connection.execute(
            "SELECT document FROM plan WHERE issue_id = ?", (assignment.claim.issue_id,)
        ).fetchone()
    finally:
        connection.close()
    names = [entry["name"] for entry in json.loads(plan["document"])["entries"]] if plan else []
    runs = ", ".join(f"{row['n']} {row['word']}" for row in rows) or "no runs yet"
    return Handoff(
        tried=f"planned {', '.join(names) or 'nothing yet'}; {runs}",
        result=result,
        next="claim the issue again: the stored plan and the finished runs are used as they are",
        state_ref=f"session {assignment.log.id}",
    )
