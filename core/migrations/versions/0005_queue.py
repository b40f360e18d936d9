"""Questions to people, pools of devices, the order by age alone, and fewer pages for a claim.

A claim wrote three trees for its attempt and three for its lease: now it writes one for each.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

READY = "status = 'open' AND blocked_by = 0 AND type <> 'epic' AND size <> 'XL'"


def upgrade() -> None:
    """Add the columns, the table and the index; make the two tables anew."""
    _cluster_attempt()
    _cluster_lease()
    op.add_column("issue", sa.Column("question", sa.Text(), nullable=True))
    op.create_table(
        "capacity",
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("gpu_memory_bytes", sa.Integer(), nullable=False),
        sa.Column("reserved_for", sa.Text(), nullable=True),
        sa.Column("passes", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("pool"),
    )
    op.create_index(
        "ix_issue_oldest",
        "issue",
        ["created_at", "id"],
        sqlite_where=sa.text(READY),
        postgresql_where=sa.text(READY),
    )


def _cluster_attempt() -> None:
    op.drop_index("ix_attempt_issue_id", "attempt")
    op.rename_table("attempt", "old_attempt")
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
        sa.PrimaryKeyConstraint("issue_id", "fence"),
        sa.ForeignKeyConstraint(["issue_id"], ["issue.id"]),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO attempt SELECT * FROM old_attempt")
    op.drop_table("old_attempt")


def _cluster_lease() -> None:
    op.drop_index("ix_lease_expires_at", "lease")
    op.rename_table("lease", "old_lease")
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
        sa.Column("pool", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("issue_id"),
        sa.ForeignKeyConstraint(["issue_id"], ["issue.id"]),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO lease SELECT *, NULL FROM old_lease")
    op.drop_table("old_lease")
