"""The demo as a stranger runs it: how long, what it leaves, whether it repeats itself."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arcfusion.agents.bench.record import Row, at_least, at_most
from arcfusion.agents.demo import BACKLOG

DETERMINISTIC = ("runs", "comparisons", "insights", "hypotheses", "branches")
MAX_SECONDS = 240
QUICK_PLAN = BACKLOG.with_name("quick.yaml")


def measure(quick: bool) -> Iterator[Row]:
    """Run `arcfusion demo --seed 0` twice (once in the quick version)."""
    with tempfile.TemporaryDirectory(prefix="arcfusion-bench-") as directory:
        plan = QUICK_PLAN if quick else BACKLOG
        first, seconds = run_demo(Path(directory) / "first", plan)
        yield at_most("arcfusion demo, wall", seconds, MAX_SECONDS, "s", "exit 0")
        closed, insights = len(first["closed"]), first["insights"]
        yield at_least("issues closed by the demo", closed, 3, "issues", str(first["closed"]))
        yield at_least("insights with run ids", len(insights), 1, "insights")
        yield at_least("next hypotheses", len(first["hypotheses"]), 5, "hypotheses")
        yield at_least("branches to review", len(first["branches"]), 1, "branches")
        written = (Path(directory) / "first" / "HANDOFF.md").is_file()
        yield at_least("HANDOFF.md written", int(written), 1, "files")
        if quick:
            return
        second, _ = run_demo(Path(directory) / "second")
        differing = [name for name in DETERMINISTIC if first[name] != second[name]]
        yield at_most(
            "differences between two demos of one seed",
            len(differing),
            0,
            "parts",
            f"{', '.join(differing) or 'none'}; {len(first['runs'])} runs compared digit for digit",
        )


def run_demo(directory: Path, plan: Path = BACKLOG) -> tuple[dict[str, Any], float]:
    """Return what one demo printed, and its seconds as a whole process."""
    executable = Path(sys.executable).with_name("arcfusion")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ARCFUSION_")}
    started = time.monotonic()
    done = subprocess.run(
        [
            str(executable),
            "demo",
            "--json",
            "--seed",
            "0",
            "--home",
            str(directory),
            "--plan",
            str(plan),
        ],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
    )
    return json.loads(done.stdout)["data"], time.monotonic() - started
