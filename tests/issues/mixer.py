"""One process of test_postgres_locks: every kind of write, mixed, until the time is over.

Usage: mixer.py ACTOR SEED SECONDS MODE, in the lab's directory. Says that it is ready, begins at a
line of stdin, and prints the fences that it got and how often each error came. MODE is `queue`, or
`unnumbered`: the mutant, whose transactions number their events without waiting for each other.
"""

import dataclasses
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable

from arcfusion.core.errors import ArcFusionError
from arcfusion.core.home import find_home
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.draft import Draft, Edge
from arcfusion.issues.handoff import Handoff
from arcfusion.issues.queue import Queue
from arcfusion.issues.record import Claim
from arcfusion.issues.states import EdgeType, Outcome

HANDOFF = Handoff(tried="a", result="b", next="c")
# Some leases run out while their holder still works: it must be refused, and not hang.
CONFIG = QueueConfig(lease_s=0.4, heartbeat_s=0.1, max_attempts=1000, backoff_s=0.001)

STEPS = (*["claim"] * 3, *["end"] * 2, *["hold"] * 2, "edge", "edit", "structure")


class Mixer:
    def __init__(self, queue: Queue, seed: int) -> None:
        self.queue = queue
        self.random = random.Random(seed)
        self.held: list[Claim] = []
        self.fences: list[tuple[str, int]] = []
        self.ids = [issue.id for issue in queue.list()]

    def step(self) -> None:
        getattr(self, self.random.choice(STEPS))()

    def claim(self) -> None:
        target = self.random.choice([None, None, self.issue()])
        claim = self.queue.claim(target)
        self.fences.append((claim.issue_id, claim.fence))
        self.held.append(claim)

    def end(self) -> None:
        if not self.held:
            return
        claim = self.held.pop(self.random.randrange(len(self.held)))
        match self.random.randrange(3):
            case 0:
                self.queue.release(claim, HANDOFF)
            case 1:
                self.queue.fail(claim, HANDOFF, error="x")
            case _:
                self.queue.close(claim, Outcome.WONTDO, reason="x")

    def hold(self) -> None:
        if not self.held:
            return
        claim = self.random.choice(self.held)
        actions: list[Callable[[], object]] = [
            lambda: self.queue.heartbeat(claim),
            lambda: self.queue.checkpoint(claim, HANDOFF),
            lambda: self.queue.note(claim.issue_id, "n", fence=claim.fence),
            lambda: self.queue.comment(claim.issue_id, "c", fence=claim.fence),
        ]
        self.random.choice(actions)()

    def edge(self) -> None:
        kind = self.random.choice([EdgeType.BLOCKS, EdgeType.BLOCKS, EdgeType.PARENT_CHILD])
        edge = Edge(kind, self.issue())
        if self.random.random() < 0.5:
            self.queue.add_dependency(self.issue(), edge)
        else:
            listed = self.queue.show(self.issue()).dependencies
            if listed:
                self.queue.remove_dependency(listed[0].issue_id, listed[0].edge)

    def edit(self) -> None:
        self.queue.update(self.issue(), {"priority": self.random.randrange(5)})
        self.queue.comment(self.issue(), "c")
        self.queue.note(self.issue(), "n")

    def structure(self) -> None:
        match self.random.randrange(4):
            case 0:
                self.queue.reopen(self.issue(), "again")
            case 1:
                self.queue.close(self.issue(), Outcome.WONTDO, reason="x")
            case 2:
                self.ids.append(self.queue.create(Draft(title="new")).id)
            case _:
                self.queue.sweep()

    def issue(self) -> str:
        return self.random.choice(self.ids)


def main() -> None:
    actor, seed, seconds, mode = sys.argv[1:]
    errors = Counter[str]()
    with Queue(find_home(), actor, config=CONFIG) as queue:
        if mode == "unnumbered":
            dialect = dataclasses.replace(queue._connection.dialect, lock_numbers=None)
            queue._connection.dialect = dialect
        mixer = Mixer(queue, int(seed))
        print("ready", flush=True)  # noqa: T201
        sys.stdin.readline()
        until = time.monotonic() + float(seconds)
        steps = 0
        while time.monotonic() < until:
            steps += 1
            try:
                mixer.step()
            except ArcFusionError as error:
                errors[type(error).__name__] += 1
    print(json.dumps({"steps": steps, "fences": mixer.fences, "errors": errors}))  # noqa: T201


if __name__ == "__main__":
    main()
