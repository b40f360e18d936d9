"""What workers remember beyond one issue: a text under a key, found again by its words."""

from dataclasses import dataclass
from datetime import datetime

from arcfusion.core.database import Connection, Row
from arcfusion.core.ids import short_id
from arcfusion.issues.clock import to_datetime, to_text
from arcfusion.issues.draft import Json, check_label, check_text
from arcfusion.issues.errors import FieldError, MemoryUnknownError
from arcfusion.issues.states import EventType
from arcfusion.issues.transaction import Transaction

MAX_WORDS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRecord:
    """One thing that is remembered."""

    key: str
    text: str
    issue_id: str | None
    actor: str
    updated_at: datetime

    def to_json(self) -> dict[str, Json]:
        """Return the fields as `--json` prints them."""
        return {
            "key": self.key,
            "text": self.text,
            "issue_id": self.issue_id,
            "actor": self.actor,
            "updated_at": to_text(self.updated_at),
        }


def remember(tx: Transaction, text: str, *, key: str | None, issue_id: str | None) -> str:
    """Keep the text and return its key; a text under the same key is replaced.

    Raises:
        FieldError: the text is empty, or the key is not one word.
        IssueUnknownError: the issue does not exist.
    """
    if not text.strip():
        raise FieldError("there is nothing to remember: the text is empty")
    check_text("the text", text)
    name = key or short_id("mem", text)
    check_label(name)
    if issue_id is not None:
        tx.issue_row(issue_id)
    before = tx.row("SELECT text FROM memory WHERE key = ?", name)
    tx.run_one(
        "INSERT INTO memory (key, text, issue_id, actor, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET text = excluded.text,"
        " issue_id = excluded.issue_id, actor = excluded.actor, updated_at = excluded.updated_at",
        name,
        text,
        issue_id,
        tx.actor,
        tx.now,
        tx.now,
    )
    tx.log(
        EventType.REMEMBERED,
        issue_id,
        before={} if before is None else {"text": before["text"]},
        after={"key": name, "text": text, "issue_id": issue_id},
    )
    return name


def recall(connection: Connection, query: str, limit: int) -> list[MemoryRecord]:
    """Return what holds most of the query's words, the newest first among equals.

    Raises:
        MemoryUnknownError: nothing holds any of them.
    """
    words = query.casefold().split()[:MAX_WORDS]
    found = []
    for row in connection.execute("SELECT * FROM memory WHERE superseded_by IS NULL"):
        text = f"{row['key']} {row['text']}".casefold()
        hits = sum(word in text for word in words)
        if hits or not words:
            found.append((hits, row["updated_at"], row["key"], row))
    if not found:
        raise MemoryUnknownError(f"nothing is remembered about {query!r}")
    found.sort(key=lambda item: (-item[0], -item[1], item[2]))
    return [_read(row) for _, _, _, row in found[:limit]]


def _read(row: Row) -> MemoryRecord:
    return MemoryRecord(
        key=row["key"],
        text=row["text"],
        issue_id=row["issue_id"],
        actor=row["actor"],
        updated_at=to_datetime(row["updated_at"]),
    )
