"""The process that trains: it runs the model's code, and nothing that it says is trusted.

It reads the training tokens alone. It tells what it claims about itself, when its clock runs, and
when it wants to be validated; the supervisor measures the time and makes the score.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from arcfusion.core.data.dataset import open_prepared, train_batch
from arcfusion.core.model_file import build_from_file
from arcfusion.core.training.checkpoint import save_checkpoint
from arcfusion.core.training.clock import Stopwatch
from arcfusion.core.training.config import TrainingConfig
from arcfusion.core.training.state import model_tensors, seed_generators
from arcfusion.core.training.trainer import Batches, StepReport, Trainer
from arcfusion.experiments.runner.channel import Channel
from arcfusion.experiments.runner.request import (
    MODEL_FILE,
    WORK_DIRECTORY,
    RunRequest,
    read_request,
)

VALIDATION_CHECKPOINT = "validation"
_REPORT_INTERVAL_S = 0.05


class ReportingClock:
    """Tells the supervisor, whose clock counts, when training goes on and when it rests."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._own = Stopwatch()

    def start(self) -> None:
        """Training goes on from here."""
        self._channel.send("clock", {"running": True})
        self._own.start()

    def stop(self) -> None:
        """Training rests from here."""
        self._own.stop()
        self._channel.send("clock", {"running": False})

    @property
    def seconds(self) -> float:
        """This process's own count, for its own reports."""
        return self._own.seconds


class Reporter:
    """Sends the first step, the last, each checkpoint's, and some between."""

    def __init__(self, channel: Channel, config: TrainingConfig) -> None:
        self._channel = channel
        self._config = config
        self._sent_at_s = -1.0

    def __call__(self, report: StepReport) -> None:
        """Send the step, or leave it out."""
        step = report.point.step
        every = (self._config.checkpoint_every, self._config.validate_every)
        is_due = step == report.steps or any(n > 0 and step % n == 0 for n in every)
        now_s = time.monotonic()
        if is_due or self._sent_at_s < 0 or now_s - self._sent_at_s > _REPORT_INTERVAL_S:
            self._sent_at_s = now_s
            self._channel.send("step", {"step": step, "train_loss": report.point.train_loss})


def train(run_dir: Path, channel: Channel, restricted: bool) -> None:  # noqa: FBT001  # a Role
    """Train the run's model to its end, or until SIGTERM.

    Args:
        run_dir: the run.
        channel: to the supervisor.
        restricted: not used: this process keeps its writable directory.
    """
    del restricted
    request = read_request(run_dir)
    torch.set_num_threads(request.training.threads)
    seed_generators(request.seed)
    model = build_from_file(
        run_dir / MODEL_FILE,
        vocab_size=request.vocab_size,
        d_model=request.d_model,
        n_layers=request.n_layers,
    )
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    channel.send(
        "hello", {"parameters": parameters, "torch_version": torch.__version__, "device": "cpu"}
    )
    work = run_dir / WORK_DIRECTORY
    outcome = Trainer(
        model,
        request.training,
        batches=_read_batches(run_dir, request),
        seed=request.seed,
        directory=work,
        model_name=request.checkpoint_label,
        validate=_ask_for_validation(model, work, channel, last_step=request.training.steps),
        report=Reporter(channel, request.training),
        clock=ReportingClock(channel),
    ).run()
    channel.send(
        "ended",
        {
            "status": outcome.status,
            "reason": outcome.reason or "",
            "steps": outcome.steps,
            "resumed_step": outcome.resumed_step,
            "damaged": len(outcome.damaged),
            "train_seconds": outcome.train_seconds,
            "final_train_loss": outcome.final_train_loss,
        },
    )


def _read_batches(run_dir: Path, request: RunRequest) -> Batches:
    prepared = open_prepared(run_dir)

    def batches(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        x_BT, y_BT = train_batch(
            prepared,
            step,
            batch_size=request.training.batch_size,
            context=request.training.context,
            seed=request.seed,
        )
        return torch.from_numpy(x_BT), torch.from_numpy(y_BT)

    return batches


def _ask_for_validation(
    model: nn.Module, work: Path, channel: Channel, *, last_step: int
) -> Callable[[int], None]:
    def validate(step: int) -> None:
        # the supervisor scores the final weights anyway
        if step < last_step:
            save_checkpoint(
                work / VALIDATION_CHECKPOINT, VALIDATION_CHECKPOINT, model_tensors(model), {}
            )
            channel.send("validate", {"step": step})
            channel.receive()

    return validate
