"""Import: documents become issues, all in one transaction or none.

An issue that is there already, equal in everything, is known and left as it is; one that differs is
an error. Each issue leaves one event that holds all its rows, so that the log still rebuilds the
tables. A claim comes with its lease, and the next claim-next gives it back when it has run out.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from arcfusion.core import store
from arcfusion.issues.blockers import count_blockers
from arcfusion.issues.document import (
    IssueDocument,
    MemoryDocument,
    PoolDocument,
    Row,
    attempt_id,
    chunks,
    read_documents,
)
from arcfusion.issues.errors import (
    DependencyCycleError,
    DependencyUnknownError,
    ImportFileError,
    IssueExistsError,
    WriteLostError,
)
from arcfusion.issues.states import BLOCKING_EDGES, EdgeType, EventType
from arcfusion.issues.transaction import Transaction

# Whether an issue that is here is the one of the document.
IsSame = Callable[[IssueDocument, IssueDocument], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did."""

    new_ids: tuple[str, ...]
    known_ids: tuple[str, ...]
    memories: int


def import_all(
    tx: Transaction,
    documents: Sequence[IssueDocument],
    memories: Sequence[MemoryDocument],
    pools: Sequence[PoolDocument] = (),
    *,
    is_same: IsSame | None = None,
) -> Imported:
    """Write the documents that are not here yet; `is_same` is equality when it is None.

    Raises:
        ImportFileError: an id or an idempotency key is in the file twice, or a memory or a pool
            is another one here.
        IssueExistsError: another issue of that id or key is here.
        DependencyUnknownError, DependencyCycleError: an edge can not be stored.
    """
    _refuse_twins(documents)
    known = _find_known(tx, documents, is_same or IssueDocument.__eq__)
    new = [document for document in documents if document.id not in known]
    _refuse_keys(tx, new)
    _refuse_dangling(tx, new)
    before = _count_issues(tx)
    _insert(tx, new, _count_blockers(tx, new))
    if _count_issues(tx) != before + len(new):
        raise WriteLostError
    added = [memory for memory in memories if _insert_memory(tx, memory)]
    for pool in pools:
        _insert_pool(tx, pool)
    return Imported(
        new_ids=tuple(document.id for document in new),
        known_ids=tuple(document.id for document in documents if document.id in known),
        memories=len(added),
    )


def _count_issues(tx: Transaction) -> int:
    row = tx.row("SELECT count(*) FROM issue")
    assert row is not None
    return int(row[0])


def _refuse_twins(documents: Iterable[IssueDocument]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for document in documents:
        for name in ("id", "idempotency_key"):
            value = document.issue[name]
            if value is None:
                continue
            first = seen.setdefault((name, str(value)), document.origin)
            if first != document.origin:
                raise ImportFileError(f"{document.origin}: {name} {value!r} is in {first} too")


def _find_known(tx: Transaction, documents: Sequence[IssueDocument], is_same: IsSame) -> set[str]:
    here = {
        document.id: document
        for document in read_documents(tx.connection, [document.id for document in documents])
    }
    for document in documents:
        if document.id in here and not is_same(here[document.id], document):
            raise IssueExistsError(
                f"{document.origin}: there is another issue {document.id!r} here: nothing was "
                "imported; import into a new lab, or take the line out"
            )
    return set(here)


def _refuse_keys(tx: Transaction, documents: Sequence[IssueDocument]) -> None:
    keyed = {str(d.issue["idempotency_key"]): d for d in documents if d.issue["idempotency_key"]}
    for part in chunks(list(keyed)):
        marks = ", ".join("?" for _ in part)
        sql = f"SELECT id, idempotency_key FROM issue WHERE idempotency_key IN ({marks})"  # noqa: S608  # marks
        for issue_id, key in tx.rows(sql, *part):
            raise IssueExistsError(
                f"{keyed[key].origin}: the idempotency key {key!r} is that of {issue_id!r} here: "
                "nothing was imported"
            )


def _refuse_dangling(tx: Transaction, documents: Sequence[IssueDocument]) -> None:
    filed = {document.id for document in documents}
    open_ends: dict[str, IssueDocument] = {}
    for document in documents:
        for edge in document.dependencies:
            target = str(edge["depends_on_id"])
            if target == document.id:
                raise DependencyCycleError(
                    f"{document.origin}: issue {document.id!r} can not depend on itself"
                )
            if target not in filed:
                open_ends.setdefault(target, document)
    for part in chunks(list(open_ends)):
        marks = ", ".join("?" for _ in part)
        for (found,) in tx.rows(f"SELECT id FROM issue WHERE id IN ({marks})", *part):  # noqa: S608  # marks
            del open_ends[found]
    for target, document in open_ends.items():
        raise DependencyUnknownError(
            f"{document.origin}: issue {document.id!r} can not depend on {target!r}: there is no "
            "such issue, neither in the file nor here"
        )


def _insert(tx: Transaction, documents: Sequence[IssueDocument], counts: Mapping[str, int]) -> None:
    store.lock_numbers(tx.connection)
    newest = tx.row("SELECT coalesce(max(id), 0) AS id FROM comment")
    assert newest is not None
    next_comment = newest["id"] + 1
    rows: dict[str, list[Row]] = defaultdict(list)
    for document in documents:
        parts = _rows(document, counts.get(document.id, 0), next_comment)
        next_comment += len(document.comments)
        for table, found in parts.items():
            rows[table] += found
        tx.log(EventType.IMPORTED, document.id, after=parts)
    for table in ("issue", "label", "dependency", "comment", "attempt", "lease"):
        _insert_rows(tx, table, rows[table])


def _rows(document: IssueDocument, blocked_by: int, next_comment: int) -> dict[str, list[Row]]:
    """Return the rows of the tables that have one."""
    own: Row = {"issue_id": document.id}
    parts: dict[str, list[Row]] = {"issue": [document.issue | {"blocked_by": blocked_by}]}
    if document.labels:
        parts["label"] = [own | {"name": name} for name in document.labels]
    if document.dependencies:
        parts["dependency"] = [own | edge for edge in document.dependencies]
    if document.comments:
        parts["comment"] = [
            own | {"id": number} | comment
            for number, comment in enumerate(document.comments, next_comment)
        ]
    if document.attempts:
        parts["attempt"] = [
            own | {"id": attempt_id(document.id, attempt["fence"])} | attempt
            for attempt in document.attempts
        ]
    if document.lease is not None:
        held = attempt_id(document.id, document.lease["fence"])
        parts["lease"] = [own | {"attempt_id": held} | document.lease]
    return parts


def _insert_rows(tx: Transaction, table: str, rows: Sequence[Row]) -> None:
    if not rows:
        return
    names = list(rows[0])
    marks = ", ".join("?" for _ in names)
    sql = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608  # names from the code
    values = itemgetter(*names)
    tx.connection.executemany(sql, (values(row) for row in rows))


def _insert_memory(tx: Transaction, document: MemoryDocument) -> bool:
    memory = document.memory
    here = tx.row("SELECT * FROM memory WHERE key = ?", memory["key"])
    if here is not None:
        if here["text"] != memory["text"]:
            raise ImportFileError(
                f"{document.origin}: something else is remembered as {memory['key']!r} here: "
                "nothing was imported"
            )
        return False
    _insert_rows(tx, "memory", [memory])
    tx.log(EventType.IMPORTED, None, after={"memory": [memory]})
    return True


def _insert_pool(tx: Transaction, document: PoolDocument) -> None:
    pool = document.pool
    here = tx.row("SELECT * FROM capacity WHERE pool = ?", pool["pool"])
    if here is None:
        _insert_rows(tx, "capacity", [pool])
        tx.log(EventType.IMPORTED, None, after={"capacity": [pool]})
    elif any(here[name] != pool[name] for name in ("gpus", "gpu_memory_bytes")):
        raise ImportFileError(
            f"{document.origin}: the pool {pool['pool']!r} has {here['gpus']} GPUs here, not "
            f"{pool['gpus']}, or other memory: nothing was imported"
        )


def _count_blockers(tx: Transaction, documents: Sequence[IssueDocument]) -> dict[str, int]:
    """Return the counters of all issues, and set those of the ones that are here.

    All are counted, as a new child can hold back what waits for its parent's children.
    """
    new = [
        edge | {"issue_id": document.id}
        for document in documents
        for edge in document.dependencies
        if edge["type"] in BLOCKING_EDGES
    ]
    if not new:
        return {}
    edges: list[Row] = [dict(row) for row in tx.rows("SELECT * FROM dependency")]
    edges += new
    _refuse_cycle(documents, edges)
    here = [dict(row) for row in tx.rows("SELECT id, status, outcome, blocked_by FROM issue")]
    counts = count_blockers([*here, *(document.issue for document in documents)], edges)
    for row in here:
        if counts[row["id"]] != row["blocked_by"]:
            tx.run("UPDATE issue SET blocked_by = ? WHERE id = ?", counts[row["id"]], row["id"])
    return counts


def _refuse_cycle(documents: Sequence[IssueDocument], edges: Iterable[Row]) -> None:
    path = find_cycle(edges)
    if path is not None:
        origins = {document.id: document.origin for document in documents}
        origin = next((origins[node] for node in path if node in origins), "the file")
        raise DependencyCycleError(
            f"{origin}: the dependencies close a circle: {' -> '.join(path)}: nothing was imported"
        )


def find_cycle(edges: Iterable[Row]) -> list[str] | None:
    """Return a path a -> ... -> a over the blocking edges.

    What waits for the children of an issue waits for each of them: a node stands for the children.
    """
    ahead: dict[str, list[str]] = defaultdict(list)
    behind: dict[str, list[str]] = defaultdict(list)

    def join(source: str, end: str) -> None:
        ahead[source].append(end)
        behind[end].append(source)

    for edge in edges:
        issue_id, target = str(edge["issue_id"]), str(edge["depends_on_id"])
        if edge["type"] in BLOCKING_EDGES:
            join(issue_id, target)
        if edge["type"] == EdgeType.WAITS_FOR:
            join(issue_id, f"{_CHILDREN}{target}")
        elif edge["type"] == EdgeType.PARENT_CHILD:
            join(f"{_CHILDREN}{target}", issue_id)
    left = {node: len(ends) for node, ends in ahead.items()}
    free = [node for node in behind if node not in left]
    while free:
        for source in behind[free.pop()]:
            left[source] -= 1
            if left[source] == 0:
                del left[source]
                free.append(source)
    return _walk_circle(ahead, left) if left else None


# Not a character of an id.
_CHILDREN = "children of "


def _walk_circle(ahead: dict[str, list[str]], left: dict[str, int]) -> list[str]:
    """Follow edges among the nodes that are left, each of which has one, until one comes again."""
    node = next(iter(left))
    places: dict[str, int] = {}
    while node not in places:
        places[node] = len(places)
        node = next(end for end in ahead[node] if end in left)
    circle = [name for name in list(places)[places[node] :] if not name.startswith(_CHILDREN)]
    return [*circle, circle[0]]
