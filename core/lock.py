"""The file on which writers queue: the kernel keeps the queue, and takes the lock from the dead.

Two locks, as in a shop: who is served, and who is next. All others queue for the second one. The
next one looks from time to time whether it is its turn, and after a while insists. So a writer
with several writes has them done together: waking another process, whose caches are cold, costs as
much as a write (`experiments/reports/queue-2core-cpu.md`).

A process that is stopped while it writes or is next (a debugger, SIGSTOP) makes all others wait, as
it would in SQLite itself. They wait on and say for whom: a heartbeat that gave up would lose its
claim.
"""

import fcntl
import os
import time
from io import TextIOWrapper
from pathlib import Path

from arcfusion.core.errors import HomeUnwritableError

WARN_AFTER_S = 10.0
# Of the next one between its looks. A long first one would slow down writers of one write each.
PAUSES_S = (0.001, 0.004, 0.005)
_NEXT = ".next"


class WriterLock:
    """The lock of one database, opened once.

    It belongs to one thread, and is not used across a fork: processes that share an open file share
    its lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIOWrapper | None = None
        self._next: TextIOWrapper | None = None

    def acquire(self) -> None:
        """Wait for the right to write.

        Raises:
            HomeUnwritableError: the file can not be opened.
        """
        if self._file is None:
            self._file = _open(self._path)
        if not _try(self._file):
            with _watcher.watch(self._path):
                self._queue(self._file)

    def _queue(self, file: TextIOWrapper) -> None:
        if self._next is None:
            self._next = _open(_next_path(self._path))
        fcntl.flock(self._next, fcntl.LOCK_EX)
        try:
            for pause_s in PAUSES_S:
                time.sleep(pause_s)
                if _try(file):
                    return
            fcntl.flock(file, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._next, fcntl.LOCK_UN)

    def release(self) -> None:
        """Let the next writer in; nothing when the lock is not held."""
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the files."""
        for file in (self._file, self._next):
            if file is not None:
                file.close()
        self._file = self._next = None


def _next_path(path: Path) -> Path:
    return path.with_name(path.name + _NEXT)


def _try(file: TextIOWrapper) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: Path) -> TextIOWrapper:
    try:
        return path.open("a")
    except OSError as error:
        raise HomeUnwritableError(
            f"can not write {str(path.parent)!r} ({error.strerror})"
        ) from error


def find_holder(path: Path) -> int | None:
    """Return the pid of the process that holds the lock; None when the system does not say."""
    try:
        inode = path.stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        # 1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF; a line with -> is one that waits.
        words = line.split()
        if words[1:2] == ["FLOCK"] and words[5].rpartition(":")[2] == str(inode):
            return int(words[4])
    return None


class _Watch:
    """One wait, from its begin to its end."""

    def __init__(self, watcher: "_Watcher", path: Path) -> None:
        self.path = path
        self.since = time.monotonic()
        self.is_told = False
        self._watcher = watcher

    def __enter__(self) -> None:
        self._watcher.waits.add(self)

    def __exit__(self, *_: object) -> None:
        self._watcher.waits.discard(self)


class _Watcher:
    """One thread a process, from its first wait on, that names the holder when a wait is long."""

    def __init__(self) -> None:
        self.waits: set[_Watch] = set()
        self._pid = 0

    def watch(self, path: Path) -> _Watch:
        if self._pid != os.getpid():  # the first wait, or the first one after a fork
            self._pid = os.getpid()
            self.waits = set()
            import threading

            threading.Thread(target=self._run, name="writer-lock-watcher", daemon=True).start()
        return _Watch(self, path)

    def _run(self) -> None:
        while True:
            time.sleep(WARN_AFTER_S / 4)
            for wait in tuple(self.waits):
                waited_s = time.monotonic() - wait.since
                if waited_s >= WARN_AFTER_S and not wait.is_told:
                    wait.is_told = True
                    _warn(wait.path, waited_s)


def _warn(path: Path, waited_s: float) -> None:
    import logging

    holder, what = find_holder(path), "is writing"
    if holder is None:
        holder, what = find_holder(_next_path(path)), "is next and does not go on"
    message = "waiting for %.0f s to write to %s: process %s %s"
    logging.getLogger(__name__).warning(message, waited_s, path.parent, holder or "unknown", what)


_watcher = _Watcher()
