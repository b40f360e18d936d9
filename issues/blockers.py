"""The blocker counter from its definition, over plain rows: what `issues.graph` keeps in SQL.

It is written apart from the statements there on purpose: replay and tests compare the two.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from arcfusion.issues.states import UNSUCCESSFUL_OUTCOMES, EdgeType, Gate, Status

Record = Mapping[str, Any]


def count_blockers(issues: Iterable[Record], edges: Iterable[Record]) -> dict[str, int]:
    """Return for each issue the number of its edges that hold it back.

    Args:
        issues: with `id`, `status` and `outcome`.
        edges: with `issue_id`, `depends_on_id`, `type` and `gate`; those of an issue that is not
            among `issues` are passed over. Parents form no circle.
    """
    by_id = {issue["id"]: issue for issue in issues}
    known = [e for e in edges if e["issue_id"] in by_id and e["depends_on_id"] in by_id]
    children: dict[str, list[str]] = defaultdict(list)
    for edge in known:
        if edge["type"] == EdgeType.PARENT_CHILD:
            children[edge["depends_on_id"]].append(edge["issue_id"])
    counts = dict.fromkeys(by_id, 0)
    for edge in known:
        if edge["type"] != EdgeType.PARENT_CHILD:
            counts[edge["issue_id"]] += _holds(edge, by_id, children)
    return _inherit(counts, by_id, children)


def _holds(edge: Record, by_id: Mapping[str, Record], children: Mapping[str, list[str]]) -> bool:
    other = by_id[edge["depends_on_id"]]
    is_closed = _is_closed(other)
    match edge["type"]:
        case EdgeType.BLOCKS:
            return not is_closed
        case EdgeType.CONDITIONAL_BLOCKS:
            return not (is_closed and other["outcome"] in UNSUCCESSFUL_OUTCOMES)
        case EdgeType.WAITS_FOR:
            ends = [_is_closed(by_id[child]) for child in children.get(other["id"], ())]
            # Without children, the issue itself stands for them.
            wanted = any if edge["gate"] == Gate.ANY_CHILDREN else all
            return not wanted(ends or [is_closed])
        case _:
            return False


def _inherit(
    counts: dict[str, int], by_id: Mapping[str, Record], children: Mapping[str, list[str]]
) -> dict[str, int]:
    """Add one for each parent that is held back itself, parents before their children."""
    waiting: dict[str, int] = defaultdict(int)
    for own in children.values():
        for child in own:
            waiting[child] += 1
    settled = [parent for parent in children if waiting[parent] == 0]
    while settled:
        parent = settled.pop()
        holds = counts[parent] > 0 and not _is_closed(by_id[parent])
        for child in children.get(parent, ()):
            counts[child] += holds
            waiting[child] -= 1
            if waiting[child] == 0:
                settled.append(child)
    return counts


def _is_closed(issue: Record) -> bool:
    return bool(issue["status"] == Status.CLOSED)
