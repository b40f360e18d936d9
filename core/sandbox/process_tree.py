"""Which processes belong to a confined one, and what they use, read from /proc."""

import contextlib
import os
import signal
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_BLOCK_BYTES, _ENTRY_BYTES = 512, 4096


def read_children(pid: int) -> set[int]:
    """The processes whose parent is `pid`."""
    try:
        files = list((_PROC / str(pid) / "task").glob("*/children"))
    except OSError:
        return set()
    children: set[int] = set()
    for file in files:
        with contextlib.suppress(OSError):
            children.update(int(word) for word in file.read_text().split())
    return children


def read_tree(pid: int, *, adopted: Iterable[int] = ()) -> set[int]:
    """`pid`, the processes in `adopted`, and all their descendants that are alive."""
    found: set[int] = set()
    pending = [pid, *adopted]
    while pending:
        current = pending.pop()
        if current not in found:
            found.add(current)
            pending.extend(read_children(current))
    return {one for one in found if is_running(one)}


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in {"Z", "X"}


def count_tasks(uid: int) -> int:
    """How many threads the user `uid` has on this machine."""
    total = 0
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if entry.stat().st_uid == uid:
                    total += sum(1 for _ in (entry / "task").iterdir())
    return total


def measure_memory(pids: Collection[int], *, limit_bytes: int) -> int:
    """Resident bytes of the processes together.

    Pages shared by several of them are counted once (PSS), but only when the cheap sum of the
    resident sizes is above the limit.
    """
    total = sum(_read_resident(pid) for pid in pids)
    if total <= limit_bytes or len(pids) == 1:
        return total
    return sum(_read_proportional(pid) for pid in pids)


def read_peak_memory(pid: int) -> int:
    """The largest resident size that the process ever had; 0 when it is gone."""
    return _read_field(_PROC / str(pid) / "status", "VmHWM:")


def measure_disk(directories: Iterable[Path], pids: Iterable[int]) -> int:
    """Bytes on disk below the directories, and in files that are deleted but still open.

    Every entry counts as one block at least, so that empty files are not free.
    """
    total = sum(_measure_entry(entry) for directory in directories for entry in _walk(directory))
    return total + sum(_measure_deleted(pid) for pid in pids)


def kill_tree(pid: int, *, adopted: Iterable[int] = (), grace_s: float = 5.0) -> int:
    """Kill the process, its group and all its descendants.

    Returns:
        How many were still alive when the grace was over (0 unless the kernel holds one).
    """
    deadline = time.monotonic() + grace_s
    known = list(adopted)
    while True:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        alive = read_tree(pid, adopted=known)
        known.extend(alive)
        for one in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        for orphan in set(known) - {pid}:
            # only an adopted one is ours to wait for
            with contextlib.suppress(ChildProcessError):
                os.waitpid(orphan, os.WNOHANG)
        if not alive or time.monotonic() > deadline:
            return len(alive)
        time.sleep(0.005)


def _walk(directory: Path) -> Iterator[os.DirEntry[str]]:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))


def _measure_entry(entry: os.DirEntry[str]) -> int:
    try:
        return max(_ENTRY_BYTES, entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES)
    except OSError:
        # it was deleted in between
        return 0


def _measure_deleted(pid: int) -> int:
    total = 0
    with contextlib.suppress(OSError):
        for descriptor in (_PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                status = descriptor.stat()
                if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                    total += status.st_blocks * _BLOCK_BYTES
    return total


def _read_resident(pid: int) -> int:
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


def _read_proportional(pid: int) -> int:
    return _read_field(_PROC / str(pid) / "smaps_rollup", "Pss:") or _read_resident(pid)


def _read_field(path: Path, name: str) -> int:
    """A field of a /proc file in bytes (they are written in kB); 0 when there is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)
