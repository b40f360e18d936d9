"""The tables of issues/."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

READY = "status = 'open' AND blocked_by = 0 AND type <> 'epic' AND size <> 'XL'"


def upgrade() -> None:
    """Make the tables."""
    _create_issue()
    _create_label()
    _create_dependency()
    _create_lease()
    _create_attempt()
    _create_event()
    _create_comment()
    _create_memory()


def _create_issue() -> None:
    op.create_table(
        "issue",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("design", sa.Text(), nullable=False),
        sa.Column("acceptance", sa.Text(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("size", sa.Text(), nullable=False),
        sa.Column("estimated_minutes", sa.Integer(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("assignee", sa.Text(), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("needs_gpus", sa.Integer(), nullable=False),
        sa.Column("needs_gpu_memory_bytes", sa.Integer(), nullable=False),
        sa.Column("needs_skills", sa.Text(), nullable=False),
        sa.Column("external_ref", sa.Text(), nullable=True),
        sa.Column("source_system", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=True),
        sa.Column("blocked_by", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("close_reason", sa.Text(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("closed_at", sa.Double(), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.CheckConstraint(
            "(status = 'closed') = (closed_at IS NOT NULL)", name="ck_issue_closed_at"
        ),
        sa.CheckConstraint("priority BETWEEN 0 AND 4", name="ck_issue_priority"),
        sa.CheckConstraint("(status = 'closed') = (outcome IS NOT NULL)", name="ck_issue_outcome"),
        sa.CheckConstraint("blocked_by >= 0", name="ck_issue_blocked_by"),
        sa.UniqueConstraint("idempotency_key"),
    )
    op.create_index(
        "ix_issue_ready",
        "issue",
        ["priority", "created_at", "id"],
        sqlite_where=sa.text(READY),
        postgresql_where=sa.text(READY),
    )


def _create_label() -> None:
    op.create_table(
        "label",
        sa.Column("issue_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("issue_id", "name"),
        sa.ForeignKeyConstraint(["issue_id"], ["issue.id"]),
    )
    op.create_index("ix_label_name", "label", ["name", "issue_id"])


def _create_dependency() -> None:
    op.create_table(
        "dependency",
        sa.Column("issue_id", sa.Text(), nullable=False),
        sa.Column("depends_on_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("gate", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("issue_id", "depends_on_id", "type"),
        sa.ForeignKeyConstraint(["depends_on_id"], ["issue.id"]),
        sa.ForeignKeyConstraint(["issue_id"], ["issue.id"]),
    )
    op.create_index("ix_dependency_reverse", "dependency", ["depends_on_id", "type", "issue_id"])


def _create_lease() -> None:
    op.create_table(
        "lease",
        sa.Column("issue_id", sa.Text(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=True),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("granted_at", sa.Double(), nullable=False),
        sa.Column("heartbeat_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("gpu_memory_bytes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("issue_id"),
        sa.ForeignKeyConstraint(["issue_id"], ["issue.id"]),
    )
    op.create_index("ix_lease_expires_at", "lease", ["expires_at"])


def _create_attempt() -> None:
    op.create_table(
        "attempt",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("issue_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=True),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("git_commit", sa.Text(), nullable=True),
        sa.Column("device", sa.Text(), nullable=True),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("handoff", sa.Text(), nullable=True),
        sa.Column("cost_usd", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["issue_id"], ["issue.id"]),
    )
    op.create_index("ix_attempt_issue_id", "attempt", ["issue_id", "fence"], unique=True)


def _create_event() -> None:
    op.create_table(
        "event",
        sa.Column("seq", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("issue_id", sa.Text(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=True),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("ix_event_issue_id", "event", ["issue_id", "seq"])


def _create_comment() -> None:
    op.create_table(
        "comment",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("issue_id", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(["issue_id"], ["issue.id"]),
    )
    op.create_index("ix_comment_issue_id", "comment", ["issue_id", "id"])


def _create_memory() -> None:
    op.create_table(
        "memory",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("issue_id", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("superseded_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
