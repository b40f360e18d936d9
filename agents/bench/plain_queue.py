"""The queue in plain Python: what each verb should do, without SQL and without the queue's code.

Only the closed sets and the error classes are shared. Counters are never kept: they are counted
from the edges by recursion each time.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from arcfusion.core.errors import ArcFusionError
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.errors import (
    AlreadyClaimedError,
    ChildrenOpenError,
    ClaimLostError,
    DependencyCycleError,
    DependencyUnknownError,
    FenceMissingError,
    IssueBlockedError,
    IssueClosedError,
    IssueNotReadyError,
    IssueTooLargeError,
    NothingReadyError,
    TransitionError,
)
from arcfusion.issues.states import EdgeType, Gate, Outcome, Status

Edge = tuple[EdgeType, str]
_RUNS_AFTER = {Outcome.NEGATIVE, Outcome.INCONCLUSIVE, Outcome.FAILED, Outcome.WONTDO}
_BY_HAND = {Status.OPEN, Status.BLOCKED, Status.DEFERRED}


@dataclass(slots=True)
class Lease:
    """Who holds an issue, and until when."""

    actor: str
    fence: int
    expires_at: float


@dataclass(slots=True)
class PlainIssue:
    """One issue; `handoffs` and `ends` are by fence, `ends` holds None while the attempt runs."""

    id: str
    priority: int
    created_at: float
    is_large: bool
    status: Status = Status.OPEN
    outcome: Outcome | None = None
    fence: int = 0
    losses: int = 0
    failures: int = 0
    not_before: float = 0.0
    notes: str = ""
    question: str | None = None
    lease: Lease | None = None
    edges: dict[Edge, Gate | None] = field(default_factory=dict)
    handoffs: dict[int, str] = field(default_factory=dict)
    ends: dict[int, tuple[str, str | None]] = field(default_factory=dict)


class PlainQueue:
    """Issues by id. Every verb does all or, when it raises, nothing."""

    def __init__(self, config: QueueConfig, clock: Callable[[], float]) -> None:
        self.config = config
        self.clock = clock
        self.issues: dict[str, PlainIssue] = {}

    @contextmanager
    def _write(self) -> Iterator[None]:
        before = copy.deepcopy(self.issues)
        try:
            yield
        except ArcFusionError:
            self.issues = before
            raise

    # What is true.

    def children(self, issue_id: str) -> list[PlainIssue]:
        """Return the issues that are part of it."""
        part = (EdgeType.PARENT_CHILD, issue_id)
        return [issue for issue in self.issues.values() if part in issue.edges]

    def count(self, issue_id: str) -> int:
        """Return how many edges hold the issue back."""
        return sum(self._holds(edge, gate) for edge, gate in self.issues[issue_id].edges.items())

    def _holds(self, edge: Edge, gate: Gate | None) -> bool:
        kind, other = edge[0], self.issues[edge[1]]
        is_open = other.status is not Status.CLOSED
        if kind is EdgeType.BLOCKS:
            return is_open
        if kind is EdgeType.CONDITIONAL_BLOCKS:
            return other.outcome not in _RUNS_AFTER
        if kind is EdgeType.PARENT_CHILD:
            return is_open and self.count(other.id) > 0
        if kind is EdgeType.WAITS_FOR:
            ended = [child.status is Status.CLOSED for child in self.children(other.id)]
            if not ended:
                return is_open
            return not (any(ended) if gate is Gate.ANY_CHILDREN else all(ended))
        return False

    def ready(self) -> list[str]:
        """Return the ids that can be claimed, in their order."""
        free = [
            issue
            for issue in self.issues.values()
            if issue.status is Status.OPEN
            and not issue.is_large
            and issue.not_before <= self.clock()
            and self.count(issue.id) == 0
        ]
        free.sort(key=lambda issue: (issue.priority, issue.created_at, issue.id))
        return [issue.id for issue in free]

    def _check_acyclic(self) -> None:
        waits: dict[str, set[str]] = {issue_id: set() for issue_id in self.issues}
        for issue in self.issues.values():
            for kind, other in issue.edges:
                if kind in {EdgeType.RELATED, EdgeType.DISCOVERED_FROM}:
                    continue
                waits[issue.id].add(other)
                if kind is EdgeType.WAITS_FOR:
                    waits[issue.id] |= {child.id for child in self.children(other)}
        try:
            TopologicalSorter(waits).prepare()
        except CycleError as error:
            raise DependencyCycleError from error

    # What anybody does.

    def create(self, issue_id: str, priority: int, *, is_large: bool) -> None:
        """File an issue."""
        self.issues[issue_id] = PlainIssue(issue_id, priority, self.clock(), is_large)

    def add_edge(self, issue_id: str, edge: Edge, gate: Gate | None) -> None:
        """Make the issue depend on another; one that is there stays as it is."""
        with self._write():
            if issue_id == edge[1]:
                raise DependencyCycleError
            if edge not in self.issues[issue_id].edges:
                waits = edge[0] is EdgeType.WAITS_FOR
                self.issues[issue_id].edges[edge] = (gate or Gate.ALL_CHILDREN) if waits else None
                self._check_acyclic()

    def remove_edge(self, issue_id: str, edge: Edge) -> None:
        """Delete an edge."""
        if edge not in self.issues[issue_id].edges:
            raise DependencyUnknownError
        del self.issues[issue_id].edges[edge]

    def set_status(self, issue_id: str, status: Status) -> None:
        """Set the status by hand."""
        issue = self.issues[issue_id]
        if issue.status is Status.CLOSED:
            raise IssueClosedError
        is_fixed = issue.status not in _BY_HAND or issue.question is not None
        if is_fixed and issue.status is not status:
            raise TransitionError
        issue.status = status

    def answer(self, issue_id: str) -> None:
        """Answer what the issue asks."""
        issue = self.issues[issue_id]
        if issue.question is None:
            raise TransitionError
        issue.status, issue.question = Status.OPEN, None

    def reopen(self, issue_id: str) -> None:
        """Open a closed issue again."""
        issue = self.issues[issue_id]
        if issue.status is not Status.CLOSED:
            raise TransitionError
        issue.status, issue.outcome = Status.OPEN, None

    def requeue(self, issue_id: str) -> None:
        """Give a quarantined issue new attempts."""
        issue = self.issues[issue_id]
        if issue.status is not Status.QUARANTINED:
            raise TransitionError
        issue.status, issue.losses, issue.failures, issue.not_before = Status.OPEN, 0, 0, 0.0

    def note(self, issue_id: str, text: str, actor: str, fence: int | None) -> None:
        """Append to the notes."""
        issue = self.issues[issue_id]
        if fence is not None:
            self._guard(issue_id, actor, fence)
        elif issue.lease is not None:
            raise FenceMissingError
        issue.notes = f"{issue.notes}\n{text}" if issue.notes else text

    def close(self, issue_id: str, actor: str, fence: int | None, outcome: Outcome) -> None:
        """Close the issue; again with the same claim and outcome does nothing."""
        issue = self.issues[issue_id]
        with self._write():
            if fence is not None and self._was_closed_by(issue, actor, fence):
                if issue.outcome is not outcome:
                    raise ClaimLostError
                return
            if fence is not None:
                self._end(issue_id, actor, fence, "closed")
            elif issue.status is Status.CLOSED:
                raise IssueClosedError
            elif issue.lease is not None:
                raise FenceMissingError
            is_whole = all(child.status is Status.CLOSED for child in self.children(issue_id))
            if outcome is Outcome.DONE and not is_whole:
                raise ChildrenOpenError
            issue.status, issue.outcome, issue.question = Status.CLOSED, outcome, None

    def _was_closed_by(self, issue: PlainIssue, actor: str, fence: int) -> bool:
        mine = issue.ends.get(fence) == (actor, "closed")
        return mine and issue.fence == fence and issue.status is Status.CLOSED

    # What a worker does.

    def sweep(self) -> None:
        """Give back what has run out."""
        for issue in self.issues.values():
            if issue.lease is not None and issue.lease.expires_at <= self.clock():
                issue.losses += 1
                self._end(issue.id, issue.lease.actor, issue.lease.fence, "lost")
                issue.status = self._after_trouble(issue)

    def claim(self, actor: str, issue_id: str | None, *, has_session: bool) -> tuple[str, int]:
        """Claim the issue or the next one; return its id and fence."""
        with self._write():
            self.sweep()
            ready = self.ready()
            if issue_id is None:
                if not ready:
                    raise NothingReadyError
                issue_id = ready[0]
            issue = self.issues[issue_id]
            if issue_id not in ready:
                if has_session and issue.lease is not None and issue.lease.actor == actor:
                    return issue_id, issue.fence
                raise self._refusal(issue)
            issue.fence += 1
            issue.status = Status.IN_PROGRESS
            issue.ends[issue.fence] = (actor, None)
            issue.lease = Lease(actor, issue.fence, self.clock() + self.config.lease_s)
            return issue_id, issue.fence

    def _refusal(self, issue: PlainIssue) -> ArcFusionError:
        if issue.lease is not None:
            return AlreadyClaimedError()
        if issue.status is Status.CLOSED:
            return IssueClosedError()
        if issue.status is not Status.OPEN:
            return IssueNotReadyError()
        if self.count(issue.id) > 0:
            return IssueBlockedError()
        return IssueTooLargeError() if issue.is_large else IssueNotReadyError()

    def beat(self, issue_id: str, actor: str, fence: int) -> None:
        """Renew a lease."""
        lease = self._guard(issue_id, actor, fence)
        lease.expires_at = self.clock() + self.config.lease_s

    def checkpoint(self, issue_id: str, actor: str, fence: int, text: str) -> None:
        """Keep a handoff."""
        self._guard(issue_id, actor, fence)
        self.issues[issue_id].handoffs[fence] = text

    def release(
        self, issue_id: str, actor: str, fence: int, text: str, question: str | None
    ) -> None:
        """Give a claim back, with a question or without."""
        self.checkpoint(issue_id, actor, fence, text)
        self._end(issue_id, actor, fence, "released")
        issue = self.issues[issue_id]
        issue.question = question
        issue.status = Status.OPEN if question is None else Status.BLOCKED

    def fail(self, issue_id: str, actor: str, fence: int, text: str) -> None:
        """Give a claim back as a failed attempt."""
        self.checkpoint(issue_id, actor, fence, text)
        issue = self.issues[issue_id]
        issue.failures += 1
        self._end(issue_id, actor, fence, "failed")
        issue.status = self._after_trouble(issue)
        pause = self.config.backoff_s * 2 ** (issue.failures - 1)
        issue.not_before = self.clock() + min(pause, self.config.backoff_max_s)

    def last_handoff(self, issue_id: str) -> str | None:
        """Return what the newest attempt with a handoff left."""
        handoffs = self.issues[issue_id].handoffs
        return handoffs[max(handoffs)] if handoffs else None

    def _guard(self, issue_id: str, actor: str, fence: int) -> Lease:
        lease = self.issues[issue_id].lease
        if lease is None or (lease.actor, lease.fence) != (actor, fence):
            raise ClaimLostError
        return lease

    def _end(self, issue_id: str, actor: str, fence: int, how: str) -> None:
        self._guard(issue_id, actor, fence)
        self.issues[issue_id].lease = None
        self.issues[issue_id].ends[fence] = (actor, how)

    def _after_trouble(self, issue: PlainIssue) -> Status:
        given_up = issue.losses + issue.failures >= self.config.max_attempts
        return Status.QUARANTINED if given_up else Status.OPEN
