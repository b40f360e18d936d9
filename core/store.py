"""The lab's one database: opened in one way, written under one rule.

It is a SQLite file, or a Postgres database where `ARCFUSION_DB` names one (`core.postgres`). On
SQLite a writer queues on the kernel's file lock (`flock`) and then takes BEGIN IMMEDIATE: SQLite's
own busy handler polls, and starved writers for seconds with 32 processes. WAL with
synchronous=FULL keeps every acknowledged commit through a power cut.

Two doors to the same database: `connect` (standard library, for the queue and for listings) and
`session` (SQLModel, loaded only by commands that use it).
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from arcfusion.core.database import Connection
from arcfusion.core.environment import describe_url
from arcfusion.core.errors import ForeignDatabaseError, HomeNotFoundError
from arcfusion.core.filesystem import check_local
from arcfusion.core.home import Home
from arcfusion.core.lab_file import (
    APPLICATION_ID,
    PRAGMAS,
    LabConnection,
    claim_file,
    explain,
    is_empty,
    read_version,
)
from arcfusion.core.lock import WriterLock

if TYPE_CHECKING:
    from sqlalchemy import Connection as EngineConnection
    from sqlalchemy import Engine
    from sqlmodel import Session

    from arcfusion.core.postgres.connection import PostgresConnection

    Verify = Callable[[EngineConnection], None]

SCHEMA_HEAD = "0006"
MIGRATIONS = Path(__file__).parent / "migrations"
# Looks in the open transaction whether its writer may still write, and raises when not.
Guard = Callable[[Connection], None]


def unguarded(_connection: Connection) -> None:
    """Be the guard of a person, who writes without a claim."""


def connect(home: Home) -> Connection:
    """Open the lab's database, in autocommit mode with named rows.

    Raises:
        HomeNotFoundError: there is no database, or it is empty.
        ForeignDatabaseError: it is not a lab's database, or of another schema version.
        BadInputError, DatabaseUnreachableError: `ARCFUSION_DB` can not be opened.
    """
    if home.database is None:
        return _connect_file(home)
    from arcfusion.core.postgres.connection import PostgresConnection

    connection = PostgresConnection(home.database)
    try:
        _check_remote(connection, home.database)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_file(home: Home) -> LabConnection:
    if not home.db_path.is_file():
        raise HomeNotFoundError(f"no database at {str(home.db_path)!r}: run `arcfusion init`")
    connection = LabConnection(home.db_path)
    connection.row_factory = sqlite3.Row
    try:
        check_schema(connection, home.db_path)
        for pragma in PRAGMAS:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


def check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse what is not a lab's database of this version's schema.

    Raises:
        ForeignDatabaseError: it is another one; the message says which.
    """
    _check_version(repr(str(path)), read_version(connection, path))


def _check_remote(connection: "PostgresConnection", url: str) -> None:
    _check_version(describe_url(url), _read_remote_version(connection, url))


def _read_remote_version(connection: "PostgresConnection", url: str) -> str:
    application, version = connection.read_marker()
    if application is None and connection.count_tables() == 0:
        raise HomeNotFoundError(f"no lab in {describe_url(url)}: run `arcfusion init`")
    if application != APPLICATION_ID:
        raise ForeignDatabaseError(
            f"{describe_url(url)} is not a lab's database: name an empty database or schema"
        )
    return version


def read_server_version(url: str) -> str:
    """Return the version of the schema of a lab's Postgres database.

    Raises:
        HomeNotFoundError: it is empty.
        ForeignDatabaseError: it is not a lab's database.
    """
    from arcfusion.core.postgres.connection import PostgresConnection

    with closing(PostgresConnection(url)) as connection:
        return _read_remote_version(connection, url)


def _check_version(name: str, version: str) -> None:
    if version != SCHEMA_HEAD:
        raise ForeignDatabaseError(
            f"{name} has schema {version}, this version of ArcFusion reads {SCHEMA_HEAD}: "
            + ("run `arcfusion upgrade`" if version < SCHEMA_HEAD else "install a newer ArcFusion")
        )


@contextmanager
def writer_lock(home: Home) -> Iterator[None]:
    """Wait in the kernel's queue for the right to write; the lock goes with the process."""
    with closing(WriterLock(home.lock_path)) as lock:
        lock.acquire()
        yield


class write:  # noqa: N801  # called like a function
    """One write transaction: commits when the block ends, rolls back when it raises.

    A class, as the generator that `contextmanager` wants takes as long as a statement.

    Args:
        connection: of `connect`.
        guard: called before the block; a worker's holds its claim until the commit.
        is_structural: False only for what changes one issue and locks its rows itself
            (`core.postgres`); on SQLite all writes exclude each other.
        finish: called after the block, before the commit.

    Raises:
        DatabaseBusyError, DatabaseFullError, DatabaseFailedError, DatabaseUnreachableError: what
            the database reported.
    """

    __slots__ = ("_connection", "_finish", "_guard", "_is_structural")

    def __init__(
        self,
        connection: Connection,
        *,
        is_structural: bool = True,
        guard: Guard = unguarded,
        finish: Callable[[], None] | None = None,
    ) -> None:
        self._connection = connection
        self._is_structural = is_structural
        self._guard = guard
        self._finish = finish

    def __enter__(self) -> Connection:
        try:
            self._connection.begin()
            if self._is_structural:
                exclude(self._connection)
            self._guard(self._connection)
        except BaseException as error:
            self._undo(error)
            raise
        return self._connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._undo(error)
            return
        try:
            if self._finish is not None:
                self._finish()
            self._connection.commit()
        except BaseException as failure:
            self._undo(failure)
            raise

    def _undo(self, error: BaseException) -> None:
        """Roll back; a full disk has done so by itself, and its error must not be hidden."""
        try:
            self._connection.rollback()
        finally:
            named = explain(error)
            if named is not None:
                raise named from error


@contextmanager
def _unwrapped() -> Iterator[None]:
    """Raise what SQLAlchemy wraps as `write` would."""
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except OperationalError as error:
        named = None if error.orig is None else explain(error.orig)
        if named is not None:
            raise named from error
        if isinstance(error.orig, sqlite3.OperationalError):
            raise error.orig from error
        raise


def exclude(connection: Connection) -> None:
    """Wait until no other structural write runs; before any row of the transaction is locked."""
    if connection.dialect.lock_all is not None:
        connection.execute(connection.dialect.lock_all)


def exclude_name(connection: Connection, name: str) -> None:
    """Wait until no other write under the name runs; before a row of the write is locked."""
    if connection.dialect.lock_name is not None:
        connection.execute(connection.dialect.lock_name, (name,))


def lock_numbers(connection: Connection) -> None:
    """Wait for the right to give out numbers without gaps; nothing is locked after it."""
    if connection.dialect.lock_numbers is not None:
        connection.execute(connection.dialect.lock_numbers)


@contextmanager
def snapshot(connection: Connection) -> Iterator[Connection]:
    """Read all tables as they are at one moment; nobody waits for it."""
    connection.begin(read_only=True)
    try:
        yield connection
    finally:
        connection.rollback()


def open_engine(home: Home) -> "Engine":
    """Return a SQLAlchemy engine on the same database, with the same settings; loads SQLAlchemy.

    Raises:
        HomeNotFoundError, ForeignDatabaseError: as `connect`.
    """
    if home.database is None:
        return _open_file_engine(lambda: _connect_file(home))
    from arcfusion.core.postgres import engine

    url = home.database
    return engine.open_engine(url, lambda connection: _check_remote(connection, url))


def _open_file_engine(opening: Callable[[], sqlite3.Connection]) -> "Engine":
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import NullPool

    engine = create_engine("sqlite://", creator=opening, poolclass=NullPool)

    # pysqlite's own BEGIN is deferred: two readers that both turn into writers would fail at once.
    @event.listens_for(engine, "begin")
    def _begin(connection: object) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]  # a Connection

    return engine


@contextmanager
def session(home: Home, *, guard: Guard = unguarded) -> "Iterator[Session]":
    """One structural write through SQLModel: commits at the end, rolls back when it raises.

    Keep it short: every other writer waits. Objects stay readable after the block. The guard is
    called before the block, as in `write`.
    """
    from sqlmodel import Session

    engine = open_engine(home)
    with ExitStack() as stack:
        if home.database is None:
            stack.enter_context(_unwrapped())
            stack.enter_context(writer_lock(home))
        else:
            from arcfusion.core.postgres.engine import unwrapped

            stack.enter_context(unwrapped(home.database))
        opened = stack.enter_context(Session(engine, expire_on_commit=False))
        stack.enter_context(opened.begin())
        if home.database is not None:
            from arcfusion.core.postgres.connection import POSTGRES

            opened.connection().exec_driver_sql(str(POSTGRES.lock_all))
        guard(_face(home, opened))
        yield opened


def _face(home: Home, opened: "Session") -> Connection:
    """Return the session's own connection as `connect` would have opened it."""
    raw: Any = opened.connection().connection.dbapi_connection
    if home.database is None:
        return cast("LabConnection", raw)  # the engine's creator opened it
    from arcfusion.core.postgres.connection import PostgresConnection

    return PostgresConnection.around(home.database, raw)


def create(home: Home) -> None:
    """Make the database with the newest schema, or leave an existing one as it is.

    Raises:
        ForeignDatabaseError: what is there is not a lab's database.
        NetworkFilesystemError: the home is on a network file system.
        BadInputError, DatabaseUnreachableError: `ARCFUSION_DB` can not be opened.
    """
    if home.database is not None:
        _create_remote(home, home.database)
        return
    check_local(home.path)
    if home.db_path.exists() and not is_empty(home.db_path):
        connect(home).close()
        return
    with writer_lock(home):
        migrate(home)  # nothing, when another process has made it meanwhile


def _create_remote(home: Home, url: str) -> None:
    from arcfusion.core.postgres.connection import PostgresConnection

    with closing(PostgresConnection(url)) as connection:
        is_empty = connection.count_tables() == 0
    if is_empty:
        migrate(home)
    connect(home).close()
    home.remote_path.write_text(f"{describe_url(url)}\n")


def migrate(home: Home, target: str = "head", verify: "Verify | None" = None) -> None:
    """Bring the database's schema to a newer version, in one transaction; loads Alembic.

    On SQLite the caller holds the writers' lock.

    Args:
        home: the lab.
        target: the version.
        verify: looks at the migrated tables before the commit; what it raises undoes all.

    Raises:
        ForeignDatabaseError: it is not a lab's database.
    """
    if home.database is None:
        with closing(LabConnection(home.db_path)) as opened:
            claim_file(opened, home.db_path)
        engine = _open_file_engine(lambda: LabConnection(home.db_path))
        with engine.begin() as connection:
            _migrate(connection, target, verify)
        return
    from arcfusion.core.postgres.engine import claim, unwrapped
    from arcfusion.core.postgres.engine import open_engine as open_remote

    with unwrapped(home.database), open_remote(home.database).begin() as connection:
        claim(connection, home.database, APPLICATION_ID)
        _migrate(connection, target, verify)


def _migrate(connection: "EngineConnection", target: str, verify: "Verify | None") -> None:
    """Apply the pending steps; one that fails leaves the schema as it was."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, target)
    if verify is not None:
        verify(connection)
