"""An apsw connection that looks like sqlite3's, as far as the queue uses one.

apsw brings a SQLite that is newer than Python's, and lets Python stand between it and the disk.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

from arcfusion.core.lock import WriterLock

if TYPE_CHECKING:
    import apsw

Value = str | int | float | bytes | None


class NamedRow(tuple[Value, ...]):
    """A row whose columns have names, like sqlite3.Row."""

    names: Sequence[str]

    def __getitem__(self, key: SupportsIndex | slice | str) -> Any:  # noqa: ANN401  # as sqlite3.Row
        """Return the column of that name or place."""
        return super().__getitem__(self.names.index(key) if isinstance(key, str) else key)

    def keys(self) -> Sequence[str]:
        """Return the names of the columns."""
        return self.names


class Cursor:
    """What a statement returned, all of it: a write is over before its rows are handed out."""

    def __init__(self, rows: list[NamedRow], rowcount: int) -> None:
        self._rows = iter(rows)
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[NamedRow]:
        return self._rows

    def fetchone(self) -> NamedRow | None:
        """Return the next row or None."""
        return next(self._rows, None)

    def fetchall(self) -> list[NamedRow]:
        """Return the rows that are left."""
        return list(self._rows)


class Connection:
    """One connection in autocommit mode, and the lock that `store.write` takes for it."""

    def __init__(self, connection: "apsw.Connection", writer_lock: WriterLock) -> None:
        self._connection = connection
        self.writer_lock = writer_lock

    @property
    def in_transaction(self) -> bool:
        """Whether a BEGIN is open."""
        return self._connection.in_transaction

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> Cursor:
        """Run one statement to its end."""
        before = self._connection.total_changes()
        cursor = self._connection.execute(sql, tuple(_plain(value) for value in parameters))
        rows: list[NamedRow] = []
        names: Sequence[str] = ()
        for values in cursor:
            names = names or [column[0] for column in cursor.get_description()]
            row = NamedRow(values)
            row.names = names
            rows.append(row)
        return Cursor(rows, self._connection.total_changes() - before)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Value]]) -> Cursor:
        """Run one statement for each row of parameters."""
        return Cursor([], sum(self.execute(sql, values).rowcount for values in parameters))

    def close(self) -> None:
        """Close the connection and its lock; the last one of a file writes its WAL back."""
        self._connection.close()
        self.writer_lock.close()


def _plain(value: Value) -> Value:
    """Apsw binds exact types only, and the queue's statuses are strings of their own class."""
    return str(value) if isinstance(value, str) else value
