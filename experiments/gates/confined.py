"""Gates and identity of a model file that nobody has read: found out inside the sandbox.

The model shares a process with the gates there, so a hostile file could write its own answer. The
answer says whether a file is worth a training; whether its result is true is decided afterwards by
the runner's trusted evaluator, which has the labels and never runs the file's code.
"""

import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import arcfusion
from arcfusion.core.model_file import ModelFileError, check_model_source, read_model_source
from arcfusion.core.sandbox.launcher import package_root, spawn_confined
from arcfusion.core.sandbox.limits import MEBIBYTE, Limits
from arcfusion.core.sandbox.strength import Tier
from arcfusion.core.sandbox.tier import require_tier
from arcfusion.core.sandbox.watchdog import Ending, supervise
from arcfusion.experiments.gates import OPTIONAL, failed_report, select_gates
from arcfusion.experiments.gates.child import Task
from arcfusion.experiments.gates.record import GateReport, GateReportError, parse_report

LIMITS = Limits(
    wall_s=120.0,
    cpu_s=120,
    memory_bytes=4096 * MEBIBYTE,
    disk_bytes=16 * MEBIBYTE,
    output_bytes=4 * MEBIBYTE,
)
MAX_ANSWER_BYTES = 65_536  # what a pipe holds: nobody reads before the child has ended
_PACKAGES = ("core", "experiments", "kernels")
_FINGERPRINT = re.compile(r"fp[0-9a-f]{16}")
_BOOTSTRAP = (
    "import sys; sys.path.insert(0, {root!r}); "
    "from arcfusion.experiments.gates.child import main; main()"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a model file's own process says that it builds."""

    fingerprint: str
    parameters: int


def gate_source(
    source: str,
    *,
    tier: Tier,
    vocab_size: int | None = None,
    d_model: int | None = None,
    n_layers: int | None = None,
    seed: int = 0,
    only: Sequence[str] = (),
    limits: Limits = LIMITS,
) -> GateReport:
    """Run the gates, confined, on the model that the source builds.

    A child that breaks a limit, crashes or writes nonsense is a failed report: the source did it.

    Args:
        source: text of a model file.
        tier: the weakest sandbox that will do; the strongest one here is used.
        vocab_size: V; the file's default when None, as `d_model` and `n_layers`.
        d_model: width.
        n_layers: depth.
        seed: as in `run_gates`.
        only: as in `run_gates`.
        limits: of the child.

    Raises:
        ModelFileError: it is not a model file, or could not be built.
        SandboxTooWeakError: the sandbox here is weaker than `tier`.
        UnknownGateError: as `run_gates`.
    """
    names = select_gates(only)
    task = Task(
        path="",
        vocab_size=vocab_size,
        d_model=d_model,
        n_layers=n_layers,
        seed=seed,
        gates=names,
        identity=False,
        answer_fd=-1,
    )
    answer = _ask(source, task, tier=tier, limits=limits)
    if isinstance(answer, str):
        return failed_report(names, answer)
    try:
        return parse_report(str(answer.get("report")), names=names, optional=OPTIONAL)
    except GateReportError as error:
        return failed_report(names, str(error))


def inspect_file(
    path: Path,
    *,
    required: Tier,
    vocab_size: int | None = None,
    d_model: int | None = None,
    n_layers: int | None = None,
    limits: Limits = LIMITS,
) -> Inspection:
    """Build the file's model, confined, and return its identity and size.

    Args:
        path: the model file.
        required: as `tier` of `gate_source`, like the other arguments.
        vocab_size: V.
        d_model: width.
        n_layers: depth.
        limits: of the child.

    Raises:
        ModelFileError: it is not a model file, or its model could not be built and run.
        SandboxTooWeakError: the sandbox here is weaker than required.
    """
    source = read_model_source(path)
    task = Task(
        path="",
        vocab_size=vocab_size,
        d_model=d_model,
        n_layers=n_layers,
        seed=0,
        gates=(),
        identity=True,
        answer_fd=-1,
    )
    answer = _ask(source, task, tier=required, limits=limits)
    match answer:
        case {"fingerprint": str(fingerprint), "parameters": int(parameters)} if (
            _FINGERPRINT.fullmatch(fingerprint) and parameters >= 0
        ):
            return Inspection(fingerprint=fingerprint, parameters=parameters)
        case str(message):
            raise ModelFileError(f"{path.name!r} could not be inspected: {message}")
        case _:
            raise ModelFileError(f"{path.name!r} gave no identity: {str(answer)[:200]}")


def _ask(source: str, task: Task, *, tier: Tier, limits: Limits) -> dict[str, object] | str:
    """Return the child's answer, or in words why there is none."""
    check_model_source(source, name="model file")
    here = require_tier(tier).tier
    with tempfile.TemporaryDirectory(prefix="arcfusion-gate-") as name:
        workdir = Path(name)
        workdir.chmod(0o755)
        scratch = workdir / "scratch"
        scratch.mkdir()
        model_path = workdir / "model.py"
        model_path.write_text(source, encoding="utf-8")
        output_path = workdir / "output.txt"
        read_fd, write_fd = os.pipe()
        try:
            try:
                confined = spawn_confined(
                    _argv(task, model_path, write_fd),
                    workdir=workdir,
                    readable=[model_path, *_readable_packages()],
                    writable=[scratch],
                    limits=limits,
                    tier=here,
                    pass_fds=(write_fd,),
                    env={"TMPDIR": str(scratch), "HOME": str(scratch)},
                    output_path=output_path,
                )
            finally:
                os.close(write_fd)
            ending = supervise(confined, interval_s=0.05)
            text = _read_answer(read_fd)
        finally:
            os.close(read_fd)
        return _parse_answer(text, ending, printed=output_path.read_text(errors="replace"))


def _argv(task: Task, model_path: Path, answer_fd: int) -> list[str]:
    task = replace(task, path=str(model_path), answer_fd=answer_fd)
    return [sys.executable, "-I", "-c", _BOOTSTRAP.format(root=str(package_root())), task.to_json()]


def _readable_packages() -> list[Path]:
    """Return the code that the child needs, and nothing beside it: no lab, no `.env`."""
    folders = [Path(root) / name for root in arcfusion.__path__ for name in _PACKAGES]
    return [package_root(), *(folder for folder in folders if folder.is_dir())]


def _read_answer(descriptor: int) -> str:
    os.set_blocking(descriptor, False)
    try:
        return os.read(descriptor, MAX_ANSWER_BYTES).decode("utf-8", errors="replace")
    except BlockingIOError:
        return ""


def _parse_answer(text: str, ending: Ending, *, printed: str) -> dict[str, object] | str:
    """Return the answer, or why there is none.

    Raises:
        ModelFileError: the child says that the file can not be built.
    """
    if ending.reason != "exited":
        used = f"{ending.elapsed_s:.1f} s, {ending.peak_memory_bytes / MEBIBYTE:.0f} MiB"
        return f"the model's process was ended for its {ending.reason} ({used})"
    if ending.returncode != 0:
        last = (printed.strip().splitlines() or ["nothing printed"])[-1]
        return f"the model's process ended with {ending.returncode}: {last[:200]}"
    try:
        answer = json.loads(text)
    except ValueError:
        return "the model's process ended without an answer"
    if not isinstance(answer, dict):
        return "the model's process answered something else than was asked"
    error = answer.get("error")
    if isinstance(error, str):
        raise ModelFileError(error)
    return answer
