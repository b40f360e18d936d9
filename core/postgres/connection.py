"""A connection of psycopg 3 with `?` marks and rows that have names."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from arcfusion.core.database import Dialect, Parameters
from arcfusion.core.environment import describe_url
from arcfusion.core.errors import (
    BadInputError,
    DatabaseBusyError,
    DatabaseFullError,
    DatabaseUnreachableError,
)
from arcfusion.core.postgres.login import open_raw

if TYPE_CHECKING:
    import psycopg

# The object's number keeps labs in other schemas of the same database apart.
_LOCK = "SELECT pg_advisory_xact_lock('lab_marker'::regclass::oid::int, {})"
# One key of 64 bits: never the same as one of two with 32.
_LOCK_NAME = "SELECT pg_advisory_xact_lock(hashtextextended(?, 'lab_marker'::regclass::oid::int8))"

POSTGRES = Dialect(
    name="Postgres",
    clock="SELECT extract(epoch FROM clock_timestamp())::float8",
    # Not FOR UPDATE: a comment's foreign key shares the row, and must not wait for a claim.
    lock_rows=" FOR NO KEY UPDATE",
    lock_free_rows=" FOR NO KEY UPDATE SKIP LOCKED",
    lock_all=_LOCK.format(1),
    lock_name=_LOCK_NAME,
    lock_numbers=_LOCK.format(2),
)
_BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_BEGIN_WRITE = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '60s'"
)

TABLES = """SELECT current_schema(), (SELECT count(*) FROM pg_class c JOIN pg_namespace n
    ON n.oid = c.relnamespace WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p'))"""

_BUSY = {"40P01", "40001", "55P03", "53300"}
_FULL = {"53100"}
# The connection is gone: shutdown, crash, a stopped transaction's time limit.
_GONE = {"57P01", "57P02", "57P03", "25P03"}
_TOKEN = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|\?(\d*)")


class PostgresRow:
    """A row like SQLite's: read by place or by name."""

    __slots__ = ("_places", "_values")

    def __init__(self, values: Sequence[Any], places: dict[str, int]) -> None:
        self._values = values
        self._places = places

    def __getitem__(self, key: int | str, /) -> Any:  # noqa: ANN401  # a column has any type
        return self._values[self._places[key] if isinstance(key, str) else key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PostgresRow):
            return NotImplemented
        return self.keys() == other.keys() and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash((*self.keys(), *self._values))

    def keys(self) -> list[str]:
        """Return the names of the columns."""
        return list(self._places)


class PostgresConnection:
    """One connection; it is opened anew when the server dropped it between two transactions."""

    dialect = POSTGRES

    def __init__(self, url: str) -> None:
        self._url = url
        self._raw = open_raw(url)
        self._is_begun = False
        self._is_closed = False

    @property
    def raw(self) -> "psycopg.Connection[Any]":
        """The driver's own connection."""
        return self._raw

    @classmethod
    def around(cls, url: str, raw: "psycopg.Connection[Any]") -> Self:
        """Return the face of an open connection in the transaction that it is in."""
        face = cls.__new__(cls)
        face._url, face._raw, face._is_begun, face._is_closed = url, raw, True, False
        return face

    def execute(self, sql: str, parameters: Parameters = (), /) -> "psycopg.Cursor[Any]":
        """Run one statement; without parameters, several with `;` between them."""
        import psycopg

        if self._raw.closed and not self._is_begun and not self._is_closed:
            self._raw = open_raw(self._url)
        with explained(self._url):
            cursor = psycopg.RawCursor(self._raw, row_factory=_named)
            return cursor.execute(translate(sql), _plain(parameters))

    def executemany(self, sql: str, rows: Iterable[Parameters], /) -> None:
        """Run one statement for each of the rows, without waiting for each answer."""
        with explained(self._url):
            self._raw.cursor().executemany(translate(sql), [_plain(row) or () for row in rows])

    def plain(self, sql: str, parameters: Parameters = (), /) -> Iterator[tuple[Any, ...]]:
        """Yield rows without names."""
        with explained(self._url):
            cursor = self._raw.cursor().execute(translate(sql), _plain(parameters))
        yield from cursor

    def begin(self, *, read_only: bool = False) -> None:
        """Open a transaction; a server that was restarted since the last one is asked again."""
        sql = _BEGIN_READ if read_only else _BEGIN_WRITE
        try:
            self.execute(sql)
        except DatabaseUnreachableError:
            self._raw.close()
            self.execute(sql)
        self._is_begun = True

    def commit(self) -> None:
        """End the transaction."""
        from psycopg.pq import TransactionStatus

        # Postgres answers the COMMIT of a failed transaction with a rollback, and no error.
        assert self._raw.info.transaction_status is not TransactionStatus.INERROR
        with explained(self._url):
            self._raw.commit()
        self._is_begun = False

    def rollback(self) -> None:
        """End the transaction; a connection that can not even do that is dropped."""
        import psycopg

        self._is_begun = False
        try:
            self._raw.rollback()
        except psycopg.Error:
            self._raw.close()

    def close(self) -> None:
        """End the connection."""
        self._is_closed = True
        self._raw.close()

    def read_marker(self) -> tuple[int | None, str]:
        """Return whose database it is, None for nobody's, and the version of its schema."""
        import psycopg

        try:
            row = self.execute(
                "SELECT m.application_id, v.version_num FROM lab_marker m, alembic_version v"
            ).fetchone()
        except psycopg.errors.UndefinedTable:
            row = None
        return (None, "") if row is None else (row[0], row[1])

    def count_tables(self) -> int:
        """Return the number of tables in the schema in which a lab would be made.

        Raises:
            BadInputError: the URL's search path names no schema that exists.
        """
        schema, tables = self.execute(TABLES).fetchall()[0]
        return check_tables(schema, tables, self._url)


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Raise what the code above catches; a broken constraint stays what it is.

    Raises:
        DatabaseBusyError, DatabaseFullError, DatabaseUnreachableError: what the driver reported.
    """
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        state = error.sqlstate
        if state in _BUSY:
            raise DatabaseBusyError(
                f"another process kept the database locked ({reason}): try again"
            ) from error
        if state in _FULL:
            raise DatabaseFullError(
                f"the database's disk is full ({reason}): nothing was written"
            ) from error
        # Without a code it is the driver that lost the connection, not the server that speaks.
        is_silent = state is None and isinstance(error, psycopg.OperationalError)
        if is_silent or state in _GONE or str(state).startswith("08"):
            raise DatabaseUnreachableError(
                f"the connection to {describe_url(url)} was lost ({reason}): try again"
            ) from error
        raise


def check_tables(schema: str | None, tables: int, url: str) -> int:
    """Return the number of tables.

    Raises:
        BadInputError: there is no schema.
    """
    if schema is None:
        raise BadInputError(
            f"{describe_url(url)}: its search_path names no schema that exists: make it first"
        )
    return tables


@lru_cache(maxsize=512)
def translate(sql: str) -> str:
    """Return the statement with `$1` for the first `?`; a `?2` names its place itself."""
    count = 0

    def number(match: re.Match[str]) -> str:
        nonlocal count
        if match[1] is None:
            return match[0]
        if match[1]:
            return f"${match[1]}"
        count += 1
        return f"${count}"

    return _TOKEN.sub(number, sql)


def _plain(parameters: Parameters) -> list[Any] | None:
    """Bools are stored as 0 and 1, as SQLite does."""
    if not parameters:
        return None
    return [int(value) if value is True or value is False else value for value in parameters]


def _named(cursor: "psycopg.Cursor[Any]") -> Callable[[Sequence[Any]], PostgresRow]:
    places: dict[str, int] = {}
    for place, column in enumerate(cursor.description or ()):
        places.setdefault(column.name, place)

    def make(values: Sequence[Any]) -> PostgresRow:
        return PostgresRow(values, places)

    return make
