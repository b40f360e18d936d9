"""The queue against its model: a Hypothesis state machine with a fake clock.

Each step does the same on both and compares all of their state. It loads Hypothesis, which is in
the dev extra: import it where it is used.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from arcfusion.agents.bench.plain_queue import PlainQueue
from arcfusion.agents.bench.queue_script import (
    RAN,
    ManualClock,
    open_unsynced,
)
from arcfusion.core.errors import ArcFusionError
from arcfusion.core.home import Home
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import Draft, Edge
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.queue import Queue
from arcfusion.issues.record import Token
from arcfusion.issues.states import EdgeType, Gate, IssueType, Outcome, Size, Status

MakeLab = Callable[[Path], Home]
# The model has no limit of work in progress: `queue_wip` proves that one.
CONFIG = QueueConfig(lease_s=60.0, heartbeat_s=10.0, max_attempts=2, wip_limit=1_000_000)
SESSIONS = {"alice": "s1", "bob": None}

ACTORS = st.sampled_from(sorted(SESSIONS))
NUMBERS = st.integers(0, 63)
KINDS = st.sampled_from(
    [
        *(EdgeType.BLOCKS, EdgeType.CONDITIONAL_BLOCKS, EdgeType.WAITS_FOR),
        *(EdgeType.PARENT_CHILD, EdgeType.RELATED),
    ]
)
# So few issues that the steps meet.
MAX_ISSUES = 9
GATES = st.sampled_from(Gate)
OUTCOMES = st.sampled_from(Outcome)
TEXTS = st.sampled_from(["one", "two", "three"])


def _outcome(verb: Callable[[], Any]) -> tuple[Any, ArcFusionError | None]:
    try:
        return verb(), None
    except ArcFusionError as error:
        return None, error


def handoff(text: str) -> Handoff:
    """Return a handoff that says the text."""
    return Handoff(tried=text, result="r", next="n")


class QueueMachine(RuleBasedStateMachine):
    """Verbs of two actors; a claim's token is kept for ever, so that stale ones are used too.

    Attributes:
        make_lab: makes an empty lab in a new directory.
        steps: how many were executed, over all examples.
    """

    make_lab: ClassVar[MakeLab]
    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="arcfusion-bench-"))
        self.home = type(self).make_lab(self.directory / "lab")
        self.clock = ManualClock()
        self.model = PlainQueue(CONFIG, self.clock)
        self.tokens: list[tuple[str, Token]] = []
        self.queues = {actor: self.open(actor) for actor in SESSIONS}

    def open(self, actor: str) -> Queue:
        """Open the lab as the actor."""
        return open_unsynced(
            self.home, actor, clock=self.clock, config=CONFIG, session=SESSIONS[actor]
        )

    def teardown(self) -> None:
        """Leave nothing behind."""
        for queue in self.queues.values():
            queue.disconnect()
        shutil.rmtree(self.directory)

    def both(self, expect: Callable[[], Any], do: Callable[[], Any]) -> tuple[Any, Any]:
        """Do it on the model and on the queue: the same error or none, and then the same state."""
        expected, wanted = _outcome(expect)
        found, raised = _outcome(do)
        assert type(raised) is type(wanted), f"queue: {raised!r}, model: {wanted!r}"
        type(self).steps += 1
        self.compare()
        return expected, found

    def compare(self) -> None:
        """Compare statuses, holders, fences, attempts, counters, edges and the ready order."""
        issues = self.model.issues
        queue = self.queues["alice"]
        with queue.snapshot() as connection:

            def read(sql: str) -> list[tuple[Any, ...]]:
                return sorted(tuple(row) for row in connection.execute(sql))

            assert read(
                "SELECT id, status, outcome, assignee, fence, attempts, losses, failures,"
                " blocked_by, not_before, notes, coalesce(question, '') FROM issue"
            ) == sorted(
                (
                    *(i.id, i.status, i.outcome, i.lease.actor if i.lease else None, i.fence),
                    *(i.fence, i.losses, i.failures, self.model.count(i.id), i.not_before, i.notes),
                    i.question or "",
                )
                for i in issues.values()
            )
            assert read("SELECT issue_id, holder, fence, expires_at FROM lease") == sorted(
                (i.id, i.lease.actor, i.lease.fence, i.lease.expires_at)
                for i in issues.values()
                if i.lease
            )
            assert read("SELECT issue_id, fence, actor, outcome FROM attempt") == sorted(
                (i.id, fence, *end) for i in issues.values() for fence, end in i.ends.items()
            )
            asking = sorted(i.id for i in issues.values() if i.question is not None)
            assert [one for (one,) in read("SELECT issue_id FROM label")] == asking
            assert read(
                "SELECT issue_id, type, depends_on_id, coalesce(gate, '') FROM dependency"
            ) == sorted(
                (i.id, *edge, gate or "") for i in issues.values() for edge, gate in i.edges.items()
            )
        assert [issue.id for issue in queue.ready()] == self.model.ready()

    def issue(self, number: int) -> str:
        """Return one of the issues."""
        ids = [*self.model.issues]
        return ids[number % len(ids)]

    def token(self, number: int) -> tuple[str, Token]:
        """Return one of the newest claims, or one of the older, with its holder."""
        return self.tokens[-1 - number % min(len(self.tokens), 6)]

    @initialize(priorities=st.lists(st.integers(0, 4), min_size=3, max_size=5))
    def begin(self, priorities: list[int]) -> None:
        """File a few issues."""
        for priority in priorities:
            self.create("alice", priority, IssueType.TASK, Size.M)

    @precondition(lambda self: len(self.model.issues) < MAX_ISSUES)
    @rule(
        actor=ACTORS,
        priority=st.integers(0, 4),
        kind=st.sampled_from([IssueType.TASK] * 3 + [IssueType.EPIC]),
        size=st.sampled_from([Size.S, Size.M, Size.XL]),
    )
    def create(self, actor: str, priority: int, kind: IssueType, size: Size) -> None:
        """File an issue."""
        issue_id = f"i{len(self.model.issues)}"
        draft = Draft(title=issue_id, id=issue_id, priority=priority, type=kind, size=size)
        is_large = kind is IssueType.EPIC or size is Size.XL
        self.both(
            lambda: self.model.create(issue_id, priority, is_large=is_large),
            lambda: self.queues[actor].create(draft),
        )

    @rule(actor=ACTORS, a=NUMBERS, b=NUMBERS, kind=KINDS, gate=GATES)
    def add_edge(self, actor: str, a: int, b: int, kind: EdgeType, gate: Gate) -> None:
        """Make one issue depend on another, or on itself."""
        issue_id, other = self.issue(a), self.issue(a + b % 8 + 1)
        wanted = gate if kind is EdgeType.WAITS_FOR else None
        self.both(
            lambda: self.model.add_edge(issue_id, (kind, other), wanted),
            lambda: self.queues[actor].add_dependency(issue_id, Edge(kind, other, wanted)),
        )

    @rule(actor=ACTORS, a=NUMBERS, number=NUMBERS, kind=KINDS)
    def remove_edge(self, actor: str, a: int, number: int, kind: EdgeType) -> None:
        """Delete an edge that is there, or one that may not be."""
        issue_id = self.issue(a)
        edges = [*self.model.issues[issue_id].edges]
        edge = edges[number % len(edges)] if edges else (kind, self.issue(number))
        self.both(
            lambda: self.model.remove_edge(issue_id, edge),
            lambda: self.queues[actor].remove_dependency(issue_id, Edge(*edge)),
        )

    @rule(actor=ACTORS)
    def claim_next(self, actor: str) -> None:
        """Claim the next issue."""
        self.claim(actor, None)

    @rule(actor=ACTORS, number=NUMBERS)
    def claim_one(self, actor: str, number: int) -> None:
        """Claim an issue by its id."""
        self.claim(actor, self.issue(number))

    def claim(self, actor: str, issue_id: str | None) -> None:
        """Claim on both, and keep the token."""
        has_session = SESSIONS[actor] is not None
        expected, claim = self.both(
            lambda: self.model.claim(actor, issue_id, has_session=has_session),
            lambda: self.queues[actor].claim(issue_id),
        )
        if claim is not None:
            assert (claim.issue_id, claim.fence) == expected
            left = None if claim.last_handoff is None else claim.last_handoff.tried
            assert left == self.model.last_handoff(claim.issue_id)
            self.tokens.append((actor, claim.token))

    @precondition(lambda self: self.tokens)
    @rule(number=NUMBERS)
    def beat(self, number: int) -> None:
        """Renew a lease."""
        actor, token = self.token(number)
        self.both(
            lambda: self.model.beat(token.issue_id, actor, token.fence),
            lambda: self.queues[actor].heartbeat(token),
        )

    @precondition(lambda self: self.tokens)
    @rule(number=NUMBERS, text=TEXTS)
    def checkpoint(self, number: int, text: str) -> None:
        """Leave a handoff."""
        actor, token = self.token(number)
        self.both(
            lambda: self.model.checkpoint(token.issue_id, actor, token.fence, text),
            lambda: self.queues[actor].checkpoint(token, handoff(text)),
        )

    @precondition(lambda self: self.tokens)
    @rule(number=NUMBERS, text=TEXTS, question=st.sampled_from([None, "which?", "why?"]))
    def release(self, number: int, text: str, question: str | None) -> None:
        """Give a claim back, with a question or without."""
        actor, token = self.token(number)
        self.both(
            lambda: self.model.release(token.issue_id, actor, token.fence, text, question),
            lambda: self.queues[actor].release(token, handoff(text), question=question),
        )

    @rule(actor=ACTORS, number=NUMBERS)
    def answer(self, actor: str, number: int) -> None:
        """Answer an issue that asks, or one that does not."""
        asking = [i.id for i in self.model.issues.values() if i.question is not None]
        issue_id = (asking * 4 + [*self.model.issues])[number % (4 * len(asking) + 1)]
        self.both(
            lambda: self.model.answer(issue_id), lambda: self.queues[actor].answer(issue_id, "so")
        )

    @precondition(lambda self: self.tokens)
    @rule(number=NUMBERS, text=TEXTS)
    def fail(self, number: int, text: str) -> None:
        """Give a claim back as failed."""
        actor, token = self.token(number)
        self.both(
            lambda: self.model.fail(token.issue_id, actor, token.fence, text),
            lambda: self.queues[actor].fail(token, handoff(text), error="e"),
        )

    @precondition(lambda self: self.tokens)
    @rule(number=NUMBERS, outcome=OUTCOMES)
    def close_held(self, number: int, outcome: Outcome) -> None:
        """Close with a claim."""
        actor, token = self.token(number)
        self.both(
            lambda: self.model.close(token.issue_id, actor, token.fence, outcome),
            lambda: self.queues[actor].close(token, outcome, reason="r", evidence=[RAN]),
        )

    @rule(actor=ACTORS, number=NUMBERS, outcome=OUTCOMES)
    def close_free(self, actor: str, number: int, outcome: Outcome) -> None:
        """Close without a claim."""
        issue_id = self.issue(number)
        self.both(
            lambda: self.model.close(issue_id, actor, None, outcome),
            lambda: self.queues[actor].close(issue_id, outcome, reason="r", evidence=[RAN]),
        )

    @rule(actor=ACTORS, number=NUMBERS)
    def reopen(self, actor: str, number: int) -> None:
        """Open a closed issue again."""
        issue_id = self.issue(number)
        self.both(
            lambda: self.model.reopen(issue_id), lambda: self.queues[actor].reopen(issue_id, "r")
        )

    @rule(actor=ACTORS, number=NUMBERS)
    def requeue(self, actor: str, number: int) -> None:
        """Give a quarantined issue new attempts, or one that is not."""
        stopped = [i.id for i in self.model.issues.values() if i.status is Status.QUARANTINED]
        issue_id = (stopped * 4 + [*self.model.issues])[number % (4 * len(stopped) + 1)]
        self.both(
            lambda: self.model.requeue(issue_id), lambda: self.queues[actor].requeue(issue_id, "r")
        )

    @rule(
        actor=ACTORS,
        number=NUMBERS,
        status=st.sampled_from([Status.OPEN, Status.BLOCKED, Status.DEFERRED]),
    )
    def set_status(self, actor: str, number: int, status: Status) -> None:
        """Set a status by hand."""
        issue_id = self.issue(number)
        self.both(
            lambda: self.model.set_status(issue_id, status),
            lambda: self.queues[actor].update(issue_id, {"status": status.value}),
        )

    @rule(actor=ACTORS, number=NUMBERS, text=TEXTS, held=st.booleans())
    def note(self, actor: str, number: int, text: str, *, held: bool) -> None:
        """Append to the notes, with a claim's fence or without."""
        issue_id, fence = self.issue(number), None
        if held and self.tokens:
            actor, token = self.token(number)
            issue_id, fence = token.issue_id, token.fence
        self.both(
            lambda: self.model.note(issue_id, text, actor, fence),
            lambda: self.queues[actor].note(issue_id, text, fence=fence),
        )

    @rule(seconds=st.sampled_from([61.0, 31.0, 1.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        """Let time go by: leases run out, pauses end."""
        self.clock.pass_s(seconds)
        self.both(lambda: None, lambda: None)

    @precondition(lambda self: self.tokens)
    @rule(actor=ACTORS)
    def expire(self, actor: str) -> None:
        """Let every lease run out and give back what did."""
        self.clock.pass_s(CONFIG.lease_s)
        self.both(self.model.sweep, self.queues[actor].sweep)

    @rule(actor=ACTORS)
    def kill(self, actor: str) -> None:
        """Lose the process: its claims stay until their leases run out."""
        self.queues[actor].disconnect()
        self.queues[actor] = self.open(actor)
        self.both(lambda: None, lambda: None)


def explore(
    make_lab: MakeLab, *, seed: int, num_examples: int, num_steps: int, shrink: bool = True
) -> int:
    """Run the machine; return how many steps were executed.

    Args:
        make_lab: makes an empty lab in a new directory.
        seed: of Hypothesis.
        num_examples: histories, each from an empty lab.
        num_steps: of each history, at the most.
        shrink: look for the shortest history when one fails.

    Raises:
        AssertionError: the queue and its model differ; Hypothesis prints the shortest history.
    """

    class SeededMachine(QueueMachine):
        steps = 0

    SeededMachine.make_lab = make_lab
    run_state_machine_as_test(
        hypothesis.seed(seed)(SeededMachine),
        settings=hypothesis.settings(
            max_examples=num_examples,
            stateful_step_count=num_steps,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate, *([hypothesis.Phase.shrink] if shrink else [])],
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
    return SeededMachine.steps
