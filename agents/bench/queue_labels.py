"""Wanted labels: ready is as fast for a label that three issues carry as for one that most do."""

import random
import time
from collections.abc import Iterator
from contextlib import closing

from arcfusion.agents.bench.queue_crew import Load, describe, percentile, temporary_lab
from arcfusion.agents.bench.record import Row, at_most
from arcfusion.core import store
from arcfusion.core.home import Home
from arcfusion.issues.queue import Queue

MAX_MS = 2
LIMIT = 10
# Of all issues, in a lab of 100,000.
SHARES = {"3": 3e-5, "100": 1e-3, "1000": 1e-2, "5000": 0.05, "90000": 0.9}


def measure(quick: bool) -> Iterator[Row]:
    """Ask for ready issues with a label, for labels that few and that many issues carry."""
    number, repeats = (5_000, 10) if quick else (100_000, 200)
    with temporary_lab() as home:
        fill(home, number)
        with Queue(home, "bench") as queue:
            for name, share in SHARES.items():
                carriers = max(1, int(share * number))
                load, seconds = Load(), []
                for _ in range(repeats):
                    started = time.perf_counter()
                    found = queue.ready(LIMIT, labels=[name])
                    seconds.append(time.perf_counter() - started)
                    assert len(found) == min(LIMIT, carriers), "the label is on other issues"
                yield at_most(
                    f"ready -n {LIMIT} of a label that {carriers} of {number} issues carry, p50",
                    1e3 * percentile(seconds, 0.5),
                    MAX_MS,
                    "ms",
                    describe(seconds, "calls", load),
                )


def fill(home: Home, number: int) -> None:
    """File so many ready issues with their labels, at random places."""
    shuffled = random.Random(0)  # noqa: S311  # a fixed bench, no secret
    with closing(store.connect(home)) as connection, store.write(connection):
        connection.executemany(
            "INSERT INTO issue (id, title, description, design, acceptance, notes, status,"
            " priority, type, size, metadata, needs_gpus, needs_gpu_memory_bytes, needs_skills,"
            " not_before, blocked_by, fence, attempts, losses, failures, max_attempts, evidence,"
            " created_at, created_by, updated_at, revision) VALUES (?, ?, '', '', '', '', 'open',"
            " ?, 'task', 'M', '{}', 0, 0, '[]', 0, 0, 0, 0, 0, 0, 3, '[]', ?, 'bench', 0, 1)",
            [
                (f"i-{n:06}", f"Issue {n} " * 4, shuffled.randrange(5), float(n))
                for n in range(number)
            ],
        )
        for name, share in SHARES.items():
            carriers = shuffled.sample(range(number), max(1, int(share * number)))
            rows = [(f"i-{n:06}", name) for n in carriers]
            connection.executemany("INSERT INTO label (issue_id, name) VALUES (?, ?)", rows)
