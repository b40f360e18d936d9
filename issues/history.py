"""What happened to an issue, as values: its claims, what was said, and what was written.

Apart from `issues.record`, as the verbs that workers call all day need none of it.
"""

from dataclasses import dataclass
from datetime import datetime

from arcfusion.issues.draft import Json
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.record import EdgeRecord, IssueRecord, LeaseRecord, handoff_to_json, plain
from arcfusion.issues.states import AttemptOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One claim of an issue, ended or running (`outcome` is None)."""

    id: str
    issue_id: str
    number: int
    fence: int
    actor: str
    session: str | None
    host: str
    pid: int
    git_commit: str | None
    device: str | None
    started_at: datetime
    ended_at: datetime | None
    outcome: AttemptOutcome | None
    error: str | None
    handoff: Handoff | None
    cost_usd: float | None

    def to_json(self) -> dict[str, Json]:
        """Return the fields as `--json` prints them."""
        fields: dict[str, Json] = {
            name: plain(getattr(self, name)) for name in AttemptRecord.__slots__
        }
        fields["handoff"] = handoff_to_json(self.handoff)
        return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentRecord:
    """What somebody said about an issue."""

    id: int
    issue_id: str
    author: str
    text: str
    fence: int | None
    created_at: datetime

    def to_json(self) -> dict[str, Json]:
        """Return the fields as `--json` prints them."""
        return {name: plain(getattr(self, name)) for name in CommentRecord.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """One write; `before` and `after` hold the fields that it changed."""

    seq: int
    issue_id: str | None
    type: str
    actor: str
    fence: int | None
    before: dict[str, Json]
    after: dict[str, Json]
    created_at: datetime

    def to_json(self) -> dict[str, Json]:
        """Return the fields as `--json` prints them."""
        return {name: plain(getattr(self, name)) for name in EventRecord.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueDetail:
    """An issue with everything that belongs to it."""

    issue: IssueRecord
    dependencies: tuple[EdgeRecord, ...]
    dependents: tuple[EdgeRecord, ...]
    comments: tuple[CommentRecord, ...]
    attempts: tuple[AttemptRecord, ...]
    lease: LeaseRecord | None
