"""The checkpoints of one training: written while it runs, found again when it goes on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from arcfusion.core.errors import BadInputError
from arcfusion.core.training.checkpoint import (
    Checkpoint,
    CheckpointNotFoundError,
    DamagedCheckpointError,
    Json,
    checkpoint_name,
    find_newest,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from arcfusion.core.training.config import TrainingConfig
from arcfusion.core.training.optimizer import AdamW
from arcfusion.core.training.state import (
    capture_generators,
    model_tensors,
    restore_generators,
    restore_model,
    restore_training,
    training_tensors,
)


class ForeignCheckpointError(BadInputError):
    """The directory holds a training with another configuration or seed."""


@dataclass(slots=True)
class Progress:
    """How far a training is.

    Attributes:
        step: optimizer steps done.
        train_seconds: training time of the processes before this one.
        first_loss: nats per token of the first step's batch; None before it.
        last_loss: nats per token of the last step's batch; None before the first.
    """

    step: int = 0
    train_seconds: float = 0.0
    first_loss: float | None = None
    last_loss: float | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """What was found on disk.

    Attributes:
        progress: the progress that was restored; that of a fresh training when there was none.
        is_final: whether the training had ended, and the final weights are in the model.
        damaged: a line for each checkpoint that was found damaged and passed over.
    """

    progress: Progress
    is_final: bool
    damaged: tuple[str, ...]


class RunCheckpoints:
    """Saves and restores one training; without a directory it keeps nothing."""

    def __init__(
        self, directory: Path | None, model_name: str, config: TrainingConfig, seed: int
    ) -> None:
        # A name that can not be written must fail now, not at the first checkpoint.
        self._final_name = checkpoint_name(model_name, None)
        self._directory = directory
        self._model_name = model_name
        self._config = config
        self._identity: dict[str, Json] = {**config.to_dict(), "seed": seed}

    def save_step(self, model: nn.Module, optimizer: AdamW, progress: Progress) -> None:
        """Write what the training needs to go on; older checkpoints are pruned afterwards."""
        if self._directory is None:
            return
        name = checkpoint_name(self._model_name, progress.step)
        record = {**self._record(progress), "generators": capture_generators()}
        save_checkpoint(self._directory, name, training_tensors(model, optimizer), record)
        prune_checkpoints(self._directory, self._model_name, self._config.keep_checkpoints)

    def save_final(self, model: nn.Module, progress: Progress) -> None:
        """Write the weights, under the names of the state dict."""
        if self._directory is not None:
            record = self._record(progress)
            save_checkpoint(self._directory, self._final_name, model_tensors(model), record)

    def restore(self, model: nn.Module, optimizer: AdamW) -> Restored:
        """Restore the final weights, else the newest whole step checkpoint, else nothing.

        Raises:
            ForeignCheckpointError: the checkpoint is of another training.
        """
        if self._directory is None:
            return Restored(Progress(), is_final=False, damaged=())
        damaged: list[str] = []
        try:
            final = load_checkpoint(self._directory, self._final_name)
        except CheckpointNotFoundError:
            pass
        except DamagedCheckpointError as error:
            damaged.append(str(error))
        else:
            self._check_identity(final)
            restore_model(model, final.tensors)
            return Restored(_read_progress(final.record), is_final=True, damaged=())
        newest = find_newest(self._directory, self._model_name)
        damaged += newest.damaged
        if newest.checkpoint is None:
            return Restored(Progress(), is_final=False, damaged=tuple(damaged))
        self._check_identity(newest.checkpoint)
        restore_training(model, optimizer, newest.checkpoint.tensors)
        generators = newest.checkpoint.record["generators"]
        assert isinstance(generators, dict)
        restore_generators(generators)
        progress = _read_progress(newest.checkpoint.record)
        return Restored(progress, is_final=False, damaged=tuple(damaged))

    def _record(self, progress: Progress) -> dict[str, Json]:
        return {
            "identity": self._identity,
            "step": progress.step,
            "train_seconds": progress.train_seconds,
            "first_loss": progress.first_loss,
            "last_loss": progress.last_loss,
        }

    def _check_identity(self, checkpoint: Checkpoint) -> None:
        saved = checkpoint.record.get("identity")
        if saved == self._identity:
            return
        found = saved if isinstance(saved, dict) else {}
        differing = [key for key, value in self._identity.items() if found.get(key) != value]
        raise ForeignCheckpointError(
            f"{checkpoint.name} is of another training: {', '.join(differing)} differ; train in"
            " another directory, or delete the checkpoints in this one"
        )


def _read_progress(record: Mapping[str, Json]) -> Progress:
    """Return the numbers of a record, whose checksum says that this module wrote it."""
    step, train_seconds = record["step"], record["train_seconds"]
    first_loss, last_loss = record["first_loss"], record["last_loss"]
    assert isinstance(step, int)
    assert isinstance(train_seconds, float)
    assert first_loss is None or isinstance(first_loss, float)
    assert last_loss is None or isinstance(last_loss, float)
    return Progress(step, train_seconds, first_loss, last_loss)
