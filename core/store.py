"""The lab's one SQLite file: opened in one way, written under one lock.

A writer queues on the kernel's file lock (`flock`) and then takes BEGIN IMMEDIATE: SQLite's own
busy handler polls, and starved writers for seconds with 32 processes. WAL with synchronous=FULL
keeps every acknowledged commit through a power cut.

Two doors to the same file: `connect` (standard library, for the queue and for listings) and
`session` (SQLModel, loaded only by commands that use it).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arcfusion.core.errors import ForeignDatabaseError, HomeNotFoundError
from arcfusion.core.home import LOCK_NAME, Home
from arcfusion.core.lock import WriterLock

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlmodel import Session

APPLICATION_ID = 0x41524346  # "ARCF"
SCHEMA_HEAD = "0005"
BUSY_TIMEOUT_MS = 30_000
_PRAGMAS = (
    "PRAGMA foreign_keys=ON",
    "PRAGMA synchronous=FULL",
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
)


class LabConnection(sqlite3.Connection):
    """A connection and the lock of its database: like it, of one thread and not for a fork."""

    def __init__(self, path: Path, **options: Any) -> None:  # noqa: ANN401  # those of sqlite3
        super().__init__(path, **options)
        self.writer_lock = WriterLock(path.with_name(LOCK_NAME))

    def close(self) -> None:
        """Close the connection and the lock's file."""
        super().close()
        self.writer_lock.close()


def connect(home: Home) -> LabConnection:
    """Open the lab's database, in autocommit mode with named rows.

    Raises:
        HomeNotFoundError: there is no database.
        ForeignDatabaseError: the file is not a lab's database, or of another schema version.
    """
    if not home.db_path.is_file():
        raise HomeNotFoundError(f"no database at {str(home.db_path)!r}: run `arcfusion init`")
    connection = LabConnection(home.db_path, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        _check_schema(connection, home.db_path)
        for pragma in _PRAGMAS:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID:
            raise ForeignDatabaseError(
                f"{str(path)!r} is not a lab's database: move it away and run `arcfusion init`"
            )
        (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise ForeignDatabaseError(f"{str(path)!r} is not a readable database ({error})") from error
    if version != SCHEMA_HEAD:
        raise ForeignDatabaseError(
            f"{str(path)!r} has schema {version}, this version of ArcFusion reads {SCHEMA_HEAD}: "
            + ("run `arcfusion upgrade`" if version < SCHEMA_HEAD else "install a newer ArcFusion")
        )


@contextmanager
def writer_lock(home: Home) -> Iterator[None]:
    """Wait in the kernel's queue for the right to write; the lock goes with the process."""
    with closing(WriterLock(home.lock_path)) as lock:
        lock.acquire()
        yield


@contextmanager
def write(connection: LabConnection) -> Iterator[LabConnection]:
    """One write transaction: commits when the block ends, rolls back when it raises."""
    try:
        connection.writer_lock.acquire()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # A full disk rolls back by itself: a second rollback would hide the first error.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    finally:
        connection.writer_lock.release()


def open_engine(home: Home) -> "Engine":
    """Return a SQLAlchemy engine on the same file, with the same pragmas; loads SQLAlchemy.

    Raises:
        HomeNotFoundError, ForeignDatabaseError: as `connect`.
    """
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import NullPool

    engine = create_engine("sqlite://", creator=lambda: connect(home), poolclass=NullPool)

    # pysqlite's own BEGIN is deferred: two readers that both turn into writers would fail at once.
    @event.listens_for(engine, "begin")
    def _begin(connection: object) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]  # a Connection

    return engine


@contextmanager
def session(home: Home) -> "Iterator[Session]":
    """One write transaction through SQLModel: commits at the end, rolls back when it raises.

    Keep it short: every other writer waits. Objects stay readable after the block.
    """
    from sqlmodel import Session

    engine = open_engine(home)
    with writer_lock(home), Session(engine, expire_on_commit=False) as opened, opened.begin():
        yield opened


def create(home: Home) -> None:
    """Make the database with the newest schema, or leave an existing one as it is.

    Raises:
        ForeignDatabaseError: a file of that name is there and is not a lab's database.
    """
    if home.db_path.exists():
        connect(home).close()
        return
    with writer_lock(home):
        upgrade(home)


def upgrade(home: Home) -> None:
    """Bring the database's schema to the newest version; loads Alembic.

    Raises:
        ForeignDatabaseError: the file is not a lab's database.
    """
    from alembic import command
    from alembic.config import Config

    connection = sqlite3.connect(home.db_path, isolation_level=None)
    try:
        _claim_file(connection, home.db_path)
    finally:
        connection.close()
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", f"sqlite:///{home.db_path}")
    command.upgrade(config, "head")


def _claim_file(connection: sqlite3.Connection, path: Path) -> None:
    """Mark a new file as a lab's; refuse one that is somebody else's."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application != APPLICATION_ID:
            if tables or application:
                raise ForeignDatabaseError(f"{str(path)!r} is not a lab's database")
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.DatabaseError as error:
        raise ForeignDatabaseError(f"{str(path)!r} is not a readable database ({error})") from error
