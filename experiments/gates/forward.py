"""G1, forward: logits of the right shape, finite, for every batch and length that the lab uses."""

from arcfusion.experiments.gates.record import GateResult, Outcome
from arcfusion.experiments.gates.subject import MODES, ModelFailedError, Subject, is_finite

# (B, T): one token, odd, even, and one more than the usual chunk of 64.
SHAPES = ((1, 1), (2, 1), (1, 2), (3, 17), (2, 64), (1, 65))


def check(subject: Subject) -> GateResult:
    """Run every shape in eval and train mode; the figure is how many of them were wrong."""
    faults: list[str] = []
    probe = subject.initial()
    for batch_size, length in SHAPES:
        ids_BT = subject.ids(batch_size, length)
        for mode in MODES:
            try:
                logits_BTV = probe.forward(ids_BT, mode=mode)
            except ModelFailedError as error:
                faults.append(str(error))
                continue
            if not is_finite([logits_BTV]):
                faults.append(
                    f"NaN or infinite logits for ids {[batch_size, length]} in {mode} mode"
                )
    return GateResult(
        name="forward",
        outcome=Outcome.FAIL if faults else Outcome.PASS,
        figure=float(len(faults)),
        unit="wrong shapes or values",
        limit=0.0,
        detail=faults[0]
        if faults
        else f"{len(SHAPES)} shapes, eval and train mode: finite [B, T, {subject.vocab_size}]",
    )
