"""Which runs there are: planned once, started under a fence, settled exactly once.

A run's identity is fingerprint x key x seed x replica, so the same net is not trained twice under
two names; a deliberate replication asks for replica 1, 2, ... Functions take an open SQLModel
session of `core.store.session`: one transaction is one use case, and the caller's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlmodel import Session, col, select, update

from arcfusion.core.errors import BadInputError, LostGuardError, NotFoundError
from arcfusion.core.ids import short_id
from arcfusion.experiments import metrics
from arcfusion.experiments.gates.record import GateResult
from arcfusion.experiments.protocol import Protocol
from arcfusion.experiments.runner.request import RunResult
from arcfusion.experiments.tables import Artifact, GateRecord, Metric, ProtocolRecord, Run

COMPLETED = "completed"
INVALID = "invalid"


class RunNotFoundError(NotFoundError):
    """There is no such run."""


class StaleFenceError(LostGuardError):
    """A later attempt has taken over the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What is known about a built model before it is trained; None where it was not computed."""

    name: str
    fingerprint: str
    architecture_id: str | None = None
    code_sha256: str | None = None
    parameters: int | None = None
    flops_per_token: float | None = None
    state_bytes: int | None = None
    kv_bytes: int | None = None


class PlannedRun(NamedTuple):
    """The run of an identity, and whether this call made it."""

    run: Run
    created: bool


class Score(NamedTuple):
    """Bits per byte of a completed run."""

    run_id: str
    bits_per_byte: float


def run_id_of(fingerprint: str, protocol_key: str, seed: int, replica: int = 0) -> str:
    """Return the run's id, which its identity decides."""
    return short_id("run", [fingerprint, protocol_key, seed, replica])


def record_protocol(session: Session, protocol: Protocol, *, now: float) -> ProtocolRecord:
    """Return the resolved protocol's row, made when it is new."""
    key = protocol.key()
    record = session.get(ProtocolRecord, key)
    if record is None:
        assert protocol.data_sha256 is not None, "a protocol with a key has a data hash"
        record = ProtocolRecord(
            key=key,
            name=protocol.name,
            description=protocol.describe(),
            document=protocol.model_dump_json(),
            data=protocol.data,
            data_sha256=protocol.data_sha256,
            device_class=protocol.device_class,
            harness_version=protocol.harness_version,
            created_at=now,
        )
        session.add(record)
        session.flush()
    return record


def plan_run(
    session: Session,
    model: ModelFacts,
    *,
    protocol: Protocol,
    seed: int,
    now: float,
    replica: int = 0,
    issue_id: str | None = None,
    commit: str | None = None,
) -> PlannedRun:
    """Return the one run of this model, protocol, seed and replica; make it when there is none.

    An existing run is returned as it is, whatever its state and whoever asked for it: a planned one
    is to be started, a running one waited for, a done one read.

    Raises:
        BadInputError: the seed or the replica is negative.
    """
    if seed < 0 or replica < 0:
        raise BadInputError(f"seed {seed!r} and replica {replica!r}: both are 0 or more")
    record = record_protocol(session, protocol, now=now)
    run_id = run_id_of(model.fingerprint, record.key, seed, replica)
    existing = session.get(Run, run_id)
    if existing is not None:
        return PlannedRun(existing, created=False)
    run = Run(
        id=run_id,
        name=model.name,
        fingerprint=model.fingerprint,
        protocol_key=record.key,
        seed=seed,
        replica=replica,
        architecture_id=model.architecture_id,
        issue_id=issue_id,
        code_sha256=model.code_sha256,
        parameters=model.parameters,
        flops_per_token=model.flops_per_token,
        state_bytes=model.state_bytes,
        kv_bytes=model.kv_bytes,
        harness_version=protocol.harness_version,
        commit=commit,
        created_at=now,
    )
    session.add(run)
    session.flush()
    return PlannedRun(run, created=True)


def start_run(
    session: Session,
    run_id: str,
    *,
    directory: str,
    now: float,
    fence: int = 0,
    issue_id: str | None = None,
) -> bool:
    """Mark the run as running; False when it is done already and nothing may be started.

    Args:
        session: an open transaction.
        run_id: of a planned or running run; taking over a running one after a crash is allowed.
        directory: where the run lies, relative to the lab's home.
        now: seconds since 1970.
        fence: of the caller's attempt at the issue; the issue's own runs never go back to an
            earlier one. Fences of two issues that need the same run say nothing of each other.
        issue_id: whose fence it is.

    Raises:
        RunNotFoundError: there is no such run.
        StaleFenceError: an attempt at the same issue with a higher fence has started it.
    """
    run = get_run(session, run_id)
    if run.state == "done":
        return False
    is_own = run.issue_id == issue_id
    if is_own and fence < run.fence:
        raise StaleFenceError(
            f"run {run_id!r} was taken over by attempt {run.fence}; this one is {fence}: stop"
        )
    run.state, run.directory = "running", directory
    run.fence = fence if is_own else run.fence
    run.started_at = run.started_at or now
    session.add(run)
    session.flush()
    return True


def settle_run(session: Session, run_id: str, result: RunResult, *, now: float) -> bool:
    """Record how the run ended, exactly once; False when somebody has settled it before.

    The figures of a failed run are recorded too; only completed runs are ever ranked. A completed
    run without a finite score is `invalid`.

    Raises:
        RunNotFoundError: there is no such run.
        BadInputError: the result is of another run.
    """
    if result.run_id != run_id:
        raise BadInputError(f"the result of run {result.run_id!r} can not settle run {run_id!r}")
    run = get_run(session, run_id)
    outcome: str = result.outcome
    reason: str | None = result.reason or None
    if outcome == COMPLETED and not _is_finite(result.bits_per_byte):
        outcome, reason = INVALID, f"completed with a score of {result.bits_per_byte!r}"
    statement = (
        update(Run)
        .where(col(Run.id) == run_id, col(Run.state) != "done")
        .values(
            state="done",
            outcome=outcome,
            reason=reason,
            ended_at=now,
            parameters=result.parameters or run.parameters,
            weights_sha256=result.weights_sha256,
            sandbox_tier=str(result.sandbox_tier),
            device=result.device,
            torch_version=result.torch_version,
        )
    )
    if session.exec(statement).rowcount != 1:
        return False
    for name, value in _figures(result).items():
        if value is not None and math.isfinite(value):
            unit = metrics.METRICS[name].unit
            session.add(Metric(run_id=run_id, name=name, value=float(value), unit=unit))
    session.flush()
    session.refresh(run)
    return True


def _figures(result: RunResult) -> dict[str, float | int | None]:
    return {
        metrics.BITS_PER_BYTE: result.bits_per_byte,
        metrics.PERPLEXITY: result.perplexity,
        metrics.VALIDATION_LOSS: result.val_loss_nats,
        metrics.TRAIN_SECONDS: result.train_seconds,
        metrics.TOKENS_PER_S: result.tokens_per_s,
        metrics.TOKENS: result.tokens,
        metrics.STEPS: result.steps,
        metrics.PEAK_MEMORY: result.peak_memory_bytes,
        metrics.CAUSALITY_GAP: result.causality_gap,
    }


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def get_run(session: Session, run_id: str) -> Run:
    """Return the run.

    Raises:
        RunNotFoundError: there is no such run.
    """
    run = session.get(Run, run_id)
    if run is None:
        raise RunNotFoundError(f"no run {run_id!r}: `arcfusion leaderboard --json` lists run ids")
    return run


def runs_for(session: Session, fingerprint: str, protocol_key: str) -> list[Run]:
    """Return every run of the model under the key, failed ones too, by seed and replica."""
    statement = (
        select(Run)
        .where(Run.fingerprint == fingerprint, Run.protocol_key == protocol_key)
        .order_by(col(Run.seed), col(Run.replica))
    )
    return list(session.exec(statement))


def unsettled_runs(session: Session, *, issue_id: str | None = None) -> list[Run]:
    """Return the runs that are planned or running, oldest first; of one issue when it is named."""
    statement = select(Run).where(Run.state != "done")
    if issue_id is not None:
        statement = statement.where(Run.issue_id == issue_id)
    return list(session.exec(statement.order_by(col(Run.created_at), col(Run.id))))


def scores(session: Session, fingerprint: str, protocol_key: str) -> dict[int, Score]:
    """Return the score by seed, of completed runs; a seed's first completed replica counts."""
    statement = (
        select(Run.seed, Run.id, Metric.value)
        .join(Metric, col(Metric.run_id) == col(Run.id))
        .where(
            Run.fingerprint == fingerprint,
            Run.protocol_key == protocol_key,
            Run.outcome == COMPLETED,
            Metric.name == metrics.BITS_PER_BYTE,
        )
        .order_by(col(Run.seed), col(Run.replica))
    )
    found: dict[int, Score] = {}
    for seed, run_id, value in session.exec(statement):
        found.setdefault(seed, Score(run_id, value))
    return found


def set_baseline(session: Session, protocol_key: str, fingerprint: str) -> str:
    """Make the model the key's baseline unless there is one; return the baseline's fingerprint.

    Raises:
        NotFoundError: nothing was recorded under the key.
    """
    record = session.get(ProtocolRecord, protocol_key)
    if record is None:
        raise NotFoundError(f"no run under {protocol_key!r} yet")
    if record.baseline_fingerprint is None:
        record.baseline_fingerprint = fingerprint
        session.add(record)
        session.flush()
    return record.baseline_fingerprint


def record_gates(
    session: Session,
    fingerprint: str,
    results: Sequence[GateResult],
    *,
    harness_version: str,
    now: float,
) -> None:
    """Store what the gates said; a repeated check replaces the earlier one of the same harness."""
    for result in results:
        session.merge(
            GateRecord(
                fingerprint=fingerprint,
                name=result.name,
                harness_version=harness_version,
                outcome=str(result.outcome),
                figure=result.figure,
                unit=result.unit,
                limit=result.limit,
                detail=result.detail,
                created_at=now,
            )
        )
    session.flush()


def record_artifact(
    session: Session,
    *,
    kind: str,
    path: str,
    sha256: str,
    size_bytes: int,
    now: float,
    run_id: str | None = None,
    issue_id: str | None = None,
) -> Artifact:
    """Store that a file with this content belongs to the run or issue; once for the same file."""
    artifact_id = short_id("art", [kind, path, sha256, run_id, issue_id])
    artifact = session.get(Artifact, artifact_id)
    if artifact is None:
        artifact = Artifact(
            id=artifact_id,
            kind=kind,
            path=path,
            sha256=sha256,
            size_bytes=size_bytes,
            run_id=run_id,
            issue_id=issue_id,
            created_at=now,
        )
        session.add(artifact)
        session.flush()
    return artifact
