"""What the supervisor and its confined processes say to each other, from the supervisor's side.

Everything that comes is untrusted: numbers that a child says are kept as claims; time, score and
checks are made here. Shapes: B windows, T context, V vocabulary.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from arcfusion.core.data.dataset import ValidationWindows
from arcfusion.core.metric import InvalidLogitsError
from arcfusion.experiments.runner.channel import (
    Channel,
    ChannelClosedError,
    Message,
    ProtocolViolationError,
)
from arcfusion.experiments.runner.confinement import Confinement, Worker
from arcfusion.experiments.runner.ending import RunEndedError
from arcfusion.experiments.runner.evaluator import Score, Serve, score_windows
from arcfusion.experiments.runner.stopwatch import TrainingStopwatch

T = TypeVar("T")


@dataclass(slots=True)
class Claims:
    """What the training process says about itself.

    Attributes:
        status: how its trainer ended; None while it trains.
        reason: likewise.
        steps: optimizer steps done.
        resumed_step: the checkpoint's step it started from.
        parameters: trainable parameters.
        device: where it trains.
        torch_version: of its torch.
        numbers: further claims.
    """

    status: str | None = None
    reason: str = ""
    steps: int = 0
    resumed_step: int = 0
    parameters: int | None = None
    device: str | None = None
    torch_version: str | None = None
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Who is told about a training.

    Attributes:
        on_step: (step, claimed training loss or None).
        on_validate: (step) -> None, scores the weights that the child has just saved.
    """

    on_step: Callable[[int, float | None], None]
    on_validate: Callable[[int], None]


def hear_training(
    worker: Worker,
    stopwatch: TrainingStopwatch,
    listener: Listener,
    claims: Claims,
    *,
    steps: int,
    max_validations: int,
) -> None:
    """Follow a training to its end.

    Args:
        worker: the training process.
        stopwatch: is started and stopped as the child says.
        listener: is told.
        claims: is filled in with what the process says about itself.
        steps: of the whole training; it can not have done more.
        max_validations: more of them than the settings explain are refused.

    Raises:
        ChannelClosedError: the process is gone.
        ProtocolViolationError: it said something that is not in the protocol.
    """
    validations = 0
    while claims.status is None:
        message = worker.channel.receive()
        match message.kind:
            case "hello":
                _hear_hello(claims, message)
            case "clock" if message.fields.get("running") is True:
                stopwatch.start()
            case "clock":
                stopwatch.stop()
            case "step":
                claims.steps = message.integer("step", largest=steps)
                listener.on_step(claims.steps, _loss(message))
            case "validate":
                validations += 1
                if validations > max_validations:
                    raise ProtocolViolationError(f"more than {max_validations} validations")
                started_s = time.monotonic()
                listener.on_validate(message.integer("step", largest=steps))
                stopwatch.exclude(time.monotonic() - started_s)
                worker.channel.send("go on")
            case "ended":
                stopwatch.stop()
                _hear_end(claims, message, steps=steps)
            case kind:
                raise ProtocolViolationError(f"an unknown message {kind[:40]!r}")


def open_scorer(confinement: Confinement, *, directory: str, name: str) -> Worker:
    """Start a new process that serves the weights of a checkpoint.

    Raises:
        RunEndedError: it did not get so far.
    """
    worker = confinement.fork("score")
    try:
        worker.channel.send("load", {"directory": directory, "name": name})
        kind = worker.channel.receive().kind
    except ChannelClosedError as error:
        worker.channel.close()
        raise confinement.explain(worker) from error
    except ProtocolViolationError as error:
        worker.channel.close()
        raise RunEndedError("invalid", str(error)) from error
    if kind != "ready":
        worker.channel.close()
        raise RunEndedError("invalid", f"the scoring process said {kind[:40]!r} at its start")
    return worker


def serving(channel: Channel, vocab_size: int) -> Serve:
    """The served model as a function: ids [B, T] -> logits [B, T, V]."""

    def serve(ids_BT: NDArray[np.int64]) -> NDArray[np.float32]:
        channel.send("windows", {}, ids_BT)
        message = channel.receive()
        expected = (*ids_BT.shape, vocab_size)
        array = message.array
        if message.kind != "logits" or array is None:
            raise ProtocolViolationError(f"{message.kind[:40]!r} instead of logits")
        if array.dtype != np.float32 or array.shape != expected:
            raise InvalidLogitsError(
                f"logits of shape {array.shape} for ids of shape {ids_BT.shape}: "
                f"they must be {expected}"
            )
        return array.astype(np.float32, copy=False)

    return serve


def use_scorer(
    confinement: Confinement,
    task: Callable[[Serve], T],
    *,
    directory: str,
    name: str,
    vocab_size: int,
) -> T:
    """Run a task against a new process that serves a checkpoint, and end that process.

    Raises:
        RunEndedError: the process died, or its logits can not be used.
    """
    worker = open_scorer(confinement, directory=directory, name=name)
    try:
        return task(serving(worker.channel, vocab_size))
    except ChannelClosedError as error:
        raise confinement.explain(worker) from error
    except (InvalidLogitsError, ProtocolViolationError) as error:
        raise RunEndedError("invalid", str(error)) from error
    finally:
        worker.channel.close()


def score_all(
    serve: Serve,
    windows: ValidationWindows,
    *,
    vocab_size: int,
    order_seed: str,
    keep: frozenset[int] = frozenset(),
) -> Score:
    """Score the whole split in a shuffled order.

    The order is a function of `order_seed`: a window's logits round differently in other batches,
    and a score has to be reproducible to the last digit. What must stay unknown to the child is
    `keep`.
    """
    seed = int.from_bytes(hashlib.sha256(order_seed.encode()).digest()[:16], "big")
    order_N = np.random.default_rng(seed).permutation(len(windows.inputs))
    return score_windows(serve, windows, order_N=order_N, vocab_size=vocab_size, keep=keep)


def _hear_hello(claims: Claims, message: Message) -> None:
    claims.parameters = message.integer("parameters")
    claims.device = message.text("device", limit=100)
    claims.torch_version = message.text("torch_version", limit=100)


def _hear_end(claims: Claims, message: Message, *, steps: int) -> None:
    status = message.text("status")
    if status not in {"completed", "diverged", "interrupted"}:
        raise ProtocolViolationError(f"an end of status {status[:40]!r}")
    claims.status, claims.reason = status, message.text("reason")
    claims.steps = message.integer("steps", largest=steps)
    claims.resumed_step = message.integer("resumed_step", largest=steps)
    for name in ("train_seconds", "final_train_loss", "damaged"):
        if message.fields.get(name) is not None:
            claims.numbers[name] = message.number(name)


def _loss(message: Message) -> float | None:
    value = message.fields.get("train_loss")
    return None if value is None else message.number("train_loss")
