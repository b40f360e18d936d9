"""The lab's database as a SQLite file: how it is opened, whose it is, and what is wrong with it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from arcfusion.core.database import SQLITE, Parameters
from arcfusion.core.errors import (
    ArcFusionError,
    DatabaseBusyError,
    DatabaseFailedError,
    DatabaseFullError,
    ForeignDatabaseError,
)
from arcfusion.core.home import LOCK_NAME
from arcfusion.core.lock import WriterLock

APPLICATION_ID = 0x41524346  # "ARCF"
BUSY_TIMEOUT_MS = 30_000
PRAGMAS = (
    "PRAGMA foreign_keys=ON",
    "PRAGMA synchronous=FULL",
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    # KiB. An import of 10,000 issues outgrows the 2 MB of the default and writes its pages twice.
    "PRAGMA cache_size=-65536",
    # Debian's SQLite overwrites what is deleted with zeros; nothing here is secret.
    "PRAGMA secure_delete=OFF",
    # What RETURNING gives goes through a temporary table.
    "PRAGMA temp_store=MEMORY",
    # Pages, 16 MiB: a checkpoint writes a page once, however often the WAL has it.
    "PRAGMA wal_autocheckpoint=4000",
)


class LabConnection(sqlite3.Connection):
    """A connection and the lock of its database: like it, of one thread and not for a fork."""

    dialect = SQLITE

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        name = f"{path.resolve().as_uri()}?mode=ro" if read_only else str(path)
        super().__init__(name, uri=read_only, isolation_level=None)
        self.writer_lock = WriterLock(path.with_name(LOCK_NAME))

    def plain(self, sql: str, parameters: Parameters = (), /) -> Iterator[tuple[Any, ...]]:
        """Return rows without names."""
        cursor = self.cursor()
        cursor.row_factory = None
        return cursor.execute(sql, parameters)

    def begin(self, *, read_only: bool = False) -> None:
        """Open a transaction; a writer waits for its turn."""
        if read_only:
            self.execute("BEGIN")
            return
        self.writer_lock.acquire()
        self.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """End the transaction and let the next writer in."""
        super().commit()
        self.writer_lock.release()

    def rollback(self) -> None:
        """Forget the transaction, if one is open, and let the next writer in."""
        try:
            super().rollback()
        finally:
            self.writer_lock.release()

    def close(self) -> None:
        """Close the connection and the lock's file."""
        super().close()
        self.writer_lock.close()


def open_to_read(path: Path) -> LabConnection:
    """Open a database file so that it can not be changed, whatever schema it has.

    Raises:
        ForeignDatabaseError: the file can not be opened.
    """
    try:
        connection = LabConnection(path, read_only=True)
    except sqlite3.DatabaseError as error:
        raise ForeignDatabaseError(f"{str(path)!r} can not be opened ({error})") from error
    connection.row_factory = sqlite3.Row
    return connection


def read_version(connection: sqlite3.Connection, path: Path) -> str:
    """Return the version of the lab's schema.

    Raises:
        ForeignDatabaseError: it is not a lab's database.
    """
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID:
            raise ForeignDatabaseError(
                f"{str(path)!r} is not a lab's database: move it away and run `arcfusion init`"
            )
        (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise ForeignDatabaseError(f"{str(path)!r} is not a readable database ({error})") from error
    return str(version)


def is_empty(path: Path) -> bool:
    """Return whether a database has no table: it is new, or its making was killed."""
    try:
        with closing(open_to_read(path)) as connection:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError:
        return False
    return int(tables) == 0


def find_damage(connection: sqlite3.Connection) -> list[str]:
    """Return what SQLite itself finds wrong: pages, indexes, constraints and foreign keys.

    SQLite passes over CHECK constraints when the connection is read-only (seen with 3.40.1).
    """
    pages = [row[0] for row in connection.execute("PRAGMA integrity_check(20)")]
    found = [] if pages == ["ok"] else pages
    found += [
        f"{table}, row {number}: it refers to a row of {parent} that is not there"
        for table, number, parent, _ in connection.execute("PRAGMA foreign_key_check")
    ]
    return found


def explain(error: BaseException) -> ArcFusionError | None:
    """Name what SQLite reported and a caller can act on; `core.postgres` does the same."""
    if not isinstance(error, sqlite3.OperationalError):
        return None
    match error.sqlite_errorcode & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return DatabaseBusyError()
        case sqlite3.SQLITE_FULL:
            return DatabaseFullError()
        case sqlite3.SQLITE_IOERR:
            return DatabaseFailedError()
        case _:
            return None


def claim_file(connection: sqlite3.Connection, path: Path) -> None:
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
