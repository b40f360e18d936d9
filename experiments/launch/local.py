"""Runs on this machine: detached supervisors that outlive whoever launched them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from arcfusion.core.errors import ArcFusionError, NotFoundError
from arcfusion.experiments.runner import lock, record
from arcfusion.experiments.runner.record import RunStatus
from arcfusion.experiments.runner.request import (
    ARCHIVE_FILE,
    SUPERVISOR_LOG,
    RunResult,
)

_LAUNCH_S = 60.0
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "LD_LIBRARY_PATH")


class RunLaunchError(ArcFusionError):
    """The supervisor could not be started."""


class RunDirectoryNotFoundError(NotFoundError):
    """There is no such run directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """What `wait` knows about one run.

    Attributes:
        run_dir: the run.
        status: its last heartbeat; None before the first.
        result: None while it has none.
        alive: whether a supervisor works on it.
    """

    run_dir: Path
    status: RunStatus | None
    result: RunResult | None
    alive: bool

    @property
    def is_over(self) -> bool:
        """It has a result, or nobody works on it."""
        return self.result is not None or not self.alive


def launch(run_dir: Path) -> None:
    """Start a supervisor in a session of its own, and return when it has the run.

    A run that has a supervisor or a result already is left alone.

    Raises:
        RunDirectoryNotFoundError: there is no run in `run_dir`.
        RunLaunchError: the supervisor did not start; the message has its last line.
    """
    archive = run_dir / ARCHIVE_FILE
    if not archive.is_file():
        raise RunDirectoryNotFoundError(f"no run in {str(run_dir)!r}: it has no {ARCHIVE_FILE}")
    if read_result(run_dir) is not None:
        return
    log = run_dir / SUPERVISOR_LOG
    with log.open("ab") as output:
        done = subprocess.run(
            [sys.executable, "-I", str(archive), "--detach", str(run_dir)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=run_dir,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            timeout=_LAUNCH_S,
            check=False,
        )
    if done.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise RunLaunchError(f"run {run_dir.name}: {lines[-1] if lines else done.returncode}")


def is_alive(run_dir: Path) -> bool:
    """Whether a supervisor works on the run now."""
    return lock.is_locked(run_dir)


def read_status(run_dir: Path) -> RunStatus | None:
    """The last heartbeat; None before the first one."""
    return record.read_status(run_dir)


def read_result(run_dir: Path) -> RunResult | None:
    """The result; None while there is none."""
    return record.read_result(run_dir)


def wait(
    run_dirs: Sequence[Path],
    on_tick: Callable[[Sequence[RunProgress]], None],
    *,
    interval_s: float = 0.2,
) -> list[RunProgress]:
    """Watch runs until each has a result or no supervisor.

    Args:
        run_dirs: launched before.
        on_tick: called with all of them at every look; what it raises ends the wait, not the runs.
        interval_s: seconds between two looks.
    """
    while True:
        progress = [_look(run_dir) for run_dir in run_dirs]
        on_tick(progress)
        if all(one.is_over for one in progress):
            return progress
        time.sleep(interval_s)


def cancel(run_dir: Path, *, timeout_s: float = 30.0) -> bool:
    """Ask the run's supervisor to stop; it writes a checkpoint, and a later launch goes on from it.

    Returns:
        Whether no supervisor works on the run any more.
    """
    deadline_s = time.monotonic() + timeout_s
    asked: int | None = None
    while is_alive(run_dir) and time.monotonic() < deadline_s:
        status = read_status(run_dir)
        # a heartbeat of an earlier supervisor names a process that is gone
        if status is not None and status.pid != asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(status.pid, signal.SIGTERM)
            asked = status.pid
        time.sleep(0.02)
    return not is_alive(run_dir)


def _look(run_dir: Path) -> RunProgress:
    # the order matters: a supervisor that ends between the two has written its result
    alive = is_alive(run_dir)
    return RunProgress(
        run_dir=run_dir,
        status=read_status(run_dir),
        result=read_result(run_dir),
        alive=alive,
    )
