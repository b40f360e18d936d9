"""What the queue shows. Nothing here writes, and nothing here takes the writers' lock."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from arcfusion.core.database import NO_LIMIT, Connection, Row
from arcfusion.issues import capacity, graph, ordering
from arcfusion.issues.errors import IssueUnknownError
from arcfusion.issues.fit import Filter, explain_full, explain_unfit
from arcfusion.issues.labels import Source, choose_source
from arcfusion.issues.ordering import Order
from arcfusion.issues.record import IssueRecord, LeaseRecord, read_issue, read_row
from arcfusion.issues.states import READY, IssueType, Size, Status

if TYPE_CHECKING:
    from arcfusion.issues.history import AttemptRecord, CommentRecord, EventRecord, IssueDetail

_ORDER = ordering.order_by(Order.PRIORITY)


def fetch(connection: Connection, issue_id: str) -> IssueRecord:
    """Return the issue.

    Raises:
        IssueUnknownError: there is none of that id.
    """
    row = connection.execute("SELECT * FROM issue WHERE id = ?", (issue_id,)).fetchone()
    if row is None:
        raise IssueUnknownError(f"no issue {issue_id!r}: `arcfusion issue list` shows them")
    return with_labels(connection, [row])[0]


def has(connection: Connection, issue_id: str) -> bool:
    """Return whether there is such an issue."""
    row = connection.execute("SELECT 1 FROM issue WHERE id = ?", (issue_id,)).fetchone()
    return row is not None


def find_idempotent(connection: Connection, key: str) -> str | None:
    """Return the id of the issue that was filed under the idempotency key."""
    sql = "SELECT id FROM issue WHERE idempotency_key = ?"
    row = connection.execute(sql, (key,)).fetchone()
    return None if row is None else row["id"]


def ready_sql(
    condition: str,
    source: Source = Source(),  # noqa: B008  # frozen
    order: Order = Order.PRIORITY,
) -> str:
    """Return the query of the ready issues.

    Its parameters are those of the source, the time, those of the condition, and the limit.
    """
    return (
        f"{source.prefix}SELECT issue.* FROM {source.tables}"  # noqa: S608  # constants
        f" WHERE {source.join}{READY} AND not_before <= ?{condition} {ordering.order_by(order)}"
        " LIMIT ?"
    )


def ready(
    connection: Connection,
    now: float,
    wanted: Filter,
    limit: int,
    reserve_after: int,
) -> list[IssueRecord]:
    """Return the issues that can be claimed, in the order in which they are handed out.

    Raises:
        OrderTooLargeError: the order can not be counted.
    """
    room = capacity.look(connection, wanted.pool, now, reserve_after)
    if wanted.order is Order.UNBLOCKS:
        condition, values = wanted.condition(room)
        weights = ordering.count_waiting(connection)
        ranked = ordering.rank(connection, now, condition, values, limit, weights)
        return _fetch_all(connection, [place.id for place in ranked])
    source = choose_source(connection, wanted.labels, limit)
    condition, values = wanted.condition(room, given=source.label)
    sql = ready_sql(condition, source, wanted.order)
    rows = connection.execute(sql, (*source.values, now, *values, limit)).fetchall()
    return with_labels(connection, rows)


def unfit(
    connection: Connection,
    now: float,
    wanted: Filter,
    limit: int,
    reserve_after: int,
) -> list[tuple[IssueRecord, list[str]]]:
    """Return ready issues of the labels that the worker or the pool can not take, and why not."""
    room = capacity.look(connection, wanted.pool, now, reserve_after)
    labelled = Filter(labels=wanted.labels, exclude_labels=wanted.exclude_labels)
    condition, values = labelled.condition()
    found: list[tuple[IssueRecord, list[str]]] = []
    rows = connection.execute(ready_sql(condition), (now, *values, NO_LIMIT)).fetchall()
    for issue in with_labels(connection, rows):
        reasons = explain_unfit(issue, wanted, room) or explain_full(issue, room)
        if reasons:
            found.append((issue, reasons))
    return found[:limit]


def _fetch_all(connection: Connection, ids: Sequence[str]) -> list[IssueRecord]:
    """Return the issues in the order of their ids."""
    from arcfusion.issues.document import chunks

    found: dict[str, IssueRecord] = {}
    for part in chunks(ids):
        marks = ", ".join("?" for _ in part)
        sql = f"SELECT * FROM issue WHERE id IN ({marks})"  # noqa: S608  # marks
        rows = connection.execute(sql, part).fetchall()
        found |= {issue.id: issue for issue in with_labels(connection, rows)}
    return [found[issue_id] for issue_id in ids]


def listing(
    connection: Connection,
    *,
    statuses: Sequence[Status],
    labels: Sequence[str],
    limit: int,
) -> list[IssueRecord]:
    """Return issues of these statuses (none given: all) with all the labels, in working order."""
    terms = ["1 = 1"]
    values: list[str | int] = []
    if statuses:
        terms.append(f"status IN ({', '.join('?' for _ in statuses)})")
        values += statuses
    for label in labels:
        terms.append("EXISTS (SELECT 1 FROM label WHERE issue_id = issue.id AND name = ?)")
        values.append(label)
    sql = f"SELECT * FROM issue WHERE {' AND '.join(terms)} {_ORDER} LIMIT ?"  # noqa: S608  # constants
    return with_labels(connection, connection.execute(sql, (*values, limit)).fetchall())


def blocked(connection: Connection, limit: int) -> list[tuple[IssueRecord, list[str]]]:
    """Return the issues that can not be worked on now, each with its reasons in words."""
    rows = connection.execute(
        "SELECT * FROM issue WHERE (status = 'open' AND blocked_by > 0)"  # noqa: S608  # constants
        " OR (status = 'open' AND size = 'XL' AND type <> 'epic')"
        f" OR status IN ('blocked', 'quarantined') {_ORDER} LIMIT ?",
        (limit,),
    ).fetchall()
    return [(issue, reasons(connection, issue)) for issue in with_labels(connection, rows)]


def reasons(connection: Connection, issue: IssueRecord) -> list[str]:
    """Return why the issue is not ready, in words; empty when nothing holds it back."""
    found = []
    if issue.status is Status.QUARANTINED:
        found.append(
            f"{issue.id} is quarantined: {issue.losses} lost and {issue.failures} failed attempts"
        )
    elif issue.question is not None:
        from arcfusion.issues import questions

        found.append(str(questions.read(connection, issue.id)))
    elif issue.status is Status.BLOCKED:
        found.append(f"{issue.id} is set to blocked: a person must say how it goes on")
    elif issue.status is not Status.OPEN:
        found.append(f"{issue.id} is {issue.status.replace('_', ' ')}")
    if issue.status is not Status.CLOSED:
        found += graph.explain_blockers(connection, issue.id)
    if issue.status is Status.OPEN and issue.size is Size.XL and issue.type is not IssueType.EPIC:
        found.append(f"{issue.id} is of size XL: it must be split (`arcfusion issue split`)")
    return found


def counts(connection: Connection) -> dict[Status, int]:
    """Return the number of issues in each status."""
    found = dict(
        connection.execute("SELECT status, count(*) FROM issue GROUP BY status").fetchall()
    )
    return {status: found.get(status, 0) for status in Status}


def ready_count(connection: Connection, now: float) -> int:
    """Return the number of issues that can be claimed."""
    sql = f"SELECT count(*) FROM issue WHERE {READY} AND not_before <= ?"  # noqa: S608  # constants
    (number,) = connection.execute(sql, (now,)).fetchone()
    return int(number)


def expired_count(connection: Connection, now: float) -> int:
    """Return the number of claims that the next claim will give back."""
    sql = "SELECT count(*) FROM lease WHERE expires_at <= ?"
    (number,) = connection.execute(sql, (now,)).fetchone()
    return int(number)


def detail(connection: Connection, issue_id: str) -> "IssueDetail":
    """Return the issue with all that belongs to it.

    Raises:
        IssueUnknownError: there is none of that id.
    """
    from arcfusion.issues.history import IssueDetail

    issue = fetch(connection, issue_id)
    return IssueDetail(
        issue=issue,
        dependencies=graph.edges_of(connection, issue_id),
        dependents=graph.edges_to(connection, issue_id),
        comments=comments(connection, issue_id),
        attempts=attempts(connection, issue_id),
        lease=lease(connection, issue_id),
    )


def lease(connection: Connection, issue_id: str) -> LeaseRecord | None:
    """Return who holds the issue."""
    row = connection.execute("SELECT * FROM lease WHERE issue_id = ?", (issue_id,)).fetchone()
    return None if row is None else read_row(LeaseRecord, row)


def attempts(connection: Connection, issue_id: str) -> "tuple[AttemptRecord, ...]":
    """Return the issue's claims, the first one first."""
    from arcfusion.issues.history import AttemptRecord

    rows = connection.execute(
        "SELECT * FROM attempt WHERE issue_id = ? ORDER BY fence", (issue_id,)
    )
    return tuple(read_row(AttemptRecord, row) for row in rows)


def comments(connection: Connection, issue_id: str) -> "tuple[CommentRecord, ...]":
    """Return the issue's comments, the first one first."""
    from arcfusion.issues.history import CommentRecord

    rows = connection.execute("SELECT * FROM comment WHERE issue_id = ? ORDER BY id", (issue_id,))
    return tuple(read_row(CommentRecord, row) for row in rows)


def events(
    connection: Connection, *, issue_id: str | None, after_seq: int, limit: int
) -> "list[EventRecord]":
    """Return events in order, of one issue or of all, beginning after a number.

    There is no index by issue, which every write would pay for: the log is read to its end.
    """
    from arcfusion.issues.history import EventRecord

    term, values = ("1 = 1", ()) if issue_id is None else ("issue_id = ?", (issue_id,))
    sql = f"SELECT * FROM event WHERE {term} AND seq > ? ORDER BY seq LIMIT ?"  # noqa: S608  # constants
    return [
        read_row(EventRecord, row) for row in connection.execute(sql, (*values, after_seq, limit))
    ]


def with_labels(connection: Connection, rows: Sequence[Row]) -> list[IssueRecord]:
    """Return the records of rows of the table `issue`."""
    if len(rows) == 1:
        sql = "SELECT name FROM label WHERE issue_id = ? ORDER BY name"
        names = connection.execute(sql, (rows[0]["id"],))
        return [read_issue(rows[0], [name for (name,) in names])]
    labels: dict[str, list[str]] = {row["id"]: [] for row in rows}
    ids = list(labels)
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        marks = ", ".join("?" for _ in part)
        sql = f"SELECT issue_id, name FROM label WHERE issue_id IN ({marks}) ORDER BY name"  # noqa: S608  # marks
        for issue_id, name in connection.execute(sql, part):
            labels[issue_id].append(name)
    return [read_issue(row, labels[row["id"]]) for row in rows]
