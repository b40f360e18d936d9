"""How long a light command takes, as a whole process."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from arcfusion.agents.bench.record import Row, at_most, spread
from arcfusion.core import store
from arcfusion.core.home import new_home

BAR_S = 0.35
COMMANDS = (("--help",), ("issue", "ready"), ("leaderboard",))


def measure(quick: bool) -> Iterator[Row]:
    """Time `--help`, `issue ready` and `leaderboard` in a fresh lab; the median counts."""
    executable = Path(sys.executable).with_name("arcfusion")
    with tempfile.TemporaryDirectory() as directory:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ARCFUSION_")}
        store.create(new_home(Path(directory)))
        for command in COMMANDS:
            seconds = []
            for _ in range(4 if quick else 12):
                started = time.perf_counter()
                subprocess.run(
                    [str(executable), *command],
                    cwd=directory,
                    env=environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    check=True,
                )
                seconds.append(time.perf_counter() - started)
            counted = seconds[1:]  # the first one fills the file cache
            name = f"arcfusion {' '.join(command)}, wall"
            yield at_most(name, statistics.median(counted), BAR_S, "s", spread(counted))
