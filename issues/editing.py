"""What anybody may write: file an issue, edit its fields, label it, comment on it, note on it."""

import json
from collections.abc import Callable, Mapping, Sequence

from arcfusion.core import store
from arcfusion.core.database import Row
from arcfusion.core.ids import unused_id
from arcfusion.issues import family, graph, leases, replicas
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import (
    Draft,
    Json,
    check_label,
    check_metadata,
    check_minutes,
    check_priority,
    check_text,
    check_title,
)
from arcfusion.issues.errors import (
    FenceMissingError,
    FieldError,
    IssueClosedError,
    IssueExistsError,
    TransitionError,
)
from arcfusion.issues.record import Token
from arcfusion.issues.states import (
    NEEDS_HUMAN,
    EventType,
    IssueType,
    Size,
    Status,
    check_edit,
)
from arcfusion.issues.transaction import Transaction, Value

# Issues filed together keep their order: each is younger than the one before by this many seconds.
_STEP_S = 1e-6

_ANSWER_IT = "answer it with `arcfusion issue answer`, or close it"


def create_all(
    tx: Transaction, drafts: Sequence[Draft], config: QueueConfig
) -> list[tuple[str, bool]]:
    """File the drafts with their labels, then all edges; return each id and whether it is new.

    Raises:
        IssueExistsError: a draft names an id that is taken.
        DependencyUnknownError, DependencyCycleError: an edge can not be stored.
    """
    filed = [
        _create(tx, draft, config, created_at=tx.now + index * _STEP_S)
        for index, draft in enumerate(drafts)
    ]
    for draft, (issue_id, is_new) in zip(drafts, filed, strict=True):
        for edge in draft.edges if is_new else ():
            graph.add_edge(tx, issue_id, edge)
    return filed


def _create(
    tx: Transaction, draft: Draft, config: QueueConfig, created_at: float
) -> tuple[str, bool]:
    if draft.idempotency_key is not None:
        known = tx.row("SELECT id FROM issue WHERE idempotency_key = ?", draft.idempotency_key)
        if known is not None:
            return known["id"], False
    draft, same = replicas.place(tx, draft)
    if same is not None:
        return same, False
    issue_id = _choose_id(tx, draft, config)
    columns = _columns(tx, draft, config) | {"id": issue_id, "created_at": created_at}
    names = ", ".join(columns)
    marks = ", ".join("?" for _ in columns)
    tx.run(f"INSERT INTO issue ({names}) VALUES ({marks})", *columns.values())  # noqa: S608  # names from the code
    labels = sorted(set(draft.labels))
    for label in labels:
        tx.run("INSERT INTO label (issue_id, name) VALUES (?, ?)", issue_id, label)
    tx.log(EventType.CREATED, issue_id, after={**columns, "labels": labels})
    return issue_id, True


def _choose_id(tx: Transaction, draft: Draft, config: QueueConfig) -> str:
    def is_taken(candidate: str) -> bool:
        return tx.row("SELECT 1 FROM issue WHERE id = ?", candidate) is not None

    if draft.id is None:
        # With an idempotency key the id is the same on every machine.
        origin = draft.idempotency_key or [draft.title, tx.actor, tx.now]
        return unused_id(config.id_prefix, origin, is_taken)
    if is_taken(draft.id):
        raise IssueExistsError(f"there is an issue {draft.id!r} already: leave the id out")
    return draft.id


def _columns(tx: Transaction, draft: Draft, config: QueueConfig) -> dict[str, Value]:
    return {
        "title": draft.title.strip(),
        "description": draft.description,
        "design": draft.design,
        "acceptance": draft.acceptance,
        "notes": draft.notes,
        "status": Status.OPEN,
        "priority": draft.priority,
        "type": draft.type,
        "size": draft.size,
        "estimated_minutes": draft.estimated_minutes,
        "owner": draft.owner,
        "metadata": check_metadata(draft.metadata),
        "needs_gpus": draft.needs.gpus,
        "needs_gpu_memory_bytes": draft.needs.gpu_memory_bytes,
        "needs_skills": json.dumps(sorted(set(draft.needs.skills))),
        "external_ref": draft.external_ref,
        "source_system": draft.source_system,
        "idempotency_key": draft.idempotency_key,
        "not_before": draft.not_before,
        "due_at": draft.due_at,
        "blocked_by": 0,
        "fence": 0,
        "attempts": 0,
        "losses": 0,
        "failures": 0,
        "max_attempts": draft.max_attempts or config.max_attempts,
        "evidence": "[]",
        "created_by": tx.actor,
        "updated_at": tx.now,
        "revision": 1,
    }


def update(tx: Transaction, issue_id: str, fields: Mapping[str, Json]) -> None:
    """Set fields that a person may edit; those that are not named keep their value.

    Raises:
        FieldError: there is no such field, or the value is not allowed.
        TransitionError: the status can not be set by hand.
        IssueClosedError: the issue is closed.
    """
    row = tx.issue_row(issue_id)
    if row["status"] == Status.CLOSED:
        raise IssueClosedError(f"issue {issue_id!r} is closed: reopen it before you change it")
    changes = {name: check_field(name, value) for name, value in fields.items()}
    if "metadata" in changes:
        changes["metadata"] = json.dumps(
            json.loads(row["metadata"]) | json.loads(str(changes["metadata"])), sort_keys=True
        )
    if "status" in changes and changes["status"] != row["status"]:
        if row["question"] is not None:
            raise TransitionError(f"issue {issue_id!r} waits for a person: {_ANSWER_IT}")
        check_edit(issue_id, Status(row["status"]), Status(str(changes["status"])))
    changes = {name: value for name, value in changes.items() if row[name] != value}
    if changes:
        tx.change(EventType.UPDATED, row, changes)
        graph.settle(tx, issue_id)


def check_field(name: str, value: Json) -> Value:
    """Return the value as the column stores it.

    Raises:
        FieldError: there is no such field, or the value is not allowed.
    """
    if name not in _CHECKS:
        raise FieldError(f"{name!r} can not be set: allowed are {', '.join(sorted(_CHECKS))}")
    try:
        return _CHECKS[name](value)
    except (TypeError, ValueError) as error:
        raise FieldError(f"{name} is {value!r}, which is not allowed: {error}") from error


def add_label(tx: Transaction, issue_id: str, label: str) -> bool:
    """Put the label on the issue; False when it was there."""
    check_label(label)
    tx.issue_row(issue_id)
    sql = "SELECT 1 FROM label WHERE issue_id = ? AND name = ?"
    if tx.row(sql, issue_id, label) is not None:
        return False
    tx.run_one("INSERT INTO label (issue_id, name) VALUES (?, ?)", issue_id, label)
    tx.log(EventType.LABEL_ADDED, issue_id, after={"label": label})
    return True


def remove_label(tx: Transaction, issue_id: str, label: str) -> None:
    """Take the label off the issue.

    Raises:
        FieldError: the issue does not have it, or a question keeps it there.
    """
    row = tx.issue_row(issue_id)
    if label == NEEDS_HUMAN and row["question"] is not None:
        raise FieldError(f"issue {issue_id!r} waits for a person: {_ANSWER_IT}")
    if not drop_label(tx, issue_id, label):
        raise FieldError(f"issue {issue_id!r} has no label {label!r}")


def drop_label(tx: Transaction, issue_id: str, label: str) -> bool:
    """Take the label off the issue; False when it does not have it."""
    dropped = tx.run("DELETE FROM label WHERE issue_id = ? AND name = ?", issue_id, label)
    if dropped:
        tx.log(EventType.LABEL_REMOVED, issue_id, before={"label": label})
    return bool(dropped)


def comment(tx: Transaction, issue_id: str, text: str, fence: int | None) -> Row:
    """Add a comment; with a fence only while the claim holds."""
    check_body("comment", text)
    if fence is None:
        tx.issue_row(issue_id)
    else:
        leases.guard(tx, Token(issue_id=issue_id, fence=fence))
    store.lock_numbers(tx.connection)
    row = tx.write_row(
        "INSERT INTO comment (id, issue_id, author, text, fence, created_at)"
        " VALUES ((SELECT coalesce(max(id), 0) + 1 FROM comment), ?, ?, ?, ?, ?) RETURNING *",
        issue_id,
        tx.actor,
        text,
        fence,
        tx.now,
    )
    tx.log(
        EventType.COMMENTED,
        issue_id,
        fence=fence,
        after={"id": row["id"], "author": tx.actor, "text": text},
    )
    return row


def note(tx: Transaction, issue_id: str, text: str, fence: int | None) -> None:
    """Append a line to the issue's notes. While it is claimed, its holder alone does.

    Raises:
        FenceMissingError: the issue is claimed and no fence was given.
        ClaimLostError: the fence is not that of the current claim.
    """
    check_body("note", text)
    if fence is not None:
        leases.guard(tx, Token(issue_id=issue_id, fence=fence))
    row = tx.issue_row(issue_id)
    if fence is None and row["status"] == Status.IN_PROGRESS:
        raise FenceMissingError(
            f"issue {issue_id!r} is claimed by {row['assignee']!r}: a note needs the claim's "
            "fence, a comment does not"
        )
    notes = f"{row['notes']}\n{text}" if row["notes"] else text
    check_text("notes", notes)
    tx.change(EventType.NOTED, row, {"notes": notes}, fence=fence)


def requeue(tx: Transaction, issue_id: str, reason: str) -> None:
    """Give a quarantined issue new attempts; its history stays.

    Raises:
        TransitionError: the issue is not quarantined.
    """
    row = tx.issue_row(issue_id)
    if row["status"] != Status.QUARANTINED:
        raise TransitionError(
            f"issue {issue_id!r} is {row['status']}: only a quarantined one is requeued"
        )
    changes: dict[str, Value] = {"status": Status.OPEN, "losses": 0, "failures": 0, "not_before": 0}
    tx.change(EventType.REQUEUED, row, changes, detail={"reason": reason})


def reopen(tx: Transaction, issue_id: str, reason: str) -> None:
    """Open a closed issue again; what waited for it waits again.

    Raises:
        TransitionError: the issue is not closed.
    """
    row = tx.issue_row(issue_id)
    if row["status"] != Status.CLOSED:
        raise TransitionError(f"issue {issue_id!r} is {row['status']}: it is not closed")
    changes: dict[str, Value] = {
        "status": Status.OPEN,
        "outcome": None,
        "close_reason": None,
        "evidence": "[]",
        "closed_at": None,
        "closed_by": None,
    }
    tx.change(EventType.REOPENED, row, changes, detail={"reason": reason})
    graph.settle(tx, issue_id)
    family.reopen_parents(tx, issue_id)


def check_body(name: str, text: str) -> None:
    """Raise FieldError unless the text says something and is not too long."""
    if not text.strip():
        raise FieldError(f"the {name} is empty")
    check_text(name, text)


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError("it must be text")
    check_text("the field", value)
    return value


def _optional_text(value: Json) -> str | None:
    return None if value is None else _text(value)


def _title(value: Json) -> str:
    title = _text(value)
    check_title(title)
    return title


def _integer(value: Json) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("it must be a whole number")
    return value


def _priority(value: Json) -> int:
    priority = _integer(value)
    check_priority(priority)
    return priority


def _minutes(value: Json) -> int | None:
    minutes = None if value is None else _integer(value)
    check_minutes(minutes)
    return minutes


def _moment(value: Json) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError("it must be seconds since 1970")
    return float(value)


def _metadata(value: Json) -> str:
    if not isinstance(value, dict):
        raise TypeError("it must be a JSON object")
    return check_metadata(value)


_CHECKS: dict[str, Callable[[Json], Value]] = {
    "title": _title,
    "description": _text,
    "design": _text,
    "acceptance": _text,
    "status": lambda value: Status(_text(value)),
    "priority": _priority,
    "type": lambda value: IssueType(_text(value)),
    "size": lambda value: Size(_text(value)),
    "estimated_minutes": _minutes,
    "owner": _optional_text,
    "external_ref": _optional_text,
    "not_before": _moment,
    "metadata": _metadata,
}
