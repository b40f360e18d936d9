"""What each open issue waits for, as a graph of nodes that end: the same rules as `issues.graph`.

An issue with open children has two nodes: its own work, and its end, which is when the children
have ended too. An epic has no work of its own. A part is held back by what holds its parents back.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from arcfusion.issues.record import EdgeRecord, IssueRecord
from arcfusion.issues.states import EdgeType, Gate, IssueType, Status

# A node that never ends.
NEVER = "never"
_WORK = "{}#work"


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes that must have ended: all of them, or any one."""

    members: tuple[str, ...]
    is_any: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Something that starts when every group lets it, and ends later.

    Attributes:
        key: the issue's id for its end; another word for the work of an issue with open children.
        is_work: someone does it; otherwise it only ends when others have.
    """

    key: str
    issue_id: str
    is_work: bool
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """When a node starts and ends, and the node whose end let it start."""

    start: float
    end: float
    after: str | None


def build_nodes(issues: Sequence[IssueRecord], edges: Iterable[EdgeRecord]) -> dict[str, Node]:
    """Return the nodes of the open issues by key, in the order of the issues."""
    graph = _Graph({issue.id: issue for issue in issues})
    for edge in edges:
        graph.add(edge)
    nodes: dict[str, Node] = {}
    for issue in issues:
        if issue.status is not Status.CLOSED:
            nodes |= {node.key: node for node in graph.nodes_of(issue)}
    return nodes


def simulate(nodes: Mapping[str, Node], durations: Mapping[str, float]) -> dict[str, Run]:
    """Return when each node runs if it starts as soon as it may; those that never do are left out.

    Args:
        nodes: by key.
        durations: of the nodes that take time, by key; the others take none.
    """
    missing = {key: [_needed(group) for group in node.groups] for key, node in nodes.items()}
    open_groups = {key: sum(n > 0 for n in counts) for key, counts in missing.items()}
    waiting = _waiting(nodes)
    order = {key: place for place, key in enumerate(nodes)}
    runs: dict[str, Run] = {}
    queue: list[tuple[float, int, str]] = []

    def begin(key: str, start: float, after: str | None) -> None:
        runs[key] = Run(start=start, end=start + durations.get(key, 0.0), after=after)
        heapq.heappush(queue, (runs[key].end, order[key], key))

    for key, number in open_groups.items():
        if number == 0:
            begin(key, 0.0, None)
    while queue:
        now, _, ended = heapq.heappop(queue)
        for key, number in waiting.get(ended, ()):
            missing[key][number] -= 1
            if missing[key][number] == 0:
                open_groups[key] -= 1
                if open_groups[key] == 0:
                    begin(key, now, ended)
    return runs


def blockers(nodes: Mapping[str, Node], key: str) -> tuple[str, ...]:
    """Return the issues whose work the node waits for directly, through epics, each once."""
    found: dict[str, None] = {}
    pending = [member for group in nodes[key].groups for member in group.members]
    seen: set[str] = set()
    while pending:
        member = pending.pop(0)
        node = nodes.get(member)
        if node is None or member in seen:
            continue
        seen.add(member)
        if node.is_work or not node.groups:
            found[node.issue_id] = None
        else:
            pending += [name for group in node.groups for name in group.members]
    return tuple(found)


def _waiting(nodes: Mapping[str, Node]) -> dict[str, list[tuple[str, int]]]:
    """Return the groups that each node is in: the key of the waiting node, the group's place."""
    found: dict[str, list[tuple[str, int]]] = {}
    for key, node in nodes.items():
        for number, group in enumerate(node.groups):
            for member in group.members:
                found.setdefault(member, []).append((key, number))
    return found


def _needed(group: Group) -> int:
    return 1 if group.is_any else len(group.members)


@dataclass(frozen=True, slots=True)
class _Graph:
    """The edges by issue while the nodes are made."""

    issues: Mapping[str, IssueRecord]
    waits: dict[str, list[EdgeRecord]] = field(default_factory=dict)
    parents: dict[str, list[str]] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)

    def add(self, edge: EdgeRecord) -> None:
        if edge.type is EdgeType.PARENT_CHILD:
            self.parents.setdefault(edge.issue_id, []).append(edge.depends_on_id)
            self.children.setdefault(edge.depends_on_id, []).append(edge.issue_id)
        elif edge.type in {EdgeType.BLOCKS, EdgeType.CONDITIONAL_BLOCKS, EdgeType.WAITS_FOR}:
            self.waits.setdefault(edge.issue_id, []).append(edge)

    def nodes_of(self, issue: IssueRecord) -> list[Node]:
        groups = self._groups(issue.id)
        children = self._open(self.children.get(issue.id, ()))
        is_epic = issue.type is IssueType.EPIC
        if not children:
            return [Node(key=issue.id, issue_id=issue.id, is_work=not is_epic, groups=groups)]
        work = _WORK.format(issue.id)
        own = [] if is_epic else [work]
        end = Node(
            key=issue.id,
            issue_id=issue.id,
            is_work=False,
            groups=(Group((*own, *children)),),
        )
        if is_epic:
            return [end]
        return [Node(key=work, issue_id=issue.id, is_work=True, groups=groups), end]

    def _groups(self, issue_id: str) -> tuple[Group, ...]:
        """What holds the issue back: its own edges, and those of all that it is part of."""
        found: list[Group] = []
        line = [issue_id]
        seen: set[str] = set()
        while line:
            name = line.pop()
            if name in seen:
                continue
            seen.add(name)
            found += [group for edge in self.waits.get(name, ()) for group in self._group(edge)]
            line += self._open(self.parents.get(name, ()))
        return tuple(found)

    def _group(self, edge: EdgeRecord) -> list[Group]:
        target = edge.depends_on_id
        if not edge.is_blocking:
            return []
        if edge.type is EdgeType.WAITS_FOR and self.children.get(target):
            children = self._open(self.children[target])
            return [Group(tuple(children), is_any=edge.gate is Gate.ANY_CHILDREN)]
        if self.issues[target].status is Status.CLOSED:
            return [Group((NEVER,))]
        return [Group((target,))]

    def _open(self, issue_ids: Iterable[str]) -> list[str]:
        return [name for name in issue_ids if self.issues[name].status is not Status.CLOSED]
