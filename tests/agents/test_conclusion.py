"""This fails when verdicts are turned into the wrong outcome, or evidence names other runs."""

from dataclasses import dataclass

import pytest

from arcfusion.agents.assignment import Measured
from arcfusion.agents.conclusion import judge
from arcfusion.experiments.tables import ComparisonRecord
from arcfusion.issues.states import Outcome


@dataclass
class Named:
    name: str
    fingerprint: str


MEASURED = Measured(
    plan=None,
    protocol=None,
    candidates=(Named("base", "fp0"), Named("a", "fp1"), Named("b", "fp2")),
    refused={},
    run_ids=(),
    comparison_ids=(),
    insight_ids=(),
)


def comparison(candidate: str, verdict: str, low: float | None = -0.2) -> ComparisonRecord:
    return ComparisonRecord(
        id=candidate,
        protocol_key="k",
        baseline_fingerprint="fp0",
        candidate_fingerprint=candidate,
        baseline_run_ids='["r1"]',
        candidate_run_ids='["r2"]',
        seeds="[0]",
        n=4,
        confidence=0.99,
        mean_difference=-0.1,
        low=low,
        high=None if low is None else 0.1,
        verdict=verdict,
        reason="",
        created_at=0.0,
    )


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        (["better", "worse"], Outcome.DONE),
        (["worse", "worse"], Outcome.NEGATIVE),
        (["worse", "indistinguishable"], Outcome.INCONCLUSIVE),
        (["indistinguishable"], Outcome.INCONCLUSIVE),
        ([], Outcome.FAILED),
    ],
)
def test_the_verdicts_decide_the_outcome(verdicts: list[str], outcome: Outcome) -> None:
    made = [comparison(f"fp{i}", verdict) for i, verdict in enumerate(verdicts, start=1)]
    found, reason = judge(made, MEASURED)
    assert found is outcome
    assert reason


def test_the_reason_names_each_side_with_its_interval() -> None:
    _, reason = judge([comparison("fp1", "better")], MEASURED)
    assert reason == ("against base: a is better (-0.1000 [-0.2000, +0.1000] bits per byte, n=4)")
    _, reason = judge([comparison("fp2", "indistinguishable", low=None)], MEASURED)
    assert "no interval" in reason
