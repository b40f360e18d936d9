"""The test suite as a row: time, failures, warnings, coverage."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from arcfusion.agents.bench.record import Row, at_least, at_most, unmeasured

ROOT = Path(__file__).resolve().parents[2]
MAX_SECONDS = 360
MIN_COVERAGE = 85
OPTIONS = (
    "-n",
    str((os.cpu_count() or 1) + 1),
    "--dist",
    "loadfile",
    "--cov",
    "--cov-report=term:skip-covered",
)  # make test


def measure(quick: bool) -> Iterator[Row]:
    """Run the whole suite with coverage; only in a checkout, and not from inside the suite."""
    if quick or not (ROOT / "tests").is_dir():
        why = "the quick version runs inside the suite" if quick else "not a checkout"
        if not quick:
            yield unmeasured("test suite, wall", "s", f"<= {MAX_SECONDS}", why)
        return
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *OPTIONS],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    seconds = time.monotonic() - started
    yield at_most("test suite, wall", seconds, MAX_SECONDS, "s")
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "no output"
    counts = {word: int(n) for n, word in re.findall(r"(\d+) ([a-z]+)", last)}
    bad = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
    if done.returncode and not bad:
        bad = 1
    yield at_most("tests failed", bad, 0, "tests", last)
    yield at_most("warnings", counts.get("warnings", 0) + counts.get("warning", 0), 0, "warnings")
    total = re.search(r"^TOTAL\s.*?([\d.]+)%", done.stdout, re.MULTILINE)
    if total is None:
        yield unmeasured("line coverage", "%", f">= {MIN_COVERAGE}", "no total was printed")
    else:
        yield at_least("line coverage", float(total[1]), MIN_COVERAGE, "%")
