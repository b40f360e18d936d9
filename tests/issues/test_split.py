"""This fails when a split loses an edge, or an epic ends without or against its children."""

import json

import pytest
from typer.testing import CliRunner

from arcfusion.agents.cli import issue as issue_cli
from arcfusion.agents.cli.typed import build_app
from arcfusion.core.errors import ArcFusionError
from arcfusion.issues.draft import Draft, Edge, Needs
from arcfusion.issues.errors import (
    IssueTooLargeError,
    PhaseHeldError,
    PhaseUnknownError,
    SplitRefusedError,
)
from arcfusion.issues.evidence import Evidence
from arcfusion.issues.markdown_plan import parse_markdown_plan
from arcfusion.issues.phases import read_gate
from arcfusion.issues.plan import file_plan
from arcfusion.issues.splitting import Part
from arcfusion.issues.states import EdgeType, IssueType, Outcome, Size, Status

WORKED = [Evidence.parse("command:0:make test")]


@pytest.fixture
def large(queue):
    first = queue.create(Draft(title="first"))
    draft = Draft(
        title="large",
        size=Size.XL,
        priority=1,
        labels=("agent:A", "phase:1"),
        needs=Needs(skills=("triton",)),
        external_ref="X-1",
        edges=(Edge(EdgeType.BLOCKS, first.id),),
    )
    return queue.create(draft)


def after(queue, issue):
    return queue.create(Draft(title="after", edges=(Edge(EdgeType.BLOCKS, issue.id),)))


def done(queue, issue):
    queue.close(issue.id, Outcome.DONE, evidence=WORKED)


def ready_titles(queue):
    return [issue.title for issue in queue.ready()]


def test_the_parts_are_smaller_and_wait_for_what_the_whole_waited_for(queue, large):
    one, two = queue.split(large.id, [Part("one"), Part("two", 20)])
    assert (one.size, two.size) == (Size.L, Size.S)
    assert (one.estimated_minutes, two.estimated_minutes) == (None, 20)
    assert (one.labels, one.priority, one.needs.skills) == (large.labels, 1, ("triton",))
    assert (one.external_ref, two.external_ref) == ("X-1/1", "X-1/2")
    assert queue.fetch(large.id).type is IssueType.EPIC
    assert ready_titles(queue) == ["first"]
    done(queue, queue.ready()[0])
    assert ready_titles(queue) == ["one", "two"]
    with pytest.raises(IssueTooLargeError, match="epic"):
        queue.claim(large.id)


def test_the_epic_closes_with_its_last_part_and_frees_what_waited(queue, large):
    last = after(queue, large)
    one, two = queue.split(large.id, [Part("one"), Part("two")])
    done(queue, one)
    assert queue.fetch(large.id).status is Status.OPEN
    assert queue.fetch(last.id).blocked_by == 1
    done(queue, two)
    closed = queue.fetch(large.id)
    assert (closed.status, closed.outcome) == (Status.CLOSED, Outcome.DONE)
    assert closed.evidence == tuple(WORKED)
    assert two.id in closed.close_reason
    assert queue.fetch(last.id).blocked_by == 0


def test_the_epic_ends_as_its_worst_part(queue, large):
    one, two, three = queue.split(large.id, [Part("one"), Part("two"), Part("three")])
    done(queue, one)
    queue.close(two.id, Outcome.FAILED, reason="no way")
    queue.close(three.id, Outcome.DUPLICATE, reason="of one")
    assert queue.fetch(large.id).outcome is Outcome.FAILED


def test_a_part_that_is_reopened_opens_the_epic_and_holds_what_waited(queue, large):
    last = after(queue, large)
    one, two = queue.split(large.id, [Part("one"), Part("two")])
    inner = queue.split(two.id, [Part("a"), Part("b")])
    for issue in (one, *inner):
        done(queue, issue)
    assert queue.fetch(large.id).outcome is Outcome.DONE
    queue.reopen(inner[0].id, "not yet")
    states = [queue.fetch(issue.id).status for issue in (two, large)]
    assert states == [Status.OPEN, Status.OPEN]
    assert queue.fetch(last.id).blocked_by == 1


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ([Part("one")], "at least 2"),
        ([Part("one"), Part("two", 361)], "of 6.01667 h is of size XL, not smaller"),
    ],
)
def test_a_split_that_is_none_writes_nothing(queue, large, parts, problem):
    before = len(queue.events())
    with pytest.raises(SplitRefusedError, match=problem):
        queue.split(large.id, parts)
    assert len(queue.events()) == before


def test_epics_small_claimed_and_closed_issues_are_not_split(queue, large):
    parts = [Part("one"), Part("two")]
    queue.split(large.id, parts)
    with pytest.raises(SplitRefusedError, match="epic already"):
        queue.split(large.id, parts)
    small = queue.create(Draft(title="small", size=Size.S))
    with pytest.raises(SplitRefusedError, match="the smallest"):
        queue.split(small.id, parts)
    claimed = queue.claim(queue.create(Draft(title="claimed")).id)
    with pytest.raises(SplitRefusedError, match="in progress"):
        queue.split(claimed.issue_id, parts)


def test_an_epic_of_another_kind_is_left_to_a_person(queue):
    epic = queue.create(Draft(title="epic", type=IssueType.EPIC))
    child = queue.create(Draft(title="c", edges=(Edge(EdgeType.PARENT_CHILD, epic.id),)))
    done(queue, child)
    assert queue.fetch(epic.id).status is Status.OPEN


GATED = """# Gated
## Phase 1: Tools
**Gate:** all of it works
```yaml
task_id: A
name: A
```
```yaml
task_id: B
name: B
```
## Phase 2: Study
```yaml
task_id: C
name: C
```
"""


def test_a_phase_starts_when_all_of_the_former_is_done_and_not_when_some_failed(queue):
    filed = file_plan(queue, parse_markdown_plan(GATED, name="plan.md")).issues
    gate = read_gate(queue, "1")
    assert (gate.holds, gate.issues, gate.done) == (False, 3, 0)
    done(queue, filed["A"])
    queue.close(filed["B"].id, Outcome.FAILED, reason="no way")
    assert not queue.ready()
    holdups = {holdup.issue.title: holdup.reasons for holdup in read_gate(queue, "phase:1").holdups}
    assert "closed as failed" in holdups["B"][0]
    queue.reopen(filed["B"].id, "another try")
    done(queue, filed["B"])
    assert read_gate(queue, "1").holds
    assert ready_titles(queue) == ["C"]
    assert not read_gate(queue, "2").holds
    with pytest.raises(PhaseUnknownError, match="the phases here are 1, 2"):
        read_gate(queue, "9")


def invoke(*arguments: str):
    return CliRunner().invoke(build_app(issue_cli.app), [*arguments])


def test_the_commands_split_show_the_gate_and_refuse(queue, large):
    made = invoke("split", large.id, "--into", "one", "--into", "two", "--hours", "3",
                  "--hours", "2", "--json")  # fmt: skip
    data = json.loads(made.stdout)["data"]
    assert [child["size"] for child in data["children"]] == ["L", "M"]
    assert data["epic"]["type"] == "epic"
    shut = invoke("gate", "1", "--json")
    assert isinstance(shut.exception, PhaseHeldError)
    assert json.loads(shut.stdout)["data"]["done"] == 0
    done(queue, queue.ready()[0])
    for child in data["children"]:
        queue.close(child["id"], Outcome.DONE, evidence=WORKED)
    opened = invoke("gate", "1")
    assert (opened.exit_code, opened.stdout) == (0, "phase 1: holds, 3 of 3 issues are done\n")
    wrong = invoke("split", large.id, "--into", "one", "--hours", "1", "--hours", "2")
    assert isinstance(wrong.exception, ArcFusionError)
    assert wrong.exception.exit_code == 2


def test_parts_too_large_for_the_estimate_are_said(queue):
    whole = queue.create(Draft(title="whole", size=Size.XL, estimated_minutes=20 * 60))
    result = invoke("split", whole.id, "--into", "one", "--into", "two")
    assert "10.0 h a part" in result.output
