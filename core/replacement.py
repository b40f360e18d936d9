"""A file that is replaced whole: written beside, brought to the disk, and only then named.

A kill, a full disk or a power cut leaves the old file, or none where there was none. What a killed
writer left beside it is removed by the next one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ENDINGS = ("", "-journal", "-wal", "-shm")  # the last three are SQLite's, of a copied database


@contextmanager
def replace_file(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield the path to write to; when the block ends, that file gets the name `path`.

    A block that raises leaves `path` as it was.

    Args:
        path: the file.
        overwrite: whether a file of that name may be replaced.

    Raises:
        FileExistsError: a file of that name is there and may not be replaced.
        OSError: the folder can not be written.
    """
    remove_abandoned(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync_file(temporary)
        if overwrite:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)  # fails where a rename would replace
        sync_file(path.parent)
    finally:
        for ending in _ENDINGS:
            temporary.with_name(temporary.name + ending).unlink(missing_ok=True)


def remove_abandoned(path: Path) -> list[Path]:
    """Remove what writers that have died left beside the file; return what was removed."""
    removed = []
    for other in path.parent.iterdir() if path.parent.is_dir() else ():
        pid = _writer(path.name, other.name)
        if pid is not None and not _is_alive(pid):
            other.unlink(missing_ok=True)
            removed.append(other)
    return removed


def _writer(name: str, other: str) -> int | None:
    """Return the pid in the name of a temporary file of `name`."""
    start = f".{name}."
    for ending in _ENDINGS:
        if other.startswith(start) and other.endswith(f".tmp{ending}"):
            middle = other.removeprefix(start).removesuffix(f".tmp{ending}")
            return int(middle) if middle.isascii() and middle.isdigit() else None
    return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def sync_file(path: Path) -> None:
    """Bring a file, or the names in a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
