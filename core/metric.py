"""The lab's measures of a language model: one definition each, with unit and direction.

numpy alone, because the trusted evaluator scores logits without torch; the file travels in a run's
directory. Shapes: N windows, T positions, V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from arcfusion.core.errors import ArcFusionError

_EFFICIENCY_REFERENCE_S = 300.0


class InvalidLogitsError(ArcFusionError):
    """The logits are not finite numbers of the shape [N, T, V]."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What a number means.

    Attributes:
        name: how it is stored and printed.
        unit: of the number; "1" when it has none.
        better: the direction in which a model is better.
        definition: how it is computed, in one sentence.
    """

    name: str
    unit: str
    better: Literal["lower", "higher"]
    definition: str


VAL_LOSS = Metric(
    "val_loss_nats",
    "nats/token",
    "lower",
    "mean cross entropy over every predicted token of the whole validation split",
)
BITS_PER_BYTE = Metric(
    "bits_per_byte",
    "bits/byte",
    "lower",
    "summed cross entropy of the validation split in bits, per byte of text predicted",
)
PERPLEXITY = Metric("perplexity", "1", "lower", "exp of the mean cross entropy in nats per token")
TRAIN_SECONDS = Metric(
    "train_seconds",
    "s",
    "lower",
    "time in optimizer steps: no start-up, warm-up, validation or checkpoint",
)
TOKENS_PER_S = Metric("tokens_per_s", "tokens/s", "higher", "tokens trained on per train_seconds")
EFFICIENCY = Metric(
    "efficiency",
    "1",
    "lower",
    "perplexity times sqrt(train_seconds / 300 s); ranked inside one comparability key only",
)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (VAL_LOSS, BITS_PER_BYTE, PERPLEXITY, TRAIN_SECONDS, TOKENS_PER_S, EFFICIENCY)
}


def cross_entropy_numpy(
    logits_NTV: NDArray[np.floating],
    targets_NT: NDArray[np.integer],
    mask_NT: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Return the summed cross entropy of each window, [N], in nats, computed in float64.

    Args:
        logits_NTV: unnormalised log probabilities.
        targets_NT: token ids in [0, V).
        mask_NT: which targets count; None counts all.

    Raises:
        InvalidLogitsError: the shapes do not fit, or a logit that counts is not finite.
    """
    if logits_NTV.ndim != 3 or logits_NTV.shape[:2] != targets_NT.shape:
        raise InvalidLogitsError(
            f"logits have the shape {logits_NTV.shape}: targets of the shape {targets_NT.shape}"
            " need [N, T, V]"
        )
    counts_NT = np.ones(targets_NT.shape, np.bool_) if mask_NT is None else mask_NT
    logits = logits_NTV.astype(np.float64)
    if not np.isfinite(logits[counts_NT]).all():
        raise InvalidLogitsError("a logit is not finite")
    logits[~counts_NT] = 0.0
    largest_NT1 = logits.max(axis=-1, keepdims=True)
    log_sum_NT = np.log(np.exp(logits - largest_NT1).sum(axis=-1)) + largest_NT1[..., 0]
    chosen_NT = np.take_along_axis(logits, targets_NT[..., None].astype(np.int64), axis=-1)[..., 0]
    sums_N: NDArray[np.float64] = np.where(counts_NT, log_sum_NT - chosen_NT, 0.0).sum(axis=-1)
    return sums_N


def bits_per_byte(nats_sum: float, n_bytes: int) -> float:
    """Return bits per byte of text from the summed cross entropy in nats."""
    return nats_sum / (math.log(2.0) * n_bytes)


def perplexity(nats_per_token: float) -> float:
    """Return exp of the mean cross entropy; infinity when it does not fit a float."""
    try:
        return math.exp(nats_per_token)
    except OverflowError:
        return math.inf


def efficiency(perplexity_value: float, train_seconds: float) -> float:
    """Return perplexity times sqrt(train_seconds / 300 s); lower is better."""
    return perplexity_value * math.sqrt(train_seconds / _EFFICIENCY_REFERENCE_S)
