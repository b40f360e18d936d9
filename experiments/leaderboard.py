"""The leaderboard: completed runs of one comparability key, ranked; never two keys in one table.

Standard library alone (no SQLModel, numpy or torch): `arcfusion leaderboard` has 0.35 s.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from arcfusion.core.database import Connection
from arcfusion.core.errors import NotFoundError
from arcfusion.experiments import metrics
from arcfusion.experiments.compare import (
    KeyMismatchError,
    PairedComparison,
    Verdict,
    compare_paired,
)
from arcfusion.experiments.pareto import find_front
from arcfusion.experiments.student import DEFAULT_CONFIDENCE, compute_interval

Sort = Literal["bpb", "time", "efficiency"]
Tier = Literal["S", "A", "B", "C", "D"]

# The one definition of the tiers: ratios of perplexity and of training time to the key's baseline.
S_PERPLEXITY_RATIO = 0.90
A_PERPLEXITY_RATIO = 0.95
B_PERPLEXITY_RATIO = 1.05
FAST_TIME_RATIO = 0.5


class UnknownKeyError(NotFoundError):
    """Nothing was measured under this comparability key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRun:
    """A completed run with its figures; None where a figure was not recorded."""

    run_id: str
    name: str
    fingerprint: str
    protocol_key: str
    seed: int
    bits_per_byte: float
    perplexity: float | None
    train_seconds: float | None
    tokens_per_s: float | None
    parameters: int | None
    flops_per_token: float | None
    state_bytes: int | None
    kv_bytes: int | None
    sandbox_tier: str | None
    architecture_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One architecture under one key: means over its seeds."""

    rank: int
    name: str
    fingerprint: str
    bits_per_byte: float
    low: float | None
    high: float | None
    perplexity: float | None
    train_seconds: float | None
    tokens_per_s: float | None
    parameters: int | None
    flops_per_token: float | None
    state_bytes: int | None
    kv_bytes: int | None
    n_seeds: int
    run_ids: tuple[str, ...]
    is_baseline: bool
    difference: float | None
    verdict: Verdict | None
    tier: Tier | None
    efficiency: float | None
    sandbox_tier: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unranked:
    """An architecture that was tried under the key and is not ranked, with the reason."""

    name: str
    fingerprint: str
    outcome: str
    reason: str
    n_runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """The table of one comparability key."""

    key: str
    description: str
    baseline: str | None
    sort: Sort
    confidence: float
    rows: tuple[Row, ...]
    unranked: tuple[Unranked, ...]


_SCORED_RUNS = """
SELECT r.id AS run_id, r.name, r.fingerprint, r.protocol_key, r.seed,
       max(CASE m.name WHEN 'bits_per_byte' THEN m.value END) AS bits_per_byte,
       max(CASE m.name WHEN 'perplexity' THEN m.value END) AS perplexity,
       max(CASE m.name WHEN 'train_seconds' THEN m.value END) AS train_seconds,
       max(CASE m.name WHEN 'tokens_per_s' THEN m.value END) AS tokens_per_s,
       r.parameters, r.flops_per_token, r.state_bytes, r.kv_bytes, r.sandbox_tier,
       r.architecture_id
FROM run r JOIN metric m ON m.run_id = r.id
WHERE r.protocol_key = ? AND r.outcome = 'completed'
  AND NOT EXISTS (SELECT 1 FROM gate_record g
                  WHERE g.fingerprint = r.fingerprint AND g.outcome = 'fail'
                    AND g.harness_version = r.harness_version)
GROUP BY r.id HAVING max(CASE m.name WHEN 'bits_per_byte' THEN m.value END) IS NOT NULL
ORDER BY r.seed, r.replica
"""

_UNRANKED = """
SELECT min(name) AS name, fingerprint, outcome, min(coalesce(reason, '')) AS reason,
       count(*) AS n_runs
FROM run WHERE protocol_key = ?1 AND state = 'done' AND outcome != 'completed'
GROUP BY fingerprint, outcome
UNION ALL
SELECT min(r.name), r.fingerprint, 'gate', 'gate ' || min(g.name) || ' failed', count(DISTINCT r.id)
FROM run r JOIN gate_record g ON g.fingerprint = r.fingerprint AND g.outcome = 'fail'
  AND g.harness_version = r.harness_version
WHERE r.protocol_key = ?1 AND r.outcome = 'completed'
GROUP BY r.fingerprint
ORDER BY 1, 2, 3
"""


def load_leaderboards(
    connection: Connection,
    *,
    key: str | None = None,
    sort: Sort = "bpb",
    confidence: float = DEFAULT_CONFIDENCE,
) -> list[Leaderboard]:
    """Return one table for each key, or for the one that is named; the oldest key first.

    Raises:
        UnknownKeyError: nothing was measured under the named key; the message lists the others.
    """
    protocols = connection.execute(
        "SELECT key, description, baseline_fingerprint FROM protocol ORDER BY created_at, key"
    ).fetchall()
    known = [row["key"] for row in protocols]
    if key is not None and key not in known:
        there_are = f"there are {', '.join(known)}" if known else "there are none yet"
        raise UnknownKeyError(f"nothing was measured under key {key!r}: {there_are}")
    boards = []
    for protocol in protocols:
        if key not in (None, protocol["key"]):
            continue
        runs = load_scored_runs(connection, protocol["key"])
        baseline = protocol["baseline_fingerprint"]
        boards.append(
            Leaderboard(
                key=protocol["key"],
                description=protocol["description"],
                baseline=next((r.name for r in runs if r.fingerprint == baseline), None),
                sort=sort,
                confidence=confidence,
                rows=tuple(rank_runs(runs, baseline, sort=sort, confidence=confidence)),
                unranked=tuple(
                    Unranked(**row) for row in connection.execute(_UNRANKED, (protocol["key"],))
                ),
            )
        )
    return boards


def latest_key(connection: Connection) -> str | None:
    """Return the key of the run that ended last, or None before the first one."""
    row = connection.execute(
        "SELECT protocol_key FROM run WHERE state = 'done' ORDER BY ended_at DESC, id LIMIT 1"
    ).fetchone()
    return row["protocol_key"] if row else None


def load_scored_runs(connection: Connection, key: str) -> list[ScoredRun]:
    """Return the completed runs under the key, one a seed, without models that fail a gate."""
    first: dict[tuple[str, int], ScoredRun] = {}
    for row in connection.execute(_SCORED_RUNS, (key,)):
        run = ScoredRun(**row)
        first.setdefault((run.fingerprint, run.seed), run)
    return list(first.values())


def rank_runs(
    runs: Sequence[ScoredRun],
    baseline: str | None,
    *,
    sort: Sort = "bpb",
    confidence: float = DEFAULT_CONFIDENCE,
) -> list[Row]:
    """Return a row for each architecture, the best first; the rank is the place in that order.

    Args:
        runs: of one comparability key.
        baseline: fingerprint that verdicts and tiers refer to; None leaves them out.
        sort: by bits per byte, training seconds, or efficiency.
        confidence: of the intervals.

    Raises:
        KeyMismatchError: the runs are of several keys.
    """
    keys = sorted({run.protocol_key for run in runs})
    if len(keys) > 1:
        raise KeyMismatchError(
            f"runs under {' and '.join(keys)} can not be ranked together: choose one key"
        )
    groups: dict[str, list[ScoredRun]] = {}
    for run in runs:
        groups.setdefault(run.fingerprint, []).append(run)
    reference = groups.get(baseline) if baseline is not None else None
    rows = [_summarise(group, reference, confidence) for group in groups.values()]
    rows.sort(key=lambda row: (*_SORTS[sort](row), row.fingerprint))
    return [replace(row, rank=rank) for rank, row in enumerate(rows, start=1)]


def _last_if_none(value: float | None) -> float:
    return math.inf if value is None else value


_SORTS: Mapping[Sort, Callable[[Row], tuple[float, ...]]] = {
    "bpb": lambda row: (row.bits_per_byte,),
    "time": lambda row: (_last_if_none(row.train_seconds), row.bits_per_byte),
    "efficiency": lambda row: (_last_if_none(row.efficiency), row.bits_per_byte),
}


def _summarise(
    group: Sequence[ScoredRun], reference: Sequence[ScoredRun] | None, confidence: float
) -> Row:
    first = group[0]
    interval = compute_interval([run.bits_per_byte for run in group], confidence=confidence)
    perplexity = _geometric_mean([run.perplexity for run in group])
    seconds = _mean([run.train_seconds for run in group])
    is_baseline = reference is not None and reference[0].fingerprint == first.fingerprint
    found = None if is_baseline else _compare(group, reference, confidence)
    tier: Tier | None = None
    if reference is not None:
        tier = assign_tier(
            _ratio(perplexity, _geometric_mean([run.perplexity for run in reference])),
            _ratio(seconds, _mean([run.train_seconds for run in reference])),
            found.verdict if found is not None else None,
        )
    return Row(
        rank=0,
        name=first.name,
        fingerprint=first.fingerprint,
        bits_per_byte=interval.mean,
        low=interval.low,
        high=interval.high,
        perplexity=perplexity,
        train_seconds=seconds,
        tokens_per_s=_mean([run.tokens_per_s for run in group]),
        parameters=first.parameters,
        flops_per_token=first.flops_per_token,
        state_bytes=first.state_bytes,
        kv_bytes=first.kv_bytes,
        n_seeds=interval.n,
        run_ids=tuple(run.run_id for run in group),
        is_baseline=is_baseline,
        difference=found.mean_difference if found is not None else None,
        verdict=found.verdict if found is not None else None,
        tier=tier,
        efficiency=(
            metrics.compute_efficiency(perplexity, seconds)
            if perplexity is not None and seconds is not None
            else None
        ),
        sandbox_tier=_one_or_mixed([run.sandbox_tier for run in group]),
    )


def _compare(
    group: Sequence[ScoredRun], reference: Sequence[ScoredRun] | None, confidence: float
) -> PairedComparison | None:
    """Return the paired comparison with the baseline, or None when they share no seed."""
    if reference is None:
        return None
    a = {run.seed: run.bits_per_byte for run in reference}
    b = {run.seed: run.bits_per_byte for run in group}
    return compare_paired(a, b, confidence=confidence) if a.keys() & b.keys() else None


def assign_tier(
    perplexity_ratio: float | None, time_ratio: float | None, verdict: Verdict | None
) -> Tier | None:
    """Return the tier against the baseline; None without both perplexities.

    S: perplexity below 0.90 of the baseline's in less than half of its time; A: below 0.95; both
    only with the verdict "better", so that no tier is won with one seed. B: below 1.05. C: worse,
    in less than half of the time. D: the rest.
    """
    if perplexity_ratio is None:
        return None
    is_fast = time_ratio is not None and time_ratio < FAST_TIME_RATIO
    if verdict == "better" and perplexity_ratio < S_PERPLEXITY_RATIO and is_fast:
        return "S"
    if verdict == "better" and perplexity_ratio < A_PERPLEXITY_RATIO:
        return "A"
    if perplexity_ratio < B_PERPLEXITY_RATIO:
        return "B"
    return "C" if is_fast else "D"


def find_pareto_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that no other one beats in both bits per byte and training seconds."""
    points = [
        (row.bits_per_byte, math.nan if row.train_seconds is None else row.train_seconds)
        for row in rows
    ]
    return [rows[i] for i in find_front(points)]


def _present(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Sequence[float | None]) -> float | None:
    present = _present(values)
    return math.fsum(present) / len(present) if present else None


def _geometric_mean(values: Sequence[float | None]) -> float | None:
    """Return the perplexity of the mean cross entropy."""
    mean_log = _mean([math.log(value) for value in _present(values) if value > 0])
    return None if mean_log is None else math.exp(mean_log)


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def _one_or_mixed(values: Sequence[str | None]) -> str | None:
    return values[0] if len(set(values)) == 1 else "mixed"
