"""Gates: executable checks that a model has to pass before anything is trained on it.

A gate is one file with `check(subject) -> GateResult` and one line in `GATES`. Importing this
package loads no torch; running a gate does.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from arcfusion.core.errors import BadInputError
from arcfusion.experiments.gates.record import (
    GateReport,
    GateReportError,
    GateResult,
    Outcome,
    parse_report,
)

if TYPE_CHECKING:
    from torch import nn

    from arcfusion.experiments.gates.subject import Subject

__all__ = [
    "GATES",
    "OPTIONAL",
    "GateReport",
    "GateReportError",
    "GateResult",
    "Outcome",
    "UnknownGateError",
    "parse_report",
    "run_gates",
]


class UnknownGateError(BadInputError):
    """There is no gate of that name."""


# In the order in which they run: what the others need comes first.
GATES: dict[str, str] = {
    "forward": "arcfusion.experiments.gates.forward:check",
    "entropy": "arcfusion.experiments.gates.entropy:check",
    "causality": "arcfusion.experiments.gates.causality:check",
    "step_parity": "arcfusion.experiments.gates.step_parity:check",
    "gradient_flow": "arcfusion.experiments.gates.gradient_flow:check",
}
# A model file needs no stateful decoding, so there may be nothing to compare.
OPTIONAL = frozenset({"step_parity"})


def load_gate(name: str) -> "Callable[[Subject], GateResult]":
    """Return the gate's `check`."""
    module_name, _, attribute = GATES[name].partition(":")
    check: Callable[[Subject], GateResult] = getattr(import_module(module_name), attribute)
    return check


def run_gates(
    model: "nn.Module",
    *,
    vocab_size: int | None = None,
    seed: int = 0,
    only: Sequence[str] = (),
) -> GateReport:
    """Run the gates on a deep copy of the model.

    The caller's model, its mode and torch's generators are left as they were. Costs 1 to 2 CPU
    seconds for four layers of width 64.

    Args:
        model: maps ids [B, T] (int64) to logits [B, T, V].
        vocab_size: V; read off the logits of one token when not given.
        seed: of ids, noise and jitter; the same seed gives the same report.
        only: names of the gates to run; empty runs all.

    Returns:
        A result for each gate asked for: when `forward` is among them and fails, the others are
        `unavailable`.

    Raises:
        UnknownGateError: `only` has a name that is not in `GATES`.
    """
    import copy

    import torch

    from arcfusion.experiments.gates.subject import ModelFailedError, Subject, device_of

    names = select_gates(only)
    device = device_of(model)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        subject = Subject(copy.deepcopy(model), vocab_size or 0, seed)
        if vocab_size is None:
            try:
                subject = Subject(subject.model, _read_vocab_size(subject.model), seed)
            except ModelFailedError as error:
                return failed_report(names, str(error))
        first = load_gate(names[0])(subject)
        if first.name == "forward" and first.outcome is Outcome.FAIL:
            return GateReport(_stopped(names, first), OPTIONAL)
        rest = [load_gate(name)(subject) for name in names[1:]]
    return GateReport((first, *rest), OPTIONAL)


def select_gates(only: Sequence[str]) -> tuple[str, ...]:
    """Return the named gates in the order in which they run; all when none is named.

    Raises:
        UnknownGateError: a name is not in `GATES`.
    """
    unknown = [name for name in only if name not in GATES]
    if unknown:
        raise UnknownGateError(f"no gate {unknown[0]!r}: there are {', '.join(GATES)}")
    return tuple(name for name in GATES if not only or name in only)


def _read_vocab_size(model: "nn.Module") -> int:
    """Return the last dimension of the logits of token 0."""
    import torch

    from arcfusion.experiments.gates.subject import ModelFailedError, describe, device_of

    ids_BT = torch.zeros(1, 1, dtype=torch.int64, device=device_of(model))
    try:
        with torch.no_grad():
            logits_BTV = model.eval()(ids_BT)
    except Exception as error:
        raise ModelFailedError(f"forward of ids [1, 1] raised {describe(error)}") from error
    if not isinstance(logits_BTV, torch.Tensor) or logits_BTV.dim() != 3:
        raise ModelFailedError("forward of ids [1, 1] gave no tensor of three dimensions")
    return int(logits_BTV.shape[-1])


def failed_report(names: Sequence[str], detail: str) -> GateReport:
    """Return a report in which the first gate failed for this reason and no other could run."""
    failed = GateResult(
        name=names[0],
        outcome=Outcome.FAIL,
        figure=None,
        unit="",
        limit=None,
        detail=detail,
    )
    return GateReport(_stopped(names, failed), OPTIONAL)


def _stopped(names: Sequence[str], failed: GateResult) -> tuple[GateResult, ...]:
    """Return the failed result, and `unavailable` for every gate that needs what failed."""
    detail = f"not run: {failed.name} failed"
    others = (
        GateResult(
            name=name,
            outcome=Outcome.UNAVAILABLE,
            figure=None,
            unit="",
            limit=None,
            detail=detail,
        )
        for name in names
        if name != failed.name
    )
    return (failed, *others)
