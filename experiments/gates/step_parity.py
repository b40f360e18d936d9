"""Step parity: decoding one token at a time gives the logits of the whole sequence at once.

Only for models with `initial_state(batch_size)` and `step(ids_B, state) -> (logits_BV, state)`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from arcfusion.experiments.gates.record import GateResult, Outcome, finite
from arcfusion.experiments.gates.subject import (
    ModelFailedError,
    Probe,
    Subject,
    describe,
    relative_difference,
)

BATCH_SIZE, LENGTH = 2, 19


def check(subject: Subject) -> GateResult:
    """Compare on the jittered copy; the figure is the largest difference over the largest logit."""
    if not all(callable(getattr(subject.model, n, None)) for n in ("initial_state", "step")):
        return GateResult(
            name="step_parity",
            outcome=Outcome.UNAVAILABLE,
            figure=None,
            unit="of the largest logit",
            limit=None,
            detail="the model has no initial_state and step: decoding can not be compared",
        )
    probe = subject.jittered()
    try:
        difference = measure(probe, subject)
        detail = f"{LENGTH} steps against one forward, in {str(probe.dtype).removeprefix('torch.')}"
    except ModelFailedError as error:
        difference, detail = float("inf"), str(error)
    return GateResult(
        name="step_parity",
        outcome=Outcome.PASS if difference <= probe.tolerance else Outcome.FAIL,
        figure=finite(difference),
        unit="of the largest logit",
        limit=probe.tolerance,
        detail=detail,
    )


def measure(probe: Probe, subject: Subject) -> float:
    """Return max|step - forward| over the largest logit; infinite when a value is not finite.

    Raises:
        ModelFailedError: forward, `initial_state` or `step` raised or gave another shape.
    """
    ids_BT = subject.ids(BATCH_SIZE, LENGTH, salt=3)
    expected_BTV = probe.forward(ids_BT)
    stepped_BTV = _decode(probe, ids_BT)
    if stepped_BTV.shape != expected_BTV.shape:
        raise ModelFailedError(
            f"steps gave {list(stepped_BTV.shape)}, the forward {list(expected_BTV.shape)}"
        )
    return relative_difference(stepped_BTV, expected_BTV, expected_BTV.abs().max().item())


def _decode(probe: Probe, ids_BT: Tensor) -> Tensor:
    initial_state: Callable[..., object] = getattr(probe.model, "initial_state")  # noqa: B009 - nn.Module types attributes as modules
    step: Callable[..., tuple[Tensor, object]] = getattr(probe.model, "step")  # noqa: B009 - same
    try:
        with torch.no_grad():
            state = initial_state(ids_BT.shape[0])
            rows = []
            for t in range(ids_BT.shape[1]):
                logits_BV, state = step(ids_BT[:, t], state)
                rows.append(logits_BV)
            return torch.stack(rows, dim=1)
    except Exception as error:
        raise ModelFailedError(f"decoding step by step raised {describe(error)}") from error
