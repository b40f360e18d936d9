"""SIGKILL at every statement of a history, and the disk full at every one: nothing half written.

What was reported as done must be there, the tables must be those after a whole step, and the next
process must be able to go on. The faults happen in the children of `kill_server`.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arcfusion.agents.bench.queue_script import in_memory, make_lab
from arcfusion.agents.bench.record import Row, at_least, at_most
from arcfusion.core.home import Home

STEPS, QUICK_STEPS, PLANTED_STEPS = 60, 1, 1
KILLS = 1_000


def measure(quick: bool) -> Iterator[Row]:
    """Inject each fault, and show that an acknowledgement before the COMMIT is caught."""
    with in_memory() as directory:
        home = make_lab(directory / "template")
        tally = inject(home, directory, QUICK_STEPS if quick else STEPS)
        planted = inject(home, directory, PLANTED_STEPS, planted="early")
    points = tally["points"]
    kills = points["kill before"] + points["kill inside"]
    detail = " ".join(f"{fault}={n}" for fault, n in points.items())
    detail += f", {tally['statements']} statements"
    yield at_least("kill -9 in a statement", kills, 2 if quick else KILLS, "kills", detail)
    errors = tally["errors"]
    words = " ".join(f"{name}={n}" for name, n in sorted(errors.items()))
    full = points["file limit"] + points["page limit"]
    yield at_least(
        "disk full: writes refused", sum(errors.values()), 1, "writes", f"{words} of {full}"
    )
    for name, unit, key in (
        ("faults: steps reported as done and not there", "steps", "lost"),
        ("faults: labs damaged or half-written", "labs", "broken"),
        ("faults: labs in which the next process can not go on", "labs", "stuck"),
    ):
        found = tally[key]
        yield at_most(name, len(found), 0, unit, "; ".join(found[:3]) or detail)
    caught = len(planted["lost"])
    yield at_least("kill -9: lost steps reported before COMMIT (planted)", caught, 1, "steps")


def inject(
    template: Home, directory: Path, num_steps: int, *, planted: str | None = None
) -> dict[str, Any]:
    """Run the server and return its tally; see `kill_server.Tally` for the fields.

    Args:
        template: a lab that nobody has open.
        directory: where copies of it go.
        num_steps: of the script.
        planted: `early` or `unguarded`, a defect that must be seen; see the server.
    """
    command = [sys.executable, "-m", "arcfusion.agents.bench.kill_server", str(template.path)]
    command += [str(directory), str(num_steps), *([f"--{planted}"] if planted else [])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    tally: dict[str, Any] = json.loads(done.stdout)
    return tally
