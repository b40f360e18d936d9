"""What `python -I arcfusion.zip ...` does.

`RUN_DIR` supervises the run to its end in the foreground; `--detach RUN_DIR` does so in a process
of its own session and returns when that holds the run's lock; `--child ...` is what the supervisor
starts.
"""

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from arcfusion.core.errors import ArcFusionError, ExitCode

USAGE = "usage: python -I arcfusion.zip [--detach] RUN_DIR"


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say and return the exit status."""
    match list(arguments):
        case ["--child", run_dir, descriptor, mode]:
            _be_nursery(Path(run_dir), int(descriptor), restricted=mode == "restricted")
            return ExitCode.DONE
        case ["--detach", run_dir]:
            return _supervise(Path(run_dir), detach=True)
        case [run_dir] if not run_dir.startswith("-"):
            return _supervise(Path(run_dir), detach=False)
        case _:
            sys.stderr.write(USAGE + "\n")
            return ExitCode.BAD_INPUT


def _supervise(run_dir: Path, *, detach: bool) -> int:
    from arcfusion.experiments.runner import lock

    try:
        run_dir = run_dir.resolve()
        held = lock.try_lock(run_dir)
        if held is None:
            sys.stderr.write(f"{run_dir.name}: another supervisor has it\n")
            return ExitCode.DONE
        if detach:
            lock.detach()
        # numpy is imported from here on
        from arcfusion.experiments.runner.supervisor import supervise_run

        return supervise_run(run_dir)
    except ArcFusionError as error:
        sys.stderr.write(f"{run_dir.name}: {error}\n")
        return error.exit_code


def _be_nursery(run_dir: Path, descriptor: int, *, restricted: bool) -> None:
    # numpy.core's and torch's import, before anything of the model runs
    from arcfusion.experiments.runner import scoring_role, training_role
    from arcfusion.experiments.runner.nursery import serve_forks

    control = socket.socket(fileno=descriptor)
    roles = {"train": training_role.train, "score": scoring_role.score}
    serve_forks(run_dir, control, roles, restricted=restricted)
