"""How an issue ends: a declared outcome, checked evidence, and what waited for it set free."""

import json
from collections.abc import Sequence

from arcfusion.issues import family, graph, leases, questions
from arcfusion.issues.errors import (
    ChildrenOpenError,
    ClaimLostError,
    FenceMissingError,
    FieldError,
    IssueClosedError,
)
from arcfusion.issues.evidence import Evidence
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.record import Token
from arcfusion.issues.states import (
    EVIDENCED_OUTCOMES,
    AttemptOutcome,
    EventType,
    Outcome,
    Status,
)
from arcfusion.issues.transaction import Transaction


def close(
    tx: Transaction,
    issue_id: str,
    fence: int | None,
    outcome: Outcome,
    *,
    reason: str,
    evidence: Sequence[Evidence],
    handoff: Handoff | None,
) -> None:
    """Close the issue; its holder gives the fence, an unclaimed one is closed without.

    The evidence was verified before the transaction. A holder that closes again with the same
    outcome, because the answer to its first try was lost, succeeds without a second write.

    Raises:
        FieldError: an outcome without evidence has no reason.
        FenceMissingError: the issue is claimed and no fence was given.
        ClaimLostError: the fence is not that of the current claim.
        IssueClosedError: it is closed already.
        ChildrenOpenError: `done` while children are open.
    """
    if fence is not None:
        tx.lock_lease(issue_id)
    row = tx.issue_row(issue_id)
    is_closed = row["status"] == Status.CLOSED
    if is_closed and fence is not None and _closed_by_this_claim(tx, issue_id, fence, outcome):
        return
    if outcome not in EVIDENCED_OUTCOMES and not reason.strip():
        raise FieldError(f"an issue is closed as {outcome} with a reason")
    if fence is None:
        _check_unclaimed(issue_id, row["status"], row["outcome"], row["assignee"])
    else:
        holding = Token(issue_id=issue_id, fence=fence)
        leases.end(tx, holding, AttemptOutcome.CLOSED, handoff=handoff)
    has_edges = graph.has_edges(tx, issue_id)
    if has_edges and outcome is Outcome.DONE:
        _check_children(tx, issue_id)
    questions.withdraw(tx, row)
    tx.change(
        EventType.CLOSED,
        row,
        {
            "status": Status.CLOSED,
            "outcome": outcome,
            "close_reason": reason,
            "evidence": _encode(evidence) if evidence else "[]",
            "closed_at": tx.now,
            "closed_by": tx.actor,
            "assignee": None,
        },
        fence=fence,
        detail={} if handoff is None else {"handoff": handoff.fit().to_json()},
    )
    if has_edges:
        graph.settle(tx, issue_id)
        family.close_finished_parents(tx, issue_id)


def _encode(evidence: Sequence[Evidence]) -> str:
    return json.dumps([item.to_json() for item in evidence], sort_keys=True)


def _check_children(tx: Transaction, issue_id: str) -> None:
    children = graph.open_children(tx, issue_id)
    if children:
        raise ChildrenOpenError(
            f"issue {issue_id!r} is not done: its children {', '.join(children[:8])} are open"
        )


def _check_unclaimed(issue_id: str, status: str, outcome: str | None, holder: str | None) -> None:
    if status == Status.CLOSED:
        raise IssueClosedError(f"issue {issue_id!r} is closed already ({outcome})")
    if status == Status.IN_PROGRESS:
        raise FenceMissingError(
            f"issue {issue_id!r} is claimed by {holder!r}: its holder closes it with the fence "
            "that the claim gave"
        )


def _closed_by_this_claim(tx: Transaction, issue_id: str, fence: int, outcome: Outcome) -> bool:
    found = tx.row(
        "SELECT i.outcome FROM attempt a JOIN issue i ON i.id = a.issue_id WHERE a.issue_id = ?"
        " AND a.fence = ? AND a.actor = ? AND a.outcome = 'closed' AND i.fence = ?"
        " AND i.status = 'closed'",
        issue_id,
        fence,
        tx.actor,
        fence,
    )
    if found is None:
        return False
    if found["outcome"] != outcome:
        raise ClaimLostError(
            f"this claim closed issue {issue_id!r} as {found['outcome']}: nothing was written"
        )
    return True
