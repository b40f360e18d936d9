"""What has been measured under one key, as a value: the ground on which hypotheses are proposed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from arcfusion.core.database import Connection
from arcfusion.core.spec import ArchSpec
from arcfusion.experiments.compare import SMALLEST_DEVIATION_BPB
from arcfusion.experiments.insights import InsightView, list_insights
from arcfusion.experiments.leaderboard import ScoredRun, load_scored_runs
from arcfusion.experiments.student import two_sided_quantile

# Of predicted intervals: wide enough to be met four times in five, narrow enough to be missed.
PREDICTION_CONFIDENCE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """An architecture with its scores; `spec` is None for a model file from elsewhere."""

    fingerprint: str
    name: str
    spec: ArchSpec | None
    scores: dict[int, float]
    parameters: int | None
    seconds: float

    @property
    def mean(self) -> float:
        """Mean bits per byte over the seeds."""
        return math.fsum(self.scores.values()) / len(self.scores)

    @property
    def mixers(self) -> frozenset[str]:
        """The kinds of mixer in it."""
        return (
            frozenset(layer.mixer.kind for layer in self.spec.layers) if self.spec else frozenset()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Landscape:
    """All that is known under one key; `tried` holds the digests of failed specs too."""

    key: str
    measured: tuple[Measured, ...]
    tried: frozenset[str]
    insights: tuple[InsightView, ...]

    def best(self) -> Measured | None:
        """Return the one with the lowest mean that has a spec; the fingerprint breaks ties."""
        with_spec = [m for m in self.measured if m.spec is not None]
        return min(with_spec, key=lambda m: (m.mean, m.fingerprint), default=None)

    def find(self, fingerprint: str) -> Measured | None:
        """Return the measured architecture of this fingerprint."""
        return next((m for m in self.measured if m.fingerprint == fingerprint), None)


def load_landscape(connection: Connection, key: str) -> Landscape:
    """Read what was measured under the key.

    Raises:
        SpecError: a stored spec is not one that this version can build.
    """
    groups: dict[str, list[ScoredRun]] = {}
    for run in load_scored_runs(connection, key):
        groups.setdefault(run.fingerprint, []).append(run)
    specs: dict[str, ArchSpec] = {}
    tried: set[str] = set()
    for row in connection.execute(
        "SELECT DISTINCT r.fingerprint, a.id, a.spec FROM run r "
        "JOIN architecture a ON a.fingerprint = r.fingerprint "
        "WHERE r.protocol_key = ? ORDER BY r.fingerprint, a.id",
        (key,),
    ):
        spec = ArchSpec.from_yaml(row["spec"])
        specs.setdefault(row["fingerprint"], spec)
        tried.add(spec.digest())
    measured = [
        Measured(
            fingerprint=fingerprint,
            name=runs[0].name,
            spec=_named(specs.get(fingerprint), runs[0].name),
            scores={run.seed: run.bits_per_byte for run in runs},
            parameters=runs[0].parameters,
            seconds=math.fsum(run.train_seconds or 0.0 for run in runs) / len(runs),
        )
        for fingerprint, runs in sorted(groups.items())
    ]
    return Landscape(
        key=key,
        measured=tuple(measured),
        tried=frozenset(tried),
        insights=tuple(list_insights(connection, protocol_key=key)),
    )


def _named(spec: ArchSpec | None, name: str) -> ArchSpec | None:
    return spec.replaced(name=name[:100]) if spec is not None else None


@dataclass(frozen=True, slots=True)
class Prediction:
    """Where a difference in bits per byte is expected, four times in five."""

    low: float
    high: float


def predict_difference(landscape: Landscape, reference: Measured) -> Prediction | None:
    """Return where a new architecture's difference to the reference is expected.

    About zero, since nobody knows the direction, with the root mean square of the differences that
    the other architectures under the key have to the reference; when there is no other one, with
    the spread of the reference's own seeds. None when the reference is all there is, with one seed:
    a prediction that nothing was measured for is not made.
    """
    effects = [
        m.mean - reference.mean
        for m in landscape.measured
        if m.fingerprint != reference.fingerprint
    ]
    k = len(effects)
    if k >= 1:
        return _interval(0.0, math.fsum(e * e for e in effects) / k, k)
    if len(reference.scores) < 2:
        return None
    return _interval(
        0.0, 2.0 * _variance(list(reference.scores.values())), len(reference.scores) - 1
    )


def predict_replication(insight: InsightView, n_seeds: int) -> Prediction:
    """Return where the insight's effect is expected on so many fresh seeds."""
    quantile = two_sided_quantile(insight.confidence, insight.n_seeds - 1)
    variance = ((insight.high - insight.low) / 2.0 / quantile) ** 2 * insight.n_seeds
    spread = variance * (1 / insight.n_seeds + 1 / n_seeds)
    return _interval(insight.effect, spread, insight.n_seeds - 1)


def fresh_seeds(scores: Sequence[int], n: int) -> tuple[int, ...]:
    """Return the n seeds that follow the highest one used."""
    start = max(scores, default=-1) + 1
    return tuple(range(start, start + n))


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)


def _interval(center: float, variance: float, degrees: int) -> Prediction:
    deviation = max(math.sqrt(variance), SMALLEST_DEVIATION_BPB)
    half = two_sided_quantile(PREDICTION_CONFIDENCE, degrees) * deviation
    return Prediction(center - half, center + half)
