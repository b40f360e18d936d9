"""What the supervisor writes into the run's directory: heartbeat, curve, attempts, result."""

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from arcfusion.experiments.runner.request import (
    ATTEMPTS_FILE,
    CURVE_FILE,
    RESULT_FILE,
    STATUS_FILE,
    CurveSample,
    RunFileError,
    RunResult,
)

State = Literal["starting", "training", "scoring", "done", "interrupted", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """The heartbeat: how far a run is.

    Attributes:
        state: "interrupted" goes on when it is launched again; "failed" could not be worked on.
        step: optimizer steps done, as the child says.
        steps: steps of the whole training.
        loss: nats per token of the last step that was reported, as the child says.
        pid: of the supervisor.
        updated_at: UTC, ISO 8601.
        reason: why it is interrupted or failed.
        memory_bytes: resident size of the confined tree.
        sandbox_tier: what holds while the code runs; "" before that is known.
    """

    state: State
    step: int
    steps: int
    loss: float | None
    pid: int
    updated_at: str
    reason: str
    memory_bytes: int
    sandbox_tier: str


def now_text() -> str:
    """The time of day as it is written into files."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def write_status(run_dir: Path, status: RunStatus) -> None:
    """Replace the heartbeat."""
    write_atomically(run_dir / STATUS_FILE, json.dumps(asdict(status)), durable=False)


def read_status(run_dir: Path) -> RunStatus | None:
    """The last heartbeat; None before the first one.

    Raises:
        RunFileError: the file is not a heartbeat.
    """
    try:
        values = json.loads((run_dir / STATUS_FILE).read_text(encoding="utf-8"))
        return RunStatus(**values)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise RunFileError(f"can not read {STATUS_FILE} of {run_dir.name}: {error}") from error


def write_result(run_dir: Path, result: RunResult) -> None:
    """Publish the result; when this returns it survives a power cut."""
    write_atomically(run_dir / RESULT_FILE, result.to_json(), durable=True)


def read_result(run_dir: Path) -> RunResult | None:
    """The result; None while there is none.

    Raises:
        RunFileError: the file is not a result.
    """
    try:
        text = (run_dir / RESULT_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunFileError(f"can not read {RESULT_FILE} of {run_dir.name}: {error}") from error
    return RunResult.from_json(text)


def append_attempt(run_dir: Path, *, pid: int, tier: str) -> int:
    """Note that a supervisor starts to work on the run.

    Returns:
        How many have, with this one.
    """
    path = run_dir / ATTEMPTS_FILE
    number = 1 + (path.read_text(encoding="utf-8").count("\n") if path.exists() else 0)
    line = {"attempt": number, "pid": pid, "started_at": now_text(), "sandbox_tier": tier}
    _append(path, json.dumps(line))
    return number


def append_sample(run_dir: Path, sample: CurveSample) -> None:
    """Add a point to the run's curve."""
    _append(run_dir / CURVE_FILE, json.dumps(asdict(sample)))


def restart_curve(run_dir: Path, *, resumed_step: int) -> list[CurveSample]:
    """Cut the curve at the step that training resumes from, and return what is left of it."""
    path = run_dir / CURVE_FILE
    samples = [one for one in _read_samples(path) if one.step <= resumed_step]
    text = "".join(json.dumps(asdict(sample)) + "\n" for sample in samples)
    write_atomically(path, text, durable=False)
    return samples


def write_atomically(path: Path, text: str, *, durable: bool) -> None:
    """Replace a file: readers see the old or the new one; durable outlives a power cut."""
    # of this thread alone: two that write the same file must not rename each other's
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)
    if durable:
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def _read_samples(path: Path) -> Iterator[CurveSample]:
    """The whole lines; a kill may have torn the last one."""
    names = {field.name for field in fields(CurveSample)}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        with contextlib.suppress(ValueError):
            values = json.loads(line)
            if isinstance(values, dict) and set(values) == names:
                yield CurveSample(**values)
