"""Does the lab call noise a finding, and does it miss a difference that is there?

A/A: an architecture is compared with itself, each side with seeds of its own; whatever is then
called better is called so by mistake. Planted: the same seeds on both sides, and one side trains
half as long; a comparison that never says "better" would win the first row and lose this one. The
scores are the runner's: the whole validation split, by the same evaluator.
"""

import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from arcfusion.agents.bench.record import Row, at_least, at_most, spread

if TYPE_CHECKING:
    from arcfusion.core.spec import ArchSpec
    from arcfusion.core.training.config import TrainingConfig
    from arcfusion.experiments.compare import PairedComparison
    from arcfusion.experiments.protocol import Protocol

PROTOCOL = "smoke"
FIRST_PLANTED_SEED = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is trained.

    Attributes:
        n_null: A/A comparisons.
        n_planted: comparisons of a whole training with half of one.
        n_seeds: paired seeds of a comparison.
        allowed: A/A comparisons that may be called better.
        workers: processes that train, one thread each; no more than the machine has cores.
    """

    n_null: int
    n_planted: int
    n_seeds: int
    allowed: int
    workers: int


FULL = Extent(n_null=40, n_planted=5, n_seeds=4, allowed=2, workers=2)
QUICK = Extent(n_null=4, n_planted=1, n_seeds=3, allowed=1, workers=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training and its score. A value that goes to a worker process.

    Attributes:
        spec: what is trained.
        training: how.
        seed: of the initial weights and of the order of the batches.
        data_directory: prepared data.
    """

    spec: "ArchSpec"
    training: "TrainingConfig"
    seed: int
    data_directory: Path


@dataclass(frozen=True, slots=True)
class Sides:
    """The trainings of one comparison; those at the same place are a pair."""

    baseline: tuple[Job, ...]
    candidate: tuple[Job, ...]


def measure(quick: bool) -> Iterator[Row]:
    """Count A/A comparisons that are called better, and planted differences that are found."""
    from arcfusion.core.spec import ArchSpec
    from arcfusion.experiments.protocol import Protocol

    extent = QUICK if quick else FULL
    protocol = Protocol.load(PROTOCOL)
    training = protocol.training
    if quick:
        training = replace(training, steps=10, batch_size=8, warmup_steps=1)
        protocol = protocol.model_copy(update={"validation_fraction": 0.01})
    # 360 trainings of the mha preset itself take 20 minutes on two cores.
    spec = ArchSpec.preset("mha").with_size(d_model=32, n_layers=2)
    with tempfile.TemporaryDirectory() as name:
        job = Job(spec=spec, training=training, seed=0, data_directory=Path(name, "data"))
        _prepare(protocol, job.data_directory)
        workers = min(extent.workers, os.cpu_count() or 1)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            null = compare_all(pool, plan_null(job, extent))
            yield judge_null(null, extent, training)
            planted = compare_all(pool, plan_planted(job, extent))
            yield judge_planted(planted, training)


def plan_null(job: Job, extent: Extent) -> list[Sides]:
    """Plan comparisons of a training with itself; no seed is used twice."""
    sides = []
    for pair in range(extent.n_null):
        first = 2 * pair * extent.n_seeds
        jobs = [replace(job, seed=first + i) for i in range(2 * extent.n_seeds)]
        sides.append(Sides(tuple(jobs[::2]), tuple(jobs[1::2])))
    return sides


def plan_planted(job: Job, extent: Extent) -> list[Sides]:
    """Plan comparisons of the whole training with half of one, on common seeds."""
    half = replace(job.training, steps=job.training.steps // 2)
    sides = []
    for pair in range(extent.n_planted):
        first = FIRST_PLANTED_SEED + pair * extent.n_seeds
        jobs = [replace(job, seed=first + i) for i in range(extent.n_seeds)]
        sides.append(Sides(tuple(replace(one, training=half) for one in jobs), tuple(jobs)))
    return sides


def compare_all(pool: Executor, sides: Sequence[Sides]) -> "list[PairedComparison]":
    """Train everything in the pool and compare each baseline with its candidate."""
    from arcfusion.experiments.compare import compare_paired

    jobs = [job for one in sides for job in (*one.baseline, *one.candidate)]
    scores = iter(pool.map(train_and_score, jobs))
    comparisons = []
    for one in sides:
        baseline = {place: next(scores) for place in range(len(one.baseline))}
        candidate = {place: next(scores) for place in range(len(one.candidate))}
        comparisons.append(compare_paired(baseline, candidate))
    return comparisons


def train_and_score(job: Job) -> float:
    """Train in this process and return bits per byte of the whole validation split."""
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from arcfusion.core.data.dataset import open_prepared, train_batch, validation_windows
    from arcfusion.core.model import LanguageModel
    from arcfusion.core.training.trainer import Trainer
    from arcfusion.experiments.runner.evaluator import score_windows

    config = job.training
    torch.set_num_threads(config.threads)
    prepared = open_prepared(job.data_directory)
    model = LanguageModel(job.spec, seed=job.seed)

    def batches(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        x_BT, y_BT = train_batch(
            prepared, step, batch_size=config.batch_size, context=config.context, seed=job.seed
        )
        return torch.from_numpy(x_BT), torch.from_numpy(y_BT)

    outcome = Trainer(
        model, config, batches=batches, seed=job.seed, directory=None, model_name="noise"
    ).run()
    assert outcome.status == "completed", outcome.reason

    def serve(ids_BT: NDArray[np.int64]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = model(torch.from_numpy(ids_BT)).numpy()
        return logits

    model.eval()
    windows = validation_windows(prepared, config.context)
    with torch.inference_mode():
        score = score_windows(
            serve,
            windows,
            order_N=np.arange(len(windows.inputs)),
            vocab_size=job.spec.vocab_size,
        )
    return score.bits_per_byte


def judge_null(
    comparisons: "Sequence[PairedComparison]", extent: Extent, training: "TrainingConfig"
) -> Row:
    """Return the A/A row."""
    better = sum(one.verdict == "better" for one in comparisons)
    worse = sum(one.verdict == "worse" for one in comparisons)
    return at_most(
        f"A/A comparisons called better, of {len(comparisons)}",
        better,
        extent.allowed,
        "comparisons",
        f"called worse: {worse}; {_describe(comparisons, training)}",
    )


def judge_planted(comparisons: "Sequence[PairedComparison]", training: "TrainingConfig") -> Row:
    """Return the row of the planted differences: all of them are to be found."""
    found = sum(one.verdict == "better" for one in comparisons)
    return at_least(
        f"planted differences found, of {len(comparisons)}",
        found,
        len(comparisons),
        "comparisons",
        f"against half the steps; {_describe(comparisons, training)}",
    )


def _describe(comparisons: "Sequence[PairedComparison]", training: "TrainingConfig") -> str:
    one = comparisons[0]
    differences = [c.mean_difference for c in comparisons]
    return (
        f"{one.n} paired seeds, confidence {one.confidence:g}, {PROTOCOL} protocol,"
        f" {training.steps} steps, mha d_model 32 x 2 layers; mean differences in bits/byte:"
        f" {spread(differences)}"
    )


def _prepare(protocol: "Protocol", directory: Path) -> None:
    from arcfusion.core.data.corpus import load_corpus
    from arcfusion.core.data.dataset import prepare
    from arcfusion.core.data.tokenizer import ByteTokenizer

    prepare(
        load_corpus(protocol.data, directory.parent / "cache"),
        ByteTokenizer(),
        n_tracks=protocol.n_tracks,
        directory=directory,
        validation_fraction=protocol.validation_fraction,
        context=protocol.training.context,
    )
