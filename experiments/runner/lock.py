"""The lock that a run's supervisor holds while it lives: it is the run's liveness."""

import fcntl
import os
import sys
import time
from pathlib import Path

from arcfusion.experiments.runner.request import LOCK_FILE, RunFileError

_TRIES, _TRY_INTERVAL_S = 4, 0.005


def try_lock(run_dir: Path) -> int | None:
    """Take the run's lock for the life of this process and of those it forks.

    Returns:
        The descriptor that holds it, or None when another process has it.

    Raises:
        RunFileError: the run's directory can not be written.
    """
    try:
        descriptor = os.open(run_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RunFileError(f"no run in {str(run_dir)!r}: {error.strerror}") from error
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # somebody who only asks (`is_locked`) holds it for microseconds
            time.sleep(_TRY_INTERVAL_S)
        else:
            return descriptor
    os.close(descriptor)
    return None


def is_locked(run_dir: Path) -> bool:
    """Whether a supervisor holds the run now."""
    try:
        descriptor = os.open(run_dir / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # shared, so that two callers who ask at the same moment do not see each other
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def detach() -> None:
    """Go on as a child of init in a session of its own; the caller's process ends with status 0."""
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
    sys.stdin.close()
