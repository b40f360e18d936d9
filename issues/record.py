"""What the queue hands out: an issue, a claim and its lease, as values."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar

from arcfusion.core.database import Row as DatabaseRow
from arcfusion.issues.clock import to_datetime, to_text
from arcfusion.issues.draft import Edge, Json, Needs
from arcfusion.issues.states import AttemptOutcome, EdgeType, Gate, IssueType, Outcome, Size, Status

if TYPE_CHECKING:
    from arcfusion.issues.attempts import AttemptSummary
    from arcfusion.issues.evidence import Evidence
    from arcfusion.issues.handoff import Handoff


class Slotted(Protocol):
    """A dataclass with slots."""

    __slots__: ClassVar[tuple[str, ...]]


class IssueRecord(NamedTuple):
    """One issue as the database had it; see `issues.tables.Issue` for the fields.

    A tuple with names: a frozen dataclass of so many fields takes as long to make as a query.
    """

    id: str
    title: str
    description: str
    design: str
    acceptance: str
    notes: str
    status: Status
    priority: int
    type: IssueType
    size: Size
    estimated_minutes: int | None
    owner: str | None
    assignee: str | None
    labels: tuple[str, ...]
    metadata: dict[str, Json]
    needs: Needs
    external_ref: str | None
    source_system: str | None
    idempotency_key: str | None
    not_before: datetime | None
    due_at: datetime | None
    question: str | None
    blocked_by: int
    fence: int
    attempts: int
    losses: int
    failures: int
    max_attempts: int
    outcome: Outcome | None
    close_reason: str | None
    evidence: "tuple[Evidence, ...]"
    created_at: datetime
    created_by: str
    updated_at: datetime
    started_at: datetime | None
    closed_at: datetime | None
    closed_by: str | None
    revision: int

    def to_json(self) -> dict[str, Json]:
        """Return the fields as `--json` prints them; times are ISO 8601 in UTC."""
        fields: dict[str, Json] = {name: plain(getattr(self, name)) for name in IssueRecord._fields}
        fields["needs"] = {
            "gpus": self.needs.gpus,
            "gpu_memory_bytes": self.needs.gpu_memory_bytes,
            "skills": list(self.needs.skills),
        }
        fields["evidence"] = [item.to_json() for item in self.evidence]
        return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """The right to write for an issue: its id and the fence that the claim gave."""

    issue_id: str
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A granted claim.

    Attributes:
        fence: goes with every write of the holder; a write with an older one is refused.
        lease_s: seconds from the grant or the last heartbeat to the lease's end. A worker stops by
            itself earlier, on its own monotonic clock read before it asked.
        last_handoff: what the attempt before left, with the answer when it asked something.
        history: how the attempts before ended.
    """

    issue: IssueRecord
    fence: int
    attempt_id: str
    lease_s: float
    lease_expires_at: datetime
    last_handoff: "Handoff | None"
    history: "AttemptSummary"

    @property
    def issue_id(self) -> str:
        """The claimed issue's id."""
        return self.issue.id

    @property
    def token(self) -> Token:
        """What a process needs to write for the claim."""
        return Token(issue_id=self.issue.id, fence=self.fence)

    def to_json(self) -> dict[str, Json]:
        """Return the issue's fields and the claim's in one object."""
        return self.issue.to_json() | {
            "fence": self.fence,
            "attempt_id": self.attempt_id,
            "lease_s": self.lease_s,
            "lease_expires_at": to_text(self.lease_expires_at),
            "last_handoff": handoff_to_json(self.last_handoff),
            "history": self.history.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """Who holds an issue now."""

    issue_id: str
    fence: int
    holder: str
    session: str | None
    granted_at: datetime
    heartbeat_at: datetime
    expires_at: datetime
    gpus: int
    pool: str | None

    def to_json(self) -> dict[str, Json]:
        """Return the fields as `--json` prints them."""
        return {name: plain(getattr(self, name)) for name in LeaseRecord.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRecord:
    """One stored dependency: `issue_id` depends on `depends_on_id`."""

    issue_id: str
    depends_on_id: str
    type: EdgeType
    gate: Gate | None
    is_blocking: bool

    @property
    def edge(self) -> Edge:
        """The edge as a draft has it."""
        return Edge(self.type, self.depends_on_id, self.gate)


def read_issue(row: DatabaseRow, labels: Sequence[str]) -> IssueRecord:
    """Return the record of a row of the table `issue`."""
    # Not by name: a row looks a name up by comparing it with each of its names.
    fields: dict[str, Any] = dict(zip(row.keys(), row, strict=True))
    skills, evidence, outcome = fields["needs_skills"], fields["evidence"], fields["outcome"]
    fields["status"] = Status(fields["status"])
    fields["type"] = IssueType(fields["type"])
    fields["size"] = Size(fields["size"])
    fields["labels"] = tuple(labels)
    fields["metadata"] = {} if fields["metadata"] == "{}" else json.loads(fields["metadata"])
    fields["needs"] = Needs(
        gpus=fields["needs_gpus"],
        gpu_memory_bytes=fields["needs_gpu_memory_bytes"],
        skills=() if skills == "[]" else tuple(json.loads(skills)),
    )
    fields["not_before"] = fields["not_before"] or None
    for name in _TIMES:
        if fields[name] is not None:
            fields[name] = to_datetime(fields[name])
    fields["outcome"] = None if outcome is None else Outcome(outcome)
    fields["evidence"] = () if evidence == "[]" else _read_evidence(evidence)
    return IssueRecord._make(_ordered(fields))


def _read_evidence(text: str) -> "tuple[Evidence, ...]":
    from arcfusion.issues.evidence import Evidence

    return tuple(Evidence.from_json(item) for item in json.loads(text))


_ordered = itemgetter(*IssueRecord._fields)
_TIMES = ("not_before", "due_at", "created_at", "updated_at", "started_at", "closed_at")

Row = TypeVar("Row", bound=Slotted)


def read_row(kind: type[Row], row: DatabaseRow) -> Row:
    """Return the record of a row of its table; `kind` is a dataclass with the table's columns."""
    return kind(**{name: _convert(name, row[name]) for name in kind.__slots__})


def handoff_to_json(handoff: "Handoff | None") -> Json:
    """Return the handoff as `--json` prints it."""
    loaded: Json = None if handoff is None else json.loads(handoff.to_json())
    return loaded


def _convert(name: str, value: Any) -> Any:  # noqa: ANN401  # a column has any type
    if value is None:
        return None
    if name.endswith("_at"):
        return to_datetime(value)
    match name:
        case "before" | "after":
            return json.loads(value)
        case "handoff":
            from arcfusion.issues.handoff import Handoff

            return Handoff.from_json(value)
        case "outcome":
            return AttemptOutcome(value)
        case _:
            return value


def plain(value: object) -> Json:
    """Return the value as JSON has it; times are ISO 8601 in UTC."""
    if isinstance(value, datetime):
        return to_text(value)
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool | dict):
        return value
    # Needs, evidence and handoffs are replaced by the caller.
    return str(value)
