"""Causality: no logit depends on a later token, another row of the batch, or an earlier call.

Four checks, on the model as built (its own precision) and on a jittered copy (float64 if it can):

- suffix: change every token from a cut on; the logits before the cut stay, for all cuts;
- prefix: the logits of a cut sequence are those of the whole one;
- rows: change one row of the batch; the other rows stay;
- memory: the same ids give the same logits after other ids went through.

Suffix and rows in eval and in train mode, with the generator seeded before each forward, so that
dropout is the same in both. Prefix in eval mode: dropout masks of two lengths have nothing in
common.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from arcfusion.experiments.gates.record import GateResult, Outcome, finite
from arcfusion.experiments.gates.subject import (
    MODES,
    Mode,
    ModelFailedError,
    Probe,
    Subject,
    relative_difference,
)

SHORT = 17
LONG = 65
LONGEST = 129
# Beside the edges of the chunk sizes in use (16, 32, 64, 128), and a few in between.
LONG_CUTS = (1, 9, 15, 16, 17, 31, 32, 33, 41, 48, 57, 63, 64)
LONGEST_CUTS = (64, 100, 127, 128)
PAIR_CUTS = (1, 6, 11, 16)  # each cut in its own forward, of one row or two
RANDOM_LONG_CUTS = (16, 33, 48, 63, 64)
PREFIXES = (1, 2, 3, 8, 15, 16)
LONG_PREFIXES = (33, 63, 64)


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison: how far two logits that have to agree are apart, relative to the largest."""

    difference: float
    limit: float
    what: str

    @property
    def severity(self) -> float:
        """Difference in units of what rounding explains."""
        return self.difference / self.limit


def check(subject: Subject) -> GateResult:
    """Run all checks; the figure is the largest relative difference where there should be none."""
    if subject.vocab_size < 2:
        return _result(Outcome.UNAVAILABLE, None, None, "one token can not be changed into another")
    worst = Finding(0.0, 1.0, "")
    count = 0
    try:
        for finding in examine(subject):
            count += 1
            worst = max(worst, finding, key=lambda f: f.severity)
            if finding.severity > 1:
                break
    except ModelFailedError as error:
        return _result(Outcome.FAIL, None, None, str(error))
    if worst.severity > 1:
        return _result(Outcome.FAIL, worst.difference, worst.limit, worst.what)
    detail = f"{count} comparisons agree: suffix, prefix, rows and memory, in eval and train mode"
    return _result(Outcome.PASS, worst.difference, worst.limit, detail)


def examine(subject: Subject) -> Iterator[Finding]:
    """Yield every comparison, cheap ones first.

    Raises:
        ModelFailedError: a forward raised or gave a wrong shape.
    """
    built, jittered = subject.initial(), subject.jittered()
    for probe, label in ((jittered, "jittered parameters"), (built, "parameters as built")):
        for finding in _examine_probe(subject, probe, thorough=probe is jittered):
            yield Finding(finding.difference, finding.limit, f"{finding.what} ({label})")


def _examine_probe(subject: Subject, probe: Probe, *, thorough: bool) -> Iterator[Finding]:
    yield _memory(subject, probe)
    for mode in MODES:
        yield from _rows(subject, probe, mode)
        yield from _suffix(subject, probe, mode, SHORT, range(1, SHORT), together=True)
        yield from _suffix(subject, probe, mode, SHORT, PAIR_CUTS, together=False)
        yield from _suffix(subject, probe, mode, LONG, LONG_CUTS, together=True)
    if thorough:
        yield from _prefix(subject, probe, SHORT, PREFIXES)
        yield from _prefix(subject, probe, LONG, LONG_PREFIXES)
        if _takes(subject, probe, LONGEST):
            yield from _suffix(subject, probe, "eval", LONGEST, LONGEST_CUTS, together=True)


def _memory(subject: Subject, probe: Probe) -> Finding:
    ids_BT, other_BT = subject.ids(2, SHORT, salt=4), subject.ids(2, SHORT, salt=5)
    first_BTV = probe.forward(ids_BT)
    probe.forward(other_BT)
    again_BTV = probe.forward(ids_BT)
    scale = first_BTV.abs().max().item()
    difference = relative_difference(first_BTV, again_BTV, scale)
    return Finding(
        difference, probe.tolerance, "the same ids and seed give other logits in a later call"
    )


def _rows(subject: Subject, probe: Probe, mode: Mode) -> Iterator[Finding]:
    for length in (1, SHORT):
        ids_BT = subject.ids(3, length, salt=6)
        changed_BT = ids_BT.clone()
        changed_BT[1] = subject.other_ids(ids_BT[1], salt=length)
        # Dropout differs from row to row but not from call to call.
        before_BTV = probe.forward(ids_BT, mode=mode, seed=1)
        after_BTV = probe.forward(changed_BT, mode=mode, seed=1)
        scale = before_BTV.abs().max().item()
        for row in (0, 2):
            difference = relative_difference(before_BTV[row], after_BTV[row], scale)
            what = f"{mode} mode, T={length}: row {row} changes with row 1 of the batch"
            yield Finding(difference, probe.tolerance, what)


def _suffix(
    subject: Subject,
    probe: Probe,
    mode: Mode,
    length: int,
    cuts: Sequence[int],
    *,
    together: bool,
) -> Iterator[Finding]:
    """Compare the logits before each cut; `together` puts all cuts into one batch.

    A forward that draws random numbers has other noise in each row, so there each cut is its own
    pair of forwards, and its own seed: a leak that is open half of the time is met.
    """
    ids_BT = subject.ids(2, length, salt=8)
    is_random = probe.draws_random_numbers(ids_BT, mode=mode)
    if together and not is_random:
        yield from _suffix_together(subject, probe, mode, length, cuts)
        return
    if together and length == LONG:
        cuts = RANDOM_LONG_CUTS
    for cut in cuts:
        kept_BT = ids_BT[: 1 + cut % 2]
        changed_BT = kept_BT.clone()
        changed_BT[:, cut:] = subject.other_ids(kept_BT[:, cut:], salt=cut)
        before_BTV = probe.forward(kept_BT, mode=mode, seed=cut)
        after_BTV = probe.forward(changed_BT, mode=mode, seed=cut)
        scale = before_BTV.abs().max().item()
        difference = relative_difference(before_BTV[:, :cut], after_BTV[:, :cut], scale)
        yield Finding(difference, probe.tolerance, _suffix_text(mode, length, cut))


def _suffix_together(
    subject: Subject, probe: Probe, mode: Mode, length: int, cuts: Sequence[int]
) -> Iterator[Finding]:
    base_T = subject.ids(1, length, salt=9)[0]
    rows = [base_T]
    for cut in cuts:
        changed_T = base_T.clone()
        changed_T[cut:] = subject.other_ids(base_T[cut:], salt=100 + cut)
        rows.append(changed_T)
    logits_BTV = probe.forward(torch.stack(rows), mode=mode)
    scale = logits_BTV.abs().max().item()
    for cut, after_TV in zip(cuts, logits_BTV[1:], strict=True):
        difference = relative_difference(logits_BTV[0, :cut], after_TV[:cut], scale)
        yield Finding(difference, probe.tolerance, _suffix_text(mode, length, cut))


def _suffix_text(mode: Mode, length: int, cut: int) -> str:
    return f"{mode} mode, T={length}: logits before position {cut} change with the tokens after"


def _prefix(
    subject: Subject, probe: Probe, length: int, prefixes: Sequence[int]
) -> Iterator[Finding]:
    ids_BT = subject.ids(2, length, salt=10)
    whole_BTV = probe.forward(ids_BT)
    scale = whole_BTV.abs().max().item()
    for cut in prefixes:
        part_BTV = probe.forward(ids_BT[:, :cut])
        difference = relative_difference(part_BTV, whole_BTV[:, :cut], scale)
        what = f"eval mode, T={length}: the first {cut} tokens alone give other logits"
        yield Finding(difference, probe.tolerance, what)


def _takes(subject: Subject, probe: Probe, length: int) -> bool:
    """Whether the model takes this length; a position table may end before it."""
    try:
        probe.forward(subject.ids(1, length))
    except ModelFailedError:
        return False
    return True


def _result(
    outcome: Outcome, difference: float | None, limit: float | None, detail: str
) -> GateResult:
    return GateResult(
        name="causality",
        outcome=outcome,
        figure=None if difference is None else finite(difference),
        unit="of the largest logit",
        limit=limit,
        detail=detail,
    )
