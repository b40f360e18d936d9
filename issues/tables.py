"""The tables of the queue. SQL in this folder writes them; other folders read them with SQLModel.

Times are seconds since 1970 by the database's clock, as doubles: a REAL has four bytes on Postgres.
Columns that hold JSON are text; their default is the empty array or object.
"""

from sqlalchemy import CheckConstraint, Column, Double, ForeignKey, Index, Text, text
from sqlmodel import Field, SQLModel

from arcfusion.issues.states import READY


class Issue(SQLModel, table=True):
    """One piece of work.

    `blocked_by` counts the edges that hold it back (kept by `issues.graph`); `fence` counts its
    claims and never goes back; `losses` and `failures` count since the last requeue, `attempts` for
    ever.
    """

    __table_args__ = (
        CheckConstraint("priority BETWEEN 0 AND 4", name="ck_issue_priority"),
        CheckConstraint("blocked_by >= 0", name="ck_issue_blocked_by"),
        CheckConstraint("(status = 'closed') = (closed_at IS NOT NULL)", name="ck_issue_closed_at"),
        CheckConstraint("(status = 'closed') = (outcome IS NOT NULL)", name="ck_issue_outcome"),
        Index(
            "ix_issue_ready",
            "priority",
            "created_at",
            "id",
            sqlite_where=text(READY),
            postgresql_where=text(READY),
        ),
        Index(
            "ix_issue_oldest",
            "created_at",
            "id",
            sqlite_where=text(READY),
            postgresql_where=text(READY),
        ),
        # No index on status: without statistics the planner prefers it to the partial one.
    )

    id: str = Field(primary_key=True, sa_type=Text)
    title: str = Field(sa_type=Text)
    description: str = Field(default="", sa_type=Text)
    design: str = Field(default="", sa_type=Text)
    acceptance: str = Field(default="", sa_type=Text)
    notes: str = Field(default="", sa_type=Text)
    status: str = Field(default="open", sa_type=Text)
    priority: int = 2
    type: str = Field(default="task", sa_type=Text)
    size: str = Field(default="M", sa_type=Text)
    estimated_minutes: int | None = None
    owner: str | None = Field(default=None, sa_type=Text)
    assignee: str | None = Field(default=None, sa_type=Text)
    metadata_json: str = Field(
        default="{}", sa_column=Column("metadata", Text, nullable=False, default="{}")
    )
    needs_gpus: int = 0
    needs_gpu_memory_bytes: int = 0
    needs_skills: str = Field(default="[]", sa_type=Text)
    external_ref: str | None = Field(default=None, sa_type=Text)
    source_system: str | None = Field(default=None, sa_type=Text)
    idempotency_key: str | None = Field(default=None, sa_type=Text, unique=True)
    not_before: float = Field(default=0.0, sa_type=Double)
    due_at: float | None = Field(default=None, sa_type=Double)
    question: str | None = Field(default=None, sa_type=Text)
    blocked_by: int = 0
    fence: int = 0
    attempts: int = 0
    losses: int = 0
    failures: int = 0
    max_attempts: int = 3
    outcome: str | None = Field(default=None, sa_type=Text)
    close_reason: str | None = Field(default=None, sa_type=Text)
    evidence: str = Field(default="[]", sa_type=Text)
    created_at: float = Field(sa_type=Double)
    created_by: str = Field(sa_type=Text)
    updated_at: float = Field(sa_type=Double)
    started_at: float | None = Field(default=None, sa_type=Double)
    closed_at: float | None = Field(default=None, sa_type=Double)
    closed_by: str | None = Field(default=None, sa_type=Text)
    revision: int = 1


class Label(SQLModel, table=True):
    """A word on an issue: a row of its own, so that an edit of the issue can not drop it."""

    __table_args__ = (Index("ix_label_name", "name", "issue_id"),)

    issue_id: str = Field(
        sa_column=Column("issue_id", Text, ForeignKey("issue.id"), primary_key=True)
    )
    name: str = Field(primary_key=True, sa_type=Text)


class Dependency(SQLModel, table=True):
    """`issue_id` depends on `depends_on_id`. `gate` is set on `waits-for` edges only."""

    __table_args__ = (Index("ix_dependency_reverse", "depends_on_id", "type", "issue_id"),)

    issue_id: str = Field(
        sa_column=Column("issue_id", Text, ForeignKey("issue.id"), primary_key=True)
    )
    depends_on_id: str = Field(
        sa_column=Column("depends_on_id", Text, ForeignKey("issue.id"), primary_key=True)
    )
    type: str = Field(primary_key=True, sa_type=Text)
    gate: str | None = Field(default=None, sa_type=Text)
    created_at: float = Field(sa_type=Double)
    created_by: str = Field(sa_type=Text)


class Lease(SQLModel, table=True):
    """Who holds an issue now: there is one row exactly while the issue is in progress.

    There are as many as workers, so a sweep reads them all: an index of their ends would cost every
    heartbeat a page.
    """

    __table_args__ = ({"sqlite_with_rowid": False},)

    issue_id: str = Field(
        sa_column=Column("issue_id", Text, ForeignKey("issue.id"), primary_key=True)
    )
    fence: int
    attempt_id: str = Field(sa_type=Text)
    holder: str = Field(sa_type=Text)
    session: str | None = Field(default=None, sa_type=Text)
    duration_s: float = Field(sa_type=Double)
    granted_at: float = Field(sa_type=Double)
    heartbeat_at: float = Field(sa_type=Double)
    expires_at: float = Field(sa_type=Double)
    gpus: int = 0
    gpu_memory_bytes: int = 0
    pool: str | None = Field(default=None, sa_type=Text)


class Capacity(SQLModel, table=True):
    """What a pool of devices has; what is in use is the sum over its leases.

    `reserved_for` is the issue that smaller ones have passed by, `passes` how often.
    """

    pool: str = Field(primary_key=True, sa_type=Text)
    gpus: int
    gpu_memory_bytes: int
    reserved_for: str | None = Field(default=None, sa_type=Text)
    passes: int = 0
    updated_at: float = Field(sa_type=Double)
    updated_by: str = Field(sa_type=Text)


class Attempt(SQLModel, table=True):
    """One claim, from its grant to its end; `outcome` is null while it runs.

    `id` is made of the key.
    """

    __table_args__ = ({"sqlite_with_rowid": False},)

    id: str = Field(sa_type=Text)
    issue_id: str = Field(
        sa_column=Column("issue_id", Text, ForeignKey("issue.id"), primary_key=True)
    )
    number: int
    fence: int = Field(primary_key=True)
    actor: str = Field(sa_type=Text)
    session: str | None = Field(default=None, sa_type=Text)
    host: str = Field(sa_type=Text)
    pid: int
    git_commit: str | None = Field(default=None, sa_type=Text)
    device: str | None = Field(default=None, sa_type=Text)
    started_at: float = Field(sa_type=Double)
    ended_at: float | None = Field(default=None, sa_type=Double)
    outcome: str | None = Field(default=None, sa_type=Text)
    error: str | None = Field(default=None, sa_type=Text)
    handoff: str | None = Field(default=None, sa_type=Text)
    cost_usd: float | None = Field(default=None, sa_type=Double)


class Event(SQLModel, table=True):
    """One write, numbered without gaps; `before` and `after` hold the fields that it changed."""

    seq: int | None = Field(default=None, primary_key=True)
    issue_id: str | None = Field(default=None, sa_type=Text)
    type: str = Field(sa_type=Text)
    actor: str = Field(sa_type=Text)
    fence: int | None = None
    before: str = Field(default="{}", sa_type=Text)
    after: str = Field(default="{}", sa_type=Text)
    created_at: float = Field(sa_type=Double)


class Comment(SQLModel, table=True):
    """What somebody said about an issue; `fence` is set when its holder said it."""

    __table_args__ = (Index("ix_comment_issue_id", "issue_id", "id"),)

    id: int | None = Field(default=None, primary_key=True)
    issue_id: str = Field(
        sa_column=Column("issue_id", Text, ForeignKey("issue.id"), nullable=False)
    )
    author: str = Field(sa_type=Text)
    text: str = Field(sa_type=Text)
    fence: int | None = None
    created_at: float = Field(sa_type=Double)


class Memory(SQLModel, table=True):
    """What workers should remember beyond one issue."""

    key: str = Field(primary_key=True, sa_type=Text)
    text: str = Field(sa_type=Text)
    issue_id: str | None = Field(default=None, sa_type=Text)
    actor: str = Field(sa_type=Text)
    superseded_by: str | None = Field(default=None, sa_type=Text)
    created_at: float = Field(sa_type=Double)
    updated_at: float = Field(sa_type=Double)
