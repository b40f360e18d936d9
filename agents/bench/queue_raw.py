"""What the queue is measured against: raw sqlite3, one UPDATE to claim and one to complete.

WAL, synchronous=FULL and a busy timeout of 30 s as in the lab, in a file of its own; no lease, no
attempt, no event, no lock before SQLite's.
"""

import sqlite3
from pathlib import Path

from arcfusion.core.lab_file import BUSY_TIMEOUT_MS
from arcfusion.issues.errors import NothingReadyError

_SCHEMA = """
CREATE TABLE job (
    id INTEGER PRIMARY KEY, priority INTEGER NOT NULL, status TEXT NOT NULL, owner TEXT,
    token INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX ix_job ON job (status, priority, id);
"""
_FILL = "INSERT INTO job (priority, status) VALUES (2, 'open')"
_CLAIM = (
    "UPDATE job SET status = 'in_progress', owner = ?, token = token + 1 WHERE id ="
    " (SELECT id FROM job WHERE status = 'open' ORDER BY priority, id LIMIT 1) RETURNING id, token"
)
_COMPLETE = "UPDATE job SET status = 'closed' WHERE id = ? AND token = ? AND owner = ?"


def create(path: Path) -> None:
    """Make the file."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.executescript(_SCHEMA)
    connection.close()


def connect(path: Path) -> sqlite3.Connection:
    """Open the file in autocommit mode."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    return connection


def top_up(path: Path, wanted: int) -> None:
    """Add open jobs until there are so many."""
    connection = sqlite3.connect(path)
    with connection:
        (found,) = connection.execute("SELECT count(*) FROM job WHERE status = 'open'").fetchone()
        connection.executemany(_FILL, [()] * max(0, wanted - found))
    connection.close()


def claim(connection: sqlite3.Connection, owner: str) -> tuple[int, int]:
    """Claim the first open job; return its id and token.

    Raises:
        NothingReadyError: there is none.
    """
    rows = connection.execute(_CLAIM, (owner,)).fetchall()
    if not rows:
        raise NothingReadyError
    job, token = rows[0]
    return job, token


def complete(connection: sqlite3.Connection, owner: str, job: tuple[int, int]) -> None:
    """Close the claimed job."""
    connection.execute(_COMPLETE, (*job, owner))
