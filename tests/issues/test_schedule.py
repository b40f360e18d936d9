"""This fails when a schedule breaks an edge, or its critical path is not the longest chain."""

import json
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from arcfusion.agents.cli import issue as issue_cli
from arcfusion.agents.cli.typed import build_app
from arcfusion.issues.draft import Draft, Edge
from arcfusion.issues.record import EdgeRecord
from arcfusion.issues.schedule import schedule
from arcfusion.issues.splitting import Part
from arcfusion.issues.states import EdgeType, Gate, IssueType, Outcome, Size
from arcfusion.issues.waiting import Group, Node, simulate


def file(queue, title, *, hours=1.0, after=(), parent=None, labels=(), kind=IssueType.TASK):
    edges = [Edge(EdgeType.BLOCKS, issue.id) for issue in after]
    if parent is not None:
        edges.append(Edge(EdgeType.PARENT_CHILD, parent.id))
    minutes = None if hours is None else round(hours * 60)
    return queue.create(
        Draft(
            id=f"lab-{title}",
            title=title,
            external_ref=title,
            estimated_minutes=minutes,
            labels=labels,
            edges=tuple(edges),
            type=kind,
        )
    )


def plan(queue, *labels):
    return schedule(queue.list(), queue.edges(), labels=labels)


def references(found):
    return [[slot.reference for slot in level] for level in found.levels]


def test_levels_critical_path_loads_and_blocks(queue):
    a = file(queue, "a", hours=3, labels=("agent:A",))
    b = file(queue, "b", hours=1, labels=("agent:B",))
    c = file(queue, "c", hours=2, after=(a, b), labels=("agent:A",))
    d = file(queue, "d", hours=None, after=(b,))
    found = plan(queue)
    assert references(found) == [["a", "b"], ["c", "d"]]
    assert [slot.reference for slot in found.critical_path] == ["a", "c"]
    assert (found.critical_hours, found.unestimated, found.stuck) == (5, 1, ())
    assert [(load.agent, load.hours, load.issues) for load in found.loads] == [
        ("-", 0, 1),
        ("A", 5, 2),
        ("B", 1, 1),
    ]
    assert found.levels[0][1].blocks == (c.id, d.id)
    assert found.levels[1][0].waits_for == (a.id, b.id)


def test_labels_show_a_part_and_still_count_what_it_waits_for(queue):
    a = file(queue, "a", hours=3)
    file(queue, "b", hours=1, after=(a,), labels=("x",))
    found = plan(queue, "x")
    assert references(found) == [["b"]]
    assert (found.levels[0][0].level, found.levels[0][0].start_hours) == (2, 3)
    assert [slot.reference for slot in found.critical_path] == ["a", "b"]


def test_closed_issues_are_gone_and_a_condition_that_failed_is_stuck(queue):
    a = file(queue, "a")
    b = file(queue, "b", after=(a,))
    c = queue.create(Draft(id="lab-c", title="c", edges=(Edge(EdgeType.CONDITIONAL_BLOCKS, a.id),)))
    e = file(queue, "e", after=(c,))
    queue.close(a.id, Outcome.DUPLICATE, reason="known")
    found = plan(queue)
    assert [slot.id for level in found.levels for slot in level] == [b.id]
    assert found.stuck == (c.id, e.id)


def test_a_split_keeps_the_hours_and_what_waits(queue):
    whole = queue.create(Draft(title="whole", size=Size.XL, estimated_minutes=600))
    last = file(queue, "last", after=(whole,))
    one, two = queue.split(whole.id, [Part("one"), Part("two", 120)])
    found = plan(queue)
    assert [[slot.id for slot in level] for level in found.levels] == [[one.id, two.id], [last.id]]
    assert [slot.hours for slot in found.levels[0]] == [8, 2]
    assert found.critical_hours == 9
    assert found.levels[1][0].waits_for == (one.id, two.id)


def test_a_part_waits_for_what_its_epic_waits_for(queue):
    a = file(queue, "a", hours=4)
    epic = file(queue, "epic", hours=None, after=(a,), kind=IssueType.EPIC)
    file(queue, "part", parent=epic)
    assert references(plan(queue)) == [["a"], ["part"]]


def test_any_child_frees_earlier_than_all_children(queue):
    epic = file(queue, "epic", hours=None, kind=IssueType.EPIC)
    file(queue, "short", hours=1, parent=epic)
    file(queue, "long", hours=9, parent=epic)
    for gate in Gate:
        edge = Edge(EdgeType.WAITS_FOR, epic.id, gate)
        queue.create(Draft(title=gate, edges=(edge,), estimated_minutes=60))
    starts = {slot.title: slot.start_hours for level in plan(queue).levels for slot in level}
    assert (starts["all-children"], starts["any-children"]) == (9, 1)


def test_a_part_that_waits_for_what_waits_for_its_epic_is_stuck(queue):
    epic = file(queue, "epic", hours=None, kind=IssueType.EPIC)
    part = file(queue, "part", parent=epic)
    after = file(queue, "after", after=(epic,))
    queue.add_dependency(part.id, Edge(EdgeType.BLOCKS, after.id))
    assert set(plan(queue).stuck) == {part.id, after.id}


@st.composite
def small_graphs(draw):
    size = draw(st.integers(1, 7))
    pairs = [(a, b) for a in range(size) for b in range(a)]
    edges = draw(st.sets(st.sampled_from(pairs))) if pairs else set()
    hours = draw(st.lists(st.integers(0, 9), min_size=size, max_size=size))
    names = draw(st.permutations(range(size)))
    return hours, edges, names


def longest_chain(hours, edges, last):
    """Brute force: every chain that ends at `last`."""
    before = [longest_chain(hours, edges, b) for a, b in edges if a == last]
    return hours[last] + max(before, default=0)


def deepest(edges, last):
    return 1 + max((deepest(edges, b) for a, b in edges if a == last), default=0)


@given(small_graphs())
@settings(max_examples=150, deadline=None)
def test_a_schedule_respects_every_edge_and_ends_with_the_longest_chain(graph):
    hours, edges, order = graph
    nodes = {
        str(i): Node(
            key=str(i),
            issue_id=str(i),
            is_work=True,
            groups=tuple(Group((str(b),)) for a, b in sorted(edges) if a == i),
        )
        for i in order
    }
    runs = simulate(nodes, {str(i): hours[i] for i in order})
    rounds = simulate(nodes, dict.fromkeys(nodes, 1.0))
    assert runs.keys() == nodes.keys()
    for a, b in edges:
        assert runs[str(a)].start >= runs[str(b)].end
        assert rounds[str(a)].end > rounds[str(b)].end
    for i in order:
        assert runs[str(i)].end == longest_chain(hours, edges, i)
        assert rounds[str(i)].end == deepest(edges, i)


@given(small_graphs())
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_critical_path_is_a_chain_of_issues_that_wait_for_each_other(template, graph):
    hours, edges, order = graph
    issues = [template(number, hours[number]) for number in order]
    records = [
        EdgeRecord(
            issue_id=f"i-{a}", depends_on_id=f"i-{b}", type=EdgeType.BLOCKS, gate=None,
            is_blocking=True,
        )
        for a, b in sorted(edges)
    ]  # fmt: skip
    found = schedule(issues, records)
    path = found.critical_path
    assert found.critical_hours == max(longest_chain(hours, edges, i) for i in order)
    assert sum(slot.hours for slot in path) == found.critical_hours
    assert all(before.id in slot.waits_for for before, slot in pairwise(path))
    assert sum(len(level) for level in found.levels) == len(issues)


@pytest.fixture
def template(queue):
    """Makes records without the database's help, from one that it gave."""
    issue = queue.create(Draft(title="template"))
    return lambda number, hours: issue._replace(id=f"i-{number}", estimated_minutes=hours * 60)


def test_the_command_prints_the_schedule(queue, lab):
    a = file(queue, "a", hours=3, labels=("agent:A",))
    file(queue, "b", after=(a,), labels=("agent:B",))
    text = CliRunner().invoke(build_app(issue_cli.app), ["schedule"]).output
    assert "level 1: a\nlevel 2: b" in text
    assert "critical path: 4 h: a -> b" in text
    shown = CliRunner().invoke(
        build_app(issue_cli.app), ["schedule", "--label", "agent:B", "--json"]
    )
    data = json.loads(shown.stdout)["data"]
    assert [slot["reference"] for slot in data["levels"][0]] == ["b"]
    assert (data["critical_path"][0], data["critical_hours"]) == (a.id, 4)
