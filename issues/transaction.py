"""One write: its connection, its time, who acts, and the event that each change leaves.

Every change of an issue's row goes through `change`, so that none is without an event. Events are
collected and written together, by `write_events`, as the last thing before the commit.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from arcfusion.core import store
from arcfusion.core.database import Connection, Row
from arcfusion.issues.errors import ClaimLostError, IssueUnknownError, WriteLostError
from arcfusion.issues.states import EventType

Value = str | int | float | None


@dataclass(slots=True, kw_only=True)
class Transaction:
    """An open transaction that writes.

    Attributes:
        now: seconds since 1970, read once, so that all rows of the write agree.
    """

    connection: Connection
    now: float
    actor: str
    session: str | None
    _events: list[tuple[Value, ...]] = field(default_factory=list, init=False)

    def row(self, sql: str, *parameters: Value) -> Row | None:
        """Return the first row or None."""
        found: Row | None = self.connection.execute(sql, parameters).fetchone()
        return found

    def rows(self, sql: str, *parameters: Value) -> list[Row]:
        """Return all rows."""
        return self.connection.execute(sql, parameters).fetchall()

    def run(self, sql: str, *parameters: Value) -> int:
        """Execute a write and return the number of rows that it changed."""
        return self.connection.execute(sql, parameters).rowcount

    def run_one(self, sql: str, *parameters: Value) -> None:
        """Execute a write of one row.

        Raises:
            WriteLostError: there is no such row, or the database did not take the new one.
        """
        if self.run(sql, *parameters) != 1:
            raise WriteLostError

    def write_row(self, sql: str, *parameters: Value) -> Row:
        """Execute a write of one row that ends in RETURNING, and return the row.

        Raises:
            WriteLostError: as `run_one`.
        """
        row = self.row(sql, *parameters)
        if row is None:
            raise WriteLostError
        return row

    def lock_lease(self, issue_id: str) -> None:
        """Lock the issue's lease, if it has one: before its row, in the order of every holder."""
        if self.connection.dialect.lock_rows:
            sql = f"SELECT 1 FROM lease WHERE issue_id = ?{self.connection.dialect.lock_rows}"  # noqa: S608  # constants
            self.run(sql, issue_id)

    def issue_row(self, issue_id: str) -> Row:
        """Return the row of the issue, which nobody else changes until the end.

        Raises:
            IssueUnknownError: there is none.
        """
        sql = f"SELECT * FROM issue WHERE id = ?{self.connection.dialect.lock_rows}"  # noqa: S608  # constants
        found = self.row(sql, issue_id)
        if found is None:
            raise IssueUnknownError(f"no issue {issue_id!r}: `arcfusion issue list` shows them")
        return found

    def log(
        self,
        event: EventType,
        issue_id: str | None,
        *,
        fence: int | None = None,
        before: Mapping[str, object] | None = None,
        after: Mapping[str, object] | None = None,
    ) -> None:
        """Record the event of a change that was made."""
        self._events.append(
            (
                issue_id,
                event,
                self.actor,
                fence,
                _encode(before) if before else "{}",
                _encode(after) if after else "{}",
                self.now,
            )
        )

    def write_events(self) -> None:
        """Write the events; numbers have no gaps, since a rolled-back one is given again."""
        if not self._events:
            return
        store.lock_numbers(self.connection)
        self.connection.executemany(
            "INSERT INTO event (seq, issue_id, type, actor, fence, before, after, created_at)"
            " VALUES ((SELECT coalesce(max(seq), 0) + 1 FROM event), ?, ?, ?, ?, ?, ?, ?)",
            self._events,
        )
        self._events.clear()

    def change(
        self,
        event: EventType,
        row: Row,
        changes: Mapping[str, Value],
        *,
        fence: int | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Set columns of the issue whose row was read in this transaction, and log the event.

        Args:
            event: what happened.
            row: the issue as it is now.
            changes: new values by column; the names come from the code, never from a user.
            fence: the holder's; the update matches it again.
            detail: what else belongs into the event's `after`.

        Raises:
            ClaimLostError: the fence is not the issue's any more.
        """
        assignments = ", ".join(f"{name} = ?" for name in changes)
        # Without RETURNING, which costs as much as three such updates.
        changed = self.run(
            f"UPDATE issue SET {assignments}, updated_at = ?, revision = revision + 1"  # noqa: S608  # names from the code
            " WHERE id = ? AND fence = ?",
            *changes.values(),
            self.now,
            row["id"],
            row["fence"] if fence is None else fence,
        )
        if changed != 1:
            raise ClaimLostError
        self.log(
            event,
            row["id"],
            fence=fence,
            before={name: row[name] for name in changes},
            after={**changes, **(detail or {})},
        )


_encode = json.JSONEncoder(sort_keys=True).encode
