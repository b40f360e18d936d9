"""An apsw connection that looks like sqlite3's, as far as the queue uses one.

apsw brings a SQLite that is newer than Python's, and lets Python stand between it and the disk.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

from arcfusion.core.database import SQLITE, Parameters
from arcfusion.core.lock import WriterLock

if TYPE_CHECKING:
    import apsw


class NamedRow(tuple[Any, ...]):
    """A row whose columns have names, like sqlite3.Row."""

    names: list[str]

    def __getitem__(self, key: SupportsIndex | slice | str) -> Any:  # noqa: ANN401  # any type
        """Return the column of that name or place."""
        return super().__getitem__(self.names.index(key) if isinstance(key, str) else key)

    def keys(self) -> list[str]:
        """Return the names of the columns."""
        return self.names


class Cursor:
    """What a statement returned, all of it: a write is over before its rows are handed out."""

    def __init__(self, rows: list[NamedRow], rowcount: int) -> None:
        self._rows = iter(rows)
        self.rowcount = rowcount
        self.description: Sequence[tuple[str]] = [(name,) for name in rows[0].names] if rows else ()

    def __iter__(self) -> Iterator[NamedRow]:
        return self._rows

    def fetchone(self) -> NamedRow | None:
        """Return the next row or None."""
        return next(self._rows, None)

    def fetchall(self) -> list[NamedRow]:
        """Return the rows that are left."""
        return list(self._rows)


class ApswConnection:
    """A `core.database.Connection`; its transactions are those of `store.LabConnection`."""

    dialect = SQLITE

    def __init__(self, connection: "apsw.Connection", writer_lock: WriterLock) -> None:
        self._connection = connection
        self._writer_lock = writer_lock

    def execute(self, sql: str, parameters: Parameters = (), /) -> Cursor:
        """Run one statement to its end."""
        before = self._connection.total_changes()
        cursor = self._connection.execute(sql, tuple(_plain(value) for value in parameters))
        rows: list[NamedRow] = []
        names: list[str] = []
        for values in cursor:
            names = names or [column[0] for column in cursor.get_description()]
            row = NamedRow(values)
            row.names = names
            rows.append(row)
        return Cursor(rows, self._connection.total_changes() - before)

    def executemany(self, sql: str, rows: Iterable[Parameters], /) -> None:
        """Run one statement for each row of parameters."""
        for parameters in rows:
            self.execute(sql, parameters)

    def plain(self, sql: str, parameters: Parameters = (), /) -> Iterator[tuple[Any, ...]]:
        """Yield rows; these have names all the same."""
        yield from self.execute(sql, parameters)

    def begin(self, *, read_only: bool = False) -> None:
        """Open a transaction; a writer waits for its turn."""
        if not read_only:
            self._writer_lock.acquire()
        self.execute("BEGIN" if read_only else "BEGIN IMMEDIATE")

    def commit(self) -> None:
        """End the transaction and let the next writer in."""
        self.execute("COMMIT")
        self._writer_lock.release()

    def rollback(self) -> None:
        """Forget the transaction, if one is open, and let the next writer in."""
        if self._connection.in_transaction:
            self.execute("ROLLBACK")
        self._writer_lock.release()

    def close(self) -> None:
        """Close the connection and its lock; the last one of a file writes its WAL back."""
        self._connection.close()
        self._writer_lock.close()


def _plain(value: object) -> Any:  # noqa: ANN401  # any value that SQL has
    """Return it in its base type: the queue's statuses are strings of their own class."""
    return str(value) if isinstance(value, str) else value
