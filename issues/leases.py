"""What a holder writes: heartbeat, checkpoint, release; and the sweep of leases that ran out.

Every write matches the fence of the claim, so that a worker that slept through its lease's end can
not overwrite what the next one did.
"""

from typing import Protocol

from arcfusion.core import store
from arcfusion.core.database import Connection, Row
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.errors import ClaimLostError
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.states import AttemptOutcome, EventType, Status
from arcfusion.issues.transaction import Transaction, Value


class Holding(Protocol):
    """What a holder shows with each write: a `Claim` or a `Token`."""

    @property
    def issue_id(self) -> str:
        """The claimed issue."""

    @property
    def fence(self) -> int:
        """The fence that the claim gave."""


def guard(tx: Transaction, holding: Holding) -> Row:
    """Return the lease of the holder's claim, which nobody else ends before this write does.

    Raises:
        IssueUnknownError: there is no such issue.
        ClaimLostError: the claim is not the current one, or is another actor's.
    """
    lease = _lock_lease(tx.connection, holding, tx.actor)
    if lease is None:
        raise _lost(tx, holding)
    return lease


def hold(connection: Connection, holding: Holding, actor: str) -> None:
    """Refuse a write of another table for a claim that has ended; it can not end before the commit.

    Raises:
        ClaimLostError: the claim is not the current one, or is another actor's.
    """
    if _lock_lease(connection, holding, actor) is None:
        raise ClaimLostError(_explain_loss(holding, actor))


def _lock_lease(connection: Connection, holding: Holding, actor: str) -> Row | None:
    sql = "SELECT * FROM lease WHERE issue_id = ? AND fence = ? AND holder = ?"
    found: Row | None = connection.execute(
        sql + connection.dialect.lock_rows, (holding.issue_id, holding.fence, actor)
    ).fetchone()
    return found


def _explain_loss(holding: Holding, actor: str) -> str:
    return (
        f"{actor!r} does not hold issue {holding.issue_id!r} with fence {holding.fence}: "
        "the claim has ended; stop working on it, nothing was written"
    )


def end(
    tx: Transaction,
    holding: Holding,
    outcome: AttemptOutcome,
    *,
    error: str | None = None,
    handoff: Handoff | None = None,
) -> None:
    """Delete the lease of the holder's claim and close its attempt.

    Raises:
        IssueUnknownError, ClaimLostError: as `guard`.
    """
    ended = tx.run(
        "DELETE FROM lease WHERE issue_id = ? AND fence = ? AND holder = ?",
        holding.issue_id,
        holding.fence,
        tx.actor,
    )
    if ended != 1:
        raise _lost(tx, holding)
    _close_attempt(tx, holding.issue_id, holding.fence, outcome, error=error, handoff=handoff)


def _lost(tx: Transaction, holding: Holding) -> ClaimLostError:
    tx.issue_row(holding.issue_id)
    return ClaimLostError(_explain_loss(holding, tx.actor))


def heartbeat(tx: Transaction, holding: Holding) -> Row:
    """Renew the lease from now on and return it; no event is written.

    Raises:
        ClaimLostError: the claim has ended.
    """
    guard(tx, holding)
    return tx.write_row(
        "UPDATE lease SET heartbeat_at = ?, expires_at = ? + duration_s"
        " WHERE issue_id = ? AND fence = ? RETURNING *",
        tx.now,
        tx.now,
        holding.issue_id,
        holding.fence,
    )


def checkpoint(tx: Transaction, holding: Holding, handoff: Handoff) -> None:
    """Keep what the next worker should know if this one dies.

    Raises:
        ClaimLostError: the claim has ended.
    """
    guard(tx, holding)
    text = handoff.fit().to_json()
    tx.run_one(
        "UPDATE attempt SET handoff = ? WHERE issue_id = ? AND fence = ?",
        text,
        holding.issue_id,
        holding.fence,
    )
    tx.log(
        EventType.CHECKPOINTED,
        holding.issue_id,
        fence=holding.fence,
        after={"handoff": text},
    )


def release(tx: Transaction, holding: Holding, handoff: Handoff) -> None:
    """Give the claim back without blame: the attempt does not count towards quarantine.

    Args:
        tx: the write.
        holding: the claim.
        handoff: what the next worker must know.

    Raises:
        ClaimLostError: the claim has ended.
    """
    end(tx, holding, AttemptOutcome.RELEASED, handoff=handoff)
    issue = tx.issue_row(holding.issue_id)
    tx.change(
        EventType.RELEASED,
        issue,
        {"status": Status.OPEN, "assignee": None},
        fence=holding.fence,
        detail={"handoff": handoff.fit().to_json()},
    )


def fail(
    tx: Transaction, holding: Holding, handoff: Handoff, *, error: str, config: QueueConfig
) -> None:
    """Give the claim back as a failed attempt: the issue pauses, and is quarantined at the limit.

    Raises:
        ClaimLostError: the claim has ended.
    """
    end(tx, holding, AttemptOutcome.FAILED, error=error, handoff=handoff)
    issue = tx.issue_row(holding.issue_id)
    failures = issue["failures"] + 1
    given_up = failures + issue["losses"] >= issue["max_attempts"]
    changes: dict[str, Value] = {
        "status": Status.QUARANTINED if given_up else Status.OPEN,
        "assignee": None,
        "failures": failures,
        "not_before": tx.now + config.backoff_after(failures),
    }
    tx.change(
        EventType.FAILED,
        issue,
        changes,
        fence=holding.fence,
        detail={"error": error, "handoff": handoff.fit().to_json()},
    )


def _close_attempt(
    tx: Transaction,
    issue_id: str,
    fence: int,
    outcome: AttemptOutcome,
    *,
    error: str | None = None,
    handoff: Handoff | None = None,
) -> None:
    """Close the attempt of an ended lease; a checkpoint stays when there is no newer handoff."""
    tx.run_one(
        "UPDATE attempt SET ended_at = ?, outcome = ?, error = ?, handoff = coalesce(?, handoff)"
        " WHERE issue_id = ? AND fence = ?",
        tx.now,
        outcome,
        error,
        None if handoff is None else handoff.fit().to_json(),
        issue_id,
        fence,
    )


def enter_sweep(tx: Transaction) -> bool:
    """Return whether a claim has run out; then the write is structural, as it changes several.

    It comes before any row is locked: whoever locks rows first asks here, and sweeps only when this
    is true.
    """
    if tx.row("SELECT 1 FROM lease WHERE expires_at <= ? LIMIT 1", tx.now) is None:
        return False
    store.exclude(tx.connection)
    return True


def sweep(tx: Transaction) -> int:
    """Give back every claim whose lease has run out, and return their number.

    A holder that writes at this moment keeps its claim.
    """
    if not enter_sweep(tx):
        return 0
    free = tx.connection.dialect.lock_free_rows
    sql = f"SELECT * FROM lease WHERE expires_at <= ? ORDER BY expires_at{free}"  # noqa: S608  # constants
    expired = tx.rows(sql, tx.now)
    for lease in expired:
        issue_id, fence = lease["issue_id"], lease["fence"]
        issue = tx.issue_row(issue_id)
        losses = issue["losses"] + 1
        given_up = losses + issue["failures"] >= issue["max_attempts"]
        tx.run_one("DELETE FROM lease WHERE issue_id = ? AND fence = ?", issue_id, fence)
        _close_attempt(tx, issue_id, fence, AttemptOutcome.LOST)
        tx.change(
            EventType.LOST,
            issue,
            {
                "status": Status.QUARANTINED if given_up else Status.OPEN,
                "assignee": None,
                "losses": losses,
            },
            fence=fence,
            detail={"holder": lease["holder"]},
        )
    return len(expired)


def last_handoff(connection: Connection, issue_id: str) -> Handoff | None:
    """Return what the newest attempt with a handoff left."""
    row = connection.execute(
        "SELECT handoff FROM attempt WHERE issue_id = ? AND handoff IS NOT NULL"
        " ORDER BY fence DESC LIMIT 1",
        (issue_id,),
    ).fetchone()
    return None if row is None else Handoff.from_json(row["handoff"])
