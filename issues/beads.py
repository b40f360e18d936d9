"""beads: its `.beads/issues.jsonl` becomes issues, and issues become lines that `bd` reads.

Kept are ids, titles, texts, status, priority, type, labels, dependencies, comments and times. What
has no place here stays in the issue's metadata under `beads` and is written out again.

| beads status | here | |
|---|---|---|
| open, blocked, deferred, closed | the same | closed is `done`: beads records no outcome |
| in_progress, hooked | in_progress | its assignee holds a lease that begins at the import |
| pinned | deferred | nobody should claim it |
| tombstone | left out | it was deleted |

| beads type | here |
|---|---|
| bug, feature, task, epic, chore, decision, spike, story | the same |
| milestone, molecule | epic |
| message, event, gate, merge-request | chore |

The eight dependency types of `issues.graph` are the same in both. The others that beads knows hold
nothing back: they are `related` here, and keep their name for the way back. Any other status or
type is an error that names it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from arcfusion.issues.document import IssueDocument, MemoryDocument, Row, canonical_json
from arcfusion.issues.errors import ImportFileError
from arcfusion.issues.lines import Count, JsonObject, check_document, check_memory, load_objects
from arcfusion.issues.lines import validate as validate_line
from arcfusion.issues.states import EdgeType, Gate, IssueType, Outcome, Size, Status

SOURCE = "beads"
STATUSES = {
    "open": Status.OPEN,
    "in_progress": Status.IN_PROGRESS,
    "hooked": Status.IN_PROGRESS,
    "blocked": Status.BLOCKED,
    "deferred": Status.DEFERRED,
    "pinned": Status.DEFERRED,
    "closed": Status.CLOSED,
}
TOMBSTONE = "tombstone"
TYPES = {member.value: member for member in IssueType} | {
    "milestone": IssueType.EPIC,
    "molecule": IssueType.EPIC,
    "message": IssueType.CHORE,
    "event": IssueType.CHORE,
    "gate": IssueType.CHORE,
    "merge-request": IssueType.CHORE,
}
LOOSE_EDGES = frozenset(
    {
        *("relates-to", "replies-to", "caused-by", "validates", "until", "tracks"),
        *("delegated-from", "authored-by", "assigned-to", "approved-by", "attests"),
    }
)
# Of beads' own bookkeeping: counted anew there.
_COUNTED = frozenset(
    {"content_hash", "dependency_count", "dependent_count", "comment_count", "_type"}
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class BeadsEdge(_Part):
    """What an issue depends on; `metadata` is JSON or the text of it."""

    issue_id: str | None = None
    depends_on_id: str
    type: str = "blocks"
    created_at: AwareDatetime | None = None
    created_by: str | None = None
    metadata: Any = None


class BeadsComment(_Part):
    """What somebody said."""

    author: str = ""
    text: str
    created_at: AwareDatetime | None = None


class BeadsIssue(_Part):
    """One line of the file; `null` and a missing field are the same."""

    id: str
    title: str
    description: str | None = None
    design: str | None = None
    acceptance_criteria: str | None = None
    notes: str | None = None
    status: str = "open"
    priority: int = Field(2, strict=True, ge=0, le=4)
    issue_type: str = "task"
    assignee: str | None = None
    owner: str | None = None
    estimated_minutes: Count | None = None
    created_at: AwareDatetime | None = None
    created_by: str | None = None
    updated_at: AwareDatetime | None = None
    started_at: AwareDatetime | None = None
    closed_at: AwareDatetime | None = None
    close_reason: str | None = None
    due_at: AwareDatetime | None = None
    defer_until: AwareDatetime | None = None
    external_ref: str | None = None
    source_system: str | None = None
    metadata: JsonObject | None = None
    labels: list[str] | None = None
    dependencies: list[BeadsEdge] | None = None
    comments: list[BeadsComment] | None = None


class BeadsMemory(_Part):
    """One thing that `bd remember` keeps."""

    key: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BeadsFile:
    """What a file holds; `left_out` says in words what was not taken."""

    issues: tuple[IssueDocument, ...]
    memories: tuple[MemoryDocument, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    """What every line of a file is read with."""

    now: float
    actor: str
    lease_s: float
    max_attempts: int
    ids: frozenset[str]
    tombstones: frozenset[str]


def read_beads(
    lines: Iterable[str],
    *,
    name: str,
    now: float,
    actor: str,
    lease_s: float,
    max_attempts: int,
) -> BeadsFile:
    """Read a beads file.

    Args:
        lines: of the file.
        name: of the file, for errors.
        now: seconds since 1970; what has no time of its own gets it, and leases begin then.
        actor: who is named where the file names nobody.
        lease_s: how long a claim of the file holds without a heartbeat.
        max_attempts: of every issue.

    Raises:
        ImportFileError: a line is not an issue, or a status or type is unknown; the message names
            the line.
    """
    parsed: list[tuple[str, BeadsIssue]] = []
    memories: list[MemoryDocument] = []
    left_out: list[str] = []
    for origin, fields in load_objects(lines, name=name):
        kind = fields.get("_type", "issue")
        if kind == "memory":
            memories.append(_memory(fields, origin, now, actor))
        elif kind != "issue":
            left_out.append(f"{origin}: a record of type {kind!r}")
        else:
            parsed.append((origin, validate_line(BeadsIssue, fields, origin)))
    deleted = {line.id for _, line in parsed if line.status == TOMBSTONE}
    left_out += [
        f"{origin}: {line.id} was deleted" for origin, line in parsed if line.id in deleted
    ]
    context = _Context(
        now=now,
        actor=actor,
        lease_s=lease_s,
        max_attempts=max_attempts,
        ids=frozenset(line.id for _, line in parsed) - deleted,
        tombstones=frozenset(deleted),
    )
    issues = [_issue(line, origin, context) for origin, line in parsed if line.id not in deleted]
    return BeadsFile(issues=tuple(issues), memories=tuple(memories), left_out=tuple(left_out))


def is_from_beads(here: IssueDocument, _: IssueDocument) -> bool:
    """Return whether the issue that is here came from beads: a second import leaves it alone."""
    return SOURCE in json.loads(str(here.issue["metadata"]))


def _issue(line: BeadsIssue, origin: str, context: _Context) -> IssueDocument:
    status = _look_up(STATUSES, "status", line.status, origin)
    if line.closed_at is not None and status is not Status.CLOSED:
        raise ImportFileError(f"{origin}: closed_at is set and the status is {line.status!r}")
    created_at = _seconds(line.created_at, context.now)
    edges, loose = _edges(line, origin, context, created_at)
    row: Row = {
        "id": line.id,
        "title": line.title,
        "description": line.description or "",
        "design": line.design or "",
        "acceptance": line.acceptance_criteria or "",
        "notes": line.notes or "",
        "priority": line.priority,
        "type": _look_up(TYPES, "issue_type", line.issue_type, origin),
        "estimated_minutes": line.estimated_minutes,
        "owner": line.owner,
        "metadata": canonical_json(_metadata(line, loose)),
        "external_ref": line.external_ref,
        "source_system": line.source_system,
        "due_at": None if line.due_at is None else line.due_at.timestamp(),
        "not_before": _seconds(line.defer_until, 0.0),
        "created_at": created_at,
        "created_by": line.created_by or context.actor,
    }
    is_held = status is Status.IN_PROGRESS
    document = IssueDocument(
        issue=row | _state(line, status, context, created_at),
        labels=tuple(sorted(set(line.labels or ()))),
        dependencies=edges,
        comments=tuple(_comment(one, context, created_at) for one in line.comments or ()),
        attempts=(_attempt(line, context),) if is_held else (),
        lease=_lease(line, context) if is_held else None,
        origin=origin,
    )
    return check_document(document)


def _state(line: BeadsIssue, status: Status, context: _Context, created_at: float) -> Row:
    """Return the columns that say where the issue is, and those that beads has no word for."""
    extra = (line.metadata or {}).get("arcfusion")
    own: JsonObject = extra if isinstance(extra, dict) else {}
    if own.get("status") == Status.QUARANTINED and status is Status.BLOCKED:
        status = Status.QUARANTINED
    updated_at = _seconds(line.updated_at, created_at)
    is_closed, is_held = status is Status.CLOSED, status is Status.IN_PROGRESS
    return {
        "status": status,
        "size": _member(Size, own.get("size"), Size.M),
        "assignee": _holder(line) if is_held else line.assignee,
        "needs_gpus": 0,
        "needs_gpu_memory_bytes": 0,
        "needs_skills": "[]",
        "idempotency_key": None,
        "fence": int(is_held),
        "attempts": int(is_held),
        "losses": 0,
        "failures": 0,
        "max_attempts": context.max_attempts,
        "outcome": _member(Outcome, own.get("outcome"), Outcome.DONE) if is_closed else None,
        "close_reason": line.close_reason if is_closed else None,
        "evidence": "[]",
        "question": None,
        "updated_at": updated_at,
        "started_at": None if line.started_at is None else line.started_at.timestamp(),
        "closed_at": _seconds(line.closed_at, updated_at) if is_closed else None,
        "closed_by": None,
        "revision": 1,
    }


def _comment(comment: BeadsComment, context: _Context, created_at: float) -> Row:
    return {
        "author": comment.author or context.actor,
        "text": comment.text,
        "fence": None,
        "created_at": _seconds(comment.created_at, created_at),
    }


def _edges(
    line: BeadsIssue, origin: str, context: _Context, created_at: float
) -> tuple[tuple[Row, ...], list[JsonObject]]:
    """Return the edges that are stored, and those that only the metadata keeps."""
    stored: dict[tuple[str, str], Row] = {}
    loose: list[JsonObject] = []
    for edge in line.dependencies or ():
        if edge.issue_id not in {None, "", line.id}:
            raise ImportFileError(
                f"{origin}: a dependency of {line.id!r} says that it is one of {edge.issue_id!r}"
            )
        if edge.depends_on_id in context.tombstones:
            continue
        kind = EdgeType.RELATED
        if edge.type in LOOSE_EDGES:
            loose.append(edge.model_dump(mode="json", exclude_none=True))
            if edge.depends_on_id not in context.ids:
                continue
        else:
            allowed = {member.value: member for member in EdgeType}
            kind = _look_up(allowed, "dependency type", edge.type, origin)
        stored[(kind, edge.depends_on_id)] = {
            "depends_on_id": edge.depends_on_id,
            "type": kind,
            "gate": _gate(edge) if kind is EdgeType.WAITS_FOR else None,
            "created_at": _seconds(edge.created_at, created_at),
            "created_by": edge.created_by or context.actor,
        }
    return tuple(stored[key] for key in sorted(stored)), loose


def _gate(edge: BeadsEdge) -> Gate:
    return Gate.ANY_CHILDREN if Gate.ANY_CHILDREN in str(edge.metadata) else Gate.ALL_CHILDREN


def _metadata(line: BeadsIssue, loose: list[JsonObject]) -> JsonObject:
    kept = {
        name: value
        for name, value in (line.model_extra or {}).items()
        if name not in _COUNTED and value is not None
    }
    kept |= {"status": line.status, "issue_type": line.issue_type}
    if loose:
        kept["dependencies"] = loose
    own = {name: value for name, value in (line.metadata or {}).items() if name != "arcfusion"}
    return own | {SOURCE: kept}


def _holder(line: BeadsIssue) -> str:
    return line.assignee or SOURCE


def _attempt(line: BeadsIssue, context: _Context) -> Row:
    return {
        "number": 1,
        "fence": 1,
        "actor": _holder(line),
        "session": None,
        "host": SOURCE,
        "pid": 0,
        "git_commit": None,
        "device": None,
        "started_at": _seconds(line.started_at, context.now),
        "ended_at": None,
        "outcome": None,
        "error": None,
        "handoff": None,
        "cost_usd": None,
    }


def _lease(line: BeadsIssue, context: _Context) -> Row:
    return {
        "fence": 1,
        "holder": _holder(line),
        "session": None,
        "duration_s": context.lease_s,
        "granted_at": context.now,
        "heartbeat_at": context.now,
        "expires_at": context.now + context.lease_s,
        "gpus": 0,
        "gpu_memory_bytes": 0,
    }


def _memory(fields: JsonObject, origin: str, now: float, actor: str) -> MemoryDocument:
    line = validate_line(BeadsMemory, fields, origin)
    row: Row = {
        "key": line.key,
        "text": line.value,
        "issue_id": None,
        "actor": actor,
        "superseded_by": None,
        "created_at": now,
        "updated_at": now,
    }
    return check_memory(MemoryDocument(memory=row, origin=origin))


def _look_up(table: dict[str, Any], name: str, value: str, origin: str) -> Any:  # noqa: ANN401  # the table's
    if value not in table:
        allowed = ", ".join(sorted(table))
        raise ImportFileError(f"{origin}: {name} is {value!r}: known are {allowed}")
    return table[value]


def _member(kind: Any, value: object, default: Any) -> Any:  # noqa: ANN401  # a StrEnum and its member
    return kind(value) if value in set(kind) else default


def _seconds(moment: AwareDatetime | None, default: float) -> float:
    return default if moment is None else moment.timestamp()
