"""The orders in which ready issues are handed out.

Each ends with the id, so that it is total: the same database gives the same order on every machine.
`priority` is the default. `unblocks` is counted when it is asked for, from the edges that hold an
issue back now, and refuses a queue with more of them than it can count within a claim.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import count
from typing import NamedTuple

from arcfusion.core.database import Connection, Row
from arcfusion.issues import graph
from arcfusion.issues.errors import OrderTooLargeError
from arcfusion.issues.states import READY

# A set of issues is one bit each: with so many edges the sets take 50 MB at most.
MAX_EDGES = 20_000


class Order(StrEnum):
    """Which ready issue comes first."""

    PRIORITY = "priority"
    OLDEST = "oldest"
    UNBLOCKS = "unblocks"


KEYS: dict[Order, tuple[str, ...]] = {
    Order.PRIORITY: ("priority", "created_at", "id"),
    Order.OLDEST: ("created_at", "id"),
    Order.UNBLOCKS: ("unblocks", "priority", "created_at", "id"),
}

RULES: dict[Order, str] = {
    Order.PRIORITY: "priority 0 before 4, then the oldest, then the smaller id",
    Order.OLDEST: "the oldest, whatever its priority, then the smaller id",
    Order.UNBLOCKS: (
        "the one for which most open issues wait, directly or through others, then priority, age "
        f"and id; counted over at most {MAX_EDGES} dependencies"
    ),
}


class Ranked(NamedTuple):
    """A ready issue's place in the order `unblocks`: the smaller tuple comes first."""

    minus_waiting: int
    priority: int
    created_at: float
    id: str


def order_by(order: Order) -> str:
    """Return the ORDER BY of an order that the database can sort: not `unblocks`."""
    return f"ORDER BY {', '.join(KEYS[order])}"


def rank(
    connection: Connection,
    now: float,
    condition: str,
    values: Sequence[str | int | float | None],
    limit: int,
    weights: Mapping[str, int],
) -> list[Ranked]:
    """Return the first ready issues in the order `unblocks`.

    Args:
        connection: the lab's.
        now: seconds since 1970.
        condition: SQL terms after READY, each with its AND, of the given values.
        values: of the condition.
        limit: at most so many.
        weights: of `count_waiting`.
    """
    from arcfusion.issues.document import chunks

    columns = "SELECT priority, created_at, id FROM issue"
    terms = f"{READY} AND not_before <= ?{condition}"
    heaviest = sorted(weights, key=lambda issue_id: -weights[issue_id])
    found: list[Ranked] = []
    for part in chunks(heaviest):
        if len(found) >= limit and -found[limit - 1].minus_waiting > weights[part[0]]:
            break
        marks = ", ".join("?" for _ in part)
        sql = f"{columns} WHERE {terms} AND id IN ({marks})"  # constants and marks
        rows = connection.execute(sql, (now, *values, *part))
        found += [Ranked(-weights[row["id"]], *row) for row in rows]
        found.sort()
    if len(found) < limit:
        # Nobody waits for the others: they follow in the default order.
        sql = f"{columns} WHERE {terms} {order_by(Order.PRIORITY)} LIMIT ?"  # constants
        rows = connection.execute(sql, (now, *values, limit + len(found)))
        found += [Ranked(0, *row) for row in rows if row["id"] not in weights]
    return found[:limit]


def place_of(issue: Row, weights: Mapping[str, int]) -> Ranked:
    """Return the issue's place in the order `unblocks`."""
    waiting = weights.get(issue["id"], 0)
    return Ranked(-waiting, issue["priority"], issue["created_at"], issue["id"])


def count_waiting(connection: Connection) -> dict[str, int]:
    """Return for each issue that others wait for the number of open ones that do.

    Raises:
        OrderTooLargeError: more edges hold issues back than are counted.
    """
    pairs = graph.waiting_pairs(connection, MAX_EDGES + 1)
    if len(pairs) > MAX_EDGES:
        raise OrderTooLargeError(
            f"more than {MAX_EDGES} dependencies hold issues back: the order 'unblocks' counts at "
            "most so many; use --sort priority or --sort oldest"
        )
    targets: dict[str, list[str]] = defaultdict(list)
    left: dict[str, int] = defaultdict(int)
    for waiter, target in pairs:
        targets[waiter].append(target)
        left[target] += 1
    # Each issue after all that wait for it, with the set of these; the graph has no circle.
    sets = dict.fromkeys(left, 0)
    found: dict[str, int] = {}
    bits = count()
    free = [waiter for waiter in targets if waiter not in left]
    while free:
        node = free.pop()
        waiting = sets.pop(node, 0)
        if node in left:
            found[node] = waiting.bit_count()
        with_itself = waiting | 1 << next(bits)
        for target in targets.get(node, ()):
            sets[target] |= with_itself
            left[target] -= 1
            if left[target] == 0:
                free.append(target)
    return found
