"""The causality gate against models that look ahead, and against models that do not."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from arcfusion.agents.bench.record import Row, at_least, at_most

if TYPE_CHECKING:
    from torch import nn

    from arcfusion.core.spec import ArchSpec

LARGE_PRESETS = ("small", "medium")
# The leaks that the predecessors shipped or that review has found most often.
NAMED_LEAKS = (
    "mask_flipped",
    "mask_after_softmax",
    "symmetric_convolution",
    "bidirectional_scan",
    "mean_over_time",
    "train_only_leak",
)


def measure(quick: bool) -> Iterator[Row]:
    """Count the planted leaks that are caught and the honest presets that are accused."""
    from arcfusion.core.model import LanguageModel
    from arcfusion.core.spec import ArchSpec, preset_names
    from arcfusion.experiments.gates import Outcome, run_gates
    from arcfusion.experiments.gates.planted import PLANTED

    def leaks(model: "nn.Module") -> bool:
        report = run_gates(model, only=("causality",))
        return report.verdict is Outcome.FAIL

    missed = [name for name in NAMED_LEAKS if not leaks(PLANTED[name](64, 32))]
    caught = len(NAMED_LEAKS) - len(missed)
    yield at_least("planted leaks caught, of 6", caught, 6, "leaks", f"missed: {missed or 'none'}")
    more = [name for name in PLANTED if name not in NAMED_LEAKS]
    missed = [name for name in more if not leaks(PLANTED[name](64, 32))]
    yield at_most(
        f"further planted leaks missed, of {len(more)}", len(missed), 0, "leaks", ", ".join(missed)
    )
    honest = [name for name in preset_names() if not (quick and name in LARGE_PRESETS)]
    accused = [n for n in honest if leaks(LanguageModel(_shallow(ArchSpec.preset(n)), seed=0))]
    yield at_most(
        f"false alarms on {len(honest)} presets", len(accused), 0, "models", ", ".join(accused)
    )


def _shallow(spec: "ArchSpec") -> "ArchSpec":
    """Return the preset with at most four layers: more of the same can not leak more."""
    return spec.with_size(vocab_size=64, n_layers=min(len(spec.layers), 4))
