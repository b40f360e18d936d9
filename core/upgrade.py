"""The explicit migration of a lab's database: a backup first, then all steps or none.

Nothing else migrates: every other command refuses a database of another schema.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arcfusion.core import lab_file, store
from arcfusion.core.backup import Check, ServerDatabaseError, back_up_file
from arcfusion.core.errors import ForeignDatabaseError, HomeNotFoundError, RefusedError
from arcfusion.core.home import Home

if TYPE_CHECKING:
    from sqlalchemy import Connection as EngineConnection


class MigrationRefusedError(RefusedError):
    """The migrated tables are not whole: the database is as it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """What was done.

    Attributes:
        before: the schema's version.
        after: and the one now.
        backup: the database as it was; None when it was of the newest schema already.
    """

    before: str
    after: str
    backup: Path | None


def upgrade(home: Home, *, check: Check, without_backup: bool = False) -> Upgrade:
    """Bring the lab's database to this version's schema.

    A kill at any moment leaves the old schema or the new one, with all rows.

    Args:
        home: the lab.
        check: what else must hold in the backup and in the migrated tables.
        without_backup: that there is one of the server's, which this can not make. SQLite's is
            always made.

    Raises:
        HomeNotFoundError: there is no database.
        ServerDatabaseError: the database is a server's, and nobody said that there is a backup.
        ForeignDatabaseError: it is not a lab's, or of a newer version.
        BackupUnwritableError, BackupBrokenError: there is no backup, so nothing was migrated.
        MigrationRefusedError: the result is not whole; nothing was migrated.
    """
    if home.database is not None:
        return _upgrade_server(home, check, without_backup=without_backup)
    if not home.db_path.is_file():
        raise HomeNotFoundError(f"no database at {str(home.db_path)!r}: run `arcfusion init`")
    # Nobody can write between the backup and the migration.
    with store.writer_lock(home):
        with closing(lab_file.open_to_read(home.db_path)) as connection:
            before = _read_known_version(connection, home.db_path)
            if before == store.SCHEMA_HEAD:
                return Upgrade(before=before, after=before, backup=None)
            backup = home.db_path.with_name(f"{home.db_path.name}.{before}.bak")
            back_up_file(connection, backup, check=check)
        _migrate(home, check)
        with closing(lab_file.open_to_read(home.db_path)) as connection:
            after = lab_file.read_version(connection, home.db_path)
    return Upgrade(before=before, after=after, backup=backup)


def _read_known_version(connection: sqlite3.Connection, path: Path) -> str:
    version = lab_file.read_version(connection, path)
    _refuse_unknown(version, repr(str(path)))
    return version


def _refuse_unknown(version: str, name: str) -> None:
    known = {file.name.partition("_")[0] for file in store.MIGRATIONS.glob("versions/[0-9]*.py")}
    if version not in known:
        raise ForeignDatabaseError(
            f"{name} has schema {version}, this version of ArcFusion knows up to "
            f"{store.SCHEMA_HEAD}: install a newer ArcFusion; nothing was changed"
        )


def _migrate(home: Home, check: Check) -> None:
    from sqlalchemy.exc import DatabaseError

    try:
        store.migrate(home, verify=lambda opened: _refuse_damage(opened, check))
    except DatabaseError as error:
        raise MigrationRefusedError(
            f"the migration failed ({error.orig}): the database is as it was"
        ) from error


def _refuse_damage(opened: "EngineConnection", check: Check) -> None:
    connection: Any = opened.connection.dbapi_connection  # the LabConnection of `store.migrate`
    problems = [*lab_file.find_damage(connection), *check(connection)]
    if problems:
        raise MigrationRefusedError(_refusal(problems[0]))


def _refusal(problem: str) -> str:
    return (
        f"the migrated tables are not whole ({problem}): the database is as it was; see "
        "`arcfusion issue doctor`"
    )


def _upgrade_server(home: Home, check: Check, *, without_backup: bool) -> Upgrade:
    assert home.database is not None
    before = store.read_server_version(home.database)
    if before == store.SCHEMA_HEAD:
        return Upgrade(before=before, after=before, backup=None)
    _refuse_unknown(before, home.database_name)
    if not without_backup:
        raise ServerDatabaseError(
            f"{home.database_name} is a server, which has its own backups: make one with pg_dump, "
            "and say so with --without-backup"
        )
    store.migrate(home)
    with closing(store.connect(home)) as connection:
        problems = check(connection)
    if problems:
        raise MigrationRefusedError(
            f"the tables are migrated and not whole ({problems[0]}): restore the backup"
        )
    return Upgrade(before=before, after=store.SCHEMA_HEAD, backup=None)
