"""What the lab designs: dreams that build, code equal to the model, identity that means the net."""

import importlib.util
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from arcfusion.agents.bench.record import Row, at_least, at_most

if TYPE_CHECKING:
    from arcfusion.core.spec import ArchSpec

WORKERS = 2


def random_specs(n: int, *, seed: int) -> "list[ArchSpec]":
    """Return n dreamed specs, no two of which build the same net; the same seed, the same specs."""
    from arcfusion.core.composer import dream

    return [one.spec for one in dream("random", seed=seed, n=n)]


def measure_dreams(quick: bool) -> Iterator[Row]:
    """Build random dreams and put each through the forward and causality gates."""
    n_batches, size = (1, 10) if quick else (40, 25)
    failures: list[str] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(WORKERS, os.cpu_count() or 1), mp_context=context) as pool:
        for found in pool.map(judge_batch, range(n_batches), [size] * n_batches):
            failures += found
    n = n_batches * size
    yield at_least(
        "random dreams that build and pass forward + causality",
        100 * (n - len(failures)) / n,
        99,
        "%",
        f"{n - len(failures)} of {n} {failures[:1] or ''}".strip(),
    )


def judge_batch(seed: int, size: int) -> list[str]:
    """Dream a batch and return the specs that do not build or do not pass."""
    import torch

    from arcfusion.core.model import LanguageModel
    from arcfusion.experiments.gates import Outcome, run_gates

    torch.set_num_threads(1)
    specs = random_specs(size, seed=seed)
    failures = ["no spec: the strategy repeats itself"] * (size - len(specs))
    for spec in specs:
        report = run_gates(LanguageModel(spec, seed=0), only=("forward", "causality"))
        if report.verdict is not Outcome.PASS:
            failures.append(f"{spec.canonical()}: {report.results}")
    return failures


def measure_codegen(quick: bool) -> Iterator[Row]:
    """Compare the generated file's logits with the model's, given the same weights."""
    import torch

    from arcfusion.core.codegen import generate
    from arcfusion.core.model import LanguageModel

    n = 20 if quick else 200
    worst = 0.0
    for spec in random_specs(n, seed=12):
        model = LanguageModel(spec, seed=1).eval()
        twin = load_generated(generate(spec)).build().eval()
        twin.load_state_dict(model.state_dict(), strict=True)
        ids_BT = torch.randint(
            0, spec.vocab_size, (2, 33), generator=torch.Generator().manual_seed(2)
        )
        with torch.no_grad():
            worst = max(worst, float((model(ids_BT) - twin(ids_BT)).abs().max()))
    yield at_most("generated code against the model, max abs difference", worst, 0, "", f"n={n}")


def load_generated(source: str) -> "_Generated":
    """Import generated code that this process wrote from a spec (never code from elsewhere)."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "generated_model.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("generated_model", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module  # type: ignore[return-value]  # a module that defines build()


if TYPE_CHECKING:
    from torch import nn

    class _Generated:
        """What a generated file defines."""

        @staticmethod
        def build(vocab_size: int = ..., d_model: int = ..., n_layers: int = ...) -> nn.Module:
            """Return the model."""
