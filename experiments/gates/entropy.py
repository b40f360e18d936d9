"""G2, entropy: an untrained model knows nothing, and says so.

On random ids the loss of a fresh model is ln V. Below it: the model sees its targets. Above it, or
with a sharp softmax: an initialisation that spends the training on unlearning (tied N(0, 1)
embeddings start at an entropy of 18% of ln V).
"""

import math

import torch

from arcfusion.experiments.gates.record import GateResult, Outcome, finite
from arcfusion.experiments.gates.subject import ModelFailedError, Subject, is_finite

BATCH_SIZE, LENGTH = 8, 64
# Every band is two-sided or closed at one end by the figure's own range: no value is undefined.
LOSS_PASS, LOSS_WARN = 0.02, 0.10  # |loss / ln V - 1|, at most
ENTROPY_PASS, ENTROPY_WARN = 0.95, 0.90  # entropy / ln V, at least
PEAK_PASS, PEAK_WARN = 0.2, 0.5  # largest probability, below


def check(subject: Subject) -> GateResult:
    """Judge loss, entropy and largest probability; the worst of the three decides."""
    try:
        loss, entropy, peak = measure(subject)
    except ModelFailedError as error:
        return _result(Outcome.FAIL, None, str(error))
    ln_v = math.log(subject.vocab_size)
    deviation = loss / ln_v - 1
    detail = (
        f"loss {loss:.4f} against ln V {ln_v:.4f}, entropy {entropy / ln_v:.1%} of ln V, "
        f"largest probability {peak:.3f}"
    )
    return _result(judge(deviation, entropy / ln_v, peak, subject.vocab_size), deviation, detail)


def measure(subject: Subject) -> tuple[float, float, float]:
    """Return loss (nats a token), mean entropy (nats) and largest probability on random ids.

    Raises:
        ModelFailedError: the forward failed or gave a value that is not finite.
    """
    ids_BT = subject.ids(BATCH_SIZE, LENGTH + 1, salt=1)
    logits_BTV = subject.initial().forward(ids_BT[:, :-1]).double()
    if not is_finite([logits_BTV]):
        raise ModelFailedError("NaN or infinite logits of the untrained model")
    log_p_BTV = torch.log_softmax(logits_BTV, dim=-1)
    loss = -log_p_BTV.gather(-1, ids_BT[:, 1:, None]).mean().item()
    entropy = -(log_p_BTV.exp() * log_p_BTV).sum(-1).mean().item()
    return loss, entropy, log_p_BTV.max().exp().item()


def judge(deviation: float, entropy_ratio: float, peak: float, vocab_size: int) -> Outcome:
    """Return the worst of the three bands; a vocabulary under 10 may peak at twice uniform."""
    floor = 2 / vocab_size
    bands = (
        _band(abs(deviation), LOSS_PASS, LOSS_WARN),
        _band(-entropy_ratio, -ENTROPY_PASS, -ENTROPY_WARN),
        _band(peak, max(PEAK_PASS, floor), max(PEAK_WARN, floor)),
    )
    for worst in (Outcome.FAIL, Outcome.WARN):
        if worst in bands:
            return worst
    return Outcome.PASS


def _band(value: float, up_to_pass: float, up_to_warn: float) -> Outcome:
    if value <= up_to_pass:
        return Outcome.PASS
    return Outcome.WARN if value <= up_to_warn else Outcome.FAIL


def _result(outcome: Outcome, deviation: float | None, detail: str) -> GateResult:
    return GateResult(
        name="entropy",
        outcome=outcome,
        figure=None if deviation is None else finite(abs(deviation)),
        unit="|loss / ln V - 1|",
        limit=LOSS_PASS,
        detail=detail,
    )
