"""The confined end of `gates.confined`: builds the model of a file, judges it, writes an answer.

Started as `python -I -c BOOTSTRAP TASK`, with the task as JSON and the answer going to an inherited
descriptor: what the model file prints can not end up in it.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from arcfusion.core.errors import BadInputError
from arcfusion.core.model_file import build_from_file

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the child has to do; a size of None is the model file's default.

    `gates` are the names of those to run; `identity` asks for fingerprint and parameter count.
    """

    path: str
    vocab_size: int | None
    d_model: int | None
    n_layers: int | None
    seed: int
    gates: tuple[str, ...]
    identity: bool
    answer_fd: int

    def to_json(self) -> str:
        """Return the task as the child's one argument."""
        return json.dumps(asdict(self))


def main() -> None:
    """Do the task of `sys.argv[1]`; write what was asked for, or `{"error": ...}`."""
    fields = json.loads(sys.argv[1])
    task = Task(**{**fields, "gates": tuple(fields["gates"])})
    try:
        answer = answer_task(task)
    except BadInputError as error:
        answer = {"error": str(error)}
    with os.fdopen(task.answer_fd, "w") as out:
        out.write(json.dumps(answer))


def answer_task(task: Task) -> dict[str, str | int]:
    """Build the model and return `report`, or `fingerprint` and `parameters`, as asked.

    Raises:
        ModelFileError: the file is no model file or its model can not be built.
        ForwardFailedError: the model has no identity, because it can not be run.
    """
    import torch

    torch.manual_seed(task.seed)
    model = build_from_file(
        Path(task.path),
        vocab_size=task.vocab_size,
        d_model=task.d_model,
        n_layers=task.n_layers,
    )
    answer: dict[str, str | int] = {}
    if task.identity:
        answer |= _identify(model, task)
    if task.gates:
        from arcfusion.experiments.gates import run_gates

        report = run_gates(model, vocab_size=task.vocab_size, seed=task.seed, only=task.gates)
        answer["report"] = report.to_json()
    return answer


def _identify(model: "nn.Module", task: Task) -> dict[str, str | int]:
    from arcfusion.core.identity import fingerprint

    return {
        "fingerprint": fingerprint(model, vocab_size=task.vocab_size),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
