"""The measured figures: name, unit and direction of each, defined once.

How a figure is computed stands with its definition in `core.training.metrics`; what is derived from
several figures (efficiency) stands here. Standard library alone: listings import it.
"""

import math
from dataclasses import dataclass
from typing import Literal

BITS_PER_BYTE = "bits_per_byte"
PERPLEXITY = "perplexity"
VALIDATION_LOSS = "val_loss_nats"
TRAIN_SECONDS = "train_seconds"
TOKENS_PER_S = "tokens_per_s"
TOKENS = "tokens"
STEPS = "steps"
PEAK_MEMORY = "peak_memory_bytes"
CAUSALITY_GAP = "causality_gap"

EFFICIENCY_UNIT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDefinition:
    """What a figure means: its unit, and which direction is the better one."""

    name: str
    unit: str
    better: Literal["lower", "higher", "neither"]
    meaning: str


METRICS: dict[str, MetricDefinition] = {
    definition.name: definition
    for definition in (
        MetricDefinition(
            name=BITS_PER_BYTE,
            unit="bit/byte",
            better="lower",
            meaning="cross entropy over the whole validation split, per byte of text; the score",
        ),
        MetricDefinition(
            name=PERPLEXITY,
            unit="1",
            better="lower",
            meaning="exp of the cross entropy per token over the same windows",
        ),
        MetricDefinition(
            name=VALIDATION_LOSS,
            unit="nat/token",
            better="lower",
            meaning="cross entropy per token over the same windows",
        ),
        MetricDefinition(
            name=TRAIN_SECONDS,
            unit="s",
            better="lower",
            meaning="training time alone: no download, start-up, compile, warm-up or validation",
        ),
        MetricDefinition(
            name=TOKENS_PER_S,
            unit="token/s",
            better="higher",
            meaning="trained tokens over the training time",
        ),
        MetricDefinition(name=TOKENS, unit="token", better="neither", meaning="trained tokens"),
        MetricDefinition(name=STEPS, unit="step", better="neither", meaning="optimiser steps"),
        MetricDefinition(
            name=PEAK_MEMORY,
            unit="byte",
            better="lower",
            meaning="largest resident memory of the training process",
        ),
        MetricDefinition(
            name=CAUSALITY_GAP,
            unit="logit",
            better="lower",
            meaning="largest change of a trained model's logit when only later tokens changed",
        ),
    )
}


def compute_efficiency(perplexity: float, train_seconds: float) -> float:
    """Return perplexity x sqrt(seconds / 300): lower is better; comparable inside one key only."""
    return perplexity * math.sqrt(train_seconds / EFFICIENCY_UNIT_S)
