"""Export: every issue as one line of JSON, the same bytes for the same lab.

A line holds the columns of the issue that are not null, in the order of the table, and after them
its labels, dependencies, comments, attempts and lease, where there are any. Times are seconds since
1970 by the clock of the lab, so that nothing is rounded. What is remembered follows, by key, and
the pools of GPUs, by name.
`issues.importing` reads it back.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from arcfusion.core.replacement import replace_file
from arcfusion.issues.document import (
    IssueDocument,
    MemoryDocument,
    PoolDocument,
    Row,
    read_documents,
    read_memories,
    read_pools,
)
from arcfusion.issues.errors import ExportUnwritableError
from arcfusion.issues.transaction import Value
from arcfusion.issues.view import View

SCHEMA = 1
JSON_COLUMNS = frozenset({"metadata", "needs_skills", "evidence", "handoff"})
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_PLAIN_JSON: dict[Value, object] = {"{}": {}, "[]": []}

Document = IssueDocument | MemoryDocument


def export_lines(view: View, render: Callable[[Document], str] | None = None) -> Iterator[str]:
    """Yield the lines of a lab, without line ends, all of one moment.

    Args:
        view: the lab.
        render: makes the line of a document; None makes the form that `issues.importing` reads.
    """
    make = render or to_line
    with view.snapshot() as connection:
        for document in read_documents(connection):
            yield make(document)
        for memory in read_memories(connection):
            yield make(memory)
        # Other forms have no word for a pool.
        for pool in read_pools(connection) if render is None else ():
            yield to_line(pool)


def to_line(document: Document | PoolDocument) -> str:
    """Return the line of a document."""
    return _ENCODER.encode(_fields(document))


def _fields(document: Document | PoolDocument) -> dict[str, object]:
    if isinstance(document, PoolDocument):
        return {"kind": "pool", "schema": SCHEMA, **_plain(document.pool)}
    if isinstance(document, MemoryDocument):
        return {"kind": "memory", "schema": SCHEMA, **_plain(document.memory)}
    fields: dict[str, object] = {"kind": "issue", "schema": SCHEMA, **_plain(document.issue)}
    if document.labels:
        fields["labels"] = list(document.labels)
    parts = {
        "dependencies": document.dependencies,
        "comments": document.comments,
        # As in `issue show`: the column `attempts` is their number.
        "attempts_made": document.attempts,
    }
    for name, rows in parts.items():
        if rows:
            fields[name] = [_plain(row) for row in rows]
    if document.lease is not None:
        fields["lease"] = _plain(document.lease)
    return fields


def _plain(row: Row) -> dict[str, object]:
    return {
        name: _load(value) if name in JSON_COLUMNS else value
        for name, value in row.items()
        if value is not None
    }


def _load(text: Value) -> object:
    known = _PLAIN_JSON.get(text)
    return json.loads(str(text)) if known is None else known


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Replace the file by the lines and return their number.

    The old file stays whole until all lines of the new one are on the disk: a kill, a full disk or
    a power cut never leaves a part of a file.

    Raises:
        ExportUnwritableError: the file can not be written; the old one is as it was.
    """
    count = 0
    try:
        with (
            replace_file(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="\n") as file,
        ):
            for line in lines:
                file.write(line + "\n")
                count += 1
    except OSError as error:
        raise ExportUnwritableError(
            f"can not write {str(path)!r} ({error.strerror}): name a file in a folder that you "
            "can write"
        ) from error
    return count
