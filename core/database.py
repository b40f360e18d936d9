"""What a database is to the rest of the code: a connection, its rows, and where two kinds differ.

`core.store` opens one, SQLite's own or `core.postgres`. A statement is written once, with `?` or
`?1` marks; what only one of the two databases understands is a word of its `Dialect`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Parameters = Sequence[Any]

# A LIMIT that lets everything through: -1 is SQLite's alone.
NO_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The words in which the two databases differ.

    Attributes:
        name: of the database.
        clock: a query of the seconds since 1970 by the database's clock; None where that is the
            clock of the machine that asks.
        lock_rows: ends a SELECT whose rows nobody else may change until the transaction ends.
        lock_free_rows: the same, without the rows that somebody else has locked.
        lock_all: a statement after which no other transaction of this kind runs; None where every
            write does so.
        lock_name: the same for writes under one name, its parameter.
        lock_numbers: the same for what is numbered without gaps; taken last.
    """

    name: str
    clock: str | None
    lock_rows: str = ""
    lock_free_rows: str = ""
    lock_all: str | None = None
    lock_name: str | None = None
    lock_numbers: str | None = None


SQLITE = Dialect(name="SQLite", clock=None)


class Row(Protocol):
    """A row, read by place or by name; unpacked as its values, `dict(row)` by `keys`."""

    def __getitem__(self, key: int | str, /) -> Any:  # noqa: ANN401  # a column has any type
        """Return the value at a place or of a name."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the values."""

    def __len__(self) -> int:
        """Return the number of columns."""

    def keys(self) -> list[str]:
        """Return the names of the columns."""


class Cursor(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int:
        """The number of rows that a write changed."""

    @property
    def description(self) -> Any:  # noqa: ANN401  # each driver's own tuples
        """One item for each column, its name first."""

    def fetchone(self) -> Any:  # noqa: ANN401  # a Row or None; tuple unpacking needs no check
        """Return the next row, or None."""

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows that are left."""


class Connection(Protocol):
    """A connection in autocommit mode, used by one thread."""

    @property
    def dialect(self) -> Dialect:
        """Where its SQL differs."""

    def execute(self, sql: str, parameters: Parameters = (), /) -> Cursor:
        """Run one statement."""

    def executemany(self, sql: str, rows: Iterable[Parameters], /) -> object:
        """Run one statement for each of the rows."""

    def plain(self, sql: str, parameters: Parameters = (), /) -> Iterator[tuple[Any, ...]]:
        """Yield rows without names: a named row costs as much as all the rest of an export."""

    def begin(self, *, read_only: bool = False) -> None:
        """Open a transaction: of one moment when it only reads, else one that sees every commit."""

    def commit(self) -> None:
        """End the transaction; it is kept when this returns."""

    def rollback(self) -> None:
        """End the transaction, if one is open, and forget what it did."""

    def close(self) -> None:
        """End the connection."""
