"""The queue against a model of it in plain Python: 10,000 random steps, compared after each."""

import tempfile
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from arcfusion.agents.bench.queue_script import copy_lab, make_lab
from arcfusion.agents.bench.record import Row, at_least, at_most, unmeasured

SEED = 3
STEPS, QUICK_STEPS = 10_000, 150
STEPS_A_HISTORY = 50


def measure(quick: bool) -> Iterator[Row]:
    """Explore with a fixed seed, until enough steps were executed."""
    name = "model: steps after which the queue and its model differ"
    if find_spec("hypothesis") is None:
        yield unmeasured(name, "steps", "<= 0", "hypothesis is not installed: pip install '.[dev]'")
        return
    from arcfusion.agents.bench.queue_machine import explore

    wanted, executed, histories = QUICK_STEPS if quick else STEPS, 0, 0
    difference = ""
    with tempfile.TemporaryDirectory(prefix="arcfusion-bench-") as directory:
        template = make_lab(Path(directory))
        while executed < wanted and not difference:
            more = -(-(wanted - executed) // STEPS_A_HISTORY)
            try:
                executed += explore(
                    partial(copy_lab, template),
                    seed=SEED + histories,
                    num_examples=more,
                    num_steps=STEPS_A_HISTORY,
                )
            except AssertionError as error:
                difference = str(error) or "see the history above"
            histories += more
    detail = f"{histories} histories, seed {SEED}"
    yield at_least("model: steps executed", executed, wanted, "steps", detail)
    yield at_most(name, int(bool(difference)), 0, "steps", difference[:300] or detail)
