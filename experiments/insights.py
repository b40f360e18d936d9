"""Insights: comparisons made into scoped claims, and what later evidence does to them.

A claim is about one pair of architectures under one comparability key. New evidence on the same
pair and key is read like this, where "fresh" means that no seed is shared:

| new comparison                                   | what happens                            |
|--------------------------------------------------|-----------------------------------------|
| the old seeds and more, not against the old one  | the old insight takes the new figures   |
| no seed that the old one lacks                   | nothing: the old insight stands         |
| opposite direction                               | both are contradicted                   |
| fresh seeds, same verdict                        | both are replicated                     |
| difference not shown on at least as many seeds   | the old insight is refuted              |
| the intervals exclude each other                 | both are contradicted                   |
"""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from arcfusion.core.database import NO_LIMIT, Connection, Row
from arcfusion.core.errors import NotFoundError
from arcfusion.core.ids import short_id
from arcfusion.experiments.compare import Verdict, flip

if TYPE_CHECKING:
    from sqlmodel import Session

    from arcfusion.experiments.tables import ComparisonRecord, Insight, Run

Status = Literal["open", "replicated", "contradicted", "refuted"]
STATUSES: tuple[Status, ...] = ("open", "replicated", "refuted", "contradicted")


class InsightNotFoundError(NotFoundError):
    """There is no such insight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """An insight's figures, seen from one orientation of the pair."""

    verdict: Verdict
    low: float
    high: float
    seeds: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class InsightView:
    """An insight as a listing shows it."""

    id: str
    claim: str
    status: str
    verdict: str
    protocol_key: str
    scope: str
    baseline_fingerprint: str
    candidate_fingerprint: str
    effect: float
    low: float
    high: float
    confidence: float
    n_seeds: int
    run_ids: list[str]
    related: list[str]
    issue_id: str | None

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values."""
        return asdict(self)


def judge_evidence(old: Evidence, new: Evidence) -> Status:
    """Return what the new evidence makes of the old insight; both in the same orientation."""
    opposite = old.verdict != "indistinguishable" and new.verdict == flip(old.verdict)
    if opposite or old.high < new.low or new.high < old.low:
        return "contradicted"
    fresh = new.seeds.isdisjoint(old.seeds)
    if old.verdict == new.verdict:
        return "replicated" if fresh else "open"
    is_harder_test = new.seeds > old.seeds or (fresh and len(new.seeds) >= len(old.seeds))
    if new.verdict == "indistinguishable" and is_harder_test:
        return "refuted"
    return "open"


def record_insight(
    session: "Session", comparison: "ComparisonRecord", *, now: float
) -> "Insight | None":
    """Make the comparison a claim and bring the other insights on its pair up to date.

    Returns None when the comparison supports no claim: a single seed gives no interval, and an
    architecture compared with itself is a control. The returned insight may be an older one that
    grew by the new seeds, or that knew them all.
    """
    if comparison.low is None or comparison.high is None:
        return None
    if comparison.baseline_fingerprint == comparison.candidate_fingerprint:
        return None
    others = _insights_on_pair(session, comparison)
    seeds = frozenset(json.loads(comparison.seeds))
    for old in others:
        old_seeds = frozenset(json.loads(old.seeds))
        if seeds <= old_seeds:
            return old
        is_in_line = old.verdict in ("indistinguishable", _verdict_for(old, comparison))
        if is_in_line and seeds > old_seeds:
            _fill(session, old, comparison, now=now)
            _relate(session, old, [other for other in others if other is not old], now=now)
            return old
    insight = _new_insight(session, comparison, now=now)
    _relate(session, insight, others, now=now)
    return insight


def _insights_on_pair(session: "Session", comparison: "ComparisonRecord") -> "list[Insight]":
    from sqlmodel import col, select

    from arcfusion.experiments.tables import Insight

    pair = (comparison.baseline_fingerprint, comparison.candidate_fingerprint)
    statement = (
        select(Insight)
        .where(
            Insight.protocol_key == comparison.protocol_key,
            col(Insight.baseline_fingerprint).in_(pair),
            col(Insight.candidate_fingerprint).in_(pair),
        )
        .order_by(col(Insight.created_at), col(Insight.id))
    )
    return list(session.exec(statement))


def _verdict_for(insight: "Insight", comparison: "ComparisonRecord") -> str:
    """Return the comparison's verdict in the insight's orientation."""
    if insight.baseline_fingerprint == comparison.baseline_fingerprint:
        return comparison.verdict
    return {"better": "worse", "worse": "better"}.get(comparison.verdict, comparison.verdict)


def _new_insight(session: "Session", comparison: "ComparisonRecord", *, now: float) -> "Insight":
    from arcfusion.experiments.tables import Insight

    insight = Insight(
        id=short_id("ins", comparison.id),
        claim="",
        protocol_key=comparison.protocol_key,
        scope="",
        baseline_fingerprint=comparison.baseline_fingerprint,
        candidate_fingerprint=comparison.candidate_fingerprint,
        verdict=comparison.verdict,
        effect=0.0,
        low=0.0,
        high=0.0,
        confidence=comparison.confidence,
        n_seeds=0,
        seeds="[]",
        run_ids="[]",
        comparison_id=comparison.id,
        issue_id=comparison.issue_id,
        created_at=now,
        updated_at=now,
    )
    _fill(session, insight, comparison, now=now)
    return insight


def _fill(
    session: "Session", insight: "Insight", comparison: "ComparisonRecord", *, now: float
) -> None:
    """Write the comparison's figures and the claim they support into the insight."""
    assert comparison.low is not None
    assert comparison.high is not None
    sides = _sides(session, comparison)
    insight.baseline_fingerprint = comparison.baseline_fingerprint
    insight.candidate_fingerprint = comparison.candidate_fingerprint
    insight.verdict = comparison.verdict
    insight.effect, insight.n_seeds = comparison.mean_difference, comparison.n
    insight.low, insight.high = comparison.low, comparison.high
    insight.confidence, insight.seeds = comparison.confidence, comparison.seeds
    insight.run_ids = json.dumps([run.id for side in sides for run in side])
    insight.scope = _describe_scope(session, comparison, sides[0][0], sides[1][0])
    insight.claim = _state_claim(comparison, sides[0][0].name, sides[1][0].name)
    insight.comparison_id, insight.updated_at = comparison.id, now
    session.add(insight)
    session.flush()


def _sides(session: "Session", comparison: "ComparisonRecord") -> "tuple[list[Run], list[Run]]":
    from arcfusion.experiments.tables import Run

    def load(text: str) -> "list[Run]":
        runs = [session.get(Run, run_id) for run_id in json.loads(text)]
        return [run for run in runs if run is not None]

    return load(comparison.baseline_run_ids), load(comparison.candidate_run_ids)


def _state_claim(comparison: "ComparisonRecord", baseline: str, candidate: str) -> str:
    assert comparison.low is not None
    assert comparison.high is not None
    if baseline == candidate:
        baseline = f"{baseline} ({comparison.baseline_fingerprint})"
        candidate = f"{candidate} ({comparison.candidate_fingerprint})"
    percent = f"{100 * comparison.confidence:g}%"
    if comparison.verdict == "indistinguishable":
        bound = max(abs(comparison.low), abs(comparison.high))
        return (
            f"no difference larger than {bound:.4f} bits per byte shown between {candidate} and "
            f"{baseline} ({comparison.n} paired seeds, {percent})"
        )
    nearest, farthest = sorted((abs(comparison.low), abs(comparison.high)))
    direction = "fewer" if comparison.verdict == "better" else "more"
    return (
        f"{candidate} needs {abs(comparison.mean_difference):.4f} bits per byte {direction} than "
        f"{baseline} ({percent} interval {nearest:.4f} to {farthest:.4f}, "
        f"{comparison.n} paired seeds)"
    )


def _describe_scope(
    session: "Session", comparison: "ComparisonRecord", baseline: "Run", candidate: "Run"
) -> str:
    """Say where the claim holds: protocol, budget, device and the sizes of the two models."""
    from arcfusion.experiments.tables import ProtocolRecord

    record = session.get(ProtocolRecord, comparison.protocol_key)
    assert record is not None, "the comparison's protocol is a foreign key"
    sizes = " against ".join(
        "unknown size" if run.parameters is None else f"{run.parameters:,} parameters"
        for run in (candidate, baseline)
    )
    return f"{record.key} = {record.description}; {sizes}"


def _relate(session: "Session", new: "Insight", others: "list[Insight]", *, now: float) -> None:
    """Judge every other insight on the pair by the new one, and the new one by what that says."""
    for old in others:
        status = judge_evidence(
            _as_evidence(old, old.baseline_fingerprint), _as_evidence(new, old.baseline_fingerprint)
        )
        if status == "open":
            continue
        _mark(old, status, new.id, now=now)
        # A refuting comparison stands on its own seeds; the other two judgements go both ways.
        _mark(new, "open" if status == "refuted" else status, old.id, now=now)
        session.add(old)
    session.add(new)
    session.flush()


def _as_evidence(insight: "Insight", baseline: str) -> Evidence:
    verdict: Verdict = insight.verdict  # type: ignore[assignment]  # written from a Verdict
    low, high = insight.low, insight.high
    if insight.baseline_fingerprint != baseline:
        verdict, low, high = flip(verdict), -high, -low
    return Evidence(verdict=verdict, low=low, high=high, seeds=frozenset(json.loads(insight.seeds)))


def _mark(insight: "Insight", status: Status, other_id: str, *, now: float) -> None:
    current: Status = insight.status  # type: ignore[assignment]  # written from a Status
    insight.status = max(current, status, key=STATUSES.index)
    related = json.loads(insight.related)
    if other_id not in related:
        insight.related = json.dumps([*related, other_id])
    insight.updated_at = now


_COLUMNS = (
    "id, claim, status, verdict, protocol_key, scope, baseline_fingerprint, "
    "candidate_fingerprint, effect, low, high, confidence, n_seeds, run_ids, related, issue_id"
)
# A claim that replicated comes before one that is open; a difference before the absence of one.
_BY_STRENGTH = (
    "CASE status WHEN 'replicated' THEN 0 WHEN 'open' THEN 1 WHEN 'contradicted' THEN 2 "
    "ELSE 3 END, "
    "verdict = 'indistinguishable', abs(effect) DESC, id"
)


def list_insights(
    connection: Connection,
    *,
    protocol_key: str | None = None,
    status: str | None = None,
    limit: int = NO_LIMIT,
) -> list[InsightView]:
    """Return insights, the strongest first: by status, then by size of the effect.

    Args:
        connection: of `core.store.connect`.
        protocol_key: only claims under this key.
        status: only this status.
        limit: at most so many.
    """
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM insight "  # noqa: S608  # constants of this module only
        "WHERE protocol_key = coalesce(?1, protocol_key) AND status = coalesce(?2, status) "
        f"ORDER BY {_BY_STRENGTH} LIMIT ?3",
        (protocol_key, status, limit),
    )
    return [_view(row) for row in rows]


def show_insight(connection: Connection, insight_id: str) -> InsightView:
    """Return one insight.

    Raises:
        InsightNotFoundError: there is none of this id.
    """
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM insight WHERE id = ?",  # noqa: S608  # a constant of this module
        (insight_id,),
    ).fetchone()
    if row is None:
        raise InsightNotFoundError(f"no insight {insight_id!r}: `arcfusion insights list` has them")
    return _view(row)


def _view(row: Row) -> InsightView:
    fields = dict(row)
    fields["run_ids"] = json.loads(fields["run_ids"])
    fields["related"] = json.loads(fields["related"])
    return InsightView(**fields)
