"""An issue with everything that belongs to it, as one value: what export writes and import takes.

Rows are dicts by column, as the tables store them. Left out is what follows from the rest: the
blocker counter, the ids of attempts and the numbers of comments.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from arcfusion.core.database import Connection
from arcfusion.issues.transaction import Value

Row = dict[str, Value]

_ENCODER = json.JSONEncoder(sort_keys=True, allow_nan=False)

DERIVED = frozenset({"blocked_by"})
EDGE_COLUMNS = ("depends_on_id", "type", "gate", "created_at", "created_by")
COMMENT_COLUMNS = ("author", "text", "fence", "created_at")
ATTEMPT_COLUMNS = (
    *("number", "fence", "actor", "session", "host", "pid", "git_commit", "device"),
    *("started_at", "ended_at", "outcome", "error", "handoff", "cost_usd"),
)
LEASE_COLUMNS = (
    *("fence", "holder", "session", "duration_s", "granted_at", "heartbeat_at", "expires_at"),
    *("gpus", "gpu_memory_bytes", "pool"),
)
POOL_COLUMNS = (
    *("pool", "gpus", "gpu_memory_bytes"),
    *("reserved_for", "passes", "updated_at", "updated_by"),
)
MEMORY_COLUMNS = ("key", "text", "issue_id", "actor", "superseded_by", "created_at", "updated_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueDocument:
    """One issue and its labels, edges, comments, attempts and lease.

    Attributes:
        origin: the file and line that it came from, for errors; two documents that differ in it
            alone are equal.
        issue: the columns of the table `issue`, JSON columns as text, without the derived ones.
        dependencies: EDGE_COLUMNS of what it depends on, ordered by type and target.
        comments: COMMENT_COLUMNS, the oldest first.
        attempts: ATTEMPT_COLUMNS, ordered by fence.
        lease: LEASE_COLUMNS while the issue is in progress.
    """

    issue: Row
    labels: tuple[str, ...] = ()
    dependencies: tuple[Row, ...] = ()
    comments: tuple[Row, ...] = ()
    attempts: tuple[Row, ...] = ()
    lease: Row | None = None
    origin: str = field(default="", compare=False)

    @property
    def id(self) -> str:
        """The issue's id."""
        return str(self.issue["id"])


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryDocument:
    """One thing that is remembered: MEMORY_COLUMNS."""

    memory: Row
    origin: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDocument:
    """One pool of GPUs: POOL_COLUMNS."""

    pool: Row
    origin: str = field(default="", compare=False)


def attempt_id(issue_id: str, fence: Value) -> str:
    """Return the id of the attempt that the claim with this fence made."""
    return f"{issue_id}@{fence}"


def canonical_json(value: object) -> str:
    """Return the text in which JSON columns are stored."""
    if value == []:
        return "[]"
    return _ENCODER.encode(value)


def read_documents(
    connection: Connection, issue_ids: Sequence[str] | None = None
) -> Iterator[IssueDocument]:
    """Yield the issues of the given ids, or all, the oldest first and then by id.

    The caller holds a transaction, so that all tables are of one moment.
    """
    labels = _group(connection, "label", ("name",), "name", issue_ids)
    edges = _group(connection, "dependency", EDGE_COLUMNS, "type, depends_on_id", issue_ids)
    comments = _group(connection, "comment", COMMENT_COLUMNS, "id", issue_ids)
    attempts = _group(connection, "attempt", ATTEMPT_COLUMNS, "fence", issue_ids)
    leases = _group(connection, "lease", LEASE_COLUMNS, "fence", issue_ids)
    described = connection.execute("SELECT * FROM issue WHERE 1 = 0").description
    names = [name for name, *_ in described if name not in DERIVED]
    for row in _select(connection, "issue", names, "id", issue_ids, "created_at, id"):
        issue: Row = dict(zip(names, row, strict=True))
        issue_id = str(issue["id"])
        yield IssueDocument(
            issue=issue,
            labels=tuple(str(label["name"]) for label in labels.get(issue_id, ())),
            dependencies=tuple(edges.get(issue_id, ())),
            comments=tuple(comments.get(issue_id, ())),
            attempts=tuple(attempts.get(issue_id, ())),
            lease=next(iter(leases.get(issue_id, ())), None),
        )


def read_memories(connection: Connection) -> Iterator[MemoryDocument]:
    """Yield what is remembered, by key."""
    for row in _read_rows(connection, "memory", MEMORY_COLUMNS):
        yield MemoryDocument(memory=row)


def read_pools(connection: Connection) -> Iterator[PoolDocument]:
    """Yield the pools, by name."""
    for row in _read_rows(connection, "capacity", POOL_COLUMNS):
        yield PoolDocument(pool=row)


def _read_rows(connection: Connection, table: str, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a table by its first column, which is its key."""
    sql = f"SELECT {', '.join(columns)} FROM {table} ORDER BY {columns[0]}"  # noqa: S608  # constants
    for row in connection.execute(sql):
        yield dict(zip(columns, row, strict=True))


def chunks(values: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    """Yield the values in parts that fit into one statement's parameters."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _group(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    order: str,
    issue_ids: Sequence[str] | None,
) -> dict[str, list[Row]]:
    """Return rows by their issue, each with the given columns."""
    found: dict[str, list[Row]] = defaultdict(list)
    names = ("issue_id", *columns)
    for issue_id, *row in _select(connection, table, names, "issue_id", issue_ids, order):
        found[issue_id].append(dict(zip(columns, row, strict=True)))
    return found


def _select(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    key: str,
    values: Sequence[str] | None,
    order: str,
) -> Iterator[tuple[Any, ...]]:
    """Yield rows of a table, of all keys or of the given ones."""
    sql = f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608  # names from the code
    if values is None:
        yield from connection.plain(f"{sql} ORDER BY {order}")
        return
    for part in chunks(values):
        marks = ", ".join("?" for _ in part)
        yield from connection.plain(f"{sql} WHERE {key} IN ({marks}) ORDER BY {order}", part)
