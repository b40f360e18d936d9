"""When the open issues can be worked on: levels, critical path, load, and what blocks whom.

Pure functions over issues and edges. An issue starts as soon as nothing holds it back: the schedule
says how far work can run side by side, not whether there are workers for it. Hours are those of the
estimates; nobody knows what is left of a running issue, so it counts in full. An issue without an
estimate takes no time and is counted as such; the parts of an epic share what its estimate leaves.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from arcfusion.issues.draft import Json
from arcfusion.issues.record import EdgeRecord, IssueRecord
from arcfusion.issues.states import EdgeType, IssueType
from arcfusion.issues.waiting import Node, Run, blockers, build_nodes, simulate

AGENT_LABEL = "agent:"
UNASSIGNED = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One open issue in the schedule.

    Attributes:
        reference: its name in the plan that it came from, or its id.
        level: 1 for what can start now; the others wait for one of the level before.
        start_hours: from now, at the earliest.
        hours: how long it takes.
        waits_for: the ids of the issues that hold it back.
        blocks: the ids of the issues that wait for it.
    """

    id: str
    reference: str
    title: str
    agents: tuple[str, ...]
    size: str
    level: int
    start_hours: float
    hours: float
    waits_for: tuple[str, ...]
    blocks: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Return the fields as `--json` prints them."""
        plain: dict[str, Json] = {}
        for name in Slot.__slots__:
            value = getattr(self, name)
            plain[name] = [*value] if isinstance(value, tuple) else value
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one agent has to do; the issues without an estimate add no hours."""

    agent: str
    issues: int
    hours: float
    unestimated: int

    def to_json(self) -> dict[str, Json]:
        """Return the fields as `--json` prints them."""
        return {name: getattr(self, name) for name in Load.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The open issues in the order in which they can be done.

    Attributes:
        levels: the issues of each level, in working order.
        critical_path: the chain of issues that ends last, from the first one on.
        critical_hours: from now until that end: no number of workers is faster.
        loads: by agent.
        stuck: the ids of the issues that can never start as things are.
        unestimated: the number of issues without an estimate.
    """

    levels: tuple[tuple[Slot, ...], ...]
    critical_path: tuple[Slot, ...]
    critical_hours: float
    loads: tuple[Load, ...]
    stuck: tuple[str, ...]
    unestimated: int

    def to_json(self) -> dict[str, Json]:
        """Return the schedule as `--json` prints it; the path is a list of ids."""
        return {
            "levels": [[slot.to_json() for slot in level] for level in self.levels],
            "critical_path": [slot.id for slot in self.critical_path],
            "critical_hours": self.critical_hours,
            "loads": [load.to_json() for load in self.loads],
            "stuck": [*self.stuck],
            "unestimated": self.unestimated,
        }


def schedule(
    issues: Sequence[IssueRecord], edges: Sequence[EdgeRecord], *, labels: Sequence[str] = ()
) -> Schedule:
    """Return the schedule of the open issues that carry all the labels.

    Args:
        issues: all there are, in working order, so that what a shown one waits for counts.
        edges: every dependency.
        labels: which issues are shown; the critical path leads to them, also through others.
    """
    by_id = {issue.id: issue for issue in issues}
    hours = estimate_hours(issues, edges)
    nodes = build_nodes(issues, edges)
    work = {key: node for key, node in nodes.items() if node.is_work}
    runs = simulate(nodes, {key: hours[node.issue_id] or 0.0 for key, node in work.items()})
    rounds = simulate(nodes, dict.fromkeys(work, 1.0))
    chosen = [key for key, node in work.items() if set(labels) <= set(by_id[node.issue_id].labels)]
    slots = _slots(nodes, {key: work[key] for key in work if key in runs}, by_id, runs, rounds)
    shown = [slots[key] for key in chosen if key in slots]
    last = max((key for key in chosen if key in runs), key=lambda key: runs[key].end, default=None)
    picked = [by_id[work[key].issue_id] for key in chosen]
    return Schedule(
        levels=_levels(shown),
        critical_path=_path(last, runs, slots),
        critical_hours=0.0 if last is None else runs[last].end,
        loads=_loads(picked, hours),
        stuck=tuple(work[key].issue_id for key in chosen if key not in runs),
        unestimated=sum(hours[issue.id] is None for issue in picked),
    )


def estimate_hours(
    issues: Sequence[IssueRecord], edges: Iterable[EdgeRecord]
) -> dict[str, float | None]:
    """Return each issue's estimate in hours, None without one.

    The parts of an epic that have none share evenly what its estimate leaves to them.
    """
    found = {
        issue.id: None if issue.estimated_minutes is None else issue.estimated_minutes / 60
        for issue in issues
    }
    children: dict[str, list[str]] = {}
    inner: set[str] = set()
    for edge in edges:
        if edge.type is EdgeType.PARENT_CHILD:
            children.setdefault(edge.depends_on_id, []).append(edge.issue_id)
            inner.add(edge.issue_id)
    epics = {issue.id for issue in issues if issue.type is IssueType.EPIC}
    pending = [name for name in children if name not in inner]
    while pending:
        name = pending.pop()
        parts = children.get(name, [])
        whole = found[name]
        blank = [part for part in parts if found[part] is None]
        if name in epics and whole is not None and blank:
            rest = max(whole - sum(found[part] or 0.0 for part in parts), 0.0)
            found |= dict.fromkeys(blank, rest / len(blank))
        pending += parts
    return found


def agents_of(issue: IssueRecord) -> tuple[str, ...]:
    """Return whom the labels `agent:...` name."""
    return tuple(
        label.removeprefix(AGENT_LABEL) for label in issue.labels if label.startswith(AGENT_LABEL)
    )


def _slots(
    nodes: Mapping[str, Node],
    work: Mapping[str, Node],
    by_id: Mapping[str, IssueRecord],
    runs: Mapping[str, Run],
    rounds: Mapping[str, Run],
) -> dict[str, Slot]:
    waits = {node.issue_id: blockers(nodes, key) for key, node in work.items()}
    blocks: dict[str, list[str]] = {}
    for issue_id, others in waits.items():
        for other in others:
            blocks.setdefault(other, []).append(issue_id)
    slots = {}
    for key, node in work.items():
        issue = by_id[node.issue_id]
        slots[key] = Slot(
            id=issue.id,
            reference=issue.external_ref or issue.id,
            title=issue.title,
            agents=agents_of(issue),
            size=issue.size,
            level=round(rounds[key].end),
            start_hours=runs[key].start,
            hours=runs[key].end - runs[key].start,
            waits_for=waits[issue.id],
            blocks=tuple(blocks.get(issue.id, ())),
        )
    return slots


def _levels(slots: Iterable[Slot]) -> tuple[tuple[Slot, ...], ...]:
    levels: dict[int, list[Slot]] = {}
    for slot in slots:
        levels.setdefault(slot.level, []).append(slot)
    return tuple(tuple(levels[number]) for number in sorted(levels))


def _path(last: str | None, runs: Mapping[str, Run], slots: Mapping[str, Slot]) -> tuple[Slot, ...]:
    path = []
    while last is not None:
        if last in slots:
            path.append(slots[last])
        last = runs[last].after
    return tuple(reversed(path))


def _loads(issues: Iterable[IssueRecord], hours: Mapping[str, float | None]) -> tuple[Load, ...]:
    shares: dict[str, list[float | None]] = {}
    for issue in issues:
        for agent in agents_of(issue) or (UNASSIGNED,):
            shares.setdefault(agent, []).append(hours[issue.id])
    return tuple(
        Load(
            agent=agent,
            issues=len(share),
            hours=sum(part or 0.0 for part in share),
            unestimated=sum(part is None for part in share),
        )
        for agent, share in sorted(shares.items())
    )
