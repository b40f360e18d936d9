"""Is what was scored a causal function of its input? Trusted checks on the served model.

They run in a fresh process that has never seen the windows whole, on windows and cuts drawn with a
generator that the confined code can not know: a model that looked at later tokens while it was
scored can not repeat the same logits without them. Shapes: K windows, T context, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arcfusion.experiments.runner.evaluator import Serve, require_finite, windows_per_message

_MAX_WINDOWS = 12
_KEPT_BYTES = 48 << 20
# Relative to the logits' size. Kernels round differently for other shapes (1e-6 for attention, up
# to 1e-4 for long scans); an advantage that a score can show needs far more.
TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalityReport:
    """What changed when it should not, relative to the largest logit (at least 1).

    Attributes:
        repeat_gap: the same windows again, in other batches, by a fresh process.
        future_gap: earlier logits, after later tokens were replaced or cut off.
        windows: how many were checked.
    """

    repeat_gap: float
    future_gap: float
    windows: int

    def find_problem(self) -> str | None:
        """Why the score does not count; None when it does."""
        # first: what mixes rows of a batch also changes when another row's future does
        if self.repeat_gap > TOLERANCE:
            return (
                f"logits of a window change by {self.repeat_gap:.2g} of their size in another "
                f"batch (at most {TOLERANCE:g} is rounding): they depend on more than the window"
            )
        if self.future_gap > TOLERANCE:
            return (
                f"earlier logits change by {self.future_gap:.2g} of their size when later tokens "
                f"change (at most {TOLERANCE:g} is rounding): the model looks ahead"
            )
        return None


def choose_windows(
    n_windows: int, context: int, vocab_size: int, generator: np.random.Generator
) -> frozenset[int]:
    """Draw the windows whose logits are kept for the check."""
    affordable = max(2, _KEPT_BYTES // (context * vocab_size * 4))
    count = min(_MAX_WINDOWS, affordable, n_windows)
    return frozenset(int(n) for n in generator.choice(n_windows, size=count, replace=False))


def check_causality(
    serve: Serve,
    x_NT: NDArray[np.int64],
    scored: Mapping[int, NDArray[np.float32]],
    *,
    vocab_size: int,
    generator: np.random.Generator,
) -> CausalityReport:
    """Compare the logits of the score with logits under a changed or missing future.

    Args:
        serve: a fresh process of the same weights.
        x_NT: all windows.
        scored: logits [T, V] of the chosen windows.
        vocab_size: V.
        generator: draws the cuts and the replacements.

    Raises:
        InvalidLogitsError: a logit is not finite.
    """
    rows = np.array(sorted(scored), dtype=np.int64)
    generator.shuffle(rows)
    context = x_NT.shape[1]
    cuts = generator.integers(1, context, size=len(rows)) if context > 1 else np.ones(len(rows))
    changed = x_NT[rows].copy()
    for k, cut in enumerate(cuts):
        changed[k, int(cut) :] = generator.integers(0, vocab_size, size=context - int(cut))
    size = windows_per_message(context, vocab_size)
    future_gap = repeat_gap = 0.0
    for start in range(0, len(rows), size):
        logits_BTV = serve(changed[start : start + size])
        require_finite(logits_BTV)
        for b, row in enumerate(rows[start : start + size]):
            cut = int(cuts[start + b])
            future_gap = max(future_gap, _gap(logits_BTV[b, :cut], scored[int(row)][:cut]))
    for k in range(min(2, len(rows))):
        cut = int(cuts[k])
        prefix_1TV = serve(np.ascontiguousarray(x_NT[rows[k : k + 1], :cut]))
        require_finite(prefix_1TV)
        future_gap = max(future_gap, _gap(prefix_1TV[0], scored[int(rows[k])][:cut]))
    for k in range(len(rows)):
        again_1TV = serve(np.ascontiguousarray(x_NT[rows[k : k + 1]]))
        require_finite(again_1TV)
        repeat_gap = max(repeat_gap, _gap(again_1TV[0], scored[int(rows[k])]))
    return CausalityReport(repeat_gap=repeat_gap, future_gap=future_gap, windows=len(rows))


def _gap(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    scale = max(1.0, float(np.abs(expected).max()))
    return float(np.abs(found - expected).max()) / scale
