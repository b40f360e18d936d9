"""The learning rate of each step: linear warm-up, then a cosine down to the minimum."""

import math

from arcfusion.core.training.config import TrainingConfig


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the learning rate of a step, counted from 0.

    The warm-up reaches `lr_peak` in its last step (`warmup_steps - 1`); the cosine reaches `lr_min`
    in the last step of the training (`steps - 1`).

    Source: Loshchilov and Hutter, arXiv:1608.03983, without restarts.
    """
    if step < config.warmup_steps:
        return config.lr_peak * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps + 1) / (config.steps - config.warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
    return config.lr_min + (config.lr_peak - config.lr_min) * cosine
