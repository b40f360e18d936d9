"""Comparisons on record: which runs were paired, under which key, and what came out."""

import json
from collections.abc import Collection, Sequence

from sqlmodel import Session, col, select

from arcfusion.core.errors import BadInputError, RefusedError
from arcfusion.core.ids import short_id
from arcfusion.experiments import metrics, registry
from arcfusion.experiments.compare import KeyMismatchError, NoPairedSeedsError, compare_paired
from arcfusion.experiments.student import DEFAULT_CONFIDENCE
from arcfusion.experiments.tables import ComparisonRecord, Metric, Run


class UnscoredRunError(RefusedError):
    """A run without a score can not be compared: it is not completed."""


def compare_architectures(
    session: Session,
    *,
    baseline: str,
    candidate: str,
    protocol_key: str,
    now: float,
    seeds: Collection[int] | None = None,
    confidence: float = DEFAULT_CONFIDENCE,
    issue_id: str | None = None,
) -> ComparisonRecord:
    """Compare the candidate's completed runs under the key with the baseline's, and store it.

    Args:
        session: an open transaction.
        baseline: fingerprint.
        candidate: fingerprint.
        protocol_key: the one comparability key.
        now: seconds since 1970.
        seeds: only these; None takes every seed that both have.
        confidence: of the interval.
        issue_id: on whose behalf.

    Raises:
        NoPairedSeedsError: no seed was completed by both.
    """
    found = [registry.scores(session, print_, protocol_key) for print_ in (baseline, candidate)]
    common = sorted(found[0].keys() & found[1].keys())
    if seeds is not None:
        common = [seed for seed in common if seed in seeds]
    if not common:
        raise NoPairedSeedsError(
            f"{candidate!r} has completed seeds {sorted(found[1])} under {protocol_key}, "
            f"{baseline!r} has {sorted(found[0])}: train both with the same seeds"
        )
    return compare_runs(
        session,
        baseline_run_ids=[found[0][seed].run_id for seed in common],
        candidate_run_ids=[found[1][seed].run_id for seed in common],
        now=now,
        confidence=confidence,
        issue_id=issue_id,
    )


def compare_runs(
    session: Session,
    *,
    baseline_run_ids: Sequence[str],
    candidate_run_ids: Sequence[str],
    now: float,
    confidence: float = DEFAULT_CONFIDENCE,
    issue_id: str | None = None,
) -> ComparisonRecord:
    """Compare two sets of runs, paired by seed, and store the comparison; once for the same runs.

    The first comparison under a key makes its baseline the key's baseline.

    Raises:
        KeyMismatchError: the runs are not all under one key.
        UnscoredRunError: a run is not completed.
        BadInputError: a side mixes architectures or repeats a seed.
        NoPairedSeedsError: no seed is on both sides.
        RunNotFoundError: there is no such run.
    """
    sides = [
        [registry.get_run(session, run_id) for run_id in run_ids]
        for run_ids in (baseline_run_ids, candidate_run_ids)
    ]
    if not all(sides):
        raise NoPairedSeedsError
    protocol_key = _check_one_key([run for side in sides for run in side])
    by_seed = [_index_by_seed(side) for side in sides]
    values = [{seed: _score(session, run) for seed, run in side.items()} for side in by_seed]
    found = compare_paired(values[0], values[1], confidence=confidence)
    paired_ids = [[side[seed].id for seed in found.seeds] for side in by_seed]
    record_id = short_id("cmp", [protocol_key, paired_ids, confidence])
    existing = session.get(ComparisonRecord, record_id)
    if existing is not None:
        return existing
    record = ComparisonRecord(
        id=record_id,
        protocol_key=protocol_key,
        baseline_fingerprint=sides[0][0].fingerprint,
        candidate_fingerprint=sides[1][0].fingerprint,
        baseline_run_ids=json.dumps(paired_ids[0]),
        candidate_run_ids=json.dumps(paired_ids[1]),
        seeds=json.dumps(list(found.seeds)),
        n=found.n,
        confidence=confidence,
        mean_difference=found.mean_difference,
        low=found.low,
        high=found.high,
        verdict=found.verdict,
        reason=found.reason,
        issue_id=issue_id,
        created_at=now,
    )
    registry.set_baseline(session, protocol_key, record.baseline_fingerprint)
    session.add(record)
    session.flush()
    return record


def _check_one_key(runs: Sequence[Run]) -> str:
    for run in runs:
        if run.protocol_key != runs[0].protocol_key:
            raise KeyMismatchError(
                f"run {runs[0].id} is under {runs[0].protocol_key}, run {run.id} under "
                f"{run.protocol_key}: train both under one protocol to compare them"
            )
    return runs[0].protocol_key


def _index_by_seed(runs: Sequence[Run]) -> dict[int, Run]:
    by_seed: dict[int, Run] = {}
    for run in runs:
        if run.fingerprint != runs[0].fingerprint:
            raise BadInputError(
                f"runs {runs[0].id} and {run.id} are of two architectures: one a side"
            )
        if run.seed in by_seed:
            raise BadInputError(f"runs {by_seed[run.seed].id} and {run.id} share seed {run.seed}")
        by_seed[run.seed] = run
    return by_seed


def _score(session: Session, run: Run) -> float:
    metric = session.get(Metric, (run.id, metrics.BITS_PER_BYTE))
    if run.outcome != registry.COMPLETED or metric is None:
        raise UnscoredRunError(
            f"run {run.id} is {run.outcome or run.state} ({run.reason or 'no score'}): "
            "only completed runs compare"
        )
    return metric.value


def comparisons_of(session: Session, issue_id: str) -> list[ComparisonRecord]:
    """Return the comparisons made on behalf of the issue, oldest first."""
    statement = select(ComparisonRecord).where(ComparisonRecord.issue_id == issue_id)
    ordered = statement.order_by(col(ComparisonRecord.created_at), col(ComparisonRecord.id))
    return list(session.exec(ordered))
