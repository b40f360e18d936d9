"""What is wrong with the tables of the queue, and what to do about it. Reads only.

Each rule is looked at from its definition, apart from the statements that keep it. Nothing is ever
repaired here, and no advice deletes an edge or a claim: what made the damage is not known.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from arcfusion.core.database import SQLITE, Connection
from arcfusion.core.lab_file import LabConnection, find_damage
from arcfusion.issues.blockers import count_blockers
from arcfusion.issues.clock import read_database_clock
from arcfusion.issues.states import BLOCKING_EDGES, IssueType, Outcome, Size, Status

SHOWN = 5
_RESTORE = "stop the workers and restore the newest backup that is whole (`arcfusion restore`)"


class State(StrEnum):
    """What a finding means."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: its name.
        state: `wrong` when the queue can not be relied on.
        detail: what was seen.
        advice: what to do; empty when all is well.
    """

    check: str
    state: State
    detail: str
    advice: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the fields as `--json` prints them."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """A rule of the tables: `look` returns each place that breaks it, in words."""

    check: str
    holds: str
    look: Callable[[Connection], Sequence[str]]
    advice: str = _RESTORE
    broken: State = State.WRONG


def examine(connection: Connection, *, deep: bool = False) -> Iterator[Finding]:
    """Yield what was looked at, of one moment: the caller holds a transaction or stops the writers.

    Args:
        connection: to a database of this version's schema.
        deep: also rebuild the tables from the events and compare, which reads all of them.
    """
    for rule in (*_RULES, _REPLAY) if deep else _RULES:
        try:
            problems = list(rule.look(connection))
        except (sqlite3.DatabaseError, ValueError) as error:
            # What is broken in the file breaks its reader as well; the other rules may still tell.
            yield Finding(
                check=rule.check,
                state=State.WRONG,
                detail=f"can not be read: {error}",
                advice=_RESTORE,
            )
            continue
        if problems:
            yield Finding(
                check=rule.check, state=rule.broken, detail=_list(problems), advice=rule.advice
            )
        else:
            yield Finding(check=rule.check, state=State.OK, detail=rule.holds)


def find_event_gaps(connection: Connection) -> list[str]:
    """Return where the numbers of the events are not 1, 2, 3, ...; nothing without such a table."""
    if connection.dialect is SQLITE:
        tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'event'")
        if tables.fetchone() is None:
            return []
    rows = connection.execute(
        "SELECT seq, last FROM (SELECT seq, lag(seq) OVER (ORDER BY seq) AS last FROM event) AS p"
        " WHERE seq <> coalesce(last, 0) + 1 ORDER BY seq"
    ).fetchall()
    return [f"after event {last or 0} comes {seq}" for seq, last in rows]


def _list(problems: Sequence[str]) -> str:
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return "; ".join([*problems[:SHOWN], *more])


def _integrity(connection: Connection) -> list[str]:
    # A server keeps its own pages and constraints.
    return find_damage(connection) if isinstance(connection, LabConnection) else []


def _fields(connection: Connection) -> list[str]:
    # Constraints of the table as well: integrity_check passes over them when it may not write.
    kinds = {"status": Status, "type": IssueType, "size": Size, "outcome": Outcome}
    unknown = " OR ".join(
        f"{name} NOT IN ({', '.join(repr(word.value) for word in words)})"
        for name, words in kinds.items()
    )
    rows = connection.execute(
        "SELECT id, status, priority, type, size, outcome FROM issue WHERE "  # noqa: S608  # constants
        f"{unknown} OR priority NOT BETWEEN 0 AND 4 OR blocked_by < 0 OR fence < 0"
        " OR (status = 'closed') <> (closed_at IS NOT NULL)"
        " OR (status = 'closed') <> (outcome IS NOT NULL)"
    )
    return [
        f"{issue} is {status}, priority {priority}, {kind}, size {size}, outcome {outcome}"
        for issue, status, priority, kind, size, outcome in rows
    ]


def _dangling(connection: Connection) -> list[str]:
    return [
        f"{issue} depends on {target}, and there is no issue {missing}"
        for issue, target, missing in connection.execute(
            "SELECT issue_id, depends_on_id, CASE WHEN i.id IS NULL THEN issue_id"
            " ELSE depends_on_id END FROM dependency d LEFT JOIN issue i ON i.id = d.issue_id"
            " LEFT JOIN issue o ON o.id = d.depends_on_id WHERE i.id IS NULL OR o.id IS NULL"
        )
    ]


def _circles(connection: Connection) -> list[str]:
    from arcfusion.issues.importing import find_cycle

    path = find_cycle(_edges(connection))
    return [] if path is None else [f"{' waits for '.join(path)}"]


def _counters(connection: Connection) -> list[str]:
    columns = ("id", "status", "outcome", "blocked_by")
    rows = connection.execute(f"SELECT {', '.join(columns)} FROM issue")  # noqa: S608  # constants
    issues = [dict(zip(columns, row, strict=True)) for row in rows]
    counts = count_blockers(issues, _edges(connection))
    return [
        f"{issue['id']} has blocked_by {issue['blocked_by']}, its edges give {counts[issue['id']]}"
        for issue in issues
        if counts[issue["id"]] != issue["blocked_by"]
    ]


def _edges(connection: Connection) -> list[dict[str, str | int | float | None]]:
    columns = ("issue_id", "depends_on_id", "type", "gate")
    rows = connection.execute(f"SELECT {', '.join(columns)} FROM dependency")  # noqa: S608  # constants
    edges = [dict(zip(columns, row, strict=True)) for row in rows]
    return [edge for edge in edges if edge["type"] in BLOCKING_EDGES]


def _leases(connection: Connection) -> list[str]:
    # No FULL JOIN: SQLite has it from 3.39 on.
    rows = connection.execute(
        "SELECT i.id, i.status, i.fence, l.issue_id, l.fence FROM issue i"
        " LEFT JOIN lease l ON l.issue_id = i.id"
        " WHERE (i.status = 'in_progress') <> (l.issue_id IS NOT NULL) OR i.fence <> l.fence"
        " UNION ALL SELECT NULL, NULL, NULL, issue_id, fence FROM lease"
        " WHERE issue_id NOT IN (SELECT id FROM issue)"
    )
    return [_describe_lease(*row) for row in rows]


def _describe_lease(
    issue: str | None, status: str | None, fence: int | None, held: str | None, own: int | None
) -> str:
    if issue is None:
        return f"there is a lease of {held}, and no such issue"
    if held is None:
        return f"{issue} is in progress and nobody holds a lease of it"
    if status != "in_progress":
        return f"{issue} is {status} and has a lease"
    return f"{issue} has fence {fence}, its lease {own}"


def _attempts(connection: Connection) -> list[str]:
    found = [
        f"{issue} counts {counted} claims and has {made} attempts, fence {fence}"
        for issue, counted, made, fence in connection.execute(
            "SELECT i.id, i.attempts, count(a.id), i.fence FROM issue i"
            " LEFT JOIN attempt a ON a.issue_id = i.id GROUP BY i.id, i.attempts, i.fence"
            " HAVING count(a.id) <> i.attempts OR i.attempts > i.fence"
        )
    ]
    found += [
        f"attempt {attempt} of {issue} runs and has no lease, or the reverse"
        for attempt, issue in connection.execute(
            "SELECT a.id, a.issue_id FROM attempt a LEFT JOIN lease l"
            " ON l.issue_id = a.issue_id AND l.fence = a.fence"
            " WHERE (a.outcome IS NULL) <> (l.issue_id IS NOT NULL)"
        )
    ]
    return found


def _expired(connection: Connection) -> list[str]:
    return [
        f"{issue}, held by {holder}"
        for issue, holder in connection.execute(
            "SELECT issue_id, holder FROM lease WHERE expires_at <= ? ORDER BY expires_at",
            (read_database_clock(connection),),
        )
    ]


def _quarantined(connection: Connection) -> list[str]:
    return [
        f"{issue} ({losses} lost, {failures} failed attempts)"
        for issue, losses, failures in connection.execute(
            "SELECT id, losses, failures FROM issue WHERE status = 'quarantined' ORDER BY id"
        )
    ]


def _finished_epics(connection: Connection) -> list[str]:
    return [
        issue
        for (issue,) in connection.execute(
            "SELECT e.id FROM issue e JOIN dependency d ON d.depends_on_id = e.id"
            " AND d.type = 'parent-child' JOIN issue c ON c.id = d.issue_id"
            " WHERE e.type = 'epic' AND e.status <> 'closed' GROUP BY e.id"
            " HAVING count(CASE WHEN c.status <> 'closed' THEN 1 END) = 0 ORDER BY e.id"
        )
    ]


def _replay(connection: Connection) -> list[str]:
    from arcfusion.issues.replay import verify_tables

    return [str(difference) for difference in verify_tables(connection).differences]


_RULES = (
    _Rule(check="integrity", holds="pages, indexes and foreign keys are whole", look=_integrity),
    _Rule(check="fields", holds="status, type, size and outcome are known ones", look=_fields),
    _Rule(check="edges", holds="every dependency joins two issues", look=_dangling),
    _Rule(check="circles", holds="no issue waits for itself", look=_circles),
    _Rule(check="blockers", holds="each counter is that of the issue's edges", look=_counters),
    _Rule(check="leases", holds="in progress is what has a lease, of its fence", look=_leases),
    _Rule(check="attempts", holds="each claim has its attempt", look=_attempts),
    _Rule(check="events", holds="numbered without gaps", look=find_event_gaps),
    _Rule(
        check="expired leases",
        holds="none",
        look=_expired,
        advice="nothing: the next claim gives them back",
        broken=State.WARNING,
    ),
    _Rule(
        check="quarantined",
        holds="none",
        look=_quarantined,
        advice="look at `arcfusion issue show ID`, then `arcfusion issue requeue ID`",
        broken=State.WARNING,
    ),
    _Rule(
        check="finished epics",
        holds="none is open",
        look=_finished_epics,
        advice="their children are closed: close each with `arcfusion issue close`",
        broken=State.WARNING,
    ),
)
_REPLAY = _Rule(check="replay", holds="the events rebuild the tables", look=_replay)
