"""What the actors remember: who worked, what was decided, what a person is asked to review.

Times are seconds since 1970 (UTC).
"""

from typing import ClassVar

from sqlmodel import Field, SQLModel


class Session(SQLModel, table=True):
    """One worker process's work on one claim of an issue."""

    __tablename__: ClassVar[str] = "session"

    id: str = Field(primary_key=True)
    actor: str
    role: str
    issue_id: str = Field(index=True)
    fence: int
    host: str
    pid: int
    started_at: float
    ended_at: float | None = None
    ending: str | None = None


class Turn(SQLModel, table=True):
    """One step of a session, as text: what a successor would have to read to go on."""

    __tablename__: ClassVar[str] = "turn"

    session_id: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    kind: str
    content: str
    tokens: int
    compacted: int = 0
    created_at: float


class StoredPlan(SQLModel, table=True):
    """What a worker decided to measure for an issue; stored before anything is launched.

    The next worker after a crash follows the same plan: no dream is dreamed twice.
    """

    __tablename__: ClassVar[str] = "plan"

    issue_id: str = Field(primary_key=True)
    document: str
    digest: str
    created_at: float


class PullRequest(SQLModel, table=True):
    """A branch that waits for a person."""

    __tablename__: ClassVar[str] = "pull_request"

    issue_id: str = Field(primary_key=True)
    branch: str = Field(unique=True)
    commit: str
    title: str
    body: str
    state: str = "open"
    created_at: float
