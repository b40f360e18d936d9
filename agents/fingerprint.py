"""What makes two studies the same experiment: all that determines the result, and no name or text.

A dream has no fingerprint: what it will measure depends on its issue and on the lab at that time.
"""

from collections.abc import Mapping

from arcfusion.agents.study import read_architectures, read_study
from arcfusion.core.ids import digest


def fingerprint(metadata: Mapping[str, object]) -> str | None:
    """Return the fingerprint of the comparison that an issue's metadata ask for; else None.

    It covers the architectures at the protocol's vocabulary, which of them is the baseline, the
    protocol with its data, budget and harness, and the seeds. Two specs that are written in
    different ways and build the same net are different here; their runs are shared all the same.

    Raises:
        StudyError: the study is malformed.
        SpecError: a spec does not validate.
    """
    from arcfusion.experiments.protocol import Protocol

    if metadata.get("study") is None:
        return None
    study = read_study(metadata, "", ())
    if study.kind == "dream":
        return None
    protocol = Protocol.load(study.protocol)
    named = read_architectures(study)
    specs = {
        spec.name: spec.with_size(vocab_size=protocol.vocab_size).digest() for spec in named.specs
    }
    baseline = specs.pop(named.baseline)
    return digest(
        {
            "baseline": baseline,
            "challengers": sorted(specs.values()),
            "protocol": protocol.model_dump(mode="json", exclude={"name"}),
            "seeds": study.seeds if isinstance(study.seeds, int) else sorted(study.seeds),
        }
    )
