"""Pools: how many GPUs a host has, which claims hold them, and for whom they are kept free.

What is in use is never stored: it is the sum over the leases of the pool, so that a GPU is free
again in the write that ends its lease, however it ends.

A GPU issue that the pool could hold, but not beside what runs there, would starve behind small
ones. It is handed out late at most `reserve_after` times: `capacity.passes` counts the GPU issues
that were handed out past one that waits, and `reserved_for` names the first one that does. Once the
count is reached, no other GPU issue of the pool is handed out until that one was claimed or is no
longer ready; the next claim of the pool then stores that nobody waits. Issues without GPUs go on.
"""

from datetime import datetime
from typing import NamedTuple

from arcfusion.core.database import Connection, Row
from arcfusion.issues.clock import to_datetime, to_text
from arcfusion.issues.draft import Json, check_label
from arcfusion.issues.errors import FieldError
from arcfusion.issues.states import READY, EventType
from arcfusion.issues.transaction import Transaction, Value

_USED = "(SELECT coalesce(sum(l.gpus), 0) FROM lease l WHERE l.pool = c.pool)"
# The issue for which the pool waits, unless it is not ready any more or can not fit any more.
_WAITING = (
    f"(SELECT id FROM issue WHERE id = c.reserved_for AND {READY} AND not_before <= ?"  # noqa: S608  # constants
    " AND needs_gpus BETWEEN 1 AND c.gpus AND needs_gpu_memory_bytes <= c.gpu_memory_bytes)"
)
_ROOMS = f"SELECT c.*, {_USED} AS used, {_WAITING} AS waiting FROM capacity c"  # noqa: S608  # constants


class Room(NamedTuple):
    """A declared pool at one moment.

    Attributes:
        gpus: devices in all.
        gpu_memory_bytes: on each device.
        used: devices that leases hold; above `gpus` when the pool was declared smaller meanwhile.
        waiting: the issue that waits for GPUs and is counted for.
        passes: GPU issues that were handed out past it.
        is_reserved: no other GPU issue is handed out.
        stored: `reserved_for` and `passes` as the table has them.
    """

    pool: str
    gpus: int
    gpu_memory_bytes: int
    used: int
    waiting: str | None
    passes: int
    is_reserved: bool
    stored: tuple[str | None, int]

    @property
    def free(self) -> int:
        """Devices that no lease holds."""
        return max(self.gpus - self.used, 0)


class PoolRecord(NamedTuple):
    """A declared pool, to show."""

    pool: str
    gpus: int
    gpu_memory_bytes: int
    used: int
    free: int
    waiting: str | None
    passes: int
    is_reserved: bool
    updated_at: datetime
    updated_by: str

    def to_json(self) -> dict[str, Json]:
        """Return the fields as `--json` prints them."""
        return {
            "pool": self.pool,
            "gpus": self.gpus,
            "gpu_memory_bytes": self.gpu_memory_bytes,
            "used": self.used,
            "free": self.free,
            "waiting": self.waiting,
            "passes": self.passes,
            "is_reserved": self.is_reserved,
            "updated_at": to_text(self.updated_at),
            "updated_by": self.updated_by,
        }


def declare(tx: Transaction, pool: str, gpus: int | None, gpu_memory_bytes: int | None) -> None:
    """Say what the pool has; what is not named stays. It also ends a reservation.

    Claims that hold more than there is now keep it; nothing is handed out until they have ended.

    Raises:
        FieldError: a figure is below 0, or a new pool has no number of GPUs.
    """
    check_label(pool)
    for name, figure in (("gpus", gpus), ("GPU memory", gpu_memory_bytes)):
        if figure is not None and figure < 0:
            raise FieldError(f"{name} is {figure!r}: it can not be below 0")
    lock(tx, pool)
    known = tx.row("SELECT * FROM capacity WHERE pool = ?", pool)
    if gpus is None and known is None:
        raise FieldError(f"the pool {pool!r} is not declared yet: say its number of GPUs")
    before = {"gpus": 0, "gpu_memory_bytes": 0} if known is None else dict(known)
    row: dict[str, Value] = {
        "pool": pool,
        "gpus": before["gpus"] if gpus is None else gpus,
        "gpu_memory_bytes": (
            before["gpu_memory_bytes"] if gpu_memory_bytes is None else gpu_memory_bytes
        ),
        "reserved_for": None,
        "passes": 0,
        "updated_at": tx.now,
        "updated_by": tx.actor,
    }
    tx.run_one(
        "INSERT INTO capacity (pool, gpus, gpu_memory_bytes, reserved_for, passes, updated_at,"
        " updated_by) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (pool) DO UPDATE SET"
        " gpus = excluded.gpus, gpu_memory_bytes = excluded.gpu_memory_bytes,"
        " reserved_for = NULL, passes = 0, updated_at = excluded.updated_at,"
        " updated_by = excluded.updated_by",
        *row.values(),
    )
    tx.log(
        EventType.CAPACITY_SET,
        None,
        before={} if known is None else dict(known),
        after=row,
    )


def lock(tx: Transaction, pool: str | None) -> None:
    """Let no other claim of the pool run beside this one; where all writers queue, none does."""
    if pool is not None and tx.connection.dialect.lock_rows:
        tx.row(f"SELECT 1 FROM capacity WHERE pool = ?{tx.connection.dialect.lock_rows}", pool)  # noqa: S608  # the dialect's word


def look(connection: Connection, pool: str | None, now: float, reserve_after: int) -> Room | None:
    """Return what the pool has now; None when it is not declared."""
    if pool is None:
        return None
    row = connection.execute(f"{_ROOMS} WHERE c.pool = ?", (now, pool)).fetchone()
    return None if row is None else _read_room(row, reserve_after)


def pools(connection: Connection, now: float, reserve_after: int) -> tuple[PoolRecord, ...]:
    """Return the declared pools by name."""
    found = []
    for row in connection.execute(f"{_ROOMS} ORDER BY c.pool", (now,)):
        room = _read_room(row, reserve_after)
        found.append(
            PoolRecord(
                pool=room.pool,
                gpus=room.gpus,
                gpu_memory_bytes=room.gpu_memory_bytes,
                used=room.used,
                free=room.free,
                waiting=room.waiting,
                passes=room.passes,
                is_reserved=room.is_reserved,
                updated_at=to_datetime(row["updated_at"]),
                updated_by=row["updated_by"],
            )
        )
    return tuple(found)


def settle(tx: Transaction, room: Room, *, waiting: str | None, passes: int) -> dict[str, object]:
    """Store for whom the pool waits; return it for the event, or nothing when nothing changed."""
    if room.stored == (waiting, passes):
        return {}
    tx.run_one(
        "UPDATE capacity SET reserved_for = ?, passes = ? WHERE pool = ?",
        waiting,
        passes,
        room.pool,
    )
    return {"capacity": {"pool": room.pool, "reserved_for": waiting, "passes": passes}}


def want(tx: Transaction, room: Room, waiting: str) -> None:
    """Count for an issue that a worker waits for, though nothing was handed out past it yet."""
    after = settle(tx, room, waiting=waiting, passes=0)
    if after:
        tx.log(EventType.CAPACITY_WANTED, None, after=after)


def _read_room(row: Row, reserve_after: int) -> Room:
    waiting = row["waiting"]
    return Room(
        pool=row["pool"],
        gpus=row["gpus"],
        gpu_memory_bytes=row["gpu_memory_bytes"],
        used=row["used"],
        waiting=waiting,
        passes=0 if waiting is None else row["passes"],
        is_reserved=waiting is not None and row["passes"] >= reserve_after,
        stored=(row["reserved_for"], row["passes"]),
    )
