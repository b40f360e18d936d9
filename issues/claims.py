"""Who gets an issue: by its id, or the next one that is ready.

A claim is one UPDATE ... RETURNING over the partial index of ready issues, with its lease, its
attempt and its event in the same transaction.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from arcfusion.core import store
from arcfusion.core.database import Connection, Row
from arcfusion.issues import capacity, graph, leases, ordering, reading
from arcfusion.issues.capacity import Room
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.errors import (
    AlreadyClaimedError,
    IssueBlockedError,
    IssueClosedError,
    IssueNotReadyError,
    IssueTooLargeError,
    NeedsNotMetError,
    NothingReadyError,
    PoolFullError,
    WipLimitError,
    WriteLostError,
)
from arcfusion.issues.fit import (
    Filter,
    explain_full,
    explain_nothing,
    explain_unfit,
    find_passed,
    find_waiting,
)
from arcfusion.issues.labels import Source, choose_source
from arcfusion.issues.ordering import Order
from arcfusion.issues.states import READY, EventType, IssueType, Size, Status
from arcfusion.issues.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Where the holder works, for the attempt's record."""

    git_commit: str | None = None
    device: str | None = None


class Granted(NamedTuple):
    """The row of a claimed issue, and its lease."""

    issue: Row
    attempt_id: str
    duration_s: float
    expires_at: float
    is_new: bool


# Issues that the order `unblocks` tries, when other writers took the first ones meanwhile.
_TRIED = 20


def next_sql(
    condition: str,
    source: Source = Source(),  # noqa: B008  # frozen
    order: Order = Order.PRIORITY,
) -> str:
    """Return the query of the next ready issue's id.

    Its parameters are those of the source, the time, and those of the condition.
    """
    return (
        f"{source.prefix}SELECT issue.id FROM {source.tables}"  # noqa: S608  # constants
        f" WHERE {source.join}{READY} AND not_before <= ?{condition} {ordering.order_by(order)}"
        " LIMIT 1"
    )


def claim_next(
    tx: Transaction,
    config: QueueConfig,
    wanted: Filter,
    place: Workplace,
    weights: Mapping[str, int] | None = None,
) -> Granted:
    """Claim the first ready issue that the filter lets through.

    Args:
        tx: the write.
        config: the figures of leases and limits.
        wanted: what is claimed, and in which order.
        place: where its holder works.
        weights: of `ordering.count_waiting`, for the order `unblocks`: counted before the write, as
            every other writer waits for what is done in it.

    Raises:
        NothingReadyError: there is none.
        WipLimitError: the worker holds as many as it may.
    """
    room = _enter(tx, config, wanted, None)
    row = _take_next(tx, wanted, room, weights)
    if row is None:
        raise NothingReadyError(explain_nothing(tx, wanted, room))
    return _grant(tx, row, config, place, wanted.pool, _charge(tx, wanted, room, row, weights))


def _enter(
    tx: Transaction, config: QueueConfig, wanted: Filter, issue_id: str | None
) -> Room | None:
    """Do what every claim begins with; return what its pool has, if one is declared.

    What only some claims wait for, their session's name and their pool's row, they wait for before
    they lock a lease or an issue.
    """
    limit = config.wip_limit_of(tx.session)
    if limit is not None:
        store.exclude_name(tx.connection, f"{tx.actor} in {tx.session}")
    if wanted.pool is not None:
        leases.enter_sweep(tx)  # a structural write's lock comes before a pool's, as in `declare`
        capacity.lock(tx, wanted.pool)
    leases.sweep(tx)
    if limit is not None:
        _check_wip(tx, limit, issue_id)
    return capacity.look(tx.connection, wanted.pool, tx.now, config.reserve_after)


def _take_next(
    tx: Transaction, wanted: Filter, room: Room | None, weights: Mapping[str, int] | None
) -> Row | None:
    if weights is not None:
        condition, values = wanted.condition(room)
        for place in ordering.rank(tx.connection, tx.now, condition, values, _TRIED, weights):
            row = _take_one(tx, place.id, wanted, room)
            if row is not None:
                return row
        return None
    row = _take_first(tx, wanted, room, tx.connection.dialect.lock_free_rows)
    if row is None and tx.connection.dialect.lock_rows:
        # What is ready may be locked for a moment, by a note: a worker must not leave for that.
        row = _take_first(tx, wanted, room, tx.connection.dialect.lock_rows)
    return row


def _take_first(tx: Transaction, wanted: Filter, room: Room | None, locked: str) -> Row | None:
    source = choose_source(tx.connection, wanted.labels, 1)
    condition, values = wanted.condition(room, given=source.label)
    return tx.row(
        "UPDATE issue SET status = 'in_progress', assignee = ?, fence = fence + 1,"  # noqa: S608  # constants
        " attempts = attempts + 1, started_at = ?, updated_at = ?, revision = revision + 1"
        f" WHERE id = ({next_sql(condition, source, wanted.order)}{locked}) AND status = 'open'"
        " RETURNING *",
        tx.actor,
        tx.now,
        tx.now,
        *source.values,
        tx.now,
        *values,
    )


def claim_one(
    tx: Transaction,
    issue_id: str,
    config: QueueConfig,
    wanted: Filter,
    place: Workplace,
    weights: Mapping[str, int] | None = None,
) -> Granted:
    """Claim the named issue; the arguments are those of `claim_next`.

    The same actor in the same session gets its own claim again, with the same fence.

    Raises:
        IssueUnknownError, IssueClosedError, AlreadyClaimedError, IssueBlockedError,
        IssueNotReadyError, IssueTooLargeError, NeedsNotMetError, PoolFullError: why it can not be
            had.
        WipLimitError: the worker holds as many as it may, and this is none of them.
    """
    room = _enter(tx, config, wanted, issue_id)
    row = _take_one(tx, issue_id, wanted, room)
    if row is None and tx.connection.dialect.lock_rows:
        # From here on nobody changes it, so that the reason is the one of this moment.
        tx.issue_row(issue_id)
        row = _take_one(tx, issue_id, wanted, room)
    if row is not None:
        return _grant(tx, row, config, place, wanted.pool, _charge(tx, wanted, room, row, weights))
    held = tx.row("SELECT * FROM lease WHERE issue_id = ?", issue_id)
    mine = (tx.actor, tx.session)
    if held is not None and tx.session is not None and (held["holder"], held["session"]) == mine:
        attempt_id, duration_s, end = (held[n] for n in ("attempt_id", "duration_s", "expires_at"))
        return Granted(tx.issue_row(issue_id), attempt_id, duration_s, end, is_new=False)
    _refuse(tx, issue_id, held)
    _refuse_unfit(tx, issue_id, wanted, room)
    raise WriteLostError  # nothing refuses it, and it was not claimed


def _take_one(tx: Transaction, issue_id: str, wanted: Filter, room: Room | None) -> Row | None:
    condition, values = wanted.condition(room)
    return tx.row(
        "UPDATE issue SET status = 'in_progress', assignee = ?, fence = fence + 1,"  # noqa: S608  # constants
        " attempts = attempts + 1, started_at = ?, updated_at = ?, revision = revision + 1"
        f" WHERE id = ? AND {READY} AND not_before <= ?{condition} RETURNING *",
        tx.actor,
        tx.now,
        tx.now,
        issue_id,
        tx.now,
        *values,
    )


def waits(connection: Connection, now: float, wanted: Filter, config: QueueConfig) -> str | None:
    """Return the issue that the worker would take were the pool's GPUs free, if nobody knows yet.

    It is counted for from then on, as for one that this worker was handed another one past.
    """
    room = capacity.look(connection, wanted.pool, now, config.reserve_after)
    if room is None or room.waiting is not None:
        return None
    return find_waiting(connection, now, wanted, room)


def note_waiting(tx: Transaction, wanted: Filter, config: QueueConfig) -> None:
    """Keep the pool from starving what the worker waits for in vain."""
    capacity.lock(tx, wanted.pool)
    room = capacity.look(tx.connection, wanted.pool, tx.now, config.reserve_after)
    waiting = waits(tx.connection, tx.now, wanted, config)
    if room is not None and waiting is not None:
        capacity.want(tx, room, waiting)


def _check_wip(tx: Transaction, limit: int, issue_id: str | None) -> None:
    """Refuse a worker that holds as many issues as it may, unless it asks for one of them."""
    if tx.session is None:
        rows = tx.rows("SELECT issue_id FROM lease WHERE holder = ? AND session IS NULL", tx.actor)
    else:
        sql = "SELECT issue_id FROM lease WHERE holder = ? AND session = ?"
        rows = tx.rows(sql, tx.actor, tx.session)
    held = sorted(row["issue_id"] for row in rows)
    if len(held) >= limit and issue_id not in held:
        raise WipLimitError(
            f"{tx.actor!r} works on {', '.join(held[:8])} already, allowed are {limit} at a time: "
            "close or release what it holds first"
        )


def _charge(
    tx: Transaction,
    wanted: Filter,
    room: Room | None,
    issue: Row,
    weights: Mapping[str, int] | None,
) -> dict[str, object]:
    """Count the claim when it goes past an issue that waits for the pool's GPUs.

    Returns what changed of the pool, for the event.
    """
    if room is None:
        return {}
    takes_gpus = issue["needs_gpus"] > 0
    if issue["id"] == room.waiting:
        return capacity.settle(tx, room, waiting=None, passes=0)
    if not takes_gpus and room.waiting is not None:
        return {}
    passed = find_passed(tx, wanted, room, issue, weights)
    if passed is None:
        return capacity.settle(tx, room, waiting=room.waiting, passes=room.passes)
    return capacity.settle(tx, room, waiting=passed, passes=room.passes + takes_gpus)


def _grant(
    tx: Transaction,
    issue: Row,
    config: QueueConfig,
    place: Workplace,
    pool: str | None,
    charged: Mapping[str, object],
) -> Granted:
    """Write the lease, the attempt and the event of a claim that was just made."""
    fence = issue["fence"]
    attempt_id = f"{issue['id']}@{fence}"
    tx.run_one(
        "INSERT INTO attempt (id, issue_id, number, fence, actor, session, host, pid, git_commit,"
        " device, started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        attempt_id,
        issue["id"],
        issue["attempts"],
        fence,
        tx.actor,
        tx.session,
        os.uname().nodename,
        os.getpid(),
        place.git_commit,
        place.device,
        tx.now,
    )
    expires_at = tx.now + config.lease_s
    tx.run_one(
        "INSERT INTO lease (issue_id, fence, attempt_id, holder, session, duration_s, granted_at,"
        " heartbeat_at, expires_at, gpus, gpu_memory_bytes, pool)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        issue["id"],
        fence,
        attempt_id,
        tx.actor,
        tx.session,
        config.lease_s,
        tx.now,
        tx.now,
        expires_at,
        issue["needs_gpus"],
        issue["needs_gpu_memory_bytes"],
        pool,
    )
    pooled = {} if pool is None else {"pool": pool, **charged}
    _log_claim(tx, issue, config, place, pooled)
    return Granted(issue, attempt_id, config.lease_s, expires_at, is_new=True)


def _log_claim(
    tx: Transaction,
    issue: Row,
    config: QueueConfig,
    place: Workplace,
    pooled: Mapping[str, object],
) -> None:
    tx.log(
        EventType.CLAIMED,
        issue["id"],
        fence=issue["fence"],
        before={"status": Status.OPEN, "assignee": None},
        after={
            "status": Status.IN_PROGRESS,
            "assignee": tx.actor,
            "fence": issue["fence"],
            "attempts": issue["attempts"],
            "started_at": tx.now,
            "attempt": {
                "host": os.uname().nodename,
                "pid": os.getpid(),
                "session": tx.session,
                "git_commit": place.git_commit,
                "device": place.device,
            },
            "lease_s": config.lease_s,
            **pooled,
        },
    )


def _refuse(tx: Transaction, issue_id: str, held: Row | None) -> None:
    """Raise the reason why nobody can claim the issue now, if there is one."""
    issue = tx.issue_row(issue_id)
    if held is not None:
        raise AlreadyClaimedError(
            f"issue {issue_id!r} is claimed by {held['holder']!r}: take another one"
        )
    match Status(issue["status"]):
        case Status.CLOSED:
            raise IssueClosedError(
                f"issue {issue_id!r} is closed ({issue['outcome']}): it can not be claimed"
            )
        case Status.OPEN | Status.IN_PROGRESS:
            pass
        case other:
            raise IssueNotReadyError(f"issue {issue_id!r} is {other}: it can not be claimed")
    if issue["blocked_by"] > 0:
        reasons = "; ".join(graph.explain_blockers(tx.connection, issue_id))
        raise IssueBlockedError(f"issue {issue_id!r} is not ready: {reasons}")
    if issue["type"] == IssueType.EPIC or issue["size"] == Size.XL:
        if issue["type"] == IssueType.EPIC:
            raise IssueTooLargeError(f"issue {issue_id!r} is an epic: claim a smaller part of it")
        raise IssueTooLargeError(
            f"issue {issue_id!r} is of size XL: split it first with "
            f"`arcfusion issue split {issue_id} --into TITLE --into TITLE`"
        )
    if issue["not_before"] > tx.now:
        wait_s = issue["not_before"] - tx.now
        raise IssueNotReadyError(f"issue {issue_id!r} can be claimed in {wait_s:.0f} s, not before")


def _refuse_unfit(tx: Transaction, issue_id: str, wanted: Filter, room: Room | None) -> None:
    """Raise the reason why this worker can not claim the issue, though others might."""
    issue = reading.fetch(tx.connection, issue_id)
    reasons = explain_unfit(issue, wanted, room)
    if reasons:
        raise NeedsNotMetError(f"issue {issue_id!r} does not fit this worker: {'; '.join(reasons)}")
    reasons = explain_full(issue, room)
    if reasons:
        raise PoolFullError(f"issue {issue_id!r} can not be had now: {'; '.join(reasons)}")
