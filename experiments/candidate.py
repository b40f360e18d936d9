"""A candidate: one model that can be gated, trained and compared, whatever it came from.

An ArchSpec (preset or YAML) is built here, in a trusted process, from the lab's own blocks. A model
file from elsewhere is never run here: what is known of it comes from the sandbox.
"""

import ast
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from arcfusion.core.errors import BadInputError

if TYPE_CHECKING:
    from arcfusion.core.sandbox.strength import Tier
    from arcfusion.core.spec import ArchSpec

DEFAULT_D_MODEL = 64
DEFAULT_LAYERS = 4


class TargetError(BadInputError):
    """The target is not a model file, a spec or a preset."""


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


def load_spec(target: str) -> "ArchSpec":
    """Return the ArchSpec that a preset's name or a YAML file's path names.

    Raises:
        TargetError: there is no such preset or file.
        SpecError: the file's content is not a spec.
    """
    from arcfusion.core.spec import ArchSpec, preset_names

    if target in preset_names():
        return ArchSpec.preset(target)
    path = Path(target)
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        return ArchSpec.from_yaml(path.read_text())
    raise TargetError(
        f"{target!r} is not a model file (.py), a spec (.yaml) or a preset: "
        f"presets are {', '.join(preset_names())}"
    )


def load_candidate(
    target: str,
    *,
    vocab_size: int,
    context: int,
    d_model: int | None,
    n_layers: int | None,
    tier: "Tier",
) -> Candidate:
    """Return the candidate that a target of the command line names.

    Args:
        target: path of a model file (.py) or a spec (.yaml), or a preset's name.
        vocab_size: the protocol's; a spec is rebuilt for it.
        context: tokens of a training sequence, for the accounting.
        d_model: width; None is the spec's own or the default in the file's `build`, else 64.
        n_layers: layers; None likewise, else 4.
        tier: the weakest sandbox for a model file.

    Raises:
        TargetError, SpecError, ModelFileError: what is wrong with the target.
    """
    path = Path(target)
    if path.suffix == ".py":
        if not path.is_file():
            raise TargetError(f"there is no file {target!r}")
        own = _read_defaults(path)
        return candidate_from_file(
            path,
            vocab_size=vocab_size,
            d_model=d_model or own.get("d_model", DEFAULT_D_MODEL),
            n_layers=n_layers or own.get("n_layers", DEFAULT_LAYERS),
            tier=tier,
        )
    spec = load_spec(target)
    spec = spec.with_size(vocab_size=vocab_size, d_model=d_model, n_layers=n_layers)
    return candidate_from_spec(spec, context=context)


def _read_defaults(path: Path) -> dict[str, int]:
    """Return the literal defaults of the file's `build`, without running it."""
    from arcfusion.core.model_file import read_model_source

    tree = ast.parse(read_model_source(path))
    build = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "build")
    positional = build.args.args
    pairs = [
        *zip(
            positional[len(positional) - len(build.args.defaults) :],
            build.args.defaults,
            strict=True,
        ),
        *zip(build.args.kwonlyargs, build.args.kw_defaults, strict=True),
    ]
    return {
        argument.arg: default.value
        for argument, default in pairs
        if isinstance(default, ast.Constant) and type(default.value) is int
    }
