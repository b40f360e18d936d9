"""How a run ended, and the result that is written about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from arcfusion.core.sandbox.tier import TierReport
from arcfusion.experiments.runner.causality import CausalityReport
from arcfusion.experiments.runner.conversation import Claims
from arcfusion.experiments.runner.evaluator import Score
from arcfusion.experiments.runner.request import CurveSample, Outcome, RunRequest, RunResult
from arcfusion.experiments.runner.weights import FinalWeights


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How the run ended, and what was measured before.

    Attributes:
        outcome: see `RunResult`.
        reason: likewise.
        score: None without a valid one.
        weights: the final ones; None without.
        causality: None unless it was checked.
    """

    outcome: Outcome
    reason: str = ""
    score: Score | None = None
    weights: FinalWeights | None = None
    causality: CausalityReport | None = None


def compose_result(
    request: RunRequest,
    verdict: Verdict,
    claims: Claims,
    *,
    curve: Sequence[CurveSample],
    train_seconds: float,
    sandbox: TierReport,
    peak_memory_bytes: int,
    wall_seconds: float,
    attempts: int,
) -> RunResult:
    """Put together what was measured; see `RunResult` for the meaning of each part."""
    score, causality = verdict.score, verdict.causality
    tokens = claims.steps * request.training.tokens_per_step
    return RunResult(
        run_id=request.run_id,
        outcome=verdict.outcome,
        reason=verdict.reason,
        steps=claims.steps,
        tokens=tokens,
        train_seconds=train_seconds,
        tokens_per_s=tokens / train_seconds if train_seconds > 0 else 0.0,
        val_loss_nats=score.loss_nats if score else None,
        bits_per_byte=score.bits_per_byte if score else None,
        perplexity=score.perplexity if score else None,
        curve=tuple(curve),
        parameters=claims.parameters,
        weights_sha256=verdict.weights.sha256 if verdict.weights else None,
        sandbox_tier=sandbox.tier,
        sandbox_detail=sandbox.reason,
        peak_memory_bytes=peak_memory_bytes,
        wall_seconds=wall_seconds,
        device=claims.device,
        torch_version=claims.torch_version,
        causality_gap=causality.future_gap if causality else None,
        reported=dict(claims.numbers),
        attempts=attempts,
    )
