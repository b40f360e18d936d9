"""How long a whole queue takes to leave as a file and to come back, and that nothing is lost.

The verbs run in this process, as the command line calls them: without the interpreter's start, with
their reading, checking, transaction and fsync.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from arcfusion.agents.bench.queue_startup import fill
from arcfusion.agents.bench.record import Row, at_least, at_most, spread
from arcfusion.core import store
from arcfusion.core.home import Home, new_home

EXPORT_BAR_S = 0.5
IMPORT_BAR_S = 1.0
KILLS = 40


def measure(quick: bool) -> Iterator[Row]:
    """Time export and import; compare bytes; kill exports at random moments."""
    size, rounds, kills = (1_000, 2, 4) if quick else (10_000, 7, KILLS)
    with tempfile.TemporaryDirectory(prefix="arcfusion-bench-") as directory:
        root = Path(directory)
        home = _make(root / "source")
        fill(home, size)
        file = root / "queue.jsonl"
        exports = [_time_export(home, file) for _ in range(rounds)]
        labs = [_make(root / f"copy{number}") for number in range(rounds + 1)]
        # The first one loads pydantic, which is the interpreter's start and not the import.
        imports = [_time_import(lab, file) for lab in labs][1:]
        load = f"load {os.getloadavg()[0]:.1f}"
        name = f"of {size:,} issues, p50"
        middle = statistics.median
        detail = f"{spread(exports)} s, {file.stat().st_size:,} bytes, {load}"
        yield at_most(f"issue export {name}", middle(exports), EXPORT_BAR_S, "s", detail)
        detail = f"{spread(imports)} s, {load}"
        yield at_most(f"issue import {name}", middle(imports), IMPORT_BAR_S, "s", detail)
        again = root / "again.jsonl"
        _time_export(labs[0], again)
        differing = int(file.read_bytes() != again.read_bytes())
        yield at_most("export -> import -> export, files that differ", differing, 0, "files")
        yield from _kill_exports(home, file, kills, middle(exports))


def _make(workspace: Path) -> Home:
    workspace.mkdir()
    home = new_home(workspace)
    store.create(home)
    return home


def _time_export(home: Home, file: Path) -> float:
    from arcfusion.issues.export import export_lines, write_lines
    from arcfusion.issues.view import View

    started = time.perf_counter()
    with View(home) as view:
        write_lines(file, export_lines(view))
    return time.perf_counter() - started


def _time_import(home: Home, file: Path) -> float:
    from arcfusion.issues.exchange import import_file
    from arcfusion.issues.queue import Queue

    started = time.perf_counter()
    with Queue(home, "bench") as queue:
        import_file(queue, file)
    return time.perf_counter() - started


def _kill_exports(home: Home, file: Path, kills: int, seconds: float) -> Iterator[Row]:
    """Kill the verb over the time that it takes; the old file must stay as it was."""
    executable = str(Path(sys.executable).with_name("arcfusion"))
    before = file.read_bytes()
    broken = killed = 0
    for number in range(kills):
        process = subprocess.Popen(
            [executable, "issue", "export", str(file)],
            cwd=home.workspace_path,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and not list(file.parent.glob(f".{file.name}.*.tmp")):
            time.sleep(0.001)
        time.sleep(seconds * number / kills)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        broken += file.read_bytes() != before
    yield at_most(
        "exports killed while they write, old file cut or lost",
        broken,
        0,
        "files",
        f"{killed} of {kills} killed before their end",
    )
    _time_export(home, file)
    left = len(list(file.parent.glob(f".{file.name}.*.tmp")))
    yield at_most("files of killed exports left after the next one", left, 0, "files")
    yield at_least("exports killed amid their writing", killed, kills // 2, "kills")
