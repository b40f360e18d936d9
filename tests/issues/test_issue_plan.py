from pathlib import Path

import pytest

import arcfusion.experiments
from arcfusion.issues.draft import Draft
from arcfusion.issues.errors import DependencyCycleError, PlanError
from arcfusion.issues.plan import file_plan, load_plan, parse_plan

BACKLOG = Path(arcfusion.experiments.__file__).parent / "plans" / "backlog.yaml"

PLAN = """
plan: small
issues:
  - {key: last, title: Last, depends_on: [first], parent: whole}
  - {key: first, title: First, needs: {gpus: 1, gpu_memory_gib: 24}}
  - {key: whole, id: lab-whole, title: Whole, type: epic}
"""


def test_entries_may_name_later_ones_and_keep_the_files_order(queue):
    filed = file_plan(queue, parse_plan(PLAN, name="plan"))
    first, last = filed.issues["first"], filed.issues["last"]
    assert filed.new_keys == ("last", "first", "whole")
    assert first.needs.gpu_memory_bytes == 24 * 2**30
    edges = {(edge.type, edge.depends_on_id) for edge in queue.show(last.id).dependencies}
    assert edges == {("blocks", first.id), ("parent-child", "lab-whole")}
    assert [issue.title for issue in queue.list()] == ["Last", "First", "Whole"]


def test_filing_again_adds_only_what_is_new(queue):
    first = file_plan(queue, parse_plan(PLAN, name="plan"))
    queue.update(first.issues["last"].id, {"title": "Changed"})
    longer = PLAN + "  - {key: more, title: More, depends_on: [last]}\n"
    second = file_plan(queue, parse_plan(longer, name="plan"))
    assert second.new_keys == ("more",)
    assert second.issues["last"].title == "Changed"
    (edge,) = queue.show(second.issues["more"].id).dependencies
    assert edge.depends_on_id == first.issues["last"].id


def test_ids_are_the_same_in_every_lab_and_give_way_to_taken_ones(queue, rival):
    plan = parse_plan("plan: p\nissues: [{key: a, title: A}]", name="plan")
    made = file_plan(queue, plan).issues["a"].id
    assert made.startswith("arcfusion-")
    other = parse_plan("plan: p\nissues: [{key: b, title: B}]", name="plan")
    taken = queue.create(Draft(title="taken")).id
    assert file_plan(queue, other).issues["b"].id != taken
    assert file_plan(rival, plan).issues["a"].id == made


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("plan: p\nissues:\n  - {key: a, title: [}", "line 3"),
        ("- a", "must have the keys"),
        ("plan: p\nissues: []", "issues"),
        ("plan: p\nissues: [{key: a}]", "entry 'a', title"),
        ("plan: p\nissues: [{key: a, title: A, priority: 9}]", "entry 'a', priority is '9'"),
        ("plan: p\nissues: [{key: a, title: A, prio: 1}]", "entry 'a', prio"),
        (
            "plan: p\nissues: [{key: a, title: A}, {key: a, title: B}]",
            "two entries have the key 'a'",
        ),
        (
            "plan: p\nissues: [{key: a, title: A, depends_on: [ghost]}]",
            "entry 'a' depends on 'ghost' .blocks., which is no entry",
        ),
        ("plan: p\nissues: [{key: a, title: A, labels: ['two words']}]", "entry 'a': label"),
    ],
)
def test_a_plan_that_is_none_says_where(queue, text, problem):
    with pytest.raises(PlanError, match=problem):
        file_plan(queue, parse_plan(text, name="plan.yaml"))
    assert not queue.list()


def test_a_circle_in_a_plan_files_nothing(queue):
    entries = "{key: a, title: A, depends_on: [b]}, {key: b, title: B, depends_on: [a]}"
    text = f"plan: p\nissues: [{entries}]"
    with pytest.raises(DependencyCycleError):
        file_plan(queue, parse_plan(text, name="plan"))
    assert not queue.list()


def test_a_missing_plan_is_named(tmp_path):
    with pytest.raises(PlanError, match=r"nothing\.yaml"):
        load_plan(tmp_path / "nothing.yaml")


def test_the_backlog_files_and_holds_three_agent_safe_studies(queue):
    filed = file_plan(queue, load_plan(BACKLOG))
    safe = queue.list(labels=["agent-safe"])
    assert [issue.id for issue in safe] == [
        filed.issues[key].id for key in ("cpu-mixers", "cpu-placement", "cpu-dream")
    ]
    for issue in safe:
        assert issue.priority == 1
        assert issue.needs.gpus == 0
        assert isinstance(issue.metadata["study"], dict)
        assert any(label.startswith("role:") for label in issue.labels)
    assert [issue.id for issue in queue.ready(labels=["agent-safe"])] == [i.id for i in safe[:2]]
    for name in ("8ys", "ekl", "zdr", "a8o", "l3i", "gb6"):
        assert filed.issues[name].id == f"arcfusion-{name}"
    assert all(issue.acceptance for issue in filed.issues.values())
    needing = {issue.id for issue in filed.issues.values() if issue.needs.gpus}
    assert needing == {issue.id for issue in queue.list(labels=["needs-gpu"])}
