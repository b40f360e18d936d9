"""A whole file into the queue: opened, read line by line, checked and written, or nothing of it."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from arcfusion.issues.document import IssueDocument, MemoryDocument, PoolDocument
from arcfusion.issues.errors import ImportFileError

if TYPE_CHECKING:
    from arcfusion.issues.importing import Imported
    from arcfusion.issues.queue import Queue


def import_file(queue: "Queue", path: Path) -> "Imported":
    """Write what an export's file holds and the queue does not.

    Raises:
        ImportFileError, IssueExistsError, DependencyUnknownError, DependencyCycleError: the message
            names the line; nothing was written.
    """
    from arcfusion.issues.lines import read_lines

    with without_collector():
        documents = list(read_lines(read_text(path), name=str(path)))
        return queue.import_all(
            [one for one in documents if isinstance(one, IssueDocument)],
            [one for one in documents if isinstance(one, MemoryDocument)],
            [one for one in documents if isinstance(one, PoolDocument)],
        )


def read_text(path: Path) -> Iterator[str]:
    """Yield the lines of a file.

    Raises:
        ImportFileError: it can not be read.
    """
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from file
    except (OSError, UnicodeDecodeError) as error:
        raise ImportFileError(f"can not read {str(path)!r}: {error}") from error


@contextmanager
def without_collector() -> Iterator[None]:
    """Pause the cyclic garbage collector: it would scan the file's rows again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
