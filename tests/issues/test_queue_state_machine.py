"""This fails when a verb of the queue does something else than its model in plain Python."""

import random
import sys

from arcfusion.agents.bench.queue_machine import explore
from arcfusion.core.home import Home


def test_the_queue_does_what_its_model_does(lab: Home) -> None:
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    executed = explore(lab, seed=seed, num_examples=20, num_steps=40)
    assert executed > 200, f"seed {seed}"
