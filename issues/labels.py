"""Which side a query of ready issues begins at when a label is wanted.

The index of ready issues is in working order: where many issues carry the label, the first few of
them are near its beginning. Where few do, all of those are looked up and sorted instead. A count
that stops at a bound decides, so that the decision costs the same in any lab.
"""

from collections.abc import Sequence
from math import isqrt
from typing import NamedTuple

from arcfusion.core.database import Connection
from arcfusion.issues.transaction import Value

# Looking one issue up takes as long as passing five by, and of the 100,000 ready ones of a large
# lab `limit * 100,000 / carriers` are passed by: so many carriers take equally long either way.
_CARRIERS_OF_ONE = 150
_MOST = 2_000


class Source(NamedTuple):
    """What a query reads first, with the parameters that come before its others.

    `label` is the one that it asks for: the others remain to be asked for.
    """

    prefix: str = ""
    tables: str = "issue"
    join: str = ""
    values: tuple[Value, ...] = ()
    label: str | None = None


def choose_source(connection: Connection, labels: Sequence[str], limit: int) -> Source:
    """Return where to begin when all of the labels are wanted: at the rarest one, if it is rare."""
    few = min(_MOST, _CARRIERS_OF_ONE * isqrt(limit))
    counts = {label: _count(connection, label, few + 1) for label in labels}
    rarest = min(counts, key=lambda label: counts[label], default=None)
    if rarest is None or counts[rarest] > few:
        return Source()
    return Source(
        # A WITH query, as what is claimed is locked and its label is not.
        prefix="WITH rare AS (SELECT issue_id FROM label WHERE name = ?) ",
        # SQLite takes the left table of a CROSS JOIN first.
        tables="rare CROSS JOIN issue",
        join="issue.id = rare.issue_id AND ",
        values=(rarest,),
        label=rarest,
    )


def _count(connection: Connection, label: str, limit: int) -> int:
    sql = "SELECT count(*) FROM (SELECT 1 FROM label WHERE name = ? LIMIT ?) AS carriers"
    (number,) = connection.execute(sql, (label, limit)).fetchone()
    return int(number)
