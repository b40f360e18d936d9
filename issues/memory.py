"""What workers remember beyond one issue: a text under a key, found again by its words."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from arcfusion.core.database import Connection, Row
from arcfusion.core.ids import short_id
from arcfusion.issues.clock import to_datetime, to_text
from arcfusion.issues.draft import Json, check_label, check_text
from arcfusion.issues.errors import FieldError, MemoryUnknownError
from arcfusion.issues.relevance import Passage, rank, same_words
from arcfusion.issues.states import EventType
from arcfusion.issues.transaction import Transaction

# Of the best matches so many are read for each one shown: among them are doubles.
_SPARE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRecord:
    """One thing that is remembered; `superseded_by` is the key of what took its place."""

    key: str
    text: str
    issue_id: str | None
    actor: str
    superseded_by: str | None
    updated_at: datetime

    def to_json(self) -> dict[str, Json]:
        """Return the fields as `--json` prints them."""
        return {
            "key": self.key,
            "text": self.text,
            "issue_id": self.issue_id,
            "actor": self.actor,
            "superseded_by": self.superseded_by,
            "updated_at": to_text(self.updated_at),
        }


def remember(
    tx: Transaction, text: str, *, key: str | None, issue_id: str | None, supersedes: str | None
) -> str:
    """Keep the text and return its key; a text under the same key is replaced.

    The same text under the same key is kept already: nothing is written. What is superseded is not
    found any more, unless its own key is written again.

    Raises:
        FieldError: the text is empty, the key is not one word, or it supersedes itself.
        IssueUnknownError: the issue does not exist.
        MemoryUnknownError: there is nothing to supersede under that key.
    """
    if not text.strip():
        raise FieldError("there is nothing to remember: the text is empty")
    check_text("the text", text)
    name = key or short_id("mem", text)
    check_label(name)
    if issue_id is not None:
        tx.issue_row(issue_id)
    before = tx.row("SELECT * FROM memory WHERE key = ?", name)
    fields = {"text": text, "issue_id": issue_id, "superseded_by": None}
    if before is None or any(before[column] != value for column, value in fields.items()):
        _write(tx, name, text, issue_id)
        tx.log(
            EventType.REMEMBERED,
            issue_id,
            before={} if before is None else {"text": before["text"]},
            after={"key": name, **fields},
        )
    if supersedes is not None:
        _supersede(tx, supersedes, name)
    return name


def forget(tx: Transaction, key: str) -> None:
    """Delete what is remembered under the key; the log keeps it.

    Raises:
        MemoryUnknownError: there is nothing.
    """
    row = _row(tx, key)
    tx.run_one("DELETE FROM memory WHERE key = ?", key)
    tx.log(EventType.FORGOTTEN, row["issue_id"], before={"key": key, "text": row["text"]})


def recall(connection: Connection, query: str, limit: int) -> list[MemoryRecord]:
    """Return what is about the query, the best match first, each thing once.

    Without a word to look for, the newest.

    Raises:
        MemoryUnknownError: nothing is.
    """
    sql = "SELECT key, text, updated_at FROM memory WHERE superseded_by IS NULL"
    passages: list[Passage] = list(connection.plain(sql))
    keys = rank(passages, query, limit * _SPARE)
    found = _drop_doubles(_fetch(connection, keys), limit)
    if not found:
        raise MemoryUnknownError(f"nothing is remembered about {query!r}")
    return found


def listing(connection: Connection, limit: int, *, everything: bool) -> list[MemoryRecord]:
    """Return the newest, with what is superseded when everything is wanted."""
    term = "1 = 1" if everything else "superseded_by IS NULL"
    sql = f"SELECT * FROM memory WHERE {term} ORDER BY updated_at DESC, key LIMIT ?"  # noqa: S608  # constants
    return [_read(row) for row in connection.execute(sql, (limit,))]


def _write(tx: Transaction, key: str, text: str, issue_id: str | None) -> None:
    tx.run_one(
        "INSERT INTO memory (key, text, issue_id, actor, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET text = excluded.text,"
        " issue_id = excluded.issue_id, actor = excluded.actor, updated_at = excluded.updated_at,"
        " superseded_by = NULL",
        key,
        text,
        issue_id,
        tx.actor,
        tx.now,
        tx.now,
    )


def _supersede(tx: Transaction, old: str, new: str) -> None:
    if old == new:
        raise FieldError(
            f"{new!r} can not take its own place: leave --supersedes out to replace it"
        )
    row = _row(tx, old)
    if row["superseded_by"] == new:
        return
    tx.run_one("UPDATE memory SET superseded_by = ? WHERE key = ?", new, old)
    tx.log(
        EventType.SUPERSEDED,
        row["issue_id"],
        before={"superseded_by": row["superseded_by"]},
        after={"key": old, "superseded_by": new},
    )


def _row(tx: Transaction, key: str) -> Row:
    row = tx.row("SELECT * FROM memory WHERE key = ?", key)
    if row is None:
        raise MemoryUnknownError(
            f"nothing is remembered as {key!r}: `arcfusion issue memories` lists the keys"
        )
    return row


def _fetch(connection: Connection, keys: Iterable[str]) -> list[MemoryRecord]:
    sql = "SELECT * FROM memory WHERE key = ?"
    rows = [connection.execute(sql, (key,)).fetchone() for key in keys]
    # Somebody may have forgotten one since it was ranked.
    return [_read(row) for row in rows if row is not None]


def _drop_doubles(memories: Iterable[MemoryRecord], limit: int) -> list[MemoryRecord]:
    """Return the first `limit` of those that say something else than the ones before them."""
    found: list[MemoryRecord] = []
    for memory in memories:
        if len(found) == limit:
            break
        if not any(same_words(memory.text, other.text) for other in found):
            found.append(memory)
    return found


def _read(row: Row) -> MemoryRecord:
    return MemoryRecord(
        key=row["key"],
        text=row["text"],
        issue_id=row["issue_id"],
        actor=row["actor"],
        superseded_by=row["superseded_by"],
        updated_at=to_datetime(row["updated_at"]),
    )
