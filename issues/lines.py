"""The lines of an export, read back and checked: nothing in them is trusted."""

import json
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from arcfusion.core.errors import ArcFusionError
from arcfusion.issues.document import (
    ATTEMPT_COLUMNS,
    COMMENT_COLUMNS,
    EDGE_COLUMNS,
    LEASE_COLUMNS,
    MEMORY_COLUMNS,
    POOL_COLUMNS,
    IssueDocument,
    MemoryDocument,
    PoolDocument,
    Row,
    canonical_json,
)
from arcfusion.issues.draft import check_id, check_label, check_text, check_title
from arcfusion.issues.errors import ImportFileError
from arcfusion.issues.evidence import Evidence
from arcfusion.issues.export import Document
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.states import (
    NEEDS_HUMAN,
    AttemptOutcome,
    EdgeType,
    Gate,
    IssueType,
    Outcome,
    Size,
    Status,
)

Count = Annotated[int, Field(strict=True, ge=0, le=2**62)]
Moment = Annotated[float, Field(strict=True, allow_inf_nan=False)]
JsonObject = dict[str, Any]


class _Part(BaseModel):
    # Plain words instead of members: SQLite binds them without looking for an adapter.
    model_config = ConfigDict(extra="forbid", frozen=True, use_enum_values=True)


class EdgeLine(_Part):
    """What an issue depends on."""

    depends_on_id: str
    type: EdgeType
    gate: Gate | None = None
    created_at: Moment
    created_by: str


class CommentLine(_Part):
    """What somebody said."""

    author: str
    text: str
    fence: Count | None = None
    created_at: Moment


class AttemptLine(_Part):
    """One claim."""

    number: Count
    fence: Count
    actor: str
    session: str | None = None
    host: str
    pid: Count
    git_commit: str | None = None
    device: str | None = None
    started_at: Moment
    ended_at: Moment | None = None
    outcome: AttemptOutcome | None = None
    error: str | None = None
    handoff: JsonObject | None = None
    cost_usd: Moment | None = None


class LeaseLine(_Part):
    """Who holds the issue."""

    fence: Count
    holder: str
    session: str | None = None
    duration_s: Moment
    granted_at: Moment
    heartbeat_at: Moment
    expires_at: Moment
    gpus: Count
    gpu_memory_bytes: Count
    pool: str | None = None


class MemoryLine(_Part):
    """One thing that is remembered."""

    kind: Literal["memory"]
    schema_: Literal[1] = Field(alias="schema")
    key: str
    text: str
    issue_id: str | None = None
    actor: str
    superseded_by: str | None = None
    created_at: Moment
    updated_at: Moment


class PoolLine(_Part):
    """One pool of GPUs."""

    kind: Literal["pool"]
    schema_: Literal[1] = Field(alias="schema")
    pool: str
    gpus: Count
    gpu_memory_bytes: Count
    reserved_for: str | None = None
    passes: Count
    updated_at: Moment
    updated_by: str


class IssueLine(_Part):
    """One issue: the columns of its table, and what belongs to it."""

    kind: Literal["issue"]
    schema_: Literal[1] = Field(alias="schema")
    id: str
    title: str
    description: str
    design: str
    acceptance: str
    notes: str
    status: Status
    priority: int = Field(strict=True, ge=0, le=4)
    type: IssueType
    size: Size
    estimated_minutes: Count | None = None
    owner: str | None = None
    assignee: str | None = None
    metadata: JsonObject
    needs_gpus: Count
    needs_gpu_memory_bytes: Count
    needs_skills: list[str]
    external_ref: str | None = None
    source_system: str | None = None
    idempotency_key: str | None = None
    not_before: Moment
    due_at: Moment | None = None
    question: str | None = None
    fence: Count
    attempts: Count
    losses: Count
    failures: Count
    max_attempts: Count
    outcome: Outcome | None = None
    close_reason: str | None = None
    evidence: list[JsonObject]
    created_at: Moment
    created_by: str
    updated_at: Moment
    started_at: Moment | None = None
    closed_at: Moment | None = None
    closed_by: str | None = None
    revision: Count
    labels: tuple[str, ...] = ()
    dependencies: tuple[EdgeLine, ...] = ()
    comments: tuple[CommentLine, ...] = ()
    attempts_made: tuple[AttemptLine, ...] = ()
    lease: LeaseLine | None = None


# Looked up once: a member of an enum costs a call each time.
_CLOSED, _IN_PROGRESS = Status.CLOSED.value, Status.IN_PROGRESS.value
_BLOCKED = Status.BLOCKED.value
_PARTS = {"labels", "dependencies", "comments", "attempts_made", "lease"}
ISSUE_COLUMNS = tuple(
    name for name in IssueLine.model_fields if name not in {"kind", "schema_", *_PARTS}
)
_COLUMN_VALUES = itemgetter(*ISSUE_COLUMNS)

Line = TypeVar("Line", bound=BaseModel)


def read_lines(lines: Iterable[str], *, name: str) -> Iterator[Document | PoolDocument]:
    """Yield the documents of an export's lines.

    Args:
        lines: with or without line ends; empty ones are passed over.
        name: of the file, for errors.

    Raises:
        ImportFileError: a line is not one of an export; the message names it.
    """
    for number, line in enumerate(lines, 1):
        found = _read_plain(line)
        if found is not None:
            yield _document(found, _origin(name, number))
            continue
        for origin, fields in load_objects([line], name=name, first=number):
            if fields.get("kind") == "memory":
                yield _memory(fields, origin)
            elif fields.get("kind") == "pool":
                pool = validate(PoolLine, fields, origin)
                yield PoolDocument(pool=_row(pool, POOL_COLUMNS), origin=origin)
            else:
                yield _document(validate(IssueLine, fields, origin), origin)


def _read_plain(line: str) -> "IssueLine | None":
    """Return an issue's line that is as it should be, parsed and checked in one pass.

    None for all else, which `load_objects` and `validate` read or refuse in words. A line that
    holds what may be a NaN or an Infinity goes there too: this parser lets them pass.
    """
    if "NaN" in line or "Infinity" in line:
        return None
    try:
        return IssueLine.model_validate_json(line)
    except ValidationError:
        return None


def load_objects(
    lines: Iterable[str], *, name: str, first: int = 1
) -> Iterator[tuple[str, JsonObject]]:
    """Yield the JSON object of each line, with where it stands; `first` numbers the first line.

    Raises:
        ImportFileError: a line is not a JSON object.
    """
    for number, line in enumerate(lines, first):
        origin = _origin(name, number)
        if not line.strip():
            continue
        try:
            fields = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ImportFileError(f"{origin}: not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise ImportFileError(f"{origin}: {line.strip()[:60]!r} is not a JSON object")
        yield origin, fields


def _origin(name: str, number: int) -> str:
    return f"{name}, line {number}"


def validate(kind: type[Line], fields: JsonObject, origin: str) -> Line:
    """Return the fields as the model has them.

    Raises:
        ImportFileError: a field is missing, unknown or not allowed; the message names it.
    """
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the line"
        raise ImportFileError(f"{origin}: {where}: {first['msg']}") from error


def check_document(document: IssueDocument) -> IssueDocument:
    """Return the document when the rows agree with each other, as the queue keeps them.

    Raises:
        ImportFileError: they do not.
    """
    issue = document.issue
    try:
        check_id(document.id)
        check_title(str(issue["title"]))
        for name in ("description", "design", "acceptance", "notes"):
            check_text(name, str(issue[name]))
        for label in document.labels:
            check_label(label)
    except ArcFusionError as error:
        raise ImportFileError(f"{document.origin}: {error}") from error
    problem = _contradiction(document)
    if problem is not None:
        raise ImportFileError(f"{document.origin}: issue {document.id!r} {problem}")
    return document


def _contradiction(document: IssueDocument) -> str | None:
    issue, lease = document.issue, document.lease
    is_closed = issue["status"] == _CLOSED
    if is_closed != (issue["closed_at"] is not None) or is_closed != (issue["outcome"] is not None):
        return f"is {issue['status']}: closed_at and outcome belong to a closed issue alone"
    if (issue["status"] == _IN_PROGRESS) != (lease is not None):
        return f"is {issue['status']}: a lease belongs to an issue in progress alone"
    if lease is not None and lease["fence"] != issue["fence"]:
        return f"has fence {issue['fence']} and its lease {lease['fence']}: they must be equal"
    is_asking = issue["question"] is not None
    if is_asking and (issue["status"] != _BLOCKED or NEEDS_HUMAN not in document.labels):
        return f"asks a person something: it must be blocked and carry the label {NEEDS_HUMAN}"
    if len(set(document.labels)) != len(document.labels):
        return "has a label twice"
    fences = [attempt["fence"] for attempt in document.attempts]
    if len(set(fences)) != len(fences):
        return "has two attempts of one fence"
    running = [attempt["fence"] for attempt in document.attempts if attempt["outcome"] is None]
    if running != ([] if lease is None else [lease["fence"]]):
        return "has an attempt without an outcome that is not the one of its lease, or the reverse"
    edges = [(edge["depends_on_id"], edge["type"]) for edge in document.dependencies]
    if len(set(edges)) != len(edges):
        return "has a dependency twice"
    return None


def _document(line: IssueLine, origin: str) -> IssueDocument:
    row: Row = dict(zip(ISSUE_COLUMNS, _COLUMN_VALUES(vars(line)), strict=True))
    row["metadata"] = canonical_json(line.metadata)
    row["needs_skills"] = canonical_json(line.needs_skills)
    row["evidence"] = canonical_json(_evidence(line.evidence, origin) if line.evidence else [])
    return check_document(
        IssueDocument(
            issue=row,
            labels=line.labels,
            dependencies=tuple(_row(edge, EDGE_COLUMNS) for edge in line.dependencies),
            comments=tuple(_row(comment, COMMENT_COLUMNS) for comment in line.comments),
            attempts=tuple(_attempt(attempt, origin) for attempt in line.attempts_made),
            lease=None if line.lease is None else _row(line.lease, LEASE_COLUMNS),
            origin=origin,
        )
    )


def _attempt(line: AttemptLine, origin: str) -> Row:
    row: Row = {name: getattr(line, name) for name in ATTEMPT_COLUMNS if name != "handoff"}
    row["handoff"] = None
    if line.handoff is not None:
        try:
            row["handoff"] = Handoff.from_json(canonical_json(line.handoff)).to_json()
        except (ArcFusionError, TypeError, KeyError, AttributeError) as error:
            raise ImportFileError(f"{origin}: a handoff is not one: {error}") from error
    return row


def _evidence(items: list[JsonObject], origin: str) -> list[JsonObject]:
    try:
        return [Evidence.from_json(item).to_json() for item in items]
    except (ArcFusionError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ImportFileError(f"{origin}: evidence is not allowed: {error}") from error


def _memory(fields: JsonObject, origin: str) -> MemoryDocument:
    line = validate(MemoryLine, fields, origin)
    return check_memory(MemoryDocument(memory=_row(line, MEMORY_COLUMNS), origin=origin))


def check_memory(document: MemoryDocument) -> MemoryDocument:
    """Return the document when its key and text are allowed.

    Raises:
        ImportFileError: they are not.
    """
    try:
        check_label(str(document.memory["key"]))
        check_text("the text", str(document.memory["text"]))
    except ArcFusionError as error:
        raise ImportFileError(f"{document.origin}: {error}") from error
    return document


def _row(line: BaseModel, columns: tuple[str, ...]) -> Row:
    return {name: getattr(line, name) for name in columns}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")
