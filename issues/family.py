"""Parents that end with their children: the epics that a split and a phase gate make.

Such an epic says so in its metadata, `{"closes_with_children": RULE}`. It is never closed by a
guess: its outcome and its evidence are those of its children.

- `closed`: it closes when the last child does, as the worst of them; what waits for it goes on.
- `done`: it closes when all of them are done. One that ends otherwise keeps it open, and a person
  says how it goes on: another child, or a close by hand with a reason.

A child that is reopened opens it again.
"""

import json
from collections.abc import Iterable
from enum import StrEnum

from arcfusion.core.database import Row
from arcfusion.issues import graph
from arcfusion.issues.states import EventType, Outcome, Status
from arcfusion.issues.transaction import Transaction

CLOSES_WITH_CHILDREN = "closes_with_children"

# The worst outcome first. A duplicate says nothing of its own: the work is done elsewhere.
_SEVERITY = (
    Outcome.FAILED,
    Outcome.INCONCLUSIVE,
    Outcome.WONTDO,
    Outcome.NEGATIVE,
    Outcome.DONE,
    Outcome.DUPLICATE,
)


class Rule(StrEnum):
    """Which children close the parent."""

    CLOSED = "closed"
    DONE = "done"


def close_finished_parents(tx: Transaction, issue_id: str) -> None:
    """Close each parent whose rule holds now that the issue is closed, and theirs in turn."""
    for parent in _parents(tx, issue_id):
        rule = _rule(parent)
        if rule is None or parent["status"] in {Status.CLOSED, Status.IN_PROGRESS}:
            continue
        if parent["question"] is not None:
            continue
        children = _children(tx, parent["id"])
        if any(child["status"] != Status.CLOSED for child in children):
            continue
        outcome = worst(Outcome(child["outcome"]) for child in children)
        if rule is Rule.DONE and outcome is not Outcome.DONE:
            continue
        _close(tx, parent, outcome, children)
        graph.settle(tx, parent["id"])
        close_finished_parents(tx, parent["id"])


def reopen_parents(tx: Transaction, issue_id: str) -> None:
    """Open each closed parent that ends with its children, now that the issue is open again."""
    for parent in _parents(tx, issue_id):
        if _rule(parent) is None or parent["status"] != Status.CLOSED:
            continue
        tx.change(
            EventType.REOPENED,
            parent,
            {
                "status": Status.OPEN,
                "outcome": None,
                "close_reason": None,
                "evidence": "[]",
                "closed_at": None,
                "closed_by": None,
            },
            detail={"reason": f"its part {issue_id} is open"},
        )
        graph.settle(tx, parent["id"])
        reopen_parents(tx, parent["id"])


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return how a whole ended whose parts ended so; duplicates count only among themselves."""
    return min(outcomes, key=_SEVERITY.index)


def _close(tx: Transaction, parent: Row, outcome: Outcome, children: list[Row]) -> None:
    ends = [f"{child['id']} {child['outcome']}" for child in children]
    evidence: list[object] = []
    for child in children:
        evidence += [item for item in json.loads(child["evidence"]) if item not in evidence]
    tx.change(
        EventType.CLOSED,
        parent,
        {
            "status": Status.CLOSED,
            "outcome": outcome,
            "close_reason": f"all its parts are closed: {', '.join(ends)}",
            "evidence": json.dumps(evidence, sort_keys=True),
            "closed_at": tx.now,
            "closed_by": tx.actor,
            "assignee": None,
        },
    )


def _rule(parent: Row) -> Rule | None:
    word = json.loads(parent["metadata"]).get(CLOSES_WITH_CHILDREN)
    return Rule(word) if word in set(Rule) else None


def _parents(tx: Transaction, issue_id: str) -> list[Row]:
    return tx.rows(
        "SELECT p.* FROM dependency k JOIN issue p ON p.id = k.depends_on_id"  # noqa: S608  # constants
        f" WHERE k.issue_id = ? AND k.type = 'parent-child' ORDER BY p.id{_lock(tx)}",
        issue_id,
    )


def _lock(tx: Transaction) -> str:
    return tx.connection.dialect.lock_rows


def _children(tx: Transaction, issue_id: str) -> list[Row]:
    return tx.rows(
        "SELECT c.* FROM dependency k JOIN issue c ON c.id = k.issue_id"
        " WHERE k.depends_on_id = ? AND k.type = 'parent-child' ORDER BY c.created_at, c.id",
        issue_id,
    )
