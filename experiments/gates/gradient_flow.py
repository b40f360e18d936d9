"""Gradient flow: the loss reaches every trainable parameter.

Judged on the jittered copy: a projection that starts at zero has honest zero gradients behind it.
"""

import torch
from torch.nn import functional

from arcfusion.experiments.gates.record import GateResult, Outcome
from arcfusion.experiments.gates.subject import ModelFailedError, Probe, Subject, describe

BATCH_SIZE, LENGTH = 4, 24
NAMED = 4  # dead parameters named in the detail


def check(subject: Subject) -> GateResult:
    """Count parameters whose gradient is missing, zero everywhere or not finite."""
    probe = subject.jittered()
    total = sum(p.requires_grad for p in probe.model.parameters())
    if total == 0:
        return _result(Outcome.FAIL, None, "no parameter can be trained")
    try:
        dead = find_dead(probe, subject)
    except ModelFailedError as error:
        return _result(Outcome.FAIL, None, str(error))
    if dead:
        more = f" and {len(dead) - NAMED} more" if len(dead) > NAMED else ""
        detail = f"{len(dead)} of {total} get no gradient: {', '.join(dead[:NAMED])}{more}"
        return _result(Outcome.FAIL, float(len(dead)), detail)
    return _result(Outcome.PASS, 0.0, f"all {total} parameters get a finite, non-zero gradient")


def find_dead(probe: Probe, subject: Subject) -> list[str]:
    """Return the names of trainable parameters that the loss does not reach.

    Raises:
        ModelFailedError: forward or backward raised.
    """
    ids_BT = subject.ids(BATCH_SIZE, LENGTH + 1, salt=2)
    logits_BTV = probe.forward(ids_BT[:, :-1], mode="train", gradient=True)
    loss = functional.cross_entropy(logits_BTV.flatten(0, 1), ids_BT[:, 1:].flatten())
    try:
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own method
    except Exception as error:
        raise ModelFailedError(f"backward raised {describe(error)}") from error
    return [
        name
        for name, parameter in probe.model.named_parameters()
        if parameter.requires_grad and not _is_alive(parameter.grad)
    ]


def _is_alive(gradient: torch.Tensor | None) -> bool:
    if gradient is None:
        return False
    return bool(torch.isfinite(gradient).all()) and bool((gradient != 0).any())


def _result(outcome: Outcome, figure: float | None, detail: str) -> GateResult:
    return GateResult(
        name="gradient_flow",
        outcome=outcome,
        figure=figure,
        unit="dead parameters",
        limit=0.0,
        detail=detail,
    )
