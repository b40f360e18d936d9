"""A candidate: one model that can be gated, trained and compared, whatever it came from.

An ArchSpec (preset or YAML) is built here, in a trusted process, from the lab's own blocks. A model
file from elsewhere is never run here: what is known of it comes from the sandbox.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from arcfusion.core.database import Connection

if TYPE_CHECKING:
    from arcfusion.core.sandbox.strength import Tier
    from arcfusion.core.spec import ArchSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a run needs to know of a model.

    Attributes:
        name: for people; not part of any identity.
        source: the model file's text.
        vocab_size, d_model, n_layers: what its `build` is called with.
        fingerprint: identity of the built model.
        parameters: exact count.
        spec_yaml: the ArchSpec; None for a file from elsewhere.
        flops_per_token: training FLOPs (forward and backward); None for a file from elsewhere.
        state_bytes: recurrent state of one sequence.
        kv_bytes: key-value cache of one sequence at the protocol's context.
    """

    name: str
    source: str
    vocab_size: int
    d_model: int
    n_layers: int
    fingerprint: str
    parameters: int
    spec_yaml: str | None = None
    flops_per_token: float | None = None
    state_bytes: int | None = None
    kv_bytes: int | None = None

    @property
    def code_sha256(self) -> str:
        """SHA-256 of the model file."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    @property
    def architecture_id(self) -> str:
        """Id of its row among the architectures: by what is built, not by its name."""
        from arcfusion.core.library.seeds import architecture_id

        return architecture_id(self.fingerprint)


def candidate_from_spec(spec: "ArchSpec", *, context: int) -> Candidate:
    """Build the spec's model once, for its identity, and write its code."""
    from arcfusion.core.accounting import account
    from arcfusion.core.codegen import generate
    from arcfusion.core.identity import fingerprint
    from arcfusion.core.model import LanguageModel

    costs = account(spec, context=context)
    return Candidate(
        name=spec.name,
        source=generate(spec),
        vocab_size=spec.vocab_size,
        d_model=spec.d_model,
        n_layers=len(spec.layers),
        fingerprint=fingerprint(LanguageModel(spec, seed=0)),
        parameters=costs.parameters,
        spec_yaml=spec.to_yaml(),
        flops_per_token=costs.training_flops_per_token,
        state_bytes=costs.state_bytes,
        kv_bytes=costs.kv_bytes,
    )


def candidate_from_file(
    path: Path, *, vocab_size: int, d_model: int, n_layers: int, tier: "Tier"
) -> Candidate:
    """Learn identity and size of a model file from elsewhere, inside the sandbox.

    The file itself computes what is reported, so a hostile one can claim another model's identity;
    it gains that model's score and nothing else.

    Raises:
        ModelFileError: it is not a model file.
        SandboxTooWeakError: the sandbox is weaker than `tier`.
    """
    from arcfusion.core.model_file import read_model_source
    from arcfusion.experiments.gates.confined import inspect_file

    source = read_model_source(path)
    seen = inspect_file(
        path, vocab_size=vocab_size, d_model=d_model, n_layers=n_layers, required=tier
    )
    return Candidate(
        name=path.stem,
        source=source,
        vocab_size=vocab_size,
        d_model=d_model,
        n_layers=n_layers,
        fingerprint=seen.fingerprint,
        parameters=seen.parameters,
    )


def load_candidate(
    target: str,
    connection: Connection,
    *,
    vocab_size: int,
    context: int,
    d_model: int | None,
    n_layers: int | None,
    tier: "Tier",
) -> Candidate:
    """Return the candidate that a target of the command line names.

    Args:
        target: path of a model file (.py) or a spec (.yaml), or the name of a preset, a known
            engine or an architecture of the lab.
        connection: to the lab's database.
        vocab_size: the protocol's; a spec is rebuilt for it.
        context: tokens of a training sequence, for the accounting.
        d_model: width; None is the spec's own, or the default of the file's `build`, or 64.
        n_layers: layers; None likewise, or 4.
        tier: the weakest sandbox for a model file.

    Raises:
        UnknownTargetError, SpecError, ModelFileError: what is wrong with the target.
    """
    from arcfusion.core.library.catalog import resolve_spec
    from arcfusion.core.model_file import read_model_source, read_sizes

    path = Path(target)
    if path.suffix == ".py":
        own = read_sizes(read_model_source(path))
        return candidate_from_file(
            path,
            vocab_size=vocab_size,
            d_model=d_model or own.d_model,
            n_layers=n_layers or own.n_layers,
            tier=tier,
        )
    spec = resolve_spec(target, connection)
    spec = spec.with_size(vocab_size=vocab_size, d_model=d_model, n_layers=n_layers)
    return candidate_from_spec(spec, context=context)
