"""Questions to people, pools of devices, and the order by age alone."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

READY = "status = 'open' AND blocked_by = 0 AND type <> 'epic' AND size <> 'XL'"


def upgrade() -> None:
    """Add the columns, the table and the index."""
    op.add_column("issue", sa.Column("question", sa.Text(), nullable=True))
    op.add_column("lease", sa.Column("pool", sa.Text(), nullable=True))
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
