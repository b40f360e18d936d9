"""Random operations on small dependency graphs, with what is right after each of them.

Every counter is compared with a count over plain rows, and every refusal of a cycle with a sort of
the whole graph that knows nothing of the queue's search.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

from arcfusion.agents.bench.queue_script import RAN, copy_lab, open_unsynced
from arcfusion.core.home import Home
from arcfusion.issues.blockers import count_blockers
from arcfusion.issues.draft import Draft, Edge
from arcfusion.issues.errors import ChildrenOpenError, DependencyCycleError
from arcfusion.issues.family import CLOSES_WITH_CHILDREN, Rule
from arcfusion.issues.queue import Queue
from arcfusion.issues.states import BLOCKING_EDGES, EdgeType, Gate, IssueType, Outcome, Status

SEED = 17
OPERATIONS_A_LAB = 400
FIRST_ISSUES, MAX_ISSUES = 12, 30
KINDS = [*sorted(BLOCKING_EDGES), EdgeType.RELATED]
Record = Mapping[str, str | int | None]


class Stored(NamedTuple):
    """An edge as the proof keeps it."""

    issue_id: str
    depends_on_id: str
    type: EdgeType


@dataclass(slots=True)
class Tally:
    """What was done, and each thing that was wrong, as a text."""

    operations: int = 0
    refused_cycles: int = 0
    wrong_counts: list[str] = field(default_factory=list)
    wrong_cycles: list[str] = field(default_factory=list)


def play(template: Home, workspace: Path, num_operations: int) -> Tally:
    """Do random operations on small graphs, begun anew often, and check after each."""
    tally, order = Tally(), random.Random(SEED)  # noqa: S311  # a test's order, no secret
    while tally.operations < num_operations:
        with open_unsynced(copy_lab(template, workspace), "alice") as queue:
            graph = Graph(queue, order, tally)
            for _ in range(min(OPERATIONS_A_LAB, num_operations - tally.operations)):
                graph.step()
            graph.check_edges()
    return tally


class Graph:
    """One small graph: the queue's, and the same edges here."""

    def __init__(self, queue: Queue, order: random.Random, tally: Tally) -> None:
        self.queue, self.random, self.tally = queue, order, tally
        queue.create_all([Draft(title=f"i{n}", id=f"i{n}") for n in range(FIRST_ISSUES)])
        self.gates: dict[Stored, Gate | None] = {}
        self.rows = self._read()
        self.operations = [
            *([self.add] * 9),
            *([self.remove] * 3),
            *([self.close] * 4),
            *([self.reopen] * 3),
            self.create_child,
        ]

    def step(self) -> None:
        """Do one operation and compare every counter."""
        operation = self.random.choice(self.operations)
        operation()
        self.tally.operations += 1
        self.rows = self._read()
        counts = count_blockers(self.rows.values(), self._edges())
        wrong = [k for k, row in self.rows.items() if row["blocked_by"] != counts[k]]
        if wrong:
            self.tally.wrong_counts.append(f"{operation.__name__}: {', '.join(wrong[:4])}")

    def check_edges(self) -> None:
        """Compare the edges, once a lab."""
        stored = {Stored(e.issue_id, e.depends_on_id, e.type) for e in self.queue.edges()}
        if stored != self.gates.keys():
            self.tally.wrong_cycles.append(f"edges: {stored ^ self.gates.keys()}")

    def add(self) -> None:
        """Add an edge of any type, which may close a cycle or be there already."""
        a, b = self.random.choices([*self.rows], k=2)
        kind = self.random.choice(KINDS)
        gate = self.random.choice([*Gate]) if kind is EdgeType.WAITS_FOR else None
        self._add(Stored(a, b, kind), gate)

    def _add(self, edge: Stored, gate: Gate | None) -> None:
        is_known = edge in self.gates
        self.gates.setdefault(edge, gate)
        closes = edge.issue_id == edge.depends_on_id or (not is_known and self._has_cycle())
        if closes:
            del self.gates[edge]
        try:
            wanted = Edge(edge.type, edge.depends_on_id, gate)
            self.queue.add_dependency(edge.issue_id, wanted)
        except DependencyCycleError:
            self.tally.refused_cycles += 1
            if not closes:
                self.tally.wrong_cycles.append(f"refused without a cycle: {edge}")
                self.gates.pop(edge, None)
        else:
            if closes:
                self.tally.wrong_cycles.append(f"a cycle was stored: {edge}")
                self.gates[edge] = gate

    def remove(self) -> None:
        """Delete an edge."""
        if self.gates:
            edge = self.random.choice([*self.gates])
            self.queue.remove_dependency(edge.issue_id, Edge(edge.type, edge.depends_on_id))
            del self.gates[edge]

    def close(self) -> None:
        """Close an issue with any outcome; `done` is refused while a child is open."""
        issue_id, outcome = self.random.choice([*self.rows]), self.random.choice([*Outcome])
        if self.rows[issue_id]["status"] == Status.CLOSED:
            return
        is_whole = all(
            self.rows[edge.issue_id]["status"] == Status.CLOSED
            for edge in self.gates
            if edge.depends_on_id == issue_id and edge.type is EdgeType.PARENT_CHILD
        )
        try:
            self.queue.close(issue_id, outcome, reason="seen", evidence=[RAN])
        except ChildrenOpenError:
            if is_whole or outcome is not Outcome.DONE:
                self.tally.wrong_counts.append(f"close of {issue_id}: no child is open")

    def reopen(self) -> None:
        """Open a closed issue again."""
        closed = [k for k, row in self.rows.items() if row["status"] == Status.CLOSED]
        if closed:
            self.queue.reopen(self.random.choice(closed), "again")

    def create_child(self) -> None:
        """File a child, and now and then a parent that closes with its children."""
        if len(self.rows) >= MAX_ISSUES:
            return
        issue_id = f"i{len(self.rows)}"
        rule = {CLOSES_WITH_CHILDREN: self.random.choice([*Rule])}
        is_epic = self.random.random() < 0.3
        self.queue.create(
            Draft(
                title=issue_id,
                id=issue_id,
                type=IssueType.EPIC if is_epic else IssueType.TASK,
                metadata={**rule} if is_epic else {},
            )
        )
        parent = self.random.choice([*self.rows])
        self._add(Stored(issue_id, parent, EdgeType.PARENT_CHILD), None)

    def _read(self) -> dict[str, Record]:
        with self.queue.snapshot() as connection:
            rows = connection.execute("SELECT id, status, outcome, blocked_by FROM issue")
            names = ("id", "status", "outcome", "blocked_by")
            return {row[0]: dict(zip(names, row, strict=True)) for row in rows}

    def _edges(self) -> list[Record]:
        return [{**edge._asdict(), "gate": gate} for edge, gate in self.gates.items()]

    def _has_cycle(self) -> bool:
        children: dict[str, set[str]] = {}
        for edge in self.gates:
            if edge.type is EdgeType.PARENT_CHILD:
                children.setdefault(edge.depends_on_id, set()).add(edge.issue_id)
        waits: dict[str, set[str]] = {}
        for edge in self.gates:
            if edge.type is EdgeType.RELATED:
                continue
            behind = waits.setdefault(edge.issue_id, set())
            behind.add(edge.depends_on_id)
            if edge.type is EdgeType.WAITS_FOR:
                behind |= children.get(edge.depends_on_id, set())
        try:
            TopologicalSorter(waits).prepare()
        except CycleError:
            return True
        return False
