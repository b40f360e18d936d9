"""`arcfusion issue doctor`: whether the queue's database is whole, and what to do if it is not."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from arcfusion.agents.cli.output import Json, format_table, print_json, print_text
from arcfusion.agents.cli.parameter import Option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arcfusion.core.home import Home
    from arcfusion.issues.examination import Finding

WAL_WARNING_BYTES = 64 << 20


def doctor(
    deep: Annotated[
        bool, Option("--deep", help="Also rebuild the tables from the event log.")
    ] = False,
    json: Json = False,
) -> None:
    """Look for damage, read only: nothing is repaired; exit 5 when something is wrong."""
    from arcfusion.core.home import find_home
    from arcfusion.issues.errors import QueueDamagedError
    from arcfusion.issues.examination import State

    home = find_home()
    if home.database is None:
        findings = [*_look_at_tables(home, deep=deep), *_look_at_files(home)]
    else:
        findings = _look_at_server(home, deep=deep)
    if json:
        print_json([finding.to_json() for finding in findings])
    else:
        rows = [(f.check, f.state, f.detail, f.advice) for f in findings]
        print_text(format_table(("what", "state", "detail", "what to do"), rows))
    wrong = [finding for finding in findings if finding.state is State.WRONG]
    if wrong:
        raise QueueDamagedError(
            f"{len(wrong)} of {len(findings)} checks fail, first {wrong[0].check}: "
            f"{wrong[0].detail}: {wrong[0].advice}"
        )


def _look_at_tables(home: "Home", *, deep: bool) -> "Iterator[Finding]":
    from arcfusion.core import lab_file, store
    from arcfusion.core.errors import ForeignDatabaseError
    from arcfusion.issues.examination import Finding, State, examine

    with closing(lab_file.open_to_read(home.db_path)) as connection:
        try:
            store.check_schema(connection, home.db_path)
        except ForeignDatabaseError as error:
            cause = error.__cause__
            if not isinstance(cause, sqlite3.DatabaseError) or not _is_damage(cause):
                raise
            yield Finding(
                check="integrity",
                state=State.WRONG,
                detail=f"the file is damaged: {cause}",
                advice="stop the workers, keep the file, and restore the newest backup elsewhere",
            )
            return
        with store.snapshot(connection):
            yield from examine(connection, deep=deep)


def _look_at_server(home: "Home", *, deep: bool) -> "list[Finding]":
    """Look at the tables; a Postgres server looks after its own files (pg_amcheck, pg_dump)."""
    from arcfusion.core import store
    from arcfusion.issues.examination import examine

    with closing(store.connect(home)) as connection, store.snapshot(connection):
        return list(examine(connection, deep=deep))


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether it is a database with a part missing; a file of another kind is NOTADB."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_NOTADB) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR}


def _look_at_files(home: "Home") -> "Iterator[Finding]":
    from arcfusion.agents.doctor import check_sqlite
    from arcfusion.core.filesystem import find_kind, is_network
    from arcfusion.issues.examination import Finding, State

    kind = find_kind(home.path)
    if is_network(kind):
        yield Finding(
            check="file system",
            state=State.WRONG,
            detail=f"{home.path} is on {kind}, where SQLite's locks do not hold",
            advice="stop the workers, `arcfusion backup` it, and restore it on a local disk",
        )
    else:
        yield Finding(check="file system", state=State.OK, detail=kind or "unknown")
    wal = home.db_path.with_name(home.db_path.name + "-wal")
    yield _wal_finding(wal)
    version = check_sqlite()
    yield Finding(
        check=version.name,
        state=State.OK if version.state == "ok" else State.WARNING,
        detail=version.detail,
        advice="" if version.state == "ok" else "`arcfusion backup FILE` makes a copy",
    )


def _wal_finding(path: Path) -> "Finding":
    from arcfusion.issues.examination import Finding, State

    size_bytes = path.stat().st_size if path.exists() else 0
    large = size_bytes > WAL_WARNING_BYTES
    return Finding(
        check="write-ahead log",
        state=State.WARNING if large else State.OK,
        detail=f"{size_bytes / 2**20:.1f} MiB",
        advice="a reader that never ends keeps it: end old processes" if large else "",
    )
