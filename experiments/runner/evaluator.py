"""The score: cross entropy of logits that came over a pipe, against labels that never left.

Shapes: B windows of a message, N windows, T context, V vocabulary.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcfusion.core.data.dataset import ValidationWindows
from arcfusion.core.metric import (
    InvalidLogitsError,
    bits_per_byte,
    cross_entropy_numpy,
    perplexity,
)

Serve = Callable[[NDArray[np.int64]], NDArray[np.float32]]
# 64 windows of 64 tokens over bytes: larger batches are slower on a CPU (a scan by half).
_MESSAGE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Quality on the whole validation split.

    Attributes:
        loss_nats: mean cross entropy of the counted targets, nats per token.
        bits_per_byte: total cross entropy in bits, over the bytes of text.
        perplexity: exp(loss_nats); inf when that is too large for a float.
        kept: logits [T, V] of the windows that the caller asked to keep, by their index.
    """

    loss_nats: float
    bits_per_byte: float
    perplexity: float
    kept: Mapping[int, NDArray[np.float32]]


def windows_per_message(context: int, vocab_size: int) -> int:
    """How many windows fit in one message of logits (about 4 MB); at least 1."""
    return max(1, _MESSAGE_BYTES // (context * vocab_size * 4))


def score_windows(
    serve: Serve,
    windows: ValidationWindows,
    *,
    order_N: NDArray[np.int64],
    vocab_size: int,
    keep: frozenset[int] = frozenset(),
) -> Score:
    """Score all windows, in the given order.

    Args:
        serve: ids [B, T] -> logits [B, T, V] of the confined model.
        windows: the whole split.
        order_N: a permutation of the windows.
        vocab_size: V.
        keep: windows whose logits are returned.

    Raises:
        InvalidLogitsError: a logit is not finite.
    """
    size = windows_per_message(windows.inputs.shape[1], vocab_size)
    total_nats, kept = 0.0, {}
    for start in range(0, len(order_N), size):
        rows = order_N[start : start + size]
        logits_BTV = serve(np.ascontiguousarray(windows.inputs[rows]))
        require_finite(logits_BTV)
        total_nats += float(
            cross_entropy_numpy(logits_BTV, windows.targets[rows], windows.mask[rows]).sum()
        )
        kept.update({int(n): logits_BTV[b].copy() for b, n in enumerate(rows) if int(n) in keep})
    loss = total_nats / int(windows.mask.sum())
    return Score(
        loss_nats=loss,
        bits_per_byte=bits_per_byte(total_nats, windows.n_bytes),
        perplexity=perplexity(loss),
        kept=kept,
    )


def require_finite(logits_BTV: NDArray[np.float32]) -> None:
    """Refuse logits that are not numbers.

    Raises:
        InvalidLogitsError: one is NaN or infinite.
    """
    bad = int(np.count_nonzero(~np.isfinite(logits_BTV)))
    if bad:
        raise InvalidLogitsError(f"{bad} of {logits_BTV.size} logits of a batch are not finite")
