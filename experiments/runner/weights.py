"""The final weights as the supervisor finds them, where untrusted code has written."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from arcfusion.experiments.runner.ending import RunEndedError
from arcfusion.experiments.runner.request import WORK_DIRECTORY

CHECKPOINT_DIRECTORY = "checkpoints"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalWeights:
    """A final checkpoint.

    Attributes:
        name: file name without a suffix.
        sha256: of the tensor file.
    """

    name: str
    sha256: str


def find_final_weights(run_dir: Path, label: str) -> FinalWeights:
    """Hash the final weights of a training that says it is completed.

    Args:
        run_dir: the run.
        label: the model's name in its checkpoints.

    Raises:
        RunEndedError: there is no such regular file.
    """
    name = f"ckpt_{label}_final"
    path = run_dir / WORK_DIRECTORY / CHECKPOINT_DIRECTORY / f"{name}.safetensors"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise RunEndedError("invalid", f"no final weights: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RunEndedError("invalid", "the final weights are not a regular file")
        return FinalWeights(name=name, sha256=hashlib.file_digest(file, "sha256").hexdigest())
