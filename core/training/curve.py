"""The curve of a training: `curve.jsonl`, one line a step, appended.

A kill may tear the last line; readers and the resumed writer ignore it.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from io import BufferedRandom
from pathlib import Path

CURVE_FILE = "curve.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """What is known after a step.

    Attributes:
        step: optimizer steps done, from 1.
        train_loss: mean cross entropy of the step's batch before its update, nats per token.
        learning_rate: of this step.
        grad_norm: global L2 norm of the gradient before clipping.
        val_loss: mean cross entropy over the validation split after the step, nats per token; None
            when the step was not followed by a validation.
    """

    step: int
    train_loss: float
    learning_rate: float
    grad_norm: float
    val_loss: float | None = None


class CurveWriter:
    """Appends points to a file; first it cuts off what lies past the step resumed at."""

    def __init__(self, path: Path, *, resumed_step: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        kept_bytes = 0
        for line, point in _parse(path):
            if point.step > resumed_step:
                break
            kept_bytes += len(line)
        self._file: BufferedRandom = path.open("rb+")
        self._file.truncate(kept_bytes)
        self._file.seek(kept_bytes)

    def append(self, point: CurvePoint) -> None:
        """Add a point; it may stay in memory until `flush` or `sync`."""
        self._file.write(json.dumps(asdict(point), allow_nan=False).encode() + b"\n")

    def flush(self) -> None:
        """Let other processes see the points."""
        self._file.flush()

    def sync(self) -> None:
        """Make the points survive a power cut."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close the file."""
        self._file.close()


def read_curve(path: Path) -> list[CurvePoint]:
    """Return the whole lines; none when the file does not exist."""
    return [point for _, point in _parse(path)] if path.is_file() else []


def _parse(path: Path) -> Iterator[tuple[bytes, CurvePoint]]:
    """Yield lines and their points up to the first line that is not whole."""
    names = {field.name for field in fields(CurvePoint)}
    with path.open("rb") as file:
        for line in file:
            try:
                values = json.loads(line)
            except ValueError:
                return
            if not line.endswith(b"\n") or not isinstance(values, dict) or set(values) != names:
                return
            yield line, CurvePoint(**values)
