import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arcfusion.issues.draft import Draft, Edge
from arcfusion.issues.errors import (
    ChildrenOpenError,
    DependencyCycleError,
    DependencyUnknownError,
    FieldError,
    IssueBlockedError,
    IssueUnknownError,
)
from arcfusion.issues.evidence import Evidence, EvidenceKind
from arcfusion.issues.queue import Queue
from arcfusion.issues.states import BLOCKING_EDGES, EdgeType, Gate, Outcome, Status

RAN = Evidence(kind=EvidenceKind.COMMAND, value="make test", exit_status=0)


def file(queue: Queue, title: str, *edges: Edge) -> str:
    return queue.create(Draft(title=title, edges=edges)).id


def finish(queue: Queue, issue_id: str, outcome: Outcome = Outcome.DONE) -> None:
    queue.close(issue_id, outcome, reason="as planned", evidence=[RAN])


def ready(queue: Queue) -> set[str]:
    return {issue.title for issue in queue.ready()}


def test_closing_a_blocker_frees_what_waits_for_it(queue):
    first = file(queue, "first")
    second = file(queue, "second", Edge(EdgeType.BLOCKS, first))
    file(queue, "third", Edge(EdgeType.BLOCKS, second), Edge(EdgeType.BLOCKS, first))
    assert ready(queue) == {"first"}
    with pytest.raises(IssueBlockedError, match=f"{second} waits for {first}, which is open"):
        queue.claim(second)
    finish(queue, first, Outcome.NEGATIVE)
    assert ready(queue) == {"second"}
    queue.reopen(first, "again")
    assert ready(queue) == {"first"}


def test_a_conditional_issue_runs_only_without_success(queue):
    plan_a = file(queue, "a")
    plan_b = file(queue, "b", Edge(EdgeType.CONDITIONAL_BLOCKS, plan_a))
    finish(queue, plan_a, Outcome.DONE)
    assert ready(queue) == set()
    assert queue.explain(plan_b) == [
        f"{plan_b} runs only if {plan_a} does not succeed, which succeeded"
    ]
    queue.reopen(plan_a, "it broke")
    queue.close(plan_a, Outcome.FAILED, reason="it does not work")
    assert ready(queue) == {"b"}


def test_children_wait_while_their_parent_waits_and_not_because_it_is_open(queue):
    gate = file(queue, "gate")
    phase = file(queue, "phase", Edge(EdgeType.BLOCKS, gate))
    child = file(queue, "child", Edge(EdgeType.PARENT_CHILD, phase))
    file(queue, "grandchild", Edge(EdgeType.PARENT_CHILD, child))
    assert ready(queue) == {"gate"}
    finish(queue, gate)
    assert ready(queue) == {"phase", "child", "grandchild"}
    with pytest.raises(ChildrenOpenError, match=child):
        finish(queue, phase)


@pytest.mark.parametrize(
    ("gate", "after_one"), [(Gate.ALL_CHILDREN, False), (Gate.ANY_CHILDREN, True)]
)
def test_an_issue_waits_for_all_or_any_children(queue, gate, after_one):
    spawner = file(queue, "spawner")
    file(queue, "collector", Edge(EdgeType.WAITS_FOR, spawner, gate))
    assert "collector" not in ready(queue)
    children = [file(queue, f"c{n}", Edge(EdgeType.PARENT_CHILD, spawner)) for n in range(2)]
    assert "collector" not in ready(queue)
    finish(queue, children[0])
    assert ("collector" in ready(queue)) is after_one
    finish(queue, children[1])
    assert "collector" in ready(queue)


def test_a_cycle_is_refused_with_its_path_and_leaves_nothing(queue):
    a = file(queue, "a")
    b = file(queue, "b", Edge(EdgeType.BLOCKS, a))
    c = file(queue, "c", Edge(EdgeType.CONDITIONAL_BLOCKS, b))
    events = queue.events()
    with pytest.raises(DependencyCycleError, match=f"{a} -> {c} -> {b} -> {a}"):
        queue.add_dependency(a, Edge(EdgeType.BLOCKS, c))
    with pytest.raises(DependencyCycleError, match="itself"):
        queue.add_dependency(a, Edge(EdgeType.RELATED, a))
    assert queue.events() == events
    assert queue.add_dependency(a, Edge(EdgeType.RELATED, c)) == f"{a} is related to {c}"


def test_a_new_child_holds_back_what_waits_for_all_children(queue):
    spawner = file(queue, "spawner")
    finish(queue, file(queue, "c1", Edge(EdgeType.PARENT_CHILD, spawner)))
    file(queue, "collector", Edge(EdgeType.WAITS_FOR, spawner))
    assert "collector" in ready(queue)
    child = file(queue, "c2", Edge(EdgeType.PARENT_CHILD, spawner))
    assert "collector" not in ready(queue)
    queue.remove_dependency(child, Edge(EdgeType.PARENT_CHILD, spawner))
    assert "collector" in ready(queue)


CIRCLE = [
    ("collector", Edge(EdgeType.WAITS_FOR, "spawner")),
    ("child", Edge(EdgeType.BLOCKS, "collector")),
    ("child", Edge(EdgeType.PARENT_CHILD, "spawner")),
]


@pytest.mark.parametrize("last", range(3))
def test_a_circle_through_the_children_behind_a_gate_is_refused(queue, last):
    queue.create_all([Draft(title=n, id=n) for n in ("spawner", "collector", "child")])
    for issue_id, edge in CIRCLE[:last] + CIRCLE[last + 1 :]:
        queue.add_dependency(issue_id, edge)
    with pytest.raises(DependencyCycleError):
        queue.add_dependency(*CIRCLE[last])


def test_a_parent_can_not_wait_for_its_child(queue):
    parent = file(queue, "parent")
    child = file(queue, "child", Edge(EdgeType.PARENT_CHILD, parent))
    with pytest.raises(DependencyCycleError):
        queue.add_dependency(parent, Edge(EdgeType.BLOCKS, child))


def test_a_dependency_on_nothing_is_named(queue):
    a = file(queue, "a")
    with pytest.raises(DependencyUnknownError, match="'ghost'"):
        queue.add_dependency(a, Edge(EdgeType.BLOCKS, "ghost"))
    with pytest.raises(IssueUnknownError, match="'ghost'"):
        queue.add_dependency("ghost", Edge(EdgeType.BLOCKS, a))
    with pytest.raises(DependencyUnknownError, match="dep list"):
        queue.remove_dependency(a, Edge(EdgeType.BLOCKS, "ghost"))
    with pytest.raises(DependencyUnknownError):
        file(queue, "b", Edge(EdgeType.BLOCKS, "ghost"))
    assert len(queue.list()) == 1
    with pytest.raises(FieldError):
        Edge(EdgeType.BLOCKS, a, Gate.ANY_CHILDREN)


@pytest.mark.parametrize("kind", list(EdgeType))
def test_every_edge_reads_as_a_sentence_from_its_issue(queue, kind):
    a, b = file(queue, "a"), file(queue, "b")
    said = queue.add_dependency(a, Edge(kind, b))
    assert said.startswith(f"{a} ")
    assert b in said
    assert (not queue.explain(a)) == (kind not in BLOCKING_EDGES or kind is EdgeType.PARENT_CHILD)


class Model:
    """What the queue should say, by recursion over all edges."""

    def __init__(self) -> None:
        self.outcome: dict[int, Outcome | None] = {}
        self.edges: dict[tuple[int, int, EdgeType], Gate | None] = {}

    def children(self, issue: int) -> list[int]:
        return [a for a, b, kind in self.edges if b == issue and kind is EdgeType.PARENT_CHILD]

    def holds(self, edge: tuple[int, int, EdgeType]) -> bool:
        _, other, kind = edge
        outcome = self.outcome[other]
        if kind is EdgeType.BLOCKS:
            return outcome is None
        if kind is EdgeType.CONDITIONAL_BLOCKS:
            return outcome in {None, Outcome.DONE, Outcome.DUPLICATE}
        if kind is EdgeType.PARENT_CHILD:
            return outcome is None and self.count(other) > 0
        if kind is EdgeType.WAITS_FOR:
            ended = [self.outcome[child] is not None for child in self.children(other)]
            if not ended:
                return outcome is None
            return not (any(ended) if self.edges[edge] is Gate.ANY_CHILDREN else all(ended))
        return False

    def count(self, issue: int) -> int:
        return sum(self.holds(edge) for edge in self.edges if edge[0] == issue)

    def waits(self) -> set[tuple[int, int]]:
        found = {(a, b) for a, b, kind in self.edges if kind in BLOCKING_EDGES}
        for a, b, kind in self.edges:
            if kind is EdgeType.WAITS_FOR:
                found |= {(a, child) for child in self.children(b)}
        return found

    def has_cycle(self) -> bool:
        waits = self.waits()
        left = set(self.outcome)
        while True:
            free = {a for a in left if not any(x == a and y in left for x, y in waits)}
            if not free:
                return bool(left)
            left -= free


SIZE = 5
KINDS = sorted({*BLOCKING_EDGES, EdgeType.RELATED})
ISSUES = st.integers(0, SIZE - 1)
OPERATIONS = st.one_of(
    st.tuples(st.just("add"), ISSUES, ISSUES, st.sampled_from(KINDS), st.sampled_from(Gate)),
    st.tuples(st.just("remove"), st.integers(0, 99)),
    st.tuples(st.just("close"), ISSUES, st.sampled_from(Outcome)),
    st.tuples(st.just("reopen"), ISSUES),
)


def add(queue: Queue, model: Model, a: int, b: int, kind: EdgeType, gate: Gate) -> None:
    edge = Edge(kind, str(b), gate if kind is EdgeType.WAITS_FOR else None)
    known = (a, b, kind) in model.edges
    model.edges.setdefault((a, b, kind), edge.gate)
    if a == b or model.has_cycle():
        del model.edges[a, b, kind]
        with pytest.raises(DependencyCycleError):
            queue.add_dependency(str(a), edge)
    else:
        queue.add_dependency(str(a), edge)
        assert known or (a, b, kind) in model.edges


def remove(queue: Queue, model: Model, number: int) -> None:
    if model.edges:
        a, b, kind = sorted(model.edges)[number % len(model.edges)]
        del model.edges[a, b, kind]
        queue.remove_dependency(str(a), Edge(kind, str(b)))


def close(queue: Queue, model: Model, issue: int, outcome: Outcome) -> None:
    if model.outcome[issue] is not None:
        return
    if outcome is Outcome.DONE and any(model.outcome[c] is None for c in model.children(issue)):
        with pytest.raises(ChildrenOpenError):
            finish(queue, str(issue), outcome)
        return
    model.outcome[issue] = outcome
    finish(queue, str(issue), outcome)


def reopen(queue: Queue, model: Model, issue: int) -> None:
    if model.outcome[issue] is not None:
        model.outcome[issue] = None
        queue.reopen(str(issue), "again")


STEPS = {"add": add, "remove": remove, "close": close, "reopen": reopen}


RANDOM = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
HISTORIES = st.lists(OPERATIONS, min_size=8, max_size=40)


@pytest.mark.sqlite  # the same with fewer histories below
@RANDOM
@given(operations=HISTORIES)
def test_the_counter_equals_a_recursive_count_after_every_operation(make_lab, operations):
    check_counter(make_lab, operations)


@pytest.mark.postgres
@settings(RANDOM, max_examples=8)
@given(operations=HISTORIES)
def test_the_counter_on_postgres_equals_a_recursive_count(make_lab, operations):
    check_counter(make_lab, operations)


def check_counter(make_lab, operations):
    with tempfile.TemporaryDirectory() as directory:
        model = Model()
        with Queue(make_lab(Path(directory) / "lab"), "alice") as queue:
            queue.create_all([Draft(title=f"issue {n}", id=str(n)) for n in range(SIZE)])
            model.outcome = dict.fromkeys(range(SIZE))
            for name, *arguments in operations:
                STEPS[name](queue, model, *arguments)
                found = {int(issue.id): issue.blocked_by for issue in queue.list()}
                assert found == {issue: model.count(issue) for issue in model.outcome}
            free = {
                n for n, outcome in model.outcome.items() if outcome is None and not model.count(n)
            }
            assert {int(issue.id) for issue in queue.ready()} == free
            assert all(issue.status in {Status.OPEN, Status.CLOSED} for issue in queue.list())
