"""The closed sets of the queue, and which status may follow which."""

from enum import StrEnum

from arcfusion.issues.errors import TransitionError


class Status(StrEnum):
    """Where an issue is. Only `open` without open blockers is ready."""

    OPEN = "open"
    IN_PROGRESS = "in_progress"
    BLOCKED = "blocked"
    DEFERRED = "deferred"
    QUARANTINED = "quarantined"
    CLOSED = "closed"


class Outcome(StrEnum):
    """How a closed issue ended: declared, never guessed from its text."""

    DONE = "done"
    NEGATIVE = "negative"
    INCONCLUSIVE = "inconclusive"
    FAILED = "failed"
    DUPLICATE = "duplicate"
    WONTDO = "wontdo"


class IssueType(StrEnum):
    """What kind of work it is. An epic holds children and is not worked on itself."""

    BUG = "bug"
    FEATURE = "feature"
    TASK = "task"
    EPIC = "epic"
    CHORE = "chore"
    DECISION = "decision"
    SPIKE = "spike"
    STORY = "story"


class Size(StrEnum):
    """How large it is. XL must be split before anybody can claim it."""

    S = "S"
    M = "M"
    L = "L"
    XL = "XL"


class EdgeType(StrEnum):
    """How one issue depends on another. The first four decide what is ready."""

    BLOCKS = "blocks"
    CONDITIONAL_BLOCKS = "conditional-blocks"
    WAITS_FOR = "waits-for"
    PARENT_CHILD = "parent-child"
    RELATED = "related"
    DISCOVERED_FROM = "discovered-from"
    SUPERSEDES = "supersedes"
    DUPLICATES = "duplicates"


class Gate(StrEnum):
    """What a `waits-for` edge waits for among the other issue's children."""

    ALL_CHILDREN = "all-children"
    ANY_CHILDREN = "any-children"


class AttemptOutcome(StrEnum):
    """How a claim ended. `lost` is a lease that ran out: the worker died or stalled."""

    CLOSED = "closed"
    RELEASED = "released"
    FAILED = "failed"
    LOST = "lost"


class EventType(StrEnum):
    """What was written. Each write is one event; heartbeats are none."""

    CREATED = "created"
    UPDATED = "updated"
    CLAIMED = "claimed"
    CHECKPOINTED = "checkpointed"
    RELEASED = "released"
    FAILED = "failed"
    LOST = "lost"
    REQUEUED = "requeued"
    CLOSED = "closed"
    REOPENED = "reopened"
    NOTED = "noted"
    COMMENTED = "commented"
    DEPENDENCY_ADDED = "dependency_added"
    DEPENDENCY_REMOVED = "dependency_removed"
    LABEL_ADDED = "label_added"
    LABEL_REMOVED = "label_removed"
    REMEMBERED = "remembered"
    IMPORTED = "imported"
    ASKED = "asked"
    ANSWERED = "answered"
    FORGOTTEN = "forgotten"
    SUPERSEDED = "superseded"
    CAPACITY_SET = "capacity_set"
    CAPACITY_WANTED = "capacity_wanted"


# What makes an issue ready. Every query repeats these terms, or the planner can not take the
# partial index of the same condition.
READY = "status = 'open' AND blocked_by = 0 AND type <> 'epic' AND size <> 'XL'"

# On an issue exactly while it asks a person something.
NEEDS_HUMAN = "needs-human"

# `done` and `negative` are findings: they need evidence.
EVIDENCED_OUTCOMES = frozenset({Outcome.DONE, Outcome.NEGATIVE})

# What releases a `conditional-blocks` edge: the other issue ended without what it was for.
UNSUCCESSFUL_OUTCOMES = frozenset(
    {Outcome.NEGATIVE, Outcome.INCONCLUSIVE, Outcome.FAILED, Outcome.WONTDO}
)

BLOCKING_EDGES = frozenset(
    {
        EdgeType.BLOCKS,
        EdgeType.CONDITIONAL_BLOCKS,
        EdgeType.WAITS_FOR,
        EdgeType.PARENT_CHILD,
    }
)

TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.OPEN: frozenset({Status.IN_PROGRESS, Status.BLOCKED, Status.DEFERRED, Status.CLOSED}),
    Status.IN_PROGRESS: frozenset({Status.OPEN, Status.BLOCKED, Status.QUARANTINED, Status.CLOSED}),
    Status.BLOCKED: frozenset({Status.OPEN, Status.DEFERRED, Status.CLOSED}),
    Status.DEFERRED: frozenset({Status.OPEN, Status.BLOCKED, Status.CLOSED}),
    Status.QUARANTINED: frozenset({Status.OPEN, Status.CLOSED}),
    Status.CLOSED: frozenset({Status.OPEN}),
}

# What a person may set by hand; the others are reached by claim, release, close and requeue only.
EDITABLE = frozenset({Status.OPEN, Status.BLOCKED, Status.DEFERRED})


def check_edit(issue_id: str, before: Status, after: Status) -> None:
    """Check that a person may set the status `after` by hand.

    Raises:
        TransitionError: one of the two is reached by a verb only, or there is no such step.
    """
    if before in EDITABLE and after in EDITABLE and after in TRANSITIONS[before]:
        return
    allowed = sorted(TRANSITIONS[before] & EDITABLE) if before in EDITABLE else []
    hint = f"allowed are {', '.join(allowed)}" if allowed else f"use {_VERBS[before]}"
    raise TransitionError(f"issue {issue_id!r} is {before}, it can not be set to {after}: {hint}")


_VERBS = {
    Status.IN_PROGRESS: "`issue release` or `issue close` with the claim's fence",
    Status.QUARANTINED: "`issue requeue`",
    Status.CLOSED: "`issue reopen`",
}
