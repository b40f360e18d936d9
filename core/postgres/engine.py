"""SQLAlchemy on the lab's Postgres: sessions, and the schema that Alembic makes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from arcfusion.core.environment import describe_url
from arcfusion.core.errors import BadInputError, ForeignDatabaseError
from arcfusion.core.postgres.connection import (
    TABLES,
    PostgresConnection,
    check_tables,
    explained,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection as EngineConnection
    from sqlalchemy import Engine

# SQLite's function of this name, so that a statement has one text.
_JSON_EACH = """CREATE FUNCTION json_each(list text) RETURNS TABLE (value text)
    LANGUAGE sql IMMUTABLE AS 'SELECT jsonb_array_elements_text(list::jsonb)'"""


def open_engine(url: str, check: Callable[[PostgresConnection], None] | None = None) -> "Engine":
    """Return a SQLAlchemy engine; `check` refuses a connection to what is not the lab."""
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import NullPool

    def connect() -> object:
        import psycopg

        opened = PostgresConnection(url)
        if check is not None:
            try:
                check(opened)
            except BaseException:
                opened.close()
                raise
        raw = opened.raw
        raw.autocommit = False
        raw.cursor_factory = psycopg.Cursor
        return raw

    engine = create_engine(
        "postgresql+psycopg://",
        creator=connect,
        poolclass=NullPool,
        isolation_level="READ COMMITTED",
        use_native_hstore=False,
    )
    engine.dialect.type_compiler_instance = _lab_types(engine)

    @event.listens_for(engine, "begin")
    def _begin(connection: object) -> None:
        connection.exec_driver_sql(  # type: ignore[attr-defined]  # a Connection
            "SET LOCAL idle_in_transaction_session_timeout = '60s'"
        )

    return engine


@contextmanager
def unwrapped(url: str) -> Iterator[None]:
    """Raise what the server could not do as a `PostgresConnection` would."""
    from psycopg import OperationalError
    from sqlalchemy.exc import DBAPIError

    with explained(url):
        try:
            yield
        except DBAPIError as error:
            if isinstance(error.orig, OperationalError):
                raise error.orig from error
            raise


def claim(connection: "EngineConnection", url: str, application_id: int) -> None:
    """Mark an empty schema as a lab's, in the open transaction; refuse one of somebody else.

    Raises:
        BadInputError: the search path names no schema, or the database is not in UTF-8.
        ForeignDatabaseError: there are tables, and they are not a lab's.
    """
    run = connection.exec_driver_sql
    # Two that make the lab at once: the second one finds it made.
    run("SELECT pg_advisory_xact_lock(hashtext('arcfusion'), hashtext(current_schema()))")
    if run("SHOW server_encoding").scalar_one() != "UTF8":
        raise BadInputError(
            f"{describe_url(url)} is not in UTF-8: CREATE DATABASE ... ENCODING 'UTF8'"
        )
    schema, found = run(TABLES).one()
    tables = check_tables(schema, found, url)
    if tables and run("SELECT to_regclass('lab_marker')").scalar_one() is None:
        raise ForeignDatabaseError(
            f"{describe_url(url)} is not a lab's database: name an empty database or schema"
        )
    if not tables:
        run("CREATE TABLE lab_marker (application_id BIGINT NOT NULL)")
        run(f"INSERT INTO lab_marker VALUES ({application_id:d})")  # noqa: S608  # a constant
        run(_JSON_EACH)


def _lab_types(engine: "Engine") -> Any:  # noqa: ANN401  # SQLAlchemy's own protocol
    """Every whole number has 64 bits, and text is ordered by code point, as in SQLite."""
    from sqlalchemy import Column
    from sqlalchemy.dialects.postgresql.base import PGTypeCompiler
    from sqlalchemy.types import Integer, String

    class LabTypes(PGTypeCompiler):
        def visit_INTEGER(self, type_: Integer, **_: Any) -> str:  # noqa: ANN401, N802  # theirs
            assert type_ is not None
            return "BIGINT"

        def visit_VARCHAR(self, type_: String, **kw: Any) -> str:  # noqa: ANN401, N802  # theirs
            assert type_ is not None
            return 'TEXT COLLATE "C"' if isinstance(kw.get("type_expression"), Column) else "TEXT"

        def visit_TEXT(self, type_: String, **kw: Any) -> str:  # noqa: ANN401, N802  # theirs
            return self.visit_VARCHAR(type_, **kw)

    return LabTypes(engine.dialect)
