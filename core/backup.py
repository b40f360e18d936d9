"""Copies of the lab's database while others write it, and the way back. For SQLite only."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from arcfusion.core import lab_file, store
from arcfusion.core.database import Connection
from arcfusion.core.errors import (
    BadInputError,
    HomeUnwritableError,
    RefusedError,
    UnavailableError,
)
from arcfusion.core.filesystem import check_local
from arcfusion.core.home import Home
from arcfusion.core.replacement import replace_file

# Returns what is wrong with the database, in words.
Check = Callable[[Connection], Sequence[str]]


class BackupExistsError(BadInputError):
    """A file of that name is there: name another one."""


class BackupUnwritableError(BadInputError):
    """The backup can not be written there."""


class BackupUnreadableError(BadInputError):
    """The file is no backup that this version of ArcFusion can read."""


class BackupBrokenError(RefusedError):
    """The copy is not whole."""


class HomeOccupiedError(BadInputError):
    """There is a lab already: a backup is restored only where there is none."""


class ServerDatabaseError(UnavailableError):
    """The lab's database is a server's: use its own tools (pg_dump, pg_restore)."""


def back_up(home: Home, path: Path, *, check: Check, overwrite: bool = False) -> int:
    """Copy the database as it is at one moment, check the copy, and return its size in bytes.

    Writers go on meanwhile. The copy is one file, without a WAL. It gets its name only when it is
    on the disk and nothing is wrong with it.

    Args:
        home: the lab.
        path: the file to write.
        check: looks at the copy beyond SQLite's own checks.
        overwrite: whether a file of that name is replaced.

    Raises:
        BackupExistsError: a file is there; or it is the lab's own database.
        BackupUnwritableError: the folder or the disk can not take it.
        BackupBrokenError: the copy is not whole.
        ServerDatabaseError: the database is not SQLite's.
    """
    refuse_server(home)
    with closing(lab_file.open_to_read(home.db_path)) as source:
        store.check_schema(source, home.db_path)
        _refuse_target(home, path, overwrite=overwrite)
        back_up_file(source, path, check=check, overwrite=overwrite)
    return path.stat().st_size


def back_up_file(
    source: sqlite3.Connection, path: Path, *, check: Check, overwrite: bool = True
) -> None:
    """Copy an open database of whatever schema; as `back_up`, without its refusals.

    Raises:
        BackupExistsError, BackupUnwritableError, BackupBrokenError: as `back_up`.
    """
    try:
        with replace_file(path, overwrite=overwrite) as temporary:
            _copy(source, temporary)
            _refuse_broken(temporary, check)
    except FileExistsError as error:
        raise BackupExistsError(_exists(path)) from error
    except (OSError, sqlite3.OperationalError) as error:
        raise BackupUnwritableError(
            f"can not write {str(path)!r} ({getattr(error, 'strerror', None) or error}): name a "
            "file in a folder that you can write"
        ) from error
    except sqlite3.DatabaseError as error:
        raise BackupBrokenError(_broken(str(error))) from error


def restore(home: Home, backup: sqlite3.Connection, *, check: Check) -> None:
    """Make what `open_backup` opened the database of a home that has none.

    Raises:
        HomeOccupiedError: there is a database, or what a crash left of one.
        HomeUnwritableError, NetworkFilesystemError: there can be none in that place.
        BackupBrokenError: the backup is not whole.
        ServerDatabaseError: the database is not SQLite's.
    """
    refuse_server(home)
    check_local(home.path)
    _refuse_occupied(home)
    try:
        with (
            store.writer_lock(home),
            replace_file(home.db_path, overwrite=False) as temporary,
        ):
            _copy(backup, temporary)
            _refuse_broken(temporary, check)
            with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
    except FileExistsError as error:
        raise HomeOccupiedError(_occupied(home.db_path)) from error
    except (OSError, sqlite3.OperationalError) as error:
        raise HomeUnwritableError(f"can not write {str(home.path)!r} ({error})") from error
    except sqlite3.DatabaseError as error:
        raise BackupBrokenError(_broken(str(error))) from error


def open_backup(path: Path) -> sqlite3.Connection:
    """Open a backup to read it.

    Raises:
        BackupUnreadableError: there is no such file, or it is of a newer version.
        ForeignDatabaseError: it is not of a lab.
    """
    if not path.is_file():
        raise BackupUnreadableError(f"there is no file {str(path)!r}: name a backup")
    connection = lab_file.open_to_read(path)
    try:
        _refuse_newer(path, lab_file.read_version(connection, path))
    except BaseException:
        connection.close()
        raise
    return connection


def refuse_server(home: Home) -> None:
    """Refuse what works on SQLite's file alone.

    Raises:
        ServerDatabaseError: the lab's database is a server's.
    """
    if home.database is not None:
        raise ServerDatabaseError(
            f"this works on SQLite's file, and the lab's database is {home.database_name}: use "
            "pg_dump and pg_restore"
        )


def _refuse_target(home: Home, path: Path, *, overwrite: bool) -> None:
    if path.exists():
        if path.samefile(home.db_path):
            raise BackupExistsError(f"{str(path)!r} is the lab's own database: name another file")
        if not overwrite:
            raise BackupExistsError(_exists(path))
        if not path.is_file():
            raise BackupExistsError(f"{str(path)!r} is not a file: name another one")
    _refuse_leftovers(path, BackupExistsError)


def _refuse_occupied(home: Home) -> None:
    if home.db_path.exists():
        raise HomeOccupiedError(_occupied(home.db_path))
    _refuse_leftovers(home.db_path, HomeOccupiedError)


def _refuse_leftovers(path: Path, error: type[BadInputError]) -> None:
    """Refuse a name beside which SQLite would find another database's journal, and apply it."""
    for ending in ("-wal", "-journal"):
        other = path.with_name(path.name + ending)
        if other.exists():
            raise error(
                f"{str(other)!r} is left of another database, and SQLite would apply it to this "
                "one: move it away first"
            )


def _refuse_newer(path: Path, version: str) -> None:
    if version > store.SCHEMA_HEAD:
        raise BackupUnreadableError(
            f"{str(path)!r} has schema {version}, this version of ArcFusion reads "
            f"{store.SCHEMA_HEAD}: install a newer ArcFusion"
        )


def _copy(source: sqlite3.Connection, path: Path) -> None:
    """Copy in one step: the reader's snapshot stands, and no writer makes it begin again."""
    with closing(sqlite3.connect(path, isolation_level=None)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")


def _refuse_broken(path: Path, check: Check) -> None:
    # To write, though nothing is written: a read-only connection skips the constraints.
    with closing(lab_file.LabConnection(path)) as connection:
        lab_file.read_version(connection, path)
        problems = [*lab_file.find_damage(connection), *check(connection)]
    if problems:
        raise BackupBrokenError(_broken(problems[0]))


def _exists(path: Path) -> str:
    return f"{str(path)!r} is there already: name another file, or replace it with --force"


def _occupied(path: Path) -> str:
    return f"{str(path)!r} is there: a backup is restored only where there is no lab"


def _broken(problem: str) -> str:
    return (
        f"the copy is not whole ({problem}): nothing was kept of it; `arcfusion issue doctor` "
        "looks at the original"
    )
