"""This fails when a Markdown plan becomes other issues than it says, or an error names no line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arcfusion.agents.cli import issue as issue_cli
from arcfusion.agents.cli.typed import build_app
from arcfusion.issues.errors import DependencyCycleError, IssueTooLargeError, PlanError
from arcfusion.issues.markdown_plan import is_markdown, parse_markdown_plan
from arcfusion.issues.plan import file_plan
from arcfusion.issues.states import Size

PLAN = """\
# A Small Plan: Scans

```
PHASE 1 is drawn here -- # no heading, no task_id: NONE
```

## Phase Structure

### Agent-A: Scan Specialist

**Responsibility**: the scan

**Phase 1 Tasks** (Week 1-2):
```yaml
task_id: SCAN-1
name: Measure: the `scan`
files:
  - kernels/scan.py
deliverables:
  - `arcfusion bench scan`
  - Table: one line a shape
acceptance_criteria:
  - > 80% of the peak
  - [B, L, D] shapes -> same output
  - it's "exact"
  - plain text that YAML
    goes on with
dependencies: []
estimated_hours: 20
```

**Phase 2 Tasks** (Week 3-4):
```yml
task_id: SCAN-2
name: "Make it faster"
acceptance_criteria: none
dependencies: [SCAN-1, DATA-1]
estimated_hours: 2
priority: HIGH
```

---

### Agent-B: Data

```not a fence``` at the line's beginning

~~~yaml
task_id: DATA-1
name: Data
agent: Carol
dependencies: None
estimated_hours: 0.4
labels: [agent-safe]
~~~

```yaml
learning_rate: 3e-4
name: no task
```
"""


def task(key: str, *, needs: str = "", hours: float = 1, extra: str = "") -> str:
    return (
        f"```yaml\ntask_id: {key}\nname: Do {key}\ndependencies: [{needs}]\n"
        f"estimated_hours: {hours}\n{extra}```\n"
    )


def read(text: str):
    return parse_markdown_plan(text, name="plan.md")


def test_tasks_become_entries_with_agent_phase_size_and_texts():
    plan = read(PLAN)
    first, second, data = plan.issues
    assert plan.plan == "a-small-plan-scans"
    assert (first.key, first.title, first.external_ref) == (
        "SCAN-1",
        "Measure: the `scan`",
        "SCAN-1",
    )
    assert first.labels == ("agent:A", "phase:1")
    assert (first.size, first.estimated_minutes) == (Size.XL, 1200)
    assert first.acceptance == (
        '- > 80% of the peak\n- [B, L, D] shapes -> same output\n- it\'s "exact"\n'
        "- plain text that YAML goes on with"
    )
    assert "- `arcfusion bench scan`\n- Table: one line a shape" in first.description
    assert "Files:\n- kernels/scan.py" in first.description
    assert "line 14" in first.description
    assert first.metadata == {"files": ["kernels/scan.py"]}
    assert (second.depends_on, second.labels) == (("SCAN-1", "DATA-1"), ("agent:A", "phase:2"))
    assert (second.priority, second.size, second.acceptance) == (1, Size.M, "")
    assert (data.labels, data.size) == (("agent:Carol", "agent-safe"), Size.S)


@pytest.mark.parametrize(
    ("hours", "size"), [(0.49, "S"), (0.5, "M"), (2, "M"), (2.1, "L"), (6, "L"), (6.1, "XL")]
)
def test_hours_give_the_size_of_the_assessment_matrix(hours, size):
    assert read(task("A", hours=hours)).issues[0].size == size


def test_filing_keeps_every_dependency_and_again_files_nothing(queue):
    filed = file_plan(queue, read(PLAN))
    ids = {key: issue.id for key, issue in filed.issues.items()}
    edges = {(edge.issue_id, edge.depends_on_id) for edge in queue.edges()}
    assert edges == {(ids["SCAN-2"], ids["SCAN-1"]), (ids["SCAN-2"], ids["DATA-1"])}
    again = file_plan(queue, read(PLAN.replace("Measure", "Time")))
    assert again.new_keys == ()
    assert {key: issue.id for key, issue in again.issues.items()} == ids


def test_an_xl_task_is_not_ready_says_so_and_is_not_claimed(queue):
    filed = file_plan(queue, read(PLAN))
    large = filed.issues["SCAN-1"].id
    assert large not in {issue.id for issue in queue.ready()}
    assert any("must be split" in reason for reason in dict(_blocked(queue))[large])
    with pytest.raises(IssueTooLargeError, match="arcfusion issue split"):
        queue.claim(large)


def _blocked(queue):
    return [(issue.id, reasons) for issue, reasons in queue.blocked()]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# Empty\n", "has no task"),
        ("\n```yaml\ntask_id: A\n", "line 2: this ``` is never closed"),
        (task("A", needs="GHOST"), "line 1: task 'A' depends on 'GHOST', which is no task"),
        (task("A", needs="A B"), "line 1: task 'A' depends on 'A B', which is no task"),
        (
            "## Phase 1\n**Gate:** x\n" + task("phase-1") + "## Phase 2\n" + task("B"),
            "a phase's gate",
        ),
        (task("A", needs="A"), "task 'A' depends on itself"),
        (task("A") + task("A"), "line 7: task_id 'A' is that of the task in line 1 too"),
        (task("A b"), "line 1: task_id 'A b' is not allowed"),
        (task("A", extra="speed: 3\n"), "line 6: unknown key 'speed': allowed are"),
        (task("A", extra="priority: soon\n"), "priority is 'soon': allowed are 0 to 4"),
        (task("A", hours="20h"), "line 5: estimated_hours is '20h'"),
        (task("A", hours=-1), "line 5: estimated_hours is -1"),
        ("```yaml\nname: A\nestimated_hours: 1\n```\n", "line 2: a task is a mapping with"),
        ("```yaml\n- task_id: A\n```\n", "line 2: a task is a mapping with"),
        ("```yaml\ntask_id: A\n```\n", "line 1: task 'A' has no `name`"),
        ("x\n```yaml\ntask_id: A\nname: A\ndependencies: [A\n```\n", "line 5: not YAML"),
        ("```yaml\ntask_id: A\nname: A\n\tfiles: []\n```\n", "line 4: not YAML"),
        ("```yaml\ntask_id: A\nname: A\nfiles: {a: 1}\n```\n", "line 4: files is"),
    ],
)
def test_a_plan_that_can_not_be_read_names_the_line(text, problem):
    with pytest.raises(PlanError, match=r"plan\.md") as caught:
        read(text)
    assert problem in str(caught.value)


def test_a_circle_files_nothing(queue):
    with pytest.raises(DependencyCycleError):
        file_plan(queue, read(task("A", needs="B") + task("B", needs="A")))
    assert not queue.list()


GATED = (
    "# Gated\n## Phase 1: Tools (Must Complete First)\n"
    + task("A")
    + "**Gate:** all tools work\n## Phase 2: Study\n"
    + task("B")
    + "## Phase 3: Paper\n"
    + task("C")
)


def test_a_stated_gate_holds_the_next_phase_and_no_other(queue):
    filed = file_plan(queue, read(GATED))
    assert {issue.external_ref for issue in queue.ready()} == {"A", "C"}
    assert filed.issues["phase-1"].acceptance == "all tools work"
    assert filed.issues["C"].id not in {edge.issue_id for edge in queue.edges()}


def test_phases_without_a_stated_gate_do_not_wait():
    plan = read(GATED.replace(" (Must Complete First)", "").replace("**Gate:**", "Gate:"))
    assert [entry.key for entry in plan.issues] == ["A", "B", "C"]
    assert not any(entry.depends_on or entry.parent for entry in plan.issues)


def test_a_task_that_waits_for_a_later_phase_is_refused():
    text = GATED.replace("name: Do A\ndependencies: []", "name: Do A\ndependencies: [B]")
    with pytest.raises(PlanError, match="'A' depends on 'B' of phase 2"):
        read(text)


def test_the_suffix_picks_the_reader(lab):
    assert is_markdown(Path("p.MD"))
    assert not is_markdown(Path("p.yaml"))
    Path("p.md").write_text(PLAN, encoding="utf-8")
    result = CliRunner().invoke(build_app(issue_cli.app), ["import", "--plan", "p.md", "--json"])
    data = json.loads(result.stdout)["data"]
    assert data["new_keys"] == ["SCAN-1", "SCAN-2", "DATA-1"]
    assert data["too_large_keys"] == ["SCAN-1"]
