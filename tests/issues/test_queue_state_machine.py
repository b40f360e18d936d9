"""This fails when a verb of the queue does something else than its model in plain Python."""

import random
import sys
from collections.abc import Callable
from pathlib import Path

from arcfusion.agents.bench.queue_machine import explore
from arcfusion.core.home import Home


def test_the_queue_does_what_its_model_does(
    make_lab: Callable[[Path], Home], database: str
) -> None:
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    histories = 20 if database == "sqlite" else 3
    executed = explore(make_lab, seed=seed, num_examples=histories, num_steps=40)
    assert executed > 10 * histories, f"seed {seed}"
