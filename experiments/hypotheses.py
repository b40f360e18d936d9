"""Hypotheses: falsifiable next experiments, from what was measured and what is missing.

Each says what to train, what is predicted and in which interval, what it costs, and which result
ends it. The same database gives the same hypotheses in the same order: only the cost in seconds,
which orders nothing, depends on the clock. A hypothesis is known by key, reference and candidate,
and once settled it is never proposed again under that key.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from arcfusion.core.database import NO_LIMIT, Connection
from arcfusion.core.errors import NotFoundError
from arcfusion.core.ids import short_id
from arcfusion.experiments.compare import Verdict

if TYPE_CHECKING:
    from sqlmodel import Session

    from arcfusion.experiments.landscape import Landscape, Measured, Prediction
    from arcfusion.experiments.proposals import Variant
    from arcfusion.experiments.tables import ComparisonRecord, Hypothesis

MAX_PROPOSED = 10
MAX_PER_KIND = 2
# A difference of three standard deviations is found with five seeds in 89 of 100 comparisons.
N_SEEDS = 5

# Doubtful claims first, then what no run has touched, then changes to what is known.
PRIORITIES: dict[str, float] = {
    "replication": 0.9,
    "component": 0.8,
    "ablation": 0.7,
    "pair": 0.6,
    "placement": 0.5,
    "depth": 0.4,
    "neighbour": 0.3,
}


class HypothesisNotFoundError(NotFoundError):
    """There is no such hypothesis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A hypothesis before it is stored.

    `spec` is the candidate's ArchSpec as YAML; None for a replication, which trains
    `candidate_fingerprint` again. Both sides are trained with `seeds`.
    """

    id: str
    kind: str
    statement: str
    protocol_key: str
    reference_fingerprint: str
    change: str
    spec: str | None
    candidate_fingerprint: str | None
    predicted_verdict: Verdict
    predicted_low: float
    predicted_high: float
    seeds: tuple[int, ...]
    cost_s: float
    kill_criterion: str
    priority: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HypothesisView:
    """A hypothesis as a listing shows it."""

    id: str
    kind: str
    status: str
    statement: str
    protocol_key: str
    reference_fingerprint: str
    change: str
    spec: str | None
    candidate_fingerprint: str | None
    predicted_verdict: str
    predicted_low: float
    predicted_high: float
    seeds: list[int]
    cost_s: float
    kill_criterion: str
    priority: float
    issue_id: str | None

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values."""
        return asdict(self)


def propose(
    landscape: "Landscape", *, settled: Iterable[str] = (), limit: int = MAX_PROPOSED
) -> list[Proposal]:
    """Return up to `limit` hypotheses, the most urgent first, at most two of a kind at first.

    Kinds are mixed so that a lab does not spend its next ten experiments on one sort of question;
    when the other kinds have run out, the rest is filled with more of the same.

    Args:
        landscape: what was measured under one key.
        settled: ids of hypotheses that have ended; they are not proposed again.
        limit: at most so many.
    """
    gone = set(settled)
    found: dict[str, Proposal] = {}
    for proposal in (*_replications(landscape), *_variants(landscape)):
        if proposal.id not in gone:
            found.setdefault(proposal.id, proposal)
    chosen: list[Proposal] = []
    spare: list[Proposal] = []
    per_kind: dict[str, int] = {}
    for proposal in found.values():
        per_kind[proposal.kind] = per_kind.get(proposal.kind, 0) + 1
        (chosen if per_kind[proposal.kind] <= MAX_PER_KIND else spare).append(proposal)
    chosen += spare[: max(0, limit - len(chosen))]
    # The order of generation decides among equals: sorting is stable.
    return sorted(chosen, key=lambda proposal: -proposal.priority)[:limit]


def _replications(landscape: "Landscape") -> Iterator[Proposal]:
    """Yield a repetition with fresh seeds for each open claim of a difference."""
    from arcfusion.experiments.landscape import fresh_seeds, predict_replication

    for insight in sorted(landscape.insights, key=lambda i: (-abs(i.effect), i.id)):
        if insight.status != "open" or insight.verdict == "indistinguishable":
            continue
        baseline = landscape.find(insight.baseline_fingerprint)
        candidate = landscape.find(insight.candidate_fingerprint)
        if baseline is None or candidate is None:
            continue
        seeds = fresh_seeds([*baseline.scores, *candidate.scores], max(N_SEEDS, insight.n_seeds))
        predicted = predict_replication(insight, len(seeds))
        verdict: Verdict = "better" if insight.verdict == "better" else "worse"
        yield Proposal(
            id=_identify(landscape.key, baseline.fingerprint, ["replication", insight.id]),
            kind="replication",
            statement=(
                f"{candidate.name} is {verdict} than {baseline.name} with fresh seeds too: "
                f"{_interval(predicted)}"
            ),
            protocol_key=landscape.key,
            reference_fingerprint=baseline.fingerprint,
            change=f"{candidate.name} and {baseline.name} with seeds {_span(seeds)}",
            spec=None,
            candidate_fingerprint=candidate.fingerprint,
            predicted_verdict=verdict,
            predicted_low=predicted.low,
            predicted_high=predicted.high,
            seeds=seeds,
            cost_s=len(seeds) * (baseline.seconds + candidate.seconds),
            kill_criterion=_kill(verdict, len(seeds)) + f"; then {insight.id} falls",
            priority=PRIORITIES["replication"],
        )


def _variants(landscape: "Landscape") -> Iterator[Proposal]:
    """Yield a hypothesis for each variant that was not tried, proposer by proposer."""
    from arcfusion.experiments.landscape import predict_difference
    from arcfusion.experiments.proposals import PROPOSERS

    best = landscape.best()
    if best is None:
        return
    for proposer in PROPOSERS:
        for variant in proposer(landscape, best):
            predicted = predict_difference(landscape, variant.reference)
            if predicted is None or variant.spec.digest() in landscape.tried:
                continue
            yield _from_variant(landscape, variant, predicted)


def _from_variant(landscape: "Landscape", variant: "Variant", predicted: "Prediction") -> Proposal:
    reference = variant.reference
    seeds = tuple(sorted(reference.scores))[:N_SEEDS]
    seeds += tuple(s for s in range(2 * N_SEEDS) if s not in seeds)[: N_SEEDS - len(seeds)]
    return Proposal(
        id=_identify(landscape.key, reference.fingerprint, variant.spec.digest()),
        kind=variant.kind,
        statement=(
            f"{variant.change} is {variant.predicted_verdict} than {reference.name}: "
            f"{_interval(predicted)}; {variant.question}"
        ),
        protocol_key=landscape.key,
        reference_fingerprint=reference.fingerprint,
        change=variant.change,
        spec=variant.spec.to_yaml(),
        candidate_fingerprint=None,
        predicted_verdict=variant.predicted_verdict,
        predicted_low=predicted.low,
        predicted_high=predicted.high,
        seeds=seeds,
        cost_s=_estimate_cost(variant, reference, seeds),
        kill_criterion=_kill(variant.predicted_verdict, len(seeds)),
        priority=PRIORITIES[variant.kind],
    )


def _estimate_cost(variant: "Variant", reference: "Measured", seeds: Sequence[int]) -> float:
    """Return seconds: the reference's measured time scaled by depth, plus its own missing seeds."""
    assert reference.spec is not None, "only architectures with a spec have variants"
    depth = len(variant.spec.layers) / len(reference.spec.layers)
    missing = sum(1 for seed in seeds if seed not in reference.scores)
    return reference.seconds * (depth * len(seeds) + missing)


def _identify(key: str, reference: str, candidate: object) -> str:
    return short_id("hyp", [key, reference, candidate])


def _interval(predicted: "Prediction") -> str:
    return (
        f"a difference of {predicted.low:+.4f} to {predicted.high:+.4f} bits per byte "
        "is expected (80%)"
    )


def _kill(verdict: Verdict, n_seeds: int) -> str:
    side = "below" if verdict == "better" else "above"
    return f"the 99% interval over {n_seeds} paired seeds is not {side} zero"


def _span(seeds: Sequence[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}"


def settled_ids(connection: Connection, key: str) -> frozenset[str]:
    """Return the ids of the hypotheses that have ended under the key."""
    rows = connection.execute(
        "SELECT id FROM hypothesis WHERE protocol_key = ? AND settled_at IS NOT NULL", (key,)
    )
    return frozenset(row["id"] for row in rows)


def record_hypotheses(
    session: "Session", proposals: Sequence[Proposal], *, now: float
) -> "list[Hypothesis]":
    """Store the proposals and return their rows; one that was proposed before keeps its row."""
    from arcfusion.experiments.tables import Hypothesis

    rows = []
    for proposal in proposals:
        row = session.get(Hypothesis, proposal.id)
        if row is None:
            fields = asdict(proposal) | {"seeds": json.dumps(list(proposal.seeds))}
            row = Hypothesis(**fields, created_at=now)
            session.add(row)
        rows.append(row)
    session.flush()
    return rows


def file_hypothesis(session: "Session", hypothesis_id: str, issue_id: str) -> "Hypothesis":
    """Note that an issue was created for the hypothesis; the first issue stays.

    Raises:
        HypothesisNotFoundError: there is none of this id.
    """
    row = _get(session, hypothesis_id)
    if row.issue_id is None:
        row.issue_id, row.status = issue_id, "filed"
        session.add(row)
        session.flush()
    return row


def settle_hypothesis(
    session: "Session", hypothesis_id: str, comparison: "ComparisonRecord", *, now: float
) -> str:
    """Confirm or refute the hypothesis by the comparison; return its status.

    Confirmed: the verdict is the predicted one. Refuted: it is another one, on at least as many
    seeds as were planned. With fewer seeds and another verdict it stays as it is. A settled
    hypothesis does not change any more.

    Raises:
        HypothesisNotFoundError: there is none of this id.
    """
    row = _get(session, hypothesis_id)
    if row.settled_at is not None:
        return row.status
    is_confirmed = comparison.verdict == row.predicted_verdict
    if not is_confirmed and comparison.n < len(json.loads(row.seeds)):
        return row.status
    row.status = "confirmed" if is_confirmed else "refuted"
    row.is_covered = int(row.predicted_low <= comparison.mean_difference <= row.predicted_high)
    row.comparison_id, row.settled_at = comparison.id, now
    session.add(row)
    session.flush()
    return row.status


def _get(session: "Session", hypothesis_id: str) -> "Hypothesis":
    from arcfusion.experiments.tables import Hypothesis

    row = session.get(Hypothesis, hypothesis_id)
    if row is None:
        raise HypothesisNotFoundError(
            f"no hypothesis {hypothesis_id!r}: `arcfusion hypotheses list` has them"
        )
    return row


def list_hypotheses(
    connection: Connection, *, is_open: bool | None = None, limit: int = NO_LIMIT
) -> list[HypothesisView]:
    """Return the stored hypotheses, the most urgent first.

    Args:
        connection: of `core.store.connect`.
        is_open: True for those that have not ended, False for those that have; None for all.
        limit: at most so many.
    """
    rows = connection.execute(
        "SELECT id, kind, status, statement, protocol_key, reference_fingerprint, change, spec, "
        "candidate_fingerprint, predicted_verdict, predicted_low, predicted_high, seeds, cost_s, "
        "kill_criterion, priority, issue_id FROM hypothesis "
        "WHERE (CASE WHEN settled_at IS NULL THEN 1 ELSE 0 END) IN (?1, ?2) "
        "ORDER BY settled_at IS NOT NULL, priority DESC, id LIMIT ?3",
        (*((1, 0) if is_open is None else (int(is_open),) * 2), limit),
    )
    return [HypothesisView(**(dict(row) | {"seeds": json.loads(row["seeds"])})) for row in rows]
