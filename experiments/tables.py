"""The tables of measured facts.

A run is one fingerprint under one protocol with one seed; its figures are Metric rows. Nothing here
is ever deleted: a failed run stays, with its reason. Times are seconds since 1970 (UTC); columns
that hold a list or a nested value hold its JSON text. Architectures, issues and agents are named by
id without a foreign key: those tables belong to other folders.
"""

from typing import ClassVar

from sqlmodel import Field, Index, SQLModel, UniqueConstraint


class ProtocolRecord(SQLModel, table=True):
    """A resolved protocol, under its comparability key."""

    __tablename__: ClassVar[str] = "protocol"

    key: str = Field(primary_key=True)
    name: str
    description: str
    document: str
    data: str
    data_sha256: str
    device_class: str
    harness_version: str
    baseline_fingerprint: str | None = None
    created_at: float


class Run(SQLModel, table=True):
    """One training: planned, running, or done with an outcome."""

    __tablename__: ClassVar[str] = "run"
    __table_args__ = (
        UniqueConstraint("fingerprint", "protocol_key", "seed", "replica", name="uq_run_identity"),
    )

    id: str = Field(primary_key=True)
    name: str
    fingerprint: str = Field(index=True)
    protocol_key: str = Field(foreign_key="protocol.key", index=True)
    seed: int
    replica: int = 0
    state: str = "planned"
    fence: int = 0
    outcome: str | None = None
    reason: str | None = None
    architecture_id: str | None = Field(default=None, index=True)
    issue_id: str | None = Field(default=None, index=True)
    directory: str | None = None
    parameters: int | None = None
    flops_per_token: float | None = None
    state_bytes: int | None = None
    kv_bytes: int | None = None
    code_sha256: str | None = None
    weights_sha256: str | None = None
    sandbox_tier: str | None = None
    device: str | None = None
    torch_version: str | None = None
    harness_version: str
    commit: str | None = None
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None


class Metric(SQLModel, table=True):
    """One measured figure of a run."""

    __tablename__: ClassVar[str] = "metric"

    run_id: str = Field(primary_key=True, foreign_key="run.id")
    name: str = Field(primary_key=True)
    value: float
    unit: str


class GateRecord(SQLModel, table=True):
    """What one gate said about one built model, under one version of the harness."""

    __tablename__: ClassVar[str] = "gate_record"

    fingerprint: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    harness_version: str = Field(primary_key=True)
    outcome: str
    figure: float | None = None
    unit: str = ""
    limit: float | None = None
    detail: str = ""
    created_at: float


class Artifact(SQLModel, table=True):
    """A file that belongs to a run or an issue, by its content."""

    __tablename__: ClassVar[str] = "artifact"

    id: str = Field(primary_key=True)
    kind: str
    path: str
    sha256: str
    size_bytes: int
    run_id: str | None = Field(default=None, foreign_key="run.id", index=True)
    issue_id: str | None = Field(default=None, index=True)
    created_at: float


class ComparisonRecord(SQLModel, table=True):
    """The paired difference candidate - baseline in bits per byte, and the runs behind it."""

    __tablename__: ClassVar[str] = "comparison"

    id: str = Field(primary_key=True)
    protocol_key: str = Field(foreign_key="protocol.key", index=True)
    baseline_fingerprint: str
    candidate_fingerprint: str
    baseline_run_ids: str
    candidate_run_ids: str
    seeds: str
    n: int
    confidence: float
    mean_difference: float
    low: float | None = None
    high: float | None = None
    verdict: str
    reason: str
    issue_id: str | None = Field(default=None, index=True)
    created_at: float


class Insight(SQLModel, table=True):
    """A comparison made into a scoped claim."""

    __tablename__: ClassVar[str] = "insight"
    __table_args__ = (Index("ix_insight_status", "status", "updated_at"),)

    id: str = Field(primary_key=True)
    claim: str
    status: str = Field(default="open")
    protocol_key: str = Field(foreign_key="protocol.key", index=True)
    scope: str
    baseline_fingerprint: str
    candidate_fingerprint: str
    verdict: str
    effect: float
    low: float
    high: float
    confidence: float
    n_seeds: int
    seeds: str
    run_ids: str
    related: str = "[]"
    comparison_id: str = Field(foreign_key="comparison.id")
    issue_id: str | None = Field(default=None, index=True)
    created_at: float = Field(index=True)
    updated_at: float


class Hypothesis(SQLModel, table=True):
    """A falsifiable next experiment, and how it ended."""

    __tablename__: ClassVar[str] = "hypothesis"

    id: str = Field(primary_key=True)
    kind: str
    statement: str
    status: str = Field(default="proposed", index=True)
    protocol_key: str = Field(foreign_key="protocol.key", index=True)
    reference_fingerprint: str
    change: str
    spec: str | None = None
    candidate_fingerprint: str | None = None
    predicted_verdict: str
    predicted_low: float
    predicted_high: float
    seeds: str
    cost_s: float
    kill_criterion: str
    priority: float
    is_covered: int | None = None
    comparison_id: str | None = Field(default=None, foreign_key="comparison.id")
    issue_id: str | None = Field(default=None, index=True)
    created_at: float
    settled_at: float | None = None
