"""Random verbs on a fresh lab, the same ones for a seed, and the state that they leave.

The proofs of the queue play a script, disturb it, and compare the state with what each operation
left when nothing disturbed it.
"""

import hashlib
import os
import random
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from arcfusion.core import store
from arcfusion.core.database import Connection
from arcfusion.core.errors import ArcFusionError
from arcfusion.core.home import Home
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import Draft, Edge, Needs, Offer
from arcfusion.issues.evidence import Check, Evidence, EvidenceKind
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.queue import Queue
from arcfusion.issues.record import Claim
from arcfusion.issues.states import EdgeType, Gate, IssueType, Outcome, Size

RAN = Evidence(kind=EvidenceKind.COMMAND, value="make test", exit_status=0)
SCORE = Evidence(kind=EvidenceKind.METRIC, value="run-1/bpb", number=1.25)
TEXTS = ("plain", 'a "quoted"\nsecond line', "caf\u00e9 \u2028 \U0001f40d", "tab\tend")
CHECKS: Mapping[EvidenceKind, Check] = {EvidenceKind.METRIC: lambda _: None}
# What only a part of a write leaves, as counts.
_HALF_WRITES = {
    "issues whose status and lease do not agree": "SELECT count(*) FROM issue i"
    " WHERE (i.status = 'in_progress') <> EXISTS (SELECT 1 FROM lease l WHERE l.issue_id = i.id"
    " AND l.fence = i.fence AND l.holder = i.assignee)",
    "leases and running attempts that do not agree": "SELECT (SELECT count(*) FROM lease) + (SELECT"
    " count(*) FROM attempt WHERE ended_at IS NULL) - 2 * (SELECT count(*) FROM lease l"
    " JOIN attempt a ON a.id = l.attempt_id AND a.fence = l.fence AND a.ended_at IS NULL)",
    "issues with another number of attempts than claims": "SELECT count(*) FROM issue i"
    " WHERE i.attempts <> (SELECT count(*) FROM attempt a WHERE a.issue_id = i.id)",
    "events that are missing": "SELECT coalesce(max(seq), 0) - count(*) FROM event",
}
_PID = re.compile(r'("pid": )\d+')


class Clock(Protocol):
    """Time that a script moves."""

    def __call__(self) -> float:
        """Return seconds since 1970."""

    def pass_s(self, seconds: float) -> None:
        """Let seconds go by."""


@dataclass(slots=True)
class ManualClock:
    """Time that stands still until it is told to move."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        """Return seconds since 1970."""
        return self.now

    def pass_s(self, seconds: float) -> None:
        """Let seconds go by."""
        self.now += seconds


@contextmanager
def in_memory() -> Iterator[Path]:
    """Make a directory for labs that no power cut threatens: there, a sync costs nothing."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  # made by mkdtemp
    with tempfile.TemporaryDirectory(prefix="arcfusion-bench-", dir=memory) as name:
        yield Path(name)


def make_lab(workspace: Path) -> Home:
    """Make a lab without asking the environment where; loads Alembic."""
    home = Home(workspace / ".arcfusion")
    home.path.mkdir(parents=True)
    store.create(home)
    return home


def copy_lab(template: Home, workspace: Path) -> Home:
    """Copy a lab that nobody has open over whatever is in `workspace`."""
    shutil.rmtree(workspace, ignore_errors=True)
    shutil.copytree(template.workspace_path, workspace)
    return Home(workspace / ".arcfusion")


def open_unsynced(
    home: Home,
    actor: str,
    *,
    clock: Callable[[], float] | None = None,
    config: QueueConfig | None = None,
    session: str | None = None,
) -> Queue:
    """Open a queue that does not wait for the disk: for proofs that are not about power cuts."""
    queue = Queue(home, actor, session=session, clock=clock, config=config, checks=CHECKS)
    if home.database is None:
        with queue.snapshot() as connection:
            pass
        connection.execute("PRAGMA synchronous=OFF")
    return queue


def fingerprint(connection: Connection | sqlite3.Connection) -> str:
    """Return a digest of all rows of all tables; the process ids of attempts do not count."""
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        " ORDER BY name"
    ).fetchall()
    hasher = hashlib.sha256()
    for (table,) in names:
        cursor = connection.execute(f"SELECT * FROM {table}")  # noqa: S608  # a name
        columns = [column[0] for column in cursor.description]
        keep = [index for index, column in enumerate(columns) if column != "pid"]
        rows = sorted([repr([row[index] for index in keep]) for row in cursor])
        hasher.update(_PID.sub(r"\1", f"{table} {rows!r}").encode())
    return hasher.hexdigest()


def damage(connection: Connection | sqlite3.Connection) -> list[str]:
    """Return what is wrong with the file or half written in the tables."""
    (found,) = connection.execute("PRAGMA integrity_check").fetchone()
    problems = [] if found == "ok" else [str(found)]
    for problem, sql in _HALF_WRITES.items():
        (count,) = connection.execute(sql).fetchone()
        if count:
            problems.append(f"{problem}: {count}")
    return problems


class Script:
    """Runs operations of several actors on one lab; each is one write at the most.

    Args:
        seed: of what is done; the same seed does the same on the same lab.
        queues: one an actor.
        clock: the queues' own.

    Attributes:
        refusal: why the newest operation was refused, if it was.
    """

    def __init__(self, seed: int, queues: Sequence[Queue], clock: Clock) -> None:
        self.random = random.Random(seed)  # noqa: S311  # a test's order, no secret
        self.queues = queues
        self.clock = clock
        self.ids: list[str] = []
        self.claims: list[tuple[int, Claim]] = []
        self.done: dict[str, int] = {}
        self.refusal: Exception | None = None
        self.operations: Sequence[Callable[[int], None]] = [
            *([self.create] * 6),
            *([self.claim] * 6),
            *([self.add_edge] * 6),
            *([self.end] * 8),
            *([self.write_as_holder] * 4),
            *([self.edit] * 6),
            *([self.close_unclaimed, self.reopen] * 2),
            *([self.answer, self.remember] * 2),
            *(self.requeue, self.remove_edge, self.forget, self.expire),
        ]

    def run(self, count: int) -> None:
        """Try so many operations; those that are refused count too."""
        for _ in range(count):
            self.step()

    def step(self) -> str | None:
        """Try one operation; return its name, or None when it was refused or had no object."""
        self.clock.pass_s(self.random.random() * 3)
        operation = self.random.choice(self.operations)
        try:
            operation(self.random.randrange(len(self.queues)))
        except (ArcFusionError, IndexError) as error:
            self.refusal = error
            return None
        self.refusal = None
        name = operation.__name__
        self.done[name] = self.done.get(name, 0) + 1
        return name

    def issue(self) -> str:
        """Return a random issue's id."""
        return self.random.choice(self.ids)

    def text(self) -> str:
        """Return one of a few texts that are hard to store."""
        return self.random.choice(TEXTS)

    def edge(self) -> Edge:
        """Return a random edge to a random issue."""
        kind = self.random.choice(list(EdgeType))
        gate = self.random.choice([*Gate, None]) if kind is EdgeType.WAITS_FOR else None
        return Edge(kind, self.issue(), gate)

    def handoff(self) -> Handoff:
        """Return a random handoff."""
        return Handoff(tried=self.text(), result="r", next=self.text(), files=("a.py",))

    def create(self, actor: int) -> None:
        """File an issue, every second one with an edge."""
        number = len(self.ids)
        draft = Draft(
            title=f"issue {number} caf\u00e9",
            description=self.text(),
            priority=self.random.randrange(5),
            type=self.random.choice([*IssueType]),
            size=self.random.choice([*Size, Size.S, Size.M]),
            labels=tuple(self.random.sample(["a", "b", "c"], 2)),
            metadata={"n": number, "x": [1.5, None, "\ud800"]} if number % 3 else {},
            needs=Needs(skills=("python",)) if number % 5 == 0 else Needs(),
            edges=(self.edge(),) if self.ids and number % 2 else (),
            idempotency_key=f"key {number}" if number % 4 == 0 else None,
            due_at=self.clock() + 1 / 3 if number % 3 == 0 else None,
        )
        self.ids.append(self.queues[actor].create(draft).id)

    def claim(self, actor: int) -> None:
        """Claim by id or the next one."""
        issue_id = self.issue() if self.random.random() < 0.4 else None
        claim = self.queues[actor].claim(issue_id, offer=Offer(skills=("python",)))
        self.claims.append((actor, claim))

    def end(self, _: int) -> None:
        """End a claim in one of four ways; it may be lost by now."""
        held = self.random.choice(self.claims)
        self.claims.remove(held)
        holder, claim = self.queues[held[0]], held[1]
        match self.random.randrange(4):
            case 0:
                question = self.random.choice([None, self.text()])
                holder.release(claim, self.handoff(), question=question)
            case 1:
                holder.fail(claim, self.handoff(), error=self.text())
            case 2:
                holder.close(claim, Outcome.DONE, reason="", evidence=[RAN, SCORE])
            case _:
                outcome = self.random.choice([Outcome.FAILED, Outcome.NEGATIVE, Outcome.WONTDO])
                holder.close(
                    claim, outcome, reason=self.text(), evidence=[RAN], handoff=self.handoff()
                )

    def write_as_holder(self, _: int) -> None:
        """Beat, checkpoint, note or comment with a claim's fence."""
        actor, claim = self.random.choice(self.claims)
        holder = self.queues[actor]
        match self.random.randrange(4):
            case 0:
                holder.heartbeat(claim)
            case 1:
                holder.checkpoint(claim, self.handoff())
            case 2:
                holder.note(claim.issue_id, self.text(), fence=claim.fence)
            case _:
                holder.comment(claim.issue_id, self.text(), fence=claim.fence)

    def edit(self, actor: int) -> None:
        """Set a field, a label or a comment."""
        queue, issue_id = self.queues[actor], self.issue()
        match self.random.randrange(6):
            case 0:
                queue.update(issue_id, {"title": self.text().split("\n")[0], "priority": 1})
            case 1:
                queue.update(issue_id, {"status": self.random.choice(["open", "deferred"])})
            case 2:
                queue.add_label(issue_id, self.random.choice(["a", "d"]))
            case 3:
                queue.remove_label(issue_id, self.random.choice(["a", "d"]))
            case 4:
                queue.update(issue_id, {"metadata": {"k": self.text()}, "not_before": 5})
            case _:
                queue.comment(issue_id, self.text())

    def add_edge(self, actor: int) -> None:
        """Make an issue depend on another."""
        self.queues[actor].add_dependency(self.issue(), self.edge())

    def remove_edge(self, actor: int) -> None:
        """Delete an edge of an issue."""
        queue, issue_id = self.queues[actor], self.issue()
        edges = queue.show(issue_id).dependencies
        queue.remove_dependency(issue_id, self.random.choice(edges).edge)

    def close_unclaimed(self, actor: int) -> None:
        """Close an issue that nobody holds."""
        self.queues[actor].close(self.issue(), Outcome.NEGATIVE, reason="seen", evidence=[RAN])

    def reopen(self, actor: int) -> None:
        """Open a closed issue again."""
        self.queues[actor].reopen(self.issue(), "again")

    def requeue(self, actor: int) -> None:
        """Give a quarantined issue new attempts."""
        self.queues[actor].requeue(self.issue(), "again")

    def remember(self, actor: int) -> None:
        """Keep a text under one of four keys, at times in the place of another one."""
        issue_id = self.random.choice([None, self.issue()])
        key, old = (f"m{number}" for number in self.random.sample(range(4), 2))
        supersedes = self.random.choice([None, old])
        self.queues[actor].remember(self.text(), key=key, issue_id=issue_id, supersedes=supersedes)

    def forget(self, actor: int) -> None:
        """Delete one of the texts."""
        self.queues[actor].forget(f"m{self.random.randrange(4)}")

    def answer(self, actor: int) -> None:
        """Answer one of the open questions."""
        queue = self.queues[actor]
        queue.answer(self.random.choice(queue.open_questions()).issue_id, self.text())

    def expire(self, actor: int) -> None:
        """Let every lease run out."""
        self.clock.pass_s(61.0)
        self.queues[actor].sweep()
