"""Training one model: steps, validations, checkpoints, and an outcome whatever happens.

A step changes the weights only when its loss and its gradient are finite. A training that was
killed, interrupted or damaged on disk goes on from its newest whole checkpoint, and on the CPU it
ends with the same bits as one that was never interrupted. Shapes: B rows, T context, V vocabulary.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from arcfusion.core.errors import BadInputError
from arcfusion.core.training.clock import Clock, Stopwatch
from arcfusion.core.training.config import TrainingConfig
from arcfusion.core.training.curve import CURVE_FILE, CurvePoint, CurveWriter
from arcfusion.core.training.interruption import Interruption
from arcfusion.core.training.optimizer import AdamW
from arcfusion.core.training.resume import Progress, RunCheckpoints
from arcfusion.core.training.schedule import learning_rate
from arcfusion.core.training.state import model_device, preserved, seed_generators

CHECKPOINTS = "checkpoints"
# A loss of three times the first one (at least 3 nats) is worse than guessing by so much that no
# schedule brings it back within the budget; healthy small models stay below 1.1 times.
DIVERGENCE_FACTOR = 3.0
DIVERGENCE_FLOOR_NATS = 1.0

Status = Literal["completed", "diverged", "interrupted"]
Batches = Callable[[int], tuple[torch.Tensor, torch.Tensor]]


class BatchShapeError(BadInputError):
    """The batches do not have the shape that the configuration states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What a caller is told after every step.

    Attributes:
        point: the step's numbers.
        steps: steps of the whole training.
        tokens: tokens trained on so far.
        train_seconds: training time so far.
    """

    point: CurvePoint
    steps: int
    tokens: int
    train_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOutcome:
    """How a training ended.

    Attributes:
        status: "completed", "diverged" (a number was not finite, or the loss ran away) or
            "interrupted" (resumable).
        reason: why it is not completed; None when it is.
        steps: optimizer steps done.
        tokens: tokens trained on.
        train_seconds: training alone: no start-up, warm-up, validation or checkpoint.
        final_train_loss: nats per token of the last step's batch before its update; None before it.
        resumed_step: step of the checkpoint that this process started from; 0 from the start.
        damaged: checkpoints that were found damaged and passed over, a line each.
    """

    status: Status
    reason: str | None
    steps: int
    tokens: int
    train_seconds: float
    final_train_loss: float | None
    resumed_step: int
    damaged: tuple[str, ...]

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second of training time; 0.0 before the first step."""
        return self.tokens / self.train_seconds if self.train_seconds > 0 else 0.0


class Trainer:
    """Trains a model that maps ids [B, T] to logits [B, T, V]."""

    def __init__(
        self,
        model: nn.Module,
        config: TrainingConfig,
        *,
        batches: Batches,
        seed: int,
        directory: Path | None,
        model_name: str,
        validate: Callable[[int], float | None] | None = None,
        report: Callable[[StepReport], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Take the parts together; nothing is read or written before `run`.

        Args:
            model: at its initial weights, on the device to train on.
            config: the settings.
            batches: inputs and targets [B, T] (int64) of a step, from 0; a pure function.
            seed: seeds the generators that the model may use in training, such as dropout's.
            directory: gets `curve.jsonl` and `checkpoints/`; None keeps nothing.
            model_name: names the checkpoints.
            validate: gets the steps done, returns the validation loss in nats per token or None. It
                runs in eval mode without gradients, and what it draws from the generators is
                undone.
            report: is called after every step.
            clock: measures the training time; by default a stopwatch of this process.
        """
        self._model = model
        self._config = config
        self._batches = batches
        self._seed = seed
        self._directory = directory
        self._validate = validate
        self._report = report
        self._clock: Clock = clock or Stopwatch()
        self._device = model_device(model)
        self._optimizer = AdamW(model, config)
        self._interruption = Interruption()
        self._curve: CurveWriter | None = None
        checkpoints = None if directory is None else directory / CHECKPOINTS
        self._checkpoints = RunCheckpoints(checkpoints, model_name, config, seed)
        self._progress = Progress()
        self._resumed_step = 0
        self._damaged: tuple[str, ...] = ()

    def stop(self, reason: str) -> None:
        """Ask `run` to write a checkpoint and return "interrupted" after the current step."""
        self._interruption.request(reason)

    def run(self) -> TrainingOutcome:
        """Train to the end, from the newest whole checkpoint if there is one.

        SIGINT and SIGTERM stop it as `stop` does. A finished training is not trained again: its
        final weights are loaded.

        Raises:
            ForeignCheckpointError: the directory holds another training.
            BatchShapeError: a batch is not [batch_size, context].
        """
        with _numerics(self._config, self._device), self._interruption.listening():
            seed_generators(self._seed)
            restored = self._checkpoints.restore(self._model, self._optimizer)
            self._progress, self._damaged = restored.progress, restored.damaged
            self._resumed_step = self._progress.step
            if restored.is_final:
                return self._outcome("completed", None)
            self._prepare()
            try:
                return self._train()
            finally:
                if self._curve is not None:
                    self._curve.close()
                    self._curve = None

    def _prepare(self) -> None:
        """Warm up with one pass that leaves no trace, so that no compile is timed; open files."""
        with preserved(self._model):
            self._model.train()
            self._backward(min(self._progress.step, self._config.steps - 1))
            self._optimizer.zero_grad()
        if self._directory is not None:
            path = self._directory / CURVE_FILE
            self._curve = CurveWriter(path, resumed_step=self._progress.step)

    def _train(self) -> TrainingOutcome:
        self._model.train()
        self._clock.start()
        while self._progress.step < self._config.steps:
            if self._interruption.reason is not None:
                self._stop_clock()
                self._save_step()
                return self._outcome("interrupted", self._interruption.reason)
            point, problem = self._advance()
            if problem is not None:
                self._stop_clock()
                return self._outcome("diverged", problem)
            self._after_step(point)
        self._stop_clock()
        if not all(bool(torch.isfinite(p).all()) for p in self._optimizer.parameters):
            return self._outcome("diverged", "the weights after the last step are not finite")
        if self._curve is not None:
            self._curve.sync()
        self._checkpoints.save_final(self._model, self._timed_progress())
        return self._outcome("completed", None)

    def _advance(self) -> tuple[CurvePoint, str | None]:
        """Do one step, or say why it must not be done and leave the weights as they are."""
        step = self._progress.step
        lr = learning_rate(step, self._config)
        loss = self._backward(step)
        norm = self._clip()
        point = CurvePoint(
            step=step + 1, train_loss=float(loss), learning_rate=lr, grad_norm=float(norm)
        )
        problem = self._find_problem(point)
        if problem is None:
            self._optimizer.step(lr)
            self._progress.step = step + 1
            self._progress.last_loss = point.train_loss
        return point, problem

    def _backward(self, step: int) -> torch.Tensor:
        """Return the loss of the step's batch; its gradient is in the parameters."""
        x_BT, y_BT = self._batches(step)
        expected = (self._config.batch_size, self._config.context)
        if x_BT.shape != expected or y_BT.shape != expected:
            raise BatchShapeError(
                f"batch {step} has the shapes {tuple(x_BT.shape)} and {tuple(y_BT.shape)}: the"
                f" configuration states {expected}"
            )
        self._optimizer.zero_grad()
        n_micro = self._config.accumulation
        x_BT, y_BT = x_BT.to(self._device), y_BT.to(self._device)
        if n_micro == 1:
            loss = self._loss(x_BT, y_BT)
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation for it
            return loss.detach()
        total = torch.zeros((), device=self._device)
        for x, y in zip(x_BT.chunk(n_micro), y_BT.chunk(n_micro), strict=True):
            loss = self._loss(x, y) / n_micro
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation for it
            total += loss.detach()
        return total

    def _loss(self, x_BT: torch.Tensor, y_BT: torch.Tensor) -> torch.Tensor:
        if self._config.precision == "bf16":
            with torch.autocast(self._device.type, dtype=torch.bfloat16):
                logits_BTV = self._model(x_BT)
        else:
            logits_BTV = self._model(x_BT)
        return cross_entropy(logits_BTV.flatten(0, 1).float(), y_BT.flatten())

    def _clip(self) -> torch.Tensor:
        largest = self._config.grad_clip or math.inf
        return nn.utils.clip_grad_norm_(self._optimizer.parameters, largest)

    def _find_problem(self, point: CurvePoint) -> str | None:
        if not math.isfinite(point.train_loss):
            return f"the loss of step {point.step} is {point.train_loss}"
        if not math.isfinite(point.grad_norm):
            return f"the gradient norm of step {point.step} is {point.grad_norm}"
        first = self._progress.first_loss
        if first is None:
            first = self._progress.first_loss = point.train_loss
        limit = DIVERGENCE_FACTOR * max(first, DIVERGENCE_FLOOR_NATS)
        if point.train_loss > limit:
            return (
                f"the loss of step {point.step} is {point.train_loss:.4g} nats: more than"
                f" {limit:.4g}, {DIVERGENCE_FACTOR:g} times the first"
            )
        return None

    def _after_step(self, point: CurvePoint) -> None:
        val_loss = self._validate_if_due()
        if val_loss is not None:
            point = replace(point, val_loss=val_loss)
        if self._curve is not None:
            self._curve.append(point)
        if self._report is not None:
            self._report(
                StepReport(
                    point=point,
                    steps=self._config.steps,
                    tokens=self._progress.step * self._config.tokens_per_step,
                    train_seconds=self._train_seconds,
                )
            )
        if self._is_due(self._config.checkpoint_every) and not self._is_last:
            with self._resting():
                self._save_step()

    def _validate_if_due(self) -> float | None:
        is_due = self._is_last or self._is_due(self._config.validate_every)
        if self._validate is None or not is_due:
            return None
        with self._resting(), preserved(self._model), torch.no_grad():
            self._model.eval()
            return self._validate(self._progress.step)

    def _is_due(self, every: int) -> bool:
        return every > 0 and self._progress.step % every == 0

    @property
    def _is_last(self) -> bool:
        return self._progress.step == self._config.steps

    def _save_step(self) -> None:
        # The curve goes first: after a kill every step before the checkpoint has its line.
        if self._curve is not None:
            self._curve.sync()
        self._checkpoints.save_step(self._model, self._optimizer, self._timed_progress())

    @contextlib.contextmanager
    def _resting(self) -> Iterator[None]:
        """Stop the clock meanwhile."""
        self._stop_clock()
        yield
        self._clock.start()

    def _stop_clock(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._clock.stop()

    @property
    def _train_seconds(self) -> float:
        return self._progress.train_seconds + self._clock.seconds

    def _timed_progress(self) -> Progress:
        return replace(self._progress, train_seconds=self._train_seconds)

    def _outcome(self, status: Status, reason: str | None) -> TrainingOutcome:
        return TrainingOutcome(
            status=status,
            reason=reason,
            steps=self._progress.step,
            tokens=self._progress.step * self._config.tokens_per_step,
            train_seconds=self._train_seconds,
            final_train_loss=self._progress.last_loss,
            resumed_step=self._resumed_step,
            damaged=self._damaged,
        )


@contextlib.contextmanager
def _numerics(config: TrainingConfig, device: torch.device) -> Iterator[None]:
    """Set the threads and, on a CPU with more than one of them, deterministic algorithms.

    One thread computes in one order, so it needs no such mode, whose switch imports torch._inductor
    (1.5 CPU seconds). On a GPU the mode costs speed, and nothing promises equal bits.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        if config.threads > 1 and device.type == "cpu":
            with _deterministic():
                yield
        else:
            yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    was_on = torch.are_deterministic_algorithms_enabled()
    was_warning = torch.is_deterministic_algorithms_warn_only_enabled()
    # Any: the attribute is a property of the module, which torch does not annotate.
    settings: Any = torch.utils.deterministic
    was_filling = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    # Filling what torch.empty returns is for debugging, and is paid for at every allocation.
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=was_warning)
        settings.fill_uninitialized_memory = was_filling
