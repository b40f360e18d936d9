"""The dependency graph: what waits for what, the counter that `ready` reads, and no cycles.

An edge always reads "`issue_id` depends on `depends_on_id`", and `sentence` spells it out. Four
types hold an issue back:

- `blocks`: until the other one is closed, whatever its outcome.
- `conditional-blocks`: until the other one is closed without success; for ever when it is done.
- `waits-for`: until all (or any) of the other one's children are closed.
- `parent-child`: while something holds the parent back; that the parent is open does not.

`issue.blocked_by` is the number of edges that hold the issue back. It is counted anew, in the same
transaction, for every issue that a change can reach.
"""

from collections import deque
from collections.abc import Iterable

from arcfusion.core.database import Connection, Row
from arcfusion.issues.draft import Edge
from arcfusion.issues.errors import DependencyCycleError, DependencyUnknownError
from arcfusion.issues.record import EdgeRecord
from arcfusion.issues.states import (
    BLOCKING_EDGES,
    UNSUCCESSFUL_OUTCOMES,
    EdgeType,
    EventType,
    Gate,
    Status,
)
from arcfusion.issues.transaction import Transaction

_BLOCKING = ", ".join(f"'{member}'" for member in sorted(BLOCKING_EDGES))
_UNSUCCESSFUL = ", ".join(f"'{member}'" for member in sorted(UNSUCCESSFUL_OUTCOMES))

_CHILD = (
    "SELECT 1 FROM dependency k JOIN issue c ON c.id = k.issue_id"
    " WHERE k.depends_on_id = b.id AND k.type = 'parent-child'"
)

# Whether edge d holds its issue back, b being the issue that it depends on.
_HOLDS = f"""CASE d.type
    WHEN 'blocks' THEN b.status <> 'closed'
    WHEN 'conditional-blocks'
        THEN NOT (b.status = 'closed' AND b.outcome IN ({_UNSUCCESSFUL}))
    WHEN 'parent-child' THEN b.status <> 'closed' AND b.blocked_by > 0
    WHEN 'waits-for' THEN CASE d.gate
        WHEN 'any-children' THEN NOT (
            EXISTS ({_CHILD} AND c.status = 'closed')
            OR (b.status = 'closed' AND NOT EXISTS ({_CHILD})))
        ELSE EXISTS ({_CHILD} AND c.status <> 'closed')
            OR (b.status <> 'closed' AND NOT EXISTS ({_CHILD}))
        END
    ELSE false END"""

_EDGES = (
    f"SELECT d.*, {_HOLDS} AS is_blocking FROM dependency d JOIN issue b ON b.id = d.depends_on_id"  # noqa: S608  # constants
)
_COUNT = f"""SELECT blocked_by, (SELECT count(*) FROM dependency d JOIN issue b
    ON b.id = d.depends_on_id WHERE d.issue_id = issue.id AND {_HOLDS}) AS counted
    FROM issue WHERE id = ?"""  # noqa: S608  # constants

_OPEN_PAIR = (
    "FROM dependency d JOIN issue i ON i.id = d.issue_id AND i.status <> 'closed'"
    " JOIN issue b ON b.id = d.depends_on_id"
)
_PAIRS = f"""SELECT d.issue_id, d.depends_on_id {_OPEN_PAIR} WHERE b.status <> 'closed'
    AND d.type IN ({_BLOCKING}) AND (d.type <> 'waits-for' OR NOT EXISTS ({_CHILD})) AND {_HOLDS}
    UNION SELECT d.issue_id, m.issue_id {_OPEN_PAIR}
    JOIN dependency m ON m.depends_on_id = b.id AND m.type = 'parent-child'
    JOIN issue x ON x.id = m.issue_id AND x.status <> 'closed'
    WHERE d.type = 'waits-for' AND {_HOLDS} LIMIT ?"""  # constants

# What an issue waits for directly, the children behind a waits-for edge included, and the reverse.
_SUCCESSORS = f"""SELECT depends_on_id FROM dependency WHERE issue_id = ?1 AND type IN ({_BLOCKING})
    UNION SELECT k.issue_id FROM dependency w JOIN dependency k
    ON k.depends_on_id = w.depends_on_id AND k.type = 'parent-child'
    WHERE w.issue_id = ?1 AND w.type = 'waits-for'"""  # noqa: S608  # constants
_PREDECESSORS = f"""SELECT issue_id FROM dependency
    WHERE depends_on_id = ?1 AND type IN ({_BLOCKING})
    UNION SELECT w.issue_id FROM dependency k JOIN dependency w
    ON w.depends_on_id = k.depends_on_id AND w.type = 'waits-for'
    WHERE k.issue_id = ?1 AND k.type = 'parent-child'"""  # noqa: S608  # constants

_SENTENCES = {
    EdgeType.BLOCKS: "{a} waits for {b}",
    EdgeType.CONDITIONAL_BLOCKS: "{a} runs only if {b} does not succeed",
    EdgeType.PARENT_CHILD: "{a} is part of {b}",
    EdgeType.RELATED: "{a} is related to {b}",
    EdgeType.DISCOVERED_FROM: "{a} was found while working on {b}",
    EdgeType.SUPERSEDES: "{a} replaces {b}",
    EdgeType.DUPLICATES: "{a} is the same as {b}",
}


def sentence(issue_id: str, edge: Edge) -> str:
    """Return the edge in words, so that its direction can not be misread."""
    if edge.type is EdgeType.WAITS_FOR:
        share = "any child" if edge.gate is Gate.ANY_CHILDREN else "all children"
        return f"{issue_id} waits for {share} of {edge.depends_on_id}"
    return _SENTENCES[edge.type].format(a=issue_id, b=edge.depends_on_id)


def add_edge(tx: Transaction, issue_id: str, edge: Edge) -> bool:
    """Store the edge and count anew; False when it was there already.

    Raises:
        IssueUnknownError: the issue does not exist.
        DependencyUnknownError: what it depends on does not exist.
        DependencyCycleError: an issue would wait for itself.
    """
    tx.issue_row(issue_id)
    if tx.row("SELECT 1 FROM issue WHERE id = ?", edge.depends_on_id) is None:
        raise DependencyUnknownError(
            f"issue {issue_id!r} can not depend on {edge.depends_on_id!r}: there is no such issue"
        )
    if issue_id == edge.depends_on_id:
        raise DependencyCycleError(f"issue {issue_id!r} can not depend on itself")
    gate = (edge.gate or Gate.ALL_CHILDREN) if edge.type is EdgeType.WAITS_FOR else None
    known = tx.row(
        "SELECT 1 FROM dependency WHERE issue_id = ? AND depends_on_id = ? AND type = ?",
        issue_id,
        edge.depends_on_id,
        edge.type,
    )
    if known is not None:
        return False
    tx.run_one(
        "INSERT INTO dependency (issue_id, depends_on_id, type, gate, created_at, created_by)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        issue_id,
        edge.depends_on_id,
        edge.type,
        gate,
        tx.now,
        tx.actor,
    )
    if edge.type in BLOCKING_EDGES:
        _refuse_cycle(tx, issue_id, edge)
        recount(tx, _touched(tx, issue_id, edge))
    tx.log(
        EventType.DEPENDENCY_ADDED,
        issue_id,
        after={"depends_on_id": edge.depends_on_id, "type": edge.type, "gate": gate},
    )
    return True


def remove_edge(tx: Transaction, issue_id: str, edge: Edge) -> None:
    """Delete the edge and count anew.

    Raises:
        DependencyUnknownError: there is no such edge.
    """
    row = tx.row(
        "DELETE FROM dependency WHERE issue_id = ? AND depends_on_id = ? AND type = ?"
        " RETURNING gate",
        issue_id,
        edge.depends_on_id,
        edge.type,
    )
    if row is None:
        raise DependencyUnknownError(
            f"no dependency {issue_id!r} -> {edge.depends_on_id!r} of type {edge.type}: "
            f"`arcfusion issue dep list {issue_id}` shows those that exist"
        )
    tx.log(
        EventType.DEPENDENCY_REMOVED,
        issue_id,
        before={"depends_on_id": edge.depends_on_id, "type": edge.type, "gate": row["gate"]},
    )
    if edge.type in BLOCKING_EDGES:
        recount(tx, _touched(tx, issue_id, edge))


def has_edges(tx: Transaction, issue_id: str) -> bool:
    """Return whether the issue depends on another one, or another one on it."""
    sql = "SELECT 1 FROM dependency WHERE issue_id = ? OR depends_on_id = ? LIMIT 1"
    return tx.row(sql, issue_id, issue_id) is not None


def settle(tx: Transaction, issue_id: str) -> None:
    """Count anew what waits for the issue, after its status or outcome changed."""
    recount(tx, _neighbours(tx.connection, _PREDECESSORS, issue_id))


def recount(tx: Transaction, issue_ids: Iterable[str]) -> None:
    """Set `blocked_by` of the issues, and of the children of each that became blocked or free."""
    pending = deque(issue_ids)
    while pending:
        issue_id = pending.popleft()
        row = tx.row(_COUNT, issue_id)
        assert row is not None
        before, counted = row
        if before == counted:
            continue
        tx.run("UPDATE issue SET blocked_by = ? WHERE id = ?", counted, issue_id)
        if (before > 0) != (counted > 0):
            children = tx.rows(
                "SELECT issue_id FROM dependency WHERE depends_on_id = ? AND type = 'parent-child'",
                issue_id,
            )
            pending.extend(child for (child,) in children)


def edges_of(connection: Connection, issue_id: str) -> tuple[EdgeRecord, ...]:
    """Return what the issue depends on."""
    sql = f"{_EDGES} WHERE d.issue_id = ? ORDER BY d.type, d.depends_on_id"
    return tuple(_read_edge(row) for row in connection.execute(sql, (issue_id,)))


def edges_to(connection: Connection, issue_id: str) -> tuple[EdgeRecord, ...]:
    """Return what depends on the issue."""
    sql = f"{_EDGES} WHERE d.depends_on_id = ? ORDER BY d.type, d.issue_id"
    return tuple(_read_edge(row) for row in connection.execute(sql, (issue_id,)))


def all_edges(connection: Connection) -> tuple[EdgeRecord, ...]:
    """Return every edge, by issue."""
    sql = f"{_EDGES} ORDER BY d.issue_id, d.type, d.depends_on_id"
    return tuple(_read_edge(row) for row in connection.execute(sql))


def waiting_pairs(connection: Connection, limit: int) -> list[tuple[str, str]]:
    """Return pairs of open issues (one, what it waits for now), at most so many.

    Who waits for the children of an issue waits for each child that is open, not for the issue.
    """
    rows = connection.execute(_PAIRS, (limit,)).fetchall()
    return [(waiter, target) for waiter, target in rows]


def open_children(tx: Transaction, issue_id: str) -> list[str]:
    """Return the ids of the issue's children that are not closed."""
    rows = tx.rows(
        "SELECT c.id FROM dependency k JOIN issue c ON c.id = k.issue_id WHERE k.depends_on_id = ?"
        " AND k.type = 'parent-child' AND c.status <> 'closed' ORDER BY c.id",
        issue_id,
    )
    return [child for (child,) in rows]


def explain_blockers(connection: Connection, issue_id: str) -> list[str]:
    """Return one sentence for each edge that holds the issue back, with the other one's status."""
    reasons = []
    for edge in edges_of(connection, issue_id):
        if edge.is_blocking:
            (status,) = connection.execute(
                "SELECT status FROM issue WHERE id = ?", (edge.depends_on_id,)
            ).fetchone()
            reasons.append(f"{sentence(issue_id, edge.edge)}, {_state(edge, Status(status))}")
    return reasons


def _state(edge: EdgeRecord, status: Status) -> str:
    if edge.type is EdgeType.PARENT_CHILD:
        return "which waits itself"
    if status is Status.CLOSED and edge.type is EdgeType.CONDITIONAL_BLOCKS:
        return "which succeeded"
    return f"which is {status.replace('_', ' ')}"


def _read_edge(row: Row) -> EdgeRecord:
    return EdgeRecord(
        issue_id=row["issue_id"],
        depends_on_id=row["depends_on_id"],
        type=EdgeType(row["type"]),
        gate=None if row["gate"] is None else Gate(row["gate"]),
        is_blocking=bool(row["is_blocking"]),
    )


def _touched(tx: Transaction, issue_id: str, edge: Edge) -> list[str]:
    """The issue, and for a new or lost child those that wait for the parent's children."""
    if edge.type is not EdgeType.PARENT_CHILD:
        return [issue_id]
    waiting = tx.rows(
        "SELECT issue_id FROM dependency WHERE depends_on_id = ? AND type = 'waits-for'",
        edge.depends_on_id,
    )
    return [issue_id, *(waiter for (waiter,) in waiting)]


def _neighbours(connection: Connection, sql: str, issue_id: str) -> list[str]:
    return [found for (found,) in connection.execute(sql, (issue_id,))]


def _refuse_cycle(tx: Transaction, issue_id: str, edge: Edge) -> None:
    path = _find_cycle(tx.connection, issue_id)
    if path is not None:
        raise DependencyCycleError(
            f"{sentence(issue_id, edge)} would close a circle: " + " -> ".join(path)
        )


def _find_cycle(connection: Connection, start: str) -> list[str] | None:
    """Return a path start -> ... -> start, or None.

    Searched from both ends, always on the smaller side: a new issue has nothing that waits for it,
    so its edges cost one look-up however long the chain is that they join.
    """
    ahead: dict[str, str | None] = {start: None}
    behind: dict[str, str | None] = {start: None}
    front, back = [start], [start]
    while front and back:
        forward = len(front) <= len(back)
        edge_set, seen, other = (front, ahead, behind) if forward else (back, behind, ahead)
        sql = _SUCCESSORS if forward else _PREDECESSORS
        found: list[str] = []
        for node in edge_set:
            for neighbour in _neighbours(connection, sql, node):
                if neighbour in other:
                    near = [*_walk(seen, node)]
                    far = [*_walk(other, neighbour)]
                    return [*near[::-1], *far] if forward else [*far[::-1], *near]
                if neighbour not in seen:
                    seen[neighbour] = node
                    found.append(neighbour)
        if forward:
            front = found
        else:
            back = found
    return None


def _walk(origins: dict[str, str | None], node: str) -> Iterable[str]:
    current: str | None = node
    while current is not None:
        yield current
        current = origins[current]
