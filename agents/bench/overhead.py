"""What the trainer costs over the loop that a user would write by hand.

Both train the same model from the same weights on the same batches, in turns, in one process, so
that a change of the machine's load meets both. Shapes: B rows, T context.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from arcfusion.agents.bench.record import Row, at_least, spread, unmeasured
from arcfusion.agents.bench.thread import one_thread

if TYPE_CHECKING:
    import torch

    from arcfusion.core.model import LanguageModel
    from arcfusion.core.training.config import TrainingConfig

NAME = "trainer tokens/s against a bare loop"
BAR = 0.95
LARGEST_DIFFERENCE = 1e-5


@dataclass(frozen=True, slots=True)
class Timed:
    """One loop: seconds from the end of its first step to the end of the last, and its last loss.

    The first step is left out: AdamW allocates its moments in it.
    """

    seconds: float
    final_loss: float


def measure(quick: bool) -> Iterator[Row]:
    """Time pairs of the bare loop and the trainer; the median of the ratios counts."""
    from arcfusion.experiments.protocol import Protocol

    n_pairs, steps = (2, 5) if quick else (16, 20)
    config = replace(Protocol.load("smoke").training, steps=steps, warmup_steps=2)
    batches = make_batches(config)
    with one_thread():
        pairs = [_time_pair(config, batches, bare_first=i % 2 == 0) for i in range(n_pairs)]
    yield judge(pairs, config)


def judge(pairs: list[tuple[Timed, Timed]], config: "TrainingConfig") -> Row:
    """Return the row for pairs of (bare, trainer); without a figure when they did other work."""
    difference = max(abs(bare.final_loss - trainer.final_loss) for bare, trainer in pairs)
    if not difference <= LARGEST_DIFFERENCE:
        why = f"the last losses of the two loops differ by {difference:.3g} nats"
        return unmeasured(NAME, "x", f">= {BAR:g}", why)
    ratios = [bare.seconds / trainer.seconds for bare, trainer in pairs]
    tokens = config.tokens_per_step * (config.steps - 1)
    bare_rate, rate = (
        statistics.median(tokens / one.seconds for one in side) for side in zip(*pairs, strict=True)
    )
    return at_least(
        NAME,
        statistics.median(ratios),
        BAR,
        "x",
        f"{spread(ratios)}; {rate:.0f} against {bare_rate:.0f} tokens/s, mha d_model 64 x 4 layers,"
        f" {config.steps} steps of {config.batch_size} x {config.context}, one thread;"
        f" last losses differ by {difference:.1g}",
    )


def make_batches(config: "TrainingConfig") -> "list[tuple[torch.Tensor, torch.Tensor]]":
    """Draw inputs and targets [B, T] of every step beforehand: loading them is no part of this."""
    import torch

    generator = torch.Generator().manual_seed(0)
    shape = (config.steps, config.batch_size, config.context + 1)
    ids = torch.randint(0, 256, shape, generator=generator)
    return [(window[:, :-1], window[:, 1:]) for window in ids]


def run_bare_loop(
    model: "LanguageModel",
    config: "TrainingConfig",
    batches: "list[tuple[torch.Tensor, torch.Tensor]]",
) -> Timed:
    """Train with torch alone."""
    import torch
    from torch.nn.functional import cross_entropy
    from torch.nn.utils import clip_grad_norm_

    from arcfusion.core.training.optimizer import is_decayed
    from arcfusion.core.training.schedule import learning_rate

    groups: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
    for parameter in model.parameters():
        groups[is_decayed(parameter)].append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {"params": groups[True], "weight_decay": config.weight_decay},
            {"params": groups[False], "weight_decay": 0.0},
        ],
        betas=(config.beta1, config.beta2),
        fused=True,
    )
    model.train()
    started = last_loss = 0.0
    for step, (x_BT, y_BT) in enumerate(batches):
        if step == 1:
            started = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        optimizer.zero_grad()
        loss = cross_entropy(model(x_BT).flatten(0, 1), y_BT.flatten())
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation for it
        clip_grad_norm_(model.parameters(), config.grad_clip)
        optimizer.step()
        last_loss = loss.item()
    return Timed(time.perf_counter() - started, last_loss)


def run_trainer(
    model: "LanguageModel",
    config: "TrainingConfig",
    batches: "list[tuple[torch.Tensor, torch.Tensor]]",
) -> Timed:
    """Train with the lab's trainer, which writes its curve as it does in a run."""
    from arcfusion.core.training.trainer import StepReport, Trainer

    times: list[float] = []

    def note(report: StepReport) -> None:
        del report
        times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as directory:
        outcome = Trainer(
            model,
            config,
            batches=batches.__getitem__,
            seed=0,
            directory=Path(directory),
            model_name="overhead",
            report=note,
        ).run()
    assert outcome.status == "completed", outcome.reason
    assert outcome.final_train_loss is not None
    return Timed(times[-1] - times[0], outcome.final_train_loss)


def _time_pair(
    config: "TrainingConfig",
    batches: "list[tuple[torch.Tensor, torch.Tensor]]",
    *,
    bare_first: bool,
) -> tuple[Timed, Timed]:
    from arcfusion.core.model import LanguageModel
    from arcfusion.core.spec import ArchSpec

    spec = ArchSpec.preset("mha")
    models = [LanguageModel(spec, seed=0) for _ in range(2)]
    if bare_first:
        bare = run_bare_loop(models[0], config, batches)
        return bare, run_trainer(models[1], config, batches)
    trainer = run_trainer(models[1], config, batches)
    return run_bare_loop(models[0], config, batches), trainer
