"""No index of the events by issue: every write paid for what one command reads.

`arcfusion issue events --issue` reads the log instead, 70 ms for 300,000 events.
"""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_event_issue_id", "event")
