"""What time it is: the database's clock, so that workers with wrong clocks agree."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from arcfusion.core.database import Connection

Clock = Callable[[], float]


def read_database_clock(connection: Connection) -> float:
    """Return seconds since 1970 by the database's clock."""
    if connection.dialect.clock is None:
        return time.time()
    (now,) = connection.execute(connection.dialect.clock).fetchone()
    return float(now)


def to_datetime(seconds: float) -> datetime:
    """Return the aware UTC time of a stored one."""
    return datetime.fromtimestamp(seconds, UTC)


def to_text(moment: datetime | None) -> str | None:
    """Return the time as JSON shows it: ISO 8601, UTC, milliseconds."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
