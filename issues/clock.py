"""What time it is: the database's clock, so that workers with wrong clocks agree."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]

# SQLite 3.40 has no unixepoch('subsec'). Seconds since 1970 in UTC, to the millisecond.
_NOW_SQL = "SELECT (julianday('now') - 2440587.5) * 86400.0"


def read_database_clock(connection: sqlite3.Connection) -> float:
    """Return seconds since 1970 by the database's clock."""
    (now,) = connection.execute(_NOW_SQL).fetchone()
    return float(now)


def to_datetime(seconds: float) -> datetime:
    """Return the aware UTC time of a stored one."""
    return datetime.fromtimestamp(seconds, UTC)


def to_text(moment: datetime | None) -> str | None:
    """Return the time as JSON shows it: ISO 8601, UTC, milliseconds."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
